#!/usr/bin/python3
"""Writes tests/golden/images: pictures made from formulas, of every type that core/data reads, and images.csv, what Pillow
makes of them: decoded, and scaled in several ways. Needs Debian 12's python3-pil (9.4), python3-numpy, python3-torchvision and
libturbojpeg0 (for 4:4:0, 4:1:1 and restart markers, which Pillow does not write). Run it by hand after changing
it: ./make_images.py

Columns of images.csv: file, mode (L or RGB), height, width (after EXIF), how, out_height, out_width, sha256, sample.
how: "decode"; "FILTER SIZE" scales the shorter side to SIZE; "FILTER SIZE CROP" also crops the centre; "FILTER HxW";
"FILTER HxW L,T,R,B" from that box. sha256 is core.sha256_dict's of {image = u8 (C,H,W)}: of its name, type, shape and bytes.
sample: 12 of those bytes, at (i * numel) // 12.
normalized.csv: file, mean and sd of all numbers and 12 of them after torchvision's Resize(256), CenterCrop(224), ToTensor and
Normalize with ImageNet's means and deviations, as everyone evaluates with."""
import csv
import ctypes
import hashlib
import io
import pathlib
import random
import struct
import warnings
import zlib

import numpy as np
import PIL
from PIL import Image, ImageOps

assert PIL.__version__ == "9.4.0", "the pictures are to be those of Pillow 9.4"
warnings.simplefilter("ignore")
folder = pathlib.Path(__file__).resolve().parent / "images"
rng = np.random.default_rng(1)
dice = random.Random(1)


def picture(w, h, channels=3, noise=4):
    """Waves, a disc with a sharp edge and a little noise: (h, w, channels), or (h, w)."""
    y, x = np.mgrid[0:h, 0:w]
    waves = [127 + 110 * np.sin((k + 1) * x / 19 + y / (11 + 5 * k) + k) for k in range(channels)]
    a = np.stack(waves, -1)
    a[(x - w / 2) ** 2 + (y - h / 3) ** 2 < (min(w, h) / 5) ** 2] = [230, 40, 90, 20][:channels]
    a = np.clip(a + rng.normal(0, noise, a.shape), 0, 255).astype(np.uint8)
    return a if channels > 1 else a[:, :, 0]


# ---- JPEG ----

def jpeg(a, mode=None, **options):
    out = io.BytesIO()
    h, w = a.shape[:2]
    Image.frombytes(mode or ("L" if a.ndim == 2 else "RGB"), (w, h), a.tobytes()).save(out, "JPEG", **options)
    return out.getvalue()


def turbo(a, subsampling, quality, environment=()):
    """What Pillow cannot write. subsampling as in turbojpeg.h: 3 is grey, 4 is 4:4:0, 5 is 4:1:1."""
    lib, libc = ctypes.CDLL("libturbojpeg.so.0"), ctypes.CDLL(None)
    lib.tjInitCompress.restype = ctypes.c_void_p
    for key, value in environment:
        libc.setenv(key.encode(), value.encode(), 1)
    handle, data, n = ctypes.c_void_p(lib.tjInitCompress()), ctypes.c_void_p(), ctypes.c_ulong()
    a = np.ascontiguousarray(a)
    assert lib.tjCompress2(handle, a.ctypes.data_as(ctypes.c_void_p), a.shape[1], 0, a.shape[0], 0, ctypes.byref(data),
                           ctypes.byref(n), subsampling, quality, 0) == 0
    out = ctypes.string_at(data, n.value)
    lib.tjFree(data)
    lib.tjDestroy(handle)
    for key, _ in environment:
        libc.unsetenv(key.encode())
    return out


def adobe(data, transform):
    """The same file with Adobe's marker instead of JFIF's: 0 RGB or CMYK, 1 YCbCr, 2 YCCK."""
    at, out = 2, b"\xff\xd8\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([transform])
    while data[at + 1] != 0xda:
        n = 2 + struct.unpack(">H", data[at + 2:at + 4])[0]
        if data[at + 1] not in (0xe0, 0xee):
            out += data[at:at + n]
        at += n
    return out + data[at:]


def tiff(orientation, little=True):
    e = "<" if little else ">"
    head = (b"II*\0" if little else b"MM\0*") + struct.pack(e + "IH", 8, 2)
    return head + struct.pack(e + "HHII", 0x0100, 4, 1, 77) + struct.pack(e + "HHIHxxI", 0x0112, 3, 1, orientation, 0)


