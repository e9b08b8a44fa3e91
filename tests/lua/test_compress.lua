-- wattle.compress: what the new model is, that the original stays as it was, and that constraints outlive training.

local wattle = require "wattle"
local nn, compress = require "wattle.nn", wattle.compress
local t = require "harness"
local test, check, equal, near, raises = t.test, t.check, t.equal, t.near, t.raises

-- All elements in one list.
local function flat(tensor)
  return tensor:reshape{ tensor:numel() }:tolist()
end

local function lenet()
  return wattle.models.create("lenet5", { seed = 1 })
end

local function same_state(a, b)
  for _, name in ipairs(a) do
    if not a[name]:equal(b[name]) then return false end
  end
  return #a == #b
end

-- A few steps on random images.
local function train(model, steps)
  local plan = model:compile{ input = { 8, 1, 28, 28 }, loss = "cross_entropy",
                              optimizer = { "sgd", lr = 0.05, momentum = 0.9 } }
  for _ = 1, steps or 3 do
    plan:step(wattle.randn{ 8, 1, 28, 28 }, wattle.tensor({ 0, 1, 2, 3, 4, 5, 6, 7 }, "i64"))
  end
end

-- ---- scr -----------------------------------------------------------------------------------------------------

local function low_bits_clear(tensor, bits)
  local mask, bytes = (1 << bits) - 1, tensor:tobytes()
  for at = 1, #bytes, 4 do
    if string.unpack("<I4", bytes, at) & mask ~= 0 then return false end
  end
  return true
end

test("scr clears the low bits, now and after every update", function()
  local model = lenet()
  local before = model:state_dict()
  for _, bits in ipairs{ 0, 1, 12, 23 } do
    local new, report = compress.scr(model, { bits = bits, arm = "zero" })
    equal(report.technique, "scr_zero")
    equal(report.level, bits)
    equal(report.level_unit, "bits")
    equal(report.params, 61706)
    for name, p in new:named_parameters() do
      check(low_bits_clear(p:tensor(), bits), name)
      local old = flat(before[name])
      for i, v in ipairs(flat(p:tensor())) do
        check(math.abs(v) <= math.abs(old[i]) and math.abs(v - old[i]) <= math.abs(old[i]) * 2.0 ^ (bits - 23), name)
      end
    end
    train(new)
    for name, p in new:named_parameters() do check(low_bits_clear(p:tensor(), bits), name) end
    if bits == 0 then check(not low_bits_clear(new.fc1.weight:tensor(), 1)) end
  end
  check(same_state(before, model:state_dict()), "the original is as it was")
  equal(model.fc1.weight:truncation(), nil)
end)

test("scr leaves running statistics alone", function()
  local net = wattle.models.create("resnet8", { width = 2, seed = 1 })
  net(wattle.rand{ 4, 1, 9, 9 }) -- moves them
  local before = net:state_dict()
  local after = compress.scr(net, { bits = 20 }):state_dict()
  check(before["bn1.running_mean"]:equal(after["bn1.running_mean"]))
  check(not before["conv1.weight"]:equal(after["conv1.weight"]))
end)

-- ---- pruning -------------------------------------------------------------------------------------------------

