-- VGG (Simonyan and Zisserman 2015): vgg11, 13, 16, 19, and with batch norm vgg11_bn, ... Images from 32x32; 224 is what
-- they were made for.
--   dropout = 0.5   after the first and the second linear layer

local nn = require "wattle.nn"

-- Widths of the 3x3 convolutions in the five stages, each of which ends with a pool.
local widths = {
  vgg11 = { { 64 }, { 128 }, { 256, 256 }, { 512, 512 }, { 512, 512 } },
  vgg13 = { { 64, 64 }, { 128, 128 }, { 256, 256 }, { 512, 512 }, { 512, 512 } },
  vgg16 = { { 64, 64 }, { 128, 128 }, { 256, 256, 256 }, { 512, 512, 512 }, { 512, 512, 512 } },
  vgg19 = { { 64, 64 }, { 128, 128 }, { 256, 256, 256, 256 }, { 512, 512, 512, 512 }, { 512, 512, 512, 512 } },
}

local function features(stages, channels, with_bn)
  local list = nn.Sequential{}
  for _, stage in ipairs(stages) do
    for _, width in ipairs(stage) do
      list:append(nn.Conv2d{ in_channels = channels, out_channels = width, kernel_size = 3, padding = 1 })
      if with_bn then list:append(nn.BatchNorm2d{ num_features = width }) end
      list:append(nn.ReLU())
      channels = width
    end
    list:append(nn.MaxPool2d{ kernel_size = 2, stride = 2 })
  end
  return list
end

local VGG = nn.class "VGG"

function VGG:init(stages, with_bn, o)
  local dropout = o.dropout or 0.5
  self.features = features(stages, o.in_channels, with_bn)
  self.avgpool = nn.AdaptiveAvgPool2d{ output_size = 7 }
  self.classifier = nn.Sequential{
    nn.Linear{ in_features = 512 * 7 * 7, out_features = 4096 }, nn.ReLU(), nn.Dropout{ p = dropout },
    nn.Linear{ in_features = 4096, out_features = 4096 }, nn.ReLU(), nn.Dropout{ p = dropout },
    nn.Linear{ in_features = 4096, out_features = o.num_classes },
  }
  for _, entry in ipairs(self:modules()) do
    local m = entry.module
    if m.class_name == "Conv2d" then
      nn.init.kaiming_normal(m.weight, { mode = "fan_out", nonlinearity = "relu" })
      nn.init.zeros(m.bias)
    elseif m.class_name == "Linear" then
      nn.init.normal(m.weight, { std = 0.01 })
      nn.init.zeros(m.bias)
    end
  end
end

-- x (N,C,H,W) -> logits (N, num_classes)
function VGG:forward(x)
  return self.classifier(self.avgpool(self.features(x)):flatten())
end

-- timm's files, whose first two linear layers are convolutions: pre_logits.fc1.weight (4096, 512, 7, 7) and
-- pre_logits.fc2.weight (4096, 4096, 1, 1), and the last one head.fc. features.* are the same.
local timm = { ["pre_logits.fc1"] = 0, ["pre_logits.fc2"] = 3, ["head.fc"] = 6 }

local function keys(_, file_names)
  local map = {}
  for _, name in ipairs(file_names) do
    local layer, kind = name:match "^(.*)%.(%a+)$"
    local at = timm[layer]
    if at then
      local flat = at ~= 6 and kind == "weight"
      map[name] = { name = ("classifier.%d.%s"):format(at, kind), reshape = flat and { 4096, -1 } or nil }
    end
  end
  return next(map) and map or nil
end

return {
  names = { "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn" },
  options = { "dropout" },
  defaults = { num_classes = 1000, in_channels = 3, image_size = 224 },
  create = function(name, o) return VGG(widths[name:match "^vgg%d+"], name:find "_bn$" ~= nil, o) end,
  head = { "^classifier%.6%." },
  stem = "features.0.weight",
  keys = keys,
}
