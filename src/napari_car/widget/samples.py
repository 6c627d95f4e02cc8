"""Sample data: a photo as JPEG left it, and a time series of it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from napari_car.pixels import Array

SAMPLE = Path(__file__).resolve().parents[1] / "samples" / "astronaut.webp"

PIXEL_UM = 0.5
"""Side of a pixel that the samples claim, so that scale and units are there to be kept."""

SERIES_QUALITIES = (10, 20, 30, 40, 50)
SERIES_SIDE = 256


def photo() -> Array:
    """The photo after JPEG at quality 10, shape (512, 512, 3)."""
    return compressed(10)


def series() -> Array:
    """Its middle in grey, at a quality that rises with time, shape (5, 256, 256)."""
    start = slice(SERIES_SIDE // 2, SERIES_SIDE // 2 + SERIES_SIDE)
    return np.stack([compressed(quality, "L")[start, start] for quality in SERIES_QUALITIES])


def compressed(quality: int, mode: str = "RGB") -> Array:
    """The photo after JPEG at a quality."""
    buffer = io.BytesIO()
    with Image.open(SAMPLE) as picture:
        picture.convert(mode).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def photo_layer() -> list[tuple[Array, dict[str, Any], str]]:
    """The photo for napari."""
    look = {"name": "photo, quality 10", "rgb": True, "scale": (PIXEL_UM,) * 2, "units": ("um",) * 2}
    return [(photo(), look, "image")]


def series_layer() -> list[tuple[Array, dict[str, Any], str]]:
    """The time series for napari."""
    look = {
        "name": "time series",
        "rgb": False,
        "scale": (2.0, PIXEL_UM, PIXEL_UM),
        "units": ("s", "um", "um"),
        "axis_labels": ("t", "y", "x"),
    }
    return [(series(), look, "image")]
