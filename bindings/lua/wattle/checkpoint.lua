-- What wattle.fit keeps after every epoch, so that training that was stopped goes on bit for bit: one safetensors
-- file with the model ("model.NAME"), the plan's state ("plan.NAME": the optimizer's, masters, counters), the best
-- model so far ("best.NAME"), and in its metadata, as JSON, the options it belongs to, the history and the tensors'
-- SHA-256. Written beside and renamed, so the file is always that of a whole epoch.

local core = require("wattle").core
local module = require "wattle.nn.module"
local util = require "wattle.util"

local checkpoint = {}

local KEY, VERSION = "wattle_fit", 2

-- What a schedule is: a function is known by some of its values, an object (plateau) by its options.
local function schedule_values(schedule, epochs)
  if schedule == nil then return "none" end
  if type(schedule) ~= "function" then return schedule.options and schedule:options() or "an object" end
  local values = {}
  for k = 0, 4 do values[k + 1] = schedule(epochs * k / 5) end -- where training asks too, so not at its end
  return values
end

-- Names of the numbers that JSON has no form for.
local NONFINITE = { nan = 0 / 0, inf = math.huge, ["-inf"] = -math.huge }

-- A value as JSON can hold it: {"sgd", lr = 1} gets keys "1" and "lr"; a function becomes its kind, and a number that
-- is not finite (a validation loss may be) its name.
local function plain(value)
  if type(value) == "function" then return "a function" end
  if type(value) == "number" and value - value ~= 0 then
    return value ~= value and "nan" or value > 0 and "inf" or "-inf"
  end
  if type(value) ~= "table" then return value end
  local copy, list = {}, true
  for key in pairs(value) do list = list and math.type(key) == "integer" end
  for key, v in pairs(value) do copy[list and key or tostring(key)] = plain(v) end
  return copy
end

-- Numbers that plain made names of, back in their places.
local function revive(t)
  for key, value in pairs(t) do
    if NONFINITE[value] then t[key] = NONFINITE[value] elseif type(value) == "table" then revive(value) end
  end
  return t
end

-- The constraints of parameters and what is frozen, which come with the model and not from the file.
local function constraints(model)
  local of = {}
  for _, entry in ipairs(module.entries(model, "parameter")) do
    local mask = entry.param:mask()
    local digest = mask and core.sha256_dict{ mask = mask } or nil
    of[entry.name] = { truncation = entry.param:truncation(), mask_sha256 = digest,
                       frozen = not entry.param:requires_grad() or nil }
  end
  module.walk(model, function(path, m)
    if m.frozen then of[path] = { frozen_statistics = true } end
  end)
  return of
end

-- The options that decide what every step computes. Equal options give equal bits; so must the threads be equal,
-- since the order of sums in some kernels follows their number.
local function identity(run)
  local o = run.options
  return {
    epochs = run.epochs, batch_size = run.batch_size, seed = run.seed, optimizer = plain(o.optimizer),
    drop_last = o.drop_last or false, loss = plain(o.loss or "cross_entropy"), backend = o.backend or "auto",
    schedule = schedule_values(run.schedule, run.epochs), keep_best = o.keep_best or false,
    early_stopping = plain(o.early_stopping or false), train_data = run.train.name, train_samples = #run.train,
    val_samples = run.val and #run.val or 0, constraints = constraints(o.model),
    threads = core.threads(), wattle = core.build_info():match "version: ([^\n]*)",
  }
end

local function text(value)
  if value == nil then return "not given" end
  if type(value) ~= "table" then return tostring(value) end
  return (core.json_encode(value):gsub("%s+", " "))
end

-- The first option that differs, as a sentence; nil if none does. Named values inside an option are told apart.
local function difference(name, then_, now)
  if text(then_) == text(now) then return nil end
  for _, side in ipairs{ type(now) == "table" and now or {}, type(then_) == "table" and then_ or {} } do
    for _, key in ipairs(type(then_) == type(now) and util.sorted_keys(side) or {}) do
      local differs = difference(name == "" and key or name .. "." .. key, then_[key], now[key])
      if differs then return differs end
    end
  end
  return ("%s was %s, now it is %s"):format(name, text(then_), text(now))
