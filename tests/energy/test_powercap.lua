-- Source powercap through the real libpowercap, on trees that this test builds: started by run.sh.
local wattle = require "wattle"
local fake = require "fake"
local t = require "harness"
local test, check, equal, raises = t.test, t.check, t.equal, t.raises
local core = wattle.core

local program = os.getenv "WATTLE_PROGRAM"
local scratch = os.tmpname()

-- Regions here are only as long as the counters need to be resolved.
local function pass() core.sleep(0.012) end

local function meter(o)
  o = o or {}
  o.source = o.source or "powercap"
  o.period_s = o.period_s or 3600 -- only at the ends of regions, unless the test says otherwise
  return assert(wattle.meter(o))
end

-- What fn costs, and its domains by name.
local function metered(m, fn)
  local r <close> = m:region "r"
  fn()
  pass()
  local x = r:stop()
  local by_name = {}
  for _, d in ipairs(x.domains) do
    check(not by_name[d.domain], "twice: " .. d.domain)
    by_name[d.domain] = d
  end
  return x, by_name
end

local function names(x)
  local out = {}
  for i, d in ipairs(x.domains) do out[i] = d.domain .. (d.summed and "+" or "") end
  return table.concat(out, " ")
end

local TWO = {
  { "intel-rapl:0", "package-0", 5000000 }, { "intel-rapl:0:0", "core", 4000000 }, { "intel-rapl:0:1", "uncore", 7 },
  { "intel-rapl:0:2", "dram", 100, 65712999613 }, { "intel-rapl:1", "package-1", 900000000 },
  { "intel-rapl:1:0", "core", 800000000 }, { "intel-rapl:1:2", "dram", 0, 65712999613 },
  { "intel-rapl:2", "psys", 123456789 },
}

test("two packages and psys: package + dram are the sum, nothing else", function()
  fake.tree(TWO)
  local m <close> = meter()
  local x, d = metered(m, function()
    fake.set("intel-rapl:0", 6000000)
    fake.set("intel-rapl:0:0", 4700000)
    fake.set("intel-rapl:0:1", 57)
    fake.set("intel-rapl:0:2", 200100)
    fake.set("intel-rapl:1", 902000000)
    fake.set("intel-rapl:1:2", 30000)
    fake.set("intel-rapl:2", 129456789)
  end)
  equal(names(x), "package-0+ core-0 uncore-0 dram-0+ package-1+ core-1 dram-1+ psys")
  equal(x.method, "measured")
  equal(x.energy_j, 1 + 0.2 + 2 + 0.03)
  equal(x.energy_est_j, nil)
  equal(d["core-0"].energy_j, 0.7)
  equal(d["uncore-0"].energy_j, 50e-6)
  equal(d["core-1"].energy_j, 0.0)
  equal(d["dram-1"].energy_j, 0.03)
  equal(d.psys.energy_j, 6.0)
  equal(x.missing_s, 0.0)
  check(m:describe():find("summed: package-0 dram-0 package-1 dram-1\n", 1, true), m:describe())
end)

