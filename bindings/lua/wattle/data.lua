-- Data sets: from tensors, from files of tensors (IDX, CIFAR, CSV) and from folders of images; split, shortened, and dealt
-- out in batches. Pixels stay bytes until a batch is made. Files are read by the core; nothing is downloaded. What a data
-- set can do is in data/dataset.lua, the sources and the transforms are beside it.

local wattle = require "wattle"
local core = wattle.core
local dataset = require "wattle.data.dataset"
local image = require "wattle.image"
local util = require "wattle.util"
local where = require "wattle.where"

local data = { transforms = require "wattle.data.transforms" }
data.folder = require("wattle.data.folder").folder
data.cifar10, data.cifar100 = require("wattle.data.cifar").cifar10, require("wattle.data.cifar").cifar100
data.csv = require("wattle.data.csv").csv
data.image, data.resize = image.image, image.resize

local tensor_type = debug.getmetatable(core.zeros{ 1 })
local function is_tensor(v)
  return debug.getmetatable(v) == tensor_type
end

-- data.save_image(path, image, {quality = 90, sync = true}) -> true or nil, message, code: a u8 tensor (H,W), (1,H,W) or
-- (3,H,W) as a JPEG (path ends in .jpg or .jpeg; quality 1 to 100, colour subsampled 4:2:0) or PNG file, written beside and
-- renamed. sync = false does not wait for the disk: for a whole folder that can be made again.
function data.save_image(path, picture, o)
  o = o or {}
  util.check_options(o, { "quality", "sync" }, "data.save_image")
  if type(path) ~= "string" then where.raise("data.save_image: a path is needed, not %s", type(path)) end
  if not is_tensor(picture) then where.raise("data.save_image: the image must be a tensor, not %s", type(picture)) end
  if o.quality ~= nil and math.type(o.quality) ~= "integer" then
    where.raise("data.save_image: quality must be an integer of 1 to 100, got %s", tostring(o.quality))
  end
  return core.save_image(path, picture:contiguous(), o.quality, o.sync ~= false)
end

