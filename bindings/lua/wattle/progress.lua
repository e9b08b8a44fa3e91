-- Progress of long work on standard error: a bar with the time left on a terminal, plain lines elsewhere (a pipe, a
-- file, TERM=dumb). Used by fit and experiment; results never go through here, so redirecting standard output keeps them
-- clean. On a terminal no line is longer than it is wide. There are no colours, so NO_COLOR changes nothing.
--
--   local bar <close> = progress.new{total = 10, label = "fit"}
--   bar:update(0.5, "loss 1.23")       -- half of the first unit; redraws a terminal, ten times a second at most
--   bar:step(1, "epoch 1: loss 1.20")  -- one unit done: the line stays

local core = require("wattle").core
local util = require "wattle.util"

local progress = {}
local Bar = {}
Bar.__index = Bar
util.classes.bar = Bar

-- Seconds as "0:07", "12:34" or "1:02:03".
function progress.duration(seconds)
  local s = math.floor(seconds + 0.5)
  if s >= 3600 then return ("%d:%02d:%02d"):format(s // 3600, s // 60 % 60, s % 60) end
  return ("%d:%02d"):format(s // 60, s % 60)
end

-- progress.new{total =, done = 0, label = "", enabled = true, stream = io.stderr, terminal =, meter =} -> bar. total:
-- how many units there are (> 0); done: how many of them an earlier call did. terminal says whether stream is one that lines can be drawn over on; found out for standard
-- error if not given. meter: its watts now are shown, where counters are read; a model's are not.
function progress.new(o)
  util.check_options(o, { "total", "done", "label", "enabled", "stream", "terminal", "meter" }, "progress.new")
  local terminal = o.terminal
  if terminal == nil then terminal = o.stream == nil and core.isatty(2) and os.getenv "TERM" ~= "dumb" end
  return setmetatable({
    total = o.total, before = o.done or 0, label = o.label or "", enabled = o.enabled ~= false,
    stream = o.stream or io.stderr, terminal = terminal,
    meter = o.meter, began = core.now(), drawn = -1, shown = false,
  }, Bar)
end

-- "42.1 W" by counters; nil where none is read now.
local function watts(meter)
  if not meter or type(meter.power) ~= "function" then return nil end
  local w = meter:power()
  return w and ("%.1f W"):format(w)
end

-- The beginning of a text that fits n columns, by letters; invalid UTF-8 by bytes.
local function cut(s, n)
  local length = utf8.len(s)
  if n <= 0 then return "" end
  if (length or #s) <= n then return s end
  if not length then return s:sub(1, n) end
  return s:sub(1, utf8.offset(s, n) - 1) .. "…"
end

local function columns()
  return math.max((core.columns() or 80) - 1, 1) -- the last column would wrap on some terminals
end

-- Seconds left at the rate so far; nil before anything is done here.
function Bar:remaining(done)
  if done <= self.before then return nil end
  return (core.now() - self.began) / (done - self.before) * math.max(self.total - done, 0)
end

local function erase(self)
  if self.shown then
    self.stream:write "\r\27[K"
    self.shown = false
  end
end

local function width_of(s)
  return utf8.len(s) or #s
end

-- "fit [####......]  40 %  0:12 left  42.1 W  loss 1.2"; where that does not fit, the bar shrinks, then the end is cut.
local function draw(self, done, text)
  local share, most = math.max(math.min(done / self.total, 1), 0), columns()
  local left, power = self:remaining(done), watts(self.meter)
  local head = self.label == "" and "" or self.label .. " "
  local tail = (" %3d %%"):format(math.floor(100 * share))
  for _, part in ipairs { left and progress.duration(left) .. " left" or false, power or false, text or false } do
    if part then tail = tail .. "  " .. part end
  end
  local room = most - width_of(head) - 2
  local width = math.min(30, math.max(10, room - width_of(tail)))
  if room < 14 then width, room = 0, room + 2 end
  local full = math.floor(share * width)
  tail = cut(tail, room - width)
  local bar = width > 0 and ("[%s%s]"):format(("#"):rep(full), ("."):rep(width - full)) or ""
  erase(self)
  self.stream:write(cut(head, most), bar, tail)
  self.stream:flush()
  self.shown, self.drawn = true, core.now()
end

-- done units of total, fractions allowed; text is what to show beside the bar.
function Bar:update(done, text)
  if self.enabled and self.terminal and core.now() - self.drawn >= 0.1 then draw(self, done, text) end
end

-- done whole units; line stays on the screen or in the log.
function Bar:step(done, line)
  if not self.enabled then return end
  erase(self)
  local left = done < self.total and self:remaining(done)
  if self.terminal then
    self.stream:write(cut(line, columns()), "\n")
    if left then draw(self, done) end
  else
    local power = watts(self.meter)
    local notes = left and progress.duration(left) .. " left" or ""
    if power then notes = notes .. (left and ", " or "") .. power end
    self.stream:write(line, notes ~= "" and "  (" .. notes .. ")" or "", "\n")
  end
  self.stream:flush()
end

-- Takes the bar off the screen. Idempotent; also what a to-be-closed variable does.
function Bar:close()
  erase(self)
  self.stream:flush()
end
Bar.__close = Bar.close

return progress
