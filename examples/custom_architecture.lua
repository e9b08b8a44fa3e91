-- An architecture of one's own in ten lines: written as a class, printed, run on a tensor, compiled to a plan,
-- trained. Run: wattle custom_architecture.lua [DATA_FOLDER]

local wattle = require "wattle"
local nn = require "wattle.nn"

local Net = nn.class "Net"
function Net:init(width)
  self.stem = nn.Conv2d{ in_channels = 1, out_channels = width, kernel_size = 3, stride = 2, padding = 1 }
  self.mix = nn.Conv2d{ in_channels = width, out_channels = width, kernel_size = 3, padding = 1, bias = false }
  self.norm = nn.BatchNorm2d{ num_features = width }
  self.head = nn.Linear{ in_features = width, out_features = 10 }
end
function Net:forward(x)
  x = nn.relu(self.stem(x))
  return self.head(nn.global_avg_pool2d(nn.relu(x + self.norm(self.mix(x)))))
end

wattle.manual_seed(1)
local net = Net(16)
print(net)
print(("%d parameters"):format(net:num_parameters()))
print(net(wattle.rand{ 2, 1, 28, 28 })) -- tensors run at once

local plan = net:compile{ input = { 100, 1, 28, 28 }, loss = "cross_entropy",
                          optimizer = { "sgd", lr = 0.1, momentum = 0.9 } }
print(plan:describe())

local train = assert(wattle.data.fashion_mnist{ dir = arg[1] }).train:take(5000)
local first, last
for epoch = 1, 4 do
  local correct, n = 0, 0
  for x, y in train:batches{ batch_size = 100, shuffle = true, seed = 1, epoch = epoch } do
    local loss, hits, samples = plan:step(x, y) -- forward, backward and update
    first, last = first or loss, loss
    correct, n = correct + hits, n + samples
  end
  print(("epoch %d: %.1f %% correct while training"):format(epoch, 100 * correct / n))
end
print(("loss of the first batch %.3f, of the last %.3f"):format(first, last))
assert(last < 0.7 * first, "training should have lowered the loss")
