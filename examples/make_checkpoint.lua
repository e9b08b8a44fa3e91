-- Writes a checkpoint to fine-tune from, since no published weights come with Wattle: a ResNet-18 for the first five classes
-- of Fashion-MNIST, trained for a moment on images of 32 x 32, as safetensors with torchvision's names.
--   wattle make_checkpoint.lua [FILE = resnet18.safetensors] [IMAGES = 600] [EPOCHS = 3]

local wattle = require "wattle"
local T = wattle.data.transforms

local path, images, epochs = arg[1] or "resnet18.safetensors", math.tointeger(arg[2] or 600), math.tointeger(arg[3] or 3)
if not (images and images >= 1 and epochs and epochs >= 1) then
  error("make_checkpoint.lua: images and epochs must be positive integers", 0)
end
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
local train = wattle.data.tensors{
  images = pixels:expand{ #keep, 3, 28, 28 }:contiguous(), labels = labels, name = "five", -- grey in three channels
  transform = { T.resize{ size = 32 }, T.normalize{ mean = { 0.485, 0.456, 0.406 }, std = { 0.229, 0.224, 0.225 } } },
}

local model = wattle.models.create("resnet18", { num_classes = 5, seed = 1 })
wattle.fit{ model = model, data = { train = train }, epochs = epochs, batch_size = 20, seed = 1, optimizer = { "adamw", lr = 1e-3 } }
assert(wattle.save(path, model:state_dict()))
print(path .. ": a ResNet-18 of five classes")
