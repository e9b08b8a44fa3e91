-- Compression: scr (low-order bits cleared), global magnitude pruning, low-rank linear layers. Each function
-- returns a new model and a report, and leaves the original as it was. What a compression demands travels with
-- the new model's parameters as constraints (a mask, a truncation), which every plan re-applies after each
-- update, so the model can be trained again as it is.
--
-- A report: technique, level, level_unit (as in runs.csv), params and nonzeros (of the parameters; buffers do
-- not count), params_before, nonzeros_before, flops_per_image and flops_per_image_before (of a dense forward
-- pass; nil when the input's shape is not known: give input = {C, H, W}; wattle.models.create's models know
-- theirs), and layers: a list of {name, ..., params, nonzeros}, one row a parameter or layer.

local wattle = require "wattle"
local core = wattle.core
local module = require "wattle.nn.module"
local layers = require "wattle.nn.layers"
local util = require "wattle.util"
local where = require "wattle.where"

local compress = {}

-- ---- counting ------------------------------------------------------------------------------------------------

-- wattle.nonzeros(model) -> how many numbers of its parameters are not 0 (buffers do not count).
function compress.nonzeros(model)
  local n = 0
  for _, entry in ipairs(model:parameters()) do n = n + entry.param:tensor():count_nonzero() end
  return n
end

-- compress.flops_per_image(model [, {C, H, W}]) -> FLOPs of one dense forward pass in evaluation mode (one MAC
-- is 2), or nil when the input's shape is neither given nor known. Zeros count like other numbers.
function compress.flops_per_image(model, input)
  input = input or model._input
  if not input then return nil end
  -- The reference provider makes its plans fastest; FLOPs do not depend on the provider.
  return model:compile{ input = { 1, table.unpack(input) }, backend = "reference" }:info().forward_flops
end

-- ---- reports -------------------------------------------------------------------------------------------------

local function check_model(model, what)
  if not module.is_module(model) then where.raise("%s: the first argument must be a model", what) end
end

local function check_number(o, name, what, low, high, low_open)
  local v = o[name]
  if type(v) ~= "number" or not (v >= low and v <= high) or low_open and v == low then
    where.raise("%s: %s must be a number from %g to %g, got %s", what, name, low, high, tostring(v))
  end
  return v
end

local function totals(report, before, after, input)
  report.params_before, report.params = before:num_parameters(), after:num_parameters()
  report.nonzeros_before, report.nonzeros = compress.nonzeros(before), compress.nonzeros(after)
  local same = report.params == report.params_before -- then the structure is, too: only lowrank changes it
  report.flops_per_image_before = compress.flops_per_image(before, input)
  report.flops_per_image = same and report.flops_per_image_before or compress.flops_per_image(after, input)
  return report
end

local function parameter_row(entry)
  local t = entry.param:tensor()
  return { name = entry.name, shape = t:shape(), params = t:numel(), nonzeros = t:count_nonzero() }
end

-- ---- scr -----------------------------------------------------------------------------------------------------

-- compress.scr(model, {bits =, arm = "zero", input =}) -> model, report. Clears the `bits` low-order bits
-- (0..23, integer) of each f32 parameter, now and after every update: w & ~((1 << bits) - 1). All parameters,
-- biases and batch norm's weight and bias among them; running statistics are buffers and stay as they are.
-- technique scr_zero, level_unit bits.
function compress.scr(model, o)
  local what = "compress.scr"
  check_model(model, what)
  util.check_options(o, { "bits", "arm", "input" }, what)
  local bits = check_number(o, "bits", what, 0, 23)
  if math.type(bits) ~= "integer" then where.raise("%s: bits must be an integer, got %s", what, tostring(bits)) end
  if (o.arm or "zero") ~= "zero" then where.raise('%s: arm must be "zero", got %s', what, tostring(o.arm)) end
  module.initialise(model)
  local new = model:clone()
  local report = { technique = "scr_zero", level = bits, level_unit = "bits", layers = {} }
  for i, entry in ipairs(new:parameters()) do
    entry.param:truncation(bits)
    entry.param:constrain()
    report.layers[i] = parameter_row(entry)
  end
  return new, totals(report, model, new, o.input)
end

-- ---- pruning -------------------------------------------------------------------------------------------------

local function is_a(m, class)
  local c = module.class_of(m)
  while c do
    if c == class then return true end
    local mt = getmetatable(c)
    c = mt and mt.__index
  end
  return false
end

