-- Transforms: every step against torchvision and Pillow, given what was drawn (tests/golden/make_augment.py); the draws'
-- distributions against torchvision's; the same draws for the same seed; and what is refused.

local wattle = require "wattle"
local core, data = wattle.core, wattle.data
local T = data.transforms
local t = require "harness"
local test, check, equal, near, raises = t.test, t.check, t.equal, t.near, t.raises

local golden, meta = assert(wattle.load(arg[0]:match "^(.-)[^/]*$" .. "../golden/augment.safetensors"))
local cases, distributions = core.json_decode(meta.cases), core.json_decode(meta.distributions)

local function steps_of(case)
  local steps, names = {}, {}
  for i, step in ipairs(case.steps) do steps[i], names[i] = T[step[1]](step[2]), step[1] end
  return steps, table.concat(names, " + ")
end

-- Three copies of the picture, so that a sample's number matters.
local function set_of(channels, steps)
  local image = golden[channels == 3 and "rgb" or "grey"]
  local images = wattle.zeros{ 3, channels, image:size(1), image:size(2), dtype = "u8" }
  for i = 0, 2 do images:select(0, i):copy_(image) end
  return data.tensors{ images = images, labels = wattle.tensor({ 0, 1, 2 }, "u8"), transform = steps, name = "augment" }
end

test("every step makes what torchvision and Pillow make", function()
  local kinds = {}
  for k, case in ipairs(cases) do
    local steps, name = steps_of(case)
    local want = golden[("case%02d"):format(k)]
    local x = set_of(case.channels, steps):batches{ batch_size = 3, seed = case.seed, epoch = 2 }()
    x = x:select(0, case.index)
    equal(table.concat(x:shape(), ","), table.concat(want:shape(), ","), name .. ": shape")
    if want.dtype == "u8" then
      local off = (x * 255 - want:to "f32"):abs():max()
      check(off < 1e-3, ("case %d, %s: %g grey levels off"):format(k, name, off))
    else
      check((x - want):abs():max() < 2e-6, ("case %d, %s"):format(k, name))
    end
    for _, step in ipairs(case.steps) do kinds[step[1]] = (kinds[step[1]] or 0) + 1 end
  end
  for kind, n in pairs{ resize = 3, center_crop = 4, random_crop = 4, random_resized_crop = 5, random_flip = 4, color_jitter = 11,
                        normalize = 4, random_erasing = 3 } do
    check((kinds[kind] or 0) >= n, kind .. " has too few cases")
  end
end)

-- Numbers may differ in their last digits as text.
local function same(a, b)
  if type(a) ~= "table" then return a == b or type(a) == "number" and math.abs(a - b) < 1e-12 end
  for key, v in pairs(a) do
    if not same(v, b[key]) then return false end
  end
  return true
end

test("draws are those of the fixture, on any machine", function()
  for k, case in ipairs(cases) do
    local steps, name = steps_of(case)
    local drawn = T.draws(steps, { height = case.height, width = case.width, channels = case.channels, seed = case.seed,
                                   name = "augment", epoch = 2, index = case.index })
    check(same(case.draws, drawn), ("case %d, %s: %s"):format(k, name, core.json_encode(drawn)))
  end
end)

