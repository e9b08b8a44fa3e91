-- Optimizers against torch.optim in float64 (tests/golden/optimizers.csv, made by make_optimizers.py): SGD, Adam,
-- AdamW, groups, clipping, accumulation; and their state, which is saved, put back and refused where it does not fit.

local wattle = require "wattle"
local core, nn = wattle.core, require "wattle.nn"
local t = require "harness"
local test, check, equal, raises = t.test, t.check, t.equal, t.raises

local golden = debug.getinfo(1, "S").source:match("^@(.-)[^/]*$") .. "../golden/"
local formula = dofile(golden .. "formula.lua")

-- As in make_optimizers.py.
local STEPS, BATCH, INPUTS, HIDDEN, CLASSES = 12, 6, 7, 9, 5

local Net = nn.class()
function Net:init()
  self.fc1 = nn.Linear{ in_features = INPUTS, out_features = HIDDEN }
  self.fc2 = nn.Linear{ in_features = HIDDEN, out_features = CLASSES }
end
function Net:forward(x) return self.fc2(nn.relu(self.fc1(x))) end

local function new_net(dtype)
  local net = Net():to(dtype or "f64")
  for _, entry in ipairs(net:parameters()) do
    local shape = entry.param:tensor():shape()
    entry.param:assign(wattle.tensor(formula.parameter(entry.name, shape), "f64"):reshape(shape))
  end
  return net
end

local function batch(k, dtype)
  local x = wattle.tensor(formula.input(k, { BATCH, INPUTS }), "f64"):reshape{ BATCH, INPUTS }
  return x:to(dtype or "f64"), wattle.tensor(formula.labels(k, BATCH, CLASSES), "i64")
end

local groups = {
  { match = "^fc2%.weight$", lr = 0.02, weight_decay = 0 },
  { names = { "fc2.bias" }, momentum = 0.5 },
}
local cases = {
  sgd = { { "sgd", lr = 0.1 } },
  sgd_momentum = { { "sgd", lr = 0.1, momentum = 0.9 } },
  sgd_nesterov = { { "sgd", lr = 0.1, momentum = 0.9, nesterov = true, weight_decay = 0.01 } },
  sgd_groups = { { "sgd", lr = 0.1, momentum = 0.9, weight_decay = 0.01, groups = groups }, halve_lr_at = 6 },
  sgd_accumulate = { { "sgd", lr = 0.1, momentum = 0.9, accumulate = 3 }, parts = { 1, 3, 2 } },
  sgd_clip_norm = { { "sgd", lr = 0.5, clip_norm = 0.1 } },
  sgd_clip_value = { { "sgd", lr = 0.5, clip_value = 0.02 } },
  sgd_clip_both = { { "sgd", lr = 0.5, momentum = 0.9, clip_norm = 0.1, clip_value = 0.02 } },
  adam = { { "adam", lr = 0.01 } },
  adam_l2 = { { "adam", lr = 0.01, betas = { 0.8, 0.99 }, eps = 1e-6, weight_decay = 0.1 } },
  adamw = { { "adamw", lr = 0.01 } },
  adamw_clip_norm = { { "adamw", lr = 0.01, weight_decay = 0.1, clip_norm = 0.05 }, halve_lr_at = 6 },
}

-- One step, or several over parts of the batch (accumulation).
local function step(plan, case, k, dtype)
  local x, y = batch(k, dtype)
  if case.halve_lr_at == k then plan:set("lr", plan:get "lr" / 2) end
  local at = 0
  for _, n in ipairs(case.parts or { BATCH }) do
    plan:step(x:narrow(0, at, n):contiguous(), y:narrow(0, at, n):contiguous())
    at = at + n
  end
end

local function compile(net, optimizer, o)
  o = o or {}
  o.input, o.loss, o.optimizer = { BATCH, INPUTS }, "cross_entropy", optimizer
  return net:compile(o)
end

local function run(case, dtype)
  local net = new_net(dtype)
  local plan = compile(net, case[1])
  for k = 1, STEPS do step(plan, case, k, dtype) end
  return net
end

