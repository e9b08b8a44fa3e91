-- wattle.nn: networks as Lua classes, with PyTorch's names.
--
--   local Net = nn.class "Net"
--   function Net:init(o) self.fc = nn.Linear{in_features = 784, out_features = o.classes} end
--   function Net:forward(x) return self.fc(x:flatten()) end
--   local net = Net{classes = 10}
--   print(net); local y = net(wattle.rand{1, 1, 28, 28})
--   local plan = net:compile{input = {64, 1, 28, 28}, loss = "cross_entropy", optimizer = {"sgd", lr = 0.1}}
--
-- Fields that hold modules, parameters (nn.Parameter) or buffers (nn.Buffer) are the network; their paths are
-- the names in the state dict. nn/module.lua has classes and what every module can do; the layers are in
-- nn/layers.lua, activations.lua, attention.lua and blocks.lua; nn/init.lua has initial values (nn.init.kaiming_normal,
-- ...), nn/compile.lua the way to a plan. Functions (nn.relu, nn.cross_entropy, ...) are wattle.ops.

local wattle = require "wattle"
local where = require "wattle.where"
local util = require "wattle.util"
local module = require "wattle.nn.module"

local nn = {
  class = module.class,
  Parameter = module.Parameter,
  Buffer = module.Buffer,
  uniform = module.uniform,
  initialise = module.initialise,
  init = require "wattle.nn.init",
  is_module = module.is_module,
  losses = require "wattle.nn.compile",
}
for name, layer in pairs(require "wattle.nn.layers") do nn[name] = layer end
for name, layer in pairs(require "wattle.nn.attention") do nn[name] = layer end
for name, layer in pairs(require "wattle.nn.blocks") do nn[name] = layer end

-- Functional forms: nn.relu(x) is wattle.ops.relu(x). What exists nowhere is an error with the nearest name.
return setmetatable(nn, { __names = wattle.ops.list, __index = function(_, name)
  local op = rawget(wattle.ops, name)
  if op then return op end
  local names = util.sorted_keys(nn)
  for _, known in ipairs(wattle.ops.list()) do names[#names + 1] = known end
  local near = util.nearest(tostring(name), names)
  where.raise("wattle.nn has no %s%s", tostring(name), near and ("; did you mean nn.%s?"):format(near) or "")
end })
