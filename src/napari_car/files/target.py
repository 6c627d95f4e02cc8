"""The place a file is written to: which formats there are, what they hold, and what may be overwritten."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import features

from napari_car.errors import FileError, InputError
from napari_car.files.picture import Picture

_U8, _U16 = np.dtype(np.uint8), np.dtype(np.uint16)
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


@dataclass(frozen=True)
class Format:
    """What a file format that we write can hold."""

    name: str
    extensions: tuple[str, ...]
    dtypes: tuple[np.dtype[np.generic], ...] = (_U8,)
    has_alpha: bool = False
    has_pages: bool = False
    has_exif: bool = True
    has_quality: bool = False
    longest_side: int = 2**31 - 1  # px


# Source: jmorecfg.h of libjpeg, JPEG_MAX_DIMENSION; RFC 9649, 'VP8L Bitstream Header'; avif.h of libavif,
# AVIF_DEFAULT_IMAGE_DIMENSION_LIMIT, beyond which it writes what it does not read
FORMATS = (
    Format("PNG", (".png",), (_U8, _U16), has_alpha=True),
    Format("TIFF", (".tif", ".tiff"), (_U8, _U16, *_FLOATS), has_alpha=True, has_pages=True),
    Format("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), has_quality=True, longest_side=65500),
    Format("WEBP", (".webp",), has_alpha=True, has_quality=True, longest_side=16383),
    Format("AVIF", (".avif",), has_alpha=True, has_quality=True, longest_side=32768),
    Format("BMP", (".bmp",), has_exif=False),
    Format("PPM", (".ppm", ".pgm", ".pnm"), (_U8, _U16), has_exif=False),
)
_ONLY_READ = (".gif", ".mpo")
_BY_EXTENSION = {extension: format_ for format_ in FORMATS for extension in format_.extensions}


def format_of(path: str | PathLike[str]) -> Format:
    """Return the format that the extension of a path names."""
    extension = Path(path).suffix.lower()
    found = _BY_EXTENSION.get(extension)
    if found is None:
        said = f"the extension {extension!r}" if extension else "a name without extension"
        raise FileError(f"cannot write {said}; use one of {' '.join(_BY_EXTENSION)}", path)
    if found.name == "AVIF" and not features.check("avif"):
        raise FileError("the installed Pillow cannot write AVIF; use another format, such as .png", path)
    return found


def names_image(path: str | PathLike[str]) -> bool:
    """Say whether the extension of a path is one of a format that is read.

    Examples
    --------
    >>> names_image("A.JPG"), names_image("letter.txt")
    (True, False)
    """
    extension = Path(path).suffix.lower()
    return extension in _BY_EXTENSION or extension in _ONLY_READ


def is_lossy(path: str | PathLike[str], quality: int | None = None) -> bool:
    """Say whether a file of that name, written at that quality, loses detail.

    Examples
    --------
    >>> is_lossy("a.jpg"), is_lossy("a.png"), is_lossy("a.webp"), is_lossy("a.webp", 90)
    (True, False, False, True)
    """
    return format_of(path).name in ("JPEG", "AVIF") or quality is not None


def check_target(
    path: str | PathLike[str], picture: Picture | None = None, *, overwrite: bool = False, quality: int | None = None
) -> None:
    """Refuse, before any work is done, a target that `write_image` would refuse after it.

    Parameters
    ----------
    path
        The file to be written.
    picture
        What will be written, where it is known: its depth, alpha and pages must fit the format.
    overwrite
        Whether a file of that name may be replaced.
    quality
        At which it will be compressed, where a lossy format is asked to.

    Raises
    ------
    FileError
        The extension is unknown, the folder is missing or not writable, the name is taken or too long, or
        the format cannot hold such a picture.
    InputError
        The quality is out of range or the format has none.

    Examples
    --------
    >>> check_target("photo.xyz")
    Traceback (most recent call last):
    ...
    napari_car.errors.FileError: photo.xyz: cannot write the extension '.xyz'; use one of .png .tif ...
    """
    format_ = format_of(path)
    check_place(path, overwrite=overwrite)
    if quality is not None and not (format_.has_quality and 1 <= quality <= 100):
        names = ", ".join(f.name for f in FORMATS if f.has_quality)
        raise InputError(f"quality {quality} cannot be used for {format_.name}; it is 1 to 100 for {names}")
    if picture is not None:
        _check_fit(format_, picture, path)


def check_place(path: str | PathLike[str], *, overwrite: bool = False) -> None:
    """Refuse, before any work is done, a place to which a file of any kind cannot be written; see `check_target`."""
    target = Path(path)
    if "\0" in str(path):
        raise FileError("is not a possible file name", str(path).replace("\0", "?"))
    if os.path.isdir(target):
        raise FileError("is a folder; give the name of a file", path)
    if not os.path.isdir(target.parent):
        raise FileError("its folder does not exist", path)
    try:
        os.lstat(target)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise FileError(f"could not be written: {error.strerror}", path) from error
    else:
        if not overwrite:
            raise FileError("exists already and is not overwritten unless asked to", path)
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise FileError("no permission to write into its folder", path)


def _check_fit(format_: Format, picture: Picture, path: str | PathLike[str]) -> None:
    """Refuse a picture that the format cannot hold, naming the formats that can."""

    def refuse(what: str, others: list[str]) -> FileError:
        return FileError(f"{format_.name} cannot hold {what}; write {' or '.join(others)}", path)

    dtype = picture.pixels.dtype
    if dtype not in format_.dtypes:
        others = [f.name for f in FORMATS if dtype in f.dtypes]
        raise refuse(f"{dtype} pixels", others or ["uint8, uint16, float32 or float64"])
    if picture.channels == 4 and not format_.has_alpha:
        raise refuse("alpha", [f.name for f in FORMATS if f.has_alpha and dtype in f.dtypes])
    height, width = picture.pages[0].shape[:2]
    if max(height, width) > format_.longest_side:
        others = [f.name for f in FORMATS if dtype in f.dtypes and max(height, width) <= f.longest_side]
        raise refuse(f"{width} x {height} pixels", others)
    if len(picture.pages) > 1 and not format_.has_pages:
        raise refuse(f"{len(picture.pages)} pages", [f.name for f in FORMATS if f.has_pages])
