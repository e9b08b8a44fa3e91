#!/usr/bin/python3
"""What wattle.save writes, read by numpy, and for safetensors held against the reference library's rules: by hand, with
`/usr/bin/python3 tests/golden/check_npy.py build/wattle` in the root folder. Exits 1 and says what is wrong."""
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import zipfile

import numpy as np

MAKE = """
local wattle, folder = require "wattle", arg[1]
local golden = assert(wattle.load "tests/golden/numpy/all.safetensors")
local d = { u8 = golden.u8, f16 = golden.f16, f64 = golden.f64, i64 = golden.i64, f32 = golden.f32, i32 = golden.i32,
            scalar = wattle.full({}, 2.5), none = wattle.zeros{ 3, 0 }, ["layer.0/\\u{3b1}"] = wattle.ones{ 7 },
            turned = wattle.arange(6):reshape(2, 3):transpose(0, 1) }
for name, tensor in pairs(d) do
  assert(wattle.save(folder .. "/" .. name:gsub("/", "_") .. ".npy", { [name] = tensor }))
end
assert(wattle.save(folder .. "/all.npz", d))
d.bf16 = golden.bf16
assert(wattle.save(folder .. "/all.safetensors", d, { format = "pt" }))
"""


def raw(n):
    return bytes((37 * k + 11) % 256 for k in range(n))


expected = {k: np.frombuffer(raw(6 * np.dtype(t).itemsize), dtype=t).reshape(2, 3)
            for k, t in [("u8", "u1"), ("f16", "<f2"), ("f64", "<f8"), ("i64", "<i8"), ("f32", "<f4"), ("i32", "<i4")]}
expected.update({"scalar": np.float32(2.5), "none": np.zeros((3, 0), "<f4"), "layer.0/\u03b1": np.ones(7, "<f4"),
                 "turned": np.arange(6).reshape(2, 3).T})


def same(a, b):
    b = np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def check_safetensors(data):
    sizes = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "U8": 1}
    (n,) = struct.unpack("<Q", data[:8])
    text = data[8:8 + n]
    assert n <= 100_000_000 and n % 8 == 0 and text[:1] == b"{" and text.rstrip(b" ")[-1:] == b"}"
    header = json.loads(text.decode("utf-8"))
    assert header.pop("__metadata__") == {"format": "pt"}
    at = 0
    for name, t in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = t["data_offsets"]
        assert set(t) == {"dtype", "shape", "data_offsets"} and begin == at and begin % sizes[t["dtype"]] == 0, name
        assert end - begin == int(np.prod(t["shape"])) * sizes[t["dtype"]], name
        if name in expected:
            assert data[8 + n + begin:8 + n + end] == np.ascontiguousarray(expected[name]).tobytes(), name
        at = end
    assert at == len(data) - 8 - n and set(header) == set(expected) | {"bf16"}


with tempfile.TemporaryDirectory() as folder:
    script = pathlib.Path(folder) / "make.lua"
    script.write_text(MAKE)
    subprocess.run([sys.argv[1], str(script), folder], check=True)
    with np.load(folder + "/all.npz", allow_pickle=False) as z:
        assert sorted(z.keys()) == sorted(expected)
        for name in expected:
            assert same(z[name], expected[name]), name
    assert zipfile.ZipFile(folder + "/all.npz").testzip() is None
    for name in expected:
        assert same(np.load(f"{folder}/{name.replace('/', '_')}.npy", allow_pickle=False), expected[name]), name
    check_safetensors((pathlib.Path(folder) / "all.safetensors").read_bytes())
print(f"{len(expected)} arrays: .npy and .npz load in numpy {np.__version__}, the safetensors file follows the rules")
