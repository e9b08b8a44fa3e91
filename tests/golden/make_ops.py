#!/usr/bin/python3
"""Golden fixtures for single ops: ops/NAME.safetensors, what PyTorch computes in float64.

Run by hand (Debian 12: python3-torch, python3-numpy) after a change here: ./make_ops.py
tests/c/test_op_fixtures.c reads them. Each file holds the cases of one op; a tensor's name is CASE.WHAT.NAME:
  in.NAME     an input               attr.NAME   an attribute that is not at its default (i64, or f64 for a real one)
  out.0       the output             after.NAME  an input that the op changes, afterwards
  dout.0      a random gradient of the output, and din.NAME, what it gives for the inputs
"""
import json
import os
import struct
import zlib

import numpy as np
import torch
import torch.nn.functional as F
import torchvision

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ops")


def save(path, tensors):
    header, blobs, at = {}, [], 0
    for name, t in tensors.items():
        a = np.ascontiguousarray(t)
        blob = a.tobytes()
        header[name] = {"dtype": {"float64": "F64", "int64": "I64"}[a.dtype.name], "shape": list(np.shape(t)),
                        "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def randn(*shape):
    return torch.randn(shape, dtype=torch.float64)


class Fixture:
    def __init__(self, op):
        self.op, self.tensors = op, {}
        torch.manual_seed(zlib.crc32(op.encode()))  # a file does not depend on those before it

    def put(self, case, what, name, value):
        value = value.detach() if torch.is_tensor(value) else np.asarray(value)
        self.tensors[f"{case}.{what}.{name}"] = np.asarray(value)

    def case(self, name, f, inputs, attrs=None, changed=(), fixed=()):
        """f(**inputs, **attrs) -> output. Inputs in `changed` and `fixed` have no gradient; the former are stored
        afterwards."""
        attrs = attrs or {}
        for k, t in inputs.items():
            self.put(name, "in", k, t.clone())
            if t.dtype == torch.float64 and k not in (*changed, *fixed):
                t.requires_grad_()
        for k, v in attrs.items():
            dtype = np.float64 if isinstance(v, float) else np.int64
            self.put(name, "attr", k, np.atleast_1d(np.asarray(v, dtype=dtype)))
        y = f(**inputs, **attrs)
        self.put(name, "out", "0", y)
        for k in changed:
            self.put(name, "after", k, inputs[k])
        if y.requires_grad:
            dout = randn(*y.shape)
            y.backward(dout)
            self.put(name, "dout", "0", dout)
            for k, t in inputs.items():
                if t.requires_grad:
                    self.put(name, "din", k, t.grad)

    def write(self):
        path = os.path.join(HERE, self.op + ".safetensors")
        save(path, self.tensors)
        print(f"{self.op}: {os.path.getsize(path)} bytes")
        assert os.path.getsize(path) < 200_000


def conv2d():
    def f(x, w, b=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
        return F.conv2d(x, w, b, stride, padding, dilation, groups)
    o = Fixture("conv2d")
    o.case("plain", f, dict(x=randn(2, 3, 7, 9), w=randn(5, 3, 3, 3), b=randn(5)))
    o.case("padded", f, dict(x=randn(2, 3, 8, 8), w=randn(17, 3, 3, 3)), dict(padding=(1, 1)))
    o.case("strided", f, dict(x=randn(2, 17, 9, 7), w=randn(4, 17, 3, 3), b=randn(4)),
           dict(stride=(2, 2), padding=(1, 1)))
    o.case("uneven", f, dict(x=randn(1, 2, 11, 8), w=randn(3, 2, 5, 2), b=randn(3)),
           dict(stride=(3, 2), padding=(2, 1), dilation=(2, 1)))
    o.case("grouped", f, dict(x=randn(2, 6, 5, 6), w=randn(9, 2, 3, 3)), dict(padding=(1, 1), groups=3))
    o.case("depthwise", f, dict(x=randn(1, 24, 6, 5), w=randn(24, 1, 3, 3), b=randn(24)),
           dict(stride=(2, 2), padding=(1, 1), groups=24))
    o.case("shortcut", f, dict(x=randn(2, 4, 7, 7), w=randn(8, 4, 1, 1)), dict(stride=(2, 2)))
    o.case("pointwise", f, dict(x=randn(2, 5, 3, 7), w=randn(4, 5, 1, 1), b=randn(4)))
    return o


def linear():
    def f(x, w, b=None):
        return F.linear(x, w, b)
    o = Fixture("linear")
    o.case("matrix", f, dict(x=randn(5, 17), w=randn(7, 17), b=randn(7)))
    o.case("no_bias", f, dict(x=randn(1, 24), w=randn(3, 24)))
    o.case("three_dims", f, dict(x=randn(2, 3, 9), w=randn(4, 9), b=randn(4)))
    o.case("vector", f, dict(x=randn(9), w=randn(4, 9), b=randn(4)))
    return o


def matmul():
    def f(a, b):
        return a @ b
    o = Fixture("matmul")
    o.case("odd", f, dict(a=randn(5, 17), b=randn(17, 3)))
    o.case("outer", f, dict(a=randn(7, 1), b=randn(1, 9)))
    o.case("batch", f, dict(a=randn(3, 4, 5), b=randn(3, 5, 2)))
    o.case("two_leading", f, dict(a=randn(2, 3, 1, 7), b=randn(2, 3, 7, 4)))
    o.case("one_for_all", f, dict(a=randn(2, 3, 4, 5), b=randn(5, 3)))
    return o


def batch_norm():
    def f(x, running_mean, running_var, w=None, b=None, training=0, momentum=0.1, eps=1e-5):
        return F.batch_norm(x, running_mean, running_var, w, b, bool(training), momentum, eps)

    def inputs(x, affine=True):
        c = x.shape[1]
        d = dict(x=x, running_mean=randn(c), running_var=torch.rand(c, dtype=torch.float64) + 0.5)
        return dict(d, w=randn(c), b=randn(c)) if affine else d
    o = Fixture("batch_norm")
    state = ("running_mean", "running_var")
    o.case("training", f, inputs(randn(4, 3, 5, 7) * 3 + 2), dict(training=1), state)
    o.case("evaluation", f, inputs(randn(4, 3, 5, 7)), {}, state)
    o.case("vectors", f, inputs(randn(6, 17)), dict(training=1, momentum=0.25, eps=1e-3), state)
    o.case("no_affine", f, inputs(randn(2, 24, 3), False), dict(training=1), state)
    o.case("one_image", f, inputs(randn(1, 2, 3, 3)), dict(training=1), state)
    o.case("far_from_zero", f, inputs(randn(8, 3, 4, 4) + 100), dict(training=1), state)
    return o


def layer_norm():
    def f(x, w=None, b=None, dims=1, eps=1e-5):
        return F.layer_norm(x, x.shape[-dims:], w, b, eps)
    o = Fixture("layer_norm")
    o.case("vectors", f, dict(x=randn(5, 17) * 3 + 2, w=randn(17), b=randn(17)))
    o.case("tokens", f, dict(x=randn(2, 7, 24), w=randn(24), b=randn(24)), dict(eps=1e-6))
    o.case("planes", f, dict(x=randn(3, 4, 5), w=randn(4, 5), b=randn(4, 5)), dict(dims=2))
    o.case("no_affine", f, dict(x=randn(2, 9)), dict(eps=0.1))
    o.case("no_bias", f, dict(x=randn(1, 24), w=randn(24)))
    o.case("one_row", f, dict(x=randn(3, 5)), dict(dims=2))
    o.case("far_from_zero", f, dict(x=randn(4, 16) + 100, w=randn(16), b=randn(16)))
    return o


def max_pool2d():
    def f(x, kernel_size, stride=None, padding=(0, 0), ceil_mode=0):
        return F.max_pool2d(x, kernel_size, stride, padding, ceil_mode=bool(ceil_mode))
    o = Fixture("max_pool2d")
    o.case("plain", f, dict(x=randn(2, 3, 6, 7)), dict(kernel_size=(2, 2)))
    o.case("overlapping", f, dict(x=randn(2, 3, 9, 7)), dict(kernel_size=(3, 3), stride=(2, 2), padding=(1, 1)))
    o.case("uneven", f, dict(x=randn(1, 2, 8, 9)), dict(kernel_size=(2, 4), stride=(1, 3), padding=(1, 2)))
    o.case("ties", f, dict(x=torch.randint(0, 3, (2, 3, 8, 8)).double()), dict(kernel_size=(3, 3), stride=(2, 2)))
    ceil_modes(o, f)
    return o


def ceil_modes(o, f, **more):
    """A last window over the edge; one that would begin behind the image; one larger than the image."""
    more["ceil_mode"] = 1
    o.case("ceil", f, dict(x=randn(1, 17, 6, 8)), dict(kernel_size=(3, 3), stride=(2, 2), **more))
    o.case("ceil_padded", f, dict(x=randn(1, 3, 6, 8)), dict(kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), **more))
    o.case("ceil_dropped", f, dict(x=randn(1, 2, 5, 4)), dict(kernel_size=(2, 2), stride=(3, 3), padding=(1, 1), **more))
    o.case("ceil_larger", f, dict(x=randn(2, 2, 2, 3)), dict(kernel_size=(3, 5), stride=(2, 4), padding=(0, 1), **more))


def global_avg_pool2d():
    def f(x):
        return F.adaptive_avg_pool2d(x, 1).flatten(1)
    o = Fixture("global_avg_pool2d")
    o.case("odd", f, dict(x=randn(2, 17, 5, 7)))
    o.case("one_pixel", f, dict(x=randn(3, 4, 1, 1)))
    return o


def avg_pool2d():
    def f(x, kernel_size, stride=None, padding=(0, 0), count_include_pad=1, ceil_mode=0):
        return F.avg_pool2d(x, kernel_size, stride, padding, bool(ceil_mode), bool(count_include_pad))
    o = Fixture("avg_pool2d")
    o.case("plain", f, dict(x=randn(2, 3, 6, 7)), dict(kernel_size=(2, 2)))
    o.case("overlapping", f, dict(x=randn(2, 3, 9, 7)), dict(kernel_size=(3, 3), stride=(2, 2), padding=(1, 1)))
    o.case("inside_only", f, dict(x=randn(1, 17, 9, 7)),
           dict(kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), count_include_pad=0))
    o.case("uneven", f, dict(x=randn(1, 2, 8, 9)), dict(kernel_size=(2, 4), stride=(1, 3), padding=(1, 2)))
    o.case("uneven_inside", f, dict(x=randn(1, 2, 8, 9)),
           dict(kernel_size=(2, 4), stride=(1, 3), padding=(1, 2), count_include_pad=0))
    ceil_modes(o, f)
    o.case("ceil_inside", f, dict(x=randn(1, 3, 6, 8)),
           dict(kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), count_include_pad=0, ceil_mode=1))
    return o


