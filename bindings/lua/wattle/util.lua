-- Helpers shared by Wattle's Lua files: option tables and names. Needs only wattle.core.
local core = require "wattle.core"
local where = require "wattle.where"

local util = {}

-- Classes of objects that are Lua tables, by the name that help gives them: name -> methods. Each file adds its own.
util.classes = {}

-- The string keys of a table, sorted.
function util.sorted_keys(t)
  local keys = {}
  for key in pairs(t) do
    if type(key) == "string" then keys[#keys + 1] = key end
  end
  table.sort(keys)
  return keys
end

-- The name nearest to a word, or nil if none is near.
util.nearest = core.nearest

-- "; did you mean 'near'?" for the name nearest to a word, or "".
function util.hint(word, names)
  local near = util.nearest(tostring(word), names)
  return near and ("; did you mean '%s'?"):format(near) or ""
end

-- Every key of t is one of the names; anything else is an error at the caller's line that suggests the nearest. `what`
-- names the function or class: "nn.Conv2d".
function util.check_options(t, names, what)
  if type(t) ~= "table" then
    where.raise("%s: a table of options is needed, not %s", what, type(t))
  end
  local known = {}
  for _, name in ipairs(names) do known[name] = true end
  for key in pairs(t) do
    if type(key) ~= "string" then
      where.raise("%s: options are named fields; got %s as a key", what, tostring(key))
    elseif not known[key] then
      local near = util.nearest(key, names)
      where.raise("%s: unknown option '%s'%s", what, key,
                  near and ("; did you mean '%s'?"):format(near) or "; known: " .. table.concat(names, ", "))
    end
  end
end

return util
