-- wattle report and the pictures of an experiment: one page that is well formed and whole, the terminal's figures, what
-- is measured and what is estimated, hostile texts, and folders that are malformed or half written.

local wattle = require "wattle"
local t = require "harness"
local svg_text = require "svg_text"
local test, check, equal = t.test, t.check, t.equal
local core, pictures = wattle.core, wattle.pictures
local results = wattle.results

local program = os.getenv "WATTLE_PROGRAM" or arg[-1]
local scratch = os.tmpname() .. ".d"
assert(core.mkdir(scratch))

local function path(name) return scratch .. "/" .. name end

local function slurp(file)
  local f <close> = assert(io.open(file, "rb"))
  return f:read "a"
end

local function spill(file, text)
  local f = assert(io.open(file, "wb"))
  assert(f:write(text))
  f:close()
end

local function run(arguments)
  local pipe = assert(io.popen(("'%s' %s 2>&1"):format(program, arguments)))
  local said = pipe:read "a"
  local ok, _, code = pipe:close()
  return ok and 0 or code, said
end

-- Does the page hold a text, as a reader sees it?
local function page_of(html)
  local texts = svg_text.texts(html, true)
  local all = "|" .. table.concat(texts, "|") .. "|"
  return function(s) return all:find(s, 1, true) ~= nil end, all
end

---- an experiment with techniques, as mei2025 makes them ----

