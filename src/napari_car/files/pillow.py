"""From a file to a plain Pillow image: limits checked first, odd colour modes made plain."""

from __future__ import annotations

import io
import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, PngImagePlugin

from napari_car.errors import FileError
from napari_car.files.cost import check_reading
from napari_car.files.png import UNPACKED_MOST
from napari_car.files.surface import pixels_of

READABLE = ("JPEG", "PNG", "TIFF", "WEBP", "AVIF", "GIF", "BMP", "PPM")
# deflate yields at most 1032 bytes a byte (RFC 1951), hence 8256 pixels of one bit; a JPEG less
_PIXELS_PER_BYTE = 8256
_MAX_SCANS = 200  # encoders write about ten a picture; a thumbnail and further pictures may add theirs
# Source: ITU-T T.81, table B.1, and B.1.1.5: neither bytes of coded data nor the restart markers in it
_SCAN, _END, _MARKER = b"\xff\xda", b"\xff\xd9", re.compile(rb"\xff[^\x00\xff\xd0-\xd8]")
_MAX_SEGMENTS = 100_000  # which take a tenth of a second
_limit_lock = threading.RLock()
_stderr_lock = threading.Lock()


def open_image(stream: IO[bytes], max_pixels: int, max_memory: int | None) -> Image.Image:
    """Open an image and check what its header claims; nothing is decoded yet."""
    with without_pillow_limit():
        image = Image.open(stream, formats=READABLE)
    check_size(*image.size, max_pixels)
    check_reading(image, max_memory)
    if image.format not in ("TIFF", "WEBP", "AVIF"):  # which may state a plain surface in a few bytes
        check_ratio(*image.size, stream)
    if image.format in ("JPEG", "MPO"):
        _check_scans(stream)
    return image


@contextmanager
def without_pillow_limit() -> Iterator[None]:
    """Lift the limits of Pillow, which are global; that of pixels is the caller's."""
    with _limit_lock:
        theirs = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
        Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = None, UNPACKED_MOST
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = theirs


def check_size(width: int, height: int, max_pixels: int, pages: int = 1) -> None:
    """Refuse a claim of more pixels than allowed."""
    if width * height * pages > max_pixels:
        claim = f"{width} x {height}" + (f" x {pages} pages" if pages > 1 else "")
        raise FileError(f"claims {claim} pixels, more than the limit of {max_pixels}")


def check_ratio(width: int, height: int, stream: IO[bytes]) -> None:
    """Refuse a claim of more pixels than the bytes of the file can hold."""
    n_bytes = _size(stream)
    if width * height > n_bytes * _PIXELS_PER_BYTE:
        raise FileError(f"is truncated: {n_bytes} bytes cannot hold the {width} x {height} pixels it claims")


def check_stored(n_bits: int, stream: IO[bytes]) -> None:
    """Refuse pixels stored as they are in fewer bytes than they take; Pillow would leave the rest black."""
    n_bytes = _size(stream)
    if n_bits > 8 * n_bytes:
        raise FileError(f"is truncated: {n_bytes} bytes cannot hold {n_bits // 8} bytes of pixels")


def _size(stream: IO[bytes]) -> int:
    """Return the size of an open file, whose position stays."""
    here = stream.tell()
    n_bytes = stream.seek(0, os.SEEK_END)
    stream.seek(here)
    return n_bytes


def _check_scans(stream: IO[bytes]) -> None:
    """Refuse a JPEG whose scans, each over all pixels, would take for ever."""
    here = stream.tell()
    stream.seek(0)
    file = stream.read()
    stream.seek(here)
    # What is behind the picture, such as the video of a telephone, has such bytes too; looking closer is slow
    if file.count(_SCAN) > _MAX_SCANS and (n_scans := _count_scans(file)) > _MAX_SCANS:
        raise FileError(f"has {n_scans} scans; a JPEG may have {_MAX_SCANS}")


def _count_scans(file: bytes) -> int:
    """Number of scans of the first picture in a JPEG file."""
    # Source: ITU-T T.81, B.1.1.2 and B.1.1.4: two bytes of length follow a marker; those below C0 are reserved, and
    # libjpeg looks for the next one right behind them
    n_scans, position = 0, 2
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(file, position)
        if found is None or found[0] == _END:
            return n_scans
        n_scans += found[0] == _SCAN
        position = found.end()
        if found[0] >= b"\xff\xc0":
            position += max(2, int.from_bytes(file[position : position + 2]))
    raise FileError(f"has more than {_MAX_SEGMENTS} segments before its picture ends")


def plain(image: Image.Image) -> Image.Image:
    """Return the image as grey, RGB or RGBA, or deep grey, with a profile that fits."""
    match image.mode:
        case "L" | "RGB" if "transparency" not in image.info:
            return image
        case "RGBA" | "F" | "I;16" | "I;16B" | "I;16L":
            return image
        case "1" if "transparency" not in image.info:
            return image.convert("L")
        case "CMYK":
            return _cmyk_to_rgb(image)
        case "1" | "L" | "RGB" | "P" | "PA" | "LA" | "La" | "RGBa":
            return image.convert("RGBA" if image.has_transparency_data else "RGB")
        case "RGBX" | "YCbCr":
            return image.convert("RGB")
        case "I" if image.format in ("PPM", "PNG"):  # 16 bits, widened by Pillow
            return image
    raise FileError(f"colour mode {image.mode} is not taken; grey, RGB, CMYK and palette are")


def _cmyk_to_rgb(image: Image.Image) -> Image.Image:
    """Convert inks to sRGB, by the file's profile where it has one that works."""
    icc = image.info.get("icc_profile")
    if icc:
        try:
            converted = ImageCms.profileToProfile(
                image, io.BytesIO(icc), ImageCms.createProfile("sRGB"),
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION, outputMode="RGB",
            )  # fmt: skip
        except (ImageCms.PyCMSError, OSError):  # a damaged profile says nothing
            converted = None
        if converted is not None:
            return converted
    converted = image.convert("RGB")
    converted.info.pop("icc_profile", None)
    return converted


def array_of(image: Image.Image) -> NDArray[Any]:
    """Return the pixels of a plain image in uint8, uint16 or float32."""
    array = pixels_of(image)
    return array.astype(np.uint16) if image.mode.startswith("I") else array


def at_full_scale(samples: NDArray[Any], maximum: int) -> NDArray[Any]:
    """Return unsigned samples of 0..``maximum`` in native order over the whole range of their dtype."""
    scaled = np.empty(samples.shape, samples.dtype.newbyteorder("="))
    factor = np.iinfo(scaled.dtype).max / maximum
    step = max(1, 2**16 // samples[0].size)
    for top in range(0, len(samples), step):  # bands, which take no floats of the whole picture
        scaled[top : top + step] = np.rint(np.minimum(samples[top : top + step], maximum) * factor)
    return scaled


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Keep libtiff from printing: it writes to the process's standard error, beside our one sentence."""
    with _stderr_lock:
        try:
            kept = os.dup(2)
        except OSError:  # no standard error, as in a program with windows only
            yield
            return
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 2)
            os.close(nowhere)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextmanager
def silent_log(name: str, level: int = logging.CRITICAL + 1) -> Iterator[None]:
    """Keep a library from logging, below a level, what ends in our one sentence or is no use to anyone."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
