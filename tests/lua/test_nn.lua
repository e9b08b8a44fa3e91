-- wattle.nn: classes, names, printing, state dicts, calls and errors, initial values, compile.

local wattle = require "wattle"
local core, nn = wattle.core, require "wattle.nn"
local t = require "harness"
local test, check, equal, near, raises = t.test, t.check, t.equal, t.near, t.raises

-- The largest difference between two tensors.
local function worst(a, b)
  local d = a + b * -1
  return math.max(d:max(), -d:min())
end

local function names(list)
  local out = {}
  for i, entry in ipairs(list) do out[i] = entry.name or entry end
  return table.concat(out, " ")
end

local Block = nn.class "Block"
function Block:init(cin, cout)
  self.conv1 = nn.Conv2d{ in_channels = cin, out_channels = cout, kernel_size = 3, padding = 1, bias = false }
  self.bn1 = nn.BatchNorm2d{ num_features = cout }
  self.gain = 1
end
function Block:forward(x)
  return nn.relu(self.bn1(self.conv1(x)))
end

local Net = nn.class "Net"
function Net:init()
  self.zoo = nn.Sequential(Block(1, 4), Block(4, 4)) -- not in alphabetical order, which is the point
  self.alpha = nn.Parameter(wattle.ones{ 4 })
  self.fc = nn.Linear{ in_features = 4, out_features = 3 }
end
function Net:forward(x)
  return self.fc(nn.global_avg_pool2d(self.zoo(x)) * self.alpha)
end

local expected_parameters = "alpha zoo.0.conv1.weight zoo.0.bn1.weight zoo.0.bn1.bias zoo.1.conv1.weight "
  .. "zoo.1.bn1.weight zoo.1.bn1.bias fc.weight fc.bias"

-- ---- names, order, printing ----------------------------------------------------------------------------------

