-- wattle.data.folder: image files in one folder a class.

local core = require("wattle").core
local dataset = require "wattle.data.dataset"
local transforms = require "wattle.data.transforms"
local util = require "wattle.util"
local where = require "wattle.where"

local folder = {}

local readable = { jpg = true, jpeg = true, png = true }
local other_pictures = { webp = true, bmp = true, gif = true, tif = true, tiff = true, ppm = true, pgm = true, heic = true,
                         avif = true, jfif = true }
local MAX_DEPTH = 32

local function failed(message, ...) return nil, message:format(...), "format" end

-- core.listdir, whose message begins with its own name.
local function list_dir(dir)
  local names, message, code = core.listdir(dir)
  return names, message and (message:gsub("^listdir ", "", 1)), code
end

-- Image files below dir join the list, in byte order (listdir's), those of subfolders in their folder's place. Links are
-- followed.
local function collect(dir, list, depth)
  if depth > MAX_DEPTH then return failed("%s: folders nest deeper than %d", dir, MAX_DEPTH) end
  local names, message, code = list_dir(dir)
  if not names then return nil, message, code end
  for _, name in ipairs(names) do
    local path, ending = dir .. "/" .. name, name:match "%.(%w+)$"
    ending = ending and ending:lower()
    if name:sub(1, 1) == "." then -- hidden
    elseif readable[ending] then
      list[#list + 1] = path
    elseif other_pictures[ending] then
      return failed("%s: only JPEG and PNG files are read; convert it or move it away", path)
    else
      local _, kind = core.exists(path)
      if kind == "directory" then
        local ok
        ok, message, code = collect(path, list, depth + 1)
        if not ok then return nil, message, code end
      end
    end
  end
  return true
end

-- The names of dir's subfolders, in byte order.
local function subfolders(dir)
  local names, message, code = list_dir(dir)
  if not names then return nil, message, code end
  local classes = {}
  for _, name in ipairs(names) do
    local _, kind = core.exists(dir .. "/" .. name)
    if name:sub(1, 1) ~= "." and kind == "directory" then classes[#classes + 1] = name end
  end
  if #classes == 0 then
    return failed("%s: no folders in it; images stand in one folder a class: %s/CLASS/x.jpg", dir, dir)
  end
  return classes
end

local function check(o)
  util.check_options(o, { "dir", "transform", "channels", "on_error", "name", "classes" }, "data.folder")
  if type(o.dir) ~= "string" then where.raise("data.folder: dir must be a path, got %s", type(o.dir)) end
  if o.transform then transforms.check(o.transform, "data.folder") end
  if o.channels ~= nil and o.channels ~= 1 and o.channels ~= 3 then
    where.raise("data.folder: channels must be 1 or 3, got %s", tostring(o.channels))
  end
  local on_error = o.on_error or "stop"
  if on_error ~= "stop" and on_error ~= "skip" then
    where.raise('data.folder: on_error must be "stop" or "skip", got %s%s', tostring(on_error),
                util.hint(on_error, { "stop", "skip" }))
  end
  if o.classes ~= nil then
    if type(o.classes) ~= "table" or #o.classes == 0 then
      where.raise("data.folder: classes must be a list of folders' names")
    end
    local seen = {}
    for _, name in ipairs(o.classes) do
      if type(name) ~= "string" then
        where.raise("data.folder: classes must be a list of folders' names, got a %s in it", type(name))
      end
      if seen[name] then where.raise("data.folder: class '%s' is listed twice", name) end
      seen[name] = true
    end
  end
end

-- data.folder{dir =, transform =, channels = 3, on_error = "stop", name = "folder", classes =} -> data set of the JPEG and
-- PNG files in dir's subfolders, one a class (torchvision.datasets.ImageFolder). Classes are the subfolders' names in
-- order, or those in classes (for a second set: classes = train.classes); files may lie in folders of folders.
-- transform: a list of data.transforms' steps, which must end in one size; without one, all images must have the same.
-- channels: 3 (RGB) or 1 (grey). on_error: what becomes of a file that cannot be read or is corrupt: "stop" ends the run
-- with an error that names it, "skip" leaves it out (see ds:batches and ds:skipped). nil, message, code where a folder
-- cannot be read or has no images. Files are read when a batch is made.
function folder.folder(o)
  check(o)
  local dir = #o.dir > 1 and o.dir:gsub("/+$", "") or o.dir
  local classes, message, code = o.classes, nil, nil
  if not classes then
    classes, message, code = subfolders(dir)
    if not classes then return nil, message, code end
  end
  local files, labels = {}, {}
  for c, name in ipairs(classes) do
    local before, ok = #files, nil
    ok, message, code = collect(dir .. "/" .. name, files, 1)
    if not ok then return nil, message, code end
    if #files == before then return failed("%s/%s: no .jpg, .jpeg or .png files in it", dir, name) end
    for i = before + 1, #files do labels[i] = c - 1 end
  end
  return dataset.new{ files = files, labels = core.tensor(labels, "i64"), mean = 0, sd = 1, transform = o.transform,
                      classes = table.move(classes, 1, #classes, 1, {}), name = o.name or "folder",
                      channels = o.channels or 3, on_error = o.on_error or "stop" }
end

return folder
