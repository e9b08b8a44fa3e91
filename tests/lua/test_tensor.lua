-- Tensors in Lua, the boxes around every C object, and ops called at once and in a trace: values, positions of errors,
-- use after close, the collector, memory gone.

local wattle = require "wattle"
local core, ops = wattle.core, wattle.ops
package.path = (arg[0]:match "^.*/" or "./") .. "?.lua;" .. package.path
local t = require "harness"
local test, check, equal, near, raises = t.test, t.check, t.equal, t.near, t.raises

local function line_here()
  return debug.getinfo(2, "l").currentline
end

-- ---- making, reading, views ------------------------------------------------------------------------

test("tensors from tables, numbers and tensors", function()
  local a = wattle.tensor{ { 1, 2, 3 }, { 4, 5, 6 } }
  equal(a:shape(), { 2, 3 })
  equal(a.dtype, "f32")
  equal(a:tolist(), { { 1.0, 2.0, 3.0 }, { 4.0, 5.0, 6.0 } })
  equal(wattle.tensor(7, "i64"):tolist(), 7)
  equal(math.type(wattle.tensor(7, "i64"):item()), "integer")
  equal(math.type(wattle.tensor(7, "f64"):item()), "float")
  equal(wattle.tensor({ math.maxinteger, math.mininteger }, "i64"):tolist(), { math.maxinteger, math.mininteger })
  equal(wattle.tensor({}):shape(), { 0 })
  local b = wattle.tensor(a, "f64")
  equal(b.dtype, "f64")
  b:set(0, 0, 9)
  equal(a:get(0, 0), 1.0)
  for _, dtype in ipairs{ "f32", "f64", "bf16", "f16", "i64", "i32", "u8" } do
    local got = wattle.tensor({ 1, 2, 250 }, dtype):tolist()
    equal(got, { 1, 2, 250 }, dtype)
    equal(math.type(got[1]), dtype:find "^[iu]" and "integer" or "float", dtype)
  end
end)

test("tables that are no tensor", function()
  raises(function() wattle.tensor{ { 1, 2 }, { 3 } } end, "ragged")
  raises(function() wattle.tensor{ { 1, 2 }, 3 } end, "ragged")
  raises(function() wattle.tensor{ 1, "2" } end, "element 1 is not a number")
  raises(function() wattle.tensor({ 1.5 }, "i64") end, "1.5, not an integer")
  raises(function() wattle.tensor({ 256 }, "u8") end, "u8")
  raises(function() wattle.tensor({ 1 }, "f23") end, "f23")
  raises(function() wattle.tensor("x") end, "tensor expected")
  local deep = 1
  for _ = 1, 9 do deep = { deep } end
  raises(function() wattle.tensor(deep) end, "deeper than 8")
end)

test("shapes, with a dtype or as numbers", function()
  equal(wattle.zeros{ 2, 3 }:tolist(), { { 0.0, 0.0, 0.0 }, { 0.0, 0.0, 0.0 } })
  equal(wattle.zeros{ 2, dtype = "i64" }.dtype, "i64")
  equal(wattle.ones(2, 1):tolist(), { { 1.0 }, { 1.0 } })
  equal(wattle.full({ 2, dtype = "f64" }, 0.1):tolist(), { 0.1, 0.1 })
  equal(wattle.arange(4):tolist(), { 0, 1, 2, 3 })
  equal(wattle.arange(3, "f32"):tolist(), { 0.0, 1.0, 2.0 })
  equal(wattle.zeros{}:shape(), {})
  raises(function() wattle.zeros{ 2, dype = "f32" } end, "zeros: unknown option 'dype'; did you mean 'dtype'")
  raises(function() wattle.zeros{ 2, "3" } end, "entry 2 is not an integer")
  raises(function() wattle.zeros{ 1, 1, 1, 1, 1, 1, 1, 1, 1 } end, "at most 8")
  raises(function() wattle.zeros{ -1 } end, "%-1")
  raises(function() wattle.zeros{ 1 << 40, 1 << 40 } end, "")
end)

test("random tensors follow the seed", function()
  wattle.manual_seed(3)
  equal(core.seed(), 3)
  local a, b = wattle.randn{ 64 }, wattle.randn{ 64 }
  check(not a:equal(b))
  wattle.manual_seed(3)
  check(wattle.randn{ 64 }:equal(a) and wattle.randn{ 64 }:equal(b))
  wattle.manual_seed(0)
  local u = wattle.rand{ 1000 }
  check(u:min() >= 0 and u:max() < 1)
  near(u:mean():item(), 0.5, 0.05)
  local x = core.uniform(wattle.zeros{ 100 }, 1, "init", "w", 0, -2, 2)
  check(x:min() < -1.5 and x:min() >= -2 and x:max() > 1.5 and x:max() < 2)
  check(core.uniform(wattle.zeros{ 50 }, 1, "init", "w", 0, -2, 2):equal(x:narrow(0, 0, 50)), "by logical index alone")
  check(not core.uniform(wattle.zeros{ 100 }, 1, "init", "v", 0, -2, 2):equal(x))
  near(core.normal(wattle.zeros{ 10000 }, 1, "init", "w", 0, 3, 0.5):mean():item(), 3, 0.03)
  local p = core.permutation(1, "shuffle", "d", 0, 100)
  local seen = {}
  for _, i in ipairs(p:tolist()) do seen[i] = true end
  for i = 0, 99 do check(seen[i]) end
end)

