-- wattle.plot{...}: lines, points and bars with their intervals, drawn by gnuplot (run as a program) into an SVG or a
-- PNG. The script and its data stay beside the picture, NAME.gp and NAME.csv: edit them and run `gnuplot NAME.gp` in
-- that folder. What is drawn of an experiment is pictures.lua's.
--
--   assert(wattle.plot{file = "out/width.svg", title = "Wider is better", xlabel = "width, channels",
--     ylabel = "top-1, %", series = {{name = "resnet8", x = {4, 8, 16}, y = {80.1, 82.0, 83.2}}}})
--
-- Options:
--   file      ends in .svg or .png; its folder is made
--   kind      line, scatter or bars: of the series that do not say their own (default line)
--   series    list of {name =, x =, y =, low =, high =, ...}; or x, y, low, high right here, for a single one
--   title, xlabel, ylabel   texts; labels carry the unit: "time, s"
--   log       "x", "y" or "xy": logarithmic axes
--   xlim, ylim   {low, high}; nil: what the data need
--   xtics     list of numbers to mark on the x axis; nil: what gnuplot finds good
--   lines     reference lines, list of {x = or y =, label =}
--   spans     shaded stretches of x, list of {from, to, label =}
--   notes     texts in the picture, list of {x, y, text}
--   legend    false: none
--   width, height   in pixels (800, 500)
-- A series:
--   name      in the legend; nil: not there
--   kind      as above; bars do not mix with the others
--   x         numbers without a hole; for bars names, too
--   y         y[i] nil, NaN or infinite is missing: the line has a gap there, never a 0
--   low, high     ends of y[i]'s interval (not widths); xlow, xhigh those of x[i]'s
--   interval  "bars" (default) or "band"
--   labels    labels[i] is written beside point i
--   color     1..7 of the palette, "neutral" (black on white, white on black), or "#rrggbb"; default: one after the other
--   dashed    true: a dashed line
-- Returns {file =, script =, data =}, or nil, message, code: without gnuplot script and data are written all the same.
local core = require("wattle").core
local util = require "wattle.util"
local where = require "wattle.where"

local plot = {}

local OPTIONS = { "file", "kind", "series", "x", "y", "low", "high", "title", "xlabel", "ylabel", "log", "xlim", "ylim",
                  "xtics", "lines", "spans", "notes", "legend", "width", "height" }
local SERIES = { "name", "kind", "x", "y", "low", "high", "xlow", "xhigh", "interval", "labels", "color", "dashed" }
local KINDS = { line = true, scatter = true, bars = true }

-- Okabe and Ito's colours, told apart with any kind of colour vision; yellow is left out, being lost on white.
local PALETTE = { "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f6aa8" }
local NEUTRAL, GRID = "#000000", "#d8d8d8"
plot.colors = #PALETTE
-- gnuplot's point types: disc, square, triangle, diamond, triangle down, ring, cross. A second way to tell series apart.
local POINTS = { 7, 5, 9, 13, 11, 6, 2 }

