-- nn/activations.lua and nn.LayerNorm: what they compute, their options, and their like in plans of every layout.

local wattle = require "wattle"
local core, nn = wattle.core, wattle.nn
local t = require "harness"
local test, check, equal, near, raises = t.test, t.check, t.equal, t.near, t.raises

local function worst(a, b)
  local d = (a - b):abs()
  return d:max()
end

test("layers are their ops, and print as PyTorch's", function()
  local x = wattle.randn{ 2, 4, 7, 5 } * 3
  for name, op in pairs{ ReLU = "relu", ReLU6 = "relu6", SiLU = "silu", Hardswish = "hardswish", Hardsigmoid = "hardsigmoid",
                         GELU = "gelu" } do
    check(nn[name]()(x):equal(nn[op](x)), name)
    if name ~= "GELU" then equal(tostring(nn[name]()), name .. "()") end
  end
  check(nn.GELU{ approximate = "tanh" }(x):equal(nn.gelu(x, { tanh = true })))
  check(not nn.gelu(x, { tanh = true }):equal(nn.gelu(x)) and worst(nn.gelu(x, { tanh = true }), nn.gelu(x)) < 1e-3)
  equal(tostring(nn.GELU()), "GELU(approximate='none')")
  equal(tostring(nn.StochasticDepth{ p = 0.25 }), "StochasticDepth(p=0.25, mode=row)")
  equal(tostring(nn.LayerNorm{ normalized_shape = 6, eps = 1e-6 }), "LayerNorm((6,), eps=1e-06, elementwise_affine=True)")
  equal(tostring(nn.LayerNorm{ normalized_shape = { 7, 5 }, elementwise_affine = false }),
        "LayerNorm((7, 5), eps=1e-05, elementwise_affine=False)")
end)

test("hand-computed values", function()
  local x = wattle.tensor{ -4, -1, 0, 1, 4, 8 }
  check(nn.relu6(x):equal(wattle.tensor{ 0, 0, 0, 1, 4, 6 }))
  local function like(got, want) check(worst(got, wattle.tensor(want)) < 1e-6) end
  like(nn.hardswish(x), { 0, -1 / 3, 0, 2 / 3, 4, 8 })
  like(nn.hardsigmoid(x), { 0, 1 / 3, 1 / 2, 2 / 3, 1, 1 })
  like(nn.silu(x), { -0.0719448398, -0.2689414214, 0, 0.7310585786, 3.9280551602, 7.9973171981 })
  like(nn.gelu(x), { -0.0001266850, -0.1586552539, 0, 0.8413447461, 3.9998733150, 8 })
end)

test("LayerNorm normalizes each row", function()
  local norm = nn.LayerNorm{ normalized_shape = { 3, 5 } }
  norm:to "f64"
  local x = wattle.randn{ 4, 3, 5, dtype = "f64" } * 3 + 7
  local y = norm(x)
  check(y:mean{ 1, 2 }:abs():max() < 1e-12)
  check((((y * y):mean{ 1, 2 }) - 1):abs():max() < 1e-4)
  equal(norm:state_dict().weight:shape(), { 3, 5 })
  equal(norm:state_dict().bias:shape(), { 3, 5 })
  norm.weight:assign(wattle.full({ 3, 5, dtype = "f64" }, 2))
  norm.bias:assign(wattle.full({ 3, 5, dtype = "f64" }, 0.5))
  check(worst(norm(x), y * 2 + 0.5) < 1e-12)
  check(worst(nn.LayerNorm{ normalized_shape = { 3, 5 }, elementwise_affine = false }(x), y) == 0)
  check(worst(nn.LayerNorm{ normalized_shape = 5 }:to "f64"(x), nn.layer_norm(x)) == 0)
end)

test("what they refuse", function()
  raises(function() nn.SiLU{ inplace = true } end, "nn.SiLU: unknown option 'inplace'")
  raises(function() nn.GELU{ approximate = "erf" } end, 'nn.GELU: approximate must be "none" or "tanh", got erf')
  raises(function() nn.GELU{ aproximate = "tanh" } end, "did you mean 'approximate'")
  raises(function() nn.StochasticDepth() end, "options go into one table")
  raises(function() nn.StochasticDepth{} end, "p must be a number from 0 to 1, got nil")
  raises(function() nn.StochasticDepth{ p = 1.5 } end, "p must be a number from 0 to 1, got 1.5")
  raises(function() nn.StochasticDepth{ p = 0.5, mode = "rows" } end, 'mode must be "row" or "batch", got rows')
  raises(function() nn.LayerNorm{ normalized_shape = {} } end, "normalized_shape is empty")
  raises(function() nn.LayerNorm{ normalized_shape = { 3, 0 } } end, "at least 1, got 0")
  raises(function() nn.LayerNorm{ normalised_shape = 3 } end, "did you mean 'normalized_shape'")
  raises(function() nn.LayerNorm{ normalized_shape = 3, eps = -1 } end, "eps must be a number from 0 to 1")
  local norm = nn.LayerNorm{ normalized_shape = { 3, 5 }, elementwise_affine = false }
  raises(function() norm(wattle.randn{ 4, 5, 3 }) end, "x is %[4,5,3%]; it must end in normalized_shape {3,5}")
  raises(function() norm(wattle.randn{ 5 }) end, "x is %[5%]; it must end in normalized_shape {3,5}")
end)

