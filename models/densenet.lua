-- Densely connected networks (Huang et al. 2017; the "BC" form): densenet121, 169, 201. Within a block each layer sees
-- the channels of all layers before it and adds 32. Images from 29x29; 224 is what they were made for.
--   drop_rate = 0   dropout of what each layer adds

local nn = require "wattle.nn"

local GROWTH, BOTTLENECK = 32, 4 -- channels that a layer adds; how many times as many its 1x1 convolution has

local function conv(cin, cout, kernel)
  return nn.Conv2d{ in_channels = cin, out_channels = cout, kernel_size = kernel, padding = kernel // 2, bias = false }
end

local function batch_norm(n)
  return nn.BatchNorm2d{ num_features = n }
end

local DenseLayer = nn.class "DenseLayer"

function DenseLayer:init(cin, drop_rate)
  self.norm1 = batch_norm(cin)
  self.relu1 = nn.ReLU()
  self.conv1 = conv(cin, BOTTLENECK * GROWTH, 1)
  self.norm2 = batch_norm(BOTTLENECK * GROWTH)
  self.relu2 = nn.ReLU()
  self.conv2 = conv(BOTTLENECK * GROWTH, GROWTH, 3)
  if drop_rate ~= 0 then self.dropout = nn.Dropout{ p = drop_rate } end
end

-- x (N, cin, H, W) -> (N, 32, H, W)
function DenseLayer:forward(x)
  x = self.conv1(self.relu1(self.norm1(x)))
  x = self.conv2(self.relu2(self.norm2(x)))
  return self.dropout and self.dropout(x) or x
end

local DenseBlock = nn.class "DenseBlock"

function DenseBlock:init(layers, cin, drop_rate)
  for i = 1, layers do self["denselayer" .. i] = DenseLayer(cin + (i - 1) * GROWTH, drop_rate) end
end

-- x (N, cin, H, W) -> (N, cin + 32*layers, H, W)
function DenseBlock:forward(x)
  for i = 1, #self do x = nn.concat(x, self["denselayer" .. i](x), { dim = 1 }) end
  return x
end

local Transition = nn.class "Transition"

function Transition:init(cin)
  self.norm = batch_norm(cin)
  self.relu = nn.ReLU()
  self.conv = conv(cin, cin // 2, 1)
  self.pool = nn.AvgPool2d{ kernel_size = 2, stride = 2 }
end

-- x (N, cin, H, W) -> (N, cin/2, H/2, W/2)
function Transition:forward(x)
  return self.pool(self.conv(self.relu(self.norm(x))))
end

-- Everything before the classifier, under torchvision's names; its children are applied in their order.
local Features = nn.class "Features"

function Features:init(layers, o)
  self.conv0 = nn.Conv2d{ in_channels = o.in_channels, out_channels = 64, kernel_size = 7, stride = 2, padding = 3,
                          bias = false }
  self.norm0 = batch_norm(64)
  self.relu0 = nn.ReLU()
  self.pool0 = nn.MaxPool2d{ kernel_size = 3, stride = 2, padding = 1 }
  local channels = 64
  for i, n in ipairs(layers) do
    self["denseblock" .. i] = DenseBlock(n, channels, o.drop_rate or 0)
    channels = channels + n * GROWTH
    if i < #layers then
      self["transition" .. i] = Transition(channels)
      channels = channels // 2
    end
  end
  self.norm5 = batch_norm(channels)
end

function Features:forward(x)
  for _, child in pairs(self) do x = child(x) end
  return x
end

local DenseNet = nn.class "DenseNet"

function DenseNet:init(layers, o)
  self.features = Features(layers, o)
  self.classifier = nn.Linear{ in_features = self.features.norm5.num_features, out_features = o.num_classes }
  for _, entry in ipairs(self:modules()) do
    local m = entry.module
    if m.class_name == "Conv2d" then nn.init.kaiming_normal(m.weight) end
  end
  nn.init.zeros(self.classifier.bias)
end

-- x (N,C,H,W) -> logits (N, num_classes)
function DenseNet:forward(x)
  return self.classifier(nn.global_avg_pool2d(nn.relu(self.features(x))))
end

local layers = {
  densenet121 = { 6, 12, 24, 16 },
  densenet169 = { 6, 12, 32, 32 },
  densenet201 = { 6, 12, 48, 32 },
}

-- The files that torchvision publishes were written when a module's name could hold a dot: ...denselayer1.norm.1.weight
-- is our ...denselayer1.norm1.weight. timm's files and what torchvision saves today have the new names.
local function keys(_, file_names)
  local map = {}
  for _, name in ipairs(file_names) do
    local new, n = name:gsub("(denselayer%d+%.%a+)%.([12]%.)", "%1%2", 1)
    if n > 0 then map[name] = new end
  end
  return next(map) and map or nil
end

return {
  names = { "densenet121", "densenet169", "densenet201" },
  options = { "drop_rate" },
  defaults = { num_classes = 1000, in_channels = 3, image_size = 224 },
  create = function(name, o) return DenseNet(layers[name], o) end,
  head = { "^classifier%." },
  stem = "features.conv0.weight",
  keys = keys,
}
