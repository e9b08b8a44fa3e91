-- A tree of counters under /sys/class/powercap as the kernel shows them, for tests that run.sh started. Files are
-- replaced whole (written beside and renamed), so that no reader ever sees half a number, as none does of sysfs.
local core = require("wattle").core
local fake = {}

fake.root = "/sys/class/powercap"
fake.range_uj = 262143328850 -- of a package whose step is 61 uJ

-- "intel-rapl:0:1" lies in intel-rapl/intel-rapl:0.
function fake.path(zone, file)
  local kind, top, sub = zone:match "^([%w-]+):(%x+):?(%x*)$"
  local folder = ("%s/%s/%s:%s"):format(fake.root, kind, kind, top)
  if sub ~= "" then folder = folder .. "/" .. zone end
  return folder .. (file and "/" .. file or "")
end

function fake.write(zone, file, text)
  local path = fake.path(zone, file)
  local out = assert(io.open(path .. ".new", "w"))
  assert(out:write(text, "\n"))
  assert(out:close())
  assert(os.rename(path .. ".new", path))
end

local function mkdirs(path)
  for at in path:gmatch "()/" do
    if at > 1 and not core.exists(path:sub(1, at - 1)) then assert(core.mkdir(path:sub(1, at - 1))) end
  end
  if not core.exists(path) then assert(core.mkdir(path)) end
end

-- {{zone, name, energy_uj, range_uj}, ...}; energy_uj false: there is no such file.
function fake.tree(zones)
  assert(os.execute("rm -rf " .. fake.root))
  mkdirs(fake.root)
  for _, z in ipairs(zones) do
    mkdirs(fake.path(z[1]))
    fake.write(z[1], "name", z[2])
    fake.write(z[1], "max_energy_range_uj", ("%d"):format(z[4] or fake.range_uj))
    if z[3] ~= false then fake.write(z[1], "energy_uj", ("%d"):format(z[3] or 1000000)) end
  end
end

-- As the sum of all energy_uj is known to the test, it writes whole values.
function fake.set(zone, uj) fake.write(zone, "energy_uj", ("%d"):format(uj)) end

return fake
