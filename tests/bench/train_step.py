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
import math
import os
import statistics
import subprocess
import sys
import time

sys.dont_write_bytecode = True
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


class Wattle:
    def __init__(self, o, name):
        command = [o.wattle, os.path.join(HERE, "train_step.lua"), name, o.width, o.batch, o.size, o.threads, o.backend]
        if not os.access(o.wattle, os.X_OK):
            sys.exit(f"train_step.py: no program {o.wattle}; give --wattle")
        self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, steps):
        try:
            print(steps, file=self.process.stdin, flush=True)
            answer = self.process.stdout.readline().split()
        except BrokenPipeError:
            answer = []
        if len(answer) != 2 or not math.isfinite(float(answer[1])):
            sys.exit(f"train_step.py: the Wattle side failed (answer {answer}, exit status {self.process.poll()})")
        return float(answer[0])

    def close(self):
        self.process.stdin.close()
        if self.process.wait() != 0:
            sys.exit(f"train_step.py: the Wattle side ended with {self.process.returncode}")


class PyTorch:
    def __init__(self, o, name, channels_last):
        import torch
        import make_networks

        torch.set_num_threads(o.threads)
        torch.manual_seed(1)
        self.torch = torch
        if name.startswith("resnet"):
            self.model = make_networks.ResNetCifar(int(name[6:]), o.width)
        else:
            self.model = {"mlp": lambda: make_networks.Mlp([o.size**2, 300, 100, 10]), "lenet5": make_networks.LeNet5}[name]()
        self.x = torch.rand(o.batch, 1, o.size, o.size)
        self.y = torch.arange(1, o.batch + 1) % 10
        if channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)
            self.x = self.x.contiguous(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def run(self, steps):
        start = time.monotonic()
        for _ in range(steps):
            self.optimizer.zero_grad(set_to_none=True)
            logits = self.model(self.x)
            loss = self.torch.nn.functional.cross_entropy(logits, self.y)
            loss.backward()
            self.optimizer.step()
            value, _ = loss.item(), (logits.argmax(1) == self.y).sum().item()
        if not math.isfinite(value):
            sys.exit("train_step.py: PyTorch's loss is not finite")
        return time.monotonic() - start

    def close(self):
        pass


def spread(values, form):
    return f"{format(statistics.median(values), form)} ({format(min(values), form)} .. {format(max(values), form)})"


def measure(o, name):
    sides = {"wattle": Wattle(o, name), "pytorch": PyTorch(o, name, False), "pytorch channels_last": PyTorch(o, name, True)}
    seconds = {side: [] for side in sides}
    for side in sides.values():
        side.run(5)
    for _ in range(o.pairs):
        for side, runner in sides.items():
            seconds[side].append(runner.run(o.steps))
    for side in sides.values():
        side.close()

    shape = f"{name} width {o.width}" if name.startswith("resnet") else name
    print(f"{shape}, batch {o.batch}, {o.size}x{o.size}, {o.threads} threads, {o.pairs} rounds of {o.steps} steps: median (min .. max)")
    for side in sides:
        print(f"  {side:38s}{spread([o.steps * o.batch / s for s in seconds[side]], '.0f')} images/s")
    ours, plain, last = seconds.values()
    for label, theirs in (("pytorch", plain), ("pytorch channels_last", last), ("better pytorch", list(map(min, plain, last)))):
        print(f"  {'ratio wattle / ' + label:38s}{spread([t / w for t, w in zip(theirs, ours)], '.2f')} x the speed")
    sys.stdout.flush()


if __name__ == "__main__":
    options = arguments()
    print(f"load average before: {os.getloadavg()[0]:.2f} on {os.cpu_count()} processors")
    for network in options.models:
        measure(options, network)
