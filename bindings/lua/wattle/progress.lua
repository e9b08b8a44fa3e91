-- Progress of long work on standard error: a bar with the time left on a terminal, plain lines elsewhere. Used
-- by fit and experiment; results never go through here, so redirecting standard output keeps them clean.
--
--   local bar <close> = progress.new{total = 10, label = "fit"}
--   bar:update(0.5, "loss 1.23")       -- half of the first unit; redraws a terminal, ten times a second at most
--   bar:step(1, "epoch 1: loss 1.20")  -- one unit done: the line stays

local core = require("wattle").core
local util = require "wattle.util"

local progress = {}
local Bar = {}
Bar.__index = Bar

-- Seconds as "0:07", "12:34" or "1:02:03".
function progress.duration(seconds)
  local s = math.floor(seconds + 0.5)
  if s >= 3600 then return ("%d:%02d:%02d"):format(s // 3600, s // 60 % 60, s % 60) end
  return ("%d:%02d"):format(s // 60, s % 60)
end

-- progress.new{total =, label = "", enabled = true, stream = io.stderr, terminal =} -> bar. total: how many
-- units there are (> 0). terminal says whether stream is one; found out for standard error if not given.
function progress.new(o)
  util.check_options(o, { "total", "label", "enabled", "stream", "terminal" }, "progress.new")
  local terminal = o.terminal
  if terminal == nil then terminal = o.stream == nil and core.isatty(2) end
  return setmetatable({
    total = o.total, label = o.label or "", enabled = o.enabled ~= false,
    stream = o.stream or io.stderr, terminal = terminal,
    began = core.now(), drawn = -1, shown = false,
  }, Bar)
end

-- Seconds left at the rate so far; nil before anything is done.
function Bar:remaining(done)
  if done <= 0 then return nil end
  return (core.now() - self.began) / done * math.max(self.total - done, 0)
end

local function erase(self)
  if self.shown then
    self.stream:write "\r\27[K"
    self.shown = false
  end
end

local function draw(self, done, text)
  local share = math.min(done / self.total, 1)
  local left = self:remaining(done)
  local head = self.label == "" and "" or self.label .. " "
  local tail = (" %3d %%%s%s"):format(math.floor(100 * share),
                                      left and "  " .. progress.duration(left) .. " left" or "",
                                      text and "  " .. text or "")
  local width = math.min(30, math.max(10, (core.columns() or 80) - #head - #tail - 4))
  local full = math.floor(share * width)
  local line = ("%s[%s%s]%s"):format(head, ("#"):rep(full), ("."):rep(width - full), tail)
  erase(self)
  self.stream:write(line:sub(1, math.max((core.columns() or 80) - 1, 1)))
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
    self.stream:write(line, "\n")
    if left then draw(self, done) end
  else
    self.stream:write(line, left and "  (" .. progress.duration(left) .. " left)" or "", "\n")
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
