-- Files of weights that no reader may take, each a named case: what is said names the file and the fault, comes at once, and
-- nothing is loaded. The cases are lists of {name, content, says, code}, one file a format; `says` is plain text or a pattern.
-- A case without `says` is a good file, and may `check` the dict.
-- `wattle tests/lua/test_malformed.lua --table` prints them all: case | what is said | code.

local wattle = require "wattle"
local t = require "harness"
local core = wattle.core
local test, check, equal = t.test, t.check, t.equal

local files = { "malformed_pth", "malformed_safetensors", "malformed_npy" }

local folder = os.tmpname() .. ".d"
assert(core.mkdir(folder))
local path = folder .. "/evil.file"
local tables, seen, refused = arg[1] == "--table", {}, {}

local function load(content)
  local file <close> = assert(io.open(path, "wb"))
  file:write(content)
  file:close()
  local began = os.clock()
  local dict, message, code = wattle.load(path)
  return dict, message, code, os.clock() - began
end

for _, name in ipairs(files) do
  refused[name] = 0
  for _, case in ipairs(require(name)) do
    check(not seen[case.name], "two cases are called " .. case.name)
    seen[case.name] = true
    if case.says then refused[name] = refused[name] + 1 end
    if tables then
      local dict, message, code = load(case.content)
      if not dict then print(("%s | %s | %s"):format(case.name, tostring(message):gsub(folder .. "/", ""), code)) end
    elseif not case.says then -- a good one, which shows that the others fail for their fault alone
      test(case.name, function()
        local dict = check(load(case.content))
        check(not case.check or case.check(dict), "it holds something else: " .. tostring(dict[dict[1]]))
      end)
    else
      test(case.name, function()
        local dict, message, code, seconds = load(case.content)
        equal(dict, nil)
        check(message:find(path, 1, true) == 1, "the file is not named: " .. message)
        check(message:find(case.says, 1, true) or message:find(case.says), "it says " .. message)
        equal(code, case.code or "format", message)
        check(#message - #path < 400 and not message:find "[\0-\31]", "no line to be read: " .. message)
        check(seconds < 5, seconds .. " s") -- a bomb would take hours; sanitizers and neighbours are slow
      end)
    end
  end
end
if not tables then
  test("each format has its cases", function()
    for name, n in pairs(refused) do check(n >= 30, name .. " has " .. n) end
  end)
end
os.execute("rm -rf '" .. folder .. "'")
