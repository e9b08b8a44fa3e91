#!/usr/bin/python3
"""How fast a training step is: Wattle against PyTorch on this machine, in alternation.

    tests/bench/train_step.py --wattle build/wattle [--models resnet8 resnet20] [--pairs 15] [--help]

Both train the same network on one random batch: forward, loss, backward, SGD with Nesterov momentum and weight
decay, loss and count of correct ones read each step. Wattle runs in a process of its own that lives through the
measurement; rounds go Wattle, PyTorch, PyTorch channels_last, Wattle, ..., and a ratio is taken within a round, so that a
machine that slows down slows both. "better" is PyTorch's faster mode of each round. Not part of tests/run.sh: it
needs python3-torch and a machine that does nothing else.
"""
import argparse
import os
import sys

sys.dont_write_bytecode = True
import rounds  # noqa: E402
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "golden"))


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("--wattle", default=os.environ.get("WATTLE_PROGRAM", os.path.join(HERE, "../../build/wattle")))
    p.add_argument("--models", nargs="+", default=["resnet8", "resnet20"], help="resnet8, resnet14, ..., mlp, lenet5")
    p.add_argument("--width", type=int, default=16, help="of a ResNet's first stage")
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--size", type=int, default=28, help="height and width of the images")
    p.add_argument("--steps", type=int, default=20, help="steps in a round")
    p.add_argument("--pairs", type=int, default=15, help="rounds")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--backend", default="auto", help="Wattle's: auto, onednn, blas, reference")
    return p.parse_args()


def measure(o, name):
    def make():
        import make_networks

        if name.startswith("resnet"):
            model = make_networks.ResNetCifar(int(name[6:]), o.width)
        else:
            model = {"mlp": lambda: make_networks.Mlp([o.size**2, 300, 100, 10]), "lenet5": make_networks.LeNet5}[name]()
        return model, (o.batch, 1, o.size, o.size)

    script = os.path.join(HERE, "train_step.lua")
    wattle = rounds.Wattle(o.wattle, script, name, o.width, o.batch, o.size, o.threads, o.backend)
    sgd = {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
    shape = f"{name} width {o.width}" if name.startswith("resnet") else name
    rounds.measure(f"{shape}, batch {o.batch}, {o.size}x{o.size}, {o.threads} threads", wattle,
                   lambda last: rounds.PyTorch(make, 10, sgd, o.threads, last), 5, o.pairs, o.steps, o.batch)


if __name__ == "__main__":
    options = arguments()
    print(f"load average before: {os.getloadavg()[0]:.2f} on {os.cpu_count()} processors")
    for network in options.models:
        measure(options, network)
