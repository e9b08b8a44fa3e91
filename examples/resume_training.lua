-- Training that can be killed at any moment: AdamW with its own rates for the last layer, a warm-up, and a checkpoint
-- after every epoch, from which a second call goes on bit for bit. Here the first call is stopped by hand.
local wattle = require "wattle"

local sets = assert(wattle.data.fashion_mnist())
local train, val = sets.train:split({ 3000, 1000 }, 1)
local path = "training.safetensors"

local function fit(epoch_to_die_in)
  local model = wattle.models.create("lenet5", { seed = 1 })
  local history = wattle.fit{
    model = model, data = { train = train, val = val }, epochs = 3, batch_size = 50, seed = 1, checkpoint = path,
    optimizer = { "adamw", lr = 2e-3, clip_norm = 1, groups = { { match = "^fc3%.", lr = 1e-3, weight_decay = 0 } } },
    schedule = wattle.schedule.warmup{ epochs = 0.5, after = wattle.schedule.cosine{ lr = 2e-3, epochs = 2.5, per = "step" } },
    on_epoch = function(state) if state.epoch == epoch_to_die_in then error("killed", 0) end end,
  }
  return model, history
end

os.remove(path)
assert(not pcall(fit, 2)) -- the first epoch is in the file, the second is lost
local resumed, history = fit()
print(("epoch 1 was %s, epoch 2 %s"):format(history[1].resumed and "read back" or "run", history[2].resumed and "read back" or "run"))
os.remove(path)
local whole = fit()
os.remove(path)
for name, entry in pairs(whole:state_dict()) do
  if type(name) == "string" then assert(resumed:state_dict()[name]:equal(entry), name) end
end
print(("same bits as without the kill; validation top-1 %.2f %%"):format(history[3].val_top1_pct))
