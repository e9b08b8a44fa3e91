-- Published weights into a model: names of other libraries translated, a head for another number of classes left to be
-- drawn, a first convolution for another number of channels adapted. What wattle.models.create does with `pretrained`.
-- May use wattle.core, wattle.load and nn/module.lua; key maps are the families' (models/*.lua).

local wattle = require "wattle"
local core, ops = wattle.core, wattle.ops
local module = require "wattle.nn.module"
local where = require "wattle.where"

local weights = {}

local floats = { f32 = true, f64 = true, f16 = true, bf16 = true }

local function listed(names)
  local more = #names > 4 and (" and %d more"):format(#names - 4) or ""
  return table.concat(names, ", ", 1, math.min(4, #names)):gsub("%c", "?") .. more -- they are a file's
end

local function matches(name, patterns)
  for _, pattern in ipairs(patterns or {}) do
    if name:find(pattern) then return true end
  end
  return false
end

-- 2 to 8 tensors one behind the other along a dim.
local function joined(list, dim)
  local arguments = table.move(list, 1, #list, 1, {})
  arguments[#arguments + 1] = { dim = dim }
  return ops.concat(table.unpack(arguments))
end

-- ---- other libraries' names ------------------------------------------------------------------------------------

-- weights.rename(dict, map) -> dict under other names. map[name] is a name; false: leave it out; {name =, reshape = shape}:
-- the same numbers under another shape; or {name =, rows = {k, n}}: part k (from 1) of n of that tensor's rows. Names that
-- are not in the map stay.
function weights.rename(dict, map)
  local result, parts = {}, {}
  local function put(name, t)
    if result[name] then error(("two of its tensors would be called %s"):format(name), 0) end
    result[#result + 1], result[name] = name, t
  end
  for _, name in ipairs(dict) do
    local to, t = map[name], dict[name]
    if to == nil then put(name, t)
    elseif type(to) == "string" then put(to, t)
    elseif to and to.rows then
      local part = parts[to.name] or { n = 0 }
      part[to.rows[1]], part.n, parts[to.name] = t:to "f32", part.n + 1, part
      if part.n == to.rows[2] then put(to.name, joined(part, 0)) end
    elseif to then
      put(to.name, to.reshape and t:reshape(to.reshape) or t)
    end
  end
  return result
end

-- Names without "module.", which torch.nn.DataParallel puts before all of them; nil if any is without it.
local function parallel_map(dict)
  local map = {}
  for _, name in ipairs(dict) do
    map[name] = name:match "^module%.(.+)"
    if not map[name] then return nil end
  end
  return map
end

-- ---- what may differ --------------------------------------------------------------------------------------------

-- The weight of a first convolution (O,C,KH,KW) for another number of channels, timm's rule: for one, the sum over C, so
-- that grey pictures give what they gave as equal channels; for more, C repeated and scaled by C over the new number, so
-- that the sum stays.
local function adapt_stem(t, channels)
  local old = t:size(1)
  t = t:to "f32"
  if channels == 1 then return t:sum({ dims = { 1 }, keepdim = true }) end
  local pieces = {}
  for c = 0, channels - 1 do pieces[c + 1] = t:narrow(1, c % old, 1) end
  while #pieces > 1 do -- concat takes at most 8
    local fewer = {}
    for i = 1, #pieces, 8 do
      local group = table.move(pieces, i, math.min(i + 7, #pieces), 1, {})
      fewer[#fewer + 1] = #group == 1 and group[1] or joined(group, 1)
    end
    pieces = fewer
  end
  return pieces[1] * (old / channels)
end

local function drop(dict, name)
  dict[name] = nil
  for i, listed_name in ipairs(dict) do
    if listed_name == name then return table.remove(dict, i) end
  end
end

local function shape_of(t) return table.concat(t:shape(), ",") end

-- Puts in order what may differ in the dict: adapts the stem, whose name it returns then; drops a head of another shape.
local function reconcile(model, dict, family)
  local stem
  for _, entry in ipairs(module.entries(model, nil, true)) do
    local name, own, t = entry.name, entry.param:tensor(), dict[entry.name]
    if t and shape_of(t) ~= shape_of(own) then
      local a, b = t:shape(), own:shape()
      if matches(name, family.head) then
        drop(dict, name)
      elseif name == family.stem and #a == 4 and a[1] == b[1] and a[2] > 0 and a[3] == b[3] and a[4] == b[4] then
        dict[name], stem = adapt_stem(t, b[2]), name
      end
    end
  end
  return stem
end

-- Names of the result of load_state_dict that are neither head nor optional.
local function essential(names, family)
  local list = {}
  for _, name in ipairs(names) do
    if not matches(name, family.head) and not matches(name, family.optional) then list[#list + 1] = name end
  end
  return list
end

-- Names of parameters for which the dict holds integers: a quantized file's mean nothing without their scales.
local function quantized(fits, dict)
  local list = {}
  for _, fit in ipairs(fits) do
    if not floats[dict[fit[3]].dtype] then list[#list + 1] = fit[3] end
  end
  return list
end

-- What is wrong with a dict for this model, in words; nil if nothing is.
local function fault(result, fits, shapes, dict, family)
  local missing, unexpected = essential(result.missing, family), essential(result.unexpected, family)
  local integers, words = quantized(fits, dict), {}
  if #shapes > 0 then words[1] = shapes[1] .. (#shapes > 1 and (" and %d more"):format(#shapes - 1) or "") end
  if #missing > 0 then words[#words + 1] = "missing " .. listed(missing) end
  if #integers > 0 then words[#words + 1] = "integers instead of weights under " .. listed(integers) end
  if #unexpected > 0 then words[#words + 1] = "unexpected " .. listed(unexpected) end
  return #words > 0 and table.concat(words, "; ") or nil
end

-- ---- loading -----------------------------------------------------------------------------------------------------

local function explained(e)
  return { code = core.error_code(e), error = e, message = select(2, where.split(tostring(e))) }
end

-- An error as wattle.load's failures are; memory and Ctrl-C are not the file's fault and go on.
local function refused(e, what)
  if e.code == "memory" or e.code == "interrupted" then error(e.error, 0) end
  return nil, ("%s: %s"):format(what, e.message), "format"
end

-- weights.load(model, path, {name =, family =}) -> report, or nil, message, code where the file cannot be read, is
-- malformed or is another model's: then the model is as it was. A report: path; renamed: whether a key map was used; new:
-- names of parameters that were not taken from the file and are drawn instead (a head for another number of classes,
-- auxiliary heads that the file lacks); ignored: names in the file that the model has no use for; stem: the name of a first
-- convolution adapted to in_channels; resized: that of an embedding interpolated for image_size; metadata: the file's.
function weights.load(model, path, o)
  local dict, metadata, finite = wattle.load(path)
  if not dict then return nil, metadata, finite end
  local seen_finite = true -- while it was read: no second look at each number, unless it changes on its way
  for _, name in ipairs(dict) do seen_finite = seen_finite and finite[name] and dict[name].dtype ~= "f64" end
  local family, parallel = o.family, parallel_map(dict)
  if parallel then dict = weights.rename(dict, parallel) end
  local map = family.keys and family.keys(o.name, table.move(dict, 1, #dict, 1, {}), model)
  if map then
    local ok, renamed = xpcall(weights.rename, explained, dict, map)
    if not ok then return refused(renamed, ("%s does not fit %s"):format(path, o.name)) end
    dict = renamed
  end
  local resized = family.prepare and family.prepare(dict, model)
  local stem = reconcile(model, dict, family)
  local result, fits, shapes = module.compare(model, dict)
  local wrong = fault(result, fits, shapes, dict, family)
  if wrong then return nil, ("%s does not fit %s: %s"):format(path, o.name, wrong), "format" end
  local looked = seen_finite and not stem and not resized
  local ok, e = xpcall(model.load_state_dict, explained, model, dict, { adopt = true, allow_nonfinite = looked })
  if not ok then return refused(e, path) end
  return { path = path, renamed = (map or parallel) ~= nil, new = result.missing, ignored = result.unexpected, stem = stem,
           resized = resized, metadata = metadata }
end

return weights
