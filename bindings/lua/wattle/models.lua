-- wattle.models: networks by name. models.create "resnet50" makes one, models.list() gives all names.
--
-- A family is one file in share/wattle/models that returns
--   names     list of names; accepts = function(name), if given, for names beyond those listed
--   options   list of its own options, besides those of models.create
--   defaults  {num_classes =, in_channels =, image_size =}; 10 classes of 1 x 28 x 28 if not given
--   create    function(name, options) -> module; options.pretrained is true where weights will be loaded
-- and, for published weights (see weights.lua):
--   head      patterns of the names of parameters that depend on num_classes
--   optional  patterns of names that a file may lack, or hold in vain (auxiliary heads)
--   stem      the weight that depends on in_channels
--   keys      function(name, names in the file, model) -> map to our names, or nil if they are ours
--   prepare   function(dict, model): interpolates an embedding made for images of another size; returns its name

local wattle = require "wattle"
local core = wattle.core
local module = require "wattle.nn.module"
local util = require "wattle.util"
local where = require "wattle.where"
local weights = require "wattle.weights"

local models = {}

local families -- what the files returned, read once

local function load_families()
  if families then return families end
  local folder = wattle.home .. "/models"
  local files, message = core.listdir(folder)
  if not files then where.raise("models: %s", message) end
  table.sort(files)
  local list = {}
  for _, file in ipairs(files) do
    if file:find "%.lua$" then
      list[#list + 1] = assert(loadfile(folder .. "/" .. file))()
    end
  end
  families = list
  return list
end

-- models.list() -> the names that are listed, sorted as the families' files are.
function models.list()
  local names = {}
  for _, family in ipairs(load_families()) do
    for _, name in ipairs(family.names) do names[#names + 1] = name end
  end
  return names
end

local function find(name)
  for _, family in ipairs(load_families()) do
    for _, known in ipairs(family.names) do
      if known == name then return family end
    end
  end
  for _, family in ipairs(load_families()) do
    if family.accepts and family.accepts(name) then return family end
  end
end

-- The family of a name; an unknown one is an error that suggests the nearest.
local function family_of(name)
  if type(name) ~= "string" then
    where.raise("models.create: the name must be a string, such as \"resnet18\", not a %s", type(name))
  end
  local family = find(name)
  if family then return family end
  local near = util.nearest(name, models.list())
  where.raise("models.create: no model %q; %s", name,
              near and ("did you mean %q?"):format(near) or "wattle.models.list() names them")
end

local common = { "num_classes", "in_channels", "image_size", "seed", "pretrained" }
local sizes = { num_classes = 10, in_channels = 1, image_size = 28 }

-- The options, checked and completed, as the family's create gets them; then the seed and the path of the weights.
local function complete(name, options, family)
  local known = table.move(common, 1, #common, 1, {})
  table.move(family.options, 1, #family.options, #common + 1, known)
  util.check_options(options or {}, known, "models.create " .. name)
  local own = {}
  for key, value in pairs(options or {}) do own[key] = value end
  local seed, path = own.seed, own.pretrained
  if path ~= nil and type(path) ~= "string" then
    where.raise("models.create %s: pretrained must be the path of a file of weights, not %s; nothing is downloaded", name,
                type(path))
  end
  if seed ~= nil and math.type(seed) ~= "integer" then
    where.raise("models.create %s: seed must be an integer, got %s", name, tostring(seed))
  end
  for key, default in pairs(sizes) do
    if own[key] == nil then own[key] = (family.defaults or sizes)[key] or default end
    if math.type(own[key]) ~= "integer" or own[key] < 1 then
      where.raise("models.create %s: %s must be a positive integer, got %s", name, key, tostring(own[key]))
    end
  end
  own.seed, own.pretrained = nil, path and true
  return own, seed, path
end

-- models.create(name, {num_classes =, in_channels =, image_size =, seed =, pretrained = path, ...}) -> model, report. The
-- values are drawn by seed (wattle.manual_seed's if not given). ImageNet's networks are made for 1000 classes of 3 x 224 x
-- 224 unless told otherwise, the small ones for 10 of 1 x 28 x 28; image_size matters only to networks that depend on it
-- (mlp, lenet5, vit_b_16). Other options are the family's own, described in its file (models/*.lua).
--
-- pretrained is a file that wattle.load reads, with the names of torchvision or another library that the family knows. Its
-- values are taken over without a copy; a head for another number of classes is drawn anew, and a first convolution for
-- another number of channels is summed up (for 1) or repeated. The report says what was done: see weights.load. A file
-- that is absent, malformed or another model's gives nil, message, code. An unknown name is an error that suggests the
-- nearest.
function models.create(name, options)
  local family = family_of(name)
  local own, seed, path = complete(name, options, family)
  local model = module.deferred(function() return family.create(name, own) end)
  model._input = { own.in_channels, own.image_size, own.image_size } -- what compress.flops_per_image assumes
  if not path then return module.initialise(model, seed) end
  local report, message, code = weights.load(model, path, { name = name, family = family })
  if not report then return nil, message, code end
  return module.initialise(model, seed), report
end

return models
