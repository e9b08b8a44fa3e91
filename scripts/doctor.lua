-- What this machine can measure, and what to do where it can't: wattle doctor. Looks, waits a second to read the counters,
-- prints; changes nothing.

local wattle = require "wattle"
local cli = require "wattle.cli"
local text = require "wattle.table"
local core = wattle.core

local spec = {
  name = "doctor",
  about = "Says which energy sources work here, what they read now, and, for each that does not work, why and what to do. "
    .. "Then what computes (threads, kernels, instruction sets) and whether pictures can be drawn. Changes nothing.",
  options = {
    { "seconds", "number", 1, "how long to read the counters", value = "S", min = 0.1, max = 60 },
    { "measured", "flag", false, "exit with 1 unless energy can be measured: the estimate does not count" },
  },
  notes = "Exit code: 0 if a source works, 1 if none does, 2 for a mistake in the options.\n",
}

local ROOT = "/sys/class/powercap"
local RULES = "/etc/udev/rules.d/60-wattle-rapl.rules"

---- looking around ----

local function read(path)
  local file <close> = io.open(path)
  return file and file:read "a" or ""
end

-- What the advice depends on.
local function look()
  local cpu, mounts = read "/proc/cpuinfo", read "/proc/self/mountinfo"
  local model = cpu:match "model name%s*:%s*([^\n]+)"
  local vendor = cpu:match "vendor_id%s*:%s*(%S+)"
  return {
    model = model, rapl = vendor == "GenuineIntel" or vendor == "AuthenticAMD" or vendor == "HygonGenuine",
    virtual = (" " .. (cpu:match "flags%s*:%s*([^\n]+)" or "") .. " "):find(" hypervisor ", 1, true) ~= nil,
    podman = core.exists "/run/.containerenv",
    container = core.exists "/.dockerenv" or core.exists "/run/.containerenv"
      or read("/proc/1/environ"):find("container=", 1, true) ~= nil,
    masked = mounts:find(" /sys/devices/virtual/powercap ", 1, true) ~= nil,
    tree = core.exists(ROOT), zones = #(core.listdir(ROOT) or {}),
    module = core.exists "/sys/module/intel_rapl_msr" or core.exists "/sys/module/intel_rapl_tpmi",
    root = read("/proc/self/status"):match "Uid:%s+%d+%s+(%d+)" == "0",
  }
end

---- why not, and what to do ----

-- %S is /sys, %p the zone's path below it.
local RULE = [[ACTION=="add", SUBSYSTEM=="powercap", KERNEL=="intel-rapl*", ]]
  .. [[RUN+="/bin/chgrp rapl %S%p/energy_uj", RUN+="/bin/chmod g+r %S%p/energy_uj"]]

local advice = {}

function advice.build()
  return "This build has no libpowercap.",
    { "Install it and build again:", "  sudo apt-get install libpowercap-dev" }
end

