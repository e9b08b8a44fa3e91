#!/usr/bin/python3
"""tests/golden/augment.safetensors: what torchvision and Pillow make of one picture, given the random numbers that Wattle
draws (wattle.data.transforms.draws), and how torchvision's own draws are distributed. tests/lua/test_augment.lua compares.

Usage: make_augment.py PATH_OF_WATTLE. Made with torch 1.13, torchvision 0.14, Pillow 9.4, numpy 1.24."""
import json
import pathlib
import struct
import subprocess
import sys

import numpy as np
import torch
import torchvision.transforms as T
import torchvision.transforms.functional as F
from PIL import Image
from torchvision.transforms.functional import InterpolationMode

HERE = pathlib.Path(__file__).parent
HEIGHT, WIDTH = 33, 27

# Each case: steps as (name, options) of wattle.data.transforms, a seed, a channel count.
RGB = [
    [("resize", {"size": 20})],
    [("resize", {"size": [17, 40], "interpolation": "bicubic"})],
    [("resize", {"size": 27})],
    [("center_crop", {"size": 20})],
    [("center_crop", {"size": [40, 20]})],
    [("center_crop", {"size": [20, 36]})],
    [("center_crop", {"size": [38, 38]})],
    [("random_crop", {"size": 24})],
    [("random_crop", {"size": [33, 27], "padding": 4})],
    [("random_crop", {"size": [30, 30], "padding": [5, 2]})],
    [("random_crop", {"size": [30, 40], "padding": [9, 1, 6, 0]})],
    [("random_resized_crop", {"size": 24})],
    [("random_resized_crop", {"size": [16, 20], "interpolation": "bicubic", "scale": [0.3, 0.6], "ratio": [0.5, 2]})],
    [("random_resized_crop", {"size": 20, "scale": [0.9, 1], "ratio": [3, 4]})],
    [("random_resized_crop", {"size": 20, "scale": [1, 1.5], "ratio": [0.2, 0.25]})],
    [("random_flip", {"p": 1})],
    [("random_flip", {})],
    [("color_jitter", {"brightness": [0.6, 0.7]})],
    [("color_jitter", {"brightness": [1.6, 1.7]})],
    [("color_jitter", {"contrast": [0.3, 0.5]})],
    [("color_jitter", {"contrast": [1.5, 2.5]})],
    [("color_jitter", {"saturation": [0.0, 0.4]})],
    [("color_jitter", {"saturation": [1.5, 3.0]})],
    [("color_jitter", {"hue": [-0.5, -0.2]})],
    [("color_jitter", {"hue": [0.1, 0.5]})],
    [("color_jitter", {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1})],
    [("color_jitter", {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1})],
    [("normalize", {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]})],
    [("random_erasing", {"p": 1})],
    [("normalize", {"mean": 0.5, "std": 0.25}), ("random_erasing", {"p": 1, "value": [1, -2, 3.5], "scale": [0.1, 0.4]})],
    [("resize", {"size": 30}), ("random_crop", {"size": 24, "padding": 2}), ("random_flip", {}),
     ("color_jitter", {"brightness": 0.2, "contrast": 0.3}), ("normalize", {"mean": 0.4, "std": 0.3}),
     ("random_erasing", {"p": 1})],
]
GREY = [
    [("color_jitter", {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.5})],
    [("random_resized_crop", {"size": 20}), ("random_flip", {"p": 1}), ("normalize", {"mean": 0.3, "std": 0.4})],
]
FILTERS = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}

DRAW = """
local wattle = require "wattle"
local core, T = wattle.core, wattle.data.transforms
for line in io.lines() do
  local case = core.json_decode(line)
  local steps = {}
  for i, step in ipairs(case.steps) do steps[i] = T[step[1]](step[2]) end
  print((core.json_encode(T.draws(steps, { height = case.height, width = case.width, channels = case.channels, seed = case.seed,
                                           name = "augment", epoch = 2, index = case.index })):gsub("%s*\\n%s*", " ")))
end
"""


