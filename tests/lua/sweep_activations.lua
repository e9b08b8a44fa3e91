-- The allocation-failure sweep's scenarios for nn/activations.lua and nn.LayerNorm: see test_sweep.lua.
local wattle = require "wattle"
local nn = wattle.nn

return function(S, _)
  local made = {
    ReLU6 = {}, SiLU = {}, Hardswish = {}, Hardsigmoid = {}, GELU = { approximate = "tanh" },
    StochasticDepth = { p = 0.5, mode = "batch" }, LayerNorm = { normalized_shape = { 2, 3 }, eps = 0.1 },
  }
  for name, o in pairs(made) do
    S["nn." .. name] = function()
      local layer = nn.initialise(nn[name](o), 5)
      wattle.manual_seed(3) -- stochastic depth's draws are counted from it
      return tostring(layer), layer(wattle.full({ 4, 2, 3 }, 0.5))
    end
  end
end
