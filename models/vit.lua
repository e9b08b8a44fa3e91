-- ViT-B/16 (Dosovitskiy et al. 2021): patches of 16 x 16 pixels, each a vector of 768, and a class token go through twelve
-- transformer layers. Parameters are named and shaped as in torchvision; weights of timm's vit_base_patch16_224, of Hugging
-- Face's ViTForImageClassification and of torchvision's first files load as well. Images must be of image_size, a multiple
-- of 16, from 16 on: it decides the size of encoder.pos_embedding, and weights made at another size have theirs
-- interpolated (bicubic, as torchvision's interpolate_embeddings does).
--   image_size = 224
--   dropout = 0             after the embedding, the attention and in the MLP
--   attention_dropout = 0   of the attention's weights

local wattle = require "wattle"
local nn = require "wattle.nn"
local where = require "wattle.where"

local patch, layers, heads, dim, mlp_dim = 16, 12, 12, 768, 3072

local function norm()
  return nn.LayerNorm{ normalized_shape = dim, eps = 1e-6 }
end

-- ---- the network ---------------------------------------------------------------------------------------------

local MLPBlock = nn.class("MLPBlock", nn.Sequential)

function MLPBlock:init(dropout)
  for i, shape in ipairs{ { dim, mlp_dim }, { mlp_dim, dim } } do
    local linear = nn.Linear{ in_features = shape[1], out_features = shape[2] }
    nn.init.xavier_uniform(linear.weight)
    nn.init.normal(linear.bias, { std = 1e-6 })
    self:append(linear)
    if i == 1 then self:append(nn.GELU()) end
    self:append(nn.Dropout{ p = dropout })
  end
end

local EncoderBlock = nn.class "EncoderBlock"

function EncoderBlock:init(dropout, attention_dropout)
  self.ln_1 = norm()
  self.self_attention = nn.MultiheadAttention{ embed_dim = dim, num_heads = heads, dropout = attention_dropout }
  self.dropout = nn.Dropout{ p = dropout }
  self.ln_2 = norm()
  self.mlp = MLPBlock(dropout)
end

-- x (N, S, dim) -> the same shape
function EncoderBlock:forward(x)
  x = self.dropout(self.self_attention(self.ln_1(x))) + x
  return x + self.mlp(self.ln_2(x))
end

-- The layers, under names rather than numbers; printed as what it is in torchvision, and so is the head.
local Layers = nn.class "Sequential"

function Layers:init(dropout, attention_dropout)
  for i = 0, layers - 1 do self["encoder_layer_" .. i] = EncoderBlock(dropout, attention_dropout) end
end

function Layers:forward(x)
  for i = 0, layers - 1 do x = self["encoder_layer_" .. i](x) end
  return x
end

local Encoder = nn.class "Encoder"

function Encoder:init(length, dropout, attention_dropout)
  self.pos_embedding = nn.Parameter(wattle.zeros{ 1, length, dim })
  nn.init.normal(self.pos_embedding, { std = 0.02 })
  self.dropout = nn.Dropout{ p = dropout }
  self.layers = Layers(dropout, attention_dropout)
  self.ln = norm()
end

-- x (N, length, dim), where the class token's place is zero, and the token (1, 1, dim) -> (N, length, dim)
function Encoder:forward(x, class_token)
  local after = x:size(1) - 1
  x = x + (self.pos_embedding + nn.pad(class_token, { pads = { 0, 0, 0, after } }))
  return self.ln(self.layers(self.dropout(x)))
end

local Heads = nn.class "Sequential"

function Heads:init(classes)
  self.head = nn.Linear{ in_features = dim, out_features = classes }
  nn.init.zeros(self.head.weight)
  nn.init.zeros(self.head.bias)
end

function Heads:forward(x)
  return self.head(x)
end

local VisionTransformer = nn.class "VisionTransformer"

function VisionTransformer:init(o)
  self.image_size = o.image_size
  self.class_token = nn.Parameter(wattle.zeros{ 1, 1, dim })
  self.conv_proj = nn.Conv2d{ in_channels = o.in_channels, out_channels = dim, kernel_size = patch, stride = patch }
  nn.init.trunc_normal(self.conv_proj.weight, { std = (o.in_channels * patch * patch) ^ -0.5 })
  nn.init.zeros(self.conv_proj.bias)
  self.encoder = Encoder((o.image_size // patch) * (o.image_size // patch) + 1, o.dropout, o.attention_dropout)
  self.heads = Heads(o.num_classes)
end

-- x (N, C, image_size, image_size) -> logits (N, num_classes)
function VisionTransformer:forward(x)
  if x:size(2) ~= self.image_size or x:size(3) ~= self.image_size then
    where.raise("vit_b_16: the model was made for images of %d x %d pixels, got %d x %d; see models.create's image_size",
                self.image_size, self.image_size, x:size(2), x:size(3))
  end
  x = nn.flatten(self.conv_proj(x), { start_dim = 2 }) -- (N, dim, patches)
  x = nn.pad(nn.permute(x, { dims = { 0, 2, 1 } }), { pads = { 0, 0, 1, 0 } }) -- the token's place in front
  return self.heads(self.encoder(x, self.class_token):select(1, 0))
end

-- ---- other people's weights ----------------------------------------------------------------------------------

-- Parts of a layer, by whoever named them, and how the three tensors of Hugging Face's attention become one.
local parts = {
  norm1 = "ln_1", norm2 = "ln_2", ["attn.proj"] = "self_attention.out_proj", ["mlp.fc1"] = "mlp.0", ["mlp.fc2"] = "mlp.3",
  layernorm_before = "ln_1", layernorm_after = "ln_2", ["attention.output.dense"] = "self_attention.out_proj",
  ["intermediate.dense"] = "mlp.0", ["output.dense"] = "mlp.3",
  ["mlp.linear_1"] = "mlp.0", ["mlp.linear_2"] = "mlp.3",
}
local thirds = { ["attention.attention.query"] = 1, ["attention.attention.key"] = 2, ["attention.attention.value"] = 3 }

local whole = {
  cls_token = "class_token", pos_embed = "encoder.pos_embedding",
  ["embeddings.cls_token"] = "class_token", ["embeddings.position_embeddings"] = "encoder.pos_embedding",
}
local ends = {
  ["patch_embed.proj"] = "conv_proj", norm = "encoder.ln", head = "heads.head",
  ["embeddings.patch_embeddings.projection"] = "conv_proj", layernorm = "encoder.ln", classifier = "heads.head",
}

-- Our name for one of theirs; false for what has no place here; nil if it is ours or nobody's.
local function translate(name)
  name = name:gsub("^vit%.", "")
  if whole[name] then return whole[name] end
  if name:find "^pooler%." then return false end
  local path, last = name:match "^(.*)%.([^.]+)$"
  if ends[path] then return ends[path] .. "." .. last end
  for _, pattern in ipairs{ "^blocks%.(%d+)%.(.*)$", "^encoder%.layer%.(%d+)%.(.*)$",
                            "^encoder%.layers%.encoder_layer_(%d+)%.(.*)$" } do
    local layer, part = (path or ""):match(pattern)
    if layer then
      local prefix = "encoder.layers.encoder_layer_" .. layer .. "."
      if part == "attn.qkv" then return prefix .. "self_attention.in_proj_" .. last end
      if thirds[part] then return { name = prefix .. "self_attention.in_proj_" .. last, rows = { thirds[part], 3 } } end
      return parts[part] and prefix .. parts[part] .. "." .. last
    end
  end
end

local function keys(_, file_names)
  local map, differs = {}, false
  for _, name in ipairs(file_names) do
    map[name] = translate(name)
    differs = differs or map[name] ~= nil
  end
  return differs and map or nil
end

-- The matrix (to, from) that resizes a line of `from` points to `to` by cubic convolution (Keys 1981, a = -0.75) with the
-- ends on the ends; beyond the ends the last point is repeated.
local function cubic(from, to)
  local function near(d) return ((1.25 * d - 2.25) * d) * d + 1 end -- |d| <= 1
  local function far(d) return ((-0.75 * d + 3.75) * d - 6) * d + 3 end -- 1 < |d| <= 2
  local rows = {}
  for i = 1, to do
    local at = to > 1 and (i - 1) * (from - 1) / (to - 1) or 0
    local first, row = math.floor(at), {}
    for j = 1, from do row[j] = 0 end
    for tap = -1, 2 do
      local d, j = math.abs(at - first - tap), math.min(math.max(first + tap, 0), from - 1) + 1
      row[j] = row[j] + (d <= 1 and near(d) or far(d))
    end
    rows[i] = row
  end
  return wattle.tensor(rows, "f64")
end

-- The embedding t (1, 1 + from*from, dim) for a grid of to x to patches; the class token's stays.
local function interpolate(t, from, to)
  local m = cubic(from, to)
  t = t:to "f64"
  local grid = t:narrow(1, 1, from * from):contiguous():view{ from, from * dim }
  grid = nn.matmul(m, grid):view{ to, from, dim }:permute{ 1, 0, 2 }:contiguous():view{ from, to * dim }
  grid = nn.matmul(m, grid):view{ to, to, dim }:permute{ 1, 0, 2 }:contiguous():view{ 1, to * to, dim }
  return nn.concat(t:narrow(1, 0, 1):contiguous(), grid, { dim = 1 }):to "f32"
end

-- Of weights made at another image size, the positional embedding for the model's; returns its name if it did anything.
local function prepare(dict, model)
  local name = "encoder.pos_embedding"
  local t, wanted = dict[name], model.encoder.pos_embedding:tensor():size(1)
  if not t or t:dim() ~= 3 or t:size(0) ~= 1 or t:size(2) ~= dim or t:size(1) == wanted then return end
  local from, to = math.floor((t:size(1) - 1) ^ 0.5 + 0.5), model.image_size // patch
  if from < 1 or from * from + 1 ~= t:size(1) then return end
  dict[name] = interpolate(t, from, to)
  return name
end

return {
  names = { "vit_b_16" },
  options = { "dropout", "attention_dropout" },
  defaults = { num_classes = 1000, in_channels = 3, image_size = 224 },
  create = function(_, o)
    if o.image_size % patch ~= 0 then
      where.raise("vit_b_16: image_size must be a multiple of %d, got %s", patch, tostring(o.image_size))
    end
    return VisionTransformer{ image_size = o.image_size, dropout = o.dropout or 0,
                              attention_dropout = o.attention_dropout or 0, in_channels = o.in_channels,
                              num_classes = o.num_classes }
  end,
  head = { "^heads%.head%." },
  stem = "conv_proj.weight",
  keys = keys,
  prepare = prepare,
}
