-- Layers against PyTorch's float64 (tests/golden/layers, written by make_layers.py), in compiled plans: output, gradients
-- of the input and of every parameter, and running statistics after the step. The reference in f64 to 1e-10, every
-- provider in f32 to 1e-5 forward and 1e-4 backward (norm-relative).

local wattle = require "wattle"
local core, nn, ops = wattle.core, wattle.nn, wattle.ops
local t = require "harness"
local test, check, equal, raises = t.test, t.check, t.equal, t.raises

local here = debug.getinfo(1, "S").source:match "^@(.-)[^/]*$"
local backends = { "reference", "blas" }
if core.build_info():match "providers:[^\n]*onednn" then backends[3] = "onednn" end

-- case -> what -> name -> tensor
local function read(name)
  local cases = {}
  for key, tensor in pairs(assert(wattle.load(here .. "../golden/layers/" .. name .. ".safetensors"))) do
    if type(key) == "string" then
      local case, what, part = key:match "^([^.]+)%.([^.]+)%.(.+)$"
      cases[case] = cases[case] or {}
      cases[case][what] = cases[case][what] or {}
      cases[case][what][part] = tensor
    end
  end
  return cases
end

local function norm(tensor)
  return math.sqrt((tensor * tensor):sum():item())
end

local function near(got, want, bound, what)
  equal(got:shape(), want:shape())
  local err = norm(got:to "f64" - want) / math.max(norm(want), 1e-6)
  check(err <= bound, ("%s is %.2e off"):format(what, err))
end

-- One step of model with the loss sum(out * dout), whose gradient of out is dout, and everything compared.
local function compare(model, case, dtype, backend)
  local forward, backward = 1e-10, 1e-10
  if dtype == "f32" then forward, backward = 1e-5, 1e-4 end
  model:load_state_dict(case.param, { strict = true })
  local x, dout = case["in"]["0"]:to(dtype), case.dout["0"]:to(dtype)
  local target = dout:shape()
  target.dtype = dtype
  local plan = model:compile{ input = x:shape(), target = target, dtype = dtype, backend = backend,
                              loss = function(y, target) return ops.sum(y * target) end, gradients = true }
  near(plan:forward(x, dout), case.out["0"], forward, "output")
  plan:step(x, dout)
  local g = plan:gradients()
  near(g.inputs[1], case.din["0"], backward, "gradient of the input")
  for _, entry in ipairs(model:parameters()) do
    near(g.parameters[entry.name], case.din[entry.name], backward, "gradient of " .. entry.name)
  end
  for _, entry in ipairs(model:buffers()) do
    near(entry.param:tensor(), case.after[entry.name], forward, entry.name)
  end
  return plan
end

-- make(case, name) -> a model. then_(plan, name, backend), if given, sees the f32 plans.
local function against_pytorch(file, make, then_)
  for name, case in pairs(read(file)) do
    test(("%s, %s, in f64"):format(file, name), function()
      local model = make(case, name)
      compare(model:to "f64", case, "f64", "reference")
    end)
    for _, backend in ipairs(backends) do
      test(("%s, %s, on %s"):format(file, name, backend), function()
        local plan = compare(make(case, name), case, "f32", backend)
        if then_ then then_(plan, name, backend) end
      end)
    end
  end
end

-- ---- attention -----------------------------------------------------------------------------------------------

local heads = { heads = 3, one_head = 1, no_bias = 4 }

against_pytorch("attention", function(case, name)
  return nn.MultiheadAttention{ embed_dim = case["in"]["0"]:size(2), num_heads = heads[name], bias = name ~= "no_bias" }
end)

