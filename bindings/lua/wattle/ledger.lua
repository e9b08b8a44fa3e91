-- Adds up what the regions of one run cost. A ledger stands where a meter is expected (fit's meter
-- option): ledger:region(name) opens a region of the meter and books its result under the name when it ends.
-- A region's own share excludes regions nested in it, so that stages add up; "whole" figures include them.
local ledger = {}

local Ledger = {}
Ledger.__index = Ledger

local Region = {}
Region.__index = Region

function ledger.new(meter)
  return setmetatable({ meter = meter, entries = {}, order = {}, open = {} }, Ledger)
end

-- Sums stay whole microseconds and microjoules, as the meter's figures are.
local function add(entry, field, value)
  if value ~= nil then entry[field] = math.floor(((entry[field] or 0) + value) * 1e6 + 0.5) / 1e6 end
end

-- Counters and a model's figure never share a column. One stretch without a whole reading makes the sum missing;
-- missing_s says how long was not read.
local function book_energy(entry, r)
  local estimated = r.method == "estimated"
  entry.method = entry.method or r.method
  if r.missing_s and (r.missing_s > 0 or not estimated) then add(entry, "missing_s", r.missing_s) end
  local all, own = r.energy_j, r.exclusive_j
  if estimated then all, own = r.energy_est_j, r.exclusive_est_j end
  local below = r.below_resolution and not estimated -- a model resolves everything
  if r.method == "missing" or below or not all or (r.missing_s or 0) > 0 then
    local reason = below and "below resolution" or r.reason
    if not entry.lost and reason ~= "" then entry.reason = reason end
    entry.method, entry.lost = "missing", true
  elseif estimated and not entry.lost then
    entry.reason = "no counter: modelled from CPU time"
    add(entry, "energy_est_j", own)
    add(entry, "whole_est_j", all)
  elseif not entry.lost then
    add(entry, "energy_j", own)
    add(entry, "whole_j", all)
  end
  if entry.lost then entry.energy_j, entry.whole_j, entry.energy_est_j, entry.whole_est_j = nil, nil, nil, nil end
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
end

function Ledger:region(name)
  local region = setmetatable({ ledger = self, name = name, inner = self.meter:region(name) }, Region)
  table.insert(self.open, region)
  return region
end

-- Ends the region, and those still open inside it, innermost first. Idempotent; returns the result.
function Region:stop()
  local open = self.ledger.open
  while not self.result do
    local last = table.remove(open)
    last.result = last.inner:stop()
    book(last.ledger, last.name, last.result)
  end
  return self.result
end
Region.__close = Region.stop

-- Books a stretch that an earlier process ran: its time, where it is known. What its energy was is lost.
function Ledger:book_before(name, duration_s)
  book(self, name, { exclusive_s = duration_s, duration_s = duration_s, method = "missing",
                     reason = "interrupted: a part ran in an earlier process" })
end

-- A region that holds more than this process knows of: no figure is the whole's.
function Ledger:lose(name)
  local entry = self.entries[name]
  if entry then
    self.entries[name] = { region = name, method = "missing", lost = true,
                           reason = "interrupted: a part ran in an earlier process" }
  end
end

-- The entry of a region, or an empty table where there was none.
function Ledger:entry(name)
  return self.entries[name] or {}
end

return ledger
