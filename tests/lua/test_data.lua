-- wattle.data: sets from tensors and IDX files, selections, batches, Fashion-MNIST where it is installed.

local wattle = require "wattle"
local core, data = wattle.core, wattle.data
local t = require "harness"
local test, check, equal, near, raises = t.test, t.check, t.equal, t.near, t.raises

-- n images of 2x3 whose pixels say which image it is; label i % 4.
local function small(n, options)
  local images, labels = {}, {}
  for i = 1, n do
    images[i] = { { i, i, i }, { i, i, i } }
    labels[i] = i % 4
  end
  local o = { images = wattle.tensor(images, "u8"), labels = wattle.tensor(labels, "u8") }
  for k, v in pairs(options or {}) do o[k] = v end
  return data.tensors(o)
end

-- Which images a set deals out, in order (from 1), and the sizes of its batches.
local function dealt(ds, options)
  local ids, sizes = {}, {}
  for x, y in ds:batches(options) do
    sizes[#sizes + 1] = x:size(0)
    local labels = y:tolist()
    for i, image in ipairs(x:tolist()) do
      local id = math.floor((image[1][1][1] * ds.sd + ds.mean) * 255 + 0.5)
      ids[#ids + 1] = id
      equal(labels[i], id % 4, "the label of its image")
    end
  end
  return ids, table.concat(sizes, " ")
end

test("a set from tensors", function()
  local ds = small(10)
  equal(#ds, 10)
  equal(table.concat(ds.shape, ","), "1,2,3")
  equal(ds.num_classes, 4)
  equal(table.concat(ds.classes, " "), "0 1 2 3")
  equal(tostring(ds), "data: 10 samples of [1,2,3], 4 classes")
  local ids, sizes = dealt(ds, { batch_size = 4 })
  equal(table.concat(ids, " "), "1 2 3 4 5 6 7 8 9 10")
  equal(sizes, "4 4 2")
  local _, dropped = dealt(ds, { batch_size = 4, drop_last = true })
  equal(dropped, "4 4")
  equal(ds:num_batches(4), 3)
  equal(ds:num_batches(4, true), 2)
  equal(ds:num_batches(5), 2)
end)

test("pixels are scaled, then normalized", function()
  local ds = small(3, { mean = 0.5, sd = 0.25 })
  local x, y = ds:batches{ batch_size = 3 }()
  equal(x.dtype, "f32")
  equal(y.dtype, "i64")
  near(x:get(1, 0, 0, 0), (2 / 255 - 0.5) / 0.25, 1e-6)
end)

test("shuffled order is a permutation, a function of seed and epoch", function()
  local ds = small(50)
  local function order(seed, epoch)
    return table.concat(dealt(ds, { batch_size = 7, shuffle = true, seed = seed, epoch = epoch }), " ")
  end
  equal(order(1, 1), order(1, 1))
  check(order(1, 1) ~= order(1, 2))
  check(order(1, 1) ~= order(2, 1))
  local ids = dealt(ds, { batch_size = 7, shuffle = true, seed = 1 })
  table.sort(ids)
  for i, id in ipairs(ids) do equal(id, i) end
end)

test("split gives disjoint parts, the same for the same seed", function()
  local ds = small(40)
  local a, b = ds:split({ 25, 10 }, 3)
  equal(#a, 25)
  equal(#b, 10)
  local again = ds:split({ 25, 10 }, 3)
  local ids = dealt(a, { batch_size = 8 })
  equal(table.concat(dealt(again, { batch_size = 5 }), " "), table.concat(ids, " "))
  check(table.concat(dealt(ds:split({ 25, 10 }, 4), { batch_size = 5 }), " ") ~= table.concat(ids, " "))
  local seen = {}
  for _, id in ipairs(ids) do seen[id] = true end
  for _, id in ipairs(dealt(b, { batch_size = 8 })) do check(not seen[id], "in both parts") end
  local c = a:split({ 5 }, 1) -- a part of a part
  for _, id in ipairs(dealt(c, { batch_size = 8, shuffle = true })) do check(seen[id]) end
  equal(table.concat(dealt(a:take(6), { batch_size = 4 }), " "), table.concat(ids, " ", 1, 6))
end)

test("what does not fit is refused", function()
  local ds = small(10)
  raises(function() ds:split({ 8, 3 }, 1) end, "add up to 11")
  raises(function() ds:split({ 0 }, 1) end, "at least 1")
  raises(function() ds:take(11) end, "has 10")
  raises(function() ds:batches{ batch_size = 0 } end, "batch_size")
  raises(function() ds:batches{ batchsize = 1 } end, "batch_size")
  raises(function() small(4, { classes = 3 }) end, "a label is 3")
  raises(function() small(4, { sd = 0 }) end, "sd")
  raises(function() data.tensors{ images = wattle.zeros{ 2, 3, 3 }, labels = wattle.zeros{ 2 } } end, "u8")
  raises(function()
    data.tensors{ images = wattle.zeros{ 2, 3, 3, dtype = "u8" }, labels = wattle.zeros{ 3, dtype = "u8" } }
  end, "need %[N,H,W%]")
end)

-- ---- files ---------------------------------------------------------------------------------------------------

local function idx(sizes, bytes)
  local head = { string.char(0, 0, 8, #sizes) }
  for _, n in ipairs(sizes) do head[#head + 1] = string.pack(">I4", n) end
  return table.concat(head) .. bytes
end

local folder = os.tmpname()
os.remove(folder)
assert(core.mkdir(folder))
local function write(name, text)
  local path = folder .. "/" .. name
  assert(core.write_file(path, text))
  return path
end

test("a set from IDX files", function()
  local images = write("images", idx({ 2, 2, 2 }, "\1\1\1\1\2\2\2\2"))
  local labels = write("labels", idx({ 2 }, "\1\2"))
  local ds = assert(data.idx{ images = images, labels = labels, classes = 3, name = "tiny" })
  equal(tostring(ds), "tiny: 2 samples of [1,2,2], 3 classes")
  equal(table.concat(dealt(ds, { batch_size = 2 }), " "), "1 2")
end)

test("unreadable or contradictory files are nil, message, code", function()
  local images = write("images", idx({ 2, 2, 2 }, "\1\1\1\1\2\2\2\2"))
  local three = write("three", idx({ 3 }, "\1\2\3"))
  local bad = write("bad", "not an IDX file")
  local function fails(o, pattern, want)
    local ds, message, code = data.idx(o)
    check(ds == nil)
    check(message:find(pattern), message)
    equal(code, want)
  end
  fails({ images = folder .. "/none", labels = three }, "none", "io")
  fails({ images = images, labels = three }, "2 images", "format")
  fails({ images = bad, labels = three }, "bad", "format")
  fails({ images = images, labels = write("far", idx({ 2 }, "\1\12")), classes = 10 }, "far: a label is 12", "format")
  raises(function() data.idx{ images = images } end, "paths")
  local sets, message, code = data.fashion_mnist{ dir = folder }
  check(sets == nil and message:find "dataset%-fashion%-mnist" and message:find "%-%-data", message)
  equal(code, "io")
end)

test("Fashion-MNIST, where it is installed", function()
  local sets = data.fashion_mnist()
  if not sets then return end
  equal(#sets.train, 60000)
  equal(#sets.test, 10000)
  equal(sets.train.classes[10], "Ankle boot")
  local sum, squares, n = 0, 0, 0
  for x in sets.train:batches{ batch_size = 5000 } do
    sum, squares, n = sum + x:mean():item(), squares + (x * x):mean():item(), n + 1
  end
  near(sum / n, 0, 1e-3)
  near(squares / n, 1, 2e-3)
end)

for _, name in ipairs{ "images", "labels", "three", "bad" } do core.remove(folder .. "/" .. name) end
core.remove(folder)
