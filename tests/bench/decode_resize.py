#!/usr/bin/python3
"""How fast pictures are decoded and scaled: Wattle on one thread against Pillow, in alternation.

    tests/bench/decode_resize.py --build build [--pairs 15] [--help]

Makes JPEGs (500x375 at quality 85, 28x28) from a formula in a temporary folder. Each side reads each file, decodes it to RGB and
scales its shorter side to 256 (28x28: to 64). "core" is what a loader's thread does (build/tests/bench_decode_resize, which
`cmake --build build --target bench_decode_resize` makes); "lua" is wattle.data.image and wattle.data.resize, which make tensors. Rounds go
core, Pillow, lua, Pillow, ..., and a ratio is taken within a round, so that a machine that slows down slows both. Printed: images
per second, and the ratio to Pillow (above 1: Wattle is faster) as the median and the quartiles of all rounds. Not part of
tests/run.sh: it needs python3-pil, python3-numpy and a machine that does nothing else.
"""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import PIL
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
FILTERS = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("--build", default=os.environ.get("WATTLE_BUILD", os.path.join(HERE, "../../build")))
    p.add_argument("--pairs", type=int, default=15, help="rounds")
    p.add_argument("--filter", choices=FILTERS, default="bilinear")
    p.add_argument("--seconds", type=float, default=0.3, help="about how long each side of a round takes")
    return p.parse_args()


def photograph(w, h, seed):
    """Waves, edges and grain: a JPEG of about two bits a pixel."""
    y, x = np.mgrid[0:h, 0:w]
    a = np.stack([127 + 100 * np.sin((k + 1 + seed % 3) * x / 19 + y / (11 + 5 * k) + k) for k in range(3)], -1)
    a[(x - w / 2) ** 2 + (y - h / 3) ** 2 < (min(w, h) / 5) ** 2] = [230, 40, 90]
    return np.clip(a + np.random.default_rng(seed).normal(0, 9, a.shape), 0, 255).astype(np.uint8)


class Wattle:
    def __init__(self, command):
        environment = dict(os.environ, OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")
        if not os.access(command[0], os.X_OK):
            sys.exit(f"decode_resize.py: no program {command[0]}; give --build")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def run(self, rounds):
        print(rounds, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit("decode_resize.py: Wattle's side ended")
        return float(answer)


def pillow(files, size, kind, rounds):
    begun = time.perf_counter()
    for _ in range(rounds):
        for file in files:
            image = Image.open(file).convert("RGB")
            w, h = image.size
            if size:
                image.resize((size, int(size * h / w)) if w <= h else (int(size * w / h), size), FILTERS[kind])
    return time.perf_counter() - begun


def compare(o, title, files, size):
    options = [str(size), o.filter, *files]
    sides = {"core": Wattle([os.path.join(o.build, "tests/bench_decode_resize"), *options]),
             "lua": Wattle([os.path.join(o.build, "wattle"), os.path.join(HERE, "decode_resize.lua"), *options])}
    rounds = max(1, int(o.seconds / pillow(files, size, o.filter, 1)))
    for side in sides.values():
        side.run(1)
    times, ratios = {name: [] for name in ["Pillow", *sides]}, {name: [] for name in sides}
    for _ in range(o.pairs):
        for name, side in sides.items():
            ours, theirs = side.run(rounds), pillow(files, size, o.filter, rounds)
            times[name].append(ours)
            times["Pillow"].append(theirs)
            ratios[name].append(theirs / ours)
    each = rounds * len(files)
    for name, all_of_them in times.items():
        line = f"{title:<22} {name:<7} {each / statistics.median(all_of_them):8.0f} images/s"
        if name in ratios:
            low, middle, high = statistics.quantiles(ratios[name], n=4)
            line += f"   {middle:5.2f} x Pillow ({low:.2f} to {high:.2f})"
        print(line)


def main():
    o = arguments()
    print(f"Pillow {PIL.__version__}, {o.filter}, {o.pairs} rounds")
    with tempfile.TemporaryDirectory() as folder:
        for title, w, h, n, size in ("500x375 decoded", 500, 375, 8, 0), ("500x375 to 256", 500, 375, 8, 256), ("28x28 to 64", 28, 28, 64, 64):
            files = []
            for i in range(n):
                files.append(os.path.join(folder, f"{w}-{i}.jpg"))
                Image.fromarray(photograph(w, h, i)).save(files[-1], quality=85)
            compare(o, title, files, size)


main()
