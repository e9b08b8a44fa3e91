-- Data sets of images: from IDX files or from tensors, split, shortened, and dealt out in batches. Pixels stay
-- bytes until a batch is made. Files are read by the core; nothing is downloaded.

local wattle = require "wattle"
local core = wattle.core
local util = require "wattle.util"
local where = require "wattle.where"

local data = {}

-- A data set: a selection (index) of images with labels.
--   #ds             how many samples
--   ds.shape        {C, H, W} of a sample
--   ds.classes      list of class names: class c (from 0) is classes[c + 1]
--   ds.num_classes  how many there are
--   ds.name         names its random streams
local Dataset = {}
Dataset.__index = Dataset
Dataset.__name = "wattle.data.dataset"
util.classes.dataset = Dataset

function Dataset:__len()
  return self.size
end

function Dataset:__tostring()
  return ("%s: %d samples of [%s], %d classes"):format(self.name, self.size, table.concat(self.shape, ","),
                                                       self.num_classes)
end

-- The same images under another selection; index: i64 tensor of positions in the images, from 0.
local function select_from(ds, index, size, name)
  local new = setmetatable({}, Dataset)
  for k, v in pairs(ds) do new[k] = v end
  new.index, new.size, new.name = index, size, name or ds.name
  return new
end

local function check_integer(v, what, least)
  if math.type(v) ~= "integer" or v < least then
    where.raise("%s must be an integer of at least %d, got %s", what, least, tostring(v))
  end
  return v
end

local tensor_type = debug.getmetatable(core.zeros{ 1 })
local function is_tensor(v)
  return debug.getmetatable(v) == tensor_type
end

-- The seed given, or wattle.manual_seed's.
local function check_seed(seed, what)
  if seed ~= nil and math.type(seed) ~= "integer" then
    where.raise("%s: seed must be an integer, got %s", what, tostring(seed))
  end
  return seed or core.seed()
end

-- base[order[i]] for i64 tensors; base nil is the identity.
local function compose(base, order)
  if not base then return order end
  local from, positions = base:tolist(), order:tolist()
  for i, position in ipairs(positions) do positions[i] = from[position + 1] end
  return core.tensor(positions, "i64")
end

-- ds:take(n): the first n samples (all must exist).
function Dataset:take(n)
  check_integer(n, "take: n", 1)
  if n > self.size then where.raise("take: %d samples asked for, %s has %d", n, self.name, self.size) end
  local index = self.index or core.arange(self.size)
  return select_from(self, index:narrow(0, 0, n), n)
end

-- ds:split({n1, n2, ...}, seed) -> one data set each (torch.utils.data.random_split): disjoint random
-- selections of these sizes, the same for the same seed. The sizes may add up to less than #ds.
function Dataset:split(sizes, seed)
  if type(sizes) ~= "table" or #sizes == 0 then
    where.raise("split: give the sizes, as in split({55000, 5000}, seed)")
  end
  local total = 0
  for i, n in ipairs(sizes) do total = total + check_integer(n, ("split: size %d"):format(i), 1) end
  if total > self.size then where.raise("split: sizes add up to %d, %s has %d", total, self.name, self.size) end
  local order = compose(self.index, core.permutation(check_seed(seed, "split"), "split", self.name, 0, self.size))
  local parts, first = {}, 0
  for i, n in ipairs(sizes) do
    parts[i] = select_from(self, order:narrow(0, first, n), n, ("%s.%d"):format(self.name, i))
    first = first + n
  end
  return table.unpack(parts)
end

