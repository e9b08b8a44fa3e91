#!/usr/bin/python3
"""Golden fixture of compressions: compress.safetensors, what PyTorch and NumPy make of a few weights.

Run by hand (Debian 12: python3-torch, python3-numpy) after a change here: ./make_compress.py
tests/lua/test_compress.lua reads it. Names:
  w.LAYER              the weight (f64 of values that are f32)
  local.AMOUNT.LAYER   mask of torch.nn.utils.prune.l1_unstructured, u8
  global.AMOUNT.LAYER  mask of global_unstructured over all of them, u8
  rank.ENERGY.LAYER    the smallest rank that keeps ENERGY of the squared singular values (w as a matrix (O, rest)), i64
  kept.ENERGY.LAYER    what it keeps, f64
  near.ENERGY.LAYER    the best approximation of w of that rank, f64
  x, y.ENERGY          input of the layer conv1 (stride, padding, dilation: see below) and its output with `near`, f64
"""
import json
import os
import struct

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.utils import prune

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "compress.safetensors")
SHAPES = {"conv1": (8, 3, 5, 5), "conv2": (8, 5, 2, 5), "fc": (20, 30)}  # sizes whose shares below are whole


def save(path, tensors):
    header, blobs, at = {}, [], 0
    for name, a in tensors.items():
        blob = np.ascontiguousarray(a).tobytes()
        header[name] = {"dtype": {"float64": "F64", "int64": "I64", "uint8": "U8"}[a.dtype.name],
                        "shape": list(a.shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def holder(weight):
    m = torch.nn.Module()
    m.weight = torch.nn.Parameter(weight.clone())
    return m


def main():
    torch.manual_seed(3)
    out = {}
    w = {k: torch.randn(s).double() for k, s in SHAPES.items()}
    for k in w:
        out["w." + k] = w[k].numpy()
    for amount in (0.3, 0.5, 0.8):
        modules = {k: holder(w[k]) for k in w}
        prune.global_unstructured([(m, "weight") for m in modules.values()], prune.L1Unstructured, amount=amount)
        for k, m in modules.items():
            out[f"global.{amount}.{k}"] = m.weight_mask.numpy().astype(np.uint8)
            m = holder(w[k])
            prune.l1_unstructured(m, "weight", amount)
            out[f"local.{amount}.{k}"] = m.weight_mask.numpy().astype(np.uint8)
    x = torch.randn(2, 3, 17, 14).double()
    out["x"] = x.numpy()
    for energy in (0.3, 0.6, 0.9):
        for k in w:
            u, s, v = np.linalg.svd(w[k].reshape(SHAPES[k][0], -1).numpy(), full_matrices=False)
            kept = np.cumsum(s ** 2) / np.sum(s ** 2)
            r = int(np.searchsorted(kept, energy)) + 1
            near = (u[:, :r] * s[:r] @ v[:r]).reshape(SHAPES[k])
            out[f"rank.{energy}.{k}"] = np.array(r, dtype=np.int64)
            out[f"kept.{energy}.{k}"] = np.array(kept[r - 1])
            out[f"near.{energy}.{k}"] = near
            if k == "conv1":
                y = F.conv2d(x, torch.from_numpy(near), stride=(2, 1), padding=(1, 3), dilation=(1, 2))
                out[f"y.{energy}"] = y.numpy()
    save(PATH, out)


if __name__ == "__main__":
    main()
