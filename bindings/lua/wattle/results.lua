-- The shape of result files: which columns runs.csv, epochs.csv and energy.csv have, of which type,
-- and how a value becomes a cell that pandas and R read with their defaults. Reading back and
-- writing whole tables live here too; appending, syncing and locking are the core's.
local core = require("wattle").core
local util = require "wattle.util"
local where = require "wattle.where"

local results = {}
results.schema_version = 1

-- "name:type" lists; the order is the file's. Types: text, integer, number, boolean.
local function columns(list)
  local out = {}
  for name, kind in list:gmatch "([%w_]+):(%a+)" do out[#out + 1] = { name = name, type = kind } end
  return out
end

-- Fixed (a protocol appends its own after these). A row is one arm of one seed and repeat.
results.runs = columns [[
  run_id:text experiment:text block:integer run_order:integer host:text shard:integer status:text
  model:text dataset:text init:text init_sha256:text technique:text level:number level_unit:text
  seed:integer repeat:integer backend:text threads:integer dtype:text bf16_native:boolean
  steps:integer samples_seen:integer epochs:integer
  val_top1_pct:number test_top1_pct:number macro_f1:number loss:number
  params:integer nonzeros:integer flops_per_image:number flops_executed_per_image:number
  disk_bytes:integer peak_rss_bytes:integer duration_s:number images_per_s:number
  energy_source:text energy_method:text energy_domains:text
  energy_j:number energy_net_j:number energy_est_j:number energy_missing_s:number
  idle_power_w:number idle_sd_w:number mean_power_w:number
  duration_train_s:number duration_eval_s:number duration_compress_s:number
  energy_train_j:number energy_eval_j:number energy_compress_j:number
  target_top1_pct:number target_reached:boolean duration_to_target_s:number energy_to_target_j:number
  interrupted:boolean cpu_s:number other_cpu_s:number steal_s:number freq_mhz:number temp_c:number
  wattle_version:text git_revision:text]]

-- One row an epoch of training.
results.epochs = columns [[
  run_id:text epoch:integer lr:number train_loss:number train_top1_pct:number
  val_loss:number val_top1_pct:number duration_s:number]]

-- One row a region, source and domain. energy_j holds counters only; a model's figure is in energy_est_j.
results.energy = columns [[
  run_id:text region:text source:text domain:text method:text energy_j:number missing_s:number
  reason:text energy_est_j:number duration_s:number]]

-- The sweep of steganographic capacity: one row a number of overwritten low-order bits, of the whole model (layer is
-- NA) or of one layer. capacity_bytes = bits x parameters / 8.
results.capacity = columns [[
  experiment:text model:text init_sha256:text layer:text arm:text bits:integer val_images:integer
  val_top1_pct:number test_top1_pct:number within_epsilon:boolean chosen:boolean capacity_bytes:integer]]

-- Power over time, where a counter was read while it ran: one row a sample and domain. t_s: since the run (or stage)
-- began; power_w: the mean since the sample before; region: the innermost open one at t_s, the run's phases.
results.trace = columns [[run_id:text t_s:number domain:text power_w:number region:text]]

-- Is a column a time, a power, an energy or a memory of the run? Those of an interrupted run are of a part of it.
function results.is_metered(name)
  return name:find "_[sjw]$" ~= nil or name == "peak_rss_bytes"
end

-- results.names(cols) -> the columns' names, in order.
function results.names(cols)
  local out = {}
  for i, c in ipairs(cols) do out[i] = c.name end
  return out
end

-- results.find(cols, name) -> the column of that name, or nil.
function results.find(cols, name)
  for i, c in ipairs(cols) do
    if c.name == name then return c, i end
  end
end

---- cells ----

-- What pandas or R would take for a missing value or a truth value, in lower case.
local MISREAD = {}
for word in ("na n/a nan null none inf infinity true false t f"):gmatch "%S+" do MISREAD[word] = true end

-- Does s stay a string in every reader? It must begin with a letter and be none of the words above
-- (an all-letter number such as "nan" or "inf" is among them), and be UTF-8.
function results.is_identifier(s)
  return s:find "^%a" ~= nil and not MISREAD[s:lower()] and not s:find "[%c]" and utf8.len(s) ~= nil
end

-- Text from outside (a path, a command line) as UTF-8: a byte that is none becomes '?'.
function results.utf8(s)
  local n, at = utf8.len(s)
  while not n do
    s = s:sub(1, at - 1) .. "?" .. s:sub(at + 1)
    n, at = utf8.len(s, at)
  end
  return s
end

-- For names that the machine gives (a host called 3f2c, a revision 1234567): prefixed where needed.
function results.identifier(s, prefix)
  s = results.utf8(s):gsub("%c", "_")
  return results.is_identifier(s) and s or prefix .. s
end

-- A number by a format, with a point whatever the locale (a program or script may have set one that has a comma).
function results.decimal(format, v)
  local s = format:format(v)
  local point = ("%.1f"):format(0.5):sub(2, -2)
  if point == "." then return s end
  local at, to = s:find(point, 1, true)
  return at and s:sub(1, at - 1) .. "." .. s:sub(to + 1) or s
end

-- Shortest decimal that reads back as the same double, always with a point or an exponent, so that
-- a column of numbers that happen to be whole does not turn into integers.
local function number_text(v)
  if v ~= v or v == math.huge or v == -math.huge then return "NA" end
  v = v + 0.0
  for digits = 15, 17 do
    local s = results.decimal(("%%.%dg"):format(digits), v)
    if tonumber(s) == v then return s:find "[.e]" and s or s .. ".0" end
  end
end

local write = {}

function write.text(v)
  if type(v) ~= "string" then return nil, "a string" end
  if not results.is_identifier(v) then return nil, "text that begins with a letter and reads as nothing else" end
  return core.csv_field(v)
end

function write.integer(v)
  if type(v) ~= "number" then return nil, "an integer" end
  if v ~= v then return "NA" end
  local i = math.tointeger(v)
  if not i then return nil, "an integer" end
  return ("%d"):format(i)
end

function write.number(v)
  if type(v) ~= "number" then return nil, "a number" end
  return number_text(v)
end

function write.boolean(v)
  if type(v) ~= "boolean" then return nil, "true or false" end
  return v and "TRUE" or "FALSE"
end

-- The cell of v in a column, or nil and what it should have been. nil is NA.
function results.cell(column, v)
  if v == nil then return "NA" end
  local text, want = write[column.type](v)
  if text then return text end
  return nil, ("column '%s' holds %s, not %s"):format(column.name, want,
                                                      type(v) == "string" and ("'%s'"):format(v) or tostring(v))
end

-- One line (with its newline) of `row`, a table by column name, or nil and what is wrong. A field that is
-- no column is an error that suggests the nearest.
function results.line(cols, row)
  local cells, known = {}, {}
  for i, column in ipairs(cols) do
    local text, message = results.cell(column, row[column.name])
    if not text then return nil, message end
    cells[i], known[column.name] = text, true
  end
  for name in pairs(row) do
    if not known[name] then
      return nil, ("no column '%s'%s"):format(tostring(name), util.hint(name, results.names(cols)))
    end
  end
  return table.concat(cells, ",") .. "\n"
end

-- results.header(cols) -> the first line of a file with these columns.
function results.header(cols)
  return table.concat(results.names(cols), ",")
end

-- The fixed columns followed by a protocol's own: a list of {name, type}. Names are checked here.
function results.extend(fixed, own)
  local out = table.move(fixed, 1, #fixed, 1, {})
  for _, c in ipairs(own) do
    local name, kind = c.name or c[1], c.type or c[2]
    if type(name) ~= "string" or not name:find "^%l[%l%d_]*$" then
      where.raise("columns: '%s' is no lower-case name", tostring(name))
    end
    if not write[kind] then
      where.raise("columns: '%s' is of type '%s'; there are text, integer, number, boolean", name, tostring(kind))
    end
    if results.find(out, name) then where.raise("columns: '%s' is there already", name) end
    out[#out + 1] = { name = name, type = kind }
  end
  return out
end

---- whole files ----

-- Write a table at once (beside, synced, renamed). true, or nil, message, code.
function results.write(path, cols, rows)
  local lines = { results.header(cols) .. "\n" }
  for _, row in ipairs(rows) do
    local line, message = results.line(cols, row)
    if not line then where.raise("%s: %s", path, message) end
    lines[#lines + 1] = line
  end
  return core.write_file(path, table.concat(lines))
end

-- What a cell of each type reads as; nil is malformed.
local read = {
  text = function(s) return s end,
  integer = function(s) return math.tointeger(tonumber(s)) end,
  number = function(s)
    local v = tonumber(s)
    return v and v + 0.0
  end,
  boolean = function(s)
    if s == "TRUE" then return true elseif s == "FALSE" then return false end
  end,
}

-- Read a file back as typed rows (NA is nil). Its header must be that of cols. nil, message, code where the
-- file is missing or holds something else.
function results.read(path, cols)
  local lines, message, code = core.csv_read(path)
  if not lines then return nil, message, code end
  if not lines[1] or table.concat(lines[1], ",") ~= results.header(cols) then
    return nil, path .. ": the columns are not those of schema " .. results.schema_version, "format"
  end
  local rows = {}
  for l = 2, #lines do
    local row = {}
    for i, column in ipairs(cols) do
      local s = lines[l][i] or ""
      if s ~= "NA" then
        local v = read[column.type](s)
        if v == nil then
          return nil, ("%s:%d: column '%s' holds '%s'"):format(path, l, column.name, s), "format"
        end
        row[column.name] = v
      end
    end
    rows[#rows + 1] = row
  end
  return rows
end

return results
