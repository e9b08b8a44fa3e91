-- TAB: what may stand after the text before the cursor. Looks at values without running anybody's code: tables by
-- rawget, __index only where it is a table, where the metatable has __names (a function that lists what __index gives), or
-- where the methods of a userdata are known.

local wattle = require "wattle"
local core = wattle.core

local complete = {}

local keywords = { "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in", "local",
                   "nil", "not", "or", "repeat", "return", "then", "true", "until", "while" }
local fields = { tensor = { dtype = true }, ["symbolic value"] = { dtype = true } } -- what C's __index gives besides methods

local function methods_of(value, meta)
  local index = rawget(meta, "__index")
  if type(index) == "table" then return index end
  return type(value) == "userdata" and core.classes[meta.__name] or nil
end

-- complete.get(value, key): value[key], or nil where only running code would tell.
function complete.get(value, key, depth)
  depth = depth or 0
  if type(value) == "string" then return string[key] end
  local meta = debug.getmetatable(value)
  if type(value) == "table" then
    local own = rawget(value, key)
    if own ~= nil then return own end
  end
  if type(meta) ~= "table" then return nil end
  local names = rawget(meta, "__names")
  if type(names) == "function" then
    if math.type(key) == "integer" then return value[key] end
    for _, name in ipairs(names(value)) do
      if name == key then return value[key] end
    end
  end
  local known = fields[meta.__name]
  if known and known[key] and type(value) == "userdata" then return value[key] end
  local methods = methods_of(value, meta)
  if methods and depth < 20 then return complete.get(methods, key, depth + 1) end
end

-- Adds the names in a value to the set.
local function collect(value, set, depth)
  if type(value) == "string" then value = string end
  local meta = debug.getmetatable(value)
  if type(value) == "table" then
    for key in next, value do
      if type(key) == "string" then set[key] = true end
    end
  end
  if type(meta) ~= "table" then return end
  local names = rawget(meta, "__names")
  if type(names) == "function" then
    for _, name in ipairs(names(value)) do set[name] = true end
  end
  if type(value) == "userdata" then
    for name in pairs(fields[meta.__name] or {}) do set[name] = true end
  end
  local methods = methods_of(value, meta)
  if methods and depth < 20 then collect(methods, set, depth + 1) end
end

-- Walks "a.b[2]:" from root; the value before the last separator, or nil.
local function walk(root, path)
  local value, at = root, 1
  while at <= #path do
    local name, after = path:match("^([%a_][%w_]*)()", at)
    local position, behind = path:match("^%[(%d+)%]()", at)
    local separator = path:match("^[.:]()", at)
    if name then value, at = complete.get(value, name), after
    elseif position then value, at = complete.get(value, math.tointeger(tonumber(position))), behind
    elseif separator and at > 1 then at = separator
    else return nil end
    if value == nil then return nil end
  end
  return value
end

-- Names that may be asked of help: those of the globals, of wattle, and classes of objects.
local function help_root()
  local root = {}
  local set = {}
  collect(wattle, set, 0)
  for name in pairs(set) do root[name] = true end
  for name in pairs(core.classes) do root[name] = true end
  for name in next, _G do
    if type(name) == "string" then root[name] = true end
  end
  return root
end

-- complete.candidates(before) -> the partial name before the cursor, and the sorted names that it may become.
function complete.candidates(before)
  local question = before:match "^%s*%?%s*(.*)$"
  local path = (question or before):match "[%w_.:%[%]]*$"
  local start = #(question or before) - #path
  if not question and start > 0 and (before:sub(start, start)):find "[)\"'}]" then return "", {} end
  local base, separator, partial = path:match "^(.-)([.:]?)([%w_]*)$"
  if base == "" and separator == "" and path:find "^%d" then return "", {} end
  local set = {}
  if base == "" and separator == "" then
    if question then
      set = help_root()
    else
      collect(_G, set, 0)
      for _, word in ipairs(keywords) do set[word] = true end
    end
  elseif base ~= "" then
    local value = walk(_G, base)
    if value == nil and question then value = complete.get(wattle, base) or core.classes[base] end
    if value ~= nil then collect(value, set, 0) end
    if separator == ":" then -- only what can be called
      for name in pairs(set) do
        local v = complete.get(value, name)
        if type(v) ~= "function" and not (debug.getmetatable(v) or {}).__call then set[name] = nil end
      end
    end
  end
  local list = {}
  for name in pairs(set) do
    if name:sub(1, #partial) == partial and name:find "^[%a_][%w_]*$"
       and (name:sub(1, 1) ~= "_" or partial:sub(1, 1) == "_") then
      list[#list + 1] = name
    end
  end
  table.sort(list)
  return partial, list
end

local function common_prefix(list)
  local prefix = list[1]
  for _, name in ipairs(list) do
    while name:sub(1, #prefix) ~= prefix do prefix = prefix:sub(1, -2) end
  end
  return prefix
end

-- complete.complete(before) -> text to insert at the cursor, text to list below the line (nil: nothing).
function complete.complete(before)
  if before:find "^%s*$" then return "  " end
  local partial, list = complete.candidates(before)
  if #list == 0 then return nil end
  local insert = common_prefix(list):sub(#partial + 1)
  if #list == 1 or insert ~= "" then return insert end
  local shown = table.move(list, 1, math.min(#list, 200), 1, {})
  local text = require("wattle.help").columns(shown, core.columns() or 80)
  if #list > #shown then text = text .. ("\n  ... and %d more"):format(#list - #shown) end
  return nil, text
end

return complete
