-- wattle.stats and wattle.compare against figures that R 4.2 computed (qt, pt, pbeta, t.test), and the rules of
-- verdicts: repeats averaged first, paired by seed, three seeds for an interval, equivalence only when shown.

local stats = require "wattle.stats"
local compare = require "wattle.compare"
local results = require "wattle.results"
local t = require "harness"
local test, check, equal, near, raises = t.test, t.check, t.equal, t.near, t.raises

test("summaries", function()
  local x = { 91.2, 90.8, 91.7, 91.1 }
  near(stats.mean(x), 91.2, 1e-12)
  near(stats.sd(x), 0.374165738677397, 1e-12)
  near(stats.median(x), 91.15, 1e-12)
  equal(stats.median { 3, 1, 2 }, 2)
  local low, high = stats.range(x)
  equal(low, 90.8)
  equal(high, 91.7)
  equal(stats.sd { 1 }, nil)
  equal(stats.mean {}, nil)
end)

test("Student's t and the incomplete beta function", function()
  for _, c in ipairs {
    { 0.975, 2, 4.302652729749462 }, { 0.95, 4, 2.131846786326649 }, { 0.6, 7, 0.263166861352023 },
    { 0.9995, 3, 12.923978636687961 }, { 0.975, 1000, 1.962339080826408 }, { 0.5, 3, 0 },
  } do
    near(stats.t_quantile(c[1], c[2]), c[3], 1e-9)
    near(stats.t_quantile(1 - c[1], c[2]), -c[3], 1e-9)
    near(stats.t_cdf(c[3], c[2]), c[1], 1e-10)
  end
  near(stats.t_cdf(1.5, 4), 0.896, 1e-12)
  near(stats.t_cdf(-0.3, 10), 0.385160303782899, 1e-12)
  near(stats.t_cdf(12, 2), 0.996563533161421, 1e-12)
  near(stats.betainc(2.5, 0.5, 0.3), 0.0189271240719456, 1e-12)
  equal(stats.betainc(2, 3, 0), 0.0)
  equal(stats.betainc(2, 3, 1), 1.0)
  near(stats.lgamma(0.3), 1.09579799481808, 1e-12)
  near(stats.lgamma(12.7), 19.23304317957009, 1e-11)
  raises(function() stats.t_quantile(1, 3) end, "between 0 and 1")
end)

test("an interval needs three values, fewer give a range", function()
  local i = stats.interval { 91.2, 90.8, 91.7, 91.1 }
  equal(i.kind, "ci95")
  near(i.low, 90.6046188136912, 1e-9)
  near(i.high, 91.7953811863088, 1e-9)
  i = stats.interval { 91.2, 90.8 }
  equal(i.kind, "range")
  equal(i.low, 90.8)
  equal(i.high, 91.2)
  equal(stats.interval({}).n, 0)
end)

test("repeats of a seed are averaged, then seeds are paired", function()
  local rows = { { seed = 2, v = 4.0 }, { seed = 1, v = 1.0 }, { seed = 1, v = 3.0 }, { seed = 3 },
                 { seed = 2, v = 6.0 } }
  local by = stats.by_seed(rows, "v")
  equal(by[1], 2.0)
  equal(by[2], 5.0)
  equal(by[3], nil)
  local values, seeds = stats.values(by)
  equal(table.concat(values, " "), "2.0 5.0")
  equal(table.concat(seeds, " "), "1 2")
  equal(table.concat(stats.paired(by, { [2] = 1.0, [1] = 1.5, [9] = 0 }), " "), "0.5 4.0")
end)

test("two one-sided tests", function()
  local d = { 0.01, -0.02, 0.015, 0.005 }
  local wide, narrow = stats.tost(d, -0.05, 0.05), stats.tost(d, -0.01, 0.01)
  check(wide.equivalent)
  near(wide.p, 0.00440288284063158, 1e-10)
  check(not narrow.equivalent)
  near(narrow.p, 0.202885784653959, 1e-10)
  equal(stats.tost({ 0, 0 }, -1, 1), nil)
  check(stats.tost({ 0.01, 0.01, 0.01 }, -0.05, 0.05).equivalent)
  check(not stats.tost({ 0.05, 0.05, 0.05 }, -0.05, 0.05).equivalent)
end)

test("verdicts", function()
  local base = { 4.0, 4.1, 4.0 }
  local v = stats.verdict({ 1.9, 2.1, 2.05 }, base)
  equal(v.verdict, "saves")
  near(v.ratio, 0.499582985628053, 1e-9)
  near(v.low, 0.448190159560969, 1e-9)
  near(v.high, 0.556868896393267, 1e-9)
  equal(stats.verdict({ 8.0, 8.3, 8.1 }, base).verdict, "costs")
  equal(stats.verdict({ 4.01, 4.08, 4.02 }, base).verdict, "equivalent")
  -- Surely smaller, but by less than the margin: none to speak of.
  equal(stats.verdict({ 3.92, 4.018, 3.92 }, base).verdict, "equivalent")
  equal(stats.verdict({ 3.92, 4.018, 3.92 }, base, 0.01).verdict, "saves")
  equal(stats.verdict({ 2.0, 4.0, 6.0 }, base).verdict, "inconclusive")
  equal(stats.verdict({ 1.0, 1.0 }, { 2.0, 2.0 }).verdict, "inconclusive")
  equal(stats.verdict({ 1.0, 1.0 }, { 2.0, 2.0 }).kind, "range")
  equal(stats.verdict({}, base).n, 0)
  local none = stats.verdict({ 0, 1, 1 }, base) -- found at the end of a long experiment: no reason to raise
  equal({ none.n, none.ratio, none.verdict }, { 0, nil, nil })
  check(none.reason:find "seed 1 is zero or negative")
end)

