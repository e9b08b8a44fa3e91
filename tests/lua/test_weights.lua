-- Files of tensors: what numpy and the safetensors library wrote loads bit for bit (tests/golden/numpy, by make_npy.py), what
-- wattle.save writes loads again, and 16-bit and double files convert into a model's parameters.
local t = require "harness"
local wattle = require "wattle"
local core = wattle.core
local nn = wattle.nn
local test, check, equal, raises = t.test, t.check, t.equal, t.raises

local golden = debug.getinfo(1, "S").source:match "^@(.-)[^/]*$" .. "../golden/numpy/"
local scratch = os.tmpname()
local function path(name) return scratch .. "." .. name end
local keep = setmetatable({}, { __gc = function() os.execute(("rm -f '%s' '%s'.*"):format(scratch, scratch)) end })

-- ---- what the files hold ------------------------------------------------------------------------------------------

local types = { -- numpy's name: element's format there, dtype and format here
  f4 = { "<I4", "f32", "<I4" }, f8 = { "<I8", "f64", "<I8" }, f2 = { "<I2", "f16", "<I2" }, i8 = { "<i8", "i64", "<i8" },
  i4 = { "<i4", "i32", "<i4" }, u1 = { "B", "u8", "B" }, b1 = { "B", "u8", "B" }, i1 = { "b", "i32", "<i4" },
  i2 = { "<i2", "i32", "<i4" }, u2 = { "<I2", "i32", "<i4" }, u4 = { "<I4", "i64", "<i8" }, bf16 = { "<I2", "bf16", "<I2" },
}

local function product(shape)
  local n = 1
  for _, size in ipairs(shape) do n = n * size end
  return n
end

-- The bytes of make_npy.py's array of this type, as they are here.
local function expected(kind, shape)
  local of = types[kind]
  local n, bytes, out = product(shape), {}, {}
  local size = string.packsize(of[1])
  for k = 0, n * size - 1 do
    bytes[k + 1] = string.char(kind == "b1" and (k % 3 == 0 and 1 or 0) or (37 * k + 11) % 256)
  end
  local raw = table.concat(bytes)
  for i = 1, n do out[i] = string.pack(of[3], (string.unpack(of[1], raw, (i - 1) * size + 1))) end
  return table.concat(out)
end

local function holds(tensor, kind, shape, what)
  check(tensor, what .. " is not there")
  equal(tensor.dtype, types[kind][2], what)
  equal(tensor:shape(), shape, what)
  check(tensor:is_contiguous(), what)
  check(tensor:tobytes() == expected(kind, shape), what .. ": other bytes")
end

