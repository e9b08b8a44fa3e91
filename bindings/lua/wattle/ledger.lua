-- Adds up what the regions of one run cost. A ledger stands where a meter is expected (fit's meter
-- option): ledger:region(name) opens a region of the meter and books its result under the name when it ends.
-- A region's own share excludes regions nested in it, so that stages add up; "whole" figures include them.
local core = require("wattle").core

local ledger = {}

local Ledger = {}
Ledger.__index = Ledger

local Region = {}
Region.__index = Region

local EARLIER = "interrupted: a part ran in an earlier process"

function ledger.new(meter)
  return setmetatable({ meter = meter, entries = {}, order = {}, open = {}, spans = {} }, Ledger)
end

-- Sums stay whole microseconds and microjoules, as the meter's figures are.
local function add(entry, field, value)
  if value ~= nil then entry[field] = math.floor(((entry[field] or 0) + value) * 1e6 + 0.5) / 1e6 end
end

-- A sum that one stretch is missing from is missing.
local function lose(entry, reason)
  if not entry.lost and reason ~= "" then entry.reason = reason end
  entry.method, entry.lost, entry.energy_j, entry.whole_j = "missing", true, nil, nil
end

local function lose_estimate(entry)
  entry.no_estimate, entry.energy_est_j, entry.whole_est_j = true, nil, nil
end

-- Counters and a model's figure never share a column. r is a region's result, or one of its domains. One stretch
-- without a whole reading makes the sum missing; missing_s says how long was not read.
local function book_energy(entry, r)
  local estimated, missing_s = r.method == "estimated", r.missing_s or 0
  if missing_s > 0 or not estimated then add(entry, "missing_s", r.missing_s) end
  if not entry.lost then entry.method = entry.method or r.method end
  if not r.energy_est_j or estimated and missing_s > 0 then lose_estimate(entry) end
  if not entry.no_estimate then -- a model resolves everything
    add(entry, "energy_est_j", r.exclusive_est_j)
    add(entry, "whole_est_j", r.energy_est_j)
  end
  if estimated and missing_s == 0 then
    if not entry.lost then entry.reason = "no counter: modelled from CPU time" end
  elseif r.below_resolution and not estimated then
    lose(entry, "below resolution")
  elseif r.method == "missing" or missing_s > 0 or not r.energy_j then
    lose(entry, r.reason)
  elseif not entry.lost then
    add(entry, "energy_j", r.exclusive_j)
    add(entry, "whole_j", r.energy_j)
  end
end

-- Each domain of each source is a sum of its own.
local function book_domains(entry, r)
  entry.domains = entry.domains or {}
  for _, d in ipairs(r.domains or {}) do
    if d.source == "off" then break end -- its one domain stands for none
    local key = d.source .. "/" .. d.domain
    local sum = entry.domains[key]
    if not sum then
      sum = { source = d.source, domain = d.domain, summed = d.summed }
      entry.domains[key] = sum
      table.insert(entry.domains, sum)
    end
    book_energy(sum, d)
    if sum.method == "estimated" and r.method ~= "estimated" then sum.reason = "modelled from CPU time" end
  end
end

local function book(self, name, r)
  local entry = self.entries[name]
  if not entry then
    entry = { region = name }
    self.entries[name] = entry
    table.insert(self.order, name)
  end
  add(entry, "duration_s", r.exclusive_s)
  add(entry, "whole_s", r.duration_s)
  add(entry, "cpu_s", r.cpu_s)
  add(entry, "other_cpu_s", r.other_cpu_s)
  add(entry, "steal_s", r.steal_s)
  book_energy(entry, r)
  book_domains(entry, r)
  return entry
end

function Ledger:region(name)
  local span = { name = name, from = core.now(), to = math.huge }
  local region = setmetatable({ ledger = self, name = name, inner = self.meter:region(name), span = span }, Region)
  table.insert(self.spans, span)
  table.insert(self.open, region)
  return region
end

-- The meter's watts now; nil without counters, or of a meter that has none.
function Ledger:power()
  local meter = self.meter
  if type(meter.power) == "function" then return (meter:power()) end
end

-- Ends the region, and those still open inside it, innermost first. Idempotent; returns the result.
function Region:stop()
  local open = self.ledger.open
  while not self.result do
    local last = table.remove(open)
    last.result = last.inner:stop()
    last.span.to = core.now()
    book(last.ledger, last.name, last.result)
  end
  return self.result
end
Region.__close = Region.stop

-- Books a stretch that an earlier process ran: its time, where it is known. What its energy was is lost.
function Ledger:book_before(name, duration_s)
  local entry = book(self, name, { exclusive_s = duration_s, duration_s = duration_s, method = "missing",
                                   reason = EARLIER })
  entry.domains = {} -- none is the whole's
end

-- A region that holds more than this process knows of: no figure is the whole's.
function Ledger:lose(name)
  local entry = self.entries[name]
  if entry then
    self.entries[name] = { region = name, method = "missing", lost = true, no_estimate = true, reason = EARLIER,
                           domains = {} }
  end
end

-- The innermost region that was open at a time of core.now(); nil where none was.
function Ledger:region_at(now)
  for i = #self.spans, 1, -1 do
    local span = self.spans[i]
    if span.from <= now and now < span.to then return span.name end
  end
end

-- The entry of a region, or an empty table where there was none.
function Ledger:entry(name)
  return self.entries[name] or {}
end

return ledger
