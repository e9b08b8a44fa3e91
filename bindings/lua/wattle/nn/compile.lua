-- model:compile - runs forward once on symbolic values and makes a plan of what it did. Adds `compile` to every
-- module and `gradients` to plans; the plan itself (step, forward, evaluate, describe, ...) is C's.

local wattle = require "wattle"
local core, ops = wattle.core, wattle.ops
local where = require "wattle.where"
local util = require "wattle.util"
local module = require "wattle.nn.module"

local raise = where.raise

-- Losses that have a name: the op, whether targets are classes (i64) or have the output's shape, and the op's
-- options. A loss is called with the model's output and then the target.
local losses = {
  cross_entropy = { op = "cross_entropy", classes = true, options = { "label_smoothing" } },
  mse = { op = "mse_loss" },
  bce = { op = "binary_cross_entropy" },
  bce_with_logits = { op = "binary_cross_entropy_with_logits" },
  kl_div = { op = "kl_div" },
}

-- The named loss of several outputs: of the first, plus those of auxiliary heads by their weights.
local function summed(op, name, list, weights, options)
  local target = table.remove(list)
  if #list - 1 ~= #(#list > 1 and weights or {}) then
    raise('compile: loss "%s" takes one output and one target, got %d values; give a function%s', name, #list + 1,
          weights and "" or ", or give the model's class aux_weights, one for each output after the first")
  end
  local loss = op(list[1], target, options)
  for i, weight in ipairs(#list > 1 and weights or {}) do loss = loss + op(list[i + 1], target, options) * weight end
  return loss
end

-- A loss as compile takes it -> function(outputs..., targets...), and whether targets have the output's shape.
local function find_loss(loss, model)
  if loss == nil or type(loss) == "function" then return loss end
  local name, options = loss, nil
  if type(loss) == "table" then
    name, options = loss[1], {}
    for key, value in pairs(loss) do
      if key ~= 1 then options[key] = value end
    end
  end
  local known = losses[name]
  if not known then
    local names = util.sorted_keys(losses)
    local near = type(name) == "string" and util.nearest(name, names)
    raise('compile: loss must be a function or one of "%s", got %s%s', table.concat(names, '", "'), tostring(name),
          near and ('; did you mean "%s"?'):format(near) or "")
  end
  if options then util.check_options(options, known.options or {}, ('compile: loss "%s"'):format(name)) end
  return function(...)
    return summed(ops[known.op], name, { ... }, model.aux_weights, options or {})
  end, not known.classes
end

-- One shape or a list of shapes -> list of {dtype =, sizes...}, checked.
local function shapes(given, what, dtype)
  if type(given) ~= "table" then
    raise("compile: %s must be a shape such as {64, 1, 28, 28}, or a list of shapes, got %s", what,
          tostring(given))
  end
  local list = type(given[1]) == "table" and given or { given }
  local result = {}
  for i, shape in ipairs(list) do
    if type(shape) ~= "table" or #shape == 0 then
      raise("compile: %s: shape %d must have the batch as its first size", what, i)
    end
    result[i] = { dtype = shape.dtype or dtype }
    for d, n in ipairs(shape) do
      if math.type(n) ~= "integer" or n < 1 then
        raise("compile: %s: size %d of shape %d must be a positive integer, got %s", what, d, i, tostring(n))
      end
      result[i][d] = n
    end
  end
  return result
end

-- Options that an optimizer and its groups have in common, by kind; PyTorch's names and defaults.
local hypers = {
  sgd = { "lr", "momentum", "weight_decay" },
  adam = { "lr", "betas", "eps", "weight_decay" },
  adamw = { "lr", "betas", "eps", "weight_decay" },
}
local common = { "kind", "clip_norm", "clip_value", "accumulate", "groups" }

local function check_betas(t, what)
  local betas = t.betas
  if betas == nil then return end
  if type(betas) ~= "table" or #betas ~= 2 or type(betas[1]) ~= "number" or type(betas[2]) ~= "number" then
    raise("%s: betas must be two numbers, such as {0.9, 0.999}", what)
  end
  t.betas, t.beta1, t.beta2 = nil, betas[1], betas[2]
end

-- The parameters of a group {match = "^fc%.", lr = 0.01} or {names = {"fc.weight"}, ...}, out of entries, the
-- model's trained parameters.
local function group(given, i, kind, entries)
  local what = ("optimizer: group %d"):format(i)
  if type(given) ~= "table" then raise("%s must be a table such as {match = '^fc%%.', lr = 0.01}", what) end
  local own = {}
  for key, value in pairs(given) do own[key] = value end
  util.check_options(own, { "match", "names", table.unpack(hypers[kind]) }, what)
  if (own.match == nil) == (own.names == nil) or type(own.names or {}) ~= "table" then
    raise("%s needs match, a Lua pattern of parameter names, or names, a list of them", what)
  end
  if own.match ~= nil then
    local ok, message = pcall(string.find, "", own.match)
    if not ok then raise("%s: match: %s", what, message) end
  end
  local wanted, list = {}, {}
  for _, name in ipairs(own.names or {}) do wanted[name] = true end
  for _, entry in ipairs(entries) do
    if wanted[entry.name] or own.match and entry.name:find(own.match) then
      list[#list + 1] = entry.param
      wanted[entry.name] = nil
    end
  end
  local absent = next(wanted)
  if absent then raise("%s: the model has no parameter '%s'", what, tostring(absent)) end
  if #list == 0 and own.names then raise("%s: names is an empty list", what) end
  if #list == 0 then raise("%s: no parameter's name matches '%s'", what, tostring(own.match)) end
  own.match, own.names, own.params = nil, nil, list
  check_betas(own, what)
  return own
end

-- A single group where the list of them goes would be an empty list, and so without effect.
local function read_groups(list, kind, entries)
  local groups, is_list = {}, type(list) == "table" and #list > 0
  for key in pairs(is_list and list or {}) do is_list = is_list and math.type(key) == "integer" end
  if not is_list then raise("optimizer: groups must be a list of tables, such as {{match = '^fc%%.', lr = 0.01}}") end
  for i, given in ipairs(list) do groups[i] = group(given, i, kind, entries) end
  return groups
end

-- {"sgd", lr =, momentum = 0, ...} as the core wants it; entries: the model's parameters.
local function optimizer(o, entries)
  if o == nil then return nil end
  if type(o) ~= "table" then
    raise('compile: optimizer must be a table such as {"sgd", lr = 0.1}, got %s', tostring(o))
  end
  local named = {}
  for key, value in pairs(o) do
    if key ~= 1 then named[key] = value end
  end
  if o[1] ~= nil and o.kind ~= nil then raise('optimizer: its name is there twice, as [1] and as kind') end
  named.kind = tostring(o[1] or o.kind or "sgd"):lower()
  local own = hypers[named.kind]
  if not own then
    raise("optimizer: '%s' is unknown; there are sgd, adam and adamw%s", named.kind, util.hint(named.kind, util.sorted_keys(hypers)))
  end
  local known = table.move(common, 1, #common, #own + 1, table.move(own, 1, #own, 1, {}))
  if named.kind == "sgd" then known[#known + 1] = "nesterov" end
  util.check_options(named, known, "optimizer")
  if type(named.lr) ~= "number" then raise("optimizer: lr (the learning rate) must be given as a number") end
  check_betas(named, "optimizer")
  if named.kind == "adamw" and named.weight_decay == nil then named.weight_decay = 0.01 end
  if named.groups ~= nil then
    named.groups = read_groups(named.groups, named.kind, entries)
  end
  return named
end

-- The dtype of the model's floating parameters; f32 for a model without any.
local function model_dtype(model)
  for _, entry in ipairs(module.entries(model)) do
    local dtype = entry.param:tensor().dtype
    if dtype == "f32" or dtype == "f64" then return dtype, entry.name end
  end
  return "f32"
end

local function add_inputs(graph, list, name)
  local values = {}
  for i, shape in ipairs(list) do
    local sizes = table.move(shape, 1, #shape, 1, {})
    values[i] = graph:input(#list == 1 and name or name .. i, shape.dtype, sizes)
  end
  return values
end

local function count_correct(graph, outputs, target_shapes, targets)
  local target = target_shapes[1]
  if #target_shapes == 1 and target.dtype == "i64" and #target == 1 and outputs[1]:dim() == 2 then
    graph:metric(ops.count_correct(outputs[1], targets[1]))
  end
end

-- What a plan's gradients and state are named after: plan -> {entries = all of the model's, parameters =
-- entries, inputs = float inputs' positions, gradients = boolean}.
local details = setmetatable({}, { __mode = "k" })

-- What the getter gives; nil where the loss does not depend on what was asked for.
local function gradient(getter, plan, of)
  local ok, result = pcall(getter, plan, of)
  if ok then return result end
  if not tostring(result):find("does not depend on it", 1, true) then error(result, 0) end
end

-- plan:gradients() -> {parameters = dict, inputs = {...}}: of the loss in the last step, by the parameters'
-- names (a dict as state_dict gives) and by position among the inputs. What is not trained, integer inputs and
-- what the loss does not depend on have none. Only for a plan compiled with gradients = true.
local function gradients(plan)
  local detail = details[plan]
  if not (detail and detail.gradients) then
    raise("plan:gradients: the plan was compiled without gradients = true")
  end
  local dict, inputs = {}, {}
  for _, entry in ipairs(detail.parameters) do
    local g = entry.param:requires_grad() and gradient(plan.param_gradient, plan, entry.param)
    if g then
      dict[#dict + 1] = entry.name
      dict[entry.name] = g
    end
  end
  for _, i in ipairs(detail.inputs) do inputs[i] = gradient(plan.input_gradient, plan, i) end
  return { parameters = dict, inputs = inputs }
end

-- The tensors that a plan's state consists of, by name, in order: the optimizer's, and what parameters keep beside
-- their values (master copies).
local function state_tensors(plan)
  local list = {}
  for _, s in ipairs(plan:states()) do list[#list + 1] = { name = s.parameter .. "." .. s.name, tensor = s.tensor } end
  for _, entry in ipairs(details[plan].parameters) do
    local master = entry.param:master()
    if master then list[#list + 1] = { name = entry.name .. ".master", tensor = master } end
  end
  return list
end

-- Counters by name: {name, get, set}.
local function state_counts(plan)
  local steps, updates = plan:count()
  local list = { { name = "plan.steps", value = steps }, { name = "plan.updates", value = updates } }
  for _, entry in ipairs(details[plan].parameters) do
    local n = entry.param:redraws()
    if n > 0 or entry.param:truncation() then
      list[#list + 1] = { name = entry.name .. ".redraws", value = n, param = entry.param }
    end
  end
  return list
end

-- plan:state() -> dict of what training needs besides the model's own state_dict to go on bit for bit: the
-- optimizer's state by parameter and PyTorch's names ("fc.weight.momentum_buffer"), float32 masters of truncated
-- parameters, and counters. wattle.save takes it.
local function state(plan)
  local dict = {}
  local function add(name, t)
    dict[#dict + 1] = name
    dict[name] = t
  end
  for _, s in ipairs(state_tensors(plan)) do add(s.name, s.tensor:clone()) end
  for _, c in ipairs(state_counts(plan)) do add(c.name, core.tensor(c.value, "i64")) end
  return dict
end

-- plan:load_state(dict): puts back what state() gave, of a plan of the same model and optimizer. What is missing,
-- unexpected or of another shape is an error, and then nothing was changed.
local function load_state(plan, dict)
  if type(dict) ~= "table" then raise("plan:load_state: give a dict, as plan:state() does, not %s", type(dict)) end
  local expected, tensors, counts = {}, state_tensors(plan), state_counts(plan)
  for _, list in ipairs { tensors, counts } do
    for _, item in ipairs(list) do
      local given, shape = dict[item.name], item.tensor and item.tensor:shape() or {}
      if not given then raise("plan:load_state: '%s' is missing", item.name) end
      if table.concat(given:shape(), ",") ~= table.concat(shape, ",") then
        raise("plan:load_state: '%s' is [%s], not [%s]", item.name, table.concat(given:shape(), ","),
              table.concat(shape, ","))
      end
      expected[item.name] = true
    end
  end
  for _, name in ipairs(util.sorted_keys(dict)) do
    if not expected[name] then raise("plan:load_state: '%s' is unexpected: another model or optimizer?", name) end
  end
  for _, item in ipairs(tensors) do item.tensor:copy_(dict[item.name]) end
  for _, item in ipairs(counts) do
    if item.param then item.param:redraws(dict[item.name]:item()) end
  end
  plan:count(dict["plan.steps"]:item(), dict["plan.updates"]:item())
end

local compile_options = { "input", "target", "loss", "optimizer", "dtype", "backend", "gradients", "keep_values",
                          "mode", "loss_output", "seed" }

-- The options, checked and completed: {loss =, mode =, optimizer =, dtype =, inputs =, targets =}.
local function read_options(model, o)
  if type(o) ~= "table" then raise("compile: give a table of options, such as {input = {64, 1, 28, 28}}") end
  util.check_options(o, compile_options, "compile")
  local spec = { optimizer = optimizer(o.optimizer, module.entries(model, "parameter")) }
  spec.loss, spec.target_like_output = find_loss(o.loss, model)
  spec.mode = o.mode or (spec.loss and "train" or "eval")
  if spec.mode ~= "train" and spec.mode ~= "eval" then
    raise('compile: mode must be "train" or "eval", got %s', tostring(spec.mode))
  end
  if not spec.loss and (spec.optimizer or o.target ~= nil or o.loss_output or o.gradients) then
    raise("compile: optimizer, target, gradients and loss_output need a loss")
  end
  if o.seed ~= nil and math.type(o.seed) ~= "integer" then
    raise("compile: seed must be an integer, got %s", tostring(o.seed))
  end
  if spec.optimizer and spec.mode == "eval" then raise('compile: mode "eval" takes no optimizer') end
  local own, example = model_dtype(model)
  spec.dtype = o.dtype or own
  if example and spec.dtype ~= own then
    raise('compile: dtype is %s, but %s is %s; convert the model with model:to("%s")', tostring(spec.dtype),
          example, own, tostring(spec.dtype))
  end
  spec.inputs = shapes(o.input, "input", spec.dtype)
  spec.targets = {}
  spec.target_like_output = spec.target_like_output and o.target == nil
  if spec.loss and o.target ~= false and not spec.target_like_output then
    spec.targets = shapes(o.target or { spec.inputs[1][1] }, "target", "i64")
  end
  return spec
end

-- Runs forward and the loss on symbolic values, into graph.
local function trace(model, graph, spec, loss_output)
  local xs, ys = add_inputs(graph, spec.inputs, "input"), add_inputs(graph, spec.targets, "target")
  local outputs = table.pack(module.run(model, table.unpack(xs)))
  if outputs.n == 0 then raise("forward returned nothing") end
  for i = 1, outputs.n do
    if debug.getmetatable(outputs[i]) ~= debug.getmetatable(xs[1]) then
      raise("forward's result %d is a %s, not a value computed from its inputs", i, type(outputs[i]))
    end
    graph:output(outputs.n == 1 and "output" or "output" .. i, outputs[i])
  end
  if not spec.loss then return end
  if spec.target_like_output then
    ys = add_inputs(graph, { { dtype = spec.dtype, table.unpack(outputs[1]:shape()) } }, "target")
  end
  local arguments = table.move(outputs, 1, outputs.n, 1, {})
  table.move(ys, 1, #ys, outputs.n + 1, arguments)
  local loss = spec.loss(table.unpack(arguments, 1, outputs.n + #ys))
  graph:loss(loss)
  count_correct(graph, outputs, spec.targets, ys)
  if loss_output then graph:output("loss", loss) end
end

-- What plan:gradients and plan:state need to know of a plan.
local function plan_detail(entries, spec, with_gradients)
  local detail = { parameters = {}, inputs = {}, gradients = with_gradients }
  for _, entry in ipairs(entries) do
    if entry.kind == "parameter" then table.insert(detail.parameters, entry) end
  end
  for i, shape in ipairs(spec.inputs) do
    if shape.dtype == spec.dtype then table.insert(detail.inputs, i) end
  end
  return detail
end

-- model:compile{...} -> plan. forward runs once on symbolic values, where shapes are checked and errors name
-- the module's path and the user's line; what it did becomes a plan, whose step, forward and evaluate are one C
-- call each.
--   input        {64, 1, 28, 28}, or a list of such shapes for several inputs; dim 0 is the batch, which later
--                calls may change. A shape may say its dtype: {64, dtype = "i64"}.
--   loss         "cross_entropy", "mse", "bce", "bce_with_logits" or "kl_div", or one with options,
--                {"cross_entropy", label_smoothing = 0.1}; or function(outputs..., targets...) of symbolic values
--                to a scalar one. Of a model with auxiliary heads a named loss is that of its first output plus those of
--                the others times its class's aux_weights.
--   target       shape(s) of what the loss gets after the outputs; if not given, {batch, dtype = "i64"} for
--                cross_entropy and functions, the output's shape for the others; false: none
--   optimizer    {"sgd", lr =, momentum = 0, weight_decay = 0, nesterov = false}, {"adam", lr =, betas = {0.9, 0.999},
--                eps = 1e-8, weight_decay = 0} or {"adamw", ..., weight_decay = 0.01}: torch.optim's. Without one a
--                step changes no parameter. All take clip_norm (of all gradients together), clip_value (of each
--                element), accumulate = n (update every n steps, by the gradient of the mean loss over their samples;
--                plan:flush() after an epoch), and groups = {{match = "^fc%." or names = {...}, lr =, ...}, ...}:
--                parameters with values of their own; plan:set("lr") keeps the ratio of a group's lr.
--   mode         "train" (batch statistics in batch norm; the default when there is a loss) or "eval".
--   dtype        "f32" or "f64": must be the parameters' own; see model:to.
--   backend      "auto", "onednn", "blas" or "reference".
--   gradients    true: plan:gradients() after a step.   keep_values  true: for plan:agree; costs memory.
--   seed         of what dropout draws; wattle.manual_seed's if not given.
--   loss_output  true: the loss is also the plan's last output, so that forward(x, y) gives both.
-- The plan: step(x, y) -> loss, correct, n; forward(x) -> outputs; evaluate(x, y) -> loss, correct, n;
-- set("lr", v), get, flush, state, load_state, gradients, profile, describe, info, agree. A model of [N,C] outputs and
-- integer targets also counts the correct. When the model's structure or options change afterwards, the plan is stale
-- and using it an error.
function module.Module:compile(o)
  local spec = read_options(self, o)
  module.initialise(self)
  local graph = core.trace(spec.dtype)
  local entries = module.entries(self)
  for _, entry in ipairs(entries) do graph:param(entry.name, entry.param) end
  module.tracing(self, graph, spec.mode == "train", function() trace(self, graph, spec, o.loss_output) end)
  module.walk(self, function(_, m) graph:stamp(module.stamp_of(m)) end)
  local plan = core.compile(graph, { optimizer = spec.optimizer, backend = o.backend, gradients = o.gradients,
                                     keep_values = o.keep_values, seed = o.seed })
  details[plan] = plan_detail(entries, spec, o.gradients)
  return plan
end

local methods = core.classes.plan
methods.gradients, methods.state, methods.load_state = gradients, state, load_state

return losses
