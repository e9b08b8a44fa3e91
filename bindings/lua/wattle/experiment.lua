-- wattle.experiment{...}: runs a function over a grid (or a list) of cases and seeds, each under a
-- metered region, and appends one row a run to runs.csv, with epochs.csv, energy.csv, trace.csv (power over time,
-- where counters measure it) and a sidecar runs.json beside it. Columns and cells are results.lua's, sums over regions ledger.lua's, the folder's
-- files and what an earlier run left in them folder.lua's.
--
--   wattle.experiment{
--     name = "width", out = "out/width", seeds = {1, 2, 3},
--     factors = {width = {4, 8, 16}},
--     run = function(case) ... return {test_top1_pct = 91.2} end}
--
-- Options:
--   name      the experiment's name: begins with a letter
--   out       a folder that is absent or empty; no other run may write there meanwhile
--   resume    true: go on with what `out` holds of the same plan (nothing: start). See below
--   shard     {i, n}: only each n-th block of one seed and repeat, from the i-th on; see scripts/merge.lua
--   factors   {factor = {value, ...}, ...}: all combinations; or a list of cases {{factor = value, ...}, ...}
--   seeds     list of integers (default {1})
--   repeats   runs of each case and seed (default 1)
--   seed_order  seed of the order of the cases inside a block (default: the first seed)
--   run       function(case) -> {column = value, ...}; see below
--   prepare   function(stage), called before the first case, metered as run_id "prepare"; or a list of
--             {name, function}, one stage after the other
--   constants {column = value}: the same in every row
--   columns   the protocol's own columns: list of {name, type}, type text, integer, number or boolean
--   meter     a meter, or the options of one (default: counters where they work, else the estimate)
--   idle_s    seconds of rest before the first run and after each, in which counters measure what the machine draws
--             doing nothing: idle_power_w, and energy_net_j without it. 0 for none. Default: 2 where counters measure,
--             0 where there is only an estimate (whose idle power is its constant) or a trace
--   options   table for the sidecar: what the protocol was asked for
--   progress  false: silent
--   raise     false: return although runs failed (see `failed`), for scripts that report first
--
-- `case` has the factors' values, seed, ["repeat"], run_id and out (the folder), and is itself the meter of its
-- run: case:region(name) books regions; those named train, eval and compress fill their own columns. Before each
-- run and stage the seed is set (wattle.manual_seed).
-- The returned table may hold any column of runs.csv that the experiment does not fill itself, and `epoch_rows`,
-- fit's list of epochs. An error makes a row of status failed (diverged, if the loss was not finite),
-- and the other cases go on.
--
-- Resuming. A row is the unit: rows of runs.csv stand, the other runs are run in the same order from the same
-- seeds, and what a killed run left of an unfinished row is cut. A row of status failed is run again, one of
-- status diverged stands (it would diverge again). The plan, options, columns and number of threads must be those
-- of the first run. A run that is run again whole is not `interrupted`; that column is TRUE where the run's own
-- work went on from an earlier process (epoch_rows with `resumed`, as fit's checkpoint option makes them, or
-- interrupted = true in the returned table): its result stands, its energy and its whole time are missing.
-- Stages: one that was finished is called again with stage.finished = true, to load what it left; if nothing is
-- left to run, not even that. Ctrl-C ends the experiment with an error ("interrupted!"), and no row is lost.
local wattle = require "wattle"
local folder = require "wattle.folder"
local ledger = require "wattle.ledger"
local progress = require "wattle.progress"
local results = require "wattle.results"
local util = require "wattle.util"
local where = require "wattle.where"
local core = wattle.core

local experiment = {}

local OPTIONS = { "name", "out", "factors", "seeds", "repeats", "seed_order", "run", "prepare", "constants",
                  "columns", "meter", "options", "progress", "raise", "resume", "shard", "idle_s" }

-- How long the machine rests around each run where counters measure it.
local IDLE_S = 2

-- Counts up when the same options would give other runs, another order or other seeds.
local PLAN_VERSION = 1

---- the plan: which runs, in which order ----

-- What a case carries besides its factors.
local RESERVED = { seed = true, ["repeat"] = true, run_id = true, block = true, run_order = true, out = true,
                   region = true, ledger = true, finished = true, shard = true }

