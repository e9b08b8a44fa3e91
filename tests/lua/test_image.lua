-- wattle.data.image and wattle.data.resize: Pillow's pixels after resize, crop and normalization, options, and malformed
-- files. All pictures in all forms: tests/c/test_image.c.

local wattle = require "wattle"
package.path = (arg[0]:match "^.*/" or "./") .. "?.lua;" .. package.path
local t = require "harness"
local core, data = wattle.core, wattle.data
local test, check, equal, near, raises = t.test, t.check, t.equal, t.near, t.raises

local folder = "tests/golden/images/"
local scratch = os.tmpname()

local function rows(name)
  local all = assert(core.csv_read(folder .. name))
  local columns, out = table.remove(all, 1), {}
  for i, fields in ipairs(all) do
    out[i] = {}
    for k, column in ipairs(columns) do out[i][column] = fields[k] end
  end
  return out
end

local function numbers(text)
  local out = {}
  for word in text:gmatch "%S+" do out[#out + 1] = tonumber(word) end
  return out
end

-- torchvision's CenterCrop: half to even.
local function centre(x, size)
  local function start(n)
    local half = (n - size) / 2
    local low = math.floor(half)
    return (half - low == 0.5 and low % 2 == 1 or half - low > 0.5) and low + 1 or low
  end
  return x:narrow(1, start(x:size(1)), size):narrow(2, start(x:size(2)), size)
end

test("resize, crop and normalize: Pillow's grey levels, torchvision's numbers", function()
  local mean = wattle.tensor{ 0.485, 0.456, 0.406 }:reshape{ 3, 1, 1 }
  local sd = wattle.tensor{ 0.229, 0.224, 0.225 }:reshape{ 3, 1, 1 }
  local digests = {}
  for _, row in ipairs(rows "images.csv") do
    if row.mode == "RGB" and row.how == "bilinear 256 224" then digests[row.file] = row.sha256 end
  end
  local n, exact = 0, 0
  for _, row in ipairs(rows "normalized.csv") do
    local picture = assert(data.image(folder .. row.file))
    local crop = centre(data.resize(picture, { size = 256 }), 224):contiguous()
    if core.sha256_dict{ image = crop } == digests[row.file] then exact = exact + 1 end
    local x = ((crop:to "f32" / 255 - mean) / sd):reshape{ 3 * 224 * 224 }
    for i, want in ipairs(numbers(row.sample)) do near(x:get((i - 1) * x:numel() // 12), want, 2e-6, row.file) end
    near(x:mean(0):item(), tonumber(row.mean), 1e-5, row.file .. ": mean")
    n = n + 1
  end
  check(n >= 40, n .. " pictures")
  equal(exact, n, "pictures that are Pillow's to the last bit: ")
end)

test("channels, sizes and boxes", function()
  local picture = assert(data.image(folder .. "420.jpg"))
  equal(picture.dtype, "u8")
  equal(picture:shape(), { 3, 375, 500 })
  equal(assert(data.image(folder .. "420.jpg", { channels = 1 })):shape(), { 1, 375, 500 })
  equal(assert(data.image(folder .. "grey1.png")):shape(), { 3, 77, 123 })
  equal(data.resize(picture, { size = 256 }):shape(), { 3, 256, 341 })
  equal(data.resize(picture:transpose(1, 2), { size = 256, interpolation = "bicubic" }):shape(), { 3, 341, 256 })
  equal(data.resize(picture, { size = { 20, 30 }, interpolation = "nearest" }):shape(), { 3, 20, 30 })
  equal(data.resize(picture, { size = 10, box = { 0, 0, 50, 100 } }):shape(), { 3, 20, 10 })
  local part = picture:narrow(1, 7, 40):narrow(2, 3, 50):contiguous()
  local same = data.resize(picture, { size = { 40, 50 }, box = { 3, 7, 53, 47 } })
  equal(same:tobytes(), part:tobytes(), "a box of the size that is asked for is a crop")
  equal(data.resize(wattle.full({ 5, 4, 4, dtype = "u8" }, 7), { size = 3 }):tobytes(), ("\7"):rep(45), "five channels")
end)

test("mistakes are told", function()
  local picture = wattle.zeros{ 3, 4, 5, dtype = "u8" }
  raises(function() data.image(3) end, "a path is needed, not number")
  raises(function() data.image("x.png", { channels = 2 }) end, "channels must be 1 or 3, got 2")
  raises(function() data.image("x.png", { chanels = 1 }) end, "did you mean 'channels'")
  raises(function() data.resize(picture, {}) end, "size must be")
  raises(function() data.resize(picture, { size = 0 }) end, "size must be")
  raises(function() data.resize(picture, { size = { 3 } }) end, "size must be")
  raises(function() data.resize(picture, { size = 2.5 }) end, "size must be")
  raises(function() data.resize(picture, { size = 3, interpolation = "bilinea" }) end, "did you mean 'bilinear'")
  raises(function() data.resize(picture, { size = 3, box = { 0, 0, 1 } }) end, "box must be")
  raises(function() data.resize(picture, { size = 3, box = { 0, 0, 1, "x" } }) end, "box holds x")
  raises(function() data.resize(picture, { size = { 3, 3 }, box = { 0, 0, 6, 4 } }) end, "not inside 5x4")
  raises(function() data.resize(picture, { size = 3, box = { 2, 2, 2, 3 } }) end, "box is empty")
  raises(function() data.resize(picture:to "f32", { size = 3 }) end, "f32 %[3,4,5%]; u8")
  raises(function() data.resize(picture:select(0, 0), { size = 3 }) end, "u8 %[4,5%]; u8 %[C,H,W%]")
  raises(function() data.resize(wattle.zeros{ 3, 0, 5, dtype = "u8" }, { size = 3 }) end, "empty")
  raises(function() data.resize("x", { size = 3 }) end, "must be a tensor")
  raises(function() data.resize(picture, { size = { 2 ^ 20 // 1 | 0, 300 } }) end, "at most")
end)

test("files that cannot be read", function()
  local got, message, code = data.image(folder .. "none.png")
  equal({ got == nil, code }, { true, "io" })
  check(message:find "none%.png: cannot be opened: No such file", message)
  got, message, code = data.image(folder)
  equal({ got == nil, code }, { true, "io" })
  check(message:find "not a regular file", message)
end)

test("malformed pictures are refused and named", function()
  local cases, seen, wrong = require "malformed_images", {}, {}
  check(#cases >= 60, #cases .. " cases")
  for _, case in ipairs(cases) do
    check(not seen[case.name], case.name .. ": twice")
    seen[case.name] = true
    check(core.write_file(scratch, case.content))
    local got, message, code = data.image(scratch)
    if got ~= nil or code ~= case.code or not message:find(case.says) or not message:find(scratch, 1, true) then
      wrong[#wrong + 1] = ("%s: got %s, %s, %s"):format(case.name, tostring(got and "a picture"), tostring(message), tostring(code))
    end
    if got == nil then equal({ data.image(scratch, { channels = 1 }) }, { nil, message, code }, case.name .. ": ") end
  end
  equal(table.concat(wrong, "\n"), "")
end)

test("what is odd but whole is read", function()
  local function slurp(name)
    local file <close> = assert(io.open(name, "rb"))
    return file:read "a"
  end
  local jpeg, png = slurp(folder .. "small.jpg"), slurp(folder .. "gamma.png")
  local plain, plain_png = assert(data.image(folder .. "small.jpg")):tobytes(), assert(data.image(folder .. "gamma.png")):tobytes()
  for name, content in pairs{
    ["bytes behind the end"] = jpeg .. "more", ["bytes before the end"] = jpeg:sub(1, -3) .. "\0\0\0" .. jpeg:sub(-2),
    ["another JFIF version"] = (jpeg:gsub("JFIF\0\1", "JFIF\0\0", 1)), ["a comment"] = jpeg:sub(1, 2) .. "\xff\xfe\0\4hm" .. jpeg:sub(3),
    ["EXIF of nonsense"] = jpeg:sub(1, 2) .. "\xff\xe1\0\12Exif\0\0nono" .. jpeg:sub(3),
  } do
    check(core.write_file(scratch, content))
    equal(assert(data.image(scratch)):tobytes() == plain, true, name .. ": ")
  end
  check(core.write_file(scratch, png .. "more"))
  equal(assert(data.image(scratch)):tobytes() == plain_png, true)
end)

os.remove(scratch)
