-- The wattle program beside the stock interpreter: the same command lines give the same output, errors and exit codes.
-- Then what lua does not have: commands by name, --help, the REPL's Ctrl-C, the module, sys and data functions.

local wattle = require "wattle"
local core = wattle.core
package.path = (arg[0]:match "^.*/" or "./") .. "?.lua;" .. package.path
local t = require "harness"
local test, check, equal, near, raises = t.test, t.check, t.equal, t.near, t.raises

local program = os.getenv "WATTLE_PROGRAM"
if not program then
  local first = 0
  while arg[first - 1] do first = first - 1 end
  program = arg[first]
end
if not program:find "^/" then
  local pwd = io.popen "pwd"
  program = pwd:read "l" .. "/" .. program
  pwd:close()
end

local folder = os.tmpname()
os.remove(folder)
assert(core.mkdir(folder))

local function write(name, text)
  local path = folder .. "/" .. name
  local f = assert(io.open(path, "w"))
  f:write(text)
  f:close()
  return path
end

-- Runs a command line in the test's folder; both outputs, standard error apart, and the exit code.
local function run(line)
  local pipe = assert(io.popen(("cd %s && { %s ; } 2>err.txt; printf '\n%%d' $?"):format(folder, line)))
  local out, code = pipe:read("a"):match "^(.*)\n(%d+)$"
  pipe:close()
  local f = assert(io.open(folder .. "/err.txt"))
  local err = f:read "a":gsub(folder .. "/app/wattle", "wattle"):gsub(program:gsub("%p", "%%%0"), "wattle")
  f:close()
  return out, err, tonumber(code)
end

local have_lua = os.execute "command -v lua5.4 >/dev/null 2>&1"
local clean = "env -u LUA_PATH_5_4 -u LUA_PATH -u LUA_CPATH -u LUA_INIT -u LUA_INIT_5_4 "

-- ---- beside lua5.4 -----------------------------------------------------------------------------------------

write("args.lua", "print(#arg, arg[0], arg[1], arg[2], ...)")
write("fail.lua", "local function f()\n  error 'oh'\nend\nlocal ok = 1\nf()\n")
write("object.lua", "error(setmetatable({}, {__tostring = function() return 'I am an object' end}))")
write("table.lua", "local function f() error{} end\nf()")
write("syntax.lua", "x = = 2\n")
write("mod.lua", "print('loading', ...)\nreturn {x = 7}")
write("chunk.txt", "print('from stdin', ...)\nreturn 1")
write("deep.lua", "local function f(n) if n == 0 then error('deep', 2) end f(n - 1) end f(40)")
write("hash.lua", "#!/usr/bin/env lua\nprint 'after hash'")
write("binary.luac", string.dump(function() print "precompiled" end))

