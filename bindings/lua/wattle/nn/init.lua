-- nn.init: initial values of a parameter, under torch.nn.init's names without the underscore at the end, with options
-- in a table. Layers draw PyTorch's defaults by themselves; these are for other choices, as in a model's init:
--
--   nn.init.kaiming_normal(self.conv1.weight, {nonlinearity = "relu"})
--
-- What is random is drawn by (wattle.manual_seed's seed, "init", the parameter's full name, 0), so values depend on
-- neither order nor threads. Where the name is not known yet, as in init, the value is drawn when it is (see
-- nn.initialise) and is NaN until then. Every function returns the parameter.

local wattle = require "wattle"
local core, ops = wattle.core, wattle.ops
local where = require "wattle.where"
local util = require "wattle.util"
local module = require "wattle.nn.module"

local init = {}

local function check_param(p, what)
  if not module.is_param(p) then
    where.raise("%s: the first argument must be a parameter, such as layer.weight, not %s", what, type(p))
  end
end

-- Options of numbers, checked, over their defaults.
local function numbers(o, defaults, what)
  local result = {}
  util.check_options(o or {}, util.sorted_keys(defaults), what)
  for name, default in pairs(defaults) do
    local v = (o or {})[name]
    if v == nil then v = default end
    if type(default) == "number" and (type(v) ~= "number" or v ~= v) then
      where.raise("%s: %s must be a number, got %s", what, name, tostring(v))
    end
    result[name] = v
  end
  return result
end

local function uniform(p, low, high)
  module.redraw(p, function(t, seed, name) core.uniform(t, seed, "init", name, 0, low, high) end)
  return p
end

local function normal(p, mean, std)
  module.redraw(p, function(t, seed, name) core.normal(t, seed, "init", name, 0, mean, std) end)
  return p
end

-- fan_in and fan_out of a weight (O, I, ...): I and O times the number of taps. A grouped convolution's I is C/groups.
local function fans(p, what)
  local shape, taps = p:tensor():shape(), 1
  if #shape < 2 then where.raise("%s: the parameter has %d dimensions; fans need at least 2", what, #shape) end
  for d = 3, #shape do taps = taps * shape[d] end
  return shape[2] * taps, shape[1] * taps
end

local gains = {
  linear = 1, conv1d = 1, conv2d = 1, conv3d = 1, sigmoid = 1, tanh = 5 / 3, relu = math.sqrt(2), selu = 3 / 4,
  leaky_relu = function(slope) return math.sqrt(2 / (1 + slope * slope)) end,
}

-- nn.init.calculate_gain(nonlinearity [, slope = 0.01]) -> the factor by which weights before it grow. slope: of
-- leaky_relu.
function init.calculate_gain(nonlinearity, slope)
  local gain = gains[nonlinearity]
  if not gain then
    where.raise("nn.init: nonlinearity '%s' is unknown%s", tostring(nonlinearity),
                util.hint(nonlinearity, util.sorted_keys(gains)))
  end
  return type(gain) == "number" and gain or gain(slope or 0.01)
end

-- The standard deviation that He et al. (2015) ask for.
local function kaiming_sd(p, o, what)
  check_param(p, what)
  o = numbers(o, { a = 0, mode = "fan_in", nonlinearity = "leaky_relu" }, what)
  local fan_in, fan_out = fans(p, what)
  if o.mode ~= "fan_in" and o.mode ~= "fan_out" then
    where.raise("%s: mode must be 'fan_in' or 'fan_out', got %s", what, tostring(o.mode))
  end
  return init.calculate_gain(o.nonlinearity, o.a) / math.sqrt(o.mode == "fan_in" and fan_in or fan_out)
end

-- nn.init.kaiming_uniform(p [, {a = 0, mode = "fan_in" | "fan_out", nonlinearity = "leaky_relu"}]): uniform in
-- +-gain*sqrt(3/fan). a: the negative slope of leaky_relu. Conv2d's and Linear's own weights are those of a = sqrt(5).
function init.kaiming_uniform(p, o)
  local bound = math.sqrt(3) * kaiming_sd(p, o, "nn.init.kaiming_uniform")
  return uniform(p, -bound, bound)
end

-- nn.init.kaiming_normal(p [, options as for kaiming_uniform]): normal with standard deviation gain/sqrt(fan).
function init.kaiming_normal(p, o)
  return normal(p, 0, kaiming_sd(p, o, "nn.init.kaiming_normal"))
