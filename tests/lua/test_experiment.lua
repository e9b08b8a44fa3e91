-- wattle.experiment: the plan, the rows and files it leaves, what becomes of a run that fails, and whether
-- pandas and R read runs.csv with their defaults as what it is.

local wattle = require "wattle"
local experiment = require "wattle.experiment"
local ledger = require "wattle.ledger"
local nn = require "wattle.nn"
local results = require "wattle.results"
local t = require "harness"
local test, check, equal, near, raises = t.test, t.check, t.equal, t.near, t.raises
local core = wattle.core

local scratch = os.tmpname() .. ".d"
local count = 0
local function new_out()
  count = count + 1
  return ("%s/%d"):format(scratch, count)
end

local function with(defaults, o)
  for k, v in pairs(o) do defaults[k] = v end
  return defaults
end

-- A small experiment whose runs do nothing.
local function small(o)
  return with({ name = "small", out = new_out(), factors = { technique = { "baseline", "scr_zero" } },
                progress = false, run = function() return {} end }, o)
end

local function slurp(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

---- the plan ----

test("blocks of one seed and repeat hold every case once, in an order of their own", function()
  local o = { name = "plan", seeds = { 5, 7 }, repeats = 2,
              factors = { level = { 8, 16 }, technique = { "a", "b", "c" }, fast = { true } } }
  local runs, cases = experiment.plan(o)
  equal(#cases, 6)
  equal(#runs, 24)
  local orders, ids = {}, {}
  for i, run in ipairs(runs) do
    equal(run.run_order, i)
    equal(run.block, (i - 1) // 6 + 1)
    ids[run.run_id] = (ids[run.run_id] or 0) + 1
    local id = run.run_id:gsub("%-s%d+%-r%d+$", "")
    orders[run.block] = (orders[run.block] or "") .. id .. " "
  end
  for id, n in pairs(ids) do
    equal(n, 1)
    check(results.is_identifier(id))
  end
  check(ids["a-level8-fasttrue-s5-r1"], "ids are made of the columns' order, then the names'")
  local distinct, n = {}, 0
  for _, order in ipairs(orders) do
    if not distinct[order] then distinct[order], n = true, n + 1 end
  end
  check(n > 1, "blocks should differ in their order")
  local again = experiment.plan(o)
  for i, run in ipairs(again) do equal(run.run_id, runs[i].run_id) end
end)

test("a status that is none fails its run, not the experiment", function()
  local out = os.tmpname()
  os.remove(out)
  local result = assert(wattle.experiment {
    name = "status", out = out, factors = { a = { 1, 2 } }, progress = false, raise = false,
    run = function(case) return { status = case.a == 1 and "fine" or "ok" } end,
  })
  equal(result.failed, 1)
  equal(#result.rows, 2)
  os.execute("rm -rf '" .. out .. "'")
end)

test("a list of cases is taken as it is", function()
  local factors = { { technique = "baseline" }, { technique = "scr_zero", level = 8, level_unit = "bits" } }
  local runs = experiment.plan { name = "list", factors = factors }
  local ids = { [runs[1].run_id] = true, [runs[2].run_id] = true }
  check(ids["baseline-s1-r1"] and ids["scr_zero-level8-bits-s1-r1"])
end)

---- cells ----

test("cells read as what they are, and columns never mix", function()
  local text = { name = "c", type = "text" }
  for _, bad in ipairs { "nan", "NA", "inf", "TRUE", "t", "1e5", "", "-x", "3f2a", "None", "null", "a\nb" } do
    equal(results.cell(text, bad), nil)
  end
  equal(results.cell(text, "scr_zero"), "scr_zero")
  equal(results.cell(text, 'a "b", c'), '"a ""b"", c"')
  equal(results.cell(text, nil), "NA")
  local number = { name = "c", type = "number" }
  equal(results.cell(number, 91), "91.0")
  equal(results.cell(number, 0.1), "0.1")
  equal(results.cell(number, 1e300), "1e+300")
  equal(results.cell(number, 0 / 0), "NA")
  equal(tonumber(results.cell(number, 1 / 3)), 1 / 3)
  equal(results.cell({ name = "c", type = "integer" }, 3.0), "3")
  equal(results.cell({ name = "c", type = "integer" }, 3.5), nil)
  equal(results.cell({ name = "c", type = "boolean" }, false), "FALSE")
  equal(results.cell({ name = "c", type = "boolean" }, 1), nil)
  equal(results.identifier("3f2a", "host_"), "host_3f2a")
  equal(results.identifier("inf", "host_"), "host_inf")
  raises(function() results.extend(results.runs, { { "Loss", "number" } }) end, "lower%-case")
  raises(function() results.extend(results.runs, { { "loss", "number" } }) end, "already")
  raises(function() results.extend(results.runs, { { "x", "float" } }) end, "text, integer")
end)

test("the columns of runs.csv are those that were fixed", function()
  local runs = "run_id,experiment,block,run_order,host,shard,status,model,dataset,init,init_sha256,"
    .. "technique,level,level_unit,seed,repeat,backend,threads,dtype,bf16_native,steps,"
    .. "samples_seen,epochs,val_top1_pct,test_top1_pct,macro_f1,loss,params,nonzeros,"
    .. "flops_per_image,flops_executed_per_image,disk_bytes,peak_rss_bytes,duration_s,images_per_s,"
    .. "energy_source,energy_method,energy_domains,energy_j,energy_net_j,energy_est_j,"
    .. "energy_missing_s,idle_power_w,idle_sd_w,mean_power_w,duration_train_s,duration_eval_s,"
    .. "duration_compress_s,energy_train_j,energy_eval_j,energy_compress_j,target_top1_pct,"
    .. "target_reached,duration_to_target_s,energy_to_target_j,interrupted,cpu_s,other_cpu_s,"
    .. "steal_s,freq_mhz,temp_c,wattle_version,git_revision"
  equal(results.header(results.runs), runs)
  local energy = "run_id,region,source,domain,method,energy_j,missing_s,reason"
  equal(results.header(results.energy):sub(1, #energy), energy)
end)

---- rows ----

-- Something that takes a measurable while.
local function work()
  local x = 0
  for i = 1, 200000 do x = x + i % 7 end
  return x
end

test("rows, regions, epochs and the sidecar of a whole experiment", function()
  local order = {}
  local o = small {
    seeds = { 1, 2, 3 }, constants = { model = "mlp", dtype = "f32" }, columns = { { "width", "integer" } },
    factors = { { technique = "baseline" },
                { technique = "scr_zero", level = 8, level_unit = "bits", depth = 2 } },
    options = { lr = 0.1 },
    prepare = function(stage)
      local r <close> = stage:region "train"
      work()
      return { epoch_rows = { { epoch = 1, train_loss = 2.5 } } }
    end,
    run = function(case)
      order[#order + 1] = case.run_id
      do
        local r <close> = case:region "train"
        work()
        do
          local inner <close> = case:region "eval"
          work()
        end
      end
      return { test_top1_pct = 90 + case.seed, width = 4, samples_seen = 1000, steps = 10,
               epoch_rows = { { epoch = 1, lr = 0.1, train_loss = 0.5, samples = 3 },
                              { epoch = 2, lr = 0.05, train_loss = 0.4 } } }
    end,
  }
  local e = assert(experiment(o))
  equal(#e.rows, 6)
  equal(e.failed, 0)
  for i, row in ipairs(e.rows) do
    equal(row.run_id, order[i])
    equal(row.run_order, i)
    equal(row.status, "ok")
    equal(row.model, "mlp")
    equal(row.width, 4)
    equal(row.test_top1_pct, 90.0 + row.seed)
    equal(row.level, row.technique == "scr_zero" and 8.0 or nil)
    equal(row.depth, row.technique == "scr_zero" and 2 or nil)
    equal(row.energy_j, nil) -- no counters
    equal(row.energy_method, "estimated")
    check(row.energy_est_j and row.energy_est_j >= 0)
    equal(row.interrupted, false)
    check(row.duration_s > 0 and row.duration_train_s > 0 and row.duration_eval_s > 0)
    check(row.duration_train_s + row.duration_eval_s <= row.duration_s + 1e-6, "stages are parts of the run")
    near(row.images_per_s, 1000 / row.duration_train_s, 1e-6 * row.images_per_s)
    check(results.is_identifier(row.host))
  end
  local epochs = assert(results.read(o.out .. "/epochs.csv", results.epochs))
  equal(#epochs, 13)
  equal(epochs[1].run_id, "prepare")
  equal(epochs[2].run_id, order[1])
  equal(epochs[3].train_loss, 0.4)
  local energy = assert(results.read(o.out .. "/energy.csv", results.energy))
  equal(#energy, 2 + 6 * 3)
  for _, row in ipairs(energy) do
    equal(row.energy_j, nil)
    check(row.energy_est_j and row.reason)
  end
  local side = core.json_decode(slurp(o.out .. "/runs.json"))
  equal(side.options.lr, 0.1)
  equal(side.schema_version, 1)
  equal(side.columns["runs.csv"].run_id, "text")
  equal(side.columns["runs.csv"].depth, "integer")
  equal(side.counts.ok, 6)
  check(side.build.version and side.host and side.started_utc and side.finished_utc and side.meter.description)
end)

-- Raises what a step does when the loss is not finite.
local function diverging_step()
  local plan = nn.Linear{ in_features = 2, out_features = 2 }:compile{ input = { 1, 2 }, loss = "cross_entropy",
                                                                       optimizer = { "sgd", lr = 0.1 } }
  plan:step(wattle.tensor{ { 0 / 0, 1 } }, wattle.tensor({ 0 }, "i64"))
end

test("a run that fails is a row, and the others go on", function()
  local function run(case)
    local r <close> = case:region "train"
    if case.seed == 1 then error "no such luck" end
    if case.seed == 2 then diverging_step() end
    if case.seed == 3 then return { test_top1_pkt = 3 } end
    if case.seed == 4 then return { loss = 0 / 0 } end
    if case.seed == 5 then return { status = "diverged", epoch_rows = { { epoch = 1 } } } end
    if case.seed == 6 then return { duration_s = 1.0 } end
    if case.seed == 8 then return { energy_j = 1.0 } end -- missing here, but the counters' all the same
    if case.seed == 9 then case:region "run" end
    return { test_top1_pct = 90 }
  end
  local o = small { factors = { technique = { "baseline" } }, seeds = { 1, 2, 3, 4, 5, 6, 7, 8, 9 }, raise = false,
                    run = run }
  local e = assert(experiment(o))
  local status = {}
  for i, row in ipairs(e.rows) do
    status[i] = row.status
    check(row.duration_s and row.duration_train_s)
  end
  equal(table.concat(status, " "), "failed diverged failed diverged diverged failed ok failed failed")
  equal(e.failed, 8)
  raises(function() experiment(small { run = run }) end, "2 of 2 runs did not end well")
end)

test("an interrupt ends the experiment and leaves whole rows", function()
  local o = small { seeds = { 1, 2, 3 }, run = function(case)
    if case.seed == 2 then error "interrupted!" end
    return {}
  end }
  raises(function() experiment(o) end, "interrupted!")
  equal(#assert(core.csv_read(o.out .. "/runs.csv")), 3)
end)

test("an error that speaks of an interruption is none", function()
  local e = experiment(small { seeds = { 1, 2 }, raise = false, run = function(case)
    if case.seed == 1 then error "the download was interrupted!" end
    return {}
  end })
  equal({ e.counts.failed, e.counts.ok }, { #e.rows // 2, #e.rows // 2 })
end)

test("results are never mixed", function()
  local o = small {}
  assert(experiment(o))
  local e, message = experiment(o)
  equal(e, nil)
  check(message:find "is not empty")
  local file = o.out .. "/runs.csv"
  local before = slurp(file)
  e, message = experiment(small { out = file })
  equal(e, nil)
  check(message)
  equal(slurp(file), before)
end)

---- resuming ----

local function ids_of(path)
  local ids = {}
  for i, cells in ipairs(assert(core.csv_read(path))) do
    if i > 1 then ids[#ids + 1] = cells[1] end
  end
  return ids
end

local function append_text(path, text)
  local file <close> = assert(io.open(path, "ab"))
  file:write(text)
end

-- An experiment of six runs; those whose count in `ran` passes stop_at are not reached.
local function resumable(o)
  local ran = {}
  local options = small(with({
    seeds = { 1, 2, 3 }, options = { lr = 0.1, list = { 1, 2 } },
    run = function(case)
      if #ran == o.stop_at then error("interrupted!", 0) end
      ran[#ran + 1] = case.run_id
      return { test_top1_pct = wattle.rand{ 1 }:item(), epoch_rows = { { epoch = 1 }, { epoch = 2 } } }
    end,
  }, o.with or {}))
  options.out = o.out or options.out
  return options, ran
end

test("a resumed experiment keeps its rows, runs the rest, and cuts what was left of an unfinished run", function()
  local whole, order = resumable {}
  local want = assert(experiment(whole)).rows
  for stop_at = 0, 5 do
    local o = resumable { stop_at = stop_at }
    raises(function() experiment(o) end, ("interrupted! %d of 6 runs are in %s; resume = true"):format(stop_at, o.out))
    -- What a kill may leave: children of a run without its row, torn rows, a file half written beside its path.
    local unfinished = order[stop_at + 1]
    append_text(o.out .. "/epochs.csv", unfinished .. ",1,NA,NA,NA,NA,NA,NA\n" .. unfinished .. ",2,N")
    append_text(o.out .. "/runs.csv", unfinished .. ",small,1")
    append_text(o.out .. "/runs.json.123-0.tmp", "{")
    local rest, ran = resumable { out = o.out, with = { resume = true } }
    local e = assert(experiment(rest))
    equal(ran, table.move(order, stop_at + 1, 6, 1, {}))
    for i, row in ipairs(e.rows) do
      for _, name in ipairs { "run_id", "run_order", "block", "seed", "status", "test_top1_pct", "interrupted" } do
        equal(row[name], want[i][name])
      end
    end
    equal(ids_of(o.out .. "/runs.csv"), order)
    for _, name in ipairs { "epochs", "energy" } do
      equal(ids_of(("%s/%s.csv"):format(o.out, name)), ids_of(("%s/%s.csv"):format(whole.out, name)))
    end
    check(not core.exists(o.out .. "/runs.json.123-0.tmp"))
    equal(#core.json_decode(slurp(o.out .. "/runs.json")).sessions, 2)
    local again, none = resumable { out = o.out, with = { resume = true, prepare = function() error "not again" end } }
    equal(#assert(experiment(again)).rows, 6)
    equal(none, {})
  end
end)

test("resume of nothing starts; a folder of something else is left as it is", function()
  local o = resumable { with = { resume = true } }
  assert(core.mkdir(o.out))
  equal(#assert(experiment(o)).rows, 6)
  local other = new_out()
  assert(core.mkdir(other))
  assert(core.write_file(other .. "/thesis.txt", "mine"))
  for _, resume in ipairs { true, false } do
    local e, message = experiment(resumable { out = other, with = { resume = resume } })
    check(e == nil and message:find "is not empty", message)
  end
  equal(core.listdir(other), { "thesis.txt" })
end)

test("other options are refused on resume, and the first that differs is named", function()
  local o = resumable { stop_at = 2 }
  raises(function() experiment(o) end, "interrupted!")
  local before = slurp(o.out .. "/runs.json")
  local function refuse(change, part)
    local other, ran = resumable { out = o.out, with = with({ resume = true }, change) }
    local e, message = experiment(other)
    equal(e, nil)
    check(message:find(part, 1, true), message)
    equal(ran, {})
    equal(slurp(o.out .. "/runs.json"), before)
  end
  refuse({ options = { lr = 0.2, list = { 1, 2 } } }, "options.lr was 0.1, now it is 0.2")
  refuse({ options = { lr = 0.1, list = { 1 } } }, "options.list[2] was 2, now it is not given")
  refuse({ options = { lr = 0.1, list = { 1, 2 }, more = "x" } }, "options.more was not given, now it is 'x'")
  refuse({ seeds = { 1, 2, 4 } }, "seeds[3] was 3, now it is 4")
  refuse({ factors = { technique = { "baseline", "prune_local" } } }, "cases[2].technique was 'scr_zero', now")
  refuse({ columns = { { "width", "integer" } } }, "columns.runs.csv.width was not given")
  refuse({ repeats = 2 }, "repeats was 1, now it is 2")
  refuse({ constants = { model = "mlp" } }, "constants was not given")
  refuse({ meter = { source = "off" } }, "source was 'estimate', now it is 'off'")
  refuse({ shard = { 1, 2 } }, "shard was not given")
end)

test("a failed run is run again on resume and its row replaced, a diverged one stands", function()
  local broken = true
  local ran = {}
  local function run(case)
    ran[#ran + 1] = case.seed
    if case.seed == 2 and broken then error "no such luck" end
    if case.seed == 3 then return { status = "diverged" } end
    return {}
  end
  local o = { factors = { technique = { "baseline" } }, seeds = { 1, 2, 3 }, raise = false, run = run, out = new_out() }
  equal(assert(experiment(small(o))).counts, { ok = 1, failed = 1, diverged = 1 })
  broken, o.resume = false, true
  local e = assert(experiment(small(o)))
  equal(e.counts, { ok = 2, failed = 0, diverged = 1 })
  equal(ran, { 1, 2, 3, 2 })
  equal(#assert(core.csv_read(o.out .. "/runs.csv")), 4)
end)

test("a stage that was finished is called to load what it left; one that was not is run again", function()
  local log, stop = {}, true
  local function stage(name)
    return function(s)
      log[#log + 1] = name .. (s.finished and " finished" or "")
      if name == "sweep" and stop then error("interrupted!", 0) end
      s:region("train"):stop()
      return { epoch_rows = { { epoch = 1, train_loss = 2.5, resumed = name == "sweep", duration_train_s = 1.5 } } }
    end
  end
  local o = { prepare = { { "prepare", stage "prepare" }, { "sweep", stage "sweep" } }, out = new_out(), resume = true }
  raises(function() experiment(small(o)) end, "interrupted! 0 of 2 runs")
  stop = false
  assert(experiment(small(o)))
  equal(log, { "prepare", "sweep", "prepare finished", "sweep" })
  equal(#assert(core.csv_read(o.out .. "/epochs.csv")), 1 + 2)
  local rows = {}
  for _, row in ipairs(assert(results.read(o.out .. "/energy.csv", results.energy))) do
    rows[row.run_id .. "/" .. row.region] = row
  end
  equal(rows["prepare/train"].method, "estimated")
  check(rows["prepare/prepare"].duration_s > 0)
  -- Part of the sweep was an earlier process's: its time is known epoch by epoch, its energy is not.
  equal(rows["sweep/train"].method, "missing")
  check(rows["sweep/train"].duration_s >= 1.5)
  equal({ rows["sweep/sweep"].method, rows["sweep/sweep"].duration_s }, { "missing", nil })
  check(rows["sweep/sweep"].reason:find "interrupted")
end)

test("a run that went on from an earlier process keeps its result and is interrupted", function()
  local e = assert(experiment(small{ run = function(case)
    local r <close> = case:region "train"
    return { test_top1_pct = 90, interrupted = case.technique == "scr_zero" or nil }
  end }))
  for _, row in ipairs(e.rows) do
    equal(row.interrupted, row.technique == "scr_zero")
    equal(row.test_top1_pct, 90.0)
    equal(row.energy_est_j == nil, row.interrupted)
    equal(row.duration_s == nil, row.interrupted)
  end
end)

test("a folder in use is refused, within one process too", function()
  local o = small {}
  o.run = function()
    local e, message = experiment(small{ out = o.out, resume = true })
    check(e == nil and message:find(o.out .. ": in use by another run (process ", 1, true), message)
    return {}
  end
  equal(assert(experiment(o)).failed, 0)
end)

test("shards are whole blocks, and together the whole plan", function()
  local whole = assert(experiment(resumable { with = { repeats = 2 } }))
  local seen = {}
  for i = 1, 4 do
    local e = assert(experiment(resumable { with = { repeats = 2, shard = { i, 4 }, prepare = function() end } }))
    equal(#e.rows, i <= 2 and 4 or 2)
    local per_block = {}
    for _, row in ipairs(e.rows) do
      equal(row.shard, i)
      seen[row.run_order] = row
      per_block[row.block] = (per_block[row.block] or 0) + 1
    end
    for _, n in pairs(per_block) do equal(n, 2) end
    equal(ids_of(e.out .. "/energy.csv")[1], "prepare-shard" .. i)
  end
  for i, row in ipairs(whole.rows) do
    for _, name in ipairs { "run_id", "block", "test_top1_pct" } do equal(seen[i][name], row[name]) end
  end
end)

test("misuse is told before anything runs", function()
  local ran = false
  local function refuse(o, part)
    o = small(with({ run = function() ran = true end }, o))
    raises(function() experiment(o) end, part)
    check(not core.exists(o.out))
  end
  refuse({ seed = { 1 } }, "seeds")
  refuse({ name = "2nd" }, "begin with a letter")
  refuse({ seeds = { 1, 1 } }, "there twice")
  refuse({ seeds = { "a" } }, "integers, not a")
  refuse({ seeds = { 1, nil, 3 } }, "integers, and [2] is nil")
  refuse({ seeds = {} }, "integers, and there is none")
  refuse({ seeds = { n = 3 } }, "the key 'n'")
  refuse({ options = { f = print } }, "options.f is a function; the sidecar holds")
  refuse({ options = { a = { 1, 0 / 0 } } }, "options.a[2] is ")
  refuse({ factors = { duration_s = { 1.0 } } }, "cannot be called 'duration_s': the experiment fills that column")
  refuse({ factors = { status = { "ok" } } }, "cannot be called 'status'")
  refuse({ shard = { 1, 2 } }, "shard {1, 2}: 1 blocks (seeds x repeats) cannot be dealt to more than 1 shards")
  refuse({ shard = { 3, 2 }, seeds = { 1, 2 } }, "i must be 1..n")
  refuse({ shard = 1 }, "shard must be {i, n}")
  refuse({ prepare = 3 }, "prepare must be a function")
  refuse({ resume = 1 }, "resume must be a boolean")
  refuse({ repeats = 0 }, "repeats")
  refuse({ run = "x" }, "run must be a function")
  refuse({ factors = { technique = {} } }, "no values")
  refuse({ factors = { seed = { 1 } } }, "cannot be called 'seed'")
  refuse({ factors = { technique = { "baseline", 3 } } }, "column 'technique'")
  refuse({ factors = { own = { "a", 3 } } }, "mixes text and integer")
  refuse({ factors = { technique = { "nan" } } }, "begins with a letter")
  refuse({ constants = { modle = "x" } }, "did you mean 'model'")
  refuse({ columns = { { "loss", "number" } } }, "already")
  check(not ran)
end)

---- sums ----

-- A meter whose regions give these results, one after the other.
local function fake_meter(list)
  return { region = function() return { stop = function() return table.remove(list, 1) end } end }
end

test("a stretch without a reading makes the sum missing, and says how long it was", function()
  local whole = { method = "measured", energy_j = 5.0, exclusive_j = 5.0, missing_s = 0, duration_s = 1, exclusive_s = 1 }
  local part = { method = "measured", energy_j = 3.0, exclusive_j = 3.0, missing_s = 0.25, duration_s = 1,
                 exclusive_s = 1, reason = "the counter could not be read" }
  local l = ledger.new(fake_meter { whole, part, whole })
  for _ = 1, 3 do l:region("train"):stop() end
  local e = l:entry "train"
  equal({ e.energy_j, e.whole_j, e.method }, { nil, nil, "missing" })
  equal({ e.missing_s, e.reason, e.duration_s }, { 0.25, "the counter could not be read", 3.0 })
  l = ledger.new(fake_meter { whole, whole })
  for _ = 1, 2 do l:region("train"):stop() end
  equal(l:entry("train").energy_j, 10.0)
end)

---- other readers ----

-- What the reader's program prints, or nil where it is not installed.
local function output_of(command)
  local pipe = assert(io.popen(command .. " 2>/dev/null"))
  local text = pipe:read "a"
  return pipe:close() and text or nil
end

local function readable_out()
  local o = small {
    factors = { { technique = "baseline" }, { technique = "scr_zero", level = 8, level_unit = "bits" } },
    seeds = { 1, 2, 3 },
    constants = { model = "mlp", dataset = "fashion_mnist", init_sha256 = "sha256_00e1" }, raise = false,
    run = function(case)
      if case.seed == 3 then error "no such luck" end
      return { test_top1_pct = 91, val_top1_pct = 90.5, params = 100, target_reached = case.seed == 1 }
    end,
  }
  assert(experiment(o))
  return o.out .. "/runs.csv"
end

local expected = "block=integer run_order=integer seed=integer repeat=integer level=number test_top1_pct=number "
  .. "duration_s=number energy_est_j=number interrupted=boolean run_id=text technique=text level_unit=text "
  .. "host=text init_sha256=text wattle_version=text status=text "

test("pandas reads runs.csv with its defaults", function()
  local python
  for _, candidate in ipairs { "/usr/bin/python3", "python3" } do
    python = python or output_of(candidate .. " -c 'import pandas'") and candidate
  end
  if not python then return t.skip "pandas is not installed" end
  local script = scratch .. "/read.py"
  assert(core.write_file(script, [[
import sys, pandas
d = pandas.read_csv(sys.argv[1])
names = {"int64": "integer", "float64": "number", "bool": "boolean", "object": "text"}
print("".join("%s=%s " % (c, names[str(d[c].dtype)]) for c in sys.argv[2:]), end="")
]]))
  local names = expected:gsub("=%a+", "")
  equal(output_of(("%s %s %s %s"):format(python, script, readable_out(), names)), expected)
end)

test("R reads runs.csv with its defaults", function()
  if not output_of "Rscript -e 'cat(1)'" then return t.skip "R is not installed" end
  local script = scratch .. "/read.R"
  assert(core.write_file(script, [==[
a <- commandArgs(TRUE)
d <- read.csv(a[1])
names <- c(integer = "integer", numeric = "number", logical = "boolean", character = "text")
cat(sapply(a[-1], function(c) paste0(c, "=", names[class(d[[make.names(c)]])], " ")), sep = "")
]==]))
  local names = expected:gsub("=%a+", "")
  equal(output_of(("Rscript %s %s %s"):format(script, readable_out(), names)), expected)
end)

test("epochs that cannot be written fail their run alone", function()
  local wrong = { 3, { 1 }, { { epoch = "x" } } }
  local e = experiment.run(small{ seeds = { 1, 2, 3 }, factors = { technique = { "baseline" } }, raise = false,
                                  run = function(case) return { epoch_rows = wrong[case.seed] } end })
  equal(#e.rows, 3)
  equal(e.failed, 3)
end)

test("a preparation that the world refuses is told in one line, without a place", function()
  local e, message = experiment.run(small{ prepare = function() error("/x: No space left on device", 0) end })
  equal(e, nil)
  equal(message, "experiment: prepare: /x: No space left on device")
end)

os.execute("rm -rf " .. scratch .. " " .. scratch:sub(1, -3))
