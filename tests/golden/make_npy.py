#!/usr/bin/python3
"""Writes tests/golden/numpy: files as numpy.save, savez and savez_compressed write them, and safetensors files laid out as
the reference library (huggingface/safetensors 0.4) does, which is done by hand since the library is not needed for it. Byte k
of an array's little-endian elements is (37 k + 11) mod 256, of truth values (k mod 3 == 0): tests compute the same. Run by
hand with Debian 12's numpy (1.24)."""
import json
import pathlib
import struct

import numpy as np

folder = pathlib.Path(__file__).resolve().parent / "numpy"
folder.mkdir(exist_ok=True)


def array(kind, shape):
    n = int(np.prod(shape)) * np.dtype(kind).itemsize
    if kind == "b1":
        return np.array([k % 3 == 0 for k in range(n)], dtype="b1").reshape(shape)
    return np.frombuffer(bytes((37 * k + 11) % 256 for k in range(n)), dtype="<" + kind).reshape(shape)


def big_endian(a):
    return a.byteswap().view(a.dtype.newbyteorder(">"))  # the bits of a NaN stay


def save(name, a):
    np.save(folder / name, a)


for kind in ["f4", "f8", "f2", "i8", "i4", "u1", "b1", "i1", "i2", "u2", "u4"]:
    save(kind, array(kind, (2, 3)))
for kind in ["f4", "f8", "f2", "i8", "i4", "i2", "u2", "u4"]:
    save(kind + "_big", big_endian(array(kind, (2, 3))))
save("f8_scalar", array("f8", ()))
save("i1_scalar", array("i1", ()))
save("f4_one", array("f4", (5,)))
save("f4_empty", array("f4", (0, 5)))
save("u2_empty_big", big_endian(array("u2", (3, 0, 2))))
save("f4_deep", array("f4", (1, 2, 1, 2, 1, 2, 1, 3)))
save("f4_fortran", np.asfortranarray(array("f4", (3, 4))))
save("f8_fortran", np.asfortranarray(array("f8", (2, 3, 4, 5))))
save("u4_fortran_big", np.asfortranarray(big_endian(array("u4", (4, 3)))))
save("f4_fortran_empty", np.asfortranarray(array("f4", (0, 3))))
save("f2_long", array("f2", (700,)))  # widened in several blocks' worth of one vector
for version in [(1, 0), (2, 0), (3, 0)]:
    with open(folder / f"f4_version{version[0]}.npy", "wb") as f:
        np.lib.format.write_array(f, array("f4", (2, 3)), version=version)

arrays = {
    "weight": array("f4", (4, 3)), "half": array("f2", (9,)), "mask": array("b1", (2, 2)), "layer1.0.conv/w": array("f8", (2,)),
    "\u03b1": array("i8", ()), "none": array("f4", (0,)), "turned": np.asfortranarray(array("i2", (3, 2))), "": array("u1", (5,)),
}
np.savez(folder / "stored.npz", **arrays)
np.savez_compressed(folder / "deflated.npz", **arrays)
np.savez(folder / "positions.npz", array("f4", (2,)), array("i4", (3,)))
np.savez(folder / "nothing.npz")

# ---- safetensors: by size of an element, largest first, then by name; compact JSON; spaces to a multiple of 8 ----

kinds = {"F64": "f8", "I64": "i8", "F32": "f4", "I32": "i4", "U32": "u4", "F16": "f2", "BF16": "u2", "I16": "i2", "U16": "u2", "U8": "u1",
         "I8": "i1", "BOOL": "b1"}


def safetensors(name, tensors, meta=None):
    rank = list(kinds)
    header, data = {}, b""
    if meta:
        header["__metadata__"] = meta
    for key, (dtype, shape) in sorted(tensors.items(), key=lambda t: (-np.dtype(kinds[t[1][0]]).itemsize, rank.index(t[1][0]), t[0])):
        raw = array(kinds[dtype], shape).tobytes()
        header[key] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    (folder / name).write_bytes(struct.pack("<Q", len(text)) + text + data)


safetensors("all.safetensors", {kind.lower(): (kind, (2, 3)) for kind in kinds}, {"format": "pt"})
safetensors("odd.safetensors", {"b": ("U8", (3,)), "scalar": ("F32", ()), "none": ("F32", (0, 7)), "a.weight": ("BF16", (3,)),
                                "\u03b1\n": ("F64", (1,))})
