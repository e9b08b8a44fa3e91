#!/usr/bin/env python3
"""Writes the seeds of fuzz_zip and fuzz_pth, tests/fuzz/corpus/{zip,pth}/NAME: archives by Python's zipfile and by hand, one
for each branch of the reader, and small files of torch.save out of tests/golden/weights with pickles by hand beside them.
Needs nothing but Python; run it in tests/fuzz after changing it, and keep the files."""
import io
import pathlib
import pickle
import struct
import zipfile


def put(name, data):
    path = pathlib.Path("corpus") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def archive(members, method=zipfile.ZIP_STORED, comment=b"", **open_options):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, data in members:
            with z.open(zipfile.ZipInfo(name), "w", **open_options) as m:
                m.write(data)
        z.comment = comment
    return out.getvalue()


def deflated(members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            z.writestr(info, data)
    return out.getvalue()


class Pipe(io.RawIOBase):
    """What cannot be sought in: sizes follow the members."""

    def __init__(self):
        self.data = b""

    def writable(self):
        return True

    def write(self, b):
        self.data += bytes(b)
        return len(b)


pipe = Pipe()
with zipfile.ZipFile(pipe, "w") as z:
    z.writestr(zipfile.ZipInfo("a"), b"bytes")
two = [("a", b"one"), ("folder/b", b"two, longer")]
put("zip/stored", archive(two))
put("zip/deflated", deflated([("a", b"one" * 100), ("b", bytes(3000)), ("c", bytes(range(256)))]))
put("zip/zip64-member", archive(two, force_zip64=True))
put("zip/comment", archive(two, comment=b"a comment"))
put("zip/none", archive([]))
put("zip/empty-member", archive([("a", b"")]))
put("zip/sizes-follow", pipe.data)
put("zip/many", archive([(f"m{i}", bytes([i])) for i in range(40)]))
put("zip/cut", archive(two)[:-5])
put("zip/nothing", b"")


def zip64(members):
    """With the zip64 end record, as PyTorch writes it."""
    data = archive(members)
    at, (n, size, begin) = len(data) - 22, struct.unpack("<HII", data[-12:-2])
    record = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, n, n, size, begin)
    return data[:at] + record + b"PK\6\7" + struct.pack("<IQI", 0, at, 1) + data[at:]


put("zip/zip64-end", zip64(two))

# ---- torch.save ----

golden = pathlib.Path("../golden/weights")
for file in sorted(golden.glob("*.pth")):
    if file.stat().st_size < 6000:
        put("pth/" + file.name.replace(".pth", ""), file.read_bytes())


def torch_zip(pkl, **storages):
    members = [("archive/data.pkl", pkl), ("archive/byteorder", b"little")]
    members += [("archive/data/" + k[1:], v) for k, v in storages.items()] + [("archive/version", b"3\n")]
    return zip64(members)


def legacy(pkl, keys, *storages):
    out = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    return out + pkl + pickle.dumps(keys, 2) + b"".join(struct.pack("<q", len(s) // 4) + s for s in storages)


def tensor(kind=b"Float", key=b"0", n=6, offset=0, size=b"K\x06\x85", stride=b"K\x01\x85"):
    storage = b"(U\7storagectorch\n" + kind + b"Storage\nU" + bytes([len(key)]) + key + b"U\3cpuK" + bytes([n]) + b"tQ"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K" + bytes([offset]) + size + stride + b"\x89ccollections\nOrderedDict\n)RtR"


floats = struct.pack("<6f", *range(6))
put("pth/by-hand", torch_zip(b"\x80\2}U\1w" + tensor() + b"s.", k0=floats))
put("pth/by-hand-legacy", legacy(b"\x80\2}U\1w" + tensor() + b"s.", ["0"], floats))
put("pth/window", torch_zip(b"\x80\2}U\1w" + tensor(offset=1, size=b"K\2K\2\x86", stride=b"K\1K\2\x86") + b"s.", k0=floats))
put("pth/expanded", torch_zip(b"\x80\2" + tensor(size=b"K\x09K\x06\x86", stride=b"K\0K\1\x86") + b".", k0=floats))
put("pth/system", torch_zip(b"cos\nsystem\n(U\4echotR."))
put("pth/protocol0", torch_zip(b"(dp0\nS'a'\np1\nI01\nsS'b'\np2\nL5L\nsV c\nF1.5\nsS'd'\n(lp3\nI7\nasg1\nNs."))
put("pth/bytes", torch_zip(b"\x80\2}(U\1ac_codecs\nencode\nX\2\0\0\0\xc3\xbfX\6\0\0\0latin1\x86RU\1bc__builtin__\nbytes\n)RU\1cC\2xyu."))
put("pth/set", torch_zip(b"\x80\4\x8f(K\1\x90."))
put("pth/cycle", torch_zip(b"\x80\2]q\0h\0a."))
put("pth/doubling", torch_zip(b"\x80\2]q\0" + b"".join(b"]q" + bytes([i + 1]) + b"(h" + bytes([i]) * 1 + b"h" + bytes([i]) + b"e" for i in range(40)) + b"."))
put("pth/deep", torch_zip(b"\x80\2" + b"]" * 200 + b"a" * 199 + b"."))
put("pth/deflated", deflated([("x/data.pkl", b"\x80\2}U\1w" + tensor() + b"s."), ("x/data/0", floats), ("x/version", b"3\n")]))
put("pth/big-endian", torch_zip(b"\x80\2}.").replace(b"little", b"bigend"))
