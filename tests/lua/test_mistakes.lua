-- Mistakes that users make, each in the real program: what is printed and the exit code. Every one ends with an exit
-- code that is not 0 and one error that names the thing; what was written before stays whole.
-- `wattle tests/lua/test_mistakes.lua --table` prints them all: mistake | what is printed | exit code.

local wattle = require "wattle"
local t = require "harness"
local core = wattle.core
local test, check, equal = t.test, t.check, t.equal

local program = os.getenv "WATTLE_PROGRAM" or arg[-1]
if not program:find "^/" then
  local pwd <close> = io.popen "pwd"
  program = pwd:read "l" .. "/" .. program
end
local folder = os.tmpname() .. ".d"
assert(core.mkdir(folder))

local function put(name, bytes)
  local file <close> = assert(io.open(folder .. "/" .. name, "wb"))
  file:write(bytes)
end

local function slurp(name)
  local file <close> = assert(io.open(folder .. "/" .. name, "rb"))
  return file:read "a"
end

-- Runs a line in the folder: what it printed on both streams, and the exit code (128 + n for signal n).
local function run(line)
  local _, _, code = os.execute(("cd '%s' && { %s ; } >out.txt 2>err.txt"):format(folder, line))
  return slurp "out.txt", slurp "err.txt", code
end

-- ---- files that the mistakes are about ---------------------------------------------------------------------------

