#!/usr/bin/python3
"""Golden table models.csv: what the models of models/*.lua are made of, as torchvision has them.

Run by hand (Debian 12: python3-torch, python3-torchvision): ./make_models.py
One row a model, with its auxiliary heads. Columns: name; parameters, how many numbers are trained; buffers, how many
numbers the running statistics hold (without num_batches_tracked, which Wattle does not keep); sha256, of the lines
"name size size ...\\n", one a tensor, in the state dict's order. tests/lua/test_models.lua reads it.
"""
import csv
import hashlib
import os
import warnings

import torch
import torchvision

NAMES = """alexnet convnext_tiny densenet121 densenet169 densenet201 efficientnet_b0 efficientnet_b1 efficientnet_b2
    efficientnet_b3 efficientnet_b4 googlenet inception_v3 mobilenet_v2 resnet18 resnet34 resnet50 resnet101 resnet152
    resnext50_32x4d vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn vit_b_16 wide_resnet50_2""".split()


def row(name):
    extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = getattr(torchvision.models, name)(weights=None, **extra)
    tensors = [(k, v) for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")]
    parameters = {k for k, _ in model.named_parameters()}
    lines = "".join(" ".join([k, *map(str, v.shape)]) + "\n" for k, v in tensors)
    return [name, sum(v.numel() for k, v in tensors if k in parameters),
            sum(v.numel() for k, v in tensors if k not in parameters), hashlib.sha256(lines.encode()).hexdigest()]


def main():
    warnings.simplefilter("ignore")
    torch.nn.init.kaiming_normal_ = torch.nn.init.normal_ = torch.nn.init.trunc_normal_ = lambda t, *_, **__: t
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "models.csv")
    with open(path, "w", newline="") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(["name", "parameters", "buffers", "sha256"])
        writer.writerows(row(name) for name in NAMES)


main()
