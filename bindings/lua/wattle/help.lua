-- wattle.help(name): what anything in Wattle does. The text of a C function stands in its table (core.documentation); that
-- of a Lua function is the comment right above its definition, read from the file where debug.getinfo finds it, and that
-- of a file its opening comment. So there is one source, and a script's own functions have help too.

local wattle = require "wattle"
local core = wattle.core
local util = require "wattle.util"

local help = {}

-- C's areas: what each is about. Areas that are Lua files say it themselves.
local about = {
  tensor = "Tensors: made, looked at, turned, copied; random numbers.",
  ops = "Functions with gradients: on tensors at once, on symbolic values in a graph. nn has them too: nn.relu.",
  param = "Parameters: a tensor that is trained, with its mask and truncation.",
  graph = "Traces: the graph that a model's forward leaves. model:compile uses it.",
  plan = "Plans: what model:compile gives; a training step is one call.",
  data = "Files: tensors, images, tables.",
  json = "JSON.",
  energy = "Meters: energy, power and time of regions.",
  compress = "What compressing does to a tensor.",
  sys = "The machine: time, memory, threads, files.",
  help = "Help.",
}
-- Objects of Lua classes: the file that registers each in util.classes when it is loaded.
local registering = { model = "nn", container = "nn", dataset = "data", case = "experiment", plateau = "schedule",
                      bar = "progress" }
local order = { "nn", "models", "data", "fit", "schedule", "compress", "experiment", "plot", "report", "stats", "tensor",
                "ops", "plan", "energy" } -- what most ask for; the rest follows

-- ---- texts ------------------------------------------------------------------------------------------------------

