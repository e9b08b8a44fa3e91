-- The allocation-failure sweep's scenarios for files of tensors: see test_sweep.lua.
local core = require "wattle.core"
local wattle = require "wattle"

return function(S, path)
  local x = wattle.arange(6):reshape(2, 3)
  S.all_finite = function() return core.all_finite(x) end
  S.save_safetensors = function()
    return core.save_safetensors(path "own.npz", { a = x }, { k = "v" }), core.sha256_file(path "own.npz")
  end
end
