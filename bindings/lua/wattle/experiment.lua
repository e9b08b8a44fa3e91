-- wattle.experiment{...}: runs a function over a grid (or a list) of cases and seeds, each under a
-- metered region, and appends one row a run to runs.csv, with epochs.csv, energy.csv and a sidecar
-- runs.json beside it. Columns and cells are results.lua's, sums over regions ledger.lua's.
--
--   wattle.experiment{
--     name = "width", out = "out/width", seeds = {1, 2, 3},
--     factors = {width = {4, 8, 16}},
--     run = function(case) ... return {test_top1_pct = 91.2} end}
--
-- Options:
--   name      the experiment's name: begins with a letter
--   out       a folder that is absent or empty
--   factors   {factor = {value, ...}, ...}: all combinations; or a list of cases {{factor = value, ...}, ...}
--   seeds     list of integers (default {1})
--   repeats   runs of each case and seed (default 1)
--   seed_order  seed of the order of the cases inside a block (default: the first seed)
--   run       function(case) -> {column = value, ...}; see below
--   prepare   function(stage), called once before the first case, metered as run_id "prepare"
--   constants {column = value}: the same in every row
--   columns   the protocol's own columns: list of {name, type}, type text, integer, number or boolean
--   meter     a meter, or the options of one (default: the estimate)
--   options   table for the sidecar: what the protocol was asked for
--   progress  false: silent
--   raise     false: return although runs failed (see `failed`), for scripts that report first
--
-- `case` has the factors' values, seed, ["repeat"], run_id and out (the folder), and is itself the meter of its
-- run: case:region(name) books regions; those named train, eval and compress fill their own columns.
-- The returned table may hold any column of runs.csv that the experiment does not fill itself, and `epoch_rows`,
-- fit's list of epochs. An error makes a row of status failed (diverged, if the loss was not finite),
-- and the other cases go on.
local wattle = require "wattle"
local ledger = require "wattle.ledger"
local progress = require "wattle.progress"
local results = require "wattle.results"
local util = require "wattle.util"
local where = require "wattle.where"
local core = wattle.core

local experiment = {}

local OPTIONS = { "name", "out", "factors", "seeds", "repeats", "seed_order", "run", "prepare", "constants",
                  "columns", "meter", "options", "progress", "raise" }

---- the plan: which runs, in which order ----

-- What a case carries besides its factors.
local RESERVED = { seed = true, ["repeat"] = true, run_id = true, block = true, run_order = true, out = true,
                   region = true, ledger = true }

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
      local text = math.type(v) == "float" and ("%.6g"):format(v) or tostring(v)
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