-- case -> tensor -> summary
local want = {}
for i, row in ipairs(assert(core.csv_read(golden .. "optimizers.csv"))) do
  if i > 1 then
    local case, tensor, item, value = table.unpack(row)
    want[case] = want[case] or {}
    want[case][tensor] = want[case][tensor] or {}
    want[case][tensor][item] = tonumber(value)
  end
end

local function error_of(net, summaries)
  local worst = 0
  for _, entry in ipairs(net:parameters()) do
    local w = entry.param:tensor():to("f64")
    local got = formula.summary(entry.name, w:reshape{ w:numel() }:tolist())
    worst = math.max(worst, formula.distance(got, summaries[entry.name]) / summaries[entry.name].norm)
  end
  return worst
end

test("torch's ReduceLROnPlateau", function()
  local rates, plateau = want.plateau.lr, wattle.schedule.plateau{ lr = 0.5, factor = 0.3, patience = 2, threshold = 0.01,
                                                                    min_lr = 0.001 }
  want.plateau = nil
  for k, loss in ipairs(formula.units("plateau", 40, 0.25, 1)) do
    t.near(plateau(0), rates[tostring(k)], 1e-15)
    plateau:observe(loss)
  end
  check(plateau(0) == 0.001)
end)

for name in pairs(want) do check(cases[name], "no case for the fixture's " .. name) end
for name, case in pairs(cases) do
  test("torch.optim, float64: " .. name, function()
    local off = error_of(run(case), want[name])
    check(off < 1e-12, ("%s is off by %.3g"):format(name, off))
  end)
  test("torch.optim, float32: " .. name, function()
    local off = error_of(run(case, "f32"), want[name])
    check(off < 1e-5, ("%s is off by %.3g"):format(name, off))
  end)
end

test("the comparison can fail: another momentum, another beta", function()
  check(error_of(run{ { "sgd", lr = 0.1, momentum = 0.901 } }, want.sgd_momentum) > 1e-6)
  check(error_of(run{ { "adam", lr = 0.01, betas = { 0.9, 0.998 } } }, want.adam) > 1e-6)
  check(error_of(run{ { "sgd", lr = 0.1, momentum = 0.9, accumulate = 2 }, parts = { 1, 3, 2 } }, want.sgd_accumulate) > 1e-6)
end)

-- ---- accumulation ------------------------------------------------------------------------------------------

