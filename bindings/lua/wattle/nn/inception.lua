-- What models/googlenet.lua and models/inception.lua have in common: their convolution, their options and what they do
-- to images. May use nn's layers; knows no model. Not part of nn's public names.

local layers = require "wattle.nn.layers"
local init = require "wattle.nn.init"
local module = require "wattle.nn.module"
local ops = require("wattle").ops
local where = require "wattle.where"

local inception = {}

-- BasicConv2d{as nn.Conv2d's options, without bias}: convolution, batch norm with eps 0.001, ReLU, under torchvision's
-- names, conv and bn. x (N,C,H,W) -> (N,O,OH,OW).
local BasicConv2d = module.class "BasicConv2d"
inception.BasicConv2d = BasicConv2d

function BasicConv2d:init(o)
  o.bias = false
  self.conv = layers.Conv2d(o)
  self.bn = layers.BatchNorm2d{ num_features = o.out_channels, eps = 0.001 }
end

function BasicConv2d:forward(x)
  return ops.relu(self.bn(self.conv(x)))
end

-- aux_logits (default true) and transform_input (default: where weights are given for images of 3 channels) of a family's
-- options o, checked.
function inception.options(name, o)
  local aux, transform = o.aux_logits, o.transform_input
  if aux == nil then aux = true end
  if transform == nil then transform = o.pretrained == true and o.in_channels == 3 end
  for option, value in pairs{ aux_logits = aux, transform_input = transform } do
    if type(value) ~= "boolean" then
      where.raise("models.create %s: %s must be true or false, got %s", name, option, tostring(value))
    end
  end
  if transform and o.in_channels ~= 3 then
    where.raise("models.create %s: transform_input is for images of 3 channels, not %d", name, o.in_channels)
  end
  return aux, transform
end

local mean, deviation = { 0.485, 0.456, 0.406 }, { 0.229, 0.224, 0.225 } -- ImageNet's, red, green, blue

-- Images normalized as (p - mean)/deviation -> the same as (p - 0.5)/0.5, as Inception's first weights wanted them.
-- x (N,3,H,W) -> (N,3,H,W).
function inception.transform(x)
  local channel = {}
  for c = 1, 3 do
    local one = ops.slice(x, { dim = 1, start = c - 1, stop = c })
    channel[c] = one * (deviation[c] / 0.5) + (mean[c] - 0.5) / 0.5
  end
  return ops.concat(channel[1], channel[2], channel[3], { dim = 1 })
end

-- Every convolution and linear layer begins as torchvision's: normal within [-2, 2], with standard deviation std(layer).
function inception.initialise(model, std)
  for _, entry in ipairs(model:modules()) do
    local m = entry.module
    if m.weight and (m.kernel_size or m.in_features) then init.trunc_normal(m.weight, { std = std(m) }) end
  end
end

return inception
