"""Makes the files of this folder: `python tests/corpus/make.py`.

Pictures are 24 x 16 pixels unless what is bad about them is their size.
"""

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
PIXELS = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
PHOTO = Image.fromarray(PIXELS)


def encoded(image, format, **options):
    """The bytes of a picture's file."""
    stream = io.BytesIO()
    image.save(stream, format=format, **options)
    return stream.getvalue()


def png_chunk(kind, data):
    """One chunk of a PNG, with its length and its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, bits=8, colour=2, extra=b""):
    """A PNG that claims a size and holds next to nothing."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + head + extra + body + png_chunk(b"IEND", b"")


def npy(header):
    """An .npy of a header alone."""
    text = header.encode() + b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def pictures():
    """Pictures: some unusual and sound, the rest broken."""
    exif = Image.Exif()
    exif[0x0112] = 6
    palette = PHOTO.quantize(8)
    frames = [Image.fromarray(np.roll(PIXELS, shift, 0)) for shift in range(3)]
    wide = PIXELS.astype(np.uint16) * 257
    whole = encoded(PHOTO, "PNG")
    noisy = encoded(PHOTO, "JPEG", quality=95)
    yield "cmyk.jpg", encoded(PHOTO.convert("CMYK"), "JPEG")
    yield "alpha.png", encoded(PHOTO.convert("RGBA"), "PNG")
    yield "grey_alpha.png", encoded(PHOTO.convert("LA"), "PNG")
    yield "palette.png", encoded(palette, "PNG", transparency=b"\x00\x80\xff")
    yield "one_bit.png", encoded(PHOTO.convert("1"), "PNG")
    yield "turned.jpg", encoded(PHOTO, "JPEG", exif=exif)
    yield "animated.gif", encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    yield "animated.webp", encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    yield "animated.png", encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    yield "deep_colour.png", _sixteen_bits(wide)
    yield "grey16.png", encoded(Image.fromarray(wide[..., 0]), "PNG")
    yield "float.tif", encoded(Image.fromarray(PIXELS[..., 0].astype(np.float32)), "TIFF")
    yield "zero.png", b""
    yield "header_only.png", whole[:33]
    yield "truncated.png", whole[:-300]
    yield "truncated.jpg", noisy[:-200]
    yield "checksum.png", whole[:60] + b"\xff" + whole[61:]
    yield "bomb.png", png(12_000, 10_000)
    yield "large_bomb.png", png(100_000, 100_000)
    yield "negative.png", png(2**31 + 5, 3)
    yield "no_pixels.png", png(0, 16)
    yield "text_bomb.png", png(24, 16, extra=png_chunk(b"zTXt", b"k\0\0" + zlib.compress(b"\0" * 2_000_000)))
    yield "postscript.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 24 16\n%%EndComments\nshowpage\n"
    yield (
        "vector.png",
        b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    )
    yield "web_page.png", b"<!doctype html><title>404</title>"
    yield "bad_exif.jpg", noisy[:2] + b"\xff\xe1\x00\x14Exif\0\0II*\0\xff\xff\xff\xff\xff\xff\xff\xff" + noisy[2:]


def _sixteen_bits(wide):
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 24, 16, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


def arrays():
    """Masks as .npy, all broken."""
    mask = np.ones((16, 24), dtype=np.uint8)
    stream = io.BytesIO()
    np.save(stream, mask)
    whole = stream.getvalue()
    pickled = io.BytesIO()
    np.save(pickled, np.array([[{}]], dtype=object), allow_pickle=True)
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.npy"), whole)
    yield "truncated.npy", whole[:-100]
    yield "pickled.npy", pickled.getvalue()
    yield "archive.npy", zipped.getvalue()
    yield "huge.npy", npy("{'descr': '<f8', 'fortran_order': False, 'shape': (10000000, 10000000), }")
    yield "overflow.npy", npy("{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296), }")
    yield "deep_header.npy", npy("{'descr': " + "(" * 3000)
    yield "unclosed_header.npy", npy("{'descr': '''<f8, 'fortran_order': False, 'shape': (2, ")
    yield "record.npy", npy("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (0, 0), }")


def texts():
    """Annotations that are broken, or would break what reads them carelessly."""
    yield "deep.jsonl", b"[" * 5_000 + b"\n"
    yield "deep.json", b'{"images":' * 2_000
    yield (
        "numbers.jsonl",
        b'{"file_name": "a.png", "label": "cat", "click": ' + b"9" * 6000 + b"}\n",
    )
    yield "half_character.jsonl", b'{"file_name": "a.png", "label": "\\ud800"}\n'
    yield "not_utf8.jsonl", b'{"file_name": "a.png", "label": "\xff\xfe"}\n'
    yield (
        "entities.xml",
        b"".join(
            [b'<!DOCTYPE a [<!ENTITY x0 "ha">']
            + [f'<!ENTITY x{n} "{f"&x{n - 1};" * 10}">'.encode() for n in range(1, 12)]
            + [b"]><annotation><object><name>&x11;</name></object></annotation>"]
        ),
    )
    yield (
        "reads_a_file.xml",
        (
            b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
            b"<annotation><object><name>&x;</name></object></annotation>"
        ),
    )
    yield "asks_the_network.xml", b'<!DOCTYPE a SYSTEM "http://localhost:1/a.dtd"><annotation/>'
    yield "deep.xml", b"<a>" * 5_000 + b"</a>" * 5_000


def main():
    """Write every file."""
    for name, content in (*pictures(), *arrays(), *texts()):
        (HERE / name).write_bytes(content)


if __name__ == "__main__":
    main()
