-- wattle summary MODEL: layers, shapes, parameters and mult-adds of a model that wattle.models knows. For a model of your
-- own: wattle.summary(model, {input = {1, 1, 28, 28}}).

local wattle = require "wattle"
local cli = require "wattle.cli"

local spec = {
  name = "summary", positional = "MODEL",
  about = "Prints a model's layers as torchinfo does: shapes, parameters, mult-adds, sizes in memory. Nothing is computed. "
    .. "Without MODEL the names of the models are listed.",
  options = {
    { "input", "string", nil, "batch, channels, height, width (default: 1 and what the model takes)",
      value = "NxCxHxW" },
    { "num-classes", "integer", nil, "outputs (default: 1000 for ImageNet's networks, else 10)", value = "N", min = 1 },
    { "in-channels", "integer", nil, "channels of an image (default: --input's, or the model's)", value = "N", min = 1 },
    { "image-size", "integer", nil, "its height and width (default: --input's, or the model's)", value = "N", min = 1 },
    { "width", "integer", nil, "channels of the first stage, for models that have a width", value = "N", min = 1 },
    { "hidden", "integers", nil, "widths of the hidden layers, for mlp", value = "A,B,...", min = 1 },
    { "depth", "integer", 3, "how deep the tree is shown; deeper layers are summed up in theirs", value = "N", min = 0 },
    { "csv", "flag", false, "all layers as CSV" },
  },
}

local function die(message)
  io.stderr:write("summary: ", message, "\n")
  os.exit(2, true)
end

local o = cli.main(spec, arg)
if #o ~= 1 then die(("one model is needed; there are %s"):format(table.concat(wattle.models.list(), ", "))) end

local input
if o.input then
  input = {}
  for size in (o.input .. "x"):gmatch "([^x]*)x" do
    local n = math.tointeger(tonumber(size))
    if not n or n < 1 then die(("--input: '%s' is not NxCxHxW"):format(o.input)) end
    input[#input + 1] = n
  end
  if #input ~= 4 then die(("--input: '%s' is not NxCxHxW"):format(o.input)) end
end
local options = { num_classes = o.num_classes, in_channels = o.in_channels or input and input[2], width = o.width,
                  hidden = o.hidden, image_size = o.image_size or input and input[3] == input[4] and input[3] or nil }

local ok, s = pcall(function()
  return wattle.summary(wattle.models.create(o[1], options), { input = input, depth = o.depth, print = false })
end)
if not ok then die((tostring(s):gsub("^%S+:%d+: ", ""))) end
io.stdout:write(o.csv and s:csv() or tostring(s))
