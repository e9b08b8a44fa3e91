#!/usr/bin/python3
"""Golden fixtures for layers made of several ops, and for layers in modes of their own: layers/NAME.safetensors, what
PyTorch computes in float64.

Run by hand (Debian 12: python3-torch, python3-numpy) after a change here: ./make_layers.py
tests/lua/test_layers.lua reads them. A tensor's name is CASE.WHAT.NAME:
  param.NAME   a parameter or buffer before the step    in.0, dout.0   the input, and the gradient of the output
  out.0        the output                               din.NAME       gradients, of the input as "0"
  after.NAME   a running statistic after the step
"""
import os

import torch
from torch import nn

import make_ops

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "layers")


class Layers(make_ops.Fixture):
    def case(self, name, model, x, forward=lambda model, x: model(x)):
        model, x = model.double(), x.double().requires_grad_()
        with torch.no_grad():
            for key, p in model.named_parameters():
                norm = p.dim() == 1 and key.endswith("weight")
                p.copy_(make_ops.randn(*p.shape) * (0.5 if p.dim() > 1 else 0.2) + norm)
            for key, b in model.named_buffers():
                if b.dtype == torch.float64:
                    b.copy_(torch.rand(b.shape).double() + 0.5)
        before = {k: v.clone() for k, v in model.state_dict().items() if v.dtype == torch.float64}
        for key, v in before.items():
            self.put(name, "param", key, v)
        y = forward(model, x)
        dout = make_ops.randn(*y.shape)
        y.backward(dout)
        for what, key, v in (("in", "0", x), ("out", "0", y), ("dout", "0", dout), ("din", "0", x.grad)):
            self.put(name, what, key, v)
        for key, p in model.named_parameters():
            self.put(name, "din", key, p.grad)
        for key, b in model.named_buffers():
            if b.dtype == torch.float64:
                self.put(name, "after", key, b)

    def write(self):
        path = os.path.join(HERE, self.op + ".safetensors")
        make_ops.save(path, self.tensors)
        print(f"{self.op}: {os.path.getsize(path)} bytes")
        assert os.path.getsize(path) < 200_000


def attention():
    def forward(model, x):
        return model(x, x, x, need_weights=False)[0]
    o = Layers("attention")
    for case, heads, bias, shape in (("heads", 3, True, (2, 5, 12)), ("one_head", 1, True, (1, 7, 8)),
                                     ("no_bias", 4, False, (3, 2, 8))):
        model = nn.MultiheadAttention(shape[-1], heads, bias=bias, batch_first=True)
        o.case(case, model, torch.randn(shape), forward)
    return o


class Half(nn.Module):
    """The first normalization keeps to its running statistics while the rest trains."""
    def __init__(self, relu):
        super().__init__()
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.relu = relu

    def forward(self, x):
        y = self.bn1(self.conv1(x))
        return self.bn2(self.conv2(torch.relu(y) if self.relu else y))


def frozen_norm():
    o = Layers("frozen_norm")
    for case, relu in (("relu", True), ("plain", False)):
        model = Half(relu).train()
        model.bn1.eval()
        o.case(case, model, torch.randn(2, 8, 7, 6))
    return o


def main():
    os.makedirs(HERE, exist_ok=True)
    for fixture in (attention(), frozen_norm()):
        fixture.write()


if __name__ == "__main__":
    main()