test("attention begins as torch.nn's", function()
  local m = nn.initialise(nn.MultiheadAttention{ embed_dim = 96, num_heads = 4 }, 5)
  local names = {}
  for i, entry in ipairs(m:parameters()) do names[i] = entry.name end
  equal(names, { "in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias" })
  local dict = m:state_dict()
  local bound = math.sqrt(6 / (4 * 96))
  local largest = dict.in_proj_weight:abs():max()
  check(largest <= bound and largest > 0.99 * bound, largest)
  largest = dict["out_proj.weight"]:abs():max()
  check(largest <= 1 / math.sqrt(96) and largest > 0.99 / math.sqrt(96), largest)
  check(norm(dict.in_proj_bias) == 0 and norm(dict["out_proj.bias"]) == 0)
end)

test("attention's plan meets other batch sizes, and dropout drops in training alone", function()
  local m = nn.initialise(nn.MultiheadAttention{ embed_dim = 8, num_heads = 2, dropout = 0.5 }, 5)
  local x = wattle.randn{ 5, 3, 8 }
  local plan = m:compile{ input = { 2, 3, 8 } }
  near(plan:forward(x), m:eval()(x):to "f64", 1e-5, "batch of 5")
  local trained = m:train():compile{ input = { 5, 3, 8 }, target = { 5, 3, 8, dtype = "f32" },
                                     loss = function(y, target) return nn.mse_loss(y, target) end }
  check(norm(trained:forward(x, x) - plan:forward(x)) > 1e-3, "nothing was dropped")
  check(trained:describe():find "dropout", "no dropout in the plan")
end)

test("attention's mistakes", function()
  raises(function() nn.MultiheadAttention{ embed_dim = 8, num_heads = 3 } end, "num_heads = 3 must divide embed_dim = 8")
  raises(function() nn.MultiheadAttention{ embed_dim = 8 } end, "num_heads must be an integer of at least 1, got nil")
  raises(function() nn.MultiheadAttention{ embed_dim = 8, num_heads = 2, dropout = 1 } end, "dropout = 1 would drop everything")
  raises(function() nn.MultiheadAttention{ embed_dim = 8, num_heads = 2, dropout = -0.1 } end, "from 0 to 1, got %-0.1")
  raises(function() nn.MultiheadAttention{ embed_dim = 8, num_heads = 2, batch_first = true } end, "unknown option 'batch_first'")
  raises(function() nn.MultiheadAttention{ embed_dim = 8, num_heads = 2, bias = 0 } end, "bias must be true or false")
  local m = nn.MultiheadAttention{ embed_dim = 8, num_heads = 2 }
  raises(function() m(wattle.zeros{ 2, 8 }) end, "x is %[2,8%]; it must be %(N,S,8%)")
  raises(function() m(wattle.zeros{ 2, 3, 9 }) end, "x is %[2,3,9%]")
  equal(tostring(m), "MultiheadAttention(\n  embed_dim=8, num_heads=2, dropout=0, bias=True\n"
        .. "  (out_proj): Linear(in_features=8, out_features=8, bias=True)\n)")
end)

-- ---- batch normalization that keeps its running statistics in training -----------------------------------------

local Half = nn.class "Half"
function Half:init(relu)
  self.conv1 = nn.Conv2d{ in_channels = 8, out_channels = 8, kernel_size = 3, padding = 1 }
  self.bn1 = nn.BatchNorm2d{ num_features = 8 }
  self.conv2 = nn.Conv2d{ in_channels = 8, out_channels = 16, kernel_size = 3, stride = 2, padding = 1, bias = false }
  self.bn2 = nn.BatchNorm2d{ num_features = 16 }
  self.relu = relu
end
function Half:forward(x)
  local function norm1(y)
    local b = self.bn1
    return ops.batch_norm(y, b.weight, b.bias, b.running_mean, b.running_var, { eps = b.eps })
  end
  local y = norm1(self.conv1(x))
  return self.bn2(self.conv2(self.relu and nn.relu(y) or y))
end

against_pytorch("frozen_norm", function(_, name) return Half(name == "relu") end, function(plan, _, backend)
  if backend ~= "onednn" then return end
  local _, blocked = plan:describe():gsub("batch_norm +onednn +%S+ +%[[%d,]+%] aBcd%d+b", "")
  equal(blocked, 5) -- forward and backward of both, and the commit of one
end)
