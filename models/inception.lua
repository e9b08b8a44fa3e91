-- Inception v3 (Szegedy et al. 2016), as torchvision has it. Images from 75x75 in evaluation and without the auxiliary
-- head; from 299x299, what it was made for, in training with it. Then it gives logits and the head's logits, else the
-- logits alone.
--   aux_logits = true        the auxiliary head that helps training; its weight in a loss given by name is 0.4
--   transform_input          images normalized by ImageNet's mean and deviation are brought to (x - 0.5)/0.5 inside.
--                            torchvision's published weights want that, so it is true where weights are given
--                            (pretrained) and images have 3 channels, else false. Give false for weights of your own
--                            that were trained without, and for images that are normalized so already (timm's way).
--   dropout = 0.5            before the last layer

local nn = require "wattle.nn"
local common = require "wattle.nn.inception"
local where = require "wattle.where"

-- kernel, stride, padding: one integer or {height, width}.
local function conv(cin, cout, kernel, padding, stride)
  return common.BasicConv2d{ in_channels = cin, out_channels = cout, kernel_size = kernel, stride = stride,
                             padding = padding }
end

local function row(cin, cout, k)
  return conv(cin, cout, { 1, k }, { 0, k // 2 })
end

local function column(cin, cout, k)
  return conv(cin, cout, { k, 1 }, { k // 2, 0 })
end

-- 3x3 pools: one that keeps the plane's size, one that halves it.
local function mean_of_neighbours(x)
  return nn.avg_pool2d(x, { kernel_size = 3, stride = 1, padding = 1 })
end

local function halved(x)
  return nn.max_pool2d(x, { kernel_size = 3, stride = 2 })
end

-- The blocks: branches side by side, their channels one behind the other. In the names, "dbl" is two 3x3 (or 7x7)
-- convolutions in a row; a 7x7 is a 1x7 and a 7x1.

local InceptionA = nn.class "InceptionA"

function InceptionA:init(cin, pool_features)
  self.branch1x1 = conv(cin, 64, 1)
  self.branch5x5_1 = conv(cin, 48, 1)
  self.branch5x5_2 = conv(48, 64, 5, 2)
  self.branch3x3dbl_1 = conv(cin, 64, 1)
  self.branch3x3dbl_2 = conv(64, 96, 3, 1)
  self.branch3x3dbl_3 = conv(96, 96, 3, 1)
  self.branch_pool = conv(cin, pool_features, 1)
end

-- x (N, cin, H, W) -> (N, 224 + pool_features, H, W)
function InceptionA:forward(x)
  local five = self.branch5x5_2(self.branch5x5_1(x))
  local double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
  return nn.concat(self.branch1x1(x), five, double, self.branch_pool(mean_of_neighbours(x)), { dim = 1 })
end

local InceptionB = nn.class "InceptionB"

function InceptionB:init(cin)
  self.branch3x3 = conv(cin, 384, 3, 0, 2)
  self.branch3x3dbl_1 = conv(cin, 64, 1)
  self.branch3x3dbl_2 = conv(64, 96, 3, 1)
  self.branch3x3dbl_3 = conv(96, 96, 3, 0, 2)
end

-- x (N, cin, H, W) -> (N, 480 + cin, (H-1)/2, (W-1)/2)
function InceptionB:forward(x)
  local double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
  return nn.concat(self.branch3x3(x), double, halved(x), { dim = 1 })
end

local InceptionC = nn.class "InceptionC"

function InceptionC:init(cin, width)
  self.branch1x1 = conv(cin, 192, 1)
  self.branch7x7_1 = conv(cin, width, 1)
  self.branch7x7_2 = row(width, width, 7)
  self.branch7x7_3 = column(width, 192, 7)
  self.branch7x7dbl_1 = conv(cin, width, 1)
  self.branch7x7dbl_2 = column(width, width, 7)
  self.branch7x7dbl_3 = row(width, width, 7)
  self.branch7x7dbl_4 = column(width, width, 7)
  self.branch7x7dbl_5 = row(width, 192, 7)
  self.branch_pool = conv(cin, 192, 1)
end

-- x (N, cin, H, W) -> (N, 768, H, W)
function InceptionC:forward(x)
  local seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
  local double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
  double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
  return nn.concat(self.branch1x1(x), seven, double, self.branch_pool(mean_of_neighbours(x)), { dim = 1 })
end

local InceptionD = nn.class "InceptionD"

function InceptionD:init(cin)
  self.branch3x3_1 = conv(cin, 192, 1)
  self.branch3x3_2 = conv(192, 320, 3, 0, 2)
  self.branch7x7x3_1 = conv(cin, 192, 1)
  self.branch7x7x3_2 = row(192, 192, 7)
  self.branch7x7x3_3 = column(192, 192, 7)
  self.branch7x7x3_4 = conv(192, 192, 3, 0, 2)
end

-- x (N, cin, H, W) -> (N, 512 + cin, (H-1)/2, (W-1)/2)
function InceptionD:forward(x)
  local seven = self.branch7x7x3_2(self.branch7x7x3_1(x))
  seven = self.branch7x7x3_4(self.branch7x7x3_3(seven))
  return nn.concat(self.branch3x3_2(self.branch3x3_1(x)), seven, halved(x), { dim = 1 })
end

local InceptionE = nn.class "InceptionE"

function InceptionE:init(cin)
  self.branch1x1 = conv(cin, 320, 1)
  self.branch3x3_1 = conv(cin, 384, 1)
  self.branch3x3_2a = row(384, 384, 3)
  self.branch3x3_2b = column(384, 384, 3)
  self.branch3x3dbl_1 = conv(cin, 448, 1)
  self.branch3x3dbl_2 = conv(448, 384, 3, 1)
  self.branch3x3dbl_3a = row(384, 384, 3)
  self.branch3x3dbl_3b = column(384, 384, 3)
  self.branch_pool = conv(cin, 192, 1)
end

-- x (N, cin, H, W) -> (N, 2048, H, W)
function InceptionE:forward(x)
  local three = self.branch3x3_1(x)
  local double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
  return nn.concat(self.branch1x1(x), self.branch3x3_2a(three), self.branch3x3_2b(three), self.branch3x3dbl_3a(double),
                   self.branch3x3dbl_3b(double), self.branch_pool(mean_of_neighbours(x)), { dim = 1 })
end

local InceptionAux = nn.class "InceptionAux"

function InceptionAux:init(cin, num_classes)
  self.conv0 = conv(cin, 128, 1)
  self.conv1 = conv(128, 768, 5)
  self.fc = nn.Linear{ in_features = 768, out_features = num_classes }
end

-- x (N, cin, H, W), from 17x17 -> logits (N, num_classes)
function InceptionAux:forward(x)
  if math.min(x:size(2), x:size(3)) < 17 then
    where.raise("inception_v3: training with the auxiliary head takes images from 299x299; smaller ones, from 75x75, need "
                .. "aux_logits = false")
  end
  x = self.conv0(nn.avg_pool2d(x, { kernel_size = 5, stride = 3 }))
  return self.fc(nn.global_avg_pool2d(self.conv1(x)))
end

local Inception3 = nn.class "Inception3"
Inception3.aux_weights = { 0.4 }

function Inception3:init(o)
  local aux
  aux, self.transform_input = common.options("inception_v3", o)
  self.Conv2d_1a_3x3 = conv(o.in_channels, 32, 3, 0, 2)
  self.Conv2d_2a_3x3 = conv(32, 32, 3)
  self.Conv2d_2b_3x3 = conv(32, 64, 3, 1)
  self.maxpool1 = nn.MaxPool2d{ kernel_size = 3, stride = 2 }
  self.Conv2d_3b_1x1 = conv(64, 80, 1)
  self.Conv2d_4a_3x3 = conv(80, 192, 3)
  self.maxpool2 = nn.MaxPool2d{ kernel_size = 3, stride = 2 }
  self.Mixed_5b = InceptionA(192, 32)
  self.Mixed_5c = InceptionA(256, 64)
  self.Mixed_5d = InceptionA(288, 64)
  self.Mixed_6a = InceptionB(288)
  self.Mixed_6b = InceptionC(768, 128)
  self.Mixed_6c = InceptionC(768, 160)
  self.Mixed_6d = InceptionC(768, 160)
  self.Mixed_6e = InceptionC(768, 192)
  if aux then self.AuxLogits = InceptionAux(768, o.num_classes) end
  self.Mixed_7a = InceptionD(768)
  self.Mixed_7b = InceptionE(1280)
  self.Mixed_7c = InceptionE(2048)
  self.avgpool = nn.GlobalAvgPool2d()
  self.dropout = nn.Dropout{ p = o.dropout or 0.5 }
  self.fc = nn.Linear{ in_features = 2048, out_features = o.num_classes }
  local aux_fc = aux and self.AuxLogits.fc
  common.initialise(self, function(layer) return layer == aux_fc and 0.001 or 0.1 end)
end

-- x (N,C,H,W) -> logits (N, num_classes); in training with the auxiliary head: logits, the head's
function Inception3:forward(x)
  if self.transform_input then x = common.transform(x) end
  x = self.maxpool1(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))))
  x = self.maxpool2(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
  x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
  x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))
  x = self.Mixed_6e(self.Mixed_6d(x))
  local with_aux, aux = self.training and self.AuxLogits ~= nil, nil
  if with_aux then aux = self.AuxLogits(x) end
  x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
  x = self.fc(self.dropout(self.avgpool(x)))
  if with_aux then return x, aux end
  return x
end

return {
  names = { "inception_v3" },
  options = { "aux_logits", "transform_input", "dropout" },
  defaults = { num_classes = 1000, in_channels = 3, image_size = 299 },
  create = function(_, o) return Inception3(o) end,
  head = { "^fc%.", "^AuxLogits%.fc%." },
  optional = { "^AuxLogits%." },
  stem = "Conv2d_1a_3x3.conv.weight",
}