-- LUA stands for the interpreter. `err` says how standard error is compared: whole (nothing said), "first" line only, or
-- not at all (false).
local lines = {
  { "LUA -e 'print(1 + 1)'" },
  { "LUA -e'print(2)' -e 'print(3)'" },
  { "LUA -e 'x = 4' -e 'print(x)' args.lua a b" },
  { "LUA args.lua a b 'c d'" },
  { "LUA args.lua" },
  { "LUA -- args.lua -e" },
  { "LUA args.lua -e 'print(1)'" },
  { "LUA -e 'print(arg[0] ~= nil, arg[1], arg[-1] ~= nil)'" },
  { "LUA -e 'print(arg[-2], arg[0], arg[1])' args.lua z" },
  { "LUA -l mod -e 'print(mod.x)'" },
  { "LUA -lmod -e 'print(mod.x)'" },
  { "LUA -l g=mod -e 'print(g.x, mod)'" },
  { "LUA -l nomod", err = "first" },
  { "LUA - a b < chunk.txt" },
  { "LUA < chunk.txt" },
  { "LUA -- - < chunk.txt", err = false },
  { "LUA -E -e 'print(5)'" },
  { "LUA -E - x < chunk.txt" },
  { "LUA -W -e 'warn(\"careful\")'" },
  { "LUA -e 'warn(\"silent\")'" },
  { "LUA -e 'warn(\"@on\") warn(\"a\", \"b\")'" },
  { "LUA fail.lua" },
  { "LUA object.lua" },
  { "LUA table.lua" },
  { "LUA -e 'error()'" },
  { "LUA -e 'error(nil, 0)'" },
  { "LUA -e 'error(3)'" },
  { "LUA -e 'error(\"plain\", 0)'" },
  { "LUA -e 'error(setmetatable({}, {__tostring = function() return 3 end}))'" },
  { "LUA -e 'local t <close> = setmetatable({}, {__close = function() print(\"closed\") end}) error(\"x\")'" },
  { "LUA deep.lua" },
  { "LUA syntax.lua" },
  { "LUA -e 'x ='" },
  { "LUA hash.lua" },
  { "LUA binary.luac" },
  { "LUA nofile.lua" },
  { "LUA ./nofile" },
  { "LUA -e 'os.exit(7)'" },
  { "LUA -e 'os.exit(true)'" },
  { "LUA -e 'os.exit(false)'" },
  { "LUA -e 'os.exit(3, true)'" },
  { "LUA -e 'local t <close> = setmetatable({}, {__close = function() print(\"closed\") end}) os.exit(4, true)'" },
  { "LUA -e 'setmetatable({}, {__gc = function() print(\"collected\") end})'" },
  { "LUA -e 'return 5'" },
  { "LUA -e", err = "first" },
  { "LUA -l", err = "first" },
  { "LUA -e -v", err = "first" },
  { "LUA -h", err = "first" },
  { "LUA -x", err = "first" },
  { "LUA -vv", err = "first" },
  { "LUA -Ex", err = "first" },
  { "LUA ---", err = "first" },
  { "LUA -v -e 'print(6)'", out = false },
  { "LUA -i -e 'print(7)' < /dev/null", out = false },
  { "LUA -e 'arg = 3' args.lua" },
  { "LUA -e 'arg = {1, 2, 3}' args.lua" },
  { "LUA_INIT='print(\"init\")' LUA -e 'print(8)'" },
  { "LUA_INIT_5_4='print(\"init54\")' LUA_INIT='print(\"init\")' LUA -e 'print(8)'" },
  { "LUA_INIT='print(\"init\")' LUA -E -e 'print(8)'" },
  { "LUA_INIT=@mod.lua LUA -e 'print(8)'" },
  { "LUA_INIT='error(\"x\")' LUA -e 'print(8)'" },
  { "LUA_INIT=@nofile.lua LUA -e 'print(8)'" },
  { "LUA_PATH_5_4='./?.txt' LUA -e 'require \"chunk\"'" },
  { "LUA -E -e 'print((package.cpath))'" },
  { "LUA -e 'print(coroutine.wrap(function() error(\"in co\") end)())'" },
  { "LUA -e 'print(select(\"#\", table.unpack({}, 1, 100)))'" },
  { "LUA -e 'print(collectgarbage(\"count\") > 0, _VERSION)'" },
  { "LUA -e 'debug.traceback = nil; error(\"still traced\")'" },
  { "LUA -e 'string.rep(\"x\", -1)' -e 'local s = string.rep(\"x\", 1 << 40)'", err = "first" },
  { "LUA args.lua $(seq 1 300)" },
}

for _, case in ipairs(lines) do
  test(case[1], function()
    if not have_lua then t.skip "lua5.4 is not installed" end
    local here, there = case[1]:gsub("LUA ", "'" .. program .. "' "), case[1]:gsub("LUA ", "lua5.4 ")
    local out, err, code = run(clean .. here:gsub("^(LUA_%S+=)", "%1"))
    local out2, err2, code2 = run(clean .. there)
    err, err2 = err:gsub("^lua5%.4: ", "wattle: "), err2:gsub("lua5%.4: ", "wattle: ")
    err, err2 = err:gsub("0x%x+", "ADDRESS"), err2:gsub("0x%x+", "ADDRESS")
    if case.out ~= false then equal(out, out2, "output") end
    if case.err == "first" then equal(err:match "[^\n]*", err2:match "[^\n]*", "first line of errors")
    elseif case.err ~= false then equal(err, err2, "errors") end
    equal(code, code2, "exit code")
  end)