def adaptive(name, f):
    o = Fixture(name)
    o.case("overlapping", f, dict(x=randn(2, 3, 7, 5)), dict(output_size=(3, 2)))
    o.case("even", f, dict(x=randn(1, 17, 6, 4)), dict(output_size=(3, 2)))
    o.case("larger", f, dict(x=randn(1, 3, 3, 2)), dict(output_size=(4, 5)))
    o.case("one", f, dict(x=randn(2, 3, 5, 4)), dict(output_size=(1, 1)))
    return o


def pointwise(name, f, pairs):
    o = Fixture(name)
    for case, shapes in pairs.items():
        o.case(case, f, dict(zip("ab" if len(shapes) == 2 else "x", (randn(*s) for s in shapes))))
    return o


BROADCAST = {"same": ((3, 4, 5), (3, 4, 5)), "row": ((4, 17), (17,)), "channel": ((2, 3, 4, 5), (3, 1, 1)),
             "outer": ((3, 1), (1, 24)), "scalar": ((), (2, 3)), "inner": ((2, 1, 3, 1), (5, 1, 7))}


def relu():
    o = pointwise("relu", lambda x: F.relu(x), {"random": ((3, 17),)})
    o.case("zero", lambda x: F.relu(x), dict(x=torch.tensor([-1.0, -0.0, 0.0, 2.0], dtype=torch.float64)))
    return o


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def positive(*shape):
    return torch.rand(shape, dtype=torch.float64) * 2 + 0.25


