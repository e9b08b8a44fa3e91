-- Learning-rate schedules: functions from the position in training, in epochs from 0 (2.5: halfway through the
-- third), to the learning rate. wattle.fit asks before every step. With per = "epoch" the rate stays for a
-- whole epoch, as PyTorch's schedulers do when they are stepped once an epoch; per = "step" moves with every
-- step. Any function of the same kind will do: schedule = function(position) return 0.1 * 0.95 ^ position end.

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
  local milestones = table.move(o.milestones, 1, #o.milestones, 1, {})
  return function(position)
    local reached = 0
    for _, epoch in ipairs(milestones) do
      if position >= epoch then reached = reached + 1 end
    end
    return lr * gamma ^ reached
  end
end

return schedule
