"""Where the tiles of a picture put their results, also where that is the picture itself."""

from __future__ import annotations

import numpy as np

from napari_car.pixels import Array, assign
from napari_car.tiling import Window


class Target:
    """The result of one picture, which its tiles write window by window.

    Parameters
    ----------
    result
        Shape (H, W, C).
    is_held_back
        Whether tiles still have to read what others write: rows then stay aside until they are released.
    """

    def __init__(self, result: Array, *, is_held_back: bool) -> None:
        self._result, self._is_held_back = result, is_held_back
        self._held: dict[int, Array] = {}  # by the first of their rows

    def window(self, write: Window) -> Array:
        """Where a tile is to put its result; to be asked for tile by tile, as they come in a plan."""
        if not self._is_held_back:
            return self._result[write.slices]
        if write.left == 0:
            self._held[write.top] = np.empty((write.bottom - write.top, *self._result.shape[1:]), self._result.dtype)
        return self._held[write.top][:, write.left : write.right]

    def release(self, row: int) -> None:
        """Let go of all rows above ``row``: their tiles are done, and none reads there any more."""
        for top in [top for top in self._held if top < row]:
            rows = self._held.pop(top)
            done = rows[: row - top]
            assign(self._result[top : top + len(done)], done)
            if len(done) < len(rows):
                self._held[row] = rows[len(done) :].copy()
