-- Fine-tuning: freezing by name, a head and groups of their own, losses of auxiliary heads, evaluation's table.

local wattle = require "wattle"
local nn, ops = wattle.nn, wattle.ops
local t = require "harness"
local test, check, equal, near, raises = t.test, t.check, t.equal, t.near, t.raises

wattle.threads(1)

-- Two convolutions with batch norms and a head, on 8 x 8 images.
local Net = nn.class "Net"
function Net:init()
  self.conv1 = nn.Conv2d{ in_channels = 1, out_channels = 4, kernel_size = 3, padding = 1, bias = false }
  self.bn1 = nn.BatchNorm2d{ num_features = 4 }
  self.conv2 = nn.Conv2d{ in_channels = 4, out_channels = 4, kernel_size = 3, padding = 1, bias = false }
  self.bn2 = nn.BatchNorm2d{ num_features = 4 }
  self.fc = nn.Linear{ in_features = 4, out_features = 3 }
end
function Net:forward(x)
  x = nn.relu(self.bn1(self.conv1(x)))
  x = nn.relu(self.bn2(self.conv2(x)))
  return self.fc(nn.global_avg_pool2d(x))
end

local function batch()
  wattle.manual_seed(5)
  return wattle.randn{ 6, 1, 8, 8 }, wattle.tensor({ 0, 1, 2, 0, 1, 2 }, "i64")
end

local function trained(model, o)
  local plan <close> = model:compile{ input = { 6, 1, 8, 8 }, loss = "cross_entropy", optimizer = o or { "sgd", lr = 0.1 } }
  local x, y = batch()
  for _ = 1, 3 do plan:step(x, y) end
  return model:state_dict()
end

