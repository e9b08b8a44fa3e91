#!/usr/bin/python3
"""How fast a training step of the zoo's networks is: Wattle against PyTorch on this machine, in alternation.

    tests/bench/zoo_step.py --wattle build/wattle [--models resnet18 vit_b_16] [--rounds 9] [--help]

As train_step.py, with torchvision's networks: forward, loss, backward, SGD with momentum and weight decay, loss and count
of correct ones read each step, on one random batch. Rounds go Wattle, PyTorch, PyTorch channels_last, Wattle, ..., and a
ratio is taken within a round. "better" is PyTorch's faster mode of each round. Not part of tests/run.sh: it needs
python3-torchvision and a machine that does nothing else.
"""
import argparse
import os
import sys
import time

sys.dont_write_bytecode = True
import rounds  # noqa: E402
HERE = os.path.dirname(os.path.abspath(__file__))
NETWORKS = ["resnet18", "mobilenet_v2", "efficientnet_b0", "densenet121", "vit_b_16", "convnext_tiny"]


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("--wattle", default=os.environ.get("WATTLE_PROGRAM", os.path.join(HERE, "../../build/wattle")))
    p.add_argument("--models", nargs="+", default=NETWORKS, help="torchvision's names")
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--size", type=int, default=64, help="height and width of the images")
    p.add_argument("--classes", type=int, default=100)
    p.add_argument("--steps", type=int, default=2, help="steps in a round")
    p.add_argument("--rounds", type=int, default=9)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--backend", default="auto", help="Wattle's: auto, onednn, blas, reference")
    p.add_argument("--cpu-time", action="store_true", help="processor time, not the clock's: a busy machine, 1 thread")
    o = p.parse_args()
    o.clock = "cpu" if o.cpu_time else "wall"
    o.now = time.process_time if o.cpu_time else time.monotonic
    return o


def measure(o, name):
    def make():
        import torchvision

        more = {"image_size": o.size} if name.startswith("vit") else {}
        model = getattr(torchvision.models, name)(weights=None, num_classes=o.classes, **more).train()
        return model, (o.batch, 3, o.size, o.size)

    script = os.path.join(HERE, "zoo_step.lua")
    wattle = rounds.Wattle(o.wattle, script, name, o.batch, o.size, o.classes, o.threads, o.backend, o.clock)
    sgd = {"lr": 0.001, "momentum": 0.9, "weight_decay": 1e-4}
    rounds.measure(f"{name}, batch {o.batch}, {o.size}x{o.size}, {o.threads} threads", wattle,
                   lambda last: rounds.PyTorch(make, o.classes, sgd, o.threads, last, o.now), 2, o.rounds, o.steps, o.batch)


if __name__ == "__main__":
    options = arguments()
    print(f"load average before: {os.getloadavg()[0]:.2f} on {os.cpu_count()} processors")
    for network in options.models:
        measure(options, network)