test("prune removes the smallest weights of all layers together", function()
  local model = lenet()
  local before = model:state_dict()
  local new, report = compress.prune(model, { amount = 0.75, scope = "global" })
  local weights, magnitudes = 0, {}
  for name, p in model:named_parameters() do
    if name:find "weight$" then
      weights = weights + p:tensor():numel()
      for _, v in ipairs(flat(p:tensor())) do magnitudes[#magnitudes + 1] = math.abs(v) end
    end
  end
  table.sort(magnitudes)
  local threshold = magnitudes[math.floor(0.75 * weights)]
  equal(wattle.nonzeros(new), wattle.nonzeros(model) - math.floor(0.75 * weights))
  equal(report.nonzeros, wattle.nonzeros(new))
  equal(report.nonzeros_before, wattle.nonzeros(model))
  equal(report.params, 61706)
  equal(#report.layers, 5)
  for name, p in new:named_parameters() do
    if name:find "weight$" then
      local old = flat(before[name])
      for i, v in ipairs(flat(p:tensor())) do
        if v == 0 then check(math.abs(old[i]) <= threshold) else check(v == old[i] and math.abs(v) >= threshold) end
      end
    else
      check(p:tensor():equal(before[name]), "biases stay")
    end
  end
  check(same_state(before, model:state_dict()), "the original is as it was")
  check(model.fc1.weight:mask() == nil)
end)

test("pruned weights stay 0 in training, in clones too", function()
  local new = compress.prune(lenet(), { amount = 0.9 }):clone()
  local zeros = {}
  for name, p in new:named_parameters() do zeros[name] = p:mask() and p:mask():clone() end
  train(new, 5)
  local changed = false
  for name, p in new:named_parameters() do
    if zeros[name] then
      local mask = flat(zeros[name])
      for i, v in ipairs(flat(p:tensor())) do
        if mask[i] == 0 then check(v == 0, name) end
        changed = changed or mask[i] == 1
      end
    end
  end
  check(changed)
end)

test("what is loaded into a compressed model obeys its constraints", function()
  local pruned = compress.prune(lenet(), { amount = 0.9 })
  local count = wattle.nonzeros(pruned)
  pruned:load_state_dict(wattle.models.create("lenet5", { seed = 2 }):state_dict(), { strict = true })
  equal(wattle.nonzeros(pruned), count)
end)

test("pruning and scr combine", function()
  local both = compress.scr(compress.prune(lenet(), { amount = 0.5 }), { bits = 16 })
  train(both)
  check(low_bits_clear(both.fc1.weight:tensor(), 16))
  check(wattle.nonzeros(both) < 0.52 * 61706)
end)

test("batch norm is not pruned", function()
  local net = wattle.models.create("resnet8", { width = 2, seed = 1 })
  local new, report = compress.prune(net, { amount = 0.99 })
  for name, p in new:named_parameters() do
    if name:find "bn" or name:find "shortcut.1" then check(p:mask() == nil, name) end
  end
  equal(#report.layers, 10)
end)

-- ---- low rank ------------------------------------------------------------------------------------------------

-- A linear layer whose weight has exactly this rank.
local function of_rank(out, inp, rank)
  local fc = nn.Linear{ in_features = inp, out_features = out }
  fc.weight:assign(wattle.randn{ out, rank }:matmul(wattle.randn{ rank, inp }))
  return fc
end

test("lowrank replaces a linear layer by two that compute the same", function()
  local Net = nn.class "Net"
  function Net:init()
    self.wide = of_rank(40, 30, 4)
    self.narrow = nn.Linear{ in_features = 40, out_features = 2 }
  end
  function Net:forward(x) return self.narrow(nn.relu(self.wide(x))) end
  local net = Net()
  local x = wattle.randn{ 5, 30 }
  local want = net(x)
  local before = net:state_dict()
  local new, report = compress.lowrank(net, { energy = 0.999999, input = { 30 } })
  equal(tostring(new.wide), "Sequential(\n  (0): Linear(in_features=30, out_features=4, bias=False)\n"
    .. "  (1): Linear(in_features=4, out_features=40, bias=True)\n)")
  equal(tostring(new.narrow), "Linear(in_features=40, out_features=2, bias=True)")
  local d = new(x) + want * -1
  near(math.max(d:max(), -d:min()), 0, 1e-3)
  equal(report.technique, "lowrank")
  equal(report.level_unit, "energy_kept")
  equal(report.layers[1].rank, 4)
  check(report.layers[1].kept_energy > 0.9999)
  check(report.layers[2].rank == nil and report.layers[2].reason:find "FLOPs", report.layers[2].reason)
  equal(report.params_before, 40 * 30 + 40 + 80 + 2)
  equal(report.params, 4 * 70 + 40 + 80 + 2)
  check(report.flops_per_image < report.flops_per_image_before)
  check(same_state(before, net:state_dict()), "the original is as it was")
  equal(tostring(net.wide), "Linear(in_features=30, out_features=40, bias=True)")
end)

test("lowrank keeps the energy asked for, where FLOPs fall", function()
  local mlp = wattle.models.create("mlp", { seed = 1 })
  local new, report = compress.lowrank(mlp, { energy = 0.5 })
  equal(#report.layers, 3)
  for _, layer in ipairs(report.layers) do
    if layer.rank then
      check(layer.kept_energy >= 0.5 and layer.flops_after < layer.flops, layer.name)
    else
      check(layer.reason, layer.name)
    end
  end
  check(report.layers[1].rank and report.flops_per_image < report.flops_per_image_before)
  equal(report.params, new:num_parameters())
  train(new)
  local full, all = compress.lowrank(mlp, { energy = 1 })
  for _, layer in ipairs(all.layers) do check(layer.reason, "full rank saves nothing") end
  equal(full:num_parameters(), mlp:num_parameters())
end)

test("lowrank leaves masked and shared weights alone, and takes a bare layer", function()
  local masked = compress.prune(nn.Sequential(of_rank(20, 20, 1)), { amount = 0.1 })
  local _, report = compress.lowrank(masked, { energy = 0.9 })
  check(report.layers[1].reason:find "mask")
  local a, b = of_rank(20, 20, 1), of_rank(20, 20, 1)
  b.weight = a.weight
  _, report = compress.lowrank(nn.Sequential(a, b), { energy = 0.9 })
  check(report.layers[1].reason:find "shared" and report.layers[2].reason:find "shared")
  local bare = compress.lowrank(of_rank(20, 20, 2), { energy = 0.99999 })
  equal(#bare, 2)
  local twice = of_rank(20, 20, 2)
  local both = compress.lowrank(nn.Sequential(twice, twice), { energy = 0.99999 })
  check(rawequal(both[1], both[2]) and #both[1] == 2, "a layer used twice becomes one pair used twice")
end)

test("lowrank of an f64 layer does not pass through f32", function()
  local wide = nn.Linear{ in_features = 20, out_features = 20 }:to "f64"
  local function random(m, n) return wattle.randn{ m, n, dtype = "f64" } end
  wide.weight:assign(random(20, 2):matmul(random(2, 20)))
  local pair, x = compress.lowrank(wide, { energy = 1 - 1e-9 }), random(4, 20)
  equal(#pair, 2)
  local difference = wide(x) - pair(x)
  check((difference * difference):sum():item() < 1e-20, "no more than rounding in f64")
end)

test("scr outlives lowrank", function()
  local new = compress.lowrank(compress.scr(nn.Sequential(of_rank(20, 20, 2)), { bits = 12 }), { energy = 0.999 })
  for name, p in new:named_parameters() do check(low_bits_clear(p:tensor(), 12), name) end
end)

-- ---- the rest ------------------------------------------------------------------------------------------------

test("FLOPs and nonzeros", function()
  local mlp = wattle.models.create("mlp", { seed = 1 })
  near(compress.flops_per_image(mlp), 2 * 266200, 3 * 410) -- biases and ReLU are small change
  check(compress.flops_per_image(nn.Sequential(nn.ReLU())) == nil)
  check(compress.flops_per_image(nn.Sequential(nn.ReLU()), { 7 }) == 7)
  local fc = nn.Linear{ in_features = 3, out_features = 2 }
  fc:load_state_dict{ weight = wattle.tensor{ { 0, 1, -1 }, { 0, 0, 2 } }, bias = wattle.tensor{ 0, 1 } }
  equal(wattle.nonzeros(fc), 4)
end)

test("compression refuses what it cannot do", function()
  local mlp = wattle.models.create("mlp", { hidden = {} })
  raises(function() compress.scr(mlp, { bits = 24 }) end, "from 0 to 23")
  raises(function() compress.scr(mlp, { bits = 1.5 }) end, "integer")
  raises(function() compress.scr(mlp, { bits = 1, arm = "random" }) end, "arm")
  raises(function() compress.scr(3, { bits = 1 }) end, "model")
  raises(function() compress.prune(mlp, { amount = 1 }) end, "below 1")
  raises(function() compress.prune(mlp, { amount = 0.5, scope = "local" }) end, "scope")
  raises(function() compress.prune(nn.Sequential(nn.ReLU()), { amount = 0.5 }) end, "no Conv2d or Linear")
  raises(function() compress.lowrank(mlp, { energy = 0 }) end, "energy")
  raises(function() compress.lowrank(mlp, { engery = 1 }) end, "energy")
end)
