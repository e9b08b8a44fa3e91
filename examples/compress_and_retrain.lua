-- Compress one trained network in three ways, train each copy a little more, and compare. Run:
-- wattle compress_and_retrain.lua [DATA_FOLDER]

local wattle = require "wattle"
local compress = wattle.compress
local text = require "wattle.table"

wattle.manual_seed(1)
local sets = assert(wattle.data.fashion_mnist{ dir = arg[1] })
local train, test = sets.train:take(5000), sets.test:take(2000)

local function fit(model, epochs, lr)
  return wattle.fit{ model = model, data = { train = train }, epochs = epochs, batch_size = 50, seed = 1,
                     optimizer = { "sgd", lr = lr, momentum = 0.9 }, progress = false }
end

local original = wattle.models.create "lenet5"
fit(original, 2, 0.05)

local rows, top1 = {}, {}
local function add(name, model)
  top1[name] = wattle.evaluate(model, test).top1_pct
  rows[#rows + 1] = { name, ("%d"):format(model:num_parameters()), ("%d"):format(wattle.nonzeros(model)),
                      ("%.0f"):format(compress.flops_per_image(model)), ("%.2f"):format(top1[name]) }
end
add("original", original)

-- Each gives a new model and a report; masks and cleared bits stay through training.
local models = {}
models.scr = compress.scr(original, { bits = 12 })
models.prune = compress.prune(original, { amount = 0.8 })
local report
models.lowrank, report = compress.lowrank(original, { energy = 0.9 })
for _, layer in ipairs(report.layers) do
  print(("%s [%s]: %s"):format(layer.name, table.concat(layer.shape, ","),
                               layer.rank and "rank " .. layer.rank or layer.reason))
end

for _, name in ipairs{ "scr", "prune", "lowrank" } do
  fit(models[name], 1, 0.02)
  add(name .. ", retrained", models[name])
end
print()
io.write(text.render({ "model", "parameters", "not zero", "FLOPs per image", "test top-1, %" }, rows))

assert(wattle.nonzeros(models.prune) < 0.25 * original:num_parameters(), "pruned weights should have stayed 0")
assert(models.lowrank:num_parameters() < original:num_parameters())
assert(top1["scr, retrained"] > 60 and top1["lowrank, retrained"] > 60, "expected more than 60 %")
