-- Joins the folders of an experiment's shards into one, as if it had run in one place: wattle merge OUT IN...
-- Checked first: every shard is there, once and finished, all are of one plan, and no run is there twice. What is
-- joined are the tables; models and checkpoints stay where they are. Folders are folder.lua's, columns results.lua's.

local wattle = require "wattle"
local cli = require "wattle.cli"
local folder = require "wattle.folder"
local results = require "wattle.results"
local core = wattle.core

local spec = {
  name = "merge", positional = "OUT IN...", options = {},
  about = "Joins the results of shards (--shard I/N) into the folder OUT, which must be absent or empty: runs.csv, "
    .. "epochs.csv, energy.csv, runs.json, trace.csv where there is one, and capacity.csv where the shards agree on it. "
    .. "The shards must be finished, complete and of the same options.",
  notes = "The protocol's report on the whole: the protocol again with the same options, --resume and --out OUT.\n",
}

local function die(format, ...)
  io.stderr:write("merge: ", format:format(...), "\n")
  os.exit(1, true)
end

local function need(v, message)
  if not v then die("%s", tostring(message)) end
  return v
end

-- Everything of one shard, locked meanwhile: a run that still writes there is no shard to join.
local function read_shard(path)
  if not core.exists(path .. "/runs.json") then die("%s: holds no runs.json", path) end
  local lock = need(core.lock(path))
  local shard = need(folder.read(path))
  local side = shard.side
  if type(side.shard) ~= "table" then die("%s: is no shard: it was run without --shard", path) end
  shard.lock, shard.index, shard.n = lock, side.shard[1], side.shard[2]
  if not side.finished_utc or #shard.runs ~= side.runs then
    die("%s: shard %d of %d is not finished: %d of %d runs; go on with it first (--resume)", path, shard.index, shard.n,
        #shard.runs, side.runs)
  end
  return shard
end

-- All shards of one plan, each once; in their order.
local function check_together(shards)
  local first = shards[1]
  local at = {}
  for _, s in ipairs(shards) do
    if s.n ~= first.n then die("%s is one of %d shards, %s one of %d", first.path, first.n, s.path, s.n) end
    local where, a, b = folder.difference(first.side, s.side, { shard = true })
    if where then die("%s and %s are not of one plan: %s is %s and %s", first.path, s.path, where, a, b) end
    for _, name in ipairs { "runs", "epochs", "energy" } do
      if results.header(s.cols[name]) ~= results.header(first.cols[name]) then
        die("%s and %s: the columns of %s.csv differ", first.path, s.path, name)
      end
    end
    if at[s.index] then die("%s and %s are both shard %d of %d", at[s.index].path, s.path, s.index, s.n) end
    at[s.index] = s
  end
  local missing = {}
  for i = 1, first.n do
    if not at[i] then missing[#missing + 1] = ("%d/%d"):format(i, first.n) end
  end
  if #missing > 0 then die("shards are missing: %s", table.concat(missing, ", ")) end
  return at
end

-- No run twice; and no comparison across starting points that differ without a word.
local function check_rows(shards)
  local seen, start = {}, {}
  for _, s in ipairs(shards) do
    for _, row in ipairs(s.runs) do
      local other = seen[row.run_id]
      if other then die("run '%s' is in %s and in %s", row.run_id, other.path, s.path) end
      seen[row.run_id] = s
      local key = ("%s of %s"):format(row.init or "the start", row.model or "the model")
      if row.init_sha256 and start[key] and start[key].sha256 ~= row.init_sha256 then
        die("%s and %s: %s is not the same (init_sha256 differs): pretrain once, and give the file to every shard with "
            .. "--checkpoint", start[key].path, s.path, key)
      end
      start[key] = start[key] or row.init_sha256 and { sha256 = row.init_sha256, path = s.path }
    end
  end
end

local function slurp(path)
  local file = need(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

-- One sweep for all, since all start from the same checkpoint.
local function capacity_of(shards)
  local text, from
  for _, s in ipairs(shards) do
    local path = s.path .. "/capacity.csv"
    if core.exists(path) then
      local here = slurp(path)
      if text and here ~= text then die("%s and %s differ: they are of one checkpoint, or should be", from, path) end
      text, from = here, path
    end
  end
  return text
end

local function joined(shards, name)
  local all = {}
  for _, s in ipairs(shards) do
    local rows = s[name] or {}
    table.move(rows, 1, #rows, #all + 1, all)
  end
  return all
end

local function joined_sidecar(shards)
  local side = need(folder.read_sidecar(shards[1].path))
  side.shard, side.sessions, side.stages, side.runs, side.counts = core.null, {}, {}, 0, {}
  side.merged_from = {}
  for i, s in ipairs(shards) do
    table.move(s.side.sessions, 1, #s.side.sessions, #side.sessions + 1, side.sessions)
    table.move(s.side.stages, 1, #s.side.stages, #side.stages + 1, side.stages)
    side.runs = side.runs + s.side.runs
    for status, n in pairs(s.side.counts or {}) do side.counts[status] = (side.counts[status] or 0) + n end
    if s.side.started_utc < side.started_utc then side.started_utc = s.side.started_utc end
    if s.side.finished_utc > side.finished_utc then side.finished_utc = s.side.finished_utc end
    side.merged_from[i] = results.utf8(s.path)
  end
  return side
end

local function main()
  local o = cli.main(spec, arg)
  if #o < 2 then
    io.stderr:write("merge: OUT and the shards' folders are needed; see wattle merge --help\n")
    os.exit(2, true)
  end
  local out = o[1]
  if core.exists(out) and #need(core.listdir(out)) > 0 then die("the folder '%s' is not empty", out) end
  local shards = {}
  for i = 2, #o do shards[#shards + 1] = read_shard(o[i]) end
  shards = check_together(shards)
  check_rows(shards)
  local capacity = capacity_of(shards)
  local rows = joined(shards, "runs")
  table.sort(rows, function(a, b) return a.run_order < b.run_order end)

  local side = core.json_encode(joined_sidecar(shards))

  need(core.mkdir(out))
  local lock <close> = need(core.lock(out))
  local first = shards[1]
  -- The sidecar last: it is what makes the folder results to go on from.
  need(results.write(out .. "/runs.csv", first.cols.runs, rows))
  for _, name in ipairs { "epochs", "energy" } do
    need(results.write(("%s/%s.csv"):format(out, name), first.cols[name], joined(shards, name)))
  end
  local trace = joined(shards, "trace")
  if #trace > 0 then need(results.write(out .. "/trace.csv", results.trace, trace)) end
  if capacity then need(core.write_file(out .. "/capacity.csv", capacity)) end
  need(core.write_file(out .. "/runs.json", side))
  io.stdout:write(("%d runs of %d shards are in %s\n"):format(#rows, #shards, out))
end

main()
