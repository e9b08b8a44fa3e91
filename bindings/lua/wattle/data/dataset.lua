-- Data sets: a selection of samples with labels, split, shortened, given another transform, and dealt out in batches.
-- Where the samples are - tensors or files - only batches needs to know. data.lua and the files beside this one make them.

local core = require("wattle").core
local transforms = require "wattle.data.transforms"
local util = require "wattle.util"
local where = require "wattle.where"

local dataset = {}

-- A data set.
--   #ds             how many samples
--   ds.shape        {C, H, W} of a sample as it is dealt out ({F} of features)
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

-- ---- making one ----------------------------------------------------------------------------------------------

-- The steps that a loader runs: the transform's, with the set's own mean and sd as a normalize before what erases.
local function steps_of(ds)
  local steps, own = {}, ds.mean ~= 0 or ds.sd ~= 1
  local function add_own()
    if own then steps[#steps + 1] = { kind = "normalize", mean = { ds.mean }, sd = { ds.sd } } end
    own = false
  end
  for _, step in ipairs(ds.transform or {}) do
    if step.kind == "normalize" then own = false end
    if step.kind == "random_erasing" then add_own() end
    steps[#steps + 1] = step
  end
  add_own()
  return steps
end

-- {C, H, W} of a finished sample, from the size of the raw ones (nil: files of any size). Where the steps leave it open
-- the first file that can be read says it; nil, message, code where that cannot be told.
local function finished_shape(ds)
  if not ds.channels or ds.raw and not ds.transform then return ds.raw end
  local steps, h, w = ds.transform or {}, nil, nil
  if ds.raw then
    h, w = core.transform_size(steps, ds.raw[2], ds.raw[3])
    return { ds.channels, h, w }
  end
  h, w = core.transform_size(steps)
  if h then return { ds.channels, h, w } end
  local message, code
  for _, path in ipairs(ds.files) do
    local image
    image, message, code = core.image_load(path, ds.channels)
    if image then
      h, w = core.transform_size(steps, image:size(1), image:size(2))
      return { ds.channels, h, w }
    end
    if ds.on_error ~= "skip" then break end
  end
  return nil, message, code
end

-- dataset.new{images = | files =, labels =, mean =, sd =, transform =, classes =, name =, channels =, raw =, on_error =}
-- -> data set; nil, message, code where a file has to be looked at and cannot be read. Checked by the caller.
function dataset.new(o)
  local ds = setmetatable(o, Dataset)
  local message, code
  ds.shape, message, code = finished_shape(ds)
  if not ds.shape then return nil, message, code end
  ds.num_classes = #ds.classes
  ds.size = ds.labels:size(0)
  ds.skips, ds.shared = {}, {} -- of all selections of these samples
  return ds
end

-- The same samples under another selection; index: i64 tensor of positions in the images, from 0.
local function select_from(ds, index, size, name)
  local new = setmetatable({}, Dataset)
  for k, v in pairs(ds) do new[k] = v end
  new.index, new.size, new.name = index, size, name or ds.name
  return new
end

-- ---- selections ----------------------------------------------------------------------------------------------

local function check_integer(v, what, least)
  if math.type(v) ~= "integer" or v < least then
    where.raise("%s must be an integer of at least %d, got %s", what, least, tostring(v))
  end
  return v
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

-- ds:with{transform = list of data.transforms' steps | false} -> data set of the same samples under another transform
-- (evaluation after a split: `val = val:with{transform = plain}`); false: none. What mean and sd it was made with stays,
-- unless the transform has a normalize. nil, message, code where the size of a sample is told by a file that cannot be read.
function Dataset:with(o)
  util.check_options(o, { "transform" }, "with")
  if o.transform == nil then where.raise("with: give a transform, as in ds:with{transform = {...}}; false is none") end
  local new = select_from(self, self.index, self.size)
  new.transform = nil
  if o.transform then new.transform = transforms.check(o.transform, "with") end
  local message, code
  new.shape, message, code = finished_shape(new)
  if not new.shape then return nil, message, code end
  return new
end

-- ---- batches -------------------------------------------------------------------------------------------------

-- What the loader has skipped by now joins the list that all selections of the set share.
local function note_skipped(ds, loader, told)
  local list = loader:skipped(told)
  for _, skip in ipairs(list) do
    local path = ds.files and ds.files[skip.sample + 1] or tostring(skip.sample)
    if not ds.skips[path] then
      ds.skips[path] = true
      ds.skips[#ds.skips + 1] = { path = path, reason = skip.reason }
    end
  end
  return told + #list
end

-- ds:skipped() -> list of {path =, reason =}: files that were left out so far, by this set or any taken from the same one
-- (on_error = "skip"), each once, in the order in which they were met. #ds:skipped() is how many.
function Dataset:skipped()
  return table.move(self.skips, 1, #self.skips, 1, {})
end

local function new_loader(ds, index, o, n, seed)
  local shared = ds.shared
  shared.samples = shared.samples or core.samples{ values = ds.images, paths = ds.files, labels = ds.labels,
                                                   channels = ds.channels }
  return core.loader(shared.samples, {
    index = index, batch_size = n, drop_last = o.drop_last and true or false, steps = steps_of(ds),
    height = not ds.raw and ds.shape[2] or nil, width = not ds.raw and ds.shape[3] or nil, workers = o.workers or 0,
    prefetch = o.prefetch or 2, skip = ds.on_error == "skip", seed = seed, epoch = o.epoch or 0, name = ds.name })
end

-- for x, y in ds:batches{batch_size =, shuffle = false, seed =, epoch = 0, drop_last = false, workers = 0, prefetch = 2} do
-- ... end (torch.utils.data.DataLoader). x: f32 [n, C, H, W], (pixel/255 - mean)/sd after the transform; y: i64 [n].
-- shuffle deals in an order that is a function of seed (wattle.manual_seed's if not given), the data set's name and epoch,
-- and so is what the transform draws; drop_last leaves out a last batch that is not full. workers = 0: a batch is made by
-- all threads at once when it is asked for, in turns with training; workers = n: by n threads of its own, that keep up to
-- `prefetch` batches ready. The batches are the same, bit for bit. A file that cannot be read or is corrupt is an error
-- that names it, or is skipped (data.folder's on_error): then the samples after it move up, batches stay full, there may
-- be fewer of them than num_batches says, and ds:skipped() names it.
function Dataset:batches(o)
  util.check_options(o, { "batch_size", "shuffle", "seed", "epoch", "drop_last", "workers", "prefetch" }, "batches")
  local n = check_integer(o.batch_size, "batches: batch_size", 1)
  if o.workers ~= nil then check_integer(o.workers, "batches: workers", 0) end
  if o.prefetch ~= nil then check_integer(o.prefetch, "batches: prefetch", 1) end
  local index, seed = self.index, check_seed(o.seed, "batches")
  if o.shuffle then
    index = compose(index, core.permutation(seed, "shuffle", self.name, o.epoch or 0, self.size))
  end
  index = index or core.arange(self.size)
  if self.files or self.transform or not self.channels or (o.workers or 0) > 0 then
    local loader, told = new_loader(self, index, o, n, seed), 0
    return function()
      if not loader then return nil end
      local x, y = loader:next()
      if self.on_error == "skip" then told = note_skipped(self, loader, told) end
      if x then return x, y end
      loader:close()
      loader = nil
    end, nil, nil, loader
  end
  local first, size, drop = 0, self.size, o.drop_last
  return function() -- bytes in memory need no loader
    local take = math.min(n, size - first)
    if take <= 0 or drop and take < n then return nil end
    local x, y = core.gather_batch(self.images, self.labels, index, first, take, self.mean, self.sd)
    first = first + take
    return x, y
  end
end

-- ds:num_batches(batch_size [, drop_last]): of an epoch in which nothing is skipped.
function Dataset:num_batches(batch_size, drop_last)
  return drop_last and self.size // batch_size or (self.size + batch_size - 1) // batch_size
end

return dataset
