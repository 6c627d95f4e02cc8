"""TIFF of deep colour or of floats, which Pillow has no mode for, by tifffile; and what is to be done with samples."""

from __future__ import annotations

import zlib
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL.ExifTags import Base

from napari_car.errors import FileError, MissingExtraError
from napari_car.files.cost import check_reading_bytes
from napari_car.files.pillow import at_full_scale, check_ratio, check_size, silent_log

_DEFLATE = (8, 32946)  # as compression; TIFF Technical Note 2, and the code in use before it
_INFLATED_AT_ONCE = 2**20  # bytes
# As extra samples. Source: TIFF 6.0, section 18
_UNSPECIFIED, _PREMULTIPLIED = 0, 1


def pages_by_tifffile(
    stream: IO[bytes], max_pixels: int, max_memory: int | None
) -> tuple[list[NDArray[Any]], dict[int, Any]]:
    """Return the pages of a TIFF, and the orientation of each by its number."""
    try:
        import tifffile  # not wanted in memory for other formats
    except ImportError:
        raise MissingExtraError("Reading a TIFF of deep colour", "tiff") from None
    stream.seek(0)
    pages: list[NDArray[Any]] = []
    orientations: dict[int, Any] = {}
    with silent_log("tifffile"), tifffile.TiffFile(stream) as tiff:
        for index in range(len(tiff.pages)):
            page: Any = tiff.pages[index]
            if page.is_reduced and pages:
                continue
            check_size(page.imagewidth, page.imagelength, max_pixels, len(pages) + 1)
            check_ratio(page.imagewidth, page.imagelength, stream)
            check_reading_bytes(2 * page.nbytes, max_memory)  # one page as it is stored and as it is taken
            if page.compression in _DEFLATE:
                _check_inflated(stream, page)
            pages.append(_page(page))
            orientations[index] = page.tags.valueof(Base.Orientation, 1)
    return pages, orientations


def _check_inflated(stream: IO[bytes], page: Any) -> None:
    """Refuse parts that are packed to more than they can hold: tifffile alone would unpack them to the end."""
    height, width = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    most = height * width * page.samplesperpixel * -(-page.bitspersample // 8)
    for offset, size in zip(page.dataoffsets, page.databytecounts, strict=True):
        stream.seek(offset)
        inflate = zlib.decompressobj()
        n_bytes, packed = 0, stream.read(size)
        while packed and n_bytes <= most:
            n_bytes += len(inflate.decompress(packed, _INFLATED_AT_ONCE))
            packed = inflate.unconsumed_tail
        if n_bytes > most:
            raise FileError(f"is damaged: a part of it holds more than the {most} bytes of pixels that it may")


def _page(page: Any) -> NDArray[Any]:
    """Return one page of tifffile as an image array."""
    kind = str(page.photometric.name)
    if kind not in ("MINISBLACK", "MINISWHITE", "RGB"):
        raise FileError(f"is a TIFF of {kind} with {page.bitspersample} bits; at this depth grey and RGB are taken")
    try:
        array = np.asarray(page.asarray())
    except ValueError as error:
        if "imagecodecs" in str(error):
            feature = f"Reading a TIFF of deep colour compressed by {page.compression.name}"
            raise MissingExtraError(feature, "tiff") from None
        raise
    if page.planarconfig == 2 and array.ndim == 3:
        array = np.moveaxis(array, 0, 2)
    if array.shape[:2] != (page.imagelength, page.imagewidth) or array.shape[2:] not in ((), (3,), (4,)):
        raise FileError(f"is a TIFF with pages of shape {array.shape}; (H, W) and (H, W, 3 or 4) are taken")
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype not in (np.uint8, np.uint16, np.float32, np.float64):
        raise FileError(f"is a TIFF of {array.dtype} pixels; uint8, uint16, float32 and float64 are taken")
    bits = page.bitspersample
    if array.dtype.kind == "u" and isinstance(bits, int) and bits < 8 * array.itemsize:
        array = at_full_scale(array, 2**bits - 1)
    if array.shape[2:] == (4,) and page.extrasamples == (_UNSPECIFIED,):  # no alpha, as Pillow has it in 8 bits
        array = array[..., :3]
    elif array.shape[2:] == (4,) and page.extrasamples == (_PREMULTIPLIED,):
        array = _divided(array)
    return inverted(array) if kind == "MINISWHITE" else array


def inverted(grey: NDArray[Any]) -> NDArray[Any]:
    """Return grey whose 0 is white as grey whose 0 is black."""
    if grey.dtype.kind == "f":
        raise FileError("is a TIFF of floats whose 0 is white; floats are taken where 0 is black")
    return np.iinfo(grey.dtype).max - grey


def _divided(image: NDArray[Any]) -> NDArray[Any]:
    """Return colours that are premultiplied by their alpha as they are without it, some rows at a time."""
    is_float = image.dtype.kind == "f"
    most = 1.0 if is_float else np.iinfo(image.dtype).max
    divided = np.empty_like(image)
    step = max(1, 2**16 // image[0].size)
    for top in range(0, len(image), step):
        rows, stored = divided[top : top + step], image[top : top + step]
        alpha = stored[..., 3:].astype(np.float64)
        colours = stored[..., :3] * (most / np.where(alpha == 0, most, alpha))
        rows[..., :3] = colours if is_float else np.rint(np.minimum(colours, most))
        rows[..., 3:] = stored[..., 3:]
    return divided
