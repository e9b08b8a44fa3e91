-- How fast wattle.load reads files of weights, beside `cat FILE >/dev/null`, and what memory it takes beside the file's size:
--   wattle tests/bench/load_weights.lua [rounds] FILE...
-- Both sides in alternation, each load in a process of its own; the file is in the page cache (first round is not counted), so
-- this is the dearest comparison: from a disk both wait for it. Prints the medians, and the ratio's median, least and most. A
-- file of 500 MB: python3 -c 'import torch; torch.save({str(i): torch.randn(5120, 1024) for i in range(25)}, "big.pth")'
local wattle = require "wattle"
local core = wattle.core

if arg[1] == "--load" then -- in a process of its own: seconds, bytes
  assert(core.peak_rss_reset())
  local before, begin = core.peak_rss(), core.now()
  local dict = assert(wattle.load(arg[2]))
  print(core.now() - begin, core.peak_rss() - before, #dict)
  os.exit(true)
end

local rounds, first = 7, 1
if math.tointeger(arg[1]) then rounds, first = math.tointeger(arg[1]), 2 end

local function quoted(s) return "'" .. s:gsub("'", "'\\''") .. "'" end

local function cat(file)
  local begin = core.now()
  assert(os.execute("cat " .. quoted(file) .. " >/dev/null"))
  return core.now() - begin
end

local function load(file)
  local pipe <close> = io.popen(("%s %s --load %s"):format(quoted(os.getenv "WATTLE_PROGRAM" or arg[-1]), quoted(arg[0]), quoted(file)))
  return pipe:read("n", "n")
end

local function middle(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

print "file, MB, cat s, load s, load/cat (least to most), peak memory / file"
for i = first, #arg do
  local file <close> = assert(io.open(arg[i], "rb"))
  local bytes = file:seek "end"
  local cats, loads, ratios, memory = {}, {}, {}, 0
  for round = 0, rounds do
    local c, l, peak = cat(arg[i]), load(arg[i])
    assert(l, "it was not loaded")
    if round > 0 then
      cats[round], loads[round], ratios[round] = c, l, l / c
      memory = math.max(memory, peak)
    end
  end
  local ratio = middle(ratios)
  print(("%s, %.1f, %.3f, %.3f, %.2f (%.2f to %.2f), %.2f"):format(arg[i]:match "[^/]*$", bytes / 1e6, middle(cats), middle(loads), ratio,
        ratios[1], ratios[#ratios], memory / bytes))
end
