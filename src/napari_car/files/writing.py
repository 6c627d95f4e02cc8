"""Writing image files."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_car.errors import CarError, FileError
from napari_car.files.atomic import atomic_file
from napari_car.files.keywords import save_options, say_what_is_lost
from napari_car.files.picture import Picture, turned
from napari_car.files.png import write_png
from napari_car.files.surface import image_of
from napari_car.files.target import Format, check_target, format_of
from napari_car.files.tiff import write_tiff
from napari_car.steps import count_cores

_LOSSY_QUALITY = 95


def write_image(
    path: str | PathLike[str],
    picture: Picture,
    *,
    overwrite: bool = False,
    quality: int | None = None,
    threads: int | None = None,
) -> Path:
    """Write an image file, whole or not at all, in the format that its extension names.

    The pixels are written in their depth, with all metadata that the format can hold. The file appears under
    its name only when it is complete. Where a format holds no EXIF (BMP, PPM) the orientation is applied to
    the pixels; elsewhere the tag says it.

    Parameters
    ----------
    path
        Ends in .png .tif .tiff .jpg .jpeg .jpe .jfif .webp .avif .bmp .ppm .pgm or .pnm.
    picture
        PNG and PPM hold uint8 and uint16, TIFF also float32, float64 and pages, the others uint8;
        PNG, TIFF, WebP and AVIF hold alpha.
    overwrite
        Whether a file of that name may be replaced; a symbolic link is replaced, not followed.
    quality
        1–100 for JPEG, WebP and AVIF, which then lose detail again. Left out, WebP is lossless, and JPEG and
        AVIF are written at 95. Colour is never subsampled in JPEG and AVIF.
    threads
        On which PNG is compressed, at most; one a core for None.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    FileError
        See `check_target`; or the disk is full, or the format cannot hold a picture of that size.
    InputError
        See `check_target`.
    """
    target = Path(path)
    check_target(target, picture, overwrite=overwrite, quality=quality)
    format_ = format_of(target)
    say_what_is_lost(picture.metadata, format_.name)
    if not format_.has_exif:
        picture = replace(picture, pixels=turned(picture.pages[0], picture.metadata.orientation), is_stack=False)
    try:
        with warnings.catch_warnings(), atomic_file(target, overwrite=overwrite) as stream:
            warnings.simplefilter("ignore")
            _encode(stream, picture, format_, quality, threads or count_cores())
    except CarError:
        raise
    except Exception as error:  # encoders fail in every way there is
        text = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise FileError(f"could not be written: {text or type(error).__name__}", path) from error
    return target


def _encode(stream: IO[bytes], picture: Picture, format_: Format, quality: int | None, threads: int) -> None:
    """Write a picture that fits the format."""
    if format_.name == "TIFF":
        write_tiff(stream, picture)
        return
    page = picture.pages[0]
    options = save_options(picture.metadata, format_.name, picture.channels)
    is_deep = page.dtype == np.uint16
    match format_.name:
        case "PNG":
            template = io.BytesIO()
            Image.new("L", (1, 1)).save(template, "PNG", **options)
            write_png(stream, page, template.getvalue(), picture.metadata.colour, threads)
        case "PPM" if is_deep:
            _write_deep_ppm(stream, page)
        case name:
            image_of(page).save(stream, name, **options, **_compression(format_, quality))


def _compression(format_: Format, quality: int | None) -> dict[str, Any]:
    """Return how strongly Pillow is to compress."""
    match format_.name:
        case "WEBP" if quality is None:
            return {"lossless": True, "quality": 0, "exact": True}  # 0: least effort, not less quality
        case "WEBP":
            return {"quality": quality}
        case "JPEG" | "AVIF":
            return {"quality": quality or _LOSSY_QUALITY, "subsampling": "4:4:4"}
    return {}


def _write_deep_ppm(stream: IO[bytes], page: NDArray[Any]) -> None:
    """Write uint16 pixels as PPM or PGM."""
    # Source: Netpbm ppm(5) and pgm(5): two bytes a sample, most significant first
    kind = "P5" if page.ndim == 2 else "P6"
    stream.write(f"{kind}\n{page.shape[1]} {page.shape[0]}\n65535\n".encode())
    for row in page:
        stream.write(row.astype(">u2").tobytes())
