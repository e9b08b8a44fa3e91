-- Other libraries' names in models/{mobilenet,efficientnet,convnext,vit,xception}.lua: that each name leads to a parameter of the
-- right shape and every parameter gets its values, from files with those names too; a ViT's embedding of another size; and
-- the blocks of nn/blocks.lua.

local wattle = require "wattle"
local module = require "wattle.nn.module"
local rename = require "wattle.weights".rename
local core, nn, models = wattle.core, wattle.nn, wattle.models
local t = require "harness"
local test, check, equal, near, raises = t.test, t.check, t.equal, t.near, t.raises

local scratch = os.tmpname()

local function family_of(file)
  return assert(loadfile(wattle.home .. "/models/" .. file .. ".lua"))()
end

-- The model with its values neither drawn nor loaded.
local function bare(family, name, o)
  local all = { num_classes = 10, in_channels = 3, image_size = 32 }
  for key, value in pairs(o or {}) do all[key] = value end
  return module.deferred(function() return family.create(name, all) end)
end

-- ---- other libraries' names ----------------------------------------------------------------------------------

-- The words of `parts`, each behind the prefix, appended to names.
local function add(names, prefix, parts)
  for part in parts:gmatch "%S+" do names[#names + 1] = prefix .. part end
end

local function bn(prefix)
  return ("%s.weight %s.bias %s.running_mean %s.running_var %s.num_batches_tracked"):gsub("%%s", prefix)
end

-- timm's names of mobile networks: blocks a stage, and whether they have squeeze-and-excitation.
local function timm_mobile(stages, squeezed)
  local names = {}
  local se = squeezed and "se.conv_reduce.weight se.conv_reduce.bias se.conv_expand.weight se.conv_expand.bias " or ""
  add(names, "", "conv_stem.weight " .. bn "bn1")
  for s, n in ipairs(stages) do
    for b = 0, n - 1 do
      local prefix = ("blocks.%d.%d."):format(s - 1, b)
      if s == 1 then
        add(names, prefix, "conv_dw.weight " .. bn "bn1" .. " " .. se .. "conv_pw.weight " .. bn "bn2")
      else
        add(names, prefix, "conv_pw.weight " .. bn "bn1" .. " conv_dw.weight " .. bn "bn2" .. " " .. se
            .. "conv_pwl.weight " .. bn "bn3")
      end
    end
  end
  add(names, "", "conv_head.weight " .. bn "bn2" .. " classifier.weight classifier.bias")
  return names
end

local function timm_convnext()
  local names = {}
  add(names, "", "stem.0.weight stem.0.bias stem.1.weight stem.1.bias")
  for s, n in ipairs{ 3, 3, 9, 3 } do
    if s > 1 then add(names, ("stages.%d.downsample."):format(s - 1), "0.weight 0.bias 1.weight 1.bias") end
    for b = 0, n - 1 do
      add(names, ("stages.%d.blocks.%d."):format(s - 1, b), "gamma conv_dw.weight conv_dw.bias norm.weight norm.bias "
          .. "mlp.fc1.weight mlp.fc1.bias mlp.fc2.weight mlp.fc2.bias")
    end
  end
  add(names, "head.", "norm.weight norm.bias fc.weight fc.bias")
  return names
end

local function first_convnext()
  local names = {}
  for s, n in ipairs{ 3, 3, 9, 3 } do
    add(names, ("downsample_layers.%d."):format(s - 1), "0.weight 0.bias 1.weight 1.bias")
    for b = 0, n - 1 do
      add(names, ("stages.%d.%d."):format(s - 1, b), "gamma dwconv.weight dwconv.bias norm.weight norm.bias "
          .. "pwconv1.weight pwconv1.bias pwconv2.weight pwconv2.bias")
    end
  end
  add(names, "", "norm.weight norm.bias head.weight head.bias")
  return names
end

local function hugging_convnext()
  local names = {}
  add(names, "convnext.embeddings.", "patch_embeddings.weight patch_embeddings.bias layernorm.weight layernorm.bias")
  for s, n in ipairs{ 3, 3, 9, 3 } do
    local stage = ("convnext.encoder.stages.%d."):format(s - 1)
    if s > 1 then add(names, stage .. "downsampling_layer.", "0.weight 0.bias 1.weight 1.bias") end
    for b = 0, n - 1 do
      add(names, ("%slayers.%d."):format(stage, b), "layer_scale_parameter dwconv.weight dwconv.bias layernorm.weight "
          .. "layernorm.bias pwconv1.weight pwconv1.bias pwconv2.weight pwconv2.bias")
    end
  end
  add(names, "", "convnext.layernorm.weight convnext.layernorm.bias classifier.weight classifier.bias")
  return names
end

local function vit(before, layer, parts, after)
  local names = {}
  add(names, "", before)
  for i = 0, 11 do
    for _, kind in ipairs{ "weight", "bias" } do add(names, layer:format(i), (parts:gsub("%*", kind))) end
  end
  add(names, "", after)
  return names
end

local function timm_vit()
  return vit("cls_token pos_embed patch_embed.proj.weight patch_embed.proj.bias", "blocks.%d.",
             "norm1.* attn.qkv.* attn.proj.* norm2.* mlp.fc1.* mlp.fc2.*", "norm.weight norm.bias head.weight head.bias")
end

local function hugging_vit(prefix)
  local before = ("Pembeddings.cls_token Pembeddings.position_embeddings Pembeddings.patch_embeddings.projection.weight "
    .. "Pembeddings.patch_embeddings.projection.bias"):gsub("P", prefix)
  return vit(before, prefix .. "encoder.layer.%d.", "attention.attention.query.* attention.attention.key.* "
    .. "attention.attention.value.* attention.output.dense.* intermediate.dense.* output.dense.* layernorm_before.* "
    .. "layernorm_after.*", prefix .. "layernorm.weight " .. prefix .. "layernorm.bias classifier.weight classifier.bias")
end

local function first_torchvision_vit()
  return vit("class_token conv_proj.weight conv_proj.bias encoder.pos_embedding", "encoder.layers.encoder_layer_%d.",
             "ln_1.* self_attention.in_proj_* self_attention.out_proj.* ln_2.* mlp.linear_1.* mlp.linear_2.*",
             "encoder.ln.weight encoder.ln.bias heads.head.weight heads.head.bias")
end

-- Each parameter and buffer is named by one of the file's names, or by three thirds of its rows; what is over ends in
-- num_batches_tracked.
local function check_names(family, name, file_names, label)
  local map, got = family.keys(name, file_names), {}
  check(map, label .. ": no map")
  local model = bare(family, name)
  for _, theirs in ipairs(file_names) do
    local ours = map[theirs]
    if ours == nil then ours = theirs end
    if type(ours) == "table" and ours.rows then
      check(ours.rows[2] == 3 and theirs:find(({ "query", "key", "value" })[ours.rows[1]], 1, true), theirs)
      got[ours.name] = (got[ours.name] or 0) + 1 / 3
    else
      local full = type(ours) == "table" and ours.name or ours
      check(not got[full], full .. " twice")
      got[full] = 1
      if type(ours) == "table" then equal(ours.reshape, model:get_submodule(full:match "(.*)%.").layer_scale:tensor():shape()) end
    end
  end
  for _, entry in ipairs(module.entries(model)) do
    near(got[entry.name] or 0, 1, 1e-9, label .. ": " .. entry.name)
    got[entry.name] = nil
  end
  for ours in pairs(got) do check(ours:find "%.num_batches_tracked$", label .. ": " .. ours) end
end

test("timm's names of MobileNetV2 and EfficientNet", function()
  check_names(family_of "mobilenet", "mobilenet_v2", timm_mobile({ 1, 2, 3, 4, 3, 3, 1 }), "mobilenet_v2")
  local family = family_of "efficientnet"
  check_names(family, "efficientnet_b0", timm_mobile({ 1, 2, 2, 3, 3, 4, 1 }, true), "b0")
  check_names(family, "efficientnet_b1", timm_mobile({ 2, 3, 3, 4, 4, 5, 2 }, true), "b1")
  check_names(family, "efficientnet_b4", timm_mobile({ 2, 4, 4, 6, 6, 8, 2 }, true), "b4")
end)

test("ConvNeXt's names: timm, the authors, Hugging Face", function()
  local family = family_of "convnext"
  check_names(family, "convnext_tiny", timm_convnext(), "timm")
  check_names(family, "convnext_tiny", first_convnext(), "authors")
  check_names(family, "convnext_tiny", hugging_convnext(), "Hugging Face")
end)

test("ViT's names: timm, Hugging Face, torchvision's first files", function()
  local family = family_of "vit"
  check_names(family, "vit_b_16", timm_vit(), "timm")
  check_names(family, "vit_b_16", hugging_vit "vit.", "Hugging Face")
  check_names(family, "vit_b_16", hugging_vit "", "Hugging Face's ViTModel")
  check_names(family, "vit_b_16", first_torchvision_vit(), "torchvision 0.12")
  equal(family.keys("vit_b_16", { "vit.pooler.dense.weight" })["vit.pooler.dense.weight"], false)
end)

test("our own names need no map", function()
  for file, name in pairs{ mobilenet = "mobilenet_v2", efficientnet = "efficientnet_b0", convnext = "convnext_tiny",
                           vit = "vit_b_16", xception = "xception" } do
    local family, own = family_of(file), {}
    for i, entry in ipairs(module.entries(bare(family, name))) do own[i] = entry.name end
    check(family.keys(name, own) == nil, name)
  end
end)

-- Small enough to write: timm's file of a MobileNetV2 loads to the same numbers.
test("a file of timm's loads", function()
  local options = { width_mult = 0.1, num_classes = 3, seed = 5 }
  local from, dict = models.create("mobilenet_v2", options), {}
  local map = family_of("mobilenet").keys("mobilenet_v2", timm_mobile{ 1, 2, 3, 4, 3, 3, 1 })
  for theirs, ours in pairs(map) do
    local layer, field = ours:match "^(.*)%.([^.]+)$"
    if field ~= "num_batches_tracked" then dict[theirs] = from:get_submodule(layer)[field]:tensor() end
  end
  assert(wattle.save(scratch, dict))
  local to, report = models.create("mobilenet_v2", { width_mult = 0.1, num_classes = 3, seed = 6, pretrained = scratch })
  check(to, report)
  check(report.renamed and #report.new == 0 and #report.ignored == 0)
  local a, b = from:state_dict(), to:state_dict()
  equal(#a, 262)
  for i, name in ipairs(a) do check(name == b[i] and a[name]:equal(b[name]), name) end
end)

test("names that DataParallel saved lose their prefix", function()
  local model = models.create("mobilenet_v2", { num_classes = 3, seed = 1 })
  local dict, saved = model:state_dict(), {}
  for i, name in ipairs(dict) do saved[i], saved["module." .. name] = "module." .. name, dict[name] end
  assert(wattle.save(scratch, saved))
  local loaded, report = models.create("mobilenet_v2", { num_classes = 3, seed = 2, pretrained = scratch })
  check(loaded, report)
  check(report.renamed and #report.new == 0 and #report.ignored == 0)
  check(loaded:state_dict()["features.0.0.weight"]:equal(dict["features.0.0.weight"]))
  saved[#saved + 1], saved.extra = "extra", wattle.ones{ 1 } -- one name without it: then it is no such file
  assert(wattle.save(scratch, saved))
  local none, message = models.create("mobilenet_v2", { num_classes = 3, pretrained = scratch })
  check(none == nil and message:find("missing", 1, true), message)
end)

test("three tensors become one, whatever their order in the file", function()
  local dict = { "v", "k", "q", "other" }
  for i, name in ipairs(dict) do dict[name] = wattle.full({ 2, 3 }, i) end
  local map = {}
  for i, name in ipairs{ "q", "k", "v" } do map[name] = { name = "in_proj", rows = { i, 3 } } end
  local renamed = rename(dict, map)
  equal(table.concat(renamed, " "), "in_proj other")
  equal(renamed.in_proj:shape(), { 6, 3 })
  for row, value in ipairs{ 3, 3, 2, 2, 1, 1 } do equal(renamed.in_proj:select(0, row - 1):max(), value) end
  dict.k = nil
  equal(#rename({ "v", "q", v = dict.v, q = dict.q }, map), 0, "a part is missing")
end)

test("a first convolution for more channels than eight pieces hold", function()
  local from = models.create("mobilenet_v2", { width_mult = 0.1, num_classes = 2, seed = 1 })
  assert(wattle.save(scratch, from:state_dict()))
  for _, channels in ipairs{ 1, 2, 4, 10, 20 } do
    local to, report = models.create("mobilenet_v2",
      { width_mult = 0.1, num_classes = 2, in_channels = channels, pretrained = scratch })
    check(to, report)
    equal(report.stem, "features.0.0.weight")
    local a, b = from.features[1][1].weight:tensor(), to.features[1][1].weight:tensor()
    equal(b:size(1), channels)
    local scale = channels == 1 and 1 or 3 / channels
    local want = channels == 1 and a:sum(1) or nn.mul(a:select(1, 0), wattle.tensor(scale))
    local d = b:select(1, 0) - want
    near(math.max(d:max(), -d:min()), 0, 1e-6)
  end
end)

test("Xception's last layer under its older name", function()
  local map = family_of("xception").keys("xception", { "conv1.weight", "last_linear.weight", "last_linear.bias" })
  equal(map, { ["last_linear.weight"] = "fc.weight", ["last_linear.bias"] = "fc.bias" })
end)

-- ---- a ViT for images of another size ------------------------------------------------------------------------

local function read_table(path)
  local cases = {}
  for line in io.lines(path) do
    local from, to, p, value = line:match "^(%d+),(%d+),(%d+),(%S+)$"
    if from then
      local key = from .. " " .. to
      cases[key] = cases[key] or { from = tonumber(from), to = tonumber(to) }
      cases[key][p + 1] = tonumber(value)
    end
  end
  return cases
end

test("a ViT's positional embedding is interpolated as torchvision does", function()
  local prepare, seen = family_of("vit").prepare, 0
  for key, case in pairs(read_table "tests/golden/embedding.csv") do
    seen = seen + 1
    local n, m = case.from * case.from, case.to * case.to
    local rows, line = {}, {}
    for p = 0, n do line[p + 1] = math.sin(p * p) / (1 + p % 3) end
    for c = 0, 767 do rows[c + 1] = 1 + c / 768 end
    local grid = nn.mul(wattle.tensor(line, "f64"):view{ 1, n + 1, 1 }, wattle.tensor(rows, "f64"):view{ 1, 1, 768 })
    local dict = { "encoder.pos_embedding", ["encoder.pos_embedding"] = grid:to "f32" }
    local model = { image_size = 16 * case.to, encoder = { pos_embedding = core.param(wattle.zeros{ 1, m + 1, 768 }) } }
    equal(prepare(dict, model), "encoder.pos_embedding", key)
    local got = dict["encoder.pos_embedding"]
    equal(got:shape(), { 1, m + 1, 768 })
    for p = 0, m do
      near(got:select(1, p):select(1, 0):item(), case[p + 1], 1e-6, key)
      near(got:select(1, p):select(1, 384):item(), 1.5 * case[p + 1], 1e-6, key)
    end
    equal(prepare(dict, model), nil, "it fits now")
  end
  equal(seen, 4)
  local odd = { "encoder.pos_embedding", ["encoder.pos_embedding"] = wattle.zeros{ 1, 8, 768 } }
  local small = { image_size = 32, encoder = { pos_embedding = core.param(wattle.zeros{ 1, 5, 768 }) } }
  equal(prepare(odd, small), nil, "no square grid: left for the check of shapes to refuse")
end)

-- ---- what images and options the models take -----------------------------------------------------------------

test("smallest images, and refusals that say why", function()
  raises(function() models.create("vit_b_16", { image_size = 100 }) end, "multiple of 16")
  raises(function() models.create("mobilenet_v2", { width_mult = 0 }) end, "width_mult")
  raises(function() models.create("efficientnet_b0", { dropout = 1.5 }) end, "p must be")
  for _, name in ipairs{ "efficientnet_b0", "convnext_tiny" } do
    for _, p in ipairs{ -0.1, 1.1, 0 / 0, "a" } do
      raises(function() models.create(name, { stochastic_depth_prob = p }) end, name .. ": stochastic_depth_prob must be")
    end
  end
  raises(function() models.create("convnext_tiny", { layer_scale = 1 / 0 }) end, "layer_scale must be")
  local mobile = models.create("mobilenet_v2", { width_mult = 0.1, num_classes = 2 }):eval()
  equal(mobile(wattle.rand{ 1, 3, 1, 1 }):shape(), { 1, 2 })
  equal(mobile(wattle.rand{ 2, 3, 33, 47 }):shape(), { 2, 2 })
  local nasnet = models.create("nasnetmobile", { num_classes = 2 }):eval()
  equal(nasnet(wattle.rand{ 1, 3, 3, 4 }):shape(), { 1, 2 })
  raises(function() nasnet(wattle.rand{ 1, 3, 2, 3 }) end, "at least 3 x 3")
end)

test("parameters of Xception and NASNet mobile as published", function()
  equal(bare(family_of "xception", "xception", { num_classes = 1000 }):num_parameters(), 22855952)
  equal(bare(family_of "nasnet", "nasnetmobile", { num_classes = 1000 }):num_parameters(), 5289978)
end)

-- ---- nn/blocks.lua -------------------------------------------------------------------------------------------

test("Conv2dNormActivation has torchvision's children and defaults", function()
  local plain = nn.Conv2dNormActivation{ in_channels = 3, out_channels = 4 }
  equal(tostring(plain), [[
Conv2dNormActivation(
  (0): Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
  (1): BatchNorm2d(4, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
  (2): ReLU()
)]])
  local bare_conv = nn.Conv2dNormActivation{ in_channels = 3, out_channels = 4, kernel_size = { 5, 3 }, dilation = 2,
                                             norm_layer = false, activation_layer = false }
  equal(#bare_conv, 1)
  equal(bare_conv[1].padding, { 4, 2 })
  check(bare_conv[1].bias, "nothing normalizes, so the convolution has a bias")
  equal(plain(wattle.rand{ 2, 3, 5, 6 }):shape(), { 2, 4, 5, 6 })
  raises(function() nn.Conv2dNormActivation{ in_channels = 3, out_channels = 4, activation_layers = nn.ReLU } end, "activation_layer'")
  raises(function() nn.Conv2dNormActivation{ in_channels = 3, out_channels = 4, activation_layer = nn.ReLU() } end, "class")
end)

test("SqueezeExcitation scales each channel by a function of its mean", function()
  local se = nn.SqueezeExcitation{ input_channels = 2, squeeze_channels = 1, scale_activation = nn.Identity }
  local names = {}
  for i, entry in ipairs(se:parameters()) do names[i] = entry.name end
  equal(names, { "fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias" })
  nn.init.ones(se.fc1.weight)
  nn.init.constant(se.fc1.bias, -2)
  nn.init.constant(se.fc2.weight, 3)
  nn.init.constant(se.fc2.bias, 0.5)
  -- means 1 and 2: fc1 gives 1 + 2 - 2 = 1, ReLU 1, fc2 3.5 for both; with means -1 and 0 it is 0, then 0.5
  local x = wattle.tensor({ 0, 2, 1, 3, -2, 0, 1, -1 }):view{ 2, 2, 1, 2 }
  check(se(x):equal(wattle.tensor({ 0, 7, 3.5, 10.5, -1, 0, 0.5, -0.5 }):view{ 2, 2, 1, 2 }))
  raises(function() nn.SqueezeExcitation{ input_channels = 2 } end, "squeeze_channels")
end)

test("Permute and make_divisible", function()
  equal(nn.Permute{ dims = { 0, 2, 3, 1 } }(wattle.rand{ 2, 3, 4, 5 }):shape(), { 2, 4, 5, 3 })
  for _, dims in ipairs{ {}, { 0, 0 }, { 0, 2 }, { 1, 2 }, { 0, 1.5 } } do
    raises(function() nn.Permute{ dims = dims } end, "each of 0, 1")
  end
  raises(function() nn.Permute{} end, "dims")
  -- 8 * round, at least 8, 10 % less at most: 11 would become 8, so it is 16
  for channels, rounded in pairs{ [1] = 8, [8] = 8, [8.8] = 8, [11] = 16, [12] = 16, [35.2] = 32, [44] = 48, [123.2] = 120 } do
    equal(nn.make_divisible(channels), rounded, tostring(channels))
  end
  equal(nn.make_divisible(10, 4), 12)
  equal(nn.make_divisible(9, 4), 12) -- 8 is more than 10 % below
  raises(function() nn.make_divisible(0) end, "above 0")
  raises(function() nn.make_divisible(8, 0.5) end, "divisor")
end)

os.remove(scratch)
