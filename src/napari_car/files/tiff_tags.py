"""The tags of a TIFF: which describe the picture, and what they say of each page."""

from __future__ import annotations

import logging
import struct
from collections.abc import Collection, Iterator
from itertools import islice
from typing import IO

from PIL import Image

from napari_car.files.exif import exif_block, exif_dpi, value_of
from napari_car.files.iptc import resources_within
from napari_car.files.metadata import Metadata
from napari_car.files.pillow import silent_log

_log = logging.getLogger(__name__)

ICC, XMP, IPTC, PHOTOSHOP = 34675, 700, 33723, 34377
# Source: Adobe Photoshop TIFF Technical Notes (2002), "ImageSourceData": the layers, which its programs show instead
_LAYERS = 37724
# Tags that describe how the pixels lie in the file; all others describe the picture and are kept.
# Source: TIFF 6.0, appendix A
STRUCTURE = {
    *range(254, 260), 262, 263, 264, 265, 266, 273, *range(277, 285), *range(288, 294), 296, 317, 318,
    *range(320, 326), 330, 332, *range(338, 343), 347, *range(512, 522), *range(529, 533),
    XMP, IPTC, ICC, PHOTOSHOP, _LAYERS,
}  # fmt: skip
_MOST_OF_PAGES = 2**24  # bytes of the tags of all pages; more are no texts of people


def read_metadata(stream: IO[bytes]) -> Metadata:
    """Return what the first directory says beside how the pixels lie."""
    tags = next(_directories(stream))
    blocks = {tag: value_of(tags, tag, b"") for tag in (ICC, XMP, IPTC, PHOTOSHOP)}
    if isinstance(blocks[IPTC], int):  # stored as 32-bit numbers by some programs; Pillow gives the first
        blocks[IPTC] = _iptc_of_numbers(stream)
    if _LAYERS in tags:
        _log.warning("left out the layers of the TIFF; the picture that they make together is what is read")
    icc, xmp, iptc, photoshop = (value if isinstance(value, bytes) else b"" for value in blocks.values())
    further_iptc, resources = resources_within(photoshop)
    dpi = exif_dpi(tags)
    return Metadata(exif=_exif(tags), icc=icc, xmp=xmp, iptc=iptc or further_iptc, photoshop=resources, dpi=dpi)


def read_page_exif(stream: IO[bytes], taken: Collection[int]) -> tuple[bytes, ...]:
    """Return the EXIF blocks of the pages of those numbers, where they say different things."""
    blocks: list[bytes] = []
    left = _MOST_OF_PAGES
    try:
        with silent_log("napari_car.files.exif"):  # which has spoken of the first
            for number, tags in enumerate(islice(_directories(stream), max(taken) + 1)):
                if number in taken and left > 0:
                    blocks.append(_exif(tags))
                    left -= len(blocks[-1])
    except Exception:  # damage, which has not kept the pixels from being read
        left = 0
    if left <= 0:
        _log.warning("left out the tags of all pages of the TIFF but the first: they are damaged or too long")
    return tuple(blocks) if left > 0 and len(set(blocks)) > 1 and len(blocks) == len(taken) else ()


def _directories(stream: IO[bytes]) -> Iterator[Image.Exif]:
    """Yield the tags of each directory of the file, one after the other, not decoded yet."""
    # Source: TIFF 6.0, section 2, and BigTIFF: a number of entries, those, and the place of the next directory
    stream.seek(0)
    header = stream.read(16)
    big = header[2:4] in (b"+\x00", b"\x00+")
    order = "<" if header[:2] == b"II" else ">"
    count, place, size = (order + "Q", order + "Q", 20) if big else (order + "H", order + "I", 12)
    (offset,) = struct.unpack_from(place, header, 8 if big else 4)
    while offset:
        tags = Image.Exif()
        tags.bigtiff, tags.endian = big, order
        tags.load_from_fp(stream, offset)
        yield tags
        stream.seek(offset)
        (n_entries,) = struct.unpack(count, stream.read(struct.calcsize(count)))
        stream.seek(n_entries * size, 1)
        (offset,) = struct.unpack(place, stream.read(struct.calcsize(place)))


def _exif(tags: Image.Exif) -> bytes:
    """Return an EXIF block of the tags of a directory that describe the picture."""
    for tag in [tag for tag in tags if tag in STRUCTURE]:
        del tags[tag]
    tags.bigtiff = False  # an EXIF block is a small TIFF wherever it came from
    return exif_block(tags)


def _iptc_of_numbers(stream: IO[bytes]) -> bytes:
    """Return IPTC records that are stored as 32-bit numbers."""
    import tifffile

    stream.seek(0)
    with silent_log("tifffile"), tifffile.TiffFile(stream) as tiff:
        return bytes(tiff.pages.first.tags[IPTC].value)
