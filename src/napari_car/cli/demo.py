"""``napari-car demo``: what the product does, shown on a picture that comes with it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from napari_car.cards import DEFAULT_MODEL
from napari_car.errors import FileError, InputError
from napari_car.files import check_target
from napari_car.files.atomic import atomic_file
from napari_car.files.target import format_of
from napari_car.metrics import psnr
from napari_car.restore_file import restore_file

SAMPLE = Path(__file__).resolve().parents[1] / "samples" / "astronaut.webp"

CROP = (112, 24, 336, 248)
"""Left, top, right and bottom of what the before/after picture shows, px: a face before a plain background."""
ZOOM = 2
GAP, CAPTION = 16, 44
"""Around the panels of the before/after picture, and height of the line below each, px."""
PAPER, INK, PALE = "#ffffff", "#1c1c1e", "#6e6e73"

EXAMPLES = """\
examples:
  napari-car demo                                     four pictures in napari-car-demo/
  napari-car demo --quality 20 --model arcnn -o show  compressed less, restored by another model"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``napari-car demo``."""
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", type=Path, default=Path("napari-car-demo"),
        help="where to write; made if need be (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--quality", metavar="1..100", type=int, default=10, help="IJG quality to compress at (default: %(default)s)"
    )
    parser.add_argument("--model", metavar="ID", help=f"one of 'napari-car models' (default: {DEFAULT_MODEL})")
    parser.add_argument("--force", action="store_true", help="overwrite the pictures of an earlier demo")


def run(options: argparse.Namespace) -> int:
    """Compress the sample, restore it, lay both side by side and say how close each is to the original."""
    if not 1 <= options.quality <= 100:
        raise InputError(f"quality is {options.quality}; it is a whole number from 1 to 100")
    folder: Path = options.output
    original, compressed, restored, before_after = targets = [
        folder / name for name in ("original.png", "compressed.jpg", "restored.png", "before-after.png")
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot be made a folder ({error.strerror})", folder) from error
    for target in targets:
        check_target(target, overwrite=options.force)

    sample = _open(SAMPLE)
    _save(sample, original, overwrite=options.force)
    _save(sample, compressed, overwrite=options.force, quality=options.quality)
    restore_file(compressed, restored, model=options.model, overwrite=options.force)

    jpeg, result = _open(compressed), _open(restored)
    before, after = (psnr(np.asarray(sample), np.asarray(picture)) for picture in (jpeg, result))
    title = f"JPEG, quality {options.quality}"
    sheet = compose([(title, f"PSNR {before:.2f} dB", jpeg), ("restored", f"PSNR {after:.2f} dB", result)])
    _save(sheet, before_after, overwrite=options.force)
    print(f"{original}      {sample.width} x {sample.height} px")
    print(f"{compressed}    {title}, {compressed.stat().st_size / 1000:.0f} kB, PSNR (RGB) {before:.2f} dB")
    print(f"{restored}      PSNR (RGB) {after:.2f} dB, {after - before:+.2f} dB")
    print(f"{before_after}  a part of both at {ZOOM * 100} %")
    return 0


def compose(panels: Sequence[tuple[str, str, Image.Image]]) -> Image.Image:
    """Lay the same crop of several pictures side by side, enlarged, each over its title and its note."""
    side = (CROP[2] - CROP[0]) * ZOOM
    sheet = Image.new("RGB", (GAP + (side + GAP) * len(panels), GAP + side + CAPTION), PAPER)
    draw = ImageDraw.Draw(sheet)
    for i, (title, note, picture) in enumerate(panels):
        left, base = GAP + (side + GAP) * i, GAP + side + CAPTION // 2
        crop = picture.crop(CROP)
        sheet.paste(crop.resize((side, side), Image.Resampling.NEAREST), (left, GAP))
        draw.text((left, base), title, INK, ImageFont.load_default(20), anchor="lm")
        draw.text((left + side, base), note, PALE, ImageFont.load_default(20), anchor="rm")
    return sheet


def _save(picture: Image.Image, path: Path, *, overwrite: bool, **options: int) -> None:
    """Write a picture, whole or not at all."""
    with atomic_file(path, overwrite=overwrite) as stream:
        picture.save(stream, format_of(path).name, **options)


def _open(path: Path) -> Image.Image:
    """Open a picture in RGB."""
    with Image.open(path) as picture:
        return picture.convert("RGB")