def binary(name, f, a=randn, b=randn):
    """Broadcast like add and mul; a and b draw the operands."""
    o = Fixture(name)
    for case, (first, second) in BROADCAST.items():
        o.case(case, f, dict(a=a(*first), b=b(*second)))
    return o


def power():
    o = binary("pow", lambda a, b: a ** b, a=positive)
    o.case("square", lambda a, b: a ** b, dict(a=randn(3, 17), b=vector(2.0).reshape(())), fixed=("b",))
    o.case("whole", lambda a, b: a ** b, dict(a=randn(5, 4), b=vector(0, 1, 2, 3)), fixed=("b",))
    o.case("zero", lambda a, b: a ** b, dict(a=vector(0, 0, 0, 2), b=vector(0, 1, 2, 0)))
    return o


def extreme(name, f):
    o = binary(name, f)
    o.case("ties", f, dict(a=vector(1, 2, 3, -1), b=vector(1, 2, 2, 0)))
    o.case("shared_ties", f, dict(a=vector(1, 2, 3, 1).reshape(2, 2), b=vector(1)))
    return o


def comparison(name, f):
    o = Fixture(name)
    whole = lambda *s: torch.randint(-1, 2, s).double()
    for case, (a, b) in BROADCAST.items():
        o.case(case, lambda a, b: f(a, b).double(), dict(a=whole(*a), b=whole(*b)), fixed=("a", "b"))
    return o


