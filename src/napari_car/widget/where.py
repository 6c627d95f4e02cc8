"""Labels and shapes as a map of where to restore."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Shapes
from napari.utils.transforms import Affine
from scipy.ndimage import affine_transform

from napari_car.pixels import Array
from napari_car.widget.divider import plane_affine


@dataclass(frozen=True, eq=False)
class Where:
    """A layer of labels or shapes as it was when it was looked at.

    Parameters
    ----------
    has_planes
        Whether it says something else of other planes than that which is shown.
    draw
        Makes its map on the grid of the image, for the plane that is shown: 1 inside, 0 outside.
    """

    has_planes: bool
    draw: Callable[[], Array]

    @classmethod
    def of(cls, layer: Labels | Shapes, image: Image, viewer: ViewerModel) -> Where:
        """Look at a layer, on the GUI thread."""
        finest = image.data[0] if image.multiscale else image.data
        height, width = finest.shape[image.ndim - 2 : image.ndim]
        point = np.rint(layer.world_to_data(viewer.dims.point))[: layer.ndim - 2].astype(int)
        if isinstance(layer, Shapes):
            to_image = _compose(plane_affine(image).inverse, plane_affine(layer))
            found = [(kind, np.asarray(corners)) for kind, corners in zip(layer.shape_type, layer.data, strict=True)]
            here = [(kind, corners) for kind, corners in found if _reaches(corners[:, :-2], point)]
            kinds, outlines = [kind for kind, _ in here], [to_image(corners[:, -2:]) for _, corners in here]
            return cls(layer.ndim > 2, lambda: _drawn(outlines, kinds, (height, width)))
        pixels = layer.data[0] if layer.multiscale else layer.data
        leading = np.array(pixels.shape[:-2], int)
        plane = tuple(map(int, np.clip(point, 0, leading - 1)))
        to_labels = _compose(plane_affine(layer).inverse, plane_affine(image))
        return cls(
            bool((leading > 1).any()), lambda: _sampled(np.asarray(pixels[plane]) > 0, to_labels, (height, width))
        )


def _reaches(leading: Array, point: Array) -> bool:
    """Whether corners of these leading coordinates enclose a plane: napari shows a shape on all that it spans."""
    return bool(((np.rint(leading.min(0)) <= point) & (point <= np.rint(leading.max(0)))).all())


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
