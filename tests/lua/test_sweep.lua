-- Every function that a script can reach, with memory gone: the functions are found by walking wattle, its modules and
-- the methods of its objects, and one without a scenario in sweep_scenarios.lua fails, as does a scenario for nothing.
-- Each scenario runs with the core's n-th allocation failing, then with Lua's: it raises or returns nil, message, code,
-- or has its result all the same; nothing is left behind, and the same call then has its usual result. The C functions:
-- tests/c/test_sweep.c. Arguments pick scenarios by pattern: wattle tests/lua/test_sweep.lua '^tensor:'

local wattle = require "wattle"
local t = require "harness"
local scenarios, specimens = require "sweep_scenarios" ()
local core = wattle.core
local test, check, equal = t.test, t.check, t.equal
local picked = arg[1] or ""

-- ---- what there is -----------------------------------------------------------------------------------------------

local found, names = {}, {} -- function -> its first name; names in order

local function note(f, name)
  if found[f] then return end
  found[f] = name
  names[#names + 1] = name
end

local function sorted_pairs(of)
  local keys = {}
  for k in pairs(of) do
    if type(k) == "string" then keys[#keys + 1] = k end
  end
  table.sort(keys)
  local i = 0
  return function()
    i = i + 1
    if keys[i] then return keys[i], rawget(of, keys[i]) end
  end
end

-- Functions of a table, under prefix .. their name. What can be called like a function is one: a class of layers
-- counts once, with all that its instances do.
local walked = {}
local function walk(of, prefix)
  if walked[of] then return end
  walked[of] = true
  for key, v in sorted_pairs(of) do
    local meta = type(v) == "table" and getmetatable(v)
    if type(v) == "function" then
      note(v, prefix .. key)
    elseif meta and meta.__call then
      note(v, prefix .. key)
      if not v.class_name then walk(v, prefix .. key .. ".") end
    elseif type(v) == "table" then
      walk(v, prefix .. key .. ".")
    end
  end
end

-- An object's methods (where its metatable does not say which, those given) and metamethods. __gc cannot be called, and
-- close, __close and __gc are one function.
local function walk_object(object, name, methods)
  local meta = debug.getmetatable(object)
  methods = methods or type(meta.__index) == "table" and meta.__index or {}
  for key, f in sorted_pairs(methods) do
    if type(f) == "function" then note(f, name .. ":" .. key) end
  end
  for key, f in sorted_pairs(meta) do
    if type(f) == "function" and key ~= "__gc" and key ~= "__close" then note(f, name .. ":" .. key) end
  end
end

for class, methods in sorted_pairs(core.classes) do
  for key, f in sorted_pairs(methods) do note(f, class .. ":" .. key) end
end
walked[core.classes] = true
for name, object in sorted_pairs(specimens) do
  walk_object(object, name, name == "module" and getmetatable(wattle.nn.ReLU).__index)
end
walk(core, "")
walk(wattle, "")
for _, file in ipairs(core.listdir(wattle.home .. "/lua/wattle")) do -- the modules that wattle has under their names
  local name = file:match "^([%w_]+)%.lua$" or file:match "^[%w_]+$"
  local ok, module = pcall(function() return wattle[name] end)
  if ok and type(module) == "function" then note(module, name) end
  if ok and type(module) == "table" then
    if getmetatable(module) and getmetatable(module).__call then note(module, name) end
    walk(module, name .. ".")
  end
end
note(wattle.evaluate, "evaluate")

local is_name = {}
for _, name in ipairs(names) do is_name[name] = true end

test("every function has a scenario", function()
  local without, of_nothing = {}, {}
  for _, name in ipairs(names) do
    if not scenarios[name] then without[#without + 1] = name end
  end
  for name in sorted_pairs(scenarios) do
    if not is_name[name] then of_nothing[#of_nothing + 1] = name end
  end
  check(#names > 400, #names .. " functions found")
  equal(without, {}, "functions without a scenario in tests/lua/sweep_scenarios.lua: ")
  equal(of_nothing, {}, "scenarios that no function has: ")
end)

-- ---- running them ------------------------------------------------------------------------------------------------

-- What a scenario computed, as text: tensors by their bytes, tables by what is in them, objects by their kind.
local function show(v, out)
  local meta = debug.getmetatable(v)
  if type(v) == "userdata" and meta and meta.__name == "tensor" then
    out[#out + 1] = v.dtype .. "[" .. table.concat(v:shape(), ",") .. "]" .. v:contiguous():tobytes()
  elseif type(v) == "table" and not meta then
    for _, x in ipairs(v) do show(x, out) end
    for key, x in sorted_pairs(v) do
      out[#out + 1] = key .. "="
      show(x, out)
    end
  elseif type(v) == "function" or type(v) == "userdata" or type(v) == "table" then
    out[#out + 1] = type(meta) == "table" and meta.__name or type(v)
  else
    out[#out + 1] = tostring(v)
  end
end

local function fingerprint(results)
  local out = {}
  for i = 2, results.n do show(results[i], out) end
  return table.concat(out, ";")
end

local function live()
  collectgarbage()
  collectgarbage()
  return core.memory().live
end

-- Failing points: all of a few, else spread evenly with the first ones among them.
local function points(total, most)
  local list = {}
  for n = 1, math.min(total, most // 2) do list[n] = n end
  local rest = most - #list
  local step = math.max(1, (total - #list) // rest)
  for n = #list + step, total, step do list[#list + 1] = n end
  return list
end

-- Memory is back before anything is made of the results.
local function restored(set, ...)
  set(0)
  return table.pack(...)
end

-- One run with the n-th request failing. An error that is not of memory is one where the function said nothing of it.
local function run_failing(name, scenario, set, n, want)
  set(n)
  local results = restored(set, pcall(scenario))
  if results[1] and (results[2] ~= nil or results.n < 3) then
    equal(fingerprint(results) == want, true, ("%s: request %d failed, it succeeded with another result"):format(name, n))
    return
  end
  local message = results[1] and results[3] or results[2]
  check(tostring(message):find "memory", ("%s: request %d: %s"):format(name, n, tostring(message)))
end

local function sweep_one(name, scenario, set, total, most)
  local first = table.pack(pcall(scenario))
  check(first[1], name .. ": " .. tostring(first[2]))
  local want = fingerprint(first)
  first = nil
  local before = live()
  for _, n in ipairs(points(total, most)) do run_failing(name, scenario, set, n, want) end
  local again = table.pack(pcall(scenario))
  check(again[1], name .. ": after failures: " .. tostring(again[2]))
  check(fingerprint(again) == want, name .. ": after failures: another result")
  again = nil
  equal(live(), before, name .. ": blocks that are alive after failures")
end

-- How many requests a run makes, of the core and of Lua, and its time.
local function requests(scenario)
  scenario() -- loads and caches, once
  collectgarbage()
  local began, of_core, of_lua = core.now(), core.memory().allocations, core.lua_allocations()
  scenario()
  return core.memory().allocations - of_core, core.lua_allocations() - of_lua, core.now() - began
end

local function sweep(which, set)
  local failures, functions, slowest, longest, wrong = 0, 0, "", 0, {}
  for _, name in ipairs(names) do
    local scenario = scenarios[name]
    if scenario and name:find(picked) then
      local began = core.now()
      local ok, message = pcall(function()
        local of_core, of_lua, duration = requests(scenario)
        local total = which == "core" and of_core or of_lua
        local most = math.max(8, math.min(200, math.floor(0.15 / (duration + 0.0005))))
        sweep_one(name, scenario, set, total, most)
        functions, failures = functions + 1, failures + math.min(total, most)
      end)
      if not ok then wrong[#wrong + 1] = message end
      local took = core.now() - began
      if took > longest then slowest, longest = name, took end
    end
  end
  print(("%s's memory: %d functions, some %d failures; longest %s, %.1f s"):format(which, functions, failures, slowest,
                                                                                   longest))
  if #wrong > 0 then error(#wrong .. " functions:\n  " .. table.concat(wrong, "\n  "), 0) end
end

if not core.lua_fail_at(0) then
  test("with memory gone", function() t.skip "only in the wattle program" end)
  return
end
test("the core's memory gone", function() sweep("core", core.fail_at) end)
test("Lua's memory gone", function() sweep("Lua", core.lua_fail_at) end)
