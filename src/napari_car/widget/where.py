"""Labels and shapes as a map of where to restore."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Shapes
from napari.utils.transforms import Affine
from scipy.ndimage import affine_transform

from napari_car.pixels import Array
from napari_car.widget.divider import plane_affine


def where_map(layer: Labels | Shapes, image: Image, viewer: ViewerModel) -> Callable[[], Array]:
    """Look at a layer, on the GUI thread; give what makes its map on the grid of ``image``: 1 inside, 0 outside."""
    finest = image.data[0] if image.multiscale else image.data
    height, width = finest.shape[image.ndim - 2 : image.ndim]
    if isinstance(layer, Shapes):
        to_image = _compose(plane_affine(image).inverse, plane_affine(layer))
        outlines = [to_image(np.asarray(outline)[:, -2:]) for outline in layer.data]
        kinds = list(layer.shape_type)
        return lambda: _drawn(outlines, kinds, (height, width))
    pixels = layer.data[0] if layer.multiscale else layer.data
    point = np.asarray(layer.world_to_data(viewer.dims.point))[: layer.ndim - 2]
    plane = tuple(int(i) for i in np.clip(np.rint(point), 0, np.array(pixels.shape[:-2], int) - 1))
    to_labels = _compose(plane_affine(layer).inverse, plane_affine(image))
    return lambda: _sampled(np.asarray(pixels[plane]) > 0, to_labels, (height, width))


def _compose(second: Affine, first: Affine) -> Affine:
    """The one transform after the other."""
    return Affine(affine_matrix=second.affine_matrix @ first.affine_matrix)


def _drawn(outlines: list[Array], kinds: list[str], size: tuple[int, int]) -> Array:
    """Shapes of given corners, filled."""
    if not outlines:
        return np.zeros(size, np.float32)
    filled: Array = Shapes(outlines, shape_type=kinds).to_labels(size)
    return (filled > 0).astype(np.float32)


def _sampled(inside: Array, to_labels: Affine, size: tuple[int, int]) -> Array:
    """Labels where the pixels of another grid lie."""
    found: Array = affine_transform(
        inside.astype(np.float32), to_labels.linear_matrix, to_labels.translate, output_shape=size, order=0
    )
    return found