test("parameters are named by field paths, in the order of the fields", function()
  local net = Net()
  equal(names(net:parameters()), expected_parameters)
  equal(names(net:buffers()), "zoo.0.bn1.running_mean zoo.0.bn1.running_var zoo.1.bn1.running_mean "
    .. "zoo.1.bn1.running_var")
  equal(names(net:state_dict()), "alpha zoo.0.conv1.weight zoo.0.bn1.weight zoo.0.bn1.bias zoo.0.bn1.running_mean "
    .. "zoo.0.bn1.running_var zoo.1.conv1.weight zoo.1.bn1.weight zoo.1.bn1.bias zoo.1.bn1.running_mean "
    .. "zoo.1.bn1.running_var fc.weight fc.bias")
  equal(names(net:modules()), " zoo zoo.0 zoo.0.conv1 zoo.0.bn1 zoo.1 zoo.1.conv1 zoo.1.bn1 fc")
  equal(net:num_parameters(), 4 + 36 + 8 + 144 + 8 + 12 + 3)
  local seen = {}
  for name, param in net:named_parameters() do
    check(nn.is_module(param) == false)
    seen[#seen + 1] = name
  end
  equal(table.concat(seen, " "), expected_parameters)
  equal(tostring(net:get_submodule "zoo.1.conv1"),
        "Conv2d(4, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)")
  raises(function() net:get_submodule "zoo.2" end, "zoo.2")
end)

test("a model prints as PyTorch prints it", function()
  equal(tostring(Net()), [[
Net(
  (zoo): Sequential(
    (0): Block(
      (conv1): Conv2d(1, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
      (bn1): BatchNorm2d(4, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
    )
    (1): Block(
      (conv1): Conv2d(4, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
      (bn1): BatchNorm2d(4, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
    )
  )
  (fc): Linear(in_features=4, out_features=3, bias=True)
)]])
  local conv = nn.Conv2d{ in_channels = 4, out_channels = 8, kernel_size = { 3, 5 }, stride = { 1, 2 },
                          padding = { 0, 2 }, dilation = 2, groups = 2 }
  equal(tostring(conv),
        "Conv2d(4, 8, kernel_size=(3, 5), stride=(1, 2), padding=(0, 2), dilation=(2, 2), groups=2)")
  equal(tostring(nn.ReLU()), "ReLU()")
  equal(tostring(nn.Flatten()), "Flatten(start_dim=1, end_dim=-1)")
  equal(tostring(nn.MaxPool2d{ kernel_size = 2 }), "MaxPool2d(kernel_size=2, stride=2, padding=0)")
  equal(tostring(nn.AvgPool2d{ kernel_size = 3, stride = 2, padding = 1 }),
        "AvgPool2d(kernel_size=3, stride=2, padding=1)")
  equal(tostring(nn.MaxPool2d{ kernel_size = 3, stride = 2, ceil_mode = true }),
        "MaxPool2d(kernel_size=3, stride=2, padding=0, ceil_mode=True)")
  equal(tostring(nn.AdaptiveAvgPool2d{ output_size = { 1, 2 } }), "AdaptiveAvgPool2d(output_size=(1, 2))")
  equal(tostring(nn.AdaptiveAvgPool2d{ output_size = 1 }), "AdaptiveAvgPool2d(output_size=1)")
  equal(tostring(nn.Dropout()), "Dropout(p=0.5, inplace=False)")
  equal(tostring(nn.Sigmoid()), "Sigmoid()")
  equal(tostring(nn.Tanh()), "Tanh()")
  equal(tostring(nn.Softmax{ dim = 1 }), "Softmax(dim=1)")
  equal(tostring(nn.LogSoftmax{ dim = -1 }), "LogSoftmax(dim=-1)")
  equal(tostring(nn.ZeroPad2d{ padding = 2 }), "ZeroPad2d((2, 2, 2, 2))")
  equal(tostring(nn.class()()), "Module()")
end)

test("fields are seen: set, replaced, removed, refused", function()
  local net = Net()
  net.fc = nn.Identity()
  equal(names(net:parameters()), "alpha zoo.0.conv1.weight zoo.0.bn1.weight zoo.0.bn1.bias zoo.1.conv1.weight "
    .. "zoo.1.bn1.weight zoo.1.bn1.bias")
  net.alpha = nil
  check(net.alpha == nil)
  equal(#net:parameters(), 6)
  net._scratch = nn.Linear{ in_features = 1, out_features = 1 } -- not part of the model
  equal(#net:parameters(), 6)
  local order = {}
  net.note = "x"
  for name in pairs(net) do order[#order + 1] = name end
  equal(table.concat(order, " "), "zoo fc note")
  raises(function() net.list = { nn.ReLU() } end, "nn.ModuleList")
  raises(function() net.train = 1 end, "method of every module")
  raises(function() net["a.b"] = nn.ReLU() end, "dots")
  raises(function() net[1] = nn.ReLU() end, "must be a string")
  local loop = nn.Sequential()
  loop:append(loop)
  raises(function() loop:modules() end, "contains itself")
end)

test("containers count from 1, names from 0", function()
  local seq = nn.Sequential{ nn.ReLU(), nn.Identity() }
  equal(#seq, 2)
  seq:append(nn.Flatten())
  equal(tostring(seq[3]), "Flatten(start_dim=1, end_dim=-1)")
  seq[1] = nn.Identity()
  equal(tostring(seq),
        "Sequential(\n  (0): Identity()\n  (1): Identity()\n  (2): Flatten(start_dim=1, end_dim=-1)\n)")
  raises(function() seq[5] = nn.ReLU() end, "outside 1..4")
  raises(function() nn.Sequential(nn.ReLU(), nil, nn.ReLU()) end, "nil")
  raises(function() nn.Sequential(3) end, "number 1 is a number")
  local list = nn.ModuleList{ nn.Linear{ in_features = 2, out_features = 2 } }
  equal(names(list:parameters()), "0.weight 0.bias")
  raises(function() list(wattle.zeros{ 1, 2 }) end, "no forward")
end)

test("a module used twice shares its parameters", function()
  local fc = nn.Linear{ in_features = 3, out_features = 3 }
  local seq = nn.Sequential(fc, nn.ReLU(), fc)
  equal(names(seq:parameters()), "0.weight 0.bias")
  equal(names(seq:state_dict()), "0.weight 0.bias 2.weight 2.bias") -- as PyTorch's
  equal(seq:num_parameters(), 12)
  local copy = seq:clone()
  check(rawequal(copy[1], copy[3]), "still shared in the clone")
  check(not rawequal(copy[1], seq[1]))
  local plan = seq:compile{ input = { 2, 3 }, loss = "cross_entropy", gradients = true }
  plan:step(wattle.randn{ 2, 3 }, wattle.tensor({ 0, 1 }, "i64"))
  equal(names(plan:gradients().parameters), "0.weight 0.bias")
end)

test("a class inherits from another", function()
  local Scaled = nn.class("Scaled", nn.Linear)
  function Scaled:forward(x) return nn.Linear.forward(self, x) * 2 end
  local scaled = Scaled{ in_features = 2, out_features = 2 }
  local plain = nn.Linear{ in_features = 2, out_features = 2 }
  plain:load_state_dict(scaled:state_dict(), { strict = true })
  local x = wattle.randn{ 3, 2 }
  check((plain(x) * 2):equal(scaled(x)))
  equal(tostring(scaled), "Scaled(in_features=2, out_features=2, bias=True)")
end)

-- ---- options -------------------------------------------------------------------------------------------------

test("wrong options are errors that say what is right", function()
  raises(function() nn.Conv2d{ in_channels = 1, out_channels = 1, kernel_size = 3, strides = 2 } end, "stride")
  raises(function() nn.Conv2d{ in_channels = 1, out_channels = 1 } end, "kernel_size must be an integer")
  raises(function() nn.Conv2d{ in_channels = 3, out_channels = 4, kernel_size = 1, groups = 2 } end, "must divide")
  raises(function() nn.Conv2d(1, 2, 3) end, "one table")
  raises(function() nn.Linear{ in_features = 2.5, out_features = 1 } end, "got 2.5")
  raises(function() nn.Linear{ in_features = 2, out_features = 1, bias = 0 } end, "true or false")
  raises(function() nn.BatchNorm2d{ num_features = 2, momentum = 2 } end, "momentum must be a number from 0 to 1")
  raises(function() nn.MaxPool2d{ kernel_size = 2, padding = 2 } end, "half of kernel_size")
  raises(function() nn.AvgPool2d{ kernel_size = 2, pading = 1 } end, "did you mean 'padding'")
  raises(function() nn.AvgPool2d{ kernel_size = 2, padding = 2 } end, "half of kernel_size")
  raises(function() nn.AdaptiveAvgPool2d{ size = 2 } end, "output_size")
  raises(function() nn.AdaptiveAvgPool2d{} end, "output_size must be an integer")
  raises(function() nn.Dropout{ rate = 0.5 } end, "unknown option 'rate'")
  raises(function() nn.Dropout{ p = 1 } end, "below 1")
  raises(function() nn.Dropout{ p = -0.1 } end, "p must be a number from 0 to 1")
  raises(function() nn.Softmax() end, "one table")
  raises(function() nn.Softmax{} end, "dim must be an integer")
  raises(function() nn.LogSoftmax{ dims = 1 } end, "did you mean 'dim'")
  raises(function() nn.Sigmoid{ inplace = true } end, "unknown option 'inplace'")
  raises(function() nn.ZeroPad2d{ padding = { 1, 1 } } end, "{left, right, top, bottom}")
  raises(function() nn.ZeroPad2d{ padding = -1 } end, "at least 0")
  local conv = { in_channels = 1, out_channels = 1, kernel_size = 2, padding = "same" }
  raises(function() nn.Conv2d(conv) end, "uneven")
  conv.kernel_size, conv.stride = 3, 2
  raises(function() nn.Conv2d(conv) end, "needs stride 1")
  conv.padding = "sane"
  raises(function() nn.Conv2d(conv) end, "padding must be an integer")
  raises(function() return nn.Linaer end, "did you mean nn.Linear")
  raises(function() nn.class()()(wattle.zeros{ 1 }) end, "no forward")
end)

-- ---- initial values ------------------------------------------------------------------------------------------

test("values depend on seed and full name alone", function()
  wattle.manual_seed(5)
  local a = Net()
  local from_state = a:state_dict()
  local b = Net()
  b:parameters()[2].param:tensor()
  local from_call = Net()
  from_call(wattle.rand{ 2, 1, 4, 4 })
  for _, name in ipairs(from_state) do
    if not name:find "running" then
      check(from_state[name]:equal(b:state_dict()[name]), name)
      check(from_state[name]:equal(from_call:state_dict()[name]), name)
    end
  end
  check(not from_state["zoo.0.conv1.weight"]:equal(nn.initialise(Net(), 6):state_dict()["zoo.0.conv1.weight"]))
  local want = core.uniform(wattle.zeros{ 3, 4 }, 5, "init", "fc.weight", 0, -0.5, 0.5) -- 1/sqrt(4)
  check(from_state["fc.weight"]:equal(want))
  wattle.manual_seed(0)
end)

test("Conv2d's bound is 1/sqrt(fan_in), for the bias too", function()
  local conv = nn.initialise(nn.Conv2d{ in_channels = 8, out_channels = 32, kernel_size = 3, groups = 2 }, 1)
  local bound = 1 / math.sqrt(4 * 9)
  for _, p in ipairs{ conv.weight, conv.bias } do
    local high, low = p:tensor():max(), p:tensor():min()
    check(high <= bound and high > 0.8 * bound, high)
    check(low >= -bound and low < -0.8 * bound, low)
  end
end)

-- Mean, second and fourth moment of n draws within 5 standard deviations of the distribution's: "uniform" in +-scale,
-- or "normal" with standard deviation scale.
local function distributed(tensor, kind, scale)
  local x = tensor:to("f64") * (1 / scale)
  local n, square = x:numel(), x * x
  local second, fourth = square:mean():item(), (square * square):mean():item()
  local uniform = kind == "uniform"
  local function close(got, want, sd) return math.abs(got - want) <= 5 * sd / math.sqrt(n) end
  return close(x:mean():item(), 0, uniform and math.sqrt(1 / 3) or 1)
    and close(second, uniform and 1 / 3 or 1, uniform and math.sqrt(1 / 5 - 1 / 9) or math.sqrt(2))
    and close(fourth, uniform and 1 / 5 or 3, uniform and math.sqrt(1 / 9 - 1 / 25) or math.sqrt(96))
    and (not uniform or x:max() <= 1 + 1e-6 and x:min() >= -1 - 1e-6)
end

-- The right distribution, and no other one near it: the test can fail.
local function drawn(tensor, kind, scale, what)
  check(distributed(tensor, kind, scale), what)
  check(not distributed(tensor, kind, 1.07 * scale) and not distributed(tensor, kind, scale / 1.07), what .. ": too lenient")
  check(not distributed(tensor, kind == "uniform" and "normal" or "uniform", scale), what .. ": any distribution would do")
end

test("default values are distributed as PyTorch's", function()
  local net = nn.initialise(nn.Sequential{
    nn.Conv2d{ in_channels = 64, out_channels = 64, kernel_size = 3 },
    nn.Conv2d{ in_channels = 64, out_channels = 128, kernel_size = 3, groups = 4 },
    nn.Linear{ in_features = 300, out_features = 100 },
    nn.Linear{ in_features = 4, out_features = 20000 },
    nn.Conv2d{ in_channels = 8, out_channels = 20000, kernel_size = { 1, 3 }, groups = 8 },
    nn.BatchNorm2d{ num_features = 5 } }, 3)
  drawn(net[1].weight:tensor(), "uniform", 1 / math.sqrt(64 * 9), "Conv2d.weight")
  drawn(net[2].weight:tensor(), "uniform", 1 / math.sqrt(16 * 9), "grouped Conv2d.weight")
  drawn(net[3].weight:tensor(), "uniform", 1 / math.sqrt(300), "Linear.weight")
  drawn(net[4].bias:tensor(), "uniform", 1 / math.sqrt(4), "Linear.bias")
  drawn(net[5].bias:tensor(), "uniform", 1 / math.sqrt(3), "grouped Conv2d.bias")
  check(net[6].weight:tensor():equal(wattle.ones{ 5 }) and net[6].bias:tensor():equal(wattle.zeros{ 5 }))
  check(net[6].running_var:tensor():equal(wattle.ones{ 5 }) and net[6].running_mean:tensor():equal(wattle.zeros{ 5 }))
end)

test("nn.init draws what torch.nn.init draws", function()
  local conv = nn.Conv2d{ in_channels = 64, out_channels = 128, kernel_size = 3, groups = 4 } -- fans 144 and 1152
  local w = conv.weight
  local cases = {
    { "kaiming_uniform", nil, "uniform", math.sqrt(6 / 144) },
    { "kaiming_uniform", { a = math.sqrt(5) }, "uniform", math.sqrt(1 / 144) },
    { "kaiming_uniform", { mode = "fan_out", nonlinearity = "tanh" }, "uniform", 5 / 3 * math.sqrt(3 / 1152) },
    { "kaiming_normal", { mode = "fan_out", nonlinearity = "relu" }, "normal", math.sqrt(2 / 1152) },
    { "kaiming_normal", { nonlinearity = "linear" }, "normal", math.sqrt(1 / 144) },
    { "xavier_uniform", { gain = 2 }, "uniform", 2 * math.sqrt(6 / (144 + 1152)) },
    { "xavier_normal", nil, "normal", math.sqrt(2 / (144 + 1152)) },
    { "uniform", { a = -3, b = 3 }, "uniform", 3 },
    { "normal", { std = 0.02 }, "normal", 0.02 },
  }
  for i, case in ipairs(cases) do
    check(nn.init[case[1]](w, case[2]) == w)
    local nan = w:tensor():sum():item()
    check((nan ~= nan) == (i == 1), "drawn when the name is known, and from then on at once")
    nn.initialise(conv)
    drawn(w:tensor(), case[3], case[4], case[1])
  end
  local mean = nn.init.normal(w, { mean = 2 }):tensor():mean():item()
  check(math.abs(mean - 2) < 5 / math.sqrt(w:tensor():numel()), mean)
  local b = conv.bias
  check(nn.init.constant(b, 0.25):tensor():equal(wattle.full({ 128 }, 0.25)))
  check(nn.init.ones(b):tensor():equal(wattle.ones{ 128 }))
  check(nn.init.zeros(b):tensor():equal(wattle.zeros{ 128 }))
  near(nn.init.calculate_gain("leaky_relu", 0.2), math.sqrt(2 / 1.04), 1e-12)
  raises(function() nn.init.kaiming_normal(b) end, "fans need at least 2")
  raises(function() nn.init.kaiming_normal(w, { nonlinearity = "rleu" }) end, "did you mean 'relu'")
  raises(function() nn.init.kaiming_normal(w, { mod = "fan_in" }) end, "did you mean 'mode'")
  raises(function() nn.init.kaiming_normal(w, { mode = "fan" }) end, "'fan_in' or 'fan_out'")
  raises(function() nn.init.uniform(w, { a = 2 }) end, "above b")
  raises(function() nn.init.normal(w, { std = -1 }) end, "negative")
  raises(function() nn.init.normal(w, { std = "1" }) end, "must be a number")
  raises(function() nn.init.zeros(wattle.zeros{ 1 }) end, "must be a parameter")
  raises(function() nn.init.constant(w) end, "must be a number")
end)

test("nn.init.trunc_normal", function()
  local w = nn.initialise(nn.Linear{ in_features = 200, out_features = 500 }, 1).weight
  -- moments of the truncated normal: mean m + s*(f(a) - f(b))/Z, variance s^2*(1 + (a*f(a) - b*f(b))/Z - ((f(a) - f(b))/Z)^2)
  -- with a, b in standard deviations, f the density and Z the share in between
  for _, case in ipairs{ { {}, 0, 0.8796257, 0.002 }, { { a = 0, b = 4, mean = 1, std = 2 }, 1.7125458, 1.0587694, 0.01 },
                         { { a = 1, b = 3 }, 1.5100495, 0.4164768, 0.003 },
                         { { std = 0.02, a = -2, b = 2 }, 0, 0.02, 0.0002 } } do
    local o, mean, sd, within = table.unpack(case)
    local t = nn.init.trunc_normal(w, o):tensor()
    near(t:mean():item(), mean, within)
    near(math.sqrt(((t - mean) * (t - mean)):mean():item()), sd, within)
    check(t:min() >= (o.a or -2) and t:max() <= (o.b or 2))
    check(t:equal(nn.init.trunc_normal(w, o):tensor()))
  end
  local untruncated = nn.init.normal(w, { std = 0.02 }):tensor():clone()
  check(untruncated:equal(nn.init.trunc_normal(w, { std = 0.02 }):tensor()))
  raises(function() nn.init.trunc_normal(w, { a = 3, b = 4 }) end, "5 %% is needed")
  raises(function() nn.init.trunc_normal(w, { a = 2, b = 2 }) end, "not below")
  raises(function() nn.init.trunc_normal(w, { std = 0 }) end, "positive")
  raises(function() nn.init.trunc_normal(w, { sd = 1 }) end, "did you mean 'std'")
end)

test("nn.init goes by seed and full name, whenever it is called", function()
  local function net(early)
    local n = nn.Sequential(nn.Linear{ in_features = 3, out_features = 4 }, nn.Linear{ in_features = 4, out_features = 4 })
    if early then nn.init.xavier_normal(n[2].weight) end
    n:parameters()
    if not early then nn.init.xavier_normal(n[2].weight) end
    return n[2].weight:tensor()
  end
  check(net(true):equal(net(false)))
  local want = core.normal(wattle.zeros{ 4, 4 }, core.seed(), "init", "1.weight", 0, 0, math.sqrt(2 / 8))
  check(net(true):equal(want))
  local n = nn.Linear{ in_features = 2, out_features = 2 }
  nn.init.zeros(n.weight) -- takes the place of the draw that was waiting
  check(n:state_dict().weight:equal(wattle.zeros{ 2, 2 }))
end)

test("what is assigned before the first use is kept", function()
  local fc = nn.Linear{ in_features = 2, out_features = 2 }
  check(fc.weight:tensor():sum():item() ~= fc.weight:tensor():sum():item(), "NaN until drawn")
  fc.weight:assign(wattle.tensor{ { 1, 2 }, { 3, 4 } })
  check(fc:state_dict().weight:equal(wattle.tensor{ { 1, 2 }, { 3, 4 } }))
  local bias = fc:state_dict().bias:sum():item()
  check(bias == bias, "the other one is drawn")
end)

-- ---- layers and what they compute ----------------------------------------------------------------------------

test("layers are their ops", function()
  local x = wattle.randn{ 2, 4, 7, 5 }
  check(nn.AvgPool2d{ kernel_size = 3, stride = 2, padding = 1, count_include_pad = false }(x):equal(
    nn.avg_pool2d(x, { kernel_size = 3, stride = 2, padding = 1, count_include_pad = false })))
  local cut = { kernel_size = 2, ceil_mode = true }
  equal(nn.MaxPool2d(cut)(x):shape(), { 2, 4, 4, 3 })
  check(nn.MaxPool2d(cut)(x):equal(nn.max_pool2d(x, cut)) and nn.AvgPool2d(cut)(x):equal(nn.avg_pool2d(x, cut)))
  check(nn.AdaptiveAvgPool2d{ output_size = 1 }(x):flatten():equal(nn.GlobalAvgPool2d()(x)))
  check(nn.ZeroPad2d{ padding = { 1, 0, 2, 3 } }(x):narrow(2, 2, 7):narrow(3, 1, 5):equal(x))
  check(nn.Sigmoid()(x):equal(nn.sigmoid(x)) and nn.Tanh()(x):equal(nn.tanh(x)))
  check(nn.Softmax{ dim = 1 }(x):equal(nn.softmax(x, { dim = 1 })))
  check(nn.LogSoftmax{ dim = -1 }(x):equal(nn.log_softmax(x, { dim = 3 })))
  local same = nn.initialise(nn.Conv2d{ in_channels = 4, out_channels = 4, kernel_size = { 3, 5 }, dilation = { 2, 1 },
                                        padding = "same", groups = 2 }, 1)
  equal(table.concat(same(x):shape(), ","), "2,4,7,5")
  check(same(x):equal(nn.conv2d(x, same.weight, same.bias, { padding = { 2, 2 }, dilation = { 2, 1 }, groups = 2 })))
end)

test("shape methods of symbolic values are those of tensors", function()
  local x = wattle.randn{ 2, 3, 4, 5 }
  local expected = { x:permute{ 0, -1, 1, 2 }, x:transpose(1, 3), x:narrow(2, 1, 2), x:select(1, -1), x:select(0, 1) }
  local graph = core.trace("f32")
  local v = graph:input("x", "f32", { 2, 3, 4, 5 })
  local values = { v:permute{ 0, -1, 1, 2 }, v:transpose(1, 3), v:narrow(2, 1, 2), v:select(1, -1), v:select(0, 1) }
  for i, value in ipairs(values) do
    graph:output("y" .. i, value)
    equal(table.concat(value:shape(), ","), table.concat(expected[i]:shape(), ","))
  end
  raises(function() v:narrow(1, 2, 2) end, "do not lie in dimension 1")
  raises(function() v:select(1, 3) end, "index 3 of dimension 1")
  raises(function() v:permute{ 0, 1 } end, "2 dims are given")
  local got = { core.compile(graph, {}):forward(x) }
  for i, tensor in ipairs(expected) do check(got[i]:equal(tensor:contiguous()), i) end
end)

test("split is torch.split", function()
  local x = wattle.randn{ 2, 7 }
  local a, b, c, d = nn.split(x, 3, 1)
  check(a:equal(x:narrow(1, 0, 3):contiguous()) and b:equal(x:narrow(1, 3, 3):contiguous()))
  check(c:equal(x:narrow(1, 6, 1):contiguous()) and d == nil)
  a, b, c = nn.split(x, { 5, 2 }, -1)
  check(a:equal(x:narrow(1, 0, 5):contiguous()) and b:equal(x:narrow(1, 5, 2):contiguous()) and c == nil)
  check(nn.concat(a, b, { dim = 1 }):equal(x))
  a, b = nn.split(x, 1)
  check(b:equal(x:narrow(0, 1, 1)))
  raises(function() nn.split(x, { 5, 3 }, 1) end, "part 2 goes beyond dimension 1, of size 7")
  raises(function() nn.split(x, { 5, 1 }, 1) end, "add up to 6, dimension 1 has 7")
  raises(function() nn.split(x, 0) end, "at least 1, got 0")
  raises(function() nn.split(x, { 1.5 }) end, "at least 0, got 1.5")
  raises(function() nn.split(x, 1, 2) end, "dimension")
  raises(function() nn.split() end, "x is missing")
  local v = core.trace("f32"):input("x", "f32", { 2, 7 })
  equal(select("#", nn.split(v, 2, 1)), 4)
  equal(table.concat((nn.split(v, { 3, 4 }, 1)):shape(), ","), "2,3")
end)

test("dropout drops the same elements in every layout", function()
  local net = nn.initialise(nn.Sequential{ nn.Conv2d{ in_channels = 3, out_channels = 17, kernel_size = 3 }, nn.Dropout() }, 1)
  local x = wattle.randn{ 2, 3, 9, 9 }
  local function dropped(backend)
    local plan = net:compile{ input = { 2, 3, 9, 9 }, mode = "train", backend = backend, seed = 4 }
    local y = plan:forward(x)
    return nn.eq(y, wattle.zeros{ 1 })
  end
  local want = dropped "reference"
  check(want:mean():item() > 0.4 and want:mean():item() < 0.6)
  check(dropped "auto":equal(want))
end)

test("dropout follows the mode, and a step has one mask", function()
  local n = 40000
  local Noisy = nn.class "Noisy"
  function Noisy:init()
    self.alpha = nn.Parameter(wattle.ones{ n })
    self.drop = nn.Dropout{ p = 0.25 }
  end
  function Noisy:forward(x) return self.drop(x * self.alpha) end
  local model, x = Noisy():to("f64"), wattle.ones{ 1, n, dtype = "f64" }
  check(not model(x):equal(x) and model:eval()(x):equal(x), "at once")
  model:train()
  local function loss(out, y) return (out * y):sum() end
  local y = (wattle.arange(n):to("f64") + 1):reshape{ 1, n }
  local function step(threads, backend)
    core.threads(threads)
    local plan = model:compile{ input = { 1, n }, target = { 1, n, dtype = "f64" }, loss = loss, gradients = true,
                                dtype = "f64", seed = 9 }
    local value = plan:step(x, y)
    return plan, value, plan:gradients().parameters.alpha
  end
  local before = core.threads()
  local plan, value, first = step(1)
  local dropped = n - first:count_nonzero()
  check(math.abs(dropped - n / 4) <= 5 * math.sqrt(n * 3 / 16), dropped)
  near(first:sum():item(), value, 1e-9 * value)                       -- what forward kept is what backward kept
  check(worst(nn.relu(first), (nn.gt(first, wattle.zeros{ 1, dtype = "f64" }) * y * (4 / 3)):reshape{ n }) < 1e-9)
  plan:step(x, y)
  check(not plan:gradients().parameters.alpha:equal(first), "another step, another mask")
  local _, value3, third = step(3)
  check(third:equal(first) and value3 == value, "neither threads nor the plan change it")
  core.threads(before)
  local eval = model:compile{ input = { 1, n }, dtype = "f64", mode = "eval" }
  check(eval:forward(x):equal(x), "a plan in evaluation drops nothing")
end)

-- ---- state dicts, clones, dtype ------------------------------------------------------------------------------

test("a state dict is a snapshot and loads back", function()
  local a, b = nn.initialise(Net(), 1), nn.initialise(Net(), 2)
  local dict = a:state_dict()
  local result = b:load_state_dict(dict)
  equal(#result.missing + #result.unexpected + #result.mismatched, 0)
  check(b:state_dict()["fc.weight"]:equal(dict["fc.weight"]))
  b.fc.weight:tensor():fill_(0)
  check(not b:state_dict()["fc.weight"]:equal(dict["fc.weight"]))
end)

test("loading lists what is missing, unexpected and mismatched, and loads the rest", function()
  local net = nn.initialise(Net(), 1)
  local dict = { ["fc.weight"] = wattle.zeros{ 3, 4 }, ["fc.bias"] = wattle.zeros{ 5 }, extra = wattle.zeros{ 1 },
                 alpha = wattle.zeros{ 4, dtype = "f64" },
                 ["zoo.0.bn1.num_batches_tracked"] = wattle.zeros{ 1, dtype = "i64" } }
  raises(function() net:load_state_dict(dict, { strict = true }) end, "fc.bias is %[3%] in the model and %[5%]")
  check(net:state_dict().alpha:sum():item() == 4, "strict changed nothing")
  local result = net:load_state_dict(dict)
  equal(table.concat(result.unexpected, " "), "extra")
  equal(table.concat(result.mismatched, " "), "fc.bias")
  equal(#result.missing, 10)
  equal(net:state_dict().alpha:sum():item(), 0)
  equal(net:state_dict().alpha.dtype, "f32")
end)

test("a clone is independent, with constraints", function()
  local net = nn.initialise(Net(), 1)
  net.fc.weight:truncation(8)
  net._note = "scratch"
  local copy = net:clone()
  equal(names(copy:state_dict()), names(net:state_dict()))
  equal(copy.fc.weight:truncation().bits, 8)
  equal(copy._note, "scratch")
  equal(tostring(copy), tostring(net))
  copy.alpha:tensor():fill_(7)
  equal(net.alpha:tensor():sum():item(), 4)
  local fresh = Net()
  local late = fresh:clone() -- not yet drawn: draws later by its own names
  check(late:state_dict()["fc.weight"]:equal(fresh:state_dict()["fc.weight"]))
end)

test("to converts parameters and buffers", function()
  local net = Net():to "f64"
  for _, entry in ipairs(net:parameters()) do equal(entry.param:tensor().dtype, "f64") end
  equal(net.zoo[1].bn1.running_var:tensor().dtype, "f64")
  local y = net(wattle.rand{ 2, 1, 4, 4, dtype = "f64" })
  equal(y.dtype, "f64")
  raises(function() net:compile{ input = { 2, 1, 4, 4 }, dtype = "f32" } end, 'model:to%("f32"%)')
end)

-- ---- calls and errors ----------------------------------------------------------------------------------------

test("what is passed wrongly is told apart from what the layer does", function()
  local net = Net()
  raises(function() net() end, "test_nn.lua:%d+: in zoo.0.conv1 %(Conv2d%): conv2d: input x is missing")
  raises(function() net(3) end, "in zoo.0.conv1 %(Conv2d%): conv2d: x must be a tensor, .*, not number")
  raises(function() net(wattle.zeros{ 1, 1, 4, 4, dtype = "f64" }) end, "f64")
end)

test("train and eval decide what an eager call does with batch norm", function()
  local bn = nn.BatchNorm2d{ num_features = 2 }
  local x = wattle.randn{ 8, 2, 3, 3 } * 3 + 5
  check(bn.training)
  local y = bn(x)
  near(y:mean():item(), 0, 1e-5)
  check(bn.running_mean:tensor():mean():item() > 0.3, "running statistics moved")
  local before = bn:state_dict().running_mean
  bn:eval()
  check(not bn.training)
  near(bn(x):mean():item(), (5 - 0.5) / 1.35, 1.0)
  check(before:equal(bn:state_dict().running_mean))
end)

test("an error names the module's path and the user's line, once", function()
  local net = nn.Sequential(nn.Identity(), Block(1, 4))
  local _, message = pcall(function() return net(wattle.zeros{ 1, 3, 4, 4 }) end)
  check(message:find "test_nn.lua:%d+: in 1.conv1 %(Conv2d%): conv2d: ", message)
  check(not message:find("conv1.*conv1"), message)
  _, message = pcall(function() net:compile{ input = { 1, 3, 4, 4 } } end)
  check(message:find "test_nn.lua:%d+: in 1.conv1 %(Conv2d%): conv2d: ", message)
  check(not message:find("conv1.*conv1"), message)
  local Bad = nn.class "Bad"
  function Bad:forward(x) return x.nothing.here end -- luacheck: ignore
  _, message = pcall(function() return nn.Sequential(Bad())(wattle.zeros{ 1 }) end)
  check(message:find "test_nn.lua:%d+: in 0 %(Bad%): .*nothing", message)
  function Bad:forward() error({ code = 1 }) end
  _, message = pcall(Bad(), wattle.zeros{ 1 })
  check(type(message) == "table" and message.code == 1, "an error value passes as it is")
  function Bad:forward(x) return x end
  check(Bad()(wattle.zeros{ 2 }):numel() == 2, "and nothing stays behind")
end)

test("a symbolic value has no number to look at", function()
  local Peek = nn.class "Peek"
  function Peek:forward(x)
    if x:sum():item() > 0 then return x end
    return x * 2
  end
  raises(function() Peek():compile{ input = { 2, 3 } } end, "symbolic")
  local Constant = nn.class "Constant"
  function Constant:forward() return wattle.zeros{ 2 } end
  raises(function() Constant():compile{ input = { 2, 3 } } end, "not a value computed from its inputs")
end)

-- ---- compile -------------------------------------------------------------------------------------------------

local function batch(n)
  local labels = {}
  for i = 1, n do labels[i] = i % 3 end
  return wattle.randn{ n, 1, 6, 6 }, wattle.tensor(labels, "i64")
end

test("a plan in eval mode computes what the eager call computes", function()
  local net = nn.initialise(Net(), 3):eval()
  local plan = net:compile{ input = { 4, 1, 6, 6 } }
  for _, n in ipairs{ 4, 2, 7 } do
    local x = batch(n)
    near(worst(plan:forward(x), net(x)), 0, 1e-5)
  end
end)

test("a plan in train mode steps: the loss falls, running statistics move", function()
  local net = nn.initialise(Net(), 3)
  local plan = net:compile{ input = { 6, 1, 6, 6 }, loss = "cross_entropy",
                            optimizer = { "sgd", lr = 0.2, momentum = 0.9 } }
  local x, y = batch(6)
  local first, correct, n = plan:step(x, y)
  equal(n, 6)
  check(correct >= 0 and correct <= 6)
  local last
  for _ = 1, 30 do last = plan:step(x, y) end
  check(last < first / 2, ("%g -> %g"):format(first, last))
  check(net:state_dict()["zoo.0.bn1.running_mean"]:equal(wattle.zeros{ 4 }) == false)
  equal(plan:get "lr", 0.2)
  plan:set("lr", 0)
  local before = net:state_dict()
  plan:step(x, y)
  plan:set("momentum", 0)
  plan:step(x, y)
  check(net:state_dict()["fc.bias"] ~= nil and before["fc.bias"] ~= nil)
end)

test("gradients come by name, and of inputs", function()
  local fc = nn.Linear{ in_features = 2, out_features = 1 }
  fc:load_state_dict{ weight = wattle.tensor{ { 2, 3 } }, bias = wattle.tensor{ 1 } }
  local plan = fc:compile{ input = { 2, 2 }, target = false, gradients = true,
                           loss = function(y) return (y * y):mean() end }
  local loss = plan:step(wattle.tensor{ { 1, 0 }, { 0, 1 } })
  near(loss, (9 + 16) / 2, 1e-6)
  local g = plan:gradients()
  equal(names(g.parameters), "weight bias")
  near(worst(g.parameters.weight, wattle.tensor{ { 3, 4 } }), 0, 1e-6)
  near(g.parameters.bias:item(), 7, 1e-6)
  near(worst(g.inputs[1], wattle.tensor{ { 6, 9 }, { 8, 12 } }), 0, 1e-5)
  local without = fc:compile{ input = { 2, 2 }, target = false, loss = function(y) return (y * y):mean() end }
  without:step(wattle.tensor{ { 1, 0 }, { 0, 1 } })
  raises(function() without:gradients() end, "gradients = true")
end)

test("what is frozen or unused has no gradient and does not change", function()
  local Part = nn.class "Part"
  function Part:init()
    self.used = nn.Linear{ in_features = 2, out_features = 2 }
    self.unused = nn.Linear{ in_features = 2, out_features = 2 }
  end
  function Part:forward(x, _) return self.used(x) end
  local part = Part()
  part.used.weight:requires_grad(false)
  local plan = part:compile{ input = { { 2, 2 }, { 2, 3 } }, loss = "cross_entropy", gradients = true,
                             optimizer = { "sgd", lr = 1, weight_decay = 0.5 } }
  local before = part:state_dict()
  plan:step(wattle.ones{ 2, 2 }, wattle.ones{ 2, 3 }, wattle.tensor({ 0, 1 }, "i64"))
  local g, after = plan:gradients(), part:state_dict()
  equal(names(g.parameters), "used.bias")
  check(g.inputs[1]:size(1) == 2 and g.inputs[2] == nil)
  for _, name in ipairs(before) do equal(before[name]:equal(after[name]), name ~= "used.bias", name) end
end)

test("several inputs, outputs and targets", function()
  local Two = nn.class "Two"
  function Two:init() self.fc = nn.Linear{ in_features = 3, out_features = 2 } end
  function Two:forward(a, b) return self.fc(a) + b, a:sum() end
  local two = Two()
  local plan = two:compile{ input = { { 4, 3 }, { 4, 2 } } }
  local a, b = wattle.randn{ 4, 3 }, wattle.randn{ 4, 2 }
  local y, s = plan:forward(a, b)
  near(worst(y, two.fc(a) + b), 0, 1e-5)
  near(s:item(), a:sum():item(), 1e-5)
  local function loss(out, _, want)
    local difference = out + want * -1
    return (difference * difference):mean()
  end
  local regress = two:compile{ input = { { 4, 3 }, { 4, 2 } }, target = { 4, 2, dtype = "f32" }, loss = loss,
                               optimizer = { "sgd", lr = 0.1 } }
  local first = regress:step(a, b, wattle.zeros{ 4, 2 })
  local last
  for _ = 1, 20 do last = regress:step(a, b, wattle.zeros{ 4, 2 }) end
  check(last < first, ("%g -> %g"):format(first, last))
end)

test("a changed model makes its plans stale", function()
  local net = nn.initialise(Net(), 1)
  local plan = net:compile{ input = { 2, 1, 6, 6 } }
  local x = batch(2)
  plan:forward(x)
  net._scratch = 1
  net.zoo[1].gain = 1 -- the same value
  plan:forward(x)
  net.zoo[1].gain = 2
  raises(function() plan:forward(x) end, "model changed since it was compiled; compile")
  plan = net:compile{ input = { 2, 1, 6, 6 } }
  net.fc = nn.Linear{ in_features = 4, out_features = 2 }
  raises(function() plan:forward(x) end, "model changed")
  equal(net:compile{ input = { 2, 1, 6, 6 } }:forward(x):size(1), 2)
end)

test("compile refuses what it cannot do", function()
  local net = Net()
  local input, loss = { 2, 1, 6, 6 }, "cross_entropy"
  raises(function() net:compile{ inputs = input } end, "input")
  raises(function() net:compile{} end, "input must be a shape")
  raises(function() net:compile{ input = input, loss = "crossentropy" } end, "cross_entropy")
  raises(function() net:compile{ input = input, optimizer = { "sgd", lr = 1 } } end, "need a loss")
  raises(function() net:compile{ input = input, loss = loss, optimizer = { "sgd" } } end, "lr")
  local typo, sgd = { "sgd", lr = 1, moment = 1 }, { "sgd", lr = 1 }
  raises(function() net:compile{ input = input, loss = loss, optimizer = typo } end, "momentum")
  raises(function() net:compile{ input = input, loss = loss, optimizer = sgd, mode = "eval" } end, "eval")
  raises(function() net:compile{ input = { 2, 1, 0, 6 } } end, "positive integer")
  raises(function() net:compile{ input = input, mode = "test" } end, "mode must be")
end)
