-- GoogLeNet (Szegedy et al. 2015) with batch norm, as torchvision has it: what the paper calls 5x5 is 3x3. Images from
-- 15x15; 224 is what it was made for. In training it gives logits, aux2's and aux1's logits, else the logits alone.
--   aux_logits = true        the two auxiliary heads that help training; their weight in a loss given by name is 0.3
--   transform_input          images normalized by ImageNet's mean and deviation are brought to (x - 0.5)/0.5 inside.
--                            torchvision's published weights want that, so it is true where weights are given
--                            (pretrained) and images have 3 channels, else false. Give false for weights of your own
--                            that were trained without.
--   dropout = 0.2            before the last layer
--   dropout_aux = 0.7        before the auxiliary heads' last layer

local nn = require "wattle.nn"
local common = require "wattle.nn.inception"

local function conv(cin, cout, kernel, stride, padding)
  return common.BasicConv2d{ in_channels = cin, out_channels = cout, kernel_size = kernel, stride = stride,
                             padding = padding }
end

local Inception = nn.class "Inception"

-- Widths: of the 1x1 branch; of the 3x3 one, reduced and then whole; of the "5x5" one likewise; behind the pool.
function Inception:init(cin, one, three_reduced, three, five_reduced, five, pooled)
  self.branch1 = conv(cin, one, 1)
  self.branch2 = nn.Sequential{ conv(cin, three_reduced, 1), conv(three_reduced, three, 3, 1, 1) }
  self.branch3 = nn.Sequential{ conv(cin, five_reduced, 1), conv(five_reduced, five, 3, 1, 1) }
  self.branch4 = nn.Sequential{ nn.MaxPool2d{ kernel_size = 3, stride = 1, padding = 1, ceil_mode = true },
                                conv(cin, pooled, 1) }
end

-- x (N, cin, H, W) -> (N, one + three + five + pooled, H, W)
function Inception:forward(x)
  return nn.concat(self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x), { dim = 1 })
end

local InceptionAux = nn.class "InceptionAux"

function InceptionAux:init(cin, num_classes, dropout)
  self.conv = conv(cin, 128, 1)
  self.fc1 = nn.Linear{ in_features = 128 * 4 * 4, out_features = 1024 }
  self.fc2 = nn.Linear{ in_features = 1024, out_features = num_classes }
  self.dropout = nn.Dropout{ p = dropout }
end

-- x (N, cin, H, W) -> logits (N, num_classes)
function InceptionAux:forward(x)
  x = self.conv(nn.adaptive_avg_pool2d(x, { output_size = 4 }))
  return self.fc2(self.dropout(nn.relu(self.fc1(x:flatten()))))
end

local GoogLeNet = nn.class "GoogLeNet"
GoogLeNet.aux_weights = { 0.3, 0.3 } -- of aux2 and aux1, as in the paper

local function pool(kernel)
  return nn.MaxPool2d{ kernel_size = kernel, stride = 2, ceil_mode = true }
end

function GoogLeNet:init(o)
  local aux
  aux, self.transform_input = common.options("googlenet", o)
  self.conv1 = conv(o.in_channels, 64, 7, 2, 3)
  self.maxpool1 = pool(3)
  self.conv2 = conv(64, 64, 1)
  self.conv3 = conv(64, 192, 3, 1, 1)
  self.maxpool2 = pool(3)
  self.inception3a = Inception(192, 64, 96, 128, 16, 32, 32)
  self.inception3b = Inception(256, 128, 128, 192, 32, 96, 64)
  self.maxpool3 = pool(3)
  self.inception4a = Inception(480, 192, 96, 208, 16, 48, 64)
  self.inception4b = Inception(512, 160, 112, 224, 24, 64, 64)
  self.inception4c = Inception(512, 128, 128, 256, 24, 64, 64)
  self.inception4d = Inception(512, 112, 144, 288, 32, 64, 64)
  self.inception4e = Inception(528, 256, 160, 320, 32, 128, 128)
  self.maxpool4 = pool(2)
  self.inception5a = Inception(832, 256, 160, 320, 32, 128, 128)
  self.inception5b = Inception(832, 384, 192, 384, 48, 128, 128)
  if aux then
    self.aux1 = InceptionAux(512, o.num_classes, o.dropout_aux or 0.7)
    self.aux2 = InceptionAux(528, o.num_classes, o.dropout_aux or 0.7)
  end
  self.avgpool = nn.GlobalAvgPool2d()
  self.dropout = nn.Dropout{ p = o.dropout or 0.2 }
  self.fc = nn.Linear{ in_features = 1024, out_features = o.num_classes }
  common.initialise(self, function() return 0.01 end)
end

-- x (N,C,H,W) -> logits (N, num_classes); in training with auxiliary heads: logits, aux2's, aux1's. (torchvision 0.14 has
-- the names of the last two in this order, but the values in the other.)
function GoogLeNet:forward(x)
  if self.transform_input then x = common.transform(x) end
  x = self.maxpool1(self.conv1(x))
  x = self.maxpool2(self.conv3(self.conv2(x)))
  x = self.maxpool3(self.inception3b(self.inception3a(x)))
  x = self.inception4a(x)
  local with_aux, aux1, aux2 = self.training and self.aux1 ~= nil, nil, nil
  if with_aux then aux1 = self.aux1(x) end
  x = self.inception4d(self.inception4c(self.inception4b(x)))
  if with_aux then aux2 = self.aux2(x) end
  x = self.maxpool4(self.inception4e(x))
  x = self.inception5b(self.inception5a(x))
  x = self.fc(self.dropout(self.avgpool(x)))
  if with_aux then return x, aux2, aux1 end
  return x
end

return {
  names = { "googlenet" },
  options = { "aux_logits", "transform_input", "dropout", "dropout_aux" },
  defaults = { num_classes = 1000, in_channels = 3, image_size = 224 },
  create = function(_, o) return GoogLeNet(o) end,
  head = { "^fc%.", "^aux[12]%.fc2%." },
  optional = { "^aux[12]%." },
  stem = "conv1.conv.weight",
}
