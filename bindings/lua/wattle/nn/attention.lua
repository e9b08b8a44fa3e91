-- nn.MultiheadAttention: the layer of transformers, composed of ops; nn.lua adds it to the layers. May use the other
-- layers, nn.init and nn/options.lua.

local wattle = require "wattle"
local core, ops = wattle.core, wattle.ops
local where = require "wattle.where"
local module = require "wattle.nn.module"
local init = require "wattle.nn.init"
local layers = require "wattle.nn.layers"
local options = require "wattle.nn.options"

local attention = {}

local what = "nn.MultiheadAttention"

-- nn.MultiheadAttention{embed_dim =, num_heads =, dropout = 0, bias = true} (torch.nn.MultiheadAttention with
-- batch_first). Self-attention (Vaswani et al. 2017): x (N,S,E) -> (N,S,E), E = embed_dim, d = E/num_heads; q, k and v
-- are thirds of x W^T + b, and each head gives softmax(q k^T / sqrt(d)) v. dropout: the chance 0 <= p < 1 that a weight
-- of that softmax is dropped in training. PyTorch also returns the weights; here they stay inside. Parameters:
-- in_proj_weight (3E,E), drawn from +-sqrt(6/(4E)), in_proj_bias (3E) of zeros, out_proj.weight (E,E), drawn from
-- +-1/sqrt(E), out_proj.bias (E) of zeros.
local MultiheadAttention = module.class "MultiheadAttention"
attention.MultiheadAttention = MultiheadAttention

function MultiheadAttention:init(o)
  options.check(o, { "embed_dim", "num_heads", "dropout", "bias" }, what)
  local e, heads = options.count(o, "embed_dim", what), options.count(o, "num_heads", what)
  if e % heads ~= 0 then where.raise("%s: num_heads = %d must divide embed_dim = %d", what, heads, e) end
  local p, bias = options.real(o, "dropout", what, 0, 0, 1), options.flag(o, "bias", what, true)
  if p == 1 then where.raise("%s: dropout = 1 would drop everything; it must be below 1", what) end
  self.embed_dim, self.num_heads, self.dropout = e, heads, p
  self.in_proj_weight = module.Parameter(core.zeros{ 3 * e, e }, module.uniform(math.sqrt(6 / (4 * e))))
  if bias then self.in_proj_bias = module.Parameter(core.zeros{ 3 * e }) end
  self.out_proj = layers.Linear{ in_features = e, out_features = e, bias = bias }
  if bias then init.zeros(self.out_proj.bias) end
end

-- Columns [begin, begin + E) of (N,S,3E) as (N,heads,S,d), or with its last two dims in the order given.
local function head(self, all, third, dims)
  local e, heads = self.embed_dim, self.num_heads
  local part = ops.slice(all, { dim = 2, start = third * e, stop = (third + 1) * e })
  return ops.permute(ops.reshape(part, { shape = { 0, 0, heads, e // heads } }), { dims = dims })
end

function MultiheadAttention:forward(x)
  local e = self.embed_dim
  if x:dim() ~= 3 or x:size(2) ~= e then
    where.raise("%s: x is [%s]; it must be (N,S,%d)", what, table.concat(x:shape(), ","), e)
  end
  local all = ops.linear(x, self.in_proj_weight, self.in_proj_bias)
  local q = head(self, all, 0, { 0, 2, 1, 3 }) * (e // self.num_heads) ^ -0.5
  local weights = ops.softmax(ops.matmul(q, head(self, all, 1, { 0, 2, 3, 1 })), { dim = -1 })
  if self.training and self.dropout > 0 then
    weights = ops.dropout(weights, { p = self.dropout, training = true })
  end
  local y = ops.matmul(weights, head(self, all, 2, { 0, 2, 1, 3 })) -- (N,heads,S,d)
  return self.out_proj(ops.flatten(ops.permute(y, { dims = { 0, 2, 1, 3 } }), { start_dim = 2 }))
end

function MultiheadAttention:extra_repr()
  return ("embed_dim=%d, num_heads=%d, dropout=%g, bias=%s"):format(
    self.embed_dim, self.num_heads, self.dropout, options.py(self.in_proj_bias))
end

return attention
