-- Writes Fashion-MNIST as a folder of JPEGs by class, the way one's own photographs would lie: DIR/train/Bag/00042.jpg,
-- DIR/val/..., in colour and three times as large. wattle.data.folder reads it.
--   wattle make_fashion_folder.lua [DIR = fashion] [IMAGES A CLASS = 30] [SIDE = 84]

local wattle = require "wattle"
local core, data = wattle.core, wattle.data

local dir, per_class, side = arg[1] or "fashion", math.tointeger(arg[2] or 30), math.tointeger(arg[3] or 84)
if not (per_class and per_class >= 1 and side and side >= 1) then
  error("make_fashion_folder.lua: images a class and side must be positive integers", 0)
end
local sets = assert(data.fashion_mnist())

-- The first images of each class, grey in all three channels.
local function write(set, part, most)
  local count, written = {}, 0
  for c, class in ipairs(set.classes) do
    count[c - 1] = 0
    assert(core.mkdir(("%s/%s/%s"):format(dir, part, class:gsub("/", "-"))))
  end
  for i = 0, set.images:size(0) - 1 do
    local label = math.tointeger(set.labels:get(i))
    if count[label] < most then
      count[label], written = count[label] + 1, written + 1
      local image = set.images:narrow(0, i, 1):contiguous():reshape(1, 28, 28)
      image = data.resize(image, { size = { side, side }, interpolation = "bicubic" }):expand{ 3, side, side }
      local path = ("%s/%s/%s/%05d.jpg"):format(dir, part, set.classes[label + 1]:gsub("/", "-"), i)
      assert(data.save_image(path, image, { quality = 92, sync = false }))
    end
    if written == most * #set.classes then break end
  end
  return written
end

local train, val = write(sets.train, "train", per_class), write(sets.test, "val", math.max(1, per_class // 2))
print(("%s: %d images to train on, %d to validate"):format(dir, train, val))
