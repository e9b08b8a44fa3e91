-- wattle.summary(model, {input = {1, 1, 28, 28}}): the model's layers as a tree, with shapes, parameters and mult-adds,
-- in the columns and by the definitions of torchinfo (github.com/TylerYep/torchinfo), so that figures can be compared:
--
--   mult-adds   of a convolution its parameters (biases too) times N and the positions of its output; of any other layer
--               without layers inside, its parameters named weight or bias times N. What has no parameters counts
--               nothing. The line of forward FLOPs beside it is what a plan executes: every op, a MAC being 2.
--   sizes       in MB of 1e6 bytes; forward/backward pass: twice the outputs of layers that have parameters
--
-- Different from torchinfo: a parameter that several layers share counts once, and a layer called several times is one
-- line that says so. forward runs once, on symbolic values: nothing is computed.
local wattle = require "wattle"
local core = wattle.core
local compress = require "wattle.compress"
local module = require "wattle.nn.module"
local util = require "wattle.util"
local where = require "wattle.where"

local summary = {}

local ELEMENT_BYTES = { f64 = 8, f32 = 4, i64 = 8, bf16 = 2, f16 = 2, u8 = 1, i8 = 1, i32 = 4 }

-- ---- running it once ---------------------------------------------------------------------------------------------

-- {N, C, H, W}, or a list of such shapes.
local function read_input(input, model)
  if input == nil and model._input then input = { 1, table.unpack(model._input) } end
  if type(input) ~= "table" or #input == 0 then
    where.raise "summary: input must be a shape such as {1, 1, 28, 28}, or a list of shapes"
  end
  local list = type(input[1]) == "table" and input or { input }
  for _, shape in ipairs(list) do
    for d = 1, math.max(#shape, 1) do
      if math.type(shape[d]) ~= "integer" or shape[d] < 1 then
        where.raise("summary: input: size %d must be a positive integer, got %s", d, tostring(shape[d]))
      end
    end
  end
  return list
end

local function is_value(v)
  return type(v) == "userdata" and type(v.shape) == "function"
end

-- The shape of the first value among arguments or results.
local function first_shape(list)
  for i = 1, list.n do
    if is_value(list[i]) then return list[i]:shape() end
  end
end

local function numel(shape)
  local n = 1
  for _, size in ipairs(shape) do n = n * size end
  return n
end

-- What each module got and gave, in the order of the first calls: module -> {seq, calls, input, outputs}.
local function observe(model, shapes)
  local calls, seq = {}, 0
  local dtype = "f32"
  for _, entry in ipairs(module.entries(module.initialise(model))) do
    local own = entry.param:tensor().dtype
    if own == "f32" or own == "f64" then
      dtype = own
      break
    end
  end
  local graph, bytes = core.trace(dtype), 0
  for _, entry in ipairs(module.entries(model)) do graph:param(entry.name, entry.param) end
  local function around(m, ...)
    local call = calls[m]
    if not call then
      seq = seq + 1
      call = { seq = seq, outputs = {}, input = first_shape(table.pack(...)) }
      calls[m] = call
    end
    local results = table.pack(m:forward(...))
    call.outputs[#call.outputs + 1] = first_shape(results) or {}
    return table.unpack(results, 1, results.n)
  end
  module.tracing(model, graph, false, function()
    local values = {}
    for i, shape in ipairs(shapes) do
      local kind = shape.dtype or dtype
      bytes = bytes + numel(shape) * ELEMENT_BYTES[kind]
      values[i] = graph:input("input" .. i, kind, table.move(shape, 1, #shape, 1, {}))
    end
    module.run(model, table.unpack(values))
  end, around)
  return calls, bytes, ELEMENT_BYTES[dtype]
end

-- ---- what a layer has --------------------------------------------------------------------------------------------

-- Parameters below a module: how many numbers, and how many of them are trained.
local function count_params(m)
  local all, trained = 0, 0
  for _, entry in ipairs(module.entries(m, "parameter")) do
    local n = entry.param:tensor():numel()
    all, trained = all + n, trained + (entry.param:requires_grad() and n or 0)
  end
  return all, trained
end

local function children_of(m)
  local list = {}
  for name, child in pairs(m) do
    if module.is_module(child) then list[#list + 1] = { name, child } end
  end
  return list
end

-- torchinfo's mult-adds of one call with this output.
local function mult_adds_of(m, class_name, output)
  if not output[1] then return 0 end
  local positions = output[1]
  if class_name:find "Conv" then positions = numel(output) // (output[2] or 1) end
  local sum = 0
  for _, entry in ipairs(module.entries(m, "parameter")) do
    if entry.name == "weight" or entry.name == "bias" then sum = sum + entry.param:tensor():numel() * positions end
  end
  return sum
end

-- The tree: {name, type, depth, params, trained, own, mult_adds, input, output, calls, children}. Children stand in the
-- order in which they were called; those never called come last.
local function node_of(name, m, depth, calls, seen)
  seen[m] = true
  local call = calls[m] or { outputs = {} }
  local node = { name = name, type = module.class_of(m).class_name, depth = depth, input = call.input,
                 output = call.outputs[1], calls = #call.outputs, seq = call.seq or math.huge, children = {}, mult_adds = 0 }
  node.params, node.trained = count_params(m)
  node.own = 0
  for _, entry in ipairs(module.entries(m, "parameter")) do
    if not entry.name:find(".", 1, true) then node.own = node.own + entry.param:tensor():numel() end
  end
  for i, child in ipairs(children_of(m)) do
    if not seen[child[2]] then
      local inner = node_of(child[1], child[2], depth + 1, calls, seen)
      inner.place, node.seq = i, math.min(node.seq, inner.seq) -- a list is called through its children
      table.insert(node.children, inner)
    end
  end
  table.sort(node.children, function(a, b)
    if a.seq ~= b.seq then return a.seq < b.seq end
    return a.place < b.place
  end)
  node.leaf = #children_of(m) == 0
  if node.leaf then
    for _, output in ipairs(call.outputs) do node.mult_adds = node.mult_adds + mult_adds_of(m, node.type, output) end
    if node.params > 0 then
      node.output_numel = 0
      for _, output in ipairs(call.outputs) do node.output_numel = node.output_numel + numel(output) end
    end
  end
  for _, child in ipairs(node.children) do node.mult_adds = node.mult_adds + child.mult_adds end
  return node
end

local function flatten(node, list, counts, stem, last)
  counts[node.depth] = (counts[node.depth] or 0) + 1
  node.index = counts[node.depth]
  node.branch = node.depth == 0 and "" or stem .. (last and "└─" or "├─")
  list[#list + 1] = node
  local below = node.depth == 0 and "" or stem .. (last and "     " or "│    ")
  for i, child in ipairs(node.children) do flatten(child, list, counts, below, i == #node.children) end
  return list
end

-- ---- text --------------------------------------------------------------------------------------------------------

-- 1234567 as 1,234,567.
local function commas(n)
  local s = ("%d"):format(n)
  return (s:reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", ""))
end

local function shape_text(shape)
  return shape and "[" .. table.concat(shape, ", ") .. "]" or "--"
end

local function trainable_text(node)
  if node.params == 0 then return "--" end
  return node.trained == 0 and "False" or node.trained == node.params and "True" or "Partial"
end

local function title(node)
  if node.depth == 0 then return node.type end
  local calls = node.calls > 1 and (", %d calls"):format(node.calls) or node.seq == math.huge and ", never called" or ""
  return ("%s%s (%s): %d-%d%s"):format(node.branch, node.type, node.name, node.depth, node.index, calls)
end

local function cells_of(node, depth)
  local whole = node.leaf or node.depth == depth
  local params = whole and node.params or node.own
  local text = params > 0 and commas(params) or "--"
  if params > 0 and node.trained == 0 then text = "(" .. text .. ")" end
  return { title(node), shape_text(node.input), shape_text(node.output), text,
           whole and node.mult_adds > 0 and commas(node.mult_adds) or "--", trainable_text(node) }
end

local function readable(n)
  if n >= 1e12 then return "T", n / 1e12 end
  if n >= 1e9 then return "G", n / 1e9 end
  return "M", n / 1e6
end

local HEAD = { "Layer (type (name): depth-index)", "Input Shape", "Output Shape", "Param #", "Mult-Adds", "Trainable" }

local function render(s)
  local rows, widths = { HEAD }, {}
  for _, node in ipairs(s.layers) do
    if node.depth <= s.depth then rows[#rows + 1] = cells_of(node, s.depth) end
  end
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do widths[i] = math.max(widths[i] or 0, utf8.len(cell) or #cell) end
  end
  local lines, total = {}, -2
  for _, w in ipairs(widths) do total = total + w + 2 end
  local rule = ("="):rep(total)
  for r, row in ipairs(rows) do
    local parts = {}
    for i, cell in ipairs(row) do
      local blanks = (" "):rep(widths[i] - (utf8.len(cell) or #cell))
      parts[i] = (i == 4 or i == 5) and blanks .. cell or cell .. blanks
    end
    lines[#lines + 1] = (table.concat(parts, "  "):gsub("%s+$", ""))
    if r == 1 then lines[#lines + 1] = rule end
  end
  table.insert(lines, 1, rule)
  local function add(format, ...) lines[#lines + 1] = format:format(...) end
  add("%s", rule)
  add("Total params: %s", commas(s.params))
  add("Trainable params: %s", commas(s.trainable_params))
  add("Non-trainable params: %s", commas(s.params - s.trainable_params))
  add("Total mult-adds (%s): %.2f", readable(s.mult_adds))
  if s.forward_flops then
    local unit, n = readable(s.forward_flops)
    add("Forward FLOPs (%s): %.2f (every op; a multiply-accumulate is 2)", unit, n)
  end
  add("%s", rule)
  add("Input size (MB): %.2f", s.input_bytes / 1e6)
  add("Forward/backward pass size (MB): %.2f", s.pass_bytes / 1e6)
  add("Params size (MB): %.2f", s.params_bytes / 1e6)
  add("Estimated Total Size (MB): %.2f", (s.input_bytes + s.pass_bytes + s.params_bytes) / 1e6)
  add("%s", rule)
  return table.concat(lines, "\n") .. "\n"
end

local function csv_of(s)
  local lines = { "layer,type,depth,input_shape,output_shape,params,mult_adds,trainable\n" }
  for _, node in ipairs(s.layers) do
    local function shape(x) return x and table.concat(x, "x") or "NA" end
    local cells = { node.path == "" and "model" or node.path, node.type, ("%d"):format(node.depth), shape(node.input),
                    shape(node.output), ("%d"):format(node.params), ("%d"):format(node.mult_adds),
                    node.params == 0 and "NA" or node.trained == node.params and "TRUE" or "FALSE" }
    for i, cell in ipairs(cells) do cells[i] = core.csv_field(cell) end
    lines[#lines + 1] = table.concat(cells, ",") .. "\n"
  end
  return table.concat(lines)
end

-- ---- the function ------------------------------------------------------------------------------------------------

local function set_paths(node, path)
  node.path = path
  for _, child in ipairs(node.children) do set_paths(child, path == "" and child.name or path .. "." .. child.name) end
end

local METHODS = { __tostring = render, __index = { csv = csv_of } }

-- wattle.summary(model [, {input = {N, C, H, W}, depth = 3, print = true}]): prints the table down to that depth, deeper
-- layers being summed up in theirs. input may be left out for wattle.models.create's models, and be a list of shapes for
-- a model of several inputs (with dtype = "i64" in a shape, if it is not of the model's). print = false: returns it
-- instead, {layers (in the order of the table: name, path, type, depth, index, input, output, params, mult_adds, ...),
-- params, trainable_params, mult_adds, forward_flops, input_bytes, pass_bytes, params_bytes}; tostring gives the text,
-- s:csv() all layers as CSV.
function summary.summary(model, o)
  o = o or {}
  util.check_options(o, { "input", "depth", "print" }, "summary")
  if not module.is_module(model) then where.raise("summary: the first argument must be a model, not %s", type(model)) end
  local depth = o.depth == nil and 3 or o.depth
  if math.type(depth) ~= "integer" or depth < 0 then
    where.raise("summary: depth must be an integer from 0 on, got %s", tostring(depth))
  end
  local shapes = read_input(o.input, model)
  local calls, input_bytes, element_bytes = observe(model, shapes)
  local root = node_of("", model, 0, calls, {})
  set_paths(root, "")
  local s = setmetatable({ layers = flatten(root, {}, {}, "", true), depth = depth, params = root.params,
                           trainable_params = root.trained, mult_adds = root.mult_adds, input_bytes = input_bytes,
                           pass_bytes = 0, params_bytes = root.params * element_bytes }, METHODS)
  for _, node in ipairs(s.layers) do
    if node.output_numel then s.pass_bytes = s.pass_bytes + 2 * element_bytes * node.output_numel end
  end
  if #shapes == 1 and #shapes[1] == 4 and not shapes[1].dtype then
    local flops = compress.flops_per_image(model, { table.unpack(shapes[1], 2) })
    s.forward_flops = flops and flops * shapes[1][1]
  end
  if o.print == false then return s end
  io.stdout:write(tostring(s))
end

return summary
