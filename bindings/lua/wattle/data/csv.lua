-- wattle.data.csv: samples in the rows of a CSV file, a label in one column and pixels or features in the others.

local core = require("wattle").core
local dataset = require "wattle.data.dataset"
local transforms = require "wattle.data.transforms"
local util = require "wattle.util"
local where = require "wattle.where"

local csv = {}

local function check(o)
  util.check_options(o, { "path", "label", "shape", "header", "classes", "mean", "sd", "transform", "name" }, "data.csv")
  if type(o.path) ~= "string" then where.raise("data.csv: path must be a file's, got %s", type(o.path)) end
  local number = math.type(o.label) == "integer" and o.label >= 1
  if not number and type(o.label) ~= "string" then
    where.raise("data.csv: label must be the name of the label's column, or its number from 1, got %s", tostring(o.label))
  end
  if o.header == false and not number then
    where.raise("data.csv: without a header, label must be a column's number, from 1")
  end
  if o.shape ~= nil then
    local fits = type(o.shape) == "table" and (#o.shape == 2 or #o.shape == 3)
    for _, n in ipairs(fits and o.shape or {}) do fits = fits and math.type(n) == "integer" and n >= 1 end
    if not fits then where.raise("data.csv: shape must be {H, W} or {C, H, W} of the pixels, or nil for features") end
  end
  if o.transform then transforms.check(o.transform, "data.csv") end
  for _, name in ipairs{ "mean", "sd" } do
    if o[name] ~= nil and type(o[name]) ~= "number" then where.raise("data.csv: %s must be a number", name) end
  end
  if not ((o.sd or 1) > 0) then where.raise("data.csv: sd must be above 0") end
  if o.classes ~= nil and type(o.classes) ~= "table" and not (math.type(o.classes) == "integer" and o.classes >= 1) then
    where.raise("data.csv: classes must be a list of names, or how many there are")
  end
end

-- What the labels say as classes: {text -> class from 0} and the classes' names; nil, message where they contradict what
-- was given.
local function classes_of(found, given, path)
  local position, all_numbers, highest = {}, true, -1
  for _, text in ipairs(found) do
    local number = text:find "^%d+$" and #text <= 6 and math.tointeger(text)
    if number and tostring(number) == text then highest = math.max(highest, number) else all_numbers = false end
  end
  local names = type(given) == "table" and given or {}
  for c, name in ipairs(names) do position[name] = c - 1 end
  local named = #names > 0
  for _, text in ipairs(found) do named = named and position[text] ~= nil end
  if not named and all_numbers then
    local n = math.type(given) == "integer" and given or #names > 0 and #names or highest + 1
    if highest >= n then
      return nil, ("%s: a label is %d, but there are %d classes (labels count from 0)"):format(path, highest, n)
    end
    position = {}
    for c = 0, n - 1 do position[tostring(c)] = c end
    for c = #names + 1, n do names[c] = tostring(c - 1) end
  elseif not named and type(given) == "table" then
    for _, text in ipairs(found) do
      if not position[text] then return nil, ("%s: label '%s' is none of the classes"):format(path, text) end
    end
  elseif not named then
    names = table.move(found, 1, #found, 1, {})
    table.sort(names)
    if given and #names > given then
      return nil, ("%s: there are %d different labels, not %d"):format(path, #names, given)
    end
    for c, name in ipairs(names) do position[name] = c - 1 end
  end
  return position, table.move(names, 1, #names, 1, {})
end

local function shaped(values, shape, path)
  if not shape then return values, { values:size(1) } end
  local chw = #shape == 2 and { 1, shape[1], shape[2] } or shape
  if values:size(1) ~= chw[1] * chw[2] * chw[3] then
    return nil, ("%s: a row has %d pixels; shape %s needs %d"):format(path, values:size(1), table.concat(shape, "x"),
                                                                      chw[1] * chw[2] * chw[3])
  end
  return values:reshape(values:size(0), chw[1], chw[2], chw[3]), { chw[1], chw[2], chw[3] }
end

-- data.csv{path =, label =, shape =, header = true, classes =, mean = 0, sd = 1, transform =, name = "csv"} -> data set,
-- a sample a row. label: the column of the label by name, or by number from 1 (header = false: no first row of names).
-- With shape {H, W} or {C, H, W} all other columns are pixels 0..255 of an image, in that order; without it they are
-- features, f32, and a sample is {F}. Labels that are integers from 0 are classes as they stand; other texts are classes
-- in sorted order, or in that of classes (for a second file: classes = train.classes). mean and sd: of pixels in 0..1, or
-- of features as they are. nil, message, code where the file cannot be read or a cell is no number: the message names row
-- and column.
function csv.csv(o)
  check(o)
  local values, labels, found = core.csv_samples(o.path, { label = o.label, header = o.header ~= false,
                                                           pixels = o.shape ~= nil })
  if not values then return nil, labels, found end
  local images, raw = shaped(values, o.shape, o.path)
  if not images then return nil, raw, "format" end
  local position, classes = classes_of(found, o.classes, o.path)
  if not position then return nil, classes, "format" end
  local of = labels:tolist()
  for i, k in ipairs(of) do of[i] = position[found[k + 1]] end
  return dataset.new{ images = images, labels = core.tensor(of, "i64"), mean = o.mean or 0, sd = o.sd or 1,
                      classes = classes, transform = o.transform, name = o.name or "csv",
                      channels = o.shape and raw[1] or nil, raw = raw }
end

return csv