end

-- The standard deviation of Glorot and Bengio (2010).
local function xavier_sd(p, o, what)
  check_param(p, what)
  local fan_in, fan_out = fans(p, what)
  return numbers(o, { gain = 1 }, what).gain * math.sqrt(2 / (fan_in + fan_out))
end

-- nn.init.xavier_uniform(p [, {gain = 1}]): uniform in +-gain*sqrt(6/(fan_in + fan_out)).
function init.xavier_uniform(p, o)
  local bound = math.sqrt(3) * xavier_sd(p, o, "nn.init.xavier_uniform")
  return uniform(p, -bound, bound)
end

-- nn.init.xavier_normal(p [, {gain = 1}]): normal with standard deviation gain*sqrt(2/(fan_in + fan_out)).
function init.xavier_normal(p, o)
  return normal(p, 0, xavier_sd(p, o, "nn.init.xavier_normal"))
end

-- nn.init.uniform(p [, {a = 0, b = 1}]): uniform in [a, b).
function init.uniform(p, o)
  check_param(p, "nn.init.uniform")
  o = numbers(o, { a = 0, b = 1 }, "nn.init.uniform")
  if o.a > o.b then where.raise("nn.init.uniform: a = %g is above b = %g", o.a, o.b) end
  return uniform(p, o.a, o.b)
end

-- nn.init.normal(p [, {mean = 0, std = 1}]): normal.
function init.normal(p, o)
  check_param(p, "nn.init.normal")
  o = numbers(o, { mean = 0, std = 1 }, "nn.init.normal")
  if o.std < 0 then where.raise("nn.init.normal: std must not be negative, got %g", o.std) end
  return normal(p, o.mean, o.std)
end

-- The share of a normal distribution (mean 0, standard deviation 1) that is below z: erf by its Maclaurin series.
local function below(z)
  if math.abs(z) > 5 then return z > 0 and 1 or 0 end
  local x = z / math.sqrt(2)
  local term, sum, n = x, x, 0
  while math.abs(term) > 1e-17 do
    n = n + 1
    term = -term * x * x / n
    sum = sum + term / (2 * n + 1)
  end
  return 0.5 + sum / math.sqrt(math.pi)
end

-- What falls outside [a, b] is drawn again, by the same rule with step 1, 2, ..., until nothing does.
local function draw_truncated(t, seed, name, o)
  core.normal(t, seed, "init", name, 0, o.mean, o.std)
  for step = 1, math.huge do
    local outside = ops.maximum(t:lt(o.a), t:gt(o.b))
    if outside:count_nonzero() == 0 then return end
    t:copy_(ops.where(outside, core.normal(t:clone(), seed, "init", name, step, o.mean, o.std), t))
  end
end

-- nn.init.trunc_normal(p [, {mean = 0, std = 1, a = -2, b = 2}]): normal, but only within [a, b], which are values and not
-- multiples of std. [a, b] must hold at least 5 % of the normal distribution.
function init.trunc_normal(p, o)
  local what = "nn.init.trunc_normal"
  check_param(p, what)
  o = numbers(o, { mean = 0, std = 1, a = -2, b = 2 }, what)
  if not (o.std > 0) then where.raise("%s: std must be positive, got %g", what, o.std) end
  if o.a >= o.b then where.raise("%s: a = %g is not below b = %g", what, o.a, o.b) end
  local share = below((o.b - o.mean) / o.std) - below((o.a - o.mean) / o.std)
  if share < 0.05 then
    where.raise("%s: from a = %g to b = %g there is %.2g %% of the normal distribution of mean %g and std %g; at least "
                .. "5 %% is needed", what, o.a, o.b, 100 * share, o.mean, o.std)
  end
  module.redraw(p, function(t, seed, name) draw_truncated(t, seed, name, o) end)
  return p
end

-- nn.init.constant(p, value): every element is value, from now on.
function init.constant(p, value)
  check_param(p, "nn.init.constant")
  if type(value) ~= "number" then where.raise("nn.init.constant: the value must be a number, got %s", tostring(value)) end
  p:assign(p:tensor():clone():fill_(value))
  p:constrain()
  return p
end

-- nn.init.zeros(p)
function init.zeros(p)
  check_param(p, "nn.init.zeros")
  return init.constant(p, 0)
end

-- nn.init.ones(p)
function init.ones(p)
  check_param(p, "nn.init.ones")
  return init.constant(p, 1)
end

return init