-- Weights of convolutions and linear layers, each once, in the model's order.
local function prunable(model)
  local weights = {}
  module.walk(model, function(_, m)
    local weighted = is_a(m, layers.Conv2d) or is_a(m, layers.Linear)
    if weighted and module.is_param(m.weight) then weights[m.weight] = true end
  end)
  local list = {}
  for _, entry in ipairs(model:parameters()) do
    if weights[entry.param] then list[#list + 1] = entry end
  end
  return list
end

-- compress.prune(model, {amount =, scope = "global", input =}) -> model, report. Magnitude pruning (Han et al.
-- 2015; torch prune.global_unstructured with L1Unstructured): of the weights of all Conv2d and Linear together,
-- the fraction `amount` (0 <= amount < 1) that is smallest in magnitude becomes 0 and stays 0 in training, by a
-- mask. Biases and batch norm are left alone. Weights that are 0 already are among the smallest. technique
-- prune_global, level_unit fraction_removed (of those weights, not of all parameters).
function compress.prune(model, o)
  local what = "compress.prune"
  check_model(model, what)
  util.check_options(o, { "amount", "scope", "input" }, what)
  local amount = check_number(o, "amount", what, 0, 1)
  if amount == 1 then where.raise("%s: amount must be below 1", what) end
  if (o.scope or "global") ~= "global" then
    where.raise('%s: scope must be "global", got %s', what, tostring(o.scope))
  end
  module.initialise(model)
  local new = model:clone()
  local list, tensors = prunable(new), {}
  if #list == 0 then where.raise("%s: the model has no Conv2d or Linear weight", what) end
  for i, entry in ipairs(list) do tensors[i] = entry.param:tensor() end
  local masks = core.prune_global(tensors, amount)
  local report = { technique = "prune_global", level = amount, level_unit = "fraction_removed", layers = {} }
  for i, entry in ipairs(list) do
    entry.param:mask(masks[i])
    entry.param:constrain()
    report.layers[i] = parameter_row(entry)
  end
  return new, totals(report, model, new, o.input)
end

-- ---- low rank ------------------------------------------------------------------------------------------------

-- How many modules each parameter is held by.
local function holders(model)
  local n = {}
  for _, entry in ipairs(module.entries(model, nil, true)) do n[entry.param] = 0 end
  module.walk(model, function(_, m)
    for _, value in pairs(m) do
      if n[value] then n[value] = n[value] + 1 end
    end
  end)
  return n
end

-- y = (x b^T) a^T + bias for w ~ a.b: two layers, constraints and requires_grad carried over.
local function two_layers(linear, rank, a, b)
  local first = layers.Linear{ in_features = linear.in_features, out_features = rank, bias = false }
  local second = layers.Linear{ in_features = rank, out_features = linear.out_features, bias = false }
  second.bias = linear.bias
  for i, p in ipairs{ first.weight, second.weight } do
    p:convert(linear.weight:tensor().dtype) -- first: a new layer is f32, and assigning rounds to that
    p:assign(i == 1 and b or a)
    p:requires_grad(linear.weight:requires_grad())
    p:truncation(linear.weight:truncation() or false)
    p:constrain()
  end
  return layers.Sequential(first, second)
end

-- What becomes of one linear layer: its row of the report, and the pair that replaces it, if any.
local function factor(path, linear, energy, held)
  local shape = linear.weight:tensor():shape()
  local row = { name = path, shape = shape, params = linear:num_parameters(), flops = 2 * shape[1] * shape[2] }
  if held[linear.weight] > 1 then
    row.reason = "its weight is shared with another layer"
    return row
  elseif linear.weight:mask() then
    row.reason = "its weight has a pruning mask"
    return row
  end
  local rank, kept, a, b = core.lowrank(linear.weight:tensor(), energy)
  if rank == 0 then
    row.reason = "no rank that keeps the energy has fewer FLOPs"
    return row
  end
  local pair = two_layers(linear, rank, a, b)
  row.rank, row.kept_energy = rank, kept
  row.params_after, row.flops_after = pair:num_parameters(), 2 * rank * (shape[1] + shape[2])
  return row, pair
end

-- compress.lowrank(model, {energy =, input =}) -> model, report. Each nn.Linear of weight [m,n] becomes
-- nn.Sequential of two, n -> r without bias and r -> m with the old bias, by a truncated SVD: r is the smallest
-- rank that keeps `energy` (0 < energy <= 1) of the sum of squared singular values. Only where FLOPs fall,
-- r(m+n) < mn; classes derived from Linear, masked and shared weights are left alone. Layers' rows: rank,
-- kept_energy, params_after, flops_after - or the reason why it was left alone. technique lowrank, level_unit
-- energy_kept.
function compress.lowrank(model, o)
  local what = "compress.lowrank"
  check_model(model, what)
  util.check_options(o, { "energy", "input" }, what)
  local energy = check_number(o, "energy", what, 0, 1, true)
  module.initialise(model)
  local new = model:clone()
  local held = holders(new)
  local report = { technique = "lowrank", level = energy, level_unit = "energy_kept", layers = {} }
  for _, m in ipairs(new:modules()) do
    if module.class_of(m.module) == layers.Linear then
      local row, pair = factor(m.name, m.module, energy, held)
      report.layers[#report.layers + 1] = row
      if pair and m.name == "" then
        new, pair._input = pair, new._input
      elseif pair then
        module.replace(new, m.module, pair)
      end
    end
  end
  return new, totals(report, model, new, o.input)
end

return compress
