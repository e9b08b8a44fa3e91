#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets, tests/fuzz/corpus/FORMAT/NAME: one small file for each branch of a reader, named by
what it shows. Needs nothing but Python; run it in tests/fuzz after changing it, and keep the files."""
import gzip
import json
import pathlib
import struct


def put(name, data):
    path = pathlib.Path("corpus") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


# ---- IDX: two zeros, type, dimensions, sizes, elements ----

def idx(sizes, data, kind=8, ndim=None):
    n = len(sizes) if ndim is None else ndim
    return bytes([0, 0, kind, n & 255]) + b"".join(struct.pack(">I", s) for s in sizes) + data


def squeeze(data):
    return gzip.compress(data, mtime=0)


images = idx([2, 2, 3], bytes(range(12)))
put("idx/nothing", b"")
for name, kind in [("i8", 9), ("i16", 11), ("i32", 12), ("f64", 14), ("no-type", 10)]:
    put("idx/" + name, idx([2], b"\0" * 16, kind))
put("idx/no-dims", idx([], b"", ndim=0))
put("idx/nine-dims", idx([1] * 9, b"\0"))
put("idx/eight-dims", idx([1, 2] * 4, bytes(16)))
put("idx/header-cut", images[:9])
put("idx/elements-cut", images[:-3])
put("idx/one-more", images + b"x")
put("idx/over-limit", idx([1 << 20, 2], b"abc"))
put("idx/overflow", idx([0xffffffff] * 3, b"abc"))
put("idx/zero-and-huge", idx([0, 0xffffffff, 0xffffffff, 0xffffffff], b""))
put("idx/zero", idx([0, 5], b""))
put("idx/gz-cut.gz", squeeze(images)[:-9])
put("idx/gz-checksum.gz", squeeze(images)[:-6] + b"zzzzzz")
put("idx/gz-damaged.gz", squeeze(images)[:12] + b"\xff\xff\xff" + squeeze(images)[15:])
put("idx/gz-followed.gz", squeeze(images) + b"more")
put("idx/gz-half-magic.gz", squeeze(images) + b"\x1f")
put("idx/gz-elements-cut.gz", squeeze(images[:-3]))
put("idx/gz-one-more.gz", squeeze(images + b"x"))
put("idx/gz-huge.gz", squeeze(idx([1 << 19], b"abc")))
put("idx/gz-empty.gz", squeeze(b""))
put("idx/gz-long.gz", squeeze(idx([200, 200], bytes(40000))))
put("idx/gz-magic-only.gz", b"\x1f\x8b")

# ---- safetensors: u64 length, JSON header, bytes ----


def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(dtype="F32", shape=(2,), offsets=(0, 8), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


put("safetensors/nothing", b"")
put("safetensors/length-cut", b"\x08\0\0")
put("safetensors/header-over-limit", safetensors("{}", length=100000001))
put("safetensors/header-longer-than-file", safetensors("{}", length=99))
put("safetensors/header-no-object", safetensors("[1]"))
put("safetensors/header-broken", safetensors('{"a":}'))
put("safetensors/header-padded", safetensors('{"a":' + json.dumps(tensor()) + "}   ", bytes(8)))
put("safetensors/header-twice", safetensors('{"a":1,"a":2}'))
put("safetensors/header-no-utf8", safetensors(b'{"\xff":1}'))
for kind, size in [("F64", 8), ("F16", 2), ("BF16", 2), ("I64", 8), ("I32", 4), ("U8", 1)]:
    put("safetensors/" + kind.lower(), safetensors({"a": tensor(kind, (3,), (0, 3 * size))}, bytes(3 * size)))
put("safetensors/dtype-unknown", safetensors({"a": tensor("F8_E4M3", (8,))}, bytes(8)))
put("safetensors/dtype-no-text", safetensors({"a": tensor(3)}, bytes(8)))
put("safetensors/entry-no-object", safetensors({"a": 3}))
put("safetensors/entry-too-much", safetensors({"a": tensor(more=1)}, bytes(8)))
put("safetensors/entry-too-little", safetensors({"a": {"dtype": "F32", "shape": [2]}}, bytes(8)))
put("safetensors/shape-no-list", safetensors({"a": {**tensor(), "shape": 2}}, bytes(8)))
put("safetensors/shape-nine", safetensors({"a": tensor(shape=[1] * 9)}, bytes(8)))
put("safetensors/shape-negative", safetensors({"a": tensor(shape=[-2])}, bytes(8)))
put("safetensors/shape-text", safetensors({"a": tensor(shape=["2"])}, bytes(8)))
put("safetensors/shape-real", safetensors({"a": tensor(shape=[2.0])}, bytes(8)))
put("safetensors/shape-huge", safetensors({"a": tensor(shape=[1 << 40, 1 << 40])}, bytes(8)))
put("safetensors/shape-scalar", safetensors({"a": tensor(shape=[], offsets=(0, 4))}, bytes(4)))
put("safetensors/shape-zero", safetensors({"b": tensor(shape=[0], offsets=(0, 0)), "a": tensor(shape=[0, 3], offsets=(0, 0))}))
put("safetensors/offsets-one", safetensors({"a": tensor(offsets=[0])}, bytes(8)))
put("safetensors/offsets-three", safetensors({"a": tensor(offsets=[0, 8, 9])}, bytes(8)))
put("safetensors/offsets-backwards", safetensors({"a": tensor(offsets=(8, 0))}, bytes(8)))
put("safetensors/offsets-beyond", safetensors({"a": tensor(offsets=(4, 12))}, bytes(8)))
put("safetensors/offsets-short", safetensors({"a": tensor(offsets=(0, 7))}, bytes(8)))
put("safetensors/overlap", safetensors({"a": tensor(offsets=(0, 8)), "b": tensor(offsets=(4, 12))}, bytes(12)))
put("safetensors/same", safetensors({"a": tensor(), "b": tensor()}, bytes(8)))
put("safetensors/bytes-left", safetensors({"a": tensor()}, bytes(9)))
put("safetensors/bytes-without-tensors", safetensors({}, bytes(4)))
put("safetensors/order", safetensors({"b": tensor(offsets=(8, 16)), "a": tensor()}, bytes(16)))
put("safetensors/name-empty", safetensors({"": tensor()}, bytes(8)))
put("safetensors/name-long", safetensors({"n" * 300: tensor()}, bytes(8)))
put("safetensors/name-escaped", safetensors('{"\\u00e9\\n\\"\\\\\\u0001":' + json.dumps(tensor()) + "}", bytes(8)))
put("safetensors/meta-no-object", safetensors({"__metadata__": 3}))
put("safetensors/meta-no-text", safetensors({"__metadata__": {"k": 3}}))
put("safetensors/meta-escaped", safetensors({"__metadata__": {"a\nb": "\"\\\u00e9\U0001f600\x7f"}}))
put("safetensors/meta-empty", safetensors({"__metadata__": {}}))

# ---- CSV ----

put("csv/nothing", "")
put("csv/blank-lines", "\n\na,b\r\n\r\n1,2\n\n")
put("csv/bom-only", b"\xef\xbb\xbf")
put("csv/bom-part", b"\xef\xbba,b\n")
put("csv/no-end", "a,b\n1,2")
put("csv/carriage-alone", "a,b\r1,2\n")
put("csv/carriage-at-end", "a,b\n1,2\r")
put("csv/carriage-quoted", '"a\rb","c\r\nd"\n')
put("csv/nul", b"a,\0b\n")
put("csv/nul-quoted", b'a,"\0b"\n')
put("csv/quote-inside", 'a,b"c\n')
put("csv/quote-after", 'a,"b"c\n')
put("csv/quote-doubled", '"""","a""b"\n')
put("csv/spaces", ' a , "b" \n')
put("csv/tabs", "\ta\t,b\n")
put("csv/empty-fields", ",\n\"\",\n")
put("csv/one-empty", '""\n""\n')
put("csv/shorter", "a,b\n1\n")
put("csv/longer", "a\n1,2\n")
put("csv/utf8", "é,\U0001f600\n")
put("csv/long-field", "a" * 700 + ",b\n")
put("csv/many-fields", ",".join("x" * 70) + "\n" + ",".join("y" * 70) + "\n")

