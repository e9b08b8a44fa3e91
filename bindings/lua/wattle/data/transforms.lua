-- wattle.data.transforms: what becomes of an image between its file (or tensor) and a batch, with torchvision's names,
-- meanings and defaults. A transform is a list of steps: steps on 8-bit pixels, then normalize, then random_erasing.
-- What is random is a function of the seed, the data set's name, the epoch and the image, whatever the workers. The
-- work is done in core/data/.

local core = require("wattle").core
local util = require "wattle.util"
local where = require "wattle.where"

local transforms = {}

-- ---- options -------------------------------------------------------------------------------------------------

local function number(o, what, name, default)
  local v = o[name]
  if v == nil then v = default end
  if type(v) ~= "number" then where.raise("%s: %s must be a number, got %s", what, name, tostring(v)) end
  return v
end

local function is_integer(v, least) return math.type(v) == "integer" and v >= least end

-- {height, width} from an integer s (square) or {h, w}.
local function size_of(o, what)
  local v = o.size
  if is_integer(v, 1) then return { v, v } end
  if type(v) == "table" and #v == 2 and is_integer(v[1], 1) and is_integer(v[2], 1) then return { v[1], v[2] } end
  where.raise("%s: size must be a positive integer or {height, width}, got %s", what, tostring(v))
end

local function pair(o, what, name, default)
  local v = o[name]
  if v == nil then return default end
  if type(v) ~= "table" or #v ~= 2 or type(v[1]) ~= "number" or type(v[2]) ~= "number" or not (v[1] <= v[2]) then
    where.raise("%s: %s must be {low, high}, got %s", what, name, tostring(v))
  end
  return { v[1], v[2] }
end

local filters = { "nearest", "bilinear", "bicubic" }
local function interpolation(o, what)
  local v = o.interpolation or "bilinear"
  for _, name in ipairs(filters) do
    if v == name then return v end
  end
  where.raise("%s: interpolation must be nearest, bilinear or bicubic, got %s%s", what, tostring(v), util.hint(v, filters))
end

local function probability(o, what)
  local p = number(o, what, "p", 0.5)
  if not (p >= 0 and p <= 1) then where.raise("%s: p must be 0..1, got %g", what, p) end
  return p
end

