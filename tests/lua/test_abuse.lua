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

local program = os.getenv "WATTLE_PROGRAM" or arg[-1]

-- What another process prints that runs this code, behind a shell's command.
local function elsewhere(command, code)
  local pipe = assert(io.popen(("%s '%s' -e '%s' 2>&1"):format(command, program, code)))
  local said = pipe:read "a"
  pipe:close()
  return said
end

test("a limit on a file's size is told as a full disk is", function()
  assert(wattle.save(path, { a = x }))
  local sum = core.sha256_file(path)
  local code = 'local w = require "wattle"; print(w.save("%s", { a = w.zeros{ 1000, 1000 } }))'
  local says = elsewhere("ulimit -f 100;", code:format(path))
  check(says:find("nil\t" .. path .. ": cannot be written: File too large\tio", 1, true), says)
  equal(core.sha256_file(path), sum)
  equal(core.listdir(folder), { "w.safetensors" })
end)

test("a file of 4 EiB, by what it says of itself", function()
  local huge = os.tmpname():gsub("^.*/", "/dev/shm/")
  local file = io.open(huge, "wb")
  if not file then t.skip "no /dev/shm" end
  local remove <close> = setmetatable({}, { __close = function() os.remove(huge) end })
  local function text(s) return ("<c1s4"):pack("X", s) end
  local function pickle(count)
    local storage = "(" .. text "storage" .. "ctorch\nFloatStorage\n" .. text "0" .. text "cpu" .. count .. "tQ"
    local tensor = "ctorch._utils\n_rebuild_tensor_v2\n(" .. storage .. "K\0" .. "(" .. count
      .. "t(K\1t\x89ccollections\nOrderedDict\n)RtR"
    return "\x80\2\x8a\10\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\2M\xe9\3.\x80\2}" .. text "little_endian"
      .. "\x88s.\x80\2}" .. text "w" .. tensor .. "s.\x80\2]" .. text "0" .. "a."
  end
  local function long(i) return ("<c1I1i8"):pack("\x8a", 8, i) end
  local count = ((1 << 62) - 8 - #pickle(long(0))) // 4
  local size = #pickle(long(0)) + 8 + 4 * count
  local wrote = file:write(pickle(long(count)), ("<i8"):pack(count)) and file:seek("set", size - 1) and file:write "\0"
  if not (file:close() and wrote) then t.skip "no file of 4 EiB in /dev/shm" end
  local dict, message = wattle.load(huge)
  check(not dict and message:find "tensors of more than [1-9]%d+ bytes in a file of 4611686018427387", message)
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

-- ---- weights that are not what they seem -------------------------------------------------------------------------

local published = models.create("resnet18", { num_classes = 3, seed = 1 }):state_dict()

-- models.create of resnet18 with the published weights, but for changes: name -> tensor, or false to leave it out.
local function create(changes, o)
  local dict = {}
  for _, name in ipairs(published) do dict[name] = published[name] end
  for name, tensor in pairs(changes) do dict[name] = tensor or nil end
  assert(wattle.save(path, dict))
  o = o or {}
  o.num_classes, o.pretrained = o.num_classes or 3, path
  return models.create("resnet18", o)
end

local function refuses(says, changes, o)
  local model, message, code = create(changes, o)
  check(not model, "it was taken")
  check(message:find(path, 1, true) == 1 and message:find(says, 1, true), message)
  check(not message:find "%.lua:", message)
  equal(code, "format")
end

local stem = published["conv1.weight"]

test("numbers that become infinite as f32 are refused as infinities are", function()
  refuses("layer1.0.conv1.weight holds NaN or infinity as f32",
          { ["layer1.0.conv1.weight"] = wattle.zeros{ 64, 64, 3, 3 }:to "f64":fill_(1e300) })
  refuses("conv1.weight holds NaN or infinity", { ["conv1.weight"] = stem:to "f64":fill_(1e300) }, { in_channels = 1 })
  refuses("conv1.weight holds NaN or infinity", { ["conv1.weight"] = stem:clone():fill_(3e38) }, { in_channels = 1 })
  check(create{ ["layer1.0.conv1.weight"] = published["layer1.0.conv1.weight"]:to "f64" })
  local huge = wattle.zeros{ 2, 3 }:to "f64":fill_(-1e39)
  raises(function() linear():load_state_dict{ weight = huge } end, "weight holds NaN or infinity as f32")
  linear():to "f64":load_state_dict{ weight = huge }
end)

test("integers are no weights", function()
  refuses("does not fit resnet18: integers instead of weights under conv1.weight, bn1.weight",
          { ["conv1.weight"] = stem:to "i32", ["bn1.weight"] = published["bn1.weight"]:to "u8" })
  check(create{ ["bn1.num_batches_tracked"] = wattle.tensor({ 5 }, "i64"):view{} })
end)

test("a first convolution without channels is another model's", function()
  refuses("conv1.weight is [64,3,7,7] in the model and [64,0,7,7] in the dict",
          { ["conv1.weight"] = wattle.zeros{ 64, 0, 7, 7 } })
end)

test("a name that nobody could mean", function()
  assert(wattle.save(path, { ["blocks.99999999999999999999.attn.qkv.weight"] = x }))
  local model, message, code = models.create("vit_b_16", { pretrained = path, num_classes = 2, image_size = 32 })
  check(not model and code == "format" and message:find("does not fit vit_b_16", 1, true), message)
end)

test("two of a file's tensors for one parameter", function()
  assert(wattle.save(path, { cls_token = wattle.zeros{ 1, 1, 768 }, class_token = wattle.ones{ 1, 1, 768 } }))
  local model, message, code = models.create("vit_b_16", { pretrained = path, num_classes = 2, image_size = 32 })
  equal({ model, code }, { nil, "format" })
  check(message:find("does not fit vit_b_16: two of its tensors would be called class_token", 1, true), message)
end)

test("a seed that is no integer is told as such", function()
  raises(function() models.create("resnet18", { seed = "x" }) end, "models.create resnet18: seed must be an integer, got x")
  raises(function() models.create("resnet18", { seed = 1.5 }) end, "seed must be an integer, got 1.5")
end)

test("names in a file cannot speak to the terminal", function()
  refuses("does not fit resnet18: unexpected ?[2J?x", { ["\27[2J\nx"] = x })
  local says = raises(function() linear():load_state_dict({ ["\27[2J\nx"] = x }, { strict = true }) end, "unexpected ?[2J?x")
  check(not says:find "%c", says)
end)
