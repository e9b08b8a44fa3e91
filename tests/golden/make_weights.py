#!/usr/bin/python3
"""Writes tests/golden/weights/: files of torch.save in both its forms, and beside each what is to be read from it, as
NAME.safetensors (tensors in order, contiguous; what the file says beside them as metadata). Run by hand with python3-torch
(1.13); the tests need only what it writes. Values are whole bit patterns, so agreement is to the bit. The legacy files
name each storage by its address, so their bytes differ from run to run, and what is read does not."""
import collections
import io
import json
import pathlib
import pickle
import struct
import warnings

import torch

warnings.simplefilter("ignore")
OUT = pathlib.Path(__file__).resolve().parent / "weights"
WIDER = {torch.bool: torch.uint8, torch.int8: torch.int32, torch.int16: torch.int32}
NAMES = {torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
         torch.int32: "I32", torch.uint8: "U8"}


def bits(t):
    t = t.detach().contiguous().reshape(-1)
    t = t.to(WIDER.get(t.dtype, t.dtype))
    return bytes(t.view(torch.int16).numpy().tobytes() if t.dtype == torch.bfloat16 else t.numpy().tobytes())


def expect(name, tensors, meta):
    header, data = {}, b""
    if meta:
        header["__metadata__"] = meta
    for key, t in tensors:
        b = bits(t)
        header[key] = {"dtype": NAMES[WIDER.get(t.dtype, t.dtype)], "shape": list(t.shape), "data_offsets": [len(data), len(data) + len(b)]}
        data += b
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    (OUT / (name + ".safetensors")).write_bytes(struct.pack("<Q", len(text)) + text + data)


def put(name, value, tensors, meta=None, protocol=2, zipped=(True, False)):
    """In both forms; they share what is expected."""
    expect(name, tensors, meta or {})
    for form in zipped:
        path = OUT / (name + (".pth" if form else ".legacy.pth"))
        torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=form)


def flat(d, prefix=""):
    return [(prefix + k, v) for k, v in d.items()]


def pattern(shape, dtype):
    """Bits that are all different, NaN and infinities of all kinds among the floats."""
    n = int(torch.tensor(shape).prod()) if shape else 1
    size = torch.tensor([], dtype=dtype).element_size()
    if dtype == torch.bool:
        return (torch.arange(n) % 3 == 0).reshape(shape)
    raw = bytes((37 * i + 11 + i // 256 * 5) % 256 for i in range(n * size))
    return torch.frombuffer(bytearray(raw), dtype=dtype).reshape(shape)


OUT.mkdir(exist_ok=True)

dtypes = {str(d).split(".")[1]: pattern((3, 5, 2), d) for d in
          (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool,
           torch.int8, torch.int16)}
dtypes["special"] = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0, 1e-45])
put("dtypes", dtypes, flat(dtypes))

x = pattern((4, 6), torch.float32)
base = torch.arange(40.0)
views = collections.OrderedDict(
    whole=x, transposed=x.t(), row=x[1], column=x[:, 2], step=x[::2, 1::2], tied=x, reshaped=x.view(2, 12), one=x[3, 5],
    zero=torch.tensor(-2.5), empty=torch.zeros(0), empty2=torch.zeros(3, 0, 2), of_empty=x[:0],
    permuted=pattern((2, 3, 4), torch.float64).permute(2, 0, 1), last=pattern((2, 3, 4, 5), torch.float32).to(memory_format=torch.channels_last),
    expanded=torch.tensor([[1.5], [2.5]]).expand(2, 3), window=base[7:19], overlapping=base.as_strided((3, 4), (2, 1), 21),
    singles=torch.arange(6.0).reshape(1, 6, 1).transpose(0, 2), deep=pattern((1, 2, 1, 2, 1, 2, 1, 3), torch.int64))
put("views", views, flat(views))

torch.manual_seed(1)
net = torch.nn.Sequential(collections.OrderedDict(conv=torch.nn.Conv2d(2, 3, 3), bn=torch.nn.BatchNorm2d(3), fc=torch.nn.Linear(5, 2)))
state = net.state_dict()
put("state_dict", state, flat(state))

optimizer = torch.optim.Adam(net.parameters(), lr=0.001)
net(torch.ones(1, 2, 3, 7)).sum().backward()
optimizer.step()
state = net.state_dict()
checkpoint = {"epoch": 12, "best": None, "lr": 0.1, "big": 2**63 - 1, "bigger": 2**64 - 1, "low": -2**63, "name": "h\u00e9", "done": True,
              "raw": b"\x00\xff", "shape": torch.Size([]), "device": torch.device("cuda:1"), "dtype": torch.float16, "from": "here",
              "optimizer": optimizer.state_dict(), "state_dict": state, "history": [[1, 2.5], [2, 1.25]], "nothing": {},
              "from_": collections.OrderedDict()}
