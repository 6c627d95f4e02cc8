"""Pictures larger than memory: dask arrays that restore themselves block by block when they are asked for."""

from __future__ import annotations

import itertools
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from napari_car.cards import load_card
from napari_car.diagnosis import Diagnosis, diagnose, spread
from napari_car.errors import FileError, InputError, MissingExtraError
from napari_car.pixels import Array, layout, target_dtype
from napari_car.restore import Options, check_strength, restore
from napari_car.session import Session, open_session
from napari_car.steps import Steps, count_cores
from napari_car.tiling import round_up

if TYPE_CHECKING:
    import dask.array as da

BLOCK = 1024
"""Side of the blocks that are restored at a time, px."""

MCU = 16
"""Largest side of an MCU that is met, px: a grid on which cuts keep the phase of all. Source: ITU-T T.81 A.2.2."""

LOOKED_AT = 1024
"""Side of the window by which "auto" quality is found, px."""


def restore_dask(array: Any, **options: Unpack[Options]) -> da.Array:
    """Restore a dask array lazily; what is computed equals ``restore`` of the whole bit for bit with int8 models.

    (Where it is ``consistent`` and finer than 8 bits, to the last place.)

    Parameters
    ----------
    array
        A dask array, or another that dask can read lazily such as zarr's; shape and dtype as for ``restore``.
    **options
        Those of ``restore`` without ``session``, ``tile``, ``max_memory`` and ``out``. "auto" quality is found in the
        middle of a few pictures, for all of them, or of each when it is restored where these few differ.

    Raises
    ------
    MissingExtraError
        If dask is not installed.
    InputError
        If the array or an option cannot be taken.

    Examples
    --------
    >>> import dask.array as da
    >>> stack = da.zeros((1000, 4096, 4096), dtype="uint8", chunks=(1, 1024, 1024))
    >>> restored = restore_dask(stack, quality=20)
    >>> restored.shape, restored[500, :4, :4].compute().shape
    ((1000, 4096, 4096), (4, 4))
    """
    da = _dask_array()
    source = array if isinstance(array, da.Array) else da.from_array(array)
    if np.isnan(source.shape).any():
        raise InputError(f"the array has shape {source.shape}; its sizes must be known (compute_chunk_sizes)")
    whole = layout(np.broadcast_to(np.zeros((), source.dtype), source.shape))
    if refused := {"session", "tile", "max_memory", "out"} & options.keys():
        raise InputError(f"a lazy array takes no {' and no '.join(sorted(refused))}; each block is a tile")
    if isinstance(options.get("consistent"), np.ndarray):
        raise InputError("a lazy array takes no components to be consistent with; consistent is True or False")
    strength = options.pop("strength", 1.0)
    check_strength(strength, whole)
    card = load_card(options.pop("model", None))
    quality = options.get("quality", "auto")
    found = quality if isinstance(quality, Diagnosis) else None
    if isinstance(quality, str) and quality == "auto":
        found = diagnose(middles(source, len(whole.stack)), card=card)
    if found is not None:
        options["quality"] = found.coding
    trial: Options = {**options, "session": _session(card.id)}
    restore(np.zeros((1, 1), source.dtype), **trial)  # refuses what no block can take
    dtype = target_dtype(np.empty(0, source.dtype), options.get("dtype"))
    # Blocks start on the grid of an uncropped picture and overlap by whole steps of it: each then sees what a tile of
    # the whole would. One step more than the halo, since a grid of another phase cuts its cells.
    grid = math.lcm(card.align, MCU)
    depth = round_up(card.halo, grid) + grid
    side = round_up(max(BLOCK, depth), grid)
    sides = [_sides(length, side) for length in (whole.height, whole.width)]
    spatial = len(whole.stack)
    chunks = (*((1,) * length for length in whole.stack), *sides, *[(whole.channels,)] * bool(whole.channels))
    blocks = [source.rechunk(chunks)]
    depths = {spatial + i: depth if len(sizes) > 1 else 0 for i, sizes in enumerate(sides)}
    overlaps = [dict.fromkeys(range(source.ndim), 0) | depths]
    if np.ndim(strength):  # as a stack of one picture, for dask to pair with every one
        lying = da.from_array(np.asarray(strength, np.float32), chunks=tuple(sides))[(np.newaxis,) * spatial]
        blocks.append(lying[..., np.newaxis] if whole.channels else lying)
        overlaps.append(overlaps[0])
    if found is not None and found.is_mixed:
        blocks.append(_codings(source, spatial, found, card.id))
        overlaps.append(dict.fromkeys(range(source.ndim), 0))
        del options["quality"]
    return da.map_overlap(
        _restore_block,
        *blocks,
        depth=overlaps,
        boundary="none",
        dtype=dtype,
        meta=np.empty((0,) * source.ndim, dtype),
        model=card.id,
        number=None if np.ndim(strength) else strength,
        has_channels=whole.channels > 0,
        options=dict(options),
    )