-- The columns that the experiment fills from a finished case's ledger: column = {region, field}. They are its
-- own even where they stay missing, so that no protocol's figure ends up among those of the counters.
local MEASURED = {
  duration_s = { "run", "whole_s" }, energy_method = { "run", "method" },
  energy_j = { "run", "whole_j" }, energy_est_j = { "run", "whole_est_j" }, energy_missing_s = { "run", "missing_s" },
  cpu_s = { "run", "cpu_s" }, other_cpu_s = { "run", "other_cpu_s" }, steal_s = { "run", "steal_s" },
  duration_train_s = { "train", "duration_s" }, energy_train_j = { "train", "energy_j" },
  duration_eval_s = { "eval", "duration_s" }, energy_eval_j = { "eval", "energy_j" },
  duration_compress_s = { "compress", "duration_s" }, energy_compress_j = { "compress", "energy_j" },
}
-- Of its own too, from those and the power at rest.
local DERIVED = { energy_net_j = true, idle_power_w = true, idle_sd_w = true, mean_power_w = true }
-- More of its own, of which no factor may have the name.
local OWN = { experiment = true, status = true, host = true, energy_source = true, energy_domains = true,
              peak_rss_bytes = true, interrupted = true, wattle_version = true, git_revision = true }

local function sorted_keys(t)
  local keys = {}
  for k in pairs(t) do
    if type(k) ~= "string" then
      where.raise("experiment: factors: a name must be a string, not %s", tostring(k))
    end
    keys[#keys + 1] = k
  end
  -- In the order of runs.csv's columns, then by name: pairs has no order of its own.
  local rank = {}
  for _, k in ipairs(keys) do
    local _, at = results.find(results.runs, k)
    rank[k] = at or math.huge
  end
  table.sort(keys, function(a, b)
    if rank[a] ~= rank[b] then return rank[a] < rank[b] end
    return a < b
  end)
  return keys
end

-- All combinations, the last factor running fastest; a list of cases is taken as it is.
local function expand(factors)
  if #factors > 0 then return factors end
  local cases = { {} }
  for _, name in ipairs(sorted_keys(factors)) do
    local values = factors[name]
    if type(values) ~= "table" or #values == 0 then where.raise("experiment: factor '%s' has no values", name) end
    local grown = {}
    for _, case in ipairs(cases) do
      for _, value in ipairs(values) do
        local copy = { [name] = value }
        for k, v in pairs(case) do copy[k] = v end
        grown[#grown + 1] = copy
      end
    end
    cases = grown
  end
  return cases
end

local function scalar(v)
  local t = type(v)
  return t == "string" or t == "number" or t == "boolean"
end

-- The identity of a run in words: text values as they are, others behind their factor's name. Stable
-- from run to run, so that a later run of the same plan finds its rows.
local function run_id(case, seed, rep)
  local parts = {}
  for _, key in ipairs(sorted_keys(case)) do
    local v = case[key]
    if scalar(v) then
      local text = math.type(v) == "float" and results.decimal("%.6g", v) or tostring(v)
      if type(v) ~= "string" then text = key .. text end
      parts[#parts + 1] = (text:gsub("[^%w_.+]", "_"))
    end
  end
  parts[#parts + 1] = ("s%d"):format(seed)
  parts[#parts + 1] = ("r%d"):format(rep)
  return results.identifier(table.concat(parts, "-"), "run_")
end

local function type_of(v)
  return type(v) == "string" and "text" or math.type(v) == "integer" and "integer" or type(v)
end

-- The type of a column that holds both; nil where a column cannot.
local function joined(a, b)
  if a == b or a == nil then return b end
  if (a == "integer" or a == "number") and (b == "integer" or b == "number") then return "number" end
end

-- The factors that are no column yet, with the type of their values.
local function factor_columns(cases, cols)
  local out = {}
  for _, case in ipairs(cases) do
    for _, name in ipairs(sorted_keys(case)) do
      local v = case[name]
      if RESERVED[name] then where.raise("experiment: a factor cannot be called '%s'", name) end
      if MEASURED[name] or DERIVED[name] or OWN[name] then
        where.raise("experiment: a factor cannot be called '%s': the experiment fills that column itself", name)
      end
      if scalar(v) and not results.find(cols, name) then
        local column = results.find(out, name)
        if not column then
          column = { name = name }
          out[#out + 1] = column
        end
        local kind = joined(column.type, type_of(v))
        if not kind then where.raise("experiment: factor '%s' mixes %s and %s", name, column.type, type_of(v)) end
        column.type = kind
      end
    end
  end
  return out
end

-- The runs of an experiment in the order in which they run: blocks of one seed and repeat, the cases
-- shuffled inside each. Deterministic. Public for reports and tests.
function experiment.plan(o)
  local cases = expand(o.factors)
  local seeds, repeats = o.seeds or { 1 }, o.repeats or 1
  local order_seed = o.seed_order or seeds[1]
  local runs, ids, block = {}, {}, 0
  for rep = 1, repeats do
    for _, seed in ipairs(seeds) do
      block = block + 1
      local order = core.permutation(order_seed, "shuffle", o.name, block, #cases):tolist()
      for _, index in ipairs(order) do
        local case = cases[index + 1]
        local id = run_id(case, seed, rep)
        if ids[id] then where.raise("experiment: two runs are called '%s': cases or seeds are there twice", id) end
        ids[id] = true
        runs[#runs + 1] = { run_id = id, case = case, seed = seed, ["repeat"] = rep, block = block,
                            run_order = #runs + 1 }
      end
    end
  end
  return runs, cases
end

---- provenance ----

-- "key: value" lines as a table.
local function key_values(text)
  local out = {}
  for key, value in text:gmatch "([^\n:]+):[ \t]*([^\n]*)" do out[key] = value end
  return out
end

local function first_match(path, pattern)
  local file = io.open(path)
  if not file then return core.null end
  local text = file:read "a"
  file:close()
  return text and text:match(pattern) or core.null
end

-- A revision may read as a number (1234567, 12e4567), so it is written as `git describe` does: g1234567.
local function revision(build)
  local git = build.git
  if not git or git == "NA" or git == "" then return nil end
  return git:find "^%x+$" and "g" .. git or git:find "^%x+%-dirty$" and "g" .. git or results.identifier(git, "g")
end

-- {name = type}; the order is the file's.
local function types(cols)
  local out = {}
  for _, c in ipairs(cols) do out[c.name] = c.type end
  return out
end

-- The cases as far as they are plain values: an object each, empty or not.
local function plain_cases(cases)
  local out = {}
  for i, case in ipairs(cases) do
    out[i] = {}
    for k, v in pairs(case) do
      if scalar(v) then out[i][k] = v end
    end
  end
  return out
end

local function sidecar(o, cases, cols, source, meter_text)
  local now, build = os.date "!%Y-%m-%dT%H:%M:%SZ", key_values(core.build_info())
  local command = arg and results.utf8(table.concat(table.move(arg, 0, #arg, 1, {}), " ")) or core.null
  return {
    schema_version = results.schema_version, plan_version = PLAN_VERSION,
    experiment = o.name,
    started_utc = now,
    seeds = o.seeds, repeats = o.repeats, seed_order = o.seed_order,
    cases = plain_cases(cases), constants = o.constants or core.null, shard = o.shard or core.null,
    source = source.name, energy_domains = source.domain or core.null,
    sessions = { { started_utc = now, host = core.hostname(), command = command, git = build.git or core.null } },
    stages = {},
    options = o.options or core.null,
    host = core.hostname(),
    threads = core.threads(),
    hardware = {
      memory = first_match("/proc/meminfo", "MemTotal:%s*([^\n]+)"),
      kernel = first_match("/proc/version", "([^\n]+)"),
    },
    build = build,
    lua = _VERSION,
    command = command,
    meter = { source = source.name, description = meter_text },
    columns = { ["runs.csv"] = types(cols), ["epochs.csv"] = types(results.epochs),
                ["energy.csv"] = types(results.energy), ["trace.csv"] = types(results.trace) },
    notes = {
      "NA is missing; energy_j holds counters only, energy_est_j a model's figure.",
      "In energy.csv the region run is the whole run; every other region excludes those nested in it.",
      "epochs.csv and energy.csv may hold the run_ids of stages (prepare): what was done once, before the runs.",
      "One multiply-accumulate counts as two FLOPs.",
    },
  }
end

---- rows ----

local function fill(row, values)
  for k, v in pairs(values) do row[k] = v end
  return row
end

local function epoch_rows(id, list)
  local rows = {}
  for i, epoch in ipairs(list or {}) do
    local row = { run_id = id }
    for _, c in ipairs(results.epochs) do
      if c.name ~= "run_id" then row[c.name] = epoch[c.name] end
    end
    row.epoch = row.epoch or i
    rows[i] = row
  end
  return rows
end

-- Why a run's epoch_rows cannot be written; nil if they can.
local function epochs_misfit(list)
  if list == nil then return nil end
  if type(list) ~= "table" then return "epoch_rows must be a list of tables, not " .. type(list) end
  for i, epoch in ipairs(list) do
    if type(epoch) ~= "table" then return ("epoch_rows[%d] must be a table, not %s"):format(i, type(epoch)) end
  end
  for i, row in ipairs(epoch_rows("check", list)) do
    local line, message = results.line(results.epochs, row)
    if not line then return ("epoch_rows[%d]: %s"):format(i, message) end
  end
end

-- One row a region and domain; one for a region of which no domain is known. whole: the region that holds all others.
local function energy_rows(id, book, source, whole_name)
  local rows = {}
  for _, name in ipairs(book.order) do
    local e = book.entries[name]
    local whole = name == whole_name
    local sums = e.domains or {}
    if #sums == 0 then sums = { fill({ source = source.name, domain = source.domain }, e) } end
    for _, d in ipairs(sums) do
      rows[#rows + 1] = {
        run_id = id, region = name, source = d.source, domain = d.domain, method = d.method,
        energy_j = d[whole and "whole_j" or "energy_j"], energy_est_j = d[whole and "whole_est_j" or "energy_est_j"],
        missing_s = d.missing_s, reason = d.reason, duration_s = e[whole and "whole_s" or "duration_s"],
      }
    end
  end
  return rows
end

---- power ----

-- Intervals of a run's power, for trace.csv.
local TRACED = 300

-- The meter's record since `began` as rows: what the counters read, and the region that was open meanwhile.
local function trace_rows(id, meter, began, book, whole_name)
  local rows = {}
  for _, x in ipairs(meter:recorded()) do
    local region = book:region_at(began + (x.begin_s + x.end_s) / 2)
    if x.source ~= "estimate" then
      rows[#rows + 1] = { run_id = id, t_s = x.end_s, domain = x.domain, power_w = x.power_w,
                          region = region ~= whole_name and region or nil }
    end
  end
  return rows
end

-- {n, mean, sd} over n windows of seconds of rest; nil where a reading was missing, or the experiment takes none.
local function rest(o, meter)
  if o.idle_s == 0 then return nil end
  collectgarbage()
  local idle = meter:idle(o.idle_s)
  return idle.idle_power_w and { n = idle.samples, mean = idle.idle_power_w, sd = idle.idle_sd_w }
end

-- Of all windows of both.
local function pool(a, b)
  if not (a and b) then return nil end
  local n = a.n + b.n
  local squares = (a.n - 1) * a.sd ^ 2 + (b.n - 1) * b.sd ^ 2 + a.n * b.n / n * (a.mean - b.mean) ^ 2
  return { n = n, mean = (a.n * a.mean + b.n * b.mean) / n, sd = (squares / (n - 1)) ^ 0.5 }
end

---- one run ----

local Case = {}
Case.__index = Case
util.classes.case = Case

-- A second region of the whole's name would count the same time twice.
function Case:region(name)
  if name == self.ledger.whole then
    where.raise("region: '%s' is the experiment's own region; choose another name", name)
  end
  return self.ledger:region(name)
end

-- Watts now, for progress.
function Case:power()
  return self.ledger:power()
end

local function new_case(fields, out, meter)
  local case = setmetatable({ out = out, ledger = ledger.new(meter) }, Case)
  for k, v in pairs(fields) do case[k] = v end
  return case
end

-- Runs fn(case) inside the region `name`. Returns its value, or nil, the error (with a traceback) and its code.
local function metered(fn, case, name)
  wattle.manual_seed(case.seed)
  case.ledger.whole = name
  local code
  collectgarbage()
  collectgarbage()
  local resettable = core.peak_rss_reset()
  local region = case.ledger:region(name)
  local ok, value = xpcall(fn, function(e)
    code = core.error_code(e)
    -- An error without a place was raised to be read as it is (a full disk). Else the protocol's own frames;
    -- those of this file say nothing.
    if type(e) == "string" and not e:find "^[^\n]-:%d+: " then return e end
    return (debug.traceback(tostring(e), 2):gsub("\n%s*%[C%]: in function 'xpcall'.*$", ""))
  end, case)
  region:stop()
  case.peak_rss_bytes = resettable and core.peak_rss() or nil
  if ok then return value end
  if code == "interrupted" then error("interrupted!", 0) end
  return nil, value, code
end

-- Does the result rest on work of an earlier process? Then its time and energy are a part of what it took.
local function is_interrupted(value)
  if type(value) ~= "table" then return false end
  if value.interrupted == true then return true end
  for _, row in ipairs(type(value.epoch_rows) == "table" and value.epoch_rows or {}) do
    if type(row) == "table" and row.resumed then return true end
  end
  return false
end

-- Of earlier work the time of whole epochs is known, and nothing else.
local function book_interrupted(case, value)
  for _, row in ipairs(type(value.epoch_rows) == "table" and value.epoch_rows or {}) do
    if type(row) == "table" and row.resumed then
      for _, name in ipairs { "train", "eval" } do
        local s = row[("duration_%s_s"):format(name)]
        if type(s) == "number" then case.ledger:book_before(name, s) end
      end
    end
  end
  case.ledger:lose(case.ledger.whole)
end

local function measured_columns(case, interrupted)
  local out = { peak_rss_bytes = case.peak_rss_bytes, interrupted = interrupted }
  for column, from in pairs(MEASURED) do out[column] = case.ledger:entry(from[1])[from[2]] end
  return out
end

-- What the protocol returned, into a row that has everything else. Returns nil and a message where it does not
-- fit.
local function merge(row, value, cols)
  if value == nil then value = {} end
  if type(value) ~= "table" then return nil, "run must return a table of columns, not " .. type(value) end
  local full = fill({}, row)
  for k, v in pairs(value) do
    if k ~= "epoch_rows" then
      if k == "status" and v ~= "ok" and v ~= "failed" and v ~= "diverged" then
        return nil, ("run returned status '%s'; there are ok, failed, diverged"):format(tostring(v))
      end
      if (row[k] ~= nil or MEASURED[k] or DERIVED[k]) and row[k] ~= v and k ~= "status" then
        return nil, ("run returned column '%s', which the experiment fills itself"):format(k)
      end
      full[k] = v
    end
  end
  local misfit = epochs_misfit(value.epoch_rows)
  if misfit then return nil, "run returned what does not fit: " .. misfit end
  local loss = value.loss
  if type(loss) == "number" and (loss ~= loss or loss == math.huge) then full.status = "diverged" end
  if not full.images_per_s and full.samples_seen and (full.duration_train_s or 0) > 0 then
    full.images_per_s = full.samples_seen / full.duration_train_s
  end
  local line, message = results.line(cols, full)
  if not line then return nil, "run returned what does not fit: " .. message end
  return full
end

-- What follows from the energy of a run and the power at rest around it.
local function derive(row, idle)
  local out = { idle_power_w = idle and idle.mean, idle_sd_w = idle and idle.sd }
  if row.energy_j and (row.duration_s or 0) > 0 then
    out.mean_power_w = row.energy_j / row.duration_s
    out.energy_net_j = idle and row.energy_j - idle.mean * row.duration_s
  end
  return out
end

local function factor_values(case)
  local out = {}
  for k, v in pairs(case) do
    if scalar(v) then out[k] = v end
  end
  return out
end

---- the whole ----

-- A list of integers without a hole; nil and why where it is none.
local function integers(list)
  if type(list) ~= "table" then return nil, "not " .. type(list) end
  local last = 0
  for k in pairs(list) do
    if math.type(k) ~= "integer" or k < 1 then return nil, ("not a table with the key '%s'"):format(tostring(k)) end
    last = math.max(last, k)
  end
  if last == 0 then return nil, "and there is none" end
  for i = 1, last do
    if list[i] == nil then return nil, ("and [%d] is nil"):format(i) end
    if math.type(list[i]) ~= "integer" then return nil, "not " .. tostring(list[i]) end
  end
  return true
end

-- The path of the first value that JSON cannot hold, and what it is.
local function unwritable(path, v)
  local t = type(v)
  if t == "number" and v - v ~= 0 then return path, tostring(v) end
  if t == "string" and not utf8.len(v) then return path, "not UTF-8" end
  if t == "function" or t == "thread" or t == "userdata" and v ~= core.null then return path, "a " .. t end
  if t ~= "table" then return nil end
  for k, x in pairs(v) do
    local inner, what = unwritable(type(k) == "string" and path .. "." .. k or ("%s[%s]"):format(path, tostring(k)), x)
    if inner then return inner, what end
  end
end

local function check_shard(o)
  local shard, blocks = o.shard, #o.seeds * o.repeats
  local ok, why = integers(shard)
  if not ok or #shard ~= 2 then
    where.raise("experiment: shard must be {i, n}, two integers%s", ok and "" or ", " .. why)
  end
  local i, n = shard[1], shard[2]
  if n < 1 or i < 1 or i > n then where.raise("experiment: shard {%d, %d}: i must be 1..n", i, n) end
  if n > blocks then
    where.raise("experiment: shard {%d, %d}: %d blocks (seeds x repeats) cannot be dealt to more than %d shards",
                i, n, blocks, blocks)
  end
end

local function check(o)
  util.check_options(o, OPTIONS, "experiment")
  local function want(name, kind, optional)
    if o[name] == nil and optional then return end
    if type(o[name]) ~= kind then where.raise("experiment: %s must be a %s, not %s", name, kind, type(o[name])) end
  end
  want("name", "string")
  want("out", "string")
  want("factors", "table")
  want("run", "function")
  want("resume", "boolean", true)
  want("constants", "table", true)
  want("columns", "table", true)
  want("options", "table", true)
  if not results.is_identifier(o.name) then
    where.raise("experiment: name '%s' must begin with a letter", o.name)
  end
  local full = fill({}, o)
  full.seeds, full.repeats = o.seeds or { 1 }, o.repeats or 1
  local ok, why = integers(full.seeds)
  if not ok then where.raise("experiment: seeds must be a list of integers, %s", why) end
  if math.type(full.repeats) ~= "integer" or full.repeats < 1 then
    where.raise("experiment: repeats must be 1 or more")
  end
  full.seed_order = o.seed_order or full.seeds[1]
  local idle_s = o.idle_s
  if idle_s ~= nil and not (type(idle_s) == "number" and (idle_s == 0 or idle_s >= 0.2 and idle_s <= 3600)) then
    where.raise("experiment: idle_s must be 0, or 0.2 to 3600 seconds, not %s", tostring(idle_s))
  end
  full.stages = type(o.prepare) == "function" and { { "prepare", o.prepare } } or o.prepare or {}
  if type(full.stages) ~= "table" then
    where.raise("experiment: prepare must be a function or a list of stages, not %s", type(o.prepare))
  end
  for _, stage in ipairs(full.stages) do
    if type(stage) ~= "table" or not results.is_identifier(tostring(stage[1])) or type(stage[2]) ~= "function" then
      where.raise("experiment: prepare: a stage is {name, function}, and the name begins with a letter")
    end
  end
  if o.shard ~= nil then check_shard(full) end
  for _, name in ipairs { "options", "constants" } do
    local at, what = unwritable(name, o[name])
    if at then
      where.raise("experiment: %s is %s; the sidecar holds text, finite numbers, booleans and tables of them", at, what)
    end
  end
  return full
end

-- The user's meter stays open; one made here is closed at the end.
local function open_meter(meter)
  if type(meter) ~= "userdata" then return wattle.meter(meter or {}) end
  return setmetatable({}, {
    __index = {
      region = function(_, name) return meter:region(name) end,
      describe = function() return meter:describe() end,
      idle = function(_, seconds) return meter:idle(seconds) end,
      power = function() return meter:power() end,
      record = function(_, n) return meter:record(n) end,
      recorded = function() return meter:recorded() end,
    },
    __close = function() end,
  })
end

local function progress_line(i, n, row)
  local top1 = row.test_top1_pct or row.val_top1_pct
  return ("[%" .. #tostring(n) .. "d/%d] %s  %s%s  %.1f s"):format(i, n, row.run_id, row.status,
    top1 and ("  %.2f %%"):format(top1) or "", row.duration_s or 0)
end

-- What every row has in common.
local function common_values(o, source)
  local build = key_values(core.build_info())
  return fill({
    experiment = o.name, host = results.identifier(core.hostname(), "host_"), threads = core.threads(),
    energy_source = source.name, energy_domains = source.domain, shard = o.shard and o.shard[1],
    wattle_version = results.identifier(build.version, "v"), git_revision = revision(build),
  }, o.constants or {})
end

-- A stage: what is done once, before the runs. A shard's own are told apart by name.
local function run_stage(o, stage, meter, source, files)
  local name = stage[1]
  local id = o.shard and ("%s-shard%d"):format(name, o.shard[1]) or name
  local case = new_case({ run_id = id, seed = o.seeds[1], finished = files.stages[id] }, o.out, meter)
  local value, message = metered(stage[2], case, name)
  if message then return nil, ("%s: %s"):format(name, message), "failed" end
  if case.finished then return true end
  if is_interrupted(value) then book_interrupted(case, value) end
  local epochs = value and value.epoch_rows
  local misfit = epochs_misfit(epochs)
  if misfit then where.raise("experiment: %s: %s", name, misfit) end
  return files:finish(id, { epochs = epoch_rows(id, epochs), energy = energy_rows(id, case.ledger, source, name),
                            trace = {} })
end

-- One run: returns its row, which is in the files by then, and the power at rest after it. idle: that before it.
local function run_one(o, run, meter, source, common, files, bar, idle)
  local case = new_case(run.case, o.out, meter)
  case.run_id, case.seed, case["repeat"], case.block = run.run_id, run.seed, run["repeat"], run.block
  local began = core.now()
  if files.trace then meter:record(TRACED) end
  local value, message, code = metered(o.run, case, "run")
  local trace = files.trace and trace_rows(run.run_id, meter, began, case.ledger, "run")
  local rested, after = pcall(rest, o, meter)
  local stopped = not rested and after -- Ctrl-C: the run is done, so its row comes first
  if stopped then after = nil end
  local interrupted = is_interrupted(value)
  if interrupted then book_interrupted(case, value) end
  local row = fill(fill(measured_columns(case, interrupted), common), factor_values(run.case))
  fill(row, derive(row, pool(idle, after)))
  fill(row, { run_id = run.run_id, block = run.block, run_order = run.run_order, seed = run.seed,
              ["repeat"] = run["repeat"], status = "ok" })
  local full
  if not message then full, message = merge(row, value, files.cols.runs) end
  if not full then
    -- A loss that is not finite is a result about the technique, not a fault of the program.
    row.status = code == "numeric" and "diverged" or "failed"
    if row.status == "diverged" then message = message:match "^[^\n]*" end
    bar:close() -- off the line that the message is to stand on; the next step draws it again
    io.stderr:write(("experiment: run %s: %s\n"):format(run.run_id, message))
    full, value = row, nil
  end
  local ok
  ok, message, code = files:finish(run.run_id, {
    epochs = epoch_rows(run.run_id, value and value.epoch_rows),
    energy = energy_rows(run.run_id, case.ledger, source, "run"), trace = trace }, full)
  if not ok then return nil, message, code end
  if stopped then error(stopped, 0) end
  return full, after
end

-- The runs of one shard.
local function dealt(runs, shard)
  if not shard then return runs end
  local mine = {}
  for _, run in ipairs(runs) do
    if (run.block - 1) % shard[2] == shard[1] - 1 then mine[#mine + 1] = run end
  end
  return mine
end

local function missing_runs(runs, done)
  local todo = {}
  for _, run in ipairs(runs) do
    if not done[run.run_id] then todo[#todo + 1] = run end
  end
  return todo
end

-- Rows in the order of the plan, and how many are of which status.
local function gather(path, cols)
  local rows, message, code = results.read(path, cols)
  if not rows then return nil, message, code end
  table.sort(rows, function(a, b) return a.run_order < b.run_order end)
  local counts = { ok = 0, failed = 0, diverged = 0 }
  for _, row in ipairs(rows) do counts[row.status] = counts[row.status] + 1 end
  return rows, counts
end

-- progress: {done =, total =}, filled as it goes, for whoever must say how far it came.
local function execute(o, reached)
  local cols = results.extend(results.runs, {})
  local all, cases = experiment.plan(o)
  local runs = dealt(all, o.shard)
  cols = results.extend(cols, factor_columns(cases, cols))
  cols = results.extend(cols, o.columns or {})
  local meter <close> = open_meter(o.meter)
  local description = meter:describe()
  local told = key_values(description)
  local source = { name = told.source, domain = told.summed ~= "" and told.summed ~= "none" and told.summed or nil }
  o.idle_s = o.idle_s or (told.method == "measured" and IDLE_S or 0)
  local common = common_values(o, source)
  -- Everything that is known before the first run must fit its column: a long experiment does not end on a typo.
  local planned = {}
  for _, run in ipairs(runs) do
    local fits, message = results.line(cols, fill(fill({ run_id = run.run_id }, common), factor_values(run.case)))
    if not fits then where.raise("experiment: %s", message) end
    planned[run.run_id] = run
  end
  local side = sidecar(o, cases, cols, source, description)
  side.runs, side.meter.idle_s = #runs, o.idle_s

  local files <close>, message, code = folder.open {
    path = o.out, resume = o.resume, side = side, planned = planned,
    cols = { runs = cols, epochs = results.epochs, energy = results.energy,
             trace = told.method == "measured" and results.trace or nil },
  }
  if not files then return nil, message, code end
  local todo = missing_runs(runs, files.done)
  reached.total, reached.done = #runs, #runs - #todo
  if o.progress ~= false then
    io.stderr:write(files.resumed and ("experiment: %d of %d runs are in %s already\n"):format(reached.done, #runs, o.out)
      or ("experiment: %d run%s, into %s\n"):format(#runs, #runs == 1 and "" or "s", o.out))
  end
  local ok
  for _, stage in ipairs(#todo > 0 and o.stages or {}) do
    ok, message, code = run_stage(o, stage, meter, source, files)
    if not ok then return nil, message, code end
  end
  local bar <close> = progress.new { total = math.max(#todo, 1), enabled = o.progress ~= false, meter = meter }
  local idle = #todo > 0 and rest(o, meter) or nil
  for i, run in ipairs(todo) do
    local row
    row, message, code = run_one(o, run, meter, source, common, files, bar, idle)
    if not row then return nil, message, code end
    idle = message
    reached.done = reached.done + 1
    bar:step(i, progress_line(reached.done, #runs, row))
  end
  local rows, counts
  rows, counts, code = gather(o.out .. "/runs.csv", cols)
  if not rows then return nil, counts, code end
  side.finished_utc, side.counts = os.date "!%Y-%m-%dT%H:%M:%SZ", counts
  ok, message, code = files:write_sidecar()
  if not ok then return nil, message, code end
  return { rows = rows, columns = cols, cases = cases, counts = counts, failed = #runs - counts.ok, out = o.out }
end

-- Returns {rows (as read back from runs.csv, in the plan's order), columns, cases, counts, failed, out}, or nil,
-- message, code where a file or folder said no. `failed` counts the runs whose status is not ok; unless
-- raise = false, any is an error after all runs.
function experiment.run(o)
  o = check(o)
  local reached = {}
  -- However it is left, whoever sees the error learns how far it came and how to go on.
  local told <close> = setmetatable({}, { __close = function(_, e)
    if e and reached.total and core.error_code(e) == "interrupted" then
      error(("experiment: interrupted! %d of %d runs are in %s; resume = true (--resume) goes on from there"):format(
        reached.done, reached.total, o.out), 0)
    end
  end })
  local result, message, code = execute(o, reached)
  if not result then
    if code == "io" and reached.total then
      message = ("%s (%d of %d runs are in %s; resume = true, --resume, goes on from there)"):format(message,
        reached.done, reached.total, o.out)
    end
    return nil, "experiment: " .. message, code
  end
  if result.failed > 0 and o.raise ~= false then
    where.raise("experiment: %d of %d runs did not end well; see %s/runs.csv", result.failed, #result.rows, o.out)
  end
  return result
end

return setmetatable(experiment, { __call = function(_, o) return experiment.run(o) end })
