#!/usr/bin/env python3
"""Seeds of fuzz_npy and fuzz_npz: one small file for each branch of the readers, named by what it shows. Needs nothing but
Python; run it in tests/fuzz after changing it, and keep the files."""
import io
import pathlib
import struct
import zipfile


def put(name, data):
    path = pathlib.Path("corpus") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def npy(dict_text, data=b"", version=(1, 0), length=None, end=b"\n", pad=True):
    text = dict_text if isinstance(dict_text, bytes) else dict_text.encode("latin1")
    prefix = 10 if version[0] == 1 else 12
    if pad:
        text += b" " * (-(prefix + len(text) + len(end)) % 64)
    text += end
    n = len(text) if length is None else length
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version[0] == 1 else "<I", n) + text + data


def array(descr="'<f4'", order="False", shape="(2,)", data=bytes(8), **more):
    return npy(f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}", data, **more)


put("npy/nothing", b"")
put("npy/mark-cut", b"\x93NUM")
put("npy/version-cut", b"\x93NUMPY\x01")
put("npy/length-cut", b"\x93NUMPY\x02\0\x10\0")
put("npy/version-4", array(version=(4, 0)))
put("npy/version-1-1", array(version=(1, 1)))
put("npy/version-2", array(version=(2, 0)))
put("npy/version-3", array(version=(3, 0)))
put("npy/header-longer-than-file", array(length=9999))
put("npy/header-over-limit", array(version=(2, 0), length=1 << 30))
put("npy/header-no-end", array(end=b" "))
put("npy/header-not-padded", array(pad=False))
for kind, size in [("<f4", 4), (">f4", 4), ("<f8", 8), (">f8", 8), ("<f2", 2), (">f2", 2), ("<i8", 8), (">i8", 8), ("<i4", 4), ("|u1", 1),
                   ("|b1", 1), ("|i1", 1), ("<i2", 2), (">i2", 2), ("<u2", 2), ("<u4", 4), (">u4", 4)]:
    put("npy/" + kind.translate(str.maketrans("<>|", "lbn")), array(f"'{kind}'", data=bytes(range(2 * size)) if size > 1 else b"\0\1"))
put("npy/bool-2", array("'|b1'", data=b"\1\2"))
put("npy/nan", array(data=b"\0\0\xc0\x7f\0\0\x80\xff"))
for name, descr in [("object", "'|O'"), ("complex", "'<c8'"), ("text", "'<U3'"), ("bytes", "'|S3'"), ("void", "'|V2'"), ("u8", "'<u8'"),
                    ("date", "'<M8[ns]'"), ("fields", "[('x', '<f4')]"), ("no-order", "'f4'"), ("native", "'=f4'"), ("no-text", "3")]:
    put("npy/descr-" + name, array(descr))
for name, shape in [("scalar", "()"), ("number", "(2)"), ("list", "[2]"), ("negative", "(-2,)"), ("real", "(2.0,)"), ("zeros", "(02,)"),
                    ("huge", "(4294967296, 4294967296)"), ("overflow", "(99999999999999999999,)"), ("nine", "(1,1,1,1,1,1,1,1,2)"),
                    ("eight", "(1,1,1,1,1,1,1,2)"), ("two-commas", "(2,,)"), ("no-end", "(2,"), ("empty-and-huge", "(0, 4611686018427387904)")]:
    put("npy/shape-" + name, array(shape=shape, data=bytes(4) if name == "scalar" else bytes(8)))
put("npy/empty", array(shape="(0, 5)", data=b""))
put("npy/fortran", array("'>i2'", "True", "(2, 3)", bytes(range(12))))
put("npy/fortran-deep", array("'|u1'", "True", "(2, 3, 4)", bytes(range(24))))
put("npy/order-word", array(order="Maybe"))
put("npy/cut", array(data=bytes(7)))
put("npy/more", array(data=bytes(9)))
put("npy/key-twice", npy("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", bytes(8)))
put("npy/key-unknown", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1, }", bytes(8)))
put("npy/key-missing", npy("{'descr': '<f4', 'shape': (2,), }", bytes(8)))
put("npy/key-order", npy('{"shape":(2,),"fortran_order":True,"descr":"<f4"}', bytes(8)))
put("npy/no-dict", npy("[]", bytes(8)))
put("npy/escape", npy("{'desc\\x72': '<f4', 'fortran_order': False, 'shape': (2,), }", bytes(8)))


def npz(members, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, data in members:
            z.writestr(zipfile.ZipInfo(name), data, method)
    return out.getvalue()


good = array()
two = [("a.npy", good), ("b.npy", array("'|i1'", data=b"\1\xff"))]
put("npz/nothing", b"")
put("npz/no-members", npz([]))
put("npz/stored", npz(two))
put("npz/deflated", npz(two, zipfile.ZIP_DEFLATED))
put("npz/turned", npz([("x/y.npy", array("'<f8'", "True", "(2, 2)", bytes(32)))], zipfile.ZIP_DEFLATED))
put("npz/no-name", npz([(".npy", good)]))
put("npz/utf8", npz([("\u03b1.npy", good)]))
put("npz/text", npz([("a.txt", b"text")]))
put("npz/member-empty", npz([("a.npy", b"")]))
put("npz/member-no-npy", npz([("a.npy", b"text and more of it")]))
put("npz/member-cut", npz([("a.npy", good[:-1])]))
put("npz/member-header-cut", npz([("a.npy", good[:40])], zipfile.ZIP_DEFLATED))
put("npz/member-object", npz([("a.npy", array("'|O'"))]))
put("npz/member-bool", npz([("a.npy", array("'|b1'", data=b"\1\7"))]))
put("npz/twice", npz([("a.npy", good), ("a.npy", good)]))
put("npz/checksum", npz(two).replace(bytes(8), b"\1" + bytes(7), 1))
put("npz/damaged", npz(two, zipfile.ZIP_DEFLATED)[:50] + b"\xff\xff" + npz(two, zipfile.ZIP_DEFLATED)[52:])
put("npz/cut", npz(two)[:-30])


def force64():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        with z.open(zipfile.ZipInfo("a.npy"), "w", force_zip64=True) as f:
            f.write(good)
    return out.getvalue()


put("npz/zip64", force64())
