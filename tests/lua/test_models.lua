-- wattle.models: names, shapes, sizes and errors of the families in models/. ImageNet's networks against torchvision's
-- (tests/golden/models.csv, made by make_models.py); how they compute is test_zoo.lua's.

local wattle = require "wattle"
local models = wattle.models
local t = require "harness"
local core, nn, module, weights = wattle.core, wattle.nn, require "wattle.nn.module", require "wattle.weights"
local test, check, equal, near, raises = t.test, t.check, t.equal, t.near, t.raises

local scratch = os.tmpname()
local golden = debug.getinfo(1, "S").source:match "^@(.-)[^/]*$" .. "../golden/"

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
  raises(function() models.create "resnet51" end, 'did you mean "resnet50"')
  raises(function() models.create("mlp", { hiden = { 3 } }) end, "hidden")
  raises(function() models.create("resnet8", { width = 0 }) end, "at least 1")
  raises(function() models.create(3) end, "must be a string")
  check(table.concat(models.list(), " "):find "lenet5 mlp ")
end)

-- ---- ImageNet's networks -------------------------------------------------------------------------------------

local families, imagenet = {}, {} -- by the names of their models; the names of those that published weights fit
for _, file in ipairs(core.listdir(wattle.home .. "/models")) do
  local family = file:find "%.lua$" and assert(loadfile(wattle.home .. "/models/" .. file))()
  for _, name in ipairs(family and family.names or {}) do
    families[name] = family
    if family.stem then imagenet[#imagenet + 1] = name end
  end
end
table.sort(imagenet)

-- A model whose values are neither drawn nor loaded: nothing may read them.
local function bare(name, options)
  local o = { num_classes = 1000, in_channels = 3, image_size = families[name].defaults.image_size }
  for key, value in pairs(options or {}) do o[key] = value end
  return module.deferred(function() return families[name].create(name, o) end)
end

-- name -> "size size ..." of each tensor, and the names in order.
local function shapes(model)
  local shape, order, numbers = {}, {}, { parameter = 0, buffer = 0 }
  for i, entry in ipairs(module.entries(model, nil, true)) do
    order[i], shape[entry.name] = entry.name, table.concat(entry.param:tensor():shape(), " ")
    numbers[entry.kind] = numbers[entry.kind] + entry.param:tensor():numel()
  end
  return shape, order, numbers
end

local function matches(name, patterns)
  for _, pattern in ipairs(patterns) do
    if name:find(pattern) then return true end
  end
  return false
end

local table_of = {} -- golden rows by name
for i, row in ipairs(assert(core.csv_read(golden .. "models.csv"))) do
  if i > 1 then table_of[row[1]] = { tonumber(row[2]), tonumber(row[3]), row[4] } end
end

test("names, order, shapes and numbers of parameters are torchvision's", function()
  local compared = 0
  for _, name in ipairs(imagenet) do
    local row = table_of[name]
    if not matches(name, { "^xception", "^nasnet" }) then -- which torchvision lacks
      check(row, name .. " is not in models.csv")
      local shape, order, numbers = shapes(bare(name))
      equal({ name, numbers.parameter, numbers.buffer }, { name, row[1], row[2] })
      local lines = {}
      for i, entry in ipairs(order) do lines[i] = entry .. " " .. shape[entry] .. "\n" end
      assert(core.write_file(scratch, table.concat(lines)))
      equal({ name, core.sha256_file(scratch) }, { name, row[3] })
      compared = compared + 1
    end
  end
  local rows = 0
  for name in pairs(table_of) do
    check(families[name], "no model " .. name)
    rows = rows + 1
  end
  equal(compared, rows)
end)

test("classes and channels change the head and the stem alone", function()
  for _, name in ipairs(imagenet) do
    local family = families[name]
    local shape = shapes(bare(name))
    local other, order = shapes(bare(name, { num_classes = 7, in_channels = 1 }))
    local heads, stems = 0, 0
    for _, entry in ipairs(order) do
      local is_head = matches(entry, family.head)
      equal({ name, entry, other[entry] ~= shape[entry] }, { name, entry, is_head or entry == family.stem })
      if is_head then
        heads = heads + 1
        check(other[entry]:find "^7", entry)
      elseif entry == family.stem then
        stems = stems + 1
        equal({ other[entry]:match "^%d+ (%d+)" }, { "1" })
      end
    end
    check(heads >= 2 and heads % 2 == 0, name)
    equal(stems, 1)
  end
end)

test("auxiliary heads are optional", function()
  for name, outputs in pairs{ googlenet = 2, inception_v3 = 1 } do
    local whole, order = shapes(bare(name))
    local without = shapes(bare(name, { aux_logits = false }))
    local absent = 0
    for _, entry in ipairs(order) do
      local is_aux = matches(entry, families[name].optional)
      equal({ entry, without[entry] }, { entry, not is_aux and whole[entry] or nil })
      absent = absent + (is_aux and 1 or 0)
    end
    check(absent > 10)
    equal(#bare(name).aux_weights, outputs)
    raises(function() bare(name, { aux_logits = 1 }) end, name .. ": aux_logits must be true or false")
  end
end)

test("GoogLeNet gives logits, and in training the auxiliary heads' beside them", function()
  local x = wattle.rand{ 2, 3, 15, 15 }
  local net = models.create("googlenet", { num_classes = 3, dropout = 0, dropout_aux = 0 })
  local logits, aux2, aux1, more = net(x)
  equal({ logits:shape(), aux2:shape(), aux1:shape(), more == nil }, { { 2, 3 }, { 2, 3 }, { 2, 3 }, true })
  check(not aux1:equal(aux2))
  net.aux1.fc2.bias:assign(wattle.full({ 3 }, 50))
  check(select(3, net(x)):min() > 40 and select(2, net(x)):max() < 40) -- the last is aux1's
  equal(select("#", net:eval()(x)), 1)
  equal(select("#", models.create("googlenet", { aux_logits = false, num_classes = 3 })(x)), 1)
end)

test("Inception says which images its auxiliary head takes", function()
  local net = bare("inception_v3", { num_classes = 3 })
  local input = { input = { 1, 3, 298, 298 }, loss = "cross_entropy" }
  raises(function() net:compile(input) end, "from 299x299; smaller ones, from 75x75, need aux_logits = false")
end)

test("transform_input turns ImageNet's normalization into Inception's", function()
  local mean, deviation = { 0.485, 0.456, 0.406 }, { 0.229, 0.224, 0.225 }
  local pixel = { 0.1, 0.5, 0.9 }
  local x, want = wattle.zeros{ 1, 3, 15, 15 }, wattle.zeros{ 1, 3, 15, 15 }
  for c = 1, 3 do
    x:narrow(1, c - 1, 1):fill_((pixel[c] - mean[c]) / deviation[c])
    want:narrow(1, c - 1, 1):fill_((pixel[c] - 0.5) / 0.5)
  end
  local seen
  local Probe = nn.class "Probe"
  function Probe:init(layer) self.layer = layer end
  function Probe:forward(y)
    seen = y
    return self.layer(y)
  end
  for _, on in ipairs{ true, false } do
    local net = models.create("googlenet", { transform_input = on, num_classes = 3 }):eval()
    net.conv1 = Probe(net.conv1)
    net(x)
    local d = seen - (on and want or x)
    near(math.max(d:max(), -d:min()), 0, 1e-6)
  end
  equal(bare("googlenet", { pretrained = true }).transform_input, true)
  equal(bare("googlenet", { pretrained = true, transform_input = false }).transform_input, false)
  equal(bare("inception_v3", { pretrained = true, in_channels = 1 }).transform_input, false)
  equal(bare("inception_v3").transform_input, false)
  raises(function() bare("inception_v3", { transform_input = true, in_channels = 1 }) end, "3 channels, not 1")
  raises(function() bare("inception_v3", { transform_input = "yes" }) end, "transform_input must be true or false")
end)

-- Mean, standard deviation and largest magnitude of a parameter.
local function moments(model, path)
  local owner, name = path:match "^(.*)%.([^.]*)$"
  local v = model:get_submodule(owner)[name]:tensor()
  local mean = v:mean():item()
  return mean, math.sqrt(((v - mean) * (v - mean)):mean():item()), math.max(v:max(), -v:min())
end

test("values begin as torchvision's", function()
  local cases = {
    { "resnet18", { num_classes = 512 }, { ["layer1.0.conv1.weight"] = math.sqrt(2 / (64 * 9)),
        ["layer4.0.downsample.0.weight"] = math.sqrt(2 / 512), ["fc.weight"] = 1 / math.sqrt(3 * 512) } },
    { "densenet121", { num_classes = 512 }, { ["features.transition1.conv.weight"] = math.sqrt(2 / 256),
        ["classifier.weight"] = 1 / math.sqrt(3 * 1024), ["classifier.bias"] = 0 } },
    { "googlenet", { num_classes = 512 }, { ["inception4a.branch1.conv.weight"] = 0.01, ["aux1.fc1.weight"] = 0.01,
        ["fc.weight"] = 0.01, ["fc.bias"] = 1 / math.sqrt(3 * 1024) } },
    { "inception_v3", { num_classes = 512 }, { ["Mixed_6b.branch1x1.conv.weight"] = 0.1, ["AuxLogits.conv1.conv.weight"] = 0.1,
        ["AuxLogits.fc.weight"] = 0.001, ["fc.weight"] = 0.1 } },
  }
  for _, case in ipairs(cases) do
    local net = models.create(case[1], case[2])
    for path, want in pairs(case[3]) do
      local mean, sd = moments(net, path)
      check(math.abs(sd - want) <= 0.05 * want, ("%s %s: sd %g, want %g"):format(case[1], path, sd, want))
      check(math.abs(mean) <= (path:find "bias" and 0.2 or 0.02) * want, path)
    end
  end
  local zero = models.create("resnet18", { zero_init_residual = true })
  equal({ select(3, moments(zero, "layer3.1.bn2.weight")), select(3, moments(zero, "layer3.1.bn1.weight")) }, { 0, 1 })
  equal(select(3, moments(models.create "resnet18", "layer3.1.bn2.weight")), 1)
end)

test("VGG's classifier begins as torchvision's", function()
  local net = bare("vgg11", { num_classes = 512 })
  net.classifier[1].weight:assign(wattle.zeros{ 4096, 25088 }) -- spares drawing them
  net.classifier[4].weight:assign(wattle.zeros{ 4096, 4096 })
  nn.initialise(net, 1)
  near(select(2, moments(net, "classifier.6.weight")), 0.01, 1e-4)
  near(select(2, moments(net, "features.3.weight")), math.sqrt(2 / (128 * 9)), 1e-3)
  equal({ select(3, moments(net, "classifier.6.bias")), select(3, moments(net, "features.3.bias")) }, { 0, 0 })
end)

test("dropout options reach the dropouts", function()
  local function dropouts(model)
    local found = {}
    for _, entry in ipairs(model:modules()) do
      if entry.module.p then found[#found + 1] = entry.name .. "=" .. entry.module.p end
    end
    return table.concat(found, " ")
  end
  equal(dropouts(bare "vgg11"), "classifier.2=0.5 classifier.5=0.5")
  equal(dropouts(bare("vgg11", { dropout = 0.25 })), "classifier.2=0.25 classifier.5=0.25")
  equal(dropouts(bare "alexnet"), "classifier.0=0.5 classifier.3=0.5")
  equal(dropouts(bare("alexnet", { dropout = 0 })), "classifier.0=0 classifier.3=0")
  equal(dropouts(bare("googlenet", { dropout_aux = 0.5 })), "aux1.dropout=0.5 aux2.dropout=0.5 dropout=0.2")
  equal(dropouts(bare "inception_v3"), "dropout=0.5")
  equal(dropouts(bare("inception_v3", { dropout = 0.1 })), "dropout=0.1")
  equal(dropouts(bare "densenet121"), "")
  equal(select(2, dropouts(bare("densenet121", { drop_rate = 0.1 })):gsub("dropout=0.1", "")), 58)
  raises(function() bare("densenet121", { drop_rate = 1.5 }) end, "from 0 to 1")
end)

test("the smallest images", function()
  for name, side in pairs{ resnet18 = 1, densenet121 = 29, googlenet = 15 } do
    local net = models.create(name, { num_classes = 2, seed = 1 }):eval()
    equal(net(wattle.rand{ 1, 3, side, side }):shape(), { 1, 2 })
    if side > 1 then raises(function() net(wattle.rand{ 1, 3, side - 1, side - 1 }) end, "larger than the image") end
  end
  local refusals = { alexnet = "larger than the image", inception_v3 = "larger than", xception = "at least 7 x 7",
                     convnext_tiny = "at least 32 x 32" }
  for name, side in pairs{ alexnet = 63, inception_v3 = 75, xception = 7, convnext_tiny = 32 } do
    local net = bare(name)
    raises(function() net:compile{ input = { 1, 3, side - 1, side - 1 } } end, refusals[name])
    net:compile{ input = { 1, 3, side, side } }:close()
  end
end)

test("DenseNet's published files, whose names have one dot more", function()
  local family = families.densenet121
  local _, order = shapes(bare "densenet121")
  equal(family.keys("densenet121", order), nil)
  local old = {}
  for i, name in ipairs(order) do old[i] = name:gsub("(denselayer%d+%.%a+)([12])%.", "%1.%2.") end
  local map_of = family.keys("densenet121", old)
  local changed = 0
  for i, name in ipairs(old) do
    equal(map_of[name] or name, order[i])
    changed = changed + (name ~= order[i] and 1 or 0)
  end
  equal(changed, 58 * 10) -- layers; two batch norms of 4 and two convolutions of 1
  equal(map_of["features.denseblock1.denselayer1.norm.1.weight"], "features.denseblock1.denselayer1.norm1.weight")
end)

test("timm's VGG, whose first linear layers are convolutions", function()
  local keys = families.vgg16.keys
  local shape, order = shapes(bare "vgg16")
  equal(keys("vgg16", order), nil)
  local names, file = { "features.0.weight", "features.0.bias" }, {}
  for name, sizes in pairs{ ["pre_logits.fc1"] = { 4096, 512, 7, 7 }, ["pre_logits.fc2"] = { 4096, 4096, 1, 1 },
                            ["head.fc"] = { 1000, 4096 } } do
    names[#names + 1], file[name .. ".weight"] = name .. ".weight", wattle.zeros(sizes)
    names[#names + 1], file[name .. ".bias"] = name .. ".bias", wattle.zeros{ sizes[1] }
  end
  file["features.0.weight"], file["features.0.bias"] = wattle.zeros{ 64, 3, 3, 3 }, wattle.zeros{ 64 }
  for i, name in ipairs(names) do file[i] = name end
  local ours = weights.rename(file, keys("vgg16", names))
  for _, name in ipairs{ "features.0.weight", "features.0.bias", "classifier.0.weight", "classifier.0.bias",
                         "classifier.3.weight", "classifier.3.bias", "classifier.6.weight", "classifier.6.bias" } do
    equal({ name, table.concat(ours[name]:shape(), " ") }, { name, shape[name] })
  end
  equal(#ours, 8)
end)

os.remove(scratch)

test("training steps of the zoo's networks allocate nothing", function()
  for _, name in ipairs{ "mobilenet_v2", "efficientnet_b0", "densenet121", "googlenet" } do
    local model = models.create(name, { num_classes = 10, image_size = 64, seed = 1 })
    local plan <close> = model:compile{ input = { 2, 3, 64, 64 }, loss = "cross_entropy", optimizer = { "adamw", lr = 1e-4 } }
    local x, y = wattle.rand{ 2, 3, 64, 64 }, wattle.tensor({ 1, 2 }, "i64")
    plan:step(x, y)
    collectgarbage "stop"
    local lua, core = collectgarbage "count", wattle.core.memory().allocations
    for _ = 1, 3 do plan:step(x, y) end
    local grown, more = collectgarbage "count" - lua, wattle.core.memory().allocations - core
    collectgarbage "restart"
    equal(more, 0, name)
    check(grown < 1, ("%s: Lua's memory grew by %.1f kB"):format(name, grown)) -- the table that memory() returns
  end
end)
