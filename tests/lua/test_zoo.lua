-- The model zoo against torchvision (tests/golden/zoo, made by make_zoo.py), by DESIGN's rule of agreement:
--  1. in float64, on the reference provider: logits, loss and running statistics after a step within 1e-10, every parameter's
--     and the input's gradient within 1e-8 (norm-relative, the denominator never below 1e-6 of the whole gradient's norm);
--  2. in f32, each op of the network alone, fed the float64 run's recorded values: 1e-5 forward, 1e-4 backward. A gradient that
--     is nothing but the rest of a sum that cancels (of a shift that the next batch norm takes away again) may be off by 64
--     times what rounding the op's inputs to f32 does to it in float64: no f32 kernel could do much better;
--  3. in f32, on the default providers: the logits in evaluation mode within 1e-5.
-- And that every published network is compared, and that the comparison can fail. Arguments pick networks:
-- wattle tests/lua/test_zoo.lua resnet18 vit_b_16. Under a sanitizer or an emulator a few small ones stand for all.

local wattle = require "wattle"
local core = wattle.core
local t = require "harness"
local test, check = t.test, t.check

local golden = debug.getinfo(1, "S").source:match("^@(.-)[^/]*$") .. "../golden/zoo/"
local classes = 10

local function set(name) return (os.getenv(name) or "") ~= "" end
local slow = set "WATTLE_SANITIZE" or set "WATTLE_EMULATOR" -- then only these
local small = { mobilenet_v2 = true, googlenet = true, densenet121 = true, efficientnet_b0 = true }

-- Largest error allowed in each section of a fixture, norm-relative.
local bounds = { eval_logits = 1e-10, logits = 1e-10, loss = 1e-10, gradient = 1e-8, statistics = 1e-10 }

-- ---- cases and fixtures ----------------------------------------------------------------------------------------

local function read(name)
  return assert(core.csv_read(golden .. name .. ".csv"))
end

