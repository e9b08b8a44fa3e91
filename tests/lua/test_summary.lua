-- wattle.summary and `wattle summary`: figures against PyTorch by torchinfo's definitions (tests/golden/summary.csv), the
-- text, models of one's own, mistakes.

local wattle = require "wattle"
local t = require "harness"
local test, check, equal, raises = t.test, t.check, t.equal, t.raises
local core, nn = wattle.core, wattle.nn

local program = os.getenv "WATTLE_PROGRAM" or arg[-1]

local function run(arguments)
  local pipe = assert(io.popen(("'%s' summary %s 2>&1"):format(program, arguments)))
  local said = pipe:read "a"
  local ok, _, code = pipe:close()
  return ok and 0 or code, said
end

-- The fixture: {[model] = {layers in order, total =}}.
local function fixture()
  local lines = assert(core.csv_read "tests/golden/summary.csv")
  local out = {}
  for i = 2, #lines do
    local row = {}
    for k, name in ipairs(lines[1]) do row[name] = tonumber(lines[i][k]) or lines[i][k] end
    local model = out[row.model] or {}
    out[row.model] = model
    if row.layer == "total" then model.total = row else model[#model + 1] = row end
  end
  return out
end

test("parameters, mult-adds, shapes and sizes of mlp, lenet5, resnet20, resnet50 and mobilenet_v2 as PyTorch has them", function()
  local seen = 0
  for name, want in pairs(fixture()) do
    seen = seen + 1
    local input = {}
    for n in want.total.input_shape:gmatch "%d+" do input[#input + 1] = math.tointeger(n) end
    local s = wattle.summary(wattle.models.create(name), { input = input, print = false })
    local layers = {}
    for _, layer in ipairs(s.layers) do
      if layer.leaf and layer.params > 0 then layers[#layers + 1] = layer end
    end
    equal(#layers, #want, name)
    for i, row in ipairs(want) do
      local l = layers[i]
      equal({ l.path, table.concat(l.input, "x"), table.concat(l.output, "x"), l.params, l.mult_adds },
            { row.layer, row.input_shape, row.output_shape, row.params, row.mult_adds }, name .. " " .. row.layer)
    end
    equal({ s.params, s.mult_adds, s.pass_bytes }, { want.total.params, want.total.mult_adds, want.total.pass_bytes }, name)
    equal(s.trainable_params, s.params)
    equal(s.params_bytes, 4 * s.params)
    equal(s.input_bytes, 4 * input[1] * input[2] * input[3] * input[4])
    equal(s.forward_flops, input[1] * wattle.compress.flops_per_image(wattle.models.create(name)))
  end
  equal(seen, 5)
end)

local LENET = [[
=================================================================================================
Layer (type (name): depth-index)  Input Shape      Output Shape     Param #  Mult-Adds  Trainable
=================================================================================================
LeNet5                            [1, 1, 28, 28]   [1, 10]               --         --  True
├─Conv2d (conv1): 1-1             [1, 1, 28, 28]   [1, 6, 28, 28]       156    122,304  True
├─MaxPool2d (pool1): 1-2          [1, 6, 28, 28]   [1, 6, 14, 14]        --         --  --
├─Conv2d (conv2): 1-3             [1, 6, 14, 14]   [1, 16, 10, 10]    2,416    241,600  True
├─MaxPool2d (pool2): 1-4          [1, 16, 10, 10]  [1, 16, 5, 5]         --         --  --
├─Linear (fc1): 1-5               [1, 400]         [1, 120]          48,120     48,120  True
├─Linear (fc2): 1-6               [1, 120]         [1, 84]           10,164     10,164  True
└─Linear (fc3): 1-7               [1, 84]          [1, 10]              850        850  True
=================================================================================================
Total params: 61,706
Trainable params: 61,706
Non-trainable params: 0
Total mult-adds (M): 0.42
Forward FLOPs (M): 0.85 (every op; a multiply-accumulate is 2)
=================================================================================================
Input size (MB): 0.00
Forward/backward pass size (MB): 0.05
Params size (MB): 0.25
Estimated Total Size (MB): 0.30
=================================================================================================
]]

test("the command's text, and its options", function()
  local code, said = run "lenet5"
  equal(code, 0)
  equal(said, LENET)
  code, said = run "resnet20 --input 8x3x32x32 --num-classes 100 --width 8 --depth 2"
  equal(code, 0, said)
  for _, s in ipairs{ "ResNet                            [8, 3, 32, 32]   [8, 100] ", "│    ├─BasicBlock (1): 2-2 ",
                      "│    └─BasicBlock (2): 2-3 ", "└─Linear (fc): 1-6" } do
    check(said:find(s, 1, true), s .. "\n" .. said)
  end
  check(not said:find "3%-1")
  code, said = run "mlp --hidden 32,16 --image-size 8 --in-channels 3"
  check(code == 0 and said:find("[1, 192]", 1, true) and said:find("6,176", 1, true), said)
  code, said = run "mlp --input 4x2x10x10"
  check(code == 0 and said:find("[4, 200]", 1, true), said)
  code, said = run "lenet5 --csv"
  equal(code, 0)
  equal(said:match "^[^\n]*\n[^\n]*\n[^\n]*\n", "layer,type,depth,input_shape,output_shape,params,mult_adds,trainable\n"
        .. "model,LeNet5,0,1x1x28x28,1x10,61706,423038,TRUE\nconv1,Conv2d,1,1x1x28x28,1x6x28x28,156,122304,TRUE\n")
  code, said = run "--help"
  check(code == 0 and said:find("--num-classes", 1, true), said)
end)

test("mistakes of the command", function()
  for arguments, message in pairs{
    [""] = "one model is needed; there are alexnet", ["resnet2O"] = "did you mean", ["lenet5 mlp"] = "one model is needed",
    ["lenet5 --input 1x28x28"] = "is not NxCxHxW", ["lenet5 --input 1x1x0x28"] = "is not NxCxHxW",
    ["lenet5 --input 1x1x28xa"] = "is not NxCxHxW", ["lenet5 --width 3"] = "unknown option 'width'",
    ["lenet5 --input 1x1x8x8"] = "image_size must be at least 12", ["lenet5 --dpth 2"] = "did you mean '--depth'?",
    ["lenet5 --in-channels 3 --input 1x1x28x28"] = "conv1" } do
    local code, said = run(arguments)
    equal(code, 2, arguments .. ": " .. said)
    check(said:find("^summary: ") and said:find(message, 1, true) and not said:find "traceback", said)
  end
end)

test("a model of one's own: shared layers, called twice, never called, frozen, own parameters", function()
  local Net = nn.class "Net"
  function Net:init()
    self.last = nn.Linear{ in_features = 4, out_features = 2 } -- set first, called last
    self.body = nn.Linear{ in_features = 4, out_features = 4 }
    self.again = self.body
    self.list = nn.ModuleList{ nn.ReLU(), nn.Linear{ in_features = 4, out_features = 4, bias = false } }
    self.spare = nn.Linear{ in_features = 9, out_features = 9 }
    self.scale = nn.Parameter(wattle.ones{ 4 })
  end
  function Net:forward(x)
    x = self.again(self.list[1](self.body(x)))
    return self.last(self.list[2](x) * self.scale)
  end
  local net = Net()
  net.spare.weight:requires_grad(false)
  local s = wattle.summary(net, { input = { 3, 4 }, print = false })
  local text = tostring(s)
  local order = {}
  for i, layer in ipairs(s.layers) do order[i] = layer.path end
  equal(order, { "", "body", "list", "list.0", "list.1", "last", "spare" })
  check(text:find("├─Linear (body): 1-1, 2 calls ", 1, true), text)
  check(text:find("└─Linear (spare): 1-4, never called  --", 1, true), text)
  check(text:find "\n├─ModuleList %(list%): 1%-2%s+%-%-%s+%-%-", text)
  check(text:find "Net%s+%[3, 4%]%s+%[3, 2%]%s+4%s+%-%-%s+Partial", "its own four parameters: " .. text)
  check(text:find "spare[^\n]*90%s+%-%-%s+Partial", text)
  equal(s.params, 20 + 16 + 10 + 90 + 4)
  equal(s.trainable_params, s.params - 81)
  equal(s.mult_adds, 3 * (2 * 20 + 16 + 10))
  equal(s.pass_bytes, 2 * 4 * 3 * (2 * 4 + 4 + 2))
  check(text:find("Non-trainable params: 81", 1, true))
  check(not text:find "FLOPs", "not an image: FLOPs are not counted")
  net.spare.bias:requires_grad(false)
  check(tostring(wattle.summary(net, { input = { 3, 4 }, print = false })):find "spare[^\n]*%(90%)%s+%-%-%s+False")
end)

test("it changes nothing: values are not drawn by another seed, plans stay fresh, two inputs, f64", function()
  wattle.manual_seed(7)
  local a = wattle.models.create "lenet5"
  local plan = a:compile{ input = { 1, 1, 28, 28 } }
  local before = core.sha256_dict(a:state_dict())
  wattle.summary(a, { print = false })
  equal(core.sha256_dict(a:state_dict()), before)
  plan:forward(wattle.zeros{ 1, 1, 28, 28 })
  local Two = nn.class "Two"
  function Two:init() self.fc = nn.Linear{ in_features = 4, out_features = 2 } end
  function Two:forward(x, y) return self.fc(x + y), x end
  local s = wattle.summary(Two():to "f64", { input = { { 5, 4 }, { 5, 4 } }, print = false })
  equal(s.input_bytes, 2 * 5 * 4 * 8)
  equal(s.params_bytes, 80)
  equal(s.pass_bytes, 2 * 8 * 10)
end)

test("a compressed model is summed up as it is", function()
  local model = wattle.models.create "lenet5"
  local low = wattle.compress.lowrank(model, { energy = 0.5 })
  local s = wattle.summary(low, { input = { 1, 1, 28, 28 }, print = false })
  equal(s.params, low:num_parameters())
  check(s.mult_adds < wattle.summary(model, { print = false }).mult_adds)
end)

test("mistakes", function()
  local model = wattle.models.create "mlp"
  raises(function() wattle.summary(3) end, "the first argument must be a model, not number")
  raises(function() wattle.summary(model, { inputs = { 1 } }) end, "did you mean 'input'?")
  raises(function() wattle.summary(model, { input = 3 }) end, "input must be a shape")
  raises(function() wattle.summary(model, { input = {} }) end, "input must be a shape")
  raises(function() wattle.summary(model, { input = { 1, 0 } }) end, "size 2 must be a positive integer")
  raises(function() wattle.summary(model, { depth = -1 }) end, "depth must be an integer")
  raises(function() wattle.summary(model, { input = { 1, 1, 27, 28 } }) end, "fc1")
  raises(function() wattle.summary(nn.Linear{ in_features = 2, out_features = 2 }) end, "input must be a shape")
end)
