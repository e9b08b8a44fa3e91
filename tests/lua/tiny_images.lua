-- Small made-up images in Fashion-MNIST's form, for tests of protocols: ten classes, told by a bright band, in noise.
local core = require("wattle").core

local tiny = {}

local noise
do
  local random = core.permutation(1, "test", "noise", 0, 4096):tolist()
  noise = {}
  for i, v in ipairs(random) do noise[i] = string.char(v % 160) end
  noise = table.concat(noise):rep(2)
end

local function image(i, class)
  local rows = {}
  for r = 0, 27 do
    local from = (i * 131 + r * 977) % 4096 + 1
    local band = r >= 4 + 2 * class and r < 6 + 2 * class
    rows[#rows + 1] = band and (i * 7 + r) % 5 > 0 and ("\220"):rep(28) or noise:sub(from, from + 27)
  end
  return table.concat(rows)
end

local function write_idx(folder, prefix, n)
  local images, labels = {}, {}
  for i = 1, n do
    local class = (i * 7 + i // 10) % 10
    images[i], labels[i] = image(i, class), string.char(class)
  end
  local path = ("%s/%s"):format(folder, prefix)
  assert(core.write_file(path .. "-images-idx3-ubyte", string.pack(">I4I4I4I4", 0x803, n, 28, 28)
                         .. table.concat(images)))
  assert(core.write_file(path .. "-labels-idx1-ubyte", string.pack(">I4I4", 0x801, n) .. table.concat(labels)))
end

-- The four files, in a folder that is there.
function tiny.write(folder, train, test)
  write_idx(folder, "train", train)
  write_idx(folder, "t10k", test)
end

return tiny
