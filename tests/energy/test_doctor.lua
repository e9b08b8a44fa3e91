-- wattle doctor on machines that this test makes up: trees of counters, and /proc/cpuinfo. Started by run.sh.
local wattle = require "wattle"
local fake = require "fake"
local t = require "harness"
local test, check, equal = t.test, t.check, t.equal
local core = wattle.core

local program = os.getenv "WATTLE_PROGRAM"
local scratch = os.tmpname()
local BARE = "setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-all --ambient-caps=-all "

local function doctor(options, before)
  local pipe = io.popen(("%s'%s' doctor --seconds 0.2 %s 2>&1"):format(before or "", program, options or ""))
  local text = pipe:read "a"
  local ok, _, code = pipe:close()
  return text, ok and 0 or code
end

local function says(text, ...)
  for _, want in ipairs { ... } do check(text:find(want, 1, true), ("no '%s' in:\n%s"):format(want, text)) end
end

local function no_line_is_longer(text, n)
  for line in text:gmatch "[^\n]+" do
    check(utf8.len(line) <= n or line:find "udev/rules", ("%d columns: %s"):format(utf8.len(line), line))
  end
end

-- The processor's description, for the rest of this test.
local function processor(vendor, flags)
  local file = assert(io.open(scratch, "w"))
  file:write(vendor and "vendor_id\t: " .. vendor .. "\n" or "", "model name\t: Made Up 9000\nflags\t\t: fpu ", flags or "", "\n\n")
  file:close()
  assert(os.execute("umount /proc/cpuinfo 2>/dev/null; mount --bind " .. scratch .. " /proc/cpuinfo"))
end

local TREE = {
  { "intel-rapl:0", "package-0", 5000000 }, { "intel-rapl:0:0", "core", 4000000 }, { "intel-rapl:0:2", "dram", 100 },
  { "intel-rapl:0:b", "accel", 1 }, { "intel-rapl:1", "psys", 7 }, { "intel-rapl-mmio:0", "package-0", 5000000 },
}

test("counters that work", function()
  fake.tree(TREE)
  local text, code = doctor "--measured"
  equal(code, 0, text)
  says(text, "powercap  works       0.00 W now: package + dram", "estimate  works",
       "package-0       0.00 W  intel-rapl:0    summed", "core-0          0.00 W  intel-rapl:0:0  inside the package",
       'intel-rapl:0:b  0.00 W  intel-rapl:0:b  unknown ("accel"), not added',
       "psys            0.00 W  intel-rapl:1    the whole machine, not added",
       "the same again: intel-rapl-mmio:0 (package-0), not counted again", "instruction sets", "gnuplot")
  check(not text:find("what to do", 1, true), text)
  no_line_is_longer(text, 110)
end)

test("watts", function()
  fake.tree(TREE)
  local rise = arg[0]:gsub("test_doctor", "rise")
  assert(os.execute(("'%s' '%s' &"):format(program, rise))) -- for 3 s
  local text
  text = doctor "--seconds 1"
  local sum = tonumber(text:match "works%s+([%d.]+) W")
  check(sum > 20 and sum < 26, text)
  os.execute "sleep 2.5" -- its files are the next test's
end)

test("a counter that goes away meanwhile: no watts from the part that was read", function()
  fake.tree(TREE)
  local text, code = doctor("--seconds 1 --measured", ("(sleep 0.5; rm %s) & "):format(fake.path("intel-rapl:0", "energy_uj")))
  equal(code, 1, text)
  says(text, "powercap  in part     no sum of package + dram: package-0: energy_uj: No such file", "package-0       missing")
end)

test("counters that may not be read", function()
  fake.tree(TREE)
  assert(os.execute("chmod 000 " .. fake.path("intel-rapl:0:2", "energy_uj")))
  local text, code = doctor("", BARE)
  equal(code, 0, text)
  says(text, "powercap  in part     no sum of package + dram: dram-0: energy_uj: Permission denied",
       "dram-0          missing  intel-rapl:0:2  dram-0: energy_uj: Permission denied", "package-0        0.00 W",
       "Why counters are missing", "CVE-2020-8694")
  assert(os.execute("chmod 000 " .. fake.path("intel-rapl:0", "energy_uj")))
  text, code = doctor("", BARE)
  equal(code, 0, text)
  says(text, "powercap  no          no package or dram counter can be read: package-0: energy_uj: Permission denied",
       "CVE-2020-8694", "sudo usermod -aG rapl", 'RUN+="/bin/chgrp rapl %S%p/energy_uj"', "/etc/udev/rules.d/",
       "sudo udevadm trigger", "sudo chmod a+r /sys/class/powercap/*/energy_uj", "CAP_DAC_READ_SEARCH")
  no_line_is_longer(text, 110)
  text, code = doctor("--measured", BARE)
  equal(code, 1)
end)

test("no counters: a virtual machine, another processor, no driver", function()
  assert(os.execute("rm -rf " .. fake.root))
  processor("GenuineIntel", "sse2 hypervisor avx")
  local text, code = doctor()
  equal(code, 0)
  says(text, "powercap  no          /sys/class/powercap: No such file or directory", "This is a virtual machine", "bare-metal")
  processor(nil)
  says(doctor(), "This processor (Made Up 9000) is not known to have RAPL counters")
  processor("AuthenticAMD", "sse2 avx")
  text = doctor()
  if core.exists "/sys/module/intel_rapl_msr" then says(text, "The driver is loaded, and shows no")
  else says(text, "The kernel's driver of the counters is not loaded", "sudo modprobe intel_rapl_msr") end
end)

test("a container's mask", function()
  processor("GenuineIntel", "sse2 hypervisor")
  assert(core.mkdir(fake.root))
  local real = "/sys/devices/virtual/powercap"
  if core.exists(real) then
    assert(os.execute("mount -t tmpfs mask " .. real))
    says(doctor(), "This container hides the counters", "systempaths=unconfined")
  elseif core.exists "/.dockerenv" then -- no such folder to mask in this kernel: the empty tree tells
    processor("GenuineIntel", "sse2")
    says(doctor(), "This container hides the counters", "systempaths=unconfined")
  end
end)

test("help and mistakes", function()
  local text, code = doctor "--help"
  equal(code, 0)
  says(text, "Usage: wattle doctor", "--measured", "Exit code")
  text, code = doctor "--mesured"
  equal(code, 2)
  says(text, "did you mean '--measured'?")
end)

os.execute "umount /proc/cpuinfo 2>/dev/null"
os.remove(scratch)