-- for x, y in ds:batches{batch_size =, shuffle = false, seed =, epoch = 0, drop_last = false} do ... end
-- (torch.utils.data.DataLoader). x: f32 [n, C, H, W], (pixel/255 - mean)/sd; y: i64 [n]. shuffle deals in an
-- order that is a function of seed (wattle.manual_seed's if not given), the data set's name and epoch;
-- drop_last leaves out a last batch that is not full.
function Dataset:batches(o)
  util.check_options(o, { "batch_size", "shuffle", "seed", "epoch", "drop_last" }, "batches")
  local n = check_integer(o.batch_size, "batches: batch_size", 1)
  local index, seed = self.index, check_seed(o.seed, "batches")
  if o.shuffle then
    index = compose(index, core.permutation(seed, "shuffle", self.name, o.epoch or 0, self.size))
  end
  index = index or core.arange(self.size)
  local first, size, drop = 0, self.size, o.drop_last
  return function()
    local take = math.min(n, size - first)
    if take <= 0 or drop and take < n then return nil end
    local x, y = core.gather_batch(self.images, self.labels, index, first, take, self.mean, self.sd)
    first = first + take
    return x, y
  end
end

-- ds:num_batches(batch_size [, drop_last])
function Dataset:num_batches(batch_size, drop_last)
  return drop_last and self.size // batch_size or (self.size + batch_size - 1) // batch_size
end

-- data.tensors{images =, labels =, mean = 0, sd = 1, classes =, name = "data"} -> data set. images: u8 [N,H,W]
-- or [N,C,H,W]; labels: u8 [N], from 0. mean and sd are of pixels in 0..1. classes: list of names, or how many;
-- found from the labels if not given.
function data.tensors(o)
  util.check_options(o, { "images", "labels", "mean", "sd", "classes", "name" }, "data.tensors")
  local images, labels = o.images, o.labels
  for _, name in ipairs{ "images", "labels" } do
    if not is_tensor(o[name]) then where.raise("data.tensors: %s must be a u8 tensor, got %s", name, type(o[name])) end
  end
  local shape = images:shape()
  if images.dtype ~= "u8" or labels.dtype ~= "u8" then
    where.raise("data: images and labels must be u8, got %s and %s", images.dtype, labels.dtype)
  end
  if #shape < 3 or #shape > 4 or labels:dim() ~= 1 or labels:size(0) ~= shape[1] then
    where.raise("data: images are [%s] and labels [%s]; need [N,H,W] or [N,C,H,W], and [N]",
                table.concat(shape, ","), table.concat(labels:shape(), ","))
  end
  if not (type(o.sd or 1) == "number" and (o.sd or 1) > 0) then where.raise("data: sd must be above 0") end
  local highest = 0
  for _, label in ipairs(labels:tolist()) do highest = math.max(highest, math.tointeger(label)) end
  local classes = o.classes or highest + 1
  if math.type(classes) == "integer" then
    local names = {}
    for i = 1, classes do names[i] = tostring(i - 1) end
    classes = names
  end
  if highest >= #classes then
    where.raise("data: a label is %d, but there are %d classes (labels count from 0)", highest, #classes)
  end
  local chw = #shape == 3 and { 1, shape[2], shape[3] } or { shape[2], shape[3], shape[4] }
  return setmetatable({ images = images, labels = labels, mean = o.mean or 0, sd = o.sd or 1,
                        name = o.name or "data", classes = classes, num_classes = #classes, shape = chw,
                        size = shape[1] }, Dataset)
end

-- data.idx{images = path, labels = path, mean = 0, sd = 1, classes =, name =} -> data set from two IDX files,
-- plain or gzip (told by content); nil, message, code when a file cannot be read or its content is wrong.
function data.idx(o)
  util.check_options(o, { "images", "labels", "mean", "sd", "classes", "name" }, "data.idx")
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
  return data.tensors{ images = images, labels = labels, mean = o.mean, sd = o.sd, classes = o.classes,
                       name = o.name }
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

-- data.fashion_mnist{dir =, mean = 0.2860, sd = 0.3530} -> {train = (60,000), test = (10,000)} (Xiao et al.
-- 2017): 28x28 grey images of 10 classes. dir holds the four IDX files, plain or .gz; Debian's package if not
-- given. The default mean and sd are the training images' own. nil, message, code when the files are absent or
-- malformed.
function data.fashion_mnist(o)
  o = o or {}
  util.check_options(o, { "dir", "mean", "sd" }, "data.fashion_mnist")
  local dir, sets = o.dir or data.fashion_mnist_dir, {}
  for _, part in ipairs{ "train", "test" } do
    local prefix = part == "train" and "train" or "t10k"
    local images, labels, message, code
    images, message, code = find(dir, prefix .. "-images-idx3-ubyte")
    if not images then return nil, message, code end
    labels, message, code = find(dir, prefix .. "-labels-idx1-ubyte")
    if not labels then return nil, message, code end
    sets[part], message, code = data.idx{ images = images, labels = labels, mean = o.mean or 0.2860,
                                          sd = o.sd or 0.3530, classes = fashion_classes,
                                          name = "fashion_mnist." .. part }
    if not sets[part] then return nil, message, code end
    local shape = sets[part].shape
    if #sets[part] == 0 or shape[1] ~= 1 or shape[2] ~= 28 or shape[3] ~= 28 then
      return nil, ("%s: %d images of [%s]; Fashion-MNIST's are [1,28,28]"):format(images, #sets[part],
                                                                                   table.concat(shape, ",")), "format"
    end
  end
  return sets
end

local image = require "wattle.image"
data.image, data.resize = image.image, image.resize

return data
