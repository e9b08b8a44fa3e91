-- Mei & Stamp 2025, "Energy Considerations for Large Pretrained Neural Networks" (arXiv 2506.01311), at equal
-- steps: one pretrained checkpoint is compressed in several ways, each copy is trained on by the same steps
-- over the same images in the same order, and accuracy, time and energy are set against the copy that was not
-- compressed. What the paper does not publish (models, data, rates, levels) is an option here, and its default
-- is assumed. Runs and result files are wattle.experiment's; this script says what is compared.

local wattle = require "wattle"
local cli = require "wattle.cli"
local compare = require "wattle.compare"
local progress = require "wattle.progress"
local results = require "wattle.results"
local stats = require "wattle.stats"
local text = require "wattle.table"
local core = wattle.core

-- The validation images are the same in every run, whatever its seed.
local VALIDATION_IMAGES, VALIDATION_SEED = 5000, 0

local ASSUMED = "Assumed, as the paper does not publish them: model, data, rates, epochs, batch size, levels."

-- Steganographic capacity reduction is not defined in what the paper's readers can see, so every reading is an arm.
local function scr(arm)
  return { name = "scr_" .. arm, option = "bits", unit = "bits", label = "%g bits",
           compress = function(model, level, seed)
             return wattle.compress.scr(model, { bits = math.tointeger(level), arm = arm, seed = seed })
           end }
end

local function prune(scope)
  return { name = "prune_" .. scope, option = "amounts", unit = "fraction_removed", label = "%g %%",
           compress = function(model, level)
             return wattle.compress.prune(model, { amount = level, scope = scope })
           end }
end

-- One row a technique: the option that lists its levels, their unit, how the table writes one (a fraction in
-- %), and how to compress.
local TECHNIQUES = {
  { name = "baseline" },
  scr "zero", scr "once", scr "random", prune "global", prune "local",
  { name = "lowrank", option = "energies", unit = "energy_kept", label = "%g %%",
    compress = function(model, level) return wattle.compress.lowrank(model, { energy = level }) end },
}
local technique_names, technique = {}, {}
for i, t in ipairs(TECHNIQUES) do technique_names[i], technique[t.name] = t.name, t end

