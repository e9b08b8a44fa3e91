-- What the world does to results: files damaged by hand or by a bad disk, a script that set a locale with a decimal
-- comma, folders whose names are no text. Each is told by one message that names the file, or makes no difference.

local wattle = require "wattle"
local results = require "wattle.results"
local t = require "harness"
local test, check, equal, raises = t.test, t.check, t.equal, t.raises
local core = wattle.core

local program = os.getenv "WATTLE_PROGRAM" or arg[-1]
local scratch = os.tmpname() .. ".d"
assert(core.mkdir(scratch))
local count = 0
local function new_out()
  count = count + 1
  return ("%s/%d"):format(scratch, count)
end

local function slurp(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

local function small(out, more)
  local o = { name = "damage", out = out, seeds = { 1, 2 }, factors = { width = { 4, 8 } }, progress = false,
              resume = true, run = function(case) return { val_top1_pct = 90 + case.seed / 3 } end }
  for k, v in pairs(more or {}) do o[k] = v end
  return wattle.experiment(o)
end

---- damaged files ----

-- Resumes a finished experiment of which one file was changed; the message.
local function damaged(name, pattern, by)
  local out = new_out()
  assert(small(out))
  local path = out .. "/" .. name
  local text, n = slurp(path):gsub(pattern, by, 1)
  equal(n, 1, "nothing to damage")
  assert(core.write_file(path, text))
  local result, message, code = small(out)
  check(not result, "not noticed")
  equal(code, "format", message)
  check(message:find(path, 1, true), message)
  equal(slurp(path), text, "left as it is")
  return message
end

local function says(message, what) check(message:find(what, 1, true), message) end

test("a row that is not the plan's is told, not counted", function()
  says(damaged("runs.csv", ",ok,", ",pk,"), "is of status pk")
  says(damaged("runs.csv", ",ok,", ",NA,"), "is of status nil")
  says(damaged("runs.csv", ",1,1,([^,]+),NA,ok", ",1,NA,%1,NA,ok"), "of run_order nil, not 1")
end)

test("a sidecar that is damaged is told", function()
  says(damaged("runs.json", '"sessions"', '"sessionz"'), "'sessions' is no list")
  says(damaged("runs.json", '"stages": {}', '"stages": 7'), "'stages' is no list")
  says(damaged("runs.json", '"stages": {}', '"stages": {"a": 1}'), "'stages' is no list")
end)

test("what is read for a report or a merge is looked at first", function()
  local first, second = new_out(), new_out()
  for i, out in ipairs { first, second } do assert(small(out, { shard = { i, 2 } })) end
  local changes = {
    { "runs.json", '"sessions": %[', '"sessions": 5, "x": [', "'sessions' is no list" },
    { "runs.json", '"stages": {}', '"stages": null', "'stages' is no list" },
    { "runs.json", '"started_utc"', '"begun_utc"', "'started_utc' is no time" },
    { "runs.json", '"finished_utc": "', '"finished_utc": 1, "x": "', "'finished_utc' is no time" },
    { "runs.json", '"ok": 2', '"ok": "x"', "'counts' has x of ok" },
    { "runs.json", '"shard": %[%s*1,', '"shard": ["a",', "'shard' is not two integers" },
    { "runs.csv", ",ok,", ",pk,", "is of status pk" },
    { "runs.csv", ",1,1,([^,]+),1,ok", ",1,NA,%1,1,ok", "has no run_order" },
    { "runs.csv", "\n([^\n]+\n)", "\n%1%1", "twice" },
  }
  local function merge()
    local out = new_out()
    local pipe = assert(io.popen(("'%s' merge %s %s %s 2>&1"):format(program, out, first, second)))
    local said = pipe:read "a"
    local ok = pipe:close()
    return ok, said, out
  end
  for _, change in ipairs(changes) do
    local path = first .. "/" .. change[1]
    local whole = slurp(path)
    local text, n = whole:gsub(change[2], change[3], change[1] == "runs.json" and not change[2]:find "shard" and 2 or 1)
    check(n > 0, "nothing to damage for " .. change[4])
    assert(core.write_file(path, text))
    local ok, said, out = merge()
    check(not ok and said:find("merge: " .. path .. ": ", 1, true), said)
    says(said, change[4])
    check(not core.exists(out), "nothing is left")
    assert(core.write_file(path, whole))
  end
  check(merge())
end)

---- another locale ----

-- A locale with a decimal comma, made for this test; it must be there when a process starts.
local function in_german(script)
  local locale = scratch .. "/locale"
  core.mkdir(locale)
  if not os.execute(("localedef -i de_DE -f UTF-8 '%s/de_DE.UTF-8' 2>/dev/null"):format(locale)) then
    t.skip "no localedef, or no de_DE to make"
  end
  local path = scratch .. "/script.lua"
  assert(core.write_file(path, "assert(os.setlocale 'de_DE.UTF-8'); assert(('%.1f'):format(0.5) == '0,5')\n" .. script))
  local pipe = assert(io.popen(("LOCPATH='%s' '%s' '%s' 2>&1"):format(locale, program, path)))
  local said = pipe:read "a"
  check(pipe:close(), said)
  return said
end

test("results do not depend on a script's locale", function()
  local out = new_out()
  in_german(([[
    local wattle = require "wattle"
    for _ = 1, 2 do
      local result = assert(wattle.experiment { name = "german", out = %q, seeds = { 1 }, factors = { rate = { 0.5, 0.25 } },
        options = { share = 0.125, whole = 2.0 }, resume = true, progress = false,
        run = function(case) return { val_top1_pct = case.rate / 3, loss = 1e-300 } end })
      assert(result.rows[1].loss == 1e-300)
    end]]):format(out))
  local columns = results.extend(results.runs, { { "rate", "number" } })
  for _, row in ipairs(assert(results.read(out .. "/runs.csv", columns))) do
    equal(row.val_top1_pct, row.rate / 3)
    equal(row.run_id, row.rate == 0.5 and "rate0.5-s1-r1" or "rate0.25-s1-r1")
  end
  local side = core.json_decode(slurp(out .. "/runs.json"))
  equal(side.options, { share = 0.125, whole = 2.0 })
end)

test("a trace is read the same in any locale; one that cannot be is told by its file", function()
  local path = scratch .. "/trace.csv"
  local function write(rows) assert(core.write_file(path, "t_s,domain,energy_uj\n" .. rows)) end
  write "0,package-0,0\n0.5,package-0,1000000\n2.5,package-0,5000000\n"
  equal(in_german(([[
    local m <close> = assert(require "wattle".meter { source = "replay", trace = %q, clock = "virtual" })
    local r = m:region "r"
    m:advance(1.5)
    io.write(math.tointeger(r:stop().energy_j))]]):format(path)), "3")
  for _, bad in ipairs { { "", "there is no row" }, { "0,5,package-0,1\n", "4 fields" }, { "0s,package-0,1\n", "t_s is a number" },
                         { "0,package-0,99999999999999999999\n", "beyond 10^17" }, { "0,package-0,-1\n", "an integer from 0 on" } } do
    write(bad[1])
    local m, message, code = wattle.meter { source = "replay", trace = path, clock = "virtual" }
    equal({ m, code }, { nil, "format" })
    says(message, bad[2])
  end
end)

---- bytes that are no text ----

test("JSON that could not be read again is not written", function()
  for _, bad in ipairs { "a\xff", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80",
                         "\xe2\x82", "x\x80y", "\xf0\x8f\xbf\xbf" } do
    raises(function() core.json_encode { text = bad } end, "is not UTF-8 at byte")
    raises(function() core.json_encode { [bad] = 1 } end, "is not UTF-8 at byte")
    check(not core.json_decode('"' .. bad .. '"'), "the reader agrees")
  end
  for _, good in ipairs { "", "\0", "aä€𝄞", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
                          "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf" } do
    equal(core.json_decode(core.json_encode { good })[1], good)
  end
end)

test("a folder with any name is gone on with; text that no reader takes is refused", function()
  local out = new_out() .. "\xff \"q\" 'a'\nb"
  local path = scratch .. "/any.lua"
  assert(core.write_file(path, [[
    assert(require "wattle".experiment { name = "any", out = arg[1], factors = { a = { 1 } }, resume = true,
                                         progress = false, run = function() return {} end })]]))
  local quoted = "'" .. out:gsub("'", [['\'']]) .. "'"
  for _ = 1, 2 do check(os.execute(("'%s' '%s' %s"):format(program, path, quoted))) end
  raises(function() small(new_out(), { options = { who = "Ren\xe9" } }) end, "experiment: options.who is not UTF-8")
  raises(function() small(new_out(), { factors = { who = { "Ren\xe9" } } }) end, "column 'who' holds text")
  equal(results.identifier("h\xe9", "host_"), "h?")
  equal(results.utf8 "\xffa\xc3\xa4\xc3", "?aä?")
end)

os.execute(("rm -rf '%s'"):format(scratch))
