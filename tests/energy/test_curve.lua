-- Counters that rise by a known curve while real experiments run: their energies are the curve's integral, within what
-- the counter resolves, and their parts add up. Started by run.sh; rise.lua turns the counters.
local wattle = require "wattle"
local fake = require "fake"
local results = require "wattle.results"
local t = require "harness"
local test, check, equal, near = t.test, t.check, t.equal, t.near
local core = wattle.core

local program = os.getenv "WATTLE_PROGRAM"
local here = arg[0]:match "^(.*)/"
local scratch = os.tmpname() .. ".d"
assert(core.mkdir(scratch))

local TREE = {
  { "intel-rapl:0", "package-0", 5000000 }, { "intel-rapl:0:0", "core", 4000000 }, { "intel-rapl:0:2", "dram", 100 },
  { "intel-rapl:1", "psys", 7 },
}

-- Runs fn while the counters rise. Returns integral(from_s, to_s): the energy in J between two times of core.now(), and
-- by how much the counter's steps at both ends may be off.
local function under_curve(fn)
  fake.tree(TREE)
  local folder = os.tmpname() .. ".d"
  assert(core.mkdir(folder))
  assert(os.execute(("'%s' '%s/rise.lua' '%s' &"):format(program, here, folder)))
  core.sleep(0.3)
  local ok, message = pcall(fn)
  assert(core.write_file(folder .. "/stop", ""))
  core.sleep(0.5)
  check(ok, message)
  local rows = assert(results.read(folder .. "/written.csv", { { name = "t_s", type = "number" },
                                                                 { name = "sum_uj", type = "integer" } }))
  os.execute("rm -rf " .. folder)
  local function at(s) -- the curve, and how far the counter may be from it
    local low, high = 1, #rows
    check(rows[low].t_s < s and s < rows[high].t_s, "outside of what was written")
    while high - low > 1 do
      local middle = (low + high) // 2
      if rows[middle].t_s <= s then low = middle else high = middle end
    end
    local a, b, before = rows[low], rows[high], rows[math.max(low - 1, 1)]
    local share = (s - a.t_s) / (b.t_s - a.t_s)
    return (a.sum_uj + share * (b.sum_uj - a.sum_uj)) / 1e6, (b.sum_uj - before.sum_uj) / 1e6
  end
  return function(from_s, to_s)
    local e0, off0 = at(from_s)
    local e1, off1 = at(to_s)
    return e1 - e0, off0 + off1
  end
end

-- energy.csv by run_id, then domain, then region.
local function by_domain(folder)
  local out = {}
  for _, row in ipairs(assert(results.read(folder .. "/energy.csv", results.energy))) do
    local run = out[row.run_id] or {}
    out[row.run_id] = run
    run[row.domain] = run[row.domain] or {}
    check(not run[row.domain][row.region], "a region's domain is there twice")
    run[row.domain][row.region] = row
  end
  return out
end

-- A run's row against the curve between two times just inside it, its domains and stages.
local function check_run(row, integral, span, domains)
  local want, off = integral(span[1], span[2])
  off = off + 40 * math.max(row.duration_s - (span[2] - span[1]), 0) -- at 38 W, which the curve never passes
  equal(row.energy_method, "measured")
  equal(row.energy_source, "powercap")
  equal(row.energy_domains, "package-0 dram-0")
  near(row.energy_j, want, off + 1e-3, row.run_id)
  equal(row.energy_missing_s, 0.0)
  near(row.mean_power_w, row.energy_j / row.duration_s, 1e-9)
  check(row.energy_est_j and row.energy_est_j > 0)
  near(domains["package-0"].run.energy_j + domains["dram-0"].run.energy_j, row.energy_j, 2e-6)
  equal(domains.psys.run.energy_j, 0.0)
  equal(domains.processor.run.energy_j, nil)
  equal(domains.processor.run.energy_est_j, row.energy_est_j)
  for _, stage in ipairs { "train", "eval", "compress" } do
    local column, package = row[("energy_%s_j"):format(stage)], domains["package-0"][stage]
    equal(package == nil or package.energy_j == nil, column == nil)
    if column then near(package.energy_j + domains["dram-0"][stage].energy_j, column, 2e-6) end
    if package and not column then equal(package.reason, "below resolution") end
  end
  return off / want
end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