def where():
    def f(cond, a, b):
        return torch.where(cond != 0, a, b)
    o = Fixture("where")
    cond = lambda *s: torch.randint(0, 2, s).double()
    o.case("same", f, dict(cond=cond(3, 5), a=randn(3, 5), b=randn(3, 5)), fixed=("cond",))
    o.case("broadcast", f, dict(cond=cond(3, 1), a=randn(1, 24), b=randn(24)), fixed=("cond",))
    o.case("larger_cond", f, dict(cond=cond(2, 3, 4), a=randn(3, 1), b=randn()), fixed=("cond",))
    return o


def unary(name, f, draw=randn, **special):
    o = Fixture(name)
    cases = dict(matrix=draw(3, 17), image=draw(1, 24, 3, 1), **{k: vector(*v) for k, v in special.items()})
    for case, x in cases.items():
        o.case(case, lambda x: f(x), dict(x=x))
    return o


def gelu():
    def f(x, tanh=0):
        return F.gelu(x, approximate="tanh" if tanh else "none")
    o = Fixture("gelu")
    for case, x in dict(matrix=randn(3, 17), wide=randn(5, 7) * 5, points=vector(-6, -1, -0.0, 0, 1e-3, 6)).items():
        o.case(case, f, dict(x=x))
        o.case(case + "_tanh", f, dict(x=x.detach().clone()), dict(tanh=1))
    return o


def hardsigmoid(x):
    """By its definition: the gradient of F.hardsigmoid in float64 holds 1/6 rounded to float32."""
    return F.relu6(x + 3) / 6


def stochastic_depth():
    """Like dropout: only what draws nothing is comparable; test_op_values.c has the rest."""
    def f(x, p, training=0, row=1):
        return torchvision.ops.stochastic_depth(x, p, "row" if row else "batch", bool(training))
    o = Fixture("stochastic_depth")
    o.case("evaluation", f, dict(x=randn(3, 4)), dict(p=0.3))
    o.case("keeps_all", f, dict(x=randn(3, 2, 2)), dict(p=0.0, training=1))
    o.case("drops_all", f, dict(x=randn(3, 2)), dict(p=1.0, training=1, row=0), fixed=("x",))
    return o


def clamp():
    def f(x, min=None, max=None):
        return x.clamp(min, max)
    o = Fixture("clamp")
    o.case("both", f, dict(x=randn(3, 17)), dict(min=-0.5, max=0.75))
    o.case("below", f, dict(x=randn(5, 3)), dict(min=0.25))
    o.case("above", f, dict(x=randn(5, 3)), dict(max=0.25))
    o.case("bounds", f, dict(x=vector(-2, -1, 0, 1, 2)), dict(min=-1.0, max=1.0))
    return o


