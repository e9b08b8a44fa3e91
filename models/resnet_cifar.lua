-- Residual networks for small images (He et al. 2016, section 4.2): a 3x3 convolution, three stages of n basic
-- blocks with w, 2w and 4w channels, halving the plane at the second and third, global average pooling, one
-- linear layer. Depth 6n + 2: resnet8, 14, 20, 32, 44, 56, 110 and all between. Where a block changes its shape
-- the shortcut is a 1x1 convolution and a batch norm (shortcut.0, shortcut.1).
--   width = 16   channels of the first stage

local nn = require "wattle.nn"

local function conv3x3(cin, cout, stride)
  return nn.Conv2d{ in_channels = cin, out_channels = cout, kernel_size = 3, stride = stride, padding = 1,
                    bias = false }
end

local BasicBlock = nn.class "BasicBlock"

function BasicBlock:init(cin, cout, stride)
  self.conv1 = conv3x3(cin, cout, stride)
  self.bn1 = nn.BatchNorm2d{ num_features = cout }
  self.conv2 = conv3x3(cout, cout, 1)
  self.bn2 = nn.BatchNorm2d{ num_features = cout }
  if stride ~= 1 or cin ~= cout then
    self.shortcut = nn.Sequential{
      nn.Conv2d{ in_channels = cin, out_channels = cout, kernel_size = 1, stride = stride, bias = false },
      nn.BatchNorm2d{ num_features = cout },
    }
  else
    self.shortcut = nn.Identity()
  end
end

-- x (N, cin, H, W) -> (N, cout, H/stride, W/stride)
function BasicBlock:forward(x)
  local y = nn.relu(self.bn1(self.conv1(x)))
  y = self.bn2(self.conv2(y))
  return nn.relu(y + self.shortcut(x))
end

local function stage(blocks, cin, cout, stride)
  local list = nn.Sequential{}
  for i = 1, blocks do list:append(BasicBlock(i == 1 and cin or cout, cout, i == 1 and stride or 1)) end
  return list
end

local ResNet = nn.class "ResNet"

function ResNet:init(o)
  local n, w = o.blocks, o.width
  self.conv1 = conv3x3(o.in_channels, w, 1)
  self.bn1 = nn.BatchNorm2d{ num_features = w }
  self.layer1 = stage(n, w, w, 1)
  self.layer2 = stage(n, w, 2 * w, 2)
  self.layer3 = stage(n, 2 * w, 4 * w, 2)
  self.fc = nn.Linear{ in_features = 4 * w, out_features = o.num_classes }
end

-- x (N,C,H,W) -> logits (N, num_classes)
function ResNet:forward(x)
  x = nn.relu(self.bn1(self.conv1(x)))
  x = self.layer3(self.layer2(self.layer1(x)))
  return self.fc(nn.global_avg_pool2d(x))
end

-- n of a name "resnet<6n+2>"; nil for others, and for resnet50 and resnet152, which are ImageNet's networks.
local function blocks_of(name)
  local depth = math.tointeger(tonumber(name:match "^resnet([1-9]%d*)$"))
  if not depth or depth == 50 or depth == 152 or depth < 8 or depth % 6 ~= 2 then return nil end
  return (depth - 2) // 6
end

return {
  names = { "resnet8", "resnet14", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110" },
  accepts = function(name) return blocks_of(name) ~= nil end,
  options = { "width" },
  create = function(name, o)
    return ResNet{ blocks = blocks_of(name), width = o.width or 16, in_channels = o.in_channels,
                   num_classes = o.num_classes }
  end,
}
