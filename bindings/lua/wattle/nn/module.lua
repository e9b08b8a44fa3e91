-- Modules: classes, instances that see every field set, parameters named by field paths, state dicts, and calls
-- that know where in the model they are. May use wattle.core and wattle.where; layers are in nn/layers.lua,
-- tracing into a plan is in nn/compile.lua.
--
-- An instance is an empty table with one private record, so that __newindex sees every assignment: fields keep
-- the order in which they were set (it is the order of the parameters), and each change bumps the module's
-- stamp, by which a plan compiled before knows that it is stale. Fields whose names begin with "_" are the
-- user's scratch: they are stored plainly, never bump, and what they hold is not part of the model.

local core = require("wattle").core
local util = require "wattle.util"
local where = require "wattle.where"

local raise = where.raise

-- How a userdata is told from others: by its metatable, taken from a specimen.
local param_type = debug.getmetatable(core.param(core.zeros{ 1 }, "parameter"))

local RECORD = {} -- the key of an instance's record: {class, fields, order, stamp, training}
local Module = {} -- the methods that every module has
local instance = { __name = "nn.Module" } -- the metatable of every instance

-- Parameters whose values have not been drawn yet: param -> {version, rule}. See initialise.
local pending = setmetatable({}, { __mode = "k" })
-- Is a model being made by `deferred`, whose parameters are not even marked before they are drawn or loaded?
local deferring = false
-- param -> its full name, as last seen from the model that it was drawn or compiled in.
local names = setmetatable({}, { __mode = "k" })

-- Modules whose forward is running, outermost first; and what compile is tracing: {graph, paths, training}.
local frames = {}
local guarding = false
local trace

local function is_param(v)
  return debug.getmetatable(v) == param_type
end

-- nn.is_module(v) -> whether v is an instance of a class of modules.
local function is_module(v)
  return type(v) == "table" and rawget(v, RECORD) ~= nil
end

local function join(path, name)
  return path == "" and name or path .. "." .. name
end

-- ---- walking -------------------------------------------------------------------------------------------------

-- visit(path, module) for root ("") and every module below it, parents first, in the order of their fields. One
-- that occurs at several places is visited once, under its first path; with `all`, at each.
local function walk(root, visit, all)
  local seen, open = {}, {}
  local function go(module, path)
    if open[module] then raise("nn: module %s contains itself", path) end
    if seen[module] and not all then return end
    seen[module], open[module] = true, true
    visit(path, module)
    local record = rawget(module, RECORD)
    for _, name in ipairs(record.order) do
      local child = record.fields[name]
      if is_module(child) then go(child, join(path, name)) end
    end
    open[module] = nil
  end
  go(root, "")
end

