-- Blocks of layers that several families of models share, under torchvision's names (torchvision.ops), and the rounding
-- of channels that goes with them. May use nn's layers and nn/options.lua; knows no model.

local layers = require "wattle.nn.layers"
local module = require "wattle.nn.module"
local ops = require("wattle").ops
local options = require "wattle.nn.options"
local where = require "wattle.where"

local blocks = {}

-- nn.make_divisible(channels, divisor = 8) -> the multiple of divisor nearest to channels (halves go up), at least divisor
-- and never below 0.9 of channels: how networks with a width multiplier round (Sandler et al. 2018; torchvision's
-- _make_divisible).
function blocks.make_divisible(channels, divisor)
  divisor = divisor or 8
  if type(channels) ~= "number" or not math.tointeger(divisor) or divisor < 1 or not (channels > 0 and channels < 2^31) then
    where.raise("nn.make_divisible: channels must be a number above 0 and divisor an integer of at least 1, got %s and %s",
                tostring(channels), tostring(divisor))
  end
  local rounded = math.max(divisor, math.floor(channels + divisor / 2) // divisor * divisor)
  return math.tointeger(rounded < 0.9 * channels and rounded + divisor or rounded)
end

-- ---- layers --------------------------------------------------------------------------------------------------

-- (kernel_size - 1) // 2 * dilation, of one integer or of {height, width}.
local function keeping_padding(kernel_size, dilation)
  local function of(i)
    local k = type(kernel_size) == "table" and kernel_size[i] or kernel_size
    local d = type(dilation) == "table" and dilation[i] or dilation
    return math.tointeger(k) and math.tointeger(d) and (k - 1) // 2 * d
  end
  return { of(1), of(2) }
end

-- What makes a layer: a class of modules or a function; `false` is none.
local function maker(o, name, what, default)
  local v = o[name]
  if v == nil then return default end
  local meta = type(v) == "table" and getmetatable(v)
  if v ~= false and type(v) ~= "function" and not (meta and meta.__call and not module.is_module(v)) then
    where.raise("%s: %s must be a class such as nn.ReLU, a function that makes a layer, or false, got %s", what, name,
                tostring(v))
  end
  return v
end

-- nn.Conv2dNormActivation{in_channels =, out_channels =, kernel_size = 3, stride = 1, padding =, groups = 1,
-- norm_layer =, activation_layer = nn.ReLU, dilation = 1, bias =} (torchvision.ops.Conv2dNormActivation): a Sequential of
-- convolution, normalization and activation, children "0", "1" and "2". x (N,C,H,W) -> (N,O,OH,OW) as nn.Conv2d's.
-- padding is (kernel_size - 1) // 2 * dilation unless given. norm_layer: function(channels) -> module, batch norm unless
-- given; activation_layer: a class or function() -> module; `false` leaves either out. bias: of the convolution, by
-- default only where nothing normalizes.
local Conv2dNormActivation = module.class("Conv2dNormActivation", layers.Sequential)
blocks.Conv2dNormActivation = Conv2dNormActivation

function Conv2dNormActivation:init(o)
  local what = "nn.Conv2dNormActivation"
  options.check(o, { "in_channels", "out_channels", "kernel_size", "stride", "padding", "groups", "norm_layer",
                     "activation_layer", "dilation", "bias" }, what)
  local norm = maker(o, "norm_layer", what, function(n) return layers.BatchNorm2d{ num_features = n } end)
  local activation = maker(o, "activation_layer", what, layers.ReLU)
  local kernel_size, dilation, bias = o.kernel_size or 3, o.dilation or 1, o.bias
  if bias == nil then bias = not norm end
  self:append(layers.Conv2d{
    in_channels = o.in_channels, out_channels = o.out_channels, kernel_size = kernel_size, stride = o.stride,
    padding = o.padding or keeping_padding(kernel_size, dilation), dilation = dilation, groups = o.groups, bias = bias })
  if norm then self:append(norm(o.out_channels)) end
  if activation then self:append(activation()) end
end

-- nn.SqueezeExcitation{input_channels =, squeeze_channels =, activation = nn.ReLU, scale_activation = nn.Sigmoid}
-- (torchvision.ops.SqueezeExcitation; Hu et al. 2018, fig. 1). x (N,C,H,W) -> x * scale, one scale for each image and
-- channel: fc1 (1x1, C -> squeeze_channels), activation, fc2 (1x1, back to C) and scale_activation of x's mean over H
-- and W.
local SqueezeExcitation = module.class "SqueezeExcitation"
blocks.SqueezeExcitation = SqueezeExcitation

function SqueezeExcitation:init(o)
  local what = "nn.SqueezeExcitation"
  options.check(o, { "input_channels", "squeeze_channels", "activation", "scale_activation" }, what)
  local wide, narrow = options.count(o, "input_channels", what), options.count(o, "squeeze_channels", what)
  self.avgpool = layers.AdaptiveAvgPool2d{ output_size = 1 }
  self.fc1 = layers.Conv2d{ in_channels = wide, out_channels = narrow, kernel_size = 1 }
  self.fc2 = layers.Conv2d{ in_channels = narrow, out_channels = wide, kernel_size = 1 }
  self.activation = (maker(o, "activation", what, layers.ReLU) or layers.Identity)()
  self.scale_activation = (maker(o, "scale_activation", what, layers.Sigmoid) or layers.Identity)()
end

function SqueezeExcitation:forward(x)
  local scale = self.fc2(self.activation(self.fc1(self.avgpool(x))))
  return self.scale_activation(scale) * x
end

-- nn.Permute{dims = {0, 2, 3, 1}} (torchvision.ops.Permute): the dimensions in another order, dim k of the result being
-- dim dims[k] of x; dims count from 0.
local Permute = module.class "Permute"
blocks.Permute = Permute

function Permute:init(o)
  options.check(o, { "dims" }, "nn.Permute")
  local seen, n = {}, type(o.dims) == "table" and #o.dims or 0
  for _, d in ipairs(o.dims or {}) do
    if not math.tointeger(d) or d < 0 or d >= n or seen[d] then n = 0 else seen[d] = true end
  end
  if n == 0 then where.raise("nn.Permute: dims must hold each of 0, 1, ... once, as in {0, 2, 3, 1}") end
  self.dims = table.move(o.dims, 1, n, 1, {})
end

function Permute:forward(x)
  return ops.permute(x, { dims = self.dims })
end

function Permute:extra_repr()
  return "dims=[" .. table.concat(self.dims, ", ") .. "]"
end

return blocks