local cases, all = {}, {} -- those to be compared; name -> every one
for i, row in ipairs(read "cases") do
  local case = { name = row[1], size = math.tointeger(tonumber(row[2])), batch = math.tointeger(tonumber(row[3])) }
  local picked = #arg == 0 and (not slow or small[case.name])
  for _, name in ipairs(arg) do picked = picked or name == case.name end
  if i > 1 then all[case.name] = case end
  if i > 1 and picked then cases[#cases + 1] = case end
end
for _, name in ipairs(arg) do assert(all[name], "no such case: " .. name) end
if slow then print(("%d networks; the others are left to the plain build"):format(#cases)) end

-- section -> list of {tensor, {value} or {norm, projection1, projection2}}
local function fixture(case)
  local f = {}
  for i, row in ipairs(read(case.name)) do
    if i > 1 then
      f[row[1]] = f[row[1]] or {}
      table.insert(f[row[1]], { row[2], { tonumber(row[3]), tonumber(row[4]), tonumber(row[5]) } })
    end
  end
  return f
end

-- ---- the same numbers as make_zoo.py -----------------------------------------------------------------------------

local function uniform(purpose, name, shape, low, high)
  local t64 = wattle.zeros{ dtype = "f64", table.unpack(shape) }
  return core.uniform(t64, 0, purpose, name, 0, low, high)
end

local function parameter(name, shape)
  if #shape > 1 then
    local fan = 1
    for d = 2, #shape do fan = fan * shape[d] end
    local bound = fan > 1 and math.sqrt(6 / fan) or 0.5
    return uniform("zoo", name, shape, -bound, bound)
  end
  if name:find "running_var$" then return uniform("zoo", name, shape, 1, 2) end
  if name:find "weight$" then return uniform("zoo", name, shape, 0.5, 1.5) end
  return uniform("zoo", name, shape, -0.25, 0.25)
end

local function build(case, dtype)
  local model = wattle.models.create(case.name, { num_classes = classes, image_size = case.size, aux_logits = case.aux_logits })
  model:to(dtype)
  for _, list in ipairs{ model:parameters(), model:buffers() } do
    for _, entry in ipairs(list) do entry.param:adopt(parameter(entry.name, entry.param:tensor():shape())) end
  end
  for _, entry in ipairs(model:modules()) do
    local kind = tostring(entry.module):match "^%w+"
    if kind == "Dropout" or kind == "StochasticDepth" then entry.module.p = 0 end
  end
  return model
end

local function input_of(case) return { case.batch, 3, case.size, case.size } end

-- Images (or what a part of a network gets) of this shape, and labels.
local function inputs(shape, dtype)
  local y = {}
  for i = 1, shape[1] do y[i] = i % classes end
  return uniform("zoo", "input", shape, -1, 1):to(dtype), wattle.tensor(y, "i64")
end

-- What is compared op by op: model -> the shape of its input. Inception's auxiliary head wants images of 299 pixels, which
-- are slow op by op, so the head is compared alone, and the rest at 75 pixels.
local function parts(case)
  if case.name ~= "inception_v3" then return { [build(case, "f64")] = input_of(case) } end
  local rest = { name = case.name, size = 75, batch = case.batch, aux_logits = false }
  return { [build(rest, "f64")] = input_of(rest), [build(case, "f64").AuxLogits] = { case.batch, 768, 17, 17 } }
end

-- ---- what Wattle computes, in a fixture's form -------------------------------------------------------------------

local function elements(tensor)
  local rows = {}
  for i, v in ipairs(tensor:contiguous():reshape{ tensor:numel() }:tolist()) do rows[i] = { tostring(i - 1), { v } } end
  return rows
end

local function summary(name, v)
  local shape = v:shape()
  local function product(w) return (v * w):sum():item() end
  return { math.sqrt(product(v)), product(uniform("projection1", name, shape, -1, 1)),
           product(uniform("projection2", name, shape, -1, 1)) }
end

local function evaluated(case, model, dtype, backend)
  local plan <close> = model:compile{ input = input_of(case), dtype = dtype, backend = backend }
  return elements(plan:forward((inputs(input_of(case), dtype))))
end

-- One step in float64.
local function step(case, model)
  local got = { eval_logits = evaluated(case, model, "f64", "reference") }
  local plan <close> = model:compile{ input = input_of(case), loss = "cross_entropy", dtype = "f64", backend = "reference",
                                      gradients = true }
  local x, y = inputs(input_of(case), "f64")
  got.logits = elements((plan:forward(x, y)))
  got.loss = { { "0", { (plan:step(x, y)) } } }
  got.gradient, got.statistics = {}, {}
  for _, entry in ipairs(model:parameters()) do
    table.insert(got.gradient, { entry.name, summary(entry.name, plan:param_gradient(entry.param)) })
  end
  table.insert(got.gradient, { "input", summary("input", plan:input_gradient(1)) })
  for _, entry in ipairs(model:buffers()) do
    table.insert(got.statistics, { entry.name, summary(entry.name, entry.param:tensor()) })
  end
  return got
end

-- ---- comparison ----------------------------------------------------------------------------------------------------

-- How far two summaries lie apart, an estimate of |a - b|: a projection's numbers have variance 1/3.
local function distance(a, b)
  if not b[2] then return math.abs(a[1] - b[1]) end
  return math.max(math.abs(a[1] - b[1]), math.sqrt(1.5 * ((a[2] - b[2]) ^ 2 + (a[3] - b[3]) ^ 2)))
end

-- The largest norm-relative error of a section and where it is. What one side lacks or has elsewhere is infinitely wrong.
local function worst_of(section, got, want)
  if #got ~= #want then return math.huge, ("%d rows, not %d"):format(#got, #want) end
  local whole, off = 0, 0
  for i, row in ipairs(want) do
    whole, off = whole + row[2][1] ^ 2, off + distance(got[i][2], row[2]) ^ 2
    if got[i][1] ~= row[1] then return math.huge, ("row %d is %s, not %s"):format(i, got[i][1], row[1]) end
  end
  if section:find "logits" then return math.sqrt(off / whole), "all" end
  local worst, at = 0, "-"
  for i, row in ipairs(want) do
    local err = distance(got[i][2], row[2]) / math.max(math.abs(row[2][1]), 1e-6 * math.sqrt(whole), 1e-300)
    if not (err <= worst) then worst, at = err == err and err or math.huge, row[1] end
  end
  return worst, at
end

-- Sections out of bounds, as text; and the worst error of each.
local function compare(got, want)
  local bad, errors = {}, {}
  for section, bound in pairs(bounds) do
    if want[section] or #(got[section] or {}) > 0 then
      local worst, at = worst_of(section, got[section] or {}, want[section] or {})
      errors[section] = worst
      if not (worst <= bound) then bad[#bad + 1] = ("%s: %s is %.2e off (bound %.0e)"):format(section, at, worst, bound) end
    end
  end
  table.sort(bad)
  return bad, errors
end

-- ---- the tests -----------------------------------------------------------------------------------------------------

for _, case in ipairs(cases) do
  test(case.name .. " in f64 agrees with torchvision", function()
    local began = core.now()
    local bad, errors = compare(step(case, build(case, "f64")), fixture(case))
    check(#bad == 0, table.concat(bad, "; "))
    print(("  %-16s eval %.1e  logits %.1e  loss %.1e  gradient %.1e  statistics %.1e  %.1f s"):format(case.name,
      errors.eval_logits, errors.logits, errors.loss, errors.gradient, errors.statistics or 0, core.now() - began))
    collectgarbage()
  end)

  test(case.name .. " in f32 agrees op by op", function()
    local began = core.now()
    local forward, backward, gradients, cancelling, rows = 0, 0, 0, 0, {}
    for model, shape in pairs(parts(case)) do
      local plan <close> = model:compile{ input = shape, loss = "cross_entropy", dtype = "f64", backend = "reference",
                                          keep_values = true }
      plan:step(inputs(shape, "f64"))
      for _, row in ipairs(plan:agree "auto") do rows[#rows + 1] = row end
    end
    check(#rows > 0, "no ops were compared")
    for _, row in ipairs(rows) do
      local what = ("%s %s on %s (%s)"):format(row.name, row.op, row.provider, row.impl)
      check(row.forward_err <= 1e-5, ("%s: forward is %.2e off"):format(what, row.forward_err))
      for _, g in ipairs(row.gradients) do
        check(g.err <= math.max(1e-4, 64 * g.rounding_err),
              ("%s: backward is %.2e off, rounding alone %.2e"):format(what, g.err, g.rounding_err))
        gradients = gradients + 1
        if g.err <= 1e-4 then backward = math.max(backward, g.err) else cancelling = cancelling + 1 end
      end
      forward = math.max(forward, row.forward_err)
    end
    check(gradients >= #rows, ("%d ops have %d gradients"):format(#rows, gradients))
    -- At most an eighth: of a VGG with batch norms, each convolution's bias, which the batch norm takes away.
    check(cancelling <= gradients // 8, ("%d of %d gradients cancel"):format(cancelling, gradients))
    print(("  %-16s %d ops: forward %.1e  backward %.1e, %d of %d gradients cancel  %.1f s"):format(
      case.name, #rows, forward, backward, cancelling, gradients, core.now() - began))
    collectgarbage()
  end)

  test(case.name .. " in f32, evaluation mode", function()
    local worst = worst_of("logits", evaluated(case, build(case, "f32"), "f32"), fixture(case).eval_logits)
    check(worst <= 1e-5, ("logits are %.2e off"):format(worst))
    print(("  %-16s logits %.1e"):format(case.name, worst))
    collectgarbage()
  end)
end

if #arg == 0 then
  test("every published network has a case", function()
    local compared = {}
    for _, file in ipairs(core.listdir(wattle.home .. "/models")) do
      local family = file:find "%.lua$" and assert(loadfile(wattle.home .. "/models/" .. file))()
      for _, name in ipairs(family and family.stem and family.names or {}) do compared[name] = true end
    end
    for name in pairs(compared) do check(all[name], name .. " is not compared") end
    for name in pairs(all) do check(compared[name], "no model " .. name) end
  end)

  test("one number of a weight that is 1e-3 off is noticed", function()
    local case = all.resnet18
    local model = build(case, "f64")
    local w = model.layer3[1].conv2.weight
    local changed = w:tensor():clone()
    local one = changed:narrow(0, 5, 1):narrow(1, 7, 1):narrow(2, 0, 1):narrow(3, 0, 1)
    one:fill_(one:item() + 1e-3)
    w:assign(changed)
    local _, errors = compare(step(case, model), fixture(case))
    for section, bound in pairs(bounds) do
      check(errors[section] > bound, ("%s is only %.2e off"):format(section, errors[section]))
    end
  end)

  test("swapped elements, missing and superfluous tensors and NaN are noticed", function()
    local v = uniform("zoo", "swap", { 10, 10 }, -1, 1)
    local before, turned = summary("x", v), summary("x", v:transpose(0, 1):contiguous())
    check(worst_of("gradient", { { "x", turned } }, { { "x", before } }) > 1e-3, "a transposed tensor passes")
    check(worst_of("gradient", {}, { { "x", before } }) == math.huge, "a missing tensor passes")
    check(worst_of("gradient", { { "y", before } }, { { "x", before } }) == math.huge, "another name passes")
    check(worst_of("gradient", { { "x", { 0 / 0, 0, 0 } } }, { { "x", before } }) == math.huge, "NaN passes")
  end)
end
