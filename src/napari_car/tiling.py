"""Tiles of an image: integers only. Tiled output equals whole-image output because windows are cut this way."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from napari_car.errors import InputError

BLOCK = 8
"""Side of a block, px. Source: ITU-T T.81 A.1.1."""

STRIP = 64
"""Rows of a strip, px, where memory has no room for more."""

TALLEST = 128
"""Most rows of a strip, px: what is done once a strip, 0.7 ms, counts no more, and a cancel is seen soon."""


class Window(NamedTuple):
    """A rectangle of an image, px, bottom and right exclusive; it may reach beyond the image where that is padded."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, px."""
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the rectangle in an array of shape (H, W, ...)."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


class Tile(NamedTuple):
    """One run of the network: what it reads, what it writes, and the part of its output that is written.

    ``read`` and ``write`` are in image coordinates, ``crop`` in coordinates of the output.
    """

    read: Window
    write: Window
    crop: Window

    def bands(self, px: int) -> Iterator[Tile]:
        """The tile in strips of whole rows of blocks, of ``px`` pixels or one such row each, from top to bottom."""
        rows = max(1, px // self.write.shape[1] // BLOCK) * BLOCK
        first = self.write.top - self.crop.top
        for start in range(first, self.write.bottom, rows):
            top, bottom = max(start, self.write.top), min(start + rows, self.write.bottom)
            if top < bottom:
                crop = self.crop._replace(top=top - first, bottom=bottom - first)
                yield Tile(self.read, self.write._replace(top=top, bottom=bottom), crop)


class Span(NamedTuple):
    """A tile along one axis, px: where it is read, where its output begins, and where that is written."""

    read_start: int
    read_stop: int
    origin: int
    start: int
    stop: int


@dataclass(frozen=True)
class TilePlan:
    """Tiles that cover an image once; iterating yields them row by row.

    Parameters
    ----------
    rows, columns
        Spans along each axis.
    is_strips
        Whether the rows of a column are one stream: what each gives depends on those above.
    """

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]
    is_strips: bool = False

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def __iter__(self) -> Iterator[Tile]:
        for y in self.rows:
            for x in self.columns:
                yield Tile(
                    read=Window(y.read_start, x.read_start, y.read_stop, x.read_stop),
                    write=Window(y.start, x.start, y.stop, x.stop),
                    crop=Window(y.start - y.origin, x.start - x.origin, y.stop - y.origin, x.stop - x.origin),
                )

    @property
    def read_px(self) -> int:
        """Pixels that all tiles read."""
        height, width = (sum(s.read_stop - s.read_start for s in spans) for spans in (self.rows, self.columns))
        return height * width


def plan_tiles(
    height: int, width: int, *, tile: int, halo: int, align: int, phase: tuple[int, int] = (0, 0)
) -> TilePlan:
    """Cut an image into tiles whose outputs, trimmed, are those of the whole image.

    Every read window has one shape, starts on the grid of ``align`` px and holds ``halo`` px of context on each side of
    what is written, except at the image's edge, where there is none to be had. What is written begins and ends on cells
    of the grid (see ``cell``). Only the image's edges are padded, out to the grid, and the same way for any tile size;
    windows then reach beyond the image.

    Parameters
    ----------
    height, width
        Of the image, px, at least 1.
    tile
        Side of what a tile in the middle of the image writes at most, px; rounded up to a multiple of ``align``.
    halo
        How far beyond a cell the network's output depends on the image, px.
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
    >>> [tile.read.shape for tile in plan]
    [(64, 48), (64, 48), (64, 48)]
    >>> [tile.write.slices[0] for tile in plan]
    [slice(0, 48, None), slice(48, 64, None), slice(64, 100, None)]
    """
    if tile < 1:
        raise InputError(f"tile is {tile} px; it must be at least 1")
    return TilePlan(_spans(height, tile, halo, align, phase[0]), _spans(width, tile, halo, align, phase[1]))


