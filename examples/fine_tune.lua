-- Fine-tunes a ResNet-18 on a folder of JPEGs, DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg, from weights with torchvision's
-- names (safetensors, .pth or .npz). Without arguments both are made first, from Fashion-MNIST.
--   wattle fine_tune.lua [DIR CHECKPOINT]

local wattle = require "wattle"
local T = wattle.data.transforms
local dir, checkpoint = arg[1] or "fashion", arg[2] or "resnet18.safetensors"
for _, script in ipairs(arg[1] and {} or { "make_fashion_folder", "make_checkpoint" }) do
  dofile((arg[0]:gsub("fine_tune", script)))
end

local look = { T.resize{ size = 64 }, T.normalize{ mean = { 0.485, 0.456, 0.406 }, sd = { 0.229, 0.224, 0.225 } } }
local train = assert(wattle.data.folder{ dir = dir .. "/train", transform = { T.random_flip{}, table.unpack(look) } })
local val = assert(wattle.data.folder{ dir = dir .. "/val", transform = look, classes = train.classes })

local model, report = wattle.models.create("resnet18", { num_classes = train.num_classes, pretrained = checkpoint, seed = 1 })
assert(model, report)
print(("%d images of %d classes; drawn anew: %s"):format(#train, train.num_classes, table.concat(report.new, ", ")))
model:freeze "^conv1" -- the first filters stay
wattle.fit{
  model = model, data = { train = train, val = val }, epochs = 8, batch_size = 20, seed = 1,
  optimizer = { "sgd", lr = 0.005, momentum = 0.9, weight_decay = 1e-4, groups = { { match = "^fc%.", lr = 0.05 } } },
  keep_best = true, early_stopping = { patience = 3 },
}
print(wattle.evaluate(model, val))
assert(wattle.save("fine_tuned.safetensors", model:state_dict()))
