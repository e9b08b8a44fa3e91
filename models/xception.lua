-- Xception (Chollet 2017): separable convolutions, each channel filtered by itself before a 1x1 convolution mixes them, in
-- twelve blocks with shortcuts. Parameters are named and shaped as in timm (legacy_xception), whose files load; so do files
-- that call the last layer last_linear. image_size from 7 on; the weights were made at 299.

local nn = require "wattle.nn"
local where = require "wattle.where"

local SeparableConv2d = nn.class "SeparableConv2d"

function SeparableConv2d:init(cin, cout)
  self.conv1 = nn.Conv2d{ in_channels = cin, out_channels = cin, kernel_size = 3, padding = 1, groups = cin, bias = false }
  self.pointwise = nn.Conv2d{ in_channels = cin, out_channels = cout, kernel_size = 1, bias = false }
end

-- x (N, cin, H, W) -> (N, cout, H, W)
function SeparableConv2d:forward(x)
  return self.pointwise(self.conv1(x))
end

-- widths: the channels before, between and after the separable convolutions. The first block of all has no ReLU in front.
local Block = nn.class "Block"

function Block:init(widths, stride, first)
  local cin, cout = widths[1], widths[#widths]
  if stride > 1 or cin ~= cout then
    self.skip = nn.Conv2d{ in_channels = cin, out_channels = cout, kernel_size = 1, stride = stride, bias = false }
    self.skipbn = nn.BatchNorm2d{ num_features = cout }
  end
  self.rep = nn.Sequential{}
  for i = 2, #widths do
    if i > 2 or not first then self.rep:append(nn.ReLU()) end
    self.rep:append(SeparableConv2d(widths[i - 1], widths[i]))
    self.rep:append(nn.BatchNorm2d{ num_features = widths[i] })
  end
  if stride > 1 then self.rep:append(nn.MaxPool2d{ kernel_size = 3, stride = stride, padding = 1 }) end
end

-- x (N,C,H,W) -> (N, cout, ceil(H/stride), ceil(W/stride))
function Block:forward(x)
  local shortcut = self.skip and self.skipbn(self.skip(x)) or x
  return self.rep(x) + shortcut
end

local Xception = nn.class "Xception"

function Xception:init(o)
  self.conv1 = nn.Conv2d{ in_channels = o.in_channels, out_channels = 32, kernel_size = 3, stride = 2, bias = false }
  self.bn1 = nn.BatchNorm2d{ num_features = 32 }
  self.conv2 = nn.Conv2d{ in_channels = 32, out_channels = 64, kernel_size = 3, bias = false }
  self.bn2 = nn.BatchNorm2d{ num_features = 64 }
  self.block1 = Block({ 64, 128, 128 }, 2, true)
  self.block2 = Block({ 128, 256, 256 }, 2)
  self.block3 = Block({ 256, 728, 728 }, 2)
  for i = 4, 11 do self["block" .. i] = Block({ 728, 728, 728, 728 }, 1) end
  self.block12 = Block({ 728, 728, 1024 }, 2)
  self.conv3 = SeparableConv2d(1024, 1536)
  self.bn3 = nn.BatchNorm2d{ num_features = 1536 }
  self.conv4 = SeparableConv2d(1536, 2048)
  self.bn4 = nn.BatchNorm2d{ num_features = 2048 }
  self.fc = nn.Linear{ in_features = 2048, out_features = o.num_classes }
  for _, entry in ipairs(self:modules()) do
    if entry.module.class_name == "Conv2d" then
      nn.init.kaiming_normal(entry.module.weight, { mode = "fan_out", nonlinearity = "relu" })
    end
  end
end

-- x (N,C,H,W) -> logits (N, num_classes)
function Xception:forward(x)
  if x:size(2) < 7 or x:size(3) < 7 then
    where.raise("xception: images must have at least 7 x 7 pixels, got %d x %d", x:size(2), x:size(3))
  end
  x = nn.relu(self.bn1(self.conv1(x)))
  x = nn.relu(self.bn2(self.conv2(x)))
  for i = 1, 12 do x = self["block" .. i](x) end
  x = nn.relu(self.bn3(self.conv3(x)))
  x = nn.relu(self.bn4(self.conv4(x)))
  return self.fc(nn.global_avg_pool2d(x))
end

local function keys(_, file_names)
  for _, name in ipairs(file_names) do
    if name == "last_linear.weight" then
      return { ["last_linear.weight"] = "fc.weight", ["last_linear.bias"] = "fc.bias" }
    end
  end
end

return {
  names = { "xception" },
  options = {},
  defaults = { num_classes = 1000, in_channels = 3, image_size = 299 },
  create = function(_, o) return Xception(o) end,
  head = { "^fc%." },
  stem = "conv1.weight",
  keys = keys,
}