local function sidecar(o, cols, source, meter_text)
  return {
    schema_version = results.schema_version,
    experiment = o.name,
    started_utc = os.date "!%Y-%m-%dT%H:%M:%SZ",
    seeds = o.seeds, repeats = o.repeats, seed_order = o.seed_order,
    options = o.options or core.null,
    host = core.hostname(),
    threads = core.threads(),
    hardware = {
      memory = first_match("/proc/meminfo", "MemTotal:%s*([^\n]+)"),
      kernel = first_match("/proc/version", "([^\n]+)"),
    },
    build = key_values(core.build_info()),
    lua = _VERSION,
    command = arg and table.concat(table.move(arg, 0, #arg, 1, {}), " ") or core.null,
    meter = { source = source, description = meter_text },
    columns = { ["runs.csv"] = types(cols), ["epochs.csv"] = types(results.epochs),
                ["energy.csv"] = types(results.energy) },
    notes = {
      "NA is missing; energy_j holds counters only, energy_est_j a model's figure.",
      "In energy.csv the region run is the whole run; every other region excludes those nested in it.",
      "epochs.csv and energy.csv may hold the run_id prepare: what was done once, before the runs.",
      "One multiply-accumulate counts as two FLOPs.",
    },
  }
end

---- the folder ----

-- The world may fail here (a folder in use, a full disk): nil, message, code, as everywhere.
local function open_folder(out)
  if not core.exists(out) then return core.mkdir(out) end
  local names, message, code = core.listdir(out)
  if not names then return nil, message, code end
  if #names > 0 then
    return nil, ("the folder '%s' is not empty; results are never mixed, so choose another"):format(out), "io"
  end
  return true
end

-- runs.csv and its children. A run's children are written before its own row, so that a row means: complete.
local Files = {}
Files.__index = Files

local FILES = { "runs", "epochs", "energy" }

local function open_files(out, cols)
  local files = setmetatable({ cols = { runs = cols, epochs = results.epochs, energy = results.energy } }, Files)
  for _, name in ipairs(FILES) do
    local path, header = ("%s/%s.csv"):format(out, name), results.header(files.cols[name])
    local appender, message, code = core.appender(path, header)
    if not appender then
      files:close()
      return nil, message, code
    end
    files[name] = appender
  end
  return files
end

function Files:close()
  for _, name in ipairs(FILES) do
    if self[name] then self[name]:close() end
  end
end
Files.__close = Files.close

-- Rows of one of the files, in one write.
function Files:append(name, rows)
  local lines = {}
  for i, row in ipairs(rows) do
    local line, message = results.line(self.cols[name], row)
    if not line then where.raise("experiment: %s.csv: %s", name, message) end
    lines[i] = line
  end
  if #lines == 0 then return true end
  return self[name]:add(table.concat(lines))
end

-- All rows of one run, its own last.
function Files:finish(id, epochs, energy, row)
  local ok, message, code = self:append("epochs", epochs)
  if ok then ok, message, code = self:append("energy", energy) end
  if ok and row then ok, message, code = self:append("runs", { row }) end
  if not ok then return nil, ("%s: %s"):format(id, message), code end
  return true
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

-- The regions that the experiment opens itself; a second one of that name would count the same time twice.
local WHOLE = { run = true, prepare = true }

local function energy_rows(id, book, source)
  local rows = {}
  for i, name in ipairs(book.order) do
    local e = book.entries[name]
    local whole = WHOLE[name]
    rows[i] = {
      run_id = id, region = name, source = source.name, domain = source.domain, method = e.method,
      energy_j = whole and e.whole_j or not whole and e.energy_j or nil,
      energy_est_j = whole and e.whole_est_j or not whole and e.energy_est_j or nil,
      missing_s = e.missing_s, reason = e.reason, duration_s = whole and e.whole_s or e.duration_s,
    }
  end
  return rows
end

---- one run ----

local Case = {}
Case.__index = Case

function Case:region(name)
  if WHOLE[name] then where.raise("region: '%s' is the experiment's own region; choose another name", name) end
  return self.ledger:region(name)
end

local function new_case(fields, out, meter)
  local case = setmetatable({ out = out, ledger = ledger.new(meter) }, Case)
  for k, v in pairs(fields) do case[k] = v end
  return case
end

-- A loss that is not finite is a result about the technique, not a fault of the program.
local function diverged(message)
  message = message:lower()
  return message:find "loss is %-?nan" or message:find "loss is %-?inf" or message:find "loss is not finite"
end

-- Runs fn(case) inside the region `name`. Returns its value, or nil and the error (with a traceback).
local function metered(fn, case, name)
  collectgarbage()
  collectgarbage()
  local resettable = core.peak_rss_reset()
  local region = case.ledger:region(name)
  local ok, value = xpcall(fn, function(e)
    -- An error without a place was raised to be read as it is (a full disk). Else the protocol's own frames;
    -- those of this file say nothing.
    if type(e) == "string" and not e:find "^[^\n]-:%d+: " then return e end
    return (debug.traceback(tostring(e), 2):gsub("\n%s*%[C%]: in function 'xpcall'.*$", ""))
  end, case)
  region:stop()
  case.peak_rss_bytes = resettable and core.peak_rss() or nil
  if ok then return value end
  if value:find "interrupted!" then error(value, 0) end
  return nil, value
end

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

local function measured_columns(case)
  local out = { peak_rss_bytes = case.peak_rss_bytes, interrupted = false }
  for column, from in pairs(MEASURED) do out[column] = case.ledger:entry(from[1])[from[2]] end
  return out
end

local function fill(row, values)
  for k, v in pairs(values) do row[k] = v end
  return row
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
      if (row[k] ~= nil or MEASURED[k]) and row[k] ~= v and k ~= "status" then
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

local function factor_values(case)
  local out = {}
  for k, v in pairs(case) do
    if scalar(v) then out[k] = v end
  end
  return out
end

---- the whole ----

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
  want("prepare", "function", true)
  want("constants", "table", true)
  want("columns", "table", true)
  want("options", "table", true)
  if not results.is_identifier(o.name) then
    where.raise("experiment: name '%s' must begin with a letter", o.name)
  end
  local full = fill({}, o)
  full.seeds, full.repeats = o.seeds or { 1 }, o.repeats or 1
  if type(full.seeds) ~= "table" or #full.seeds == 0 then
    where.raise("experiment: seeds must be a list of integers")
  end
  for _, s in ipairs(full.seeds) do
    if math.type(s) ~= "integer" then where.raise("experiment: seeds must be integers, not %s", tostring(s)) end
  end
  if math.type(full.repeats) ~= "integer" or full.repeats < 1 then
    where.raise("experiment: repeats must be 1 or more")
  end
  full.seed_order = o.seed_order or full.seeds[1]
  return full
end

-- The user's meter stays open; one made here is closed at the end.
local function open_meter(meter)
  if type(meter) ~= "userdata" then return wattle.meter(meter or {}) end
  return setmetatable({}, {
    __index = {
      region = function(_, name) return meter:region(name) end,
      describe = function() return meter:describe() end,
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
    energy_source = source.name, energy_domains = source.domain,
    wattle_version = results.identifier(build.version, "v"), git_revision = revision(build),
  }, o.constants or {})
end

-- What was done once, before the runs.
local function prepare(o, meter, source, files)
  local stage = new_case({ run_id = "prepare", seed = o.seeds[1] }, o.out, meter)
  local value, message = metered(o.prepare, stage, "prepare")
  if message then return nil, "prepare: " .. message, "failed" end
  return files:finish("prepare", epoch_rows("prepare", value and value.epoch_rows),
                      energy_rows("prepare", stage.ledger, source))
end

-- One run: returns its row, which is in the files by then.
local function run_one(o, run, meter, source, common, files, bar)
  local case = new_case(run.case, o.out, meter)
  case.run_id, case.seed, case["repeat"], case.block = run.run_id, run.seed, run["repeat"], run.block
  local value, message = metered(o.run, case, "run")
  local row = fill(fill(measured_columns(case), common), factor_values(run.case))
  fill(row, { run_id = run.run_id, block = run.block, run_order = run.run_order, seed = run.seed,
              ["repeat"] = run["repeat"], status = "ok" })
  local full
  if not message then full, message = merge(row, value, files.cols.runs) end
  if not full then
    row.status = diverged(message) and "diverged" or "failed"
    if row.status == "diverged" then message = message:match "^[^\n]*" end
    bar:close() -- off the line that the message is to stand on; the next step draws it again
    io.stderr:write(("experiment: run %s: %s\n"):format(run.run_id, message))
    full, value = row, nil
  end
  local ok, code
  ok, message, code = files:finish(run.run_id, epoch_rows(run.run_id, value and value.epoch_rows),
                                   energy_rows(run.run_id, case.ledger, source), full)
  if not ok then return nil, message, code end
  return full
end

local function execute(o)
  local cols = results.extend(results.runs, {})
  local runs, cases = experiment.plan(o)
  cols = results.extend(cols, factor_columns(cases, cols))
  cols = results.extend(cols, o.columns or {})
  local meter <close> = open_meter(o.meter)
  local description = meter:describe()
  local told = key_values(description)
  local source = { name = told.source, domain = told.domains ~= "" and told.domains or nil }
  local common = common_values(o, source)
  -- Everything that is known before the first run must fit its column: a long experiment does not end on a typo.
  for _, run in ipairs(runs) do
    local fits, message = results.line(cols, fill(fill({ run_id = run.run_id }, common), factor_values(run.case)))
    if not fits then where.raise("experiment: %s", message) end
  end

  local ok, message, code = open_folder(o.out)
  if not ok then return nil, message, code end
  local side = sidecar(o, cols, source.name, description)
  side.runs = #runs
  ok, message, code = core.write_file(o.out .. "/runs.json", core.json_encode(side))
  if not ok then return nil, message, code end
  local files <close>, message, code = open_files(o.out, cols)
  if not files then return nil, message, code end

  if o.prepare then
    ok, message, code = prepare(o, meter, source, files)
    if not ok then return nil, message, code end
  end
  local counts = { ok = 0, failed = 0, diverged = 0 }
  local bar <close> = progress.new { total = #runs, enabled = o.progress ~= false }
  for i, run in ipairs(runs) do
    local row
    row, message, code = run_one(o, run, meter, source, common, files, bar)
    if not row then return nil, message, code end
    counts[row.status] = counts[row.status] + 1
    bar:step(i, progress_line(i, #runs, row))
  end
  side.finished_utc, side.counts = os.date "!%Y-%m-%dT%H:%M:%SZ", counts
  ok, message, code = core.write_file(o.out .. "/runs.json", core.json_encode(side))
  if not ok then return nil, message, code end

  local rows
  rows, message, code = results.read(o.out .. "/runs.csv", cols)
  if not rows then return nil, message, code end
  return { rows = rows, columns = cols, cases = cases, counts = counts, failed = #runs - counts.ok, out = o.out }
end

-- Returns {rows (as read back from runs.csv), columns, cases, counts, failed, out}, or nil, message, code where
-- a file or folder said no. `failed` counts the runs whose status is not ok; unless raise = false, any is an
-- error after all runs.
function experiment.run(o)
  o = check(o)
  local result, message, code = execute(o)
  if not result then return nil, "experiment: " .. message, code end
  if result.failed > 0 and o.raise ~= false then
    where.raise("experiment: %d of %d runs did not end well; see %s/runs.csv", result.failed, #result.rows, o.out)
  end
  return result
end

return setmetatable(experiment, { __call = function(_, o) return experiment.run(o) end })