local function file_lines(source)
  local lines = {}
  local file <close> = source:sub(1, 1) == "@" and io.open(source:sub(2)) or nil
  if not file then return lines end
  for line in file:lines() do lines[#lines + 1] = line end
  return lines
end

local function is_comment(line)
  return line and line:find "^%s*%-%-" and not line:find "^%s*%-%- %-%-%-%-"
end

-- The comment that ends at line `last`, without its dashes; nil if there is none.
local function comment_above(lines, last)
  local text = {}
  while is_comment(lines[last]) do
    table.insert(text, 1, (lines[last]:gsub("^%s*%-%- ?", "")))
    last = last - 1
  end
  return text[1] and table.concat(text, "\n") .. "\n" or nil
end

local function opening_comment(lines)
  local last = lines[1] and lines[1]:find "^#!" and 2 or 1
  if not is_comment(lines[last]) then return nil end
  while is_comment(lines[last + 1]) do last = last + 1 end
  return comment_above(lines, last)
end

-- Of a class of modules: the comment that begins with its name, or the one above the line that makes it.
local function class_text(class)
  local made = rawget(class, "init") or rawget(class, "forward")
  if not made then return nil end
  local lines, name = file_lines(debug.getinfo(made, "S").source), class.class_name
  for i, line in ipairs(lines) do
    local begins = line:match "^%-%- ([%w_.]+)[({]"
    local here = begins and begins:match "[%w_]+$" == name and not is_comment(lines[i - 1])
    local makes = line:find("class", 1, true) and line:find('"' .. name .. '"', 1, true)
    if here or makes then
      local last = here and i or i - 1
      while here and is_comment(lines[last + 1]) do last = last + 1 end
      local text = comment_above(lines, last)
      if text then return text end
    end
  end
end

-- Of a Lua function; where it has no comment of its own and is all that its file returns, the file's.
local function function_text(f, whole_file)
  local info = debug.getinfo(f, "S")
  if info.what == "C" then return nil end
  local lines = file_lines(info.source)
  return comment_above(lines, info.linedefined - 1) or whole_file and opening_comment(lines) or nil
end

-- Words of a text after its prefix, broken at `width`; further lines begin at the column `hang`.
local function filled(prefix, text, hang, width)
  local out, at = { prefix }, #prefix
  for word in text:gmatch "%S+" do
    if at + #word + 1 > width and at > hang then
      out[#out + 1], at = "\n" .. (" "):rep(hang), hang
    elseif at > #prefix or #out > 1 then
      out[#out + 1], at = " ", at + 1
    end
    out[#out + 1], at = word, at + #word
  end
  return table.concat(out)
end

-- A text for the terminal's width: prose and tables of options ("  name   what it is") are filled anew, lines of code
-- stay as they are. A prose line ends a paragraph when it is short.
local function wrapped(text)
  local width = math.min(core.columns() or 88, 100)
  local out, item = {}, nil
  local function finish()
    if item then out[#out + 1] = item.code or filled(item.prefix, item.text, item.hang, width) end
    item = nil
  end
  local last = ""
  for line in text:gmatch "([^\n]*)\n" do
    local indent = #line:match "^ *"
    local option = line:match "^  ?[%w_][%w_,. \"]-  +%f[%S]" or line:match "^  ?[%w_]+ %f[{\"]"
    local goes_on = item and not item.code and
                    (item.hang == 0 and indent == 0 and #last > 70 or item.hang > 0 and indent >= item.hang - 1 and indent > 2)
    if line == "" then
      finish()
      out[#out + 1] = ""
    elseif goes_on then
      item.text = item.text .. " " .. line
    elseif option and not (line:find "^  %S+  +%S+  +%S" and not line:find "%S %S") then -- such are names in columns
      finish()
      item = { prefix = option, text = line:sub(#option + 1), hang = #option }
    elseif indent == 0 or indent == 2 and #line > width then
      finish()
      item = { prefix = (" "):rep(indent), text = line, hang = indent }
    else
      finish()
      item = { code = line }
    end
    last = line
  end
  finish()
  return table.concat(out, "\n") .. "\n"
end

-- ---- what there is ----------------------------------------------------------------------------------------------

local function is_class(v)
  local meta = type(v) == "table" and debug.getmetatable(v) -- whatever __metatable says
  return meta and meta.__name == "nn.class"
end

local function is_callable(v)
  local meta = type(v) == "table" and debug.getmetatable(v) -- whatever __metatable says
  return meta and meta.__call ~= nil
end

local index -- name -> {name =, area =, value =, class =, file =}; and 1..n the names in order

local function add(name, entry)
  if index[name] then return end
  entry.name = name
  index[name], index[#index + 1] = entry, name
end

local function add_area(name, file, sentence)
  local area = index.areas[name]
  if not area then
    area = { name = name, entries = {} }
    index.areas[name], index.areas[#index.areas + 1] = area, area
  end
  area.file, area.sentence = area.file or file, area.sentence or sentence
  return area
end

local function add_to(area, name, entry)
  entry.area = area.name
  if not index[name] then table.insert(area.entries, name) end
  add(name, entry)
end

local function sorted_own(t)
  local list = {}
  for _, key in ipairs(util.sorted_keys(t)) do list[#list + 1] = { key, rawget(t, key) } end
  return list
end

-- The functions of a Lua module's table, and of plain tables in it.
local function add_table(area, prefix, t, depth)
  for _, pair in ipairs(sorted_own(t)) do
    local key, v = pair[1], pair[2]
    if type(v) == "function" or is_class(v) then
      if not index[key] or index[key].value ~= v then add_to(area, prefix .. key, { value = v }) end
    elseif type(v) == "table" and not getmetatable(v) and depth < 2 and key ~= "losses" then
      add_table(area, prefix .. key .. ".", v, depth + 1)
    end
  end
end

local function lua_file(name)
  return ("@%s/lua/wattle/%s.lua"):format(wattle.home, name:gsub("%.", "/"))
end

-- The first sentence of a file's opening comment, without "wattle.x: " in front.
local function sentence_of(text)
  local flat = (text or ""):gsub("%s+", " "):gsub("^wattle[%w_.]*[{(]?[^:]-[})]?: *", "")
  local s = flat:match "^(.-%.)%s" or flat:match "^(.-):" or flat
  if #s > 200 then s = (s:match "^(.-):" or s:match "^(.-)," or s) .. "." end
  return s:sub(1, 1):upper() .. s:sub(2)
end

local function add_lua(name, file)
  local value = wattle[name]
  local area = add_area(file, lua_file(file), sentence_of(opening_comment(file_lines(lua_file(file)))))
  if type(value) == "function" then
    add_to(area, name, { value = value, whole_file = name == file })
  elseif type(value) == "table" then
    if is_callable(value) then add_to(area, name, { value = getmetatable(value).__call, module = value, whole_file = true }) end
    add_table(area, name .. ".", value, 1)
  end
end

local function build()
  index = { areas = {} }
  local lazy = getmetatable(wattle).__names()
  table.sort(lazy)
  for _, wanted in ipairs(order) do
    for _, name in ipairs(lazy) do
      if name == wanted then add_lua(name, getmetatable(wattle).file_of(name)) end
    end
  end
  for _, name in ipairs(lazy) do add_lua(name, getmetatable(wattle).file_of(name)) end
  for class, module in pairs(registering) do
    if wattle[module] and util.classes[class] then
      local area = add_area(module == "nn" and "nn" or module)
      for _, pair in ipairs(sorted_own(util.classes[class])) do
        local key, f = pair[1], pair[2]
        if type(f) == "function" and key:sub(1, 2) ~= "__" and key ~= "init" and key ~= "forward" then
          add_to(area, class .. ":" .. key, { value = f })
        end
      end
    end
  end
  for _, c_area in ipairs(core.documentation()) do
    local area = add_area(c_area.area, nil, about[c_area.area])
    for _, name in ipairs(c_area) do -- what only wattle.core has is called so
      local inside = not name:find "[.:]" and rawget(wattle, name) == nil
      add_to(area, inside and "core." .. name or name, { c = name })
    end
    if c_area.area == "ops" then
      for _, op in ipairs(wattle.ops.list()) do add_to(area, "ops." .. op, { c = "ops." .. op }) end
    end
  end
  for _, pair in ipairs(sorted_own(core.classes)) do -- methods that are ops, and those that Lua adds
    for _, method in ipairs(sorted_own(pair[2])) do
      local name, f = pair[1] .. ":" .. method[1], method[2]
      if not index[name] then
        local is_c = debug.getinfo(f, "S").what == "C"
        local area = index.areas[pair[1]] or index.areas.help
        if is_c then add(name, { c = name, area = area.name }) else add_to(area, name, { value = f }) end
      end
    end
  end
  for _, t in ipairs { core, wattle } do -- what init.lua adds
    for _, pair in ipairs(sorted_own(t)) do
      if type(pair[2]) == "function" and not index["core." .. pair[1]] then add_to(index.areas.help, pair[1], { value = pair[2] }) end
    end
  end
end

-- The index is made when first asked for; all of it, or none when memory is gone.
local function need_index()
  if index then return end
  local ok, message = pcall(build)
  if not ok then
    index = nil
    error(message, 0)
  end
end

-- ---- looking up ---------------------------------------------------------------------------------------------------

local function text_of(entry)
  if entry.c then return core.documentation(entry.c) end
  if is_class(entry.value) then return class_text(entry.value) end
  return function_text(entry.value, entry.whole_file)
end

local function columns(names, width)
  local longest = 0
  for _, name in ipairs(names) do longest = math.max(longest, #name) end
  local per = math.max(1, (width - 2) // (longest + 2))
  local rows = (#names + per - 1) // per
  local lines = {}
  for r = 1, rows do
    local cells = {}
    for c = 0, per - 1 do
      local name = names[c * rows + r]
      if name then cells[#cells + 1] = name .. (" "):rep(longest - #name) end
    end
    lines[r] = "  " .. table.concat(cells, "  "):gsub("%s+$", "")
  end
  return table.concat(lines, "\n")
end
help.columns = columns

local function area_text(area)
  local text = area.file and opening_comment(file_lines(area.file)) or (area.sentence or "") .. "\n"
  if #area.entries > 0 then
    local names = table.move(area.entries, 1, #area.entries, 1, {})
    table.sort(names)
    text = text .. "\n" .. columns(names, core.columns() or 80) .. "\n"
  end
  return text
end

local function overview()
  local lines, told = { "?name tells what something is: ?fit, ?nn.Conv2d, ?plan:step, ?ops.conv2d. The areas:", "" }, { help = true }
  local function tell(area)
    local width = math.min(core.columns() or 88, 100)
    if not told[area.name] and area.sentence then
      lines[#lines + 1] = filled(("  %-11s "):format(area.name), area.sentence, 14, width)
    end
    told[area.name] = true
  end
  for _, name in ipairs(order) do tell(index.areas[name]) end
  lines[#lines + 1] = "\nAnd below or around them:\n"
  for _, area in ipairs(index.areas) do tell(area) end
  return table.concat(lines, "\n") .. "\n"
end

-- The value of "a.b[2].c" among a script's own names, without running any of its code.
local function own_value(path)
  local get = require("wattle.repl.complete").get
  local value = _G
  for name in path:gmatch "[^.:]+" do
    value = get(value, name)
    if value == nil then return nil end
  end
  return value
end

-- The entry of a value. C's are found where they are bound: one function may have several names.
local function named(value)
  for _, name in ipairs(index) do
    local entry = index[name]
    if entry.value == value or entry.module == value then return entry end
    if entry.c then
      local base, method = name:match "^(.*)[.:](.*)$"
      local holder = (not base or base == "core") and core or base == "ops" and wattle.ops or core.classes[base] or {}
      if rawget(holder, method or name) == value or not base and rawget(wattle, name) == value then return entry end
    end
  end
end

-- Of what is called by a user's own name: net:compile, history, my_function.
local function own_text(name)
  local base, method = name:match "^(.*)[.:]([^.:]+)$"
  local object = base and own_value(base)
  if object ~= nil then
    local class = help.class_name(object)
    local entry = class and index[class .. ":" .. method]
    if entry then return text_of(entry), entry.name end
  end
  local value = own_value(name)
  if value == nil then return nil end
  local entry = named(value)
  if entry then return text_of(entry), entry.name end
  if type(value) == "function" then
    local info = debug.getinfo(value, "S")
    local text = function_text(value)
    if text then return text end
    return info.what == "C" and ("%s is a function of Lua or of a C library; Lua's are in its manual, https://www.lua.org/manual/5.4/\n"):format(name)
      or ("%s is a function from %s, line %d, without a comment above it\n"):format(name, info.short_src, info.linedefined)
  end
  if is_class(value) then return class_text(value) end
  local class = help.class_name(value)
  local methods = {}
  for _, known in ipairs(index) do
    if class and known:sub(1, #class + 1) == class .. ":" then methods[#methods + 1] = known end
  end
  if #methods == 0 then return ("%s is a %s\n"):format(name, type(value)) end
  table.sort(methods)
  return ("%s is a %s. Its methods:\n%s\n"):format(name, class, columns(methods, core.columns() or 80))
end

-- What kind of object a value is, as help names it: "tensor", "plan", "model", ...; nil for plain values.
function help.class_name(value)
  local meta = debug.getmetatable(value)
  if type(value) == "userdata" then return meta and meta.__name end
  if type(value) ~= "table" or not meta or is_class(value) then return nil end
  for class, methods in pairs(util.classes) do
    if rawequal(rawget(meta, "__index"), methods) then return class end
  end
  if rawget(meta, "__name") == "nn.Module" then return "model" end
end

local function methods_text(class)
  local names = {}
  for _, name in ipairs(index) do
    if name:sub(1, #class + 1) == class .. ":" then names[#names + 1] = name end
  end
  if #names == 0 then return nil end
  table.sort(names)
  return ("Methods of a %s:\n%s\n"):format(class, columns(names, core.columns() or 80))
end

-- Names that end in these parts, the shorter ones first: "Conv2d" -> nn.Conv2d, "transforms.resize" -> data's.
local function by_last_parts(word)
  local list = {}
  for i, name in ipairs(index) do
    if name:sub(-#word) == word and name:sub(-#word - 1):find "^[.:]" then list[#list + 1] = { i, name } end
  end
  table.sort(list, function(a, b)
    local ops_a, ops_b = a[2]:find "^ops%.", b[2]:find "^ops%." -- an op has many names; this is its own
    if not ops_a ~= not ops_b then return ops_a ~= nil end
    return a[1] < b[1]
  end)
  return list
end

-- What a table holds that is no area of its own: "data.transforms", "transforms".
local function members_text(name)
  local names = {}
  for _, known in ipairs(index) do
    if ("." .. known):find("." .. name .. ".", 1, true) then names[#names + 1] = known end
  end
  if #names == 0 then return nil end
  table.sort(names)
  return ("%s has:\n%s\n"):format(name, columns(names, core.columns() or 80))
end

local function suggestion(name)
  local names = table.move(index, 1, #index, 1, {})
  local whole = {}
  for _, known in ipairs(index) do
    local last = known:match "[^.:]+$"
    names[#names + 1], whole[last] = last, whole[last] or known
  end
  for _, area in ipairs(index.areas) do names[#names + 1] = area.name end
  local near, part = nil, name:lower() -- pool2d is part of max_pool2d and nothing that was mistyped
  for _, known in ipairs(#part > 2 and names or {}) do
    if known:lower():find(part, 1, true) and (not near or #known < #near) then near = known end
  end
  near = near or core.nearest(name, names)
  if not near and name:find "[.:]" then near = core.nearest(name:match "[^.:]+$" or name, names) end
  return near and (index[near] and near or whole[near] or near)
end

local function find(name)
  local entry = index[name] or index[(name:gsub("^(.*)%.", "%1:"))] or index[(name:gsub("^core%.", ""))]
  local area = index.areas[name]
  if entry and not (entry.c and area) then
    local text = text_of(entry)
    if text and entry.module and area then return area_text(area) end -- experiment: its file says it all
    return text
  end
  if area then
    local methods = methods_text(name)
    return area_text(area) .. (methods and not area.file and #area.entries == 0 and "\n" .. methods or "")
  end
  local methods = methods_text(name)
  if methods then return methods end
  local text, own = own_text(name)
  if text then return (own and own ~= name and own .. ": " or "") .. text end
  local list = by_last_parts(name)
  if #list == 0 then return members_text(name) end
  local others = {}
  for i = 2, #list do others[#others + 1] = list[i][2] end
  text = text_of(index[list[1][2]])
  if text and #others > 0 and #others <= 8 then text = text .. "\nAlso: " .. table.concat(others, ", ") .. "\n" end
  return text
end

-- wattle.help, see init.lua.
function help.help(name)
  if name ~= nil and type(name) ~= "string" then
    require("wattle.where").raise("help: give a name as a string, such as \"fit\", not a %s", type(name))
  end
  need_index()
  name = (name or ""):gsub("^%s*%??%s*", ""):gsub("[%s;]+$", ""):gsub("%(%)$", ""):gsub("^wattle%.", "")
  if name == "" or name == "wattle" then return overview() end
  local text = find(name)
  if text then return wrapped(text) end
  local near = suggestion(name)
  return nil, ("no help for '%s'%s"):format(name, near and ("; did you mean '%s'?"):format(near) or "; ? alone lists what there is")
end

-- The first line of a function's help, or nil if it is none of Wattle's.
function help.signature(f)
  need_index()
  local entry = named(f)
  local text = entry and text_of(entry)
  return text and ("%s   (?%s)"):format(text:match "^[^\n]*", entry.name)
end

-- Every name that has an entry, in order; for completion and tests.
function help.names()
  need_index()
  return table.move(index, 1, #index, 1, {})
end

return help
