"""The line between original and preview, to be dragged on the canvas."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from napari.utils.transforms import Affine

from napari_car.widget.insertion import Canvases, insert_unselected, take_away
from napari_car.widget.source import PREVIEW_KEY

GRIP = 8
"""Distance from the line at which a press takes hold of it, screen px."""

LINE = 2
"""Width of the line, screen px."""

NAME = "divider [car]"


class Divider:
    """A line across the picture, along its columns.

    Parameters
    ----------
    viewer
        Where it is shown.
    moved
        Called with the column of the layer at which it was let go or dragged to.
    """

    def __init__(self, viewer: ViewerModel, moved: Callable[[float], None]) -> None:
        self._viewer = viewer
        self._moved = moved
        self._source: Image | None = None
        self._line: Shapes | None = None
        self._column = 0.0

    def show(self, source: Image, column: float, top: float, bottom: float) -> None:
        """Draw the line at a column of ``source``, between two of its rows."""
        if self._line is None or self._line not in self._viewer.layers:
            self._line = Shapes(
                ndim=2,
                name=NAME,
                affine=plane_affine(source),
                units=source.units[-2:],
                axis_labels=source.axis_labels[-2:],
                metadata={PREVIEW_KEY: True},
            )
            insert_unselected(self._viewer.layers, self._line)
            if self._drag not in self._viewer.mouse_drag_callbacks:  # the user may have taken the line away
                self._viewer.mouse_drag_callbacks.append(self._drag)
        self._source, self._column = source, column
        self._line.affine = plane_affine(source)
        width = LINE / (
            self._viewer.scene.camera.zoom * float(np.linalg.norm(plane_affine(source).linear_matrix[:, 1]))
        )
        self._line.data = []
        self._line.add_lines([[top, column], [bottom, column]], edge_width=width, edge_color="#ffb000")

    def remove(self, canvases: Canvases) -> None:
        """Take the line away, and what listens to the mouse."""
        if self._line is None:
            return
        take_away(self._viewer.layers, self._line, canvases)
        if self._drag in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._drag)
        self._line = self._source = None

    def _drag(self, viewer: ViewerModel, event: Any) -> Generator[None, None, None]:
        """Follow the mouse, if it was pressed on the line, while the camera rests."""
        if self._source is None or not self._is_near(event.position):
            return
        camera = viewer.scene.camera
        before = camera.mouse_pan
        camera.mouse_pan = False
        try:
            yield
            while event.type == "mouse_move":
                self._moved(self._column_of(event.position))
                yield
        finally:
            camera.mouse_pan = before

    def _is_near(self, position: tuple[float, ...]) -> bool:
        """Whether a point of the world is within reach of the line."""
        if self._source is None:
            return False
        return bool(abs(self._column_of(position) - self._column) * self._zoom(self._source) <= GRIP)

    def _zoom(self, layer: Image) -> float:
        """Screen px in one column of a layer."""
        return float(self._viewer.scene.camera.zoom * np.linalg.norm(plane_affine(layer).linear_matrix[:, 1]))

    def _column_of(self, position: tuple[float, ...]) -> float:
        """Column of the layer at a point of the world."""
        return float(self._source.world_to_data(position)[-1]) if self._source is not None else 0.0


def plane_affine(layer: Image) -> Affine:
    """Where the rows and columns of a layer lie in the world, along its last two axes."""
    origin = np.zeros(layer.ndim)
    points = [origin, *np.eye(layer.ndim)[-2:]]
    start, down, right = (np.asarray(layer.data_to_world(point))[-2:] for point in points)
    return Affine(linear_matrix=np.column_stack([down - start, right - start]), translate=start)
