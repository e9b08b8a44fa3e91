-- Scenarios of test_sweep.lua: name -> function, a call that has the same result each time it runs. Names are those of the
-- walk: "zeros" in wattle.core, "tensor:relu" for methods, "nn.Linear" in a module. Ops take theirs from the cases that
-- the C tests use (tests/c/op_cases.h). Adding a function is adding a line. Returns the scenarios and an object of
-- each kind whose methods are to be found.

local wattle = require "wattle"
local core, nn, ops = wattle.core, wattle.nn, wattle.ops

local S = {}
local scratch = os.tmpname()
local folder = scratch .. ".d"
assert(core.mkdir(folder))
setmetatable(S, { __gc = function()
  os.remove(scratch)
  os.execute("rm -rf '" .. folder .. "'")
end })

local function path(name) return folder .. "/" .. name end

-- ---- what they act on: made once, never changed ------------------------------------------------------------------

wattle.manual_seed(3)
local x, turned = wattle.randn{ 2, 3 }, wattle.randn{ 3, 2 }:transpose(0, 1)
local square = wattle.randn{ 8, 8, dtype = "f64" }
local half = wattle.randn{ 2, 2 }:to "bf16"
local keep = wattle.tensor({ { 1, 0, 1 }, { 0, 1, 1 } }, "u8")
local index = wattle.arange(4)
local pixels, labels = wattle.full({ 4, 5, 5, dtype = "u8" }, 9), wattle.tensor({ 0, 1, 1, 0 }, "u8")
local weight = core.param(wattle.randn{ 5, 3 })
local batch, target = wattle.randn{ 4, 3 }, wattle.tensor({ 0, 1, 1, 0 }, "i64")
local options = { kind = "adamw", lr = 0.1, weight_decay = 0.01 }

-- (4,3) through weights of (5,3), with a loss.
local function graph(dtype)
  local g = core.trace(dtype)
  local w = dtype == "f64" and weight:clone():convert "f64" or weight:clone()
  local logits = ops.linear(g:input("x", "f32", { 4, 3 }), g:param("w", w))
  g:output("y", logits)
  g:loss(ops.cross_entropy(logits, g:input("t", "i64", { 4 })))
  return g, w, logits
end
local function plan(o)
  local g, w, logits = graph()
  return core.compile(g, o or { optimizer = options, gradients = true }), w, logits
end
local function stepped()
  local p, w, logits = plan()
  p:step(batch, target)
  return p, w, logits
end
local function value() return core.trace():input("x", "f32", { 2, 3 }) end

local function meter() return wattle.meter{ source = "estimate", period_s = 60 } end

local net = nn.Sequential{ nn.Linear{ in_features = 3, out_features = 4 }, nn.ReLU(), nn.Linear{ in_features = 4, out_features = 2 } }
nn.initialise(net, 1)
local dataset = wattle.data.tensors{ images = pixels, labels = labels, classes = 2 }
local Picture = nn.Sequential{ nn.Flatten(), nn.Linear{ in_features = 25, out_features = 2 } }
nn.initialise(Picture, 1)

core.write_file(path "trace.csv", "t_s,domain,energy_uj\n0,dram-0,0\n9,dram-0,900\n")
core.write_file(path "table.csv", 'a,b\n1,"2,3"\n')
wattle.save(path "saved.safetensors", { a = x, b = keep }, { note = "x" })
core.write_file(path "images", ("\0\0\8\3\0\0\0\2\0\0\0\5\0\0\0\5" .. ("\7"):rep(50)))
core.write_file(path "labels", "\0\0\8\1\0\0\0\2\0\1")

-- ---- ops: by their C cases ---------------------------------------------------------------------------------------

local function slurp(name)
  local file <close> = assert(io.open(name))
  return file:read "a"
end

