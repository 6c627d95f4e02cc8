"""In what pieces pictures are worked on and how many at a time, by the memory and the cores there are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from napari_car.cards import ModelCard
from napari_car.errors import InputError
from napari_car.memory import parse_memory, resident, shortage
from napari_car.tiling import BLOCK, STRIP, TilePlan, fit_columns, fit_tiles, overlap, plan_strips, plan_tiles

WORKING_MEMORY = 64e6
"""For the tiles that are worked on at a time where no limit is set, bytes: what a run takes beyond picture, result and
libraries."""

TILE_MEMORY = 32e6
"""For one tile where there is room for any, bytes; larger ones are no faster."""

AROUND_PER_PX = {"int8": 6, "fp16": 24, "fp32": 24}
"""Memory of a tile around the run of its model, bytes per pixel: what goes in, twice where it is padded."""

HEADROOM = 32e6
"""What is kept free under a limit, bytes: for opening the model and for what allocators do not give back."""


LARGE = (3000, 4000)
"""Height and width of a large picture, px."""


@dataclass(frozen=True)
class Pieces:
    """How pictures are worked on in pieces.

    Parameters
    ----------
    side
        Of tiles, or the width of columns of strips, px.
    at_once
        How many are worked on at a time.
    halo, align
        Of the model and what is asked of it, px.
    rows
        Of strips, px; None for tiles.
    lead
        Of a model that takes strips, px.
    """

    side: int
    at_once: int
    halo: int
    align: int
    rows: int | None = None
    lead: int = 0

    def plan(self, height: int, width: int, phase: tuple[int, int] = (0, 0)) -> TilePlan:
        """The tiles or strips of a picture whose grid has this phase."""
        halo, align = self.halo, self.align
        if self.rows is None:
            return plan_tiles(height, width, tile=self.side, halo=halo, align=align, phase=phase)
        return plan_strips(
            height, width, column=self.side, rows=self.rows, lead=self.lead, halo=halo, align=align, phase=phase
        )


def fit(
    card: ModelCard,
    provider: str,
    precision: str,
    size: tuple[int, int],
    *,
    align: int,
    threads: int,
    tile: int | None = None,
    max_memory: int | str | None = None,
    taken: int = 0,
    held_per_row: int = 0,
) -> Pieces:
    """Pieces in which pictures of a size are done soon in bounded memory: strips where they can be taken.

    Parameters
    ----------
    card, provider, precision
        The model, what runs it, and in which arithmetic.
    size
        Height and width of a picture, px.
    align
        Grid on which tiles start, px.
    threads
        The most that can be worked on at a time.
    tile
        The side of tiles, where it is given; their number alone then follows from the memory.
    max_memory
        What the process may take in all, bytes or such as "600MB"; as much as the pieces need for None.
    taken
        What will be taken beyond the pieces and what the process has already, bytes.
    held_per_row
        What is held back of each row of a piece, bytes.

    Raises
    ------
    InputError
        If the least that works is more than the process may take, or the side of tiles is none.
    """
    if tile is not None and (isinstance(tile, bool) or not isinstance(tile, int | np.integer) or tile < 1):
        raise InputError(f"tile is {tile!r}; it must be a whole number of pixels, at least 1")
    bytes_per_px = card.bytes_per_px[precision] + AROUND_PER_PX[precision]
    shared = overlap(card.halo, align)
    memory, tallest = WORKING_MEMORY, None
    if max_memory is not None:
        limit = parse_memory(max_memory)
        least = align if tile is None else tile
        fixed = taken + HEADROOM + held_per_row * (2 * least + shared)
        needed = fixed + bytes_per_px * (least + shared) ** 2
        if lack := shortage(needed, limit):
            raise InputError(f"restoring the picture {lack}")
        room = max(limit - resident(), needed) - taken - HEADROOM
        if held_per_row:  # of two rows of tiles at a time; they may take a third
            tallest = max(int(room / 3 / held_per_row - shared) // 2, align) // align * align
            room *= 2 / 3
        memory = min(room, threads * TILE_MEMORY)
    if tile is not None:
        at_once = max(1, min(threads, int(memory / bytes_per_px / (tile + shared) ** 2)))
        return Pieces(tile, at_once, card.halo, align)
    side, at_once = fit_tiles(memory, bytes_per_px=bytes_per_px, halo=card.halo, align=align, at_once=threads)
    tiles = Pieces(side if tallest is None else min(side, tallest), at_once, card.halo, align)
    if card.form(provider, precision) == "tiles" or (tallest is not None and tallest < STRIP):
        return tiles
    lead = card.strips["lead"]
    column, rows, at_once = fit_columns(
        memory - card.strips["state_per_px"] * size[1],
        bytes_per_px=card.strips["bytes_per_px"] + AROUND_PER_PX[precision],
        lead=lead,
        halo=card.halo,
        align=align,
        at_once=threads,
        width=size[1],
    )
    if not column:
        return tiles
    if tallest is not None:
        rows = min(rows, tallest // BLOCK * BLOCK)
    return Pieces(column, at_once, card.halo, align, rows, lead)


def overhead(card: ModelCard, provider: str, precision: str, threads: int) -> float:
    """Pixels that one thread of ``threads`` computes for each pixel of a large picture, where no memory limit is set.

    More than its share, since pieces overlap by their halo, and where a run takes much memory they are small.

    Examples
    --------
    >>> from napari_car.cards import load_card
    >>> card = load_card("car-l")
    >>> tiles, strips = (overhead(card, provider, "int8", 16) for provider in ("openvino", "cpu"))
    >>> 1 / 16 < strips < tiles / 3  # sixteen tiles at a time would be too small
    True
    """
    pieces = fit(card, provider, precision, LARGE, align=card.align, threads=threads)
    return pieces.plan(*LARGE).read_px / pieces.at_once / math.prod(LARGE)
