-- compress.capacity: the rule of the threshold, what is called when, and that the model stays as it was.

local wattle = require "wattle"
local nn, compress = require "wattle.nn", wattle.compress
local t = require "harness"
local test, check, equal, raises = t.test, t.check, t.equal, t.raises

local function small()
  local net = nn.Sequential(nn.Linear{ in_features = 6, out_features = 5 }, nn.ReLU(),
                            nn.Linear{ in_features = 5, out_features = 3 }) -- 53 parameters
  wattle.manual_seed(4)
  net:parameters()
  return net
end

local function same_state(a, b)
  for _, name in ipairs(a) do
    if not a[name]:equal(b[name]) then return false end
  end
  return #a == #b
end

-- How many low-order bits of all its parameters are 0.
local function clear_bits(model)
  local all = 0
  for _, entry in ipairs(model:parameters()) do
    local bytes = entry.param:tensor():tobytes()
    for at = 1, #bytes, 4 do all = all | string.unpack("<I4", bytes, at) end
  end
  local n = 0
  while n < 23 and all >> n & 1 == 0 do n = n + 1 end
  return n
end

-- evaluate that looks its answer up by the number of bits, which it counts itself.
local function answers(list, seen)
  return function(model)
    local bits = clear_bits(model)
    if seen then seen[#seen + 1] = bits end
    return list[bits] or list.beyond
  end
end

test("n is the largest for which accuracy is within epsilon for every number up to it", function()
  local cases = {
    { { [0] = 90, 90, 89.5, 89, 88.9, 90, beyond = 50 }, 1, 3 },   -- 5 bits are within, but 4 are not
    { { [0] = 90, beyond = 90 }, 1, 23 },
    { { [0] = 90, beyond = 10 }, 1, 0 },
    { { [0] = 90, 80, 70, 60, beyond = 10 }, 30, 3 },
    { { [0] = 85.3, 84.3, beyond = 84.2 }, 1, 1 },                 -- 85.3 - 84.3 is not 1 in binary
    { { [0] = 50, 60, 50, beyond = 49.9 }, 0, 2 },                 -- better is within
  }
  for i, case in ipairs(cases) do
    local seen, reported = {}, {}
    local rows, n = compress.capacity(small(), { evaluate = answers(case[1], seen), epsilon_points = case[2],
                                                 progress = false, report = answers({ beyond = 42 }, reported) })
    equal(n, case[3], "case " .. i)
    equal(#rows, 24)
    for bits = 0, 23 do
      local row = rows[bits + 1]
      equal({ row.bits, row.arm, row.layer, row.chosen }, { bits, "zero", nil, bits == n })
      equal(row.val_top1_pct, case[1][bits] or case[1].beyond)
      equal(row.within, row.val_top1_pct >= case[1][0] - case[2] - 1e-9)
      equal(row.capacity_bytes, bits * 53 // 8)
      equal(seen[bits + 1], bits)
      equal(row.test_top1_pct, (bits == 0 or bits == n or bits == n + 1) and 42 or nil)
    end
    equal(#seen, 24)
    local want = { 0 }
    if n > 0 then want[#want + 1] = n end
    if n < 23 then want[#want + 1] = n + 1 end
    equal(reported, want)
  end
  local rows, n = compress.capacity(small(), { evaluate = answers{ beyond = 1 }, max_bits = 5, progress = false })
  equal({ #rows, n, rows[6].test_top1_pct }, { 6, 5 })
end)

test("each number of bits is what compress.scr makes, with every arm, mask and statistics", function()
  local net = wattle.models.create("resnet8", { width = 2, seed = 1 })
  net(wattle.rand{ 4, 1, 9, 9 })
  net = compress.prune(net, { amount = 0.3 })
  for _, arm in ipairs{ "zero", "random", "stochastic" } do
    local bits, model = 0, nil
    compress.capacity(net, { arm = arm, seed = 3, max_bits = 4, progress = false, evaluate = function(copy)
      check(model == nil or rawequal(copy, model), "always the same copy")
      model = copy
      local want = compress.scr(net, { bits = bits, arm = arm, seed = 3 })
      check(same_state(copy:state_dict(), want:state_dict()), arm .. " " .. bits)
      bits = bits + 1
      copy(wattle.rand{ 4, 1, 9, 9 }) -- statistics that move are put back
      return 80
    end })
    equal(bits, 5)
  end
end)

test("a plan may be kept", function()
  local net, data = small(), wattle.rand{ 40, 6 }
  local x = net(data) -- each output's own argmax is the truth: 100 % with 0 bits
  local plan
  local rows, n = compress.capacity(net, { progress = false, evaluate = function(model)
    plan = plan or model:compile{ input = { 40, 6 } }
    local same, truth = 0, x:argmax(1):tolist()
    for i, v in ipairs(plan:forward(data):argmax(1):tolist()) do same = same + (v == truth[i] and 1 or 0) end
    return 100 * same / 40
  end })
  equal(rows[1].val_top1_pct, 100)
  check(rows[24].val_top1_pct < 100 and n > 5, "a cliff: " .. n)
end)

test("layers one by one", function()
  local net = small()
  local truth = net:state_dict()
  local calls = 0
  local rows, n = compress.capacity(net, { layers = true, max_bits = 6, progress = false, evaluate = function(model)
    calls = calls + 1
    -- Only as many bits of the second layer's weight as 2 do no harm.
    local now, harm = model:state_dict(), 0
    local second = wattle.core.truncate(truth["2.weight"]:clone(), 2)
    if not now["2.weight"]:equal(truth["2.weight"]) and not now["2.weight"]:equal(second)
       and not now["2.weight"]:equal(wattle.core.truncate(truth["2.weight"]:clone(), 1)) then harm = 20 end
    local changed = 0
    for _, name in ipairs(truth) do changed = changed + (now[name]:equal(truth[name]) and 0 or 1) end
    check(changed <= 1 or calls <= 7, "one at a time")
    return 90 - harm
  end })
  equal(n, 2)
  equal(calls, 7 + 2 * 6)
  equal(#rows, 3 * 7)
  for i, row in ipairs(rows) do
    local layer = i > 14 and "2.weight" or i > 7 and "0.weight" or nil
    local chosen = layer == "0.weight" and 6 or 2
    equal({ row.bits, row.layer, row.chosen }, { (i - 1) % 7, layer, (i - 1) % 7 == chosen })
    equal(row.capacity_bytes, row.bits * (layer == "2.weight" and 15 or layer and 30 or 53) // 8)
  end
end)

test("the model stays as it was, whatever happens", function()
  local net = compress.scr(small(), { bits = 4, arm = "random", master = true })
  local before, masters = net:state_dict(), {}
  for name, p in net:named_parameters() do masters[name] = p:master():clone() end
  local function unchanged()
    check(same_state(before, net:state_dict()))
    for name, p in net:named_parameters() do
      check(p:master():equal(masters[name]) and p:redraws() == 1 and p:truncation().bits == 4)
    end
  end
  local plan = net:compile{ input = { 2, 6 }, loss = "cross_entropy", optimizer = { "sgd", lr = 0.1 } }
  compress.capacity(net, { evaluate = answers{ beyond = 50 }, progress = false })
  unchanged()
  raises(function()
    compress.capacity(net, { progress = false, evaluate = function(model)
      model:parameters()[1].param:tensor():fill_(0)
      error "no data left"
    end })
  end, "no data left")
  unchanged()
  plan:step(wattle.rand{ 2, 6 }, wattle.tensor({ 0, 1 }, "i64")) -- not stale
end)

test("what is no accuracy is an error that says where", function()
  local function with(value)
    local evaluate = answers{ [0] = 50, 50, 50, beyond = value }
    return function() compress.capacity(small(), { evaluate = evaluate, progress = false }) end
  end
  raises(with(0 / 0), "evaluate returned %-?nan for 3 bits; it must return an accuracy in %%")
  raises(with "50", 'evaluate returned "50" for 3 bits')
  raises(with(nil), "evaluate returned nil for 3 bits")
  raises(with(100.5), "from 0 to 100")
  raises(with(-1), "from 0 to 100")
  raises(function()
    compress.capacity(small(), { evaluate = answers{ beyond = 5 }, report = function() end, progress = false })
  end, "report returned nil for 0 bits")
  local ok = answers{ beyond = 1 }
  for _, case in ipairs{
    { {}, "evaluate must be a function" }, { { evaluate = 3 }, "evaluate must be a function" },
    { { evaluate = ok, report = 3 }, "report must be a function" }, { { evaluate = ok, max_bits = 24 }, "max_bits" },
    { { evaluate = ok, epsilon_points = -1 }, "epsilon_points" }, { { evaluate = ok, arm = "once" }, "arm" },
    { { evaluate = ok, layers = "fc" }, "layers" }, { { evaluate = ok, epsilon = 1 }, "epsilon_points" },
  } do
    raises(function() compress.capacity(small(), case[1]) end, case[2])
  end
  raises(function() compress.capacity(3, { evaluate = ok }) end, "model")
  raises(function() compress.capacity(small():to "f64", { evaluate = ok }) end, "0.weight is f64")
end)
