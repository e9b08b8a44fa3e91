-- EfficientNet-B0 to B4 (Tan and Le 2019): mobile blocks with squeeze-and-excitation, scaled in width and depth. Parameters
-- are named and shaped as in torchvision; weights of timm's efficientnet_b0 ... b4 load as well (its tf_efficientnet_...
-- have the same names, but pad and normalize otherwise). The plane is halved five times: image_size from 1 on, better a
-- multiple of 32; the weights were made at 224, 240, 288, 300 and 380.
--   dropout =                       before the last layer: 0.2, 0.2, 0.3, 0.3, 0.4 by name
--   stochastic_depth_prob = 0.2     chance to skip a block in training, growing to this at the last

local nn = require "wattle.nn"
local real = require("wattle.nn.options").real

-- width, depth, dropout
local variants = {
  efficientnet_b0 = { 1.0, 1.0, 0.2 }, efficientnet_b1 = { 1.0, 1.1, 0.2 }, efficientnet_b2 = { 1.1, 1.2, 0.3 },
  efficientnet_b3 = { 1.2, 1.4, 0.3 }, efficientnet_b4 = { 1.4, 1.8, 0.4 },
}

-- expansion, kernel, stride of the first block, channels, blocks
local stages = {
  { 1, 3, 1, 16, 1 }, { 6, 3, 2, 24, 2 }, { 6, 5, 2, 40, 2 }, { 6, 3, 2, 80, 3 }, { 6, 5, 1, 112, 3 }, { 6, 5, 2, 192, 4 },
  { 6, 3, 1, 320, 1 },
}

-- activation: nn.SiLU, or false for none.
local function conv_bn(cin, cout, kernel, stride, groups, activation)
  return nn.Conv2dNormActivation{ in_channels = cin, out_channels = cout, kernel_size = kernel, stride = stride,
                                  groups = groups, activation_layer = activation }
end

local MBConv = nn.class "MBConv"

function MBConv:init(cin, cout, kernel, stride, expansion, skip_prob)
  local wide = nn.make_divisible(cin * expansion)
  self.use_res_connect = stride == 1 and cin == cout
  self.block = nn.Sequential{}
  if wide ~= cin then self.block:append(conv_bn(cin, wide, 1, 1, 1, nn.SiLU)) end
  self.block:append(conv_bn(wide, wide, kernel, stride, wide, nn.SiLU))
  self.block:append(nn.SqueezeExcitation{ input_channels = wide, squeeze_channels = math.max(1, cin // 4),
                                          activation = nn.SiLU })
  self.block:append(conv_bn(wide, cout, 1, 1, 1, false))
  self.stochastic_depth = nn.StochasticDepth{ p = skip_prob, mode = "row" }
end

-- x (N, cin, H, W) -> (N, cout, ceil(H/stride), ceil(W/stride))
function MBConv:forward(x)
  local y = self.block(x)
  return self.use_res_connect and self.stochastic_depth(y) + x or y
end

local EfficientNet = nn.class "EfficientNet"

-- torchvision's: He's normal for convolutions, +-1/sqrt(outputs) for the linear layer, biases zero.
local function initialise(model)
  for _, entry in ipairs(model:modules()) do
    local m = entry.module
    if m.class_name == "Conv2d" then
      nn.init.kaiming_normal(m.weight, { mode = "fan_out" })
      if m.bias then nn.init.zeros(m.bias) end
    elseif m.class_name == "Linear" then
      local bound = m.out_features ^ -0.5
      nn.init.uniform(m.weight, { a = -bound, b = bound })
      nn.init.zeros(m.bias)
    end
  end
end

function EfficientNet:init(o)
  local blocks, done, cin = 0, 0, nn.make_divisible(32 * o.width)
  for _, stage in ipairs(stages) do blocks = blocks + math.ceil(stage[5] * o.depth) end
  self.features = nn.Sequential{ conv_bn(o.in_channels, cin, 3, 2, 1, nn.SiLU) }
  for _, stage in ipairs(stages) do
    local expansion, kernel, stride, channels, n = table.unpack(stage)
    local cout, list = nn.make_divisible(channels * o.width), nn.Sequential{}
    for i = 1, math.ceil(n * o.depth) do
      list:append(MBConv(cin, cout, kernel, i == 1 and stride or 1, expansion, o.skip_prob * done / blocks))
      cin, done = cout, done + 1
    end
    self.features:append(list)
  end
  self.features:append(conv_bn(cin, 4 * cin, 1, 1, 1, nn.SiLU))
  self.avgpool = nn.AdaptiveAvgPool2d{ output_size = 1 }
  self.classifier = nn.Sequential{
    nn.Dropout{ p = o.dropout }, nn.Linear{ in_features = 4 * cin, out_features = o.num_classes } }
  initialise(self)
end

-- x (N,C,H,W) -> logits (N, num_classes)
function EfficientNet:forward(x)
  return self.classifier(self.avgpool(self.features(x)):flatten())
end

-- ---- other people's names ------------------------------------------------------------------------------------

-- Parts of timm's blocks: of the first stage, which does not widen, and of all others.
local first = { conv_dw = "0.0", bn1 = "0.1", ["se.conv_reduce"] = "1.fc1", ["se.conv_expand"] = "1.fc2", conv_pw = "2.0",
                bn2 = "2.1" }
local later = { conv_pw = "0.0", bn1 = "0.1", conv_dw = "1.0", bn2 = "1.1", ["se.conv_reduce"] = "2.fc1",
                ["se.conv_expand"] = "2.fc2", conv_pwl = "3.0", bn3 = "3.1" }
local ends = { conv_stem = "features.0.0", bn1 = "features.0.1", conv_head = "features.8.0", bn2 = "features.8.1",
               classifier = "classifier.1" }

local function keys(_, file_names)
  local is_timm = false
  for _, name in ipairs(file_names) do is_timm = is_timm or name == "conv_stem.weight" end
  if not is_timm then return nil end
  local map = {}
  for _, name in ipairs(file_names) do
    local prefix, last = name:match "^(.*)%.([^.]+)$"
    local stage, block, part = name:match "^blocks%.(%d+)%.(%d+)%.(.*)%.[^.]+$"
    if ends[prefix] then
      map[name] = ends[prefix] .. "." .. last
    elseif stage then
      -- the first stage's later blocks (B1 to B4) do not widen either
      local ours = (stage == "0" and first or later)[part]
      if ours then map[name] = ("features.%d.%s.block.%s.%s"):format(stage + 1, block, ours, last) end
    end
  end
  return map
end

return {
  names = { "efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3", "efficientnet_b4" },
  options = { "dropout", "stochastic_depth_prob" },
  defaults = { num_classes = 1000, in_channels = 3, image_size = 224 },
  create = function(name, o)
    local width, depth, dropout = table.unpack(variants[name])
    return EfficientNet{ width = width, depth = depth, dropout = o.dropout or dropout,
                         skip_prob = real(o, "stochastic_depth_prob", name, 0.2, 0, 1),
                         in_channels = o.in_channels, num_classes = o.num_classes }
  end,
  head = { "^classifier%.1%." },
  stem = "features.0.0.weight",
  keys = keys,
}
