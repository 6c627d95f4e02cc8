"""Residuals that leave a picture within the quantization intervals of the file it was decoded from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from napari_car.jpeg.coding import Coding
from napari_car.jpeg.coefficients import Coefficients, plane_coefficients
from napari_car.jpeg.consistency import TO_YCBCR, check_consistency, make_consistent
from napari_car.pixels import LUMA, Array, Planes, to_planes
from napari_car.tiling import BLOCK, Window

MARGIN = 1.5
"""How far inside its bounds a clipped coefficient is put where the result is rounded to 8 bits, grey levels."""

TOLERANCE = 1.5
"""How far outside a coefficient of an 8-bit colour picture may lie, grey levels, since it is rounded in three channels;
half a level less than is taken for consistent. One of a grey picture may not at all."""


def clip_residual(
    degraded: Array,
    residual: Planes,
    window: Window,
    coding: Coding,
    *,
    dtype: np.dtype[Any],
    decoded: Array | None = None,
) -> tuple[Planes, float]:
    """Change the residual of a tile so that no known coefficient of the result leaves its interval.

    Rounding to 8 bits and clipping to black and white may carry some out again: their blocks are left as they were.

    Parameters
    ----------
    degraded
        What the tile covers of the decoded picture, shape (h, w, 1 | 3 | 4), uint8.
    residual
        What is to be added, shape (3, h, w), of full scale.
    window
        Where the tile lies in the picture, px; it tells where the blocks start.
    coding
        With the tables of the components.
    dtype
        Of the result; one that is rounded to 8 bits is kept a little further inside.
    decoded
        The decoder's own components of the whole picture, shape (H, W, n), uint8; for None they are recomputed from
        ``degraded``, and nothing is known where its colours are clipped.

    Returns
    -------
    residual
        A new one; what lies outside of whole blocks is as it was.
    share
        Of the known coefficients that were clipped, 0..1.
    """
    top, left = ((phase - start) % BLOCK for phase, start in zip(coding.grid_phase, window[:2], strict=True))
    blocks = degraded[top:, left:]
    if min(blocks.shape[:2]) < BLOCK or not coding.tables:
        return residual, 0.0
    colours = 1 if degraded.shape[2] == 1 else 3
    if decoded is not None:
        components = decoded[window.slices][top:, left:].transpose(2, 0, 1)
    else:
        components = blocks[..., 0][None] if colours == 1 else _components(blocks, len(coding.tables))
    tables = [np.array(table).reshape(BLOCK, BLOCK) for table in coding.tables]
    known = [plane_coefficients(plane, table) for plane, table in zip(components, tables, strict=False)]
    planes = to_planes(blocks, 0, 0, *blocks.shape[:2])[:colours]
    change = residual if colours == 3 else np.tensordot(LUMA, residual, 1)[None]
    clipped, share = make_consistent(planes + change[:, top:, left:], known, MARGIN if dtype == np.uint8 else 0.0)
    if dtype == np.uint8:
        clipped = _settle(clipped, planes, known)
    result = residual.copy()
    result[:, top:, left:] = clipped - planes
    return result, share


def _settle(restored: Planes, degraded: Planes, known: Sequence[Coefficients]) -> Planes:
    """Go back, first half the way, in blocks that stick out once they are rounded where the decoded ones do not."""
    tolerance = 0.0 if len(restored) == 1 else TOLERANCE
    for share in (np.float32(0.5), np.float32(0)):
        rounded = np.rint(restored * np.float32(255)) / np.float32(255)
        is_outside = check_consistency(rounded, known, tolerance).is_outside
        if not is_outside.any():
            break
        is_outside &= ~check_consistency(degraded, known).is_outside
        pixels = is_outside.repeat(BLOCK, 0).repeat(BLOCK, 1)
        height, width = pixels.shape
        whole, back = restored[:, :height, :width], degraded[:, :height, :width]
        np.copyto(whole, back + share * (whole - back), where=pixels)
    return restored


def _components(blocks: Array, count: int) -> Array:
    """The decoder's own components, shape (count, h, w), uint8, from the RGB it made of them."""
    components = np.tensordot(TO_YCBCR[:count], blocks[..., :3], (1, 2))
    components[1:] += 128
    rounded: Array = np.rint(np.clip(components, 0, 255)).astype(np.uint8)
    return rounded
