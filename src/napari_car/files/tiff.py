"""TIFF of every depth: Pillow reads what it can hold whole, tifffile the rest; the writer is one for all."""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import TiffImagePlugin, UnidentifiedImageError
from PIL.ExifTags import IFD, Base

from napari_car.errors import FileError
from napari_car.files.deep_tiff import inverted, pages_by_tifffile
from napari_car.files.keywords import fitting_icc, tags_anew
from napari_car.files.metadata import Metadata
from napari_car.files.picture import Picture, turned
from napari_car.files.pillow import (
    array_of,
    at_full_scale,
    check_size,
    check_stored,
    open_image,
    plain,
    silent_stderr,
    without_pillow_limit,
)
from napari_car.files.tiff_tags import ICC, IPTC, PHOTOSHOP, STRUCTURE, XMP, read_metadata, read_page_exif

_log = logging.getLogger(__name__)

_PAGE_NUMBER = 297  # which is another one on each page of a stack
_SUBFILE_TYPE, _PREDICTOR, _SAMPLE_FORMAT, _EXTRA_SAMPLES = 254, 317, 339, 338
_STRIP = 64  # rows a strip
_LEVEL = 1  # measured as for PNG: higher levels take longer than they save


def is_tiff(stream: IO[bytes]) -> bool:
    """Say whether a file begins as TIFF or BigTIFF does."""
    stream.seek(0)
    magic = stream.read(4)
    stream.seek(0)
    return magic in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


def read_tiff(stream: IO[bytes], max_pixels: int, max_memory: int | None) -> Picture:
    """Read the pages of a TIFF, all of one shape."""
    try:
        metadata = read_metadata(stream)
    except Exception:  # damage among the tags need not touch the pixels
        _log.warning("left out the tags of the TIFF, which are damaged")
        metadata = Metadata()
    stream.seek(0)
    try:
        with silent_stderr(), without_pillow_limit():  # a TIFF is held against it once more as it loads
            pages, orientations, icc = _pages_by_pillow(stream, max_pixels, max_memory)
        metadata = replace(metadata, icc=icc)
    except UnidentifiedImageError:  # a depth that Pillow has no mode for
        pages, orientations = pages_by_tifffile(stream, max_pixels, max_memory)
    if not pages:
        raise FileError("is a TIFF without a page that can be decoded")
    if len(pages) > 1:
        metadata = replace(metadata, page_exif=read_page_exif(stream, orientations.keys()))
    if len(set(orientations.values())) > 1:  # the file that is written has one for all
        pages = [turned(page, orientation) for page, orientation in zip(pages, orientations.values(), strict=True)]
        metadata = metadata.upright()
    shapes = {(page.shape, page.dtype) for page in pages}
    if len(shapes) > 1:
        raise FileError(f"has {len(pages)} pages of different size or depth; only equal pages are taken")
    if len(pages) == 1:
        return Picture(pages[0], metadata, "TIFF")
    return Picture(np.stack(pages), metadata, "TIFF", is_stack=True)


def _pages_by_pillow(
    stream: IO[bytes], max_pixels: int, max_memory: int | None
) -> tuple[list[NDArray[Any]], dict[int, Any], bytes]:
    """Return pages, their orientations by number and the profile that fits; gives up on what Pillow would cut down."""
    image = open_image(stream, max_pixels, max_memory)
    pages: list[NDArray[Any]] = []
    orientations: dict[int, Any] = {}
    icc = b""
    n_frames = getattr(image, "n_frames", 1)
    for index in range(n_frames):
        image.seek(index)
        check_size(*image.size, max_pixels, len(pages) + 1)
        tags = getattr(image, "tag_v2", {})
        bits = tags.get(Base.BitsPerSample, (1,))
        if max(bits) > 8 and len(bits) > 1:
            raise UnidentifiedImageError
        if tags.get(_SUBFILE_TYPE, 0) & 5 and pages:  # a reduced copy or a transparency mask
            continue
        if tags.get(Base.Compression) == 1:
            check_stored(image.width * image.height * sum(bits), stream)
        orientation = tags.get(Base.Orientation, 1)
        simple = plain(image)
        pixels = array_of(simple)
        if simple.mode in ("I;16", "I;16B", "I;16L", "F"):  # which Pillow takes as they are stored
            if max(bits) < 16:
                pixels = at_full_scale(pixels, 2 ** max(bits) - 1)
            if tags.get(Base.PhotometricInterpretation) == 0:
                pixels = inverted(pixels)
        # Pillow turns a TIFF upright while it loads, and no other format; the file's own position is wanted
        page = turned(pixels, {6: 8, 8: 6}.get(orientation, orientation))
        pages.append(page.copy() if n_frames > 1 else page)  # the next page goes where this one is
        orientations[index] = orientation
        icc = icc or simple.info.get("icc_profile") or b""
    return pages, orientations, icc


