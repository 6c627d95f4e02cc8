"""Files of some kilobytes that unpack to far more than they say: refused, or read without unpacking it."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_car.errors import FileError
from napari_car.files import Metadata, Picture, read_image, write_image

UNPACKED = 200_000_000
PACKED = zlib.compress(bytes(UNPACKED), 9)
SIDE = 32


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks: bytes, depth: int = 8) -> bytes:
    head = struct.pack(">IIBBBBB", SIDE, SIDE, depth, 2, 0, 0, 0)
    body = zlib.compress(bytes((1 + SIDE * 3 * depth // 8) * SIDE))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(chunks) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def tiff(dtype: type, **options: object) -> bytes:
    """A TIFF whose first part is replaced by far more zeros."""
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((SIDE, SIDE, 3), dtype), photometric="rgb", compression="zlib", **options)
    content = bytearray(file.getvalue())
    file.seek(0)
    with tifffile.TiffFile(file) as opened:
        tags = opened.pages.first.tags
        names = ("TileOffsets", "TileByteCounts") if "tile" in options else ("StripOffsets", "StripByteCounts")
        offsets, sizes = (tags[name].valueoffset for name in names)
    struct.pack_into("<I", content, offsets, len(content))
    struct.pack_into("<I", content, sizes, len(PACKED))
    return bytes(content) + PACKED


FILES = {
    "PNG text": png(chunk(b"zTXt", b"Comment\0\0" + PACKED)),
    "PNG XMP": png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + PACKED)),
    "PNG profile": png(chunk(b"iCCP", b"name\0\0" + PACKED)),
    "PNG many texts": png(*[chunk(b"zTXt", b"%d\0\0" % i + zlib.compress(bytes(900_000), 9)) for i in range(220)]),
    "PNG pixels": png(chunk(b"IDAT", PACKED)),
    "PNG deep pixels": png(chunk(b"IDAT", PACKED), depth=16),
    "TIFF pixels": tiff(np.uint8),
    "TIFF deep pixels": tiff(np.uint16),
    "TIFF float pixels": tiff(np.float32, rowsperstrip=8),
    "TIFF deep tiles": tiff(np.uint16, tile=(16, 16)),
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_a_bomb_does_not_go_off(content: bytes) -> None:
    tracemalloc.start()
    try:
        assert read_image(content).pixels.shape == (SIDE, SIDE, 3)
    except FileError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < UNPACKED / 2


@pytest.mark.parametrize("content", [FILES["TIFF deep pixels"], FILES["TIFF float pixels"], FILES["TIFF deep tiles"]])
def test_it_is_said_what_is_wrong_with_a_tiff(content: bytes) -> None:
    with pytest.raises(FileError, match="a part of it holds more than the"):
        read_image(content)


def test_a_plain_surface_of_many_pixels_needs_leave() -> None:
    file = io.BytesIO()
    Image.new("L", (8000, 8000)).save(file, "PNG")
    assert len(file.getvalue()) < 100_000
    with pytest.raises(FileError, match="more than the limit of 60000000"):
        read_image(file.getvalue(), max_pixels=60_000_000)
    with pytest.raises(FileError, match="reading it needs about"):
        read_image(file.getvalue(), max_memory=60_000_000)


def test_a_block_of_all_tags_that_there_are_takes_no_time(tmp_path: Path) -> None:
    tags = b"".join(struct.pack("<HHII", tag, 4, 1, 8) for tag in range(1, 65536))  # the directories within are itself
    metadata = Metadata(b"II*\0\10\0\0\0" + struct.pack("<H", 65535) + tags + bytes(4))
    started = time.process_time()
    for extension in ("tif", "webp", "avif"):
        write_image(tmp_path / f"a.{extension}", Picture(np.zeros((SIDE, SIDE), np.uint8), metadata))
    assert time.process_time() - started < 10
