-- The allocation-failure sweep's scenarios for loaders, transforms and the sources of data sets: see test_sweep.lua.
local wattle = require "wattle"
local core, data = wattle.core, wattle.data
local T = data.transforms

return function(S, path)
  local pixels, labels = wattle.full({ 5, 3, 9, 8, dtype = "u8" }, 9), wattle.tensor({ 0, 1, 1, 0, 1 }, "u8")
  local steps = { T.random_crop{ size = 6, padding = 1 }, T.color_jitter{ hue = 0.1, contrast = 0.2 }, T.resize{ size = { 4, 5 } },
                  T.normalize{ mean = 0.5, std = 0.5 }, T.random_erasing{ p = 1, value = "random" } }
  local set = data.tensors{ images = pixels, labels = labels, transform = steps }
  local index = wattle.arange(5)
  assert(core.mkdir(path "pictures/ant"))
  assert(core.mkdir(path "pictures/bee"))
  for i, name in ipairs{ "ant/1.png", "ant/2.jpg", "bee/1.png" } do
    assert(data.save_image(path("pictures/" .. name), pixels:select(0, i):contiguous()))
  end
  core.write_file(path "pictures/bee/2.jpg", "no picture")
  core.write_file(path "features.csv", "a,b,class\n1,2.5,x\n3,4,y\n")
  core.write_file(path "cifar.bin", ("\3" .. ("\7"):rep(3072)):rep(2))

  S["data.save_image"] = function() return data.save_image(path "out.png", pixels:select(0, 1):contiguous()) end
  S.save_image = function() return core.save_image(path "out.jpg", pixels:select(0, 1):contiguous(), 80) end
  local function all(ds, o)
    local dict = {}
    for x, y in ds:batches(o) do dict[#dict + 1], dict[#dict + 2] = x, y end
    return dict
  end
  local function from_folder(o)
    local ds, message, code = data.folder{ dir = path "pictures", on_error = "skip", transform = o }
    if not ds then return nil, message, code end
    local out = all(ds, { batch_size = 2, workers = o and 1 or 0 })
    return out, #ds:skipped()
  end
  S["data.folder"] = function() return from_folder(steps) end
  S["dataset:skipped"] = function() return from_folder() end
  S["dataset:with"] = function() return all(set:with{ transform = { steps[3] } }, { batch_size = 3 }) end
  S["data.csv"] = function()
    local ds, message, code = data.csv{ path = path "features.csv", label = "class" }
    if not ds then return nil, message, code end
    return all(ds, { batch_size = 2 }), ds.classes
  end
  S["data.cifar10"] = function() -- absent: told, with memory or without
    local sets, message = data.cifar10{ dir = path "nowhere" }
    return sets == nil and message:sub(1, 5)
  end
  S["data.cifar100"] = function()
    local sets, message = data.cifar100{ dir = path "nowhere" }
    return sets == nil and message:sub(1, 5)
  end
  S.cifar = function() return core.cifar({ path "cifar.bin" }, { records = 2 }) end
  S.csv_samples = function() return core.csv_samples(path "features.csv", { label = "class" }) end
  S.samples = function() return core.samples{ values = pixels, labels = labels } end
  local function loader(o)
    o.index, o.batch_size, o.steps, o.seed = index, 3, steps, 4
    return core.loader(core.samples{ values = pixels, labels = labels }, o)
  end
  S.loader = function() return loader{} end
  S["loader:next"] = function()
    local l <close> = loader{}
    local k <close> = loader{ workers = 2, prefetch = 1 }
    local a, b = l:next()
    return a, b, (k:next())
  end
  S["loader:skipped"] = function() return #loader{}:skipped() end
  S["loader:close"] = function() return loader{ workers = 1 }:close() end
  S["samples:close"] = function() return core.samples{ values = pixels, labels = labels }:close() end
  S["names:close"] = S.csv_samples
  S.transform_size = function() return core.transform_size(steps, 9, 8) end
  S.transform_draw = function() return core.transform_draw(steps, { seed = 1, height = 9, width = 8 }) end
  S["data.transforms.draws"] = function() return T.draws(steps, { seed = 1, height = 9, width = 8, index = 3 }) end
  S["data.transforms.check"] = function() return #T.check(steps, "sweep") end
  S["data.transforms.resize"] = function() return T.resize{ size = 4 }.size end
  S["data.transforms.center_crop"] = function() return T.center_crop{ size = { 4, 5 } }.size end
  S["data.transforms.random_crop"] = function() return T.random_crop{ size = 4, padding = { 1, 2 } }.padding end
  S["data.transforms.random_resized_crop"] = function() return T.random_resized_crop{ size = 4 }.scale end
  S["data.transforms.random_flip"] = function() return T.random_flip{}.p end
  S["data.transforms.color_jitter"] = function() return T.color_jitter{ brightness = 0.5 }.brightness end
  S["data.transforms.normalize"] = function() return T.normalize{ mean = { 0.1, 0.2, 0.3 }, std = { 1, 2, 3 } }.sd end
  S["data.transforms.random_erasing"] = function() return T.random_erasing{ value = 3 }.mean end
end
