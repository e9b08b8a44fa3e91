-- The numbers of the golden fixtures: parameters, inputs, labels and projection vectors are computed, here
-- and in make_networks.py alike, so that the fixtures hold results only. Every operation is exact or correctly
-- rounded (integers modulo 2^64, +, /, sqrt), so both sides get the same bits.
--   unit(name, i) = 2 * (splitmix64(fnv1a64(name) + (i + 1) * 0x9E3779B97F4A7C15) >> 11) / 2^53 - 1, in [-1, 1)
-- with i the logical (row-major) index from 0.
local formula = {}

local function fnv1a64(name)
  local h = 0xCBF29CE484222325
  for k = 1, #name do h = (h ~ name:byte(k)) * 0x100000001B3 end
  return h
end

-- An array of unit(name, 0..n-1), each times scale, plus shift.
function formula.units(name, n, scale, shift)
  scale, shift = scale or 1, shift or 0
  local z0, out = fnv1a64(name), {}
  for i = 1, n do
    local z = z0 + i * 0x9E3779B97F4A7C15
    z = (z ~ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ~ (z >> 27)) * 0x94D049BB133111EB
    z = z ~ (z >> 31)
    out[i] = (2 * ((z >> 11) * 0x1p-53) - 1) * scale + shift
  end
  return out
end

local function numel(shape)
  local n = 1
  for _, size in ipairs(shape) do n = n * size end
  return n
end

-- A parameter or buffer by its name: matrices and filters unit/sqrt(fan_in); norm weights 1 + unit/2; biases and
-- running means unit/4; running variances 0.15 + unit/20, about what such filters give.
function formula.parameter(name, shape)
  local n = numel(shape)
  if #shape > 1 then return formula.units(name, n, 1 / math.sqrt(n // shape[1])) end
  if name:match("%.running_var$") then return formula.units(name, n, 0.05, 0.15) end
  if name:match("%.weight$") then return formula.units(name, n, 0.5, 1) end
  return formula.units(name, n, 0.25)
end

-- The batch of training step k (from 1), and its labels (0-based).
function formula.input(k, shape) return formula.units("input" .. k, numel(shape)) end

function formula.labels(k, n, classes)
  local y = {}
  for i = 1, n do y[i] = (i - 1 + k) % classes end
  return y
end

-- What a fixture keeps of a tensor (flat array `v`): its norm and its products with two random vectors, which
-- a permuted or transposed tensor does not share.
function formula.summary(name, v)
  local r1, r2 = formula.units("projection1:" .. name, #v), formula.units("projection2:" .. name, #v)
  local square, p1, p2 = 0.0, 0.0, 0.0
  for i = 1, #v do
    square, p1, p2 = square + v[i] * v[i], p1 + v[i] * r1[i], p2 + v[i] * r2[i]
  end
  return { norm = math.sqrt(square), projection1 = p1, projection2 = p2 }
end

-- How far summaries lie apart: an estimate of |a - b|. A unit has variance 1/3, so 3 E[(r.d)^2] = |d|^2.
function formula.distance(a, b)
  local d1, d2 = a.projection1 - b.projection1, a.projection2 - b.projection2
  return math.max(math.abs(a.norm - b.norm), math.sqrt(1.5 * (d1 * d1 + d2 * d2)))
end

return formula
