-- A tiny test library. A test file is run as `wattle tests/lua/test_x.lua`; it prints one line per failure and, when the
-- state closes, `N passed, N failed`; the exit code is not 0 if anything failed.
--
--   local t = require "harness"
--   t.test("name", function() t.equal(1 + 1, 2) end)

local harness = {}
local passed, failed, skipped = 0, 0, 0

-- Run fn as one test. Errors in it are this test's failure, told with their position.
function harness.test(name, fn)
  local ok, message = xpcall(fn, function(e)
    return type(e) == "string" and e or debug.traceback(tostring(e), 2)
  end)
  if ok then
    passed = passed + 1
  elseif message == "harness: skip" then
    skipped = skipped + 1
  else
    failed = failed + 1
    print(("FAILED %s: %s"):format(name, message))
  end
end

-- Leave the running test; it counts neither way, visibly.
function harness.skip(reason)
  print("SKIPPED: " .. reason)
  error("harness: skip", 0)
end

-- The path of tests/private.sh, which runs a command where what it mounts is its own; nil where that is not allowed.
function harness.private_mounts()
  local pipe = assert(io.popen(("cd '%s..' && pwd"):format(debug.getinfo(1, "S").source:match "^@(.-)[^/]*$")))
  local path = pipe:read "l" .. "/private.sh"
  pipe:close()
  return os.execute(("'%s' true 2>/dev/null"):format(path)) and path or nil
end

local function show(v)
  if type(v) == "string" then return ("%q"):format(v) end
  if type(v) ~= "table" then return tostring(v) end
  local parts = {}
  for i, x in ipairs(v) do parts[i] = show(x) end
  local keys = {}
  for k in pairs(v) do
    if type(k) == "string" then keys[#keys + 1] = k end
  end
  table.sort(keys)
  for _, k in ipairs(keys) do parts[#parts + 1] = k .. " = " .. show(v[k]) end
  return "{" .. table.concat(parts, ", ") .. "}"
end

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b or (a ~= a and b ~= b) end
  for k, v in pairs(a) do
    if not same(v, b[k]) then return false end
  end
  for k in pairs(b) do
    if a[k] == nil then return false end
  end
  return true
end

-- The condition holds. Returns it.
function harness.check(condition, message)
  if not condition then error(message or "check failed", 2) end
  return condition
end

-- Same value; tables are compared by what is in them, NaN equals NaN.
function harness.equal(got, want, message)
  if not same(got, want) then
    error(("%sgot %s, want %s"):format(message and message .. ": " or "", show(got), show(want)), 2)
  end
end

-- Numbers, or nested tables of numbers, within an absolute tolerance (1e-6).
function harness.near(got, want, tolerance, message)
  local function close(a, b)
    if type(a) == "table" and type(b) == "table" and #a == #b then
      for i = 1, #a do
        if not close(a[i], b[i]) then return false end
      end
      return true
    end
    return type(a) == "number" and type(b) == "number" and math.abs(a - b) <= (tolerance or 1e-6)
  end
  if not close(got, want) then
    error(("%sgot %s, want %s within %g"):format(message and message .. ": " or "", show(got), show(want),
                                                 tolerance or 1e-6), 2)
  end
end

-- fn raises an error whose message contains the text, or matches it as a Lua pattern. Returns the message.
function harness.raises(fn, pattern)
  local ok, e = pcall(fn)
  if ok then error("no error was raised; want one like " .. pattern, 2) end
  if not tostring(e):find(pattern, 1, true) and not tostring(e):find(pattern) then
    error(("raised %q; want one like %q"):format(tostring(e), pattern), 2)
  end
  return e
end

-- The closing line, when the state closes. A failure ends the process here, since the host does not know of it.
setmetatable(harness, { __gc = function()
  print(("%d passed, %d failed%s"):format(passed, failed, skipped > 0 and (", %d skipped"):format(skipped) or ""))
  io.stdout:flush()
  if failed > 0 then os.exit(1) end
end })

return harness
