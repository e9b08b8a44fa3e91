-- Finishes the table that require "wattle" returns: the C side has put its functions in; here come the parts that are
-- Lua, each loaded when first named. Run by the wattle library with the table and its core, never by require.
local wattle, core = ...
if type(wattle) ~= "table" or type(core) ~= "table" then
  error("wattle/init.lua is run by the wattle library; use require \"wattle\"", 2)
end

local submodules = { "nn", "models", "data", "compress", "schedule", "stats", "experiment", "results", "compare", "progress", "table", "cli",
                     "pictures", "report" }
-- Functions that live in a submodule but are called as wattle.NAME.
local functions = { fit = "fit", evaluate = "fit", nonzeros = "compress", plot = "plot", summary = "summary" }

-- core.check_options(t, {"stride", "padding"}, "nn.Conv2d"): every key of t is one of the names; anything else is an error
-- at the caller's line that suggests the nearest.
core.check_options = function(...) return require("wattle.util").check_options(...) end

-- wattle.help([name]) -> text, or nil and a message with the nearest name. name: "fit", "nn.Conv2d", "plan:step",
-- "ops.conv2d", "compress" (an area), or a global of your own: its class's methods, or the comment above its function.
-- Without a name: the areas. At the prompt: ?name.
core.help = function(name) return require("wattle.help").help(name) end
wattle.help = core.help

local is_submodule = {}
for _, name in ipairs(submodules) do is_submodule[name] = true end

-- The names that __index serves, for help and completion, which load nothing before they are asked; and each one's file.
local function lazy_names()
  local names = table.move(submodules, 1, #submodules, 1, {})
  for name in pairs(functions) do names[#names + 1] = name end
  return names
end
local function file_of(name) return functions[name] or name end

-- wattle.NAME loads wattle/NAME.lua. A name that is nothing is an error: a typo must not read as nil.
setmetatable(wattle, { __names = lazy_names, file_of = file_of, __index = function(t, key)
  if functions[key] then
    local module = require("wattle." .. functions[key])
    t[key] = type(module) == "table" and module[key] or module
    return t[key]
  elseif is_submodule[key] then
    t[key] = require("wattle." .. key)
    return t[key]
  end
  local names = require("wattle.util").sorted_keys(t)
  for _, name in ipairs(lazy_names()) do names[#names + 1] = name end
  local near = type(key) == "string" and core.nearest(key, names)
  require("wattle.where").raise("wattle has no '%s'%s", tostring(key),
                                near and ("; did you mean '%s'?"):format(near) or "")
end })
