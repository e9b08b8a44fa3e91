#!/usr/bin/python3
"""How fast a training step of the zoo's networks is: Wattle against PyTorch on this machine, in alternation.

    tests/bench/zoo_step.py --wattle build/wattle [--models resnet18 vit_b_16] [--rounds 9] [--help]

As train_step.py, with torchvision's networks: forward, loss, backward, SGD with momentum and weight decay, loss and count
of correct ones read each step, on one random batch. Rounds go Wattle, PyTorch, PyTorch channels_last, Wattle, ..., and a
ratio is taken within a round. "better" is PyTorch's faster mode of each round. Not part of tests/run.sh: it needs
python3-torchvision and a machine that does nothing else.
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


class Wattle:
    def __init__(self, o, name):
        command = [o.wattle, os.path.join(HERE, "zoo_step.lua"), name, o.batch, o.size, o.classes, o.threads, o.backend,
                   o.clock]
        if not os.access(o.wattle, os.X_OK):
            sys.exit(f"zoo_step.py: no program {o.wattle}; give --wattle")
        self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, steps):
        try:
            print(steps, file=self.process.stdin, flush=True)
            answer = self.process.stdout.readline().split()
        except BrokenPipeError:
            answer = []
        if len(answer) != 2 or not math.isfinite(float(answer[1])):
            sys.exit(f"zoo_step.py: the Wattle side failed (answer {answer}, exit status {self.process.poll()})")
        return float(answer[0])

    def close(self):
        self.process.stdin.close()
        if self.process.wait() != 0:
            sys.exit(f"zoo_step.py: the Wattle side ended with {self.process.returncode}")


class PyTorch:
    def __init__(self, o, name, channels_last):
        import torch
        import torchvision

        torch.set_num_threads(o.threads)
        torch.manual_seed(1)
        self.torch, self.now = torch, o.now
        more = {"image_size": o.size} if name.startswith("vit") else {}
        self.model = getattr(torchvision.models, name)(weights=None, num_classes=o.classes, **more).train()
        self.x = torch.rand(o.batch, 3, o.size, o.size)
        self.y = torch.arange(1, o.batch + 1) % o.classes
        if channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)
            self.x = self.x.contiguous(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.001, momentum=0.9, weight_decay=1e-4)

    def run(self, steps):
        start = self.now()
        for _ in range(steps):
            self.optimizer.zero_grad(set_to_none=True)
            logits = self.model(self.x)
            loss = self.torch.nn.functional.cross_entropy(logits, self.y)
            loss.backward()
            self.optimizer.step()
            value, _ = loss.item(), (logits.argmax(1) == self.y).sum().item()
        if not math.isfinite(value):
            sys.exit("zoo_step.py: PyTorch's loss is not finite")
        return self.now() - start

    def close(self):
        pass


def spread(values, form):
    return f"{format(statistics.median(values), form)} ({format(min(values), form)} .. {format(max(values), form)})"


def measure(o, name):
    sides = {"wattle": Wattle(o, name), "pytorch": PyTorch(o, name, False), "pytorch channels_last": PyTorch(o, name, True)}
    seconds = {side: [] for side in sides}
    for side in sides.values():
        side.run(2)
    for _ in range(o.rounds):
        for side, runner in sides.items():
            seconds[side].append(runner.run(o.steps))
    for side in sides.values():
        side.close()

    print(f"{name}, batch {o.batch}, {o.size}x{o.size}, {o.threads} threads, {o.rounds} rounds of {o.steps} steps: median (min .. max)")
    for side in sides:
        print(f"  {side:38s}{spread([o.steps * o.batch / s for s in seconds[side]], '.1f')} images/s")
    ours, plain, last = seconds.values()
    for label, theirs in (("pytorch", plain), ("pytorch channels_last", last), ("better pytorch", list(map(min, plain, last)))):
        print(f"  {'ratio wattle / ' + label:38s}{spread([t / w for t, w in zip(theirs, ours)], '.2f')} x the speed")
    sys.stdout.flush()


if __name__ == "__main__":
    options = arguments()
    print(f"load average before: {os.getloadavg()[0]:.2f} on {os.cpu_count()} processors")
    for network in options.models:
        measure(options, network)
