-- The training loop everyone shares, and evaluation. wattle.fit compiles one plan to train and one to evaluate,
-- deals out batches, and returns a list of epoch tables; wattle.evaluate gives loss, accuracy and macro F1.
-- Everything here is ordinary Lua over model:compile and ds:batches, and may be copied and changed.

local core = require("wattle").core
local nn = require "wattle.nn"
local checkpoint = require "wattle.checkpoint"
local progress = require "wattle.progress"
local text = require "wattle.table"
local util = require "wattle.util"
local where = require "wattle.where"

local fit = {}

-- A region of the meter, or something that stops when there is no meter.
local no_region = setmetatable({ stop = function() end }, { __close = function() end })
local function region(meter, name)
  return meter and meter:region(name) or no_region
end

local function input_shape(ds, batch_size)
  return { math.min(batch_size, #ds), table.unpack(ds.shape) }
end

-- ---- one pass over the data ----------------------------------------------------------------------------------

-- Means over samples of what a plan returned batch by batch.
local Mean = {}
Mean.__index = Mean

local function new_mean()
  return setmetatable({ loss_sum = 0, correct = 0, n = 0 }, Mean)
end

function Mean:add(loss, correct, n)
  self.loss_sum = self.loss_sum + loss * n
  local counted = correct and correct == correct and self.correct -- nil or NaN: the plan counts nothing
  self.correct = counted and counted + correct
  self.n = self.n + n
end

function Mean:loss()
  return self.n > 0 and self.loss_sum / self.n or nil
end

function Mean:top1_pct()
  return self.correct and self.n > 0 and 100 * self.correct / self.n or nil
end

-- The schedule's rate at a position in epochs.
local function scheduled(run, position)
  local lr = run.schedule(position)
  if type(lr) ~= "number" or not (lr >= 0 and lr < math.huge) then
    where.raise("fit: schedule(%g) returned %s; it must return a learning rate", position, tostring(lr))
  end
  return lr
end

-- What a pcall of the plan returned; false where the loss or the norm of the gradient is not finite, which changes
-- nothing. Other errors go on.
local function finite(ok, ...)
  if ok then return true, ... end
  local e = ...
  if core.error_code(e) ~= "numeric" then error(e, 0) end
  return false
end

-- One epoch of training. Returns false when the loss was not finite (the model is as the last good step left
-- it).
local function train_epoch(run, epoch, mean, bar)
  local o, plan, ds = run.options, run.plan, run.train
  local steps = ds:num_batches(run.batch_size, o.drop_last)
  local k = 0
  for x, y in ds:batches{ batch_size = run.batch_size, shuffle = true, seed = run.seed, epoch = epoch,
                          drop_last = o.drop_last, workers = o.workers } do
    if run.schedule then
      run.lr = scheduled(run, epoch - 1 + k / steps)
      plan:set("lr", run.lr)
    end
    local ok, loss, correct, n = finite(pcall(plan.step, plan, x, y))
    if not ok then return false end
    mean:add(loss, correct, n)
    k = k + 1
    run.steps, run.samples = run.steps + 1, run.samples + n
    if bar.enabled and bar.terminal then bar:update(epoch - 1 + k / steps, ("epoch %d  loss %.4f"):format(epoch, mean:loss())) end
  end
  return (finite(pcall(plan.flush, plan))) -- what accumulation has left
end

local function eval_epoch(plan, ds, batch_size, workers)
  local mean = new_mean()
  for x, y in ds:batches{ batch_size = batch_size, workers = workers } do mean:add(plan:evaluate(x, y)) end
  return mean
end

-- ---- wattle.fit ----------------------------------------------------------------------------------------------

local function positive_integer(o, name, default)
  local v = o[name]
  if v == nil then v = default end
  if math.type(v) ~= "integer" or v < 1 then
    where.raise("fit: %s must be a positive integer, got %s", name, tostring(v))
  end
  return v
end

local fit_options = { "model", "data", "epochs", "batch_size", "optimizer", "schedule", "loss", "on_epoch", "meter",
                      "seed", "keep_best", "early_stopping", "progress", "backend", "drop_last", "checkpoint", "workers" }

-- Something with samples that deals them out, as wattle.data makes.
local function check_data_set(ds, what)
  if type(ds) ~= "table" or not (getmetatable(ds) and ds.batches) then
    where.raise("%s must be a data set, as wattle.data makes, got %s", what, type(ds))
  end
  if #ds == 0 then where.raise("%s has no samples", what) end
end

local function check(o)
  util.check_options(o, fit_options, "fit")
  if not nn.is_module(o.model) then where.raise("fit: model must be a module") end
  if type(o.data) ~= "table" or not o.data.train then
    where.raise("fit: data must be {train = data set, val = data set}")
  end
  util.check_options(o.data, { "train", "val", "test" }, "fit: data")
  check_data_set(o.data.train, "fit: data.train")
  if o.data.val ~= nil then check_data_set(o.data.val, "fit: data.val") end
  if o.drop_last and positive_integer(o, "batch_size", 64) > #o.data.train then
    where.raise("fit: batch_size is %d and drop_last leaves out smaller batches; of %d samples none is left",
                o.batch_size or 64, #o.data.train)
  end
  if type(o.optimizer) ~= "table" then where.raise 'fit: give an optimizer, such as {"sgd", lr = 0.1}' end
  if o.on_epoch ~= nil and type(o.on_epoch) ~= "function" then
    where.raise("fit: on_epoch must be a function, got %s", type(o.on_epoch))
  end
  if o.meter ~= nil and type(o.meter) ~= "userdata" and not (type(o.meter) == "table" and o.meter.region) then
    where.raise("fit: meter must be a meter, as wattle.meter makes, got %s", type(o.meter))
  end
  if o.seed ~= nil and math.type(o.seed) ~= "integer" then
    where.raise("fit: seed must be an integer, got %s", tostring(o.seed))
  end
  local schedule = o.schedule
  if schedule ~= nil and type(schedule) ~= "function" and not (type(schedule) == "table" and schedule.observe) then
    where.raise("fit: schedule must be a function of the position in epochs, as wattle.schedule makes")
  end
  if o.checkpoint ~= nil and type(o.checkpoint) ~= "string" then
    where.raise("fit: checkpoint must be the path of a file, got %s", type(o.checkpoint))
  end
  if o.early_stopping then
    util.check_options(o.early_stopping, { "patience", "min_delta" }, "fit: early_stopping")
    positive_integer(o.early_stopping, "patience")
    local gain = o.early_stopping.min_delta
    if gain ~= nil and type(gain) ~= "number" then
      where.raise("fit: early_stopping: min_delta must be a number, got %s", tostring(gain))
    end
  end
  if (o.early_stopping or o.keep_best) and not o.data.val then
    where.raise("fit: keep_best and early_stopping look at data.val, which was not given")
  end
end

local function begin(o)
  check(o)
  local run = { options = o, train = o.data.train, val = o.data.val, schedule = o.schedule,
                seed = o.seed or core.seed(), steps = 0, samples = 0,
                best = -math.huge, mark = -math.huge, waited = 0, began = core.now(), before_s = 0,
                epochs = positive_integer(o, "epochs"), batch_size = positive_integer(o, "batch_size", 64) }
  local loss = o.loss or "cross_entropy"
  local optimizer = {}
  for key, value in pairs(o.optimizer) do optimizer[key] = value end
  if run.schedule and optimizer.lr == nil then optimizer.lr = scheduled(run, 0) end
  run.lr = optimizer.lr
  run.plan = o.model:compile{ input = input_shape(run.train, run.batch_size), loss = loss, optimizer = optimizer,
                              backend = o.backend, seed = run.seed }
  if run.val then
    run.val_plan = o.model:compile{ input = input_shape(run.val, run.batch_size), loss = loss, mode = "eval",
                                    backend = o.backend }
  end
  return run
end

-- Higher accuracy is better; where there is none, lower loss.
local function score(row)
  return row.val_top1_pct or row.val_loss and -row.val_loss
end

local function log_line(row, epochs)
  local parts = { ("epoch %" .. #tostring(epochs) .. "d/%d"):format(row.epoch, epochs) }
  local function add(format, value, val) if value then parts[#parts + 1] = format:format(value, val) end end
  add("lr %.3g", row.lr)
  add(row.val_loss and "loss %.4f, val %.4f" or "loss %.4f", row.train_loss, row.val_loss)
  add(row.val_top1_pct and "top1 %.2f, val %.2f %%" or "top1 %.2f %%", row.train_top1_pct, row.val_top1_pct)
  add("%.1f s", row.duration_s)
  if row.status then add("%s", row.status) end
  return table.concat(parts, "  ")
end

local function one_epoch(run, epoch, bar)
  local meter, began = run.options.meter, core.now()
  local row, mean = { epoch = epoch }, new_mean()
  do
    local r <close> = region(meter, "train")
    if not train_epoch(run, epoch, mean, bar) then row.status = "diverged" end
    row.duration_train_s, row.train_region = core.now() - began, r:stop()
  end
  row.lr, row.train_loss, row.train_top1_pct = run.lr, mean:loss(), mean:top1_pct()
  row.samples = mean.n
  if run.val and not row.status then
    local from = core.now()
    local r <close> = region(meter, "eval")
    local val = eval_epoch(run.val_plan, run.val, run.batch_size, run.options.workers)
    row.val_loss, row.val_top1_pct = val:loss(), val:top1_pct()
    row.duration_eval_s, row.eval_region = core.now() - from, r:stop()
  end
  row.duration_s = core.now() - began
  return row
end

-- The best epoch so far, and with keep_best the model's state after it.
local function note_best(run, history, row)
  local now = score(row)
  if not (now and now > run.best) then return end -- nor where it is NaN
  run.best, history.best_epoch = now, row.epoch
  history.best_val_top1_pct, history.best_val_loss = row.val_top1_pct, row.val_loss
  if run.options.keep_best then run.best_state = run.options.model:state_dict() end
end

-- Has nothing risen by more than min_delta for `patience` epochs?
local function is_waiting_over(run, row)
  local o = run.options.early_stopping
  if score(row) > run.mark + (o.min_delta or 0) then
    run.mark, run.waited = score(row), 0
  else
    run.waited = run.waited + 1
  end
  return run.waited >= o.patience
end

-- Feeds a schedule that watches the loss (schedule.plateau).
local function observe(run, row)
  if type(run.schedule) == "table" and not row.status then run.schedule:observe(row.val_loss or row.train_loss) end
end

-- Why training ends after this epoch, or nil.
local function stop_reason(run, history, row)
  local o = run.options
  local state = { epoch = row.epoch, row = row, history = history, model = o.model, plan = run.plan }
  if o.on_epoch and o.on_epoch(state) == false then return "on_epoch" end
  if o.early_stopping and is_waiting_over(run, row) then return "early_stopping" end
end

-- The world failing inside fit ends it: its results would be those of another training.
local function must(value, message)
  if value == nil then error(message, 0) end
end

-- After Ctrl-C: how far it came. Steps are never cut, so the model can be used, trained on or saved.
local function tell_interrupted(run, history, e)
  if not e or core.error_code(e) ~= "interrupted" then return end
  local steps = run.plan:count() -- run.steps may lag behind by one
  error(("%sinterrupted! fit: %d steps were done, in epoch %d of %d; the model is as the last of them left it"):format(
    where.user(), steps, math.min(#history + 1, run.epochs), run.epochs), 0)
end

-- wattle.fit{...} -> list of epoch tables, with a summary in its fields.
--   model          a module; it is trained in place
--   data           {train = data set, val = data set}; val may be absent; a test in it is not looked at
--   epochs         how many; batch_size (64); drop_last (false: the last, smaller batch counts too)
--   optimizer      {"sgd", lr =, momentum = 0, ...}, {"adam", ...} or {"adamw", ...}, see model:compile
--   workers        C threads that make batches ahead, see ds:batches; the data set's own choice if not given
--   schedule       function(position in epochs from 0) -> lr, see wattle.schedule; asked before every step. One that
--                  watches the loss (schedule.plateau) is told val_loss after each epoch, or train_loss without val
--   loss           "cross_entropy" (default) or a function, see model:compile; backend likewise
--   seed           of the order of the samples, a function of (seed, data set's name, epoch); wattle.manual_seed's
--                  if not given
--   keep_best      true: the model ends with its state after its best epoch, by val_top1_pct (val_loss where the
--                  loss counts nothing)
--   early_stopping {patience =, min_delta = 0}: stop after that many epochs without a gain of more than min_delta
--                  (percentage points of val_top1_pct, or of val_loss)
--   meter          its regions "train" and "eval" are opened once an epoch
--   checkpoint     path of a file where the whole state of training is kept after every epoch. If it is there at the
--                  start, training goes on from it, bit for bit as if never stopped; a file of other options, or of
--                  a model under other masks or truncations, is an error (of a function only some values or its being
--                  there are known, of data the name and size). It stays when training is done, and is the caller's
--                  to remove
--   on_epoch       function(state), state = {epoch =, row =, history =, model =, plan =}; returning false stops
--   progress       false: silent. Else a bar on a terminal, and a line an epoch, on standard error
-- An epoch table: epoch, train_loss, train_top1_pct, val_loss, val_top1_pct (means over samples; training's are
-- taken while the parameters change), lr (the last step's), samples, duration_s, duration_train_s,
-- duration_eval_s, and with a meter train_region, eval_region; resumed = true: run before, read from the
-- checkpoint. The list's fields: status ("ok"; "diverged" when the loss, or with clip_norm the gradient's norm, was not
-- finite, which ends training with the parameters of the last good step), stopped ("on_epoch", "early_stopping" or nil),
-- best_epoch, best_val_top1_pct, best_val_loss, steps, samples_seen, duration_s.
function fit.fit(o)
  local run, history = begin(o), { status = "ok" }
  if o.checkpoint then must(checkpoint.read(o.checkpoint, run, history)) end
  local told <close> = setmetatable({}, { __close = function(_, e) tell_interrupted(run, history, e) end })
  local bar <close> = progress.new{ total = run.epochs, done = #history, label = "fit", enabled = o.progress ~= false, meter = o.meter }
  while #history < run.epochs and history.status == "ok" and not history.stopped do
    local epoch = #history + 1
    local row = one_epoch(run, epoch, bar)
    history[epoch] = row
    bar:step(epoch, log_line(row, run.epochs))
    history.status = row.status or "ok"
    if not row.status then
      note_best(run, history, row)
      observe(run, row)
      history.stopped = stop_reason(run, history, row)
    end
    if o.checkpoint then must(checkpoint.write(o.checkpoint, run, history)) end
  end
  if run.best_state and history.best_epoch ~= #history then
    o.model:load_state_dict(run.best_state, { strict = true, constrain = false })
  end
  history.steps, history.samples_seen = run.steps, run.samples
  history.duration_s = core.now() - run.began + run.before_s
  return history
end

-- ---- wattle.evaluate -----------------------------------------------------------------------------------------

-- F1 averaged over the classes that occur among the labels or the predictions (scikit-learn's macro average).
-- confusion[label][prediction] counts, both from 0.
local function macro_f1(confusion, classes)
  local sum, occurring = 0, 0
  for c = 0, classes - 1 do
    local hit, labelled, predicted = confusion[c][c], 0, 0
    for other = 0, classes - 1 do
      labelled, predicted = labelled + confusion[c][other], predicted + confusion[other][c]
    end
    if labelled + predicted > 0 then
      sum, occurring = sum + 2 * hit / (labelled + predicted), occurring + 1
    end
  end
  return occurring > 0 and sum / occurring or nil
end

local function new_confusion(classes)
  local confusion = {}
  for c = 0, classes - 1 do
    confusion[c] = {}
    for other = 0, classes - 1 do confusion[c][other] = 0 end
  end
  return confusion
end

-- What tostring shows of a result: the figures, and the confusion matrix with each class's recall. Its columns are numbered,
-- so that ten classes fit a terminal.
local Evaluation = { __name = "wattle.evaluation" }

function Evaluation:__tostring()
  local columns, rows = { "label \\ predicted" }, {}
  for c = 1, #self.classes do columns[c + 1] = tostring(c - 1) end
  columns[#columns + 1] = "recall, %"
  for label = 0, #self.classes - 1 do
    local name = self.classes[label + 1]
    local row, total = { name == tostring(label) and name or ("%d %s"):format(label, name) }, 0
    for p = 0, #self.classes - 1 do
      local n = self.confusion[label][p]
      row[p + 2], total = tostring(n), total + n
    end
    row[#row + 1] = total > 0 and text.number(100 * self.confusion[label][label] / total, 1) or "NA"
    rows[#rows + 1] = row
  end
  return ("top-1 %s %% of %d, macro F1 %s, loss %s\n\n%s"):format(
    text.number(self.top1_pct), self.n, text.number(self.macro_f1, 3), text.number(self.loss, 4),
    text.render(columns, rows))
end

-- The data set's class names; numbers where the model has more outputs than it has classes.
local function names_of(ds, classes)
  local names = {}
  for c = 1, classes do names[c] = ds.classes and ds.classes[c] or tostring(c - 1) end
  return names
end

-- wattle.evaluate(model, ds, {batch_size = 64, loss = "cross_entropy", backend =, meter =, workers =}) -> {loss, top1_pct,
-- macro_f1 (0..1), n, confusion, classes}: of a classifier with one [N,C] output over all samples, in evaluation mode.
-- confusion[label][prediction] counts, both from 0; classes[c + 1] is the name of class c. print shows figures and matrix.
-- With a meter the work is in a region "eval".
function fit.evaluate(model, ds, o)
  o = o or {}
  util.check_options(o, { "batch_size", "loss", "backend", "meter", "workers" }, "evaluate")
  if not nn.is_module(model) then where.raise("evaluate: the first argument must be a model, got %s", type(model)) end
  check_data_set(ds, "evaluate: the data set")
  local batch_size = positive_integer(o, "batch_size", 64)
  local r <close> = region(o.meter, "eval")
  local plan = model:compile{ input = input_shape(ds, batch_size), loss = o.loss or "cross_entropy", mode = "eval",
                              loss_output = true, backend = o.backend }
  local confusion, mean, classes
  mean = new_mean()
  for x, y in ds:batches{ batch_size = batch_size, workers = o.workers } do
    local logits, loss = plan:forward(x, y)
    if not confusion then
      classes = logits:size(1)
      confusion = new_confusion(classes)
    end
    local predicted, correct = logits:argmax(1):tolist(), 0
    for i, label in ipairs(y:tolist()) do
      local p = predicted[i]
      confusion[label][p] = confusion[label][p] + 1
      if p == label then correct = correct + 1 end
    end
    mean:add(loss:item(), correct, #predicted)
  end
  return setmetatable({ loss = mean:loss(), top1_pct = mean:top1_pct(), macro_f1 = macro_f1(confusion, classes), n = mean.n,
                        confusion = confusion, classes = names_of(ds, classes) }, Evaluation)
end

return setmetatable(fit, { __call = function(_, o) return fit.fit(o) end })
