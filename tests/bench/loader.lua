-- How near does training from JPEGs come to what computing and decoding allow? Trains a network from a folder of JPEGs and,
-- in the same run and in turns, measures computing alone (batches in memory) and decoding alone (batches that are thrown
-- away), each with all threads. The bound is 1/(t_compute + t_decode) images a second, since both want the same processors.
--   wattle tests/bench/loader.lua [MODEL=resnet18] [size=64] [side=96] [batch=64] [steps=16] [rounds=5] [threads=] [images=]
-- side: of the JPEGs, made up with shapes and noise in a temporary folder. Prints a row for each number of workers: the
-- ratio to the bound, median (least to most) over the rounds; each round's ratio is of that round's own two times.
local wattle = require "wattle"
local core, data = wattle.core, wattle.data
local T = data.transforms

local o = { model = "resnet18", size = 64, side = 96, batch = 64, steps = 16, rounds = 5, threads = core.threads() }
for _, word in ipairs(arg) do
  local key, value = word:match "^(%w+)=(%w+)$"
  if not key or o[key] == nil and key ~= "images" then error("loader.lua: what is " .. word .. "?", 0) end
  o[key] = math.tointeger(value) or value
end
o.images = o.images or o.steps * o.batch
core.threads(o.threads)
wattle.manual_seed(1)

local folder = os.tmpname() .. ".d"
local remove <close> = setmetatable({}, { __close = function() os.execute("rm -rf '" .. folder .. "'") end })

-- Smooth colours and noise, about as large a file as a photograph of that size.
local function make_folder()
  local coarse, classes = o.side // 12, 10
  for c = 0, classes - 1 do assert(core.mkdir(("%s/%d"):format(folder, c))) end
  for i = 1, o.images do
    local smooth = data.resize((wattle.rand{ 3, coarse, coarse } * 255):to "u8", { size = { o.side, o.side }, interpolation = "bicubic" })
    local noisy = (smooth:to "f32" * 0.9 + wattle.rand{ 3, o.side, o.side } * 25):to "u8"
    assert(data.save_image(("%s/%d/%05d.jpg"):format(folder, i % classes, i), noisy, { sync = false }))
  end
end
make_folder()

local ds = assert(data.folder{ dir = folder, transform = { T.random_resized_crop{ size = o.size }, T.random_flip{},
                                                           T.normalize{ mean = 0.5, std = 0.25 } } })
local model = wattle.models.create(o.model, { num_classes = 10, in_channels = 3, image_size = o.size })
local plan = model:compile{ input = { o.batch, 3, o.size, o.size }, loss = "cross_entropy",
                            optimizer = { "sgd", lr = 0.01, momentum = 0.9 } }

local kept = {}
for x, y in ds:batches{ batch_size = o.batch, drop_last = true } do
  kept[#kept + 1] = { x, y }
  if #kept == 4 then break end
end

local arms = { "compute", "decode" }
local seconds = {} -- of one image, by arm and round
local run = {}
function run.compute(steps)
  for k = 1, steps do plan:step(kept[k % #kept + 1][1], kept[k % #kept + 1][2]) end
end
local function through(workers, train)
  return function(steps, epoch)
    local k = 0
    for x, y in ds:batches{ batch_size = o.batch, shuffle = true, epoch = epoch, drop_last = true, workers = workers } do
      if train then plan:step(x, y) end
      k = k + 1
      if k == steps then break end
    end
    assert(k == steps, "too few images")
  end
end
run.decode = through(0, false)
for _, workers in ipairs{ 0, 1, 2 } do
  arms[#arms + 1] = "workers " .. workers
  run[arms[#arms]] = through(workers, true)
end

local function median(list)
  local sorted = table.move(list, 1, #list, 1, {})
  table.sort(sorted)
  return (sorted[(#sorted + 1) // 2] + sorted[#sorted // 2 + 1]) / 2, sorted[1], sorted[#sorted]
end

for _, arm in ipairs(arms) do
  run[arm](2, 0) -- warm
  seconds[arm] = {}
end
for round = 1, o.rounds do
  for i = 1, #arms do
    local arm = arms[(i + round) % #arms + 1] -- in turns
    local began = core.now()
    run[arm](o.steps, round)
    seconds[arm][round] = (core.now() - began) / (o.steps * o.batch)
  end
end

print(("%s, %dx%d from %dx%d JPEGs, batch %d, %d threads, %d rounds of %d steps"):format(o.model, o.size, o.size, o.side, o.side,
                                                                                         o.batch, o.threads, o.rounds, o.steps))
for _, arm in ipairs{ "compute", "decode" } do
  local middle, least, most = median(seconds[arm])
  print(("%-10s %8.3f ms an image (%.3f to %.3f)"):format(arm, 1e3 * middle, 1e3 * least, 1e3 * most))
end
for i = 3, #arms do
  local ratios = {}
  for round, s in ipairs(seconds[arms[i]]) do ratios[round] = (seconds.compute[round] + seconds.decode[round]) / s end
  local ratio, low, high = median(ratios)
  print(("%-10s %8.3f ms an image, %.3f of the bound (%.3f to %.3f)"):format(arms[i], 1e3 * median(seconds[arms[i]]), ratio, low, high))
end