local spec = {
  name = "mei2025",
  about = "Pretrains a network on Fashion-MNIST, compresses it by every technique and level, trains each copy on "
    .. "for the same steps, and compares accuracy, time and energy with the uncompressed copy, paired by seed "
    .. "(Mei & Stamp 2025, arXiv 2506.01311).",
  options = {
    { "model", "string", "resnet20", "mlp, lenet5, resnet8, resnet14, resnet20, ...", value = "NAME" },
    { "width", "integer", nil, "channels of the first stage, for models that have a width", value = "N", min = 1 },
    { "data", "string", nil, "folder of Fashion-MNIST's four IDX files (default: Debian's package)",
      value = "DIR" },
    { "train-images", "integer", 55000, "how many training images to use", value = "N", min = 1, max = 55000 },
    { "out", "string", nil, "folder for the results, absent or empty (default: mei2025- and the time)",
      value = "DIR" },
    { "resume", "flag", false, "go on with what --out holds of the same options: finished rows stand, failed ones "
      .. "are run again, pretraining goes on at its last whole epoch" },
    { "shard", "string", nil, "only shard I of N: each N-th block of one seed and repeat; 'wattle merge' joins them",
      value = "I/N" },
    { "checkpoint", "string", nil, "start from this file instead of pretraining", value = "FILE" },
    { "epochs", "integer", 10, "epochs of pretraining", value = "N", min = 1 },
    { "tune-epochs", "integer", 2, "epochs that every copy is trained on", value = "N", min = 1 },
    { "seeds", "integers", { 3 }, "one number is a count (3 means 1,2,3), several are the seeds themselves",
      value = "N|A,B,..." },
    { "seed", "integer", nil, "one seed, instead of --seeds", value = "A" },
    { "repeats", "integer", 1, "runs of each technique, level and seed", value = "N", min = 1 },
    { "techniques", "strings", technique_names, "which to run", value = "A,B,...", choices = technique_names },
    { "bits", "integers", { 8, 16, 20 }, "levels of scr_*: low-order bits overwritten",
      value = "A,B,...", min = 1, max = 23 },
    { "amounts", "numbers", { 0.3, 0.5, 0.8 }, "levels of prune_*: share of weights removed",
      value = "A,B,...", min = 0, max = 0.999 },
    { "energies", "numbers", { 0.9, 0.99 }, "levels of lowrank: share of squared singular values kept",
      value = "A,B,...", min = 0.001, max = 1 },
    { "capacity", "string", "model", "sweep of steganographic capacity before the runs: of the whole model, of each "
      .. "layer too, or off", value = "WHAT", choices = { "model", "layers", "off" } },
    { "capacity-images", "integer", VALIDATION_IMAGES, "validation images of the sweep", value = "N", min = 1,
      max = VALIDATION_IMAGES },
    { "epsilon", "number", 1.0, "points of accuracy that the sweep may lose", value = "X", min = 0 },
    { "batch-size", "integer", 128, "images a step", value = "N", min = 1 },
    { "lr", "number", 0.1, "first learning rate of pretraining (cosine to 0)", value = "X", min = 0 },
    { "tune-lr", "number", 0.01, "first learning rate of training on (cosine to 0)", value = "X", min = 0 },
    { "momentum", "number", 0.9, "Nesterov momentum", value = "X", min = 0, max = 0.9999 },
    { "weight-decay", "number", 5e-4, "L2 penalty", value = "X", min = 0 },
    { "backend", "string", "auto", "kernels to compute with", value = "NAME",
      choices = { "auto", "onednn", "blas", "reference" } },
    { "threads", "integer", nil, "threads to compute with (default: all processors)", value = "N",
      min = 1, max = 1024 },
    { "idle", "number", nil, "seconds of rest around each run, in which counters measure the power at rest (default: 2 "
      .. "where they work; 0 for none)", value = "S", min = 0, max = 3600 },
    { "keep-models", "flag", false, "keep every trained model in the results' folder models" },
    { "quick", "flag", false, "a small version that takes a few minutes" },
  },
  -- One thread: so small a network gains little from more, and loses much where others use the machine.
  presets = {
    quick = { model = "resnet8", width = 8, ["train-images"] = 5000, epochs = 4, ["tune-epochs"] = 1,
              ["batch-size"] = 64, threads = 1, bits = { 16, 20 }, amounts = { 0.5, 0.8 }, energies = { 0.9 },
              ["capacity-images"] = 1000 },
  },
  notes = ASSUMED .. "\n"
    .. "Shards on machines of different kinds: pretrain once and give each the file (--checkpoint), since each would\n"
    .. "pretrain to other bits, and what starts from different checkpoints is not merged.\n",
}

local function die(message)
  io.stderr:write("mei2025: ", message, "\n")
  os.exit(core.error_code(message) == "interrupted" and 130 or 1, true)
end

-- v, or the end of the program where the world said no.
local function need(v, message)
  if v == nil or v == false then die(tostring(message)) end
  return v
end

---- what is run ----

-- The same value twice would be the same run twice.
local function distinct(name, list)
  local seen = {}
  for _, v in ipairs(list) do
    if seen[v] then die(("--%s: %s is there twice"):format(name, v)) end
    seen[v] = true
  end
end

local SEEDS_MAX = 1000

local function seeds_of(o)
  local list = o.seeds
  if o.seed then
    if o.given.seeds then die("--seed and --seeds: one of them") end
    return { o.seed }
  end
  distinct("seeds", list)
  if #list > 1 then return list end
  local seeds = {}
  if list[1] < 1 then die("--seeds: a count must be at least 1") end
  if list[1] > SEEDS_MAX then
    die(("--seeds: one number is a count, and %d is above %d; one seed is --seed %d"):format(list[1], SEEDS_MAX,
                                                                                           list[1]))
  end
  for i = 1, list[1] do seeds[i] = i end
  return seeds
end

