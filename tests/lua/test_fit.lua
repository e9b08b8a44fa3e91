-- wattle.fit, wattle.evaluate, schedules and progress, on small made-up images.

local wattle = require "wattle"
local nn, schedule = require "wattle.nn", wattle.schedule
local progress = require "wattle.progress"
local t = require "harness"
local test, check, equal, near, raises = t.test, t.check, t.equal, t.near, t.raises

-- n images of 4x4 in 3 classes: a bright row says which; noise from the seed.
local function stripes(n, seed, noise)
  local images, labels = {}, {}
  local random = wattle.core.uniform(wattle.zeros{ n, 16 }, seed, "test", "stripes", 0, 0, noise or 100):tolist()
  for i = 1, n do
    local class, image = i % 3, {}
    for r = 1, 4 do
      image[r] = {}
      for c = 1, 4 do image[r][c] = math.floor(random[i][4 * r - 4 + c] + (r == class + 1 and 100 or 0)) end
    end
    images[i], labels[i] = image, class
  end
  return wattle.data.tensors{ images = wattle.tensor(images, "u8"), labels = wattle.tensor(labels, "u8"),
                              mean = 0.3, sd = 0.3, name = "stripes" }
end

local function model(seed)
  return wattle.models.create("mlp", { hidden = { 8 }, num_classes = 3, image_size = 4, seed = seed or 1 })
end

local function options(more)
  local o = { model = model(), data = { train = stripes(70, 1), val = stripes(31, 2) }, epochs = 4, batch_size = 16,
              seed = 1, optimizer = { "sgd", lr = 0.1, momentum = 0.9 }, progress = false }
  for k, v in pairs(more or {}) do o[k] = v end
  return o
end

