-- Pictures that no reader may take: a list of {name, content, what the message says, code}. Made from the good ones in
-- tests/golden/images by cutting, changing and leaving out.

local function slurp(name)
  local file <close> = assert(io.open(name, "rb"))
  return file:read "a"
end

local jpeg, progressive = slurp "tests/golden/images/small.jpg", slurp "tests/golden/images/restart-progressive.jpg"
local png, indexed = slurp "tests/golden/images/gamma.png", slurp "tests/golden/images/palette1.png"
local cases = {}
local function case(name, content, says, code)
  cases[#cases + 1] = { name = name, content = content, says = says, code = code or "format" }
end

local function be16(n) return (">I2"):pack(n) end
local function be32(n) return (">I4"):pack(n) end

-- s with what stands at position `at` replaced.
local function with(s, at, new) return s:sub(1, at - 1) .. new .. s:sub(at + #new) end

-- ---- neither ----

case("nothing at all", "", "the file is empty")
case("text", "a picture says more", "neither JPEG nor PNG")
case("a GIF", "GIF89a\1\0\1\0\0\0\0;", "neither JPEG nor PNG")
case("PNG that a text transfer changed", (png:gsub("\r\n", "\n", 1)), "neither JPEG nor PNG")

-- ---- JPEG: markers ----

-- Position and length (with the marker) of the first segment of that kind.
local function segment(s, marker)
  local at = 3
  while s:byte(at + 1) ~= marker do
    assert(s:byte(at) == 0xff and s:byte(at + 1) ~= 0xda, "no such segment")
    at = at + 2 + (">I2"):unpack(s, at + 2)
  end
  return at, 2 + (">I2"):unpack(s, at + 2)
end
local function without(s, marker) -- all of that kind
  local ok, at, n = pcall(segment, s, marker)
  return ok and without(s:sub(1, at - 1) .. s:sub(at + n), marker) or s
end
local sof, sof_bytes = segment(jpeg, 0xc0)
local sos, sos_bytes = segment(jpeg, 0xda)
local scan = sos + sos_bytes
local function sized(w, h) return with(jpeg, sof + 5, be16(h) .. be16(w)) end

case("JPEG of three bytes", "\xff\xd8\xff", "JPEG: ")
case("JPEG cut in its header", jpeg:sub(1, 100), "Premature end of JPEG file")
case("JPEG cut before its pixels", jpeg:sub(1, scan - 1), "remature end")
case("JPEG cut in its pixels", jpeg:sub(1, (scan + #jpeg) // 2), "remature end")
case("JPEG without its end", jpeg:sub(1, -3), "Premature end of JPEG file")
case("progressive JPEG cut in a scan", progressive:sub(1, #progressive // 2), "remature end")
case("JPEG that ends in the middle", with(jpeg, scan + 40, "\xff\xd9"), "premature end of data segment")
case("JPEG with bits that mean nothing", with(jpeg, scan + 20, ("\xff\0"):rep(40)), "bad Huffman code")
case("JPEG whose restart markers are out of order", (slurp "tests/golden/images/restart.jpg":gsub("\xff\xd3", "\xff\xd6", 1)), "instead of RST3")
case("JPEG beyond the limit", sized(65000, 65000), "says 65000x65000 pixels; at most 268435456")
case("JPEG with more pixels than its bytes hold", sized(16000, 16000), "16000x16000 pixels, more than %d+ bytes can hold")
case("JPEG without rows", sized(28, 0), "Empty JPEG image")
case("JPEG wider than its format allows", sized(65535, 1), "65500")
case("JPEG of 12 bits", with(jpeg, sof + 4, "\12"), "data precision 12")
case("lossless JPEG", with(jpeg, sof + 1, "\xc3"), "Unsupported JPEG process")
case("arithmetic-coded JPEG", slurp "tests/fuzz/corpus/jpeg/arithmetic", "arithmetic coding is not read", "unsupported")
case("JPEG that samples nothing", with(jpeg, sof + 11, "\0"), "sampling factors")
case("JPEG of two components", jpeg:sub(1, sof + 1) .. be16(14) .. jpeg:sub(sof + 4, sof + 8) .. "\2"
     .. jpeg:sub(sof + 10, sof + 15) .. jpeg:sub(sof + sof_bytes, sos - 1) .. "\xff\xda" .. be16(10) .. "\2\1\0\2\x11\0\x3f\0"
     .. jpeg:sub(scan), "2 components")
case("JPEG without quantization tables", without(jpeg, 0xdb), "uantization table 0x00 was not defined")
case("JPEG without a frame", without(jpeg, 0xc0), "SOS before SOF")
case("JPEG with two frames", jpeg:sub(1, sof - 1) .. jpeg:sub(sof, sof + sof_bytes - 1):rep(2) .. jpeg:sub(sof + sof_bytes), "two SOF")
case("JPEG of a header alone", jpeg:sub(1, sos - 1) .. "\xff\xd9", "missing SOS")
case("JPEG with a segment of another length", jpeg:sub(1, sos - 1) .. "\xff\xdd\0\5\0\0\0" .. jpeg:sub(sos), "ogus marker length")
local dht = segment(jpeg, 0xc4)
case("JPEG with a Huffman table of too many codes", with(jpeg, dht + 5, ("\xff"):rep(16)), "ogus Huffman table")
-- The one scan of a grey picture, again and again, in a picture of three components that come one by one.
local grey = slurp "tests/fuzz/corpus/jpeg/grey"
local frame, frame_bytes = segment(grey, 0xc0)
local grey_scan = segment(grey, 0xda)
case("JPEG of a thousand scans", grey:sub(1, frame + 1) .. be16(17) .. grey:sub(frame + 4, frame + 8) .. "\3\1\x11\0\2\x11\0\3\x11\0"
     .. grey:sub(frame + frame_bytes, grey_scan - 1) .. grey:sub(grey_scan, -3):rep(1000) .. "\xff\xd9", "more than 500 scans")

-- ---- PNG: chunks ----

local crc32 = require "crc32"
local function chunk(name, content) return be32(#content) .. name .. content .. be32(crc32(name .. content)) end
-- The n-th chunk of that name: where it begins and ends.
local function find(s, name, n)
  local at = 9
  while true do
    local size = (">I4"):unpack(s, at)
    if s:sub(at + 4, at + 7) == name then
      n = (n or 1) - 1
      if n == 0 then return at, at + 11 + size end
    end
    at = at + 12 + size
  end
end
local function drop(s, name)
  local from, to = find(s, name)
  return s:sub(1, from - 1) .. s:sub(to + 1)
end
local magic, head = png:sub(1, 8), png:sub(17, 29)
local function headed(s, w, h, depth, kind, more)
  return magic .. chunk("IHDR", be32(w) .. be32(h) .. string.char(depth, kind) .. (more or "\0\0\0")) .. s:sub(34)
end
local idat, idat_end = find(png, "IDAT")

case("PNG of a signature", magic, "cut off in the header")
case("PNG cut in its header", png:sub(1, 30), "cut off in chunk IHDR: 13 bytes, 10 are there")
case("PNG that begins with another chunk", magic .. png:sub(34), "first chunk is not IHDR")
case("PNG with a longer header", magic .. chunk("IHDR", head .. "\0") .. png:sub(34), "IHDR has not 13 bytes")
case("PNG whose header is damaged", with(png, 30, "abcd"), "IHDR: CRC error")
case("PNG without columns", headed(png, 0, 5, 8, 2), "is empty: 0x5")
case("PNG without rows", headed(png, 5, 0, 8, 2), "is empty: 5x0")
case("PNG with a side beyond the limit", headed(png, 0x7fffffff, 1, 8, 2), "says 2147483647x1 pixels; at most 268435456 and 1000000 a side")
case("PNG with a side below zero", headed(png, 0xffffffff, 0xffffffff, 8, 2), "says 4294967295x4294967295 pixels")
case("PNG beyond the limit", headed(png, 20000, 20000, 1, 0), "says 20000x20000 pixels; at most")
case("PNG with more pixels than its bytes hold", headed(png, 16000, 16000, 8, 2), "16000x16000 pixels, more than %d+ packed bytes can hold")
case("PNG of CMYK", headed(png, 60, 50, 8, 5), "no such picture: colour type 5 with 8 bits")
case("PNG with colours of 4 bits", headed(png, 60, 50, 4, 2), "no such picture: colour type 2 with 4 bits")
case("PNG with a palette of 16 bits", headed(indexed, 90, 95, 16, 3), "no such picture: colour type 3 with 16 bits")
case("PNG of 3 bits", headed(png, 60, 50, 3, 0), "no such picture: colour type 0 with 3 bits")
case("PNG of colour type 200", headed(png, 60, 50, 8, 200), "no such picture: colour type 200")
case("PNG interlaced in an unknown way", headed(png, 60, 50, 8, 2, "\0\0\2"), "unknown compression, filter or interlace")
case("PNG packed in an unknown way", headed(png, 60, 50, 8, 2, "\1\0\0"), "unknown compression, filter or interlace")
case("PNG with an unknown filter method", headed(png, 60, 50, 8, 2, "\0\1\0"), "unknown compression, filter or interlace")
case("PNG without pixels", png:sub(1, idat - 1) .. chunk("IEND", ""), "chunk IDAT is missing")
case("PNG cut in its pixels", png:sub(1, idat + 500), "cut off in chunk IDAT")
case("PNG without its end", drop(png, "IEND"), "the end chunk is missing")
case("PNG with a chunk longer than the file", with(png, idat, be32(0x7fffff00)), "cut off in chunk IDAT: 2147483392 bytes")
case("PNG with a damaged checksum", with(png, idat_end, "\1"), "IDAT: CRC error")
case("PNG with a damaged byte", with(png, idat + 99, "\0\1\2"), "IDAT: ")
case("PNG whose pixels are no deflate", png:sub(1, idat - 1) .. chunk("IDAT", ("x"):rep(999)) .. png:sub(idat_end + 1), "IDAT: ")
case("PNG with an unknown filter", png:sub(1, idat - 1) .. chunk("IDAT", "\x78\1\1\x78\x23\x87\xdc" .. ("\9"):rep(0x2378)) .. chunk("IEND", ""), "bad adaptive filter")
case("PNG with half of its pixels", drop(png, "IDAT"), "IDAT: ")
case("PNG with fewer rows than it says", headed(png, 60, 70, 8, 2), "[Nn]ot enough")
case("PNG without its palette", drop(indexed, "PLTE"), "Missing PLTE")
case("PNG with a palette of two and a half colours", with(indexed, 34, chunk("PLTE", "1234567")):sub(1, 33 + 19) .. indexed:sub(select(2, find(indexed, "PLTE")) + 1), "PLTE")
case("PNG with two headers", png:sub(1, 33) .. png:sub(9), "IHDR: ")
case("PNG with an unknown chunk that matters", png:sub(1, idat - 1) .. chunk("XYZW", "1") .. png:sub(idat), "XYZW")

return cases
