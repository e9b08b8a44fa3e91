-- Each op where it stands in its network: in f32, with the kernels, layouts, reorders and derived forms that the plan
-- chose. (plan:agree, in test_golden.lua, runs every op alone, so its inputs come in the plain layout.) The networks are
-- traced here by hand, so that every value is known; after a step, with keep_values,
--   a value is what its op gives in f64 from the plan's own inputs of that op, within 1e-5;
--   the gradient of a value is the sum over its readers of their vector-Jacobian products in f64, from the plan's own
--   values and gradients, within 1e-4 (norm-relative, the denominator never below 1e-6 of the whole gradient's norm).

local wattle = require "wattle"
local core, ops = wattle.core, wattle.ops
local t = require "harness"
local test, check = t.test, t.check

local formula = dofile(debug.getinfo(1, "S").source:match("^@(.-)[^/]*$") .. "../golden/formula.lua")
local backends = { "reference", "blas" }
local onednn = core.build_info():match("providers:[^\n]*onednn") ~= nil
if onednn then backends[3] = "onednn" end

-- ---- networks on a tape ------------------------------------------------------------------------------------

-- A trace that remembers its nodes, {op, inputs, attrs, out}, and makes parameters as it meets them.
local function new_tape()
  local tape = { graph = core.trace("f32"), nodes = {}, params = {} }
  function tape.param(name, kind, ...)
    local values = wattle.tensor(formula.parameter(name, { ... }), "f64"):reshape{ ... }
    local p = core.param(values:to("f32"), kind or "parameter")
    local v = tape.graph:param(name, p)
    tape.params[#tape.params + 1] = { name = name, param = p, value = v, trained = kind ~= "buffer" }
    return v
  end
  function tape.op(op, inputs, attrs)
    local n = 0
    for i in pairs(inputs) do n = math.max(n, i) end
    local arguments = table.move(inputs, 1, n, 1, {})
    arguments[n + 1] = attrs or {}
    local out = ops[op](table.unpack(arguments, 1, n + 1))
    table.insert(tape.nodes, { op = op, inputs = inputs, n = n, attrs = attrs or {}, out = out })
    return out
  end
  -- more: {groups =, dilation =}
  function tape.conv(name, x, cout, kernel, stride, bias, more)
    tape.graph:scope(name)
    local groups, dilation = more and more.groups or 1, more and more.dilation or 1
    local w = tape.param(name .. ".weight", nil, cout, x:size(1) // groups, kernel, kernel)
    return tape.op("conv2d", { x, w, bias and tape.param(name .. ".bias", nil, cout) },
                   { stride = stride, padding = dilation * (kernel // 2), dilation = dilation, groups = groups })
  end
  function tape.norm(name, x)
    tape.graph:scope(name)
    local c = x:size(1)
    return tape.op("batch_norm", { x, tape.param(name .. ".weight", nil, c), tape.param(name .. ".bias", nil, c),
                                   tape.param(name .. ".running_mean", "buffer", c),
                                   tape.param(name .. ".running_var", "buffer", c) }, { training = true })
  end
  function tape.linear(name, x, out)
    tape.graph:scope(name)
    return tape.op("linear", { x, tape.param(name .. ".weight", nil, out, x:size(1)), tape.param(name .. ".bias", nil, out) })
  end
  return tape
end

local function relu(tape, x) return tape.op("relu", { x }) end

-- As models/resnet_cifar.lua, depth 8.
local function resnet8(tape, x, width)
  local function block(name, y, cout, stride)
    local z = relu(tape, tape.norm(name .. ".bn1", tape.conv(name .. ".conv1", y, cout, 3, stride)))
    z = tape.norm(name .. ".bn2", tape.conv(name .. ".conv2", z, cout, 3, 1))
    if stride ~= 1 then y = tape.norm(name .. ".shortcut.1", tape.conv(name .. ".shortcut.0", y, cout, 1, stride)) end
    return relu(tape, tape.op("add", { z, y }))
  end
  x = relu(tape, tape.norm("bn1", tape.conv("conv1", x, width, 3, 1)))
  x = block("layer1.0", x, width, 1)
  x = block("layer2.0", x, 2 * width, 2)
  x = block("layer3.0", x, 4 * width, 2)
  return tape.linear("fc", tape.op("global_avg_pool2d", { x }), 10)
end

-- Convolutions with bias, pooling (windows over the edge too), and a value with three readers, of which one scales it.
local function pooled(tape, x, width)
  x = tape.op("max_pool2d", { relu(tape, tape.conv("conv1", x, width, 5, 1, true)) }, { kernel_size = 2 })
  local y = tape.op("mul", { tape.conv("conv2", x, width, 3, 1, true), tape.conv("conv3", x, width, 1, 1, true) })
  x = tape.op("max_pool2d", { tape.op("add", { y, x }) }, { kernel_size = 3, stride = 2, padding = 1, ceil_mode = true })
  x = tape.op("avg_pool2d", { x }, { kernel_size = 3, stride = 2, padding = 1, ceil_mode = true, count_include_pad = false })
  return tape.linear("fc", tape.op("flatten", { x }), 10)
end

-- Groups, one channel a group, dilation, average pools, concatenations that fill their blocks and that do not, and
-- values read through another order of axes, in steps, and in a frame.
local function mixed(tape, x, width)
  x = relu(tape, tape.conv("conv1", x, width, 3, 1))
  local grouped = tape.conv("grouped", x, 2 * width, 3, 1, true, { groups = width % 2 == 0 and 2 or width })
  local depthwise = tape.conv("depthwise", x, width, 3, 1, true, { groups = width })
  x = relu(tape, tape.op("concat", { grouped, depthwise, x }, { dim = 1 }))
  x = tape.op("avg_pool2d", { x }, { kernel_size = 3, stride = 2, padding = 1, count_include_pad = false })
  x = tape.conv("dilated", x, width, 3, 1, true, { dilation = 2 })
  local turned = tape.op("permute", { x }, { dims = { 0, 1, 3, 2 } })
  local every = tape.op("slice", { turned }, { dim = 1, start = 1, step = 3 })
  local framed = tape.op("pad", { every }, { pads = { 1, 0, 0, 2 }, value = 0.5 })
  x = tape.op("avg_pool2d", { tape.conv("conv2", framed, width, 3, 2, true) }, { kernel_size = 2, stride = 1 })
  x = tape.op("concat", { x, tape.conv("conv3", x, width + 1, 1, 1) }, { dim = 1 })
  x = tape.op("adaptive_avg_pool2d", { x }, { output_size = { 2, 3 } })
  return tape.linear("fc", tape.op("flatten", { tape.op("dropout", { x }) }), 10)
end

-- Depthwise convolutions in the shapes that oneDNN has no fast kernel for: wide filters, also on planes smaller than they,
-- even ones, strides with dilation.
local function depthwise(tape, x, width)
  local function conv(name, y, kernel, stride, dilation)
    return tape.conv(name, y, width, kernel, stride, true, { groups = width, dilation = dilation })
  end
  x = relu(tape, conv("dw5", tape.conv("conv1", x, width, 3, 1), 5, 2))
  x = tape.op("add", { conv("dw7", x, 7, 1), x })
  x = conv("dw4", conv("dw3", x, 3, 2, 2), 4, 1)
  x = tape.op("mul", { conv("dw5small", x, 5, 1), conv("dw1", x, 1, 1) })
  return tape.linear("fc", tape.op("flatten", { x }), 10)
end

-- Convolutions onto planes of a few pixels, and wide filters on small planes.
local function few_pixels(tape, x, width)
  x = relu(tape, tape.norm("bn1", tape.conv("conv1", x, width, 3, 2)))
  x = relu(tape, tape.norm("bn2", tape.conv("onto4", x, width + 3, 3, 2, true)))
  x = tape.op("add", { tape.conv("on4", x, width + 3, 3, 1), x })
  x = tape.conv("wide", x, width, 5, 1, true)
  return tape.linear("fc", tape.op("global_avg_pool2d", { tape.conv("onto1", x, 2 * width, 3, 2, true, { dilation = 2 }) }), 10)
end

-- Squeeze and excite, the gate on either side.
local function gated(tape, x, width)
  x = tape.conv("conv1", x, width, 3, 1)
  for k = 1, 2 do
    local squeezed = relu(tape, tape.conv("fc1." .. k, tape.op("adaptive_avg_pool2d", { x }, { output_size = 1 }), 5, 1, 1, true))
    local gate = tape.op("sigmoid", { tape.conv("fc2." .. k, squeezed, width, 1, 1, true) })
    tape.graph:scope("gate" .. k)
    x = tape.conv("conv" .. k + 1, tape.op("mul", k == 1 and { gate, x } or { x, gate }), width, 3, 1)
  end
  return tape.linear("fc", tape.op("global_avg_pool2d", { x }), 10)
end

-- Between convolutions: functions that keep 0 and run in the convolutions' layout, others that do not, choices by a
-- comparison, and operands that repeat.
local function elementwise(tape, x, width)
  local function op(name, inputs, attrs) return tape.op(name, inputs, attrs) end
  local a = tape.conv("conv1", x, width, 3, 1, true)
  local b = tape.conv("conv2", a, width, 3, 1, true)
  local gap = op("sub", { op("maximum", { a, b }), op("minimum", { b, a }) })
  local y = op("where", { op("gt", { a, b }), op("tanh", { gap }), op("abs", { b }) })
  y = tape.conv("conv3", op("sub", { y, tape.param("shift", nil, width, 1, 1) }), width, 3, 2, true)
  local s = op("sigmoid", { y })
  local e = op("exp", { s })
  y = op("add", { op("div", { op("clamp", { y }, { min = -0.5, max = 0.5 }), e }), op("pow", { s, e }) })
  y = op("sub", { op("mul", { y, op("sqrt", { e }) }), op("log", { s }) })
  y = op("where", { op("le", { y, s }), op("div", { y, tape.param("scale", nil, width, 1, 1) }), y })
  y = op("softmax", { tape.conv("conv4", y, width, 1, 1) }, { dim = 1 })
  return tape.linear("fc", op("flatten", { op("log_softmax", { tape.conv("conv5", y, width, 3, 1) }, { dim = -1 }) }), 10)
end

-- Activations between convolutions, in the convolutions' layout where they keep 0, and layer norms over a plane and a row.
local function activated(tape, x, width)
  local function op(name, input, attrs) return tape.op(name, { input }, attrs) end
  x = op("silu", tape.conv("conv1", x, width, 3, 1, true))
  x = op("stochastic_depth", op("gelu", tape.conv("conv2", x, width, 3, 1, true)), { p = 0.5 })
  x = op("gelu", op("hardswish", tape.conv("conv3", x, width, 3, 2, true)), { tanh = true })
  x = op("relu6", tape.conv("conv4", op("hardsigmoid", x), width, 3, 1, true))
  x = op("layer_norm", x, { dims = 2, eps = 1e-3 })
  x = op("flatten", tape.op("silu", { tape.conv("conv5", x, width, 3, 2) }))
  x = tape.linear("fc1", x, width)
  x = tape.op("layer_norm", { x, tape.param("scale", nil, width), tape.param("shift", nil, width) })
  return tape.linear("fc2", op("gelu", x), 10)
end

-- o: build, width, image (C, H, W), batch, image_gradient: whether the plan also computes it (otherwise the first
-- convolution has none to compute, as in training).
local function trace(o)
  local tape = new_tape()
  local shape = { o.batch, table.unpack(o.image) }
  local pixels = wattle.tensor(formula.input(1, shape), "f64"):reshape(shape):to("f32")
  local labels = wattle.tensor(formula.labels(1, o.batch, 10), "i64")
  local x
  if o.image_gradient then
    x = tape.graph:input("x", "f32", shape)
    tape.x, tape.arguments = x, { pixels, labels }
  else
    x = tape.graph:param("x", core.param(pixels, "buffer"))
    tape.arguments = { labels }
  end
  local y = tape.graph:input("y", "i64", { o.batch })
  local logits = o.build(tape, x, o.width)
  tape.graph:scope()
  tape.graph:output("logits", logits)
  tape.graph:loss(tape.op("cross_entropy", { logits, y }))
  return tape
end

-- ---- what an op should have given ----------------------------------------------------------------------------

local function to_f64(tensor)
  return tensor.dtype == "f32" and tensor:to("f64") or tensor
end

local function recorded(plan, node)
  local inputs = {}
  for i, v in pairs(node.inputs) do inputs[i] = to_f64(plan:value(v)) end
  return inputs
end

local function forward(plan, node)
  local arguments = recorded(plan, node)
  arguments[node.n + 1] = node.attrs
  return (ops[node.op](table.unpack(arguments, 1, node.n + 1)))
end

-- The gradients of sum(out * dout) with respect to the node's float inputs, by position.
local function backward(plan, node)
  local graph, params, values = core.trace("f64"), {}, {}
  local labels
  for i, input in pairs(recorded(plan, node)) do
    if input.dtype == "i64" then
      labels = input
      values[i] = graph:input("labels", "i64", input:shape())
    else
      params[i] = core.param(input, "parameter")
      values[i] = graph:param("p" .. i, params[i])
    end
  end
  values[node.n + 1] = node.attrs
  local out = ops[node.op](table.unpack(values, 1, node.n + 1))
  graph:loss(ops.sum(ops.mul(out, to_f64(plan:value(node.out, true)))))
  local small = core.compile(graph, { backend = "reference", gradients = true })
  if labels then small:step(labels) else small:step() end
  local gradients = {}
  for i, p in pairs(params) do
    if not (node.op == "batch_norm" and i > 3) then gradients[i] = small:param_gradient(p) end
  end
  return gradients
end

local function norm(tensor)
  return math.sqrt((tensor * tensor):sum():item())
end

local function relative(got, want, floor)
  local err = norm(to_f64(got) + want * -1) / math.max(norm(want), floor or 0, 1e-300)
  return err == err and err or math.huge
end

-- No gradient flows through these.
local stops = { gt = true, le = true }

-- value's text -> {value =, sum = of its readers' gradients}. Symbolic values are boxes: one value may have several.
local function expected_gradients(plan, tape)
  local expected, stopped = {}, {}
  for _, node in ipairs(tape.nodes) do
    if stops[node.op] then stopped[tostring(node.out)] = true end
    for i, gradient in pairs(stops[node.op] and {} or backward(plan, node)) do
      local key = tostring(node.inputs[i])
      local known = expected[key]
      expected[key] = { value = node.inputs[i], sum = known and known.sum + gradient or gradient, node = node, i = i }
    end
  end
  for key in pairs(stopped) do
    check(norm(expected[key].sum) == 0, "a choice's condition has no gradient")
    expected[key] = nil
  end
  return expected
end

local function whole_norm(plan, tape)
  local square = tape.x and norm(plan:value(tape.x, true)) ^ 2 or 0
  for _, p in ipairs(tape.params) do
    if p.trained then square = square + norm(plan:value(p.value, true)) ^ 2 end
  end
  return math.sqrt(square)
end

-- ---- the tests ---------------------------------------------------------------------------------------------------

local cases = {
  { name = "ResNet-8 of width 8", build = resnet8, width = 8, image = { 1, 12, 12 }, batch = 4 },
  { name = "ResNet-8 of width 16, three channels", build = resnet8, width = 16, image = { 3, 9, 11 }, batch = 3 },
  { name = "ResNet-8 of width 12, gradient of the image", build = resnet8, width = 12, image = { 1, 13, 13 }, batch = 2,
    image_gradient = true },
  { name = "pooled convolutions of width 16", build = pooled, width = 16, image = { 1, 14, 14 }, batch = 3 },
  { name = "pooled convolutions of width 6", build = pooled, width = 6, image = { 2, 13, 13 }, batch = 2,
    image_gradient = true },
  { name = "groups, dilation and concat of width 32", build = mixed, width = 32, image = { 1, 14, 14 }, batch = 3 },
  { name = "groups, dilation and concat of width 24, batch 1", build = mixed, width = 24, image = { 3, 15, 13 }, batch = 1,
    image_gradient = true },
  { name = "groups, dilation and concat of width 17", build = mixed, width = 17, image = { 3, 13, 11 }, batch = 2 },
  { name = "depthwise convolutions of width 24", build = depthwise, width = 24, image = { 3, 19, 14 }, batch = 3 },
  { name = "depthwise convolutions of width 11", build = depthwise, width = 11, image = { 3, 9, 8 }, batch = 2,
    image_gradient = true },
  { name = "planes of a few pixels, width 16", build = few_pixels, width = 16, image = { 3, 7, 8 }, batch = 5 },
  { name = "planes of a few pixels, width 21", build = few_pixels, width = 21, image = { 3, 6, 5 }, batch = 2 },
  { name = "gates of width 24", build = gated, width = 24, image = { 3, 7, 8 }, batch = 3 },
  { name = "gates of width 19", build = gated, width = 19, image = { 3, 6, 5 }, batch = 2 },
  { name = "element-wise ops of width 17", build = elementwise, width = 17, image = { 3, 9, 11 }, batch = 2 },
  { name = "element-wise ops of width 24", build = elementwise, width = 24, image = { 1, 8, 9 }, batch = 3,
    image_gradient = true },
  { name = "activations of width 17", build = activated, width = 17, image = { 3, 9, 11 }, batch = 2 },
  { name = "activations of width 16", build = activated, width = 16, image = { 1, 9, 9 }, batch = 3,
    image_gradient = true },
}

local taken = {} -- by oneDNN: names of modules and of ops

for _, case in ipairs(cases) do
  for _, backend in ipairs(backends) do
    test(("%s on %s"):format(case.name, backend), function()
      local tape = trace(case)
      local plan = core.compile(tape.graph, { backend = backend, keep_values = true })
      plan:step(table.unpack(tape.arguments))

      local worst_forward, worst_backward, checked = 0, 0, 0
      for _, node in ipairs(tape.nodes) do
        local err = relative(plan:value(node.out), forward(plan, node))
        check(err <= 1e-5, ("%s -> %s: forward is %.2e off"):format(node.op, tostring(node.out), err))
        worst_forward = math.max(worst_forward, err)
      end
      local floor = 1e-6 * whole_norm(plan, tape)
      for key, e in pairs(expected_gradients(plan, tape)) do
        local ok, got = pcall(plan.value, plan, e.value, true)
        if ok then
          local err = relative(got, e.sum, floor)
          check(err <= 1e-4, ("gradient of %s, input %d of %s, is %.2e off"):format(key, e.i, e.node.op, err))
          worst_backward, checked = math.max(worst_backward, err), checked + 1
        else
          check(not case.image_gradient and e.node == tape.nodes[1] and e.i == 1, got)
        end
      end
      local without = 0
      for _, node in ipairs(tape.nodes) do without = without + (stops[node.op] and 1 or 0) end
      check(checked >= #tape.nodes - 1 - without, "gradients are missing")
      if backend == "onednn" then check(plan:describe():find "aBcd%d+b", "nothing ran in a blocked layout") end
      for name, op in plan:describe():gmatch "([%w.]+) +forward +([%w_]+) +onednn " do
        taken[name], taken[op] = true, true
      end
      print(("  %-45s %-9s %3d values: forward %.1e  %3d gradients: backward %.1e"):format(
        case.name, backend, #tape.nodes, worst_forward, checked, worst_backward))
    end)

    -- Without keep_values relus are fused, memory is shared and updates may be fused: the same gradients all the same.
    test(("%s on %s, fused and shared"):format(case.name, backend), function()
      local kept, shared = trace(case), trace(case)
      local a = core.compile(kept.graph, { backend = backend, keep_values = true })
      local b = core.compile(shared.graph, { backend = backend, gradients = true })
      local loss = a:step(table.unpack(kept.arguments))
      t.near(b:step(table.unpack(shared.arguments)), loss, 1e-5 * loss)
      local floor = 1e-6 * whole_norm(a, kept)
      for i, p in ipairs(kept.params) do
        if p.trained then
          local err = relative(b:param_gradient(shared.params[i].param), to_f64(a:param_gradient(p.param)), floor)
          check(err <= 1e-5, ("%s: the gradient is %.2e off"):format(p.name, err))
        end
      end
    end)
  end
end

-- Windows are written out for so many images at a time; the others' gradients are added.
test("more images than one matrix product takes", function()
  local results = {}
  for _, backend in ipairs(backends) do
    local tape = new_tape()
    local x = tape.graph:param("x", core.param(wattle.tensor(formula.input(1, { 240, 8, 2, 2 }), "f32"):reshape(240, 8, 2, 2)))
    local y = tape.conv("few", tape.conv("conv1", x, 256, 1, 1), 8, 3, 1, true)
    tape.graph:loss(tape.op("sum", { tape.op("mul", { y, y }) }))
    local plan = core.compile(tape.graph, { backend = backend, gradients = true })
    results[backend] = { wattle.tensor{ (plan:step()) } }
    for i, p in ipairs(tape.params) do results[backend][i + 1] = plan:param_gradient(p.param) end
    if backend == "onednn" then check(plan:describe():find "few +forward +conv2d +onednn +own:sgemm") end
  end
  for _, backend in ipairs(backends) do
    for i, want in ipairs(results.reference) do
      local err = relative(results[backend][i], to_f64(want))
      check(err <= 1e-5, ("%s: result %d is %.2e off"):format(backend, i, err))
    end
  end
end)

test("oneDNN's kernels were among them", function()
  if not onednn then
    check(not next(taken), "a build without oneDNN says that it ran")
    return
  end
  for _, name in ipairs{ "conv2d", "grouped", "depthwise", "dw5", "dw7", "dw4", "dw3", "dw5small", "onto4", "on4", "wide",
                         "onto1", "gate1", "gate2", "batch_norm", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d",
                         "concat", "global_avg_pool2d" } do
    check(taken[name], name .. " never ran on oneDNN")
  end
end)
