-- How the prompt shows values: tensors and text cut to what can be read, models as a tree with their parameters, plans by
-- what they cost, tables one level deep. show.text(value, width) is the text; nothing here prints.

local wattle = require "wattle"
local core = wattle.core
local util = require "wattle.util"

local show = {}
local entries_max, lines_max, string_max = 24, 24, 20000

-- Bytes as columns: a character of UTF-8 counts once.
local function length(s)
  return utf8.len(s) or #s
end

local function cut(s, width)
  if length(s) <= width then return s end
  local last = utf8.len(s) and utf8.offset(s, width) or width
  return s:sub(1, last - 1) .. "…"
end

local escapes = { ["\n"] = "\\n", ["\t"] = "\\t", ["\r"] = "\\r", ['"'] = '\\"', ["\\"] = "\\\\" }
local function quoted(s)
  s = s:gsub('[%c"\\\127]', function(c) return escapes[c] or ("\\%d"):format(c:byte()) end)
  if not utf8.len(s) then s = s:gsub("[\128-\255]", function(c) return ("\\%d"):format(c:byte()) end) end
  return '"' .. s .. '"'
end

-- "1234567" -> "1,234,567"
local function grouped(n)
  local s = ("%d"):format(n)
  while true do
    local k
    s, k = s:gsub("^(-?%d+)(%d%d%d)", "%1,%2")
    if k == 0 then return s end
  end
end

local function bytes(n)
  for _, unit in ipairs { { 1 << 30, "GB" }, { 1 << 20, "MB" }, { 1 << 10, "kB" } } do
    if n >= unit[1] then return ("%.1f %s"):format(n / unit[1], unit[2]) end
  end
  return ("%d B"):format(n)
end

local function flops(n)
  for _, unit in ipairs { { 1e12, "T" }, { 1e9, "G" }, { 1e6, "M" }, { 1e3, "k" } } do
    if n >= unit[1] then return ("%.3g %sFLOP"):format(n / unit[1], unit[2]) end
  end
  return ("%g FLOP"):format(n)
end

local function class_name(v)
  return require("wattle.help").class_name(v)
end

local function shape_text(t)
  return ("%s [%s]"):format(t.dtype, table.concat(t:shape(), ","))
end