def with_exif(data, orientation, little=True):
    block = b"Exif\0\0" + tiff(orientation, little)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]


# ---- PNG, by hand: Pillow does not write all of it ----

def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def filtered(rows, step):
    """Each row behind a filter byte, the filters in turn."""
    out, before = b"", bytes(len(rows[0]) if rows else 0)
    for y, row in enumerate(rows):
        kind, line = y % 5, bytearray(len(row))
        for i, v in enumerate(row):
            a, b, c = row[i - step] if i >= step else 0, before[i], before[i - step] if i >= step else 0
            pa, pb, pc = abs(b - c), abs(a - c), abs(a + b - 2 * c)
            paeth = a if pa <= pb and pa <= pc else b if pb <= pc else c
            line[i] = v - (0, a, b, (a + b) // 2, paeth)[kind] & 255
        out, before = out + bytes([kind]) + bytes(line), row
    return out


def png(samples, kind, depth, interlaced=False, between=b""):
    """samples (h, w, n) of 0 .. 2^depth - 1; kind: colour type; between: chunks before IDAT."""
    h, w, n = samples.shape

    def rows(part):
        if part.size == 0:
            return b""
        if depth == 16:
            lines = [r.astype(">u2").tobytes() for r in part]
        else:
            bits = np.unpackbits(part.astype(np.uint8)[..., None], axis=-1)[..., 8 - depth:]
            lines = [np.packbits(r.reshape(-1)).tobytes() for r in bits]
        return filtered(lines, max(1, n * depth // 8))

    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    raw = b"".join(rows(samples[y::dy, x::dx]) for x, y, dx, dy in passes) if interlaced else rows(samples)
    packed = zlib.compress(raw, 9)
    cut = len(packed) // 3
    head = struct.pack(">IIBBBBB", w, h, depth, kind, 0, 0, interlaced)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + between + chunk(b"IDAT", packed[:cut]) + chunk(b"IDAT", packed[cut:])
            + chunk(b"IEND", b""))


def deep(w, h, n, depth, noise=1):
    """picture() in other depths: (h, w, n)."""
    a = picture(w, h, n, noise).reshape(h, w, n).astype(np.int64)
    return a >> 8 - depth if depth <= 8 else a * 257 + rng.integers(0, 3, a.shape)


def palette(n):
    return chunk(b"PLTE", bytes(dice.randrange(256) for _ in range(3 * n)))


def transparent(n):
    return chunk(b"tRNS", bytes(dice.randrange(256) for _ in range(n)))


# ---- the pictures ----

pictures = {
    "420.jpg": jpeg(picture(500, 375), quality=80),
    "444.jpg": jpeg(picture(300, 400), quality=85, subsampling=0),
    "422-progressive.jpg": jpeg(picture(331, 257), quality=75, subsampling=1, progressive=True),
    "440.jpg": turbo(picture(300, 301), 4, 80),
    "411.jpg": turbo(picture(411, 257), 5, 80),
    "restart.jpg": turbo(picture(640, 480), 2, 60, [("TJ_RESTART", "2")]),
    "restart-progressive.jpg": turbo(picture(203, 149), 2, 90, [("TJ_RESTART", "3B"), ("TJ_PROGRESSIVE", "1")]),
    "best.jpg": jpeg(picture(130, 130), quality=100, subsampling=0),
    "worst.jpg": jpeg(picture(800, 533), quality=5),
    "grey.jpg": jpeg(picture(320, 240, 1), quality=85),
    "grey-progressive.jpg": jpeg(picture(257, 263, 1), quality=85, progressive=True, optimize=True),
    "cmyk.jpg": jpeg(picture(200, 231, 4), "CMYK", quality=60),
    "ycck.jpg": adobe(jpeg(picture(231, 200, 4), "CMYK", quality=60), 2),
    "rgb.jpg": adobe(jpeg(picture(270, 265), quality=80, subsampling=0), 0),
    "small.jpg": jpeg(picture(28, 28), quality=90),
    "narrow.jpg": jpeg(picture(17, 400), quality=90),
    "dot.jpg": jpeg(picture(1, 1), quality=90),
    "rgb8.png": png(deep(100, 90, 3, 8), 2, 8),
    "rgb8-wide.png": png(deep(300, 40, 3, 8, 0), 2, 8),
    "rgb16-interlaced.png": png(deep(65, 71, 3, 16, 0), 2, 16, True),
    "rgba8.png": png(deep(80, 75, 4, 8), 6, 8),
    "rgba16.png": png(deep(33, 50, 4, 16, 0), 6, 16),
    "grey1.png": png(deep(123, 77, 1, 1), 0, 1),
    "grey2-interlaced.png": png(deep(121, 90, 1, 2), 0, 2, True),
    "grey4.png": png(deep(90, 121, 1, 4), 0, 4, between=chunk(b"tRNS", b"\0\3")),
    "grey8.png": png(deep(120, 110, 1, 8), 0, 8),
    "grey16.png": png(rng.integers(0, 300, (40, 50, 1)), 0, 16), # Pillow cuts at 255
    "greya8-interlaced.png": png(deep(70, 61, 2, 8), 4, 8, True),
    "greya16.png": png(deep(51, 53, 2, 16, 0), 4, 16),
    "palette8.png": png(deep(111, 100, 1, 8), 3, 8, between=palette(256) + transparent(100)),
    "palette4-interlaced.png": png(deep(90, 91, 1, 4), 3, 4, True, palette(16)),
    "palette2.png": png(deep(95, 90, 1, 2), 3, 2, between=palette(4) + transparent(2)),
    "palette1.png": png(deep(90, 95, 1, 1), 3, 1, between=palette(2)),
    "palette-short.png": png(deep(60, 50, 1, 4), 3, 4, between=palette(9)), # indices beyond it
    "turned.png": png(deep(60, 50, 3, 8), 2, 8, between=chunk(b"eXIf", tiff(6))),
    "gamma.png": png(deep(60, 50, 3, 8), 2, 8, between=chunk(b"gAMA", struct.pack(">I", 45455))),
}
for o in range(1, 9):
    pictures[f"exif{o}.jpg"] = with_exif(jpeg(picture(60, 44), quality=75), o, o % 2 == 0)

filters = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def scaled(image, how):
    if how == "decode":
        return image
    kind, size, *rest = how.split()
    w, h = image.size
    if "x" in size:
        out_h, out_w = map(int, size.split("x"))
        return image.resize((out_w, out_h), filters[kind], box=[float(v) for v in rest[0].split(",")] if rest else None)
    size = int(size)
    image = image.resize((size, int(size * h / w)) if w <= h else (int(size * w / h), size), filters[kind])
    if rest:
        crop = int(rest[0])
        left, top = int(round((image.width - crop) / 2)), int(round((image.height - crop) / 2))
        image = image.crop((left, top, left + crop, top + crop))
    return image


def row(name, image, mode, how):
    out = np.asarray(scaled(image, how))
    planes = np.ascontiguousarray(out[None] if out.ndim == 2 else out.transpose(2, 0, 1))
    text = lambda s: struct.pack("<q", len(s)) + s.encode()
    whole = text("image") + text("u8") + struct.pack("<4q", 3, *planes.shape) + planes.tobytes()
    flat = planes.reshape(-1)
    sample = " ".join(str(flat[i * flat.size // 12]) for i in range(12))
    return [name, mode, image.height, image.width, how, planes.shape[1], planes.shape[2], hashlib.sha256(whole).hexdigest(), sample]


def normalized(image):
    from torchvision import transforms as t
    return t.Compose([t.Resize(256), t.CenterCrop(224), t.ToTensor(),
                      t.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])(image)


def main():
    folder.mkdir(exist_ok=True)
    with open(folder / "images.csv", "w", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow("file mode height width how out_height out_width sha256 sample".split())
        for name, data in sorted(pictures.items()):
            (folder / name).write_bytes(data)
            for mode in "RGB", "L":
                image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert(mode)
                w, h = image.size
                box = f"{w * 0.1:.3f},{h * 0.2:.3f},{w * 0.77:.3f},{h * 0.93:.3f}"
                hows = ["decode", "bilinear 256 224", "bicubic 256 224", "nearest 256 224"]
                if mode == "RGB":
                    hows += ["bilinear 64", "bicubic 33x57", f"bilinear 32x32 {box}", f"bicubic 64x48 {box}", f"nearest 50x40 {box}"]
                for how in hows:
                    out.writerow(row(name, image, mode, how))
    with open(folder / "normalized.csv", "w", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow("file mean sd sample".split())
        for name, data in sorted(pictures.items()):
            x = normalized(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")).numpy().reshape(-1).astype(np.float64)
            sample = " ".join(f"{x[i * x.size // 12]:.7g}" for i in range(12))
            out.writerow([name, f"{x.mean():.9g}", f"{x.std():.9g}", sample])


if __name__ == "__main__":  # tests/fuzz/make_corpus_images.py takes the encoders
    main()
