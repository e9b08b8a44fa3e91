-- An experiment of ten lines: does a wider hidden layer help, and what does it cost? Two widths, three seeds,
-- shuffled in blocks of one seed and metered; every run is a row of out-width/runs.csv.
local wattle = require "wattle"
local sets = assert(wattle.data.fashion_mnist())
local train, test = sets.train:take(3000), sets.test:take(2000)

local e = assert(wattle.experiment {
  name = "width", out = "out-width", seeds = { 1, 2, 3 }, factors = { width = { 32, 128 } },
  run = function(case)
    local model = wattle.models.create("mlp", { hidden = { case.width }, seed = case.seed })
    wattle.fit { model = model, data = { train = train }, epochs = 2, seed = case.seed, meter = case,
                 optimizer = { "sgd", lr = 0.05, momentum = 0.9 }, progress = false }
    local quality = wattle.evaluate(model, test, { meter = case })
    return { model = "mlp", params = model:num_parameters(), test_top1_pct = quality.top1_pct }
  end,
})

local summary = wattle.compare.summary(e, { by = { "width" }, baseline = { width = 32 },
                                            differences = { "test_top1_pct" }, ratios = { "duration_train_s" } })
local lines = {}
for i, row in ipairs(summary) do
  local top1 = ("%.2f [%.2f, %.2f]"):format(row.test_top1_pct, row.test_top1_pct_low, row.test_top1_pct_high)
  lines[i] = { row.width, top1, ("%.2f"):format(row.duration_train_s), row.duration_train_s_verdict }
end
print(wattle.table.render({ "width", "test top-1, %", "training, s", { "verdict", "left" } }, lines))
assert(#e.rows == 6 and summary[1].test_top1_pct > 70, "expected more than 70 %")
