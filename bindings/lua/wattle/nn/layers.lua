-- The layers: PyTorch's names, options and defaults (torch.nn), given as one table of named options. Each is a
-- class of modules over wattle.ops; an unknown option is an error that suggests the nearest. Tensors are NCHW.
-- Layers with numbers to draw use PyTorch's own distributions, by the rule in nn.initialise.

local wattle = require "wattle"
local core, ops = wattle.core, wattle.ops
local where = require "wattle.where"
local util = require "wattle.util"
local module = require "wattle.nn.module"
local opt = require "wattle.nn.options"
local options, count, pair, real, flag, tuple, py = opt.check, opt.count, opt.pair, opt.real, opt.flag, opt.tuple, opt.py

local layers = {}
for name, layer in pairs(require "wattle.nn.activations") do layers[name] = layer end

-- ---- convolution and linear ----------------------------------------------------------------------------------

-- nn.Conv2d{in_channels =, out_channels =, kernel_size =, stride = 1, padding = 0, dilation = 1, groups = 1,
-- bias = true} (torch.nn.Conv2d). x (N,C,H,W) -> (N,O,OH,OW), OH = floor((H + 2p - d(K-1) - 1)/s) + 1. Sizes
-- are one integer or {height, width}. padding = "valid" is 0; "same", with stride 1, keeps H and W: d(K-1)/2, which
-- must be whole (PyTorch pads unevenly then; nn.ZeroPad2d in front says so openly). Parameters: weight
-- (O, C/groups, KH, KW), bias (O), drawn from +-1/sqrt(fan_in) with fan_in = C/groups * KH * KW.
local Conv2d = module.class "Conv2d"
layers.Conv2d = Conv2d

local conv_options = { "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups",
                       "bias" }

-- "same" as numbers.
local function same_padding(conv, what)
  local padding = {}
  for i = 1, 2 do
    local both = conv.dilation[i] * (conv.kernel_size[i] - 1)
    if conv.stride[i] ~= 1 then where.raise('%s: padding = "same" needs stride 1, got %s', what, tuple(conv.stride)) end
    if both % 2 == 1 then
      where.raise('%s: padding = "same" would be uneven for kernel_size %s and dilation %s; put nn.ZeroPad2d in front',
                  what, tuple(conv.kernel_size), tuple(conv.dilation))
    end
    padding[i] = both // 2
  end
  return padding
end

function Conv2d:init(o)
  local what = "nn.Conv2d"
  options(o, conv_options, what)
  self.in_channels = count(o, "in_channels", what)
  self.out_channels = count(o, "out_channels", what)
  self.kernel_size = pair(o, "kernel_size", what)
  self.stride = pair(o, "stride", what, 1)
  self.dilation = pair(o, "dilation", what, 1)
  if o.padding == "same" then self.padding = same_padding(self, what)
  elseif o.padding == "valid" then self.padding = { 0, 0 }
  else self.padding = pair(o, "padding", what, 0, 0) end
  self.groups = count(o, "groups", what, 1)
  if self.in_channels % self.groups ~= 0 or self.out_channels % self.groups ~= 0 then
    where.raise("nn.Conv2d: groups = %d must divide in_channels = %d and out_channels = %d",
                self.groups, self.in_channels, self.out_channels)
  end
  local cin, kh, kw = self.in_channels // self.groups, self.kernel_size[1], self.kernel_size[2]
  local rule = module.uniform(1 / math.sqrt(cin * kh * kw))
  self.weight = module.Parameter(core.zeros{ self.out_channels, cin, kh, kw }, rule)
  if flag(o, "bias", what, true) then self.bias = module.Parameter(core.zeros{ self.out_channels }, rule) end
end

function Conv2d:forward(x)
  local attributes = { stride = self.stride, padding = self.padding, dilation = self.dilation, groups = self.groups }
  return ops.conv2d(x, self.weight, self.bias, attributes)
end