local function row(technique, level, seed, rep, top1, seconds, status)
  return { technique = technique, level = level, seed = seed, ["repeat"] = rep, status = status or "ok",
           test_top1_pct = top1, duration_train_s = seconds, duration_s = seconds, params = 100, interrupted = false }
end

test("a summary groups, pairs and leaves failed runs out", function()
  local rows = {}
  for seed = 1, 3 do
    for rep = 1, 2 do
      rows[#rows + 1] = row("lowrank", 0.9, seed, rep, 89.0 + seed, 2.0 + seed / 100)
      rows[#rows + 1] = row("baseline", nil, seed, rep, 90.0 + seed, 4.0 + seed / 100)
      local status = seed == 1 and "failed" or "ok"
      rows[#rows + 1] = row("scr_zero", 8.0, seed, rep, seed > 1 and 90.0 or nil, 4.0, status)
    end
  end
  rows[1].interrupted, rows[1].duration_train_s, rows[1].duration_s = true, 500.0, 500.0
  local e = { rows = rows, columns = results.runs,
              cases = { { technique = "baseline" }, { technique = "scr_zero", level = 8 },
                        { technique = "lowrank", level = 0.9 } } }
  local o = { by = { "technique", "level" }, baseline = { technique = "baseline" },
              differences = { "test_top1_pct" }, ratios = { "duration_train_s", "energy_train_j" },
              means = { "params", "duration_s" } }
  local out, columns, details = compare.summary(e, o)
  equal(#out, 3)
  equal(out[1].technique, "baseline")
  equal(out[1].test_top1_pct_diff, nil)
  equal(out[2].runs, 6)
  equal(out[2].runs_ok, 4)
  equal(out[2].seeds, 2)
  equal(out[2].spread, "range")
  local low = out[3]
  near(low.test_top1_pct_diff, -1, 1e-12)
  equal(low.spread, "ci95")
  equal(low.seeds, 3)
  check(low.duration_train_s < 2.1 and low.duration_s < 2.1, "an interrupted run's time must not count")
  equal(low.duration_train_s_verdict, "saves")
  equal(low.energy_train_j_verdict, nil) -- no joules, no verdict
  check(low.duration_train_s_ratio_low < low.duration_train_s_ratio)
  equal(details[3].test_top1_pct.value.n, 3)
  for _, r in ipairs(out) do check(results.line(columns, r)) end
  raises(function() compare.summary(e, { by = { "techniqe" } }) end, "did you mean 'technique'")
  raises(function() compare.summary(e, { by = { "technique" }, ratio = {} }) end, "ratios")
  raises(function() compare.summary(e, { by = { "technique" }, baseline = { techniqe = "x" } }) end, "techniqe")
  raises(function() compare.summary(e, { by = { "technique" }, baseline = {} }) end, "more than one")
  -- Two of three seeds have a time: the bounds of the accuracy are an interval, and the ratio gives none.
  for _, r in ipairs(rows) do
    if r.seed == 1 and r.technique == "lowrank" then r.interrupted = true end
  end
  low = compare.summary(e, o)[3]
  equal(low.spread, "ci95")
  check(low.test_top1_pct_low and low.test_top1_pct_diff_low and low.duration_train_s_ratio)
  equal(low.duration_train_s_ratio_low, nil)
end)

test("no verdict on runs that shared the machine", function()
  local rows = {}
  for _, technique in ipairs { "baseline", "half" } do
    for seed = 1, 4 do
      rows[#rows + 1] = { technique = technique, seed = seed, status = "ok", other_cpu_s = 0.01, duration_s = 10.0,
                          duration_train_s = (technique == "half" and 1.0 or 2.0) + 0.01 * seed }
    end
  end
  local function verdict()
    local _, _, details = compare.summary({ rows = rows, columns = results.runs }, { by = { "technique" },
      baseline = { technique = "baseline" }, ratios = { "duration_train_s" }, processors = 2 })
    return details[2].duration_train_s.verdict
  end
  equal(verdict().verdict, "saves")
  near(compare.others_share(rows, 2), 0.01 / 20, 1e-12)
  for _, row in ipairs(rows) do row.other_cpu_s = 2.5 end
  equal(verdict().verdict, "inconclusive")
  near(verdict().busy, 0.125, 1e-12)
  for _, row in ipairs(rows) do row.other_cpu_s = nil end -- not known is not much
  equal(verdict().verdict, "saves")
end)
