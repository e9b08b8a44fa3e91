-- Residual networks for ImageNet: resnet18 to resnet152 (He et al. 2016; the stride is in the 3x3 convolution, as in
-- torchvision), wide_resnet50_2 (Zagoruyko and Komodakis 2016), resnext50_32x4d (Xie et al. 2017). Images of any size
-- from 1x1; 224 is what they were made for.
--   zero_init_residual = false   each block's last batch norm begins with weight 0, so that it begins as the identity

local nn = require "wattle.nn"

local function conv3x3(cin, cout, stride, groups)
  return nn.Conv2d{ in_channels = cin, out_channels = cout, kernel_size = 3, stride = stride, padding = 1,
                    groups = groups, bias = false }
end

local function conv1x1(cin, cout, stride)
  return nn.Conv2d{ in_channels = cin, out_channels = cout, kernel_size = 1, stride = stride, bias = false }
end

local function batch_norm(n)
  return nn.BatchNorm2d{ num_features = n }
end

-- What brings a block's input to the shape of its output; nil where they agree.
local function shortcut(cin, cout, stride)
  if stride == 1 and cin == cout then return nil end
  return nn.Sequential{ conv1x1(cin, cout, stride), batch_norm(cout) }
end

local BasicBlock = nn.class "BasicBlock"
BasicBlock.expansion = 1

-- planes: the stage's width.
function BasicBlock:init(cin, planes, stride)
  self.conv1 = conv3x3(cin, planes, stride)
  self.bn1 = batch_norm(planes)
  self.conv2 = conv3x3(planes, planes, 1)
  self.bn2 = batch_norm(planes)
  self.downsample = shortcut(cin, planes, stride)
end

-- x (N, cin, H, W) -> (N, planes, ceil(H/stride), ceil(W/stride))
function BasicBlock:forward(x)
  local y = nn.relu(self.bn1(self.conv1(x)))
  y = self.bn2(self.conv2(y))
  return nn.relu(y + (self.downsample and self.downsample(x) or x))
end

local Bottleneck = nn.class "Bottleneck"
Bottleneck.expansion = 4

-- net: {groups =, width_per_group =} of the 3x3 convolution; ResNeXt and Wide-ResNet differ from ResNet in them alone.
function Bottleneck:init(cin, planes, stride, net)
  local width, cout = planes * net.width_per_group // 64 * net.groups, 4 * planes
  self.conv1 = conv1x1(cin, width, 1)
  self.bn1 = batch_norm(width)
  self.conv2 = conv3x3(width, width, stride, net.groups)
  self.bn2 = batch_norm(width)
  self.conv3 = conv1x1(width, cout, 1)
  self.bn3 = batch_norm(cout)
  self.downsample = shortcut(cin, cout, stride)
end

-- x (N, cin, H, W) -> (N, 4*planes, ceil(H/stride), ceil(W/stride))
function Bottleneck:forward(x)
  local y = nn.relu(self.bn1(self.conv1(x)))
  y = nn.relu(self.bn2(self.conv2(y)))
  y = self.bn3(self.conv3(y))
  return nn.relu(y + (self.downsample and self.downsample(x) or x))
end

local function stage(net, cin, blocks, planes, stride)
  local list = nn.Sequential{}
  for i = 1, blocks do
    list:append(net.block(i == 1 and cin or planes * net.block.expansion, planes, i == 1 and stride or 1, net))
  end
  return list
end

local ResNet = nn.class "ResNet"

function ResNet:init(net, o)
  local e = net.block.expansion
  self.conv1 = nn.Conv2d{ in_channels = o.in_channels, out_channels = 64, kernel_size = 7, stride = 2, padding = 3,
                          bias = false }
  self.bn1 = batch_norm(64)
  self.maxpool = nn.MaxPool2d{ kernel_size = 3, stride = 2, padding = 1 }
  self.layer1 = stage(net, 64, net.blocks[1], 64, 1)
  self.layer2 = stage(net, 64 * e, net.blocks[2], 128, 2)
  self.layer3 = stage(net, 128 * e, net.blocks[3], 256, 2)
  self.layer4 = stage(net, 256 * e, net.blocks[4], 512, 2)
  self.avgpool = nn.GlobalAvgPool2d()
  self.fc = nn.Linear{ in_features = 512 * e, out_features = o.num_classes }
  self:initialise_weights(o.zero_init_residual)
end

function ResNet:initialise_weights(zero_init_residual)
  for _, entry in ipairs(self:modules()) do
    local m = entry.module
    if m.class_name == "Conv2d" then
      nn.init.kaiming_normal(m.weight, { mode = "fan_out", nonlinearity = "relu" })
    elseif zero_init_residual and m.conv2 then
      nn.init.zeros((m.bn3 or m.bn2).weight)
    end
  end
end

-- x (N,C,H,W) -> logits (N, num_classes)
function ResNet:forward(x)
  x = self.maxpool(nn.relu(self.bn1(self.conv1(x))))
  x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
  return self.fc(self.avgpool(x))
end

local function net(block, blocks, groups, width_per_group)
  return { block = block, blocks = blocks, groups = groups or 1, width_per_group = width_per_group or 64 }
end

local nets = {
  resnet18 = net(BasicBlock, { 2, 2, 2, 2 }),
  resnet34 = net(BasicBlock, { 3, 4, 6, 3 }),
  resnet50 = net(Bottleneck, { 3, 4, 6, 3 }),
  resnet101 = net(Bottleneck, { 3, 4, 23, 3 }),
  resnet152 = net(Bottleneck, { 3, 8, 36, 3 }),
  wide_resnet50_2 = net(Bottleneck, { 3, 4, 6, 3 }, 1, 128),
  resnext50_32x4d = net(Bottleneck, { 3, 4, 6, 3 }, 32, 4),
}

-- The files of torchvision and timm have these names already.
return {
  names = { "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "resnext50_32x4d" },
  options = { "zero_init_residual" },
  defaults = { num_classes = 1000, in_channels = 3, image_size = 224 },
  create = function(name, o) return ResNet(nets[name], o) end,
  head = { "^fc%." },
  stem = "conv1.weight",
}
