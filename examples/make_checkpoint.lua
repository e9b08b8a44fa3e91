-- Writes a checkpoint to fine-tune from, since no published weights come with Wattle: a ResNet-18 for the first five classes
-- of Fashion-MNIST, trained for a moment, as safetensors with torchvision's names.
--   wattle make_checkpoint.lua [FILE = resnet18.safetensors] [IMAGES = 1000] [EPOCHS = 2]

local wattle = require "wattle"

local path, images, epochs = arg[1] or "resnet18.safetensors", math.tointeger(arg[2] or 1000), math.tointeger(arg[3] or 2)
local all = assert(wattle.data.fashion_mnist()).train
local keep = {}
for i, label in ipairs(all.labels:narrow(0, 0, math.min(4 * images, #all)):tolist()) do
  if label < 5 and #keep < images then keep[#keep + 1] = i - 1 end
end
local pixels, labels = wattle.zeros{ #keep, 1, 28, 28, dtype = "u8" }, wattle.zeros{ #keep, dtype = "u8" }
for k, i in ipairs(keep) do
  pixels:narrow(0, k - 1, 1):copy_(all.images:narrow(0, i, 1):reshape{ 1, 1, 28, 28 })
  labels:narrow(0, k - 1, 1):copy_(all.labels:narrow(0, i, 1))
end
local colour = pixels:expand{ #keep, 3, 28, 28 }:contiguous() -- grey in three channels
local train = wattle.data.tensors{ images = colour, labels = labels, mean = 0.286, sd = 0.353, name = "five" }

local model = wattle.models.create("resnet18", { num_classes = 5, seed = 1 })
wattle.fit{ model = model, data = { train = train }, epochs = epochs, batch_size = 50, seed = 1,
            optimizer = { "sgd", lr = 0.05, momentum = 0.9, weight_decay = 1e-4 } }
assert(wattle.save(path, model:state_dict()))
print(path .. ": a ResNet-18 of five classes")