def plan_strips(
    height: int,
    width: int,
    *,
    column: int,
    rows: int,
    lead: int,
    halo: int,
    align: int,
    phase: tuple[int, int] = (0, 0),
) -> TilePlan:
    """Cut an image into columns, and each into strips that are to be run from top to bottom, no row of it twice.

    What a strip gives lags behind what it reads by ``lead`` rows: the first reads as many more, the last gives them.

    Parameters
    ----------
    height, width, halo, align, phase
        As for ``plan_tiles``.
    column
        Width of what a column in the middle of the image writes at most, px.
    rows
        Of a strip at most, px: whole blocks on the grid.
    lead
        Of the network, px: a multiple of ``align`` and of blocks.

    Examples
    --------
    >>> plan = plan_strips(200, 40, column=99, rows=64, lead=16, halo=10, align=8)
    >>> [tile.read.slices[0] for tile in plan]
    [slice(0, 80, None), slice(80, 144, None), slice(144, 200, None)]
    >>> [tile.write.slices[0] for tile in plan]
    [slice(0, 64, None), slice(64, 128, None), slice(128, 200, None)]
    """
    origin, padded = _on_grid(height, align, phase[0])
    count = max(1, -(-(padded - lead) // rows))
    rows = round_up(-(-(padded - lead) // count), math.lcm(align, BLOCK))
    stops = [*(origin + lead + rows * i for i in range(1, count)), origin + padded]
    ends = [*(stop - lead for stop in stops[:-1]), height]
    spans = zip([origin, *stops], stops, [origin, *ends], [0, *ends], ends, strict=False)
    columns = _spans(width, column, halo, align, phase[1])
    return TilePlan(tuple(Span(*span) for span in spans), columns, is_strips=True)


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
    shared = overlap(halo, align)
    best, most = (align, 1), 0.0
    for count in range(1, at_once + 1):
        window = math.isqrt(int(memory / (count * bytes_per_px)))
        tile = (window - shared) // align * align
        if tile < 1:
            break
        share = (tile / (tile + shared)) ** 2
        if count * share > most and (share >= 0.5 or count == 1):
            best, most = (tile, count), count * share
    return best


def fit_columns(
    memory: float, *, bytes_per_px: int, lead: int, halo: int, align: int, at_once: int, width: int
) -> tuple[int, int, int]:
    """How large strips are to be and how many are to be worked on at a time, as ``fit_tiles`` for tiles.

    Parameters
    ----------
    memory, halo, align, at_once
        As for ``fit_tiles``.
    bytes_per_px
        Memory that a strip takes for each pixel that it reads.
    lead
        As for ``plan_strips``, px.
    width
        Of the picture, px.

    Returns
    -------
    column, rows, count
        Width of what a column writes, px, a multiple of ``align``; rows of a strip; and how many at a time, so that no
        more than half of all work is halo if it need not be. All are 0 where memory is too small for any.

    Examples
    --------
    >>> fit_columns(64e6, bytes_per_px=60, lead=64, halo=54, align=16, at_once=2, width=4000)
    (1952, 128, 2)
    >>> fit_columns(64e6, bytes_per_px=60, lead=64, halo=54, align=16, at_once=1, width=30000)
    (7472, 64, 1)
    """
    shared, grid = overlap(halo, align), math.lcm(align, BLOCK)
    best, least = (0, 0, 0), math.inf
    for count in range(1, at_once + 1):
        widest = int(memory / (count * bytes_per_px * (STRIP + lead)) - shared) // align * align
        if widest < 1:
            break
        inner = max(width - shared, 1)  # at the edges there is no halo
        column = round_up(-(-inner // max(count, -(-inner // widest))), align)
        columns = -(-inner // column)
        busy, all_read = min(count, columns), columns * (column + shared) if columns > 1 else width
        if all_read / busy < least and (all_read <= 2 * width or count == 1):
            rows = int(memory / (busy * bytes_per_px * (column + shared))) - lead
            best, least = (column, min(max(rows // grid * grid, STRIP), TALLEST), busy), all_read / busy
    return best


def cell(align: int) -> int:
    """Side of the squares between which tiles may meet on a grid of ``align`` px: blocks of 8, or what divides both."""
    return math.gcd(align, BLOCK)


def overlap(halo: int, align: int) -> int:
    """How much of what neighbouring tiles read is common to both, px: a halo of each, out to the grid.

    Examples
    --------
    >>> overlap(54, 16), overlap(62, 16), overlap(9, 1)
    (112, 128, 18)
    """
    return round_up(2 * round_up(halo, cell(align)), align)


def round_up(length: int, grid: int) -> int:
    """The least multiple of ``grid`` that is not less than ``length``."""
    return -(-length // grid) * grid


def _on_grid(length: int, align: int, phase: int) -> tuple[int, int]:
    """Of one axis padded out to the grid: where it begins, at or before the image's edge, and how long it is."""
    origin = -(-phase % align)
    return origin, round_up(length - origin, align)


def _spans(length: int, tile: int, halo: int, align: int, phase: int) -> tuple[Span, ...]:
    """Spans of tiles along one axis."""
    origin, padded = _on_grid(length, align, phase)
    tile, shared = round_up(tile, align), overlap(halo, align)
    read = min(padded, tile + shared)
    count = 1 + -(-(padded - read) // tile)
    # As many tiles would cover more than there is: smaller ones overlap less.
    read = round_up(-(-(padded + shared * (count - 1)) // count), align)
    tile = read - shared
    starts = [origin + min(i * tile, padded - read) for i in range(count)]
    edges = [0, *(start + round_up(halo, cell(align)) for start in starts[1:]), length]
    return tuple(Span(start, start + read, start, *edge) for start, edge in zip(starts, pairwise(edges), strict=True))
