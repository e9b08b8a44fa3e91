-- ConvNeXt-T (Liu et al. 2022): a 4x4 stem, then four stages of blocks that filter each channel by a 7x7 convolution,
-- normalize over the channels, and mix them by two linear layers. Parameters are named and shaped as in torchvision;
-- weights of timm's convnext_tiny, of Facebook's first files and of Hugging Face's ConvNextForImageClassification load as
-- well. The plane is divided by 32: image_size from 32 on, better a multiple.
--   stochastic_depth_prob = 0.1   chance to skip a block in training, growing to this at the last
--   layer_scale = 1e-6            what each block's output is multiplied by at the beginning

local wattle = require "wattle"
local nn = require "wattle.nn"
local real = require("wattle.nn.options").real
local where = require "wattle.where"

-- channels, blocks
local stages = { { 96, 3 }, { 192, 3 }, { 384, 9 }, { 768, 3 } }

-- Layer norm over the channels of (N,C,H,W).
local LayerNorm2d = nn.class("LayerNorm2d", nn.LayerNorm)

function LayerNorm2d:forward(x)
  local y = nn.LayerNorm.forward(self, nn.permute(x, { dims = { 0, 2, 3, 1 } }))
  return nn.permute(y, { dims = { 0, 3, 1, 2 } })
end

local function norm2d(channels)
  return LayerNorm2d{ normalized_shape = channels, eps = 1e-6 }
end

local CNBlock = nn.class "CNBlock"

function CNBlock:init(dim, layer_scale, skip_prob)
  self.layer_scale = nn.Parameter(wattle.full({ dim, 1, 1 }, layer_scale))
  self.block = nn.Sequential{
    nn.Conv2d{ in_channels = dim, out_channels = dim, kernel_size = 7, padding = 3, groups = dim },
    nn.Permute{ dims = { 0, 2, 3, 1 } },
    nn.LayerNorm{ normalized_shape = dim, eps = 1e-6 },
    nn.Linear{ in_features = dim, out_features = 4 * dim },
    nn.GELU(),
    nn.Linear{ in_features = 4 * dim, out_features = dim },
    nn.Permute{ dims = { 0, 3, 1, 2 } },
  }
  self.stochastic_depth = nn.StochasticDepth{ p = skip_prob, mode = "row" }
end

-- x (N, dim, H, W) -> the same shape
function CNBlock:forward(x)
  return self.stochastic_depth(self.layer_scale * self.block(x)) + x
end

local ConvNeXt = nn.class "ConvNeXt"

function ConvNeXt:init(o)
  local blocks, done = 0, 0
  for _, stage in ipairs(stages) do blocks = blocks + stage[2] end
  self.features = nn.Sequential{ nn.Conv2dNormActivation{
    in_channels = o.in_channels, out_channels = stages[1][1], kernel_size = 4, stride = 4, padding = 0, bias = true,
    norm_layer = norm2d, activation_layer = false } }
  for s, stage in ipairs(stages) do
    local dim, n = table.unpack(stage)
    local list = nn.Sequential{}
    for _ = 1, n do
      list:append(CNBlock(dim, o.layer_scale, o.skip_prob * done / (blocks - 1)))
      done = done + 1
    end
    self.features:append(list)
    if stages[s + 1] then
      self.features:append(nn.Sequential{
        norm2d(dim), nn.Conv2d{ in_channels = dim, out_channels = stages[s + 1][1], kernel_size = 2, stride = 2 } })
    end
  end
  self.avgpool = nn.AdaptiveAvgPool2d{ output_size = 1 }
  local dim = stages[#stages][1]
  self.classifier = nn.Sequential{
    norm2d(dim), nn.Flatten(), nn.Linear{ in_features = dim, out_features = o.num_classes } }
  for _, entry in ipairs(self:modules()) do
    local m = entry.module
    if m.class_name == "Conv2d" or m.class_name == "Linear" then
      nn.init.trunc_normal(m.weight, { std = 0.02 })
      nn.init.zeros(m.bias)
    end
  end
end

-- x (N,C,H,W) -> logits (N, num_classes)
function ConvNeXt:forward(x)
  if x:size(2) < 32 or x:size(3) < 32 then
    where.raise("convnext_tiny: images must have at least 32 x 32 pixels, got %d x %d", x:size(2), x:size(3))
  end
  return self.classifier(self.avgpool(self.features(x)))
end

-- ---- other people's names ------------------------------------------------------------------------------------

-- Parts of a block, by whoever named them.
local parts = {
  conv_dw = "0", dwconv = "0", norm = "2", layernorm = "2", ["mlp.fc1"] = "3", pwconv1 = "3", ["mlp.fc2"] = "5",
  pwconv2 = "5",
}

local ends = {
  ["stem.0"] = "features.0.0", ["stem.1"] = "features.0.1", ["head.norm"] = "classifier.0", ["head.fc"] = "classifier.2",
  norm = "classifier.0", head = "classifier.2",
  ["embeddings.patch_embeddings"] = "features.0.0", ["embeddings.layernorm"] = "features.0.1", layernorm = "classifier.0",
  classifier = "classifier.2",
}

-- Our name for one of theirs, or nil.
local function translate(name)
  local path, last = name:gsub("^convnext%.", ""):gsub("^encoder%.", ""):match "^(.*)%.([^.]+)$"
  if ends[path] then return ends[path] .. "." .. last end
  local stage, block = name:match "stages%.(%d+)%.layers%.(%d+)%."
  if not stage then stage, block = name:match "stages%.(%d+)%.blocks%.(%d+)%." end
  if not stage then stage, block = name:match "stages%.(%d+)%.(%d+)%." end
  if stage then
    local prefix = ("features.%d.%d."):format(2 * stage + 1, block)
    if last == "gamma" or last == "layer_scale_parameter" then
      return { name = prefix .. "layer_scale", reshape = { stages[stage + 1] and stages[stage + 1][1] or 1, 1, 1 } }
    end
    for theirs, ours in pairs(parts) do
      if path:sub(-#theirs - 1) == "." .. theirs then return prefix .. "block." .. ours .. "." .. last end
    end
  end
  local level, step = name:match "downsample_layers%.(%d+)%.(%d+)%."
  if not level then level, step = name:match "stages%.(%d+)%.downsample%.(%d+)%." end
  if not level then level, step = name:match "stages%.(%d+)%.downsampling_layer%.(%d+)%." end
  return level and ("features.%d.%d.%s"):format(2 * level, step, last)
end

local function keys(_, file_names)
  for _, name in ipairs(file_names) do
    if name:find "^features%." then return nil end
  end
  local map = {}
  for _, name in ipairs(file_names) do map[name] = translate(name) end
  return map
end

return {
  names = { "convnext_tiny" },
  options = { "stochastic_depth_prob", "layer_scale" },
  defaults = { num_classes = 1000, in_channels = 3, image_size = 224 },
  create = function(name, o)
    local p, scale = real(o, "stochastic_depth_prob", name, 0.1, 0, 1), o.layer_scale or 1e-6
    if type(scale) ~= "number" or scale - scale ~= 0 then
      where.raise("%s: layer_scale must be a finite number, got %s", name, tostring(scale))
    end
    return ConvNeXt{ skip_prob = p, layer_scale = scale, in_channels = o.in_channels, num_classes = o.num_classes }
  end,
  head = { "^classifier%.2%." },
  stem = "features.0.0.weight",
  keys = keys,
}