test("an experiment: runs, stages, power at rest", function()
  local spans, result = {}, nil
  local integral = under_curve(function()
    result = assert(wattle.experiment {
      name = "curve", out = scratch .. "/out", seeds = { 1, 2 }, idle_s = 0.4, progress = false,
      factors = { { technique = "baseline" }, { technique = "scr_zero", level = 8, level_unit = "bits" } },
      run = function(case)
        spans[case.run_id] = { core.now() }
        for _, stage in ipairs { { "train", 0.15 }, { "compress", 0.03 }, { "eval", 0.08 }, { "train", 0.15 } } do
          local region <close> = case:region(stage[1])
          core.sleep(stage[2])
        end
        case:region("blink"):stop() -- far below what the counter resolves
        spans[case.run_id][2] = core.now()
      end,
    })
  end)
  local domains, coarse = by_domain(scratch .. "/out"), {}
  equal(#result.rows, 4)
  for i, row in ipairs(result.rows) do
    coarse[i] = check_run(row, integral, spans[row.run_id], domains[row.run_id])
    -- Nothing but the stages: they are the run, but for the time between them, at 38 W at most.
    local between = row.duration_s - row.duration_train_s - row.duration_compress_s - row.duration_eval_s
    local stages = row.energy_train_j + row.energy_compress_j + row.energy_eval_j
    local _, off = integral(spans[row.run_id][1], spans[row.run_id][2])
    check(stages <= row.energy_j + 1e-5)
    near(stages, row.energy_j, off + 40 * between)
    check(row.idle_power_w > 5 and row.idle_power_w < 45 and row.idle_sd_w > 0, tostring(row.idle_power_w))
    near(row.energy_net_j, row.energy_j - row.idle_power_w * row.duration_s, 1e-6)
    local blink = domains[row.run_id]["package-0"].blink
    equal({ blink.energy_j, blink.method, blink.reason }, { nil, "missing", "below resolution" })
  end
  -- The trace: power over time of what the counters count, with the stage that ran.
  local last, joules, regions = {}, {}, {}
  for _, row in ipairs(assert(results.read(scratch .. "/out/trace.csv", results.trace))) do
    local key = row.run_id .. row.domain
    check(row.domain ~= "processor" and row.t_s > (last[key] or 0))
    joules[key] = (joules[key] or 0) + row.power_w * (row.t_s - (last[key] or 0))
    last[key] = row.t_s
    if row.region then regions[row.region] = true end
  end
  check(regions.train and not regions.run)
  for _, row in ipairs(result.rows) do
    local key = row.run_id .. "package-0"
    check(last[key] > 0.2 and last[key] <= row.duration_s + 0.05, "the trace is not of the run")
    near(joules[key] / last[key], domains[row.run_id]["package-0"].run.energy_j / row.duration_s, 8)
  end
  check(median(coarse) < 0.1, "this machine is too busy to turn the counters smoothly") -- else nothing is proved
end)

-- Each run's rows of trace.csv begin anew and rise: none is there twice.
local function traced_runs(folder)
  local last, n = {}, 0
  for _, row in ipairs(assert(results.read(folder .. "/trace.csv", results.trace))) do
    local key = row.run_id .. row.domain
    check(row.t_s > (last[key] or 0), "a run's trace is there twice")
    if not last[key] and row.domain == "psys" then n = n + 1 end
    last[key] = row.t_s
  end
  return n
end

test("a run that failed leaves no trace when it is run again; shards' traces are joined", function()
  fake.tree(TREE)
  local broken = true
  local function options(name, shard)
    return { name = "again", out = scratch .. "/" .. name, seeds = { 1, 2 }, idle_s = 0, progress = false, raise = false,
             resume = true, shard = shard, factors = { { technique = "baseline" } }, run = function(case)
               core.sleep(0.25)
               if broken and case.seed == 2 then error("no such luck", 0) end
             end }
  end
  local stderr = io.stderr
  io.stderr = assert(io.open("/dev/null", "w"))
  local first = wattle.experiment(options "again")
  io.stderr:close()
  io.stderr = stderr
  equal(first.failed, 1)
  broken = false
  equal(wattle.experiment(options "again").failed, 0)
  equal(traced_runs(scratch .. "/again"), 2)
  for i = 1, 2 do equal(wattle.experiment(options("part" .. i, { i, 2 })).failed, 0) end
  check(os.execute(("cd %s && '%s' merge whole part1 part2 >/dev/null"):format(scratch, program)))
  equal(traced_runs(scratch .. "/whole"), 2)
end)

-- A real protocol. Its runs' times come from a meter between it and the real one (span.lua). With WATTLE_QUICK it is
-- `mei2025 --quick` with all its arms (minutes), and each run's figures are printed.
local quick = os.getenv "WATTLE_QUICK"
test("mei2025: every run is the curve's integral, and its stages add up", function()
  require("tiny_images").write(scratch, 5400, 300)
  local out, said, ok = scratch .. "/mei", nil, nil
  local integral = under_curve(function()
    local options = quick and "--quick --seeds 1 --idle 1"
      or "--data " .. scratch .. " --model mlp --batch-size 20 --epochs 2 --tune-epochs 1 --lr 0.02 --tune-lr 0.005 "
      .. "--threads 1 --capacity off --seeds 1 --bits 16 --amounts 0.5 --techniques baseline,scr_zero,prune_global --idle 0.2"
    local pipe = io.popen(("SPANS=%s/spans.csv '%s' -l span mei2025 --out %s %s 2>&1"):format(scratch, program, out, options))
    said = pipe:read "a"
    ok = pipe:close()
  end)
  check(ok, said)
  local lines = assert(core.csv_read(scratch .. "/spans.csv"))
  local cols = results.extend(results.runs, { { "width", "integer" }, { "train_images", "integer" },
                                              { "batch_size", "integer" }, { "tune_lr", "number" } })
  local rows = assert(results.read(out .. "/runs.csv", cols))
  table.sort(rows, function(a, b) return a.run_order < b.run_order end)
  if not quick then equal(#rows, 3) end
  equal(#lines, #rows)
  local domains = by_domain(out)
  for i, row in ipairs(rows) do
    local span = { tonumber(lines[i][1]), tonumber(lines[i][2]) }
    local off = check_run(row, integral, span, domains[row.run_id])
    if quick then
      print(("%-24s energy_j %8.4f  integral %8.4f  resolution %.4f"):format(row.run_id, row.energy_j, integral(span[1], span[2]), off * row.energy_j))
    end
    local sum, package = 0, domains[row.run_id]["package-0"]
    for region, e in pairs(package) do
      if region ~= "run" then sum = sum + (e.energy_j or 0) end
    end
    check(sum > 0 and sum <= package.run.energy_j + 1e-6, "the stages cost more than the run")
    check(row.energy_train_j > 0)
  end
  check(said:find "energy", said)
  local page, message = require("wattle.folder").read(out)
  check(page and #page.trace > 0, message)
end)

os.execute("rm -rf " .. scratch)
