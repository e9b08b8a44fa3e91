-- Activations, softmax, dropout and stochastic depth: PyTorch's layers of those names, part of nn/layers.lua. May use
-- nn/module.lua and nn/options.lua.

local ops = require("wattle").ops
local where = require "wattle.where"
local module = require "wattle.nn.module"
local opt = require "wattle.nn.options"
local options, count, real = opt.check, opt.count, opt.real

local activations = {}

-- A class of modules without options over the op of one input.
local function unary(name, op)
  local class = module.class(name)
  activations[name] = class
  function class:init(o)
    if o ~= nil then options(o, {}, "nn." .. name) end
  end
  function class:forward(x)
    return ops[op](x)
  end
end

-- nn.ReLU() (torch.nn.ReLU). Any shape; y = max(x, 0).
unary("ReLU", "relu")

-- nn.ReLU6() (torch.nn.ReLU6). Any shape; y = min(max(x, 0), 6).
unary("ReLU6", "relu6")

-- nn.SiLU() (torch.nn.SiLU). Any shape; y = x/(1 + exp(-x)).
unary("SiLU", "silu")

-- nn.Hardswish() (torch.nn.Hardswish). Any shape; y = x*min(max(x + 3, 0), 6)/6.
unary("Hardswish", "hardswish")

-- nn.Hardsigmoid() (torch.nn.Hardsigmoid). Any shape; y = min(max(x + 3, 0), 6)/6.
unary("Hardsigmoid", "hardsigmoid")

-- nn.Sigmoid() (torch.nn.Sigmoid). Any shape; y = 1/(1 + exp(-x)).
unary("Sigmoid", "sigmoid")

-- nn.Tanh() (torch.nn.Tanh). Any shape; y = tanh x.
unary("Tanh", "tanh")

-- nn.GELU{approximate = "none"} (torch.nn.GELU). Any shape; y = x * P(a standard normal number is below x), or with
-- approximate = "tanh" x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))).
local GELU = module.class "GELU"
activations.GELU = GELU

function GELU:init(o)
  self.approximate = (o == nil and {} or options(o, { "approximate" }, "nn.GELU")).approximate or "none"
  if self.approximate ~= "none" and self.approximate ~= "tanh" then
    where.raise('nn.GELU: approximate must be "none" or "tanh", got %s', tostring(self.approximate))
  end
end

function GELU:forward(x)
  return ops.gelu(x, { tanh = self.approximate == "tanh" })
end

function GELU:extra_repr()
  return ("approximate='%s'"):format(self.approximate)
end

-- A class of modules over the op of one input and a dim, which must be given.
local function along(name, op)
  local class, what = module.class(name), "nn." .. name
  activations[name] = class
  function class:init(o)
    self.dim = count(options(o, { "dim" }, what), "dim", what, nil, -8)
  end
  function class:forward(x)
    return ops[op](x, { dim = self.dim })
  end
  function class:extra_repr()
    return ("dim=%d"):format(self.dim)
  end
end

-- nn.Softmax{dim =} (torch.nn.Softmax). Any shape; y = exp(x) / sum over dim of exp(x). dim counts from 0, a negative
-- one from the end.
along("Softmax", "softmax")

-- nn.LogSoftmax{dim =} (torch.nn.LogSoftmax). Any shape; y = x - log(sum over dim of exp(x)).
along("LogSoftmax", "log_softmax")

-- nn.Dropout{p = 0.5} (torch.nn.Dropout), 0 <= p < 1. Any shape; in training each element becomes 0 with probability p
-- and x/(1-p) otherwise, drawn anew each step; in evaluation y = x. A plan's mode is that of compile.
local Dropout = module.class "Dropout"
activations.Dropout = Dropout

function Dropout:init(o)
  self.p = real(o == nil and {} or options(o, { "p" }, "nn.Dropout"), "p", "nn.Dropout", 0.5, 0, 1)
  if self.p == 1 then where.raise "nn.Dropout: p = 1 would drop everything; it must be below 1" end
end

function Dropout:forward(x)
  if not self.training or self.p == 0 then return x end
  return ops.dropout(x, { p = self.p, training = true })
end

function Dropout:extra_repr()
  return ("p=%g, inplace=False"):format(self.p)
end

-- nn.StochasticDepth{p =, mode = "row"} (torchvision.ops.StochasticDepth), 0 <= p <= 1. x (N,...); in training each sample
-- becomes 0 with probability p and x/(1-p) otherwise, drawn anew each step; with mode = "batch" the whole batch shares
-- one draw. In evaluation y = x. A plan's mode is that of compile.
local StochasticDepth = module.class "StochasticDepth"
activations.StochasticDepth = StochasticDepth

function StochasticDepth:init(o)
  local what = "nn.StochasticDepth"
  self.p = real(options(o, { "p", "mode" }, what), "p", what, nil, 0, 1)
  self.mode = o.mode == nil and "row" or o.mode
  if self.mode ~= "row" and self.mode ~= "batch" then
    where.raise('%s: mode must be "row" or "batch", got %s', what, tostring(self.mode))
  end
end

function StochasticDepth:forward(x)
  if not self.training or self.p == 0 then return x end
  return ops.stochastic_depth(x, { p = self.p, training = true, row = self.mode == "row" })
end

function StochasticDepth:extra_repr()
  return ("p=%s, mode=%s"):format(tostring(self.p), self.mode)
end

return activations