-- Columns of what n images draw: a box's four numbers, or factors.
local function drawn_columns(step, n)
  local columns = { {}, {}, {}, {} }
  for i = 1, n do
    local d = T.draws({ step }, { height = 48, width = 64, seed = 9, index = i })[1]
    for k = 1, 4 do columns[k][#columns[k] + 1] = (d.box or d.factor or {})[k] end
  end
  return columns
end

local function moments(list)
  local sum, squares = 0, 0
  for _, v in ipairs(list) do sum = sum + v end
  local mean = sum / #list
  for _, v in ipairs(list) do squares = squares + (v - mean) ^ 2 end
  return mean, math.sqrt(squares / #list)
end

test("draws are distributed as torchvision's", function()
  local n = 8000
  for _, name in ipairs{ "random_crop", "random_resized_crop", "random_erasing", "color_jitter" } do
    local want = distributions[name]
    for k, list in ipairs(drawn_columns(T[name](want.options), n)) do
      local mean, sd = moments(list)
      local chance = want.sd[k] * math.sqrt(1 / #list + 1 / want.n)
      check(math.abs(mean - want.mean[k]) <= 4 * chance, ("%s, number %d: mean %g, torchvision's %g"):format(name, k, mean, want.mean[k]))
      check(math.abs(sd - want.sd[k]) <= 0.05 * want.sd[k], ("%s, number %d: sd %g, torchvision's %g"):format(name, k, sd, want.sd[k]))
    end
  end
end)

test("orders of colour jitter are equally likely, flips as likely as asked", function()
  local seen, flips, n = {}, 0, 6000
  for i = 1, n do
    local d = T.draws({ T.color_jitter{ hue = 0.1 }, T.random_flip{ p = 0.3 } }, { height = 5, width = 5, seed = 4, index = i })
    local order = table.concat(d[1].order)
    seen[order] = (seen[order] or 0) + 1
    if d[2].done then flips = flips + 1 end
  end
  local orders, chi2 = 0, 0
  for _, count in pairs(seen) do
    orders = orders + 1
    chi2 = chi2 + (count - n / 24) ^ 2 / (n / 24)
  end
  equal(orders, 24)
  check(chi2 < 49.7, "chi-squared " .. chi2) -- 0.1 % for 23 degrees of freedom
  near(flips / n, 0.3, 4 * math.sqrt(0.3 * 0.7 / n))
  equal(T.draws({ T.random_flip{ p = 0 } }, { height = 5, width = 5 })[1].done, false)
  equal(T.draws({ T.random_flip{ p = 1 } }, { height = 5, width = 5 })[1].done, true)
end)

test("draws follow seed, name, epoch, index and place in the list, and nothing else", function()
  local step = T.random_crop{ size = 2 }
  local function box(o, steps)
    o.height, o.width = 60000, 60000
    local d = T.draws(steps or { step }, o)
    return table.concat(d[#d].box, ",")
  end
  local base = box{ seed = 1, name = "a", epoch = 1, index = 1 }
  equal(box{ seed = 1, name = "a", epoch = 1, index = 1 }, base)
  for what, o in pairs{ seed = { seed = 2, name = "a", epoch = 1, index = 1 }, name = { seed = 1, name = "b", epoch = 1, index = 1 },
                        epoch = { seed = 1, name = "a", epoch = 2, index = 1 }, index = { seed = 1, name = "a", epoch = 1, index = 2 } } do
    check(box(o) ~= base, what)
  end
  check(box({ seed = 1, name = "a", epoch = 1, index = 1 }, { T.random_flip{}, step }) ~= base)
end)

test("noise that erases is standard normal, of the sample and the place", function()
  local steps = { T.random_erasing{ p = 1, scale = { 0.9, 0.95 }, ratio = { 0.9, 1.1 }, value = "random" } }
  local images = wattle.zeros{ 2, 3, 64, 64, dtype = "u8" }
  local ds = data.tensors{ images = images, labels = wattle.zeros{ 2, dtype = "u8" }, transform = steps }
  local x = ds:batches{ batch_size = 2, seed = 3 }()
  local values = {}
  for _, v in ipairs(x:reshape(-1):tolist()) do
    if v ~= 0 then values[#values + 1] = v end
  end
  check(#values > 2 * 3 * 64 * 64 * 0.85)
  local mean, sd = moments(values)
  near(mean, 0, 4 / math.sqrt(#values))
  near(sd, 1, 0.03)
  check((x:select(0, 0) - x:select(0, 1)):abs():max() > 0.5, "another sample, other noise")
end)

test("mean and sd of a set come before what erases, and give way to a normalize", function()
  local images = wattle.full({ 1, 1, 4, 4, dtype = "u8" }, 255)
  local function first(steps)
    local ds = data.tensors{ images = images, labels = wattle.zeros{ 1, dtype = "u8" }, mean = 0.5, sd = 0.25, transform = steps }
    return ds:batches{ batch_size = 1 }()
  end
  equal(first{ T.random_flip{} }:max(), 2.0)
  equal(first{ T.normalize{ mean = 0, std = 0.5 } }:max(), 2.0)
  local x = first{ T.random_erasing{ p = 1, value = -7 } }
  equal(x:max(), 2.0)
  equal(x:min(), -7.0)
end)

test("what cannot be is refused, with the nearest name", function()
  raises(function() T.resize{ sise = 3 } end, "size")
  raises(function() T.resize{ size = 0 } end, "size must be")
  raises(function() T.resize{ size = { 3, 4, 5 } } end, "size must be")
  raises(function() T.resize{ size = 3, interpolation = "bilinera" } end, "bilinear")
  raises(function() T.random_crop{ size = 3, padding = { 1, 2, 3 } } end, "padding")
  raises(function() T.random_crop{ size = 3, padding = -1 } end, "padding")
  raises(function() T.random_resized_crop{ size = 3, scale = { 1, 0.5 } } end, "scale")
  raises(function() T.random_resized_crop{ size = 3, ratio = { 0, 1 } } end, "ratio")
  raises(function() T.random_flip{ p = 1.5 } end, "p must be")
  raises(function() T.color_jitter{ hue = 0.6 } end, "hue")
  raises(function() T.color_jitter{ brightness = -1 } end, "brightness")
  raises(function() T.color_jitter{ brightness = { -1, 1 } } end, "brightness")
  raises(function() T.normalize{ mean = 0, std = 0 } end, "std must be above 0")
  raises(function() T.normalize{ mean = { 0, 1 }, std = 1 } end, "2 means and 1 stds")
  raises(function() T.random_erasing{ value = "noise" } end, "random")
  local function of(channels, steps) return function() set_of(channels, steps):batches{ batch_size = 1 }() end end
  raises(of(3, T.random_flip{}), "must be a list of steps: {random_flip")
  raises(of(3, { T.random_flip }), "entry 1 of transform is no step")
  raises(of(3, { flip = T.random_flip{} }), "got flip as a key")
  raises(of(3, { T.normalize{ mean = 0, std = 1 }, T.random_flip{} }), "random_flip comes too late")
  raises(of(3, { T.normalize{ mean = 0, std = 1 }, T.normalize{ mean = 0, std = 1 } }), "normalize comes too late")
  raises(of(3, { T.normalize{ mean = { 0, 0 }, std = { 1, 1 } } }), "2 values for 3 channels")
  raises(of(3, { T.random_crop{ size = 40 } }), "random_crop: the image is 33x27 %(height x width%), less than 40x40")
  local two = data.tensors{ images = wattle.zeros{ 1, 2, 4, 4, dtype = "u8" }, labels = wattle.zeros{ 1, dtype = "u8" },
                            transform = { T.random_flip{} } }
  raises(function() two:batches{ batch_size = 1 }() end, "1 or 3 channels; these images have 2")
  local features = data.tensors{ features = wattle.zeros{ 4, 3 }, labels = wattle.zeros{ 4, dtype = "u8" } }
  raises(function() features:with{ transform = { T.random_flip{} } }:batches{ batch_size = 1 }() end, "these samples are f32")
  raises(function() features:with{} end, "false is none")
end)