end

local sessions = {
  "1 + 1\n",
  "x = 3\nx\n= x * 2\n=x, x\n",
  "(6*2-6) -- ===\na =\n10\nprint(a)\na\n",
  "function f(n)\n  if n then\n    return n\n  end\nend\nf(4)\n",
  "error('oh')\nprint('on')\n",
  "x = = 1\n2\n",
  "local function g() error{} end g()\n",
  "'several', nil, 3\nreturn 1, 2\n\nnil\n",
  "print = nil\n1\n",
  "_PROMPT = 'go '\n1\n_PROMPT2 = '.. '\nf(\n2)\n",
  "_PROMPT = setmetatable({}, {__tostring = function() return 'obj ' end})\n1\n",
  "s = [[a\nb]]\n= #s\n",
  "= 1\n=(\n2\n)\n",
}

for i, session in ipairs(sessions) do
  test("interactive session " .. i, function()
    if not have_lua then t.skip "lua5.4 is not installed" end
    local path = write("session.txt", session)
    local out, err, code = run(clean .. "'" .. program .. "' -i < " .. path)
    local out2, err2, code2 = run(clean .. "lua5.4 -i < " .. path)
    equal(code, code2, "exit code")
    equal((err:gsub("0x%x+", "ADDRESS")), (err2:gsub("0x%x+", "ADDRESS")), "errors")
    equal((out:gsub("^Wattle[^\n]*\n", "")), (out2:gsub("^Lua[^\n]*\n", "")), "output, with what was read")
  end)
end

test("a chunk that never ends", function()
  local out, err, code = run(clean .. "printf 'for i = 1, 3 do\n' | '" .. program .. "' -i")
  equal(code, 0)
  check(out:find "^Wattle 0.1.0 on Lua 5.4.*\n> for i = 1, 3 do\n>> ")
  check(err:find "'end' expected near <eof>", err)
end)

-- ---- what lua does not have --------------------------------------------------------------------------------------

test("a closed standard stream never becomes a file", function()
  local path = write("closed.lua", "local f = io.open(arg[1], 'w') f:write 'data\\n' io.stderr:write 'told\\n' "
                     .. "print 'said' f:close()")
  for _, closed in ipairs{ "2>&-", "<&- >&- 2>&-" } do
    local _, _, code = run(("%s %s closed.out %s"):format(program, path, closed))
    equal(code, 0)
    local f = assert(io.open(folder .. "/closed.out"))
    equal(f:read "a", "data\n")
    f:close()
  end
end)

test("output that could not be written is a failure", function()
  local _, err, code = run(program .. " -e 'print(1)' >/dev/full")
  equal(code, 1)
  check(err:find "standard output could not be written", err)
end)

test("--help and --version", function()
  local out, err, code = run("'" .. program .. "' --help")
  equal(code, 0)
  equal(err, "")
  check(out:find "usage: wattle" and out:find "%-%-version")
  out, err, code = run("'" .. program .. "' --version")
  equal(code, 0)
  check(out:find "^Wattle 0.1.0 on Lua 5.4")
end)

