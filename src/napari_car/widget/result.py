"""The layers that come of a run: beside their source, and like it in everything but the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from napari.layers import Image
from napari.utils.transforms import Affine

SUFFIX = " [car]"

NOT_CARRIED = (
    "name", "metadata", "multiscale", "locked_data_level", "plane", "experimental_clipping_planes", "visible",
)  # fmt: skip
"""What a layer says of itself that does not hold for another."""


def carried(layer: Image, corner: Sequence[float] = (), zoom: Sequence[float] = ()) -> dict[str, Any]:
    """Keywords of ``add_image`` for pixels that lie where those of ``layer`` do and look as they do.

    Parameters
    ----------
    layer
        The layer to be like.
    corner
        Where the first pixel lies in the layer's data, px; at its first pixel where empty.
    zoom
        Pixels of the layer in one of the new ones, along each axis; 1 where empty.
    """
    state = {key: value for key, value in layer.as_layer_data_tuple()[1].items() if key not in NOT_CARRIED}
    if len(corner):
        place = Affine(scale=layer.scale, translate=layer.translate, rotate=layer.rotate, shear=layer.shear)
        state["translate"] = place(np.asarray(corner, float))
    if len(zoom):
        state["scale"] = layer.scale * np.asarray(zoom)
    return state


def pyramid(restored: Any, levels: Sequence[Any], n_axes: int) -> list[Any]:
    """Restored pixels at the resolutions of the source: every n-th pixel, at no memory of their own."""
    factors = [[round(a / b) for a, b in zip(levels[0].shape, level.shape, strict=True)][:n_axes] for level in levels]
    return [restored[tuple(slice(None, None, factor) for factor in level)] for level in factors]
