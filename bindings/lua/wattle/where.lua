-- Whose line is it? Errors raised from Wattle's own Lua files should name the line of the script that called
-- them, however many of our frames lie between. This file finds that line; it knows nothing else.

local where = {}

local own = debug.getinfo(1, "S").source:match("^(@.*)where%.lua$") or "@?"

local function is_own(info)
  return info.source:sub(1, #own) == own
end

-- "script.lua:12: " for the innermost running Lua line outside Wattle's own files; "" when there is none.
function where.user()
  local level = 2
  while true do
    local info = debug.getinfo(level, "Sl")
    if not info then return "" end
    if info.what ~= "C" and info.currentline > 0 and not is_own(info) then
      return ("%s:%d: "):format(info.short_src, info.currentline)
    end
    level = level + 1
  end
end

-- error() with the user's line in front: where.raise("nn.Linear: in_features must be ..., got %s", x).
function where.raise(format, ...)
  error(where.user() .. format:format(...), 0)
end

-- To be called in a message handler. Splits a message into the position it should have and the rest: the user's
-- own position is kept; one inside Wattle's files stays in the rest, behind the user's.
function where.split(message)
  local level = 2
  while true do
    local info = debug.getinfo(level, "Sl")
    if not info then break end
    if info.what ~= "C" and info.currentline > 0 then
      local position = ("%s:%d: "):format(info.short_src, info.currentline)
      if message:sub(1, #position) == position then
        if is_own(info) then break end
        return position, message:sub(#position + 1)
      end
    end
    level = level + 1
  end
  return where.user(), message
end

return where
