-- Counters that rise by a known curve: package-0 by 20 W and dram-0 by 3 W, for 3 s. With a folder as its argument the
-- package swings besides, until there is a file FOLDER/stop (or for 600 s), and what was written stands in
-- FOLDER/written.csv: t_s on the clock of core.now(), and the sum of both counters at that time.
package.path = arg[0]:match "^(.*)/" .. "/?.lua;" .. package.path
local fake = require "fake"
local core = require("wattle").core

local written = arg[1] and assert(io.open(arg[1] .. "/written.csv", "w"))
if written then
  written:setvbuf "full"
  written:write "t_s,sum_uj\n"
end
local begun = core.now()

-- Microjoules after t seconds: the integral of 20 W + 15 W sin(t) and of 3 W.
local function package_uj(t) return 5000000 + math.floor(1e6 * (20 * t + (written and 15 * (1 - math.cos(t)) or 0))) end
local function dram_uj(t) return 100 + math.floor(3e6 * t) end

local stop = arg[1] and arg[1] .. "/stop"
while core.now() - begun < 600 and not (stop and core.exists(stop)) do
  local t = core.now() - begun
  local package, dram = package_uj(t), dram_uj(t)
  fake.set("intel-rapl:0", package % fake.range_uj)
  fake.set("intel-rapl:0:2", dram % fake.range_uj)
  if written then written:write(("%.6f,%d\n"):format(begun + t, package + dram)) end
  if not stop and t > 3 then break end
  core.sleep(0.002)
end
if written then written:close() end