-- Names whose values differ.
local function changed(a, b)
  local list = {}
  for _, name in ipairs(a) do
    if not a[name]:equal(b[name]) then list[#list + 1] = name end
  end
  return table.concat(list, " ")
end

test("what is frozen does not change, statistics too where asked", function()
  local model = nn.initialise(Net(), 1)
  local before = model:state_dict()
  equal(model:freeze "^conv1", 1)
  equal(model:freeze("^bn1%.", { statistics = true }), 2)
  equal(changed(before, trained(model)), "conv2.weight bn2.weight bn2.bias bn2.running_mean bn2.running_var fc.weight fc.bias")
  local middle = model:state_dict()
  equal(model:unfreeze "^[cb][on]n?v?1", 3)
  equal(changed(middle, trained(model)), table.concat(middle, " "))
  middle = model:state_dict()
  model:freeze ""
  equal(model:unfreeze "^fc%.", 2)
  equal(changed(middle, trained(model)),
        "bn1.running_mean bn1.running_var bn2.running_mean bn2.running_var fc.weight fc.bias")
end)

test("a frozen batch norm computes with its running statistics, as PyTorch's in evaluation does", function()
  local model = nn.initialise(Net(), 1)
  trained(model)
  local x = batch()
  local want = model:compile{ input = { 6, 1, 8, 8 }, mode = "eval" }:forward(x)
  model:freeze("", { statistics = true })
  local got = model:compile{ input = { 6, 1, 8, 8 }, loss = "cross_entropy" }:forward(batch())
  local d = got + want * -1
  near(math.max(d:max(), -d:min()), 0, 1e-5)
end)

test("a plan made before freezing is stale", function()
  local model = nn.initialise(Net(), 1)
  local plan = model:compile{ input = { 6, 1, 8, 8 }, loss = "cross_entropy", optimizer = { "sgd", lr = 0.1 } }
  model:freeze("^bn1%.", { statistics = true })
  raises(function() plan:step(batch()) end, "the model changed since it was compiled")
end)

test("a group's learning rate is its own", function()
  local model = nn.initialise(Net(), 1)
  local before = model:state_dict()
  local after = trained(model, { "sgd", lr = 0.1, groups = { { match = "^conv", lr = 0 }, { match = "^bn", lr = 0 } } })
  equal(changed(before, after), "bn1.running_mean bn1.running_var bn2.running_mean bn2.running_var fc.weight fc.bias")
end)

test("mistakes of freezing say what to do", function()
  local model = nn.initialise(Net(), 1)
  raises(function() model:freeze "^layer1" end, "no parameter's name matches '^layer1'")
  raises(function() model:freeze "%" end, "freeze: malformed pattern")
  raises(function() model:freeze(3) end, "a Lua pattern of parameter names")
  raises(function() model:freeze("^fc", { statistic = true }) end, "did you mean 'statistics'")
  raises(function() model:unfreeze "^layer1" end, "unfreeze: no parameter's name matches")
end)

test("a named loss counts auxiliary heads by aux_weights", function()
  local Two = nn.class "Two"
  Two.aux_weights = { 0.25 }
  function Two:init()
    self.a = nn.Linear{ in_features = 4, out_features = 3 }
    self.b = nn.Linear{ in_features = 4, out_features = 3 }
  end
  function Two:forward(x)
    if self.training then return self.a(x), self.b(x) end
    return self.a(x)
  end
  local model = nn.initialise(Two(), 2)
  local x, y = wattle.randn{ 5, 4 }, wattle.tensor({ 0, 1, 2, 1, 0 }, "i64")
  local plan = model:compile{ input = { 5, 4 }, loss = "cross_entropy" }
  local want = ops.cross_entropy(model.a(x), y):item() + 0.25 * ops.cross_entropy(model.b(x), y):item()
  local loss, correct = plan:step(x, y)
  near(loss, want, 1e-6)
  local _, alone = model:compile{ input = { 5, 4 }, loss = "cross_entropy", mode = "eval" }:evaluate(x, y)
  equal(correct, alone) -- the first output is the one that counts
  Two.aux_weights = { 0.25, 0.5 }
  raises(function() model:compile{ input = { 5, 4 }, loss = "cross_entropy" } end, "takes one output and one target, got 3")
  Two.aux_weights = nil
  raises(function() model:compile{ input = { 5, 4 }, loss = "cross_entropy" } end, "aux_weights")
end)

test("evaluate prints its confusion matrix", function()
  local images = wattle.zeros{ 4, 2, 2, dtype = "u8" }
  local ds = wattle.data.tensors{ images = images, labels = wattle.tensor({ 0, 1, 1, 1 }, "u8"), classes = { "cat", "dog" } }
  local model = nn.Sequential{ nn.Flatten(), nn.Linear{ in_features = 4, out_features = 2 } }
  nn.init.constant(model[2].weight, 0)
  model[2].bias:assign(wattle.tensor{ 0, 1 })
  local result = wattle.evaluate(model, ds)
  equal(result.confusion[0][1], 1)
  equal(result.confusion[1][1], 3)
  equal(tostring(result), [[
top-1 75.00 % of 4, macro F1 0.429, loss 0.5633

label \ predicted  0  1  recall, %
-----------------  -  -  ---------
0 cat              0  1        0.0
1 dog              0  3      100.0
]])
end)

test("a fit's checkpoint belongs to what was frozen", function()
  local path = os.tmpname()
  os.remove(path)
  local ds = wattle.data.tensors{ images = wattle.rand{ 12, 1, 8, 8 }, labels = wattle.tensor({ 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2 }, "u8") }
  local function fit(freeze)
    local model = nn.initialise(Net(), 1)
    if freeze then model:freeze("^bn1", { statistics = true }) end
    return wattle.fit{ model = model, data = { train = ds }, epochs = 2, batch_size = 4, seed = 1, checkpoint = path,
                       optimizer = { "sgd", lr = 0.1 }, progress = false }
  end
  check(not fit(true)[2].resumed)
  check(fit(true)[2].resumed)
  raises(function() fit(false) end, "frozen was true, now it is not given")
  os.remove(path)
end)
