-- .npy and .npz files that no reader may take: a list of {name, content, says, code}, built from good ones.

local cases = {}
local function case(name, content, says, code)
  cases[#cases + 1] = { name = "npy: " .. name, content = content, says = says, code = code or "format" }
end

-- A .npy file of this header, padded as numpy does. o: version, length of the header, pad = false, last (its line feed).
local function npy(header, data, o)
  o = o or {}
  local version, last = o.version or "\1\0", o.last or "\n"
  local prefix = version:byte() == 1 and 10 or 12
  if o.pad ~= false then header = header .. (" "):rep(-(prefix + #header + #last) % 64) end
  header = header .. last
  return "\x93NUMPY" .. version .. (prefix == 10 and "<I2" or "<I4"):pack(o.length or #header) .. header .. (data or "")
end
-- The usual header with some of its values changed.
local function array(v, data, o)
  return npy(("{'descr': %s, 'fortran_order': %s, 'shape': %s, }"):format(v.descr or "'<f4'", v.order or "False", v.shape or "(2,)"),
             data or ("\0"):rep(8), o)
end
local function literal(text) return npy(text, ("\0"):rep(8)) end

local good = array{}
cases[1] = { name = "npy: a good one", content = good }
cases[2] = { name = "npy: a good one, not padded", content = array({}, nil, { pad = false }) }
cases[3] = { name = "npy: a good one of version 3", content = array({}, nil, { version = "\3\0" }) }

-- ---- before the header ----

case("cut in its version", good:sub(1, 7), "cut off in its first bytes")
case("cut in its length", good:sub(1, 9), "cut off in its first bytes")
case("version 4", array({}, nil, { version = "\4\0" }), "version 4.0 is not known", "unsupported")
case("version 0", array({}, nil, { version = "\0\0" }), "version 0.0 is not known", "unsupported")
case("version 1.1", array({}, nil, { version = "\1\1" }), "version 1.1 is not known", "unsupported")
case("cut in its header", good:sub(1, 40), "cut off in its header")
case("header longer than the file", array({}, nil, { length = 60000 }), "cut off in its header")
case("header of 4 GB", array({}, nil, { version = "\2\0", length = 0xffffffff }), "a header of more than 65792 bytes")
case("header of 0 bytes", "\x93NUMPY\1\0\0\0", "the header is no Python dict")

-- ---- its Python ----

case("header without its line feed", array({}, nil, { last = " " }), "does not end in spaces and a line feed")
case("two line feeds", array({}, nil, { last = "\n\n" }), "does not end in spaces and a line feed")
case("code behind the dict", literal "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }; exit()", "does not end in spaces")
case("code for a value", array{ shape = "__import__('os').system('true')" }, "shape is no tuple of sizes")
case("a list for the dict", literal "['<f4', False, (2,)]", "the header is no Python dict")
case("a dict that does not end", literal "{'descr': '<f4', 'fortran_order': False, 'shape': (2,),", "the header is no Python dict")
case("no comma between keys", literal "{'descr': '<f4' 'fortran_order': False, 'shape': (2,), }", "the header is no Python dict")
case("no colon", literal "{'descr' '<f4', 'fortran_order': False, 'shape': (2,), }", "the header is no Python dict")
case("a string that does not end", literal "{'descr: <f4, fortran_order: False, shape: (2,), }", "the header is no Python dict")
case("a key twice", literal "{'descr': '<f4', 'descr': '<f8', 'fortran_order': False, 'shape': (2,), }", "the header has a key twice")
case("a key that is not known", literal "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1, }", "has a key that is not descr")
case("an escaped key", literal "{'des\\x63r': '<f4', 'fortran_order': False, 'shape': (2,), }", "the header is no Python dict")
case("no shape", literal "{'descr': '<f4', 'fortran_order': False, }", "the header lacks descr, fortran_order or shape")
case("an empty dict", literal "{}", "the header lacks descr, fortran_order or shape")
case("a NUL in the header", literal "{'descr': '<f4\0', 'fortran_order': False, 'shape': (2,), }", "descr is no string")
case("fortran_order 1", array{ order = "1" }, "fortran_order is neither True nor False")
case("fortran_order true", array{ order = "true" }, "fortran_order is neither True nor False")

-- ---- its type ----

case("Python objects", array{ descr = "'|O'" }, "dtype |O: an array of Python objects", "unsupported")
case("a structure", array{ descr = "[('x', '<f4'), ('y', '<i4')]" }, "dtype is a structure of several fields", "unsupported")
case("a tuple for a type", array{ descr = "('<f4', (2,))" }, "dtype is a structure", "unsupported")
case("complex numbers", array{ descr = "'<c8'" }, "dtype <c8: complex numbers", "unsupported")
case("text", array{ descr = "'<U2'" }, "dtype <U2: text", "unsupported")
case("dates", array{ descr = "'<M8[s]'" }, "dtype <M8[s]: dates", "unsupported")
case("bfloat16, stored raw", array{ descr = "'|V2'" }, "dtype |V2: raw bytes (bfloat16", "unsupported")
case("u64", array{ descr = "'<u8'" }, "dtype <u8: unsigned integers that do not fit into i64", "unsupported")
case("floats of 16 bytes", array{ descr = "'<f16'" }, "dtype <f16: floats of a size", "unsupported")
case("a type without byte order", array{ descr = "'f4'" }, "descr is no type that NumPy writes")
case("the wrong kind of byte order", array{ descr = "'|f4'" }, "descr has no byte order")
case("a number for a type", array{ descr = "4" }, "descr is no string")
case("an empty type", array{ descr = "''" }, "descr is no type that NumPy writes")
case("a truth value of 2", array({ descr = "'|b1'" }, "\1\2"), "a truth value that is neither 0 nor 1")

-- ---- its shape and bytes ----

case("a number for a shape", array{ shape = "(2)" }, "shape is no tuple of sizes")
case("a list for a shape", array{ shape = "[2]" }, "shape is no tuple of sizes")
case("a negative size", array{ shape = "(-2,)" }, "shape is no tuple of sizes")
case("a broken size", array{ shape = "(2.0,)" }, "shape is no tuple of sizes")
case("a size with a leading 0", array{ shape = "(02,)" }, "shape is no tuple of sizes")
case("Python 2's long integers", array{ shape = "(2L,)" }, "shape is no tuple of sizes")
case("two commas", array{ shape = "(2,,)" }, "shape is no tuple of sizes")
case("a size of 2^64", array{ shape = "(18446744073709551616,)" }, "shape is no tuple of sizes")
case("nine sizes", array{ shape = "(1,1,1,1,1,1,1,1,2)" }, "shape has more than 8 sizes", "unsupported")
case("sizes whose product overflows", array{ shape = "(4294967296, 4294967296)" }, "is too large to address")
case("sizes whose product overflows behind a 0", array({ shape = "(0, 4294967296, 4294967296)" }, ""), "is too large to address")
case("cut in its elements", good:sub(1, -2), "[2] of 4 bytes each needs 8 bytes, 7 follow the header")
case("bytes behind its elements", good .. "\0", "needs 8 bytes, 9 follow the header")
case("a huge array of no bytes", array({ shape = "(1099511627776,)" }, ""), "0 follow the header")
case("two arrays in one file", good .. good, "follow the header")

-- ---- .npz ----

local crc32 = require "crc32"

-- A zip archive of stored members {name, data, crc = given}.
local function zip(members)
  local out, directory, at = {}, {}, 0
  for _, m in ipairs(members) do
    local common = ("<I2I2I2I4I4I4I4I2I2"):pack(20, 0, 0, 0x210000, m.crc or crc32(m[2]), #m[2], #m[2], #m[1], 0)
    out[#out + 1] = "PK\3\4" .. common .. m[1] .. m[2]
    directory[#directory + 1] = "PK\1\2\20\0" .. common .. ("<I2I2I2I4I4"):pack(0, 0, 0, 0, at) .. m[1]
    at = at + #out[#out]
  end
  local d = table.concat(directory)
  return table.concat(out) .. d .. ("<c4I2I2I2I2I4I4I2"):pack("PK\5\6", 0, 0, #members, #members, #d, at, 0)
end
local function npz(name, members, says, code)
  cases[#cases + 1] = { name = "npz: " .. name, content = type(members) == "string" and members or zip(members), says = says,
                        code = code or "format" }
end

cases[#cases + 1] = { name = "npz: a good one", content = zip{ { "a.npy", good }, { "b.npy", good } } }
npz("an empty member", { { "a.npy", "" } }, "a.npy: npy: does not begin as a .npy file")
npz("a member of text", { { "a.npy", good }, { "b.npy", "text, whatever it is called" } }, "b.npy: npy: does not begin as a .npy file")
npz("a member cut in its header", { { "a.npy", good:sub(1, 50) } }, "a.npy: npy: cut off in its header")
npz("a member cut in its elements", { { "a.npy", good:sub(1, -2) } }, "a.npy: npy: [2] of 4 bytes each needs 8 bytes")
npz("a member of Python objects", { { "a.npy", array{ descr = "'|O'" } } }, "a.npy: npy: dtype |O", "unsupported")
npz("a member with a truth value of 2", { { "m.npy", array({ descr = "'|b1'" }, "\1\2") } }, "m.npy: npy: a truth value")
npz("a wrong checksum", { { "a.npy", good, crc = 1 } }, "a.npy: its checksum is 00000001")
npz("a name twice", { { "a.npy", good }, { "a.npy", good } }, "a.npy: is there twice")
npz("cut in its directory", zip{ { "a.npy", good } }:sub(1, -20), "zip: ")
npz("bytes behind its end", zip{ { "a.npy", good } } .. "more", "zip: ")
npz("bytes before its members", "PK\3\4" .. zip{ { "a.npy", good } }, "zip: ")
npz("a member's name of control characters", { { "\27\n.npy", "" } }, "??.npy: npy: does not begin")
npz("a member of another kind", { { "a.npy", good }, { "notes.txt", "text" } }, "so not of torch.save")

return cases