# ---- JSON ----

put("json/nothing", "")
put("json/object", '{"a": [1, 2.5, -0.0, true, false, null], "b": {"c": "text"}, "d": {}}')
put("json/scalars", "[0, -9223372036854775808, 9223372036854775807, 1e308, 5e-324, 0.1, 1E+2]")
put("json/strings", '["", "\\"\\\\\\/\\b\\f\\n\\r\\t", "\\u0000\\u0001\\u00e9\\ud83d\\ude00", "é"]')
put("json/number", "3")
put("json/text", '"a"')
put("json/null", "null")
put("json/twice", '{"a": 1, "a": 2}')
put("json/key-nul", '{"a\\u0000b": 1}')
put("json/key-empty", '{"": 1}')
put("json/deep", "[" * 60 + "1" + "]" * 60)
put("json/deeper", "[" * 70 + "1" + "]" * 70)
put("json/deepest", "[" * 2100 + "]" * 2100)
put("json/int-overflow", "[9223372036854775808]")
put("json/real-overflow", "[1e400]")
put("json/surrogate", '["\\ud800"]')
put("json/no-utf8", b'["\xff"]')
put("json/behind", "[1] x")
put("json/open", '{"a": [1, {')
put("json/comma", "[1,]")
put("json/literal", "nul")
