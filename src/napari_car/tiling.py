"""Tiles of an image: integers only. Tiled output equals whole-image output because windows are cut this way."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from napari_car.errors import InputError


class Window(NamedTuple):
    """A rectangle of an image, px, bottom and right exclusive; it may reach beyond the image where that is padded."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the rectangle in an array of shape (H, W, ...)."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


class Tile(NamedTuple):
    """One run of the network: what it reads, what it writes, and the part of its output that is written.

    ``read`` and ``write`` are in image coordinates, ``crop`` in coordinates of ``read``.
    """

    read: Window
    write: Window
    crop: Window


@dataclass(frozen=True)
class TilePlan:
    """Tiles that cover an image once; iterating yields them row by row.

    Parameters
    ----------
    rows, columns
        Spans along each axis, as ``(read start, write start, write stop)`` in px.
    shape
        Height and width of every read window, px.
    """

    rows: tuple[tuple[int, int, int], ...]
    columns: tuple[tuple[int, int, int], ...]
    shape: tuple[int, int]

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def __iter__(self) -> Iterator[Tile]:
        height, width = self.shape
        for y, top, bottom in self.rows:
            for x, left, right in self.columns:
                yield Tile(
                    read=Window(y, x, y + height, x + width),
                    write=Window(top, left, bottom, right),
                    crop=Window(top - y, left - x, bottom - y, right - x),
                )


def plan_tiles(
    height: int, width: int, *, tile: int, halo: int, align: int, phase: tuple[int, int] = (0, 0)
) -> TilePlan:
    """Cut an image into tiles whose outputs, trimmed, are those of the whole image.

    Every read window has one shape, starts on the grid of ``align`` px and holds ``halo`` px of context on each side of
    what is written, except at the image's edge, where there is none to be had. Only the image's edges are padded, out
    to the grid, and the same way for any tile size; windows then reach beyond the image.

    Parameters
    ----------
    height, width
        Of the image, px, at least 1.
    tile
        Side of what a tile in the middle of the image writes at most, px; rounded up to a multiple of ``align``.
    halo
        How far beyond a cell of its grid the network's output depends on the image, px.
    align
        The network's grid, px.
    phase
        Row and column of a grid line inside the image, each in 0..align-1; (0, 0) where the grid starts at its corner.

    Raises
    ------
    InputError
        If ``tile`` is less than 1.

    Examples
    --------
    >>> plan = plan_tiles(100, 40, tile=32, halo=10, align=16)
    >>> len(plan), plan.shape
    (3, (64, 48))
    >>> [tile.write.slices[0] for tile in plan]
    [slice(0, 48, None), slice(48, 64, None), slice(64, 100, None)]
    """
    if tile < 1:
        raise InputError(f"tile is {tile} px; it must be at least 1")
    rows, read_height = _spans(height, tile, halo, align, phase[0])
    columns, read_width = _spans(width, tile, halo, align, phase[1])
    return TilePlan(rows, columns, (read_height, read_width))


def fit_tiles(memory: float, *, bytes_per_px: int, halo: int, align: int, at_once: int) -> tuple[int, int]:
    """How large tiles are to be and how many are to be worked on at a time, to get most done in bounded memory.

    More at a time means smaller ones, which spend a larger share on their halo; where that is more than on themselves,
    fewer at a time do better.

    Parameters
    ----------
    memory
        For all that is worked on at a time, bytes.
    bytes_per_px
        Memory that a tile takes for each pixel that it reads.
    halo, align
        As for ``plan_tiles``, px.
    at_once
        The most tiles that can be worked on at a time, at least 1.

    Returns
    -------
    tile, count
        Side of what a tile writes, px, a multiple of ``align`` and at least one; and how many at a time. The least of
        both where memory is too small for any.

    Examples
    --------
    >>> fit_tiles(64e6, bytes_per_px=100, halo=32, align=16, at_once=2)
    (496, 2)
    >>> fit_tiles(64e6, bytes_per_px=1000, halo=9, align=1, at_once=64)
    (45, 16)
    """
    halo = -(-halo // align) * align
    best, most = (align, 1), 0.0
    for count in range(1, at_once + 1):
        window = math.isqrt(int(memory / (count * bytes_per_px)))
        tile = (window - 2 * halo) // align * align
        if tile < 1:
            break
        share = (tile / (tile + 2 * halo)) ** 2
        if count * share > most and (share >= 0.5 or count == 1):
            best, most = (tile, count), count * share
    return best


def _spans(length: int, tile: int, halo: int, align: int, phase: int) -> tuple[tuple[tuple[int, int, int], ...], int]:
    """Spans of one axis and the length that each reads."""
    origin = -(-phase % align)  # of the first whole cell of the grid, at or before the image's edge
    tile, halo, padded = (-(-n // align) * align for n in (tile, halo, length - origin))
    read = min(padded, tile + 2 * halo)
    count = 1 + -(-(padded - read) // tile)
    # As many tiles would cover more than there is: smaller ones overlap less.
    read = -(-(padded + 2 * halo * (count - 1)) // (count * align)) * align
    tile = read - 2 * halo
    starts = [origin + min(i * tile, padded - read) for i in range(count)]
    edges = [0, *(start + halo for start in starts[1:]), length]
    return tuple(zip(starts, edges, edges[1:], strict=False)), read