count = sum(torch.is_tensor(v) for s in checkpoint["optimizer"]["state"].values() for v in s.values())
group = checkpoint["optimizer"]["param_groups"][0]
others = sum(len(v) if isinstance(v, (tuple, list)) else 1 for v in group.values())
put("checkpoint", checkpoint, flat(state), {
    "from": "state_dict", "epoch": "12", "best": "None", "lr": "0.1", "big": "9223372036854775807", "bigger": "0x00ffffffffffffffff",
    "low": "-9223372036854775808", "name": "h\u00e9", "done": "True", "raw": "2 bytes", "shape": "()", "device": "cuda:1",
    "dtype": "torch.float16", "_from": "here", "optimizer": f"not loaded: tensors {count}, other values {others}",
    "history": "not loaded: tensors 0, other values 4", "nothing": "{}", "from_": "{}"})

small = torch.arange(3.0)
for key in ("model", "model_state_dict", "model_ema"):
    put("under_" + key, {key: {"w": small}, "epoch": 1, "state_dict": "elsewhere"}, [("w", small)],
        {"from": key, "epoch": "1", "state_dict": "elsewhere"}, zipped=(True,))

parameter = torch.nn.Parameter(torch.arange(4.0).reshape(2, 2))
nested = {"a": [small, (small + 1, {"b": parameter, 7: small + 2})], "c": {"d": {"e": torch.tensor(5)}}, "note": "x", "sizes": torch.Size([4, 2]),
          "none": [], "p": parameter.data, -3: True}
put("nested", nested, [("a.0", small), ("a.1.0", small + 1), ("a.1.1.b", parameter), ("a.1.1.7", small + 2), ("c.d.e", torch.tensor(5)),
                       ("p", parameter)],
    {"note": "x", "sizes.0": "4", "sizes.1": "2", "none": "[]", "-3": "True"})
put("one", small, [("data", small)])
put("list", [small, small[1:]], [("0", small), ("1", small[1:])], zipped=(True,))
put("empty", {}, [])
for protocol in (3, 4, 5):
    put(f"protocol{protocol}", {"w": small, "n": 3, "raw": b"abc"}, [("w", small)], {"n": "3", "raw": "3 bytes"}, protocol)
many = {f"layer{i}.w": torch.full((1,), float(i)) for i in range(90)}  # a memo of more than 256 values
put("many", many, flat(many), zipped=(True,))

buffer = io.BytesIO()  # its members are called archive/...
torch.save({"w": small}, buffer)
(OUT / "buffer.pth").write_bytes(buffer.getvalue())
expect("buffer", [("w", small)], {})

# ---- what PyTorch 0.1 and Python 2 wrote, opcode by opcode; torch.load confirms each ----


def text(s):
    return b"U" + bytes([len(s)]) + s.encode()


def name(s):
    module, _, last = s.rpartition(".")
    return b"c" + module.encode() + b"\n" + last.encode() + b"\n"


def storage(kind, key, n):
    return b"(" + text("storage") + name("torch." + kind) + text(key) + text("cpu") + b"K" + bytes([n]) + b"NtQ"


def sizes(*n):
    return b"(" + b"".join(b"K" + bytes([i]) for i in n) + b"t"


def window(kind, key, n, offset, size, stride):
    return storage(kind, key, n) + b"K" + bytes([offset]) + sizes(*size) + sizes(*stride)


rebuilt = name("torch._utils._rebuild_tensor") + b"(" + window("FloatStorage", "1", 6, 0, (2, 3), (3, 1)) + b"tR"
hooks = name("collections.OrderedDict") + b")R"
entries = {
    "rebuilt": rebuilt,
    "parameter": name("torch.nn.parameter.Parameter") + b")\x81(" + rebuilt + b"N" + hooks + b"\x88\x89tb",
    "called": name("torch.nn.parameter.Parameter") + b"(" + rebuilt + b"tR(\x88\x89" + hooks + b"tb",
    "tensor": name("torch.FloatTensor") + b")\x81(" + window("FloatStorage", "1", 6, 1, (2, 2), (1, 2)) + b"tb",
}
pairs = b"(" + b"".join(b"(" + text(k) + v + b"l" for k, v in entries.items()) + b"l"
numbers = torch.arange(6.0) + 0.25
file = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
file += pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}, 2)
file += b"\x80\x02" + name("collections.OrderedDict") + b"(" + pairs + b"tR." + pickle.dumps(["1"], 2) + struct.pack("<q", 6) + bits(numbers)
(OUT / "python2.legacy.pth").write_bytes(file)
wanted = [("rebuilt", numbers.reshape(2, 3)), ("parameter", numbers.reshape(2, 3)), ("called", numbers.reshape(2, 3)),
          ("tensor", numbers.as_strided((2, 2), (1, 2), 1))]
found = torch.load(OUT / "python2.legacy.pth", encoding="latin1")
assert [(k, v.tolist()) for k, v in found.items()] == [(k, v.tolist()) for k, v in wanted], found
expect("python2", wanted, {})
