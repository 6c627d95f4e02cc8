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

QUALITY = 10
"""At which the samples were compressed: their artifacts are plain to see."""

N_FRAMES, SIDE, STEP = 8, 256, 32
"""Of the time series: frames, their side, and how far the view moves from one to the next, px."""


def photo() -> Array:
    """The photo, shape (512, 512, 3)."""
    with Image.open(SAMPLE) as picture:
        return compressed(picture.convert("RGB"))


def series() -> Array:
    """A view that moves across the photo, in grey, shape (8, 256, 256); each frame was compressed by itself."""
    with Image.open(SAMPLE) as picture:
        grey = picture.convert("L")
    lefts = [STEP * i for i in range(N_FRAMES)]
    return np.stack([compressed(grey.crop((left, 0, left + SIDE, SIDE))) for left in lefts])


def compressed(picture: Image.Image) -> Array:
    """A picture as JPEG leaves it."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    return np.asarray(Image.open(buffer))


def photo_layer() -> list[tuple[Array, dict[str, Any], str]]:
    """The photo for napari."""
    look = {"name": f"photo, quality {QUALITY}", "rgb": True, "scale": (PIXEL_UM,) * 2, "units": ("um",) * 2}
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
