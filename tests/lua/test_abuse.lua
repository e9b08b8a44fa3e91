-- What nobody should do to files of weights and to the zoo's models, and some do: each is told, or does no harm.
local t = require "harness"
local wattle = require "wattle"
local core, nn, models = wattle.core, wattle.nn, wattle.models
local test, check, equal, raises = t.test, t.check, t.equal, t.raises

local folder = os.tmpname() .. ".d"
assert(core.mkdir(folder))
local keep <close> = setmetatable({}, { __close = function() os.execute("rm -rf '" .. folder .. "'") end })
local path = folder .. "/w.safetensors"
local x = wattle.arange(6):reshape(2, 3):to "f32"

-- ---- saving ------------------------------------------------------------------------------------------------------

test("a path with a NUL byte is not cut there", function()
  assert(wattle.save(path, { a = x }))
  local sum = core.sha256_file(path)
  raises(function() wattle.save(path .. "\0.npz", { b = x }) end, "NUL byte")
  raises(function() wattle.load(path .. "\0.npz") end, "NUL byte")
  raises(function() core.remove(path .. "\0") end, "NUL byte")
  raises(function() core.exists(path .. "\0") end, "NUL byte")
  equal(core.sha256_file(path), sum)
end)

test("nothing that is given to be saved is left out", function()
  raises(function() wattle.save(path, { [5] = x }) end, "save: the key 5 is not a name")
  raises(function() wattle.save(path, { [true] = x }) end, "save: the key true is not a name")
  raises(function() wattle.save(path, { a = x, [2] = "a" }) end, "save: the key 2 is not a name")
  raises(function() wattle.save(path, { a = x }, { "note" }) end, "save: the key 1 is not a name")
  check(wattle.save(path, { "a", a = x }))
  check(wattle.save(path, {}))
end)

-- ---- taking over a tensor ----------------------------------------------------------------------------------------

local function linear() return nn.Linear{ in_features = 3, out_features = 2 } end

test("two models that adopt one dict share no memory", function()
  local a, b, c, dict = linear(), linear(), linear(), linear():state_dict()
  local want = dict.weight:tobytes()
  a:load_state_dict(dict, { adopt = true })
  b:load_state_dict(dict, { adopt = true })
  a.weight:tensor():fill_(7)
  check(b.weight:tensor():tobytes() == want)
  c.weight:adopt(a.weight:tensor())
  a.weight:tensor():fill_(8)
  equal(c.weight:tensor():tolist(), { { 7.0, 7.0, 7.0 }, { 7.0, 7.0, 7.0 } })
end)

test("a window is copied, also when nothing else looks at its memory any more", function()
  local l = linear()
  local window = wattle.arange(1000):to "f32":clone():narrow(0, 1, 6):view{ 2, 3 }
  collectgarbage()
  collectgarbage()
  l.weight:adopt(window)
  window:fill_(0)
  equal(l.weight:tensor():tolist(), { { 1.0, 2.0, 3.0 }, { 4.0, 5.0, 6.0 } })
end)