def write_tiff(stream: IO[bytes], picture: Picture) -> None:
    """Write the pages one after the other, each as a directory followed by its strips."""
    # Source: TIFF 6.0, section 2: header, and the pointer chain of directories
    stream.write(struct.pack("<2sHI", b"II", 42, 0))
    pointer = 4
    blocks = picture.metadata.page_exif if len(picture.metadata.page_exif) == len(picture.pages) else ()
    directory = _directory(picture, picture.metadata.exif)
    for index, page in enumerate(picture.pages):
        if blocks:
            directory = _directory(picture, blocks[index])
        # 32 bits, whatever is needed: the directory is written again when the sizes are known
        directory.tagtype[Base.StripOffsets] = directory.tagtype[Base.StripByteCounts] = 4
        directory[Base.StripOffsets] = directory[Base.StripByteCounts] = (0,) * -(-len(page) // _STRIP)
        stream.write(b"\x00" * (stream.tell() % 2))
        start = stream.tell()
        stream.write(directory.tobytes(start))
        sizes = [stream.write(strip) for strip in _strips(page)]
        directory[Base.StripOffsets] = (0, *accumulate(sizes[:-1]))  # Pillow counts from the directory's end
        directory[Base.StripByteCounts] = tuple(sizes)
        stream.seek(start)
        body = directory.tobytes(start)
        stream.write(body)
        stream.seek(pointer)
        stream.write(struct.pack("<I", start))
        stream.seek(0, 2)
        pointer = start + 2 + 12 * int.from_bytes(body[:2], "little")


def _directory(picture: Picture, exif: bytes) -> TiffImagePlugin.ImageFileDirectory_v2:
    """Return the tags of a page, or of each, but for the place of its strips."""
    page, metadata = picture.pages[0], picture.metadata
    directory = TiffImagePlugin.ImageFileDirectory_v2(b"II*\x00\x00\x00\x00\x00")
    tags = tags_anew(exif)
    is_of_one = picture.is_stack and exif not in metadata.page_exif
    for tag, value in tags.items():
        if tag not in STRUCTURE and not (is_of_one and tag == _PAGE_NUMBER):
            directory[tag] = tags.get_ifd(tag) if tag in (IFD.Exif, IFD.GPSInfo) else value
    if metadata.comment and Base.ImageDescription not in directory:
        directory[Base.ImageDescription] = metadata.comment.encode()
    for tag, kind, block in (
        (ICC, 7, fitting_icc(metadata, picture.channels)), (XMP, 1, metadata.xmp), (IPTC, 7, metadata.iptc),
        (PHOTOSHOP, 1, metadata.photoshop),
    ):  # fmt: skip
        if block:
            directory.tagtype[tag] = kind
            directory[tag] = block
    if metadata.dpi:
        directory[Base.XResolution], directory[Base.YResolution] = metadata.dpi
        directory[Base.ResolutionUnit] = 2  # inch
    is_float = page.dtype.kind == "f"
    directory[Base.ImageWidth], directory[Base.ImageLength] = page.shape[1], page.shape[0]
    directory[Base.BitsPerSample] = (page.dtype.itemsize * 8,) * picture.channels
    directory[Base.Compression] = 8  # zlib (TIFF Technical Note 2, 2002)
    directory[Base.PhotometricInterpretation] = 1 if picture.channels == 1 else 2
    directory[Base.SamplesPerPixel] = picture.channels
    directory[Base.RowsPerStrip] = _STRIP
    directory[_PREDICTOR] = 1 if is_float else 2  # section 14: horizontal differences
    directory[_SAMPLE_FORMAT] = (3 if is_float else 1,) * picture.channels
    if picture.channels == 4:
        directory[_EXTRA_SAMPLES] = 2  # alpha, not premultiplied
    return directory


def _strips(page: NDArray[Any]) -> Iterator[bytes]:
    """Yield the compressed strips of a page."""
    for top in range(0, len(page), _STRIP):
        rows = page[top : top + _STRIP]
        strip = np.array(rows, page.dtype.newbyteorder("<"), order="C")
        if strip.dtype.kind != "f":
            strip[:, 1:] -= rows[:, :-1]
        yield zlib.compress(strip.data, _LEVEL)
