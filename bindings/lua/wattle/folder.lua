-- The folder of an experiment: one run's at a time, its tables appended whole, and what an earlier run of the same
-- plan left there. Used by experiment and by scripts/merge.lua; what a run is, is experiment's.
--
-- In it: .lock (who writes here now; it stays), runs.json (the sidecar), runs.csv and its children epochs.csv,
-- energy.csv and, where a counter was read, trace.csv, and what the protocol adds. The children's rows of a run are written before its row in runs.csv, so a
-- row there means that all is there. What a killed run left of an unfinished one is cut before going on.
local core = require("wattle").core
local results = require "wattle.results"

local folder = {}

local CHILDREN = { "epochs", "energy", "trace" }
local FILES = { "runs", "epochs", "energy" } -- the trace is not always there

---- the sidecar ----

-- What must be the same for rows to belong together, in the order in which a difference is told.
local SAME = { "schema_version", "plan_version", "experiment", "options", "seeds", "repeats", "seed_order", "cases",
               "constants", "shard", "threads", "source", "energy_domains", "columns" }

-- runs.json of a folder, or nil, message, code.
function folder.read_sidecar(path)
  local file, message = io.open(path .. "/runs.json")
  if not file then return nil, message, "io" end
  local text = file:read "a"
  file:close()
  local side, reason, code = core.json_decode(text or "")
  if side == nil then return nil, ("%s/runs.json: %s"):format(path, reason), code end
  if type(side) ~= "table" then return nil, path .. "/runs.json: not a sidecar", "format" end
  return side
end

---- reading it, for reports ----

