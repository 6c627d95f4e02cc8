"""How large tiles are and how many are worked on at a time, by the memory and the cores there are."""

from __future__ import annotations

import os

from napari_car.cards import ModelCard
from napari_car.errors import InputError
from napari_car.memory import parse_memory, resident, shortage
from napari_car.tiling import fit_tiles, overlap

WORKING_MEMORY = 64e6
"""For the tiles that are worked on at a time where no limit is set, bytes: what a run takes beyond picture, result and
libraries."""

TILE_MEMORY = 32e6
"""For one tile where there is room for any, bytes; larger ones are no faster."""

AROUND_PER_PX = {"int8": 6, "fp32": 24}
"""Memory of a tile around the run of its model, bytes per pixel: what goes in, twice where it is padded."""

HEADROOM = 32e6
"""What is kept free under a limit, bytes: for opening the model and for what allocators do not give back."""


def fit(
    card: ModelCard,
    precision: str,
    *,
    align: int,
    threads: int,
    tile: int | None = None,
    max_memory: int | str | None = None,
    taken: int = 0,
    held_per_row: int = 0,
) -> tuple[int, int]:
    """Side of the tiles, px, and how many are worked on at a time.

    Parameters
    ----------
    card, precision
        Of the model, and of its weights.
    align
        Grid on which tiles start, px.
    threads
        The most that can be worked on at a time.
    tile
        The side, where it is given; the number of tiles alone then follows from the memory.
    max_memory
        What the process may take in all, bytes or such as "600MB"; as much as the tiles need for None.
    taken
        What will be taken beyond the tiles and what the process has already, bytes.
    held_per_row
        What is held back of each row of a tile, bytes.

    Raises
    ------
    InputError
        If the least that works is more than the process may take.
    """
    bytes_per_px = card.bytes_per_px[precision] + AROUND_PER_PX[precision]
    shared = overlap(card.halo, align)
    memory, tallest = WORKING_MEMORY, None
    if max_memory is not None:
        limit = parse_memory(max_memory)
        least = align if tile is None else tile
        fixed = taken + HEADROOM + held_per_row * (2 * least + shared)
        if lack := shortage(fixed + bytes_per_px * (least + shared) ** 2, limit):
            raise InputError(f"restoring the picture {lack}")
        room = limit - resident() - taken - HEADROOM
        if held_per_row:  # of two rows of tiles at a time; they may take a third
            tallest = max(int(room / 3 / held_per_row - shared) // 2, align) // align * align
            room *= 2 / 3
        memory = min(room, threads * TILE_MEMORY)
    if tile is not None:
        return tile, max(1, min(threads, int(memory / bytes_per_px / (tile + shared) ** 2)))
    side, at_once = fit_tiles(memory, bytes_per_px=bytes_per_px, halo=card.halo, align=align, at_once=threads)
    return side if tallest is None else min(side, tallest), at_once


def overhead(card: ModelCard, precision: str, threads: int) -> float:
    """Pixels that one thread of ``threads`` computes for each pixel of a large picture, where no memory limit is set.

    More than its share, since tiles overlap by their halo, and where a run takes much memory they are small.

    Examples
    --------
    >>> from napari_car.cards import load_card
    >>> card = load_card("car-l")
    >>> overhead(card, "int8", 1) > 1  # more than each pixel once: halos
    True
    >>> overhead(card, "fp32", 2) > 2 * overhead(card, "int8", 2)  # so much memory that one thread alone works
    True
    """
    side, at_once = fit(card, precision, align=card.align, threads=threads)
    return ((side + overlap(card.halo, card.align)) / side) ** 2 / at_once


def count_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
