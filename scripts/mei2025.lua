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
local text = require "wattle.table"
local core = wattle.core

-- The validation images are the same in every run, whatever its seed.
local VALIDATION_IMAGES, VALIDATION_SEED = 5000, 0

local ASSUMED = "Assumed, as the paper does not publish them: model, data, rates, epochs, batch size, levels."

-- One row a technique: the option that lists its levels, their unit, how the table writes one (a fraction in
-- %), and how to compress.
local TECHNIQUES = {
  { name = "baseline" },
  { name = "scr_zero", option = "bits", unit = "bits", label = "%g bits",
    compress = function(model, level)
      return wattle.compress.scr(model, { bits = math.tointeger(level), arm = "zero" })
    end },
  { name = "prune_global", option = "amounts", unit = "fraction_removed", label = "%g %%",
    compress = function(model, level)
      return wattle.compress.prune(model, { amount = level, scope = "global" })
    end },
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
    { "checkpoint", "string", nil, "start from this file instead of pretraining", value = "FILE" },
    { "epochs", "integer", 10, "epochs of pretraining", value = "N", min = 1 },
    { "tune-epochs", "integer", 2, "epochs that every copy is trained on", value = "N", min = 1 },
    { "seeds", "integers", { 3 }, "one number is a count (3 means 1,2,3), several are the seeds themselves",
      value = "N|A,B,..." },
    { "repeats", "integer", 1, "runs of each technique, level and seed", value = "N", min = 1 },
    { "techniques", "strings", technique_names, "which to run", value = "A,B,...", choices = technique_names },
    { "bits", "integers", { 8, 16, 20 }, "levels of scr_zero: low-order bits set to zero",
      value = "A,B,...", min = 1, max = 23 },
    { "amounts", "numbers", { 0.3, 0.5, 0.8 }, "levels of prune_global: share of weights removed",
      value = "A,B,...", min = 0, max = 0.999 },
    { "energies", "numbers", { 0.9, 0.99 }, "levels of lowrank: share of squared singular values kept",
      value = "A,B,...", min = 0.001, max = 1 },
    { "batch-size", "integer", 128, "images a step", value = "N", min = 1 },
    { "lr", "number", 0.1, "first learning rate of pretraining (cosine to 0)", value = "X", min = 0 },
    { "tune-lr", "number", 0.01, "first learning rate of training on (cosine to 0)", value = "X", min = 0 },
    { "momentum", "number", 0.9, "Nesterov momentum", value = "X", min = 0, max = 0.9999 },
    { "weight-decay", "number", 5e-4, "L2 penalty", value = "X", min = 0 },
    { "backend", "string", "auto", "kernels to compute with", value = "NAME",
      choices = { "auto", "onednn", "blas", "reference" } },
    { "threads", "integer", nil, "threads to compute with (default: all processors)", value = "N",
      min = 1, max = 1024 },
    { "keep-models", "flag", false, "keep every trained model in the results' folder models" },
    { "quick", "flag", false, "a small version that takes a few minutes" },
  },
  -- One thread: so small a network gains little from more, and loses much where others use the machine.
  presets = {
    quick = { model = "resnet8", width = 8, ["train-images"] = 5000, epochs = 4, ["tune-epochs"] = 1,
              ["batch-size"] = 64, threads = 1 },
  },
  notes = ASSUMED .. "\n",
}

local function die(message)
  io.stderr:write("mei2025: ", message, "\n")
  os.exit(1, true)
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

