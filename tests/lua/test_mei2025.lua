-- scripts/mei2025.lua as a command: the whole protocol on small made-up images of the right form, its files and
-- exit codes, the same figures from the same seeds, and what it says to mistakes.

local wattle = require "wattle"
local results = require "wattle.results"
local t = require "harness"
local test, check, equal = t.test, t.check, t.equal
local core = wattle.core

local program = os.getenv "WATTLE_PROGRAM" or arg[-1]
local scratch = os.tmpname() .. ".d"
local data = scratch .. "/data"
assert(core.mkdir(data))

require("tiny_images").write(data, 5400, 300)

---- the command ----

-- Exit status and all that was printed.
local function mei2025(arguments)
  local pipe = assert(io.popen(("'%s' mei2025 %s 2>&1"):format(program, arguments)))
  local said = pipe:read "a"
  local ok, _, code = pipe:close()
  return ok and 0 or code, said
end

local function out(name)
  return scratch .. "/" .. name
end

local columns = results.extend(results.runs, { { "width", "integer" }, { "train_images", "integer" },
                                               { "batch_size", "integer" }, { "tune_lr", "number" } })

local function rows_of(name)
  return assert(results.read(out(name) .. "/runs.csv", columns))
end

local common = ("--data %s --model mlp --batch-size 20 --epochs 3 --tune-epochs 1 --lr 0.02 --tune-lr 0.005 "
  .. "--threads 1 --capacity-images 200"):format(data)
local checkpoint = out "all" .. "/checkpoint.safetensors"