def along_dim(name, f):
    o = Fixture(name)
    o.case("last", f, dict(x=randn(3, 17) * 4), dict(dim=1))
    o.case("first", f, dict(x=randn(3, 17) * 4), dict(dim=0))
    o.case("middle", f, dict(x=randn(2, 24, 3, 5)), dict(dim=-3))
    o.case("sure", f, dict(x=randn(4, 5) * 200), dict(dim=-1), fixed=("x",))  # its gradient is all rounding in f32
    return o


def pair_loss(name, f, x, target):
    o = Fixture(name)
    for case, shape in dict(matrix=(3, 17), image=(1, 24, 3, 1), one=(1,)).items():
        o.case(case, f, dict(x=x(*shape), target=target(*shape)))
    return o


def probability(*shape):
    return torch.rand(shape, dtype=torch.float64) * 0.9 + 0.05


def binary_cross_entropy():
    f = lambda x, target: F.binary_cross_entropy(x, target)
    o = pair_loss("binary_cross_entropy", f, probability, probability)
    o.case("certain", f, dict(x=vector(0, 1, 0, 1, 0.5), target=vector(0, 1, 1, 0.25, 1)), fixed=("target",))
    return o


def binary_cross_entropy_with_logits():
    f = lambda x, target: F.binary_cross_entropy_with_logits(x, target)
    o = pair_loss("binary_cross_entropy_with_logits", f, lambda *s: randn(*s) * 4, probability)
    o.case("large", f, dict(x=vector(1000, -1000, 50, 0), target=vector(1, 1, 0, 0.5)))
    return o


def kl_div():
    f = lambda x, target: F.kl_div(x, target, reduction="batchmean")
    o = pair_loss("kl_div", f, lambda *s: randn(*s).log_softmax(-1), lambda *s: randn(*s).softmax(-1))
    o.case("zero", f, dict(x=randn(2, 3).log_softmax(1), target=vector(0, 0.25, 0.75, 1, 0, 0).reshape(2, 3)),
           fixed=("target",))
    return o


def reshape():
    def f(x, shape):
        return x.reshape([x.shape[i] if n == 0 else n for i, n in enumerate(shape)])
    o = Fixture("reshape")
    o.case("open", f, dict(x=randn(2, 3, 4)), dict(shape=(4, -1)))
    o.case("kept", f, dict(x=randn(2, 3, 4)), dict(shape=(0, 12)))
    return o


def flatten():
    def f(x, start_dim=1, end_dim=-1):
        return torch.flatten(x, start_dim, end_dim)
    o = Fixture("flatten")
    o.case("default", f, dict(x=randn(2, 3, 4, 5)))
    o.case("middle", f, dict(x=randn(2, 3, 4, 5)), dict(start_dim=-3, end_dim=2))
    return o


def permute():
    o = Fixture("permute")
    o.case("three", lambda x, dims: x.permute(dims), dict(x=randn(2, 3, 4)), dict(dims=(2, 0, 1)))
    o.case("negative", lambda x, dims: x.permute(dims), dict(x=randn(1, 17, 3, 2)), dict(dims=(0, -1, 1, 2)))
    return o


def slices():
    def f(x, dim, start=0, stop=None, step=1):
        return x.index_select(dim, torch.arange(x.shape[dim])[slice(start, stop, step)])
    o = Fixture("slice")
    o.case("steps", f, dict(x=randn(2, 7, 3)), dict(dim=1, start=1, stop=6, step=2))
    o.case("from_the_end", f, dict(x=randn(1, 17, 3)), dict(dim=-2, start=-4, stop=-1))
    o.case("beyond", f, dict(x=randn(5, 2)), dict(dim=0, start=-9, stop=9, step=3))
    o.case("open", f, dict(x=randn(5, 2)), dict(dim=0, start=2))
    return o


def pad():
    def f(x, pads, value=0.0):
        return F.pad(x, pads, "constant", value)
    o = Fixture("pad")
    o.case("one_dim", f, dict(x=randn(2, 3, 4)), dict(pads=(1, 2), value=0.5))
    o.case("three_dims", f, dict(x=randn(1, 3, 2, 5)), dict(pads=(0, 1, 2, 0, 3, 1)))
    return o