local function bytes(net)
  local parts = {}
  for _, name in ipairs(net:state_dict()) do parts[#parts + 1] = net:state_dict()[name]:tobytes() end
  return table.concat(parts)
end

test("accumulated steps change nothing until the last, and flush updates by what there is", function()
  local net = new_net()
  local plan = compile(net, { "sgd", lr = 0.1, accumulate = 4 })
  local before = bytes(net)
  local x, y = batch(1)
  for _ = 1, 3 do plan:step(x, y) end
  equal({ plan:count() }, { 3, 0 })
  check(bytes(net) == before)
  raises(function() compile(net, { "sgd", lr = 0.1, momentum = 0.5, accumulate = 2 }):step(x) end, "takes 2 inputs")
  plan:flush()
  equal({ plan:count() }, { 3, 1 })
  local once = new_net()
  local other = compile(once, { "sgd", lr = 0.1 })
  other:step(x, y)
  t.near(net.fc1.weight:tensor():tolist(), once.fc1.weight:tensor():tolist(), 1e-15)
  local now = bytes(net)
  plan:flush() -- nothing is accumulated
  equal({ plan:count() }, { 3, 1 })
  check(bytes(net) == now)
end)

test("a state is not read or set while gradients are accumulated", function()
  for momentum, tensors in pairs { [0.9] = 4, [0] = 0 } do
    local plan = compile(new_net(), { "sgd", lr = 0.1, momentum = momentum, accumulate = 2 })
    local state = plan:state()
    plan:step(batch(1))
    raises(function() plan:state() end, "1 step is accumulated; flush")
    raises(function() plan:load_state(state) end, "1 step is accumulated; flush")
    raises(function() plan:count(0, 0) end, "1 step is accumulated; flush")
    plan:step(batch(2))
    equal(#plan:state(), tensors + 2)
    plan:load_state(state)
  end
end)

-- ---- state -------------------------------------------------------------------------------------------------

for _, name in ipairs{ "sgd_nesterov", "adamw_clip_norm", "adam" } do
  test("training goes on bit for bit from a saved state: " .. name, function()
    local case = cases[name]
    local whole = bytes(run(case, "f32"))
    local net = new_net "f32"
    local plan = compile(net, case[1])
    for k = 1, 5 do step(plan, case, k, "f32") end
    local path = os.tmpname()
    assert(wattle.save(path, plan:state()))
    local model_state = net:state_dict()
    local again = new_net "f32"
    again:load_state_dict(model_state)
    local plan2 = compile(again, case[1])
    plan2:load_state(assert(wattle.load(path)))
    os.remove(path)
    for k = 6, STEPS do step(plan2, case, k, "f32") end
    check(bytes(again) == whole, "not the same bits")
  end)
end

test("a state that does not fit is refused and changes nothing", function()
  local net = new_net()
  local plan = compile(net, { "adam", lr = 0.01 })
  local state = plan:state()
  equal(#state, 2 * 4 + 2)
  local function without(name)
    local d = {}
    for _, key in ipairs(state) do
      if key ~= name then d[#d + 1], d[key] = key, state[key] end
    end
    return d
  end
  raises(function() plan:load_state(without "fc1.bias.exp_avg") end, "'fc1.bias.exp_avg' is missing")
  local more = without ""
  more["fc3.weight.exp_avg"] = wattle.zeros{ 1 }
  raises(function() plan:load_state(more) end, "'fc3.weight.exp_avg' is unexpected")
  local wrong = without ""
  wrong["fc1.bias.exp_avg"] = wattle.zeros{ 3 }
  raises(function() plan:load_state(wrong) end, "'fc1.bias.exp_avg' is [3], not [9]")
  raises(function() plan:load_state(7) end, "give a dict")
  local sgd = compile(net, { "sgd", lr = 0.1, momentum = 0.9 })
  raises(function() sgd:load_state(state) end, "momentum_buffer' is missing")
end)

-- ---- clipping ------------------------------------------------------------------------------------------------

test("a gradient that two parameters share is clipped once", function()
  local Two = nn.class()
  function Two:init()
    self.a, self.b = nn.Parameter(wattle.zeros{ 4 }), nn.Parameter(wattle.zeros{ 4 })
  end
  function Two:forward(x) return x + (self.a + self.b) end
  local net = Two()
  local plan = net:compile{ input = { 1, 4 }, target = false, loss = function(y) return y:sum() end,
                            optimizer = { "sgd", lr = 1, clip_norm = 1 } }
  plan:step(wattle.ones{ 1, 4 }) -- two gradients of ones: their common norm is sqrt(8)
  for _, entry in ipairs(net:parameters()) do
    t.near(entry.param:tensor():tolist(), { -1 / 8 ^ 0.5, -1 / 8 ^ 0.5, -1 / 8 ^ 0.5, -1 / 8 ^ 0.5 }, 1e-5)
  end
end)

test("a parameter that is added to the loss itself: clipping its gradient leaves the next step's alone", function()
  local Sum = nn.class()
  function Sum:init() self.s, self.w = nn.Parameter(wattle.zeros{}), nn.Parameter(wattle.zeros{ 3 }) end
  function Sum:forward(x) return (x * self.w):sum() + self.s end
  for _, clip in ipairs{ { clip_value = 0.5, s = 0.5, w = 0.25 }, { clip_norm = 0.5, s = 0.458831, w = 0.114708 } } do
    local net = Sum()
    local plan = net:compile{ input = { 1, 3 }, target = false, loss = function(y) return y end, gradients = true,
                              optimizer = { "sgd", lr = 1, clip_value = clip.clip_value, clip_norm = clip.clip_norm } }
    for _ = 1, 3 do
      plan:step(wattle.full({ 1, 3 }, 0.25))
      local g = plan:gradients().parameters
      t.near(g.s:item(), clip.s, 1e-5)
      t.near(g.w:tolist(), { clip.w, clip.w, clip.w }, 1e-5)
    end
  end
end)

test("a gradient whose norm is not finite is an error and changes nothing", function()
  local One = nn.class()
  function One:init() self.w = nn.Parameter(wattle.tensor({ 1e-30 }, "f32")) end
  function One:forward(x) return (x * self.w) * wattle.tensor({ 1e30 }, "f32") end
  local net = One()
  local plan = net:compile{ input = { 1, 1 }, target = false, loss = function(y) return y:sum() end,
                            optimizer = { "sgd", lr = 1, clip_norm = 1 } }
  raises(function() plan:step(wattle.full({ 1, 1 }, 1e30)) end, "norm is infinite; nothing was updated")
  t.near(net.w:tensor():item(), 1e-30, 1e-36)
end)

-- ---- mistakes --------------------------------------------------------------------------------------------------

test("mistakes are told", function()
  local net = new_net()
  local function bad(optimizer, message) raises(function() compile(net, optimizer) end, message) end
  bad({ "adma", lr = 1 }, "did you mean 'adam'")
  bad({ "sgd", kind = "adam", lr = 1 }, "name is there twice")
  raises(function() compile(net, { "sgd", lr = 1 }, { seed = "1" }) end, "seed must be an integer")
  bad({ "adam", lr = 1, momentum = 0.9 }, "unknown option 'momentum'")
  bad({ "sgd", lr = 1, beta1 = 0.9 }, "unknown option 'beta1'")
  bad({ "adam", lr = 1, betas = { 0.9 } }, "betas must be two numbers")
  bad({ "adam", lr = 1, betas = { 0.9, 1 } }, "beta2 = 1; it must be below 1")
  bad({ "adam", lr = 1, eps = -1 }, "eps = -1")
  bad({ "adam", lr = 0 / 0 }, "lr = ")
  bad({ "sgd", lr = 1, clip_norm = -1 }, "clip_norm = -1")
  bad({ "sgd", lr = 1, clip_value = 1 / 0 }, "clip_value = inf")
  bad({ "sgd", lr = 1, accumulate = 0 }, "accumulate")
  bad({ "sgd", lr = 1, accumulate = 2.5 }, "accumulate")
  bad({ "sgd", lr = 1, groups = { { lr = 1 } } }, "needs match")
  bad({ "sgd", lr = 1, groups = { { match = "^fc9", lr = 1 } } }, "no parameter's name matches '^fc9'")
  bad({ "sgd", lr = 1, groups = { { names = { "fc9" }, lr = 1 } } }, "no parameter 'fc9'")
  bad({ "sgd", lr = 1, groups = { match = "^fc1", lr = 2 } }, "groups must be a list")
  bad({ "sgd", lr = 1, groups = {} }, "groups must be a list")
  bad({ "sgd", lr = 1, groups = { { match = "^fc1", lr = 2 }, lr = 2 } }, "groups must be a list")
  bad({ "sgd", lr = 1, groups = { { names = "fc1.bias", lr = 2 } } }, "or names, a list of them")
  bad({ "sgd", lr = 1, groups = { { names = {}, lr = 2 } } }, "names is an empty list")
  bad({ "sgd", lr = 1, groups = { { match = "(", lr = 2 } } }, "group 1: match: unfinished capture")
  bad({ "sgd", lr = 1, groups = { { match = "^fc1", lrr = 1 } } }, "did you mean 'lr'")
  bad({ "sgd", lr = 1, groups = { { match = "^fc1" }, { names = { "fc1.bias" } } } }, "fc1.bias is in two groups")
  bad({ "sgd", lr = 0, groups = { { match = "^fc1", lr = 1 } } }, "must be given and above 0")
  bad({ "sgd", lr = 1, groups = { { match = "^fc1", momentum = 0.9 } } }, "needs one above 0 in the optimizer")
  bad({ "sgd", lr = 1, groups = { { match = "^fc1", weight_decay = -1 } } }, "group 1: sgd: weight_decay = -1")
  local plan = compile(net, { "sgd", lr = 1, momentum = 0.5 })
  raises(function() plan:set("momentum", 1) end, "below 1")
  raises(function() plan:set("beta1", 0.5) end, "no hyperparameter of sgd")
  raises(function() plan:count(-1, 0) end, "-1 steps")
end)
