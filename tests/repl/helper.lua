-- What tests/repl/session.exp works with, loaded at its prompt: a small data set, a model, and the same training by hand.
wattle.threads(1)
ds = wattle.data.tensors { images = wattle.full({ 640, 8, 8, dtype = "u8" }, 0), labels = wattle.zeros { 640, dtype = "u8" },
                           classes = 4 }
for i = 0, 639 do
  ds.labels:set(i, i % 4)
  ds.images:select(0, i):fill_(40 * (i % 4) + i % 7)
end

function make()
  local made = nn.Sequential { nn.Flatten(), nn.Linear { in_features = 64, out_features = 32 }, nn.ReLU(),
                               nn.Linear { in_features = 32, out_features = 4 } }
  return nn.initialise(made, 7)
end

-- Trains until Ctrl-C; says when it is in the midst of it.
function train_on(model)
  return wattle.fit { model = model, data = { train = ds }, epochs = 1000000, batch_size = 64, seed = 5, progress = false,
                      optimizer = { "sgd", lr = 0.01, momentum = 0.9 },
                      on_epoch = function(state) if state.epoch == 3 then print("now train" .. "ing") end end }
end

-- A fresh model after exactly n steps of it.
function after(n)
  local model = make()
  local plan = model:compile { input = { 64, 1, 8, 8 }, loss = "cross_entropy", seed = 5,
                               optimizer = { "sgd", lr = 0.01, momentum = 0.9 } }
  for epoch = 1, 1000000 do
    for x, y in ds:batches { batch_size = 64, shuffle = true, seed = 5, epoch = epoch } do
      if n == 0 then return model end
      plan:step(x, y)
      n = n - 1
    end
  end
end

function same(a, b)
  local x, y = a:state_dict(), b:state_dict()
  for _, name in ipairs(x) do
    if not x[name]:equal(y[name]) then return "other values in " .. name end
  end
  return "bit for bit " .. "the same"
end

-- Longer than anybody's patience, in one C call.
function endless() return ("a"):rep(40):find(("a?"):rep(40) .. ("a"):rep(40)) end
