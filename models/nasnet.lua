-- NASNet-A (4 @ 1056), "mobile" (Zoph et al. 2018): cells that a search found, each fed by the two before it. Parameters
-- are named and shaped as in timm and Cadene's nasnetamobile, whose files load. Where a cell halves the plane it pads as
-- TensorFlow's "same" does (and timm): ceil(n/2) outputs, and an odd number of zeros has the larger half below and to the
-- right. Cadene's own code does so at multiples of 32 only, and fails or differs at other sizes. image_size from 3 on,
-- better a multiple of 32; the weights were made at 224.
--   dropout = 0.5   before the last layer

local nn = require "wattle.nn"
local where = require "wattle.where"

local function norm(channels)
  return nn.BatchNorm2d{ num_features = channels, eps = 1e-3 }
end

local function conv1x1(cin, cout)
  return nn.Conv2d{ in_channels = cin, out_channels = cout, kernel_size = 1, bias = false }
end

-- ---- the parts of cells --------------------------------------------------------------------------------------

-- 3x3 windows under the "same" rule, of which only what is inside counts. At stride 2 an odd size has one element of
-- padding before and after; an even one none before, and its last window ends outside.
local Pool = nn.class "Pool"

function Pool:init(op, stride)
  self.op = op
  self.stride = stride
end

function Pool:forward(x)
  local h, w = x:size(2), x:size(3)
  local o = { kernel_size = 3, stride = self.stride, padding = self.stride == 1 and 1 or { h % 2, w % 2 },
              ceil_mode = self.stride > 1 }
  if self.op == "max" then return nn.max_pool2d(x, o) end
  o.count_include_pad = false
  return nn.avg_pool2d(x, o)
end

function Pool:extra_repr()
  return ("%s, kernel_size=3, stride=%d, padding=same"):format(self.op, self.stride)
end

local SeparableConv2d = nn.class "SeparableConv2d"

