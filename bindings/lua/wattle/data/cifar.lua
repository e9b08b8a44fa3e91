-- wattle.data.cifar10 and cifar100: the binary version of Krizhevsky's data sets (2009), 32x32 colour images.

local core = require("wattle").core
local dataset = require "wattle.data.dataset"
local transforms = require "wattle.data.transforms"
local util = require "wattle.util"
local where = require "wattle.where"

local cifar = {}

local ten = { "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck" }

-- Mean and sd of the training images' pixels (in 0..1) by channel.
local statistics = {
  cifar10 = { mean = { 0.4914, 0.4822, 0.4465 }, std = { 0.2470, 0.2435, 0.2616 } },
  cifar100 = { mean = { 0.5071, 0.4865, 0.4409 }, std = { 0.2673, 0.2564, 0.2762 } },
}

-- dir itself or the folder in it that the archive unpacks to: whichever has the file.
local function find(dir, sub, file)
  for _, at in ipairs{ dir, dir .. "/" .. sub } do
    if core.exists(at .. "/" .. file) then return at end
  end
  return nil, ("no %s in %s or %s/%s; unpack the data set's binary version there"):format(file, dir, dir, sub), "io"
end

-- The lines of a text file of names; nil where there is none or it has not n names.
local function names_in(path, n)
  local file <close> = io.open(path)
  local names = {}
  for line in file and file:lines() or function() end do
    if line:find "%S" then names[#names + 1] = line:match "^%s*(.-)%s*$" end
  end
  return #names == n and names or nil
end

local function numbers(n)
  local names = {}
  for i = 1, n do names[i] = tostring(i - 1) end
  return names
end

local function load_part(name, part, at, files, o, classes, transform)
  local paths = {}
  for i, file in ipairs(files) do paths[i] = at .. "/" .. file end
  local images, labels, code = core.cifar(paths, o)
  if not images then return nil, labels, code end
  return dataset.new{ images = images, labels = labels, mean = 0, sd = 1, classes = classes, transform = transform,
                      name = name .. "." .. part, channels = 3, raw = { 3, 32, 32 } }
end

local function load(name, dir, sub, files, o, classes_at, transform)
  local at, message, code = find(dir, sub, files.train[1])
  if not at then return nil, message, code end
  local classes = names_in(at .. "/" .. classes_at, o.classes) or (o.classes == 10 and ten) or numbers(o.classes)
  transform = transform or { transforms.normalize(statistics[name]) }
  local sets = {}
  for _, part in ipairs{ "train", "test" } do
    local records = { records = part == "train" and o.train_records or 10000, label_bytes = o.label_bytes,
                      label_at = o.label_at, classes = o.classes }
    sets[part], message, code = load_part(name, part, at, files[part], records, classes, transform)
    if not sets[part] then return nil, message, code end
  end
  return sets
end

local function check(o, what, ...)
  util.check_options(o, { "dir", "transform", ... }, what)
  if type(o.dir) ~= "string" then
    where.raise("%s: dir must be the folder of its binary files, got %s", what, type(o.dir))
  end
  if o.transform then transforms.check(o.transform, what) end
end

-- data.cifar10{dir =, transform =} -> {train = (50,000), test = (10,000)}: 32x32 colour images of 10 classes from the
-- binary version (data_batch_1.bin .. data_batch_5.bin, test_batch.bin) in dir or dir/cifar-10-batches-bin. transform: of
-- both sets; normalization by the training images' mean and sd if not given. To augment: sets.train:with{transform =
-- {...}}. nil, message, code when files are absent or have other sizes.
function cifar.cifar10(o)
  check(o, "data.cifar10")
  local files = { train = {}, test = { "test_batch.bin" } }
  for i = 1, 5 do files.train[i] = ("data_batch_%d.bin"):format(i) end
  return load("cifar10", o.dir, "cifar-10-batches-bin", files, { label_bytes = 1, label_at = 0, classes = 10,
                                                                 train_records = 10000 }, "batches.meta.txt", o.transform)
end

-- data.cifar100{dir =, transform =, labels = "fine"} -> {train = (50,000), test = (10,000)}: 32x32 colour images of 100
-- classes, or with labels = "coarse" of the 20 they are grouped in, from the binary version (train.bin, test.bin) in dir
-- or dir/cifar-100-binary. Classes have names where fine_label_names.txt and coarse_label_names.txt are there. transform
-- and errors: as for cifar10.
function cifar.cifar100(o)
  check(o, "data.cifar100", "labels")
  local labels = o.labels or "fine"
  if labels ~= "fine" and labels ~= "coarse" then
    where.raise('data.cifar100: labels must be "fine" or "coarse", got %s', tostring(labels))
  end
  return load("cifar100", o.dir, "cifar-100-binary", { train = { "train.bin" }, test = { "test.bin" } },
              { label_bytes = 2, label_at = labels == "fine" and 1 or 0, classes = labels == "fine" and 100 or 20,
                train_records = 50000 }, labels .. "_label_names.txt", o.transform)
end

return cifar