def concat():
    def f(dim, **inputs):
        return torch.cat(list(inputs.values()), dim)
    o = Fixture("concat")
    o.case("two", f, dict(a=randn(2, 3, 4), b=randn(2, 1, 4)), dict(dim=1))
    o.case("three", f, dict(a=randn(1, 3, 5, 2), b=randn(1, 17, 5, 2), c=randn(1, 1, 5, 2)), dict(dim=-3))
    o.case("eight", f, {k: randn(2, 3) for k in "abcdefgh"}, dict(dim=0))
    return o


def dropout():
    """PyTorch draws other numbers, so only what draws none is comparable; test_ops.c has the rest."""
    def f(x, p=0.5, training=0):
        return F.dropout(x, p, bool(training))
    o = Fixture("dropout")
    o.case("evaluation", f, dict(x=randn(3, 17)), dict(p=0.3))
    o.case("keeps_all", f, dict(x=randn(3, 17)), dict(p=0.0, training=1))
    return o


def reduction(name, f):
    o = Fixture(name)
    o.case("all", f, dict(x=randn(3, 4, 5)))
    o.case("one", f, dict(x=randn(3, 17, 2)), dict(dims=(1,)))
    o.case("two", f, dict(x=randn(3, 4, 5, 2)), dict(dims=(-1, 0)))
    o.case("kept", f, dict(x=randn(3, 4, 5)), dict(dims=(0, 2), keepdim=1))
    return o


def dims_of(x, dims):
    return dims or tuple(range(x.dim()))


def cross_entropy():
    def f(logits, target, label_smoothing=0.0):
        return F.cross_entropy(logits, target, label_smoothing=label_smoothing)
    o = Fixture("cross_entropy")
    o.case("odd", f, dict(logits=randn(7, 17) * 4, target=torch.randint(0, 17, (7,))))
    o.case("one_row", f, dict(logits=randn(1, 3), target=torch.tensor([2])))
    o.case("sure", f, dict(logits=randn(4, 5) * 200, target=torch.tensor([0, 4, 1, 2])))
    o.case("smooth", f, dict(logits=randn(7, 17) * 4, target=torch.randint(0, 17, (7,))), dict(label_smoothing=0.1))
    o.case("uniform", f, dict(logits=randn(3, 5), target=torch.tensor([0, 4, 1])), dict(label_smoothing=1.0))
    return o


def count_correct():
    def f(logits, target):
        return (logits.argmax(1) == target).sum().double()
    o = Fixture("count_correct")
    logits = randn(40, 3)
    o.case("random", f, dict(logits=logits, target=torch.randint(0, 3, (40,))))
    return o


def sgd_update():
    """Three steps of torch.optim.SGD, each a case: h is lr, momentum, weight decay; m starts at zero."""
    o = Fixture("sgd_update")
    for kind, momentum, nesterov, decay in (
            ("plain", 0.0, 0, 0.0), ("decay", 0.0, 0, 5e-4), ("momentum", 0.9, 0, 0.0),
            ("momentum_decay", 0.9, 0, 5e-4), ("nesterov", 0.9, 1, 1e-2)):
        p = randn(17)
        opt = torch.optim.SGD([p], lr=0.1, momentum=momentum, nesterov=bool(nesterov), weight_decay=decay)
        m = torch.zeros_like(p)
        for step in range(3):
            case = f"{kind}{step + 1}"
            opt.param_groups[0]["lr"] = lr = 0.1 / (step + 1)
            p.grad = randn(17)
            o.put(case, "in", "p", p.clone())
            o.put(case, "in", "g", p.grad.clone())
            if momentum:
                o.put(case, "in", "m", m.clone())
            o.put(case, "in", "h", np.array([lr, momentum, decay]))
            o.put(case, "attr", "nesterov", np.array([nesterov]))
            opt.step()
            o.put(case, "after", "p", p.clone())
            if momentum:
                m = opt.state[p]["momentum_buffer"].clone()
                o.put(case, "after", "m", m)
    return o