def picture():
    """Smooth colours with noise, and corners where channels reach 0 and 255."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    rng = np.random.default_rng(5)
    waves = [127 + 150 * np.sin(x / a + y / b + c) for a, b, c in ((4, 9, 0), (7, 5, 2), (11, 3, 4))]
    noise = rng.integers(-30, 30, (HEIGHT, WIDTH, 3))
    return np.clip(np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)


def draws(program, cases):
    lines = "".join(json.dumps(case) + "\n" for case in cases)
    out = subprocess.run([program, "-e", DRAW], input=lines, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def jitter(image, options, drawn):
    names = ["brightness", "contrast", "saturation", "hue"]
    for k in drawn["order"]:
        if names[k - 1] in options:
            image = getattr(F, "adjust_" + names[k - 1])(image, drawn["factor"][k - 1])
    return image


def crop(image, o, drawn):
    p = o.get("padding", 0)
    left, top = (p, p) if isinstance(p, int) else (p[0], p[1])
    image = F.pad(image, p)
    y, x, h, w = drawn["box"]
    return F.crop(image, y + top, x + left, h, w)


def erase(tensor, o, drawn):
    y, x, h, w = drawn["box"]
    value = o.get("value", 0)
    value = torch.tensor([float(value)] if not isinstance(value, list) else value)[:, None, None]
    return F.erase(tensor, y, x, h, w, value)


def apply(image, steps, drawn):
    tensor = None
    for (name, o), d in zip(steps, drawn):
        mode = FILTERS[o.get("interpolation", "bilinear")]
        if name == "resize":
            image = T.Resize(o["size"], mode)(image)
        elif name == "center_crop":
            image = T.CenterCrop(o["size"])(image)
        elif name == "random_crop":
            image = crop(image, o, d)
        elif name == "random_resized_crop":
            size = o["size"] if isinstance(o["size"], list) else [o["size"]] * 2
            image = F.resized_crop(image, *d["box"], size, mode)
        elif name == "random_flip":
            image = F.hflip(image) if d["done"] else image
        elif name == "color_jitter":
            image = jitter(image, o, d)
        else:
            tensor = F.to_tensor(image) if tensor is None else tensor
            if name == "normalize":
                as_list = lambda v: v if isinstance(v, list) else [v]
                tensor = F.normalize(tensor, as_list(o["mean"]), as_list(o["std"]))
            else:
                tensor = erase(tensor, o, d)
    if tensor is not None:
        return tensor.numpy().astype(np.float32)
    pixels = np.asarray(image)
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def distributions(n=20000):
    """Means and standard deviations of what torchvision draws: top, left, height, width, or factors."""
    torch.manual_seed(1)
    image = torch.zeros(3, 48, 64)
    table = {}
    for name, options, draw in (
        ("random_crop", {"size": [30, 40]}, lambda: T.RandomCrop.get_params(image, (30, 40))),
        ("random_resized_crop", {"size": 8}, lambda: T.RandomResizedCrop.get_params(image, [0.08, 1], [3 / 4, 4 / 3])),
        ("random_erasing", {"p": 1}, lambda: T.RandomErasing.get_params(image, (0.02, 0.33), (0.3, 3.3), [0.0])[:4]),
        ("color_jitter", {"brightness": 0.4, "contrast": 0.8, "saturation": 1.5, "hue": 0.3},
         lambda: T.ColorJitter.get_params((0.6, 1.4), (0.2, 1.8), (0, 2.5), (-0.3, 0.3))[1:]),
    ):
        v = np.array([draw() for _ in range(n)], dtype=float)
        table[name] = {"options": options, "mean": v.mean(0).tolist(), "sd": v.std(0).tolist(), "n": n}
    return table


def save(path, tensors, metadata):
    header, data = {"__metadata__": metadata}, b""
    for name, a in tensors.items():
        kind = {"uint8": "U8", "float32": "F32"}[a.dtype.name]
        header[name] = {"dtype": kind, "shape": list(a.shape), "data_offsets": [len(data), len(data) + a.nbytes]}
        data += a.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def main(program):
    rgb = Image.fromarray(picture())
    images = {3: rgb, 1: rgb.convert("L")}
    cases = [{"steps": steps, "seed": 100 + i, "index": i % 3, "channels": channels, "height": HEIGHT, "width": WIDTH}
             for i, (channels, steps) in enumerate([(3, s) for s in RGB] + [(1, s) for s in GREY])]
    tensors = {"rgb": picture().transpose(2, 0, 1).copy(), "grey": np.asarray(images[1])[None].copy()}
    for i, (case, drawn) in enumerate(zip(cases, draws(program, cases))):
        case["draws"] = drawn
        tensors["case%02d" % (i + 1)] = apply(images[case["channels"]], case["steps"], drawn)
    tensors = dict(sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0])))
    save(HERE / "augment.safetensors", tensors, {"cases": json.dumps(cases), "distributions": json.dumps(distributions())})


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
