-- Scenarios of the sweep: what fine-tuning needs. See sweep_scenarios.lua.
local wattle = require "wattle"
local nn = wattle.nn

local function net()
  local model = nn.Sequential{ nn.Conv2d{ in_channels = 1, out_channels = 2, kernel_size = 1 }, nn.BatchNorm2d{ num_features = 2 } }
  return nn.initialise(model, 1)
end

return function(S)
  S["module:freeze"] = function() return net():freeze("^1%.", { statistics = true }) end
  S["module:unfreeze"] = function()
    local model = net()
    return model:freeze("", { statistics = true }) + model:unfreeze "^0%."
  end
end
