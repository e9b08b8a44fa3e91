#!/usr/bin/python3
"""Seeds of fuzz_csv_samples: corpus/csv_samples. The first byte is options (see the target), the rest is CSV. Run by hand."""
import pathlib

SEEDS = {
    "features": b"\x11a,y,b\n1.5,x,-2e3\n.5, z ,+7\n",
    "pixels": b"\x007,0,255,1\n2,9,8,7\n7,1,2,3\n",
    "quoted": b'\x03"a","b,c"\r\n1,"x ""y"""\r\n2,z\r\n',
    "blanks": b"\x021, 2\t,3\n4,5 ,6\n",
    "bom": b"\x11\xef\xbb\xbfy,v\ncat,1\ndog,2\ncat,3\n",
    "empty_cell": b"\x01y,v\n1,\n",
    "not_finite": b"\x00a,nan\nb,1e39\nc,-1e400\n",
    "hexadecimal": b"\x00a,0x1p3\n",
    "no_rows": b"\x01y,v\n",
    "one_column": b"\x00a\nb\n",
    "ragged": b"\x00a,1\nb,1,2\n",
    "no_label": b"\x00,1\n",
    "edge_pixels": b"\x000,-0,255,256\n",
}

folder = pathlib.Path(__file__).parent / "corpus" / "csv_samples"
folder.mkdir(parents=True, exist_ok=True)
for name, data in SEEDS.items():
    (folder / name).write_bytes(data)