local function idx(name, type, sizes, bytes)
  put(name, "\0\0" .. string.char(type, #sizes) .. string.pack((">I4"):rep(#sizes), table.unpack(sizes)) .. bytes)
end
local six = ("\1"):rep(6 * 28 * 28)
idx("images", 8, { 6, 28, 28 }, six)
idx("labels", 8, { 6 }, "\0\1\2\0\1\2")
idx("images-cut", 8, { 6, 28, 28 }, six:sub(1, -10))
idx("images-long", 8, { 6, 28, 28 }, six .. "more")
idx("images-f32", 13, { 6, 28, 28 }, six:rep(4))
idx("images-huge", 8, { 0x7fffffff, 28, 28 }, six)
idx("labels-5", 8, { 5 }, "\0\1\2\0\1")
idx("labels-200", 8, { 6 }, "\0\1\2\0\1\200")
idx("images-0", 8, { 0, 28, 28 }, "")
idx("labels-0", 8, { 0 }, "")
put("text", "no format at all\n")
os.execute(("cd '%s' && gzip -kc images | head -c 40 >images-cut.gz && mkdir -p full && : >ofile"):format(folder))

local mlp = wattle.models.create("mlp", { seed = 1 })
assert(wattle.save(folder .. "/mlp.safetensors", mlp:state_dict()))
local function spoiled(value)
  local d = mlp:state_dict()
  d[d[2]]:set(0, value)
  return d
end
assert(wattle.save(folder .. "/nan.safetensors", spoiled(0 / 0)))
put("cut.safetensors", slurp "mlp.safetensors":sub(1, 1000))
put("rows.csv", "a,b\n1,2\n")
os.execute(("cd '%s' && mkdir -p old && echo x >old/notes.txt"):format(folder))

-- ---- the mistakes ------------------------------------------------------------------------------------------------

local sanitized = core.build_info():find "flags:[^\n]*address" -- it needs terabytes of addresses, and its calloc ends the program
local prelude = 'local wattle = require "wattle" local core, nn, data = wattle.core, wattle.nn, wattle.data\n'
local mistakes = {}

-- A script of the given lines (its own begin at line 2), run as `wattle mistake.lua`. wants: what the error must say,
-- as plain text. o: after = function() that checks what is left, before = a shell command run first, in the same shell.
local function script(name, lines, wants, o)
  mistakes[#mistakes + 1] = { name = name, text = prelude .. lines .. "\n", wants = wants, options = o or {} }
end

-- A command line; `wattle` is the program.
local function command(name, line, wants, o)
  mistakes[#mistakes + 1] = { name = name, line = line, wants = wants, options = o or {} }
end

local load_idx = 'assert(data.idx{images = "%s", labels = "%s"%s})'
script("IDX cut off", load_idx:format("images-cut", "labels", ""), { "images-cut", "4704", "4695" })
script("IDX with bytes after its end", load_idx:format("images-long", "labels", ""), { "images-long" })
script("IDX of floats", load_idx:format("images-f32", "labels", ""), { "images-f32", "elements are f32, only u8" })
script("IDX whose sizes are absurd", load_idx:format("images-huge", "labels", ""), { "images-huge" })
script("gzip cut in the middle", load_idx:format("images-cut.gz", "labels", ""), { "images-cut.gz", "cut off" })
script("no IDX at all", load_idx:format("text", "labels", ""), { "text", "IDX" })
script("6 images, 5 labels", load_idx:format("images", "labels-5", ""), { "images has 6 images", "labels-5 is [5]" })
script("a label that is no class", load_idx:format("images", "labels-200", ", classes = 10"), { "labels-200", "a label is 200", "10 classes" })
script("images where labels go", load_idx:format("images", "images", ""), { "images has 6 images", "[6,28,28]" })
script("missing data file", load_idx:format("absent", "labels", ""), { "absent", "No such file" })
script("folder instead of a file", load_idx:format("old", "labels", ""), { "old: not a regular file" })
script("Fashion-MNIST that is not there", 'assert(data.fashion_mnist{dir = "old"})', { "train-images-idx3-ubyte", "old" })

os.execute(("cd '%s' && mkdir -p pics/cat pics/dog hollow/cat hollow/dog"):format(folder))
assert(wattle.data.save_image(folder .. "/pics/cat/1.jpg", wattle.full({ 3, 8, 8, dtype = "u8" }, 90)))
put("pics/dog/cut.jpg", slurp "pics/cat/1.jpg":sub(1, 200))
put("hollow/cat/1.jpg", slurp "pics/cat/1.jpg")
put("table.csv", "kind,a,b\ncat,1,2\ndog,n/a,4\n")
local pics = 'local ds = assert(data.folder{dir = "%s", transform = {data.transforms.%s}})\nfor x, y in ds:batches{batch_size = 2%s} do end'
script("folder of images that is not there", pics:format("nowhere", "resize{size = {8, 8}}", ""), { ": nowhere: No such file" })
script("folder of images without classes", pics:format("pics/cat", "resize{size = {8, 8}}", ""), { "pics/cat", "one folder a class" })
script("class without images", pics:format("hollow", "resize{size = {8, 8}}", ""), { "hollow/dog", "no .jpg, .jpeg or .png files" })
script("cut JPEG", pics:format("pics", "resize{size = {8, 8}}", ""), { "mistake.lua:3:", "pics/dog/cut.jpg" })
script("cut JPEG, decoded by workers", pics:format("pics", "resize{size = {8, 8}}", ", workers = 2"), { "mistake.lua:3:", "pics/dog/cut.jpg" })
script("crop larger than the image", pics:format("pics", "random_crop{size = 32}", ""), { "mistake.lua:3:", "pics/cat/1.jpg", "8x8", "32x32" })
script("typo in a transform", pics:format("pics", "random_flip{prob = 1}", ""), { "mistake.lua:2:", "unknown option 'prob'" })
script("transform that does not exist", pics:format("pics", "random_filp{}", ""), { "mistake.lua:2:", "random_filp" })
script("CSV with a cell that is no number", 'assert(data.csv{path = "table.csv", label = "kind"})', { "table.csv", "row 2", "'a'", "'n/a' is no number" })
script("CSV without the label's column", 'assert(data.csv{path = "table.csv", label = "class"})', { "table.csv", "no column 'class'" })
script("CSV label that is no class", 'assert(data.csv{path = "rows.csv", label = "b", classes = 2})', { "rows.csv", "a label is 2", "2 classes" })
script("CIFAR that is not there", 'assert(data.cifar10{dir = "old"})', { "data_batch_1.bin", "old/cifar-10-batches-bin" })


local fit_of = 'local ds = data.tensors{images = wattle.zeros{6, 28, 28, dtype = "u8"}, labels = wattle.zeros{6, dtype = "u8"}, classes = %s}\n'
  .. 'wattle.fit{model = wattle.models.create "mlp", data = {train = ds}, epochs = 1, progress = false, %s}'
local sgd = 'optimizer = {"sgd", lr = 0.1}'
local function fitting(name, options, wants, classes) script(name, fit_of:format(classes or "10", options), wants) end
fitting("negative learning rate", 'optimizer = {"sgd", lr = -0.1}', { "mistake.lua:3:", "lr", "-0.1" })
fitting("no learning rate", 'optimizer = {"sgd"}', { "mistake.lua:3:", "lr" })
fitting("learning rate is a string", 'optimizer = {"sgd", lr = "0.1"}', { "mistake.lua:3:", "lr", "number" })
fitting("unknown optimizer", 'optimizer = {"sdg", lr = 1}', { "mistake.lua:3:", "sdg", "did you mean 'sgd'?" })
fitting("typo in an optimizer's option", 'optimizer = {"sgd", lr = 1, momentun = 0.9}', { "unknown option 'momentun'", "'momentum'" })
fitting("unknown option of fit", sgd .. ", epoch = 3", { "mistake.lua:3:", "unknown option 'epoch'", "'epochs'" })
fitting("on_epoch is a number", sgd .. ", on_epoch = 3", { "mistake.lua:3:", "on_epoch", "function" })
fitting("meter is a table", sgd .. ", meter = {}", { "mistake.lua:3:", "meter" })
fitting("schedule returns nothing", "schedule = function() end, " .. sgd, { "mistake.lua:3:", "schedule", "nil" })
fitting("batches larger than the data, drop_last", sgd .. ", drop_last = true", { "mistake.lua:3:", "drop_last", "64", "6" })
fitting("seed is a string", sgd .. ', seed = "1"', { "mistake.lua:3:", "seed", "integer" })
fitting("seed is a fraction", sgd .. ", seed = 1.5", { "mistake.lua:3:", "seed", "integer" })
script("a class that the model has no output for", fit_of:format("12", sgd):gsub("labels = wattle.zeros{6,", "labels = wattle.full({6,"):gsub('"u8"}, classes', '"u8"}, 11), classes'),
       { "mistake.lua:3:", "the target of row 0 is 11", "0..9" })
script("data = {train = {}}", 'wattle.fit{model = wattle.models.create "mlp", data = {train = {}}, epochs = 1, optimizer = {"sgd", lr = 1}}',
       { "mistake.lua:2:", "data.train" })
script("accuracy of an empty data set", 'local ds = assert(data.idx{images = "images-0", labels = "labels-0"})\n'
       .. 'print(wattle.evaluate(wattle.models.create "mlp", ds).top1_pct)', { "mistake.lua:3:", "no samples" })
script("mean of an empty tensor's elements", 'print(wattle.zeros{0, 3}:max())', { "mistake.lua:2:", "max", "no elements" })
script("labels beyond the outputs", 'local m = wattle.models.create("mlp")\n'
       .. 'local plan = m:compile{input = {2, 1, 28, 28}, loss = "cross_entropy", optimizer = {"sgd", lr = 1}}\n'
       .. 'plan:step(wattle.zeros{2, 1, 28, 28}, wattle.tensor({3, 10}, "i64"))', { "mistake.lua:4:", "target of row 1 is 10", "0..9" })
script("NaN loss", 'local m = nn.Linear{in_features = 2, out_features = 2}\n'
       .. 'local plan = m:compile{input = {1, 2}, loss = "cross_entropy", optimizer = {"sgd", lr = 1}}\n'
       .. 'plan:step(wattle.full({1, 2}, 0/0), wattle.zeros{1, dtype = "i64"})', { "mistake.lua:4:", "loss", "nan" })

script("shape mismatch deep in a model", [[
local Block = nn.class "Block"
function Block:init()
  self.conv = nn.Conv2d{in_channels = 4, out_channels = 8, kernel_size = 3}
end
function Block:forward(x)
  local y = self.conv(x)
  return y
end
local net = nn.Sequential{nn.Conv2d{in_channels = 1, out_channels = 6, kernel_size = 3}, Block()}
net:compile{input = {2, 1, 8, 8}}]], { "mistake.lua:7:", "1.conv", "conv2d", "[2,6,6,6]" })
script("shape mismatch in a tail-called layer", [[
local Net = nn.class "Net"
function Net:init() self.fc = nn.Linear{in_features = 4, out_features = 2} end
function Net:forward(x) return self.fc(x) end
Net():compile{input = {2, 5}}]], { "mistake.lua:5:", "fc", "linear", "[2,5]" })
script("typo in a layer's option", "nn.Conv2d{in_channels = 1, out_channels = 2, kernel_size = 3, paddin = 1}",
       { "mistake.lua:2:", "nn.Conv2d", "unknown option 'paddin'", "'padding'" })
script("wrong type of a layer's option", 'nn.Linear{in_features = "many", out_features = 2}', { "mistake.lua:2:", "nn.Linear", "in_features", "many" })
script("unknown layer", "nn.Conv3d{}", { "mistake.lua:2:", "Conv3d", "Conv2d" })
script("unknown model", 'wattle.models.create "resnet_20"', { "mistake.lua:2:", "resnet_20", '"resnet20"' })
script("unknown function", "wattle.lod 'x'", { "mistake.lua:2:", "'lod'", "'load'" })
script("typo in an op's attribute", "wattle.ops.max_pool2d(wattle.zeros{1, 1, 4, 4}, {kernelsize = 2})", { "mistake.lua:2:", "kernelsize", "kernel_size" })
script("modules in a plain table", 'local Net = nn.class "Net"\nlocal net = Net()\nnet.blocks = {nn.ReLU()}', { "mistake.lua:4:", "ModuleList" })
script("reading a symbolic value", [[
local Net = nn.class "Net"
function Net:forward(x)
  if x:sum():item() > 0 then return x end
  return -x
end
Net():compile{input = {2, 3}}]], { "mistake.lua:4:", "symbolic value", "item" })
script("comparing a symbolic value", 'local Net = nn.class "Net"\nfunction Net:forward(x) if x > 0 then return x end end\nNet():compile{input = {2, 3}}',
       { "mistake.lua:3:", "symbolic value" })
script("a mistake that no check knows", 'local m = nn.ReLU()\nwattle.nonzeros(3)', { "mistake.lua:3: ", "lua/wattle/compress.lua:", "number value" }, { own = true })
script("use after close", 'local x = wattle.ones{2}\nx:close()\nprint(x:sum())', { "mistake.lua:4:", "tensor is closed" })
script("plan used after the model changed", 'local m = nn.Sequential{nn.Linear{in_features = 2, out_features = 2}}\n'
       .. 'local plan = m:compile{input = {1, 2}}\nm[2] = nn.ReLU()\nplan:forward(wattle.zeros{1, 2})', { "mistake.lua:5:", "changed" })
script("step of a plan without a loss", 'local plan = nn.ReLU():compile{input = {1, 2}}\nplan:step(wattle.zeros{1, 2})', { "mistake.lua:3:", "loss" })
script("a batch of another shape", 'local plan = nn.ReLU():compile{input = {1, 2}}\nplan:forward(wattle.zeros{1, 3})', { "mistake.lua:3:", "[1,3]", "2" })
script("shapes that do not multiply", "wattle.ones{2, 3}:matmul(wattle.ones{2, 3})", { "mistake.lua:2:", "matmul", "[2,3]", "inner sizes differ" })
script("a tensor larger than memory", "wattle.zeros{1 << 40}", { "mistake.lua:2:", "memory" }, { line = not sanitized and "wattle mistake.lua" })
script("prune amount 1", 'wattle.compress.prune(wattle.models.create "mlp", {amount = 1})', { "mistake.lua:2:", "compress.prune", "amount", "below 1" })
script("prune amount -0.5", 'wattle.compress.prune(wattle.models.create "mlp", {amount = -0.5})', { "mistake.lua:2:", "compress.prune", "amount", "-0.5" })
script("scr of 40 bits", 'wattle.compress.scr(wattle.models.create "mlp", {bits = 40})', { "mistake.lua:2:", "compress.scr", "bits", "40" })
script("unknown arm of scr", 'wattle.compress.scr(wattle.models.create "mlp", {bits = 4, arm = "randon"})', { "mistake.lua:2:", "arm", "randon" })

local create = 'local m = wattle.models.create("lenet5")\n'
script("checkpoint of another model", create .. 'm:load_state_dict(assert(wattle.load "mlp.safetensors"), {strict = true})',
       { "mistake.lua:3:", "load_state_dict", "fc1.weight is [120,400] in the model and [300,784] in the dict", "missing conv1.weight" })
script("checkpoint with NaN weights", 'local m = wattle.models.create "mlp"\nm:load_state_dict(assert(wattle.load "nan.safetensors"))',
       { "mistake.lua:3:", "load_state_dict", mlp:state_dict()[2], "NaN" })
script("checkpoint cut off", 'assert(wattle.load "cut.safetensors")', { "cut.safetensors", "safetensors" })
script("no checkpoint at all", 'assert(wattle.load "text")', { "text", "safetensors" })
script("missing checkpoint", 'assert(wattle.load "absent.safetensors")', { "absent.safetensors", "No such file" })
script("missing checkpoint, not asserted", 'local d = wattle.load "absent.safetensors"\nwattle.models.create("mlp"):load_state_dict(d)',
       { "mistake.lua:3:", "load_state_dict", "nil" })
script("a folder instead of a checkpoint", 'assert(wattle.load "old")', { "old: not a regular file" })
script("a name with a NUL", 'assert(wattle.save("out.safetensors", {["a\\0b"] = wattle.ones{2}}))', { "mistake.lua:2:", "NUL" })
script("a file in a folder that is not there", 'assert(wattle.save("nowhere/x.safetensors", {a = wattle.ones{2}}))', { "nowhere/x.safetensors", "No such file" })
script("a folder below a file", 'assert(core.mkdir "ofile/x")', { "ofile/x", "Not a directory" })
script("rows under another header", 'assert(core.appender("rows.csv", "a,b,c"))', { "rows.csv", "a,b,c" },
       { after = function() equal(slurp "rows.csv", "a,b\n1,2\n") end })
script("two writers of one file", 'local a = assert(core.appender("rows.csv", "a,b"))\nassert(core.appender("rows.csv", "a,b"))',
       { "rows.csv", "another run" }, { after = function() equal(slurp "rows.csv", "a,b\n1,2\n") end })

local private = t.private_mounts()
private = private and "'" .. private .. "' sh -c 'mount -t tmpfs -o size=%s tmpfs full && wattle mistake.lua; code=$?; "
  .. "cp full/rows.csv left.csv 2>/dev/null; exit $code'"
script("a disk that is full, saving", 'assert(wattle.save("full/x.safetensors", wattle.models.create("mlp"):state_dict()))',
       { "full/x.safetensors", "No space left" }, { line = private and private:format "64k" or false })
script("a disk that fills, appending", 'local a = assert(core.appender("full/rows.csv", "a,b"))\n'
       .. 'for i = 1, 1e9 do assert(a:add(("%d,%s\\n"):format(i, ("x"):rep(1000)))) end', { "full/rows.csv", "No space left" },
       { line = private and private:format "64k" or false, after = function()
         local rows = assert(core.csv_read(folder .. "/left.csv"))
         check(#rows > 40 and rows[2][1] == "1" and rows[#rows][1] == tostring(#rows - 1) and #rows[#rows][2] == 1000)
       end })
command("output onto a full disk", "wattle -e 'print(1)' >/dev/full", { "standard output could not be written" })
local limit = not sanitized and "ulimit -v 600000 && wattle mistake.lua"
script("10,000 big tensors that are all kept", 'wattle.threads(1)\nlocal all = {}\nfor i = 1, 10000 do all[i] = wattle.ones{1 << 20} end',
       { "mistake.lua:4:", "out of memory" }, { line = limit })

command("script that does not exist", "wattle absent.lua", { "cannot open absent.lua" })
command("command that does not exist", "wattle mei2026", { "cannot open mei2026", "did you mean 'mei2025'?" })
put("syntax.lua", "local x = = 1\n")
command("syntax error", "wattle syntax.lua", { "syntax.lua:1:", "unexpected symbol" })
command("unknown option of the program", "wattle --quick", { "unrecognized option '--quick'", "usage:" }, { longest = 1200 })
command("folder as a script", "wattle ./old", { "old" })
command("unknown option of a command", "wattle mei2025 --epoch 3", { "unknown option '--epoch'", "'--epochs'" })
command("an option's wrong type", "wattle mei2025 --epochs many", { "--epochs needs an integer, not 'many'" })
command("an option out of range", "wattle mei2025 --epochs 0", { "--epochs: 0 is below 1" })
command("unknown technique", "wattle mei2025 --techniques scr_zer", { "scr_zer", "scr_zero" })
command("a level that is none", "wattle mei2025 --amounts 1", { "--amounts: 1", "0.999" })
command("data that is not there", "wattle mei2025 --data old --out new1", { "train-images-idx3-ubyte", "old" })

-- Needs data of the right form, small.
assert(core.mkdir(folder .. "/fashion"))
require("tiny_images").write(folder .. "/fashion", 5400, 100)
local mei = "wattle mei2025 --data fashion --train-images 400 --model mlp --epochs 1 --tune-epochs 1 --threads 1 --seeds 1 "
  .. "--techniques baseline --capacity off "
command("a folder of results that is not empty", mei .. "--out old", { "old" },
        { after = function() equal(slurp "old/notes.txt", "x\n") end })
command("unknown model of a command", mei .. "--model resnett20 --out new2", { "resnett20", "resnet20" })
command("checkpoint of another model, command", mei .. "--model lenet5 --checkpoint mlp.safetensors --out new3", { "mlp.safetensors does not fit lenet5: missing conv1.weight" })
command("checkpoint with NaN, command", mei .. "--checkpoint nan.safetensors --out new4", { "mei2025: nan.safetensors: ", mlp:state_dict()[2], "NaN" })
command("seeds that are the same", mei:gsub("%-%-seeds 1", "") .. "--seeds 1,1 --out new5", { "seed" })
script("two runs on one folder", 'local lock = assert(core.lock "old")\nassert(core.lock "old")', { "old", "another run" })

-- ---- running them ------------------------------------------------------------------------------------------------

-- What is said before the traceback, on one line.
local function said(err)
  local message = err:match "^(.-)\nstack traceback:" or err
  message = message:gsub(program:gsub("%p", "%%%0"), "wattle")
  return (message:gsub("%s+$", ""):gsub("\n%s*", " / "))
end

local function run_mistake(m)
  if m.text then put("mistake.lua", m.text) end
  local line = m.line or m.options.line or "wattle mistake.lua"
  if m.options.line == false then return end
  local _, err, code = run(("wattle() { '%s' \"$@\"; }; export WATTLE='%s'; %s"):format(program, program,
    line:find "sh %-c" and line:gsub("wattle mistake", "\"$WATTLE\" mistake") or line))
  return err, code
end

local function check_mistake(m)
  local err, code = run_mistake(m)
  if not err then t.skip(m.name .. (sanitized and ": not under a sanitizer" or ": no private mounts here")) end
  local message = said(err)
  check(code ~= 0 and code < 128, ("exit code %d: %s"):format(code, message))
  for _, want in ipairs(m.wants) do check(message:find(want, 1, true), ("it does not say '%s': %s"):format(want, message)) end
  check(select(2, err:gsub("stack traceback:", "")) <= 1, "more than one traceback: " .. err)
  check(m.options.own or not message:find "lua/wattle/", "a file of wattle's own is named: " .. message)
  check(#message <= (m.options.longest or 400), "too long: " .. message)
  if m.options.after then m.options.after() end
end

if arg[1] == "--table" then
  for _, m in ipairs(mistakes) do
    local err, code = run_mistake(m)
    print(("%s | %s | %s"):format(m.name, err and said(err) or "(not possible here)", code or ""))
  end
else
  for _, m in ipairs(mistakes) do
    test(m.name, function() check_mistake(m) end)
  end
  test("NaN is loaded where it is asked for", function()
    local dict = assert(wattle.load(folder .. "/nan.safetensors"))
    local model = wattle.models.create "mlp"
    model:load_state_dict(dict, { allow_nonfinite = true })
    check(model:state_dict()[dict[2]]:equal(dict[dict[2]]))
    local ok, message = pcall(model.load_state_dict, model, { [dict[2]] = spoiled(1 / 0)[dict[2]] })
    check(not ok and message:find("infinity", 1, true), message)
  end)
  test("10,000 tensors, each dropped, is no mistake", function()
    put("mistake.lua", prelude .. "local x for i = 1, 10000 do x = wattle.ones{1 << 17} end print(x:sum():item())\n")
    local limit_of = sanitized and "" or "ulimit -v 600000 && "
    local out, err, code = run(("%s'%s' mistake.lua"):format(limit_of, program))
    equal({ out, err, code }, { "131072.0\n", "", 0 })
  end)
end
os.execute("rm -rf '" .. folder .. "'")
