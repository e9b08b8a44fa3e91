-- From the rows of runs.csv to a summary: one row a technique and level, with spread, and set against the
-- baseline by seed. Which columns are compared how is the caller's; the statistics are stats.lua's.
local wattle = require "wattle"
local results = require "wattle.results"
local stats = require "wattle.stats"
local util = require "wattle.util"
local where = require "wattle.where"

local compare = {}

local function append(list, name, kind)
  list[#list + 1] = { name = name, type = kind }
end

-- The column of a name; an unknown one is an error that suggests the nearest.
local function column(columns, name)
  local c = results.find(columns, name)
  if c then return c end
  where.raise("compare.summary: no column '%s'%s", tostring(name), util.hint(name, results.names(columns)))
end

-- The columns of a summary.
local function summary_columns(columns, o)
  local cols = {}
  for _, name in ipairs(o.by) do append(cols, name, column(columns, name).type) end
  append(cols, "runs", "integer")
  append(cols, "runs_ok", "integer")
  append(cols, "seeds", "integer")
  append(cols, "spread", "text") -- what every low and high of the row are: ci95 or range
  for _, name in ipairs(o.differences or {}) do
    for _, suffix in ipairs { "", "_sd", "_low", "_high", "_diff", "_diff_low", "_diff_high" } do
      append(cols, name .. suffix, "number")
    end
  end
  for _, name in ipairs(o.ratios or {}) do
    for _, suffix in ipairs { "", "_sd", "_ratio", "_ratio_low", "_ratio_high" } do
      append(cols, name .. suffix, "number")
    end
    append(cols, name .. "_verdict", "text")
  end
  for _, name in ipairs(o.means or {}) do append(cols, name, "number") end
  return cols
end

local function key_of(row, by)
  local parts = {}
  for i, name in ipairs(by) do
    local v = row[name]
    parts[i] = type(v) == "number" and ("%.17g"):format(v) or tostring(v) -- 8 and 8.0 are one level
  end
  return table.concat(parts, "\0")
end

local function matches(row, wanted)
  for k, v in pairs(wanted) do
    if row[k] ~= v then return false end
  end
  return true
end

-- Groups in the order of the experiment's cases.
local function groups_of(experiment, o)
  local groups, at = {}, {}
  local function group(row)
    local key = key_of(row, o.by)
    if not at[key] then
      at[key] = { row = row, rows = {}, ok = {}, timed = {} } -- row: where the `by` columns are read
      groups[#groups + 1] = at[key]
    end
    return at[key]
  end
  for _, case in ipairs(experiment.cases or {}) do group(case) end
  for _, row in ipairs(experiment.rows) do
    local g = group(row)
    table.insert(g.rows, row)
    if row.status == "ok" then
      table.insert(g.ok, row)
      -- An interrupted run keeps its accuracy, but its time and energy are not those of one run.
      if not row.interrupted then table.insert(g.timed, row) end
    end
  end
  return groups
end

-- The one group that o.baseline describes; nil where it was not run.
local function baseline_of(groups, columns, o)
  if not o.baseline then return nil end
  for name in pairs(o.baseline) do column(columns, name) end
  local base
  for _, g in ipairs(groups) do
    if matches(g.row, o.baseline) then
      if base then where.raise("compare.summary: more than one group is the baseline; it must name more columns") end
      base = g
    end
  end
  return base
end

-- Bounds of another kind than the row's (some seeds lack that column) are left out: no cell would say what they are.
local function put_bounds(row, name, i)
  if i.kind == row.spread then row[name .. "_low"], row[name .. "_high"] = i.low, i.high end
end

-- Above this share of the processors' time, other programs decide a run's time and energy as much as the run.
compare.busy_share = 0.1

-- What share of the processors' time other programs took during runs (rows of runs.csv); nil where it is not known.
-- processors: of the machine that ran them; this one's if not given.
function compare.others_share(rows, processors)
  local taken, time = 0, 0
  for _, row in ipairs(rows) do
    if row.other_cpu_s and row.duration_s then taken, time = taken + row.other_cpu_s, time + row.duration_s end
  end
  processors = tonumber(processors or wattle.core.build_info():match "processors: (%d+)")
  return processors and time > 0 and taken / (time * processors) or nil
end

-- No verdict is drawn on runs that shared the machine: v.busy says how much.
local function withhold(v, mine, base, processors)
  local rows = table.move(base.timed, 1, #base.timed, #mine.timed + 1, table.move(mine.timed, 1, #mine.timed, 1, {}))
  local share = compare.others_share(rows, processors)
  if v.n > 0 and share and share > compare.busy_share then v.verdict, v.busy = "inconclusive", share end
  return v
end

local OPTIONS = { "by", "baseline", "differences", "ratios", "means", "margin", "processors" }

-- compare.summary(experiment, {...}) -> the summary's rows, their columns, and the details: for each row
-- {[column] = {value = interval, diff = interval, verdict = stats.verdict's}}. experiment: what
-- wattle.experiment returned, or {rows =, columns =} as results.read gives. Options:
--   by           columns that make a group
--   baseline     {column = value}: the group that the others are set against, by seed
--   differences  columns compared by a - b
--   ratios       columns compared by a / b, with a verdict; margin (0.05) is what counts as equal. Where other
--                programs took more than a tenth of the processors' time (compare.busy_share), it is inconclusive
--   processors   of the machine that ran them (this one's if not given)
--   means        columns that are just averaged; interrupted runs count in none that is a time, power, energy or
--                memory
function compare.summary(experiment, o)
  util.check_options(o, OPTIONS, "compare.summary")
  local columns = experiment.columns
  for _, list in ipairs { o.differences or {}, o.ratios or {}, o.means or {} } do
    for _, name in ipairs(list) do column(columns, name) end
  end
  local groups = groups_of(experiment, o)
  local base = baseline_of(groups, columns, o)
  local rows, details = {}, {}
  for n, g in ipairs(groups) do
    local row, detail = { runs = #g.rows, runs_ok = #g.ok }, {}
    for _, name in ipairs(o.by) do row[name] = g.row[name] end
    local seeds = {}
    for _, r in ipairs(g.ok) do seeds[r.seed] = true end
    row.seeds = 0
    for _ in pairs(seeds) do row.seeds = row.seeds + 1 end
    row.spread = row.seeds >= stats.min_seeds and "ci95" or "range"

    for _, name in ipairs(o.differences or {}) do
      local mine = stats.by_seed(g.ok, name)
      local i = stats.interval((stats.values(mine)))
      row[name], row[name .. "_sd"] = i.mean, i.sd
      put_bounds(row, name, i)
      detail[name] = { value = i }
      if base and base ~= g then
        local d = stats.interval((stats.paired(mine, stats.by_seed(base.ok, name))))
        row[name .. "_diff"] = d.mean
        put_bounds(row, name .. "_diff", d)
        detail[name].diff = d
      end
    end
    for _, name in ipairs(o.ratios or {}) do
      local mine = stats.by_seed(g.timed, name)
      local i = stats.interval((stats.values(mine)))
      row[name], row[name .. "_sd"] = i.mean, i.sd
      detail[name] = { value = i }
      if base and base ~= g then
        local v = withhold(stats.verdict(mine, stats.by_seed(base.timed, name), o.margin), g, base, o.processors)
        row[name .. "_ratio"] = v.ratio
        put_bounds(row, name .. "_ratio", v)
        row[name .. "_verdict"] = v.n > 0 and v.verdict or nil
        detail[name].verdict = v
      end
    end
    for _, name in ipairs(o.means or {}) do
      row[name] = stats.mean((stats.values(stats.by_seed(results.is_metered(name) and g.timed or g.ok, name))))
    end
    rows[n], details[n] = row, detail
  end
  return rows, summary_columns(columns, o), details
end

return compare