test("elements", function()
  local a = wattle.tensor{ { 1, 2, 3 }, { 4, 5, 6 } }
  equal(a:get(1, 2), 6.0)
  equal(a:set(1, 2, -1):get(1, 2), -1.0)
  equal(a:max(), 5.0)
  equal(a:min(), -1.0)
  equal(a:argmax(1):tolist(), { 2, 1 })
  equal(a:argmax(0):tolist(), { 1, 1, 0 })
  equal(a:argmax(-1):tolist(), { 2, 1 })
  equal(a:argmax():item(), 4)
  equal(a:transpose(0, 1):argmax():item(), 3)
  equal(wattle.tensor{ 0, 0 / 0, 1 }:argmax():item(), 1)
  check(wattle.tensor{ 0, 0 / 0, 1 }:max() ~= wattle.tensor{ 0, 0 / 0, 1 }:max())
  equal(wattle.tensor({ math.maxinteger, math.maxinteger - 1 }, "i64"):min(), math.maxinteger - 1)
  equal(wattle.tensor{ 0, -0.0, 2, 0 / 0 }:count_nonzero(), 2)
  local odd = wattle.zeros{ 1, dtype = "i64" }
  equal(odd:set(0, (1 << 53) + 1):get(0), (1 << 53) + 1)
  equal(wattle.zeros{ 1, dtype = "f16" }:set(0, 0.5):get(0), 0.5)
  raises(function() a:get(2, 0) end, "index 2 is out of range for dimension 0 of size 2")
  raises(function() a:get(0) end, "1 indices for 2 dimensions")
  raises(function() a:set(0, 0) end, "1 indices for 2 dimensions")
  raises(function() a:set(0, 0, "x") end, "number expected")
  raises(function() a:item() end, "6 elements")
  raises(function() wattle.zeros{ 0 }:max() end, "no elements")
  raises(function() a:argmax(2) end, "dimension 2 is out of range")
end)

