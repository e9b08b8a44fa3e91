-- wattle.models: networks by name. A family is one file in share/wattle/models that returns {names = {...},
-- options = {...} (its own, besides those of models.create), create = function(name, options) -> module}, and
-- accepts = function(name) for names beyond those listed.

local wattle = require "wattle"
local core = wattle.core
local module = require "wattle.nn.module"
local util = require "wattle.util"
local where = require "wattle.where"

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

-- models.create(name, {num_classes = 10, in_channels = 1, image_size = 28, seed =, ...}) -> model with its
-- values drawn (by seed; wattle.manual_seed's if not given). Other options are the family's own, described in
-- its file, such as width for resnets or hidden for the mlp. An unknown name is an error that suggests the
-- nearest.
function models.create(name, options)
  if type(name) ~= "string" then
    where.raise("models.create: the name must be a string, got %s", tostring(name))
  end
  local family = find(name)
  if not family then
    local names = models.list()
    local near = util.nearest(name, names)
    local hint = near and ("; did you mean %q?"):format(near) or ""
    where.raise("models.create: no model %q%s (known: %s)", name, hint, table.concat(names, ", "))
  end
  local allowed = { "num_classes", "in_channels", "image_size", "seed" }
  table.move(family.options, 1, #family.options, #allowed + 1, allowed)
  util.check_options(options or {}, allowed, "models.create " .. name)
  local own = {}
  for key, value in pairs(options or {}) do own[key] = value end
  local seed = own.seed
  own.seed = nil
  own.num_classes, own.in_channels = own.num_classes or 10, own.in_channels or 1
  own.image_size = own.image_size or 28
  local model = family.create(name, own)
  model._input = { own.in_channels, own.image_size, own.image_size } -- what compress.flops_per_image assumes
  return module.initialise(model, seed)
end

return models
