"""The part of a layer that is on the screen."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image

from napari_car.cards import ModelCard
from napari_car.lazy import MCU
from napari_car.tiling import Window

MAX_AREA = 2_000_000
"""Most pixels that a preview restores; of a larger region its middle is taken."""


@dataclass(frozen=True)
class Region:
    """A window of one resolution level.

    Parameters
    ----------
    level
        Of the layer; 0 is the finest.
    factor
        Pixels of the finest level in one of this, along rows and columns.
    shown
        What is on the screen, px of the level.
    read
        What a network must see to restore that, px of the level.
    """

    level: int
    factor: tuple[float, float]
    shown: Window
    read: Window

    @property
    def crop(self) -> tuple[slice, slice]:
        """Index of what is shown within what is read."""
        top, left = self.shown.top - self.read.top, self.shown.left - self.read.left
        height, width = self.shown.shape
        return slice(top, top + height), slice(left, left + width)


def visible_region(viewer: ViewerModel, layer: Image, card: ModelCard) -> Region | None:
    """The part of a layer that is on the screen; None where it is not, or is shown in 3D or from its side."""
    displayed = viewer.dims.displayed
    rows = (viewer.dims.ndim - 2, viewer.dims.ndim - 1)
    if viewer.dims.ndisplay != 2 or sorted(displayed) != list(rows):
        return None
    level = layer.data_level if layer.multiscale else 0
    finest = layer.data[0] if layer.multiscale else layer.data
    sizes = (layer.data[level] if layer.multiscale else layer.data).shape[layer.ndim - 2 : layer.ndim]
    factor = np.divide(finest.shape[layer.ndim - 2 : layer.ndim], sizes)
    corners = np.array([_to_data(viewer, layer, corner) for corner in _screen(viewer)]) / factor
    low = np.clip(np.floor(corners.min(0) + 0.5), 0, sizes).astype(int)
    high = np.clip(np.ceil(corners.max(0) + 0.5), 0, sizes).astype(int)
    if (high <= low).any():
        return None
    low, high = _middle(low, high)
    # Begun on the grid, which keeps its phase; a step more than the halo, since a grid of another phase cuts its cells.
    grid = math.lcm(card.align, MCU)
    margin = card.halo + grid
    read_low = np.maximum(low - margin, 0) // grid * grid
    read_high = np.minimum(high + margin, sizes)
    vertical, horizontal = map(float, factor)
    return Region(
        level,
        (vertical, horizontal),
        Window(*map(int, (*low, *high))),
        Window(*map(int, (*read_low, *read_high))),
    )


def _screen(viewer: ViewerModel) -> list[tuple[float, float]]:
    """Corners of the canvas in the world, along the two axes that are displayed."""
    center = np.array(viewer.scene.camera.center[-2:])
    half = np.array(viewer.canvas.viewbox_size(viewer.layers)) / viewer.scene.camera.zoom / 2
    return [tuple(center + half * sign) for sign in itertools.product((-1, 1), repeat=2)]


def _to_data(viewer: ViewerModel, layer: Image, point: tuple[float, float]) -> tuple[float, float]:
    """Row and column of a layer at a point of the displayed plane."""
    world = np.array(viewer.dims.point, float)
    world[list(viewer.dims.displayed)] = point
    row, column = layer.world_to_data(world)[-2:]
    return float(row), float(column)


def _middle(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The window, or the middle of it that has at most `MAX_AREA` pixels."""
    size = high - low
    excess = np.sqrt(np.prod(size) / MAX_AREA)
    if excess <= 1:
        return low, high
    smaller = np.maximum((size / excess).astype(int), 1)
    start = low + (size - smaller) // 2
    return start, start + smaller
