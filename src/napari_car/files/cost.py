"""How much memory reading a file and writing one takes, as measured with Pillow 13."""

from __future__ import annotations

from os import PathLike
from typing import Any

from PIL import Image, ImageFile, JpegImagePlugin

from napari_car.errors import FileError
from napari_car.files.picture import Picture
from napari_car.files.target import format_of
from napari_car.memory import shortage

# The peak of reading, as a multiple of the picture in Pillow, where a decoder takes more than that
_READING = {"WEBP": 4.5, "AVIF": 2.5, "GIF": 6, "BMP": 1.25, "PPM": 1.25, "TIFF": 2, "JXL": 4.5}
_READING_DEEP = {"PNG": 7.5, "PPM": 4.5}
# Bytes a pixel beyond the picture
_WRITING = {"WEBP": 26, "AVIF": 38}
# Bytes a pixel in Pillow. Source: Pillow's handbook, "Concepts: Modes": all others take 32 bits
_OF_MODE = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}


def check_reading(image: Image.Image, max_memory: int | None) -> None:
    """Refuse an image, opened and not decoded yet, that cannot be read within a limit of the process's memory, bytes.

    Raises
    ------
    FileError
        The message says how much it takes.
    """
    check_reading_bytes(image.width * image.height * _reading_per_px(image), max_memory)


def check_reading_bytes(needed: float, max_memory: int | None) -> None:
    """Refuse what takes that many bytes to be read, see ``check_reading``."""
    if lack := shortage(needed, max_memory):
        raise FileError(f"reading it {lack}")


def check_writing(path: str | PathLike[str], picture: Picture, max_memory: int | None, *, taken: int = 0) -> None:
    """Refuse a file that cannot be written within a limit of the process's memory, bytes.

    Parameters
    ----------
    path
        The file to be written.
    picture
        Of the size that it will have.
    max_memory
        What the process may have, bytes.
    taken
        What will be taken by then beyond what is taken now, bytes.

    Raises
    ------
    FileError
        The message says how much it takes.
    """
    n_pixels = picture.pixels.size // picture.channels
    if lack := shortage(taken + n_pixels * _WRITING.get(format_of(path).name, 0), max_memory):
        raise FileError(f"writing it {lack}", path)


def _reading_per_px(image: Image.Image) -> float:
    """Bytes a pixel at the peak of reading."""
    is_grey_with_alpha = image.mode == "I;16" and "transparency" in image.info
    size = 4 if is_grey_with_alpha else _OF_MODE.get(image.mode, 4)
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        converted = 4 if image.mode == "CMYK" else 0
        return size + converted + (_coefficients(image) if image.info.get("progressive") else 0)
    return size * (_READING_DEEP if _is_deep(image) else _READING).get(str(image.format), 1)


def _is_deep(image: Image.Image) -> bool:
    """Whether a PNG or PPM has more than 8 bits a sample, by what its decoder is told."""
    told: Any = image.tile[0].args if isinstance(image, ImageFile.ImageFile) and image.tile else ""
    return "16" in told if isinstance(told, str) else image.format == "PPM" and told[-1] > 255


def _coefficients(image: JpegImagePlugin.JpegImageFile) -> float:
    """Bytes a pixel of the coefficients of a progressive JPEG, which are all kept until the last scan."""
    # Source: libjpeg.txt, "Memory usage": two bytes a coefficient, one coefficient a sample
    samples = [across * down for _, across, down, _ in image.layer]
    return 2 * sum(samples) / max(*samples, 1)
