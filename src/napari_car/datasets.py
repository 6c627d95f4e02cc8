"""Test sets in their published layouts: which picture is compared with which, and at what level.

``folder``   every picture of a folder, encoded here
``live1``    the reference pictures of LIVE (in ``refimgs`` or the folder itself), encoded here
``bsds500``  the 200 test pictures of BSDS500 (in ``data/images/test``), encoded here
``tid2008``  ``I01.bmp`` with ``I01_10_1.bmp`` to ``I01_10_4.bmp``: its JPEG distortion, levels 1 to 4
``mcl-jci``  ``ImageJND_SRC01.bmp`` with ``ImageJND_SRC01_001.jpg`` to ``_100.jpg``: levels are qualities

The last two come distorted. Their files are found in any sub-folder, whatever the case of their names.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_car.errors import FileError, InputError

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
QUALITIES = (10, 20, 30, 40)
"""The qualities of the published tables."""


@dataclass(frozen=True)
class Item:
    """One comparison: a reference, and what damaged it."""

    name: str
    reference: Path
    level: int
    """The quality 1 to 100, or in TID2008 the level 1 to 4."""
    quality: int | None
    """The JPEG quality, or None where the set does not say it."""
    distorted: Path | None = None
    """The distorted file, or None where the reference is to be encoded."""


@dataclass(frozen=True)
class Layout:
    """Where a set keeps its pictures, and the levels that are taken where none are named."""

    levels: tuple[int, ...]
    folders: tuple[str, ...] = ()
    """Where the references of a set that is encoded here may lie."""
    distorted: re.Pattern[str] | None = None
    """Stem of a distorted file: the reference's stem, then the level."""
    is_level_quality: bool = True


LAYOUTS = {
    "folder": Layout(QUALITIES, (".",)),
    "live1": Layout(QUALITIES, ("refimgs", ".")),
    "bsds500": Layout(QUALITIES, ("data/images/test", "images/test", "test")),
    # Source: readme of TID2008 (Ponomarenko et al., 2009): distortion 10 is JPEG compression.
    "tid2008": Layout((1, 2, 3, 4), distorted=re.compile(r"(i\d\d)_10_([1-4])"), is_level_quality=False),
    # Source: Jin et al., "Statistical study on perceived JPEG image quality via MCL-JCI", HVEI 2016.
    "mcl-jci": Layout(QUALITIES, distorted=re.compile(r"(imagejnd_src\d\d)_(\d{3})")),
}
"""The layouts by name."""


def list_images(folder: Path) -> list[Path]:
    """Return the pictures that lie directly in a folder, sorted by name.

    Raises
    ------
    FileError
        If there is no such folder or no picture in it.
    """
    if not folder.is_dir():
        raise FileError("there is no such folder", folder)
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise FileError(f"the folder holds no picture ({', '.join(sorted(SUFFIXES))})", folder)
    return found


def list_items(folder: Path, layout: str, levels: Sequence[int] | None = None) -> list[Item]:
    """Return the comparisons that a set asks for, all levels of one picture in a row.

    Parameters
    ----------
    folder
        Where the set lies.
    layout
        A name in ``LAYOUTS``.
    levels
        Qualities 1 to 100, in TID2008 levels 1 to 4; by default those of the layout.

    Raises
    ------
    InputError
        If the layout is unknown or a level is out of range.
    FileError
        If the set is not there in that layout.
    """
    if layout not in LAYOUTS:
        raise InputError(f"the data layout is {layout!r}; it is one of {', '.join(LAYOUTS)}")
    shape = LAYOUTS[layout]
    lowest, highest = (1, 100) if shape.is_level_quality else (shape.levels[0], shape.levels[-1])
    wanted = sorted(set(levels or shape.levels))
    for level in wanted:
        if not lowest <= level <= highest:
            raise InputError(f"a quality for {layout} is {level}; it must be {lowest} to {highest}")
    if shape.distorted is not None:
        return _list_distorted(folder, layout, shape.distorted, wanted)
    places = [folder / name for name in shape.folders if (folder / name).is_dir()]
    if not places:
        raise FileError(f"it holds no folder {' or '.join(shape.folders)}, as {layout} does", folder)
    return [Item(path.stem, path, level, level) for path in list_images(places[0]) for level in wanted]


def _list_distorted(folder: Path, layout: str, pattern: re.Pattern[str], levels: Sequence[int]) -> list[Item]:
    """Return the comparisons of a set whose distorted pictures are files."""
    files = {path.stem.lower(): path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES}
    items = []
    for stem, path in files.items():
        match = pattern.fullmatch(stem)
        if match is None or int(match[2]) not in levels:
            continue
        if match[1] not in files:
            raise FileError(f"its reference, {match[1]}.bmp, is missing", path)
        reference, level = files[match[1]], int(match[2])
        quality = level if LAYOUTS[layout].is_level_quality else None
        items.append(Item(reference.stem, reference, level, quality, path))
    if not items:
        raise FileError(
            f"it holds no picture named as those of {layout} at quality {', '.join(map(str, levels))}", folder
        )
    return sorted(items, key=lambda item: (item.name, item.level))


def read_image(path: Path) -> NDArray[np.uint8]:
    """Return a picture, shape (H, W) where the file is grey, else (H, W, 3), uint8, without alpha.

    Raises
    ------
    FileError
        If the file cannot be read, or holds more than 8 bits a value.
    """
    try:
        with Image.open(path) as picture:
            mode = picture.mode
            is_deep = mode.startswith(("I", "F")) or any(";16" in str(tile.args) for tile in picture.tile)
            pixels = np.asarray(picture.convert("L" if mode in {"1", "L", "LA"} else "RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise FileError(f"the picture cannot be read: {error}", path) from error
    if is_deep:  # Pillow would clip or cut them to 8 bits
        raise FileError("the picture has values of more than 8 bits; test sets have 8", path)
    return pixels


def compress(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Return an image as it comes back from a JPEG file of a quality, at 4:2:0 where it is coloured.

    Parameters
    ----------
    image
        shape (H, W) or (H, W, 3), uint8.
    quality
        IJG quality, 1 to 100.

    Returns
    -------
    NDArray[np.uint8]
        Same shape; smooth ("fancy") chroma upsampling.

    Notes
    -----
    Source: ITU-T T.81, baseline, by libjpeg-turbo with its standard tables.

    Examples
    --------
    >>> import numpy as np
    >>> grey = np.full((16, 16), 128, np.uint8)
    >>> bool((compress(grey, 10) == grey).all())
    True
    """
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG", quality=quality, subsampling="4:2:0")
    with Image.open(file) as picture:
        return np.asarray(picture)


def degrade(item: Item, reference: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the distorted picture of an item: its file, or its reference encoded.

    Parameters
    ----------
    item
        What to compare.
    reference
        shape (H, W) or (H, W, 3), uint8: the reference as it is to be encoded.

    Raises
    ------
    FileError
        If the file cannot be read.
    """
    if item.distorted is not None:
        return read_image(item.distorted)
    assert item.quality is not None  # sets that are encoded here say the quality
    return compress(reference, item.quality)
