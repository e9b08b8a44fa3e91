-- LeNet-5 (LeCun et al. 1998) as it is used today: ReLU and max pooling; padding 2 in the first convolution
-- takes 28x28 images where the original took 32x32.

local nn = require "wattle.nn"
local where = require "wattle.where"

local LeNet5 = nn.class "LeNet5"

function LeNet5:init(o)
  local side = (o.image_size // 2 - 4) // 2 -- after conv1, pool, conv2, pool
  if side < 1 then where.raise("lenet5: image_size must be at least 12, got %d", o.image_size) end
  self.conv1 = nn.Conv2d{ in_channels = o.in_channels, out_channels = 6, kernel_size = 5, padding = 2 }
  self.pool1 = nn.MaxPool2d{ kernel_size = 2 }
  self.conv2 = nn.Conv2d{ in_channels = 6, out_channels = 16, kernel_size = 5 }
  self.pool2 = nn.MaxPool2d{ kernel_size = 2 }
  self.fc1 = nn.Linear{ in_features = 16 * side * side, out_features = 120 }
  self.fc2 = nn.Linear{ in_features = 120, out_features = 84 }
  self.fc3 = nn.Linear{ in_features = 84, out_features = o.num_classes }
end

-- x (N,C,H,W) -> logits (N, num_classes)
function LeNet5:forward(x)
  x = self.pool1(nn.relu(self.conv1(x)))
  x = self.pool2(nn.relu(self.conv2(x)))
  x = nn.relu(self.fc1(x:flatten()))
  x = nn.relu(self.fc2(x))
  return self.fc3(x)
end

return {
  names = { "lenet5" },
  options = {},
  create = function(_, o) return LeNet5(o) end,
}
