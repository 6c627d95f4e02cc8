"""``napari-car compare``: one page, complete in itself, that shows what restoring did to a picture."""

from __future__ import annotations

import argparse
import base64
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_car.errors import FileError, InputError
from napari_car.files import Metadata, Picture, read_image, write_image
from napari_car.files.atomic import atomic_file
from napari_car.files.picture import turned
from napari_car.files.target import check_place
from napari_car.metrics import BLOCK, blocking, luma, psnr, psnr_b, ssim
from napari_car.pixels import FULL_SCALE

EXAMPLES = """\
examples:
  napari-car compare photo.jpg photo.restored.png -o report.html
  napari-car compare photo.jpg photo.restored.png original.png -o report.html"""

PAGE = Path(__file__).with_name("compare.html")
DATA = "{{data}}"
ROLES = "Original", "Restored", "Reference"
WEBP_SIDE = 16383
"""Longest side of a WebP, px. Source: RFC 9649, 'VP8L Bitstream Header': 14 bits less one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``napari-car compare``."""
    add = parser.add_argument
    add("original", metavar="ORIGINAL", type=Path, help="the picture as it was, such as the JPEG")
    add("restored", metavar="RESTORED", type=Path, help="what was made of it, of the same size")
    add(
        "reference", metavar="REFERENCE", type=Path, nargs="?", help="the picture before it was ever compressed, if any"
    )
    add("-o", "--output", metavar="HTML", type=Path, required=True, help="the page to write; any browser opens it")
    add("--force", action="store_true", help="overwrite an output that exists")


def run(options: argparse.Namespace) -> int:
    """Write the page."""
    output: Path = options.output
    check_place(output, overwrite=options.force)
    paths = [path for path in (options.original, options.restored, options.reference) if path is not None]
    if os.path.exists(output) and any(os.path.exists(path) and os.path.samefile(path, output) for path in paths):
        raise FileError("is a picture to be compared, which is never overwritten; give another name", output)
    pictures = [_eight_bits(path) for path in paths]
    for path, picture in zip(paths[1:], pictures[1:], strict=True):
        if picture.pixels.shape[:2] != pictures[0].pixels.shape[:2]:
            (height, width), (high, wide) = (p.pixels.shape[:2] for p in (picture, pictures[0]))
            raise InputError(f"{path} has {width} x {height} px and {paths[0]} {wide} x {high}; they must agree")
    lumas = _lumas(pictures)
    reference = lumas[2] if options.reference else None
    data = [
        {"role": role, "name": path.name, **_figures(own, None if own is reference else reference), "source": source}
        for role, path, own, source in zip(ROLES, paths, lumas, map(_data_url, pictures), strict=False)
    ]
    with atomic_file(output, overwrite=options.force) as stream:
        stream.write(page(data).encode())
    print(output)
    return 0


def page(data: list[dict[str, Any]]) -> str:
    """The page that shows these pictures."""
    # No character of a name may end the script element that holds the data, or start another.
    text = json.dumps(data, ensure_ascii=True).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return PAGE.read_text("utf-8").replace(DATA, text)


def _eight_bits(path: Path) -> Picture:
    """A picture upright and as a browser shows it."""
    picture = read_image(path)
    if picture.is_stack:
        raise InputError(f"{path} holds {len(picture.pages)} pages; one picture can be compared")
    pixels = turned(picture.pixels, picture.metadata.orientation)
    if pixels.dtype != np.uint8:
        pixels = np.rint(np.clip(pixels / FULL_SCALE[pixels.dtype.name], 0, 1) * 255).astype(np.uint8)
    return replace(picture, pixels=np.ascontiguousarray(pixels), metadata=Metadata(icc=picture.metadata.icc))


def _figures(own: NDArray[np.uint8], reference: NDArray[np.uint8] | None) -> dict[str, float | None]:
    """What is measured of the luma of a picture: its blocking, and how near it is to the reference."""
    is_large = min(own.shape) >= 2 * BLOCK
    figures: dict[str, float | None] = {"blocking": blocking(own) if is_large else None}
    if reference is not None:
        figures["psnr"] = _finite(psnr(reference, own))
        if is_large:
            figures |= {"ssim": ssim(reference, own), "psnr_b": _finite(psnr_b(reference, own))}
    return figures


def _lumas(pictures: Sequence[Picture]) -> list[NDArray[np.uint8]]:
    """Luma of pictures on one scale: grey as it is where all are grey, else as the grey of a colour picture."""
    is_grey = all(picture.channels == 1 for picture in pictures)
    return [
        picture.pixels
        if is_grey
        else luma(np.dstack([picture.pixels] * 3 if picture.channels == 1 else [picture.pixels])[..., :3])
        for picture in pictures
    ]


def _finite(decibels: float) -> float | None:
    """A figure for JSON, which knows no infinity."""
    return decibels if np.isfinite(decibels) else None


def _data_url(picture: Picture) -> str:
    """The picture, bit for bit, as an address that holds it."""
    kind = "webp" if max(picture.pixels.shape[:2]) <= WEBP_SIDE else "png"
    with tempfile.TemporaryDirectory(prefix="napari-car-") as folder:
        content = write_image(Path(folder, f"picture.{kind}"), picture).read_bytes()
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