-- A number for all channels, or a list with one a channel.
local function per_channel(v, what, name)
  local list = type(v) == "table" and v or { v }
  for _, x in ipairs(list) do
    if type(x) ~= "number" then where.raise("%s: %s must be a number or a list of numbers", what, name) end
  end
  if #list < 1 or #list > 4 then
    where.raise("%s: %s must be a number, or one for each of up to 4 channels", what, name)
  end
  return table.move(list, 1, #list, 1, {})
end

-- ---- steps on pixels -----------------------------------------------------------------------------------------

-- transforms.resize{size = s | {h, w}, interpolation = "bilinear"} (torchvision's Resize). s: the shorter side becomes s,
-- the other keeps the ratio (cut off to an integer). interpolation: nearest, bilinear or bicubic, as Pillow computes
-- them (antialiased).
function transforms.resize(o)
  util.check_options(o, { "size", "interpolation" }, "transforms.resize")
  local size = size_of(o, "transforms.resize")
  if type(o.size) ~= "table" then size[2] = 0 end
  return { kind = "resize", size = size, interpolation = interpolation(o, "transforms.resize") }
end

-- transforms.center_crop{size = s | {h, w}} (CenterCrop): the middle of the image, with zeros where it ends.
function transforms.center_crop(o)
  util.check_options(o, { "size" }, "transforms.center_crop")
  return { kind = "center_crop", size = size_of(o, "transforms.center_crop") }
end

-- transforms.random_crop{size = s | {h, w}, padding = 0} (RandomCrop). padding: zeros put around the image first: an
-- integer, {left and right, top and bottom} or {left, top, right, bottom}. A smaller image than the crop is an error.
function transforms.random_crop(o)
  util.check_options(o, { "size", "padding" }, "transforms.random_crop")
  local p = o.padding or 0
  if type(p) == "number" then p = { p, p, p, p } end
  if type(p) == "table" and #p == 2 then p = { p[1], p[2], p[1], p[2] } end
  local fits = type(p) == "table" and #p == 4
  for i = 1, 4 do fits = fits and is_integer(p[i], 0) end
  if not fits then
    where.raise("transforms.random_crop: padding must be an integer from 0, {x, y} or {left, top, right, bottom}, got %s",
                tostring(o.padding))
  end
  return { kind = "random_crop", size = size_of(o, "transforms.random_crop"), padding = { p[1], p[2], p[3], p[4] } }
end

-- transforms.random_resized_crop{size = s | {h, w}, scale = {0.08, 1}, ratio = {3/4, 4/3}, interpolation = "bilinear"}
-- (RandomResizedCrop): a box of a share of the area within scale and a ratio width/height within ratio (even on a log
-- scale), resized to size. If 10 boxes drawn do not fit, the largest in the middle whose ratio is allowed.
function transforms.random_resized_crop(o)
  local what = "transforms.random_resized_crop"
  util.check_options(o, { "size", "scale", "ratio", "interpolation" }, what)
  local scale, ratio = pair(o, what, "scale", { 0.08, 1 }), pair(o, what, "ratio", { 3 / 4, 4 / 3 })
  if scale[1] < 0 then where.raise("%s: scale must not be negative", what) end
  if not (ratio[1] > 0) then where.raise("%s: ratio must be above 0", what) end
  return { kind = "random_resized_crop", size = size_of(o, what), scale = scale, ratio = ratio,
           interpolation = interpolation(o, what) }
end

-- transforms.random_flip{p = 0.5} (RandomHorizontalFlip): left to right with probability p.
function transforms.random_flip(o)
  o = o or {}
  util.check_options(o, { "p" }, "transforms.random_flip")
  return { kind = "random_flip", p = probability(o, "transforms.random_flip") }
end

-- transforms.color_jitter{brightness = 0, contrast = 0, saturation = 0, hue = 0} (ColorJitter): each is v, for a factor
-- drawn from max(0, 1 - v)..1 + v, or {low, high}; hue's from -v..v turns (v up to 0.5). They are applied in a random
-- order with Pillow's arithmetic. On grey images saturation and hue do nothing.
function transforms.color_jitter(o)
  local what = "transforms.color_jitter"
  util.check_options(o, { "brightness", "contrast", "saturation", "hue" }, what)
  local step = { kind = "color_jitter" }
  for _, name in ipairs{ "brightness", "contrast", "saturation", "hue" } do
    local middle = name == "hue" and 0 or 1
    local v = o[name] or 0
    if type(v) == "number" then
      if v < 0 then where.raise("%s: %s must not be negative, got %g", what, name, v) end
      v = { name == "hue" and -v or math.max(0, 1 - v), middle + v }
    else
      v = pair(o, what, name)
    end
    if name == "hue" and not (v[1] >= -0.5 and v[2] <= 0.5) then where.raise("%s: hue must be within -0.5..0.5", what) end
    if name ~= "hue" and not (v[1] >= 0 and v[2] <= 1000) then where.raise("%s: %s must be within 0..1000", what, name) end
    step[name] = v
  end
  return step
end

-- ---- steps on numbers ----------------------------------------------------------------------------------------

-- transforms.normalize{mean =, std =} (Normalize): (pixel/255 - mean)/std, a number for all channels or a list with one a
-- channel; of f32 samples (x - mean)/std. Without this step pixels are 0..1.
function transforms.normalize(o)
  local what = "transforms.normalize"
  util.check_options(o, { "mean", "std" }, what)
  local mean, sd = per_channel(o.mean, what, "mean"), per_channel(o.std, what, "std")
  if #mean ~= #sd then where.raise("%s: %d means and %d stds; as many are needed", what, #mean, #sd) end
  for _, v in ipairs(sd) do
    if not (v > 0) then where.raise("%s: std must be above 0, got %g", what, v) end
  end
  return { kind = "normalize", mean = mean, sd = sd }
end

-- transforms.random_erasing{p = 0.5, scale = {0.02, 0.33}, ratio = {0.3, 3.3}, value = 0} (RandomErasing; Zhong et al.
-- 2020): with probability p, a box of a share of the area within scale and a ratio height/width within ratio becomes
-- value, after normalization: a number, one a channel, or "random" for standard normal numbers. If 10 boxes drawn do not
-- fit, nothing is erased.
function transforms.random_erasing(o)
  o = o or {}
  local what = "transforms.random_erasing"
  util.check_options(o, { "p", "scale", "ratio", "value" }, what)
  local scale, ratio = pair(o, what, "scale", { 0.02, 0.33 }), pair(o, what, "ratio", { 0.3, 3.3 })
  if not (scale[1] >= 0 and scale[2] <= 1) then where.raise("%s: scale must be within 0..1", what) end
  if not (ratio[1] > 0) then where.raise("%s: ratio must be above 0", what) end
  local step = { kind = "random_erasing", p = probability(o, what), scale = scale, ratio = ratio }
  if o.value == "random" then
    step.noise = true
  elseif type(o.value) == "string" then
    where.raise('%s: value must be a number, a list of numbers or "random", got "%s"', what, o.value)
  else
    step.mean = per_channel(o.value or 0, what, "value")
  end
  return step
end

-- ---- lists of steps ------------------------------------------------------------------------------------------

-- transforms.check(transform, what): an error at the caller's line unless it is a list of steps in a possible order; what
-- begins the message. Returns it.
function transforms.check(transform, what)
  if type(transform) ~= "table" then
    where.raise("%s: transform must be a list of steps, such as {data.transforms.random_flip{}}, got %s", what,
                type(transform))
  end
  if transform.kind then where.raise("%s: transform must be a list of steps: {%s{...}}", what, tostring(transform.kind)) end
  local numbers = false
  for key, step in pairs(transform) do
    if math.type(key) ~= "integer" or key < 1 or key > #transform then
      where.raise("%s: transform must be a list of steps; got %s as a key", what, tostring(key))
    elseif type(step) ~= "table" or not rawget(transforms, step.kind or 1) then
      where.raise("%s: entry %d of transform is no step, as data.transforms makes, but a %s", what, key, type(step))
    end
  end
  for _, step in ipairs(transform) do
    local late = step.kind == "normalize" or step.kind == "random_erasing"
    if numbers and step.kind ~= "random_erasing" then
      where.raise("%s: transform: %s comes too late; pixels are worked on first, then normalize once, then random_erasing",
                  what, step.kind)
    end
    numbers = numbers or late
  end
  return transform
end

-- transforms.draws(transform, {height =, width =, channels = 3, seed =, name = "data", epoch = 0, index = 0}) -> what each
-- step draws for image number index (from 0) of this size: {kind =, box = {top, left, height, width} of a crop (in pixels
-- of the step's own input, and negative in the padding) or of what is erased, done = of a flip or erasing, order = {1
-- brightness, 2 contrast, 3 saturation, 4 hue, as applied}, factor = of each of these}. seed: wattle.manual_seed's if not
-- given; name: the data set's.
function transforms.draws(transform, o)
  local what = "transforms.draws"
  util.check_options(o, { "height", "width", "channels", "seed", "name", "epoch", "index" }, what)
  for _, name in ipairs{ "height", "width" } do
    if not is_integer(o[name], 1) then
      where.raise("%s: %s must be a positive integer, got %s", what, name, tostring(o[name]))
    end
  end
  return core.transform_draw(transforms.check(transform, what),
                             { height = o.height, width = o.width, channels = o.channels or 3, seed = o.seed or core.seed(),
                               name = o.name or "data", epoch = o.epoch or 0, index = o.index or 0 })
end

return transforms
