-- Nothing is lost: `wattle mei2025` killed with SIGKILL at random moments, stopped by Ctrl-C, on a disk that fills, and
-- beside a second run, then resumed; in shards, then merged. What is left must be what an undisturbed run leaves: every
-- column that is not a time, an energy or a memory, and every saved weight bit for bit.
-- WATTLE_KILLS says how many kills (default 4), WATTLE_KILL_SEED their moments.

local wattle = require "wattle"
local results = require "wattle.results"
local t = require "harness"
local test, check, equal = t.test, t.check, t.equal
local core = wattle.core

local program = os.getenv "WATTLE_PROGRAM" or arg[-1]
local kills = math.tointeger(tonumber(os.getenv "WATTLE_KILLS" or "4"))
local seed = math.tointeger(tonumber(os.getenv "WATTLE_KILL_SEED" or "1"))
local scratch = os.tmpname() .. ".d"
local data = scratch .. "/data"
assert(core.mkdir(data))
require("tiny_images").write(data, 5200, 200)

local options = ("--data %s --model mlp --batch-size 20 --epochs 6 --tune-epochs 2 --lr 0.02 --tune-lr 0.005 "
  .. "--techniques baseline,scr_random --bits 12 --threads 1 --capacity-images 100 --keep-models"):format(data)
local pair = options .. " --seeds 2"

-- Runs a shell script; its exit status and all it printed.
local function shell(script)
  local path = scratch .. "/script.sh"
  assert(core.write_file(path, script))
  local pipe = assert(io.popen(("sh '%s' 2>&1"):format(path)))
  local said = pipe:read "a"
  local ok, _, code = pipe:close()
  return ok and 0 or code, said
end

local function mei2025(arguments)
  return shell(("exec '%s' mei2025 %s\n"):format(program, arguments))
end

local function read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read "a"
  file:close()
  return text
end

---- what a folder holds, as far as it must be the same ----

-- How an energy is known is of the energy, where a stage went on from an earlier process.
local ENERGY = { method = true, reason = true }

