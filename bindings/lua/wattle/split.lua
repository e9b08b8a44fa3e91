-- wattle.ops.split, over ops.slice. May use wattle.core and wattle.where.

local wattle = require "wattle"
local where = require "wattle.where"
local ops = wattle.ops

local function check_size(n)
  if math.type(n) ~= "integer" or n < 0 then
    where.raise("ops.split: sizes must be integers of at least 0, got %s", tostring(n))
  end
  return n
end

-- ops.split(x, size, dim = 0) -> parts... of `size` positions each along dim, the last one of what is left
-- (torch.split). ops.split(x, {sizes}, dim): parts of these sizes, which must add up. x is a tensor or a symbolic value.
return function(x, sizes, dim)
  dim = dim or 0
  local total, parts, at = x:size(dim), {}, 0
  if type(sizes) ~= "table" then
    local size = check_size(sizes)
    if size == 0 then where.raise("ops.split: a size of 0 would never end") end
    sizes = {}
    for start = 0, math.max(total - 1, 0), size do sizes[#sizes + 1] = math.min(size, total - start) end
  end
  for i, size in ipairs(sizes) do
    local stop = at + check_size(size)
    if stop <= total then parts[i] = ops.slice(x, { dim = dim, start = at, stop = stop }) end
    at = stop
  end
  if at ~= total then
    where.raise("ops.split: sizes {%s} add up to %d, dim %d has %d", table.concat(sizes, ", "), at, dim, total)
  end
  return table.unpack(parts)
end