-- Parameters and buffers below root as {name =, param =, kind =} in PyTorch's order: a module's own parameters,
-- its own buffers, then its children's. Shared ones come once, under their first name; with `all`, under each
-- name.
local function entries(root, kind, all)
  local list, seen = {}, {}
  walk(root, function(path, module)
    local record = rawget(module, RECORD)
    for _, wanted in ipairs{ "parameter", "buffer" } do
      for _, name in ipairs(kind and kind ~= wanted and {} or record.order) do
        local p = record.fields[name]
        if is_param(p) and p:kind() == wanted and (all or not seen[p]) then
          seen[p] = true
          list[#list + 1] = { name = join(path, name), param = p, kind = wanted }
        end
      end
    end
  end, all)
  return list
end

-- module -> its first path below root.
local function paths_of(root)
  local paths = {}
  walk(root, function(path, module) paths[module] = path end)
  return paths
end

-- ---- initial values ------------------------------------------------------------------------------------------

-- nn.Parameter(t [, rule]): a trainable parameter over tensor t (torch.nn.Parameter). With a rule the value is
-- drawn later, when the parameter's full name is known (see nn.initialise), and reads NaN until then:
-- rule(tensor, seed, name) fills the tensor in place, see nn.uniform.
local function new_parameter(t, rule)
  local p = core.param(t, "parameter")
  if rule then
    if not deferring then
      p:tensor():fill_(0 / 0)
      p:touch()
    end
    pending[p] = { version = p:version(), rule = rule }
  end
  return p
end

-- Runs make(), which makes a model, without touching the memory of values that are drawn later: whoever calls must draw
-- or load them all before anybody sees them.
local function deferred(make)
  local before = deferring
  deferring = true
  local _ <close> = setmetatable({}, { __close = function() deferring = before end })
  return make()
end

-- nn.Buffer(t): a tensor that belongs to the model's state but is not trained (PyTorch: register_buffer).
local function new_buffer(t)
  return core.param(t, "buffer")
end

-- nn.uniform(bound): the rule that draws from [-bound, bound) by (seed, "init", full name, 0).
local function uniform(bound)
  return function(t, seed, name) core.uniform(t, seed, "init", name, 0, -bound, bound) end
end

-- nn.initialise(model [, seed]): draw every parameter that still waits for its value. A value is a function of
-- the seed and of the parameter's full name seen from `model` ("layer1.0.conv1.weight") alone, so neither the
-- order of construction nor what else was drawn matters. Happens by itself when a model is first called,
-- compiled or asked for its parameters or state dict, with wattle.manual_seed's seed; parameters assigned or
-- loaded before keep what they were given. Call it on the whole model, not on a part, for names to be the
-- model's.
local function initialise(model, seed)
  if next(pending) == nil then return model end
  for _, entry in ipairs(entries(model)) do
    local wait = pending[entry.param]
    names[entry.param] = entry.name
    if wait then
      if entry.param:version() == wait.version then
        wait.rule(entry.param:tensor(), seed or core.seed(), entry.name)
        entry.param:touch()
      end
      pending[entry.param] = nil
    end
  end
  return model
end

-- Draws a parameter's value anew by a rule such as nn.uniform's: at once, with wattle.manual_seed's seed, where its full
-- name is known already (the model was called, compiled or asked for its parameters before); else when it will be.
local function redraw(p, rule)
  if deferring and pending[p] then
    pending[p].rule = rule
    return
  end
  local t = p:tensor():clone()
  if names[p] then rule(t, core.seed(), names[p]) else t:fill_(0 / 0) end
  p:assign(t)
  if names[p] then p:constrain() end
  pending[p] = not names[p] and { version = p:version(), rule = rule } or nil
end

-- ---- calls ---------------------------------------------------------------------------------------------------

local function label(root, module)
  local path = paths_of(root)[module]
  local name = rawget(module, RECORD).class.class_name
  if path == "" then return name end
  return path and ("%s (%s)"):format(path, name) or name
end

-- Message handler: the user's line, the innermost module's path, then what went wrong, each once.
local function explain(root, message)
  if type(message) ~= "string" then return message end
  local position, rest = where.split(message)
  local module = frames[#frames]
  if not module then return position .. rest end
  local path = paths_of(root)[module]
  if path and path ~= "" and rest:sub(1, #path + 2) == path .. ": " then rest = rest:sub(#path + 3) end
  return ("%sin %s: %s"):format(position, label(root, module), rest)
end

local function clear(ok, ...)
  guarding = false
  for i = #frames, 1, -1 do frames[i] = nil end
  if not ok then error((...), 0) end
  return ...
end

-- Runs fn(...) as the outermost work on root: errors are explained, and the stack of modules is emptied after.
local function guarded(root, fn, ...)
  if guarding then return fn(...) end
  local function handler(message) return explain(root, message) end
  guarding = true -- nothing may raise from here to xpcall
  return clear(xpcall(fn, handler, ...))
end

local function scope()
  if not trace then return end
  for i = #frames, 1, -1 do
    local path = trace.paths[frames[i]]
    if path then return trace.graph:scope(path) end
  end
  trace.graph:scope("")
end

local function leave(depth, ...)
  for i = #frames, depth, -1 do frames[i] = nil end
  scope()
  return ...
end

local function run(module, ...)
  local depth = #frames + 1
  frames[depth] = module
  scope()
  if trace and trace.around then return leave(depth, trace.around(module, ...)) end
  return leave(depth, module:forward(...))
end

-- Runs fn while modules trace into graph; training says which mode they see. around(module, ...), if given, stands in
-- for each module's forward, which it calls itself.
local function tracing(root, graph, training, fn, around)
  for _, entry in ipairs(entries(root)) do names[entry.param] = entry.name end
  trace = { graph = graph, paths = paths_of(root), training = training, around = around }
  core.tracing(graph)
  local _ <close> = setmetatable({}, { __close = function()
    core.tracing(nil)
    trace = nil
  end })
  return guarded(root, fn)
end

function instance.__call(module, ...)
  if guarding then return run(module, ...) end
  initialise(module)
  return guarded(module, run, module, ...)
end

-- ---- fields --------------------------------------------------------------------------------------------------

function instance.__index(module, key)
  local record = rawget(module, RECORD)
  local value = record.fields[key]
  if value ~= nil then return value end
  if key == "training" then
    if trace then return trace.training end
    return record.training
  end
  if math.type(key) == "integer" then return record.fields[tostring(key - 1)] end -- a container's position
  return record.class[key]
end

local function check_field(record, key, value)
  local owner = record.class.class_name
  if type(key) ~= "string" then
    raise("%s: a field's name must be a string, got %s", owner, tostring(key))
  end
  if Module[key] ~= nil and key ~= "forward" or key == "training" then
    raise("%s: %s is a method of every module; give the field another name", owner, key)
  end
  if (is_module(value) or is_param(value)) and (key == "" or key:find(".", 1, true)) then
    raise('%s: "%s" cannot name a module or parameter: names are joined with dots', owner, key)
  end
  if type(value) == "table" and not is_module(value) then
    for _, item in pairs(value) do
      if is_module(item) or is_param(item) then
        raise("%s: %s is a plain table with modules or parameters in it, which would not be found; "
              .. "use nn.ModuleList or nn.Sequential", owner, key)
      end
    end
  end
end

function instance.__newindex(module, key, value)
  if type(key) == "string" and key:sub(1, 1) == "_" then return rawset(module, key, value) end
  local record = rawget(module, RECORD)
  if math.type(key) == "integer" and record.class.positions then
    if key < 1 or key > #record.order + 1 then
      raise("%s: position %d is outside 1..%d", record.class.class_name, key, #record.order + 1)
    end
    key = tostring(key - 1)
  end
  check_field(record, key, value)
  local old = record.fields[key]
  if rawequal(old, value) then return end
  if old == nil then
    record.order[#record.order + 1] = key
  elseif value == nil then
    for i, name in ipairs(record.order) do
      if name == key then table.remove(record.order, i) break end
    end
  end
  record.fields[key] = value
  record.stamp:bump()
end

-- The number of children that are modules: of a container, its length.
function instance.__len(module)
  local n, record = 0, rawget(module, RECORD)
  for _, name in ipairs(record.order) do
    if is_module(record.fields[name]) then n = n + 1 end
  end
  return n
end

-- pairs(module): the fields in the order in which they were set.
function instance.__pairs(module)
  local record, i = rawget(module, RECORD), 0
  return function()
    i = i + 1
    local name = record.order[i]
    if name then return name, record.fields[name] end
  end
end

-- Fields and methods, for completion.
function instance.__names(module)
  local record = rawget(module, RECORD)
  local list, class = table.move(record.order, 1, #record.order, 1, {}), record.class
  while class do
    for name, v in next, class do
      if type(v) == "function" and name ~= "init" and name ~= "extra_repr" then list[#list + 1] = name end
    end
    local meta = getmetatable(class)
    class = meta and meta.__index
  end
  return list
end

-- As PyTorch prints: Name(options), or the children one a line.
function instance.__tostring(module)
  local record = rawget(module, RECORD)
  local extra = record.class.extra_repr and record.class.extra_repr(module) or ""
  local lines = {}
  for _, name in ipairs(record.order) do
    local child = record.fields[name]
    if is_module(child) then
      lines[#lines + 1] = ("  (%s): %s"):format(name, (tostring(child):gsub("\n", "\n  ")))
    end
  end
  if #lines == 0 then return ("%s(%s)"):format(record.class.class_name, extra) end
  if extra ~= "" then table.insert(lines, 1, "  " .. extra) end
  return ("%s(\n%s\n)"):format(record.class.class_name, table.concat(lines, "\n"))
end

-- ---- classes -------------------------------------------------------------------------------------------------

local function new_instance(class)
  local record = { class = class, fields = {}, order = {}, stamp = core.stamp(), training = true }
  return setmetatable({ [RECORD] = record }, instance)
end

local function construct(class, ...)
  local module = new_instance(class)
  class.init(module, ...)
  return module
end

-- nn.class([name [, base]]): a class of modules (PyTorch: class Name(nn.Module)). Give it `init(self, ...)`,
-- which sets fields, and `forward(self, x, ...)`; then Name(...) or Name{...} makes an instance and instance(x)
-- runs forward. The name is what printing and errors show; base is a class to inherit from.
local function class(name, base)
  local new = { class_name = name or base and base.class_name or "Module" }
  return setmetatable(new, { __index = base or Module, __call = construct, __name = "nn.class",
                             __tostring = function(c) return "nn.class " .. c.class_name end })
end

Module.class_name = "Module"
function Module:init() end

function Module:forward()
  raise("%s has no forward(self, x): define it on its class", rawget(self, RECORD).class.class_name)
end

-- ---- what every module can do --------------------------------------------------------------------------------

-- model:parameters() -> list of {name =, param =} (PyTorch: named_parameters()), each parameter once, in the
-- order of the state dict.
function Module:parameters()
  return entries(initialise(self), "parameter")
end

-- for name, param in model:named_parameters() do ... end
function Module:named_parameters()
  local list, i = self:parameters(), 0
  return function()
    i = i + 1
    if list[i] then return list[i].name, list[i].param end
  end
end

-- model:buffers() -> list of {name =, param =}: running statistics and other state that is not trained.
function Module:buffers()
  return entries(initialise(self), "buffer")
end

-- model:modules() -> list of {name =, module =}, the model itself first under the name "" (PyTorch:
-- named_modules()).
function Module:modules()
  local list = {}
  walk(self, function(path, module) list[#list + 1] = { name = path, module = module } end)
  return list
end

-- model:get_submodule("layer1.0.conv1") -> the module at that path; an error if there is none.
function Module:get_submodule(path)
  local module = self
  for name in path:gmatch "[^.]+" do
    module = rawget(module, RECORD).fields[name]
    if not is_module(module) then raise('get_submodule: no module "%s" (at "%s")', path, name) end
  end
  return module
end

-- model:num_parameters() -> how many numbers there are to train (buffers do not count).
function Module:num_parameters()
  local n = 0
  for _, entry in ipairs(entries(self, "parameter")) do n = n + entry.param:tensor():numel() end
  return n
end

-- model:train([on]) and model:eval(): how eager calls treat batch norm (torch.nn.Module.train). A compiled plan
-- has its own mode, fixed when it is compiled. Modules begin in training mode, as PyTorch's do. Returns the
-- model.
function Module:train(on)
  walk(self, function(_, module) rawget(module, RECORD).training = on ~= false end)
  return self
end

-- model:eval(): evaluation mode, as train(false). Returns the model.
function Module:eval()
  return self:train(false)
end

-- model:to("f64"): convert all parameters and floating buffers in place; "f32" or "f64". Plans compiled before
-- are stale. A truncated parameter (compress.scr) stays f32: then nothing is converted. Returns the model.
function Module:to(dtype)
  local list = entries(initialise(self))
  for _, entry in ipairs(list) do
    if dtype ~= "f32" and entry.param:truncation() then
      raise("to: the low bits of %s are truncated, which is defined for f32 alone", entry.name)
    end
  end
  for _, entry in ipairs(list) do
    local now = entry.param:tensor().dtype
    if now == "f32" or now == "f64" then entry.param:convert(dtype) end
  end
  return self
end

-- model:state_dict() -> a snapshot: d[name] is a copy of the tensor, d[1..n] are the names in order.
function Module:state_dict()
  local dict = {}
  for i, entry in ipairs(entries(initialise(self), nil, true)) do
    dict[i] = entry.name
    dict[entry.name] = entry.param:tensor():clone()
  end
  return dict
end

-- Names that a state dict may hold and a model does not need: what classes list as `ignored`, at their paths.
local function ignored_names(model)
  local ignored = {}
  walk(model, function(path, module)
    for _, name in ipairs(rawget(module, RECORD).class.ignored or {}) do ignored[join(path, name)] = true end
  end, true)
  return ignored
end

-- A dict's names: in its own order if it has one, else sorted.
local function dict_names(dict)
  local names = {}
  if dict[1] ~= nil then
    for i, name in ipairs(dict) do names[i] = name end
  else
    for name in pairs(dict) do names[#names + 1] = name end
    table.sort(names)
  end
  return names
end

local function same_shape(a, b)
  if #a ~= #b then return false end
  for i, n in ipairs(a) do
    if n ~= b[i] then return false end
  end
  return true
end

local function shape_text(shape)
  return "[" .. table.concat(shape, ",") .. "]"
end

-- Adds "what a, b, c and 4 more" to faults, unless the list is empty.
local function brief(faults, what, list)
  if #list == 0 then return end
  local more = #list > 4 and (" and %d more"):format(#list - 4) or ""
  faults[#faults + 1] = what .. table.concat(list, ", ", 1, math.min(4, #list)):gsub("%c", "?") .. more
end

-- What a dict and a model have in common: the lists missing, unexpected and mismatched; with fits, a list of {param, value,
-- name}, and shapes, a sentence for each mismatch. Changes nothing.
local function compare(model, dict)
  local result = { missing = {}, unexpected = {}, mismatched = {} }
  local known, fits, shapes = ignored_names(model), {}, {}
  for _, entry in ipairs(entries(model, nil, true)) do
    local value, name = dict[entry.name], entry.name
    known[name] = true
    if value == nil then
      table.insert(result.missing, name)
    elseif not same_shape(value:shape(), entry.param:tensor():shape()) then
      table.insert(result.mismatched, name)
      shapes[#shapes + 1] = ("%s is %s in the model and %s in the dict"):format(
        name, shape_text(entry.param:tensor():shape()), shape_text(value:shape()))
    else
      fits[#fits + 1] = { entry.param, value, name }
    end
  end
  for _, name in ipairs(dict_names(dict)) do
    if not known[name] then table.insert(result.unexpected, name) end
  end
  return result, fits, shapes
end

-- model:load_state_dict(dict [, {strict = true}]) -> {missing =, unexpected =, mismatched =}, three lists of
-- names. dict: what wattle.load or state_dict gives, or name -> tensor. What fits in name and shape is copied
-- (converted to the parameter's dtype, under its constraints), the rest is left alone and listed; strict raises
-- instead, before anything is changed, as a NaN or an infinity does unless allow_nonfinite = true is given.
-- constrain = false: of this model, so its constraints are met; random bits are not drawn anew. adopt = true: the
-- dict's tensors become the values where they can (parameter:adopt), so that nothing is in memory twice; the dict is not
-- to be used after it. batch norm's num_batches_tracked, which PyTorch stores, is ignored.
function Module:load_state_dict(dict, options)
  options = options or {}
  util.check_options(options, { "strict", "allow_nonfinite", "constrain", "adopt" }, "load_state_dict")
  if type(dict) ~= "table" then raise("load_state_dict: give a dict, as wattle.load does, not %s", type(dict)) end
  local result, fits, shapes = compare(self, dict)
  local faults = {}
  brief(faults, "", shapes)
  brief(faults, "unexpected ", result.unexpected)
  brief(faults, "missing ", result.missing)
  if options.strict and #faults > 0 then raise("load_state_dict: %s", table.concat(faults, "; ")) end
  for _, fit in ipairs(options.allow_nonfinite and {} or fits) do
    local narrow = fit[2].dtype == "f64" and fit[1]:tensor().dtype == "f32" -- what becomes infinite by that counts too
    if not core.all_finite(narrow and fit[2]:to "f32" or fit[2]) then
      raise("load_state_dict: %s holds NaN or infinity%s; allow_nonfinite = true loads it all the same", fit[3],
            narrow and " as f32" or "")
    end
  end
  for _, pair in ipairs(fits) do
    if options.adopt then pair[1]:adopt(pair[2]) else pair[1]:assign(pair[2]) end
    if options.constrain ~= false then pair[1]:constrain() end
  end
  return result
end

-- Marks the parameters whose names match as trained or not; returns how many there are.
local function set_trained(model, pattern, on, what)
  if type(pattern) ~= "string" then
    raise("%s: give a Lua pattern of parameter names, such as '^layer1%%.', not %s", what, type(pattern))
  end
  local ok, message = pcall(string.find, "", pattern)
  if not ok then raise("%s: %s", what, message) end
  local n = 0
  for _, entry in ipairs(entries(initialise(model), "parameter")) do
    if entry.name:find(pattern) then
      entry.param:requires_grad(on)
      n = n + 1
    end
  end
  if n == 0 then raise("%s: no parameter's name matches '%s'", what, pattern) end
  return n
end

-- Batch norms below model with a parameter whose name matches.
local function batch_norms(model, pattern)
  local list = {}
  walk(model, function(path, m)
    local fields = rawget(m, RECORD).fields
    local matches = fields.running_mean and (join(path, "weight"):find(pattern) or join(path, "bias"):find(pattern))
    if matches then list[#list + 1] = m end
  end)
  return list
end

-- model:freeze("^layer1%." [, {statistics = false}]) -> how many parameters: those whose names match the Lua pattern are
-- no longer trained (PyTorch: requires_grad_(False)). statistics = true: their batch norms keep their running statistics
-- too, and use them in training (PyTorch: bn.eval()). Plans compiled before are stale. A pattern that matches nothing is
-- an error. To freeze all but a head: model:freeze "" and then model:unfreeze "^fc%.".
function Module:freeze(pattern, o)
  util.check_options(o or {}, { "statistics" }, "freeze")
  local n = set_trained(self, pattern, false, "freeze")
  if o and o.statistics then
    for _, m in ipairs(batch_norms(self, pattern)) do m.frozen = true end
  end
  return n
end

-- model:unfreeze(pattern) -> how many parameters: those whose names match are trained again, and their batch norms use the
-- batch's statistics again.
function Module:unfreeze(pattern)
  local n = set_trained(self, pattern, true, "unfreeze")
  for _, m in ipairs(batch_norms(self, pattern)) do m.frozen = nil end
  return n
end

-- model:clone() -> a deep copy: own parameters with their masks and truncation; what was shared inside stays
-- shared. Plain values are copied, tensors and functions in fields are the same ones.
function Module:clone()
  local made = {}
  local function copy(value)
    if made[value] then return made[value] end
    if is_module(value) then
      local from = rawget(value, RECORD)
      local new = new_instance(from.class)
      local to = rawget(new, RECORD)
      made[value], to.training = new, from.training
      for i, name in ipairs(from.order) do
        to.order[i], to.fields[name] = name, copy(from.fields[name])
      end
      for key, scratch in next, value do -- "_" fields
        if key ~= RECORD then rawset(new, key, scratch) end
      end
      return new
    elseif is_param(value) then
      local new, wait = value:clone(), pending[value]
      if wait and wait.version == value:version() then
        pending[new] = { version = new:version(), rule = wait.rule }
      end
      names[new] = names[value]
      made[value] = new
      return new
    elseif type(value) == "table" and getmetatable(value) == nil then
      local new = {}
      made[value] = new
      for k, v in pairs(value) do new[k] = copy(v) end
      return new
    end
    return value
  end
  return copy(self)
end

util.classes.model = Module

-- Puts new where old is, at every place below root. Fields keep their order.
local function replace(root, old, new)
  walk(root, function(_, module)
    local record = rawget(module, RECORD)
    for _, name in ipairs(record.order) do
      if rawequal(record.fields[name], old) then module[name] = new end
    end
  end)
end

return {
  Module = Module, class = class, Parameter = new_parameter, Buffer = new_buffer, uniform = uniform,
  initialise = initialise, deferred = deferred, redraw = redraw, is_module = is_module, is_param = is_param,
  -- for compile and compress
  entries = entries, walk = walk, compare = compare, run = run, tracing = tracing, replace = replace,
  class_of = function(module) return rawget(module, RECORD).class end,
  stamp_of = function(module) return rawget(module, RECORD).stamp end,
}