test("fit learns and says how it went", function()
  local o = options()
  local history = wattle.fit(o)
  equal(#history, 4)
  equal(history.status, "ok")
  equal(history.steps, 4 * 5) -- 70 = 4 x 16 + 6: the last, smaller batch counts
  equal(history.samples_seen, 4 * 70)
  local first, last = history[1], history[4]
  equal(first.epoch, 1)
  check(last.train_loss < first.train_loss)
  check(last.val_top1_pct > 90, last.val_top1_pct)
  check(last.duration_s > 0 and last.lr == 0.1)
  equal(history.best_val_top1_pct, history[history.best_epoch].val_top1_pct)
  local result = wattle.evaluate(o.model, o.data.val, { batch_size = 7 })
  near(result.loss, last.val_loss, 1e-5)
  near(result.top1_pct, last.val_top1_pct, 1e-9)
  equal(result.n, 31)
end)

test("the same seed gives the same bits", function()
  local a, b, c = options(), options(), options{ seed = 2 }
  local ha, hb = wattle.fit(a), wattle.fit(b)
  wattle.fit(c)
  equal(ha[4].train_loss, hb[4].train_loss)
  for name in a.model:named_parameters() do
    check(a.model:state_dict()[name]:equal(b.model:state_dict()[name]), name)
  end
  local other = c.model:state_dict()["fc1.weight"]
  check(not a.model:state_dict()["fc1.weight"]:equal(other), "another order of the samples")
end)

test("means are over samples, not over batches", function()
  local same = { train = stripes(70, 1), val = stripes(70, 1) }
  local o = options{ optimizer = { "sgd", lr = 0 }, epochs = 1, data = same }
  local row = wattle.fit(o)[1]
  near(row.train_loss, row.val_loss, 1e-5) -- nothing moves, so training's mean is evaluation's
  near(row.train_top1_pct, row.val_top1_pct, 1e-9)
  equal(wattle.fit(options{ drop_last = true, epochs = 1 }).samples_seen, 64)
end)

test("a schedule sets the rate before every step", function()
  local positions = {}
  local o = options{ epochs = 2, schedule = function(position)
    positions[#positions + 1] = position
    return 0.1 / (1 + position)
  end }
  local history = wattle.fit(o)
  equal(#positions, 10)
  near(positions[2], 0.2, 1e-12)
  near(positions[6], 1, 1e-12)
  near(history[2].lr, 0.1 / 2.8, 1e-12)
  local without_lr = options{ epochs = 1, optimizer = { "sgd", momentum = 0.9 },
                              schedule = schedule.cosine{ lr = 0.1, epochs = 2 } }
  equal(wattle.fit(without_lr)[1].lr, 0.1)
end)

test("on_epoch sees the state and may stop", function()
  local seen = {}
  local history = wattle.fit(options{ on_epoch = function(state)
    seen[#seen + 1] = state.epoch
    check(state.row.epoch == state.epoch and state.history[state.epoch] == state.row and nn.is_module(state.model))
    return state.epoch < 2
  end })
  equal(table.concat(seen, " "), "1 2")
  equal(#history, 2)
  equal(history.stopped, "on_epoch")
  equal(history.status, "ok")
end)

test("keep_best ends with the best epoch's parameters", function()
  local o = options{ epochs = 6, keep_best = true, optimizer = { "sgd", lr = 0.1 } }
  o.on_epoch = function(state)
    if state.epoch == 3 then -- wreck it: nothing afterwards can be better
      for _, entry in ipairs(state.model:parameters()) do entry.param:tensor():fill_(0) end
      state.plan:set("lr", 0)
    end
  end
  o.data.val = stripes(60, 2)
  local history = wattle.fit(o)
  check(history.best_epoch <= 3)
  near(wattle.evaluate(o.model, o.data.val).top1_pct, history.best_val_top1_pct, 1e-9)
end)

test("keep_best brings back the very bits that were the best, random ones too", function()
  local o = options{ epochs = 5, keep_best = true, optimizer = { "sgd", lr = 0.1 } }
  o.model = wattle.compress.scr(o.model, { bits = 23, arm = "random" })
  o.data.val = stripes(60, 2)
  local states = {}
  o.on_epoch = function(state)
    states[state.epoch] = state.model:state_dict()
    if state.epoch == 2 then -- wreck it: nothing afterwards can be better
      for _, entry in ipairs(state.model:parameters()) do entry.param:tensor():fill_(0) end
      state.plan:set("lr", 0)
    end
  end
  local history = wattle.fit(o)
  check(history.best_epoch <= 2)
  local best, ended = states[history.best_epoch], o.model:state_dict()
  for _, name in ipairs(best) do check(best[name]:equal(ended[name]), name) end
end)

test("early stopping waits as long as it was told", function()
  local still = { "sgd", lr = 0 }
  local history = wattle.fit(options{ epochs = 20, optimizer = still, early_stopping = { patience = 3 } })
  equal(#history, 4) -- the first is a gain, then three without
  equal(history.stopped, "early_stopping")
  history = wattle.fit(options{ epochs = 20, early_stopping = { patience = 2, min_delta = 100 } })
  equal(#history, 3)
end)

test("a loss that is not finite ends training as diverged, and changes nothing", function()
  local o = options{ optimizer = { "sgd", lr = 1e30, momentum = 0.9 }, epochs = 5 }
  local history = wattle.fit(o)
  equal(history.status, "diverged")
  equal(history[#history].status, "diverged")
  check(#history < 5 and history.steps < 20)
end)

test("a gradient without a finite norm when the epoch's rest is flushed is divergence, too", function()
  local function steep(logits) return wattle.ops.sqrt((logits * 0):sum()) end -- 0, and its gradient NaN
  local o = options{ loss = steep, optimizer = { "sgd", lr = 0.1, accumulate = 100, clip_norm = 1 } }
  local before = o.model:state_dict()
  local history = wattle.fit(o)
  equal(history.status, "diverged")
  equal(history.samples_seen, 70) -- every step was fine
  for _, name in ipairs(before) do check(o.model:state_dict()[name]:equal(before[name]), name) end
end)

test("a user's loss of symbolic values", function()
  local function loss(logits, y) return nn.cross_entropy(logits, y) + (logits * logits):mean() * 0.01 end
  local o = options{ loss = loss, epochs = 3 }
  local history = wattle.fit(o)
  check(history[3].train_loss < history[1].train_loss)
  check(history[3].val_top1_pct > 80)
  near(wattle.evaluate(o.model, o.data.val, { loss = loss }).loss, history[3].val_loss, 1e-5)
end)

test("regions of the meter are opened once an epoch", function()
  local opened = {}
  local meter = { region = function(_, name)
    opened[#opened + 1] = name
    return setmetatable({ stop = function() return { duration_s = 1 } end }, { __close = function() end })
  end }
  local history = wattle.fit(options{ epochs = 2, meter = meter })
  equal(table.concat(opened, " "), "train eval train eval")
  equal(history[2].eval_region.duration_s, 1)
  wattle.evaluate(model(), stripes(9, 1), { meter = meter })
  equal(opened[5], "eval")
end)

test("fit refuses what it cannot do", function()
  raises(function() wattle.fit(options{ epoch = 3 }) end, "epochs")
  raises(function() wattle.fit(options{ epochs = 0 }) end, "positive integer")
  raises(function() wattle.fit(options{ model = 3 }) end, "model must be a module")
  raises(function() wattle.fit(options{ data = {} }) end, "train")
  raises(function() wattle.fit(options{ schedule = 3 }) end, "function")
  raises(function() wattle.fit(options{ keep_best = true, data = { train = stripes(9, 1) } }) end, "data.val")
  raises(function() wattle.fit(options{ early_stopping = {} }) end, "patience")
  raises(function() wattle.fit(options{ early_stopping = { patience = 1, min_delta = "1" } }) end, "min_delta")
  raises(function() wattle.fit(options{ optimizer = "sgd" }) end, "give an optimizer")
  local o = options()
  o.optimizer = nil
  raises(function() wattle.fit(o) end, "give an optimizer")
end)

-- ---- evaluate ------------------------------------------------------------------------------------------------

test("macro F1 and the confusion matrix are as scikit-learn has them", function()
  local Fixed = nn.class "Fixed" -- says class 1 where pixel 0 is bright, else class 0; never class 2
  function Fixed:init()
    self.fc = nn.Linear{ in_features = 4, out_features = 3 }
    self.fc.weight:assign(wattle.tensor{ { 0, 0, 0, 0 }, { 1, 0, 0, 0 }, { 0, 0, 0, 0 } })
    self.fc.bias:assign(wattle.tensor{ 0.5, 0, -1 })
  end
  function Fixed:forward(x) return self.fc(x:flatten()) end
  local images = wattle.zeros{ 6, 2, 2, dtype = "u8" }
  for _, i in ipairs{ 0, 1, 2 } do images:set(i, 0, 0, 255) end -- predicted 1 1 1 0 0 0
  local ds = wattle.data.tensors{ images = images, labels = wattle.tensor({ 1, 1, 0, 0, 2, 2 }, "u8") }
  local r = wattle.evaluate(Fixed(), ds, { batch_size = 4 })
  near(r.top1_pct, 50, 1e-9)
  equal(r.confusion[1][1], 2)
  equal(r.confusion[0][1], 1)
  equal(r.confusion[2][0], 2)
  near(r.macro_f1, (2 / 5 + 4 / 5 + 0) / 3, 1e-12)
end)

-- ---- schedules, progress -------------------------------------------------------------------------------------

test("cosine and step schedules", function()
  local cosine = schedule.cosine{ lr = 1, epochs = 10, min_lr = 0.2 }
  near(cosine(0), 1, 1e-12)
  near(cosine(5), 0.6, 1e-12)
  near(cosine(5.9), 0.6, 1e-12)
  near(cosine(10), 0.2, 1e-12)
  near(cosine(12), 0.2, 1e-12)
  near(schedule.cosine{ lr = 1, epochs = 10, per = "step" }(2.5), (1 + math.cos(math.pi / 4)) / 2, 1e-12)
  local step = schedule.step{ lr = 1, step_size = 3, gamma = 0.5 }
  equal(step(2.9), 1.0)
  equal(step(3), 0.5)
  equal(step(6.5), 0.25)
  local multi = schedule.step{ lr = 1, milestones = { 2, 4 } }
  near(multi(1.9), 1, 1e-12)
  near(multi(2), 0.1, 1e-12)
  near(multi(9), 0.01, 1e-12)
  raises(function() schedule.cosine{ epochs = 3 } end, "lr")
  raises(function() schedule.cosine{ lr = 1, epochs = 3, per = "batch" } end, "per")
  raises(function() schedule.step{ lr = 1 } end, "either")
  raises(function() schedule.step{ lr = 1, milestones = 30 } end, "milestones must be a list of epochs")
  raises(function() schedule.step{ lr = 1, milestones = { 30, "60" } } end, "milestones: 2 must be a number")
  raises(function() schedule.cosine{ lr = 1, epoch = 3 } end, "epochs")
end)

local function paper()
  local text = {}
  local function write(_, ...)
    for _, s in ipairs{ ... } do text[#text + 1] = s end
  end
  return text, { write = write, flush = function() end }
end

test("progress: plain lines, a bar on a terminal, nothing when off", function()
  equal(progress.duration(3723), "1:02:03")
  equal(progress.duration(59.6), "1:00")
  local text, stream = paper()
  do
    local bar <close> = progress.new{ total = 2, stream = stream }
    bar:update(0.5, "unseen")
    bar:step(1, "one")
    bar:step(2, "two")
  end
  local plain = table.concat(text)
  check(plain:find "^one  %(%d:%d%d left%)\ntwo\n$", plain)
  text, stream = paper()
  do
    local bar <close> = progress.new{ total = 2, label = "fit", stream = stream, terminal = true }
    bar:update(0.5, "loss 1")
    bar:step(1, "one")
  end
  local drawn = table.concat(text)
  check(drawn:find "fit %[#+%.+%]  25 %%  %d:%d%d left  loss 1", drawn)
  check(drawn:find "\r\27%[Kone\n", drawn)
  check(drawn:find "\r\27%[K$", "the bar is taken off at the end")
  text, stream = paper()
  progress.new{ total = 1, stream = stream, enabled = false }:step(1, "one")
  equal(#text, 0)
end)

test("progress: the watts of counters, never a model's", function()
  local function said(meter, terminal)
    local text, stream = paper()
    local bar <close> = progress.new{ total = 2, stream = stream, terminal = terminal, meter = meter }
    bar:update(0.5, "loss")
    bar:step(1, "one")
    bar:step(2, "two")
    return table.concat(text)
  end
  local counters = { power = function() return 42.14, 55.0 end }
  check(said(counters, true):find("left  42.1 W  loss", 1, true), said(counters, true))
  check(said(counters, false):find "^one  %(%d:%d%d left, 42%.1 W%)\ntwo  %(42%.1 W%)\n$", said(counters, false))
  for _, meter in ipairs{ { power = function() return nil, 55.0 end }, {}, { power = 3 } } do
    check(not said(meter, true):find " W" and not said(meter, false):find " W")
  end
  local replay <close> = wattle.meter{ source = "estimate" }
  wattle.core.sleep(0.05)
  check(not said(replay, true):find " W", "an estimate")
end)

-- The lines of a process whose standard error is a terminal of so many columns, as they stay on it.
local function on_terminal(environment, width, code)
  local program = os.getenv "WATTLE_PROGRAM" or arg[-1]
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(code)
  file:close()
  local inner = ("unset COLUMNS; stty cols %d; %s '%s' '%s'"):format(width, environment, program, path)
  local pipe = assert(io.popen(("script -qec \"%s\" /dev/null 2>&1 </dev/null"):format(inner)))
  local text = pipe:read "a"
  check(pipe:close(), text)
  os.remove(path)
  return (text:gsub("\r\n", "\n"))
end

test("progress on a terminal of 40 columns does not wrap; TERM=dumb gets plain lines", function()
  local code = [[
    local progress = require("wattle").progress
    local bar <close> = progress.new{ total = 3, label = "a label in ünïcode", meter = { power = function() return 42 end } }
    for i = 1, 2 do
      bar:update(i - 0.5, "loss 1.2345, and more than fits")
      require("wattle").core.sleep(0.11)
      bar:step(i, ("[%d/3] prune_global-level0.5-fraction_removed-s1-r1  ok  80.16 %%"):format(i))
    end]]
  for _, width in ipairs{ 40, 20, 8, 200 } do
    local text = on_terminal("TERM=xterm", width, code)
    check(text:find("\27[K", 1, true), "it is drawn over")
    for line in text:gsub("\r\27%[K", "\n"):gmatch "[^\n\r]+" do
      check(utf8.len(line) < width, ("%d columns: %q"):format(width, line))
    end
    check(width < 40 or text:find("[1/3] prune_global", 1, true), text)
    check(width < 200 or text:find("42.0 W", 1, true) and text:find("and more than fits", 1, true), text)
  end
  local text = on_terminal("TERM=dumb", 40, code)
  check(not text:find "\27" and text:find "fraction_removed%-s1%-r1  ok  80%.16 %%  %(%d:%d%d left, 42%.0 W%)\n", text)
  for _, environment in ipairs{ "NO_COLOR=1 TERM=xterm", "TERM=xterm" } do
    check(not on_terminal(environment, 80, code):find "\27%[%d*m", "no colours")
  end
end)

test("warm-up rises to the schedule behind it", function()
  local s = schedule.warmup{ epochs = 2, start_factor = 0.25, after = schedule.cosine{ lr = 0.4, epochs = 8 } }
  near(s(0), 0.1)
  near(s(1), 0.4 * 0.625)
  near(s(2), 0.4)
  near(s(6), 0.2)
  near(schedule.warmup{ epochs = 4, after = 0.2 }(1), 0.1)
  local plateau = schedule.warmup{ epochs = 1, after = schedule.plateau{ lr = 1, patience = 0 } }
  near(plateau(0.25), 0.5)
  plateau:observe(1)
  plateau:observe(1)
  near(plateau(3), 0.1)
  raises(function() schedule.warmup{ epochs = 2, after = -0.1 } end, "after must be a number of at least 0")
  raises(function() schedule.warmup{ epochs = 2 } end, "after must be a learning rate or a schedule")
  raises(function() schedule.warmup{ epochs = 2, after = 1, from = 0 } end, "unknown option 'from'")
  raises(function() schedule.plateau{ lr = 1, factor = 1 } end, "below 1")
end)

test("plateau lowers the rate of training that does not improve", function()
  local plateau = schedule.plateau{ lr = 1e-6, patience = 1, factor = 0.5 }
  local history = wattle.fit(options{ epochs = 6, optimizer = { "sgd" }, schedule = plateau })
  for epoch, lr in ipairs{ 1e-6, 1e-6, 1e-6, 5e-7, 5e-7, 2.5e-7 } do near(history[epoch].lr, lr, 1e-12) end
end)

-- ---- checkpoints ---------------------------------------------------------------------------------------------

local function bits(m)
  local parts, dict = {}, m:state_dict()
  for _, name in ipairs(dict) do parts[#parts + 1] = dict[name]:tobytes() end
  return table.concat(parts)
end

-- Training that dies after every epoch and goes on from its checkpoint gives what it gives when left alone.
local function resumes(name, more, change)
  test("training that dies after every epoch ends with the same bits: " .. name, function()
    local function fresh(extra)
      local o = options(more())
      if change then o.model = change(o.model) end
      for k, v in pairs(extra or {}) do o[k] = v end
      return o
    end
    local whole = fresh()
    local history = wattle.fit(whole)
    local path = os.tmpname()
    os.remove(path)
    local deaths, again, last = 0, nil, nil
    repeat
      local o = fresh{ checkpoint = path }
      local epochs = 0
      o.on_epoch = function()
        epochs = epochs + 1
        if epochs == 2 then error "killed" end -- one epoch was kept, this one is not yet
      end
      local ok, result = pcall(wattle.fit, o)
      deaths = deaths + (ok and 0 or 1)
      again, last = ok and result, o.model
    until again
    os.remove(path)
    check(deaths >= 3, deaths .. " deaths")
    check(bits(last) == bits(whole.model), "not the same bits")
    equal(#again, #history)
    for i, row in ipairs(history) do
      for _, key in ipairs{ "epoch", "train_loss", "train_top1_pct", "val_loss", "val_top1_pct", "lr", "samples" } do
        equal(again[i][key], row[key], key)
      end
    end
    for _, key in ipairs{ "steps", "samples_seen", "best_epoch", "best_val_loss", "status", "stopped" } do
      equal(again[key], history[key], key)
    end
    check(again[1].resumed and not again[#again].resumed)
  end)
end

resumes("sgd", function() return { epochs = 5 } end)
resumes("adamw, accumulation, clipping, keep_best", function()
  return { epochs = 5, keep_best = true, loss = { "cross_entropy", label_smoothing = 0.1 }, optimizer = { "adamw", lr = 0.01, accumulate = 2, clip_norm = 1,
                                                       groups = { { match = "bias$", weight_decay = 0 } } } }
end)
resumes("plateau behind a warm-up, early stopping", function()
  return { epochs = 9, early_stopping = { patience = 2 }, schedule =
           schedule.warmup{ epochs = 1, after = schedule.plateau{ lr = 0.2, patience = 0, factor = 0.5 } } }
end)
for _, arm in ipairs{ "random", "stochastic" } do
  resumes("scr " .. arm .. " with a master", function() return { epochs = 5 } end, function(m)
    return (wattle.compress.scr(m, { bits = 14, arm = arm, master = true, seed = 3 }))
  end)
end

-- Where the images are bright the loss is NaN; those of training are not.
local function nan_in_validation(more)
  local Blow = nn.class()
  function Blow:init() self.fc = nn.Linear{ in_features = 16, out_features = 3, bias = false } end
  function Blow:forward(x) return wattle.ops.exp(wattle.ops.abs(self.fc(x:reshape{ 0, 16 })) * 1e6) end
  local function images(pixel)
    return wattle.data.tensors{ images = wattle.full({ 6, 4, 4 }, pixel):to "u8", classes = 3,
                                labels = wattle.zeros{ 6, dtype = "u8" } }
  end
  return options{ model = Blow(), data = { train = images(0), val = images(255) }, epochs = 3, checkpoint = more }
end

test("a validation loss that is NaN is written in the checkpoint and read again", function()
  local path = os.tmpname()
  os.remove(path)
  local history = wattle.fit(nan_in_validation(path))
  local again = wattle.fit(nan_in_validation(path))
  os.remove(path)
  equal(#history, 3)
  for i = 1, 3 do
    check(history[i].val_loss ~= history[i].val_loss and again[i].val_loss ~= again[i].val_loss)
    equal(again[i].train_loss, history[i].train_loss)
  end
end)

test("what holds for a model's parameters, and a plateau's options, are options of a checkpoint", function()
  local path = os.tmpname()
  os.remove(path)
  local function run(amount, factor)
    return wattle.fit(options{ model = wattle.compress.prune(model(), { amount = amount }), epochs = 1, checkpoint = path,
                               schedule = schedule.warmup{ epochs = 1, after = schedule.plateau{ lr = 0.1,
                                                                                                 factor = factor } } })
  end
  run(0.5, 0.1)
  check(run(0.5, 0.1)[1].resumed)
  raises(function() run(0.7, 0.1) end, "constraints.fc1.weight.mask_sha256 was ")
  raises(function() run(0.5, 0.2) end, "schedule.after.factor was 0.1, now it is 0.2")
  raises(function() wattle.fit(options{ epochs = 1, checkpoint = path, model = model() }) end,
         "mask_sha256 was [0-9a-f]+, now it is not given")
  os.remove(path)
end)

test("a checkpoint of other options, of another model or of nothing is refused", function()
  local path = os.tmpname()
  os.remove(path)
  wattle.fit(options{ epochs = 2, checkpoint = path })
  raises(function() wattle.fit(options{ epochs = 3, checkpoint = path }) end, "epochs was 2, now it is 3; remove it")
  raises(function() wattle.fit(options{ epochs = 2, seed = 9, checkpoint = path }) end, "seed was 1, now it is 9")
  raises(function()
    wattle.fit(options{ epochs = 2, checkpoint = path, schedule = schedule.cosine{ lr = 0.1, epochs = 2 } })
  end, "schedule was none")
  local wider = wattle.models.create("mlp", { hidden = { 9 }, num_classes = 3, image_size = 4, seed = 1 })
  raises(function() wattle.fit(options{ epochs = 2, checkpoint = path, model = wider }) end, "another model")
  local done = wattle.fit(options{ epochs = 2, checkpoint = path }) -- a finished one is just read
  equal(#done, 2)
  check(done[2].resumed)
  local file <close> = assert(io.open(path, "r+"))
  file:write "garbage!"
  file:close()
  raises(function() wattle.fit(options{ epochs = 2, checkpoint = path }) end, path)
  assert(wattle.save(path, { a = wattle.zeros{ 1 } }))
  raises(function() wattle.fit(options{ epochs = 2, checkpoint = path }) end, "no checkpoint of wattle.fit")
  os.remove(path)
  raises(function() wattle.fit(options{ epochs = 1, checkpoint = "/no/such/folder/x" }) end, "/no/such/folder/x")
  raises(function() wattle.fit(options{ epochs = 1, checkpoint = true }) end, "path of a file")
end)

test("with a checkpoint too, a schedule is asked only for positions within training", function()
  local path, rates = os.tmpname(), { 0.1, 0.05 }
  os.remove(path)
  local history = wattle.fit(options{ epochs = 2, checkpoint = path, schedule = function(position)
    return 1 * rates[math.floor(position) + 1]
  end })
  os.remove(path)
  equal(history[2].lr, 0.05)
end)

test("a model that uses a weight twice goes on from its checkpoint", function()
  local Twice = nn.class "Twice"
  function Twice:init()
    self.a = nn.Linear{ in_features = 16, out_features = 16 }
    self.b = nn.Linear{ in_features = 16, out_features = 16 }
    self.b.weight, self.c = self.a.weight, self.a
    self.out = nn.Linear{ in_features = 16, out_features = 3 }
  end
  function Twice:forward(x) return self.out(self.c(self.b(nn.relu(self.a(x:flatten()))))) end
  local path = os.tmpname()
  local function run(checkpoint, stop)
    wattle.manual_seed(4)
    local o = options{ model = Twice(), epochs = 3, checkpoint = checkpoint, keep_best = true,
                       on_epoch = function(state) if state.epoch == stop then error "stopped" end end }
    local ok = pcall(wattle.fit, o)
    return ok, o.model:state_dict()
  end
  os.remove(path)
  local _, whole = run()
  check(not run(path, 2))
  local ok, resumed = run(path)
  os.remove(path)
  check(ok)
  for _, name in ipairs(whole) do check(whole[name]:equal(resumed[name]), name) end
end)

test("a checkpoint of which one bit was turned is refused", function()
  local path = os.tmpname()
  os.remove(path)
  wattle.fit(options{ epochs = 2, checkpoint = path })
  local file <close> = assert(io.open(path, "r+b"))
  local at = file:seek("end", -40)
  local byte = file:read(1):byte()
  file:seek("set", at)
  file:write(string.char(byte ~ 4))
  file:close()
  raises(function() wattle.fit(options{ epochs = 3, checkpoint = path }) end, "other options")
  raises(function() wattle.fit(options{ epochs = 2, checkpoint = path }) end, path .. ": it is damaged")
  os.remove(path)
end)
