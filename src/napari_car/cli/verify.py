"""``napari-car verify``: whether a restored picture keeps within what its file allows."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from napari_car.errors import InputError
from napari_car.files import Picture, read_image
from napari_car.jpeg.coefficients import read_coefficients
from napari_car.jpeg.consistency import Consistency, check_consistency
from napari_car.pixels import Planes, pictures, to_planes

EXAMPLES = """\
examples:
  napari-car restore photo.jpg --consistent
  napari-car verify photo.jpg photo.restored.png"""

_LISTED = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``napari-car verify``."""
    parser.add_argument("original", metavar="ORIGINAL", type=Path, help="the JPEG file")
    parser.add_argument("restored", metavar="RESTORED", type=Path, help="a picture made from it, of the same size")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the verdict; the exit code is 0 where the picture is consistent with the file, else 1."""
    known = read_coefficients(options.original)
    restored = read_image(options.restored)
    if restored.is_stack:
        raise InputError(f"{options.restored} holds {len(restored.pages)} pages; one picture can be verified")
    planes, decoded = (_planes(picture) for picture in (restored, read_image(options.original)))
    found = check_consistency(planes, known, decoded=decoded)
    print(json.dumps(_facts(found), indent=2) if options.json else _page(found))
    return 0 if found.is_consistent else 1


def _planes(image: Picture) -> Planes:
    """The planes of a picture, one where it is grey."""
    (pixels,) = pictures(image.pixels)
    return to_planes(pixels, 0, 0, *pixels.shape[:2])[: 1 if image.channels == 1 else 3]


def _blocks(found: Consistency) -> list[tuple[int, int]]:
    """Top left corners of the blocks that stick out, row and column, px."""
    return [(8 * int(row), 8 * int(column)) for row, column in np.argwhere(found.is_outside)]


def _facts(found: Consistency) -> dict[str, object]:
    """All that was found, ready for JSON."""
    return {
        "is_consistent": found.is_consistent,
        "share_outside": found.share_outside,
        "share_known": found.share_known,
        "blocks_outside": _blocks(found),
    }


def _page(found: Consistency) -> str:
    """The same for people."""
    checked = f"{found.share_known:.1%} of the coefficients could be checked"
    if found.is_consistent:
        return f"Consistent: the file could have come from this picture ({checked})."
    blocks = _blocks(found)
    where = ", ".join(f"{row},{column}" for row, column in blocks[:_LISTED]) + (" …" if len(blocks) > _LISTED else "")
    share = f"{found.share_outside:.3%} of the coefficients that could be checked lie outside of their intervals"
    total = found.is_outside.size
    return f"Not consistent: {share}, in {len(blocks)} of {total} blocks; row,column of the first: {where} ({checked})."
