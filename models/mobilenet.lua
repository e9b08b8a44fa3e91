-- MobileNetV2 (Sandler et al. 2018): blocks that widen by a 1x1 convolution, filter each channel by itself, and narrow
-- again without an activation. Parameters are named and shaped as in torchvision; weights of timm's mobilenetv2_100 load
-- as well. The plane is halved five times: image_size from 1 on, better a multiple of 32.
--   width_mult = 1   factor of the channels, which are rounded to multiples of 8
--   dropout = 0.2    before the last layer

local nn = require "wattle.nn"
local where = require "wattle.where"

-- expansion, channels, blocks, stride of the first
local stages = {
  { 1, 16, 1, 1 }, { 6, 24, 2, 2 }, { 6, 32, 3, 2 }, { 6, 64, 4, 2 }, { 6, 96, 3, 1 }, { 6, 160, 3, 2 }, { 6, 320, 1, 1 },
}

local function conv_bn_relu6(cin, cout, kernel, stride, groups)
  return nn.Conv2dNormActivation{ in_channels = cin, out_channels = cout, kernel_size = kernel, stride = stride,
                                  groups = groups, activation_layer = nn.ReLU6 }
end

local InvertedResidual = nn.class "InvertedResidual"

function InvertedResidual:init(cin, cout, stride, expansion)
  local wide = cin * expansion
  self.use_res_connect = stride == 1 and cin == cout
  self.conv = nn.Sequential{}
  if expansion > 1 then self.conv:append(conv_bn_relu6(cin, wide, 1, 1)) end
  self.conv:append(conv_bn_relu6(wide, wide, 3, stride, wide))
  self.conv:append(nn.Conv2d{ in_channels = wide, out_channels = cout, kernel_size = 1, bias = false })
  self.conv:append(nn.BatchNorm2d{ num_features = cout })
end

-- x (N, cin, H, W) -> (N, cout, ceil(H/stride), ceil(W/stride))
function InvertedResidual:forward(x)
  local y = self.conv(x)
  return self.use_res_connect and x + y or y
end

local MobileNetV2 = nn.class "MobileNetV2"

function MobileNetV2:init(o)
  local mult = o.width_mult
  local cin, last = nn.make_divisible(32 * mult), nn.make_divisible(1280 * math.max(1, mult))
  self.features = nn.Sequential{ conv_bn_relu6(o.in_channels, cin, 3, 2) }
  for _, stage in ipairs(stages) do
    local expansion, channels, n, stride = table.unpack(stage)
    local cout = nn.make_divisible(channels * mult)
    for i = 1, n do
      self.features:append(InvertedResidual(cin, cout, i == 1 and stride or 1, expansion))
      cin = cout
    end
  end
  self.features:append(conv_bn_relu6(cin, last, 1, 1))
  self.classifier = nn.Sequential{
    nn.Dropout{ p = o.dropout }, nn.Linear{ in_features = last, out_features = o.num_classes } }
  for _, entry in ipairs(self:modules()) do
    local m = entry.module
    if m.class_name == "Conv2d" then
      nn.init.kaiming_normal(m.weight, { mode = "fan_out" })
    elseif m.class_name == "Linear" then
      nn.init.normal(m.weight, { std = 0.01 })
      nn.init.zeros(m.bias)
    end
  end
end

-- x (N,C,H,W) -> logits (N, num_classes)
function MobileNetV2:forward(x)
  return self.classifier(nn.global_avg_pool2d(self.features(x)))
end

-- ---- other people's names ------------------------------------------------------------------------------------

-- timm's "blocks.STAGE.BLOCK." and what follows -> torchvision's "features.N.conv." and what follows.
local function from_timm()
  local prefixes = { conv_stem = "features.0.0", bn1 = "features.0.1", conv_head = "features.18.0", bn2 = "features.18.1",
                     classifier = "classifier.1" }
  local n = 0
  for s, stage in ipairs(stages) do
    for b = 1, stage[3] do
      n = n + 1
      local parts = stage[1] == 1 and { conv_dw = "0.0", bn1 = "0.1", conv_pw = "1", bn2 = "2" }
                    or { conv_pw = "0.0", bn1 = "0.1", conv_dw = "1.0", bn2 = "1.1", conv_pwl = "2", bn3 = "3" }
      for theirs, ours in pairs(parts) do
        prefixes[("blocks.%d.%d.%s"):format(s - 1, b - 1, theirs)] = ("features.%d.conv.%s"):format(n, ours)
      end
    end
  end
  return prefixes
end

local function keys(_, file_names)
  local is_timm = false
  for _, name in ipairs(file_names) do is_timm = is_timm or name == "conv_stem.weight" end
  if not is_timm then return nil end
  local map, prefixes = {}, from_timm()
  for _, name in ipairs(file_names) do
    local prefix, last = name:match "^(.*)%.([^.]+)$"
    if prefixes[prefix] then map[name] = prefixes[prefix] .. "." .. last end
  end
  return map
end

return {
  names = { "mobilenet_v2" },
  options = { "width_mult", "dropout" },
  defaults = { num_classes = 1000, in_channels = 3, image_size = 224 },
  create = function(_, o)
    local mult = o.width_mult or 1
    if type(mult) ~= "number" or not (mult > 0 and mult <= 100) then
      where.raise("mobilenet_v2: width_mult must be a number above 0, got %s", tostring(mult))
    end
    return MobileNetV2{ width_mult = mult, dropout = o.dropout or 0.2, in_channels = o.in_channels,
                        num_classes = o.num_classes }
  end,
  head = { "^classifier%.1%." },
  stem = "features.0.0.weight",
  keys = keys,
}
