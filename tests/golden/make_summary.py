#!/usr/bin/python3
"""Writes summary.csv: what wattle.summary must say of some networks, computed with PyTorch by torchinfo's definitions.

For each layer without layers inside, in the order of the calls: the shapes it got and gave, its parameters and
mult-adds. Of a convolution: numel(parameters) x N x positions of the output; of any other layer: numel(parameters) x N.
The row `total` has all parameters and mult-adds; its shapes are the network's. pass_bytes: twice the bytes of the outputs
of layers with parameters, as torchinfo counts them. Needs Debian's python3-torch and python3-torchvision.
"""
import csv
import math
import pathlib

import torch
import torchvision
from torch import nn

from make_networks import LeNet5, Mlp, ResNetCifar

CASES = [
    ("mlp", Mlp([784, 300, 100, 10]), (2, 1, 28, 28)),
    ("lenet5", LeNet5(), (3, 1, 28, 28)),
    ("resnet20", ResNetCifar(20, 16), (2, 1, 28, 28)),
    ("resnet50", torchvision.models.resnet50(weights=None), (2, 3, 224, 224)),
    ("mobilenet_v2", torchvision.models.mobilenet_v2(weights=None), (1, 3, 224, 224)),
]


def shape(size):
    return "x".join(str(n) for n in size)


def rows(name, network, size):
    found, pass_bytes = [], 0

    def look(path, layer):
        def hook(_, given, out):
            nonlocal pass_bytes
            params = sum(p.numel() for p in layer.parameters())
            if params == 0:
                return
            positions = out.shape[0]
            if isinstance(layer, nn.Conv2d):
                positions *= math.prod(out.shape[2:])
            found.append((name, path, shape(given[0].shape), shape(out.shape), params, params * positions, "NA"))
            pass_bytes += 2 * out.numel() * out.element_size()

        layer.register_forward_hook(hook)

    for path, layer in network.named_modules():
        if not list(layer.children()):
            look(path, layer)
    with torch.no_grad():
        out = network.float()(torch.zeros(size))
    yield from found
    yield (name, "total", shape(size), shape(out.shape), sum(r[4] for r in found), sum(r[5] for r in found), pass_bytes)


if __name__ == "__main__":
    with open(pathlib.Path(__file__).resolve().parent / "summary.csv", "w", newline="") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(("model", "layer", "input_shape", "output_shape", "params", "mult_adds", "pass_bytes"))
        for case in CASES:
            writer.writerows(rows(*case))
