-- Compression: scr (what becomes of low-order bits), magnitude pruning, low rank; and the sweep that finds how many
-- low-order bits a model can spare. Each compression returns a new model and a report, and leaves the original as it
-- was. What it demands travels with the new model's parameters as constraints (a mask, a truncation), which every
-- plan re-applies after each update, so the model can be trained again as it is.
--
-- A report: technique, level, level_unit (as in runs.csv); description, a sentence; params and nonzeros (of the
-- parameters; buffers do not count), params_before, nonzeros_before; flops_per_image, flops_nonzero_per_image (see
-- compress.flops_per_image; nil when the input's shape is not known: give input = {C, H, W};
-- wattle.models.create's models know theirs) and the same with _before; and layers: a list of {name, ..., params,
-- nonzeros}, one row a parameter or layer.

local wattle = require "wattle"
local core = wattle.core
local module = require "wattle.nn.module"
local layers = require "wattle.nn.layers"
local progress = require "wattle.progress"
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

-- A plan that is only looked at: the reference provider makes its plans fastest, and FLOPs do not depend on it.
local function plan_of(model, input)
  input = input or model._input
  return input and model:compile{ input = { 1, table.unpack(input) }, backend = "reference" }
end

-- compress.flops_per_image(model [, {C, H, W}]) -> executed, nonzero: FLOPs of one forward pass in evaluation mode
-- (one MAC is 2), or nil when the input's shape is neither given nor known. executed: what dense kernels do, zeros
-- like other numbers, taps on padding too. nonzero: those less the 2 FLOPs of every multiplication by an element
-- that is 0 of a parameter that conv2d, linear or matmul reads: what a perfect sparse kernel would do. Zeros among
-- activations are not left out, and everything else (batch norm, ReLU, pooling) counts in full.
function compress.flops_per_image(model, input)
  local plan = plan_of(model, input)
  if not plan then return nil end
  return plan:info().forward_flops, plan:nonzero_flops()
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

local function check_choice(o, name, what, choices)
  local v = o[name] == nil and choices[1] or o[name]
  for _, choice in ipairs(choices) do
    if v == choice then return v end
  end
  where.raise('%s: %s must be one of "%s", got %s%s', what, name, table.concat(choices, '", "'), tostring(v),
              util.hint(v, choices))
end

local function check_flag(o, name, what)
  local v = o[name]
  if v ~= nil and type(v) ~= "boolean" then
    where.raise("%s: %s must be true or false, got %s", what, name, tostring(v))
  end
  return v or false
end

local function check_bits(o, name, what)
  local v = o[name]
  if math.type(v) ~= "integer" or v < 0 or v > 23 then
    where.raise("%s: %s must be an integer from 0 to 23, got %s; of an f32's 32 bits the 24th and those above are "
                .. "exponent and sign", what, name, tostring(v))
  end
  return v
end

local function check_seed(o, what)
  if o.seed ~= nil and math.type(o.seed) ~= "integer" then
    where.raise("%s: seed must be an integer, got %s", what, tostring(o.seed))
  end
  return o.seed or core.seed()
end

local function totals(report, before, after, input)
  report.params_before, report.params = before:num_parameters(), after:num_parameters()
  report.nonzeros_before, report.nonzeros = compress.nonzeros(before), compress.nonzeros(after)
  report.flops_per_image_before, report.flops_nonzero_per_image_before = compress.flops_per_image(before, input)
  report.flops_per_image, report.flops_nonzero_per_image = compress.flops_per_image(after, input)
  return report
end

local function parameter_row(entry)
  local t = entry.param:tensor()
  return { name = entry.name, shape = t:shape(), params = t:numel(), nonzeros = t:count_nonzero() }
end

-- ---- scr -----------------------------------------------------------------------------------------------------

local scr_does = {
  zero = "cleared, now and after every update",
  once = "cleared once; training is free to set them again",
  random = "filled with random bits, now and anew after every update",
  stochastic = "rounded away stochastically, now and after every update",
}

