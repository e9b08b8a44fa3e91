-- The loader: the same batches for any number of workers and threads, files that are corrupt, interrupts and early ends;
-- and where data sets come from: folders, CIFAR, CSV, f32 tensors, images saved.

local wattle = require "wattle"
local core, data = wattle.core, wattle.data
local T = data.transforms
local t = require "harness"
local test, check, equal, near, raises = t.test, t.check, t.equal, t.near, t.raises

local scratch = os.tmpname()
os.remove(scratch)
local function path(name) return scratch .. "/" .. name end
local function folder(name) assert(core.mkdir(path(name))) end
local function write(name, text)
  assert(core.write_file(path(name), text))
  return path(name)
end
local function slurp(name)
  local file <close> = assert(io.open(name, "rb"))
  return file:read "a"
end
folder ""
local finish <close> = setmetatable({}, { __close = function() os.execute("rm -rf '" .. scratch .. "'") end })

-- ---- a folder of pictures ------------------------------------------------------------------------------------

local per_class = 9
wattle.manual_seed(7)
for c, class in ipairs{ "ant", "bee", "cat" } do
  folder("pictures/" .. class)
  for i = 1, per_class do
    local image = (wattle.rand{ c == 2 and 1 or 3, 20 + 3 * i, 44 - 2 * i } * 255):to "u8"
    assert(data.save_image(path(("pictures/%s/%d.%s"):format(class, i, i % 3 == 0 and "png" or "jpg")), image, { sync = false }))
  end
end
folder "pictures/cat/deeper"
assert(data.save_image(path "pictures/cat/deeper/last.JPEG", wattle.full({ 3, 30, 30, dtype = "u8" }, 200)))
write("pictures/bee/.hidden.jpg", "not looked at")
write("pictures/bee/notes.txt", "not looked at")

local plain = { T.resize{ size = { 16, 12 } } }
local augmented = { T.random_resized_crop{ size = 16 }, T.random_flip{}, T.color_jitter{ brightness = 0.4, contrast = 0.4, saturation = 0.4, hue = 0.1 },
                    T.normalize{ mean = { 0.5, 0.4, 0.3 }, std = { 0.2, 0.3, 0.4 } }, T.random_erasing{ value = "random" } }

local function open(o)
  o.dir = o.dir or path "pictures"
  return assert(data.folder(o))
end