-- The class names: a list as given, or how many (found from the labels if nil).
local function class_names(classes, labels)
  local highest = labels:size(0) > 0 and math.tointeger(labels:max()) or -1
  if labels:size(0) > 0 and labels:min() < 0 then
    where.raise("data: a label is %d; labels count from 0", math.tointeger(labels:min()))
  end
  classes = classes or highest + 1
  if math.type(classes) == "integer" then
    local names = {}
    for i = 1, classes do names[i] = tostring(i - 1) end
    classes = names
  end
  if highest >= #classes then
    where.raise("data: a label is %d, but there are %d classes (labels count from 0)", highest, #classes)
  end
  return classes
end

-- data.tensors{images = | features =, labels =, mean = 0, sd = 1, transform =, classes =, name = "data"} -> data set. images:
-- u8 [N,H,W] or [N,C,H,W]; or f32 of the same shapes, dealt out as they are. features: f32 [N,F] (or [N,...]). labels: u8
-- or i64 [N], from 0. mean and sd are of pixels in 0..1, or of f32 values as they are. transform: a list of
-- data.transforms' steps on u8 images of 1 or 3 channels. classes: list of names, or how many; found from the labels if
-- not given.
function data.tensors(o)
  util.check_options(o, { "images", "features", "labels", "mean", "sd", "transform", "classes", "name" }, "data.tensors")
  local what = o.features ~= nil and "features" or "images"
  local images, labels = o[what], o.labels
  if o.images ~= nil and o.features ~= nil then where.raise("data.tensors: give images or features, not both") end
  for _, name in ipairs{ what, "labels" } do
    if not is_tensor(o[name]) then where.raise("data.tensors: %s must be a tensor, got %s", name, type(o[name])) end
  end
  local shape, bytes = images:shape(), images.dtype == "u8"
  if images.dtype ~= "f32" and not (bytes and what == "images") then
    where.raise("data: %s must be %sf32, got %s", what, what == "images" and "u8 or " or "", images.dtype)
  elseif labels.dtype ~= "u8" and labels.dtype ~= "i64" then
    where.raise("data: labels must be u8 or i64, got %s", labels.dtype)
  elseif what == "features" and #shape < 2 or what == "images" and (#shape < 3 or #shape > 4) or labels:dim() ~= 1
         or labels:size(0) ~= shape[1] then
    where.raise("data: %s are [%s] and labels [%s]; need %s, and [N]", what, table.concat(shape, ","),
                table.concat(labels:shape(), ","), what == "images" and "[N,H,W] or [N,C,H,W]" or "[N,F]")
  end
  if not (type(o.sd or 1) == "number" and (o.sd or 1) > 0) then where.raise("data: sd must be above 0") end
  if o.mean ~= nil and type(o.mean) ~= "number" then where.raise("data: mean must be a number, got %s", type(o.mean)) end
  if o.transform then data.transforms.check(o.transform, "data.tensors") end
  local chw = { table.unpack(shape, 2) }
  if what == "images" and #shape == 3 then
    table.insert(chw, 1, 1)
    if not bytes then images = images:contiguous():reshape(shape[1], 1, shape[2], shape[3]) end
  end
  return dataset.new{ images = images:contiguous(), labels = labels:contiguous(), mean = o.mean or 0, sd = o.sd or 1,
                      transform = o.transform or nil, name = o.name or "data", classes = class_names(o.classes, labels),
                      channels = bytes and chw[1] or nil, raw = chw }
end

-- data.idx{images = path, labels = path, mean = 0, sd = 1, transform =, classes =, name =} -> data set from two IDX files,
-- plain or gzip (told by content); nil, message, code when a file cannot be read or its content is wrong.
function data.idx(o)
  util.check_options(o, { "images", "labels", "mean", "sd", "transform", "classes", "name" }, "data.idx")
  if type(o.images) ~= "string" or type(o.labels) ~= "string" then
    where.raise("data.idx: images and labels must be paths of IDX files")
  end
  local images, message, code = core.idx(o.images)
  if not images then return nil, message, code end
  local labels
  labels, message, code = core.idx(o.labels)
  if not labels then return nil, message, code end
  if labels:dim() ~= 1 or labels:size(0) ~= images:size(0) then
    return nil, ("%s has %d images, but %s is [%s]"):format(o.images, images:size(0), o.labels,
                                                             table.concat(labels:shape(), ",")), "format"
  end
  local classes = type(o.classes) == "table" and #o.classes or o.classes
  if classes and labels:dim() == 1 and labels.dtype == "u8" and labels:size(0) > 0 then
    local highest = labels:max()
    if highest >= classes then
      return nil, ("%s: a label is %d, but there are %d classes (labels count from 0)"):format(o.labels, highest,
                                                                                               classes), "format"
    end
  end
  return data.tensors{ images = images, labels = labels, mean = o.mean, sd = o.sd, transform = o.transform,
                       classes = o.classes, name = o.name }
end

-- ---- Fashion-MNIST -------------------------------------------------------------------------------------------

data.fashion_mnist_dir = "/usr/share/datasets/fashion-mnist"

local fashion_classes = { "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker",
                          "Bag", "Ankle boot" }

local function find(dir, name)
  for _, path in ipairs{ dir .. "/" .. name .. ".gz", dir .. "/" .. name } do
    if core.exists(path) then return path end
  end
  return nil, ("no %s or %s.gz in %s; install Debian's package dataset-fashion-mnist, "
               .. "or say where the files are with --data DIR (in Lua: dir =)"):format(name, name, dir), "io"
end

-- data.fashion_mnist{dir =, mean = 0.2860, sd = 0.3530, transform =} -> {train = (60,000), test = (10,000)} (Xiao et al.
-- 2017): 28x28 grey images of 10 classes. dir holds the four IDX files, plain or .gz; Debian's package if not
-- given. The default mean and sd are the training images' own. nil, message, code when the files are absent or
-- malformed.
function data.fashion_mnist(o)
  o = o or {}
  util.check_options(o, { "dir", "mean", "sd", "transform" }, "data.fashion_mnist")
  local dir, sets = o.dir or data.fashion_mnist_dir, {}
  for _, part in ipairs{ "train", "test" } do
    local prefix = part == "train" and "train" or "t10k"
    local images, labels, message, code
    images, message, code = find(dir, prefix .. "-images-idx3-ubyte")
    if not images then return nil, message, code end
    labels, message, code = find(dir, prefix .. "-labels-idx1-ubyte")
    if not labels then return nil, message, code end
    sets[part], message, code = data.idx{ images = images, labels = labels, mean = o.mean or 0.2860,
                                          sd = o.sd or 0.3530, classes = fashion_classes, transform = o.transform,
                                          name = "fashion_mnist." .. part }
    if not sets[part] then return nil, message, code end
    local shape = sets[part].raw
    if #sets[part] == 0 or shape[1] ~= 1 or shape[2] ~= 28 or shape[3] ~= 28 then
      return nil, ("%s: %d images of [%s]; Fashion-MNIST's are [1,28,28]"):format(images, #sets[part],
                                                                                   table.concat(shape, ",")), "format"
    end
  end
  return sets
end

return data
