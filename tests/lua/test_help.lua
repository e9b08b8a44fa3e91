-- wattle.help and the prompt's Lua half (bindings/lua/wattle/repl): every public function has help, names are found and
-- typos told, values are shown, names completed, errors cut to what is the user's. The terminal itself: tests/repl.

local wattle = require "wattle"
package.path = (arg[0]:match "^.*/" or "./") .. "?.lua;" .. package.path
local t = require "harness"
local help = require "wattle.help"
local show = require "wattle.repl.show"
local complete = require "wattle.repl.complete"
local repl = require "wattle.repl"
local core, nn = wattle.core, wattle.nn
local test, check, equal, raises = t.test, t.check, t.equal, t.raises

-- ---- help -------------------------------------------------------------------------------------------------------

test("every public function has help", function()
  local without, seen, n = {}, {}, 0
  local function look(f, name)
    if seen[f] then return end
    seen[f], n = true, n + 1
    if not help.signature(f) then without[#without + 1] = name end
  end
  local function walk(of, prefix)
    if seen[of] then return end
    seen[of] = true
    for key, v in next, of do
      local meta = type(v) == "table" and getmetatable(v)
      if type(key) ~= "string" then -- a list
      elseif type(v) == "function" or meta and meta.__name == "nn.class" then
        look(v, prefix .. key)
      elseif type(v) == "table" then
        if meta and meta.__call then look(v, prefix .. key) end
        walk(v, prefix .. key .. ".")
      end
    end
  end
  for class, methods in pairs(core.classes) do
    for key, f in pairs(methods) do look(f, class .. ":" .. key) end
  end
  seen[core.classes] = true
  local lazy = getmetatable(wattle).__names()
  for _, name in ipairs(lazy) do check(wattle[name] ~= nil) end
  for class, methods in pairs(require "wattle.util".classes) do
    for key, f in pairs(methods) do
      local own = key:sub(1, 2) == "__" or key == "init" or key == "forward"
      if type(f) == "function" and not own then look(f, class .. ":" .. key) end
    end
  end
  walk(core, "core.")
  walk(wattle, "wattle.")
  table.sort(without)
  check(n > 300, n .. " functions")
  equal(without, {}, "functions without help (a comment above the definition): ")
  for _, name in ipairs(help.names()) do check(wattle.help(name), name) end
end)

test("a name is found as it is called", function()
  local function says(name, want)
    local text, message = wattle.help(name)
    check(text and text:find(want), ("%s: %s"):format(name, text or message))
  end
  says("fit", "^wattle.fit{")
  says("?fit", "^wattle.fit{")
  says("wattle.fit", "^wattle.fit{")
  says("nn.Conv2d", "^nn.Conv2d{in_channels")
  says("Conv2d", "^nn.Conv2d{in_channels")
  says("nn.Sigmoid", "^nn.Sigmoid%(%)") -- made by a function
  says("nn.init.kaiming_normal", "^nn.init.kaiming_normal")
  says("plan:step", "^plan:step%(x, y")
  says("plan.step", "^plan:step%(x, y")
  says("plan:gradients", "^plan:gradients%(%) %->")
  says("model:compile", "^model:compile{")
  says("dataset:batches", "batch_size")
  says("ops.conv2d", "^conv2d%(x, w, b")
  says("conv2d", "^conv2d%(x, w, b")
  says("tensor:relu", "max%(x, 0%)")
  says("zeros", "^zeros{")
  says("core.zeros", "^zeros{")
  says("lowrank", "^compress.lowrank")
  says("compress", "compress.scr")
  says("tensor", "tensor:reshape")
  says("experiment", "factors")
  says("help", "^wattle.help")
  says("", "\n  compress +Compression")
  equal(wattle.help(), wattle.help "")
end)

test("a user's own names", function()
  local path = os.tmpname()
  core.write_file(path, "-- double(x): twice x.\nfunction double(x) return 2 * x end\n"
                  .. '-- A net of mine.\nOwn = require "wattle.nn".class "Own"\nfunction Own:init() end\nfunction bare() end\n')
  dofile(path)
  os.remove(path .. "none")
  my_net, my_tensor = wattle.nn.ReLU(), wattle.zeros{ 2 }
  check(wattle.help "double" == "double(x): twice x.\n")
  check(wattle.help "Own" == "A net of mine.\n", wattle.help "Own")
  check(wattle.help "bare":find "without a comment")
  check(wattle.help "my_net:compile":find "model:compile{")
  check(wattle.help "my_tensor:reshape":find "tensor")
  check(wattle.help "my_net":find "my_net is a model")
  check(wattle.help "string.rep":find "manual")
  os.remove(path)
end)

test("the last parts of a name are enough", function()
  for part, whole in pairs{ ["transforms.resize"] = "data.transforms.resize", random_flip = "data.transforms.random_flip",
                            freeze = "model:freeze" } do
    equal(wattle.help(part), assert(wattle.help(whole)))
  end
  equal(wattle.help "forms.resize", nil)
  for _, whole in ipairs{ "data.transforms", "transforms" } do
    check(wattle.help(whole):find("data.transforms.center_crop", 1, true), whole)
  end
end)

test("an unknown name suggests the nearest", function()
  for typo, near in pairs { fti = "fit", ["nn.Conv2"] = "nn.Conv2d", ["plan:stpe"] = "plan:step", compres = "compress" } do
    local text, message = wattle.help(typo)
    equal(text, nil)
    equal(message, ("no help for '%s'; did you mean '%s'?"):format(typo, near))
  end
  local text, message = wattle.help "qqqqqqqqqq"
  equal({ text == nil, message }, { true, "no help for 'qqqqqqqqqq'; ? alone lists what there is" })
  raises(function() wattle.help(3) end, "give a name as a string")
end)

test("names in three columns stay in them", function()
  local at
  for line in wattle.help "tensor":gmatch "[^\n]+" do
    local second = line:match "^  %S+  +()%S+  +%S+$"
    check(not second or not at or at == second, line)
    check(not line:find "^  .*:%S+ %S", line)
    at = at or second
  end
end)

test("help fits its lines and keeps code", function()
  local text = wattle.help "experiment"
  local width = math.min(core.columns() or 88, 100)
  for line in text:gmatch "[^\n]+" do
    check(utf8.len(line) <= width or line:find "=", line)
  end
  check(text:find('\n  wattle.experiment{\n    name = "width", out = "out/width", seeds = {1, 2, 3},\n', 1, true), text)
end)

-- ---- values -----------------------------------------------------------------------------------------------------

local function shows(v, want)
  equal(show.text(v, 80), want)
end

test("plain values", function()
  shows(nil, "nil")
  shows(1.5, "1.5")
  shows(3, "3")
  shows(true, "true")
  shows("a\"b\\\t\1", [["a\"b\\\t\1"]])
  shows("é", '"é"')
  shows("\xff", [["\255"]])
  shows("a\nb", "[[\na\nb]]")
  shows("a\n]]", "[=[\na\n]]]=]")
  check(#show.text(("x"):rep(1e6), 80) < 30000)
end)

test("tables: one level, sorted, cut", function()
  shows({}, "{}")
  shows({ 1, 2.5, "x" }, '{ 1, 2.5, "x" }')
  shows({ b = 1, a = "x", [3.5] = true, 7 }, '{ 7, [3.5] = true, a = "x", b = 1 }')
  shows({ epoch = 1, w = wattle.zeros{ 2, 3 }, inner = { x = 1, y = { 1 } } },
        "{\n  epoch = 1\n  inner = { x = 1, y = {...1} }\n  w     = f32 [2,3]\n}")
  local long = {}
  for i = 1, 1000 do long[i] = i end
  local text = show.text(long, 80)
  check(text:find "%[24%] = 24\n  ... 976 more\n}$", text)
  local ring = {}
  ring.ring = ring
  check(#show.text(ring, 80) < 200)
  shows({ "w.b", "a", ["w.b"] = wattle.zeros{ 2 }, a = 1 }, '{\n  ["w.b"] = f32 [2]\n  a       = 1\n}')
  shows(setmetatable({}, { __tostring = function() return "mine" end }), "mine")
  for _, hidden in ipairs { true, 3, "no" } do shows(setmetatable({}, { __metatable = hidden }), "{}") end
  check(#show.text({ s = ("x"):rep(500) }, 80) < 90)
end)

test("tensors, parameters, models, plans", function()
  shows(wattle.tensor{ 1, 2 }, "[1., 2.]\nf32 [2]")
  local text = show.text(wattle.zeros{ 100, 3 }, 80)
  check(text:find "%.%.%. 78 lines %.%.%." and text:find "f32 %[100,3%]$", text)
  local net = nn.Sequential{ nn.Linear{ in_features = 3, out_features = 1000 }, nn.ReLU() }
  text = show.text(net, 80)
  check(text:find "^Sequential +4,000\n  0: Linear%(.-%) +4,000\n  1: ReLU +%-\n4,000 parameters, f32, 15.6 kB; training mode$", text)
  text = show.text(net.training and net["0"].weight, 80)
  check(text:find "^parameter\n" and text:find "f32 %[1000,3%]", text)
  check(show.text({ net }, 80):find "Sequential, 4,000 parameters")
  local plan = net:compile{ input = { 4, 3 }, loss = "mse", optimizer = { "sgd", lr = 0.5 } }
  text = show.text(plan, 80)
  check(text:find "^plan: batch 4, %d+ ops, lr 0.5\n  forward" and not text:find "so far", text)
  plan:step(wattle.rand{ 4, 3 }, wattle.rand{ 4, 1000 })
  check(show.text(plan, 80):find "so far    1 step", "steps are counted")
  text = show.text(wattle.models.create "resnet110", 80)
  local _, lines = text:gsub("\n", "")
  check(lines <= 61, text)
  for line in text:gmatch "[^\n]+" do check(utf8.len(line) <= 80, line) end
end)

test("a meter says what it reads", function()
  local m <close> = wattle.meter{ source = "estimate", period_s = 60 }
  check(show.text(m, 80):find "^meter: .*estimate")
end)

test("functions", function()
  check(show.text(wattle.fit, 80):find "^wattle.fit{.*%?fit%)$")
  check(show.text(print, 80):find "^function")
  check(show.text(function() end, 80):find "^function %(.*test_help.lua, line %d+%)$")
end)

-- ---- completion -------------------------------------------------------------------------------------------------

local function becomes(before, want)
  local _, list = complete.candidates(before)
  equal(list, want, before)
end

test("names are completed without running anybody's code", function()
  becomes("x = repea", { "repeat" })
  becomes("string.rep", { "rep" })
  becomes("wattle_none.", {})
  trap = setmetatable({ own = 1 }, { __index = function() error "ran" end })
  becomes("trap.", { "own" })
  becomes("trap.none.", {})
  some_text, some_tensor = "x", wattle.zeros{ 2 }
  becomes("some_text:rep", { "rep" })
  becomes("some_tensor:resh", { "reshape" })
  becomes("some_tensor.dty", { "dtype" })
  becomes("some_tensor:dty", {})
  becomes("f(some_tensor:transp", { "transpose" })
  becomes("some_list[1].a", {})
  some_list = { { alpha = 1 } }
  becomes("some_list[1].a", { "alpha" })
  becomes("f().so", {})
  becomes("3.", {})
end)

test("models' fields and methods, lazy modules by name alone", function()
  some_net = nn.Sequential{ nn.Linear{ in_features = 2, out_features = 2 } }
  becomes("some_net:comp", { "compile" })
  becomes("some_net:app", { "append" })
  becomes("some_net[1].w", { "weight" })
  some_net[1].note = 3
  becomes("some_net[1].not", { "note" })
  wattle_again, nn_again = wattle, nn
  becomes("wattle_again.sche", { "schedule" })
  becomes("nn_again.Conv", { "Conv2d", "Conv2dNormActivation" })
  becomes("nn_again.cross", { "cross_entropy" })
  becomes("?plan:ste", { "step" })
  becomes("?nn.Lin", { "Linear" })
  becomes("?fi", { "fit" })
  local program = ("'%s' -e '%s' 2>&1"):format(os.getenv "WATTLE_PROGRAM" or arg[-1], [[
    wattle = require "wattle" local c = require "wattle.repl.complete" local _, l = c.candidates "wattle.sched"
    print(l[1], package.loaded["wattle.schedule"], package.loaded["wattle.nn"])]])
  local pipe = io.popen(program)
  equal(pipe:read "a", "schedule\tnil\tnil\n")
  pipe:close()
end)

test("TAB: what is inserted, what is listed", function()
  equal({ complete.complete "" }, { "  " })
  equal({ complete.complete "string.fo" }, { "rmat" })
  equal({ complete.complete "string.qq" }, {})
  local insert, list = complete.complete "string."
  check(insert == nil and list:find "byte" and list:find "upper")
  equal({ complete.complete "string.g" }, { nil, "  gmatch  gsub" })
end)

-- ---- errors -----------------------------------------------------------------------------------------------------

test("an error's traceback is the user's part, without colours off a terminal", function()
  local text = repl.explain("stdin:1: oh\nstack traceback:\n\t[C]: in function 'error'\n\t" .. wattle.home
                            .. "/lua/wattle/fit.lua:3: in function 'fit'\n\tstdin:1: in function 'f'\n\t(...tail calls...)\n"
                            .. "\tstdin:1: in main chunk\n\t[C]: in ?")
  equal(text, "stdin:1: oh\n  stdin:1: in function 'f'")
  equal(repl.explain "plain", "plain")
  equal(repl.explain(wattle.home .. "/lua/wattle/nn/layers.lua:151: linear: x is [1,4]"), "linear: x is [1,4]")
  local deep = {}
  for i = 1, 30 do deep[i] = ("\tx.lua:%d: in function 'f'"):format(i) end
  text = repl.explain("oh\nstack traceback:\n" .. table.concat(deep, "\n"))
  local _, lines = text:gsub("\n", "")
  check(lines <= 9 and text:find "x.lua:30:" and text:find "calls", text)
end)
