-- The allocation-failure sweep's scenarios for layers of several ops: see test_sweep.lua.
local wattle = require "wattle"
local nn = wattle.nn

return function(S, _)
  S["nn.MultiheadAttention"] = function()
    local made = nn.initialise(nn.MultiheadAttention{ embed_dim = 4, num_heads = 2 }, 5)
    return tostring(made), made(wattle.full({ 2, 3, 4 }, 0.5))
  end
end