local function table_of(path, is_stage)
  local lines = assert(core.csv_read(path))
  local out = {}
  for i = 2, #lines do
    local cells = {}
    for k, name in ipairs(lines[1]) do
      local free = results.is_metered(name) or ENERGY[name] and is_stage(lines[i][1])
      if not free then cells[#cells + 1] = name .. "=" .. lines[i][k] end
    end
    out[#out + 1] = table.concat(cells, " ")
  end
  table.sort(out)
  return out
end

local function is_stage(id) return id == "prepare" or id == "capacity" end

-- {file = its rows or its digest}
local function contents(folder)
  local all = {}
  for _, sub in ipairs { "", "models/" } do
    for _, name in ipairs(assert(core.listdir(folder .. "/" .. sub))) do
      local path = folder .. "/" .. sub .. name
      if name:find "%.csv$" then
        all[sub .. name] = table_of(path, is_stage)
      elseif name:find "%.safetensors$" then
        all[sub .. name] = assert(core.sha256_file(path))
      else
        all[sub .. name] = true
      end
    end
  end
  all["summary.csv"] = all["summary.csv"] ~= nil -- times and their intervals
  return all
end

local function same(folder, want)
  local got = contents(folder)
  for name, rows in pairs(want) do equal(got[name], rows, name) end
  for name in pairs(got) do check(want[name] ~= nil, "left over: " .. name) end
end

---- the undisturbed run ----

local whole = scratch .. "/whole"
local want, whole_s
test("undisturbed", function()
  local began = core.now()
  local code, said = mei2025(("%s --out %s"):format(pair, whole))
  whole_s = core.now() - began
  equal(code, 0, said)
  want = contents(whole)
  equal(#want["runs.csv"], 4)
  equal(#want["epochs.csv"], 6 + 4 * 2)
  equal(#want["capacity.csv"], 24)
  check(want["checkpoint.safetensors"] and want[".lock"])
  check(not want["pretraining.state"], "the state of a pretraining that is done is removed")
  check(whole_s < 60)
end)

---- kills ----

-- Starts the command, kills it (SIGKILL or another) by its pid after so many seconds - or once a file has two lines -
-- and waits: its exit status.
local function killed(arguments, signal, after)
  local wait = type(after) == "number" and ("sleep %.3f"):format(after)
    or ("until [ \"$(cat '%s' 2>/dev/null | wc -l)\" -ge 2 ]; do sleep 0.02; done"):format(after)
  local _, said = shell(([[
'%s' mei2025 %s >'%s/log' 2>&1 &
pid=$!
%s
kill -%s $pid
wait $pid
echo "status $?"
]]):format(program, arguments, scratch, wait, signal))
  return math.tointeger(tonumber(said:match "status (%d+)"))
end

test("killed and resumed in sequence: no row lost, none doubled, the same bits", function()
  check(want, "there is nothing to compare with")
  local rng, drawn, hits, folders = wattle.core.permutation(seed, "test", "kills", 0, 10000):tolist(), 0, 0, 0
  local moments = {}
  while hits < kills do
    folders = folders + 1
    local arguments = ("%s --resume --out %s/killed%d"):format(pair, scratch, folders)
    local out = ("%s/killed%d"):format(scratch, folders)
    local before = 0
    while true do
      local status
      if hits < kills then
        -- From just started to a third of the whole run, or to a share of it where many kills are to come.
        drawn = drawn + 1
        local after_s = 0.02 + rng[drawn] / 10000 * whole_s * math.max(0.12, math.min(0.33, 3 / kills))
        status = killed(arguments, "KILL", after_s)
        if status == 137 then
          hits = hits + 1
          moments[#moments + 1] = ("%.2f"):format(after_s)
        end
      else
        status = mei2025(arguments)
      end
      if status ~= 137 then
        equal(status, 0, read(scratch .. "/log"))
        break
      end
      -- Whole rows, and never fewer.
      local lines = read(out .. "/runs.csv")
      local n = lines and select(2, lines:gsub("\n", "")) or 0
      check(n >= before, "a row is lost")
      before = n
    end
    same(out, want)
  end
  print(("%d kills after %s s, in %d folders; the whole run takes %.1f s"):format(hits, table.concat(moments, " "), folders,
                                                                           whole_s))
end)

test("Ctrl-C ends it with 130 and says how to go on", function()
  check(want)
  local out = scratch .. "/stopped"
  local arguments = ("%s --resume --out %s"):format(pair, out)
  local status = killed(arguments, "INT", out .. "/runs.csv")
  equal(status, 130, read(scratch .. "/log"))
  local said = read(scratch .. "/log")
  check(said:find("interrupted! %d of 4 runs are in " .. out), said)
  check(said:find("--resume", 1, true) and not said:find "traceback", said)
  equal(mei2025(arguments), 0)
  same(out, want)
end)

test("runs of two starting points are not mixed: another checkpoint in the folder is refused", function()
  check(want)
  local out = scratch .. "/exchanged"
  killed(("%s --out %s"):format(pair, out), "KILL", out .. "/runs.csv")
  local path = out .. "/checkpoint.safetensors"
  local dict, meta = assert(wattle.load(path))
  dict[dict[1]]:fill_(0)
  assert(wattle.save(path, dict, meta))
  local code, said = mei2025(("%s --resume --out %s"):format(pair, out))
  equal(code, 1)
  check(said:find(path .. ": is not what this experiment was begun with", 1, true), said)
end)

test("Ctrl-C before the first run ends it with 130 too", function()
  for moment = 0.04, 0.12, 0.02 do
    local status = killed(("%s --out %s/early"):format(pair, scratch), "INT", moment)
    os.execute(("rm -rf '%s/early'"):format(scratch))
    -- 0: sent before the program looked for it, as a shell's job in the background ignores it
    check(status == 130 or status == 0, read(scratch .. "/log"))
  end
end)

test("two runs, one folder: the second is refused, and the first goes on", function()
  check(want)
  local out = scratch .. "/shared"
  local _, said = shell(([[
'%s' mei2025 %s --out %s >'%s/log' 2>&1 &
pid=$!
while [ ! -e %s/runs.json ]; do sleep 0.02; done
'%s' mei2025 %s --resume --out %s
echo "second $? while $pid"
wait $pid
echo "first $?"
]]):format(program, pair, out, scratch, out, program, pair, out))
  local second, pid = said:match "second (%d+) while (%d+)"
  equal(second, "1", said)
  check(said:find(("%s: in use by another run (process %s"):format(out, pid), 1, true), said)
  equal(said:match "first (%d+)", "0")
  same(out, want)
end)

---- a full disk ----

-- Runs a script in a mount namespace of its own, where $1 is a small tmpfs; nil where that is not allowed.
local function on_small_disk(size, script)
  local disk = scratch .. "/disk"
  assert(core.mkdir(disk))
  local private = t.private_mounts()
  if not private then return nil end
  assert(core.write_file(scratch .. "/inner.sh", script))
  return shell(([[exec '%s' sh -c 'mount -t tmpfs -o size=%s none "$1" && exec sh %s/inner.sh "$1"' sh '%s']]):format(
    private, size, scratch, disk))
end

local no_mounts = "no mount namespace may be made here"

test("a disk that fills: a clear error, whole rows, and the same result once there is room", function()
  check(want)
  local code, said = on_small_disk("200k", ([[
for size in 3m 4500k 64m; do
  '%s' mei2025 %s --resume --out "$1/out" >"$1.log" 2>&1
  echo "status $?"
  grep -m 1 "No space left on device" "$1.log"
  tail -c 1 "$1/out/runs.csv" 2>/dev/null | od -An -c
  mount -o remount,size=$size none "$1"
done
'%s' mei2025 %s --resume --out "$1/out" >"$1.log" 2>&1 || { cat "$1.log"; exit 1; }
cp -a "$1/out" '%s/full'
]]):format(program, pair, program, pair, scratch))
  if not code then return t.skip(no_mounts) end
  equal(code, 0, said)
  local failures = 0
  for status in said:gmatch "status (%d+)" do
    equal(status, "1", said)
    failures = failures + 1
  end
  equal(failures, 3) -- in the first epoch of pretraining, in a later one, and in a run, whose row is then replaced
  local _, clear = said:gsub("No space left on device", "")
  equal(clear, 3, said)
  same(scratch .. "/full", want)
end)

test("a disk that fills in the middle of the rows leaves whole rows", function()
  local script = scratch .. "/rows.lua"
  assert(core.write_file(script, [[
local wattle = require "wattle"
local disk, out, resume = arg[1], arg[1] .. "/out", arg[2] == "resume"
local n = 0
local e, message = wattle.experiment {
  name = "rows", out = out, resume = resume, factors = { level = { 1, 2, 3, 4 } }, seeds = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 },
  progress = false,
  run = function(case)
    n = n + 1
    if n == 7 and not resume then -- and now it is full
      local file = assert(io.open(disk .. "/filler", "wb"))
      file:setvbuf "no"
      while file:write(("x"):rep(1024)) do end
      file:close()
    end
    return { test_top1_pct = wattle.rand{ 1 }:item(), epoch_rows = { { epoch = 1 } } }
  end,
}
if not e then io.stderr:write(message, "\n") os.exit(1, true) end
for i, row in ipairs(e.rows) do io.write(i == 1 and "" or " ", row.run_id, "=", row.test_top1_pct) end
]]))
  local code, said = on_small_disk("300k", ([[
'%s' %s "$1" start; echo "status $?"
wc -l <"$1/out/runs.csv"
tail -c 1 "$1/out/runs.csv" | od -An -c
rm "$1/filler"
echo "resumed: $('%s' %s "$1" resume)"
echo "whole: $('%s' %s "$1.whole" resume)"
]]):format(program, script, program, script, program, script))
  if not code then return t.skip(no_mounts) end
  check(said:find("status 1", 1, true) and said:find("No space left on device", 1, true), said)
  check(said:find("of 40 runs are in", 1, true) and said:find("\\n", 1, true), said)
  local lines = math.tointeger(tonumber(said:match "\n(%d+)\n"))
  check(lines > 7 and lines < 41, said)
  local resumed, undisturbed = said:match "resumed: ([^\n]*)", said:match "whole: ([^\n]*)"
  check(#resumed > 0)
  equal(resumed, undisturbed)
end)

---- shards ----

test("shards together are the whole; what does not belong together is not merged", function()
  check(want)
  local checkpoint = " --checkpoint " .. whole .. "/checkpoint.safetensors"
  local shards = {}
  for i = 1, 2 do
    shards[i] = ("%s/shard%d"):format(scratch, i)
    local code, said = mei2025(("%s%s --shard %d/2 --out %s"):format(pair, checkpoint, i, shards[i]))
    equal(code, 0, said)
  end
  local function merge(list)
    return shell(("exec '%s' merge %s\n"):format(program, list))
  end
  local function refuse(list, part)
    local code, said = merge(scratch .. "/never " .. list)
    equal(code, 1, said)
    check(said:find(part, 1, true), said)
    check(not core.exists(scratch .. "/never"))
  end
  refuse(shards[1], "shards are missing: 2/2")
  refuse(shards[1] .. " " .. shards[1], "in use by another run")
  refuse(shards[1] .. " " .. whole, "is no shard")
  refuse(shards[1] .. " " .. scratch, "holds no runs.json")
  local other = scratch .. "/other"
  equal(mei2025(("%s%s --shard 2/2 --tune-lr 0.004 --out %s"):format(pair, checkpoint, other)), 0)
  refuse(shards[1] .. " " .. other, "not of one plan: options.tune_lr is 0.005 and 0.004")
  local out = scratch .. "/merged"
  local code, said = merge(("%s %s %s"):format(out, shards[2], shards[1]))
  equal(code, 0, said)
  local rows = {}
  for i, row in ipairs(table_of(out .. "/runs.csv", is_stage)) do rows[i] = row:gsub("shard=%d", "shard=NA") end
  equal(rows, want["runs.csv"])
  equal(table_of(out .. "/capacity.csv", is_stage), want["capacity.csv"])
  code, said = mei2025(("%s%s --resume --out %s"):format(pair, checkpoint, out)) -- the report on the whole
  equal(code, 0, said)
  check(said:find "4 of 4 runs are in" and core.exists(out .. "/summary.csv"), said)
  code, said = mei2025(("%s --seed 9 --shard 2/2 --out %s/never"):format(options, scratch))
  equal(code, 1, said)
  check(said:find("1 blocks (seeds x repeats) cannot be dealt to more than 1 shards", 1, true), said)
end)

os.execute("rm -rf " .. scratch .. " " .. scratch:sub(1, -3))
