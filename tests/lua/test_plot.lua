-- wattle.plot: the picture, the script and the data beside it; texts that could break or inject; gaps; intervals; what
-- is said to mistakes, and where gnuplot is absent or fails.

local wattle = require "wattle"
local t = require "harness"
local test, check, equal, raises = t.test, t.check, t.equal, t.raises
local core = wattle.core

local program = os.getenv "WATTLE_PROGRAM" or arg[-1]
local scratch = os.tmpname() .. ".d"
assert(core.mkdir(scratch))

local function slurp(name)
  local file <close> = assert(io.open(scratch .. "/" .. name, "rb"))
  return file:read "a"
end

local function draw(o)
  o.file = scratch .. "/" .. o.file
  local drawn, message = wattle.plot(o)
  check(drawn, message)
  return drawn
end

local svg_text = require "svg_text"
local texts = svg_text.texts

local nasty = [[a_b"c]]
local worst = [[<i>&amp; it's "x" `touch hacked` \n @y $z {/Bold w}]]

test("a line with an interval, a reference line and a gap: picture, script, data", function()
  local drawn = draw{
    file = "line.svg", title = "Title", xlabel = "time, s", ylabel = "top-1, %",
    series = { { name = "one", x = { 0, 1, 2, 3 }, y = { 1, 2, nil, 0.1 }, low = { 0, 1, nil, 0 }, high = { 2, 3, nil, 1 } },
               { name = "two", x = { 0, 1, 2, 3 }, y = { 3, 0 / 0, 3, 3 }, interval = "band",
                 low = { 2, 2, 2 }, high = { 4, 4, 4 } } },
    lines = { { x = 2, label = "chosen: 2" }, { y = 1.5, label = "base" } },
    notes = { { 1, 1, "here" } }, spans = { { 0, 1, label = "phase" } } }
  equal(drawn.file, scratch .. "/line.svg")
  equal(drawn.script, scratch .. "/line.gp")
  equal(drawn.data, scratch .. "/line.csv")
  local svg = slurp "line.svg"
  local said = table.concat(texts(svg), "|")
  for _, s in ipairs{ "Title", "time, s", "top-1, %", "one", "two", "chosen: 2", "base", "here", "phase" } do
    check(said:find(s, 1, true), s .. " is not in " .. said)
  end
  check(svg:find "prefers%-color%-scheme: dark", "on a dark page it is dark")
  local rows = assert(core.csv_read(drawn.data))
  equal(table.concat(rows[1], ","), "x,y,x_low,x_high,y_low,y_high,series")
  equal(rows[2], { "0", "1", "NA", "NA", "0", "2", "one" })
  equal(rows[4], { "2", "NA", "NA", "NA", "NA", "NA", "one" })
  equal(rows[5][2], "0.10000000000000001", "%.17g")
  -- The line breaks at the gap: after the missing row stands a blank line.
  check(slurp("line.csv"):find("\n2,NA,NA,NA,NA,NA,one\n\n3,", 1, true))
end)

test("no text breaks or injects", function()
  draw{ file = "nasty.svg", title = worst, xlabel = nasty, ylabel = worst,
        series = { { name = nasty, x = { 1, 2 }, y = { 1, 2 }, labels = { worst, "b" } },
                   { name = worst, x = { 1, 2 }, y = { 2, 3 } }, { name = "two\nlines,\1 x", x = { 1 }, y = { 1 } },
                   { name = "not \xff utf8", x = { 1 }, y = { 2 } } },
        lines = { { x = 1.5, label = worst } }, notes = { { 1, 1, worst } }, spans = { { 1, 2, label = worst } } }
  local said = texts(slurp "nasty.svg")
  local count = 0
  for _, s in ipairs(said) do count = count + (s == worst and 1 or 0) end
  check(count >= 5, "as it was written, and only drawn: " .. table.concat(said, "|"))
  check(table.concat(said, "|"):find(nasty, 1, true))
  check(not core.exists "hacked" and not core.exists(scratch .. "/hacked"))
  draw{ file = "bars.svg", kind = "bars", x = { nasty, worst, "50 %", "%s%n" }, y = { 1, 2, 3, 4 } }
  said = table.concat(texts(slurp "bars.svg"), "|")
  for _, s in ipairs{ nasty, worst, "50 %", "%s%n" } do check(said:find(s, 1, true), s .. " is not in " .. said) end
  for _, row in ipairs(assert(core.csv_read(scratch .. "/bars.csv"))) do equal(#row, 8) end
end)

test("quotes at the beginning of a text, and XML's exception", function()
  for i, text in ipairs { "'", "''", "'a' b", "''.system('touch hacked').'", "a]]>b", "]]>" } do
    draw{ file = "quote.svg", title = text, xlabel = text, series = { { name = text, x = { 1, 2 }, y = { 1, 2 }, labels = { text } } },
          lines = { { y = 1, label = text } } }
    draw{ file = "quote_bars.svg", kind = "bars", x = { text, "b" }, y = { 1, 2 } }
    for _, name in ipairs { "quote.svg", "quote_bars.svg" } do
      local svg = slurp(name)
      check(not svg:find("]]>", 1, true), "no CDATA ends here")
      local found = 0
      for _, said in ipairs(texts((svg:gsub("]]&gt;", "]]>")))) do found = found + (said == text and 1 or 0) end
      check(found >= (name == "quote.svg" and 5 or 1), ("text %d stands %d times in %s"):format(i, found, name))
    end
  end
  check(not core.exists "hacked" and not core.exists(scratch .. "/hacked"))
end)

test("strange names of files are names", function()
  for _, name in ipairs{ "it's \"a\" $(x) `y`.svg", "-e.svg", "|cat.svg", "<cat.svg", "ä b.png" } do
    draw{ file = name, x = { 1, 2 }, y = { 1, 2 } }
    check(core.exists(scratch .. "/" .. name), name)
  end
end)

test("the script draws the same picture again, in its folder", function()
  local drawn = draw{ file = "again.svg", x = { 1, 2 }, y = { 1, 2 }, title = "before" }
  assert(os.remove(drawn.file))
  local script = slurp "again.gp"
  local file = assert(io.open(drawn.script, "w"))
  file:write((script:gsub("before", "after")))
  file:close()
  check(os.execute(("cd '%s' && gnuplot again.gp"):format(scratch)))
  check(table.concat(texts(slurp "again.svg"), "|"):find "after")
end)

test("png, bars side by side, a missing bar is NA", function()
  draw{ file = "bars.png", kind = "bars", ylabel = "energy, J", series = {
    { name = "a", x = { "p", "q" }, y = { 1, nil }, low = { 0.5 }, high = { 2 } }, { name = "b", x = { "p", "r" }, y = { 2, 3 } } } }
  equal(slurp("bars.png"):sub(1, 8), "\137PNG\r\n\26\n")
  local rows = assert(core.csv_read(scratch .. "/bars.csv"))
  equal(rows[1][8], "category")
  equal(rows[5][8], "r")
  check(slurp("bars.gp"):find("set label 'NA'", 1, true))
end)

-- The y of each point that a series' path goes through: gnuplot writes M and L.
local function pieces(svg)
  local n = 0
  for d in svg:gmatch "<path[^>]-d='(M[^']*)'" do n = n + select(2, d:gsub("M", "")) end
  return n
end

test("a gap is a gap: the path is in two pieces", function()
  draw{ file = "whole.svg", x = { 1, 2, 3, 4, 5 }, y = { 1, 2, 3, 4, 5 } }
  draw{ file = "gap.svg", x = { 1, 2, 3, 4, 5 }, y = { 1, 2, nil, 4, 5 } }
  equal(pieces(slurp "gap.svg"), pieces(slurp "whole.svg") + 1)
end)

test("logarithmic axes, and an interval that reaches below them", function()
  draw{ file = "log.svg", log = "xy", kind = "scatter", x = { 1, 10, 100 }, y = { 1e-3, 1, 20 }, low = { -1, 0.5 },
        high = { 1e-2, 2 } }
  raises(function() wattle.plot{ file = "x.svg", log = "y", x = { 1 }, y = { 0 } } end, "cannot stand on a logarithmic axis")
  raises(function() wattle.plot{ file = "x.svg", log = "x", x = { 1 }, y = { 0 }, lines = { { x = -1 } } } end, "lines[1]: x = -1")
  raises(function() wattle.plot{ file = "x.svg", log = "x", kind = "bars", x = { "a" }, y = { 1 } } end, "holds names")
end)

test("one point, equal points, many points, large and small numbers", function()
  draw{ file = "one.svg", x = { 1 }, y = { 5 } }
  draw{ file = "zero.svg", x = { 0, 0 }, y = { 0, 0 } }
  draw{ file = "large.svg", x = { -1e300, 1e300 }, y = { 1e-300, 2e-300 } }
  local x, y = {}, {}
  for i = 1, 5000 do x[i], y[i] = i, math.sin(i / 100) end
  draw{ file = "many.svg", x = x, y = y }
  for _, name in ipairs{ "one", "zero", "large", "many" } do texts(slurp(name .. ".svg")) end
end)

test("mistakes", function()
  local function wrong(o, message)
    o.file = o.file or scratch .. "/wrong.svg"
    local said = raises(function() wattle.plot(o) end, message)
    check(said:find("test_plot.lua", 1, true), said)
  end
  wrong({ file = "a.pdf", x = { 1 }, y = { 1 } }, "must end in .svg or .png")
  wrong({ file = "a\nb.svg", x = { 1 }, y = { 1 } }, "must end in .svg or .png")
  wrong({ titel = "a", x = { 1 }, y = { 1 } }, "did you mean 'title'?")
  wrong({ series = { { x = { 1 }, y = { 1 }, nam = "a" } } }, "did you mean 'name'?")
  wrong({ x = { 1 } }, "y must be a list")
  wrong({ x = { 1 }, y = { 1, 2 } }, "y[2] has no x")
  wrong({ x = { 1, 0 / 0 }, y = { 1, 2 } }, "x[2] is not a finite number")
  wrong({ x = { 1 }, y = { "1" } }, "y[1] must be a number, not string")
  wrong({ x = { 1 }, y = { nil } }, "no value to draw")
  wrong({ series = {} }, "no value to draw")
  wrong({ x = { 1 }, y = { 1 }, kind = "pie" }, "kind 'pie' is unknown")
  wrong({ x = { 1 }, y = { 1 }, log = "z" }, "log must be")
  wrong({ x = { 1 }, y = { 1 }, xlim = { 2, 1 } }, "xlim must be")
  wrong({ x = { 1 }, y = { 1 }, width = 3 }, "width must be")
  wrong({ x = { 1 }, y = { 1 }, xtics = { 1, "'" } }, "xtics[2] must be a number")
  wrong({ x = { 1 }, y = { 1 }, title = 3 }, "title must be a string")
  wrong({ x = { 1 }, y = { 1 }, lines = { { label = "a" } } }, "lines[1] needs x or y")
  wrong({ x = { 1 }, y = { 1 }, notes = { { 1, 2 } } }, "notes[1] needs")
  wrong({ x = { 1 }, y = { 1 }, spans = { { 1 } } }, "spans[1] needs")
  wrong({ x = { 1 }, y = { 1 }, notes = 3 }, "notes must be a list, not number")
  wrong({ series = { { x = { 1 }, y = { 1 }, labels = "ab" } } }, "series 1: labels must be a list, not string")
  wrong({ series = { { x = { 1 }, y = { 1 }, color = "red" } } }, "color must be")
  wrong({ series = { { kind = "bars", x = { 1 }, y = { 1 } }, { x = { 1 }, y = { 1 } } } }, "bars do not mix")
  check(not core.exists(scratch .. "/wrong.svg") and not core.exists(scratch .. "/wrong.gp"))
end)

test("a folder that cannot be, and a picture that stays whole when gnuplot fails", function()
  local drawn, message, code = wattle.plot{ file = "/dev/null/a.svg", x = { 1 }, y = { 1 } }
  equal(drawn, nil)
  check(message:find "/dev/null", message)
  equal(code, "io")
end)

-- With other programs in front of the path, in a process of its own.
local function with_path(path, name)
  local script = scratch .. "/child.lua"
  local file = assert(io.open(script, "w"))
  file:write(([[print(require("wattle").plot{file = %q, x = {1, 2}, y = {1, 2}})]]):format(scratch .. "/" .. name))
  file:close()
  local pipe = assert(io.popen(("PATH='%s' '%s' '%s' 2>&1"):format(path, program, script)))
  local said = pipe:read "a"
  check(pipe:close(), said)
  return said
end

test("without gnuplot the message names the package; script and data are there", function()
  assert(core.mkdir(scratch .. "/empty"))
  local said = with_path(scratch .. "/empty", "absent.svg")
  check(said:find "^nil\tplot: gnuplot is not installed: install the package gnuplot%-nox", said)
  check(said:find "unsupported\n$", said)
  check(not core.exists(scratch .. "/absent.svg"))
  check(core.exists(scratch .. "/absent.gp") and core.exists(scratch .. "/absent.csv"))
end)

test("a gnuplot that fails leaves the picture that was there", function()
  assert(core.mkdir(scratch .. "/bin"))
  local fake = assert(io.open(scratch .. "/bin/gnuplot", "w"))
  fake:write "#!/bin/sh\necho 'no such terminal'\nexit 3\n"
  fake:close()
  assert(os.execute(("chmod +x '%s/bin/gnuplot'"):format(scratch)))
  draw{ file = "kept.svg", x = { 1, 2 }, y = { 1, 2 } }
  local before = slurp "kept.svg"
  local said = with_path(scratch .. "/bin:" .. os.getenv "PATH", "kept.svg")
  check(said:find("kept.gp: no such terminal", 1, true), said)
  equal(slurp "kept.svg", before)
  -- One that says that all is well, and has written nothing.
  fake = assert(io.open(scratch .. "/bin/gnuplot", "w"))
  fake:write "#!/bin/sh\nexit 0\n"
  fake:close()
  said = with_path(scratch .. "/bin:" .. os.getenv "PATH", "kept.svg")
  check(said:find("gnuplot did not finish", 1, true), said)
  equal(slurp "kept.svg", before)
end)

os.execute(("rm -rf '%s'"):format(scratch))
