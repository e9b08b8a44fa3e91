#!/usr/bin/python3
"""Golden fixtures for whole networks: networks/NAME.csv, what PyTorch computes in float64.

Run by hand (Debian 12: python3-torch, python3-numpy) after a change here: ./make_networks.py
Weights and inputs come from the formula of formula.lua, so a fixture stores results only: the logits, the losses
of three SGD steps, and the norm and two random projections of each gradient, running statistic and parameter.
tests/lua/test_golden.lua reads them. Names and architectures mirror models/*.lua.

Columns: section, tensor, item, value. Sections:
  eval_logits        before training, on step 1's batch, with the formula's running statistics
  logits             of step 1, training mode
  loss               of each step, before its update (tensor step1..step3)
  gradient           of step 1, each parameter and "input"
  statistics         running_mean and running_var after step 1
  parameter          parameters and running statistics after step 3
  eval_logits_after  after step 3, on step 1's batch
"""
import csv
import math
import os

import numpy as np
import torch
from torch import nn

F = nn.functional
MASK = (1 << 64) - 1


# ---- the formula (formula.lua says what it is) ------------------------------------------------

def fnv1a64(name):
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001B3 & MASK
    return h


def units(name, n, scale=1.0, shift=0.0):
    with np.errstate(over="ignore"):
        z = np.uint64(fnv1a64(name)) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (2 * ((z >> np.uint64(11)).astype(np.float64) * 2.0**-53) - 1) * scale + shift


def parameter(name, shape):
    n = math.prod(shape)
    if len(shape) > 1:
        v = units(name, n, 1 / math.sqrt(n // shape[0]))
    elif name.endswith(".running_var"):
        v = units(name, n, 0.05, 0.15)
    elif name.endswith(".weight"):
        v = units(name, n, 0.5, 1)
    else:
        v = units(name, n, 0.25)
    return torch.from_numpy(v.reshape(shape))


def batch(k, shape, classes):
    x = torch.from_numpy(units(f"input{k}", math.prod(shape)).reshape(shape))
    return x, torch.tensor([(i + k) % classes for i in range(shape[0])])


def summary(name, t):
    v = t.detach().numpy().ravel()
    yield "norm", math.sqrt(math.fsum(v * v))
    for p in ("projection1", "projection2"):
        yield p, math.fsum(v * units(f"{p}:{name}", v.size))


# ---- the networks -----------------------------------------------------------------------------

class Mlp(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.layers = len(sizes) - 1
        for i in range(self.layers):
            setattr(self, f"fc{i + 1}", nn.Linear(sizes[i], sizes[i + 1]))

    def forward(self, x):
        x = x.flatten(1)
        for i in range(self.layers):
            x = getattr(self, f"fc{i + 1}")(x)
            if i + 1 < self.layers:
                x = F.relu(x)
        return x


class LeNet5(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.flatten(1)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


class Block(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.shortcut = nn.Identity()
        if stride != 1 or cin != cout:
            self.shortcut = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNetCifar(nn.Module):
    """6n + 2 layers in three stages of widths w, 2w, 4w (He et al. 2016), with 1x1 convolutions where shapes change."""

    def __init__(self, depth, width, in_channels=1, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        cin = width
        for stage in range(3):
            blocks, cout = [], width << stage
            for b in range((depth - 2) // 6):
                blocks.append(Block(cin, cout, 2 if stage > 0 and b == 0 else 1))
                cin = cout
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(cin, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


# name, network, image (C, H, W), batch size of each step: the last one is smaller, as an epoch's is
CASES = [
    ("mlp", lambda: Mlp([784, 300, 100, 10]), (1, 28, 28), (5, 5, 3)),
    ("lenet5", lambda: LeNet5(), (1, 28, 28), (4, 4, 2)),
    ("resnet8_w8", lambda: ResNetCifar(8, 8), (1, 12, 12), (4, 4, 3)),
    ("resnet8_w16", lambda: ResNetCifar(8, 16), (1, 12, 12), (4, 4, 4)),
    ("resnet8_w8_odd", lambda: ResNetCifar(8, 8), (1, 13, 13), (3, 3, 2)),
]
CLASSES = 10


def state(model):
    """Parameters and running statistics; num_batches_tracked is PyTorch's own affair."""
    return {k: v for k, v in model.state_dict(keep_vars=True).items() if v.is_floating_point()}


def rows(make, image, sizes):
    model = make().double()
    with torch.no_grad():
        for name, p in state(model).items():
            p.copy_(parameter(name, tuple(p.shape)))
    batches = [batch(k + 1, (n,) + image, CLASSES) for k, n in enumerate(sizes)]

    def elements(section, t):
        for i, v in enumerate(t.detach().flatten().tolist()):
            yield section, "logits", f"element{i}", v

    def summaries(section, name, t):
        for item, v in summary(name, t):
            yield section, name, item, v

    def evaluate(section):
        model.eval()
        with torch.no_grad():
            yield from elements(section, model(batches[0][0]))
        model.train()

    yield from evaluate("eval_logits")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    for k, (x, y) in enumerate(batches):
        x.requires_grad_(True)
        optimizer.zero_grad()
        logits = model(x)
        loss = F.cross_entropy(logits, y)
        loss.backward()
        if k == 0:
            yield from elements("logits", logits)
            for name, p in model.named_parameters():
                yield from summaries("gradient", name, p.grad)
            yield from summaries("gradient", "input", x.grad)
            for name, p in state(model).items():
                if "running_" in name:
                    yield from summaries("statistics", name, p)
        yield "loss", f"step{k + 1}", "value", loss.item()
        optimizer.step()
    for name, p in state(model).items():
        yield from summaries("parameter", name, p)
    yield from evaluate("eval_logits_after")


def main():
    torch.set_num_threads(1)
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "networks")
    os.makedirs(folder, exist_ok=True)
    for name, make, image, sizes in CASES:
        path = os.path.join(folder, name + ".csv")
        with open(path, "w", newline="") as f:
            w = csv.writer(f, lineterminator="\n")
            w.writerow(["section", "tensor", "item", "value"])
            for *labels, value in rows(make, image, sizes):
                w.writerow([*labels, repr(float(value))])
        print(f"{name}: {os.path.getsize(path)} bytes, PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