function SeparableConv2d:init(cin, cout, kernel, stride)
  self.stride = stride
  self.depthwise_conv2d = nn.Conv2d{ in_channels = cin, out_channels = cin, kernel_size = kernel, stride = stride,
                                     padding = (kernel - 1) // 2 - (stride - 1), groups = cin, bias = false }
  self.pointwise_conv2d = conv1x1(cin, cout)
end

-- x (N, cin, H, W) -> (N, cout, ceil(H/stride), ceil(W/stride)). At stride 2 the convolution pads one less on each side
-- than half its kernel; what is missing behind, and before an odd size, is added here.
function SeparableConv2d:forward(x)
  if self.stride == 2 then x = nn.pad(x, { pads = { x:size(3) % 2, 1, x:size(2) % 2, 1 } }) end
  return self.pointwise_conv2d(self.depthwise_conv2d(x))
end

-- Two separable convolutions; the first has the stride and keeps the channels or, in the stem, changes them.
local BranchSeparables = nn.class "BranchSeparables"

function BranchSeparables:init(cin, cout, kernel, stride, stem)
  local middle = stem and cout or cin
  self.separable_1 = SeparableConv2d(cin, middle, kernel, stride)
  self.bn_sep_1 = norm(middle)
  self.separable_2 = SeparableConv2d(middle, cout, kernel, 1)
  self.bn_sep_2 = norm(cout)
end

function BranchSeparables:forward(x)
  x = self.bn_sep_1(self.separable_1(nn.relu(x)))
  return self.bn_sep_2(self.separable_2(nn.relu(x)))
end

local Squeeze = nn.class "ActConvBn"

function Squeeze:init(cin, cout)
  self.conv = conv1x1(cin, cout)
  self.bn = norm(cout)
end

function Squeeze:forward(x)
  return self.bn(self.conv(nn.relu(x)))
end

-- Every second element of rows and columns, beginning with number `start` (0 or 1), through a 1x1 convolution. Beyond an
-- odd size there is a zero.
local Path = nn.class "Path"

function Path:init(cin, cout, start)
  self.start = start
  self.conv = conv1x1(cin, cout)
end

function Path:forward(x)
  local h, w = x:size(2) % 2, x:size(3) % 2
  if self.start == 1 and h + w > 0 then x = nn.pad(x, { pads = { 0, w, 0, h } }) end
  x = nn.slice(x, { dim = 2, start = self.start, step = 2 })
  return self.conv(nn.slice(x, { dim = 3, start = self.start, step = 2 }))
end

-- ---- cells ---------------------------------------------------------------------------------------------------

local Cell = nn.class "Cell"

-- For an input of twice the size: two paths, one element apart, of half the channels each.
function Cell:add_paths(cin, channels)
  self.path_1 = Path(cin, channels // 2, 0)
  self.path_2 = Path(cin, channels // 2, 1)
  self.final_path_bn = norm(channels)
end

function Cell:halve(x)
  x = nn.relu(x)
  return self.final_path_bn(nn.concat(self.path_1(x), self.path_2(x), { dim = 1 }))
end

-- A cell that keeps the size. before, cin: channels of the two outputs before; d: of each of its branches; its own are 6d.
local NormalCell = nn.class("NormalCell", Cell)

function NormalCell:init(before, cin, d, halves)
  self.halves = halves
  if halves then
    self.conv_1x1 = Squeeze(cin, d)
    self:add_paths(before, d)
  else
    self.conv_prev_1x1 = Squeeze(before, d)
    self.conv_1x1 = Squeeze(cin, d)
  end
  self.comb_iter_0_left = BranchSeparables(d, d, 5, 1)
  self.comb_iter_0_right = BranchSeparables(d, d, 3, 1)
  self.comb_iter_1_left = BranchSeparables(d, d, 5, 1)
  self.comb_iter_1_right = BranchSeparables(d, d, 3, 1)
  self.comb_iter_2_left = Pool("avg", 1)
  self.comb_iter_3_left = Pool("avg", 1)
  self.comb_iter_3_right = Pool("avg", 1)
  self.comb_iter_4_left = BranchSeparables(d, d, 3, 1)
end

-- x (N, cin, H, W), before of the same plane or, if the cell halves it, of twice the size -> (N, 6d, H, W)
function NormalCell:forward(x, before)
  local b
  if self.halves then b = self:halve(before) else b = self.conv_prev_1x1(before) end
  local a = self.conv_1x1(x)
  local y0 = self.comb_iter_0_left(a) + self.comb_iter_0_right(b)
  local y1 = self.comb_iter_1_left(b) + self.comb_iter_1_right(b)
  local y2 = self.comb_iter_2_left(a) + b
  local y3 = self.comb_iter_3_left(b) + self.comb_iter_3_right(b)
  local y4 = self.comb_iter_4_left(a) + a
  return nn.concat(b, y0, y1, y2, y3, y4, { dim = 1 })
end

-- A cell that halves the plane. How it gets its two inputs to d channels is up to the kinds below.
local Reduction = nn.class("Reduction", Cell)

-- b: channels of the second input where it is the stem's own, which the branches themselves bring to d.
function Reduction:add_branches(d, b)
  local function right(kernel) return BranchSeparables(b or d, d, kernel, 2, b ~= nil) end
  self.comb_iter_0_left = BranchSeparables(d, d, 5, 2)
  self.comb_iter_0_right = right(7)
  self.comb_iter_1_left = Pool("max", 2)
  self.comb_iter_1_right = right(7)
  self.comb_iter_2_left = Pool("avg", 2)
  self.comb_iter_2_right = right(5)
  self.comb_iter_3_right = Pool("avg", 1)
  self.comb_iter_4_left = BranchSeparables(d, d, 3, 1)
  self.comb_iter_4_right = Pool("max", 2)
end

-- a, b (N,...,H,W) -> (N, 4d, ceil(H/2), ceil(W/2))
function Reduction:combine(a, b)
  local y0 = self.comb_iter_0_left(a) + self.comb_iter_0_right(b)
  local y1 = self.comb_iter_1_left(a) + self.comb_iter_1_right(b)
  local y2 = self.comb_iter_2_left(a) + self.comb_iter_2_right(b)
  local y3 = self.comb_iter_3_right(y0) + y1
  local y4 = self.comb_iter_4_left(y0) + self.comb_iter_4_right(a)
  return nn.concat(y1, y2, y3, y4, { dim = 1 })
end

local CellStem0 = nn.class("CellStem0", Reduction)

function CellStem0:init(cin, d)
  self.conv_1x1 = Squeeze(cin, d)
  self:add_branches(d, cin)
end

function CellStem0:forward(x)
  return self:combine(self.conv_1x1(x), x)
end

local CellStem1 = nn.class("CellStem1", Reduction)

function CellStem1:init(before, cin, d)
  self.conv_1x1 = Squeeze(cin, d)
  self:add_paths(before, d)
  self:add_branches(d)
end

function CellStem1:forward(x, before)
  return self:combine(self.conv_1x1(x), self:halve(before))
end

local ReductionCell = nn.class("ReductionCell", Reduction)

function ReductionCell:init(before, cin, d)
  self.conv_prev_1x1 = Squeeze(before, d)
  self.conv_1x1 = Squeeze(cin, d)
  self:add_branches(d)
end

function ReductionCell:forward(x, before)
  return self:combine(self.conv_1x1(x), self.conv_prev_1x1(before))
end

-- ---- the network ---------------------------------------------------------------------------------------------

local Stem = nn.class "ConvNormAct"

function Stem:init(cin, cout)
  self.conv = nn.Conv2d{ in_channels = cin, out_channels = cout, kernel_size = 3, stride = 2, bias = false }
  self.bn = norm(cout)
end

function Stem:forward(x)
  return self.bn(self.conv(x))
end

-- In the order of their names: three stages of four cells (of nasnetalarge's six, so numbers are left out), between them
-- the reductions.
local order = {}
for stage = 0, 2 do
  if stage > 0 then order[#order + 1] = "reduction_cell_" .. stage - 1 end
  for i = 0, 3 do order[#order + 1] = "cell_" .. 6 * stage + i end
end

local NASNet = nn.class "NASNetAMobile"

function NASNet:init(o)
  local d = 44 -- 1056 / 24
  self.conv0 = Stem(o.in_channels, 32)
  self.cell_stem_0 = CellStem0(32, d // 4)
  self.cell_stem_1 = CellStem1(32, d, d // 2)
  local before, cin, halves = d, 2 * d, true
  for _, name in ipairs(order) do
    local reduces = name:find "^reduction" ~= nil
    if reduces then d = 2 * d end
    self[name] = reduces and ReductionCell(before, cin, d) or NormalCell(before, cin, d, halves)
    before, cin, halves = cin, reduces and 4 * d or 6 * d, reduces
  end
  self.dropout = nn.Dropout{ p = o.dropout }
  self.last_linear = nn.Linear{ in_features = cin, out_features = o.num_classes }
end

-- x (N,C,H,W) -> logits (N, num_classes)
function NASNet:forward(x)
  if x:size(2) < 3 or x:size(3) < 3 then
    where.raise("nasnetmobile: images must have at least 3 x 3 pixels, got %d x %d", x:size(2), x:size(3))
  end
  local stem = self.conv0(x)
  local before = self.cell_stem_0(stem)
  x = self.cell_stem_1(before, stem)
  for _, name in ipairs(order) do before, x = x, self[name](x, before) end
  return self.last_linear(self.dropout(nn.global_avg_pool2d(nn.relu(x))))
end

return {
  names = { "nasnetmobile" },
  options = { "dropout" },
  defaults = { num_classes = 1000, in_channels = 3, image_size = 224 },
  create = function(_, o)
    return NASNet{ dropout = o.dropout or 0.5, in_channels = o.in_channels, num_classes = o.num_classes }
  end,
  head = { "^last_linear%." },
  stem = "conv0.conv.weight",
}
