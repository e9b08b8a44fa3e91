-- Fine-tunes a ResNet-18 on a folder of JPEGs, DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg, from weights with torchvision's
-- names (safetensors, .pth or .npz). Without arguments both are made first, from Fashion-MNIST: half of the classes, which the
-- weights know, and half which they don't. SIDE is the images' (published weights want 224).
--   wattle fine_tune.lua [DIR CHECKPOINT [SIDE = 32]]

local wattle = require "wattle"
local T = wattle.data.transforms
local dir, checkpoint, side = arg[1] or "fashion", arg[2] or "resnet18.safetensors", math.tointeger(arg[3] or 32)
for _, script in ipairs(arg[1] and {} or { "make_fashion_folder", "make_checkpoint" }) do
  dofile((arg[0]:gsub("fine_tune", script)))
end

local look = { T.resize{ size = side }, T.center_crop{ size = side },
               T.normalize{ mean = { 0.485, 0.456, 0.406 }, std = { 0.229, 0.224, 0.225 } } }
local train = assert(wattle.data.folder{ dir = dir .. "/train", transform = { T.random_flip{}, table.unpack(look) } })
local val = assert(wattle.data.folder{ dir = dir .. "/val", transform = look, classes = train.classes })

local model, report = wattle.models.create("resnet18", { num_classes = train.num_classes, pretrained = checkpoint, seed = 1 })
assert(model, report)
print(("%d images of %d classes; drawn anew: %s"):format(#train, train.num_classes, table.concat(report.new, ", ")))
model:freeze("^layer[12]%.", { statistics = true }) -- they stay as they were
wattle.fit{
  model = model, data = { train = train, val = val }, epochs = 6, batch_size = 20, seed = 1,
  optimizer = { "adamw", lr = 5e-4, groups = { { match = "^fc%.", lr = 1e-3 } } },
  schedule = wattle.schedule.cosine{ lr = 5e-4, epochs = 6, per = "step" },
  keep_best = true, early_stopping = { patience = 3 },
}
local result = wattle.evaluate(model, val)
print(result)
assert(wattle.save("fine_tuned.safetensors", model:state_dict()))
assert(arg[1] or result.top1_pct > 65, "expected more than 65 %")
