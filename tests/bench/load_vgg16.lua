-- VGG-16's 138 million parameters from a safetensors file into a created model, beside `cat FILE >/dev/null`:
--   wattle tests/bench/load_vgg16.lua [rounds, 9] [folder for the file of 553 MB, /tmp]
-- Both sides in alternation, each load in a process of its own; the file is in the page cache (the first round is not counted),
-- which is the dearest comparison: from a disk both wait for it. Prints medians with the least and the most: seconds of
-- wattle.models.create("vgg16", {pretrained = path}) and of the whole process, both over cat's, and the peak of anonymous
-- memory over the file's size. That peak is VmHWM when the model is there, less RssFile (libraries, the program) before it was
-- made, of the whole process: file pages only come in between, so it is an upper bound. RssAnon at the end is printed too.
-- Exits 1 where the memory is above 1.2 times the file.
local wattle = require "wattle"
local core = wattle.core

local function status(key)
  for line in io.lines "/proc/self/status" do
    local kb = line:match("^" .. key .. ":%s*(%d+) kB")
    if kb then return 1024 * math.tointeger(kb) end
  end
  error("/proc/self/status has no " .. key)
end

if arg[1] == "--load" then
  local file_pages, begin = status "RssFile", core.now()
  local model, report = wattle.models.create("vgg16", { pretrained = arg[2] })
  local seconds = core.now() - begin
  print(seconds, status "VmHWM" - file_pages, status "RssAnon")
  assert(model, report)
  assert(#report.new == 0 and #report.ignored == 0)
  os.exit(true)
end

local rounds, folder = math.tointeger(arg[1] or 9), arg[2] or "/tmp"
local path = folder .. "/wattle-vgg16.safetensors"
local function quoted(s) return "'" .. s:gsub("'", "'\\''") .. "'" end

local function timed(command)
  local begin = core.now()
  local pipe <close> = assert(io.popen(command))
  local a, b, c = pipe:read("n", "n", "n")
  assert(pipe:close(), command)
  return core.now() - begin, a, b, c
end

local function spread(list, format)
  table.sort(list)
  return ((format .. " (" .. format .. " to " .. format .. ")"):format(list[(#list + 1) // 2], list[1], list[#list]))
end

do -- the file, and nothing of it left in this process
  local model = wattle.models.create("vgg16", { seed = 1 })
  assert(wattle.save(path, model:state_dict()))
end
collectgarbage()
local file <close> = assert(io.open(path, "rb"))
local bytes = file:seek "end"
local cats, creates, create_ratios, process_ratios, peaks, anon = {}, {}, {}, {}, {}, {}
local program = quoted(os.getenv "WATTLE_PROGRAM" or arg[-1])
for round = 0, rounds do
  local cat = timed("cat " .. quoted(path) .. " >/dev/null")
  local whole, seconds, peak, at_end = timed(("%s %s --load %s"):format(program, quoted(arg[0]), quoted(path)))
  assert(seconds, "it was not loaded")
  if round > 0 then
    cats[round], creates[round], create_ratios[round], process_ratios[round] = cat, seconds, seconds / cat, whole / cat
    peaks[round], anon[round] = peak / bytes, at_end / bytes
  end
end
os.remove(path)
print(("%d rounds, a file of %.1f MB, %d threads"):format(rounds, bytes / 1e6, wattle.threads()))
print("cat, s:                      " .. spread(cats, "%.3f"))
print("models.create, s:            " .. spread(creates, "%.3f"))
print("models.create / cat:         " .. spread(create_ratios, "%.2f"))
print("whole process / cat:         " .. spread(process_ratios, "%.2f"))
print("peak anonymous memory / file: " .. spread(peaks, "%.3f"))
print("RssAnon at the end / file:    " .. spread(anon, "%.3f"))
if peaks[#peaks] > 1.2 then
  print "FAILED: more than 1.2 times the file"
  os.exit(false)
end
