#!/usr/bin/python3
"""Golden fixture for optimizers: optimizers.csv, what torch.optim does in float64 to a small network.

Run by hand (Debian 12: python3-torch, python3-numpy) after a change here: ./make_optimizers.py
Weights and inputs come from the formula of formula.lua; the fixture holds, for each case, the norm and two random
projections of every parameter after the last step; and for plateau the learning rate before each epoch.
tests/lua/test_optim.lua has the same cases.

Columns: case, tensor, item, value.
"""
import csv
import os

import torch
from torch import nn

from make_networks import batch, parameter, summary, units

STEPS, BATCH, INPUTS, HIDDEN, CLASSES = 12, 6, 7, 9, 5


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(INPUTS, HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, CLASSES)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x)))


def sgd(**options):
    return lambda net: torch.optim.SGD(net.parameters(), **options)


def sgd_groups(net):
    return torch.optim.SGD([{"params": net.fc1.parameters()},
                            {"params": [net.fc2.weight], "lr": 0.02, "weight_decay": 0},
                            {"params": [net.fc2.bias], "momentum": 0.5}],
                           lr=0.1, momentum=0.9, weight_decay=0.01)


# name: optimizer, {clip_norm, clip_value, halve_lr_at}
CASES = {
    "sgd": (sgd(lr=0.1), {}),
    "sgd_momentum": (sgd(lr=0.1, momentum=0.9), {}),
    "sgd_nesterov": (sgd(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01), {}),
    "sgd_groups": (sgd_groups, {"halve_lr_at": 6}),
    "sgd_accumulate": (sgd(lr=0.1, momentum=0.9), {}),
    "sgd_clip_norm": (sgd(lr=0.5), {"clip_norm": 0.1}),
    "sgd_clip_value": (sgd(lr=0.5), {"clip_value": 0.02}),
    "sgd_clip_both": (sgd(lr=0.5, momentum=0.9), {"clip_norm": 0.1, "clip_value": 0.02}),
    "adam": (lambda net: torch.optim.Adam(net.parameters(), lr=0.01), {}),
    "adam_l2": (lambda net: torch.optim.Adam(net.parameters(), lr=0.01, betas=(0.8, 0.99), eps=1e-6,
                                             weight_decay=0.1), {}),
    "adamw": (lambda net: torch.optim.AdamW(net.parameters(), lr=0.01), {}),
    "adamw_clip_norm": (lambda net: torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.1),
                        {"clip_norm": 0.05, "halve_lr_at": 6}),
}


def train(make, o):
    net = Net().double()
    with torch.no_grad():
        for name, p in net.named_parameters():
            p.copy_(parameter(name, tuple(p.shape)))
    optimizer = make(net)
    for k in range(1, STEPS + 1):
        if o.get("halve_lr_at") == k:
            for group in optimizer.param_groups:
                group["lr"] /= 2
        x, y = batch(k, (BATCH, INPUTS), CLASSES)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        if "clip_value" in o:
            nn.utils.clip_grad_value_(net.parameters(), o["clip_value"])
        if "clip_norm" in o:
            nn.utils.clip_grad_norm_(net.parameters(), o["clip_norm"])
        optimizer.step()
    return net


def plateau():
    """Rates of ReduceLROnPlateau before each epoch, told the losses 1 + unit("plateau", k)/4."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.3, patience=2, threshold=0.01, min_lr=0.001)
    for loss in units("plateau", 40, 0.25, 1):
        yield optimizer.param_groups[0]["lr"]
        scheduler.step(loss)


def main():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "optimizers.csv")
    with open(path, "w", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow(["case", "tensor", "item", "value"])
        for case, (make, o) in CASES.items():
            for name, p in train(make, o).named_parameters():
                for item, value in summary(name, p):
                    out.writerow([case, name, item, repr(value)])
        for k, lr in enumerate(plateau(), 1):
            out.writerow(["plateau", "lr", k, repr(lr)])


if __name__ == "__main__":
    main()