test("commands by name", function()
  local home = folder .. "/app/share/wattle"
  core.mkdir(home .. "/scripts")
  os.execute(("ln -s '%s/lua' '%s/lua' && cp '%s' '%s/app/wattle'"):format(wattle.home, home, program, folder))
  local mine = "'" .. folder .. "/app/wattle'"
  local f = assert(io.open(home .. "/scripts/hello.lua", "w"))
  f:write "print('the command', arg[0], ...)"
  f:close()
  write("hello", "print 'the file'")
  write("hello.lua", "print 'the lua file'")
  write("other", "print('plain file', ...)")
  local function says(line, want)
    local out, err, code = run(line)
    equal(code, 0, err)
    equal(out, want)
  end
  says(mine .. " hello a b", "the command\thello\ta\tb\n")
  says(mine .. " -e 'x = 1' hello", "the command\thello\n")
  says(mine .. " ./hello", "the file\n")
  says(mine .. " hello.lua", "the lua file\n")
  says(mine .. " other z", "plain file\tz\n")
  says("printf 'print(9)' | " .. mine .. " -", "9\n")
  local _, err, code = run(mine .. " helo")
  equal(code, 1)
  check(err:find "wattle: cannot open helo" and err:find "did you mean 'hello'?", err)
  _, err, code = run(mine .. " qqqqqqq")
  equal(code, 1)
  check(err:find "no command either; there are: hello", err)
  local out = run(mine .. " --help")
  check(out:find "Commands: hello\n", out)
  says("cd / && " .. mine .. [[ -e 'print(require("wattle").home)']], home .. "\n")
  run("ln -sf " .. mine .. " link")
  says([[./link -e 'print(require("wattle").home)']], home .. "\n")
  -- Moved away from its share: $WATTLE_HOME, or an error that says so.
  run("cp '" .. program .. "' lonely")
  says("env WATTLE_HOME='" .. home .. [[' ./lonely -e 'print(require("wattle").home)']], home .. "\n")
  _, err, code = run [[env -u WATTLE_HOME ./lonely -e 'require "wattle"']]
  equal(code, 1)
  check(err:find "share/wattle is neither", err)
  says("./lonely -e 'print(1)'", "1\n")
end)

test("errors of wattle have one traceback and the script's line", function()
  write("shapes.lua", 'local w = require "wattle"\nlocal function f(a)\n  local y = a:matmul(a)\n'
        .. '  return y\nend\nf(w.zeros{2, 3})\n')
  local _, err, code = run("'" .. program .. "' shapes.lua")
  equal(code, 1)
  check(err:find "^wattle: shapes.lua:3: matmul: ", err)
  equal(select(2, err:gsub("stack traceback", "")), 1)
end)

test("Ctrl-C ends a script with its traceback and 130", function()
  write("loop.lua", "io.stderr:write 'ready' while true do end")
  write("sleep.lua", "local w = require 'wattle' io.stderr:write 'ready' w.core.sleep(60)")
  write("caught.lua", "io.stderr:write 'ready' print(pcall(function() while true do end end))\n"
        .. "print(require('wattle').ones{2}:sum():item())")
  local function interrupted(script)
    return run(("'%s' %s & pid=$!; until grep -q ready err.txt; do sleep 0.02; done; sleep 0.1; "
                .. "kill -INT $pid; wait $pid"):format(program, script))
  end
  -- A shell starts background jobs with SIGINT ignored; the program installs its own handler all the same.
  local out, err, code = interrupted "loop.lua"
  equal(code, 130, err)
  check(err:find "interrupted!" and err:find "loop.lua:1: in main chunk", err)
  out, err, code = interrupted "sleep.lua"
  equal(code, 130, err)
  check(err:find "sleep.lua:1: interrupted!", err)
  out, err, code = interrupted "caught.lua"
  equal(code, 0, err)
  check(out:find "false\t.*interrupted!\n2.0", out)
end)

test("the module in the stock interpreter", function()
  if not have_lua then t.skip "lua5.4 is not installed" end
  local build = program:match "^(.*)/[^/]*$"
  if not core.exists(build .. "/wattle.so") then t.skip "the module is not beside the program" end
  if core.build_info():find "flags:[^\n]*address" then
    t.skip "a sanitized module needs a sanitized interpreter"
  end
  local function says(line, want)
    local out, err, code = run(line)
    equal(code, 0, err)
    check(out:find(want), out)
  end
  write("module.lua", 'local w = require "wattle" local n = w.nn.Linear{in_features = 3, out_features = 2}\n'
        .. "print(n(w.ones{1, 3}):shape()[2], w.home, w.core.memory().lua_allocations)")
  says("lua5.4 -e 'package.cpath = \"" .. build .. "/?.so\"' module.lua", "2\t.*/share/wattle\tnil")
  says("cd '" .. build .. "' && LUA_PATH= lua5.4 -e 'local w = require \"wattle\"; print(w.randn{2,3})'", "f32 %[2,3%]")
end)

-- ---- the table that require "wattle" gives --------------------------------------------------------------------------

test("submodules come when named, typos do not read as nil", function()
  check(wattle.nn == require "wattle.nn" and wattle.stats == require "wattle.stats")
  check(type(wattle.evaluate) == "function" and type(wattle.nonzeros) == "function" and wattle.fit)
  raises(function() return wattle.zeroes{ 2 } end, "test_host.lua:%d+: wattle has no 'zeroes'; did you mean 'zeros'?")
  raises(function() return wattle.model end, "did you mean 'models'")
  equal(require "wattle.core", core)
  equal(wattle.version, "0.1.0")
  check(package.path:find(wattle.home .. "/lua/?.lua;", 1, true))
end)

test("check_options", function()
  core.check_options({ stride = 1 }, { "stride", "padding" }, "nn.Conv2d")
  raises(function() core.check_options({ strid = 1 }, { "stride", "padding" }, "nn.Conv2d") end,
         "test_host.lua:%d+: nn.Conv2d: unknown option 'strid'; did you mean 'stride'?")
  raises(function() core.check_options({ qqq = 1 }, { "stride", "padding" }, "nn.Conv2d") end, "known: stride, padding")
  raises(function() core.check_options({ 3 }, { "stride" }, "nn.Conv2d") end, "named fields; got 1")
  raises(function() core.check_options(3, { "stride" }, "nn.Conv2d") end, "a table of options is needed")
end)

test("JSON", function()
  local value = { name = "a\"b\\\n\1é", list = { 1, 2.5, true, core.null }, empty = {}, third = 1 / 3, big = 1e300,
                  nested = { z = 1, a = { b = {} } } }
  local text = core.json_encode(value)
  local back = core.json_decode(text)
  equal(back, value)
  equal(core.json_encode(back), text)
  equal(core.json_encode{ b = 0.1, a = { 1, 2 } }, '{\n  "a": [\n    1,\n    2\n  ],\n  "b": 0.1\n}')
  equal(core.json_encode(3.0), "3.0")
  equal(core.json_encode(1e22), "1e+22")
  equal(core.json_encode(core.null), "null")
  equal(core.json_decode "[1, null]", { 1, core.null })
  equal(math.type(core.json_decode "[1.0]"[1]), "float")
  raises(function() core.json_encode(0 / 0) end, "no form in JSON")
  raises(function() core.json_encode{ 1, x = 2 } end, "a list or an object")
  raises(function() core.json_encode{ [3] = 1 } end, "a number as a key")
  raises(function() core.json_encode(print) end, "function has no form")
  local ring = {}
  ring[1] = ring
  raises(function() core.json_encode(ring) end, "in a ring")
  for _, bad in ipairs{ "", "{", "[1,]", '{"a":1,"a":2}', "[1] x", "nul" } do
    local v, message, code = core.json_decode(bad)
    equal({ v == nil, code }, { true, "format" }, bad)
    check(message:find "line")
  end
end)

test("files and folders", function()
  local path = folder .. "/a/b/c"
  equal(core.mkdir(path), true)
  equal(core.mkdir(path), true)
  equal({ core.exists(path) }, { true, "directory" })
  equal(core.exists(path .. "/none"), false)
  equal(core.write_file(path .. "/z.txt", "one"), true)
  equal(core.write_file(path .. "/y.txt", "two"), true)
  equal(core.listdir(path), { "y.txt", "z.txt" })
  equal({ core.exists(path .. "/z.txt") }, { true, "file" })
  equal(core.remove(path .. "/z.txt"), true)
  local function fails(...)
    local v, message, code = ...
    equal({ v == nil, type(message), code }, { true, "string", "io" })
  end
  fails(core.remove(path .. "/z.txt"))
  fails(core.listdir(path .. "/none"))
  fails(core.mkdir(path .. "/y.txt/d"))
  fails(core.write_file(folder .. "/none/x", "x"))
  fails(core.sha256_file(folder .. "/none"))
  fails(wattle.load(folder .. "/none"))
  fails(core.idx(folder .. "/none"))
  fails(core.csv_read(folder .. "/none"))
  fails(core.appender(folder .. "/none/x.csv", "a,b"))
  equal(core.sha256_file(path .. "/y.txt"), "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3")
end)

test("save and load keep names, order, types and metadata", function()
  local path = folder .. "/d.safetensors"
  local d = { "w", "b", w = wattle.randn{ 2, 3 }, b = wattle.tensor({ 1, 2 }, "i64") }
  equal(wattle.save(path, d, { format = "pt", note = "é" }), true)
  local back, meta = wattle.load(path)
  equal({ back[1], back[2], #back }, { "w", "b", 2 })
  check(back.w:equal(d.w) and back.b:equal(d.b))
  equal(meta, { format = "pt", note = "é" })
  equal(core.sha256_dict(back), core.sha256_dict(d))
  check(core.sha256_dict{ w = d.w, b = d.b } ~= core.sha256_dict(d), "sorted names are another order")
  equal(wattle.save(path, { p = core.param(d.w) }), true)
  back, meta = wattle.load(path)
  check(back.p:equal(d.w))
  equal(meta, {})
  raises(function() wattle.save(path, { w = 3 }) end, "'w' is not a tensor but number")
  raises(function() wattle.save(path, { "w", w = d.w, b = d.b }) end, "lists 1 names but holds 2")
  raises(function() wattle.save(path, { "x", w = d.w }) end, "'x' is not a tensor but nil")
  raises(function() wattle.save(path, d, { format = 3 }) end, "metadata 'format' is not a string")
  core.write_file(path, "no tensors")
  local v, _, code = wattle.load(path)
  equal({ v == nil, code }, { true, "format" })
end)

test("CSV and appenders", function()
  local path = folder .. "/rows.csv"
  equal(core.csv_field "plain", "plain")
  equal(core.csv_field 'a,"b"', '"a,""b"""')
  local a = core.appender(path, "x,y")
  equal(a:add("1," .. core.csv_field "two\nlines" .. "\n"), true)
  local second, message, code = core.appender(path, "x,y")
  check(second == nil and message and code, "locked")
  a:close()
  raises(function() a:add "2,3\n" end, "appender is closed")
  a = core.appender(path, "x,y")
  a:add "2,3\n4,5\n"
  a:close()
  equal(core.csv_read(path), { { "x", "y" }, { "1", "two\nlines" }, { "2", "3" }, { "4", "5" } })
  check(core.appender(path, "x,z") == nil)
end)

test("batches are gathered by index", function()
  local images = wattle.tensor({ { { 0, 255 } }, { { 51, 102 } }, { { 255, 255 } } }, "u8")
  local labels = wattle.tensor({ 7, 8, 9 }, "u8")
  local index = wattle.tensor({ 2, 0, 1 }, "i64")
  local x, y = core.gather_batch(images, labels, index, 1, 2, 0.5, 0.25)
  equal(x:shape(), { 2, 1, 1, 2 })
  near(x:tolist(), { { { { -2, 2 } } }, { { { -1.2, -0.4 } } } }, 1e-5)
  equal(y:tolist(), { 7, 8 })
  check(core.gather_batch(images, labels, index, 0, 2, 0, 1, x, y) == x)
  equal(y:tolist(), { 9, 7 })
  raises(function() core.gather_batch(images, labels, index, 2, 2, 0, 1) end, "positions 2..3 of an index of 3")
  raises(function() core.gather_batch(images, labels, wattle.tensor({ 3 }, "i64"), 0, 1, 0, 1) end, "3")
  raises(function() core.gather_batch(images, labels, labels, 0, 1, 0, 1) end, "i64")
end)

test("meters and regions", function()
  raises(function() wattle.meter{ sauce = "estimate" } end, "did you mean 'source'")
  local m = wattle.meter{ source = "estimate", period_s = 0.02 }
  check(#m:describe() > 0)
  local inner
  local result
  do
    local r <close> = m:region "outer"
    inner = m:region "inner"
    core.sleep(0.05)
    result = r:stop()
    equal(r:stop(), result)
  end
  check(result.duration_s >= 0.05 and result.duration_s < 5)
  equal(result.method, "estimated")
  check(result.energy_est_j > 0 and result.exclusive_est_j >= 0)
  equal({ result.energy_j, result.exclusive_j }, {}) -- counters' names, and there is no counter
  check(inner:stop().duration_s <= result.duration_s)
  local open = m:region "left open"
  m:close()
  raises(function() m:region "x" end, "meter is closed")
  local ok, e = pcall(open.stop, open) -- ended with its meter
  check(ok or e:find "closed", e)
  local off = wattle.meter{ source = "off" }
  local r = off:region "x"
  local got = r:stop()
  equal({ got.method, got.energy_j }, { "missing", nil })
  check(#got.reason > 0)
  local kept = wattle.meter():region "the region keeps its meter"
  collectgarbage()
  collectgarbage()
  check(kept:stop().duration_s >= 0)
end)

test("a folder is one run's, and the refusal names it and the process", function()
  local folder = os.tmpname() .. ".d"
  assert(core.mkdir(folder))
  local lock = assert(core.lock(folder))
  local second, message, code = core.lock(folder)
  equal({ second, code }, { nil, "io" })
  check(message:find(folder, 1, true) and message:find "in use by another run %(process %d+", message)
  lock:close()
  assert(core.lock(folder)):close()
  local none, why = core.lock(folder .. "/nowhere")
  check(none == nil and why:find "nowhere")
  os.execute("rm -rf '" .. folder .. "'")
end)

test("an error says what kind it is", function()
  local _, e = pcall(function() return wattle.tensor{ 1, 2 } + wattle.tensor{ 1, 2, 3 } end)
  equal(core.error_code(e), "shape")
  equal(core.error_code("net: " .. e), "shape")
  equal(core.error_code "interrupted!", "interrupted")
  equal(core.error_code "something else", nil)
  equal(core.error_code({}), nil)
end)

test("the machine", function()
  local n = wattle.threads()
  check(n >= 1)
  equal(wattle.threads(1), 1)
  equal(wattle.threads(n), n)
  raises(function() wattle.threads(0) end, "")
  local a = core.now()
  core.sleep(0.01)
  check(core.now() - a >= 0.01 and core.cpu_time() > 0)
  check(#core.hostname() > 0 and core.columns() >= 1 and type(core.isatty(0)) == "boolean")
  check(core.build_info():find "version: 0.1.0")
  local rss = core.peak_rss()
  check(rss == nil or rss > 1 << 20)
  raises(function() core.sleep(-1) end, "seconds")
end)

test("gradcheck by name", function()
  local x = wattle.tensor({ { 1, -2 }, { 3, 0.5 } }, "f64")
  check(core.gradcheck("matmul", { x, x * 2 }, { true, true }) < 1e-6)
  check(core.gradcheck("sum", { x }, { true }, { dims = { 0 } }) < 1e-6)
  check(core.gradcheck("linear", { x, x, false }, { true, true }) < 1e-6)
  raises(function() core.gradcheck("matmull", {}, {}) end, "did you mean 'matmul'")
end)

os.execute("rm -rf '" .. folder .. "'")