def adam_update():
    """Three steps of torch.optim.Adam or AdamW, each a case: m and v start at zero, step t has 1 - beta^t in h."""
    o = Fixture("adam_update")
    for kind, optimizer, betas, eps, decay in (
            ("adam", torch.optim.Adam, (0.9, 0.999), 1e-8, 0.0), ("adam_decay", torch.optim.Adam, (0.8, 0.99), 1e-6, 1e-2),
            ("adamw", torch.optim.AdamW, (0.9, 0.999), 1e-8, 1e-2)):
        p = randn(17)
        opt = optimizer([p], lr=0.1, betas=betas, eps=eps, weight_decay=decay)
        m, v = torch.zeros_like(p), torch.zeros_like(p)
        for t in (1, 2, 3):
            case = f"{kind}{t}"
            opt.param_groups[0]["lr"] = lr = 0.1 / t
            p.grad = randn(17)
            for name, value in dict(p=p, g=p.grad, m=m, v=v).items():
                o.put(case, "in", name, value.clone())
            o.put(case, "in", "h", np.array([lr, *betas, eps, decay, 1 - betas[0] ** t, 1 - betas[1] ** t]))
            o.put(case, "attr", "decoupled", np.array([int(optimizer is torch.optim.AdamW)]))
            opt.step()
            m, v = opt.state[p]["exp_avg"].clone(), opt.state[p]["exp_avg_sq"].clone()
            for name, value in dict(p=p, m=m, v=v).items():
                o.put(case, "after", name, value.clone())
    return o


def main():
    os.makedirs(HERE, exist_ok=True)
    for fixture in (
        conv2d(), linear(), matmul(), batch_norm(), max_pool2d(), global_avg_pool2d(), relu(),
        pointwise("add", lambda a, b: a + b, BROADCAST), pointwise("mul", lambda a, b: a * b, BROADCAST),
        reshape(), flatten(),
        reduction("sum", lambda x, dims=(), keepdim=0: torch.sum(x, dims_of(x, dims), bool(keepdim))),
        reduction("mean", lambda x, dims=(), keepdim=0: torch.mean(x, dims_of(x, dims), bool(keepdim))),
        cross_entropy(), count_correct(), sgd_update(), adam_update(),
        avg_pool2d(), adaptive("adaptive_avg_pool2d", lambda x, output_size: F.adaptive_avg_pool2d(x, output_size)),
        adaptive("adaptive_max_pool2d", lambda x, output_size: F.adaptive_max_pool2d(x, output_size)),
        permute(), slices(), pad(), concat(), dropout(),
        binary("sub", lambda a, b: a - b), binary("div", lambda a, b: a / b, b=positive), power(),
        extreme("maximum", lambda a, b: torch.maximum(a, b)), extreme("minimum", lambda a, b: torch.minimum(a, b)),
        *(comparison(name, getattr(torch, name)) for name in ("gt", "ge", "lt", "le", "eq", "ne")), where(),
        unary("exp", torch.exp, large=(-1000, -30, 80)), unary("log", torch.log, positive, tiny=(1e-30, 1e30)),
        unary("sqrt", torch.sqrt, positive, tiny=(1e-30, 1e30)), unary("abs", torch.abs, zero=(-1, -0.0, 0, 2)),
        unary("sigmoid", torch.sigmoid, large=(-1000, -30, 0, 30, 1000)),
        unary("tanh", torch.tanh, large=(-1000, -10, 0, 10, 1000)), clamp(),
        along_dim("softmax", lambda x, dim: x.softmax(dim)), along_dim("log_softmax", lambda x, dim: x.log_softmax(dim)),
        pair_loss("mse_loss", lambda x, target: F.mse_loss(x, target), randn, randn),
        binary_cross_entropy(), binary_cross_entropy_with_logits(), kl_div(),
        layer_norm(), gelu(), stochastic_depth(), unary("silu", F.silu, large=(-1000, -30, 0, 30, 1000)),
        unary("relu6", F.relu6, bounds=(-1, -0.0, 0, 3, 6, 7)),
        unary("hardswish", F.hardswish, bounds=(-4, -3, 0, 2, 3, 4)),
        unary("hardsigmoid", hardsigmoid, bounds=(-4, -3, 0, 2, 3, 4)),
    ):
        fixture.write()


if __name__ == "__main__":
    main()
