-- Statistics for experiments: summaries, Student's t, paired differences, equivalence and the
-- verdict drawn from them. Pure Lua on arrays of numbers; nothing here knows files or models.
local stats = {}

local MIN_SEEDS = 3 -- below this an interval says nothing: the range is given instead
stats.min_seeds = MIN_SEEDS
stats.margin = 0.05 -- two means closer than this share count as equal, if it is shown

---- summaries ----

-- stats.mean(x): of a list of numbers.
function stats.mean(x)
  local sum = 0.0
  for _, v in ipairs(x) do sum = sum + v end
  return #x > 0 and sum / #x or nil
end

-- Sample standard deviation (n - 1); nil below two values.
function stats.sd(x)
  if #x < 2 then return nil end
  local m, sum = stats.mean(x), 0.0
  for _, v in ipairs(x) do sum = sum + (v - m) ^ 2 end
  return math.sqrt(sum / (#x - 1))
end

-- stats.median(x): of a list of numbers; the mean of the middle two where their count is even.
function stats.median(x)
  if #x == 0 then return nil end
  local s = table.move(x, 1, #x, 1, {})
  table.sort(s)
  local h = #s // 2
  return #s % 2 == 1 and s[h + 1] or (s[h] + s[h + 1]) / 2
end

-- Smallest, largest.
function stats.range(x)
  if #x == 0 then return nil end
  return math.min(table.unpack(x)), math.max(table.unpack(x))
end

---- Student's t ----

local LANCZOS = {
  676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
  12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
}
-- stats.lgamma(x): the logarithm of the gamma function for x > 0 (Lanczos, g = 7, 9 terms).
local function lgamma(x)
  if x < 0.5 then return math.log(math.pi / math.sin(math.pi * x)) - lgamma(1 - x) end
  x = x - 1
  local a, t = 0.99999999999980993, x + 7.5
  for i, c in ipairs(LANCZOS) do a = a + c / (x + i) end
  return 0.5 * math.log(2 * math.pi) + (x + 0.5) * math.log(t) - t + math.log(a)
end
stats.lgamma = lgamma

-- Regularized incomplete beta function I_x(a, b): Lentz's evaluation of its continued fraction
-- (DLMF 8.17.22), on the side where that converges fast.
function stats.betainc(a, b, x)
  if x <= 0 then return 0.0 end
  if x >= 1 then return 1.0 end
  if x > (a + 1) / (a + b + 2) then return 1 - stats.betainc(b, a, 1 - x) end
  local tiny = 1e-300
  local f, c, d = 1.0, 1.0, 0.0
  for i = 0, 1000 do
    local m, term = i // 2, nil
    if i == 0 then
      term = 1.0
    elseif i % 2 == 0 then
      term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
    else
      term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
    end
    d = 1 + term * d
    d = 1 / (math.abs(d) < tiny and tiny or d)
    c = 1 + term / c
    c = math.abs(c) < tiny and tiny or c
    f = f * c * d
    if math.abs(1 - c * d) < 1e-15 then break end
  end
  local front = math.exp(a * math.log(x) + b * math.log(1 - x) + lgamma(a + b) - lgamma(a) - lgamma(b)) / a
  return front * (f - 1)
end

-- P(T <= t) with df degrees of freedom.
function stats.t_cdf(t, df)
  local tail = 0.5 * stats.betainc(df / 2, 0.5, df / (df + t * t))
  return t > 0 and 1 - tail or tail
end

-- The t that P(T <= t) = p, by bisection: 0 < p < 1.
function stats.t_quantile(p, df)
  if not (p > 0 and p < 1) then error("stats.t_quantile: p must lie between 0 and 1, not " .. tostring(p), 2) end
  if p == 0.5 then return 0.0 end
  if p < 0.5 then return -stats.t_quantile(1 - p, df) end
  local low, high = 0.0, 1.0
  while stats.t_cdf(high, df) < p do
    low, high = high, high * 2
  end
  for _ = 1, 200 do
    local middle = (low + high) / 2
    if middle == low or middle == high then break end
    if stats.t_cdf(middle, df) < p then low = middle else high = middle end
  end
  return (low + high) / 2
end

---- intervals ----

-- How a figure is quoted: {n, mean, sd, low, high, kind}. kind is "ci95" (or another level's name)
-- from three values on; below it is "range" and low, high are the smallest and the largest.
function stats.interval(x, level)
  level = level or 0.95
  local n = #x
  if n == 0 then return { n = 0, kind = "range" } end
  local mean, sd = stats.mean(x), stats.sd(x)
  if n < MIN_SEEDS then
    local low, high = stats.range(x)
    return { n = n, mean = mean, sd = sd, low = low, high = high, kind = "range" }
  end
  local half = stats.t_quantile(0.5 + level / 2, n - 1) * sd / math.sqrt(n)
  local kind = ("ci%g"):format(level * 100)
  return { n = n, mean = mean, sd = sd, low = mean - half, high = mean + half, kind = kind }
end

---- pairing by seed ----

-- Repeats of one seed are one measurement: {[seed] = mean over its rows of `column`}. Rows without
-- a number there are left out.
function stats.by_seed(rows, column)
  local values = {}
  for _, row in ipairs(rows) do
    local v = row[column]
    if type(v) == "number" and v == v and row.seed then -- NaN is NA once it is in a file
      values[row.seed] = values[row.seed] or {}
      table.insert(values[row.seed], v)
    end
  end
  local means = {}
  for seed, list in pairs(values) do means[seed] = stats.mean(list) end
  return means
end

-- The values of a by_seed table, in the order of the seeds.
function stats.values(by_seed)
  local seeds, out = {}, {}
  for seed in pairs(by_seed) do seeds[#seeds + 1] = seed end
  table.sort(seeds)
  for i, seed in ipairs(seeds) do out[i] = by_seed[seed] end
  return out, seeds
end

-- combine(a[seed], b[seed]) for the seeds that both have, in the order of the seeds;
-- the difference a - b unless given.
function stats.paired(a, b, combine)
  local both = {}
  for seed, v in pairs(a) do
    if b[seed] then both[seed] = combine and combine(v, b[seed]) or v - b[seed] end
  end
  return stats.values(both)
end

---- equivalence and the verdict ----

-- Two one-sided t tests of a mean difference against [low, high] (Schuirmann 1987). Returns
-- {equivalent, p}, p the larger of the two, or nil below three values.
function stats.tost(differences, low, high, alpha)
  alpha = alpha or 0.05
  local n = #differences
  if n < MIN_SEEDS then return nil end
  local mean, se = stats.mean(differences), stats.sd(differences) / math.sqrt(n)
  if se == 0 then
    local inside = mean > low and mean < high
    return { equivalent = inside, p = inside and 0.0 or 1.0 }
  end
  local p_low = 1 - stats.t_cdf((mean - low) / se, n - 1)
  local p_high = stats.t_cdf((mean - high) / se, n - 1)
  local p = math.max(p_low, p_high)
  return { equivalent = p < alpha, p = p }
end

-- What a technique does to a cost (time, energy): a and b are by_seed tables of positive numbers,
-- b the baseline's. The ratio a/b is judged on the logarithm of each seed's ratio, so that halving and doubling
-- weigh the same. Where one of a pair is not positive there is no ratio: {n = 0, kind, reason}. Else returns
-- {n, ratio, low, high, kind, verdict, p}:
--   equivalent    TOST says the ratio lies within 1 ± margin (checked first: a difference smaller
--                 than the margin is none, however surely it is there)
--   saves, costs  the 95 % interval of the ratio excludes 1
--   inconclusive  neither, or fewer than three seeds
function stats.verdict(a, b, margin)
  margin = margin or stats.margin
  local smaller, seeds = stats.paired(a, b, math.min)
  for i, v in ipairs(smaller) do
    if v <= 0 then
      return { n = 0, kind = "range", reason = ("no ratio: a value of seed %s is zero or negative"):format(seeds[i]) }
    end
  end
  local logs = stats.paired(a, b, function(x, y) return math.log(x / y) end)
  local i = stats.interval(logs)
  local out = { n = i.n, kind = i.kind, verdict = "inconclusive" }
  if i.n == 0 then return out end
  out.ratio, out.low, out.high = math.exp(i.mean), math.exp(i.low), math.exp(i.high)
  local test = stats.tost(logs, math.log(1 - margin), math.log(1 + margin))
  if not test then return out end
  out.p = test.p
  if test.equivalent then
    out.verdict = "equivalent"
  elseif i.high < 0 then
    out.verdict = "saves"
  elseif i.low > 0 then
    out.verdict = "costs"
  end
  return out
end

return stats
