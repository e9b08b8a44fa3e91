-- Whole networks against PyTorch (tests/golden/networks, made by make_networks.py), by DESIGN's rule of agreement:
--  1. in float64, on the reference provider: every gradient within 1e-8 of PyTorch's (norm-relative, the
--     denominator never below 1e-6 of the whole gradient's norm), logits, losses and statistics within 1e-10;
--  2. in f32, each op of the network alone, fed the float64 run's recorded values: 1e-5 forward, 1e-4 backward;
--  3. whole-network f32 errors are printed, not judged.
-- And that the comparison can fail: one weight moved by 1e-3, two gradients' elements swapped.

local wattle = require "wattle"
local core = wattle.core
local t = require "harness"
local test, check = t.test, t.check

local golden = debug.getinfo(1, "S").source:match("^@(.-)[^/]*$") .. "../golden/"
local formula = dofile(golden .. "formula.lua")

-- As in make_networks.py: batches are the batch sizes of the three steps; a smaller one specialises the plan.
local cases = {
  { name = "mlp", model = "mlp", image = { 1, 28, 28 }, batches = { 5, 5, 3 } },
  { name = "lenet5", model = "lenet5", image = { 1, 28, 28 }, batches = { 4, 4, 2 } },
  { name = "resnet8_w8", model = "resnet8", width = 8, image = { 1, 12, 12 }, batches = { 4, 4, 3 } },
  { name = "resnet8_w16", model = "resnet8", width = 16, image = { 1, 12, 12 }, batches = { 4, 4, 4 } },
  { name = "resnet8_w8_odd", model = "resnet8", width = 8, image = { 1, 13, 13 }, batches = { 3, 3, 2 } },
}
local classes = 10
local optimizer = { "sgd", lr = 0.1, momentum = 0.9, nesterov = true, weight_decay = 5e-4 }

-- Largest error allowed in each section of a fixture, norm-relative.
local bounds = { eval_logits = 1e-10, logits = 1e-10, loss = 1e-10, gradient = 1e-8, statistics = 1e-10,
                 parameter = 1e-8, eval_logits_after = 1e-8 }

-- ---- fixtures and networks ---------------------------------------------------------------------------------

-- section -> tensor -> item -> number
local function fixture(case)
  local rows = assert(core.csv_read(golden .. "networks/" .. case.name .. ".csv"))
  local f = {}
  for i = 2, #rows do
    local section, tensor, item, value = table.unpack(rows[i])
    f[section] = f[section] or {}
    f[section][tensor] = f[section][tensor] or {}
    f[section][tensor][item] = tonumber(value)
  end
  return f
end

local function flat(tensor)
  return tensor:contiguous():reshape{ tensor:numel() }:tolist()
end

local function from_flat(values, shape, dtype)
  return wattle.tensor(values, dtype):reshape(shape)
end

local function build(case, dtype)
  local model = wattle.models.create(case.model, { num_classes = classes, in_channels = case.image[1],
                                                   image_size = case.image[2], width = case.width })
  model:to(dtype)
  for _, list in ipairs{ model:parameters(), model:buffers() } do
    for _, entry in ipairs(list) do
      local shape = entry.param:tensor():shape()
      entry.param:assign(from_flat(formula.parameter(entry.name, shape), shape, "f64"))
    end
  end
  return model
end

local function shape_of(case, step)
  return { case.batches[step], table.unpack(case.image) }
end

local function batch(case, step, dtype)
  local shape = shape_of(case, step)
  return from_flat(formula.input(step, shape), shape, dtype),
         wattle.tensor(formula.labels(step, shape[1], classes), "i64")
end

-- ---- what Wattle computes, in a fixture's form ---------------------------------------------------------------

local function elements(tensor)
  local items = {}
  for i, v in ipairs(flat(tensor)) do items["element" .. i - 1] = v end
  return { logits = items }
end

local function evaluated(case, model, o)
  local plan = model:compile{ input = shape_of(case, 1), dtype = o.dtype, backend = o.backend }
  return elements(plan:forward((batch(case, 1, o.dtype))))
end

local function summaries(dict)
  local result = {}
  for _, name in ipairs(dict) do result[name] = formula.summary(name, flat(dict[name])) end
  return result
end

