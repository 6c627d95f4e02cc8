"""Reading image files."""

from __future__ import annotations

import io
import logging
import os
import re
import stat
import warnings
from dataclasses import replace
from os import PathLike
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from napari_car.errors import CarError, FileError
from napari_car.files import png
from napari_car.files.metadata import metadata_of
from napari_car.files.picture import Picture
from napari_car.files.pillow import READABLE, array_of, at_full_scale, open_image, plain
from napari_car.files.surface import in_one_piece
from napari_car.files.tiff import is_tiff, read_tiff

_log = logging.getLogger(__name__)

MAX_PIXELS = 2**28
"""Pixels that a file may claim unless the caller allows more: 268 megapixels."""

_SIGNS_OF_TRUNCATION = ("truncated", "not enough image data", "eof", "early", "no more data")
_AVIF_HEADER_MOST = 2**16  # bytes; the properties of the picture come before its data
_PPM_GAP = rb"(?:\s|#[^\n]*\n)+"
_PPM_HEADER_MOST = 2**16  # bytes: comments may be long
_PPM_HEADER = re.compile(rb"(P\d)" + (_PPM_GAP + rb"(\d+)") * 3 + rb"\s")


def read_image(
    source: str | PathLike[str] | bytes, *, max_pixels: int = MAX_PIXELS, max_memory: int | None = None
) -> Picture:
    """Read an image file in the depth it is stored in, with all that it says beside the pixels.

    JPEG, PNG, TIFF, WebP, AVIF, GIF, BMP and PPM are taken. A JPEG decodes as Pillow does it by default.

    - Orientation: the pixels stay as they are stored and the EXIF tag stays with them, so that it is applied
      once, by the viewer; the 8×8 blocks of a JPEG stay on their grid.
    - Grey stays grey, 16 bits stay 16 bits; one bit becomes grey; palettes become RGB or RGBA; grey with
      alpha becomes RGBA.
    - CMYK and YCCK become sRGB, by the file's ICC profile where it has a usable one.
    - The pages of a TIFF become a stack; reduced copies and masks among them are left out. Of a JPEG that
      carries further pictures the first is read.

    Parameters
    ----------
    source
        A path, or the bytes of a file.
    max_pixels
        How many pixels, pages counted together, the header may claim; checked before anything is decoded.

    max_memory
        What the process may take in all, bytes; checked before anything is decoded.

    Returns
    -------
    Picture
        Pixels of shape (H, W), (H, W, 3) or (H, W, 4), possibly read-only or in steps of four bytes, and metadata.

    Raises
    ------
    FileError
        The file is missing, not a file, unreadable, empty, not an image, truncated, damaged, too large, too
        large for the memory allowed, an animation, or in a colour mode that is not taken.
    MissingExtraError
        A TIFF of this depth and compression needs a decoder that is not installed.

    Examples
    --------
    >>> read_image(b"P5 2 1 255 az").pixels
    array([[ 97, 122]], dtype=uint8)
    >>> read_image(b"P5 2 1 255 a")
    Traceback (most recent call last):
    ...
    napari_car.errors.FileError: is truncated: the image data end early
    """
    path = None if isinstance(source, bytes) else source
    try:
        with warnings.catch_warnings(), in_one_piece(max_pixels), _open(source) as stream:
            warnings.simplefilter("ignore")  # decoders warn of what we either refuse or can live with
            return _read(stream, max_pixels, max_memory)
    except FileError as error:
        raise type(error)(error.message, path) from error.__cause__
    except CarError:
        raise
    except Exception as error:  # decoders fail on damaged data in every way there is
        raise FileError(_sentence(error), path) from error


def _open(source: str | PathLike[str] | bytes) -> IO[bytes]:
    """Open a regular file, never a folder, pipe or device, which could block or never end."""
    if isinstance(source, bytes):
        stream: IO[bytes] = io.BytesIO(source)
        size = len(source)
    else:
        status = os.stat(source)
        if not stat.S_ISREG(status.st_mode):
            is_folder = stat.S_ISDIR(status.st_mode)
            raise FileError("is a folder, not an image file" if is_folder else "is not a regular file")
        stream, size = open(source, "rb"), status.st_size  # noqa: SIM115
    if size == 0:
        stream.close()
        raise FileError("is empty (0 bytes)")
    return stream