-- compress.scr(model, {bits =, arm = "zero", seed =, master = false, input =}) -> model, report. What becomes of the
-- `bits` low-order bits (0..23, integer) of each f32 parameter w (Mei & Stamp 2025 do not define it, so every
-- reading is an arm):
--   zero        w & ~((1 << bits) - 1), now and after every update; biased toward 0
--   once        the same now, and no constraint afterwards
--   random      as many random bits in their place, redrawn after every update: the control
--   stochastic  rounded to the format without them, up with a chance of what is cut off / 2^bits, so that the mean
--               is w; an exact w stays, and nothing finite becomes infinite
-- NaN and infinities stay. All parameters, biases and batch norm's weight and bias among them; running statistics
-- are buffers and stay as they are; what a mask drops stays 0. seed (wattle.manual_seed's if not given): draw
-- number k of a parameter is a function of (seed, its name, k, position), so it is the same for every layout and
-- number of threads. master = true keeps an f32 master, the weights as they were, that updates are applied to, and
-- makes the value from it: many bits cut off would swallow small updates. A truncation that the model had is
-- replaced. technique scr_ARM, level_unit bits. The report adds arm, bits, seed, master, tensors (how many),
-- packed_bytes_saved (floor(bits x params / 8), what storing 32 - bits bits each would save; 0 for random, whose
-- bits are not 0) and master_bytes, the memory that masters take beside the values. FLOPs are as before.
function compress.scr(model, o)
  local what = "compress.scr"
  check_model(model, what)
  util.check_options(o, { "bits", "arm", "seed", "master", "input" }, what)
  local bits = check_bits(o, "bits", what)
  local arm = check_choice(o, "arm", what, { "zero", "once", "random", "stochastic" })
  local seed, master = check_seed(o, what), check_flag(o, "master", what)
  if master and arm == "once" then where.raise("%s: arm once keeps nothing, so no master either", what) end
  module.initialise(model)
  local new = model:clone()
  local report = { technique = "scr_" .. arm, level = bits, level_unit = "bits", arm = arm, bits = bits, seed = seed,
                   master = master, master_bytes = 0, layers = {} }
  for i, entry in ipairs(new:parameters()) do
    local p = entry.param
    p:truncation(false)
    p:redraws(0)
    if arm == "once" then
      core.truncate(p:tensor(), bits)
    else
      p:truncation{ bits = bits, arm = arm, master = master, seed = seed, name = entry.name }
    end
    p:constrain()
    if p:master() then report.master_bytes = report.master_bytes + 4 * p:tensor():numel() end
    report.layers[i] = parameter_row(entry)
  end
  totals(report, model, new, o.input)
  report.tensors = #report.layers
  report.packed_bytes_saved = arm == "random" and 0 or bits * report.params // 8
  report.description = ("the %d low-order bits of %d f32 parameters in %d tensors %s; packed, %d bytes less; "
    .. "masters take %d bytes; FLOPs are unchanged, as float32 arithmetic does not see which bits are 0"):format(
    bits, report.params, report.tensors, scr_does[arm], report.packed_bytes_saved, report.master_bytes)
  return new, report
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
local function weights(model)
  local known = {}
  module.walk(model, function(_, m)
    local weighted = is_a(m, layers.Conv2d) or is_a(m, layers.Linear)
    if weighted and module.is_param(m.weight) then known[m.weight] = true end
  end)
  local list = {}
  for _, entry in ipairs(model:parameters()) do
    if known[entry.param] then list[#list + 1] = entry end
  end
  return list
end

-- compress.prune(model, {amount =, scope = "global", input =}) -> model, report. Magnitude pruning (Han et al.
-- 2015): of the weights of Conv2d and Linear the fraction `amount` (0 <= amount < 1) that is smallest in magnitude
-- becomes 0 and stays 0 in training, by a mask. scope "global": of all of them together (torch
-- prune.global_unstructured with L1Unstructured); "local": of each weight tensor by itself (prune.l1_unstructured).
-- floor(amount x how many) go; ties by position. Biases and batch norm are left alone. Weights that are 0 already
-- are among the smallest. technique prune_global or prune_local, level_unit fraction_removed (of those weights, not
-- of all parameters). Dense kernels do as many FLOPs as before; see flops_nonzero_per_image.
function compress.prune(model, o)
  local what = "compress.prune"
  check_model(model, what)
  util.check_options(o, { "amount", "scope", "input" }, what)
  local amount = o.amount
  if type(amount) ~= "number" or not (amount >= 0 and amount < 1) then
    where.raise("%s: amount must be a share of at least 0 and below 1, got %s", what, tostring(amount))
  end
  local scope = check_choice(o, "scope", what, { "global", "local" })
  module.initialise(model)
  local new = model:clone()
  local list, masks = weights(new), {}
  if #list == 0 then where.raise("%s: the model has no Conv2d or Linear weight", what) end
  local tensors = {}
  -- Ranked by the master where there is one: truncated values tie.
  for i, entry in ipairs(list) do tensors[i] = entry.param:master() or entry.param:tensor() end
  if scope == "global" then
    masks = core.prune_global(tensors, amount)
  else
    for i, t in ipairs(tensors) do masks[i] = core.prune_global({ t }, amount)[1] end
  end
  local report = { technique = "prune_" .. scope, level = amount, level_unit = "fraction_removed", layers = {} }
  local total, left = 0, 0
  for i, entry in ipairs(list) do
    entry.param:mask(masks[i])
    entry.param:constrain()
    local row = parameter_row(entry)
    report.layers[i], total, left = row, total + row.params, left + row.nonzeros
  end
  report.description = ("%d of %d weights in %d tensors are 0 by a mask (the smallest %s); dense kernels do the same "
    .. "FLOPs as before"):format(total - left, total, #list,
    scope == "global" and "of all together" or "of each tensor")
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

-- The layers that low rank knows, and for each the two empty ones, without bias, that go through `rank`.
local kinds = {
  [layers.Linear] = function(layer, rank)
    return layers.Linear{ in_features = layer.in_features, out_features = rank, bias = false },
           layers.Linear{ in_features = rank, out_features = layer.out_features, bias = false }
  end,
  [layers.Conv2d] = function(layer, rank)
    return layers.Conv2d{ in_channels = layer.in_channels, out_channels = rank, kernel_size = layer.kernel_size,
                          stride = layer.stride, padding = layer.padding, dilation = layer.dilation, bias = false },
           layers.Conv2d{ in_channels = rank, out_channels = layer.out_channels, kernel_size = 1, bias = false }
  end,
}

-- The two layers, with values for their weights, and what held for the old weight: type, requires_grad, truncation.
local function two_layers(path, layer, rank, first_weight, second_weight)
  local first, second = kinds[module.class_of(layer)](layer, rank)
  local old = layer.weight
  second.bias = layer.bias
  for i, p in ipairs{ first.weight, second.weight } do
    p:convert(old:tensor().dtype) -- first: a new layer is f32, and assigning rounds to that
    p:assign((i == 1 and first_weight or second_weight):reshape(p:tensor():shape()))
    p:requires_grad(old:requires_grad())
    local cut = old:truncation()
    if cut then cut.name = ("%s%s%d.weight"):format(path, path == "" and "" or ".", i - 1) end
    p:truncation(cut or false)
    p:constrain()
  end
  return layers.Sequential(first, second)
end

-- What becomes of one layer: its row of the report, and the pair that replaces it, if any.
local function factor(path, layer, energy, held)
  local weight = layer.weight
  local shape = weight:tensor():shape()
  local row = { name = path, shape = shape, params = layer:num_parameters() }
  if not kinds[module.class_of(layer)] then
    row.reason = "its class is derived from another, so what it computes is its own affair"
  elseif layer.groups and layer.groups ~= 1 then
    row.reason = ("its convolution has %d groups"):format(layer.groups)
  elseif held[weight] > 1 then
    row.reason = "its weight is shared with another layer"
  elseif weight:mask() then
    row.reason = "its weight has a pruning mask"
  end
  if row.reason then return row end
  local whole = weight:master() or weight:tensor()
  local matrix = whole:reshape{ shape[1], whole:numel() // shape[1] } -- (O, I) or (O, I*KH*KW)
  local rank, kept, a, b = core.lowrank(matrix, energy)
  if rank == 0 then
    row.reason = "no rank that keeps the energy has fewer FLOPs"
    return row
  end
  local pair = two_layers(path, layer, rank, b, a)
  row.rank, row.kept_energy, row.params_after = rank, kept, pair:num_parameters()
  return row, pair
end

-- FLOPs of one image by layer: name -> sum over its uses; nil when the input's shape is not known.
local function flops_by_layer(model, input)
  local plan, sums = plan_of(model, input), {}
  local bare = kinds[module.class_of(model)] and "" -- a layer by itself has no path
  for _, r in ipairs(plan and plan:profile() or {}) do
    local name = bare or r.name
    if r.op == "conv2d" or r.op == "linear" then sums[name] = (sums[name] or 0) + r.flops end
  end
  return plan and sums
end

-- Adds each row's FLOPs of one image, before and after.
local function layer_flops(rows, before, after, input)
  local old, new = flops_by_layer(before, input), flops_by_layer(after, input)
  for _, row in ipairs(old and rows or {}) do
    local prefix = row.name == "" and "" or row.name .. "."
    row.flops = old[row.name]
    if row.rank and row.flops then row.flops_after = new[prefix .. "0"] + new[prefix .. "1"] end
  end
end

local function put(root, old, pair)
  if rawequal(root, old) then
    pair._input = root._input
    return pair
  end
  module.replace(root, old, pair)
  return root
end

-- compress.lowrank(model, {energy =, full = false, input =}) -> model, report. Truncated SVD of the weights of
-- nn.Linear (O,I) and of nn.Conv2d of one group (O,I,KH,KW), read as a matrix (O, I*KH*KW): w ~ a.b, and the layer
-- becomes nn.Sequential of two,
--   Linear  I -> r without bias (weight b), then r -> O with the old bias (weight a)
--   Conv2d  I -> r with the old kernel_size, stride, padding and dilation, without bias, then 1x1, r -> O, with it
-- so its parameters are called NAME.0.weight, NAME.1.weight and NAME.1.bias. r is the smallest rank that keeps
-- `energy` (0 < energy <= 1) of the sum of squared singular values, and only layers are replaced whose FLOPs fall:
-- r(m+n) < mn for a weight of m x n. full = true, instead of energy: all at full rank, min(m,n), which computes the
-- same as before with more FLOPs, to see that nothing else changed. Derived classes, convolutions in groups, masked
-- and shared weights are left alone, and code that reads layer.weight itself must not be used with this. Layers'
-- rows: params, rank, kept_energy, params_after, flops and flops_after (of one image; nil when the input's shape is
-- not known) - or the reason why it was left alone. technique lowrank, level_unit energy_kept (1 for full).
-- compress.lowrank_like loads what was saved.
function compress.lowrank(model, o)
  local what = "compress.lowrank"
  check_model(model, what)
  util.check_options(o, { "energy", "full", "input" }, what)
  local full = check_flag(o, "full", what)
  if full and o.energy ~= nil then where.raise("%s: give energy or full, not both", what) end
  local energy = full and 1 or check_number(o, "energy", what, 0, 1, true)
  module.initialise(model)
  local new = model:clone()
  local held = holders(new)
  local report = { technique = "lowrank", level = energy, level_unit = "energy_kept", layers = {} }
  local replaced = 0
  for _, m in ipairs(new:modules()) do
    local known = is_a(m.module, layers.Linear) or is_a(m.module, layers.Conv2d)
    if known and module.is_param(m.module.weight) then
      local row, pair = factor(m.name, m.module, full and "full" or energy, held)
      report.layers[#report.layers + 1] = row
      if pair then
        new = put(new, m.module, pair)
        replaced = replaced + 1
      end
    end
  end
  layer_flops(report.layers, model, new, o.input)
  totals(report, model, new, o.input)
  report.description = ("%d of %d layers became two of lower rank; %d parameters of %d are left"):format(
    replaced, #report.layers, report.params, report.params_before)
  return new, report
end

-- compress.lowrank_like(model, dict) -> model. A model made as `model` was, with the ranks and the values of dict, a
-- state dict of what compress.lowrank made of such a model: wattle.save(path, small:state_dict()), and later
-- compress.lowrank_like(create(), wattle.load(path)). Layers whose weight is missing in dict, and whose NAME.0.weight
-- and NAME.1.weight are there, are replaced; then all names and shapes must agree, or it is an error.
function compress.lowrank_like(model, dict)
  local what = "compress.lowrank_like"
  check_model(model, what)
  if type(dict) ~= "table" then where.raise("%s: the second argument must be a state dict", what) end
  local new = model:clone()
  for _, m in ipairs(new:modules()) do
    local prefix = m.name == "" and "" or m.name .. "."
    local first, second = dict[prefix .. "0.weight"], dict[prefix .. "1.weight"]
    local pair = kinds[module.class_of(m.module)]
    if pair and first and second and dict[prefix .. "weight"] == nil then
      local one, two = pair(m.module, first:size(0))
      two.bias = m.module.bias
      for _, p in ipairs{ one.weight, two.weight } do p:convert(m.module.weight:tensor().dtype) end
      new = put(new, m.module, layers.Sequential(one, two))
    end
  end
  new:load_state_dict(dict, { strict = true })
  return new
end

-- ---- capacity ------------------------------------------------------------------------------------------------

-- An accuracy as a user's function gave it, or an error that says where.
local function accuracy(name, bits, layer, value)
  if type(value) ~= "number" or not (value >= 0 and value <= 100 + 1e-9) then
    where.raise("compress.capacity: %s returned %s for %d bits%s; it must return an accuracy in %%, from 0 to 100",
                name, type(value) == "string" and ("%q"):format(value) or tostring(value), bits,
                layer and " of " .. layer or "")
  end
  return value
end

-- The options, checked and completed: {evaluate, report, epsilon, most, arm, seed, layers}.
local function capacity_options(o, what)
  util.check_options(o, { "evaluate", "report", "epsilon_points", "max_bits", "arm", "seed", "layers", "progress" },
                     what)
  for _, name in ipairs{ "evaluate", "report" } do
    if type(o[name]) ~= "function" and not (name == "report" and o.report == nil) then
      where.raise("%s: %s must be a function(model) -> accuracy in %%, got %s", what, name, tostring(o[name]))
    end
  end
  local given = { epsilon_points = o.epsilon_points or 1, max_bits = o.max_bits or 23 }
  return { evaluate = o.evaluate, report = o.report, layers = check_flag(o, "layers", what), seed = check_seed(o, what),
           epsilon = check_number(given, "epsilon_points", what, 0, 100), most = check_bits(given, "max_bits", what),
           arm = check_choice(o, "arm", what, { "zero", "random", "stochastic" }) }
end

-- A copy of the model, and a function(bits, layer) that makes it the model again but for `bits` bits of the parameter
-- called layer, or of all where it is nil, and returns it.
local function overwritable(model, what, arm, seed)
  module.initialise(model)
  local copy = model:clone()
  local originals, list = {}, module.entries(copy)
  for i, entry in ipairs(module.entries(model)) do
    local p = entry.param
    if entry.kind == "parameter" and p:tensor().dtype ~= "f32" then
      where.raise("%s: %s is %s; low-order bits are those of f32", what, entry.name, p:tensor().dtype)
    end
    originals[i] = p:tensor()
    list[i].param:truncation(false) -- masters go, before a plan can be made
  end
  return copy, function(bits, layer)
    for i, entry in ipairs(list) do
      local p, these = entry.param, entry.kind == "parameter" and (not layer or layer == entry.name)
      p:assign(originals[i])
      p:truncation(these and { bits = bits, arm = arm, seed = seed, name = entry.name } or false)
      p:redraws(0)
      if these then p:constrain() end
    end
    return copy
  end
end

-- Adds the rows of one sweep to `rows`; returns the n that it chooses. o: capacity_options. known: the accuracy of 0
-- bits, if there is one already. step(row) is called after each evaluation.
local function sweep(rows, o, overwrite, layer, params, known, step)
  local first, chosen, unbroken = #rows + 1, 0, true
  for bits = 0, o.most do
    local old = bits == 0 and known
    local value = old or accuracy("evaluate", bits, layer, o.evaluate(overwrite(bits, layer)))
    local base = bits == 0 and value or rows[first].val_top1_pct
    local within = value >= base - o.epsilon - 1e-9 -- a difference of exactly epsilon is within, whatever its rounding
    unbroken = unbroken and within
    if unbroken then chosen = bits end
    rows[#rows + 1] = { bits = bits, arm = o.arm, layer = layer, val_top1_pct = value, within = within, chosen = false,
                        capacity_bytes = bits * params // 8 }
    if not old then step(rows[#rows]) end
  end
  rows[first + chosen].chosen = true
  return chosen
end

-- compress.capacity(model, {evaluate =, report =, epsilon_points = 1, max_bits = 23, arm = "zero", seed =,
-- layers = false, progress = true}) -> rows, n. Steganographic capacity (Mei & Stamp 2025; Stamp et al., arXiv
-- 2306.17189): accuracy against the number of low-order bits of each f32 parameter that are overwritten, 0 to
-- max_bits (at most 23), without training. n is the largest number of bits such that accuracy stays within
-- epsilon_points percentage points of that of 0 bits for every number up to n; it is chosen on validation data and
-- reported on test data.
--   evaluate(model) -> accuracy in % on validation data; called for every number of bits, always with the same copy
--     of the model (so a plan compiled for it may be kept)
--   report(model) -> accuracy in % on test data (may be absent); called for 0 bits, n, and the first beyond n
--   arm, seed: "zero", "random" or "stochastic", as compress.scr does it (the same bits as its first draw)
--   layers = true: afterwards each weight of a Conv2d or Linear by itself, the rest untouched (evaluate only)
--   progress = false: silent. Else a bar on a terminal, and a line a number of bits, on standard error
-- rows: bits, arm, layer (a parameter's name; nil: all parameters), val_top1_pct, test_top1_pct (where reported),
-- within (is this one within epsilon_points?), chosen (is it the n of its layer or of the model?), capacity_bytes =
-- floor(bits x parameters / 8). The model itself is not touched; an error in evaluate or report is passed on.
function compress.capacity(model, o)
  local what = "compress.capacity"
  check_model(model, what)
  local c = capacity_options(o, what)
  local copy, overwrite = overwritable(model, what, c.arm, c.seed)
  local single = c.layers and weights(copy) or {}
  local bar <close> = progress.new{ total = (c.most + 1) + #single * c.most, label = "capacity",
                                    enabled = o.progress ~= false }
  local rows, done = {}, 0
  local function step(row)
    done = done + 1
    bar:step(done, ("%s%d bits: %.2f %%"):format(row.layer and row.layer .. ", " or "", row.bits, row.val_top1_pct))
  end
  local n = sweep(rows, c, overwrite, nil, model:num_parameters(), nil, step)
  local reported = { [0] = true, [n] = true, [n + 1] = n < c.most }
  for bits = 0, c.most do
    if c.report and reported[bits] then
      rows[bits + 1].test_top1_pct = accuracy("report", bits, nil, c.report(overwrite(bits)))
    end
  end
  for _, entry in ipairs(single) do
    sweep(rows, c, overwrite, entry.name, entry.param:tensor():numel(), rows[1].val_top1_pct, step)
  end
  return rows, n
end

return compress