-- A table of the folder with the columns that the sidecar gives it, or those given. Returns rows, columns; or nil,
-- message, code.
local function read_table(path, types, fixed)
  local file, message = io.open(path, "rb")
  if not file then return nil, message, "io" end
  local size = file:seek "end" or 0
  local last = size > 0 and file:seek("end", -1) and file:read(1)
  file:close()
  local lines, code
  lines, message, code = core.csv_read(path)
  if not lines then return nil, message, code end
  if last ~= "\n" then
    return nil, ("%s:%d: the last row is not whole: a run was stopped as it wrote; resume = true (--resume) mends it")
      :format(path, math.max(#lines, 1)), "format"
  end
  local cols = fixed
  if not cols then
    cols = {}
    for i, name in ipairs(lines[1]) do
      if not types[name] then return nil, ("%s:1: runs.json does not know the column '%s'"):format(path, name), "format" end
      cols[i] = { name = name, type = types[name] }
    end
  end
  local rows
  rows, message, code = results.read(path, cols)
  if not rows then return nil, message, code end
  return rows, cols
end

local function is_list(t)
  return type(t) == "table" and (#t > 0 or next(t) == nil)
end

local STATUS = { ok = true, diverged = true, failed = true }

-- What a sidecar must have for its tables to be understood; nil if it has, else what is wrong.
local function sidecar_misfit(side)
  if side.schema_version ~= results.schema_version then
    return ("it is of schema %s, and this program reads %d"):format(tostring(side.schema_version), results.schema_version)
  end
  if type(side.experiment) ~= "string" then return "'experiment' is missing" end
  for _, key in ipairs { "columns", "cases", "seeds" } do
    if type(side[key]) ~= "table" then return ("'%s' is missing"):format(key) end
  end
  for _, name in ipairs(FILES) do
    if type(side.columns[name .. ".csv"]) ~= "table" then return ("'columns' lacks %s.csv"):format(name) end
  end
  for _, key in ipairs { "sessions", "stages" } do
    if not is_list(side[key]) then return ("'%s' is no list"):format(key) end
  end
  for _, key in ipairs { "started_utc", "finished_utc" } do
    local v = side[key]
    if type(v) ~= "string" and (key == "started_utc" or v ~= nil) then return ("'%s' is no time"):format(key) end
  end
  if side.counts ~= nil and type(side.counts) ~= "table" then return "'counts' is no object" end
  for status, n in pairs(side.counts or {}) do
    if math.type(n) ~= "integer" then return ("'counts' has %s of %s"):format(tostring(n), tostring(status)) end
  end
  local shard = side.shard
  if shard ~= nil and shard ~= core.null and not (is_list(shard) and #shard == 2 and math.type(shard[1]) == "integer"
                                                  and math.type(shard[2]) == "integer") then
    return "'shard' is not two integers"
  end
end

-- The same of the rows of runs.csv: each a run of its own, of a known status, at its place in the plan.
local function rows_misfit(rows)
  local seen = {}
  for i, row in ipairs(rows) do
    local id = row.run_id
    if not id then return ("row %d has no run_id"):format(i) end
    if seen[id] then return ("holds '%s' twice"):format(id) end
    if not STATUS[row.status] then return ("'%s' is of status %s"):format(id, tostring(row.status)) end
    if not row.run_order then return ("'%s' has no run_order"):format(id) end
    seen[id] = true
  end
end

-- folder.read(path) -> {path, side (runs.json), runs, epochs, energy: rows, in the order of the plan; cols {runs, epochs,
-- energy}: their columns, columns: those of runs; capacity and trace: rows, where there are such files}, or nil,
-- message, code; the message names file and line.
-- Nothing is changed, and no lock is needed: rows are appended whole.
function folder.read(path)
  local there, kind = core.exists(path)
  if not there or kind ~= "directory" then return nil, ("there is no folder '%s'"):format(path), "io" end
  if not core.exists(path .. "/runs.json") then
    return nil, ("the folder '%s' holds no runs.json: it is not an experiment's"):format(path), "io"
  end
  local side, message, code = folder.read_sidecar(path)
  if not side then return nil, message, code end
  local misfit = sidecar_misfit(side)
  if misfit then return nil, ("%s/runs.json: %s"):format(path, misfit), "format" end
  local out = { path = path, side = side, cols = {} }
  for _, name in ipairs(FILES) do
    local rows, cols, why = read_table(("%s/%s.csv"):format(path, name), side.columns[name .. ".csv"])
    if not rows then return nil, cols, why end
    out[name], out.cols[name] = rows, cols
  end
  out.columns = out.cols.runs
  misfit = rows_misfit(out.runs)
  if misfit then return nil, ("%s/runs.csv: %s"):format(path, misfit), "format" end
  for _, name in ipairs { "capacity", "trace" } do
    local file = ("%s/%s.csv"):format(path, name)
    if core.exists(file) then
      local rows, why, reason = read_table(file, nil, results[name])
      if not rows then return nil, why, reason end
      out[name] = rows
    end
  end
  table.sort(out.runs, function(a, b) return a.run_order < b.run_order end)
  return out
end

---- two plans ----

local function show(v)
  if v == nil or v == core.null then return "not given" end
  return type(v) == "string" and ("'%s'"):format(v) or type(v) == "table" and "a list or table" or tostring(v)
end

-- Where two JSON values differ first: path, old, new. nil where they are equal.
local function difference(path, a, b)
  if type(a) ~= "table" or type(b) ~= "table" then
    if a == b or (a == nil or a == core.null) and (b == nil or b == core.null) then return nil end
    return path, a, b
  end
  local keys, seen = {}, {}
  for _, t in ipairs { a, b } do
    for k in pairs(t) do
      if not seen[k] then
        seen[k] = true
        keys[#keys + 1] = k
      end
    end
  end
  table.sort(keys, function(x, y)
    if type(x) == type(y) then return x < y end
    return type(x) == "number"
  end)
  for _, k in ipairs(keys) do
    local inner = type(k) == "number" and ("%s[%d]"):format(path, k) or path == "" and k or path .. "." .. k
    local where, old, new = difference(inner, a[k], b[k])
    if where then return where, old, new end
  end
end

-- The first thing in which two sidecars are not of one plan: its path, the old and the new value as text; nil if
-- there is none. `except`: keys that may differ.
function folder.difference(old, new, except)
  for _, key in ipairs(SAME) do
    if not (except and except[key]) then
      local path, a, b = difference(key, old[key], new[key])
      if path then return path, show(a), show(b) end
    end
  end
end

---- what is there ----

local TEMPORARY = "%.%d+%-%d+%.tmp$" -- a file that a killed process was writing beside its path

-- The names in a folder, without the lock; temporary files of killed processes are removed (so: under the lock).
local function clean(path)
  local names, message, code = core.listdir(path)
  if not names then return nil, message, code end
  local rest = {}
  for _, name in ipairs(names) do
    local inner = path .. "/" .. name
    if name:find(TEMPORARY) then
      local removed, why, reason = core.remove(inner)
      if not removed then return nil, why, reason end
    elseif name ~= ".lock" then
      rest[#rest + 1] = name
      local _, kind = core.exists(inner)
      if kind == "directory" then
        local ok, why, reason = clean(inner)
        if not ok then return nil, why, reason end
      end
    end
  end
  return rest
end

local NOT_EMPTY = "the folder '%s' is not empty; results are never mixed, so choose another"

-- Locks the folder, made if absent. A folder of something else is left as it is, without even a lock.
local function enter(path, resume)
  local there, kind = core.exists(path)
  if there and kind == "directory" then
    local names, message, code = core.listdir(path)
    if not names then return nil, message, code end
    local ours = #names == 0
    for _, name in ipairs(names) do ours = ours or name == "runs.json" or name == ".lock" end
    if not ours then return nil, NOT_EMPTY:format(path), "io" end
  else
    local made, message, code = core.mkdir(path)
    if not made then return nil, message, code end
  end
  local lock, message, code = core.lock(path)
  if not lock then return nil, message, code end
  local names
  if resume then names, message, code = clean(path) else names, message, code = core.listdir(path) end
  if not names then
    lock:close()
    return nil, message, code
  end
  local holds = {}
  for _, name in ipairs(names) do holds[name] = true end
  holds[".lock"] = nil
  if next(holds) == nil then return lock, false end
  if resume and holds["runs.json"] then return lock, true end
  lock:close()
  if holds["runs.json"] then
    return nil, NOT_EMPTY:format(path) .. " - or go on with what it holds: resume = true, --resume", "io"
  end
  return nil, NOT_EMPTY:format(path) .. " (it holds no runs.json to go on from)", "io"
end

---- tables ----

-- Cuts a torn last row, and checks the header; a table that is not there is made.
local function mend(path, cols)
  local appender, message, code = core.appender(path, results.header(cols))
  if not appender then return nil, message, code end
  appender:close()
  return true
end

-- Leaves only rows whose first cell, the run_id, passes; atomically, and not at all where all pass.
local function keep_rows(path, keep)
  local lines, message, code = core.csv_read(path)
  if not lines then return nil, message, code end
  local out, cut = {}, false
  for i, cells in ipairs(lines) do
    if i == 1 or keep(cells[1]) then
      local quoted = {}
      for k, cell in ipairs(cells) do quoted[k] = core.csv_field(cell) end
      out[#out + 1] = table.concat(quoted, ",") .. "\n"
    else
      cut = true
    end
  end
  if not cut then return true end
  return core.write_file(path, table.concat(out))
end

-- In what a row is not the run of the plan that its run_id names; nil if in nothing.
local function row_misfit(row, run)
  if not STATUS[row.status] then return ("of status %s"):format(tostring(row.status)) end
  for _, key in ipairs { "block", "run_order", "seed", "repeat" } do
    if row[key] ~= run[key] then return ("of %s %s, not %s"):format(key, tostring(row[key]), tostring(run[key])) end
  end
end

-- The rows of runs.csv that stand, by run_id: those that failed are run again. Everything else is cut.
local function finished_rows(path, cols, planned, stages)
  local file = path .. "/runs.csv"
  local ok, message, code = mend(file, cols.runs)
  if not ok then return nil, message, code end
  local rows
  rows, message, code = results.read(file, cols.runs)
  if not rows then return nil, message, code end
  local done, seen = {}, {}
  for _, row in ipairs(rows) do
    local id = row.run_id
    if not planned[id] then return nil, ("%s: holds '%s', which is no run of this plan"):format(file, id), "format" end
    if seen[id] then return nil, ("%s: holds '%s' twice"):format(file, id), "format" end
    local misfit = row_misfit(row, planned[id])
    if misfit then return nil, ("%s: '%s' is %s"):format(file, id, misfit), "format" end
    seen[id] = true
    if row.status ~= "failed" then done[id] = row end
  end
  ok, message, code = keep_rows(file, function(id) return done[id] ~= nil end)
  for _, name in ipairs(CHILDREN) do
    local child = ("%s/%s.csv"):format(path, name)
    if ok and cols[name] then ok, message, code = mend(child, cols[name]) end
    if ok and cols[name] then ok, message, code = keep_rows(child, function(id) return done[id] ~= nil or stages[id] ~= nil end) end
  end
  if not ok then return nil, message, code end
  return done
end

---- the folder while it is written ----

local Folder = {}
Folder.__index = Folder

function Folder:close()
  for _, name in ipairs(CHILDREN) do
    if self[name] then self[name]:close() end
  end
  if self.runs then self.runs:close() end
  self.lock:close()
end
Folder.__close = Folder.close

function Folder:write_sidecar()
  return core.write_file(self.path .. "/runs.json", core.json_encode(self.side))
end

-- Takes over what the folder has of the same plan.
local function take_over(self, planned)
  local old, message, code = folder.read_sidecar(self.path)
  if not old then return nil, message, code end
  local where, was, is = folder.difference(old, core.json_decode(core.json_encode(self.side)))
  if where then
    return nil, ("the folder '%s' was begun with other options: %s was %s, now it is %s; resume with the same, or "
                 .. "choose another folder"):format(self.path, where, was, is), "arg"
  end
  for _, key in ipairs { "sessions", "stages" } do
    if not is_list(old[key]) then return nil, ("%s/runs.json: '%s' is no list"):format(self.path, key), "format" end
  end
  local side = self.side
  side.started_utc, side.stages = old.started_utc, old.stages
  side.sessions = table.move(side.sessions, 1, 1, #old.sessions + 1, old.sessions)
  for _, id in ipairs(side.stages) do self.stages[id] = true end
  self.done, message, code = finished_rows(self.path, self.cols, planned, self.stages)
  if not self.done then return nil, message, code end
  return true
end

-- folder.open{path =, resume =, side = sidecar, cols = {runs =, epochs =, energy =, trace = or nil}, planned = {[run_id] = run}} ->
-- folder, or nil, message, code. Its fields: done {[run_id] = row} and stages {[id] = true} that an earlier run
-- finished; resumed says whether there was one.
function folder.open(o)
  core.json_encode(o.side) -- what JSON cannot hold is told before anything is locked or written
  local lock, resumed, code = enter(o.path, o.resume)
  if not lock then return nil, resumed, code end
  local self = setmetatable({ path = o.path, lock = lock, side = o.side, cols = o.cols, done = {}, stages = {},
                              resumed = resumed }, Folder)
  local ok, message, opened = true, nil, false
  local guard <close> = setmetatable({}, { __close = function()
    if not opened then self:close() end
  end })
  if resumed then ok, message, code = take_over(self, o.planned) end
  if ok then ok, message, code = self:write_sidecar() end
  for _, name in ipairs { "runs", table.unpack(CHILDREN) } do
    if ok and o.cols[name] then
      self[name], message, code = core.appender(("%s/%s.csv"):format(o.path, name), results.header(o.cols[name]))
      ok = self[name]
    end
  end
  if not ok then return nil, message, code end
  opened = true
  return self
end

-- Rows of one of the tables, in one write. Rows must fit their columns.
local function append(self, name, rows)
  local lines = {}
  for i, row in ipairs(rows) do
    local line, message = results.line(self.cols[name], row)
    if not line then return nil, ("%s.csv: %s"):format(name, message), "arg" end
    lines[i] = line
  end
  if #lines == 0 then return true end
  return self[name]:add(table.concat(lines))
end

-- All rows of one run ({epochs =, energy =, trace =}), its own last; of a stage (without a row), and then the sidecar says that it is finished.
function Folder:finish(id, children, row)
  local ok, message, code = true, nil, nil
  for _, name in ipairs(CHILDREN) do
    if ok and self[name] then ok, message, code = append(self, name, children[name]) end
  end
  if ok and row then ok, message, code = append(self, "runs", { row }) end
  if ok and not row then
    table.insert(self.side.stages, id)
    self.stages[id] = true
    ok, message, code = self:write_sidecar()
  end
  if not ok then return nil, ("%s: %s"):format(id, message), code end
  return true
end

return folder