def _sentence(error: Exception) -> str:
    """Say in one sentence what kept a file from being read."""
    text = " ".join(str(error).split())[:200]
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return "does not exist"
        case PermissionError():
            return "no permission to read it"
        case UnidentifiedImageError():
            return f"is not an image of a kind that is read ({', '.join(READABLE)}), or its header is damaged"
        case MemoryError():
            return "does not fit into memory"
        case ValueError() if "embedded null" in text:  # byte or, since Python 3.13, character
            return "is not a possible file name"
        case OSError() if error.strerror:
            return f"cannot be read: {error.strerror}"
        case _ if any(word in text.lower() for word in _SIGNS_OF_TRUNCATION):
            return "is truncated: the image data end early"
    return f"is damaged and cannot be decoded ({text or type(error).__name__})"


def _read(stream: IO[bytes], max_pixels: int, max_memory: int | None) -> Picture:
    """Read an image from an open file."""
    if is_tiff(stream):
        return read_tiff(stream, max_pixels, max_memory)
    try:
        return _read_other(stream, max_pixels, max_memory)
    except ValueError as error:
        if "MAX_TEXT" not in str(error):  # the names of Pillow's limits
            raise
    _log.warning("left out the texts of the PNG, or its profile: they are longer than is read")
    return _read_other(png.without_texts(stream, png.UNPACKED_MOST), max_pixels, max_memory)


def _read_other(stream: IO[bytes], max_pixels: int, max_memory: int | None) -> Picture:
    """Read an image that is no TIFF."""
    image = open_image(stream, max_pixels, max_memory)
    # MPO: a JPEG with further pictures behind it, as telephones write
    kind = "JPEG" if image.format == "MPO" else str(image.format)
    if kind == "AVIF" and _is_deep_avif(stream):
        _log.warning("the AVIF has more than 8 bits a channel, of which 8 are read")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and kind != "JPEG":
        raise FileError(f"is an animation of {frames} frames; only still pictures are taken")
    image.load()
    pixels, icc = _pixels(image, stream)
    metadata = replace(metadata_of(image), icc=icc, colour=png.colour_chunks(stream) if kind == "PNG" else ())
    return Picture(pixels, metadata, kind)


def _pixels(image: Image.Image, stream: IO[bytes]) -> tuple[NDArray[Any], bytes]:
    """Return the pixels in full depth, and the profile that fits them."""
    icc = image.info.get("icc_profile") or b""
    is_opaque_grey = image.mode.startswith("I") and "transparency" not in image.info
    if image.format == "PNG" and not is_opaque_grey and png.is_deep(stream):
        return png.read_png16(stream), icc
    if image.format == "PPM" and image.mode == "RGB" and (deep := _deep_ppm(stream)) is not None:
        return deep, icc
    simple = plain(image)
    return array_of(simple), simple.info.get("icc_profile") or b""


def _is_deep_avif(stream: IO[bytes]) -> bool:
    """Say whether an AVIF has more than 8 bits a channel, which Pillow reduces to 8."""
    # Source: AV1 in ISOBMFF, 2.3.3: the second of the flags in the third byte of the configuration is high_bitdepth
    stream.seek(0)
    _, _, configuration = stream.read(_AVIF_HEADER_MOST).partition(b"av1C")
    return len(configuration) > 2 and bool(configuration[2] & 0x40)


def _deep_ppm(stream: IO[bytes]) -> NDArray[np.uint16] | None:
    """Return the pixels of a colour PPM of 16 bits, which Pillow would cut to 8; None for one of 8 bits."""
    # Source: Netpbm ppm(5): maxval above 255 means two bytes a sample, most significant first
    stream.seek(0)
    header = _PPM_HEADER.match(stream.read(_PPM_HEADER_MOST))
    if header is None:
        raise ValueError("unusual PPM header")
    width, height, maximum = (int(word) for word in header.groups()[1:])
    if maximum <= 255:
        return None
    if header[1] != b"P6":
        raise FileError("is a plain-text PPM of more than 8 bits; write it as binary PPM (P6)")
    stream.seek(header.end())
    samples = np.frombuffer(stream.read(width * height * 6), ">u2").reshape(height, width, 3)
    return at_full_scale(samples, maximum)
