#!/usr/bin/python3
"""Golden fixtures of the model zoo: zoo/CASE.csv, what torchvision's networks compute in float64, and zoo/cases.csv, which
networks at which sizes.

Run by hand (Debian 12: python3-torch, python3-torchvision) after a change here: ./make_zoo.py [CASE...]
Weights and inputs are Philox's numbers (core/base/rng.c), drawn by name, so a fixture stores results only, and of a tensor
its norm and two random projections. tests/lua/test_zoo.lua reads them. Xception and NASNet-A mobile, which torchvision lacks,
are built by zoo_timm.py. Every network has 10 classes; dropout and stochastic depth are off.

Columns: section, tensor, then value (of one number) or norm, projection1, projection2. Sections:
  eval_logits   before training, with the drawn running statistics; one row an element
  logits, loss  in training mode: the first output; the loss with auxiliary heads at their usual weights
  gradient      of the loss: each parameter and "input"
  statistics    running means and variances after the step
"""
import csv
import math
import os
import sys
import warnings

import numpy as np
import torch
import torchvision

import zoo_timm

F = torch.nn.functional
HERE = os.path.dirname(os.path.abspath(__file__))
M64 = (1 << 64) - 1
CLASSES = 10

# case, network, image size, batch. The sizes are about the smallest that leave every channel a few values.
CASES = [
    ("alexnet", 63, 2), ("vgg11", 32, 2), ("vgg13", 32, 2), ("vgg16", 32, 2), ("vgg19", 32, 2), ("vgg11_bn", 32, 4),
    ("vgg13_bn", 32, 4), ("vgg16_bn", 32, 4), ("vgg19_bn", 32, 4), ("resnet18", 40, 2), ("resnet34", 40, 2),
    ("resnet50", 40, 2), ("resnet101", 40, 2), ("resnet152", 40, 2), ("wide_resnet50_2", 40, 2),
    ("resnext50_32x4d", 40, 2), ("densenet121", 64, 2), ("densenet169", 64, 2), ("densenet201", 64, 2),
    ("googlenet", 64, 2), ("inception_v3", 299, 2), ("efficientnet_b0", 64, 2), ("efficientnet_b1", 64, 2),
    ("efficientnet_b2", 64, 2), ("efficientnet_b3", 64, 2), ("efficientnet_b4", 64, 2), ("mobilenet_v2", 64, 2),
    ("convnext_tiny", 32, 2), ("vit_b_16", 32, 2), ("xception", 75, 2), ("nasnetmobile", 64, 2),
]


# ---- Philox 4x32-10, as core/base/rng.c -------------------------------------------------------

def fnv1a(h, data):
    for byte in data:
        h = (h ^ byte) * 0x100000001B3 & M64
    return h


def stream(purpose, name):
    h = fnv1a(0xCBF29CE484222325, purpose.encode() + b"\0" + name.encode() + b"\0" + bytes(8))
    h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9 & M64
    h = (h ^ h >> 27) * 0x94D049BB133111EB & M64
    h ^= h >> 31
    return h & 0xFFFFFFFF, h >> 32


def words(purpose, name, first_block, blocks):
    """The 32-bit words of blocks first_block..., seed 0."""
    low = np.uint64(0xFFFFFFFF)
    c0 = np.arange(first_block, first_block + blocks, dtype=np.uint64)
    c1 = np.zeros_like(c0)
    s = stream(purpose, name)
    c2, c3 = np.full_like(c0, s[0]), np.full_like(c0, s[1])
    k0 = k1 = 0
    for _ in range(10):
        a, b = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0 = (b >> np.uint64(32)) ^ c1 ^ np.uint64(k0)
        c1 = b & low
        c2 = (a >> np.uint64(32)) ^ c3 ^ np.uint64(k1)
        c3 = a & low
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], 1).reshape(-1)