function advice.permission(here)
  local todo = {}
  if here.root then
    todo = { "This process is root without root's right to read everything (CAP_DAC_READ_SEARCH).", "" }
  end
  if here.container then
    table.move({
      "In a container the files keep the host's owner and mode: do what follows on the host, and start the",
      "container with the group's number: --group-add \"$(getent group rapl | cut -d: -f3)\"", "" }, 1, 3, #todo + 1, todo)
  end
  local steps = {
    "For good, for the members of a group (log in again afterwards):",
    "  sudo groupadd --system --force rapl",
    "  sudo usermod -aG rapl \"$USER\"",
    "  echo '" .. RULE .. "' | sudo tee " .. RULES,
    "  sudo udevadm control --reload",
    "  sudo udevadm trigger --action=add --subsystem-match=powercap",
    "Or until the next boot, for everybody:",
    "  sudo chmod a+r " .. ROOT .. "/*/energy_uj",
    "Or run the program as root.",
    "Whoever reads the counters may learn secrets of other processes from them (PLATYPUS): give them to people",
    "you trust." }
  return "The counters are there and may not be read: since Linux 5.10 (CVE-2020-8694) energy_uj is root's alone.",
    table.move(steps, 1, #steps, #todo + 1, todo)
end

function advice.mask(here)
  return "This container hides the counters: an empty folder lies over /sys/devices/virtual/powercap.",
    here.podman and { "Start the container with", "  podman run --security-opt unmask=/sys/devices/virtual/powercap ..." }
    or { "Start the container with", "  docker run --security-opt systempaths=unconfined ...",
         "(podman: --security-opt unmask=/sys/devices/virtual/powercap), or measure on the host." }
end

function advice.virtual()
  return "This is a virtual machine, and hypervisors do not pass the processor's energy counters on.",
    { "There is nothing to set up inside it. To measure energy, run on the host",
      "itself or on a bare-metal machine (cloud providers call such instances",
      "\"metal\"). Here reports compare time, not energy." }
end

function advice.processor(here)
  return ("This processor (%s) is not known to have RAPL counters."):format(here.model or "unknown"),
    { "To measure energy, run on an Intel processor from Sandy Bridge on (2011) or an AMD one from Zen on (2017)." }
end

function advice.module()
  return "The kernel's driver of the counters is not loaded.",
    { "Load it now, and at every boot:", "  sudo modprobe intel_rapl_msr",
      "  echo intel_rapl_msr | sudo tee /etc/modules-load.d/wattle.conf",
      "(AMD's processors use it too, from Linux 5.11 on.) If there is no such module, the kernel was built without",
      "CONFIG_INTEL_RAPL; your distribution's own kernel has it." }
end

function advice.zones()
  return "The driver is loaded, and shows no package or dram counter.",
    { "Look at what there is:", "  grep . " .. ROOT .. "/*/name",
      "A kernel that is older than the processor does not know its counters: try a newer one." }
end

function advice.gone()
  return "The counters' files are incomplete.",
    { "Look at what there is, and at what the kernel says:", "  ls -l " .. ROOT .. "/*/energy_uj",
      "  sudo dmesg | grep -i rapl" }
end

-- The reason and the steps that fit what the source said and what is here.
local function diagnose(message, code, here)
  if message:find("no libpowercap", 1, true) then return advice.build() end
  if message:find("ermission denied", 1, true) then return advice.permission(here) end
  if code == "io" then return advice.gone() end
  if here.masked or (here.container and here.tree and not here.virtual) then return advice.mask(here) end
  if here.virtual then return advice.virtual() end
  if not here.rapl then return advice.processor(here) end
  if not here.module then return advice.module() end
  return advice.zones()
end

---- printing ----

local function heading(s) print("\n" .. s) end

local function watts(j, s) return ("%.2f W"):format(j / s) end

-- What each source says now: its line of the table.
local function powercap_line(x)
  if x.energy_j and x.missing_s == 0 then
    return "works", watts(x.energy_j, x.duration_s) .. " now: package + dram, by the processor's counters (RAPL)"
  end
  return "in part", "no sum of package + dram: " .. x.reason
end

local function estimate_line(x, meter)
  local told = meter:describe()
  local full, how = told:match "tdp_w: (%S+) %((%a+)"
  return "works", ("%s now: a model of CPU time, %s W at full load (%s); no measurement"):format(
    watts(x.energy_est_j, x.duration_s), full, how)
end

-- Where a domain lies, for those that are in no sum.
local function belongs(d, name)
  if d.summed then return "summed" end
  if d.domain == "psys" then return "the whole machine, not added" end
  if d.domain:find "^intel%-rapl" then return ("unknown (\"%s\"), not added"):format(name) end
  return "inside the package"
end

local function print_domains(x, meter)
  local zone, called = {}, {}
  for domain, where, name in meter:describe():gmatch '\nzone: (%S+) (%S+) "([^"]*)"' do
    zone[domain], called[domain] = where, name
  end
  local rows, broken = {}, nil
  for i, d in ipairs(x.domains) do
    local good = d.energy_j and d.missing_s == 0
    rows[i] = { d.domain, good and watts(d.energy_j, x.duration_s) or "missing", zone[d.domain] or "",
                good and belongs(d, called[d.domain]) or d.reason }
    if not good then broken = broken or d.reason end
  end
  heading(("Counters, read for %.3g s"):format(x.duration_s))
  io.write(text.render({ "domain", "power", { "zone", "left" }, { "what it is", "left" } }, rows))
  for mirror in meter:describe():gmatch "\nmirror: ([^\n]+)" do print("the same again: " .. mirror) end
  return broken
end

local function print_advice(reason, todo)
  print("  " .. reason)
  for _, line in ipairs(todo) do print(line == "" and "" or "  " .. line) end
end

local function print_machine()
  local build = {}
  for key, value in core.build_info():gmatch "([^\n:]+):[ \t]*([^\n]*)" do build[key] = value end
  heading "Computing"
  local rows = {
    { "  processor", build.cpu }, { "  instruction sets", build.instruction_sets },
    { "  threads", ("%d of %s processors"):format(core.threads(), build.processors) },
    { "  kernels", (build.providers or ""):gsub(" ", ", ") .. " (the first that can takes an op)" },
    { "  version", ("%s, %s, %s"):format(build.version, build.git, build.compiler) },
  }
  for _, row in ipairs(rows) do print(("%-20s%s"):format(row[1], row[2] or "NA")) end
  heading "Pictures"
  local pipe <close> = io.popen "gnuplot --version 2>/dev/null"
  local version = pipe:read "l"
  print("  " .. (version or "gnuplot is not installed; without it scripts and data are written, and no pictures:"))
  if not version then print "    sudo apt-get install gnuplot-nox" end
end

---- the whole ----

local o = cli.main(spec, arg)

local here = look()
local meters, failure = {}, {}
for _, name in ipairs { "powercap", "estimate" } do
  local meter, message, code = wattle.meter { source = name }
  meters[name] = meter
  if not meter then failure[name] = { message = (message:gsub("^meter: ", ""):gsub("^powercap: ", "")), code = code } end
end

local regions, result = {}, {}
for name, meter in pairs(meters) do regions[name] = meter:region "doctor" end
core.sleep(math.max(o.seconds, 0.1))
for name, region in pairs(regions) do result[name] = region:stop() end

local rows, measured, works = {}, false, false
for _, name in ipairs { "powercap", "estimate" } do
  local state, says = "no", failure[name] and failure[name].message
  if result[name] then
    state, says = (name == "powercap" and powercap_line or estimate_line)(result[name], meters[name])
  end
  works = works or state == "works"
  measured = measured or (name == "powercap" and state == "works")
  rows[#rows + 1] = { name, state, says }
end
rows[#rows + 1] = { "replay", "on request", "a recorded trace: wattle.meter{source = \"replay\", trace = \"FILE.csv\"}" }
rows[#rows + 1] = { "off", "on request", "reads nothing" }
io.write(text.render({ "source", { "state", "left" }, { "what it says", "left" } }, rows))

local broken = result.powercap and print_domains(result.powercap, meters.powercap)
if failure.powercap or broken then
  heading(failure.powercap and "Why powercap does not work here, and what to do" or "Why counters are missing, and what to do")
  local f = failure.powercap or { message = broken, code = "io" }
  print_advice(diagnose(f.message, f.code, here))
end

print_machine()
for _, meter in pairs(meters) do meter:close() end
local good = works
if o.measured then good = measured end
os.exit(good and 0 or 1, true)
