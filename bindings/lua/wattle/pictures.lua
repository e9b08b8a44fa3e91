-- The pictures of an experiment, drawn from its folder's tables: accuracy against time, energy and a factor, the sweep of
-- capacity, training curves, power over time. Knows what the columns mean and which comparison is fair; how a picture is
-- drawn is plot.lua's. Scripts call pictures.draw(folder) when their runs are done, and `wattle report` does again.
local wattle = require "wattle"
local compare = require "wattle.compare"
local folder = require "wattle.folder"
local plot = require "wattle.plot"
local results = require "wattle.results"
local stats = require "wattle.stats"
local where = require "wattle.where"
local core = wattle.core

local pictures = {}

---- groups ----

local function scalar(v)
  return v ~= nil and v ~= core.null and type(v) ~= "table"
end

-- The columns that make a group: the factors, in the order of runs.csv. Without a factor, the experiment is one group.
function pictures.factors(e)
  local by = {}
  for _, c in ipairs(e.columns) do
    for _, case in ipairs(e.side.cases) do
      if scalar(case[c.name]) then
        by[#by + 1] = c.name
        break
      end
    end
  end
  return #by > 0 and by or { "experiment" }
end

local PERCENT = { fraction_removed = true, energy_kept = true }

-- A group in words: "scr_zero 16 bits", "prune_global 50 %", "width 8".
function pictures.label(row, by)
  local parts = {}
  for _, name in ipairs(by) do
    local v = row[name]
    if name == "level" and v then
      local unit = row.level_unit or ""
      parts[#parts + 1] = PERCENT[unit] and ("%g %%"):format(100 * v) or ("%g %s"):format(v, unit)
    elseif type(v) == "string" and name ~= "level_unit" then
      parts[#parts + 1] = v
    elseif v ~= nil and name ~= "level_unit" then
      parts[#parts + 1] = ("%s %s"):format(name, type(v) == "number" and ("%g"):format(v) or tostring(v))
    end
  end
  return table.concat(parts, " ")
end

-- The technique's name, or whatever else the series of a picture is called.
local function family(row, by)
  return row.technique or pictures.label(row, by)
end

local function is_baseline(row, s)
  for k, v in pairs(s.baseline or {}) do
    if row[k] ~= v then return false end
  end
  return s.baseline ~= nil
end

-- name_of(row, by) -> colour, by all groups in their order: a technique keeps its colour from picture to picture.
local function colors_of(s, name_of)
  local color, n = {}, 0
  for _, row in ipairs(s.rows) do
    local name = name_of(row, s.by)
    if not color[name] and is_baseline(row, s) then
      color[name] = "neutral"
    elseif not color[name] then
      color[name], n = n % plot.colors + 1, n + 1
    end
  end
  return color
end

-- Has any finished run a number there?
local function has(e, name)
  for _, row in ipairs(e.runs) do
    if row.status == "ok" and row[name] ~= nil then return true end
  end
  return false
end

-- The first column of a list that holds anything.
local function first_of(e, names)
  for _, name in ipairs(names) do
    if results.find(e.columns, name) and has(e, name) then return name end
  end
end

-- The baseline as compare wants it: the one given, else the technique of that name where it is one group; else nil.
local function baseline_of(e, by, given)
  if given then return given end
  local n = 0
  for _, case in ipairs(e.side.cases) do
    if case.technique == "baseline" then n = n + 1 end
  end
  return n == 1 and { technique = "baseline" } or nil
end

-- pictures.summary(e [, baseline]) -> {rows, columns, details, by, baseline, accuracy, cost, measured, ...}: what
-- compare.summary says of the experiment that folder.read gave, with the columns that are there. accuracy and time
-- are the columns' names; cost is the one that verdicts are about: energy where a counter measured it, else time.
function pictures.summary(e, baseline)
  local by = pictures.factors(e)
  local s = { by = by, baseline = baseline_of(e, by, baseline) }
  s.differences, s.ratios, s.means = {}, {}, {}
  s.accuracy = first_of(e, { "test_top1_pct", "val_top1_pct" })
  for _, name in ipairs { "test_top1_pct", "val_top1_pct" } do
    if has(e, name) then table.insert(s.differences, name) end
  end
  for _, name in ipairs { "macro_f1", "loss" } do
    if has(e, name) then table.insert(s.accuracy and s.means or s.differences, name) end
  end
  for _, name in ipairs { "duration_train_s", "energy_train_j" } do
    if has(e, name) then table.insert(s.ratios, name) end
  end
  if #s.ratios == 0 and has(e, "duration_s") then s.ratios[1] = "duration_s" end
  for _, name in ipairs { "params", "nonzeros", "flops_per_image", "flops_executed_per_image", "disk_bytes",
                          "peak_rss_bytes", "duration_s", "energy_j", "energy_net_j", "energy_est_j" } do
    if has(e, name) then table.insert(s.means, name) end
  end
  s.time = first_of(e, { "duration_train_s", "duration_s" })
  s.energy = first_of(e, { "energy_train_j", "energy_j" }) -- counters only: an estimate has no axis
  s.measured = has(e, "energy_train_j")
  s.cost = s.measured and "energy_train_j" or s.ratios[1]
  local experiment = { rows = e.runs, columns = e.columns, cases = e.side.cases }
  if #by == 1 and by[1] == "experiment" then experiment.cases = { { experiment = e.side.experiment } } end
  s.processors = type(e.side.build) == "table" and tonumber(e.side.build.processors) or nil
  s.rows, s.columns, s.details = compare.summary(experiment, { processors = s.processors,
    by = by, baseline = s.baseline, differences = s.differences, ratios = s.ratios, means = s.means })
  return s
end

---- one picture each: returns plot's options, a title and a caption; nil where there is nothing to draw ----

local draw = {}

local CUT = " They are cut where no value can be: below 0, above 100 %."
local SPREAD = "Bars are 95 % intervals over seeds (the range below three seeds), in both directions." .. CUT

-- The ends of a column's interval as they are drawn: Student's t knows no bounds, but there are no seconds below 0.
local function ends(i, name)
  local low, high = i.low, i.high
  if name:find "top1_pct$" or name:find "^duration_" then low = math.max(low, 0) end
  if name:find "top1_pct$" then high = math.min(high, 100) end
  return low, high
end

-- The interval of a column in a group, whichever list it is in.
local function interval_of(e, s, n, name)
  local d = s.details[n][name]
  if d then return d.value end
  local list = {}
  for _, row in ipairs(e.runs) do
    local same = row.status == "ok" and not (results.is_metered(name) and row.interrupted)
    for _, column in ipairs(s.by) do same = same and row[column] == s.rows[n][column] end
    if same then list[#list + 1] = row end
  end
  return stats.interval((stats.values(stats.by_seed(list, name))))
end

-- Each technique a series; its levels are points, each with its spread in both directions; the baseline is marked.
-- floor: groups of less accuracy are left out. Also returns what was left out and how many are in.
local function against(e, s, cost, floor)
  local series, at, lines, out, count = {}, {}, {}, {}, 0
  local color = colors_of(s, family)
  for n, row in ipairs(s.rows) do
    local x, y = interval_of(e, s, n, cost), interval_of(e, s, n, s.accuracy)
    local name = family(row, s.by)
    if x.mean and y.mean and floor and y.mean < floor then
      out[#out + 1] = pictures.label(row, s.by)
    elseif x.mean and y.mean then
      count = count + 1
      local list = at[name]
      if not list then
        list = { name = name, kind = "scatter", x = {}, y = {}, low = {}, high = {}, xlow = {}, xhigh = {}, labels = {},
                 color = color[name] }
        at[name], series[#series + 1] = list, list
      end
      local k = #list.x + 1
      list.x[k], list.y[k] = x.mean, y.mean
      if x.n > 1 then list.xlow[k], list.xhigh[k] = ends(x, cost) end
      if y.n > 1 then list.low[k], list.high[k] = ends(y, s.accuracy) end
      if row.technique then
        list.labels[k] = row.level and pictures.label({ level = row.level, level_unit = row.level_unit },
                                                      { "level" }):gsub(" bits$", "") or nil
      end
      if is_baseline(row, s) then lines = { { x = x.mean }, { y = y.mean, label = name } } end
    end
  end
  if #series == 0 then return nil end
  return { series = series, lines = lines, xlabel = pictures.axis(cost), ylabel = pictures.axis(s.accuracy) }, out, count
end

local AXES = {
  test_top1_pct = "test top-1 accuracy, %", val_top1_pct = "validation top-1 accuracy, %",
  duration_train_s = "training time, s", duration_s = "time of a run, s",
  energy_train_j = "energy of training, J (measured)", energy_j = "energy of a run, J (measured)",
  level = "level", bits = "low-order bits overwritten",
}

-- A column as an axis calls it, with its unit.
function pictures.axis(name)
  return AXES[name] or name
end

local function against_caption(s)
  return SPREAD .. (results.find(s.columns, "level") and " Numbers beside points are levels." or "")
    .. (s.baseline and " Dashed: the baseline; better is up and to the left." or "")
end

local NEAR = 10 -- points of accuracy below the best

-- The same without what collapsed, where something did: the rest stands too close together to be told apart.
local function near(e, s, cost, title)
  if not (s.accuracy and cost) then return nil end
  local best
  for n in ipairs(s.rows) do
    local mean = interval_of(e, s, n, s.accuracy).mean
    if mean and (not best or mean > best) then best = mean end
  end
  local o, out, count = against(e, s, cost, best and best - NEAR)
  if not o or #out == 0 or count < 2 then return nil end
  return o, title .. ", a closer look", ("Without what is more than %d points below the best: %s. %s"):format(NEAR,
    table.concat(out, ", "), against_caption(s))
end

function draw.accuracy_time(e, s)
  if not (s.accuracy and s.time) then return nil end
  return (against(e, s, s.time)), "Accuracy against time", against_caption(s)
end

function draw.accuracy_time_near(e, s)
  return near(e, s, s.time, "Accuracy against time")
end

function draw.accuracy_energy(e, s)
  if not (s.accuracy and s.energy) then return nil end
  return (against(e, s, s.energy)), "Accuracy against energy", against_caption(s)
end

function draw.accuracy_energy_near(e, s)
  return near(e, s, s.energy, "Accuracy against energy")
end

-- The sweep of the whole model.
function draw.capacity(e)
  local val, test, chosen = { x = {}, y = {} }, { x = {}, y = {} }, nil
  for _, row in ipairs(e.capacity or {}) do
    if not row.layer and row.bits then
      table.insert(val.x, row.bits)
      val.y[#val.x] = row.val_top1_pct
      if row.test_top1_pct then
        table.insert(test.x, row.bits)
        test.y[#test.x] = row.test_top1_pct
      end
      if row.chosen then chosen = row end
    end
  end
  if #val.x == 0 then return nil end
  val.name, test.name, test.kind = "validation images", "test images", "scatter"
  local lines = {}
  if chosen then lines[1] = { x = chosen.bits, label = ("chosen: %d bits"):format(chosen.bits) } end
  local options = type(e.side.options) == "table" and e.side.options or {}
  local epsilon = options.epsilon
  if type(epsilon) == "number" and val.x[1] == 0 and val.y[1] then
    lines[#lines + 1] = { y = val.y[1] - epsilon,
                          label = ("%.2f %% less %g point%s"):format(val.y[1], epsilon, epsilon == 1 and "" or "s") }
  end
  return { series = #test.x > 0 and { val, test } or { val }, lines = lines, xlabel = pictures.axis "bits",
           ylabel = "top-1 accuracy, %", xlim = { -0.7, 23.7 } }, "Accuracy against bits overwritten",
    ("The low-order bits of every parameter, without training after it. The bits are chosen by %s validation images "
     .. "alone: the most that lose no more than the dashed line allows. Test images are looked at afterwards."):format(
      chosen and chosen.val_images or "the")
end

-- What each layer can spare.
function draw.capacity_layers(e)
  local bars = { kind = "bars", x = {}, y = {} }
  for _, row in ipairs(e.capacity or {}) do
    if row.layer and row.chosen then
      table.insert(bars.x, row.layer)
      bars.y[#bars.x] = row.bits
    end
  end
  if #bars.x == 0 then return nil end
  local width = math.max(800, math.min(28 * #bars.x, 3000))
  return { series = { bars }, ylabel = "bits that can be overwritten", width = width },
    "Capacity of each layer", "Each layer alone, the others as they were."
end

-- Accuracy against the one factor that is a number.
function draw.accuracy_factor(e, s)
  if not s.accuracy or #s.by ~= 1 or s.rows[1] and type(s.rows[1][s.by[1]]) ~= "number" then return nil end
  local name = s.by[1]
  local order = {}
  for n in ipairs(s.rows) do order[n] = n end
  table.sort(order, function(a, b) return s.rows[a][name] < s.rows[b][name] end)
  local line = { x = {}, y = {}, low = {}, high = {} }
  for k, n in ipairs(order) do
    local i = interval_of(e, s, n, s.accuracy)
    line.x[k], line.y[k] = s.rows[n][name], i.mean
    if i.n > 1 then line.low[k], line.high[k] = ends(i, s.accuracy) end
  end
  if next(line.y) == nil then return nil end
  return { series = { line }, xlabel = pictures.axis(name), ylabel = pictures.axis(s.accuracy),
           xtics = #line.x <= 12 and line.x or nil },
    "Accuracy against " .. name, "Bars are 95 % intervals over seeds (the range below three seeds)." .. CUT
end

local CURVES_MOST = 8

-- The mean over seeds of each group's validation accuracy, by epoch; stages (pretraining) are series of their own.
function draw.training(e, s)
  local group, seed, order, at = {}, {}, {}, {}
  for _, row in ipairs(s.rows) do -- in the groups' order, whatever order they ran in
    local name = pictures.label(row, s.by)
    at[name] = { name = name, last = 0 }
    order[#order + 1] = at[name]
  end
  for _, run in ipairs(e.runs) do
    if run.status == "ok" then group[run.run_id], seed[run.run_id] = pictures.label(run, s.by), run.seed end
  end
  for _, id in ipairs(type(e.side.stages) == "table" and e.side.stages or {}) do group[id] = id end
  for _, row in ipairs(e.epochs) do
    local name = group[row.run_id]
    if name and row.epoch then
      if not at[name] then
        at[name] = { name = name, last = 0 }
        order[#order + 1] = at[name]
      end
      local epochs = at[name]
      epochs[row.epoch] = epochs[row.epoch] or {}
      table.insert(epochs[row.epoch], { seed = seed[row.run_id] or 0, v = row.val_top1_pct })
      epochs.last = math.max(epochs.last, row.epoch)
    end
  end
  local series, banded, color = {}, false, colors_of(s, pictures.label)
  for _, epochs in ipairs(order) do
    local line = { name = epochs.name, x = {}, y = {}, low = {}, high = {}, interval = "band",
                   color = color[epochs.name] }
    for k = 1, epochs.last do
      local i = stats.interval((stats.values(stats.by_seed(epochs[k] or {}, "v"))))
      line.x[k], line.y[k] = k, i.mean
      if i.n > 1 then
        line.low[k], line.high[k] = ends(i, "val_top1_pct")
        banded = banded or epochs.last > 1
      end
    end
    if epochs.last > 1 and next(line.y) then series[#series + 1] = line end
  end
  if #series == 0 or #series > CURVES_MOST then return nil end
  return { series = series, xlabel = "epoch", ylabel = "validation top-1 accuracy, %" }, "Training",
    banded and "Bands are 95 % intervals over seeds (the range below three seeds)." .. CUT or "One run each."
end

-- Power over time of one run, phase by phase.
local function trace_of(e, id)
  local series, at, spans, last, seen_at = {}, {}, {}, nil, nil
  for _, row in ipairs(e.trace or {}) do
    if row.run_id == id and row.t_s then
      local domain = row.domain or "power"
      local line = at[domain]
      if not line then
        line = { name = domain, x = {}, y = {} }
        at[domain], series[#series + 1] = line, line
      end
      local k = #line.x + 1
      line.x[k], line.y[k] = row.t_s, row.power_w
      -- A phase lasts until another one is seen.
      if row.t_s ~= seen_at then
        local before = seen_at or row.t_s
        seen_at = row.t_s
        if last and last.label == row.region then
          last[2] = row.t_s
        else
          last = row.region and { before, row.t_s, label = row.region }
          spans[#spans + 1] = last
        end
      end
    end
  end
  if #series == 0 then return nil end
  return { series = series, spans = spans, xlabel = "time, s", ylabel = "power, W (measured)" }
end

-- Which runs' traces are drawn: the first of the baseline, or the first there is; others by pictures.power.
local function traced_run(e)
  local traced, first = {}, nil
  for _, row in ipairs(e.trace or {}) do
    traced[row.run_id] = true
    first = first or row.run_id
  end
  for _, run in ipairs(e.runs) do
    if traced[run.run_id] and run.technique == "baseline" then return run.run_id end
  end
  for _, run in ipairs(e.runs) do
    if traced[run.run_id] then return run.run_id end
  end
  return first
end

function draw.power(e, _, id)
  id = id or traced_run(e)
  if not id then return nil end
  local o = trace_of(e, id)
  return o, "Power of " .. id, "Mean power between two readings of the counter; shaded: the phase that was running."
end

local ORDER = { "capacity", "capacity_layers", "accuracy_time", "accuracy_time_near", "accuracy_energy",
                "accuracy_energy_near", "accuracy_factor", "training", "power" }

local function put(e, s, name, file, id)
  local o, title, caption = draw[name](e, s, id)
  if not o then return false end
  o.file, o.title = file, title
  local drawn, message, code = plot.plot(o)
  if not drawn then return nil, message, code end
  return { file = drawn.file, title = title, caption = caption, name = name }
end

-- A folder's path, or what folder.read gave.
local function opened(from)
  if type(from) == "string" then return folder.read(from) end
  if type(from) ~= "table" or not from.side then where.raise "pictures: a folder's path is needed" end
  return from
end

-- pictures.draw(folder [, {into = folder .. "/pictures", summary =}]) -> list of {file, title, caption, name}: all
-- pictures that the folder's tables have data for, as SVGs. nil, message, code where the folder is no experiment's or
-- gnuplot is absent.
function pictures.draw(from, options)
  local e, message, code = opened(from)
  if not e then return nil, message, code end
  options = options or {}
  local s = options.summary or pictures.summary(e)
  local into, list = options.into or e.path .. "/pictures", {}
  for _, name in ipairs(ORDER) do
    local picture
    picture, message, code = put(e, s, name, ("%s/%s.svg"):format(into, name))
    if picture == nil then return nil, message, code end
    if picture then list[#list + 1] = picture end
  end
  return list
end

-- pictures.power(folder, run_id, file): the power trace of any run in trace.csv, or nil, message, code.
function pictures.power(from, run_id, file)
  local e, message, code = opened(from)
  if not e then return nil, message, code end
  local picture
  picture, message, code = put(e, nil, "power", file, run_id)
  if picture == false then return nil, ("trace.csv holds nothing of run '%s'"):format(run_id), "arg" end
  return picture, message, code
end

return pictures