def uniform(purpose, name, n, low, high):
    """n numbers in [low, high): wtl_tensor_uniform."""
    out, step = np.empty(n), 1 << 22
    for at in range(0, n, step):
        m = min(step, n - at)
        u = words(purpose, name, at // 4, (m + 3) // 4)[:m].astype(np.float64) * 2.0**-32
        out[at:at + m] = low + (high - low) * u
    return out


# ---- values: test_zoo.lua has the same ------------------------------------------------------------

def parameter(name, shape):
    n = math.prod(shape)
    if len(shape) > 1:
        fan = n // shape[0]
        bound = math.sqrt(6 / fan) if fan > 1 else 0.5
        v = uniform("zoo", name, n, -bound, bound)
    elif name.endswith("running_var"):  # less, and evaluation blows up: PyTorch's own f32 is 3e-4 off in efficientnet_b3
        v = uniform("zoo", name, n, 1, 2)
    elif name.endswith("weight"):
        v = uniform("zoo", name, n, 0.5, 1.5)
    else:
        v = uniform("zoo", name, n, -0.25, 0.25)
    return torch.from_numpy(v.reshape(shape))


def summary(name, t):
    v = t.detach().numpy().ravel()
    projections = [float(np.dot(v, uniform(p, name, v.size, -1, 1))) for p in ("projection1", "projection2")]
    return [float(np.linalg.norm(v)), *projections]


# ---- networks --------------------------------------------------------------------------------------

def make(name):
    if hasattr(zoo_timm, name):
        model = getattr(zoo_timm, name)(num_classes=CLASSES)
    else:
        own = {"googlenet": {"init_weights": False}, "inception_v3": {"init_weights": False}}.get(name, {})
        if name == "vit_b_16":
            own = {"image_size": 32}
        model = getattr(torchvision.models, name)(weights=None, num_classes=CLASSES, **own)
    for m in model.modules():
        if isinstance(m, (torch.nn.Dropout, torchvision.ops.StochasticDepth)):
            m.p = 0.0
    return model


def loss_of(outputs, y, name):
    """The first output, and the loss: that of auxiliary heads counts 0.3 (Szegedy et al. 2014) or 0.4 (2015)."""
    if torch.is_tensor(outputs):
        return outputs, F.cross_entropy(outputs, y)
    weight = 0.4 if name == "inception_v3" else 0.3
    return outputs[0], F.cross_entropy(outputs[0], y) + weight * sum(F.cross_entropy(o, y) for o in outputs[1:])


def rows(name, size, batch):
    model = make(name).double()
    with torch.no_grad():
        for key, p in model.state_dict(keep_vars=True).items():
            if p.is_floating_point():
                p.copy_(parameter(key, tuple(p.shape)))
    x = torch.from_numpy(uniform("zoo", "input", batch * 3 * size * size, -1, 1).reshape(batch, 3, size, size))
    y = torch.arange(1, batch + 1) % CLASSES
    with torch.no_grad():
        for i, v in enumerate(model.eval()(x).flatten().tolist()):
            yield "eval_logits", i, v
    x.requires_grad_(True)
    logits, loss = loss_of(model.train()(x), y, name)
    for i, v in enumerate(logits.flatten().tolist()):
        yield "logits", i, v
    yield "loss", 0, loss.item()
    loss.backward()
    for key, p in model.named_parameters():
        yield ("gradient", key, *summary(key, p.grad))
    yield ("gradient", "input", *summary("input", x.grad))
    for key, p in model.state_dict().items():
        if "running_" in key:
            yield ("statistics", key, *summary(key, p))


def main():
    warnings.filterwarnings("ignore")
    folder = os.path.join(HERE, "zoo")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "cases.csv"), "w", newline="") as f:
        csv.writer(f, lineterminator="\n").writerows([("model", "image_size", "batch"), *CASES])
    for name, size, batch in CASES:
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        path = os.path.join(folder, name + ".csv")
        with open(path, "w", newline="") as f:
            w = csv.writer(f, lineterminator="\n")
            w.writerow(["section", "tensor", "value", "projection1", "projection2"])
            for section, tensor, *values in rows(name, size, batch):
                w.writerow([section, tensor, *("%.13g" % v for v in values), *[""] * (3 - len(values))])
        print(f"{name}: {os.path.getsize(path)} bytes, torchvision {torchvision.__version__}", flush=True)


if __name__ == "__main__":
    main()
