-- Files of torch.save, both forms, against what tests/golden/make_weights.py says is in them: names in order, types, shapes,
-- every bit, and what a checkpoint says beside its weights. Malformed ones: test_malformed.lua.

local wattle = require "wattle"
local t = require "harness"
local core = wattle.core
local test, check, equal = t.test, t.check, t.equal

local golden = "tests/golden/weights/"
local folder = os.tmpname() .. ".d"
assert(core.mkdir(folder))

local function slurp(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

-- All of what was loaded as one string.
local function bytes(dict, meta)
  local path = folder .. "/all.safetensors"
  assert(wattle.save(path, dict, next(meta) and meta or nil))
  return slurp(path)
end

local names = {}
do
  local pipe <close> = io.popen("ls " .. golden .. "*.safetensors")
  for line in pipe:lines() do names[#names + 1] = line:match "([^/]*)%.safetensors$" end
end

local loaded = 0
for _, name in ipairs(names) do
  for _, form in ipairs { ".pth", ".legacy.pth" } do
    local path = golden .. name .. form
    local file = io.open(path, "rb")
    if file then
      file:close()
      loaded = loaded + 1
      test(name .. form, function()
        local want, want_meta = assert(wattle.load(golden .. name .. ".safetensors"))
        local dict, meta = assert(wattle.load(path))
        equal(meta, want_meta)
        equal(#dict, #want)
        for i = 1, #want do
          equal({ dict[i], dict[dict[i]].dtype, dict[dict[i]].shape }, { want[i], want[want[i]].dtype, want[want[i]].shape })
        end
        check(bytes(dict, meta) == bytes(want, want_meta), "other bits")
      end)
    end
  end
end

test("all golden files were met", function() check(loaded >= 25, loaded .. " files") end)

test("the name does not matter", function()
  for _, name in ipairs { "as.safetensors", "as.npz", "as" } do
    local path = folder .. "/" .. name
    local file <close> = assert(io.open(path, "wb"))
    file:write(slurp(golden .. "views.pth"))
    file:close()
    equal(#assert(wattle.load(path)), 19)
  end
end)

test("tensors of one storage are apart", function()
  for _, form in ipairs { ".pth", ".legacy.pth" } do
    local dict = assert(wattle.load(golden .. "views" .. form))
    local row, tied = tostring(dict.row), tostring(dict.tied)
    dict.whole:set(1, 0, 77)
    equal({ tostring(dict.row), tostring(dict.tied) }, { row, tied })
    check(tostring(dict.whole) ~= tostring(assert(wattle.load(golden .. "views" .. form)).whole))
  end
end)

os.execute("rm -rf '" .. folder .. "'")
