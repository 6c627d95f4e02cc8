"""The part of a picture that is worth looking at: a bounded number of cut-outs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_car.errors import InputError

_SIZE = 192  # pixels; a multiple of the MCU, so that all cut-outs share one phase
_MAX_PER_AXIS = 8
_MAX_PICTURES = 4
_MAX_KEPT = 4
_WHITE = {"uint8": 255, "uint16": 65535, "float32": 1, "float64": 1}

# Weights of R, G, B in luma. Source: ITU-T T.871 clause 7.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, eq=False)
class Window:
    """One cut-out.

    Parameters
    ----------
    luma
        After the level shift, -128..127, shape (H, W).
    rgb
        Grey levels 0..255, shape (H, W, 3); None where the picture is grey.
    """

    luma: NDArray[np.float32]
    rgb: NDArray[np.float32] | None

    @cached_property
    def is_inside(self) -> NDArray[np.bool_]:
        """Which pixels are not clipped, shape (H, W)."""
        planes = [self.luma + 128] if self.rgb is None else np.moveaxis(self.rgb, -1, 0)
        is_inside: NDArray[np.bool_] = np.logical_and.reduce([(plane > 0.5) & (plane < 254.5) for plane in planes])
        return is_inside

    def is_usable(self, phase: tuple[int, int]) -> NDArray[np.bool_]:
        """Which blocks of a grid are free of clipped pixels, flat in row-major order."""
        top, left = phase
        is_inside = self.is_inside[top:, left:]
        rows, columns = is_inside.shape[0] // 8, is_inside.shape[1] // 8
        blocks = is_inside[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8)
        is_usable: NDArray[np.bool_] = np.logical_and.reduce(np.logical_and.reduce(blocks, 1), 2)
        return is_usable.ravel()


def cut_windows(image: NDArray[Any]) -> list[Window]:
    """Cut the most telling windows out of an image, best first; all origins are multiples of 16.

    Parameters
    ----------
    image
        Shape (..., H, W) or (..., H, W, 1 | 3 | 4); uint8, uint16, or float in [0, 1].

    Returns
    -------
    list of Window
        At most 4 of at most 192 × 192 pixels.

    Raises
    ------
    InputError
        Another dtype or shape.
    """
    if image.dtype.name not in _WHITE:
        raise InputError(f"the image has dtype {image.dtype}; allowed are {', '.join(_WHITE)}")
    has_channels = image.ndim >= 3 and image.shape[-1] in (1, 3, 4)
    if image.ndim < 2 or image.size == 0:
        raise InputError(f"the image has shape {image.shape}; it must be (..., H, W) or (..., H, W, 1 | 3 | 4)")
    pictures = image if has_channels else image[..., None]
    stack = pictures.shape[:-3]
    chosen = [pictures[np.unravel_index(i, stack)] for i in _spread(math.prod(stack), 1, _MAX_PICTURES)]
    per_axis = max(1, round(_MAX_PER_AXIS / np.sqrt(len(chosen))))
    pieces = [
        picture[top : top + _SIZE, left : left + _SIZE]
        for picture in chosen
        for top in _spread(picture.shape[0], _SIZE, per_axis)
        for left in _spread(picture.shape[1], _SIZE, per_axis)
    ]
    white = _WHITE[image.dtype.name]
    pieces.sort(key=lambda piece: _interest(piece, white), reverse=True)
    return [_window(piece, white) for piece in pieces[:_MAX_KEPT]]


def _spread(length: int, size: int, most: int) -> list[int]:
    """Evenly spread starts of pieces of a length, on multiples of 16 where pieces are larger than one."""
    count = min(most, max(1, length // size))
    step = 16 if size > 1 else 1
    return [int(start) // step * step for start in np.linspace(0, max(0, length - size), count)]


def _window(pixels: NDArray[Any], white: int) -> Window:
    """Grey levels of a piece of a picture; what is out of range counts as clipped."""
    levels = np.clip(np.nan_to_num(pixels[..., :3]), 0, white).astype(np.float32) * np.float32(255 / white)
    is_grey = levels.shape[-1] == 1 or bool((levels[..., :1] == levels).all())
    luma = levels[..., 0] if is_grey else np.matmul(levels, _LUMA, dtype=np.float32)
    return Window(luma - np.float32(128), None if is_grey else levels)


def _interest(piece: NDArray[Any], white: int) -> float:
    """How much of the middle of a piece has structure and no clipped pixel, as its middle channel shows."""
    top, left = (size // 4 // 8 * 8 for size in piece.shape[:2])
    middle = piece[top : top + _SIZE // 2, left : left + _SIZE // 2, min(piece.shape[2] // 2, 1)]
    rows, columns = (size // 8 for size in middle.shape)
    blocks = middle[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8)
    low, high = blocks.min(1).min(2), blocks.max(1).max(2)  # faster than both axes at once
    return float(((high > low + white / 64) & (low > 0) & (high < white)).sum())
