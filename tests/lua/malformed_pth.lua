-- Zip archives and files of torch.save that no reader may take: a list of {name, content, says, code}, built from good ones
-- opcode by opcode and field by field.

local cases = {}
local function case(name, content, says, code)
  cases[#cases + 1] = { name = "pth: " .. name, content = content, says = says, code = code or "format" }
end

-- ---- building archives -------------------------------------------------------------------------------------------

local crc32 = require "crc32"

local function with(t, changes)
  local r = {}
  for k, v in pairs(t) do r[k] = v end
  for k, v in pairs(changes or {}) do r[k] = v end
  return r
end

-- Members {name, data, head = changes of the local header, entry = changes of the directory's entry, both = of both}. o: end_
-- and zip64 are changes of the end records, before and behind are bytes.
local function zip(members, o)
  o = o or {}
  local out, directory, at = { o.before or "" }, {}, o.shift and #o.before or 0
  for _, m in ipairs(members) do
    local f = with({ flags = 0, method = 0, crc = crc32(m[2]), packed = #m[2], size = #m[2], name = m[1], extra = "", at = at, disk = 0 },
                   m.both)
    local h, e = with(f, m.head), with(f, m.entry)
    local header = ("<c4I2I2I2I4I4I4I4I2I2"):pack("PK\3\4", 20, h.flags, h.method, 0, h.crc, h.packed, h.size, #h.name, #h.extra)
    out[#out + 1] = header .. h.name .. h.extra .. m[2]
    directory[#directory + 1] = ("<c4I2I2I2I2I4I4I4I4I2I2I2I2I2I4I4"):pack("PK\1\2", 20, 20, e.flags, e.method, 0, e.crc, e.packed,
      e.size, e.name_bytes or #e.name, #e.extra, 0, e.disk, 0, 0, e.at) .. e.name .. e.extra
    at = at + #out[#out]
  end
  local entries = o.directory and o.directory(table.concat(directory)) or table.concat(directory)
  local z = with({ disk = 0, n = #members, bytes = #entries, at = at, comment = "" }, o.end_)
  out[#out + 1] = entries
  if o.zip64 then
    local r = with({ size = 44, disk = 0, n = #members, bytes = #entries, at = at, where = at + #entries }, o.zip64)
    out[#out + 1] = ("<c4I8I2I2I4I4I8I8I8I8"):pack("PK\6\6", r.size, 45, 45, r.disk, r.disk, r.n, r.n, r.bytes, r.at)
    out[#out + 1] = ("<c4I4I8I4"):pack("PK\6\7", 0, r.where, 1)
  end
  out[#out + 1] = ("<c4I2I2I2I2I4I4s2"):pack("PK\5\6", z.disk, z.disk, z.n, z.total or z.n, z.bytes, z.at, z.comment)
  return table.concat(out) .. (o.behind or "")
end

-- ---- building pickles --------------------------------------------------------------------------------------------

local floats = ("<ffffff"):pack(0, 1, 2, 3, 4, 5)
local function text(s) return ("<c1s4"):pack("X", s) end
local function int(i) return ("<c1i4"):pack("J", i) end
local function long(i) return ("<c1I1i8"):pack("\x8a", 8, i) end
local function name(s) return "c" .. s:gsub("%.([^.]*)$", "\n%1") .. "\n" end
local function tuple(list)
  local out = {}
  for i, v in ipairs(list) do out[i] = math.type(v) and long(v) or v end
  return "(" .. table.concat(out) .. "t"
end
local function storage(o)
  return tuple { text "storage", name("torch." .. (o.kind or "Float") .. "Storage"), text(o.key or "0"), text "cpu", o.n or 6, o.view } .. "Q"
end
local function tensor(o)
  o = o or {}
  return name "torch._utils._rebuild_tensor_v2" .. tuple { o.storage or storage(o), o.offset or 0, tuple(o.size or { 2, 3 }),
    tuple(o.stride or { 3, 1 }), "\x89", name "collections.OrderedDict" .. ")R" } .. "R"
end
local function dict(list) -- key, value, key, value
  local out = {}
  for i, v in ipairs(list) do out[i] = i % 2 == 1 and #v > 0 and not v:find "^[(XJK]" and text(v) or v end
  return "}(" .. table.concat(out) .. "u"
end
local function pickled(value) return "\x80\2" .. value .. "." end

local function members(pkl, data)
  return { { "x/data.pkl", pkl or pickled(dict { "w", tensor() }) }, { "x/data/0", data or floats }, { "x/version", "3\n" } }
end
local function pth(value, data) return zip(members(pickled(value), data)) end
local function changed(i, change) -- the good archive with one member changed
  local m = members()
  m[i] = with(m[i], change)
  return zip(m)
end

local magic = "\x80\2\x8a\10\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
local function legacy(o)
  o = o or {}
  return (o.magic or magic) .. (o.protocol or "\x80\2M\xe9\3.") .. (o.system or pickled("}" .. text "little_endian" .. "\x88s"))
    .. (o.pickle or pickled(dict { "w", tensor() })) .. (o.keys or pickled("]" .. text "0" .. "a"))
    .. (o.count or ("<i8"):pack(6)) .. (o.data or floats) .. (o.behind or "")
end

-- ---- the archive -------------------------------------------------------------------------------------------------

local good = zip(members())
-- Without `says`: these load, so that the others fail for their fault alone.
local function loads(what, content)
  cases[#cases + 1] = { name = "pth: good: " .. what, content = content, check = function(dict)
    return #dict == 1 and tostring(dict.w) == "[[0., 1., 2.],\n [3., 4., 5.]]\nf32 [2,3]"
  end }
end
loads("the zip form", good)
loads("the legacy form", legacy())
loads("a zip64 record", zip(members(), { zip64 = {} }))
loads("figures in the zip64 record alone", zip(members(), { zip64 = {}, end_ = { n = 0xffff, bytes = 0xffffffff, at = 0xffffffff } }))
loads("sizes in a zip64 field", changed(2, { both = { size = 0xffffffff, packed = 0xffffffff, extra = ("<I2I2I8I8"):pack(1, 16, 24, 24) } }))
loads("sizes in a zip64 field before the member alone", changed(2, { head = { size = 0xffffffff, packed = 0xffffffff, extra = ("<I2I2I8I8"):pack(1, 16, 24, 24) } }))
loads("sizes behind the member", changed(2, { head = { size = 0, packed = 0, crc = 0 }, both = { flags = 8 } }))
loads("an archive with a comment", zip(members(), { end_ = { comment = "PK\5\6" .. ("x"):rep(300) } }))
loads("a legacy pickle of 3 MB", legacy { pickle = pickled(dict { "note", text(("x"):rep(3 << 20)), "w", tensor() }) })
case("a zip's first bytes alone", "PK\3\4", "shorter than an archive's end record")
case("zip cut in the middle", good:sub(1, #good // 2), "no end record")
case("zip without its last byte", good:sub(1, -2), "no end record")
case("zip with a byte behind it", zip(members(), { behind = "x" }), "no end record")
case("zip behind other bytes", zip(members(), { before = "PK\3\4other" }), "not right before the end record")
case("zip behind other bytes, counted in", zip(members(), { before = "PK\3\4other", shift = true, end_ = nil }), "zip: ")
case("zip whose directory is elsewhere", zip(members(), { end_ = { at = 7 } }), "not right before the end record")
case("zip whose directory is larger than the file", zip(members(), { end_ = { bytes = 1 << 30 } }), "not right before the end record")
case("zip with too many entries for its directory", zip(members(), { end_ = { n = 60000 } }), "too short for its entries")
case("zip with an entry that is not counted", zip(members(), { end_ = { n = 2 } }), "bytes between the directory's entries and its end")
case("zip on several disks", zip(members(), { end_ = { disk = 1 } }), "spans several disks")
case("zip with entries on another disk", zip(members(), { end_ = { n = 1, total = 3 } }), "spans several disks")
case("zip with a member on another disk", changed(2, { entry = { disk = 3 } }), "spans several disks")
case("zip with a damaged entry", zip(members(), { directory = function(s) return "PK\1\3" .. s:sub(5) end }), "the directory is damaged")
case("zip with an entry that is cut", changed(3, { entry = { name_bytes = 300 } }), "the directory is damaged")
case("zip with a name that is empty", changed(2, { both = { name = "" } }), "a name that is empty or holds a zero byte")
case("zip with a name that holds a zero", changed(2, { both = { name = "x/data/0\0" } }), "a name that is empty or holds a zero byte")
case("zip with two members of one name", zip { { "x/a", "1" }, { "x/b", "2" }, { "x/a", "3" } }, "x/a: is there twice")
case("zip with a member that is not there", changed(2, { entry = { at = 9 } }), "x/data/0: no header where the directory says")
case("zip with a member beyond the file", changed(2, { entry = { at = 1 << 30 } }), "x/data/0: lies beyond the file")
case("zip with a member longer than the file", changed(2, { both = { packed = 1 << 20, size = 1 << 20 } }), "x/data/0: lies beyond the file")
case("zip with a member that reaches into the directory", changed(3, { both = { packed = 9, size = 9 } }), "x/version: lies beyond the file")
case("zip with another name before the member", changed(2, { head = { name = "x/data/1" } }), "x/data/0: its header has another name")
case("zip with another size before the member", changed(2, { head = { size = 20 } }), "x/data/0: its header differs")
case("zip with another checksum before the member", changed(2, { head = { crc = 5 } }), "x/data/0: its header differs")
case("zip with another method before the member", changed(2, { head = { method = 8 } }), "x/data/0: its header differs")
case("zip with an encrypted member", changed(2, { both = { flags = 1 } }), "x/data/0: is encrypted", "unsupported")
case("zip with a patch", changed(2, { both = { flags = 32 } }), "x/data/0: is a patch", "unsupported")
case("zip packed by bzip2", changed(2, { both = { method = 12 } }), "x/data/0: packed by method 12; only stored and deflated", "unsupported")
case("zip packed by Zstandard", changed(2, { both = { method = 93 } }), "packed by method 93", "unsupported")
case("zip with a stored member that grows", changed(2, { both = { size = 240 } }), "x/data/0: 240 bytes cannot come from 24")
case("zip bomb", changed(2, { both = { method = 8, size = 1 << 31 } }), "x/data/0: 2147483648 bytes cannot come from 24")
case("zip with another byte in a member", changed(2, { "x/data/0", "0" .. floats:sub(2), both = { crc = crc32(floats) } }), "x/data/0: its checksum is")
do
  local inner = ("<c4I2I2I2I4I4I4I4I2I2"):pack("PK\3\4", 20, 0, 0, 0, crc32 "in", 2, 2, 3, 0) .. "x/bin"
  case("zip with a member inside another", zip { { "x/a", inner }, { "x/b", "in", entry = { at = 33 } } }, "members overlap")
  case("zip with two entries for one member", zip { { "x/a", "one" }, { "x/b", "two", entry = { at = 0, name = "x/a" } } }, "zip: ")
end
-- deflate's way of storing
local function block(s) return ("<I1I2I2"):pack(1, #s, ~#s & 0xffff) .. s end
local function deflated(packed, size) return changed(2, { "x/data/0", packed, both = { method = 8, size = size or 24, crc = crc32(floats) } }) end
loads("a deflated member", deflated(block(floats)))
case("zip with a damaged deflated member", deflated("\7" .. floats), "x/data/0: invalid block type")
case("zip with a deflated member that ends early", deflated(block(floats):sub(1, -3)), "x/data/0: its packed bytes end too early")
case("zip with a deflated member that gives more", deflated(block(floats .. "more")), "x/data/0: holds more than its size")
case("zip with a deflated member that gives less", deflated(block(floats:sub(1, 20))), "x/data/0: its packed bytes end too early")
case("zip with bytes behind a deflated member", deflated(block(floats) .. "x"), "x/data/0: bytes behind its packed ones")
case("zip64 record elsewhere", zip(members(), { zip64 = { where = 3 } }), "the zip64 end record is not before its locator")
case("zip64 record of another size", zip(members(), { zip64 = { size = 45 } }), "the zip64 end record is damaged")
case("zip64 record with other figures", zip(members(), { zip64 = { n = 2 } }), "the two end records differ")
case("zip64 record with a negative place", zip(members(), { zip64 = { at = -1 }, end_ = { at = 0xffffffff } }), "the zip64 end record is damaged")
case("zip64 record on another disk", zip(members(), { zip64 = { disk = 2 } }), "spans several disks")
case("zip64 field missing", changed(2, { both = { size = 0xffffffff, packed = 0xffffffff } }), "x/data/0: a zip64 field is missing")
case("zip64 field too short", changed(2, { both = { size = 0xffffffff, extra = "\1\0\4\0abcd" } }), "x/data/0: the zip64 field is too short")
case("two zip64 fields", changed(2, { both = { extra = ("\1\0\8\0abcdefgh"):rep(2) } }), "x/data/0: two zip64 fields")
case("zip64 field with an absurd size", changed(2, { both = { size = 0xffffffff, packed = 0xffffffff, extra = "\1\0\16\0" .. ("\xff"):rep(16) } }),
     "x/data/0: lies beyond the file")
case("zip with a damaged extra field", changed(2, { both = { extra = "\9\0\9\0a" } }), "x/data/0: the extra field is damaged")

-- ---- what is in the archive --------------------------------------------------------------------------------------

local function without(i)
  local m = members()
  table.remove(m, i)
  return zip(m)
end
case("archive of something else", zip { { "x/readme", "hello" } }, "a zip archive without data.pkl")
case("TorchScript", zip { { "x/data.pkl", pickled "}" }, { "x/constants.pkl", pickled ")" }, { "x/version", "3\n" } },
     "a TorchScript program; save model.state_dict() instead", "unsupported")
case("archive without a version", without(3), "no version in the archive")
case("archive of a version to come", changed(3, { "x/version", "11\n" }), 'version "11" of the format', "unsupported")
case("archive of no version", changed(3, { "x/version", "three" }), 'version "three" of the format', "unsupported")
case("archive with a version as long as a book", changed(3, { "x/version", ("3"):rep(99) }), "version is too long")
do
  local m = members()
  m[4] = { "x/byteorder", "big" }
  case("archive of a big-endian machine", zip(m), 'byte order "big"; only little is read', "unsupported")
end
case("archive without a storage", without(2), "w: no member data/0 in the archive")
case("a tensor's name that would clear the terminal", pth(dict { "\27[2J\nw", tensor { key = "7" } }), "?[2J?w: no member data/7")
case("two names that would clear the terminal", pth(dict { "\27[2J", tensor(), "\27[2J", tensor() }), 'called "?[2J"')
case("storage that is too short", pth(dict { "w", tensor() }, floats:sub(1, 20)), "w: its storage has 6 elements of 4 bytes, data/0 has 20 bytes")
case("storage that is too long", pth(dict { "w", tensor() }, floats .. "abcd"), "data/0 has 28 bytes")
case("truth value that is neither", pth(dict { "b", tensor { kind = "Bool", size = { 6 }, stride = { 1 } } }, "\0\1\0\1\2\1"),
     "b: a truth value that is neither 0 nor 1")

-- ---- pickles: what they ask for ----------------------------------------------------------------------------------

local function refused(what, value, says) case(what, pth(value), says or "refuses ", "unsupported") end
refused("os.system", name "os.system" .. tuple { text "echo pwned" } .. "R", "pickle: refuses os.system; only tensors, dicts, lists and numbers are read")
refused("posix.system from the stack", text "posix" .. text "system" .. "\x93" .. tuple { text "id" } .. "R", "refuses posix.system;")
refused("eval", name "builtins.eval" .. tuple { text "1" } .. "R", "refuses builtins.eval;")
refused("__builtin__.eval as INST", "(" .. text "1" .. "i__builtin__\neval\n", "refuses __builtin__.eval;")
refused("subprocess hidden in a tensor's hooks", name "torch._utils._rebuild_tensor_v2"
  .. tuple { storage {}, 0, tuple { 2 }, tuple { 1 }, "\x89", name "subprocess.Popen" .. tuple { text "id" } .. "R" } .. "R", "refuses subprocess.Popen;")
refused("a name that works the terminal", "c\27[2Jos\nsystem\n", "refuses ?[2Jos.system;")
refused("a name without an end of its own", "c" .. ("a"):rep(300) .. "\nb\n", "refuses " .. ("a"):rep(80) .. "....b;")
refused("a getattr chain", name "builtins.getattr" .. tuple { name "torch.nn.Module", text "x" } .. "R", "refuses builtins.getattr;")
refused("a number of NumPy", name "numpy.core.multiarray.scalar", "refuses numpy.core.multiarray.scalar;")
refused("an array of NumPy", name "numpy.core.multiarray._reconstruct", "refuses numpy.core.multiarray._reconstruct;")
refused("a pickle in a pickle", name "torch.storage._load_from_bytes" .. tuple { "C\1." } .. "R", "refuses torch.storage._load_from_bytes;")
refused("argparse.Namespace", name "argparse.Namespace" .. ")\x81}b", "refuses argparse.Namespace;")
refused("a whole module", name "torch.nn.modules.container.Sequential" .. ")\x81", "a whole module was pickled; save model.state_dict() instead")
refused("a whole module of one's own", name "__main__.Net" .. ")\x81", "refuses __main__.Net: a whole module was pickled")
refused("a set", "\x8f", "refuses a set;")
refused("a frozen set", "(\x91", "refuses a set;")
refused("an extension code", "\x82\1", "refuses an extension code;")
refused("a buffer kept elsewhere", "\x97", "refuses a buffer kept elsewhere;")
refused("an object by OBJ", "(" .. name "collections.OrderedDict" .. "o", "refuses an object made by OBJ;")
refused("an object by NEWOBJ_EX", ")}\x92", "refuses an object made by NEWOBJ_EX;")
refused("a persistent id that is text", "Pos.system\n", "refuses a persistent id that is text;")
refused("complex numbers", tensor { kind = "ComplexFloat" }, "refuses torch.ComplexFloatStorage: its elements have no dtype here")
refused("a storage that is called", name "torch.FloatStorage" .. tuple { 6 } .. "R", "refuses a call of torch.FloatStorage")
refused("an object of a function", name "torch._utils._rebuild_parameter" .. ")\x81", "refuses an object of torch._utils._rebuild_parameter")
refused("a storage on a storage", tensor { view = tuple { text "1", 0, 6 } }, "a storage that is a view of another")
refused("a lazy conjugate", name "torch._utils._rebuild_tensor_v2"
  .. tuple { storage {}, 0, tuple { 2 }, tuple { 1 }, "\x89", "}", dict { "conj", "\x88" } } .. "R", "a lazy conjugate or negation")
refused("a tensor of nine dimensions", dict { "w", tensor { size = { 1, 1, 1, 1, 1, 1, 1, 1, 1 }, stride = { 1, 1, 1, 1, 1, 1, 1, 1, 1 } } },
        "a tensor of 9 dimensions; at most 8")
refused("a dict's key that is a tuple", dict { tuple { 1 }, "K\1", "w", tensor() }, "a dict's key that is neither text nor an integer")
refused("an integer of 2 kB", "\x8b\0\8\0\0" .. ("\1"):rep(2048), "an integer of 2048 bytes")
case("protocol 9", zip(members("\x80\9}.")), "pickle: protocol 9", "unsupported")

-- ---- pickles: what they get wrong --------------------------------------------------------------------------------

local function wrong(what, value, says) case(what, pth(value), says) end
wrong("unknown opcode", "\xff", "byte 0xff is no opcode")
case("pickle that is empty", zip(members "\x80\2."), "stops with other than one value")
case("pickle of nothing", zip(members ""), "pickle: ends in the middle")
case("pickle that is cut", zip(members(pickled(dict { "w", tensor() }):sub(1, -20))), "pickle: ends in the middle")
case("pickle with bytes behind it", zip(members(pickled "}" .. "x")), "bytes behind the pickle's end")
wrong("two values", "}}", "stops with other than one value")
wrong("a mark that is left", "(}", "stops with other than one value")
wrong("value from an empty stack", "a", "takes a value where there is none")
wrong("value from below a mark", "](a", "takes a value where there is none")
wrong("mark that is missing", "}t", "takes values from a mark where there is none")
wrong("append to a dict", "}K\1a", "appends to what is no list")
wrong("item of a list", "]" .. text "a" .. "K\1s", "sets an item of what is no dict")
wrong("key without a value", "}(" .. text "a" .. "u", "a key without a value")
wrong("memo that was never filled", "h\7", "takes from the memo what was not put there")
wrong("memo's number of four billion", "}r\xff\xff\xff\xff", "a memo's number that is too high")
wrong("text longer than the file", "X\xff\xff\xff\x7fabc", "ends in the middle")
wrong("frame longer than the file", "\x95" .. ("\xff"):rep(8), "ends in the middle")
wrong("number that is none", "Fabc\n", "a number that is none")
wrong("integer that is none", "I12x\n", "an integer that is none")
wrong("integer of protocol 0 beyond 64 bits", "L99999999999999999999L\n", "or of more than 64 bits")
wrong("call of a number", "K\1)R", "calls what is no function")
wrong("OrderedDict of a number", name "collections.OrderedDict" .. tuple { 1 } .. "R", "collections.OrderedDict with arguments that it does not take")
wrong("state of a list", "]}b", "sets the state of what has none")
wrong("a number alone", "K\1", "holds no tensor, dict or list")
wrong("persistent id that is a number", "K\1Q", "a persistent id that is no storage")
wrong("persistent id of another kind", tuple { text "module", "N", text "a", text "b" } .. "Q", "a whole module was pickled")
wrong("storage of a class that is none", tuple { text "storage", name "collections.OrderedDict", text "0", text "cpu", 6 } .. "Q", "a persistent id that is no storage")
wrong("storage whose key holds a zero byte", storage { key = "0\0x" }, "a persistent id that is no storage")
wrong("storage with a negative size", storage { n = -6 }, "a persistent id that is no storage")
wrong("storage larger than memory", storage { n = math.maxinteger }, "a storage that is too large")
wrong("one storage with two types", "(" .. storage {} .. storage { kind = "Int" } .. "l", "one storage with two types or sizes")
wrong("one storage with two sizes", "(" .. storage {} .. storage { n = 7 } .. "l", "one storage with two types or sizes")
wrong("tensor without a storage", tensor { storage = "N" }, "a tensor without a storage")
wrong("tensor with a negative offset", tensor { offset = -1 }, "a tensor's offset is none")
wrong("tensor with a negative size", tensor { size = { -2, 3 } }, "a tensor's size holds something that is none")
wrong("tensor with a negative stride", tensor { stride = { -3, 1 } }, "a tensor's stride holds something that is none")
wrong("tensor with a size that is no list", name "torch._utils._rebuild_tensor" .. tuple { storage {}, 0, 2, 1 } .. "R", "a tensor's size is no tuple")
wrong("tensor with fewer strides than sizes", tensor { stride = { 1 } }, "a tensor's size and stride differ in length")
wrong("tensor beyond its storage", tensor { offset = 1 }, "a tensor [2,3] at 1 lies beyond its storage of 6 elements")
wrong("tensor beyond its storage by its strides", tensor { stride = { 4, 1 } }, "lies beyond its storage of 6 elements")
wrong("tensor whose strides overflow", tensor { stride = { math.maxinteger, math.maxinteger } }, "lies beyond its storage of 6 elements")
wrong("tensor with an offset that overflows", tensor { offset = math.maxinteger }, "lies beyond its storage of 6 elements")
wrong("tensor with sizes that overflow", tensor { size = { 1 << 40, 1 << 40 }, stride = { 0, 0 } }, "is too large to address")
wrong("tensor with a part of its arguments", name "torch._utils._rebuild_tensor_v2" .. tuple { storage {}, 0 } .. "R", "_rebuild_tensor_v2 with arguments that it does not take")
wrong("parameter of a number", name "torch._utils._rebuild_parameter" .. tuple { 1, "\x88", "}" } .. "R", "_rebuild_parameter with arguments that it does not take")
wrong("tensor that never got its state", dict { "w", name "torch.nn.parameter.Parameter" .. ")\x81" }, "w: a tensor without its state")
wrong("tensor with a state of one", dict { "w", name "torch.nn.parameter.Parameter" .. ")\x81" .. tuple { 1 } .. "b" }, "a tensor's state is of no known form")
wrong("two tensors of one name", dict { "w", tensor(), "w", tensor() }, 'two values are called "w"')
wrong("two names that flatten to one", dict { "a.b", tensor(), "a", dict { "b", tensor() } }, 'two values are called "a.b"')
wrong("an integer and text of one name", dict { int(1), tensor(), "1", tensor() }, 'two values are called "1"')
wrong("two state dicts", dict { "state_dict", dict { "w", tensor() }, "state_dict", dict { "w", tensor() } }, '"state_dict" is there twice')
wrong("a name with a zero", dict { "w\0x", tensor() }, "a name that is too long or holds a zero byte")
wrong("a name of 2 kB", dict { ("w"):rep(2000), tensor() }, "a name that is too long or holds a zero byte")

-- ---- pickles that are bombs --------------------------------------------------------------------------------------

wrong("a list that holds itself", "]q\0h\0a", "holds itself")
wrong("a dict that holds itself", "}q\0" .. text "me" .. "h\0s", "me: holds itself")
wrong("a circle of two", "]q\0]q\1h\0aa", "holds itself")
wrong("lists in lists in lists", ("]"):rep(100000) .. ("a"):rep(99999), "nested too deep")
wrong("dicts in dicts", ("}K\1"):rep(70) .. "}" .. ("s"):rep(70), "nested too deep")
do
  local layers = { "]q\0(K\1K\2e" }
  for i = 1, 60 do layers[#layers + 1] = ("]q%c(h%ch%ce"):format(i, i - 1, i - 1) end
  local value = table.concat(layers)
  wrong("doubling at every level", tuple { value } .. "0h\60", "more than a million values, shared ones counted each time")
end
wrong("tensor expanded to a terabyte", dict { "w", tensor { size = { 1 << 19, 1 << 19 }, stride = { 0, 0 } } }, "tensors of more than %d+ bytes in a file of %d+")
do
  local many = { tensor { size = { 1 << 20, 1 }, stride = { 0, 1 } } .. "q\0" }
  for i = 1, 40 do many[#many + 1] = "h\0" end
  wrong("one tensor forty times", "(" .. table.concat(many) .. "l", "tensors of more than")
end
wrong("bytes copied over and over", text(("a"):rep(1000)) .. "q\0" .. text "latin1" .. "q\1" .. name "_codecs.encode" .. "q\2"
  .. ("0h\2h\0h\1\x86R"):rep(1000), "calls that copy more than it holds")
wrong("a dict copied over and over", "(" .. ("K\1K\1\x86"):rep(500) .. "lq\0" .. name "collections.OrderedDict" .. "q\1" .. ("0h\1h\0\x85R"):rep(1000),
      "calls that copy more than it holds")
refused("more than a million values", ("N"):rep(1000001), "pickle: more than 1000000 values")

-- ---- the legacy form ---------------------------------------------------------------------------------------------

local legacy_good = legacy()
case("legacy: another magic number", legacy { magic = magic:gsub("\x19", "\x18") }, "a pickle, but none of torch.save")
case("legacy: a pickle of Python", pickled(dict { "w", "K\1" }), "a pickle, but none of torch.save")
case("legacy: an array of NumPy", pickled(name "numpy.core.multiarray._reconstruct"), "refuses numpy.core.multiarray._reconstruct", "unsupported")
case("legacy: another protocol", legacy { protocol = "\x80\2M\xea\3." }, "a protocol other than 1001")
case("legacy: a big-endian machine", legacy { system = pickled("}" .. text "little_endian" .. "\x89s") }, "a big-endian machine wrote it", "unsupported")
case("legacy: an unknown machine", legacy { system = pickled "}" }, "does not say what machine wrote it")
case("legacy: os.system", legacy { pickle = pickled(name "os.system" .. tuple { text "id" } .. "R") }, "refuses os.system;", "unsupported")
case("legacy: os.system in the machine's place", legacy { system = pickled(name "os.system" .. tuple { text "id" } .. "R") }, "refuses os.system;", "unsupported")
case("legacy: a whole module", legacy { pickle = pickled(name "torch.nn.modules.linear.Linear") }, "a whole module was pickled", "unsupported")
case("legacy: keys that are no list", legacy { keys = pickled "}" }, "no list of storages behind the pickle")
case("legacy: a key too few", legacy { keys = pickled "]" }, "the list of storages is not that of the tensors")
case("legacy: another key", legacy { keys = pickled("]" .. text "1" .. "a") }, "the list of storages is not that of the tensors")
case("legacy: a key that is a number", legacy { keys = pickled "]K\0a" }, "the list of storages is not that of the tensors")
case("legacy: one key twice", legacy { pickle = pickled("(" .. tensor() .. tensor { key = "1" } .. "l"), keys = pickled("](" .. text "0" .. text "0" .. "e"),
  behind = ("<i8"):pack(6) .. floats }, "the list of storages is not that of the tensors")
case("legacy: another count", legacy { count = ("<i8"):pack(5) }, "a storage of 5 elements that the pickle says has 6")
case("legacy: a negative count", legacy { count = ("<i8"):pack(-1) }, "a storage of -1 elements")
case("legacy: cut in a storage", legacy_good:sub(1, -5), "cut off: a storage lies beyond the file")
case("legacy: cut before the storages", legacy_good:sub(1, -33), "cut off: a storage lies beyond the file")
case("legacy: cut in the pickle", legacy_good:sub(1, 150), "ends in the middle")
case("legacy: bytes behind the storages", legacy { behind = "x" }, "bytes behind the last storage")
case("legacy: a storage of an exabyte", legacy { pickle = pickled(dict { "w", tensor { n = 1 << 58 } }), count = ("<i8"):pack(1 << 58) },
     "cut off: a storage lies beyond the file")
case("legacy: truth value that is neither", legacy { pickle = pickled(dict { "b", tensor { kind = "Bool" } }), data = "\0\1\0\1\2\1" },
     "b: a truth value that is neither 0 nor 1")
case("tar", ("\0"):rep(257) .. "ustar\0" .. ("\0"):rep(1000), "the tar form of PyTorch 0.1; load it with PyTorch and torch.save it again", "unsupported")

return cases
