-- Train a small multilayer perceptron on part of Fashion-MNIST and measure it.
-- Run: wattle train_mlp.lua [DATA_FOLDER]

local wattle = require "wattle"

wattle.manual_seed(1)
local sets = assert(wattle.data.fashion_mnist{ dir = arg[1] })
local train, val = sets.train:split({ 6000, 1000 }, 1)
local model = wattle.models.create("mlp", { hidden = { 64 } })
print(model)

local meter <close> = wattle.meter{} -- estimates the energy from processor time
local history = wattle.fit{
  model = model, data = { train = train, val = val }, epochs = 3, batch_size = 50, seed = 1,
  optimizer = { "sgd", lr = 0.05, momentum = 0.9 },
  schedule = wattle.schedule.cosine{ lr = 0.05, epochs = 3, per = "step" },
  meter = meter, keep_best = true,
}

local test = wattle.evaluate(model, sets.test)
print(("best epoch %d of %d; test top-1 %.2f %%, macro F1 %.3f over %d images"):format(
  history.best_epoch, #history, test.top1_pct, test.macro_f1, test.n))
local last = history[#history].train_region
local joules = last.energy_j or last.energy_est_j
local energy = joules and ("%.1f J (%s)"):format(joules, last.method) or "no reading of energy"
print(("the last epoch trained for %.2f s: %s"):format(last.duration_s, energy))
assert(test.top1_pct > 75, "expected more than 75 %")