end

local function add(dict, prefix, tensors)
  for _, name in ipairs(tensors) do
    dict[#dict + 1] = prefix .. name
    dict[prefix .. name] = tensors[name]
  end
end

local function part(dict, prefix)
  local out = {}
  for _, name in ipairs(dict) do
    if name:sub(1, #prefix) == prefix then
      local own = name:sub(#prefix + 1)
      out[#out + 1], out[own] = own, dict[name]
    end
  end
  return out
end

-- Writes the file after an epoch. nil, message, code where the world says no.
function checkpoint.write(path, run, history)
  local dict, rows, fields = {}, {}, {}
  add(dict, "model.", run.options.model:state_dict())
  add(dict, "plan.", run.plan:state())
  if run.best_state then add(dict, "best.", run.best_state) end
  for i, row in ipairs(history) do rows[i] = row end
  for key, value in pairs(history) do
    if type(key) == "string" then fields[key] = value end
  end
  local record = {
    version = VERSION, options = identity(run), rows = rows, history = fields, sha256 = core.sha256_dict(dict),
    run = { steps = run.steps, samples = run.samples, best = run.best, mark = run.mark, waited = run.waited,
            lr = run.lr, duration_s = core.now() - run.began + run.before_s },
    schedule = type(run.schedule) == "table" and run.schedule:state() or core.null,
  }
  return core.save_safetensors(path, dict, { [KEY] = core.json_encode(plain(record)) })
end

local function restore_model(model, tensors, path)
  local entries = module.entries(module.initialise(model), nil, true) -- what is shared under all its names, as saved
  for _, entry in ipairs(entries) do
    local t, own = tensors[entry.name], entry.param:tensor()
    if not t or t.dtype ~= own.dtype or table.concat(t:shape(), ",") ~= table.concat(own:shape(), ",") then
      return nil, ("%s: it is of another model: %s does not fit"):format(path, entry.name), "format"
    end
  end
  if #entries ~= #tensors then return nil, path .. ": it is of another model: it has other parameters", "format" end
  for _, entry in ipairs(entries) do entry.param:tensor():copy_(tensors[entry.name]) end
  return true
end

-- Brings run and history to where the file left them. true; false where there is no file; nil, message, code
-- where it cannot be gone on from.
function checkpoint.read(path, run, history)
  if not core.exists(path) then return false end
  local dict, meta, code = core.load(path)
  if not dict then return nil, meta, code end
  local record = core.json_decode(meta and meta[KEY] or "")
  if type(record) ~= "table" or record.version ~= VERSION then
    return nil, path .. ": it is no checkpoint of wattle.fit", "format"
  end
  local differs = difference("", record.options, identity(run))
  if differs then
    return nil, ("%s: it is of other options: %s; remove it to start afresh"):format(path, differs), "arg"
  end
  if record.sha256 ~= core.sha256_dict(dict) then
    return nil, path .. ": it is damaged: its tensors are not those that were written; remove it to start afresh",
           "format"
  end
  local restored, message, kind = restore_model(run.options.model, part(dict, "model."), path)
  if not restored then return nil, message, kind end
  run.plan:load_state(part(dict, "plan."))
  local best = part(dict, "best.")
  run.best_state = #best > 0 and best or nil
  for i, row in ipairs(revive(record.rows)) do
    row.resumed = true
    history[i] = row
  end
  for key, value in pairs(revive(record.history)) do history[key] = value end
  local saved = revive(record.run)
  run.steps, run.samples, run.waited, run.lr = saved.steps, saved.samples, saved.waited, saved.lr
  run.best, run.mark, run.before_s = saved.best, saved.mark, saved.duration_s
  if type(run.schedule) == "table" then run.schedule:load_state(record.schedule) end
  return true
end

return checkpoint