-- One factor a sample: how many there are and what a sample holds.
local function factors(y)
  local seen, n = {}, y:shape()[1]
  for i = 0, n - 1 do
    local one = y:select(0, i)
    check(one:min() == one:max(), "a sample is kept or dropped whole")
    seen[i + 1] = one:max()
  end
  return seen
end

test("stochastic depth drops whole samples", function()
  local n, p = 4000, 0.25
  local drop, x = nn.StochasticDepth{ p = p }, wattle.ones{ n, 2, 3 }
  local function dropped(y)
    local count = 0
    for _, f in ipairs(factors(y)) do
      if f == 0 then count = count + 1 else near(f, 1 / (1 - p), 1e-6) end
    end
    return count
  end
  wattle.manual_seed(5)
  local first = drop(x)
  check(math.abs(dropped(first) - n * p) <= 5 * math.sqrt(n * p * (1 - p)))
  check(not drop(x):equal(first), "another call, another draw")
  wattle.manual_seed(5)
  check(drop(x):equal(first), "the same seed, the same draw")
  check(drop:eval()(x):equal(x))
  check(nn.StochasticDepth{ p = 1 }(x):max() == 0 and nn.StochasticDepth{ p = 0 }(x):equal(x))

  local whole, together = nn.StochasticDepth{ p = 0.5, mode = "batch" }, { 0, 0 }
  for _ = 1, 200 do
    local y = whole(x)
    check(y:min() == y:max(), "one draw for the batch")
    together[y:max() == 0 and 1 or 2] = together[y:max() == 0 and 1 or 2] + 1
  end
  check(math.abs(together[1] - 100) <= 36, together[1])
end)

test("stochastic depth drops the same samples in every layout and on any number of threads", function()
  local net = nn.initialise(nn.Sequential{ nn.Conv2d{ in_channels = 3, out_channels = 17, kernel_size = 3 },
                                           nn.StochasticDepth{ p = 0.5 } }, 1)
  local x, before = wattle.randn{ 33, 3, 9, 9 }, core.threads()
  local function run(backend, threads)
    core.threads(threads)
    local plan = net:compile{ input = { 33, 3, 9, 9 }, mode = "train", backend = backend, seed = 4 }
    local y = plan:forward(x)
    core.threads(before)
    return nn.eq(y, wattle.zeros{ 1 }), plan
  end
  local want = run("reference", 1)
  local kept = 0
  for _, f in ipairs(factors(want)) do kept = kept + (f == 0 and 1 or 0) end
  check(kept >= 5 and kept <= 28, kept)
  local got, plan = run("auto", 3)
  check(got:equal(want))
  local layout = plan:describe():match "conv2d +onednn +%S+ +%S+ (aBcd%S+)"
  if layout then check(plan:describe():find("stochastic_depth +reference plain +%S+ " .. layout), "no reorder before it") end
end)

test("forward and backward drop the same samples", function()
  local n = 64
  local Net = nn.class "Net"
  function Net:init()
    self.alpha = nn.Parameter(wattle.ones{ n, 3 })
    self.drop = nn.StochasticDepth{ p = 0.5 }
  end
  function Net:forward(x) return self.drop(x * self.alpha) end
  local model = Net():to "f64"
  local plan = model:compile{ input = { n, 3 }, target = { n, 3, dtype = "f64" }, gradients = true, dtype = "f64", seed = 9,
                              loss = function(out, y) return (out * y):sum() end }
  local x, y = wattle.ones{ n, 3, dtype = "f64" }, wattle.ones{ n, 3, dtype = "f64" }
  local value = plan:step(x, y)
  local gradient = plan:gradients().parameters.alpha
  near(gradient:sum():item(), value, 1e-9 * math.abs(value))
  check(gradient:count_nonzero() > 0 and gradient:count_nonzero() < 3 * n)
  factors(gradient)
end)

test("activations in a plan agree with those at once, in every backend", function()
  local net = nn.initialise(nn.Sequential{
    nn.Conv2d{ in_channels = 3, out_channels = 17, kernel_size = 3 }, nn.SiLU(),
    nn.Conv2d{ in_channels = 17, out_channels = 24, kernel_size = 3 }, nn.GELU(),
    nn.Conv2d{ in_channels = 24, out_channels = 17, kernel_size = 3 }, nn.ReLU6(),
    nn.Conv2d{ in_channels = 17, out_channels = 17, kernel_size = 1 }, nn.Hardswish(), nn.Hardsigmoid(),
    nn.GELU{ approximate = "tanh" }, nn.LayerNorm{ normalized_shape = { 3, 3 } } }, 1)
  local x = wattle.randn{ 2, 3, 9, 9 }
  local want = net(x)
  for _, backend in ipairs{ "reference", "auto" } do
    local got = net:compile{ input = { 2, 3, 9, 9 }, mode = "eval", backend = backend }:forward(x)
    check(worst(got, want) < 1e-4, backend)
  end
end)
