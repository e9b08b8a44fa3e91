-- wattle.models: names, shapes, sizes and errors of the families in models/.

local wattle = require "wattle"
local models = wattle.models
local t = require "harness"
local test, check, equal, near, raises = t.test, t.check, t.equal, t.near, t.raises

local function names(model)
  local out = {}
  for i, entry in ipairs(model:parameters()) do out[i] = entry.name end
  return table.concat(out, " ")
end

test("mlp is LeCun's 784-300-100-10", function()
  local mlp = models.create "mlp"
  equal(names(mlp), "fc1.weight fc1.bias fc2.weight fc2.bias fc3.weight fc3.bias")
  equal(mlp:num_parameters(), 266610)
  local softmax = models.create("mlp", { hidden = {}, num_classes = 3, in_channels = 3, image_size = 8 })
  equal(softmax:num_parameters(), 579)
  equal(mlp(wattle.rand{ 2, 1, 28, 28 }):size(1), 10)
end)

test("lenet5", function()
  local lenet = models.create "lenet5"
  equal(names(lenet), "conv1.weight conv1.bias conv2.weight conv2.bias fc1.weight fc1.bias fc2.weight "
    .. "fc2.bias fc3.weight fc3.bias")
  equal(lenet:num_parameters(), 61706)
  equal(lenet(wattle.rand{ 2, 1, 28, 28 }):size(1), 10)
  equal(models.create("lenet5", { image_size = 32, in_channels = 3 })(wattle.rand{ 1, 3, 32, 32 }):size(1), 10)
  raises(function() models.create("lenet5", { image_size = 8 }) end, "image_size")
end)

-- 6n + 2 layers of width w on one channel: counted apart from the modules.
local function resnet_size(depth, w, classes)
  local n, total = (depth - 2) // 6, 9 * w + 2 * w
  local cin = w
  for stage = 0, 2 do
    local cout = w << stage
    for block = 1, n do
      total = total + 9 * cin * cout + 9 * cout * cout + 4 * cout
      if cin ~= cout then total = total + cin * cout + 2 * cout end
      check(block == 1 or cin == cout)
      cin = cout
    end
  end
  return total + cin * classes + classes
end

test("resnets of any depth 6n + 2 and width", function()
  local net = models.create("resnet8", { width = 8 })
  equal(names(net), "conv1.weight bn1.weight bn1.bias layer1.0.conv1.weight layer1.0.bn1.weight layer1.0.bn1.bias "
    .. "layer1.0.conv2.weight layer1.0.bn2.weight layer1.0.bn2.bias layer2.0.conv1.weight layer2.0.bn1.weight "
    .. "layer2.0.bn1.bias layer2.0.conv2.weight layer2.0.bn2.weight layer2.0.bn2.bias layer2.0.shortcut.0.weight "
    .. "layer2.0.shortcut.1.weight layer2.0.shortcut.1.bias layer3.0.conv1.weight layer3.0.bn1.weight "
    .. "layer3.0.bn1.bias layer3.0.conv2.weight layer3.0.bn2.weight layer3.0.bn2.bias layer3.0.shortcut.0.weight "
    .. "layer3.0.shortcut.1.weight layer3.0.shortcut.1.bias fc.weight fc.bias")
  for _, case in ipairs{ { 8, 8 }, { 8, 16 }, { 14, 5 }, { 20, 16 }, { 26, 4 } } do
    local depth, width = case[1], case[2]
    equal(models.create("resnet" .. depth, { width = width }):num_parameters(), resnet_size(depth, width, 10))
  end
  equal(net(wattle.rand{ 2, 1, 28, 28 }):size(1), 10)
  local odd = models.create("resnet8", { width = 2, in_channels = 3, num_classes = 7 })
  equal(odd(wattle.rand{ 1, 3, 9, 9 }):size(1), 7)
end)

test("a model is drawn when it is made, by its seed", function()
  local a = models.create("resnet8", { width = 2, seed = 3 }):state_dict()
  wattle.manual_seed(3)
  local b = models.create("resnet8", { width = 2 }):state_dict()
  wattle.manual_seed(0)
  for _, name in ipairs(a) do check(a[name]:equal(b[name]), name) end
  local c = models.create("resnet8", { width = 2, seed = 4 }):state_dict()
  check(not a["fc.weight"]:equal(c["fc.weight"]))
end)

test("plans agree with eager calls in eval mode", function()
  for _, name in ipairs{ "mlp", "lenet5", "resnet8" } do
    local model = models.create(name, { seed = 1 }):eval()
    local x = wattle.rand{ 3, 1, 28, 28 }
    local d = model:compile{ input = { 3, 1, 28, 28 } }:forward(x) + model(x) * -1
    near(math.max(d:max(), -d:min()), 0, 1e-4)
  end
end)

test("unknown names and options suggest the nearest", function()
  raises(function() models.create "resnet9" end, "resnet")
  raises(function() models.create "lenet" end, 'did you mean "lenet5"')
  raises(function() models.create "resnet50" end, "no model")
  raises(function() models.create("mlp", { hiden = { 3 } }) end, "hidden")
  raises(function() models.create("resnet8", { width = 0 }) end, "at least 1")
  raises(function() models.create(3) end, "must be a string")
  check(table.concat(models.list(), " "):find "lenet5 mlp resnet8")
end)
