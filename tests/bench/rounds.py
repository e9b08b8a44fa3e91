"""What train_step.py and zoo_step.py share: the two sides of a training step, and rounds in which they take turns."""
import math
import os
import statistics
import subprocess
import sys
import time

PROGRAM = os.path.basename(sys.argv[0])


class Wattle:
    """A process that answers a number of steps with their seconds and the last loss."""

    def __init__(self, wattle, *arguments):
        if not os.access(wattle, os.X_OK):
            sys.exit(f"{PROGRAM}: no program {wattle}; give --wattle")
        self.process = subprocess.Popen([wattle, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, steps):
        try:
            print(steps, file=self.process.stdin, flush=True)
            answer = self.process.stdout.readline().split()
        except BrokenPipeError:
            answer = []
        if len(answer) != 2 or not math.isfinite(float(answer[1])):
            sys.exit(f"{PROGRAM}: the Wattle side failed (answer {answer}, exit status {self.process.poll()})")
        return float(answer[0])

    def close(self):
        self.process.stdin.close()
        if self.process.wait() != 0:
            sys.exit(f"{PROGRAM}: the Wattle side ended with {self.process.returncode}")


class PyTorch:
    """make() gives the model and a batch's shape; sgd: torch.optim.SGD's options; now: the clock."""

    def __init__(self, make, classes, sgd, threads, channels_last, now=time.monotonic):
        import torch

        torch.set_num_threads(threads)
        torch.manual_seed(1)
        self.torch, self.now = torch, now
        self.model, shape = make()
        self.x = torch.rand(*shape)
        self.y = torch.arange(1, shape[0] + 1) % classes
        if channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)
            self.x = self.x.contiguous(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(self.model.parameters(), **sgd)

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
            sys.exit(f"{PROGRAM}: PyTorch's loss is not finite")
        return self.now() - start

    def close(self):
        pass


def spread(values, form):
    return f"{format(statistics.median(values), form)} ({format(min(values), form)} .. {format(max(values), form)})"


def measure(title, wattle, torch_side, warm_up, rounds, steps, batch):
    """torch_side(channels_last) -> PyTorch. Prints speeds and ratios, each within a round."""
    sides = {"wattle": wattle, "pytorch": torch_side(False), "pytorch channels_last": torch_side(True)}
    seconds = {side: [] for side in sides}
    for side in sides.values():
        side.run(warm_up)
    for _ in range(rounds):
        for side, runner in sides.items():
            seconds[side].append(runner.run(steps))
    for side in sides.values():
        side.close()

    print(f"{title}, {rounds} rounds of {steps} steps: median (min .. max)")
    for side in sides:
        print(f"  {side:38s}{spread([steps * batch / s for s in seconds[side]], '.1f')} images/s")
    ours, plain, last = seconds.values()
    for label, theirs in (("pytorch", plain), ("pytorch channels_last", last), ("better pytorch", list(map(min, plain, last)))):
        print(f"  {'ratio wattle / ' + label:38s}{spread([t / w for t, w in zip(theirs, ours)], '.2f')} x the speed")
    sys.stdout.flush()
