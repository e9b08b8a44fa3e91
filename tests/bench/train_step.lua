-- The Wattle side of train_step.py: builds one network and runs training steps on request.
--   wattle train_step.lua MODEL WIDTH BATCH SIZE THREADS BACKEND
-- Each line "k" on standard input runs k steps and answers "seconds loss"; the end of the input ends it.
local wattle = require "wattle"
local core = wattle.core

local name, width, batch, size, threads, backend = table.unpack(arg)
width, batch, size = math.tointeger(width), math.tointeger(batch), math.tointeger(size)
wattle.threads(math.tointeger(threads))
wattle.manual_seed(1)

local options = { num_classes = 10, in_channels = 1, image_size = size }
if name:match("^resnet") then options.width = width end
local model = wattle.models.create(name, options)
local plan = model:compile{ input = { batch, 1, size, size }, loss = "cross_entropy", backend = backend,
                            optimizer = { "sgd", lr = 0.01, momentum = 0.9, nesterov = true, weight_decay = 5e-4 } }
local x, labels = wattle.rand{ batch, 1, size, size }, {}
for i = 1, batch do labels[i] = i % 10 end
local y = wattle.tensor(labels, "i64")

io.stdout:setvbuf("line")
for line in io.lines() do
  local steps = assert(math.tointeger(line), "train_step.lua: not a number of steps: " .. line)
  local start, loss = core.now(), nil
  for _ = 1, steps do loss = plan:step(x, y) end
  print(("%.9f %.9g"):format(core.now() - start, loss))
end
