-- safetensors files that no reader may take: a list of {name, content, says, code}, built from good ones.

local cases = {}
local function case(name, content, says, code)
  cases[#cases + 1] = { name = "safetensors: " .. name, content = content, says = says, code = code or "format" }
end

-- A file of this header and n bytes of data.
local function file(header, n, length) return ("<I8"):pack(length or #header) .. header .. ("\1"):rep(n or 0) end
-- "name":{...}; more: what else stands in it.
local function tensor(name, dtype, shape, offsets, more)
  return ('"%s":{"dtype":%s,"shape":%s,"data_offsets":%s%s}'):format(name, dtype, shape, offsets, more or "")
end
local function one(dtype, shape, offsets, more) return "{" .. tensor("w", dtype, shape, offsets, more) .. "}" end
local function two(a, b) return "{" .. tensor("a", '"U8"', a[1], a[2]) .. "," .. tensor("b", '"U8"', b[1], b[2]) .. "}" end

local good = one('"F32"', "[2]", "[0,8]")
cases[1] = { name = "safetensors: a good one", content = file(good, 8) }
cases[2] = { name = "safetensors: a good one, padded", content = file(good .. "     ", 8) }

-- ---- the length of the header ----

case("header of 0 bytes", ("<I8"):pack(0) .. "{}", "the header is no JSON object")
case("header over the limit", file("{}", 0, 100000001), "a header of 100000001 bytes, more than the limit of 100000000")
case("header of 2^63 bytes", file("{}", 0, math.mininteger), "more than the limit")
case("header of 2^64 - 1 bytes", file("{}", 0, -1), "more than the limit")
case("header longer than the file", file("{}", 0, 3), "a header of 3 bytes, file has 2")
case("cut in the header", file(good, 8):sub(1, 20), "file has 12")
case("length in big-endian order", (">I8"):pack(#good) .. good, "more than the limit")

-- ---- its JSON ----

case("two objects", file "{}{}", "header: end of file expected")
case("an object that does not end", file "{ ", "the header is no JSON object")
case("padded with tabs", file("{}\t"), "the header is no JSON object")
case("padded with NUL", file("{}\0"), "the header is no JSON object")
case("a name twice", file("{" .. tensor("w", '"U8"', "[1]", "[0,1]") .. "," .. tensor("w", '"U8"', "[1]", "[1,2]") .. "}", 2),
     "duplicate object key")
case("a name twice, once escaped", file("{" .. tensor("w", '"U8"', "[1]", "[0,1]") .. "," ..
     tensor("\\u0077", '"U8"', "[1]", "[1,2]") .. "}", 2), "duplicate object key")
case("a key twice in a tensor", file(one('"U8"', "[1]", "[0,1]", ',"dtype":"U8"'), 1), "duplicate object key")
case("a name with a NUL", file('{"a\\u0000b":1}'), "header: ")
case("a name that is no UTF-8", file('{"\xff":1}'), "header: ")
case("half a surrogate", file('{"\\ud800":1}'), "header: ")
case("a comment", file("{/* */}"), "header: ")
case("a comma too many", file("{" .. tensor("w", '"U8"', "[1]", "[0,1]") .. ",}", 1), "header: ")
case("lists nested 100000 deep", file('{"w":' .. ("["):rep(100000) .. ("]"):rep(100000) .. "}"), "header: ")
case("NaN for a size", file(one('"U8"', "[NaN]", "[0,1]"), 1), "header: ")

-- ---- a tensor ----

case("a number for a tensor", file '{"w":1}', "w: not dtype, shape and data_offsets")
case("no dtype", file('{"w":{"shape":[1],"data_offsets":[0,1]}}', 1), "not dtype, shape and data_offsets, and nothing else")
case("a key that is not known", file(one('"U8"', "[1]", "[0,1]", ',"stride":[1]'), 1), "and nothing else")
case("another key for offsets", file('{"w":{"dtype":"U8","shape":[1],"offsets":[0,1]}}', 1), "data_offsets is no list of two numbers")
case("dtype null", file(one("null", "[1]", "[0,1]"), 1), "dtype is no string")
case("floats of 8 bits", file(one('"F8_E5M2"', "[1]", "[0,1]"), 1), "w: dtype F8_E5M2 is not supported", "unsupported")
case("u64", file(one('"U64"', "[1]", "[0,8]"), 8), "dtype U64 is not supported", "unsupported")
case("complex numbers", file(one('"C64"', "[1]", "[0,8]"), 8), "dtype C64 is not supported", "unsupported")
case("a dtype in small letters", file(one('"f32"', "[2]", "[0,8]"), 8), "dtype f32 is not supported", "unsupported")
case("a dtype of control characters", file(one('"\\u001b[31m"', "[2]", "[0,8]"), 8), "dtype ?[31m is not supported", "unsupported")
case("a name of control characters", file("{" .. tensor("\\u001b\\n", '"F32"', "[2]", "[0,4]") .. "}", 4), "??: F32 [2] needs 8 bytes")
case("a name of a million letters", file("{" .. tensor(("n"):rep(1000000), '"F32"', "[2]", "[0,4]") .. "}", 4), "n...: F32 [2] needs 8 bytes")
case("a truth value of 2", file('{"w":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}}', 0) .. "\2", "neither 0 nor 1")

-- ---- its shape ----

case("shape null", file(one('"U8"', "null", "[0,1]"), 1), "shape is no list")
case("a negative size", file(one('"U8"', "[-1]", "[0,1]"), 1), "shape holds something that is no size")
case("a broken size", file(one('"U8"', "[1.0]", "[0,1]"), 1), "shape holds something that is no size")
case("a size of 2^63", file(one('"U8"', "[9223372036854775808]", "[0,1]"), 1), "too big integer")
case("sizes whose product overflows to 0", file(one('"U8"', "[4294967296,4294967296]", "[0,0]")), "is too large to address")
case("sizes whose product overflows behind a 0", file(one('"U8"', "[0,4294967296,4294967296]", "[0,0]")), "is too large to address")
case("bytes that overflow", file(one('"F64"', "[2305843009213693952]", "[0,0]")), "is too large to address")
case("nine sizes", file(one('"U8"', "[1,1,1,1,1,1,1,1,1]", "[0,1]"), 1), "more than 8 numbers", "unsupported")

-- ---- its bytes ----

case("one offset", file(one('"U8"', "[1]", "[0]"), 1), "data_offsets is no list of two numbers")
case("offsets backwards", file(one('"U8"', "[1]", "[1,0]"), 1), "U8 [1] needs 1 bytes, data_offsets are [1,0] of 1")
case("a negative offset", file(one('"U8"', "[1]", "[-1,0]"), 1), "data_offsets holds something that is no size")
case("too few bytes for the shape", file(one('"F32"', "[2]", "[0,7]"), 7), "F32 [2] needs 8 bytes")
case("too many bytes for the shape", file(one('"F32"', "[2]", "[0,9]"), 9), "F32 [2] needs 8 bytes")
case("offsets beyond the file", file(one('"F32"', "[2]", "[0,8]"), 7), "data_offsets are [0,8] of 7")
case("offsets of 2^62", file(one('"U8"', "[1]", "[4611686018427387904,4611686018427387905]"), 1), "data_offsets are")
case("bytes behind the last tensor", file(good, 9), "bytes behind the last tensor")
case("bytes and no tensor", file("{}", 1), "bytes behind the last tensor")
case("a hole before the first tensor", file(one('"U8"', "[1]", "[1,2]"), 2), "w: bytes before it belong to nothing")
case("a hole between tensors", file(two({ "[1]", "[0,1]" }, { "[1]", "[2,3]" }), 3), "b: bytes before it belong to nothing")
case("tensors that overlap", file(two({ "[2]", "[0,2]" }, { "[2]", "[1,3]" }), 3), "b: overlaps another tensor")
case("two tensors of the same bytes", file(two({ "[2]", "[0,2]" }, { "[2]", "[0,2]" }), 2), "overlaps another tensor")
case("an empty tensor in another's bytes", file(two({ "[3]", "[0,3]" }, { "[0]", "[1,1]" }), 3), "b: overlaps another tensor")
case("cut in the data", file(good, 3), "data_offsets are [0,8] of 3")

-- ---- metadata ----

case("metadata that is a list", file '{"__metadata__":[]}', "__metadata__: no JSON object")
case("metadata with a number", file '{"__metadata__":{"epoch":1}}', "__metadata__: a value that is no string")
case("metadata that nests", file '{"__metadata__":{"a":{"b":"c"}}}', "__metadata__: a value that is no string")

return cases
