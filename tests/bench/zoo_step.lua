-- The Wattle side of zoo_step.py: builds one network of the zoo and runs training steps on request.
--   wattle zoo_step.lua MODEL BATCH SIZE CLASSES THREADS BACKEND CLOCK
-- CLOCK is wall or cpu.
-- Each line "k" on standard input runs k steps and answers "seconds loss"; the end of the input ends it.
local wattle = require "wattle"
local core = wattle.core

local name, backend = arg[1], arg[6]
local now = arg[7] == "cpu" and os.clock or core.now
local batch, size, classes = math.tointeger(arg[2]), math.tointeger(arg[3]), math.tointeger(arg[4])
wattle.threads(math.tointeger(arg[5]))
wattle.manual_seed(1)

local model = wattle.models.create(name, { num_classes = classes, image_size = size })
local plan = model:compile{ input = { batch, 3, size, size }, loss = "cross_entropy", backend = backend,
                            optimizer = { "sgd", lr = 0.001, momentum = 0.9, weight_decay = 1e-4 } }
local x, labels = wattle.rand{ batch, 3, size, size }, {}
for i = 1, batch do labels[i] = i % classes end
local y = wattle.tensor(labels, "i64")

io.stdout:setvbuf "line"
for line in io.lines() do
  local steps = assert(math.tointeger(line), "zoo_step.lua: not a number of steps: " .. line)
  local start, loss = now(), nil
  for _ = 1, steps do loss = plan:step(x, y) end
  print(("%.9f %.9g"):format(now() - start, loss))
end
