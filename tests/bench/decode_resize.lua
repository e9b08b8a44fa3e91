-- Wattle's half of decode_resize.py: reads "N" from standard input and answers with the seconds of N rounds over the files
-- given, each decoded to RGB and scaled so that its shorter side is SIZE (0: decoded only). One thread.
--   wattle decode_resize.lua SIZE FILTER FILE...
local wattle = require "wattle"
local core, data = wattle.core, wattle.data

local size, filter = math.tointeger(arg[1]), arg[2]
local files = table.move(arg, 3, #arg, 1, {})
for line in io.lines() do
  local before = core.now()
  for _ = 1, tonumber(line) do
    for _, file in ipairs(files) do
      local picture <close> = assert(data.image(file))
      if size > 0 then local small <close> = data.resize(picture, { size = size, interpolation = filter }) end
    end
  end
  io.write(core.now() - before, "\n")
  io.flush()
end
