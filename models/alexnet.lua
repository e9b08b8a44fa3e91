-- AlexNet as Krizhevsky trained it on one GPU ("One weird trick", 2014), which is torchvision's: five convolutions, no
-- local response normalization. Images from 63x63; 224 is what it was made for.
--   dropout = 0.5   before the first and the second linear layer

local nn = require "wattle.nn"

local AlexNet = nn.class "AlexNet"

local function conv(cin, cout, kernel, stride, padding)
  return nn.Conv2d{ in_channels = cin, out_channels = cout, kernel_size = kernel, stride = stride, padding = padding }
end

local function pool()
  return nn.MaxPool2d{ kernel_size = 3, stride = 2 }
end

function AlexNet:init(o)
  local dropout = o.dropout or 0.5
  self.features = nn.Sequential{
    conv(o.in_channels, 64, 11, 4, 2), nn.ReLU(), pool(),
    conv(64, 192, 5, 1, 2), nn.ReLU(), pool(),
    conv(192, 384, 3, 1, 1), nn.ReLU(),
    conv(384, 256, 3, 1, 1), nn.ReLU(),
    conv(256, 256, 3, 1, 1), nn.ReLU(), pool(),
  }
  self.avgpool = nn.AdaptiveAvgPool2d{ output_size = 6 }
  self.classifier = nn.Sequential{
    nn.Dropout{ p = dropout }, nn.Linear{ in_features = 256 * 6 * 6, out_features = 4096 }, nn.ReLU(),
    nn.Dropout{ p = dropout }, nn.Linear{ in_features = 4096, out_features = 4096 }, nn.ReLU(),
    nn.Linear{ in_features = 4096, out_features = o.num_classes },
  }
end

-- x (N,C,H,W) -> logits (N, num_classes)
function AlexNet:forward(x)
  return self.classifier(self.avgpool(self.features(x)):flatten())
end

return {
  names = { "alexnet" },
  options = { "dropout" },
  defaults = { num_classes = 1000, in_channels = 3, image_size = 224 },
  create = function(_, o) return AlexNet(o) end,
  head = { "^classifier%.6%." },
  stem = "features.0.weight",
}