def store_steps(lazy: da.Array, path: str | os.PathLike[str]) -> Steps[Any]:
    """Compute a lazy array into a new Zarr store: yields ``(done, total)`` blocks and returns the stored array.

    Where it is broken off, by closing the steps or by an error, no store is left. Memory stays bounded: as many blocks
    are computed at a time as there are cores.

    Parameters
    ----------
    lazy
        Of ``restore_dask``.
    path
        Folder of the store; it must not exist.

    Raises
    ------
    FileError
        If the store exists or cannot be written.
    MissingExtraError
        If zarr is not installed.
    """
    try:
        import dask
        import zarr
    except ImportError as error:
        raise MissingExtraError("A Zarr store", "distributed") from error
    places = itertools.product(*(_slices(sizes) for sizes in lazy.chunks))
    total = math.prod(lazy.numblocks)
    try:
        os.makedirs(path)
    except FileExistsError as error:
        raise FileError("is there already; give another name", path) from error
    except OSError as error:
        raise FileError(f"cannot be made a Zarr store ({error.strerror})", path) from error
    done = 0
    try:
        with _writing(path):
            stored = zarr.create_array(
                os.fspath(path), shape=lazy.shape, chunks=tuple(map(max, lazy.chunks)), dtype=lazy.dtype
            )
        while batch := list(itertools.islice(places, count_cores())):
            blocks = dask.compute(*(lazy[place] for place in batch), scheduler="threads")
            with _writing(path):
                for place, block in zip(batch, blocks, strict=True):
                    stored[place] = block
            done += len(batch)
            yield done, total
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
    return stored


@contextmanager
def _writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say in a sentence why a store cannot be written."""
    try:
        yield
    except OSError as error:
        raise FileError(f"cannot be made a Zarr store ({error.strerror})", path) from error


def _restore_block(
    block: Array, *others: Array, model: str, number: float | None, has_channels: bool, options: dict[str, Any]
) -> Array:
    """Restore one block with its overlap; of others its part of a strength map where there is no number, its coding."""
    pixels = block if has_channels else block[..., None]
    share = others[0].reshape(pixels.shape[-3:-1]) if number is None else number
    told = options if "quality" in options else {**options, "quality": others[-1].item()}
    restored = restore(pixels, session=_session(model), strength=share, **told)
    return restored if has_channels else restored[..., 0]


@cache
def _session(model: str) -> Session:
    """A session of one thread, since dask runs blocks side by side; one a process."""
    return open_session(model, threads=1)


def _codings(source: da.Array, spatial: int, found: Diagnosis, model: str) -> da.Array:
    """The coding of each picture, of 1 along its own axes: found in its middle, when its first block is asked for."""
    window = source[(..., *middle(source.shape[spatial:]), *[slice(None)] * (source.ndim - spatial - 2))]
    chunks = (*((1,) * length for length in source.shape[:spatial]), *window.shape[spatial:])

    def find(picture: Array) -> Array:
        coding = np.empty((1,) * picture.ndim, object)
        coding.flat[0] = found.coding_of(picture, load_card(model))
        return coding

    return window.rechunk(chunks).map_blocks(
        find,
        chunks=(*chunks[:spatial], *[1] * (source.ndim - spatial)),
        dtype=object,
        meta=np.empty((0,) * source.ndim, object),
    )


def middles(array: Any, n_stack: int) -> Array:
    """Pixels of the middles of a few pictures, by which "auto" quality is found.

    Parameters
    ----------
    array
        As for ``restore_dask``; only what is looked at is read.
    n_stack
        Number of leading axes, those of the stack.

    Returns
    -------
    np.ndarray
        Shape (n, h, w) or (n, h, w, channels), n at most 4, h and w at most 1024.
    """
    stack = array.shape[:n_stack]
    window = middle(array.shape[n_stack:])
    places = [tuple(map(int, np.unravel_index(index, stack))) for index in spread(math.prod(stack))]
    return np.stack([np.asarray(array[(*place, *window)]) for place in places])


def middle(sizes: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of the middle of a picture of that height and width, px; on the grid, which keeps its phase."""
    starts = [max(length - LOOKED_AT, 0) // 2 // MCU * MCU for length in sizes[:2]]
    rows, columns = (slice(start, start + LOOKED_AT) for start in starts)
    return rows, columns


def _sides(length: int, side: int) -> tuple[int, ...]:
    """Sizes of the blocks along an axis; the last is the largest, so that none is smaller than its overlap."""
    count = max(length // side, 1)
    return (*[side] * (count - 1), length - side * (count - 1))


def _slices(sizes: tuple[int, ...]) -> list[slice]:
    """Slices of the chunks along an axis."""
    stops = list(itertools.accumulate(sizes))
    return [slice(stop - size, stop) for stop, size in zip(stops, sizes, strict=True)]


def _dask_array() -> Any:
    """The module dask.array, imported when it is needed."""
    try:
        import dask.array
    except ImportError as error:
        raise MissingExtraError("A lazy array", "distributed") from error
    return dask.array
