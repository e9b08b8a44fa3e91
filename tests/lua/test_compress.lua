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
local function train(model, steps, backend)
  local plan = model:compile{ input = { 8, 1, 28, 28 }, loss = "cross_entropy", backend = backend,
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

-- What draw k makes of a tensor.
local function drawn(tensor, truncation, k)
  return wattle.core.truncate(tensor:clone(), truncation.bits, truncation.arm, truncation.seed, truncation.name, k)
end

test("scr once clears the bits and lets them be", function()
  local model = lenet()
  local new, report = compress.scr(compress.scr(model, { bits = 3, arm = "random" }), { bits = 12, arm = "once" })
  equal(report.technique, "scr_once")
  for name, p in new:named_parameters() do
    check(low_bits_clear(p:tensor(), 12), name)
    equal(p:truncation(), nil)
  end
  train(new)
  check(not low_bits_clear(new.fc1.weight:tensor(), 1))
end)

test("scr random and stochastic: by seed, name and draw, anew after every update", function()
  for _, arm in ipairs{ "random", "stochastic" } do
    for _, master in ipairs{ false, true } do
      local model = lenet()
      local before = model:state_dict()
      local new, report = compress.scr(model, { bits = 14, arm = arm, seed = 5, master = master })
      equal({ report.technique, report.arm, report.seed, report.master }, { "scr_" .. arm, arm, 5, master })
      for name, p in new:named_parameters() do
        equal(p:truncation(), { bits = 14, arm = arm, master = master, seed = 5, name = name })
        check(p:tensor():equal(drawn(before[name], p:truncation(), 0)), name)
        equal(p:redraws(), 1)
        if master then check(p:master():equal(before[name])) else equal(p:master(), nil) end
      end
      local again, other = compress.scr(model, { bits = 14, arm = arm, seed = 5 }),
                           compress.scr(model, { bits = 14, arm = arm, seed = 6 })
      check(again.fc1.weight:tensor():equal(new.fc1.weight:tensor()))
      check(not again.fc1.weight:tensor():equal(other.fc1.weight:tensor()))
      train(new, 2)
      equal(new.fc1.weight:redraws(), 3)
      if arm == "stochastic" then check(low_bits_clear(new.fc1.weight:tensor(), 14)) end
      check(same_state(before, model:state_dict()), "the original is as it was")
      check(same_state(new:state_dict(), new:clone():state_dict()))
    end
  end
end)

-- Training may differ from provider to provider; what is made of the master may not, nor the masks.
test("truncation and masks are the same in every layout, and training on any number of threads", function()
  local threads = wattle.threads()
  for _, arm in ipairs{ "zero", "random", "stochastic" } do
    local function run(backend, n, master)
      wattle.threads(n)
      wattle.manual_seed(11)
      local pruned = compress.prune(lenet(), { amount = 0.5, scope = "local" })
      local new = compress.scr(pruned, { bits = 17, arm = arm, seed = 2, master = master })
      train(new, 3, backend)
      wattle.threads(threads)
      return new
    end
    for _, master in ipairs{ false, true } do
      local one, two = run("reference", 1, master), run("reference", 2, master)
      check(same_state(one:state_dict(), two:state_dict()), arm .. ": one thread and two")
    end
    local plain, blocked = run("reference", 2, true), run("auto", 2, true)
    for _, model in ipairs{ plain, blocked } do
      for name, p in model:named_parameters() do
        local want = drawn(p:master(), p:truncation(), p:redraws() - 1)
        if p:mask() then
          local mask = flat(p:mask())
          local value = flat(want)
          for i, kept in ipairs(mask) do value[i] = kept == 0 and 0 or value[i] end
          want:copy_(wattle.tensor(value):reshape(want:shape()))
        end
        check(p:tensor():equal(want), name)
        check(not p:master():equal(want), name)
      end
    end
    check(plain.conv2.weight:mask():equal(blocked.conv2.weight:mask()))
  end
end)

test("redraws go on where they were: model, master and count put back", function()
  for _, arm in ipairs{ "zero", "random", "stochastic" } do
    for _, master in ipairs{ false, true } do
      local function fresh() return compress.scr(lenet(), { bits = 15, arm = arm, seed = 9, master = master }) end
      local function steps(model, from, to)
        local plan = model:compile{ input = { 4, 1, 28, 28 }, loss = "cross_entropy", optimizer = { "sgd", lr = 0.1 } }
        for k = from, to do
          local x = wattle.zeros{ 4, 1, 28, 28 }
          wattle.core.normal(x, 1, "test", "x", k, 0, 1)
          plan:step(x, wattle.tensor({ 0, 1, 2, 3 }, "i64"))
        end
      end
      local whole, first, second = fresh(), fresh(), fresh()
      steps(whole, 1, 4)
      steps(first, 1, 2)
      local saved, extra = first:state_dict(), {}
      for name, p in first:named_parameters() do
        extra[name] = { master = p:master() and p:master():clone(), redraws = p:redraws() }
      end
      second:load_state_dict(saved, { strict = true })
      for name, p in second:named_parameters() do
        if master then p:master():copy_(extra[name].master) end
        p:redraws(extra[name].redraws)
      end
      check(same_state(saved, second:state_dict()), arm)
      steps(second, 3, 4)
      check(same_state(whole:state_dict(), second:state_dict()), arm .. (master and " with masters" or ""))
    end
  end
end)

test("scr reports what it did and what it does not save", function()
  local _, r = compress.scr(lenet(), { bits = 12 })
  equal({ r.bits, r.arm, r.tensors, r.packed_bytes_saved, r.master_bytes }, { 12, "zero", 10, 12 * 61706 // 8, 0 })
  equal(r.flops_per_image, r.flops_per_image_before)
  check(r.description:find("12 low-order bits of 61706 f32 parameters in 10 tensors cleared, now", 1, true))
  check(r.description:find "FLOPs are unchanged")
  local new
  new, r = compress.scr(lenet(), { bits = 8, arm = "random", master = true })
  equal({ r.packed_bytes_saved, r.master_bytes }, { 0, 4 * 61706 })
  check(r.description:find(("masters take %d bytes"):format(4 * 61706), 1, true))
  -- A second one replaces the first; 0 bits is none.
  new, r = compress.scr(new, { bits = 0, arm = "random", master = true })
  equal({ r.master_bytes, new.fc1.weight:truncation(), new.fc1.weight:master() }, { 0 })
end)

test("a model's own state comes back bit for bit: random bits are not drawn anew", function()
  local net = compress.scr(lenet(), { bits = 20, arm = "random" })
  local best = net:state_dict()
  train(net, 1)
  net:load_state_dict(best, { constrain = false })
  check(same_state(best, net:state_dict()))
  net:load_state_dict(best)
  check(not same_state(best, net:state_dict()), "another's may not have random bits: they are drawn")
end)

test("what a mask drops stays 0 whatever the arm", function()
  local pruned = compress.prune(lenet(), { amount = 0.6 })
  for _, arm in ipairs{ "zero", "once", "random", "stochastic" } do
    local both = compress.scr(pruned, { bits = 10, arm = arm })
    train(both, 1)
    local mask, value = flat(both.fc1.weight:mask()), flat(both.fc1.weight:tensor())
    for i, kept in ipairs(mask) do check(kept == 1 or value[i] == 0) end
  end
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

local golden = wattle.load(debug.getinfo(1, "S").source:match "^@(.-)[^/]*$" .. "../golden/compress.safetensors")

-- The fixture's three layers as a model; forward is not meant.
local function golden_layers(dtype)
  local Net = nn.class "Net"
  function Net:init()
    self.conv1 = nn.Conv2d{ in_channels = 3, out_channels = 8, kernel_size = 5, stride = { 2, 1 }, padding = { 1, 3 },
                            dilation = { 1, 2 }, bias = false }
    self.conv2 = nn.Conv2d{ in_channels = 5, out_channels = 8, kernel_size = { 2, 5 } }
    self.fc = nn.Linear{ in_features = 30, out_features = 20 }
  end
  local net = Net():to(dtype)
  for _, name in ipairs{ "conv1", "conv2", "fc" } do net[name].weight:assign(golden["w." .. name]) end
  return net
end

test("prune drops what PyTorch drops, globally and in each layer", function()
  for _, dtype in ipairs{ "f32", "f64" } do
    local net = golden_layers(dtype)
    for _, scope in ipairs{ "global", "local" } do
      for _, amount in ipairs{ 0.3, 0.5, 0.8 } do
        local new, report = compress.prune(net, { amount = amount, scope = scope })
        equal(report.technique, "prune_" .. scope)
        for _, name in ipairs{ "conv1", "conv2", "fc" } do
          check(new[name].weight:mask():equal(golden[("%s.%g.%s"):format(scope, amount, name)]), name)
        end
      end
    end
  end
end)

test("local pruning removes the same share everywhere", function()
  local model = lenet()
  local before = model:state_dict()
  local new, report = compress.prune(model, { amount = 0.75, scope = "local" })
  equal(#report.layers, 5)
  for _, row in ipairs(report.layers) do equal(row.nonzeros, row.params - math.floor(0.75 * row.params), row.name) end
  check(report.description:find "the smallest of each tensor")
  equal(report.flops_per_image, report.flops_per_image_before)
  check(report.flops_nonzero_per_image < 0.3 * report.flops_nonzero_per_image_before)
  check(same_state(before, model:state_dict()), "the original is as it was")
  train(new)
  equal(wattle.nonzeros(new) <= report.nonzeros, true)
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

test("pruning ranks by the master: truncated values tie", function()
  local coarse = compress.scr(lenet(), { bits = 22, master = true })
  local masks, plain = compress.prune(coarse, { amount = 0.5 }), compress.prune(lenet(), { amount = 0.5 })
  for _, name in ipairs{ "conv2", "fc1" } do check(masks[name].weight:mask():equal(plain[name].weight:mask()), name) end
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

-- |a - b| / |b|
local function distance(a, b)
  local function norm(x) return math.sqrt((x * x):sum():item()) end
  return norm(a - b) / norm(b)
end

test("lowrank finds NumPy's ranks and what they keep, of linear layers and convolutions", function()
  for _, dtype in ipairs{ "f32", "f64" } do
    local bound = dtype == "f64" and 1e-12 or 1e-6
    local net = golden_layers(dtype)
    local function dense(pair, shape) -- the product of a pair's weights
      local b, a = pair[1].weight:tensor(), pair[2].weight:tensor()
      local r = b:size(0)
      return a:reshape{ a:size(0), r }:matmul(b:reshape{ r, b:numel() // r }):reshape(shape)
    end
    for _, energy in ipairs{ 0.3, 0.6, 0.9 } do
      local new, report = compress.lowrank(net, { energy = energy })
      for _, row in ipairs(report.layers) do
        local function of(what) return golden[("%s.%g.%s"):format(what, energy, row.name)] end
        local m, n = row.shape[1], golden["w." .. row.name]:numel() // row.shape[1]
        local rank = of("rank"):item()
        if rank * (m + n) < m * n then
          equal(row.rank, rank, row.name)
          near(row.kept_energy, of("kept"):item(), 1e-12)
          check(distance(dense(new[row.name], row.shape):to "f64", of "near") < bound, row.name)
          equal(row.flops, nil) -- the input's shape is not known
        else
          equal({ row.rank, row.reason }, { nil, "no rank that keeps the energy has fewer FLOPs" })
        end
      end
      local x, y = golden.x:to(dtype), golden[("y.%g"):format(energy)]
      if #new.conv1 == 2 then check(distance(new.conv1(x):to "f64", y) < 5 * bound, "stride, padding, dilation") end
    end
  end
end)

local Branchy = nn.class "Branchy" -- convolutions in a class of the user's and in a Sequential
function Branchy:init()
  self.stem = nn.Conv2d{ in_channels = 2, out_channels = 12, kernel_size = { 3, 5 }, stride = 2, padding = { 1, 2 } }
  self.body = nn.Sequential(
    nn.ReLU(),
    nn.Conv2d{ in_channels = 12, out_channels = 16, kernel_size = 3, dilation = 2, padding = 2, bias = false },
    nn.BatchNorm2d{ num_features = 16 }, nn.ReLU(),
    nn.Conv2d{ in_channels = 16, out_channels = 16, kernel_size = 3, padding = 1, groups = 4 })
  self.fc = nn.Linear{ in_features = 16, out_features = 9 }
end
function Branchy:forward(x)
  local y = self.body(self.stem(x))
  return self.fc(nn.GlobalAvgPool2d()(y))
end

test("lowrank at full rank computes the same", function()
  for _, case in ipairs{ { "f32", 1e-5 }, { "f64", 1e-12 } } do
    local dtype, bound = case[1], case[2]
    local net = Branchy():to(dtype)
    local x = wattle.randn{ 3, 2, 13, 11, dtype = dtype }
    local new, report = compress.lowrank(net, { full = true, input = { 2, 13, 11 } })
    equal(report.layers[1].rank, 12)
    equal(report.layers[2].rank, 16)
    equal(report.layers[3].reason, "its convolution has 4 groups")
    equal(report.layers[4].rank, 9)
    equal({ report.level, report.level_unit }, { 1, "energy_kept" })
    equal(new.stem[1].weight:tensor().dtype, dtype)
    local names = {}
    for name in new:named_parameters() do names[#names + 1] = name end
    equal(table.concat(names, " "), "stem.0.weight stem.1.weight stem.1.bias body.1.0.weight body.1.1.weight "
      .. "body.2.weight body.2.bias body.4.weight body.4.bias fc.0.weight fc.1.weight fc.1.bias")
    check(report.flops_per_image > report.flops_per_image_before, "full rank costs more, and was asked for")
    for _, training in ipairs{ true, false } do
      check(distance(new:clone():train(training)(x), net:clone():train(training)(x)) < bound)
    end
    local a = net:compile{ input = { 3, 2, 13, 11 } }:forward(x)
    check(distance(new:compile{ input = { 3, 2, 13, 11 } }:forward(x), a) < bound, "compiled")
  end
end)

test("lowrank of convolutions executes fewer FLOPs", function()
  local net = Branchy()
  local before = net:state_dict()
  local new, report = compress.lowrank(net, { energy = 0.5, input = { 2, 13, 11 } })
  local function executed(model)
    return model:compile{ input = { 1, 2, 13, 11 }, backend = "reference" }:info().forward_flops
  end
  equal(report.flops_per_image_before, executed(net))
  equal(report.flops_per_image, executed(new))
  check(executed(new) < executed(net))
  local saved = 0
  for _, row in ipairs(report.layers) do
    if row.rank then
      check(row.kept_energy >= 0.5 and row.flops_after < row.flops and row.params_after < row.params, row.name)
      saved = saved + row.flops - row.flops_after
    end
  end
  equal(executed(net) - executed(new), saved)
  equal(report.layers[1].flops, 2 * 7 * 6 * 12 * 2 * 15) -- 7 x 6 positions
  check(report.description:find "^%d of 4 layers became two of lower rank")
  check(same_state(before, net:state_dict()), "the original is as it was")
  local plan = new:compile{ input = { 4, 2, 13, 11 }, loss = "cross_entropy", optimizer = { "sgd", lr = 0.1 } }
  plan:step(wattle.randn{ 4, 2, 13, 11 }, wattle.tensor({ 0, 1, 2, 3 }, "i64"))
  local bare, one = compress.lowrank(net.stem, { energy = 0.5, input = { 2, 13, 11 } })
  equal(#bare, 2)
  equal({ one.layers[1].flops, one.layers[1].flops_after }, { one.flops_per_image_before, one.flops_per_image })
end)

test("what lowrank made is saved and loaded", function()
  local path = os.tmpname()
  local small = compress.lowrank(Branchy(), { energy = 0.6 })
  check(wattle.save(path, small:state_dict()))
  local back = compress.lowrank_like(Branchy(), wattle.load(path))
  os.remove(path)
  equal(tostring(back), tostring(small))
  check(same_state(small:state_dict(), back:state_dict()))
  local x = wattle.randn{ 2, 2, 13, 11 }
  check(small(x):equal(back(x)))
  local bare = compress.lowrank(of_rank(20, 20, 2):to "f64", { energy = 0.9999 })
  local again = compress.lowrank_like(of_rank(20, 20, 2):to "f64", bare:state_dict())
  check(same_state(bare:state_dict(), again:state_dict()))
  local plain = Branchy()
  check(same_state(plain:state_dict(), compress.lowrank_like(Branchy(), plain:state_dict()):state_dict()))
  local dict = small:state_dict()
  dict["stem.0.weight"] = nil
  raises(function() compress.lowrank_like(Branchy(), dict) end, "stem.1.weight")
  raises(function() compress.lowrank_like(Branchy(), 3) end, "state dict")
end)

test("lowrank leaves classes derived from a layer alone, and says so", function()
  local Own = nn.class("Own", nn.Linear)
  local _, report = compress.lowrank(nn.Sequential(Own{ in_features = 9, out_features = 9 }), { energy = 0.1 })
  check(report.layers[1].reason:find "derived")
end)

test("truncation with its arm outlives lowrank, under the new names", function()
  local cut = compress.scr(Branchy(), { bits = 9, arm = "random", seed = 4, master = true })
  local new = compress.lowrank(cut, { energy = 0.5 })
  for name, p in new:named_parameters() do
    local known = name:find "bias" and name:gsub("%.1%.bias", ".bias") or name -- a bias is the old one
    equal(p:truncation(), { bits = 9, arm = "random", seed = 4, master = true, name = known })
    check(p:tensor():equal(drawn(p:master(), p:truncation(), p:redraws() - 1)), name)
  end
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

test("FLOPs of weights that are not 0", function()
  local mlp = wattle.models.create("mlp", { seed = 1 })
  local dense, same = compress.flops_per_image(mlp)
  equal(same, dense)
  local pruned, report = compress.prune(mlp, { amount = 0.8 })
  local executed, nonzero = compress.flops_per_image(pruned)
  equal(executed, dense)
  near(nonzero, dense - 2 * (report.nonzeros_before - wattle.nonzeros(pruned)), 1e-3) -- each weight is used once
  equal(report.flops_nonzero_per_image, nonzero)
  -- A convolution's weights are used at every position, a shared layer's twice; batch norm's zeros do not count.
  local conv = nn.Conv2d{ in_channels = 1, out_channels = 1, kernel_size = 3, padding = 1, bias = false }
  local bn = nn.BatchNorm2d{ num_features = 1 }
  conv.weight:assign(wattle.tensor{ { { { 0, 1, 2 }, { 0, 0, 0 }, { 3, 0, 4 } } } })
  bn.weight:assign(wattle.zeros{ 1 })
  executed, nonzero = compress.flops_per_image(nn.Sequential(conv, bn, conv), { 1, 6, 7 })
  near(executed - nonzero, 2 * 42 * 2 * 5, 1e-6)
end)

test("compression refuses what it cannot do", function()
  local mlp = wattle.models.create("mlp", { hidden = {} })
  raises(function() compress.scr(mlp, { bits = 24 }) end, "from 0 to 23, got 24; .* exponent and sign")
  raises(function() compress.scr(mlp, { bits = 1.5 }) end, "integer")
  raises(function() compress.scr(mlp, { bits = 1, arm = "randon" }) end, "arm must be one of .*did you mean 'random'")
  raises(function() compress.scr(mlp, { bits = 1, arm = "once", master = true }) end, "once")
  raises(function() compress.scr(mlp, { bits = 1, master = 1 }) end, "master")
  raises(function() compress.scr(mlp, { bits = 1, seed = 0.5 }) end, "seed")
  raises(function() compress.scr(nn.Linear{ in_features = 2, out_features = 2 }:to "f64", { bits = 1 }) end, "f64")
  raises(function() compress.scr(3, { bits = 1 }) end, "model")
  raises(function() compress.prune(mlp, { amount = 1 }) end, "below 1")
  raises(function() compress.prune(mlp, { amount = 0.5, scope = "locale" }) end, "scope")
  raises(function() compress.prune(nn.Sequential(nn.ReLU()), { amount = 0.5 }) end, "no Conv2d or Linear")
  raises(function() compress.lowrank(mlp, { energy = 0 }) end, "energy")
  raises(function() compress.lowrank(mlp, { engery = 1 }) end, "energy")
  raises(function() compress.lowrank(mlp, { energy = 1, full = true }) end, "not both")
  raises(function() compress.lowrank(mlp, {}) end, "energy must be a number")
end)

test("a model of which one parameter cannot be converted stays as it was", function()
  local model = lenet()
  local list = model:parameters()
  list[#list].param:truncation{ bits = 4, arm = "zero", name = "last" }
  raises(function() model:to "f64" end, "to: the low bits of " .. list[#list].name:gsub("%.", "%%.") .. " are truncated")
  for _, entry in ipairs(list) do equal(entry.param:tensor().dtype, "f32", entry.name) end
  check(model:to "f32" == model)
end)
