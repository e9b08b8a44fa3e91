-- The allocation-failure sweep's scenarios for pictures: see test_sweep.lua.
local wattle = require "wattle"
local core, data = wattle.core, wattle.data
local jpeg, png = "tests/golden/images/exif6.jpg", "tests/golden/images/palette4-interlaced.png"

return function(S)
  local picture = wattle.full({ 3, 5, 4, dtype = "u8" }, 9)
  S.image_load = function() return core.image_load(jpeg, 1) end
  S.image_resize = function() return core.image_resize(picture, 3, 9, "bicubic", 0.5, 0, 4, 5) end
  S["data.image"] = function() return data.image(png) end
  S["data.resize"] = function() return data.resize(picture, { size = 7, box = { 0, 0.5, 3, 4 } }) end
end
