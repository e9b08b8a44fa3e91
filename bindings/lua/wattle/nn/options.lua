-- How layers read their options: one table of named values, each checked, with PyTorch's defaults. For the files of
-- nn/ that define layers; may use wattle.util and wattle.where.

local where = require "wattle.where"
local util = require "wattle.util"

local options = {}

-- The options table of `what`, its names checked. A missing table is an error where something must be given.
function options.check(o, allowed, what)
  if type(o) ~= "table" then
    where.raise("%s: options go into one table, as in %s{%s = ...}", what, what, allowed[1])
  end
  util.check_options(o, allowed, what)
  return o
end

-- Option `name` as an integer of at least `least` (1).
function options.count(o, name, what, default, least)
  local v = o[name]
  if v == nil then v = default end
  local n = math.tointeger(v)
  if type(v) ~= "number" or not n or n < (least or 1) then
    where.raise("%s: %s must be an integer of at least %d, got %s", what, name, least or 1, tostring(v))
  end
  return n
end

-- One integer for both directions, or {height, width}.
function options.pair(o, name, what, default, least)
  local v = o[name]
  if type(v) ~= "table" then
    local n = options.count(o, name, what, default, least)
    return { n, n }
  end
  if #v ~= 2 then where.raise("%s: %s must be one integer or {height, width}", what, name) end
  local function one(n) return options.count({ [name] = n }, name, what, nil, least) end
  return { one(v[1]), one(v[2]) }
end

-- Option `name` as a number from low to high.
function options.real(o, name, what, default, low, high)
  local v = o[name]
  if v == nil then v = default end
  if type(v) ~= "number" or not (v >= low and v <= high) then
    where.raise("%s: %s must be a number from %g to %g, got %s", what, name, low, high, tostring(v))
  end
  return v
end

-- Option `name` as a boolean.
function options.flag(o, name, what, default)
  local v = o[name]
  if v == nil then return default end
  if type(v) ~= "boolean" then where.raise("%s: %s must be true or false, got %s", what, name, tostring(v)) end
  return v
end

-- A pair, and a boolean, as Python prints them.
function options.tuple(p)
  return ("(%d, %d)"):format(p[1], p[2])
end

function options.py(b)
  return b and "True" or "False"
end

return options