local function cases_of(o)
  for _, name in ipairs { "techniques", "bits", "amounts", "energies" } do distinct(name, o[name]) end
  local cases = {}
  for _, name in ipairs(o.techniques) do
    local t = technique[name]
    if t.option then
      for _, level in ipairs(o[t.option]) do
        cases[#cases + 1] = { technique = name, level = level, level_unit = t.unit }
      end
    else
      cases[#cases + 1] = { technique = name }
    end
  end
  return cases
end

local function shard_of(o, seeds)
  if not o.shard then return nil end
  local i, n = o.shard:match "^(%d+)/(%d+)$"
  i, n = math.tointeger(tonumber(i)), math.tointeger(tonumber(n))
  if not (i and n and i >= 1 and i <= n) then die(("--shard: '%s' is not I/N with 1 <= I <= N"):format(o.shard)) end
  local blocks = #seeds * o.repeats
  if n > blocks then
    die(("--shard: %d blocks (seeds x repeats) cannot be dealt to more than %d shards"):format(blocks, blocks))
  end
  return { i, n }
end

local function load_data(o)
  local sets = need(wattle.data.fashion_mnist { dir = o.data })
  if #sets.train <= VALIDATION_IMAGES then
    die(("--data: %d training images; %d of them are for validation"):format(#sets.train, VALIDATION_IMAGES))
  end
  local train, val = sets.train:split({ #sets.train - VALIDATION_IMAGES, VALIDATION_IMAGES }, VALIDATION_SEED)
  if o.train_images < #train then train = train:take(o.train_images) end
  return { train = train, val = val, test = sets.test }
end

local function new_model(o)
  local options = { num_classes = 10, in_channels = 1 }
  options.width = o.width
  return wattle.models.create(o.model, options)
end

-- Loads a checkpoint into a new model; a file of another model is told by its names and shapes.
local function model_from(o, dict)
  local model = new_model(o)
  local file = o.checkpoint or "the checkpoint"
  local loaded, diff = pcall(model.load_state_dict, model, dict)
  if not loaded then return nil, ("%s: %s"):format(file, (diff:gsub("^[^\n]-:%d+: ", ""))) end
  for _, what in ipairs { "missing", "unexpected", "mismatched" } do
    local names = diff[what]
    if #names > 0 then
      return nil, ("%s does not fit %s: %s %s%s"):format(file, o.model, what,
        tostring(names[1]), #names > 1 and (" and %d more"):format(#names - 1) or "")
    end
  end
  return model
end

local function train(o, model, data, epochs, lr, seed, meter, more)
  return wattle.fit {
    model = model, data = { train = data.train, val = data.val }, epochs = epochs, seed = seed,
    batch_size = o.batch_size, optimizer = { "sgd", lr = lr, momentum = o.momentum, nesterov = o.momentum > 0,
                                             weight_decay = o.weight_decay },
    schedule = wattle.schedule.cosine { lr = lr, epochs = epochs, per = "step" },
    backend = o.backend, meter = meter, progress = more.progress, checkpoint = more.checkpoint,
  }
end

local function evaluate(o, model, ds, meter)
  return wattle.evaluate(model, ds, { batch_size = o.batch_size, backend = o.backend, meter = meter })
end

-- What pretraining goes on from when it was stopped; gone once it is not needed.
local function training_state(folder)
  return folder .. "/pretraining.state"
end

local function drop_training_state(folder)
  local path = training_state(folder)
  if not core.exists(path) then return end
  local removed, message = core.remove(path)
  if not removed then error(message, 0) end
end

-- Trains the checkpoint that all copies start from, and writes it into the results. A resumed experiment that has it
-- reads it.
local function pretrain(o, data, start)
  return function(stage)
    local path = stage.out .. "/checkpoint.safetensors"
    if stage.finished then
      local dict, meta = wattle.load(path)
      if not dict then error(meta, 0) end
      start.dict, start.sha256 = dict, core.sha256_dict(dict)
      if start.sha256 ~= meta.sha256 then error(path .. ": is not what this experiment was begun with", 0) end
      return
    end
    local model = new_model(o)
    local history = train(o, model, data, o.epochs, o.lr, stage.seed, stage,
                          { checkpoint = training_state(stage.out) })
    if history.status ~= "ok" then error("pretraining: loss is not finite; a lower --lr may help", 0) end
    local test = evaluate(o, model, data.test, stage)
    io.stderr:write(("pretrained: %.2f %% of the test images\n"):format(test.top1_pct))
    start.dict = model:state_dict()
    start.sha256 = core.sha256_dict(start.dict)
    local meta = { model = o.model, init = start.name, seed = tostring(stage.seed), sha256 = start.sha256,
                   test_top1_pct = ("%.2f"):format(test.top1_pct) }
    local saved, message = wattle.save(path, start.dict, meta)
    if not saved then error(message, 0) end
    return { epoch_rows = history }
  end
end

local function read_checkpoint(o, start)
  local dict, meta = wattle.load(o.checkpoint)
  need(dict, meta)
  need(model_from(o, dict))
  start.dict, start.sha256 = dict, core.sha256_dict(dict)
  start.name = results.identifier(meta and meta.init or "checkpoint", "init_")
end

-- The size of the model as a file.
local function disk_bytes(o, case, model)
  local folder = case.out .. "/models"
  local made, message = core.mkdir(folder)
  if not made then error(message, 0) end
  local path = ("%s/%s.safetensors"):format(folder, case.run_id)
  local saved, reason = wattle.save(path, model:state_dict())
  if not saved then error(reason, 0) end
  local file <close> = assert(io.open(path, "rb"))
  local bytes = file:seek "end"
  if not o.keep_models then
    core.remove(path)
    core.remove(folder)
  end
  return bytes
end

-- One copy: load, compress, train on, evaluate.
local function run_case(o, data, start)
  return function(case)
    local arm = technique[case.technique]
    drop_training_state(case.out)
    local model, message = model_from(o, start.dict)
    if not model then error(message, 0) end
    if arm.compress then
      local r <close> = case:region "compress"
      model = arm.compress(model, case.level, case.seed)
      r:stop()
    end
    local history = train(o, model, data, o.tune_epochs, o.tune_lr, case.seed, case, { progress = false })
    if history.status ~= "ok" then return { status = history.status, epoch_rows = history } end
    local test = evaluate(o, model, data.test, case)
    local executed, needed = wattle.compress.flops_per_image(model, data.test.shape)
    return {
      init_sha256 = "sha256_" .. start.sha256, init = start.name,
      steps = history.steps, samples_seen = history.samples_seen, epochs = #history, epoch_rows = history,
      val_top1_pct = history[#history].val_top1_pct,
      test_top1_pct = test.top1_pct, macro_f1 = test.macro_f1, loss = test.loss,
      params = model:num_parameters(), nonzeros = wattle.nonzeros(model),
      flops_per_image = needed, flops_executed_per_image = executed,
      disk_bytes = disk_bytes(o, case, model),
    }
  end
end

---- steganographic capacity ----

-- How many low-order bits can be overwritten without losing more than epsilon points, by validation images; one row
-- a number of bits goes to capacity.csv.
local function sweep(o, data, start)
  return function(stage)
    if stage.finished then return end
    drop_training_state(stage.out)
    local model, message = model_from(o, start.dict)
    if not model then error(message, 0) end
    local val = data.val:take(o.capacity_images)
    local rows
    do
      local r <close> = stage:region "eval"
      rows = wattle.compress.capacity(model, {
        evaluate = function(m) return evaluate(o, m, val).top1_pct end,
        report = function(m) return evaluate(o, m, data.test).top1_pct end,
        epsilon_points = o.epsilon, layers = o.capacity == "layers", progress = false,
      })
    end
    local cells = {}
    for i, row in ipairs(rows) do
      cells[i] = {
        experiment = "mei2025", model = o.model, init_sha256 = "sha256_" .. start.sha256, layer = row.layer,
        arm = row.arm, bits = row.bits, val_images = #val, val_top1_pct = row.val_top1_pct,
        test_top1_pct = row.test_top1_pct, within_epsilon = row.within, chosen = row.chosen,
        capacity_bytes = row.capacity_bytes,
      }
    end
    local written, why = results.write(stage.out .. "/capacity.csv", results.capacity, cells)
    if not written then error(why, 0) end
  end
end

-- "20 bits, 23.8 points below 19": the bit that costs most.
local function cliff(by_bits)
  local fall, at = 0, nil
  for bits = 1, 23 do
    local before, row = by_bits[bits - 1], by_bits[bits]
    if before and row and before.val_top1_pct - row.val_top1_pct > fall then
      fall, at = before.val_top1_pct - row.val_top1_pct, bits
    end
  end
  return at and ("%d bits, %.1f points below %d"):format(at, fall, at - 1) or "no number of bits"
end

-- Where the cliff is, from the sweep of the whole model.
local function print_capacity(o, folder)
  local path = folder .. "/capacity.csv"
  if not core.exists(path) then return end
  local rows = need(results.read(path, results.capacity))
  local by_bits, chosen = {}, nil
  for _, row in ipairs(rows) do
    if not row.layer then
      by_bits[row.bits] = row
      if row.chosen then chosen = row end
    end
  end
  if not chosen then return end
  local function at(row)
    return ("%.2f %% of the validation images%s"):format(row.val_top1_pct,
      row.test_top1_pct and (", %.2f %% of the test images"):format(row.test_top1_pct) or "")
  end
  local first, over = by_bits[0], by_bits[chosen.bits + 1]
  io.stdout:write(("\nCapacity: %d low-order bits of every parameter can be overwritten at a loss of at most %g point%s "
    .. "on %d validation images: %s bytes.\n"):format(chosen.bits, o.epsilon, o.epsilon == 1 and "" or "s",
    chosen.val_images, text.count(chosen.capacity_bytes)))
  if first then io.stdout:write("  no bits: ", at(first), "\n") end
  io.stdout:write(("  %d bits: "):format(chosen.bits), at(chosen), "\n")
  if over then
    io.stdout:write(("  %d bits: "):format(over.bits), at(over), "\n",
                    ("The loss passes %g point%s between %d and %d bits; the cliff, the steepest fall, is at %s.\n"):format(
                      o.epsilon, o.epsilon == 1 and "" or "s", chosen.bits, over.bits, cliff(by_bits)))
  else
    io.stdout:write("No cliff: every bit of the significand can be overwritten.\n")
  end
end

---- what is said ----

-- "0.890 [0.617, 1.285]"; the middle alone where its bounds are not of the kind that the notes speak of.
local function with_interval(format, middle, i, kind)
  if not (middle and i.low) then return "" end
  if i.kind ~= kind then return format:format(middle) end
  return (format .. " [" .. format .. ", " .. format .. "]"):format(middle, i.low, i.high)
end

local function label(row)
  local t = technique[row.technique]
  if not row.level then return row.technique end
  return row.technique .. " " .. t.label:format(t.unit == "bits" and row.level or 100 * row.level)
end

-- What low and high are: as stats.interval names it.
local function kind_of_bounds(seeds)
  return #seeds >= stats.min_seeds and "ci95" or "range"
end

local function print_tables(rows, details, measured, kind)
  local cost = measured and "energy_train_j" or "duration_train_s"
  local first, second = {}, {}
  for n, row in ipairs(rows) do
    local top1, spent = details[n].test_top1_pct, details[n][cost]
    local diff, verdict = top1.diff or {}, spent.verdict or {}
    first[n] = {
      label(row), row.seeds, text.spread(top1.value, 2), with_interval("%+.2f", diff.mean, diff, kind),
      text.number(spent.value.mean, 2), with_interval("%.3f", verdict.ratio, verdict, kind),
      verdict.ratio and verdict.verdict or "",
    }
    second[n] = {
      label(row), text.count(row.params), text.count(row.nonzeros), text.count(row.flops_per_image),
      text.count(row.flops_executed_per_image), text.count(row.disk_bytes), text.count(row.peak_rss_bytes),
      text.number(row.duration_s, 1),
      text.number(row.energy_est_j, 1),
    }
  end
  io.stdout:write(text.render({ "technique", "seeds", "test top-1, %", "to baseline, points",
                                measured and "train, J" or "train, s", "to baseline, ratio",
                                { "verdict", "left" } }, first), "\n")
  io.stdout:write(text.render({ "technique", "params", "nonzero", "FLOPs/image", "executed", "file, B",
                                "peak RSS, B", "whole run, s", "estimate, J" }, second))
end

-- Low rank that left every layer alone is the baseline under another name: say so.
local function unchanged(rows)
  local params = {}
  for _, row in ipairs(rows) do
    if row.technique == "baseline" then params.baseline = row.params end
  end
  local names = {}
  for _, row in ipairs(rows) do
    if row.technique == "lowrank" and row.params and row.params == params.baseline then names[#names + 1] = label(row) end
  end
  return names
end

-- What is not as the tables suppose, a line each.
local function exceptions(rows, details, cost, runs)
  local notes, interrupted = {}, 0
  for n, row in ipairs(rows) do
    local verdict = details[n][cost].verdict
    if verdict and verdict.reason then notes[#notes + 1] = ("%s: %s."):format(label(row), verdict.reason) end
    if row.runs_ok < row.runs then
      notes[#notes + 1] = ("%s: %d of %d runs did not end well."):format(label(row), row.runs - row.runs_ok, row.runs)
    end
  end
  for _, run in ipairs(runs) do interrupted = interrupted + (run.interrupted and 1 or 0) end
  if interrupted > 0 then
    notes[#notes + 1] = ("%d runs were interrupted: their accuracy counts, their time and energy do not."):format(
      interrupted)
  end
  local others = compare.others_share(runs)
  if others and others > compare.busy_share then
    notes[#notes + 1] = ("Other programs took %.0f %% of the processors during the runs: distrust the times. No verdict "
      .. "is drawn\non runs where it was more than %.0f %%."):format(100 * others, 100 * compare.busy_share)
  end
  return notes
end

local function verdicts(details, cost)
  local k = 0
  for _, d in ipairs(details) do k = k + (d[cost].verdict and d[cost].verdict.ratio and 1 or 0) end
  return k
end

local function print_notes(o, rows, details, seeds, measured, runs)
  local cost = measured and "energy_train_j" or "duration_train_s"
  local k = verdicts(details, cost)
  local ci = kind_of_bounds(seeds) == "ci95"
  local notes = {
    ("Equal steps: every copy of %s was trained on for %d epoch%s over the same images in the same order."):format(
      o.model, o.tune_epochs, o.tune_epochs == 1 and "" or "s"),
    "To baseline: paired by seed, " .. (ci and "with 95 % intervals (± is one too)." or
                                        "with the range over seeds: an interval needs three seeds."),
    "Intervals cover the seeds of training on, all from one checkpoint: another checkpoint may differ by more.",
    "Verdict: equivalent if the ratio is shown to lie within ±5 %, else saves or costs if its interval excludes 1."
      .. (k > 1 and ("\n%d verdicts are drawn without correction for multiplicity: by chance about one in 20 is "
                     .. "wrong."):format(k) or ""),
    measured and "Energy is measured: the verdict is about the joules of training."
      or "No energy counters here: energy verdicts need them, so the verdict is about time.\n"
        .. "The estimate is CPU time times a constant: it repeats the time and ranks nothing.",
    "FLOPs/image: arithmetic of the weights that are not zero. Executed: what the dense kernels do.",
    "Not answered by this table: equal accuracy, equal joules, the full cycle with inference.",
    ASSUMED,
  }
  for i, name in ipairs(unchanged(rows)) do
    table.insert(notes, i, name .. ": no layer's FLOPs would fall at that level, so nothing was replaced.")
  end
  if o.shard then
    notes[#notes + 1] = ("This is shard %s; 'wattle merge OUT SHARD...' joins the shards."):format(o.shard)
  end
  for _, note in ipairs(exceptions(rows, details, cost, runs)) do notes[#notes + 1] = note end
  io.stdout:write("\n", table.concat(notes, "\n"), "\n")
end

local function report(o, experiment, seeds)
  local rows, columns, details = compare.summary(experiment, {
    by = { "technique", "level", "level_unit" }, baseline = { technique = "baseline" },
    differences = { "test_top1_pct", "val_top1_pct" },
    ratios = { "duration_train_s", "energy_train_j" },
    means = { "params", "nonzeros", "flops_per_image", "flops_executed_per_image", "disk_bytes", "duration_s",
              "energy_j", "energy_est_j", "peak_rss_bytes" },
  })
  local path = experiment.out .. "/summary.csv"
  need(results.write(path, columns, rows))
  local measured = false
  for _, row in ipairs(rows) do measured = measured or row.energy_train_j ~= nil end
  io.stdout:write("\n")
  print_tables(rows, details, measured, kind_of_bounds(seeds))
  print_capacity(o, experiment.out)
  print_notes(o, rows, details, seeds, measured, experiment.rows)
  io.stdout:write("Results: ", experiment.out, " (runs.csv, epochs.csv, energy.csv, ",
                  core.exists(experiment.out .. "/capacity.csv") and "capacity.csv, " or "",
                  "summary.csv, runs.json)\n")
end

-- The results stand without them.
local function draw(o, out)
  if o.shard then return end
  local drawn, message = wattle.pictures.draw(out)
  if not drawn then
    io.stderr:write("mei2025: no pictures: ", message, "\n")
    return
  end
  local names = {}
  for i, picture in ipairs(drawn) do names[i] = picture.file:match "[^/]*$" end
  io.stdout:write("Pictures: ", out, "/pictures (", table.concat(names, ", "), "); all on one page: wattle report ", out, "\n")
end

local function main()
  local o = cli.main(spec, arg)
  if not o.given.width and not o.model:find "^resnet" then o.width = nil end -- --quick's is for resnets
  local known, message = pcall(new_model, o)
  if not known then die((message:gsub("^%S+:%d+: ", ""))) end
  if o.threads then core.threads(o.threads) end
  if o.resume and not o.out then die("--resume: say with --out which folder to go on with") end
  o.out = o.out or os.date "mei2025-%Y%m%d-%H%M%S"
  local seeds, began = seeds_of(o), core.now()
  local shard = shard_of(o, seeds)
  local data = load_data(o)
  local start = { name = ("fashion_mnist_e%d"):format(o.epochs) }
  if o.checkpoint then read_checkpoint(o, start) end

  -- What a resumed run must be asked again: not where, nor how the shares are dealt, which the plan has.
  local asked, aside = { checkpoint_sha256 = o.checkpoint and start.sha256 }, {}
  for _, k in ipairs { "given", "out", "resume", "shard", "quick", "checkpoint", "seed", "seeds" } do aside[k] = true end
  for k, v in pairs(o) do
    if not aside[k] then asked[k] = v end
  end
  local stages = {}
  if not o.checkpoint then stages[1] = { "prepare", pretrain(o, data, start) } end
  if o.capacity ~= "off" then stages[#stages + 1] = { "capacity", sweep(o, data, start) } end
  local ended, experiment, message = xpcall(wattle.experiment, function(e)
    return core.error_code(e) == "interrupted" and e or debug.traceback(tostring(e), 2)
  end, {
    name = "mei2025", out = o.out, factors = cases_of(o), seeds = seeds, repeats = o.repeats, raise = false,
    resume = o.resume, shard = shard, idle_s = o.idle,
    constants = { model = o.model, dataset = "fashion_mnist", backend = o.backend, dtype = "f32", width = o.width,
                  train_images = #data.train, batch_size = o.batch_size, tune_lr = o.tune_lr },
    columns = { { "width", "integer" }, { "train_images", "integer" }, { "batch_size", "integer" },
                { "tune_lr", "number" } },
    options = asked, prepare = stages, run = run_case(o, data, start),
  })
  if not ended then die(experiment) end
  need(experiment, message)
  report(o, experiment, seeds)
  draw(o, experiment.out)
  io.stdout:write("Took ", progress.duration(core.now() - began), ".\n")
  if experiment.failed > 0 then os.exit(1, true) end
end

main()