test("auto: counters with the estimate beside them", function()
  fake.tree(TWO)
  local m <close> = meter { source = "auto" }
  local x = metered(m, function() fake.set("intel-rapl:1", 900500000) end)
  equal(x.method, "measured")
  equal(x.energy_j, 0.5)
  check(x.energy_est_j > 0)
  equal(x.domains[#x.domains].source, "estimate")
  equal(x.domains[#x.domains].energy_j, nil)
end)

test("over a wrap", function()
  fake.tree { { "intel-rapl:0", "package-0", fake.range_uj - 1000 }, { "intel-rapl:0:2", "dram", 65712999613, 65712999613 } }
  local m <close> = meter()
  local x, d = metered(m, function()
    fake.set("intel-rapl:0", 500000)
    fake.set("intel-rapl:0:2", 0) -- a 0 that is read
  end)
  equal(x.energy_j, 0.501)
  equal(d["dram-0"].energy_j, 0.0)
end)

test("over many wraps in one region, by the sampler alone", function()
  local range = 20000000 -- 20 J: 10 ms at 2000 W
  fake.tree { { "intel-rapl:0", "package-0", 0, range } }
  local m <close> = meter { period_s = 3600 }
  check(tonumber(m:describe():match "period_s: ([%d.e-]+)") <= 0.0025, m:describe())
  local passed = 0
  local r = m:region "r"
  local from = core.now()
  for _ = 1, 60 do
    passed = passed + 3000000
    fake.set("intel-rapl:0", passed % range)
    core.sleep(0.005)
  end
  local x = r:stop()
  if x.missing_s == 0 then -- else this machine was too busy for one sample in 10 ms, and the meter says so
    equal(x.energy_j, 180.0)
  else
    check(x.reason:find "not read for" and core.now() - from > 0.3, x.reason)
    check((x.energy_j or 0) < 180)
  end
end)

test("a range that may pass between two samples: missing, not guessed", function()
  fake.tree { { "intel-rapl:0", "package-0", 10, 1500 } } -- within 1 us at 2000 W
  local m <close> = meter()
  local x = metered(m, function() fake.set("intel-rapl:0", 1000) end)
  equal(x.method, "missing")
  equal(x.energy_j, nil)
  check(x.reason:find("package-0: not read for", 1, true), x.reason)
end)

test("a register that is set back is no wrap", function()
  fake.tree { { "intel-rapl:0", "package-0", 100000000000 } }
  local m <close> = meter()
  local x = metered(m, function() fake.set("intel-rapl:0", 5) end)
  equal(x.method, "missing")
  check(x.reason:find("package-0: was set back", 1, true), x.reason)
  equal(metered(m, function() fake.set("intel-rapl:0", 1000005) end).energy_j, 1.0)
end)

test("a vanished file: missing from then on, and again there when it returns", function()
  fake.tree(TWO)
  local m <close> = meter()
  local whole = m:region "whole"
  local x, d = metered(m, function() fake.set("intel-rapl:0:2", 1000100) end)
  equal(x.energy_j, 1.0)
  os.remove(fake.path("intel-rapl:0:2", "energy_uj"))
  for _ = 1, 2 do
    x, d = metered(m, function() end)
    equal(x.method, "missing")
    equal(x.energy_j, nil)
    equal(x.reason, "dram-0: energy_uj: No such file or directory")
    equal(x.missing_s, x.duration_s)
    equal(d["dram-0"].method, "missing")
    equal(d["dram-0"].energy_j, nil)
    equal(d["dram-0"].reason, x.reason)
    equal(d["package-0"].energy_j, 0.0)
    equal(d["package-0"].reason, "")
  end
  x, d = metered(m, function() -- it returns in this one: the gap is nobody's
    fake.set("intel-rapl:0:2", 9000100)
    fake.set("intel-rapl:0", 8000000)
  end)
  equal(x.method, "missing")
  equal(d["dram-0"].energy_j, nil)
  equal(d["package-0"].energy_j, 3.0)
  x = metered(m, function() fake.set("intel-rapl:0:2", 9500100) end)
  equal(x.energy_j, 0.5)
  equal(x.missing_s, 0.0)
  local all = whole:stop()
  equal(all.energy_j, 1.5) -- what was read; missing_s says how much that leaves out
  check(all.missing_s > 0.03 and all.reason:find "dram%-0")
end)

test("a whole zone that vanishes", function()
  fake.tree(TWO)
  local m <close> = meter()
  os.execute("rm -r " .. fake.path "intel-rapl:1")
  local x, d = metered(m, function() fake.set("intel-rapl:0", 5500000) end)
  equal(x.method, "missing")
  equal(d["package-1"].method, "missing")
  equal(d["package-0"].energy_j, 0.5)
end)

test("what is no number is missing: empty, a word, beyond the range", function()
  for text, reason in pairs { [""] = "holds no number", abc = "holds no number", ["-5"] = "beyond its range",
                              ["99999999999999"] = "beyond its range" } do
    fake.tree(TWO)
    local m <close> = meter()
    local x, d = metered(m, function() fake.write("intel-rapl:0", "energy_uj", text) end)
    equal(x.method, "missing")
    equal(d["package-0"].energy_j, nil)
    check(x.reason:find(reason, 1, true), ("'%s': %s"):format(text, x.reason))
  end
  fake.tree(TWO)
  fake.write("intel-rapl:0", "max_energy_range_uj", "0")
  local m <close> = meter()
  local x = metered(m, function() end)
  check(x.reason:find("package-0: max_energy_range_uj: holds no number", 1, true), x.reason)
  equal(x.energy_j, nil)
end)

test("gaps, hexadecimal instances and unknown zones", function()
  fake.tree {
    { "intel-rapl:0", "package-0", 0 }, { "intel-rapl:0:b", "dram", 0 }, { "intel-rapl:0:4", "accelerator", 0 },
    { "intel-rapl:3", "package-1", 0 }, { "intel-rapl:1f", "package-2", 0 }, { "intel-rapl:5", "gpu cards", 0 },
    { "intel-rapl:5:0", "dram", 0 },
  }
  assert(core.mkdir(fake.root .. "/intel-rapl/power")) -- what else sysfs keeps there
  assert(core.mkdir(fake.root .. "/intel-rapl/intel-rapl:zz"))
  local m <close> = meter()
  local x, d = metered(m, function()
    for i, zone in ipairs { "intel-rapl:0", "intel-rapl:0:b", "intel-rapl:0:4", "intel-rapl:3", "intel-rapl:1f",
                            "intel-rapl:5", "intel-rapl:5:0" } do
      fake.set(zone, 10 ^ (i - 1) // 1 | 0)
    end
  end)
  equal(names(x), "package-0+ intel-rapl:0:4 dram-0+ package-1+ intel-rapl:5 intel-rapl:5:0 package-2+")
  equal(math.floor(x.energy_j * 1e6 + 0.5), 11011)
  equal(d["intel-rapl:0:4"].energy_j, 100e-6)
  equal(d["intel-rapl:5:0"].energy_j, 1.0)
  check(m:describe():find('zone: intel-rapl:5 intel-rapl:5 "gpu_cards"', 1, true), m:describe())
end)

test("what is there twice is counted once", function()
  fake.tree {
    { "intel-rapl:0", "package-0", 0 }, { "intel-rapl:0:0", "dram", 0 }, { "intel-rapl:1", "package-0", 0 },
    { "intel-rapl:1:0", "dram", 0 }, { "intel-rapl-mmio:0", "package-0", 0 }, { "intel-rapl-mmio:0:0", "dram", 0 },
  }
  local m <close> = meter()
  local x = metered(m, function()
    for _, zone in ipairs { "intel-rapl:0", "intel-rapl:1", "intel-rapl-mmio:0" } do fake.set(zone, 2000000) end
    for _, zone in ipairs { "intel-rapl:0:0", "intel-rapl:1:0", "intel-rapl-mmio:0:0" } do fake.set(zone, 300000) end
  end)
  equal(names(x), "package-0+ dram-0+")
  equal(x.energy_j, 2.3)
  check(m:describe():find("mirror: intel-rapl-mmio:0:0 (dram-0), not counted again", 1, true), m:describe())
end)

test("dies: those that show one register are one, those with their own are two", function()
  fake.tree { { "intel-rapl:0", "package-0-die-0", 700 }, { "intel-rapl:1", "package-0-die-1", 700 } }
  local m = meter()
  local x = metered(m, function()
    fake.set("intel-rapl:0", 1000700)
    fake.set("intel-rapl:1", 1000700)
  end)
  m:close()
  equal(names(x), "package-0-die-0+")
  equal(x.energy_j, 1.0)
  fake.tree { { "intel-rapl:0", "package-0-die-0", 700 }, { "intel-rapl:1", "package-0-die-1", 90700 } }
  m = meter()
  x = metered(m, function()
    fake.set("intel-rapl:0", 1000700)
    fake.set("intel-rapl:1", 1090700)
  end)
  m:close()
  equal(x.energy_j, 2.0)
end)

test("intel-rapl-mmio alone is taken", function()
  fake.tree { { "intel-rapl-mmio:0", "package-0", 0 } }
  local m <close> = meter()
  equal(metered(m, function() fake.set("intel-rapl-mmio:0", 2000000) end).energy_j, 2.0)
end)

test("where it does not work, why", function()
  local function refused(code, text)
    local m, message, got = wattle.meter { source = "powercap" }
    equal(m, nil)
    equal(got, code)
    check(message:find(text, 1, true), message)
    local auto <close> = wattle.meter {}
    check(auto:describe():find("^source: estimate\n") and auto:describe():find("without: powercap: ", 1, true),
          auto:describe())
    local x = metered(auto, function() end)
    equal(x.energy_j, nil)
    equal(x.method, "estimated")
  end
  assert(os.execute("rm -rf " .. fake.root))
  refused("unsupported", "/sys/class/powercap: No such file or directory")
  assert(core.mkdir(fake.root)) -- a container's mask, or no driver
  refused("unsupported", "has neither a package nor a dram zone")
  fake.tree { { "intel-rapl:0", "psys", 5 } }
  refused("unsupported", "has neither a package nor a dram zone")
  fake.tree { { "intel-rapl:0", "package-0", false } }
  refused("io", "package-0: energy_uj: No such file or directory")
  -- A zone without a name may be the other package: half a sum is none.
  fake.tree(TWO)
  assert(os.remove(fake.path("intel-rapl:1", "name")))
  refused("io", "intel-rapl:1: name: No such file or directory")
  fake.write("intel-rapl:1", "name", "")
  refused("io", "intel-rapl:1: name: is empty")
  fake.write("intel-rapl:1", "name", "package-1")
  assert(os.remove(fake.path("intel-rapl:0:2", "name")))
  refused("io", "intel-rapl:0:2: name: No such file or directory")
  fake.write("intel-rapl:0:2", "name", ("long"):rep(30)) -- none of RAPL's, so in no sum
  local m <close> = meter()
  equal(names((metered(m, function() end))), "package-0+ core-0 uncore-0 intel-rapl:0:2 package-1+ core-1 dram-1+ psys")
end)

test("energies over different domains do not get into one table", function()
  local out = os.tmpname()
  os.remove(out)
  local function go(stop)
    return pcall(wattle.experiment, { name = "domains", out = out, factors = { a = { 1, 2 } }, seeds = { 1 }, resume = true,
      idle_s = 0, progress = false, run = function(case)
        if case.a == stop then error("interrupted!", 0) end
        pass()
        return { loss = 0.5 }
      end })
  end
  fake.tree(TWO)
  check(not go(2))
  fake.tree { { "intel-rapl:0", "package-0", 0 }, { "intel-rapl:1", "package-1", 0 } } -- dram is gone
  local ok, result, message = go()
  check(ok and not result)
  check(message:find("energy_domains was 'package-0 dram-0 package-1 dram-1', now it is 'package-0 package-1'", 1, true), message)
  fake.tree(TWO)
  ok, result, message = go()
  check(ok and result, message)
  equal(#result.rows, 2)
  os.execute(("rm -rf '%s'"):format(out))
end)

-- ---- in a process of its own -----------------------------------------------------------------------------------

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

-- What a script says, started by a command in which %s stands for its path.
local function said(command, script)
  local path = scratch .. ".lua"
  write(path, script)
  local pipe = io.popen(command:gsub("PROGRAM", program):gsub("SCRIPT", path) .. " 2>&1")
  local text = pipe:read "a"
  local ok = pipe:close()
  os.remove(path)
  check(ok, command .. ": " .. text)
  return text
end

local PRINT = [[
local wattle = require "wattle"
local function report(source)
  local m, message, code = wattle.meter{ source = source, period_s = 0.01 }
  if not m then print(source, code, message) return end
  local r = m:region "r"
  wattle.core.sleep(0.05)
  local x = r:stop()
  print(source, x.method, x.energy_j, x.reason)
  for _, d in ipairs(x.domains) do print(d.source, d.domain, d.summed, d.method, d.energy_j, d.reason) end
  m:close()
end
report "powercap"
report "auto"
]]

test("an absent zone is missing however the program is started: descriptor 0 is none", function()
  fake.tree { { "intel-rapl:0", "package-0", 5 }, { "intel-rapl:0:0", "core", 5 }, { "intel-rapl:0:1", "uncore", false },
              { "intel-rapl:0:2", "dram", false } }
  local want = said("'PROGRAM' SCRIPT </dev/null", PRINT)
  check(want:find("powercap\tdram-0\ttrue\tmissing\tnil\tdram-0: energy_uj: No such file or directory", 1, true), want)
  check(want:find("powercap\tuncore-0\tfalse\tmissing\tnil\tuncore-0: energy_uj: No such", 1, true), want)
  check(want:find("powercap\tpackage-0\ttrue\tmeasured\t0.0\t", 1, true), want)
  check(want:find("powercap\tmissing\tnil\tdram-0", 1, true), want)
  equal(said("'PROGRAM' - < SCRIPT", PRINT), want)
  equal(said("'PROGRAM' SCRIPT <&-", PRINT), want)
  equal(said("exec 2>&1; 'PROGRAM' SCRIPT <&- 2>&-", PRINT), want)
end)

test("so it is in the stock interpreter, which leaves descriptor 0 closed", function()
  if (os.getenv "WATTLE_SANITIZE" or "") ~= "" then return end -- a sanitized module needs a sanitized interpreter
  fake.tree { { "intel-rapl:0", "package-0", 5 }, { "intel-rapl:0:2", "dram", false } }
  local lua = ("LUA_CPATH_5_4='%s/?.so' lua5.4 SCRIPT"):format(os.getenv "WATTLE_BUILD")
  local text = said(lua .. " <&-", PRINT)
  check(text:find("powercap\tdram-0\ttrue\tmissing\tnil\tdram-0: energy_uj: No such file", 1, true), text)
  check(text:find("powercap\tpackage-0\ttrue\tmeasured\t0.0\t", 1, true), text)
end)

-- Root without the right to read what it may not.
local BARE = "setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-all --ambient-caps=-all "

local GUARD = [[
local f = io.open "/sys/class/powercap/intel-rapl/intel-rapl:0/secret"
assert(not f, "this process reads what it may not: the test proves nothing")
]]

local function secret()
  fake.write("intel-rapl:0", "secret", "x")
  assert(os.execute("chmod 000 " .. fake.path("intel-rapl:0", "secret")))
end

test("no permission: every counter", function()
  fake.tree(TWO)
  secret()
  for _, z in ipairs(TWO) do assert(os.execute("chmod 000 " .. fake.path(z[1], "energy_uj"))) end
  local text = said(BARE .. "'PROGRAM' SCRIPT", GUARD .. PRINT)
  check(text:find("powercap\tio\tmeter: powercap: no package or dram counter can be read: package-0: energy_uj: Permission denied",
                  1, true), text)
  check(text:find("auto\testimated\tnil\t", 1, true), text)
end)

test("no permission: one counter", function()
  fake.tree(TWO)
  secret()
  assert(os.execute("chmod 000 " .. fake.path("intel-rapl:1:2", "energy_uj")))
  local text = said(BARE .. "'PROGRAM' SCRIPT", GUARD .. PRINT)
  check(text:find("powercap\tmissing\tnil\tdram-1: energy_uj: Permission denied", 1, true), text)
  check(text:find("powercap\tpackage-1\ttrue\tmeasured\t0.0\t", 1, true), text)
  check(text:find("powercap\tdram-1\ttrue\tmissing\tnil\tdram-1: energy_uj: Permission denied", 1, true), text)
end)

test("no permission: a folder", function()
  fake.tree(TWO)
  secret()
  assert(os.execute("chmod 000 " .. fake.root))
  local text = said(BARE .. "'PROGRAM' SCRIPT", GUARD .. PRINT)
  check(text:find("powercap\tio\tmeter: powercap: /sys/class/powercap: Permission denied", 1, true), text)
end)

test("permission that is taken away and given back while a meter runs", function()
  fake.tree(TWO)
  secret()
  local text = said(BARE .. "'PROGRAM' SCRIPT", GUARD .. [[
local wattle = require "wattle"
local m = wattle.meter{ source = "powercap", period_s = 0.01 }
local path = "/sys/class/powercap/intel-rapl/intel-rapl:0/energy_uj"
for _, mode in ipairs{ "444", "000", "444", "444" } do
  local r = m:region "r"
  wattle.core.sleep(0.05)
  os.execute(("chmod %s %s"):format(mode, path))
  wattle.core.sleep(0.05)
  local x = r:stop()
  print(mode, x.method, x.missing_s > 0, x.missing_s < x.duration_s, x.reason)
end]])
  equal(text, "444\tmeasured\tfalse\ttrue\t\n"
    .. "000\tmeasured\ttrue\ttrue\tpackage-0: energy_uj: Permission denied\n"
    .. "444\tmeasured\ttrue\ttrue\tpackage-0: energy_uj: Permission denied\n"
    .. "444\tmeasured\tfalse\ttrue\t\n")
end)

os.remove(scratch)