test("every technique and level, three seeds, files and table", function()
  local code, said = mei2025(("%s --seeds 3 --out %s"):format(common, out "all"))
  equal(code, 0, said)
  local rows = rows_of "all"
  equal(#rows, 54)
  local seen = {}
  for _, row in ipairs(rows) do
    local key = row.technique .. (row.level and (" %g"):format(row.level) or "")
    seen[key] = (seen[key] or 0) + 1
    equal(row.status, "ok")
    equal(row.model, "mlp")
    equal(row.dataset, "fashion_mnist")
    equal(row.init, "fashion_mnist_e3")
    equal(row.train_images, 400)
    equal(row.samples_seen, 400)
    equal(row.steps, 20)
    equal(row.epochs, 1)
    check(row.test_top1_pct > 60 and row.val_top1_pct > 60, "it should learn")
    check(row.macro_f1 > 0.5 and row.macro_f1 <= 1)
    check(row.duration_train_s > 0 and row.duration_eval_s > 0 and row.disk_bytes > 0)
    equal(row.energy_j, nil)
    local dense = 784 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10
    if row.technique == "lowrank" then
      check(row.params <= dense)
    else
      equal(row.params, dense)
      check(row.flops_executed_per_image >= 2 * (784 * 300 + 300 * 100 + 100 * 10))
    end
    check((row.duration_compress_s == nil) == (row.technique == "baseline"))
    equal(row.shard, nil)
    equal(row.interrupted, false)
    check(row.flops_per_image <= row.flops_executed_per_image)
    if row.technique:find "^prune" then
      check(row.flops_per_image < (1 - 0.99 * row.level) * row.flops_executed_per_image + 2000, "zeros do not count")
      local removed = math.floor(row.level * (784 * 300 + 300 * 100 + 100 * 10))
      check(row.nonzeros <= dense - removed and row.nonzeros > dense - removed - 2000, "the mask is kept")
    end
  end
  for _, key in ipairs { "baseline", "scr_zero 8", "scr_zero 16", "scr_zero 20", "scr_once 8",
                         "scr_once 16", "scr_once 20", "scr_random 8", "scr_random 16", "scr_random 20",
                         "prune_global 0.3", "prune_global 0.5", "prune_global 0.8", "prune_local 0.3",
                         "prune_local 0.5", "prune_local 0.8", "lowrank 0.9", "lowrank 0.99" } do
    equal(seen[key], 3)
    check(said:find(key:match "^%S+", 1, true))
  end
  check(said:find "No energy counters here", said)
  check(said:find "95 %% intervals")
  check(said:find "Assumed")
  local summary = assert(core.csv_read(out "all" .. "/summary.csv"))
  equal(#summary, 1 + 18)
  equal(summary[1][1], "technique")
  equal(summary[2][1], "baseline")
  local epochs = assert(results.read(out "all" .. "/epochs.csv", results.epochs))
  equal(#epochs, 3 + 54)
  check(core.exists(out "all" .. "/checkpoint.safetensors") and core.exists(out "all" .. "/runs.json"))
  check(not core.exists(out "all" .. "/models"))
  check(said:find "all from one checkpoint" and said:find "17 verdicts are drawn without correction", said)
end)

test("the sweep: chosen by validation images, the largest n before the first that loses too much", function()
  local rows = assert(results.read(out "all" .. "/capacity.csv", results.capacity))
  equal(#rows, 24)
  local chosen
  for i, row in ipairs(rows) do
    equal({ row.bits, row.layer, row.arm, row.val_images, row.experiment, row.model },
          { i - 1, nil, "zero", 200, "mei2025", "mlp" })
    equal(row.init_sha256, rows_of("all")[1].init_sha256)
    equal(row.within_epsilon, row.val_top1_pct >= rows[1].val_top1_pct - 1 - 1e-9)
    equal(row.capacity_bytes, row.bits * (784 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10) // 8)
    if row.chosen then
      check(not chosen, "one is chosen")
      chosen = row
    end
  end
  for bits = 0, chosen.bits do check(rows[bits + 1].within_epsilon) end
  local over = rows[chosen.bits + 2] -- bands this bright may have no cliff
  check(chosen.bits > 8 and (not over and chosen.bits == 23 or not over.within_epsilon and over.test_top1_pct))
  check(chosen.test_top1_pct and rows[1].test_top1_pct)
end)

test("the same seeds give the same figures, from the run's own pretraining or from its checkpoint", function()
  local few = common .. " --techniques baseline,scr_zero --bits 16 --seeds 1,2"
  local code, said = mei2025(("%s --checkpoint %s --keep-models --out %s"):format(few, checkpoint, out "again"))
  equal(code, 0, said)
  check(said:find "three seeds", "below three seeds the range is printed")
  local before = {}
  for _, row in ipairs(rows_of "all") do before[row.run_id] = row end
  local rows = rows_of "again"
  equal(#rows, 4)
  for _, row in ipairs(rows) do
    local was = before[row.run_id]
    for _, name in ipairs { "test_top1_pct", "val_top1_pct", "loss", "macro_f1", "init", "init_sha256",
                            "disk_bytes", "nonzeros" } do
      equal(row[name], was[name], row.run_id .. " " .. name)
    end
    local dict = assert(wattle.load(("%s/models/%s.safetensors"):format(out "again", row.run_id)))
    if row.technique == "scr_zero" then
      for _, v in ipairs(dict["fc3.weight"]:reshape { -1 }:tolist()) do
        equal(string.unpack("<I4", string.pack("<f", v)) & 0xffff, 0)
      end
    end
  end
  check(not core.exists(out "again" .. "/checkpoint.safetensors"))
end)

test("arms that diverge are rows, the others go on, and the exit status says so", function()
  local arguments = ("%s --tune-lr 1e30 --techniques baseline,lowrank --energies 0.9 --seed 7 --capacity off --checkpoint "
    .. "%s --out %s"):format(common, checkpoint, out "diverged")
  for _, more in ipairs { "", " --resume" } do -- it would diverge again: the rows stand
    local code, said = mei2025(arguments .. more)
    equal(code, 1, said)
    local rows = rows_of "diverged"
    equal(#rows, 2)
    for _, row in ipairs(rows) do equal({ row.status, row.seed }, { "diverged", 7 }) end
    check(said:find "1 of 1 runs did not end well", said)
    equal(said:find "2 of 2 runs are in" ~= nil, more ~= "")
  end
  check(not core.exists(out "diverged" .. "/capacity.csv"))
end)

test("mistakes: one clear message, a status, nothing written", function()
  local function fails(arguments, status, part)
    local code, said = mei2025(arguments .. " --out " .. out "never")
    equal(code, status, said)
    check(said:find(part, 1, true), said)
    check(not core.exists(out "never"), arguments)
  end
  fails("--epoch 3", 2, "did you mean '--epochs'?")
  fails("--techniques baseline,scr_zro", 2, "did you mean 'scr_zero'?")
  fails("--seeds 0", 1, "--seeds")
  fails(common .. " --seeds 20260101", 1, "one seed is --seed 20260101")
  fails(common .. " --seeds 4,4", 1, "--seeds: 4 is there twice")
  fails(common .. " --bits 8,8", 1, "--bits: 8 is there twice")
  fails(common .. " --seed 3 --seeds 2", 1, "--seed and --seeds: one of them")
  fails(common .. " --shard 3/2", 1, "--shard: '3/2' is not I/N")
  fails(common .. " --shard 1/4", 1, "3 blocks (seeds x repeats) cannot be dealt to more than 3 shards")
  fails(common .. " --capacity layer", 2, "did you mean 'layers'?")
  fails("--momentum 1", 2, "--momentum: 1 is above")
  fails("--model resnt20", 1, "resnet20")
  fails("--model mlp --width 3", 1, "width")
  fails("--data " .. scratch .. "/nowhere", 1, "--data")
  fails(common .. " --checkpoint " .. scratch .. "/nothing", 1, "nothing")
  fails(("--data %s --model lenet5 --checkpoint %s"):format(data, checkpoint), 1, "does not fit lenet5")
  local code, said = mei2025(common .. " --out " .. out "all")
  equal(code, 1)
  check(said:find "is not empty" and said:find("--resume", 1, true), said)
  code, said = mei2025(common .. " --resume --lr 0.03 --out " .. out "all")
  equal(code, 1)
  check(said:find "options.lr was 0.02, now it is 0.03", said)
  code, said = mei2025(common .. " --resume")
  equal(code, 1)
  check(said:find("--resume: say with --out which folder", 1, true), said)
  check(not said:find "traceback", said)
  code, said = mei2025 "--help"
  equal(code, 0)
  check(said:find("--tune-epochs N", 1, true), said)
end)

os.execute("rm -rf " .. scratch .. " " .. scratch:sub(1, -3))