local is_label = {} -- "cross_entropy.2"
for op, inputs in slurp "core/ops/ops.def":gmatch "WTL_OP%(([%w_]+), IN(%b())" do
  local i = 0
  for mark in inputs:gmatch '"([#?=]?)' do
    if mark == "#" then is_label[op .. "." .. i // 2 + 1] = true end
    i = i + 1
  end
end

local function shapes_of(text)
  local shapes = {}
  for word in text:gmatch "%S+" do
    local sizes = {}
    for n in word:gmatch "%d+" do sizes[#sizes + 1] = tonumber(n) end
    shapes[#shapes + 1] = word ~= "-" and sizes
  end
  return shapes
end

local function attributes_of(text)
  local attributes = {}
  for name, list in text:gmatch "([%w_]+)=(%S+)" do
    local values = {}
    for v in list:gmatch "[^,]+" do values[#values + 1] = math.tointeger(tonumber(v)) or tonumber(v) end
    attributes[name] = #values > 1 and values or values[1]
    if name == "training" or name == "keepdim" then attributes[name] = values[1] ~= 0 end
    if (name == "dims" or name == "pads" or name == "shape") then attributes[name] = values end
  end
  return attributes
end

local function op_scenarios(op, shapes, attributes)
  local inputs = {}
  for i, sizes in ipairs(shapes) do
    local label = is_label[op .. "." .. i]
    inputs[i] = sizes and wattle.full({ dtype = label and "i64" or "f32", table.unpack(sizes) }, label and 0 or 0.5)
  end
  local function call(f, list)
    local arguments = {}
    for i = 1, #shapes do arguments[i] = list[i] or nil end
    arguments[#shapes + 1] = attributes
    return f(table.unpack(arguments, 1, #shapes + 1))
  end
  local function traced(f)
    local g, values = core.trace(), {}
    for i, t in ipairs(inputs) do -- one has the batch, and labels go with it
      local as_input = i == 1 or is_label[op .. "." .. i]
      values[i] = t and (as_input and g:input("x" .. i, t.dtype, t:shape()) or g:param("x" .. i, core.param(t)))
    end
    return call(f, values):shape()
  end
  S["ops." .. op] = function()
    wattle.manual_seed(3) -- dropout's draws are counted from it
    return call(ops[op], inputs)
  end
  S["tensor:" .. op] = function()
    wattle.manual_seed(3)
    return call(inputs[1][op], inputs)
  end
  S["symbolic value:" .. op] = function() return traced(core.classes["symbolic value"][op]) end
end

for op, inputs, attributes, large in slurp "tests/c/op_cases.h":gmatch '{ "([%w_]+)", "([^"]*)", "([^"]*)", (%w+) }' do
  if ops[op] and not S["ops." .. op] and large == "false" and not inputs:find "%[%]" then
    op_scenarios(op, shapes_of(inputs), attributes_of(attributes))
  end
end

-- ---- core --------------------------------------------------------------------------------------------------------

S.tensor = function() return wattle.tensor({ { 1, 2 }, { 3, 4 } }, "bf16"), wattle.tensor(x), wattle.tensor(2) end
S.zeros = function() return wattle.zeros{ 2, 3 } end
S.ones = function() return wattle.ones{ 2, 3, dtype = "i32" } end
S.full = function() return wattle.full({ 2 }, 7) end
S.rand = function() wattle.manual_seed(3) return wattle.rand{ 2, 3 } end
S.randn = function() wattle.manual_seed(3) return wattle.randn{ 2, 3 } end
S.arange = function() return wattle.arange(5, "f32") end
S.manual_seed = function() return wattle.manual_seed(3) end
S.seed = function() return core.seed() end
S.uniform = function() return core.uniform(wattle.zeros{ 3 }, 1, "a", "b", 0, -1, 1) end
S.normal = function() return core.normal(wattle.zeros{ 3 }, 1, "a", "b", 0, 0, 1) end
S.permutation = function() return core.permutation(1, "a", "b", 0, 9) end
S.help = function() return core.help "zeros", core.help(), core.help "nn.Conv2d", core.help "no such name" end
S.documentation = function() return core.documentation "zeros", core.documentation(), core.documentation "ops.conv2d" end
S.nearest = function() return core.nearest("strid", { "padding", "stride" }) end
S.check_options = function() return core.check_options({ a = 1 }, { "a", "b" }, "x") end
S["ops.help"] = function() return ops.help "conv2d" end
S["ops.split"] = function() return ops.split(x, 2, 1) end
S["ops.list"] = function() return ops.list() end
S.gradcheck = function() return core.gradcheck("mul", { square, square }, { true, true }) < 1e-3 end
S.param = function() return core.param(x):tensor() end
S.stamp = function() return core.stamp() end
S.trace = function() return graph() end
S.tracing = function()
  core.tracing(core.trace())
  core.tracing(nil)
end
S.compile = function() return (plan()):get "lr" end
S.idx = function() return core.idx(path "images") end
S.gather_batch = function() return core.gather_batch(pixels, labels, index, 1, 2, 0.5, 0.25) end
S.sha256_file = function() return core.sha256_file(path "table.csv") end
S.sha256_dict = function() return core.sha256_dict{ a = x, b = turned } end
S.write_file = function() return core.write_file(scratch, "text") end
S.appender = function()
  local a, message, code = core.appender(path "new.csv", "a,b")
  if not a then return nil, message, code end
  a:close()
  return core.remove(path "new.csv")
end
S.lock = function()
  local l, message, code = core.lock(folder)
  if not l then return nil, message, code end
  l:close()
end
S.csv_read = function() return core.csv_read(path "table.csv") end
S.csv_field = function() return core.csv_field 'a "b", c' end
S.load = function() return wattle.load(path "saved.safetensors") end
S.save = function() return wattle.save(scratch, { a = x, b = turned }, { k = "v" }), core.sha256_file(scratch) end
S.json_encode = function() return core.json_encode{ a = { 1, 2.5, true }, b = "text" } end
S.json_decode = function() return core.json_decode '{"a": [1, 2.5, true, null], "b": "text"}'.a end
S.truncate = function() return core.truncate(x:clone(), 9), core.truncate(x:clone(), 9, "random", 1, "w", 2) end
S.prune_global = function() return core.prune_global({ x, turned }, 0.5) end
S.lowrank = function() return core.lowrank(square, 0.6) end
S.meter = function() return (meter():close()) end
S.now = function() return core.now() > 0 end
S.cpu_time = function() return core.cpu_time() > 0 end
S.sleep = function() return core.sleep(0) end
S.memory = function() return core.memory().live > 0 end
S.lua_allocations = function() return core.lua_allocations() > 0 end
S.fail_at = function() return core.fail_at(0) end
S.lua_fail_at = function() return core.lua_fail_at(0) end
S.peak_rss = function() return core.peak_rss() ~= 0 end
S.peak_rss_reset = function() return core.peak_rss_reset() ~= false end
S.build_info = function() return core.build_info() end
S.error_code = function() return core.error_code "nothing of ours" end
S.mkdir = function() return core.mkdir(path "a/b") end
S.exists = function() return core.exists(folder) end
S.listdir = function() return core.listdir(wattle.home .. "/models") end
S.remove = function() return core.write_file(path "gone", "x") and core.remove(path "gone") end
S.isatty = function() return core.isatty(99) end
S.columns = function() return core.columns() end
S.hostname = function() return core.hostname() end
S.threads = function() return wattle.threads() end

-- ---- objects of the core -----------------------------------------------------------------------------------------

S["tensor:shape"] = function() return x:shape() end
S["tensor:size"] = function() return x:size(0), x:size() end
S["tensor:dim"] = function() return x:dim() end
S["tensor:numel"] = function() return x:numel() end
S["tensor:bytes"] = function() return x:bytes() end
S["tensor:is_contiguous"] = function() return turned:is_contiguous() end
S["tensor:to"] = function() return turned:to "f16" end
S["tensor:clone"] = function() return turned:clone() end
S["tensor:contiguous"] = function() return turned:contiguous() end
S["tensor:copy_"] = function() return wattle.zeros{ 2, 3 }:copy_(turned) end
S["tensor:fill_"] = function() return wattle.zeros{ 2, 3 }:fill_(4) end
S["tensor:view"] = function() return x:view{ 3, -1 } end
S["tensor:reshape"] = function() return turned:reshape{ 6 } end
S["tensor:flatten"] = function() return turned:flatten{ start_dim = 0 } end
S["tensor:transpose"] = function() return x:transpose(0, 1) end
S["tensor:permute"] = function() return x:permute{ 1, 0 } end
S["tensor:narrow"] = function() return x:narrow(1, 1, 2) end
S["tensor:select"] = function() return x:select(0, 1) end
S["tensor:expand"] = function() return x:expand{ 4, 2, 3 } end
S["tensor:sum"] = function() return x:sum(1), keep:sum() end
S["tensor:mean"] = function() return x:mean{ 1, keepdim = true } end
S["tensor:item"] = function() return half:select(0, 0):select(0, 1):item() end
S["tensor:tolist"] = function() return half:tolist() end
S["tensor:get"] = function() return half:get(1, 1) end
S["tensor:set"] = function() return wattle.zeros{ 2 }:set(1, 5) end
S["tensor:tobytes"] = function() return turned:tobytes() end
S["tensor:max"] = function() return turned:max() end
S["tensor:min"] = function() return half:min() end
S["tensor:argmax"] = function() return turned:argmax(1) end
S["tensor:count_nonzero"] = function() return turned:count_nonzero() end
S["tensor:equal"] = function() return turned:equal(turned) end
S["tensor:close"] = function() return wattle.zeros{ 2 }:close() end
S["tensor:__index"] = function() return x.dtype end
S["tensor:__tostring"] = function() return tostring(x) end
S["tensor:__len"] = function() return #x end
S["tensor:__add"] = function() return x + turned + 1 end
S["tensor:__sub"] = function() return x - 1 end
S["tensor:__mul"] = function() return 2 * x end
S["tensor:__div"] = function() return x / turned end
S["tensor:__pow"] = function() return x ^ 2 end
S["tensor:__unm"] = function() return -x end

S["symbolic value:shape"] = function() return value():shape() end
S["symbolic value:size"] = function() return value():size(1), value():size() end
S["symbolic value:dim"] = function() return value():dim() end
S["symbolic value:numel"] = function() return value():numel() end
S["symbolic value:reshape"] = function() return value():reshape{ 3, -1 }:shape() end
S["symbolic value:view"] = function() return value():view{ 6 }:shape() end
S["symbolic value:sum"] = function() return value():sum(1):shape() end
S["symbolic value:mean"] = function() return value():mean{ 1, keepdim = true }:shape() end
S["symbolic value:permute"] = function() return value():permute{ 1, 0 }:shape() end
S["symbolic value:transpose"] = function() return value():transpose(0, 1):shape() end
S["symbolic value:narrow"] = function() return value():narrow(1, 1, 2):shape() end
S["symbolic value:select"] = function() return value():select(1, 0):shape() end
S["symbolic value:__div"] = function() return (value() / 2):shape() end
S["symbolic value:__pow"] = function() return (value() ^ 2):shape() end
S["symbolic value:close"] = function() return value():close() end
S["symbolic value:__index"] = function() return value().dtype end
S["symbolic value:__tostring"] = function() return tostring(value()) end
S["symbolic value:__len"] = function() return #value() end
S["symbolic value:__add"] = function() return (value() + 1):shape() end
S["symbolic value:__sub"] = function() return (value() - 1):shape() end
S["symbolic value:__mul"] = function() return (value() * 2):shape() end
S["symbolic value:__unm"] = function() return (-value()):shape() end
-- These only raise, one that names the mistake.
local function raising(f)
  return function()
    local v = value()
    local ok, message = pcall(f, v)
    if ok or not message:find "symbolic value" then error(message, 0) end
    return message
  end
end
S["symbolic value:__concat"] = raising(function(v) return "a" .. v end)
S["symbolic value:__lt"] = raising(function(v) return v < v end)
S["symbolic value:__le"] = raising(function(v) return v <= v end)

local function p() return weight:clone() end
S["parameter:tensor"] = function() return p():tensor() end
S["parameter:adopt"] = function() return p():adopt(wattle.ones{ 5, 3 }):tensor() end
S["parameter:assign"] = function() return p():assign(wattle.ones{ 5, 3 }):tensor() end
S["parameter:touch"] = function() return p():touch() end
S["parameter:requires_grad"] = function() return p():requires_grad(false) end
S["parameter:kind"] = function() return weight:kind() end
S["parameter:version"] = function() return weight:version() end
S["parameter:clone"] = function() return weight:clone():tensor() end
S["parameter:mask"] = function() return core.param(x):mask(keep):mask() end
S["parameter:truncation"] = function() return p():truncation{ bits = 9, arm = "stochastic", master = true }:constrain():tensor() end
S["parameter:master"] = function() return p():truncation{ bits = 9, master = true }:master() end
S["parameter:redraws"] = function() return p():redraws(4) end
S["parameter:constrain"] = function() return core.param(x:clone()):mask(keep):constrain():tensor() end
S["parameter:convert"] = function() return p():convert "f64":tensor() end
S["parameter:close"] = function() return p():close() end
S["parameter:__tostring"] = function() return tostring(weight) end
S["parameter:__add"] = function() return weight + 1 end
S["parameter:__sub"] = function() return weight - 1 end
S["parameter:__mul"] = function() return weight * 2 end
S["parameter:__div"] = function() return weight / 2 end
S["parameter:__pow"] = function() return weight ^ 2 end
S["parameter:__unm"] = function() return -weight end

S["trace:input"] = function() return core.trace():input("x", "f32", { 2, 3 }):shape() end
S["trace:param"] = function() return core.trace():param("w", weight):shape() end
S["trace:scope"] = function() return core.trace():scope "layer1.0" end
S["trace:output"] = function()
  local g = core.trace()
  return g:output("y", g:input("x", "f32", { 2 }))
end
S["trace:loss"] = function()
  local g = core.trace()
  return g:loss(g:input("x", "f32", { 2 }):sum())
end
S["trace:metric"] = function()
  local g = core.trace()
  return g:metric(g:input("x", "f32", { 2 }):sum())
end
S["trace:stamp"] = function() return core.trace():stamp(core.stamp()) end
S["trace:close"] = function() return core.trace():close() end
S["stamp:bump"] = function() return core.stamp():bump() end
S["stamp:close"] = function() return core.stamp():close() end

S["plan:step"] = function()
  local made, w = plan()
  return made:step(batch, target), w:tensor()
end
S["plan:forward"] = function() return (plan()):forward(batch) end
S["plan:evaluate"] = function() return (plan()):evaluate(batch, target) end
S["plan:set"] = function() return (plan()):set("lr", 0.5) end
S["plan:get"] = function() return (plan()):get "lr" end
S["plan:flush"] = function()
  local made, w = plan{ optimizer = { kind = "sgd", lr = 0.1, accumulate = 2 } }
  made:step(batch, target)
  made:flush()
  return w:tensor()
end
S["plan:states"] = function() return stepped():states() end
S["plan:count"] = function() return stepped():count() end
S["plan:param_gradient"] = function()
  local made, w = stepped()
  return made:param_gradient(w)
end
S["plan:input_gradient"] = function() return stepped():input_gradient(1) end
S["plan:describe"] = function() return #(plan()):describe() > 9 end
S["plan:info"] = function() return (plan()):info().forward_flops end
S["plan:profile"] = function()
  local made = plan()
  made:profile(true)
  made:step(batch, target)
  return #made:profile()
end
local function recorded()
  local g, _, logits = graph "f64"
  local made = core.compile(g, { backend = "reference", keep_values = true })
  made:step(batch, target)
  return made, logits
end
S["plan:value"] = function()
  local made, logits = recorded()
  return made:value(logits, true)
end
S["plan:agree"] = function() return #recorded():agree "blas" end
S["plan:nonzero_flops"] = function() return (plan()):nonzero_flops() end
S["plan:close"] = function() return (plan()):close() end

S["appender:add"] = function()
  local a, message, code = core.appender(path "rows.csv", "a,b")
  if not a then return nil, message, code end
  local ok, why, kind = a:add "1,2\n"
  a:close()
  os.remove(path "rows.csv")
  return ok, why, kind
end
S["appender:close"] = S.appender
S["lock:close"] = S.lock
S["meter:region"] = function() return meter():region "x":stop().method end
S["meter:describe"] = function() return meter():describe() end
S["meter:power"] = function() return (meter():power()) end
S["meter:idle"] = function() return meter():idle(0.2).samples end
S["meter:advance"] = function()
  local m = assert(wattle.meter{ source = "replay", trace = path "trace.csv", clock = "virtual" })
  local r = m:region "x"
  m:advance(1)
  return r:stop().energy_j
end
S["meter:record"] = function() return meter():record(8) ~= nil end
S["meter:recorded"] = function()
  local m = assert(wattle.meter{ source = "replay", trace = path "trace.csv", clock = "virtual" }):record(8)
  m:advance(1):advance(2)
  return m:recorded()[2].power_w
end
S["meter:close"] = function() return meter():close() end
S["region:stop"] = function() return meter():region "x":stop().method end
S["region:close"] = function() return meter():region "x":close() end
S["text:close"] = function() return core.documentation "ops.relu" end -- boxes of single calls
S["holder:close"] = function() return core.csv_read(path "table.csv") end
S["dict:close"] = function() return wattle.load(path "saved.safetensors") end
S["metadata:close"] = S["dict:close"]

-- ---- networks ----------------------------------------------------------------------------------------------------

-- Makes the layer, prints it, runs it on ones of these sizes.
local function layer(make, ...)
  local sizes = { ... }
  return function()
    local made = nn.initialise(make(), 5)
    return tostring(made), made(wattle.full(sizes, 0.5))
  end
end
S["nn.Linear"] = layer(function() return nn.Linear{ in_features = 3, out_features = 2 } end, 4, 3)
S["nn.Conv2d"] = layer(function() return nn.Conv2d{ in_channels = 2, out_channels = 3, kernel_size = 3 } end, 1, 2, 5, 5)
S["nn.BatchNorm2d"] = layer(function() return nn.BatchNorm2d{ num_features = 2 } end, 2, 2, 3, 3)
S["nn.ReLU"] = layer(function() return nn.ReLU() end, 2, 3)
S["nn.Identity"] = layer(function() return nn.Identity() end, 2, 3)
S["nn.Flatten"] = layer(function() return nn.Flatten() end, 2, 3, 2)
S["nn.MaxPool2d"] = layer(function() return nn.MaxPool2d{ kernel_size = 2 } end, 1, 2, 4, 4)
S["nn.GlobalAvgPool2d"] = layer(function() return nn.GlobalAvgPool2d() end, 1, 2, 4, 4)
S["nn.AvgPool2d"] = layer(function() return nn.AvgPool2d{ kernel_size = 2 } end, 1, 2, 4, 4)
S["nn.AdaptiveAvgPool2d"] = layer(function() return nn.AdaptiveAvgPool2d{ output_size = 2 } end, 1, 2, 4, 4)
S["nn.ZeroPad2d"] = layer(function() return nn.ZeroPad2d{ padding = 1 } end, 1, 2, 4, 4)
S["nn.Dropout"] = layer(function() return nn.Dropout{ p = 0.5 }:eval() end, 2, 3)
S["nn.Sigmoid"] = layer(function() return nn.Sigmoid() end, 2, 3)
S["nn.Tanh"] = layer(function() return nn.Tanh() end, 2, 3)
S["nn.Softmax"] = layer(function() return nn.Softmax{ dim = 1 } end, 2, 3)
S["nn.LogSoftmax"] = layer(function() return nn.LogSoftmax{ dim = 1 } end, 2, 3)
S["nn.Sequential"] = layer(function() return nn.Sequential{ nn.ReLU(), nn.Flatten() } end, 2, 3)
S["nn.ModuleList"] = function() return tostring(nn.ModuleList{ nn.ReLU(), nn.Identity() }:append(nn.ReLU())) end
S["nn.class"] = function()
  local Net = nn.class "Net"
  function Net:forward(v) return v + 1 end
  return Net()(x)
end
S["nn.Parameter"] = function() return nn.Parameter(x):tensor() end
S["nn.Buffer"] = function() return nn.Buffer(x):kind() end
S["nn.uniform"] = function()
  local made = wattle.zeros{ 3 }
  nn.uniform(0.5)(made, 1, "w")
  return made
end
S["nn.initialise"] = function() return nn.initialise(nn.Linear{ in_features = 3, out_features = 2 }, 7).weight:tensor() end
S["nn.is_module"] = function() return nn.is_module(net) end

for _, name in ipairs{ "constant", "ones", "zeros", "uniform", "normal", "xavier_uniform", "xavier_normal", "kaiming_uniform",
                       "kaiming_normal", "trunc_normal" } do
  S["nn.init." .. name] = function()
    local made = nn.Linear{ in_features = 3, out_features = 2 }
    nn.init[name](made.weight, name == "constant" and 3 or nil)
    return nn.initialise(made, 3).weight:tensor()
  end
end
S["nn.init.calculate_gain"] = function() return nn.init.calculate_gain "relu" end

S["module:forward"] = function() return net:forward(batch) end
S["module:init"] = function() return nn.ReLU():init() end
S["module:__names"] = function() return getmetatable(net).__names(net) end
S["module:parameters"] = function() return #net:parameters() end
S["module:named_parameters"] = function()
  local list = {}
  for name in net:named_parameters() do list[#list + 1] = name end
  return list
end
S["module:buffers"] = function() return #net:buffers() end
S["module:modules"] = function() return #net:modules() end
S["module:get_submodule"] = function() return tostring(net:get_submodule "0") end
S["module:num_parameters"] = function() return net:num_parameters() end
S["module:train"] = function() return net:train().training end
S["module:eval"] = function() return net:clone():eval().training end
S["module:to"] = function() return net:clone():to "f64":state_dict() end
S["module:state_dict"] = function() return net:state_dict() end
S["module:load_state_dict"] = function() return net:clone():load_state_dict(net:state_dict(), { strict = true }) end
S["module:clone"] = function() return net:clone():state_dict() end
S["module:compile"] = function()
  local model = net:clone()
  local made = model:compile{ input = { 4, 3 }, loss = "cross_entropy", optimizer = { "sgd", lr = 0.1 }, gradients = true }
  return made:step(batch, target), made:gradients(), model:state_dict()
end
S["plan:gradients"] = S["module:compile"]
S["plan:state"] = function()
  local made = net:clone():compile{ input = { 4, 3 }, loss = "cross_entropy", optimizer = { "adam", lr = 0.1 } }
  made:step(batch, target)
  return made:state()
end
S["plan:load_state"] = function()
  local made = net:clone():compile{ input = { 4, 3 }, loss = "cross_entropy", optimizer = { "adam", lr = 0.1 } }
  made:step(batch, target)
  made:load_state(made:state())
  return made:state()
end
S["module:__call"] = function() return net(batch) end
S["module:__index"] = function() return net[1] == net["0"] end
S["module:__newindex"] = function()
  local made = nn.ReLU()
  made.field = 3
  return made.field
end
S["module:__len"] = function() return #net end
S["module:__pairs"] = function()
  local list = {}
  for name in pairs(net) do list[#list + 1] = name end
  return list
end
S["module:__tostring"] = function() return tostring(net) end
S["models.create"] = function() return wattle.models.create("lenet5", { seed = 2 }):num_parameters() end
S["models.list"] = function() return wattle.models.list() end

-- ---- data and training -------------------------------------------------------------------------------------------

S["data.tensors"] = function() return #wattle.data.tensors{ images = pixels, labels = labels } end
S["data.idx"] = function()
  local ds, message, code = wattle.data.idx{ images = path "images", labels = path "labels" }
  return ds and #ds, message, code
end
S["data.fashion_mnist"] = function() -- absent: told, with memory or without
  local sets, message = wattle.data.fashion_mnist{ dir = folder }
  return sets == nil and message:find "no train%-images" ~= nil
end
S["dataset:take"] = function() return #dataset:take(2) end
S["dataset:split"] = function() return #dataset:split({ 2, 1 }, 5) end
S["dataset:num_batches"] = function() return dataset:num_batches(3) end
S["dataset:batches"] = function()
  local list = {}
  for images, y in dataset:batches{ batch_size = 3, shuffle = true, seed = 2 } do
    list[#list + 1] = images
    list[#list + 1] = y
  end
  return list
end
S["dataset:__len"] = function() return #dataset end
S["dataset:__tostring"] = function() return tostring(dataset) end

S.fit = function()
  local model = Picture:clone()
  local history = wattle.fit{ model = model, data = { train = dataset, val = dataset }, epochs = 2, batch_size = 3,
                              optimizer = { "sgd", lr = 0.1, momentum = 0.9 }, seed = 1, progress = false, keep_best = true }
  return history.status, history[2].train_loss, model:state_dict()
end
S.evaluate = function() return wattle.evaluate(Picture, dataset, { batch_size = 3 }).loss end
S["schedule.cosine"] = function() return wattle.schedule.cosine{ lr = 1, epochs = 4 }(2) end
S["schedule.step"] = function() return wattle.schedule.step{ lr = 1, step_size = 2 }(3) end
S["schedule.warmup"] = function() return wattle.schedule.warmup{ epochs = 2, after = 0.5 }(1) end
S["schedule.plateau"] = function()
  local s = wattle.schedule.plateau{ lr = 1, patience = 0 }
  s:observe(1)
  s:observe(1)
  return s(0)
end

local compress = wattle.compress
S["compress.nonzeros"] = function() return compress.nonzeros(net) end
S["compress.flops_per_image"] = function() return compress.flops_per_image(net, { 3 }) end
S["compress.scr"] = function() return (compress.scr(net, { bits = 9, input = { 3 } })):state_dict() end
S["compress.prune"] = function() return (compress.prune(net, { amount = 0.5, input = { 3 } })):state_dict() end
S["compress.capacity"] = function()
  return compress.capacity(net, { evaluate = function(model) return model(batch):sum():item() > 0 and 80 or 70 end, max_bits = 2,
                                  progress = false })
end
local low = (compress.lowrank(Picture, { energy = 0.5 })):state_dict()
S["compress.lowrank_like"] = function() return compress.lowrank_like(Picture, low):state_dict() end
S["compress.lowrank"] = function() return (compress.lowrank(net, { energy = 0.5, input = { 3 } })):state_dict() end

-- ---- experiments, figures, text ----------------------------------------------------------------------------------

local experiment = wattle.experiment
S["experiment.plan"] = function()
  local runs = experiment.plan{ name = "plan", seeds = { 5 }, factors = { level = { 8, 16 } } }
  return #runs, runs[1].run_id
end
S["experiment.run"] = function()
  os.execute("rm -rf '" .. path "out" .. "'")
  local done = experiment{ name = "small", out = path "out", factors = { level = { 8 } }, progress = false, meter = { source = "off" },
                           seeds = { 1 }, run = function() return { val_top1_pct = 1.0 } end }
  return done ~= nil
end
S.experiment = S["experiment.run"]

local rows = { { technique = "a", seed = 1, v = 1.0 }, { technique = "a", seed = 2, v = 2.0 }, { technique = "a", seed = 3, v = 2.5 } }
local stats = wattle.stats
local figures = { 91.2, 90.8, 91.7, 91.1 }
S["stats.mean"] = function() return stats.mean(figures) end
S["stats.sd"] = function() return stats.sd(figures) end
S["stats.median"] = function() return stats.median(figures) end
S["stats.range"] = function() return stats.range(figures) end
S["stats.lgamma"] = function() return stats.lgamma(0.3) end
S["stats.betainc"] = function() return stats.betainc(2.5, 0.5, 0.3) end
S["stats.t_cdf"] = function() return stats.t_cdf(1.5, 4) end
S["stats.t_quantile"] = function() return stats.t_quantile(0.975, 4) end
S["stats.interval"] = function() return stats.interval(figures) end
S["stats.by_seed"] = function() return stats.by_seed(rows, "v")[2] end
S["stats.values"] = function() return stats.values(stats.by_seed(rows, "v")) end
S["stats.paired"] = function() return stats.paired({ 1.0, 2.0, 3.0 }, { 1.5, 2.0, 2.5 }, function(a, b) return a - b end) end
S["stats.tost"] = function() return stats.tost({ 0.1, 0.0, -0.1 }, -1, 1) end
S["stats.verdict"] = function() return stats.verdict({ 1.0, 2.0, 3.0 }, { 1.5, 2.0, 2.5 }) end

local runs = {}
for seed = 1, 3 do
  for i, technique in ipairs{ "baseline", "scr_zero" } do
    runs[#runs + 1] = { technique = technique, seed = seed, status = "ok", ["repeat"] = 1, interrupted = false,
                        test_top1_pct = 90.0 + seed - i, duration_train_s = 4.0 + i + seed / 10 }
  end
end
S["compare.others_share"] = function() return wattle.compare.others_share(runs, 2) end
S["compare.summary"] = function()
  local e = { rows = runs, columns = wattle.results.runs, cases = { { technique = "baseline" }, { technique = "scr_zero" } } }
  local out = wattle.compare.summary(e, { by = { "technique" }, baseline = { technique = "baseline" },
                                          differences = { "test_top1_pct" }, ratios = { "duration_train_s" } })
  return out
end

local results, text, cli, progress = wattle.results, wattle.table, wattle.cli, wattle.progress
local columns = { { name = "run_id", type = "text" }, { name = "loss", type = "number" } }
S["results.names"] = function() return results.names(columns) end
S["results.find"] = function() return results.find(columns, "loss").name end
S["results.is_identifier"] = function() return results.is_identifier "a" end
S["results.identifier"] = function() return results.identifier("3f", "host-") end
S["results.utf8"] = function() return results.utf8 "a\xff" end
S["results.decimal"] = function() return results.decimal("%.3f", 0.5) end
S["results.is_metered"] = function() return results.is_metered "energy_j" end
S["results.cell"] = function() return results.cell(columns[2], 0.1) end
S["results.line"] = function() return results.line(columns, { run_id = "a", loss = 0.5 }) end
S["results.header"] = function() return results.header(columns) end
S["results.extend"] = function() return #results.extend(columns, { { "more", "integer" } }) end
S["results.write"] = function() return results.write(scratch, columns, { { run_id = "a", loss = 0.5 } }) end
S["results.read"] = function()
  local ok, message, code = results.write(path "read.csv", columns, { { run_id = "a", loss = 0.5 } })
  if not ok then return nil, message, code end
  return results.read(path "read.csv", columns)
end
S["table.render"] = function() return text.render({ "a", "b" }, { { 1, 2 } }) end
S["table.number"] = function() return text.number(1.5, 3) end
S["table.spread"] = function() return text.spread(stats.interval(figures)) end
S["table.count"] = function() return text.count(1234567) end
local spec = { name = "x", about = "y", options = { { "epochs", "integer", 3, "how often" } } }
S["cli.read"] = function() return cli.read(spec, { "--epochs", "4" }).epochs end
S["cli.help"] = function() return cli.help(spec) end
S["cli.main"] = function() return cli.main(spec, { "--epochs=5" }).epochs end
S["progress.duration"] = function() return progress.duration(100) end
local function bar() return progress.new{ total = 2, label = "x", enabled = false } end
S["progress.new"] = function() return bar():close() end
-- Up to where gnuplot would be run: a program for each allocation would take minutes.
S["plot"] = function()
  local drawn, message, code = wattle.plot{
    file = "/dev/null/a.svg", title = "t", log = "y", lines = { { x = 1, label = "a" } },
    series = { { name = "a", x = { 1, 2 }, y = { 1, 2 }, low = { 1, 1 }, high = { 2, 3 } } } }
  if not drawn and code ~= "memory" then return message end
  return drawn, message, code
end

-- What they read was written by an experiment, once; gnuplot is not run here either.
local reported = path "reported"
assert(wattle.experiment{ name = "small", out = reported, factors = { technique = { "baseline", "other" } }, seeds = { 1, 2, 3 },
                          progress = false, meter = { source = "off" }, run = function(case)
  return { test_top1_pct = 90.0 + case.seed, epoch_rows = { { epoch = 1, val_top1_pct = 80.0 }, { epoch = 2, val_top1_pct = 81.0 } } }
end })
local pictures, report = wattle.pictures, wattle.report
local read_folder = require "wattle.folder".read
local function undrawn(drawn, message, code)
  if not drawn and code ~= "memory" then return message end
  return drawn, message, code
end
S["pictures.factors"] = function()
  local e, message, code = read_folder(reported)
  if not e then return nil, message, code end
  return pictures.factors(e)
end
S["pictures.label"] = function() return pictures.label({ technique = "scr_zero", level = 8.0, level_unit = "bits" }, { "technique", "level" }) end
S["pictures.axis"] = function() return pictures.axis "energy_j" end
S["pictures.summary"] = function()
  local e, message, code = read_folder(reported)
  if not e then return nil, message, code end
  return pictures.summary(e).rows[1].test_top1_pct
end
S["pictures.draw"] = function() return undrawn(pictures.draw(reported, { into = "/dev/null/x" })) end
S["pictures.power"] = function() return undrawn(pictures.power(reported, "a", scratch .. ".svg")) end
S["summary"] = function() return tostring(wattle.summary(net, { input = { 2, 3 }, print = false })) end
S["report.html"] = function() return report.html(reported, { pictures = false }) end
S["report.write"] = function() return report.write(reported, path "report.html", { pictures = false }) end

require "sweep_weights"(S, path)
require "sweep_attention"(S, path)
require "sweep_activations"(S, path)
require "sweep_blocks"(S, path)
require "sweep_images"(S, path)
require "sweep_loader"(S, path)
require "sweep_zoo"(S, path)

return function()
  local region_of = meter()
  S["module:compile"]() -- which completes the methods of plans
  return S, {
    tensor = x, parameter = weight, ["symbolic value"] = value(), trace = core.trace(), stamp = core.stamp(), plan = plan(),
    meter = region_of, region = region_of:region "x", module = net, dataset = dataset,
  }
end