local function statistics(model)
  local dict = {}
  for _, entry in ipairs(model:buffers()) do
    dict[#dict + 1] = entry.name
    dict[entry.name] = entry.param:tensor()
  end
  return summaries(dict)
end

local function gradient_dict(plan)
  local g = plan:gradients()
  local dict = table.move(g.parameters, 1, #g.parameters, 1, {})
  for _, name in ipairs(dict) do dict[name] = g.parameters[name] end
  dict[#dict + 1] = "input"
  dict.input = g.inputs[1]
  return dict
end

-- Three steps as the fixture has them. o: dtype, backend, gradients; disturb(model) before anything runs.
local function train(case, o)
  local model = build(case, o.dtype)
  if o.disturb then o.disturb(model) end
  local result = { eval_logits = evaluated(case, model, o), loss = {} }
  local plan = model:compile{ input = shape_of(case, 1), loss = "cross_entropy", optimizer = optimizer,
                              dtype = o.dtype, backend = o.backend, gradients = o.gradients }
  local x, y = batch(case, 1, o.dtype)
  result.logits = elements(plan:forward(x, y))
  for step = 1, 3 do
    x, y = batch(case, step, o.dtype)
    result.loss["step" .. step] = { value = plan:step(x, y) }
    if step == 1 then
      result.statistics = statistics(model)
      if o.gradients then result.gradient = summaries(gradient_dict(plan)) end
    end
  end
  result.parameter = summaries(model:state_dict())
  result.eval_logits_after = evaluated(case, model, o)
  return result
end

-- ---- comparison ------------------------------------------------------------------------------------------------

local function count(items)
  local n = 0
  for _ in pairs(items) do n = n + 1 end
  return n
end

-- |got - want| and |want|; infinity where items are missing or not finite.
local function difference(got, want)
  if not got or count(got) ~= count(want) then return math.huge, 1 end
  local distance, norm = 0, want.norm
  if norm then
    distance = formula.distance(got, want)
  else
    norm = 0
    for item, v in pairs(want) do
      if not got[item] then return math.huge, 1 end
      distance, norm = distance + (got[item] - v) ^ 2, norm + v ^ 2
    end
    distance, norm = math.sqrt(distance), math.sqrt(norm)
  end
  return distance == distance and distance or math.huge, norm
end

-- Largest norm-relative error of a section, and the tensor that has it. Tensors that one side lacks count as
-- infinitely wrong.
local function section_error(got, want)
  local whole = 0
  for _, items in pairs(want) do whole = whole + (items.norm or 0) ^ 2 end
  local worst, where = 0, "-"
  for tensor, items in pairs(want) do
    local distance, norm = difference(got[tensor], items)
    local err = distance / math.max(norm, 1e-6 * math.sqrt(whole), 1e-300)
    if err > worst then worst, where = err, tensor end
  end
  for tensor in pairs(got) do
    if not want[tensor] then worst, where = math.huge, tensor end
  end
  return worst, where
end

-- Sections of `got` that are out of bounds, as text; and the worst error of each section. With gradients = false
-- a plan gives none, and none are asked for.
local function compare(got, want, gradients)
  local bad, errors = {}, {}
  for section in pairs(want) do
    if gradients ~= false or section ~= "gradient" then
      local worst, where = section_error(got[section] or {}, want[section])
      errors[section] = worst
      if not (worst <= bounds[section]) then
        bad[#bad + 1] = ("%s: %s is %.2e off (bound %.0e)"):format(section, where, worst, bounds[section])
      end
    end
  end
  table.sort(bad)
  return bad, errors
end

-- ---- 1. float64 --------------------------------------------------------------------------------------------------

for _, case in ipairs(cases) do
  test(case.name .. " in f64 agrees with PyTorch", function()
    local want = fixture(case)
    for section in pairs(bounds) do
      check(want[section] or section == "statistics" and not case.width, "the fixture lacks " .. section)
    end
    local got = train(case, { dtype = "f64", backend = "reference", gradients = true })
    local bad, errors = compare(got, want)
    check(#bad == 0, table.concat(bad, "; "))
    print(("  %-16s logits %.1e  loss %.1e  gradient %.1e  statistics %.1e  parameter %.1e"):format(
      case.name, errors.logits, errors.loss, errors.gradient, errors.statistics or 0, errors.parameter))
  end)

  -- Without gradients = true an update may be fused into backward, and more of the arena is shared.
  test(case.name .. " in f64 trains the same without gradients = true", function()
    local got = train(case, { dtype = "f64", backend = "reference", gradients = false })
    local bad = compare(got, fixture(case), false)
    check(#bad == 0, table.concat(bad, "; "))
  end)
end

-- ---- the comparison can fail -------------------------------------------------------------------------------------

test("a weight that is off by 1e-3 is noticed", function()
  local case = cases[3]
  for _, name in ipairs{ "conv1.weight", "layer2.0.shortcut.0.weight", "fc.weight" } do
    local got = train(case, { dtype = "f64", backend = "reference", gradients = true, disturb = function(model)
      for _, entry in ipairs(model:parameters()) do
        if entry.name == name then
          local v = flat(entry.param:tensor())
          v[#v] = v[#v] + 1e-3
          entry.param:assign(from_flat(v, entry.param:tensor():shape(), "f64"))
        end
      end
    end })
    local _, errors = compare(got, fixture(case))
    for _, section in ipairs{ "eval_logits", "logits", "loss", "gradient", "parameter" } do
      check(errors[section] > bounds[section], ("%s moved, and %s is only %.2e off"):format(name, section, errors[section]))
    end
  end
end)

test("two swapped elements of a gradient are noticed, and a missing tensor is", function()
  local v = formula.units("swap", 1000)
  local before = formula.summary("x", v)
  v[400], v[401] = v[401], v[400]
  local err = section_error({ x = formula.summary("x", v) }, { x = before })
  check(err > 1e-4, ("a swap is only %.2e off"):format(err))
  check(section_error({}, { x = before }) == math.huge, "a missing tensor passes")
  check(section_error({ x = before, y = before }, { x = before }) == math.huge, "a superfluous tensor passes")
  check(section_error({ x = { norm = 0 / 0, projection1 = 0, projection2 = 0 } }, { x = before }) == math.huge, "NaN passes")
end)

-- ---- 2. f32, op by op --------------------------------------------------------------------------------------------

local onednn = core.build_info():match("providers:[^\n]*onednn") ~= nil

for _, case in ipairs(cases) do
  test(case.name .. " in f32 agrees op by op", function()
    local model = build(case, "f64")
    local plan = model:compile{ input = shape_of(case, 1), loss = "cross_entropy", dtype = "f64",
                                backend = "reference", keep_values = true }
    plan:step(batch(case, 1, "f64"))
    for _, backend in ipairs{ "reference", "blas", onednn and "onednn" or nil } do
      local rows, forward, backward, own = plan:agree(backend), 0, 0, 0
      check(#rows > 0, "no ops were compared")
      for _, row in ipairs(rows) do
        local what = ("%s %s on %s (%s)"):format(row.name, row.op, row.provider, row.impl)
        check(row.forward_err <= 1e-5, ("%s: forward is %.2e off"):format(what, row.forward_err))
        check(row.backward_err <= 1e-4, ("%s: backward is %.2e off"):format(what, row.backward_err))
        forward, backward = math.max(forward, row.forward_err), math.max(backward, row.backward_err)
        if row.provider == backend then own = own + 1 end
      end
      -- Alone, an MLP's and LeNet's ops are nothing for oneDNN: BLAS takes them.
      check(own > 0 or backend == "onednn" and not case.width, backend .. " ran no op of its own")
      print(("  %-16s %-9s %d ops, %d its own: forward %.1e  backward %.1e"):format(
        case.name, backend, #rows, own, forward, backward))
    end
  end)
end
test("the backend onednn is there, or refused", function()
  local ok, err = pcall(function()
    build(cases[1], "f32"):compile{ input = shape_of(cases[1], 1), loss = "cross_entropy", backend = "onednn" }
  end)
  check(ok == onednn and (ok or err:find("this build has no oneDNN", 1, true)), err)
end)

-- ---- 3. whole networks in f32, printed -----------------------------------------------------------------------------

test("whole networks in f32 (printed, not judged)", function()
  for _, case in ipairs(cases) do
    local want = fixture(case)
    for _, backend in ipairs{ "reference", "blas", onednn and "onednn" or nil } do
      local _, errors = compare(train(case, { dtype = "f32", backend = backend, gradients = true }), want)
      print(("  %-16s %-9s logits %.1e  gradient %.1e  parameter after 3 steps %.1e"):format(
        case.name, backend, errors.logits, errors.gradient, errors.parameter))
      check(errors.gradient < math.huge, "a gradient is missing or not finite")
    end
  end
end)
