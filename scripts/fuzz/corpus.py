"""Small whole files of every kind that is read, and damage done to them."""

from __future__ import annotations

import io
import random
import zlib
from collections.abc import Iterator

import numpy as np
import tifffile
from PIL import Image, ImageCms, PngImagePlugin

SIZE = 80, 56
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
"""Values at which lengths and counts go wrong."""


def whole_files() -> list[bytes]:
    """Files of every kind, none larger than some kilobytes."""
    return [*jpegs(), *pngs(), *tiffs(), *webps()]


def damaged(files: list[bytes], number: int) -> bytes:
    """One of the files after a few mutations, all by its number."""
    chance = random.Random(number)  # noqa: S311
    data = bytearray(chance.choice(files))
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        # most of what can go wrong stands at the start
        at = chance.randrange(min(len(data), chance.choice((64, 700, len(data)))) or 1)
        match chance.randrange(9):
            case 0:
                del data[chance.randrange(len(data) or 1) :]
            case 1 | 7:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 2 | 8:
                data[at : at + 1] = bytes([data[at] ^ 1 << chance.randrange(8)]) if data else b""
            case 3:
                size = chance.choice((1, 2, 4))
                value = chance.choice(INTERESTING) & (1 << 8 * size) - 1
                data[at : at + size] = value.to_bytes(size, chance.choice(("big", "little")))
            case 4:
                del data[at : at + chance.randrange(1, 40)]
            case 5:
                data[at:at] = data[at : at + chance.randrange(1, 200)]
            case 6:
                other = chance.choice(files)
                start = chance.randrange(len(other))
                data[at : at + 30] = other[start : start + chance.randrange(1, 60)]
    return bytes(data)


def picture(mode: str) -> Image.Image:
    """A picture with smooth and busy parts."""
    width, height = SIZE
    y, x = np.mgrid[:height, :width]
    planes = [np.sin(x / (3 + i)) * np.cos(y / (5 + i)) * 90 + 128 for i in range(3)]
    noise = np.random.default_rng(0).normal(0, 12, (height, width, 3))
    return Image.fromarray(np.clip(np.dstack(planes) + noise, 0, 255).astype(np.uint8)).convert(mode)


def saved(mode: str, kind: str, **options: object) -> bytes:
    """A picture in a file of Pillow's."""
    file = io.BytesIO()
    picture(mode).save(file, kind, **options)
    return file.getvalue()


def profile() -> bytes:
    """An sRGB profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif() -> bytes:
    """Some tags, one of them of rational numbers."""
    tags = Image.Exif()
    tags[274], tags[271], tags[282] = 6, "maker", 300.0
    return tags.tobytes()


def jpegs() -> Iterator[bytes]:
    """JPEG of all kinds."""
    for mode in ("RGB", "L", "CMYK"):
        yield saved(mode, "JPEG", quality=30)
    yield saved("RGB", "JPEG", quality=60, progressive=True)
    yield saved("RGB", "JPEG", quality=60, subsampling="4:4:4", optimize=True)
    yield saved("RGB", "JPEG", quality=20, restart_marker_rows=1)
    yield saved("RGB", "JPEG", icc_profile=profile(), exif=exif(), dpi=(300, 300), comment=b"a comment")


def pngs() -> Iterator[bytes]:
    """PNG of all kinds, with compressed text and profile."""
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        yield saved("L" if mode == "I;16" else mode, "PNG") if mode != "I;16" else png_of_16_bits(0)
    yield png_of_16_bits(2)
    yield png_of_16_bits(6)
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "words " * 200, zip=True)
    text.add_itxt("XML:com.adobe.xmp", "<x/>", zip=True)
    yield saved("RGB", "PNG", pnginfo=text, icc_profile=profile(), exif=exif(), dpi=(72, 72))


def png_of_16_bits(colour: int) -> bytes:
    """A PNG of 16 bits; colour 0 is grey, 2 RGB, 6 RGBA."""
    width, height = SIZE
    samples = {0: 1, 2: 3, 6: 4}[colour]
    pixels = np.random.default_rng(1).integers(0, 2**16, (height, width * samples)).astype(">u2")
    rows = b"".join(bytes([row % 5]) + pixels[row].tobytes() for row in range(height))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([16, colour, 0, 0, 0])
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiffs() -> Iterator[bytes]:
    """TIFF of all kinds."""
    for compression in ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg"):
        yield saved("RGB", "TIFF", compression=compression)
    yield saved("CMYK", "TIFF")
    yield saved("1", "TIFF", compression="group4")
    pixels = np.asarray(picture("RGB"))
    for array, options in (
        (pixels.astype(np.uint16) * 257, {"photometric": "rgb"}),
        (pixels.astype(np.float32) / 255, {"photometric": "rgb", "compression": "zlib"}),
        (pixels, {"photometric": "rgb", "tile": (16, 16)}),
        (pixels, {"photometric": "rgb", "bigtiff": True}),
        (np.stack([pixels[..., 0]] * 3), {"photometric": "minisblack"}),
    ):
        file = io.BytesIO()
        tifffile.imwrite(file, array, **options)
        yield file.getvalue()


def webps() -> Iterator[bytes]:
    """WebP of all kinds."""
    yield saved("RGB", "WEBP", quality=40)
    yield saved("RGBA", "WEBP", lossless=True)
    yield saved("RGB", "WEBP", icc_profile=profile(), exif=exif())