-- Middle lines of a text that is too long.
local function shortened(text, most)
  local lines = {}
  for line in (text .. "\n"):gmatch "(.-)\n" do lines[#lines + 1] = line end
  if #lines <= most then return text end
  local head, tail = most * 2 // 3, most - most * 2 // 3 - 1
  local left_out = #lines - head - tail
  local out = table.move(lines, 1, head, 1, {})
  out[#out + 1] = (" ... %d lines ..."):format(left_out)
  table.move(lines, #lines - tail + 1, #lines, #out + 1, out)
  return table.concat(out, "\n")
end

-- ---- models and plans -------------------------------------------------------------------------------------------

-- One line a module: {depth, "conv1: Conv2d(1, 16, ...)", parameters}.
local function tree(model, most_depth)
  local module = require "wattle.nn.module"
  local rows = {}
  local function go(m, name, depth)
    local class = module.class_of(m)
    local options = class.extra_repr and class.extra_repr(m) or ""
    local row = { depth, (name and name .. ": " or "") .. class.class_name .. (options ~= "" and "(" .. options .. ")" or ""),
                  m:num_parameters() }
    rows[#rows + 1] = row
    for field, child in pairs(m) do
      if module.is_module(child) and depth < most_depth then go(child, field, depth + 1) end
    end
  end
  go(model, nil, 0)
  return rows
end

local function model_text(model, width)
  local rows
  for depth = 8, 1, -1 do
    rows = tree(model, depth)
    if #rows <= 60 then break end
  end
  local lines, room = {}, math.min(width, 100) - 13
  for i, row in ipairs(rows) do
    local left = cut(("  "):rep(row[1]) .. row[2], room)
    local count = row[3] > 0 and grouped(row[3]) or "-"
    lines[i] = left .. (" "):rep(room - length(left)) .. ("%12s"):format(count)
  end
  local size, dtype = 0, nil
  for _, entry in ipairs(model:parameters()) do
    local t = entry.param:tensor()
    size, dtype = size + t:bytes(), dtype or t.dtype
  end
  lines[#lines + 1] = ("%s parameters%s; %s mode"):format(
    grouped(model:num_parameters()), dtype and (", %s, %s"):format(dtype, bytes(size)) or "",
    model.training and "training" or "evaluation")
  return table.concat(lines, "\n")
end

local function plan_text(plan)
  local info = plan:info()
  local ok, lr = pcall(plan.get, plan, "lr")
  local steps, updates = plan:count()
  local lines = {
    ("plan: batch %d, %d ops%s"):format(info.batch, info.nodes, ok and (", lr %g"):format(lr) or ", no optimizer"),
    ("  forward   %s a batch, %s an image"):format(flops(info.forward_flops), flops(info.forward_flops / info.batch)),
  }
  if info.backward_flops > 0 then lines[#lines + 1] = ("  backward  %s a batch"):format(flops(info.backward_flops)) end
  lines[#lines + 1] = ("  memory    %s (%s without sharing)"):format(bytes(info.arena_bytes), bytes(info.sum_bytes))
  if steps > 0 then
    lines[#lines + 1] = ("  so far    %d step%s, %d update%s"):format(steps, steps == 1 and "" or "s", updates,
                                                                     updates == 1 and "" or "s")
  end
  lines[#lines + 1] = "  print(plan:describe()) shows each kernel and layout"
  return table.concat(lines, "\n")
end

-- ---- tables -----------------------------------------------------------------------------------------------------

-- A value in one line of at most `width` characters.
local function brief(v, width, deep)
  local kind = math.type(v) or type(v)
  local class = (kind == "userdata" or kind == "table") and class_name(v)
  if kind == "string" then
    return cut(quoted(v), math.max(width, 12))
  elseif kind == "float" then
    local s = (deep and "%.4g" or "%.6g"):format(v)
    return s:find "^-?%d+$" and s .. ".0" or s
  elseif class == "tensor" then
    return shape_text(v)
  elseif class == "parameter" then
    return ("%s %s"):format(v:kind(), shape_text(v:tensor()))
  elseif class == "model" then
    return ("%s, %s parameters"):format(require "wattle.nn.module".class_of(v).class_name, grouped(v:num_parameters()))
  elseif kind == "function" then
    return "function"
  elseif kind == "table" and not (debug.getmetatable(v) or {}).__tostring then
    local n = 0
    for _ in next, v do n = n + 1 end
    if n == 0 then return "{}" end
    if deep or width < 20 then return ("{...%d}"):format(n) end
    local parts, used = {}, 6
    local function add(text)
      if used + #text + 2 > width or #parts == 8 then return false end
      parts[#parts + 1], used = text, used + length(text) + 2
      return true
    end
    local count = #v
    for i = 1, count do
      if not add(brief(v[i], 20, true)) then break end
    end
    for _, key in ipairs(#parts == count and util.sorted_keys(v) or {}) do
      if not add(key .. " = " .. brief(v[key], 20, true)) then break end
    end
    return ("{ %s%s }"):format(table.concat(parts, ", "), #parts < n and ", ..." or "")
  end
  return cut((tostring(v):gsub("%s+", " ")), width)
end

local function key_text(k)
  if type(k) == "string" and k:find "^[%a_][%w_]*$" then return k end
  return "[" .. brief(k, 40, true) .. "]"
end

local ranks = { number = 1, string = 2 }
local function before(a, b)
  local ra, rb = ranks[type(a)] or 3, ranks[type(b)] or 3
  if ra ~= rb then return ra < rb end
  if ra < 3 then return a < b end
  return tostring(a) < tostring(b)
end

-- A dict keeps its names in order in its list: d[1] = "fc.weight", d["fc.weight"] = tensor.
local function is_dict(t, n)
  local total = 0
  for _ in next, t do total = total + 1 end
  if n == 0 or total ~= 2 * n then return false end
  for i = 1, n do
    local name = rawget(t, i)
    if type(name) ~= "string" or rawget(t, name) == nil then return false end
  end
  return true
end

local function table_text(t, width)
  local keys, n = {}, rawlen(t)
  if is_dict(t, n) then
    keys, n = table.move(t, 1, n, 1, {}), 0
  else
    for key in next, t do
      if not (math.type(key) == "integer" and key >= 1 and key <= n) then keys[#keys + 1] = key end
    end
    table.sort(keys, before)
  end
  local total = n + #keys
  if total == 0 then return "{}" end
  local flat, used, plain = {}, 4, true
  local function add_flat(text, v)
    plain = plain and type(v) ~= "table" and type(v) ~= "userdata"
    flat[#flat + 1], used = text, used + length(text) + 2
  end
  for i = 1, math.min(n, 200) do add_flat(brief(t[i], 60), t[i]) end
  for i = 1, math.min(#keys, 20) do
    local v = rawget(t, keys[i])
    add_flat(key_text(keys[i]) .. " = " .. brief(v, 60), v)
  end
  if plain and #flat == total and used <= width then return "{ " .. table.concat(flat, ", ") .. " }" end
  local lines, longest, shown = { "{" }, 0, {}
  for i = 1, math.min(n, entries_max) do shown[#shown + 1] = { "[" .. i .. "]", t[i] } end
  for i = 1, math.min(#keys, entries_max - #shown) do shown[#shown + 1] = { key_text(keys[i]), rawget(t, keys[i]) } end
  for _, pair in ipairs(shown) do longest = math.max(longest, math.min(length(pair[1]), 24)) end
  for _, pair in ipairs(shown) do
    local name = pair[1] .. (" "):rep(longest - length(pair[1]))
    lines[#lines + 1] = ("  %s = %s"):format(name, brief(pair[2], width - longest - 6))
  end
  if #shown < total then lines[#lines + 1] = ("  ... %d more"):format(total - #shown) end
  lines[#lines + 1] = "}"
  return table.concat(lines, "\n")
end

local function string_text(s)
  if not s:find "\n" or not utf8.len(s) or s:find "[%z\1-\8\11-\31\127]" then
    if #s <= string_max then return quoted(s) end
    return ("%s ... (%d bytes)"):format(quoted(s:sub(1, string_max)), #s)
  end
  local more = #s > string_max and ("\n... (%d bytes in all)"):format(#s) or ""
  local level = ""
  while s:find("]" .. level .. "]", 1, true) do level = level .. "=" end
  return ("[%s[\n%s%s]%s]"):format(level, s:sub(1, string_max), more, level)
end

local function function_text(f)
  local help = require "wattle.help"
  local signature = help.signature(f)
  if signature then return signature end
  local info = debug.getinfo(f, "S")
  if info.what == "C" then return tostring(f):gsub("builtin: ", "") end
  return ("function (%s, line %d)"):format(info.short_src, info.linedefined)
end

-- show.text(value, width) -> text of one or more lines, without a newline at its end.
function show.text(v, width)
  local kind = type(v)
  local class = (kind == "userdata" or kind == "table") and class_name(v)
  if kind == "string" then return string_text(v)
  elseif kind == "function" then return function_text(v)
  elseif class == "tensor" then return shortened(tostring(v), lines_max)
  elseif class == "parameter" then return v:kind() .. "\n" .. shortened(tostring(v:tensor()), lines_max)
  elseif class == "model" then return model_text(v, width)
  elseif class == "plan" then return plan_text(v)
  elseif class == "meter" then return "meter: " .. v:describe():gsub("\n$", "")
  elseif kind == "table" and not (debug.getmetatable(v) or {}).__tostring then return table_text(v, width)
  end
  return tostring(v)
end

return show