local function seeds_of(list)
  distinct("seeds", list)
  if #list > 1 then return list end
  local seeds = {}
  if list[1] < 1 then die("--seeds: a count must be at least 1") end
  if list[1] > SEEDS_MAX then
    die(("--seeds: one number is a count, and %d is above %d; seeds themselves are a list A,B"):format(list[1],
                                                                                                     SEEDS_MAX))
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
  local diff = model:load_state_dict(dict)
  for _, what in ipairs { "missing", "unexpected", "mismatched" } do
    local names = diff[what]
    if #names > 0 then
      return nil, ("the checkpoint does not fit %s: %s %s%s"):format(o.model, what, tostring(names[1]),
        #names > 1 and (" and %d more"):format(#names - 1) or "")
    end
  end
  return model
end

local function train(o, model, data, epochs, lr, seed, meter, show)
  return wattle.fit {
    model = model, data = { train = data.train, val = data.val }, epochs = epochs, seed = seed,
    batch_size = o.batch_size, optimizer = { "sgd", lr = lr, momentum = o.momentum, nesterov = o.momentum > 0,
                                             weight_decay = o.weight_decay },
    schedule = wattle.schedule.cosine { lr = lr, epochs = epochs, per = "step" },
    backend = o.backend, meter = meter, progress = show,
  }
end

local function evaluate(o, model, ds, meter)
  return wattle.evaluate(model, ds, { batch_size = o.batch_size, backend = o.backend, meter = meter })
end

-- Trains the checkpoint that all copies start from, and writes it into the results.
local function pretrain(o, data, start)
  return function(stage)
    wattle.manual_seed(stage.seed)
    local model = new_model(o)
    local history = train(o, model, data, o.epochs, o.lr, stage.seed, stage)
    if history.status ~= "ok" then error("pretraining: loss is not finite; a lower --lr may help", 0) end
    local test = evaluate(o, model, data.test, stage)
    io.stderr:write(("pretrained: %.2f %% of the test images\n"):format(test.top1_pct))
    start.dict = model:state_dict()
    local meta = { model = o.model, init = start.name, seed = tostring(stage.seed),
                   test_top1_pct = ("%.2f"):format(test.top1_pct) }
    local saved, message = wattle.save(stage.out .. "/checkpoint.safetensors", start.dict, meta)
    if not saved then error(message, 0) end
    start.sha256 = core.sha256_dict(start.dict)
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
    wattle.manual_seed(case.seed)
    local model, message = model_from(o, start.dict)
    if not model then error(message, 0) end
    if arm.compress then
      local r <close> = case:region "compress"
      model = arm.compress(model, case.level)
      r:stop()
    end
    local history = train(o, model, data, o.tune_epochs, o.tune_lr, case.seed, case, false)
    if history.status ~= "ok" then return { status = history.status, epoch_rows = history } end
    local test = evaluate(o, model, data.test, case)
    local flops = wattle.compress.flops_per_image(model, data.test.shape)
    return {
      init_sha256 = "sha256_" .. start.sha256, init = start.name,
      steps = history.steps, samples_seen = history.samples_seen, epochs = #history, epoch_rows = history,
      val_top1_pct = history[#history].val_top1_pct,
      test_top1_pct = test.top1_pct, macro_f1 = test.macro_f1, loss = test.loss,
      params = model:num_parameters(), nonzeros = wattle.nonzeros(model),
      flops_per_image = flops, flops_executed_per_image = flops, -- dense kernels: zeros count
      disk_bytes = disk_bytes(o, case, model),
    }
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
  return #seeds >= 3 and "ci95" or "range"
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
      text.count(row.disk_bytes), text.count(row.peak_rss_bytes), text.number(row.duration_s, 1),
      text.number(row.energy_est_j, 1),
    }
  end
  io.stdout:write(text.render({ "technique", "seeds", "test top-1, %", "to baseline, points",
                                measured and "train, J" or "train, s", "to baseline, ratio",
                                { "verdict", "left" } }, first), "\n")
  io.stdout:write(text.render({ "technique", "params", "nonzero", "FLOPs/image", "file, B", "peak RSS, B",
                                "whole run, s", "estimate, J" }, second))
end

-- What share of the processors' time other programs took during the runs; nil where it is not known.
local function others_share(runs)
  local taken, time = 0, 0
  for _, run in ipairs(runs) do
    if run.other_cpu_s then taken, time = taken + run.other_cpu_s, time + run.duration_s end
  end
  local processors = tonumber(core.build_info():match "processors: (%d+)")
  return processors and time > 0 and taken / (time * processors) or nil
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

local function print_notes(o, rows, seeds, measured, runs)
  local ci = kind_of_bounds(seeds) == "ci95"
  local notes = {
    ("Equal steps: every copy of %s was trained on for %d epoch%s over the same images in the same order."):format(
      o.model, o.tune_epochs, o.tune_epochs == 1 and "" or "s"),
    "To baseline: paired by seed, " .. (ci and "with 95 % intervals (± is one too)." or
                                        "with the range over seeds: an interval needs three seeds."),
    "Verdict: equivalent if the ratio is shown to lie within ±5 %, else saves or costs if its interval excludes 1.",
    measured and "Energy is measured: the verdict is about the joules of training."
      or "No energy counters here: energy verdicts need them, so the verdict is about time.\n"
        .. "The estimate is CPU time times a constant: it repeats the time and ranks nothing.",
    "Not answered by this table: equal accuracy, equal joules, the full cycle with inference.",
    ASSUMED,
  }
  for i, name in ipairs(unchanged(rows)) do
    table.insert(notes, i, name .. ": no layer's FLOPs would fall at that level, so nothing was replaced.")
  end
  local others = others_share(runs)
  if others and others > 0.1 then
    notes[#notes + 1] = ("Other programs took %.0f %% of the processors during the runs: distrust the times."):format(100 * others)
  end
  io.stdout:write("\n", table.concat(notes, "\n"), "\n")
  for _, row in ipairs(rows) do
    if row.runs_ok < row.runs then
      local bad = row.runs - row.runs_ok
      io.stdout:write(("%s: %d of %d runs did not end well.\n"):format(label(row), bad, row.runs))
    end
  end
end

local function report(o, experiment, seeds)
  local rows, columns, details = compare.summary(experiment, {
    by = { "technique", "level", "level_unit" }, baseline = { technique = "baseline" },
    differences = { "test_top1_pct", "val_top1_pct" },
    ratios = { "duration_train_s", "energy_train_j" },
    means = { "params", "nonzeros", "flops_per_image", "disk_bytes", "duration_s", "energy_j", "energy_est_j",
              "peak_rss_bytes" },
  })
  local path = experiment.out .. "/summary.csv"
  need(results.write(path, columns, rows))
  local measured = false
  for _, row in ipairs(rows) do measured = measured or row.energy_train_j ~= nil end
  io.stdout:write("\n")
  print_tables(rows, details, measured, kind_of_bounds(seeds))
  print_notes(o, rows, seeds, measured, experiment.rows)
  io.stdout:write("Results: ", experiment.out, " (runs.csv, epochs.csv, energy.csv, summary.csv, runs.json)\n")
end

local function main()
  local o = cli.main(spec, arg)
  if not o.given.width and not o.model:find "^resnet" then o.width = nil end -- --quick's is for resnets
  local known, message = pcall(new_model, o)
  if not known then die((message:gsub("^%S+:%d+: ", ""))) end
  if o.threads then core.threads(o.threads) end
  o.out = o.out or os.date "mei2025-%Y%m%d-%H%M%S"
  local seeds, began = seeds_of(o.seeds), core.now()
  local data = load_data(o)
  local start = { name = ("fashion_mnist_e%d"):format(o.epochs) }
  if o.checkpoint then read_checkpoint(o, start) end

  local asked = {}
  for k, v in pairs(o) do
    if k ~= "given" and k ~= "out" then asked[k] = v end
  end
  local experiment = need(wattle.experiment {
    name = "mei2025", out = o.out, factors = cases_of(o), seeds = seeds, repeats = o.repeats, raise = false,
    constants = { model = o.model, dataset = "fashion_mnist", backend = o.backend, dtype = "f32", width = o.width,
                  train_images = #data.train, batch_size = o.batch_size, tune_lr = o.tune_lr },
    columns = { { "width", "integer" }, { "train_images", "integer" }, { "batch_size", "integer" },
                { "tune_lr", "number" } },
    options = asked,
    prepare = not o.checkpoint and pretrain(o, data, start) or nil,
    run = run_case(o, data, start),
  })
  report(o, experiment, seeds)
  io.stdout:write("Took ", progress.duration(core.now() - began), ".\n")
  if experiment.failed > 0 then os.exit(1, true) end
end

main()