-- For letters, which are thinner than points.
local function darker(color)
  return (color:gsub("%x%x", function(part) return ("%02x"):format(tonumber(part, 16) * 7 // 10) end))
end

---- checks ----

local function finite(v)
  return type(v) == "number" and v - v == 0
end

local function check_text(v, what)
  if v ~= nil and type(v) ~= "string" then where.raise("plot: %s must be a string, not %s", what, type(v)) end
end

local function check_list(v, what)
  if v ~= nil and type(v) ~= "table" then where.raise("plot: %s must be a list, not %s", what, type(v)) end
end

local function check_limits(v, what)
  if v == nil then return end
  if type(v) ~= "table" or not finite(v[1]) or not finite(v[2]) or v[1] >= v[2] then
    where.raise("plot: %s must be {low, high}, two numbers with low < high", what)
  end
end

local function check_size(v, what)
  if math.type(v) ~= "integer" or v < 100 or v > 10000 then
    where.raise("plot: %s must be an integer from 100 to 10000, got %s", what, tostring(v))
  end
end

local function check_color(color, what)
  if color == nil or color == "neutral" then return end
  if math.type(color) == "integer" and color >= 1 and color <= #PALETTE then return end
  if type(color) == "string" and color:find "^#%x%x%x%x%x%x$" then return end
  where.raise("plot: %s: color must be 1..%d, 'neutral' or '#rrggbb', got %s", what, #PALETTE, tostring(color))
end

-- One series, checked: lists of x's length, with nil for what is missing.
local function read_series(given, i, o)
  local what = ("series %d"):format(i)
  util.check_options(given, SERIES, "plot: " .. what)
  check_text(given.name, what .. ": name")
  check_color(given.color, what)
  check_list(given.labels, what .. ": labels")
  local s = { name = given.name, kind = given.kind or o.kind or "line", color = given.color, dashed = given.dashed,
              interval = given.interval or "bars", labels = given.labels or {} }
  if not KINDS[s.kind] then
    where.raise("plot: %s: kind '%s' is unknown; there are line, scatter, bars", what, tostring(s.kind))
  end
  if s.interval ~= "bars" and s.interval ~= "band" then
    where.raise("plot: %s: interval must be 'bars' or 'band', got %s", what, tostring(s.interval))
  end
  for _, name in ipairs { "x", "y" } do
    if type(given[name]) ~= "table" then where.raise("plot: %s: %s must be a list", what, name) end
  end
  s.n = #given.x
  for _, name in ipairs { "x", "y", "low", "high", "xlow", "xhigh" } do
    local list = {}
    for k, v in pairs(given[name] or {}) do
      if math.type(k) ~= "integer" or k < 1 or k > s.n then
        where.raise("plot: %s: %s[%s] has no x (there are %d)", what, name, tostring(k), s.n)
      end
      if type(v) ~= "number" and not (name == "x" and s.kind == "bars" and type(v) == "string") and v ~= false then
        where.raise("plot: %s: %s[%d] must be a number, not %s", what, name, k, type(v))
      end
      list[k] = (type(v) == "string" or finite(v)) and v or nil
    end
    s[name] = list
  end
  for k = 1, s.n do
    if s.x[k] == nil then where.raise("plot: %s: x[%d] is not a finite number", what, k) end
  end
  return s
end

-- Logarithms want positive numbers; an interval's end below them is drawn down to the edge of the picture.
local function check_log(s, i, o)
  for _, axis in ipairs { "x", "y" } do
    if o.log and o.log:find(axis) then
      for k = 1, s.n do
        if s[axis][k] and s[axis][k] <= 0 then
          where.raise("plot: series %d: %s[%d] = %g cannot stand on a logarithmic axis", i, axis, k, s[axis][k])
        end
      end
    end
  end
end

local function read_options(o)
  util.check_options(o, OPTIONS, "plot")
  if type(o.file) ~= "string" then where.raise "plot: file must be given, such as 'out/figure.svg'" end
  local folder, name, suffix = o.file:match "^(.-)([^/]+)%.(%w+)$"
  if suffix ~= "svg" and suffix ~= "png" or o.file:find "%c" then
    where.raise("plot: file must end in .svg or .png, got '%s'", o.file)
  end
  for _, key in ipairs { "title", "xlabel", "ylabel" } do check_text(o[key], key) end
  if o.log ~= nil and o.log ~= "x" and o.log ~= "y" and o.log ~= "xy" then
    where.raise("plot: log must be 'x', 'y' or 'xy', got %s", tostring(o.log))
  end
  check_limits(o.xlim, "xlim")
  check_limits(o.ylim, "ylim")
  check_list(o.xtics, "xtics")
  for i, v in ipairs(o.xtics or {}) do
    if not finite(v) then where.raise("plot: xtics[%d] must be a number, not %s", i, tostring(v)) end
  end
  local p = { file = o.file, folder = folder == "" and "." or folder, name = name, suffix = suffix,
              width = o.width or 800, height = o.height or 500, log = o.log or "", series = {}, categories = {} }
  check_size(p.width, "width")
  check_size(p.height, "height")
  local list = o.series or { { x = o.x, y = o.y, low = o.low, high = o.high } }
  check_list(list, "series")
  local bars = 0
  for i, given in ipairs(list) do
    local s = read_series(given, i, o)
    bars = bars + (s.kind == "bars" and 1 or 0)
    p.series[i] = s
  end
  if bars > 0 and bars < #p.series then where.raise "plot: bars do not mix with other kinds" end
  if bars > 0 and p.log:find "x" then where.raise "plot: the x axis of bars holds names: it cannot be logarithmic" end
  p.bars = bars > 0
  for i, s in ipairs(p.series) do check_log(s, i, p) end
  for _, key in ipairs { "lines", "spans", "notes" } do check_list(o[key], key) end
  p.lines, p.spans, p.notes = o.lines or {}, o.spans or {}, o.notes or {}
  for i, line in ipairs(p.lines) do
    if type(line) ~= "table" or finite(line.x) == finite(line.y) then
      where.raise("plot: lines[%d] needs x or y, a number", i)
    end
    check_text(line.label, ("lines[%d]: label"):format(i))
    local axis = line.x and "x" or "y"
    if p.log:find(axis) and line[axis] <= 0 then
      where.raise("plot: lines[%d]: %s = %g cannot stand on a logarithmic axis", i, axis, line[axis])
    end
  end
  for i, span in ipairs(p.spans) do
    if type(span) ~= "table" or not finite(span[1]) or not finite(span[2]) then
      where.raise("plot: spans[%d] needs {from, to}, two numbers", i)
    end
    check_text(span.label, ("spans[%d]: label"):format(i))
  end
  for i, note in ipairs(p.notes) do
    if type(note) ~= "table" or not finite(note[1]) or not finite(note[2]) or type(note[3]) ~= "string" then
      where.raise("plot: notes[%d] needs {x, y, text}", i)
    end
  end
  return p
end

---- where things are ----

-- Bars stand at 1, 2, ..., one place a name; several series stand beside each other.
local function place_bars(p)
  local at = {}
  for _, s in ipairs(p.series) do
    for k = 1, s.n do
      local name = type(s.x[k]) == "number" and ("%.14g"):format(s.x[k]) or s.x[k]
      if not at[name] then
        p.categories[#p.categories + 1] = name
        at[name] = #p.categories
      end
      s.x[k] = at[name]
    end
  end
  p.box = 0.8 / #p.series
  for i, s in ipairs(p.series) do
    s.categories = {}
    for k = 1, s.n do
      s.categories[k] = p.categories[s.x[k]]
      s.x[k] = s.x[k] + (i - (#p.series + 1) / 2) * p.box
    end
  end
end

-- The limits of an axis: all that is drawn, and a little air; 0 where bars begin.
local function limits(p, axis, given, more)
  if given then return given[1], given[2] end
  local log, low, high = p.log:find(axis) ~= nil, math.huge, -math.huge
  local function see(v)
    if v and (not log or v > 0) then low, high = math.min(low, v), math.max(high, v) end
  end
  for _, s in ipairs(p.series) do
    for k = 1, s.n do
      if s.y[k] then
        see(s[axis][k])
        see(s[axis == "x" and "xlow" or "low"][k])
        see(s[axis == "x" and "xhigh" or "high"][k])
      end
    end
  end
  for _, line in ipairs(p.lines) do see(line[axis]) end
  for _, note in ipairs(p.notes) do see(note[axis == "x" and 1 or 2]) end
  for _, v in ipairs(more) do see(v) end
  if low > high then return nil end
  if log then
    local air = low == high and 2 or (high / low) ^ 0.06
    return low / air, high * air
  end
  local air = low == high and math.max(math.abs(low) * 0.1, 0.5) or (high - low) * 0.06
  if p.bars and axis == "y" and low >= 0 then return 0, high + air end
  if axis == "y" and #p.spans > 0 then return low - air, high + (high - low) * 0.2 + air end -- room for their labels
  return low - air, high + air
end

---- the script ----

-- A text as gnuplot's single-quoted string, in which only the quote itself means something: it is doubled, except at the
-- beginning, where gnuplot takes the two for an empty string.
local function quote(s)
  if not utf8.len(s) then s = s:gsub("[\x80-\xff]", "?") end
  local first, rest = s:gsub("%c", " "):match "^('*)(.*)$"
  return (first ~= "" and '"' .. first .. '" . ' or "") .. "'" .. rest:gsub("'", "''") .. "'"
end

-- The same on several lines of at most n letters.
local function quote_wrapped(s, n)
  local lines, line = {}, ""
  for word in s:gsub("%c", " "):gmatch "%S+" do
    if line ~= "" and (utf8.len(line) or #line) + 1 + (utf8.len(word) or #word) > n then
      lines[#lines + 1], line = line, word
    else
      line = line == "" and word or line .. " " .. word
    end
  end
  lines[#lines + 1] = line
  for i, l in ipairs(lines) do lines[i] = quote(l) end
  return table.concat(lines, ' . "\\n" . ')
end

local function number(v)
  return v and ("%.17g"):format(v) or "NA"
end

-- The data: first its header, then a block a series behind two blank lines, as gnuplot's index wants them. One blank
-- line behind a missing value breaks the line there. Other readers skip blank lines.
local function data_of(p)
  local out = { "x,y,x_low,x_high,y_low,y_high,series" .. (p.bars and ",category" or "") .. "\n" }
  local block = 0
  local function begin()
    out[#out + 1] = "\n\n"
    block = block + 1
    return block
  end
  local function add(s, k, y)
    local cells = { number(s.x[k]), number(y), number(s.xlow[k]), number(s.xhigh[k]), number(s.low[k]),
                    number(s.high[k]), core.csv_field((s.name or "series"):gsub("%c", " ")) }
    if p.bars then cells[8] = core.csv_field((s.categories[k]:gsub("%c", " "))) end
    out[#out + 1] = table.concat(cells, ",") .. "\n"
  end
  for _, s in ipairs(p.series) do
    if s.n > 0 then
      s.block = begin()
      local holes = false -- values without an interval among those with one: the band has gaps of its own
      for k = 1, s.n do
        add(s, k, s.y[k])
        if not s.y[k] then out[#out + 1] = "\n" end
        holes = holes or s.y[k] and not (s.low[k] and s.high[k])
        s.has_interval = s.has_interval or s.y[k] and s.low[k] and s.high[k]
        s.has_xinterval = s.has_xinterval or s.y[k] and s.xlow[k] and s.xhigh[k]
      end
      s.band_block = s.block
      if s.interval == "band" and s.has_interval and holes then
        s.band_block = begin()
        for k = 1, s.n do
          if s.y[k] and s.low[k] and s.high[k] then add(s, k, s.y[k]) else out[#out + 1] = "\n" end
        end
      end
    end
  end
  return table.concat(out)
end

local function style_series(p)
  local next_color = 0
  for i, s in ipairs(p.series) do
    local color = s.color
    if color == nil then
      next_color = next_color % #PALETTE + 1
      color = next_color
    end
    s.rgb = color == "neutral" and NEUTRAL or PALETTE[color] or color
    s.point = POINTS[math.type(color) == "integer" and color or (i - 1) % #POINTS + 1]
    s.dash = (s.dashed or i > #PALETTE) and 2 or 1
  end
end

-- Whole numbers want whole tics: the step, or nil where gnuplot's own will do.
local function whole_step(p, low, high)
  for _, s in ipairs(p.series) do
    for k = 1, s.n do
      if s.x[k] ~= math.floor(s.x[k]) then return nil end
    end
  end
  return high - low <= 13 and 1 or high - low <= 26 and 2 or nil
end

-- What a series is drawn by: intervals first, what matters on top.
local function elements_of(p, xlow, ylow)
  -- The low end of an interval; what a logarithm cannot show goes down to the edge.
  local function low_end(axis, column, edge)
    if not p.log:find(axis) then return ("column(%d)"):format(column) end
    return ("(valid(%d) ? (column(%d) > 0 ? column(%d) : %.17g) : NaN)"):format(column, column, column, edge)
  end
  local low, left = low_end("y", 5, ylow), low_end("x", 3, xlow)
  -- Arrows with flat heads: gnuplot's errorbars leave a hole in the middle.
  local using_y = ("1:(%s):(0):(column(6) - %s)"):format(low, low)
  local using_x = ("(%s):2:(column(4) - %s):(0)"):format(left, left)
  local ends = "with vectors heads size graph 0.006,90 lw 1.5 "
  local below, bars, above, top = {}, {}, {}, {}
  local data = quote("./" .. p.name .. ".csv")
  for _, s in ipairs(p.series) do
    if s.block then
      local function element(list, using, how, title, block)
        local named = title and s.name and "title " .. quote(s.name) or "notitle"
        local text = ("%s index %d using %s %s %s"):format(data, block or s.block, using, how, named)
        list[#list + 1] = { name = s.name or "", text = text }
      end
      local color, faint = ("lc rgb '%s'"):format(s.rgb), ("lc rgb '#60%s'"):format(s.rgb:sub(2))
      if s.kind == "bars" then
        element(above, ("1:2:(%.6g)"):format(0.9 * p.box), "with boxes fs solid 0.8 noborder " .. color, true)
        if s.has_interval then element(bars, using_y, ends .. ("lc rgb '%s'"):format(NEUTRAL)) end
      else
        if s.has_interval and s.interval == "band" then
          local fill = "with filledcurves fs transparent solid 0.2 noborder " .. color
          element(below, ("1:(%s):6"):format(low), fill, false, s.band_block)
        elseif s.has_interval then
          element(bars, using_y, ends .. faint)
        end
        if s.has_xinterval then element(bars, using_x, ends .. faint) end
        local how = ("points pt %d"):format(s.point)
        if s.kind == "line" then how = ("lines lw 2 dt %d"):format(s.dash) end
        if s.kind == "line" and s.n <= 60 then
          how = ("linespoints lw 2 dt %d pt %d ps 0.8"):format(s.dash, s.point)
        end
        element(above, "1:2", ("with %s %s"):format(how, color), true)
        if s.color == "neutral" then element(top, "1:2", ("with %s %s"):format(how, color)) end -- others may cover it
      end
    end
  end
  if p.bars then bars, above = above, bars end -- their intervals stand on top
  local all = table.move(bars, 1, #bars, #below + 1, below)
  table.move(above, 1, #above, #all + 1, all)
  return table.move(top, 1, #top, #all + 1, all)
end

local LABEL = ("set label %%s at %%s %%s front tc rgb '%s' font ',12'"):format(NEUTRAL)

-- Where a label may stand around its point, in pixels (right, up), nearest first.
local AROUND = {}
for _, ring in ipairs { 9, 20, 32, 46 } do
  for _, way in ipairs { { 1, 0.6 }, { 1, -0.9 }, { -1, 0.6 }, { -1, -0.9 }, { 0, 1.3 }, { 0, -1.5 } } do
    AROUND[#AROUND + 1] = { way[1] * ring, way[2] * ring, way[1] }
  end
end

local SIDE = { [-1] = "right", [0] = "center", [1] = "left" }

local function overlap(a, b)
  return a[1] < b[3] and b[1] < a[3] and a[2] < b[4] and b[2] < a[4]
end

-- Labels of points, each at the nearest place where it covers neither a point nor another label, as far as the size of
-- letters can be guessed. Calls put(label, series, k, {right, up, side}).
local function place_labels(p, to_x, to_y, put)
  local taken = {}
  for _, s in ipairs(p.series) do
    for k = 1, s.n do
      if s.y[k] then
        local x, y = to_x(s.x[k]), to_y(s.y[k])
        taken[#taken + 1] = { x - 5, y - 5, x + 5, y + 5 }
      end
    end
  end
  for _, s in ipairs(p.series) do
    for k = 1, s.n do
      local label = s.y[k] and s.labels[k]
      if label then
        local x, y, w = to_x(s.x[k]), to_y(s.y[k]), 6.5 * (utf8.len(label) or #label)
        local best
        for _, way in ipairs(AROUND) do
          local left = x + way[1] - (way[3] < 0 and w or way[3] == 0 and w / 2 or 0)
          local box, free = { left, y + way[2] - 6, left + w, y + way[2] + 6 }, true
          for _, other in ipairs(taken) do free = free and not overlap(box, other) end
          if free then
            best = { way, box }
            break
          end
        end
        best = best or { AROUND[1], { x, y, x, y } }
        taken[#taken + 1] = best[2]
        put(label, s, k, best[1])
      end
    end
  end
end

local function decorations(p, xlow, xhigh, ylow, yhigh)
  local out = {}
  local function add(format, ...) out[#out + 1] = format:format(...) end
  local function share(x) -- of the picture's width
    if p.log:find "x" then return math.log(x / xlow) / math.log(xhigh / xlow) end
    return (x - xlow) / (xhigh - xlow)
  end
  local tint, tints = {}, 0 -- one colour a label; from the other end of the palette than the series
  for i, span in ipairs(p.spans) do
    local label = span.label or i
    if not tint[label] then tint[label], tints = PALETTE[#PALETTE - tints % #PALETTE], tints + 1 end
    add("set object rectangle from %.17g, graph 0 to %.17g, graph 1 fc rgb '%s' "
          .. "fs transparent solid 0.13 noborder behind", span[1], span[2], tint[label])
    -- Neighbours' labels stand on two levels, so that short stretches do not hide each other's.
    if span.label then
      local height = i % 2 == 1 and 0.96 or 0.91
      add(LABEL, quote(span.label), ("%.17g, graph %g"):format((span[1] + span[2]) / 2, height), "center")
    end
  end
  for _, line in ipairs(p.lines) do
    local from, to = ("%.17g, graph 0"):format(line.x or 0), ("%.17g, graph 1"):format(line.x or 0)
    if line.y then from, to = ("graph 0, first %.17g"):format(line.y), ("graph 1, first %.17g"):format(line.y) end
    add("set arrow from %s to %s nohead dt 2 lw 1.5 lc rgb '%s' back", from, to, NEUTRAL)
    if line.label and line.x then
      local left = share(line.x) > 0.5
      add(LABEL, quote(line.label), ("%.17g, graph 0.06"):format(line.x),
          left and "right offset character -0.8, 0" or "left offset character 0.8, 0")
    elseif line.label then
      add(LABEL, quote(line.label), ("graph 0.015, first %.17g"):format(line.y), "left offset character 0, -0.7")
    end
  end
  for _, note in ipairs(p.notes) do
    add(LABEL, quote(note[3]), ("%.17g, %.17g"):format(note[1], note[2]), share(note[1]) > 0.7 and "right" or "left")
  end
  for _, s in ipairs(p.series) do
    for k = 1, s.n do
      if p.bars and not s.y[k] then -- not a bar of 0
        add(LABEL, "'NA'", ("%.17g, graph 0.02"):format(s.x[k]), "center")
      end
      if s.y[k] then check_text(s.labels[k], "labels") end
    end
  end
  local wide, high = (p.beside and 0.62 or 0.85) * p.width, 0.7 * p.height -- about the size of what the axes hold
  local function to_y(y)
    if p.log:find "y" then return high * math.log(y / ylow) / math.log(yhigh / ylow) end
    return high * (y - ylow) / (yhigh - ylow)
  end
  place_labels(p, function(x) return wide * share(x) end, to_y, function(label, s, k, way)
    add("set label %s at %.17g, %.17g %s offset character %.2f, %.2f front tc rgb '%s' font ',11'", quote(label),
        s.x[k], s.y[k], SIDE[way[3]], way[1] / 7, way[2] / 14, darker(s.rgb))
  end)
  return out
end

local function legend(p, o)
  local names, longest = 0, 0
  for _, s in ipairs(p.series) do
    if s.name and s.block then names, longest = names + 1, math.max(longest, utf8.len(s.name) or #s.name) end
  end
  if o.legend == false or names == 0 then return "unset key" end
  -- In a row below the picture where that fits, else in a column beside it.
  if names * (8 * longest + 50) < p.width * 0.85 and not p.tilted then
    return "set key outside bottom center horizontal Left reverse samplen 2\nset bmargin 6"
  end
  p.beside = true
  return "set key outside right top vertical Left reverse samplen 1.5 spacing 1.3"
end

local HEAD = [[
# Drawn by wattle.plot. Edit, then run in this folder: gnuplot %s
if (!exists("out")) out = %s
set encoding utf8
set datafile separator comma
set datafile missing 'NA'
set terminal %s
set output out
set border 3 lw 1
set tics nomirror out
set grid lc rgb '%s' lw 0.6 dt 1 back
set style data points
]]

local function terminal(p)
  if p.suffix == "svg" then
    return ("svg size %d,%d font 'Helvetica,14' noenhanced background '#ffffff'"):format(p.width, p.height)
  end
  return ("pngcairo size %d,%d font 'sans,11' noenhanced background '#ffffff'"):format(p.width, p.height)
end

local function script_of(p, o)
  local more = {}
  for _, span in ipairs(p.spans) do more[#more + 1], more[#more + 2] = span[1], span[2] end
  local xlow, xhigh = limits(p, "x", o.xlim, more)
  local ylow, yhigh = limits(p, "y", o.ylim, {})
  if not (xlow and ylow) then return nil, "plot: there is no value to draw" end
  if p.bars and not o.xlim then xlow, xhigh = 0.4, #p.categories + 0.6 end
  local here = "./" .. p.name
  local out = { (HEAD:format(quote(here .. ".gp"), quote(here .. "." .. p.suffix), terminal(p), GRID)) }
  local function add(format, ...) out[#out + 1] = format:format(...) .. "\n" end
  for _, key in ipairs { "title", "xlabel", "ylabel" } do
    if o[key] and o[key] ~= "" then
      local letters = (key == "ylabel" and p.height or p.width) // 9
      add("set %s %s%s", key, quote_wrapped(o[key], letters), key == "title" and " font ',16'" or "")
    end
  end
  if p.log ~= "" then add("set logscale %s", p.log) end
  add("set xrange [%.17g:%.17g]", xlow, xhigh)
  add("set yrange [%.17g:%.17g]", ylow, yhigh)
  if p.bars then
    local tics = {}
    for i, name in ipairs(p.categories) do
      tics[i] = ("%s %d"):format(quote((name:gsub("%%", "%%%%"))), i) -- tics are formats
    end
    local longest = 0
    for _, name in ipairs(p.categories) do longest = math.max(longest, utf8.len(name) or #name) end
    p.tilted = longest * 8 * #p.categories > p.width * 0.85
    add("set xtics (%s)%s", table.concat(tics, ", "), p.tilted and " rotate by -35 left" or "")
    add("set grid noxtics ytics")
  end
  local step = not p.bars and not p.log:find "x" and whole_step(p, xlow, xhigh)
  if o.xtics and #o.xtics > 0 and not p.bars then
    local tics = {}
    for i, v in ipairs(o.xtics) do tics[i] = ("%.17g"):format(v) end
    add("set xtics (%s)", table.concat(tics, ", "))
  elseif step then
    add("set xtics %d", step)
  end
  style_series(p)
  add("%s", legend(p, o))
  for _, line in ipairs(decorations(p, xlow, xhigh, ylow, yhigh)) do add("%s", line) end
  p.elements = elements_of(p, xlow, ylow)
  if #p.elements == 0 then return nil, "plot: there is no value to draw" end
  local texts = {}
  for i, e in ipairs(p.elements) do texts[i] = e.text end
  add("plot %s", table.concat(texts, ", \\\n     "))
  return table.concat(out)
end

---- running gnuplot ----

local function shell(s)
  return "'" .. s:gsub("'", "'\\''") .. "'"
end

local ABSENT = "plot: gnuplot is not installed: install the package gnuplot-nox (its script is kept: %s)"

-- Draws the script into a file of its own. true, or nil, message, code.
local function run_gnuplot(p, target)
  local folder = p.folder:find "^/" and p.folder or "./" .. p.folder
  local command = ("command -v gnuplot >/dev/null 2>&1 || exit 127; cd %s && exec gnuplot -d -e %s %s 2>&1 </dev/null"):format(
    shell(folder), shell("out=" .. quote(target)), shell("./" .. p.name .. ".gp"))
  local pipe, message = io.popen(command)
  if not pipe then return nil, "plot: " .. message, "io" end
  local said = pipe:read "a" or ""
  local ok, _, code = pipe:close()
  if ok then return true end
  local script = p.file:gsub("%w+$", "gp")
  if code == 127 then return nil, ABSENT:format(script), "unsupported" end
  return nil, ("plot: gnuplot failed on %s: %s"):format(script, (said:gsub("%s+$", ""))), "io"
end

local ESCAPES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }

-- A text as it may stand in XML and HTML, in an attribute too.
function plot.escape(s)
  if not utf8.len(s) then s = s:gsub("[\x80-\xff]", "?") end
  return (s:gsub("[%z\1-\8\11\12\14-\31\127]", " "):gsub("[&<>\"']", ESCAPES))
end

-- On a dark page the picture turns dark: what colours become there.
local function dark_style()
  local to = { ["#000000"] = "#e4e4e4", [GRID] = "#3a3c42", ["#0072b2"] = "#3d8fe0", ["#56b4e9"] = "#a5dcff",
               ["#7f6aa8"] = "#a995d0" }
  for _, color in ipairs(PALETTE) do to[darker(color)] = to[color] or color end
  local rules = { "rect[fill='#ffffff'] { fill: #17181c }" }
  for _, from in ipairs(util.sorted_keys(to)) do
    for _, what in ipairs { "stroke", "fill", "color" } do
      rules[#rules + 1] = ("[%s='%s'] { %s: %s }"):format(what, from, what, to[from])
    end
  end
  for i, rule in ipairs(rules) do rules[i] = ".wattle-plot " .. rule end
  return "<style>@media (prefers-color-scheme: dark) {\n" .. table.concat(rules, "\n") .. "\n}</style>\n"
end

-- gnuplot's SVG with names that say something, and both kinds of pages in mind.
local function finish_svg(p, o, svg)
  local title = plot.escape(o.title or p.name)
  svg = svg:gsub("<svg ", function() return '<svg class="wattle-plot" role="img" ' end, 1)
  svg = svg:gsub("<title>Gnuplot</title>", function() return "<title>" .. title .. "</title>\n" .. dark_style() end, 1)
  svg = svg:gsub("<title>gnuplot_plot_(%d+)</title>", function(i)
    local e = p.elements[tonumber(i)]
    return e and e.name ~= "" and "<title>" .. plot.escape(e.name) .. "</title>" or ""
  end)
  svg = svg:gsub("rgb%(%s*(%d+),%s*(%d+),%s*(%d+)%)", function(r, g, b)
    return ("#%02x%02x%02x"):format(tonumber(r), tonumber(g), tonumber(b))
  end)
  svg = svg:gsub("(%w+)='black'", "%1='#000000'"):gsub('(%w+)="black"', "%1='#000000'")
  svg = svg:gsub('(%w+)="(#%x%x%x%x%x%x)"', "%1='%2'")
  svg = svg:gsub("<text>(.-)</text>", function(s) return "<text>" .. s:gsub("]]>", "]]&gt;") .. "</text>" end) -- XML's one exception
  return (svg:gsub('font%-family="Helvetica"', 'font-family="Helvetica, Arial, sans-serif"'))
end

local function slurp(path)
  local file, message = io.open(path, "rb")
  if not file then return nil, message, "io" end
  local bytes = file:read "a"
  file:close()
  if not bytes then return nil, path .. ": cannot be read", "io" end
  return bytes
end

-- Draws into a temporary file, and puts it in place whole.
local function draw(p, o)
  local target = os.tmpname()
  local _ <close> = setmetatable({}, { __close = function() os.remove(target) end })
  local ok, message, code = run_gnuplot(p, target)
  if not ok then return nil, message, code end
  local bytes
  bytes, message, code = slurp(target)
  if not bytes then return nil, message, code end
  if p.suffix == "svg" and not bytes:find "</svg>%s*$" or #bytes == 0 then
    return nil, ("plot: gnuplot did not finish %s"):format(p.file), "io"
  end
  return core.write_file(p.file, p.suffix == "svg" and finish_svg(p, o, bytes) or bytes)
end

function plot.plot(o)
  local p = read_options(o)
  if p.bars then place_bars(p) end
  local data = data_of(p)
  local script, nothing = script_of(p, o)
  if not script then where.raise("%s", nothing) end
  local base = p.file:sub(1, -5)
  local ok, message, code = core.mkdir(p.folder)
  if ok then ok, message, code = core.write_file(base .. ".csv", data) end
  if ok then ok, message, code = core.write_file(base .. ".gp", script) end
  if ok then ok, message, code = draw(p, o) end
  if not ok then return nil, message, code end
  return { file = p.file, script = base .. ".gp", data = base .. ".csv" }
end

return plot
