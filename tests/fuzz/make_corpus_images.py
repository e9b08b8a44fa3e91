#!/usr/bin/env python3
"""Writes the seeds of fuzz_jpeg and fuzz_png, tests/fuzz/corpus/jpeg and png: one small file for each branch of a reader, named
by what it shows. Needs what tests/golden/make_images.py needs, and its encoders; run it in tests/fuzz after changing it."""
import pathlib
import random
import struct
import sys
import zlib

sys.dont_write_bytecode = True
sys.path.insert(0, "../golden")
from make_images import adobe, chunk, deep, jpeg, palette, picture, png, tiff, transparent, turbo, with_exif


def put(name, data):
    path = pathlib.Path("corpus") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


# ---- JPEG ----

small = picture(19, 13)
colour = jpeg(small, quality=50)
for name, data in {
    "nothing": b"", "start": b"\xff\xd8\xff", "420": colour, "444": jpeg(small, quality=95, subsampling=0),
    "422-progressive": jpeg(small, quality=60, subsampling=1, progressive=True), "440": turbo(small, 4, 60),
    "411": turbo(small, 5, 60), "restart": turbo(small, 2, 60, [("TJ_RESTART", "1B")]),
    "restart-progressive": turbo(small, 2, 60, [("TJ_RESTART", "1B"), ("TJ_PROGRESSIVE", "1")]),
    "arithmetic": turbo(small, 2, 60, [("TJ_ARITHMETIC", "1")]),
    "grey": jpeg(picture(9, 17, 1), quality=60), "grey-progressive": jpeg(picture(9, 17, 1), quality=60, progressive=True),
    "cmyk": jpeg(picture(16, 9, 4), "CMYK", quality=60), "ycck": adobe(jpeg(picture(16, 9, 4), "CMYK", quality=60), 2),
    "rgb": adobe(jpeg(small, quality=60, subsampling=0), 0), "exif-big-endian": with_exif(colour, 6, False),
    "exif-no-sense": with_exif(colour, 6).replace(b"II*\0", b"II+\0"), "cut": colour[:-40], "no-end": colour[:-2],
    "behind-the-end": colour + b"more", "extra-before-end": colour[:-2] + b"\0\0" + colour[-2:],
    "wide": colour.replace(struct.pack(">HH", 13, 19), struct.pack(">HH", 13, 65000)),
    "huge": colour.replace(struct.pack(">HH", 13, 19), struct.pack(">HH", 60000, 60000)),
    "no-height": colour.replace(struct.pack(">HH", 13, 19), struct.pack(">HH", 0, 19)),
    "12-bits": colour.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
}.items():
    put("jpeg/" + name, data)
for o in range(1, 9):
    put(f"jpeg/exif{o}", with_exif(colour, o))

# ---- PNG ----

dice = random.Random(2)
for kind, n, depths in (0, 1, (1, 2, 4, 8, 16)), (2, 3, (8, 16)), (3, 1, (1, 2, 4, 8)), (4, 2, (8, 16)), (6, 4, (8, 16)):
    for depth in depths:
        between = palette(1 << depth) + transparent(1) if kind == 3 else b""
        put(f"png/kind{kind}-{depth}", png(deep(11, 7, n, depth), kind, depth, False, between))
        put(f"png/kind{kind}-{depth}-interlaced", png(deep(9, 10, n, depth), kind, depth, True, between))
def sized(data, w, h):
    return data[:8] + chunk(b"IHDR", struct.pack(">II", w, h) + data[24:29]) + data[33:]


plain = png(deep(6, 5, 3, 8), 2, 8)
text = b"iCCP", b"name\0\0" + zlib.compress(bytes(3000))
for name, data in {
    "nothing": b"", "start": plain[:8], "header-cut": plain[:20], "no-pixels": plain[:33] + plain[-12:], "cut": plain[:-30],
    "no-end": plain[:-12], "behind-the-end": plain + b"more", "checksum": plain[:50] + b"xx" + plain[52:],
    "no-palette": png(deep(6, 5, 1, 4), 3, 4), "palette-short": png(deep(6, 5, 1, 4), 3, 4, False, palette(3)),
    "exif": png(deep(6, 5, 3, 8), 2, 8, False, chunk(b"eXIf", tiff(5))),
    "exif-no-sense": png(deep(6, 5, 1, 8), 0, 8, False, chunk(b"eXIf", b"MM\0*\0\0\xff\xff")),
    "profile": png(deep(6, 5, 3, 8), 2, 8, False, chunk(*text)), "gamma": png(deep(6, 5, 3, 8), 2, 8, False, chunk(b"gAMA", b"\0\0\xb1\x8f")),
    "transparent": png(deep(6, 5, 3, 8), 2, 8, False, chunk(b"tRNS", bytes(6))),
    "huge": sized(png(deep(6, 5, 1, 8), 0, 8), 10000, 10000),
    "empty": sized(plain, 0, 5),
    "more-rows": sized(png(deep(6, 9, 3, 8), 2, 8), 6, 5),
    "fewer-rows": sized(plain, 6, 9),
}.items():
    put("png/" + name, data)