-- An epoch as bytes, and the sizes of its batches.
local function epoch(ds, o)
  local bytes, sizes = {}, {}
  o.batch_size = o.batch_size or 5
  for x, y in ds:batches(o) do
    bytes[#bytes + 1] = x:tobytes() .. y:tobytes()
    sizes[#sizes + 1] = x:size(0)
  end
  return table.concat(bytes), table.concat(sizes, " ")
end

test("a folder of classes", function()
  local ds = open{ transform = plain }
  equal(tostring(ds), "folder: 28 samples of [3,16,12], 3 classes")
  equal(ds.classes, { "ant", "bee", "cat" })
  local k = 0
  for x, y in ds:batches{ batch_size = 1 } do
    local class, i = k // per_class, k % per_class + 1
    local name = class == 3 and "cat/deeper/last.JPEG" or ("%s/%d.%s"):format(ds.classes[class + 1], i, i % 3 == 0 and "png" or "jpg")
    equal(y:item(), class == 3 and 2 or class)
    local want = data.resize(data.image(path("pictures/" .. name)), { size = { 16, 12 } }):to "f32"
    check((x:select(0, 0) * 255 - want):abs():max() < 1e-3, name)
    k = k + 1
  end
  equal(k, 28)
  local grey = open{ transform = plain, channels = 1, classes = { "cat", "ant" }, name = "two" }
  equal(tostring(grey), "two: 19 samples of [1,16,12], 2 classes")
  local _, y = grey:batches{ batch_size = 19 }()
  equal(y:get(0), 0)
  equal(y:get(18), 1)
end)

test("the same bits for any number of workers, threads and batches kept ready", function()
  local ds, threads = open{ transform = augmented }, core.threads()
  local want, sizes = epoch(ds, { shuffle = true, seed = 3, epoch = 2 })
  equal(sizes, "5 5 5 5 5 3")
  for _, n in ipairs{ 1, 2, 4 } do
    core.threads(n)
    for _, workers in ipairs{ 0, 1, 2, 4 } do
      for _, prefetch in ipairs{ 1, 3 } do
        check(epoch(ds, { shuffle = true, seed = 3, epoch = 2, workers = workers, prefetch = prefetch }) == want,
              ("%d threads, %d workers, %d batches"):format(n, workers, prefetch))
      end
    end
  end
  core.threads(threads)
  check(epoch(ds, { shuffle = true, seed = 3, epoch = 3 }) ~= want, "another epoch")
  check(epoch(ds, { shuffle = true, seed = 4, epoch = 2 }) ~= want, "another seed")
  check(epoch(open{ transform = augmented, name = "other" }, { shuffle = true, seed = 3, epoch = 2 }) ~= want, "another name")
  local by_sevens = epoch(ds, { seed = 3, epoch = 2, batch_size = 7 })
  check(#by_sevens == #want and by_sevens ~= want)
  local _, dropped = epoch(ds, { drop_last = true, workers = 2 })
  equal(dropped, "5 5 5 5 5")
end)

test("bytes in memory: the loader gives what the direct way gives, bit for bit", function()
  local images = (wattle.rand{ 11, 3, 5, 4 } * 255):to "u8"
  local labels = wattle.tensor({ 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1 }, "u8")
  local ds = data.tensors{ images = images, labels = labels, mean = 0.2860, sd = 0.3530 }
  local want = epoch(ds, { batch_size = 4, shuffle = true, seed = 1 })
  for workers = 0, 3 do check(epoch(ds, { batch_size = 4, shuffle = true, seed = 1, workers = workers }) == want) end
  check(epoch(ds:with{ transform = {} }, { batch_size = 4, shuffle = true, seed = 1 }) == want, "an empty transform")
  local crop = ds:with{ transform = { T.center_crop{ size = { 3, 2 } } } }
  equal(crop.shape, { 3, 3, 2 })
  equal(epoch(crop:with{ transform = false }, { batch_size = 4, shuffle = true, seed = 1 }) == want, true)
end)

test("selections and transforms go together", function()
  local ds = open{ transform = augmented }
  local train, val = ds:split({ 20, 8 }, 5)
  local clean = val:with{ transform = plain }
  equal({ #train, #clean, clean.name }, { 20, 8, "folder.2" })
  equal(clean.shape, { 3, 16, 12 })
  equal(val.shape, { 3, 16, 16 }, "the original is as it was")
  local seen, n = {}, 0
  for _, part in ipairs{ train:with{ transform = plain }, clean } do
    for x in part:batches{ batch_size = 1 } do
      local bytes = x:tobytes()
      check(not seen[bytes], "in both parts")
      seen[bytes], n = true, n + 1
    end
  end
  equal(n, 28)
  local _, sizes = epoch(clean:take(3), { batch_size = 2 })
  equal(sizes, "2 1")
end)

test("without a fixed size the first image says it, and others must agree", function()
  folder "same/a"
  for i = 1, 3 do assert(data.save_image(path(("same/a/%d.png"):format(i)), wattle.full({ 3, 8, 6, dtype = "u8" }, i))) end
  equal(open{ dir = path "same" }.shape, { 3, 8, 6 })
  equal(open{ dir = path "same", transform = { T.resize{ size = 3 } } }.shape, { 3, 4, 3 })
  assert(data.save_image(path "same/a/4.png", wattle.full({ 3, 8, 7, dtype = "u8" }, 4)))
  local ds = open{ dir = path "same" }
  raises(function() epoch(ds, {}) end, "same/a/4.png: it is 8x7 %(height x width%) after the transform, others are 8x6")
  raises(function() epoch(ds, { workers = 2 }) end, "same/a/4.png: it is 8x7")
end)

-- ---- what is corrupt -----------------------------------------------------------------------------------------

folder "bad/a"
folder "bad/b"
for i = 1, 12 do
  local file = path(("bad/%s/%02d.jpg"):format(i < 7 and "a" or "b", i))
  assert(data.save_image(file, wattle.full({ 3, 16, 16, dtype = "u8" }, 10 * i)))
  if i == 4 or i == 9 then assert(core.write_file(file, slurp(file):sub(1, 300))) end
  if i == 5 then assert(core.write_file(file, "not a picture")) end
end

test("the first corrupt file in order stops the run by name, whatever the workers", function()
  local ds = open{ dir = path "bad", transform = { T.center_crop{ size = 16 } } }
  for workers = 0, 3 do
    local n, labels = 0, 0
    local ok, e = pcall(function()
      for x, y in ds:batches{ batch_size = 2, workers = workers } do n, labels = n + 1, labels + y:size(0) end
    end)
    check(not ok and e:find("bad/a/04.jpg: ", 1, true), tostring(e))
    equal(n, 1, "batches before it")
    equal(core.error_code(e), "format")
  end
  local backwards = { 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0 }
  local l = core.loader(core.samples{ paths = ds.files, labels = ds.labels }, { index = wattle.tensor(backwards, "i64"), batch_size = 2,
                                                                               workers = 2, steps = { T.center_crop{ size = 16 } } })
  l:next()
  raises(function() l:next() end, "bad/b/09.jpg")
  raises(function() l:next() end, "an error stopped it")
end)

test("skipping: batches stay full, the same for any workers, and the files are named once", function()
  local want, list
  for workers = 0, 3 do
    local ds = open{ dir = path "bad", transform = { T.center_crop{ size = 16 } }, on_error = "skip" }
    local levels, sizes = {}, {}
    for e = 1, 2 do
      levels, sizes = {}, {}
      for x, y in ds:batches{ batch_size = 4, workers = workers, epoch = e } do
        sizes[#sizes + 1] = x:size(0)
        for i = 0, x:size(0) - 1 do
          levels[#levels + 1] = math.floor(x:get(i, 0, 8, 8) * 25.5 + 0.5)
          equal(y:get(i), levels[#levels] < 7 and 0 or 1, "the label of its image")
        end
      end
    end
    equal(table.concat(levels, " "), "1 2 3 6 7 8 10 11 12")
    equal(table.concat(sizes, " "), "4 4 1")
    list = ds:skipped()
    local text = {}
    for i, skip in ipairs(list) do text[i] = skip.path:match "[^/]*$" .. ": " .. skip.reason end
    text = table.concat(text, "; ")
    equal(#list, 3, text)
    want = want or text
    equal(text, want)
    equal(#ds:take(3):skipped(), 3, "selections share the list")
    local _, dropped = epoch(ds, { batch_size = 4, drop_last = true, workers = workers })
    equal(dropped, "4 4")
  end
  equal(list[2].path, path "bad/a/05.jpg")
  check(list[2].reason:find "neither JPEG nor PNG", list[2].reason)
end)

test("a file that is gone is skipped too, and an epoch of nothing is an error", function()
  folder "gone/a"
  for i = 1, 3 do assert(data.save_image(path(("gone/a/%d.png"):format(i)), wattle.full({ 3, 4, 4, dtype = "u8" }, i))) end
  local ds = open{ dir = path "gone", on_error = "skip" }
  os.remove(path "gone/a/2.png")
  local _, sizes = epoch(ds, { batch_size = 3 })
  equal(sizes, "2")
  check(ds:skipped()[1].reason:find "No such file", ds:skipped()[1].reason)
  os.remove(path "gone/a/1.png")
  os.remove(path "gone/a/3.png")
  for workers = 0, 1 do raises(function() epoch(ds, { workers = workers }) end, "none of 3 samples can be used; the first: .*gone/a/1.png") end
  raises(function() open{ dir = path "gone", on_error = "skp" } end, "did you mean 'skip'")
end)

test("an image too small for the crop is a mistake, not a corrupt file", function()
  local ds = open{ dir = path "bad", transform = { T.random_crop{ size = 20 } }, on_error = "skip" }
  for workers = 0, 1 do raises(function() epoch(ds, { workers = workers }) end, "01.jpg: random_crop: the image is 16x16") end
end)

-- ---- ends ----------------------------------------------------------------------------------------------------

local function threads_now()
  local n = 0
  for line in io.lines "/proc/self/status" do n = tonumber(line:match "^Threads:%s*(%d+)") or n end
  return n
end

test("leaving a loop early, or never ending it, ends the workers", function()
  local ds = open{ transform = augmented }
  epoch(ds, {})
  local before = threads_now()
  for x in ds:batches{ batch_size = 2, workers = 3 } do break end
  equal(threads_now(), before)
  pcall(function() for x in ds:batches{ batch_size = 2, workers = 3 } do error "x" end end)
  equal(threads_now(), before)
  for _ = 1, 3 do ds:batches{ batch_size = 2, workers = 3 }() end
  collectgarbage()
  collectgarbage()
  equal(threads_now(), before)
  local loader = core.loader(core.samples{ paths = ds.files, labels = ds.labels },
                             { index = wattle.arange(28), batch_size = 4, steps = plain, workers = 2 })
  check(threads_now() == before + 2)
  loader:close()
  equal(threads_now(), before)
  raises(function() loader:next() end, "closed")
end)

test("workers wait without burning time", function()
  local ds = open{ transform = plain }
  local iterate, _, _, loader <close> = ds:batches{ batch_size = 2, workers = 4, prefetch = 2 }
  iterate()
  core.sleep(0.1) -- until they have filled their room
  local cpu = core.cpu_time()
  core.sleep(0.3)
  check(core.cpu_time() - cpu < 0.05, core.cpu_time() - cpu)
end)

test("Ctrl-C stops a loader, with workers and without", function()
  local program = os.getenv "WATTLE_PROGRAM" or arg[-1]
  if core.build_info():find "flags:[^\n]*thread" then t.skip "signals and the thread sanitizer" end
  for workers = 0, 2, 2 do
    local script = write("interrupt.lua", ([[
      local wattle = require "wattle"
      local T = wattle.data.transforms
      local ds = assert(wattle.data.folder{ dir = %q, transform = { T.resize{ size = { 700, 700 } } } })
      local index = {}
      for i = 1, 20000 do index[i] = i %% 20 end
      local l = wattle.core.loader(wattle.core.samples{ paths = ds.files, labels = ds.labels },
        { index = wattle.tensor(index, "i64"), batch_size = 300, steps = ds.transform, workers = %d, prefetch = 1 })
      io.stderr:write "ready\n"
      l:next()
    ]]):format(path "pictures", workers))
    os.execute(("'%s' '%s' 2>'%s' & pid=$!; while ! grep -q ready '%s' 2>/dev/null; do sleep 0.05; done; sleep 0.3; kill -INT $pid; wait $pid; echo $? >'%s'")
               :format(program, script, path "err", path "err", path "code"))
    check(slurp(path "err"):find "interrupted!", slurp(path "err"))
    check(tonumber(slurp(path "code")) ~= 0)
  end
end)

test("options are checked", function()
  local ds = open{ transform = plain }
  local function dealing(o) return function() o.batch_size = o.batch_size or 2; ds:batches(o)() end end
  raises(dealing{ workers = -1 }, "workers")
  raises(dealing{ workers = 1.5 }, "workers")
  raises(dealing{ workers = 1000 }, "0 to 256")
  raises(dealing{ workers = 1, prefetch = 0 }, "prefetch")
  raises(dealing{ workers = 1, prefetch = 1000 }, "1 to 64")
  raises(dealing{ worker = 1 }, "'workers'")
  local samples = core.samples{ paths = ds.files, labels = ds.labels }
  raises(function() core.loader(samples, { index = wattle.tensor({ 28 }, "i64"), batch_size = 1, steps = plain }) end, "index 28 is not in 0..27")
  raises(function() core.loader(samples, { index = wattle.arange(2), batch_size = 1 }) end, "leave the size of a sample open")
  raises(function() core.loader(samples, { index = wattle.arange(2), batch_size = 0, steps = plain }) end, "batch_size")
  raises(function() core.samples{ paths = { "a" }, labels = wattle.zeros{ 2, dtype = "u8" } } end, "%[1%] is needed")
  raises(function() core.loader(samples, { index = wattle.arange(2), batch_size = 1, steps = { { kind = "turn" } } }) end, "unknown kind of step 'turn'")
end)

-- ---- folders that are wrong ----------------------------------------------------------------------------------

test("folders that are no data set are nil, message, code", function()
  local function fails(o, pattern, want)
    local ds, message, code = data.folder(o)
    check(ds == nil and message:find(pattern), message)
    equal(code, want)
  end
  folder "empty"
  folder "hollow/a"
  folder "hollow/b"
  assert(data.save_image(path "hollow/a/1.png", wattle.zeros{ 3, 2, 2, dtype = "u8" }))
  folder "other/a"
  write("other/a/1.webp", "RIFF")
  fails({ dir = path "nowhere" }, "nowhere", "io")
  fails({ dir = path "empty" }, "no folders in it; images stand in one folder a class", "format")
  fails({ dir = path "hollow" }, "hollow/b: no .jpg, .jpeg or .png files", "format")
  fails({ dir = path "pictures", classes = { "ant", "dog" } }, "pictures/dog", "io")
  fails({ dir = path "other" }, "1.webp: only JPEG and PNG", "format")
  write("hollow/b/1.jpg", "no picture")
  fails({ dir = path "hollow", classes = { "b" } }, "b/1.jpg: neither JPEG nor PNG", "format")
  equal(assert(data.folder{ dir = path "hollow", classes = { "b", "a" }, on_error = "skip" }).shape, { 3, 2, 2 })
  raises(function() data.folder{ dir = path "pictures", classes = { "ant", "ant" } } end, "listed twice")
  raises(function() data.folder{ dir = path "pictures", channels = 4 } end, "channels must be 1 or 3")
  raises(function() data.folder{ folder = "x" } end, "unknown option 'folder'")
end)

-- ---- training on it ------------------------------------------------------------------------------------------

test("fit, evaluate and checkpoints take a folder and f32 features", function()
  local nn = wattle.nn
  local ds = open{ transform = { T.resize{ size = { 8, 8 } }, T.random_flip{} } }
  local function trained(epochs, checkpoint)
    local model = nn.Sequential{ nn.Flatten(), nn.Linear{ in_features = 192, out_features = 3 } }
    nn.initialise(model, 1)
    wattle.fit{ model = model, data = { train = ds, val = ds:with{ transform = { T.resize{ size = { 8, 8 } } } } }, epochs = epochs, batch_size = 8,
                optimizer = { "sgd", lr = 0.01 }, seed = 2, progress = false, checkpoint = checkpoint,
                on_epoch = function(state) if epochs == 3 and checkpoint and state.epoch == 1 then error "stopped" end end }
    return model
  end
  local want = core.sha256_dict(trained(3):state_dict())
  equal(core.sha256_dict(trained(3):state_dict()), want)
  pcall(trained, 3, path "fit.checkpoint")
  local model = trained(3)
  equal(core.sha256_dict(model:state_dict()), want)
  local report = wattle.evaluate(model, ds, { batch_size = 5 })
  equal(report.n, 28)
  local x = wattle.randn{ 30, 4 }
  local labels = {}
  for i = 1, 30 do labels[i] = x:get(i - 1, 0) > 0 and 1 or 0 end
  local features = data.tensors{ features = x, labels = wattle.tensor(labels, "i64"), mean = 0.5, sd = 2 }
  equal(tostring(features), "data: 30 samples of [4], 2 classes")
  local first, y = features:batches{ batch_size = 30 }()
  near((first - (x - 0.5) / 2):abs():max(), 0, 1e-6)
  equal(y:tolist(), labels)
  check(epoch(features, { workers = 2, shuffle = true, seed = 1 }) == epoch(features, { shuffle = true, seed = 1 }))
  local line = nn.Sequential{ nn.Linear{ in_features = 4, out_features = 2 } }
  nn.initialise(line, 1)
  local history = wattle.fit{ model = line, data = { train = features }, epochs = 30, batch_size = 10, optimizer = { "sgd", lr = 0.5 }, progress = false }
  check(history[30].train_top1_pct > 90, history[30].train_top1_pct)
  local images = data.tensors{ images = wattle.rand{ 4, 3, 5 }, labels = wattle.zeros{ 4, dtype = "u8" } }
  equal(images.shape, { 1, 3, 5 })
end)

-- ---- images saved --------------------------------------------------------------------------------------------

test("images are saved and read again", function()
  local image = (wattle.rand{ 3, 17, 23 } * 255):to "u8"
  local grey = image:select(0, 1):contiguous()
  local function again(name, picture, o, channels)
    assert(data.save_image(path(name), picture, o))
    return data.image(path(name), { channels = channels or 3 })
  end
  check(again("a.png", image):tobytes() == image:tobytes())
  check(again("b.PNG", grey, nil, 1):tobytes() == grey:tobytes())
  check(again("c.png", image:permute(0, 2, 1):contiguous()):tobytes() == image:permute(0, 2, 1):contiguous():tobytes())
  local smooth = wattle.arange(32):to "f32":reshape(1, 1, 32):expand{ 3, 40, 32 } * 7
  local bytes = smooth:contiguous():to "u8"
  local function off(o) return (again("d.jpg", bytes, o):to "f32" - bytes:to "f32"):abs():max() end
  check(off{ quality = 100 } <= 3, off{ quality = 100 })
  check(off{ quality = 10 } > off{ quality = 100 })
  local size = #slurp(path "d.jpg")
  off{ quality = 20 }
  check(#slurp(path "d.jpg") < size)
  check((again("e.jpeg", grey, { quality = 100 }, 1):to "f32" - grey:to "f32"):abs():max() <= 8)
  local large = (wattle.rand{ 300, 300 } * 255):to "u8" -- noise, more than is written at once
  check((again("f.jpg", large, { quality = 100 }, 1):to "f32" - large:to "f32"):abs():max() <= 8)
  check(#slurp(path "f.jpg") > 65536, #slurp(path "f.jpg"))
  raises(function() data.save_image(path "a.bmp", image) end, "must end in .jpg, .jpeg or .png")
  raises(function() data.save_image(path "a.png", image:to "f32") end, "u8 is needed")
  raises(function() data.save_image(path "a.png", wattle.zeros{ 2, 4, 4, dtype = "u8" }) end, "%[2,4,4%]")
  raises(function() data.save_image(path "a.jpg", image, { quality = 101 }) end, "1 to 100")
  local ok, message, code = data.save_image(path "nowhere/a.jpg", image)
  check(ok == nil and message:find "nowhere/a.jpg" and code == "io", message)
end)

-- ---- CIFAR ---------------------------------------------------------------------------------------------------

-- A file of 10,000 records (or so many), all but the first few of zeros, which takes no room on the disk.
local function records(name, head, bytes)
  local file <close> = assert(io.open(path(name), "wb"))
  file:write(head)
  file:seek("set", bytes - 1)
  file:write "\0"
end
local function pixels(r, g, b) return string.char(r):rep(1024) .. string.char(g):rep(1024) .. string.char(b):rep(1024) end

test("CIFAR-10 and CIFAR-100, strictly", function()
  folder "cifar/cifar-10-batches-bin"
  local at = "cifar/cifar-10-batches-bin/"
  for i = 1, 5 do records(at .. ("data_batch_%d.bin"):format(i), string.char(i) .. pixels(i, 10 * i, 50 * i), 30730000) end
  records(at .. "test_batch.bin", "\9" .. pixels(1, 2, 3), 30730000)
  local sets = assert(data.cifar10{ dir = path "cifar", transform = {} })
  equal(tostring(sets.train), "cifar10.train: 50000 samples of [3,32,32], 10 classes")
  equal(#sets.test, 10000)
  equal(sets.train.classes[1], "airplane")
  local x, y = sets.test:batches{ batch_size = 2 }()
  equal(y:tolist(), { 9, 0 })
  for c = 0, 2 do near(x:get(0, c, 31, 31) * 255, c + 1, 1e-4) end
  equal(sets.train.labels:get(20000), 3)
  equal(sets.train.images:get(40000, 1, 0, 0), 50)
  sets = nil
  collectgarbage()
  local function fails(pattern, want, o)
    local got, message, code = data.cifar10(o or { dir = path "cifar" })
    check(got == nil and message:find(pattern), message)
    equal(code, want)
  end
  records(at .. "data_batch_3.bin", "\3", 30730001)
  fails("data_batch_3.bin: it has 30730001 bytes; 10000 records of 3073 bytes are 30730000", "format")
  records(at .. "data_batch_3.bin", "\12", 30730000)
  fails("data_batch_3.bin: the label of record 0 is 12; there are 10 classes", "format")
  os.remove(path(at .. "data_batch_3.bin"))
  fails("data_batch_3.bin", "io")
  fails("no data_batch_1.bin in", "io", { dir = path "empty" })
  os.execute("rm -rf '" .. path "cifar" .. "'")
  folder "cifar100"
  records("cifar100/train.bin", "\19\99" .. pixels(4, 5, 6), 50000 * 3074)
  records("cifar100/test.bin", "\3\42" .. pixels(4, 5, 6), 10000 * 3074)
  local names = {}
  for i = 1, 20 do names[i] = "group" .. i end
  write("cifar100/coarse_label_names.txt", table.concat(names, "\n") .. "\n")
  local fine = assert(data.cifar100{ dir = path "cifar100" })
  equal({ fine.train.num_classes, fine.train.labels:get(0), fine.test.labels:get(0) }, { 100, 99, 42 })
  local coarse = assert(data.cifar100{ dir = path "cifar100", labels = "coarse" })
  equal({ coarse.train.num_classes, coarse.train.labels:get(0), coarse.train.classes[20] }, { 20, 19, "group20" })
  os.execute("rm -rf '" .. path "cifar100" .. "'")
end)

-- ---- CSV -----------------------------------------------------------------------------------------------------

test("CSV of features and of pixels", function()
  local file = write("iris.csv", 'petal,species,sepal\n1.5,"setosa",2\n-3e2,virginica, 4 \n0.25,setosa,6\n')
  local ds = assert(data.csv{ path = file, label = "species" })
  equal(tostring(ds), "csv: 3 samples of [2], 2 classes")
  equal(ds.classes, { "setosa", "virginica" })
  local x, y = ds:batches{ batch_size = 3 }()
  equal(x:tolist(), { { 1.5, 2.0 }, { -300.0, 4.0 }, { 0.25, 6.0 } })
  equal(y:tolist(), { 0, 1, 0 })
  local other = assert(data.csv{ path = file, label = 2, classes = { "virginica", "setosa", "versicolor" } })
  local _, y2 = other:batches{ batch_size = 3 }()
  equal(y2:tolist(), { 1, 0, 1 })
  equal(other.num_classes, 3)
  local digits = write("digits.csv", "7,0,255,1,2\n2,9,8,7,6\n")
  local images = assert(data.csv{ path = digits, label = 1, header = false, shape = { 2, 2 }, classes = 10, mean = 0.5, sd = 0.5 })
  equal(tostring(images), "csv: 2 samples of [1,2,2], 10 classes")
  local p, q = images:batches{ batch_size = 2 }()
  near(p:get(0, 0, 0, 1), 1, 1e-6)
  near(p:get(0, 0, 0, 0), -1, 1e-6)
  equal(q:tolist(), { 7, 2 })
  equal(#assert(data.csv{ path = digits, label = 1, header = false, shape = { 2, 2 }, transform = { T.random_flip{} } }).classes, 8)
end)

test("odd CSV files are nil, message, code", function()
  local function fails(text, o, pattern, want)
    o.path, o.label = write("odd.csv", text), o.label or 1
    local ds, message, code = data.csv(o)
    check(ds == nil and message:find(pattern), tostring(message))
    equal(code, want or "format")
  end
  fails("y,a\n1,x\n", {}, "odd.csv: row 1, column 'a': 'x' is no number")
  fails("y,a\n1,2\n1,\n", {}, "row 2, column 'a': '' is no number")
  fails("1,nan\n", { header = false }, "row 1, column 2: 'nan' is no number")
  fails("1,0x10\n", { header = false }, "'0x10' is no number")
  fails("1,1 2\n", { header = false }, "'1 2' is no number")
  fails("1,1e99\n", { header = false }, "too large for f32")
  fails("1,256\n", { header = false, shape = { 1, 1 } }, "'256' is no pixel")
  fails("1,0.5\n", { header = false, shape = { 1, 1 } }, "'0.5' is no pixel")
  fails("1,1,2\n", { header = false, shape = { 1, 1 } }, "a row has 2 pixels; shape 1x1 needs 1")
  fails("y,a\n1,2,3\n", {}, "3 fields where the first row has 2")
  fails("y,a\n", {}, "there are no rows")
  fails("", {}, "there are no rows")
  fails("y\n1\n", {}, "no column besides the label")
  fails("y,a\n1,2\n", { label = "z" }, "no column 'z'")
  fails("y,a\n1,2\n", { label = 3 }, "column 3 of 2")
  fails("y,a\n,2\n", {}, "row 1, column 'y': '' is no label")
  fails("y,a\n5,2\n", { classes = 3 }, "a label is 5, but there are 3 classes")
  fails("y,a\nx,2\n", { classes = { "u", "v" } }, "label 'x' is none of the classes")
  local ds, message, code = data.csv{ path = path "none.csv", label = 1 }
  check(ds == nil and message:find "none.csv" and code == "io", message)
  raises(function() data.csv{ path = "x", label = "y", header = false } end, "without a header")
  raises(function() data.csv{ path = "x" } end, "label must be")
  raises(function() data.csv{ path = "x", label = 1, shape = 3 } end, "shape must be")
end)