local files = {
  f4 = { "f4", 2, 3 }, f8 = { "f8", 2, 3 }, f2 = { "f2", 2, 3 }, i8 = { "i8", 2, 3 }, i4 = { "i4", 2, 3 }, u1 = { "u1", 2, 3 },
  b1 = { "b1", 2, 3 }, i1 = { "i1", 2, 3 }, i2 = { "i2", 2, 3 }, u2 = { "u2", 2, 3 }, u4 = { "u4", 2, 3 },
  f4_big = { "f4", 2, 3 }, f8_big = { "f8", 2, 3 }, f2_big = { "f2", 2, 3 }, i8_big = { "i8", 2, 3 }, i4_big = { "i4", 2, 3 },
  i2_big = { "i2", 2, 3 }, u2_big = { "u2", 2, 3 }, u4_big = { "u4", 2, 3 }, f8_scalar = { "f8" }, i1_scalar = { "i1" },
  f4_one = { "f4", 5 }, f4_empty = { "f4", 0, 5 }, u2_empty_big = { "u2", 3, 0, 2 }, f4_deep = { "f4", 1, 2, 1, 2, 1, 2, 1, 3 },
  f4_fortran = { "f4", 3, 4 }, f8_fortran = { "f8", 2, 3, 4, 5 }, u4_fortran_big = { "u4", 4, 3 }, f4_fortran_empty = { "f4", 0, 3 },
  f2_long = { "f2", 700 }, f4_version1 = { "f4", 2, 3 }, f4_version2 = { "f4", 2, 3 }, f4_version3 = { "f4", 2, 3 },
}
for name, want in pairs(files) do
  test("numpy.save: " .. name, function()
    local d, meta, finite = assert(wattle.load(golden .. name .. ".npy"))
    equal({ #d, d[1], next(meta) }, { 1, "data" })
    holds(d.data, want[1], table.move(want, 2, #want, 1, {}), name)
    equal(finite.data, core.all_finite(d.data))
  end)
end

test("every file that numpy.save wrote is in the list", function()
  local n = 0
  for _, file in ipairs(assert(core.listdir(golden))) do
    local name = file:match "^(.*)%.npy$"
    if name then
      check(files[name], name)
      n = n + 1
    end
  end
  equal(n, 33)
end)

for _, name in ipairs{ "stored", "deflated" } do
  test("numpy.savez: " .. name, function()
    local d, meta, finite = assert(wattle.load(golden .. name .. ".npz"))
    equal(table.move(d, 1, #d, 1, {}), { "weight", "half", "mask", "layer1.0.conv/w", "\u{3b1}", "none", "turned", "" })
    equal(next(meta), nil)
    holds(d.weight, "f4", { 4, 3 }, "weight")
    holds(d.half, "f2", { 9 }, "half")
    holds(d.mask, "b1", { 2, 2 }, "mask")
    holds(d["layer1.0.conv/w"], "f8", { 2 }, "layer1.0.conv/w")
    holds(d["\u{3b1}"], "i8", {}, "\u{3b1}")
    holds(d.none, "f4", { 0 }, "none")
    holds(d.turned, "i2", { 3, 2 }, "turned")
    holds(d[""], "u1", { 5 }, "the one without a name")
    for _, key in ipairs(d) do equal(finite[key], core.all_finite(d[key])) end
  end)
end

test("numpy.savez without names, and without arrays", function()
  local d = assert(wattle.load(golden .. "positions.npz"))
  equal(table.move(d, 1, #d, 1, {}), { "arr_0", "arr_1" })
  holds(d.arr_0, "f4", { 2 }, "arr_0")
  holds(d.arr_1, "i4", { 3 }, "arr_1")
  equal(#assert(wattle.load(golden .. "nothing.npz")), 0)
end)

test("a format is told by content, whatever the name", function()
  for from, to in pairs{ ["f4.npy"] = "weights.safetensors.pth", ["stored.npz"] = "x.npy", ["all.safetensors"] = "y.npz" } do
    local file <close> = assert(io.open(golden .. from, "rb"))
    assert(core.write_file(path(to), file:read "a"))
    local a, b = assert(wattle.load(golden .. from)), assert(wattle.load(path(to)))
    equal(core.sha256_dict(a), core.sha256_dict(b))
  end
end)

local reference = { F64 = "f8", I64 = "i8", F32 = "f4", I32 = "i4", U32 = "u4", F16 = "f2", BF16 = "bf16", I16 = "i2", U16 = "u2",
                    U8 = "u1", I8 = "i1", BOOL = "b1" }
test("safetensors as the reference library lays them out, of every type that is kept or widened", function()
  local d, meta, finite = assert(wattle.load(golden .. "all.safetensors"))
  equal(meta, { format = "pt" })
  equal(#d, 12)
  for dtype, kind in pairs(reference) do holds(d[dtype:lower()], kind, { 2, 3 }, dtype) end
  for _, name in ipairs(d) do equal(finite[name], core.all_finite(d[name])) end
  d = assert(wattle.load(golden .. "odd.safetensors"))
  equal(#d, 5)
  holds(d.b, "u1", { 3 }, "b")
  holds(d.scalar, "f4", {}, "scalar")
  holds(d.none, "f4", { 0, 7 }, "none")
  holds(d["a.weight"], "bf16", { 3 }, "a.weight")
  holds(d["\u{3b1}\n"], "f8", { 1 }, "alpha")
end)

-- ---- saving -------------------------------------------------------------------------------------------------------

local function raw_tensors()
  local d = assert(wattle.load(golden .. "all.safetensors"))
  return { f32 = d.f32, f64 = d.f64, f16 = d.f16, i64 = d.i64, i32 = d.i32, u8 = d.u8, scalar = wattle.full({}, 2.5),
           none = wattle.zeros{ 3, 0 }, turned = wattle.arange(6):reshape(2, 3):transpose(0, 1), ["a/b.\u{3b1}"] = wattle.ones{ 7 } }
end

for _, ending in ipairs{ "npz", "NPZ", "safetensors" } do
  test("what is saved as ." .. ending .. " loads bit for bit, in order", function()
    local d, names = raw_tensors(), {}
    for name in pairs(d) do names[#names + 1] = name end
    table.sort(names, function(a, b) return a > b end)
    table.move(names, 1, #names, 1, d)
    equal(wattle.save(path(ending), d), true)
    local back = assert(wattle.load(path(ending)))
    equal(table.move(back, 1, #back, 1, {}), names)
    for _, name in ipairs(names) do check(back[name]:equal(d[name]), name) end
    equal(core.sha256_dict(back), core.sha256_dict(d))
    local first = assert(core.sha256_file(path(ending)))
    assert(wattle.save(path(ending), d))
    equal(core.sha256_file(path(ending)), first)
  end)
end

test("what is saved as .npy loads bit for bit", function()
  for name, tensor in pairs(raw_tensors()) do
    assert(wattle.save(path "npy", { [name] = tensor }))
    local back = assert(wattle.load(path "npy"))
    check(back.data:equal(tensor), name)
  end
end)

test(".npy files are numpy's own bytes", function()
  for _, name in ipairs{ "f4", "f8", "f2", "i8", "i4", "u1", "f4_empty", "f4_one", "f8_scalar", "f4_deep" } do
    assert(wattle.save(path "npy", { data = assert(wattle.load(golden .. name .. ".npy")).data }))
    equal(core.sha256_file(path "npy"), core.sha256_file(golden .. name .. ".npy"), name)
  end
end)

test("more members than 16 bits count need zip64", function()
  local d, one = {}, wattle.ones{ 1, dtype = "u8" }
  for i = 1, 65600 do
    local name = ("p%05d"):format(i)
    d[i], d[name] = name, one
  end
  assert(wattle.save(path "npz", d))
  local back = assert(wattle.load(path "npz"))
  equal({ #back, back[1], back[65600] }, { 65600, "p00001", "p65600" })
end)

test("what a format cannot hold is refused, and the old file stays", function()
  assert(wattle.save(path "npz", { a = wattle.ones{ 2 } }))
  local before = core.sha256_file(path "npz")
  local half = wattle.ones{ 2 }:to "bf16"
  raises(function() wattle.save(path "npz", { a = wattle.ones{ 2 }, w = half }) end, "w: npy: NumPy has no bf16")
  raises(function() wattle.save(path "npy", { w = half }) end, "NumPy has no bf16; convert the tensor to f32")
  raises(function() wattle.save(path "npz", { a = wattle.ones{ 2 } }, { k = "v" }) end, "keep no metadata")
  raises(function() wattle.save(path "npz", { ["\xe4"] = wattle.ones{ 2 } }) end, "no UTF-8")
  raises(function() wattle.save(path "npz", { [("x"):rep(65533)] = wattle.ones{ 2 } }) end, "a name of 65533 bytes")
  raises(function() wattle.save(path "npy", { a = half, b = half }) end, "holds one tensor, not 2")
  raises(function() wattle.save(path "npy", {}) end, "holds one tensor, not 0")
  raises(function() wattle.save(path "pth", { a = wattle.ones{ 2 } }) end, "no .pth files are written")
  equal(core.sha256_file(path "npz"), before)
  local saved, message, code = wattle.save("/no/such/folder/x.npz", { a = wattle.ones{ 2 } })
  equal({ saved, code }, { nil, "io" })
  check(message:find("/no/such/folder/x.npz", 1, true))
end)

test("own files stay safetensors under any name", function()
  assert(core.save_safetensors(path "npz", { a = wattle.ones{ 2 } }, { k = "v" }))
  local d, meta = assert(wattle.load(path "npz"))
  check(d.a:equal(wattle.ones{ 2 }) and meta.k == "v")
end)

-- ---- into parameters ----------------------------------------------------------------------------------------------

test("f16, bf16 and f64 files convert into the parameters of a model", function()
  local function new() return nn.Sequential{ nn.Linear{ in_features = 5, out_features = 4 }, nn.ReLU() } end
  local from = new()
  nn.initialise(from, 3)
  for _, dtype in ipairs{ "f16", "bf16", "f64" } do
    for _, ending in ipairs{ "safetensors", "npz" } do
      local d = {}
      for name, tensor in pairs(from:state_dict()) do
        if type(name) == "string" then d[name] = tensor:to(dtype) end
      end
      if dtype ~= "bf16" or ending ~= "npz" then
        assert(wattle.save(path(ending), d))
        local to = new()
        local loaded, _, finite = assert(wattle.load(path(ending)))
        equal(loaded["0.weight"].dtype, dtype)
        check(finite["0.weight"] and finite["0.bias"])
        to:load_state_dict(loaded, { strict = true })
        for name, tensor in pairs(to:state_dict()) do
          if type(name) == "string" then
            equal(tensor.dtype, "f32")
            check(tensor:equal(d[name]:to "f32"), dtype .. " " .. name)
          end
        end
      end
    end
  end
end)

test("all_finite, and what load says of it", function()
  local good, bad = wattle.randn{ 1000 }, wattle.randn{ 1000 }
  bad:set(777, 0 / 0)
  check(core.all_finite(good) and not core.all_finite(bad) and core.all_finite(wattle.arange(3)) and core.all_finite(wattle.zeros{ 0 }))
  check(core.all_finite(core.param(good)) and not core.all_finite(core.param(bad)))
  bad:set(777, 1 / 0)
  check(not core.all_finite(bad) and core.all_finite(bad:narrow(0, 0, 777)) and not core.all_finite(bad:to "bf16"))
  for _, ending in ipairs{ "safetensors", "npz" } do
    assert(wattle.save(path(ending), { good = good, bad = bad, whole = wattle.arange(3) }))
    equal(select(3, wattle.load(path(ending))), { good = true, bad = false, whole = true })
  end
  raises(function() core.all_finite(3) end, "tensor")
end)

keep = nil
