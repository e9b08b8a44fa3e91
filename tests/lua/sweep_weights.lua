-- The allocation-failure sweep's scenarios for files of tensors: see test_sweep.lua.
local core = require "wattle.core"
local wattle = require "wattle"

-- Loads, or gives wattle.load's own failure.
local function loaded(path)
  local dict, message, code = wattle.load(path)
  if not dict then return nil, message, code end
  return core.sha256_dict(dict)
end

return function(S, path)
  local x = wattle.arange(6):reshape(2, 3)
  local load, save = S.load, S.save
  S.load = function()
    for _, name in ipairs{ "numpy/deflated.npz", "numpy/f8_fortran.npy", "numpy/u4_fortran_big.npy", "numpy/odd.safetensors" } do
      local sum, message, code = loaded("tests/golden/" .. name)
      if not sum then return nil, message, code end
    end
    return load()
  end
  S.save = function()
    for _, name in ipairs{ "swept.npz", "swept.npy" } do
      local saved, message, code = wattle.save(path(name), { a = x:transpose(0, 1) })
      if not saved then return nil, message, code end
    end
    return save()
  end
  S.all_finite = function() return core.all_finite(x) end
  S.save_safetensors = function()
    return core.save_safetensors(path "own.npz", { a = x }, { k = "v" }), core.sha256_file(path "own.npz")
  end
end
