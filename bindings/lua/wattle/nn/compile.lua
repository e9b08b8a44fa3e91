-- model:compile - runs forward once on symbolic values and makes a plan of what it did. Adds `compile` to every
-- module and `gradients` to plans; the plan itself (step, forward, evaluate, describe, ...) is C's.

local wattle = require "wattle"
local core, ops = wattle.core, wattle.ops
local where = require "wattle.where"
local util = require "wattle.util"
local module = require "wattle.nn.module"

local raise = where.raise

-- Losses that have a name. A loss is called with the model's outputs and then the targets.
local losses = {
  cross_entropy = function(...)
    local list = { ... }
    if #list ~= 2 then
      raise('compile: loss "cross_entropy" takes one output and one target, got %d values; give a function', #list)
    end
    return ops.cross_entropy(list[1], list[2])
  end,
}

local function find_loss(loss)
  if loss == nil or type(loss) == "function" then return loss end
  if type(loss) == "string" and losses[loss] then return losses[loss] end
  local names = util.sorted_keys(losses)
  local near = type(loss) == "string" and util.nearest(loss, names)
  raise('compile: loss must be a function or one of "%s", got %s%s', table.concat(names, '", "'), tostring(loss),
        near and ('; did you mean "%s"?'):format(near) or "")
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

-- {"sgd", lr =, momentum = 0, weight_decay = 0, nesterov = false} as the core wants it (torch.optim.SGD).
local function optimizer(o)
  if o == nil then return nil end
  if type(o) ~= "table" then
    raise('compile: optimizer must be a table such as {"sgd", lr = 0.1}, got %s', tostring(o))
  end
  local named = {}
  for key, value in pairs(o) do
    if key ~= 1 then named[key] = value end
  end
  util.check_options(named, { "kind", "lr", "momentum", "weight_decay", "nesterov" }, "optimizer")
  named.kind = tostring(o[1] or o.kind or "sgd"):lower()
  if type(named.lr) ~= "number" then raise("optimizer: lr (the learning rate) must be given as a number") end
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

-- What a plan's gradients are named after: plan -> {parameters = entries, inputs = float inputs' positions}.
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
  if not detail then raise("plan:gradients: the plan was compiled without gradients = true") end
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

local compile_options = { "input", "target", "loss", "optimizer", "dtype", "backend", "gradients", "keep_values",
                          "mode", "loss_output" }

-- The options, checked and completed: {loss =, mode =, optimizer =, dtype =, inputs =, targets =}.
local function read_options(model, o)
  if type(o) ~= "table" then raise("compile: give a table of options, such as {input = {64, 1, 28, 28}}") end
  util.check_options(o, compile_options, "compile")
  local spec = { loss = find_loss(o.loss), optimizer = optimizer(o.optimizer) }
  spec.mode = o.mode or (spec.loss and "train" or "eval")
  if spec.mode ~= "train" and spec.mode ~= "eval" then
    raise('compile: mode must be "train" or "eval", got %s', tostring(spec.mode))
  end
  if not spec.loss and (spec.optimizer or o.target ~= nil or o.loss_output or o.gradients) then
    raise("compile: optimizer, target, gradients and loss_output need a loss")
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
  if spec.loss and o.target ~= false then
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
  local arguments = table.move(outputs, 1, outputs.n, 1, {})
  table.move(ys, 1, #ys, outputs.n + 1, arguments)
  local loss = spec.loss(table.unpack(arguments, 1, outputs.n + #ys))
  graph:loss(loss)
  count_correct(graph, outputs, spec.targets, ys)
  if loss_output then graph:output("loss", loss) end
end

-- What plan:gradients needs to know of a plan.
local function gradient_detail(entries, spec)
  local detail = { parameters = {}, inputs = {} }
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
--   loss         "cross_entropy", or function(outputs..., targets...) of symbolic values to a scalar one.
--   target       shape(s) of what the loss gets after the outputs; {batch, dtype = "i64"} if not given, false: none
--   optimizer    {"sgd", lr =, momentum = 0, weight_decay = 0, nesterov = false}; without one a step changes no
--                parameter
--   mode         "train" (batch statistics in batch norm; the default when there is a loss) or "eval".
--   dtype        "f32" or "f64": must be the parameters' own; see model:to.
--   backend      "auto", "onednn", "blas" or "reference".
--   gradients    true: plan:gradients() after a step.   keep_values  true: for plan:agree; costs memory.
--   loss_output  true: the loss is also the plan's last output, so that forward(x, y) gives both.
-- The plan: step(x, y) -> loss, correct, n; forward(x) -> outputs; evaluate(x, y) -> loss, correct, n;
-- set("lr", v), get, gradients, profile, describe, info, agree. A model of [N,C] outputs and integer targets
-- also counts the correct. When the model's structure or options change afterwards, the plan is stale and using
-- it an error.
function module.Module:compile(o)
  local spec = read_options(self, o)
  module.initialise(self)
  local graph = core.trace(spec.dtype)
  local entries = module.entries(self)
  for _, entry in ipairs(entries) do graph:param(entry.name, entry.param) end
  module.tracing(self, graph, spec.mode == "train", function() trace(self, graph, spec, o.loss_output) end)
  module.walk(self, function(_, m) graph:stamp(module.stamp_of(m)) end)
  local plan = core.compile(graph, { optimizer = spec.optimizer, backend = o.backend, gradients = o.gradients,
                                     keep_values = o.keep_values })
  if o.gradients then details[plan] = gradient_detail(entries, spec) end
  debug.getmetatable(plan).__index.gradients = gradients
  return plan
end

return losses
