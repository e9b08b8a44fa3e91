-- The allocation-failure sweep's scenarios for nn/blocks.lua: see test_sweep.lua.
local wattle = require "wattle"
local nn = wattle.nn

return function(S, _)
  local made = {
    Conv2dNormActivation = { in_channels = 2, out_channels = 3, stride = 2 },
    SqueezeExcitation = { input_channels = 2, squeeze_channels = 3 }, Permute = { dims = { 0, 2, 3, 1 } },
  }
  for name, o in pairs(made) do
    S["nn." .. name] = function()
      local layer = nn.initialise(nn[name](o), 5):eval()
      return tostring(layer), layer(wattle.full({ 2, 2, 4, 4 }, 0.5))
    end
  end
  S["nn.make_divisible"] = function() return nn.make_divisible(35.2) end
end