local hostile = [[a_b"c<script>alert(1)</script>'&amp;]]
local accuracy = { baseline = 90, scr_zero = 70, prune_global = 89 }

local function experiment(name, more)
  local o = {
    name = "study", out = path(name), seeds = { 1, 2, 3 }, progress = false, raise = false, meter = { source = "off" },
    factors = { { technique = "baseline" }, { technique = "scr_zero", level = 16, level_unit = "bits" },
                { technique = "prune_global", level = 0.5, level_unit = "fraction_removed" } },
    options = { epsilon = 1.0, note = hostile }, constants = { model = "mlp", dataset = "fashion_mnist" },
    run = function(case)
      local r <close> = case:region "train"
      core.sleep(0.002)
      r:stop()
      if case.technique == "scr_zero" and case.seed == 2 then error "no luck" end
      return { test_top1_pct = accuracy[case.technique] + case.seed / 10, params = 1000, loss = 0.5,
               epoch_rows = { { epoch = 1, val_top1_pct = 50.0 }, { epoch = 2, val_top1_pct = 60.0 + case.seed } } }
    end,
  }
  for k, v in pairs(more or {}) do o[k] = v end
  return assert(wattle.experiment(o))
end

local done
do -- its failed run says so on standard error, which is not this test's
  local stderr = io.stderr
  io.stderr = assert(io.open("/dev/null", "w"))
  done = experiment "study"
  io.stderr:close()
  io.stderr = stderr
end

local function capacity_rows()
  local rows = {}
  for bits = 0, 23 do
    rows[#rows + 1] = { experiment = "study", model = "mlp", init_sha256 = "sha256_a", arm = "zero", bits = bits, val_images = 100,
                        val_top1_pct = bits > 17 and 20.0 or 90.0, within_epsilon = bits <= 17, chosen = bits == 17,
                        test_top1_pct = (bits == 0 or bits == 17 or bits == 18) and 88.5 or nil, capacity_bytes = bits * 125 }
  end
  for i, layer in ipairs{ "fc1", "fc2" } do
    rows[#rows + 1] = { experiment = "study", model = "mlp", init_sha256 = "sha256_a", arm = "zero", bits = 10 + i, layer = layer,
                        val_images = 100, val_top1_pct = 90.0, within_epsilon = true, chosen = true, capacity_bytes = 3 }
  end
  return rows
end
assert(results.write(path "study/capacity.csv", results.capacity, capacity_rows()))

test("the page: well formed, self-contained, with the figures of compare", function()
  local code, said = run(("report %s/study/"):format(scratch))
  equal(code, 0, said)
  equal(said, path "study/report.html" .. "\n")
  local html = slurp(path "study/report.html")
  local holds = page_of(html)
  check(not html:find "<script" and not html:find "<link" and not html:find "src=", "no scripts, nothing from elsewhere")
  check(not html:find "url%(h" and not html:find "@import", "no network")
  local rows = wattle.compare.summary({ rows = done.rows, columns = done.columns, cases = done.cases },
    { by = { "technique", "level", "level_unit" }, baseline = { technique = "baseline" }, differences = { "test_top1_pct" },
      ratios = { "duration_train_s" } })
  for _, row in ipairs(rows) do
    check(holds(("%.2f"):format(row.test_top1_pct)), "accuracy")
    if row.technique == "prune_global" then
      check(holds(("%+.2f [%+.2f, %+.2f]"):format(row.test_top1_pct_diff, row.test_top1_pct_diff_low, row.test_top1_pct_diff_high)))
      check(holds(("%.3f [%.3f, %.3f]"):format(row.duration_train_s_ratio, row.duration_train_s_ratio_low,
                                               row.duration_train_s_ratio_high)))
    end
  end
  for _, s in ipairs{ "study", "prune_global 50 %", "scr_zero 16 bits", "9 of 9 runs", "inconclusive", "multiplicity",
                      "No counter was read", "17 low-order bits", "wattle report", core.hostname() } do
    check(holds(s), s .. " is not on the page")
  end
  check(holds "scr_zero-level16-bits-s2-r1" and holds "failed", "the run that failed is listed")
  check(holds(hostile), "what was asked, escaped")
  local ids = {}
  for id in html:gmatch "%sid=['\"]([^'\"]*)" do
    check(not ids[id], "the id " .. id .. " is there twice")
    ids[id] = true
  end
  for id in html:gmatch "href=['\"]#([^'\"]*)" do check(ids[id], "no id " .. id) end
end)

test("pictures: what there are data for, with script and data", function()
  local list = assert(pictures.draw(path "study"))
  local names = {}
  for i, p in ipairs(list) do
    names[i] = p.name
    check(core.exists(p.file) and core.exists((p.file:gsub("svg$", "gp"))) and core.exists((p.file:gsub("svg$", "csv"))))
    check(#p.caption > 0 and #p.title > 0)
    svg_text.texts(slurp(p.file))
  end
  equal(names, { "capacity", "capacity_layers", "accuracy_time", "accuracy_time_near", "training" })
  local all = table.concat(svg_text.texts(slurp(list[1].file)), "|")
  check(all:find("chosen: 17 bits", 1, true) and all:find("90.00 % less 1 point", 1, true), all)
  local data = slurp(path "study/pictures/accuracy_time_near.csv")
  check(not data:find "scr_zero" and data:find "prune_global", "what collapsed is not in the closer look")
  check(list[4].caption:find("scr_zero 16 bits", 1, true), list[4].caption)
  check(slurp(path "study/pictures/training.csv"):find("\n2,62,NA,NA,59.5", 1, true), "means over seeds, with intervals")
end)

---- energy ----

-- The study's rows again with other figures, as a folder of its own.
local function rewritten(name, change)
  check(os.execute(("cp -r '%s/study' '%s' && rm -rf '%s/pictures'"):format(scratch, path(name), path(name))))
  local rows = assert(results.read(path "study/runs.csv", done.columns))
  for _, row in ipairs(rows) do
    row.other_cpu_s = nil -- what else this machine did is no part of the test
    change(row)
  end
  assert(results.write(path(name) .. "/runs.csv", done.columns, rows))
end

test("an estimate is on no energy axis; a measurement is, and verdicts are about it", function()
  rewritten("estimated", function(row) row.energy_est_j, row.energy_method = 10.0 * row.seed, "estimated" end)
  for _, p in ipairs(assert(pictures.draw(path "estimated"))) do check(not p.name:find "energy", p.name) end
  local holds = page_of(assert(wattle.report.html(path "estimated")))
  check(holds "estimate, J" and holds "decides nothing")
  rewritten("measured", function(row)
    if row.status == "ok" then row.energy_train_j = (row.technique == "baseline" and 10.0 or 5.0) + row.seed / 100 end
  end)
  local names = {}
  for _, p in ipairs(assert(pictures.draw(path "measured"))) do names[p.name] = p end
  check(names.accuracy_energy and names.accuracy_energy_near and names.accuracy_time)
  check(table.concat(svg_text.texts(slurp(names.accuracy_energy.file)), "|"):find("J (measured)", 1, true))
  holds = page_of(assert(wattle.report.html(path "measured", { pictures = false })))
  check(holds "saves" and holds "train, J" and holds "Energy is measured by counters")
  check(holds "Verdicts on the energy of training, of 2 comparisons with the baseline: saves 1, inconclusive 1.")
end)

test("power over time, with its phases", function()
  rewritten("traced", function() end)
  local rows = {}
  for i = 0, 20 do
    for _, domain in ipairs{ "package", "dram" } do
      rows[#rows + 1] = { run_id = "baseline-s1-r1", t_s = i / 10, domain = domain, power_w = i ~= 7 and 20.0 + i or nil,
                          region = i < 5 and "compress" or i < 15 and "train" or "eval" }
    end
  end
  assert(results.write(path "traced/trace.csv", results.trace, rows))
  local list = assert(pictures.draw(path "traced"))
  equal(list[#list].name, "power")
  local all = table.concat(svg_text.texts(slurp(list[#list].file)), "|")
  for _, s in ipairs{ "compress", "train", "eval", "package", "dram", "power, W (measured)", "Power of baseline-s1-r1" } do
    check(all:find(s, 1, true), s .. " is not in " .. all)
  end
  check(pictures.power(path "traced", "baseline-s1-r1", path "one.svg").file == path "one.svg")
  local none, message = pictures.power(path "traced", "nobody", path "two.svg")
  check(none == nil and message:find "nobody", message)
end)

---- any experiment ----

test("an experiment with a factor of its own, and one without", function()
  assert(wattle.experiment{ name = "width", out = path "width", seeds = { 1, 2 }, progress = false, factors = { width = { 4, 8 } },
    run = function(case) return { val_top1_pct = 70.0 + case.width + case.seed } end })
  local names = {}
  for _, p in ipairs(assert(pictures.draw(path "width"))) do names[p.name] = true end
  check(names.accuracy_factor and names.accuracy_time)
  local holds = page_of(assert(wattle.report.html(path "width", { pictures = false })))
  check(holds "width 8" and holds "No group was named as the baseline" and not holds "What the verdicts mean")
  check(holds "79.50 [79.00, 80.00]", "two seeds: a range")
  local code, said = run(("report %s/width --no-pictures --baseline width=4 --out %s/w.html"):format(scratch, scratch))
  equal(code, 0, said)
  holds = page_of(slurp(path "w.html"))
  check(holds "+4.00 [+4.00, +4.00]" and holds "inconclusive")
  assert(wattle.experiment{ name = "alone", out = path "alone", progress = false, factors = {}, run = function() return {} end })
  holds = page_of(assert(wattle.report.html(path "alone")))
  check(holds "1 of 1 runs" and holds "alone")
end)

test("an experiment that was stopped says so; one without a finished run has a page too", function()
  check(os.execute(("cp -r '%s/study' '%s/stopped'"):format(scratch, scratch)))
  local lines = {}
  for line in io.lines(path "study/runs.csv") do lines[#lines + 1] = line end
  spill(path "stopped/runs.csv", table.concat(lines, "\n", 1, 4) .. "\n")
  local holds = page_of(assert(wattle.report.html(path "stopped", { pictures = false })))
  check(holds "6 of 9 runs are not there")
  spill(path "stopped/runs.csv", lines[1] .. "\n")
  holds = page_of(assert(wattle.report.html(path "stopped")))
  check(holds "No run has ended yet.")
end)

---- what is wrong ----

test("folders that are none, malformed or half written: file and line", function()
  local function wrong(name, message, code)
    local exit, said = run(("report '%s'"):format(path(name)))
    equal(exit, code or 1, said)
    check(said:find("^report: ") and said:find(message, 1, true), said)
    check(not core.exists(path(name) .. "/report.html"), "no page is made of it")
  end
  wrong("nowhere", "there is no folder")
  assert(core.mkdir(path "empty"))
  wrong("empty", "holds no runs.json")
  local function broken(file, change, message)
    local name = "broken"
    os.execute(("rm -rf '%s'; cp -r '%s/study' '%s' && rm -f '%s/report.html'"):format(path(name), scratch, path(name), path(name)))
    local whole = slurp(path "study/" .. file)
    spill(path "broken/" .. file, change(whole))
    wrong(name, message)
  end
  broken("runs.json", function(s) return s:sub(1, #s // 2) end, "broken/runs.json: ")
  broken("runs.json", function() return "[]" end, "broken/runs.json: ")
  broken("runs.json", function() return "3" end, "broken/runs.json: ")
  broken("runs.json", function(s) return (s:gsub('"cases"', '"kases"')) end, "broken/runs.json: 'cases' is missing")
  broken("runs.json", function(s) return (s:gsub('"schema_version": 1', '"schema_version": 9')) end, "it is of schema 9")
  broken("runs.csv", function(s) return s:sub(1, -2) end, "broken/runs.csv:10: the last row is not whole")
  broken("runs.csv", function(s) return s:sub(1, -30) end, "broken/runs.csv:10")
  broken("runs.csv", function(s) return (s:gsub("\nbaseline[^\n]*\n", "\nbaseline,2\n", 1)) end, "broken/runs.csv:")
  broken("runs.csv", function(s) return (s:gsub(",90%.1,", ",ninety,")) end, "column 'test_top1_pct' holds 'ninety'")
  broken("runs.csv", function(s) return (s:gsub("test_top1_pct", "what", 1)) end, "runs.csv:1: runs.json does not know the column 'what'")
  broken("runs.csv", function() return "" end, "broken/runs.csv")
  broken("epochs.csv", function(s) return s .. "a,b\n" end, "broken/epochs.csv:")
  broken("capacity.csv", function(s) return (s:gsub("TRUE", "yes", 1)) end, "broken/capacity.csv:2: column 'within_epsilon' holds 'yes'")
  os.remove(path "broken/energy.csv")
  spill(path "broken/capacity.csv", slurp(path "study/capacity.csv"))
  wrong("broken", "energy.csv")
end)

test("the command's own mistakes", function()
  local function wrong(arguments, message, code)
    local exit, said = run("report " .. arguments)
    equal(exit, code or 2, said)
    check(said:find(message, 1, true), said)
  end
  wrong("", "one folder is needed")
  wrong(("%s a"):format(path "study"), "one folder is needed")
  wrong(("%s --ut x"):format(path "study"), "did you mean '--out'?")
  wrong(("%s --baseline width"):format(path "study"), "is not column=value")
  wrong(("%s --baseline technique=none"):format(path "study"), "has technique none")
  wrong(("%s --no-pictures --out /dev/null/x.html"):format(path "study"), "/dev/null", 1)
  local exit, said = run "report --help"
  equal(exit, 0)
  check(said:find "--no%-pictures")
end)

test("without gnuplot there is a page, which says why it has no pictures; the command fails", function()
  assert(core.mkdir(path "nothing"))
  local pipe = assert(io.popen(("PATH='%s' '%s' report '%s' --out '%s' 2>&1"):format(path "nothing", program, path "study",
                                                                                  path "plain.html")))
  local said = pipe:read "a"
  local ok, _, code = pipe:close()
  check(not ok and code == 1 and said:find "gnuplot%-nox", said)
  local holds = page_of(slurp(path "plain.html"))
  check(holds "No pictures: plot: gnuplot is not installed")
  equal(run(("report %s --no-pictures --out %s"):format(path "study", path "plain.html")), 0)
end)

os.execute(("rm -rf '%s'"):format(scratch))
