-- Pictures as tensors: wattle.data.image and wattle.data.resize. The pixels are Pillow's; the core computes them.
-- Folders of pictures and transforms of them on the way into batches are in wattle.data.

local core = require "wattle.core"
local util = require "wattle.util"
local where = require "wattle.where"

local image = {}
local tensor_type = debug.getmetatable(core.zeros{ 1 })

-- data.image(path, {channels = 3}) -> u8 tensor (C,H,W), 0 to 255, from a JPEG or PNG file (told by content), turned as its
-- EXIF orientation says. channels: 3 (RGB; alpha is dropped) or 1 (ITU-R 601 luma). The pixels are those of Pillow 9.4's
-- ImageOps.exif_transpose(image).convert("RGB" or "L"). nil, message, code where the file cannot be read, is neither
-- of the two, is cut off or corrupt, or has more than 2^28 pixels.
function image.image(path, o)
  o = o or {}
  util.check_options(o, { "channels" }, "data.image")
  if type(path) ~= "string" then where.raise("data.image: a path is needed, not %s", type(path)) end
  local channels = o.channels or 3
  if channels ~= 1 and channels ~= 3 then where.raise("data.image: channels must be 1 or 3, got %s", tostring(o.channels)) end
  return core.image_load(path, channels)
end

local filters = { "nearest", "bilinear", "bicubic" }

local function is_size(v) return math.type(v) == "integer" and v >= 1 end

-- data.resize(image, {size =, interpolation = "bilinear", box =}) -> u8 tensor (C,h,w) from u8 (C,H,W), as Pillow's
-- Image.resize gives it: "bilinear" and "bicubic" are antialiased (the filter widens with the reduction), or "nearest".
-- size: {h, w}, or the shorter side in pixels, the other in proportion and rounded down, as torchvision's Resize has it.
-- box: {left, top, right, bottom}, the part that is taken, in pixels, fractions too; all of the image if not given.
function image.resize(picture, o)
  util.check_options(o, { "size", "interpolation", "box" }, "data.resize")
  local size, filter, box = o.size, o.interpolation or "bilinear", o.box or {}
  if debug.getmetatable(picture) ~= tensor_type then
    where.raise("data.resize: the image must be a tensor, not %s", type(picture))
  elseif picture.dtype ~= "u8" or picture:dim() ~= 3 then
    where.raise("data.resize: the image is %s [%s]; u8 [C,H,W] is needed", picture.dtype, table.concat(picture:shape(), ","))
  elseif not (is_size(size) or type(size) == "table" and #size == 2 and is_size(size[1]) and is_size(size[2])) then
    where.raise("data.resize: size must be {height, width} or the shorter side, integers of at least 1")
  elseif not (filter == "nearest" or filter == "bilinear" or filter == "bicubic") then
    where.raise("data.resize: unknown interpolation '%s'%s", tostring(filter), util.hint(filter, filters))
  elseif type(box) ~= "table" or o.box and #box ~= 4 then
    where.raise("data.resize: box must be {left, top, right, bottom}")
  end
  for _, edge in ipairs(box) do
    if type(edge) ~= "number" then where.raise("data.resize: box holds %s; numbers are needed", tostring(edge)) end
  end
  if type(size) ~= "table" then
    local h, w = picture:size(1), picture:size(2)
    if o.box then h, w = box[4] - box[2], box[3] - box[1] end
    if not (h > 0 and w > 0) then where.raise("data.resize: the image or the box is empty") end
    size = w <= h and { math.floor(size * h / w), size } or { size, math.floor(size * w / h) }
  end
  return core.image_resize(picture, size[1], size[2], filter, table.unpack(box))
end

return image