function Conv2d:extra_repr()
  local parts = { ("%d, %d, kernel_size=%s, stride=%s"):format(
    self.in_channels, self.out_channels, tuple(self.kernel_size), tuple(self.stride)) }
  local function add(differs, text) if differs then parts[#parts + 1] = text end end
  add(self.padding[1] ~= 0 or self.padding[2] ~= 0, "padding=" .. tuple(self.padding))
  add(self.dilation[1] ~= 1 or self.dilation[2] ~= 1, "dilation=" .. tuple(self.dilation))
  add(self.groups ~= 1, ("groups=%d"):format(self.groups))
  add(not self.bias, "bias=False")
  return table.concat(parts, ", ")
end

-- nn.Linear{in_features =, out_features =, bias = true} (torch.nn.Linear). x (...,I) -> (...,O), y = x W^T + b.
-- Parameters: weight (O, I), bias (O), drawn from +-1/sqrt(I).
local Linear = module.class "Linear"
layers.Linear = Linear

function Linear:init(o)
  local what = "nn.Linear"
  options(o, { "in_features", "out_features", "bias" }, what)
  self.in_features = count(o, "in_features", what)
  self.out_features = count(o, "out_features", what)
  local rule = module.uniform(1 / math.sqrt(self.in_features))
  self.weight = module.Parameter(core.zeros{ self.out_features, self.in_features }, rule)
  if flag(o, "bias", what, true) then self.bias = module.Parameter(core.zeros{ self.out_features }, rule) end
end

function Linear:forward(x)
  return ops.linear(x, self.weight, self.bias)
end

function Linear:extra_repr()
  return ("in_features=%d, out_features=%d, bias=%s"):format(self.in_features, self.out_features, py(self.bias))
end

-- ---- normalization -------------------------------------------------------------------------------------------

-- nn.BatchNorm2d{num_features =, eps = 1e-5, momentum = 0.1, affine = true} (torch.nn.BatchNorm2d). x
-- (N,C,H,W), each channel over N, H, W. In training: the batch's own mean and variance, and the running ones
-- move towards them; else the running ones. Parameters: weight (C) of ones, bias (C) of zeros; buffers:
-- running_mean (C), running_var (C). model:freeze(pattern, {statistics = true}) makes it use the running ones always.
-- PyTorch's num_batches_tracked, which only counts, is not kept, and ignored
-- when loaded.
local BatchNorm2d = module.class "BatchNorm2d"
BatchNorm2d.ignored = { "num_batches_tracked" }
layers.BatchNorm2d = BatchNorm2d

function BatchNorm2d:init(o)
  local what = "nn.BatchNorm2d"
  options(o, { "num_features", "eps", "momentum", "affine" }, what)
  local n = count(o, "num_features", what)
  self.num_features = n
  self.eps = real(o, "eps", what, 1e-5, 0, 1)
  self.momentum = real(o, "momentum", what, 0.1, 0, 1)
  if flag(o, "affine", what, true) then
    self.weight = module.Parameter(core.ones{ n })
    self.bias = module.Parameter(core.zeros{ n })
  end
  self.running_mean = module.Buffer(core.zeros{ n })
  self.running_var = module.Buffer(core.ones{ n })
end

function BatchNorm2d:forward(x)
  return ops.batch_norm(x, self.weight, self.bias, self.running_mean, self.running_var,
                        { training = self.training and not self.frozen, momentum = self.momentum, eps = self.eps })
end

function BatchNorm2d:extra_repr()
  return ("%d, eps=%s, momentum=%s, affine=%s, track_running_stats=True"):format(
    self.num_features, ("%g"):format(self.eps), ("%g"):format(self.momentum), py(self.weight))
end

-- nn.LayerNorm{normalized_shape =, eps = 1e-5, elementwise_affine = true} (torch.nn.LayerNorm). x (...,D1,..,Dk) with
-- normalized_shape {D1,..,Dk}, or D1 alone: each of its rows by its own mean and variance. Parameters: weight of ones,
-- bias of zeros, both of normalized_shape.
local LayerNorm = module.class "LayerNorm"
layers.LayerNorm = LayerNorm

function LayerNorm:init(o)
  local what = "nn.LayerNorm"
  local given = options(o, { "normalized_shape", "eps", "elementwise_affine" }, what).normalized_shape
  if type(given) ~= "table" then given = { count(o, "normalized_shape", what) } end
  if #given == 0 then where.raise("%s: normalized_shape is empty", what) end
  self.normalized_shape = {}
  for i, size in ipairs(given) do
    self.normalized_shape[i] = count({ normalized_shape = size }, "normalized_shape", what)
  end
  self.eps = real(o, "eps", what, 1e-5, 0, 1)
  if flag(o, "elementwise_affine", what, true) then
    self.weight = module.Parameter(core.ones(self.normalized_shape))
    self.bias = module.Parameter(core.zeros(self.normalized_shape))
  end
end

function LayerNorm:forward(x)
  local shape, want = x:shape(), self.normalized_shape
  for i = 1, #want do
    if shape[#shape - #want + i] ~= want[i] then
      where.raise("nn.LayerNorm: x is [%s]; it must end in normalized_shape {%s}", table.concat(shape, ","),
                  table.concat(want, ","))
    end
  end
  return ops.layer_norm(x, self.weight, self.bias, { dims = #want, eps = self.eps })
end

function LayerNorm:extra_repr()
  local shape = table.concat(self.normalized_shape, ", ")
  return ("(%s%s), eps=%g, elementwise_affine=%s"):format(shape, #self.normalized_shape == 1 and "," or "", self.eps,
                                                         py(self.weight))
end

-- ---- pooling and shape ---------------------------------------------------------------------------------------

-- PyTorch prints what the user gave; here both forms print as one integer where height and width agree.
local function brief(p)
  return p[1] == p[2] and tostring(p[1]) or tuple(p)
end

-- kernel_size, stride, padding and ceil_mode of a pool into its fields.
local function windows(pool, o, what)
  pool.kernel_size = pair(o, "kernel_size", what)
  pool.stride = o.stride and pair(o, "stride", what) or pool.kernel_size
  pool.padding = pair(o, "padding", what, 0, 0)
  pool.ceil_mode = flag(o, "ceil_mode", what, false)
  for i = 1, 2 do
    if 2 * pool.padding[i] > pool.kernel_size[i] then
      where.raise("%s: padding %s is more than half of kernel_size %s", what, tuple(pool.padding),
                  tuple(pool.kernel_size))
    end
  end
end

local function windows_repr(pool)
  return ("kernel_size=%s, stride=%s, padding=%s%s"):format(
    brief(pool.kernel_size), brief(pool.stride), brief(pool.padding), pool.ceil_mode and ", ceil_mode=True" or "")
end

-- nn.MaxPool2d{kernel_size =, stride = kernel_size, padding = 0, ceil_mode = false} (torch.nn.MaxPool2d). x (N,C,H,W)
-- -> (N,C,OH,OW), OH = floor((H + 2p - K)/s) + 1; padding is at most half the kernel and counts as -infinity. With
-- ceil_mode the quotient is rounded up, as long as the last window begins inside the image or the padding before it.
local MaxPool2d = module.class "MaxPool2d"
layers.MaxPool2d = MaxPool2d

function MaxPool2d:init(o)
  windows(self, options(o, { "kernel_size", "stride", "padding", "ceil_mode" }, "nn.MaxPool2d"), "nn.MaxPool2d")
end

function MaxPool2d:forward(x)
  return ops.max_pool2d(x, { kernel_size = self.kernel_size, stride = self.stride, padding = self.padding,
                             ceil_mode = self.ceil_mode })
end

MaxPool2d.extra_repr = windows_repr

-- nn.AvgPool2d{kernel_size =, stride = kernel_size, padding = 0, ceil_mode = false, count_include_pad = true}
-- (torch.nn.AvgPool2d). x (N,C,H,W) -> (N,C,OH,OW), OH as MaxPool2d's; padding is at most half the kernel and counts as
-- 0, or, without count_include_pad, not at all. What ceil_mode adds behind the padding never counts.
local AvgPool2d = module.class "AvgPool2d"
layers.AvgPool2d = AvgPool2d

function AvgPool2d:init(o)
  local what = "nn.AvgPool2d"
  windows(self, options(o, { "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad" }, what), what)
  self.count_include_pad = flag(o, "count_include_pad", what, true)
end

function AvgPool2d:forward(x)
  return ops.avg_pool2d(x, { kernel_size = self.kernel_size, stride = self.stride, padding = self.padding,
                             count_include_pad = self.count_include_pad, ceil_mode = self.ceil_mode })
end

AvgPool2d.extra_repr = windows_repr

-- nn.AdaptiveAvgPool2d{output_size =} (torch.nn.AdaptiveAvgPool2d). x (N,C,H,W) -> (N,C,OH,OW), output_size being OH
-- and OW: the mean over rows floor(i*H/OH) to ceil((i+1)*H/OH)-1, and columns likewise.
local AdaptiveAvgPool2d = module.class "AdaptiveAvgPool2d"
layers.AdaptiveAvgPool2d = AdaptiveAvgPool2d

function AdaptiveAvgPool2d:init(o)
  local what = "nn.AdaptiveAvgPool2d"
  self.output_size = pair(options(o, { "output_size" }, what), "output_size", what)
end

function AdaptiveAvgPool2d:forward(x)
  return ops.adaptive_avg_pool2d(x, { output_size = self.output_size })
end

function AdaptiveAvgPool2d:extra_repr()
  return "output_size=" .. brief(self.output_size)
end

-- nn.GlobalAvgPool2d() (PyTorch: AdaptiveAvgPool2d(1), then flatten). x (N,C,H,W) -> (N,C), the mean over H and
-- W.
local GlobalAvgPool2d = module.class "GlobalAvgPool2d"
layers.GlobalAvgPool2d = GlobalAvgPool2d

function GlobalAvgPool2d:init(o)
  if o ~= nil then options(o, {}, "nn.GlobalAvgPool2d") end
end

function GlobalAvgPool2d:forward(x)
  return ops.global_avg_pool2d(x)
end

-- nn.Flatten{start_dim = 1, end_dim = -1} (torch.nn.Flatten). Dims start_dim..end_dim become one; the default
-- turns (N,C,H,W) into (N,C*H*W). Dims count from 0, negative ones from the end.
local Flatten = module.class "Flatten"
layers.Flatten = Flatten

function Flatten:init(o)
  o = o == nil and {} or options(o, { "start_dim", "end_dim" }, "nn.Flatten")
  self.start_dim = count(o, "start_dim", "nn.Flatten", 1, -8)
  self.end_dim = count(o, "end_dim", "nn.Flatten", -1, -8)
end

function Flatten:forward(x)
  return ops.flatten(x, { start_dim = self.start_dim, end_dim = self.end_dim })
end

function Flatten:extra_repr()
  return ("start_dim=%d, end_dim=%d"):format(self.start_dim, self.end_dim)
end

-- nn.ZeroPad2d{padding =} (torch.nn.ZeroPad2d). x (N,C,H,W) -> (N,C,H+top+bottom,W+left+right), zeros around x;
-- padding is one integer for all sides or {left, right, top, bottom}, none negative.
local ZeroPad2d = module.class "ZeroPad2d"
layers.ZeroPad2d = ZeroPad2d

function ZeroPad2d:init(o)
  local what = "nn.ZeroPad2d"
  local given = options(o, { "padding" }, what).padding
  if type(given) == "table" and #given ~= 4 then
    where.raise("%s: padding must be one integer or {left, right, top, bottom}", what)
  end
  local padding = {}
  for i = 1, 4 do
    local side = given
    if type(given) == "table" then side = given[i] end
    padding[i] = count({ padding = side }, "padding", what, nil, 0)
  end
  self.padding = padding
end

function ZeroPad2d:forward(x)
  return ops.pad(x, { pads = self.padding })
end

function ZeroPad2d:extra_repr()
  return ("(%d, %d, %d, %d)"):format(table.unpack(self.padding))
end

-- nn.Identity() (torch.nn.Identity). Any shape; y = x. Options are accepted and unused, as PyTorch's are.
local Identity = module.class "Identity"
layers.Identity = Identity

function Identity:forward(x)
  return x
end

-- ---- containers ----------------------------------------------------------------------------------------------

-- Children are named "0", "1", ... as PyTorch's are; container[i] is the i-th (from 1, as Lua counts),
-- #container how many.
local Container = module.class "Container"
Container.positions = true
util.classes.container = Container

local function children(what, ...)
  local list = { ... }
  if #list == 1 and type(list[1]) == "table" and not module.is_module(list[1]) then list = list[1] end
  for i = 1, select("#", ...) do
    if select(i, ...) == nil then where.raise("%s: argument %d is nil, not a module", what, i) end
  end
  for i, child in ipairs(list) do
    if not module.is_module(child) then
      where.raise("%s: number %d is a %s, not a module", what, i, type(child))
    end
  end
  return list
end

function Container:init(...)
  for i, child in ipairs(children("nn." .. self.class_name, ...)) do self[i] = child end
end

-- container:append(module) -> container. Puts a module at the end (PyTorch: append).
function Container:append(child)
  self[#self + 1] = children("append", child)[1]
  return self
end

-- nn.Sequential(a, b, ...) or nn.Sequential{a, b, ...} (torch.nn.Sequential): a function of one value, each
-- child applied to what the one before gave.
local Sequential = module.class("Sequential", Container)
layers.Sequential = Sequential

function Sequential:forward(x)
  for i = 1, #self do x = self[i](x) end
  return x
end

-- nn.ModuleList{a, b, ...} (torch.nn.ModuleList): modules in a list, called by whoever holds it.
local ModuleList = module.class("ModuleList", Container)
layers.ModuleList = ModuleList

function ModuleList:forward()
  where.raise("nn.ModuleList has no forward: call its children, as in list[1](x)")
end

return layers