test("views share, copies do not", function()
  local a = wattle.arange(6, "f32"):reshape{ 2, 3 }
  equal(a:transpose(0, 1):tolist(), { { 0.0, 3.0 }, { 1.0, 4.0 }, { 2.0, 5.0 } })
  equal(a:permute{ 1, 0 }:shape(), { 3, 2 })
  equal(a:permute(-1, 0):shape(), { 3, 2 })
  equal(a:narrow(1, 1, 2):tolist(), { { 1.0, 2.0 }, { 4.0, 5.0 } })
  equal(a:select(0, -1):tolist(), { 3.0, 4.0, 5.0 })
  equal(a:select(0, 0):view{ 1, 3 }:expand{ 2, 3 }:tolist(), { { 0.0, 1.0, 2.0 }, { 0.0, 1.0, 2.0 } })
  equal(a:view{ 3, -1 }:shape(), { 3, 2 })
  local v = a:select(1, 0)
  v:fill_(9)
  equal(a:tolist(), { { 9.0, 1.0, 2.0 }, { 9.0, 4.0, 5.0 } })
  check(not a:transpose(0, 1):is_contiguous())
  raises(function() a:transpose(0, 1):view{ 6 } end, "contiguous")
  local r = a:transpose(0, 1):reshape{ 6 }
  equal(r:tolist(), { 9.0, 9.0, 1.0, 4.0, 2.0, 5.0 })
  r:fill_(0)
  equal(a:get(0, 0), 9.0)
  check(a:contiguous() == a and a:to("f32") == a)
  check(a:clone():equal(a) and not a:clone():equal(r))
  equal(a:copy_(wattle.tensor({ { 1, 2, 3 }, { 4, 5, 6 } }, "i64")):tolist(), { { 1.0, 2.0, 3.0 }, { 4.0, 5.0, 6.0 } })
  equal(wattle.zeros{ 2, 3, 4, dtype = "u8" }:flatten():shape(), { 2, 12 })
  equal(wattle.zeros{ 2, 3, 4 }:flatten{ start_dim = 0 }:shape(), { 24 })
  equal(wattle.zeros{ 2, 3, 4 }:flatten{ start_dim = 0, end_dim = 1 }:shape(), { 6, 4 })
  equal(wattle.zeros{}:flatten():shape(), { 1 })
  raises(function() a:flatten{ stat_dim = 1 } end, "start_dim")
  raises(function() a:narrow(0, 1, 2) end, "")
  raises(function() a:permute{ 0 } end, "1 dimensions given, the tensor has 2")
  raises(function() a:transpose(0, 2) end, "dimension 2 is out of range for 2 dimensions")
  raises(function() a:copy_(wattle.zeros{ 3 }) end, "%[3%]")
  equal(a:transpose(0, 1):tobytes(), string.pack("<ffffff", 1, 4, 2, 5, 3, 6))
  equal(#a, 2)
  equal(a:bytes(), 24)
  check(tostring(a):find "f32 %[2,3%]")
end)

-- ---- ops ---------------------------------------------------------------------------------------------

test("operators and ops at once", function()
  local a, b = wattle.tensor{ { 1, 2 }, { 3, 4 } }, wattle.tensor{ 10, 20 }
  equal((a + b):tolist(), { { 11.0, 22.0 }, { 13.0, 24.0 } })
  equal((a - b):tolist(), { { -9.0, -18.0 }, { -7.0, -16.0 } })
  equal((a * 2):tolist(), { { 2.0, 4.0 }, { 6.0, 8.0 } })
  equal((2 * a):tolist(), { { 2.0, 4.0 }, { 6.0, 8.0 } })
  equal((1 - a):tolist(), { { 0.0, -1.0 }, { -2.0, -3.0 } })
  equal((a - 1):tolist(), { { 0.0, 1.0 }, { 2.0, 3.0 } })
  equal((-a):tolist(), { { -1.0, -2.0 }, { -3.0, -4.0 } })
  equal((a:to "f64" + 0.1):tolist(), { { 1.1, 2.1 }, { 3.1, 4.1 } }, "a number has the tensor's precision")
  equal(a:matmul(a):tolist(), { { 7.0, 10.0 }, { 15.0, 22.0 } })
  equal(ops.matmul(a, a):tolist(), a:matmul(a):tolist())
  equal((-a):relu():sum():item(), 0.0)
  equal(a:sum():item(), 10.0)
  equal(a:sum(0):tolist(), { 4.0, 6.0 })
  equal(a:sum(0, 1):item(), 10.0)
  equal(a:sum{ 1, keepdim = true }:tolist(), { { 3.0 }, { 7.0 } })
  equal(a:mean{ dims = { -1 } }:tolist(), { 1.5, 3.5 })
  equal(wattle.tensor({ 255, 255 }, "u8"):sum():item(), 510.0)
  local x, w = wattle.ones{ 1, 1, 3, 3 }, wattle.ones{ 1, 1, 2, 2 }
  equal(ops.conv2d(x, w, nil, { padding = { 0, 1 } }):shape(), { 1, 1, 2, 4 })
  equal(wattle.ones{ 1, 1, 4, 4 }:max_pool2d{ kernel_size = 2 }:shape(), { 1, 1, 2, 2 })
end)

test("numbers stand beside tensors in every operator and op", function()
  local a = wattle.tensor({ 1, -2, 4 }, "f64")
  equal((a / 2):tolist(), { 0.5, -1.0, 2.0 })
  equal((2 / a):tolist(), { 2.0, -1.0, 0.5 })
  equal((a ^ 2):tolist(), { 1.0, 4.0, 16.0 })
  equal((2 ^ a):tolist(), { 2.0, 0.25, 16.0 })
  equal((a / wattle.tensor({ 2 }, "f64") - a):tolist(), { -0.5, 1.0, -2.0 })
  equal(-2 ^ 2 - -(a ^ 2):get(2), 12.0, "Lua's precedence")
  equal(a:maximum(0):tolist(), { 1.0, 0.0, 4.0 })
  equal(ops.minimum(0, a):tolist(), { 0.0, -2.0, 0.0 })
  equal(a:gt(0):tolist(), { 1.0, 0.0, 1.0 })
  equal(ops.le(1, a):tolist(), { 1.0, 0.0, 1.0 })
  equal(a:lt(0):where(0, a):tolist(), { 1.0, 0.0, 4.0 })
  equal(ops.where(a:ne(4), 1, 2):tolist(), { 1.0, 1.0, 2.0 })
  equal((a / 0):tolist(), { math.huge, -math.huge, math.huge })
  raises(function() ops.matmul(a, 3) end, "matmul: b must be a tensor, a parameter or a symbolic value, not number")
  raises(function() a:mse_loss(0) end, "mse_loss: target must be a tensor")
  local p = core.param(wattle.tensor { 2, 4 })
  equal((p / 2):tolist(), { 1.0, 2.0 })
  equal((1 - p ^ 2):tolist(), { -3.0, -15.0 })
  equal(ops.maximum(p, 3):tolist(), { 3.0, 4.0 })
end)

test("attributes by position", function()
  local a = wattle.tensor { { 1, 1 }, { 0, 0 } }
  equal(a:softmax(1):tolist(), { { 0.5, 0.5 }, { 0.5, 0.5 } })
  equal(a:softmax(1):tolist(), a:softmax{ dim = -1 }:tolist())
  equal(wattle.tensor{ -2, 0, 3 }:clamp(-1, 2):tolist(), { -1.0, 0.0, 2.0 })
  equal(wattle.tensor{ -2, 0, 3 }:clamp{ max = 2 }:tolist(), { -2.0, 0.0, 2.0 })
  raises(function() a:softmax() end, "softmax: dim must be given")
  raises(function() a:softmax(2) end, "softmax: x is %[2,2%]; it has no dim 2")
  raises(function() a:softmax(0.5) end, "softmax: dim must be an integer")
  raises(function() a:softmax(a) end, "softmax: 2 inputs given, it takes 1")
  raises(function() a:clamp(1, 2, 3) end, "clamp: 4 inputs given, it takes 1")
  raises(function() a:clamp(1, { max = 2 }) end, "clamp: 2 inputs given, it takes 1")
  raises(function() a:clamp(2, 1) end, "clamp: min is 2, max is 1")
end)

test("wrong calls of ops say what is right", function()
  local x, w = wattle.ones{ 1, 1, 3, 3 }, wattle.ones{ 1, 1, 2, 2 }
  raises(function() ops.conv2d(x, w, nil, { strid = 2 }) end, "conv2d: unknown option 'strid'; did you mean 'stride'?")
  raises(function() ops.conv2d(x, w, nil, { qqq = 2 }) end, "known: stride, padding, dilation, groups")
  raises(function() ops.conv2d(x, w, nil, { stride = "2" }) end, "stride must be an integer or two")
  raises(function() ops.conv2d(x, w, nil, { stride = { 1, 2, 3 } }) end, "stride: 3 entries; at most 2")
  raises(function() ops.conv2d(x, w, nil, { groups = 1.5 }) end, "groups must be an integer")
  raises(function() ops.max_pool2d(x) end, "max_pool2d: kernel_size must be given")
  raises(function() ops.batch_norm(x, nil, nil, w, w, { training = 1 }) end, "training must be true or false")
  raises(function() ops.batch_norm(x, nil, nil, w, w, { eps = "x" }) end, "eps must be a number")
  raises(function() ops.relu(x, w) end, "relu: 2 inputs given, it takes 1")
  raises(function() ops.relu(3) end, "relu: x must be a tensor, a parameter or a symbolic value, not number")
  raises(function() ops.conv2d(x) end, "conv2d: ")
  raises(function() ops.con2d(x) end, "ops: unknown op 'con2d'; did you mean 'conv2d'?")
  raises(function() ops.matmul(wattle.ones{ 2, 3 }, wattle.ones{ 4, 5 }) end, "matmul: .*%[2,3%].*%[4,5%]")
  raises(function() return x + {} end, "add: b must be a tensor")
  raises(function() ops.add(x, wattle.ones{ 1, dtype = "f64" }) end, "f64")
  raises(function() x:sum{ keepdims = true } end, "did you mean 'keepdim'")
  raises(function() x:sum(7) end, "sum: ")
end)

test("an error names the line that called", function()
  local line
  local a, b = wattle.ones{ 2, 3 }, wattle.ones{ 4, 5 }
  local message = raises(function() line = line_here(); ops.matmul(a, b) end, "matmul")
  check(message:find(("test_tensor.lua:%d: matmul: "):format(line), 1, true), message)
  message = raises(function() line = line_here(); local _ = wattle.zeros{ 2 }:select(0, 5) end, "select")
  check(message:find(("test_tensor.lua:%d: "):format(line), 1, true), message)
  -- From inside Wattle's own Lua files the user's line is named.
  local net = wattle.nn.Linear{ in_features = 3, out_features = 2 }
  message = raises(function() line = line_here(); local _ = net(wattle.ones{ 2, 4 }) end, "linear")
  check(message:find(("test_tensor.lua:%d: "):format(line), 1, true), message)
end)

test("the trace's values: shapes now, numbers never", function()
  local g = core.trace "f32"
  local x = g:input("x", "f32", { 4, 3 })
  equal(x:shape(), { 4, 3 })
  equal(x.dtype, "f32")
  equal(x:dim(), 2)
  equal(x:size(-1), 3)
  equal(#x, 4)
  check(tostring(x):find "symbolic value %d+: f32 %[4,3%]")
  local y = (2 * x - 1):relu():reshape{ 0, 3, 1 } + wattle.ones{ 1 }
  equal(y:shape(), { 4, 3, 1 })
  equal(y:mean(1, 2):shape(), { 4 })
  equal(y:flatten():shape(), { 4, 3 })
  y = (1 / x - 2 / x ^ 2):exp():maximum(0):softmax(1)
  equal(y:shape(), { 4, 3 })
  equal((x:gt(0):where(x, -x) - x:abs()):clamp(0, 1):shape(), { 4, 3 })
  for _, name in ipairs{ "item", "tolist", "get", "set", "max", "argmax", "tobytes", "equal", "clone" } do
    raises(function() return x[name](x) end, "symbolic value: " .. name .. " has no value while the model is traced")
  end
  raises(function() return x < y end, "symbolic value: a comparison has no value")
  raises(function() return x .. "" end, "symbolic value")
  raises(function() return math.floor(x) end, "number expected, got symbolic value")
  raises(function() return core.truncate(x, 1) end, "tensor expected")
  raises(function() return wattle.zeros{ 4, 3 }:copy_(x) end, "symbolic value")
  equal(x.nothing, nil)
  local other = core.trace("f32"):input("x", "f32", { 4, 3 })
  raises(function() return x + other end, "add: values of two different traces")
  local p = core.param(wattle.ones{ 3 })
  raises(function() return x * p end, "belongs to no module")
  g:param("p", p)
  equal((x * p):shape(), { 4, 3 })
  raises(function() return (p * x):matmul(x) end, "matmul")
end)

test("an error in a trace names the module and the line", function()
  local g = core.trace()
  local x = g:input("x", "f32", { 4, 3 })
  g:scope "layer1.0.conv1"
  local line
  local message = raises(function() line = line_here(); x:matmul(x) end, "layer1.0.conv1")
  check(message:find(("test_tensor.lua:%d: "):format(line), 1, true), message)
end)

-- ---- parameters and plans -----------------------------------------------------------------------------

test("parameters: one master, versions, constraints", function()
  local p = core.param(wattle.tensor{ 1, 2, 3, 4 })
  equal(p:kind(), "parameter")
  equal(core.param(wattle.zeros{ 1 }, "buffer"):kind(), "buffer")
  raises(function() core.param(wattle.zeros{ 1 }, "bufer") end, "bufer")
  local v = p:version()
  p:tensor():set(0, 5)
  check(p:version() > v, "writing through the window is a change")
  v = p:version()
  p:tensor():narrow(0, 1, 2):fill_(0)
  check(p:version() > v, "through a view of it too")
  equal(p:tensor():tolist(), { 5.0, 0.0, 0.0, 4.0 })
  p:assign(wattle.tensor({ 1, 2, 3, 4 }, "f64"))
  p:mask(wattle.tensor({ 1, 0, 1, 0 }, "u8"))
  equal(p:mask():tolist(), { 1, 0, 1, 0 })
  equal(p:constrain():tensor():tolist(), { 1.0, 0.0, 3.0, 0.0 })
  local q = p:clone()
  p:mask(false)
  equal(p:mask(), nil)
  equal(q:mask():tolist(), { 1, 0, 1, 0 })
  equal(p:truncation(), nil)
  equal(p:truncation(23), p)
  equal(p:truncation().bits, 23)
  equal(p:constrain():tensor():tolist(), { 1.0, 0.0, 2.0, 0.0 })
  raises(function() p:truncation(24) end, "23")
  raises(function() p:truncation{ bit = 3 } end, "did you mean 'bits'")
  raises(function() p:truncation{ bits = 3, arm = "ones" } end, 'arm is "ones"')
  raises(function() p:truncation{ bits = 3, seed = "x" } end, "seed must be an integer, got x")
  raises(function() p:truncation{ bits = 3, name = ("x"):rep(128) } end, "at most 127")
  p:truncation{ bits = 4, arm = "random", master = true, seed = -7, name = "w" }
  equal(p:truncation(), { bits = 4, arm = "random", master = true, seed = -7, name = "w" })
  equal(p:master():tolist(), { 1.0, 0.0, 2.0, 0.0 })
  equal({ p:redraws(), p:constrain():redraws(), p:redraws(7) }, { 0, 1, 7 })
  raises(function() p:redraws(-1) end, "negative")
  equal({ p:truncation(false), p:truncation(), p:master() }, { p })
  p:assign(wattle.tensor{ 1, 0, 2, 0 })
  equal(p:requires_grad(), true)
  equal(p:requires_grad(false), false)
  equal(q:convert("f64"):tensor().dtype, "f64")
  check(tostring(q):find "parameter f64 %[4%]")
  raises(function() p:assign(wattle.zeros{ 3 }) end, "%[3%]")
  equal((p + 1):tolist(), { 2.0, 1.0, 3.0, 1.0 })
end)

local function linear_plan(options)
  local g = core.trace()
  local x, y = g:input("x", "f32", { 8, 4 }), g:input("y", "i64", { 8 })
  local w, b = core.param(wattle.zeros{ 3, 4 }), core.param(wattle.zeros{ 3 })
  local logits = ops.linear(x, g:param("w", w), g:param("b", b))
  g:output("logits", logits)
  g:loss(logits:cross_entropy(y))
  g:metric(ops.count_correct(logits, y))
  return core.compile(g, options or { optimizer = { lr = 0.5, momentum = 0.9 }, gradients = true }), w, b
end

test("plans step, evaluate, forward and tell of themselves", function()
  local plan, w = linear_plan()
  local x, y = wattle.randn{ 8, 4 }, wattle.tensor({ 0, 1, 2, 0, 1, 2, 0, 1 }, "i64")
  local loss, correct, n = plan:step(x, y)
  near(loss, math.log(3), 1e-5)
  equal(correct, 3.0)
  equal(n, 8)
  check(w:tensor():max() > 0)
  equal(plan:param_gradient(w):shape(), { 3, 4 })
  equal(plan:input_gradient(1):shape(), { 8, 4 })
  raises(function() plan:input_gradient(3) end, "input 3 of 2")
  for _ = 1, 20 do plan:step(x, y) end
  local after = plan:evaluate(x, y)
  check(after < loss)
  near(plan:evaluate(x, y), after, 0)
  local logits = plan:forward(x, y)
  equal(logits:shape(), { 8, 3 })
  local mine = wattle.zeros{ 8, 3 }
  check(plan:forward(x, y, { out = mine }) == mine and mine:equal(logits))
  check(plan:forward(x, y, { out = { mine } }) == mine)
  raises(function() plan:forward(x, y, { uot = mine }) end, "did you mean 'out'")
  plan:set("lr", 0.25)
  equal(plan:get "lr", 0.25)
  raises(function() plan:set("lrr", 1) end, "lr")
  check(#plan:describe() > 0)
  local info = plan:info()
  equal(info.forward_flops > 0 and math.type(info.nodes), "integer")
  plan:profile(true)
  plan:step(x, y)
  plan:profile(false)
  local rows = plan:profile()
  check(#rows > 0 and rows[1].calls == 1 and rows[1].op)
  near(plan:evaluate(x:to "f64", y), plan:evaluate(x, y), 0, "floats are converted")
  raises(function() plan:step(x, y:to "f32") end, "i64")
  raises(function() plan:step(x) end, "")
  local line
  local bad = x * (0 / 0)
  local message = raises(function() line = line_here(); plan:step(bad, y) end, "loss is nan")
  check(message:find(("test_tensor.lua:%d: "):format(line), 1, true), message)
  local x3, y3 = x:narrow(0, 0, 3), y:narrow(0, 0, 3)
  near(plan:evaluate(x3, y3), plan:evaluate(x3:clone(), y3), 0)
end)

test("compile takes what it knows", function()
  raises(function() linear_plan{ optimiser = {} } end, "unknown option 'optimiser'; did you mean 'optimizer'?")
  raises(function() linear_plan{ optimizer = { learning_rate = 1 } } end, "optimizer: unknown option 'learning_rate'")
  raises(function() linear_plan{ optimizer = { momentum = 1 } } end, "lr must be given")
  raises(function() linear_plan{ optimizer = { lr = "1" } } end, "lr must be a number")
  raises(function() linear_plan{ optimizer = { kind = "adagrad", lr = 1 } } end, "adagrad")
  raises(function() linear_plan{ backend = "cuda" } end, "cuda")
end)

test("a step makes no Lua allocation, and after the first none in C", function()
  if not core.lua_allocations() then t.skip "Lua's allocations are counted under the wattle program only" end
  local plan = linear_plan()
  local x, y = wattle.randn{ 8, 4 }, wattle.zeros{ 8, dtype = "i64" }
  plan:step(x, y)
  local memory = core.memory()
  local before = core.lua_allocations()
  for _ = 2, 10 do plan:step(x, y) end
  equal(core.lua_allocations() - before, 0)
  equal(core.memory().allocations - memory.allocations, 0)
  local calls = 0
  debug.sethook(function() calls = calls + 1 end, "c")
  for _ = 2, 10 do plan:step(x, y) end
  debug.sethook()
  equal(calls, 9 + 1, "one call a step, and debug.sethook")
end)

-- ---- boxes -----------------------------------------------------------------------------------------------

test("use after close raises, closing again does not", function()
  local a = wattle.zeros{ 3 }
  local v = a:view{ 3, 1 }
  a:close()
  a:close()
  raises(function() a:shape() end, "test_tensor.lua:%d+: tensor is closed")
  raises(function() return a + 1 end, "tensor is closed")
  raises(function() return #a end, "tensor is closed")
  equal(tostring(a), "tensor (closed)")
  equal(a.dtype, nil)
  equal(v:tolist(), { { 0.0 }, { 0.0 }, { 0.0 } }, "a view keeps the memory")
  local escaped
  do
    local b <close> = wattle.zeros{ 1 }
    escaped = b
  end
  raises(function() escaped:item() end, "tensor is closed")
  local plan, w = linear_plan()
  plan:close()
  raises(function() plan:describe() end, "plan is closed")
  w:close()
  raises(function() w:tensor() end, "parameter is closed")
  local g = core.trace()
  local x = g:input("x", "f32", { 1 })
  g:close()
  raises(function() g:input("y", "f32", { 1 }) end, "trace is closed")
  equal(x:shape(), { 1 }, "a value keeps its trace")
  x:close()
  raises(function() x:shape() end, "symbolic value is closed")
  local s = core.stamp()
  s:close()
  raises(function() s:bump() end, "stamp is closed")
end)

test("methods refuse other things", function()
  local a = wattle.zeros{ 1 }
  raises(function() a.shape(3) end, "tensor expected, got number")
  raises(function() a.shape(io.stdout) end, "tensor expected, got FILE")
  raises(function() a.shape(core.stamp()) end, "tensor expected, got stamp")
  raises(function() a.close(core.stamp()) end, "tensor expected, got stamp")
  for _, meta in ipairs{ "__gc", "__close", "__index", "__tostring", "__len", "__add" } do
    local f = debug.getmetatable(a)[meta]
    for _, wrong in ipairs{ 3, {}, io.stdout, core.stamp() } do pcall(f, wrong, wrong) end
  end
  equal(a:item(), 0.0)
end)

test("the collector hears of tensors", function()
  collectgarbage()
  local before = core.memory()
  for _ = 1, 10000 do wattle.zeros{ 64, 1024 } end -- 256 KiB each
  local after = core.memory()
  check(after.live_bytes - before.live_bytes < 64 << 20, "garbage: " .. (after.live_bytes - before.live_bytes))
  collectgarbage()
  collectgarbage()
  equal(core.memory().live - before.live, 0)
  equal(core.memory().live_bytes - before.live_bytes, 0)
  collectgarbage "stop" -- means what it says
  for _ = 1, 40 do wattle.zeros{ 1024, 256 } end
  check(core.memory().live - before.live >= 40)
  collectgarbage "restart"
  collectgarbage()
  equal(core.memory().live - before.live, 0)
end)

test("10,000 tensors of all kinds leave nothing", function()
  collectgarbage()
  collectgarbage()
  local before = core.memory().live
  for i = 1, 10000 do
    local a = wattle.zeros{ 2, 3 }
    local b = i % 2 == 0 and a:transpose(0, 1) or a + 1
    if i % 3 == 0 then a:close() end
    if i % 5 == 0 then b:close() end
  end
  collectgarbage()
  collectgarbage()
  equal(core.memory().live, before)
end)

-- ---- memory gone ---------------------------------------------------------------------------------------------

-- What is tried with the n-th allocation failing, n = 1, 2, ... until it goes through.
local attempts = {
  tensor = function() return wattle.tensor{ { 1, 2 }, { 3, 4 } } end,
  tensor_u8 = function() return wattle.tensor({ 1, 2 }, "u8") end,
  zeros = function() return wattle.zeros{ 4 } end,
  randn = function() return wattle.randn{ 4 } end,
  arange = function() return wattle.arange(4, "f32") end,
  permutation = function() return core.permutation(1, "a", "b", 0, 9) end,
  print = function() return tostring(wattle.zeros{ 30, 30 }) end,
  views = function()
    local a = wattle.zeros{ 2, 3 }
    return { a:transpose(0, 1), a:permute{ 1, 0 }, a:narrow(0, 0, 1), a:select(0, 1), a:view{ 6 },
             a:view{ 1, 2, 3 }:expand{ 2, 2, 3 }, a:transpose(0, 1):reshape{ 6 }, a:flatten() }
  end,
  copies = function()
    local a = wattle.zeros{ 2, 3 }:transpose(0, 1)
    return { a:clone(), a:contiguous(), a:to "f64", a:to("bf16"):tolist(), a:tobytes(), a:equal(a), a:argmax(0), a:max() }
  end,
  ops = function()
    local a = wattle.ones{ 4, 4 }
    return { a + a, a * 2, a - a, -a, a:matmul(a), a:sum(0), a:mean(), a:relu(), a / 2, 2 ^ a, a:maximum(0), a:softmax(1) }
  end,
  conv = function() return ops.conv2d(wattle.ones{ 1, 1, 5, 5 }, wattle.ones{ 2, 1, 3, 3 }, nil, { padding = 1 }) end,
  param = function()
    local p = core.param(wattle.ones{ 4 })
    p:mask(wattle.ones{ 4, dtype = "u8" }):constrain()
    return p:clone():tensor(), p:convert "f64"
  end,
  trace = function()
    local g = core.trace()
    local x = g:input("x", "f32", { 2, 3 })
    g:output("y", (x * 2 + 1):reshape{ 0, 3, 1 })
    return g
  end,
  plan = function()
    local plan, w = linear_plan()
    local x, y = wattle.randn{ 8, 4 }, wattle.zeros{ 8, dtype = "i64" }
    plan:step(x, y)
    plan:step(x:narrow(0, 0, 5), y:narrow(0, 0, 5))
    local gradient = plan:param_gradient(w) -- before forward takes the arena for another batch size
    return gradient, plan:forward(x, y), plan:describe(), plan:info()
  end,
  prune = function() return core.prune_global({ wattle.randn{ 20 }, wattle.randn{ 9 } }, 0.5) end,
  lowrank = function() return core.lowrank(wattle.ones{ 20, 20 }, 0.9) end,
  dict = function() return core.sha256_dict{ a = wattle.ones{ 3 }, b = wattle.zeros{ 2 } } end,
}

local scratch = os.tmpname()

function attempts.files()
  assert(wattle.save(scratch, { w = wattle.ones{ 3 }, b = wattle.arange(2) }, { note = "x" }))
  local d, meta = assert(wattle.load(scratch))
  check(d.w:sum():item() == 3 and meta.note == "x")
  assert(core.sha256_file(scratch))
  assert(core.write_file(scratch, "a,b\n1,2\n"))
  local a = assert(core.appender(scratch, "a,b"))
  assert(a:add(core.csv_field "3" .. ",4\n"))
  a:close()
  equal(#assert(core.csv_read(scratch)), 3)
  return core.json_decode(core.json_encode{ x = { 1, 2 }, y = "z" })
end

function attempts.batch()
  local images, labels = wattle.zeros{ 4, 2, 2, dtype = "u8" }, wattle.zeros{ 4, dtype = "u8" }
  return core.gather_batch(images, labels, wattle.arange(4), 1, 2, 0, 1)
end

function attempts.meter()
  local m = wattle.meter{ source = "estimate", period_s = 10 }
  local r = m:region "x"
  local result, text = r:stop(), m:describe()
  m:close()
  return result, text
end

local function sweep(set, limit)
  for name, attempt in pairs(attempts) do
    attempt() -- loads and caches, once
    collectgarbage()
    collectgarbage()
    local before, went_through = core.memory().live, false
    for n = 1, limit do
      set(n)
      local ok, message = pcall(attempt)
      set(0)
      went_through = ok
      if ok then
        check(n > 1, name .. " allocates nothing")
        break
      end
      check(tostring(message):find "memory", ("%s, allocation %d: %s"):format(name, n, message))
    end
    check(went_through, name .. " never succeeded")
    collectgarbage()
    collectgarbage()
    equal(core.memory().live, before, name .. " leaves something behind")
  end
end

test("the core's memory gone at any point", function()
  sweep(core.fail_at, 3000)
end)

test("Lua's memory gone at any point", function()
  if not core.lua_fail_at(0) then t.skip "only in the wattle program" end
  sweep(core.lua_fail_at, 6000)
end)

os.remove(scratch)

-- ---- everything bound is documented ------------------------------------------------------------------------------

test("every function of every table has help", function()
  for name, f in pairs(core) do
    if type(f) == "function" then check(core.help(name), "core." .. name) end
  end
  for name in pairs(ops) do check(core.help("ops." .. name), "ops." .. name) end
  for class, methods in pairs(core.classes) do
    for name in pairs(methods) do check(core.help(class .. ":" .. name), class .. ":" .. name) end
  end
  check(core.help("tensor:reshape"):find "contiguous")
  check(core.help("tensor:relu"):find "Rectifier")
  check(ops.help("conv2d"):find("conv2d(x, w, b?, {stride = 1, padding = 0, dilation = 1, groups = 1}) -> y", 1, true)
        or ops.help("conv2d"):find "stride = 1", ops.help "conv2d")
  equal(core.help "no such thing", nil)
  check(core.help():find "Tensors: made")
  equal(core.nearest("strid", { "padding", "stride" }), "stride")
  equal(core.nearest("qqq", { "padding", "stride" }), nil)
end)

test("a pool's window may be far larger than its image, and takes no longer for it", function()
  local x = wattle.rand{ 1, 2, 5, 7 }
  local y = ops.max_pool2d(x, { kernel_size = 2147483647, padding = 1073741823 })
  equal(y:shape(), { 1, 2, 1, 1 })
  equal(y:max(), x:max())
  local far = { kernel_size = { 11, 9 }, stride = { 3, 2 }, padding = { 5, 4 } }
  local framed = ops.pad(x, { pads = { 4, 4, 5, 5 }, value = -1 })
  check(ops.max_pool2d(x, far):equal(ops.max_pool2d(framed, { kernel_size = { 11, 9 }, stride = { 3, 2 } })))
end)
