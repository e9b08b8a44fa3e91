-- A multilayer perceptron: the image flattened, linear layers fc1, fc2, ... with ReLU between them.
--   hidden = {300, 100}   widths of the hidden layers; {} is softmax regression
-- 784-300-100-10 as in LeCun et al. 1998 is models.create "mlp".

local nn = require "wattle.nn"

local MLP = nn.class "MLP"

function MLP:init(o)
  local width = o.in_channels * o.image_size * o.image_size
  for i, hidden in ipairs(o.hidden or { 300, 100 }) do
    self["fc" .. i] = nn.Linear{ in_features = width, out_features = hidden }
    width = hidden
  end
  self["fc" .. #self + 1] = nn.Linear{ in_features = width, out_features = o.num_classes }
end

-- x (N,C,H,W) -> logits (N, num_classes)
function MLP:forward(x)
  x = x:flatten()
  for i = 1, #self - 1 do x = nn.relu(self["fc" .. i](x)) end
  return self["fc" .. #self](x)
end

return {
  names = { "mlp" },
  options = { "hidden" },
  create = function(_, o) return MLP(o) end,
}
