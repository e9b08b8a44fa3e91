#!/usr/bin/python3
"""Writes embedding.csv: torchvision's interpolate_embeddings of a positional embedding made for grids of from x from
patches, for grids of to x to; tests/lua/test_pretrained.lua reads it.

The embedding is e(position) * (1 + channel / 768), with position 0 the class token's and e(p) = sin(p * p) / (1 + p % 3);
the table has channel 0, one line a position: from, to, position, value. Needs Debian's python3-torchvision.
"""
import csv
import math
import pathlib

import torch
from torchvision.models.vision_transformer import interpolate_embeddings

with open(pathlib.Path(__file__).resolve().parent / "embedding.csv", "w", newline="") as f:
    out = csv.writer(f, lineterminator="\n")
    out.writerow(["from", "to", "position", "value"])
    for old, new in [(2, 3), (3, 1), (4, 7), (14, 5)]:
        line = torch.tensor([math.sin(p * p) / (1 + p % 3) for p in range(old * old + 1)], dtype=torch.float64)
        state = {"encoder.pos_embedding": line.reshape(1, -1, 1)}
        values = interpolate_embeddings(16 * new, 16, state)["encoder.pos_embedding"]
        for p, v in enumerate(values.flatten().tolist()):
            out.writerow([old, new, p, f"{v:.12g}"])
