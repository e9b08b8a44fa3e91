-- Learning-rate schedules: functions from the position in training, in epochs from 0 (2.5: halfway through the
-- third), to the learning rate. wattle.fit asks before every step. With per = "epoch" the rate stays for a
-- whole epoch, as PyTorch's schedulers do when they are stepped once an epoch; per = "step" moves with every
-- step. Any function of the same kind will do: schedule = function(position) return 0.1 * 0.95 ^ position end.
-- A schedule that also watches the loss is an object that is called the same way and has observe, state, load_state
-- (what changes with observe) and options (what does not), as plateau has.

local util = require "wattle.util"
local where = require "wattle.where"

local schedule = {}

local function number(o, name, what, default, low, strict)
  local v = o[name]
  if v == nil then v = default end
  if type(v) ~= "number" or not (v >= low) or strict and v == low then
    where.raise("%s: %s must be a number %s %g, got %s", what, name, strict and "above" or "of at least", low,
                tostring(v))
  end
  return v
end

local function position_rule(o, what)
  local per = o.per or "epoch"
  if per ~= "epoch" and per ~= "step" then
    where.raise('%s: per must be "epoch" or "step", got %s', what, tostring(per))
  end
  return per == "epoch" and math.floor or function(position) return position end
end

-- schedule.cosine{lr =, epochs =, min_lr = 0, per = "epoch"} (torch CosineAnnealingLR with T_max = epochs,
-- eta_min = min_lr): min_lr + (lr - min_lr)/2 (1 + cos(pi t/epochs)); min_lr from `epochs` on.
function schedule.cosine(o)
  local what = "schedule.cosine"
  util.check_options(o, { "lr", "epochs", "min_lr", "per" }, what)
  local lr, low = number(o, "lr", what, nil, 0, true), number(o, "min_lr", what, 0, 0)
  local epochs, at = number(o, "epochs", what, nil, 0, true), position_rule(o, what)
  return function(position)
    local t = math.min(at(position) / epochs, 1)
    return low + (lr - low) / 2 * (1 + math.cos(math.pi * t))
  end
end

-- schedule.step{lr =, step_size =, gamma = 0.1} (torch StepLR): lr gamma^floor(t/step_size), step_size in
-- epochs. schedule.step{lr =, milestones = {30, 60}, gamma = 0.1} (torch MultiStepLR): lr gamma^(milestones
-- reached).
function schedule.step(o)
  local what = "schedule.step"
  util.check_options(o, { "lr", "step_size", "milestones", "gamma" }, what)
  local lr, gamma = number(o, "lr", what, nil, 0, true), number(o, "gamma", what, 0.1, 0, true)
  if (o.step_size == nil) == (o.milestones == nil) then
    where.raise("%s: give either step_size or milestones", what)
  end
  if o.step_size then
    local size = number(o, "step_size", what, nil, 0, true)
    return function(position) return lr * gamma ^ math.floor(position / size) end
  end
  if type(o.milestones) ~= "table" then
    where.raise("%s: milestones must be a list of epochs, such as {30, 60}, got %s", what, tostring(o.milestones))
  end
  local milestones = {}
  for i in ipairs(o.milestones) do milestones[i] = number(o.milestones, i, what .. ": milestones", nil, 0) end
  return function(position)
    local reached = 0
    for _, epoch in ipairs(milestones) do
      if position >= epoch then reached = reached + 1 end
    end
    return lr * gamma ^ reached
  end
end

-- schedule.warmup{epochs =, after =, start_factor = 1/3}: the rate rises linearly, step by step, from start_factor x to
-- 1 x the first rate of `after` (a rate or another schedule) over the first `epochs`, then follows `after`, whose
-- position begins at 0 there (torch LinearLR and SequentialLR).
function schedule.warmup(o)
  local what = "schedule.warmup"
  util.check_options(o, { "epochs", "after", "start_factor" }, what)
  local epochs, from = number(o, "epochs", what, nil, 0, true), number(o, "start_factor", what, 1 / 3, 0)
  local after = o.after
  if type(after) == "number" then
    local lr = number(o, "after", what, nil, 0)
    after = function() return lr end
  end
  if type(after) ~= "function" and not (type(after) == "table" and after.observe) then
    where.raise("%s: after must be a learning rate or a schedule, got %s", what, type(after))
  end
  local function rate(position)
    if position >= epochs then return after(position - epochs) end
    return after(0) * (from + (1 - from) * position / epochs)
  end
  if type(after) == "function" then return rate end
  return setmetatable({
    observe = function(_, loss) after:observe(loss) end,
    state = function() return after:state() end,
    load_state = function(_, state) after:load_state(state) end,
    options = function() return { epochs = epochs, start_factor = from, after = after.options and after:options() } end,
  }, { __call = function(_, position) return rate(position) end })
end

local Plateau = {}
Plateau.__index = Plateau
util.classes.plateau = Plateau
function Plateau:__call() return self.lr end

-- One epoch's loss: after more than `patience` epochs without one below best (1 - threshold), the rate falls.
function Plateau:observe(loss)
  if loss < self.best * (1 - self.threshold) then
    self.best, self.waited = loss, 0
  else
    self.waited = self.waited + 1
  end
  if self.waited > self.patience then
    local lower = math.max(self.lr * self.factor, self.min_lr)
    if self.lr - lower > 1e-8 then self.lr = lower end
    self.waited = 0
  end
end

-- What changes with observe, to be saved and put back.
function Plateau:state()
  return { lr = self.lr, waited = self.waited, best = self.best < math.huge and self.best or nil }
end

-- Puts back what state() gave.
function Plateau:load_state(state)
  self.lr, self.waited, self.best = state.lr, state.waited, state.best or math.huge
end

-- The options it was made with.
function Plateau:options() return self.given end

-- schedule.plateau{lr =, factor = 0.1, patience = 10, threshold = 1e-4, min_lr = 0} (torch ReduceLROnPlateau, mode
-- min, threshold relative): the rate is multiplied by factor when the loss, told by observe(loss) once an epoch, has
-- not improved for more than `patience` epochs. wattle.fit tells it.
function schedule.plateau(o)
  local what = "schedule.plateau"
  util.check_options(o, { "lr", "factor", "patience", "threshold", "min_lr" }, what)
  local s = { lr = number(o, "lr", what, nil, 0, true), factor = number(o, "factor", what, 0.1, 0, true),
              patience = number(o, "patience", what, 10, 0), threshold = number(o, "threshold", what, 1e-4, 0),
              min_lr = number(o, "min_lr", what, 0, 0), waited = 0, best = math.huge }
  if s.factor >= 1 then where.raise("%s: factor must be below 1, got %g", what, s.factor) end
  s.given = { lr = s.lr, factor = s.factor, patience = s.patience, threshold = s.threshold, min_lr = s.min_lr }
  return setmetatable(s, Plateau)
end

return schedule
