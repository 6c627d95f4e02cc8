"""The main path: a picture in, the same picture without its JPEG artifacts out.

``restore_steps`` is the engine, a generator that yields progress and returns the result; ``restore`` drains it, and the
faces turn each step into a bar. Closing the generator cancels.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import repeat
from typing import TypedDict

import numpy as np
from numpy.typing import DTypeLike

from napari_car.budget import fit
from napari_car.clipping import clip_residual
from napari_car.errors import InputError
from napari_car.jpeg.coding import Coding
from napari_car.overwriting import Target
from napari_car.pixels import (
    Array,
    Layout,
    Planes,
    Residual,
    add_residual,
    check_range,
    cut,
    exact,
    layout,
    pictures,
    target_dtype,
    weigh,
)
from napari_car.quality import Quality, find_codings
from napari_car.session import Session, opened
from napari_car.steps import Steps, drain, side_by_side
from napari_car.stream import Stream
from napari_car.tiling import BLOCK, Tile, TilePlan

logger = logging.getLogger(__name__)

Run = Callable[[Callable[[], Array]], Residual]
"""What gives the residual of a tile, from what gives the pixels that it reads."""

BAND = 16_000
"""Pixels of a tile that are finished at a time, so that they stay in the processor's cache from step to step."""


class Options(TypedDict, total=False):
    """Keywords of ``restore``, for functions that pass them on."""

    model: str | None
    quality: Quality
    strength: float | Array
    luma: float
    chroma: float
    consistent: bool | Array
    dtype: DTypeLike | None
    session: Session | None
    tile: int | None
    max_memory: int | str | None


def restore(
    image: Array,
    *,
    model: str | None = None,
    quality: Quality = "auto",
    strength: float | Array = 1.0,
    luma: float = 1.0,
    chroma: float = 1.0,
    consistent: bool | Array = False,
    dtype: DTypeLike | None = None,
    session: Session | None = None,
    tile: int | None = None,
    max_memory: int | str | None = None,
    out: Array | None = None,
) -> Array:
    """Remove the artifacts of JPEG compression from an image; the same shape and dtype come back.

    Parameters
    ----------
    image
        Shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), with any leading axes as a stack of pictures; uint8, uint16
        over their full range, or float32, float64 in [0, 1]. It is not changed. Alpha is passed through.
    model
        Id of ``list_models``; the default model for None.
    quality
        IJG quality 1..100 at which the picture was compressed, the ``JpegInfo`` of its file, a ``Coding``, or "auto":
        what ``diagnose`` finds in the pixels, for each picture of a stack by itself where they differ; or what it has
        found. A picture that shows no compression comes back as it is, as for None.
    strength
        Share of the change that is applied, 0..1; 0 returns the pixels bit for bit. A number, or a map of shape (H, W).
    luma, chroma
        Shares of the change in brightness and in colour, 0..1 each, on top of ``strength``.
    consistent
        Whether to keep the result within the quantization intervals of the file: nothing that it excludes is invented.
        For the 8-bit pixels of a JPEG, as they were decoded. True, or the decoder's own components, shape (H, W, n), as
        ``jpeg.coefficients.read_planes`` gives them: they tell more where colours are clipped.
    dtype
        Of the result: "uint8", "uint16", "float32" or "float64"; that of the image for None. Restored gradients of an
        8-bit image hold more than 8 bits.
    session
        Of ``open_session``, to be used in place of ``model``.
    tile
        Side of the pieces that are worked on, px; it changes speed and memory, never pixels (where they are
        ``consistent`` and finer than 8 bits, none by more than a last place).
    max_memory
        What the process may take in all, bytes or such as "600MB"; size and number of the pieces follow from it, pixels
        do not. What cannot fit is refused before the work. For None it is the image, the result and a little more.
    out
        Where to put the result, an array of its shape and dtype. The image itself may be given: it is then changed in
        place, half of it where the work is broken off, and no memory is needed for a second one.

    Returns
    -------
    np.ndarray
        The restored image.

    Raises
    ------
    InputError
        If the image or an option cannot be taken.
    ModelError
        If the model is unknown or damaged.
    InferenceError
        If the model fails while it runs.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.full((40, 60, 3), 128, np.uint8)
    >>> restored = restore(image, quality=20)
    >>> restored.shape, restored.dtype
    ((40, 60, 3), dtype('uint8'))
    """
    return drain(
        restore_steps(
            image,
            model=model,
            quality=quality,
            strength=strength,
            luma=luma,
            chroma=chroma,
            consistent=consistent,
            dtype=dtype,
            session=session,
            tile=tile,
            max_memory=max_memory,
            out=out,
        )
    )


def restore_steps(
    image: Array,
    *,
    model: str | None = None,
    quality: Quality = "auto",
    strength: float | Array = 1.0,
    luma: float = 1.0,
    chroma: float = 1.0,
    consistent: bool | Array = False,
    dtype: DTypeLike | None = None,
    session: Session | None = None,
    tile: int | None = None,
    max_memory: int | str | None = None,
    out: Array | None = None,
) -> Steps[Array]:
    """Restore an image step by step: yields ``(done, total)`` as it begins and after each tile, and returns the image.

    Parameters and errors are those of ``restore``. Nothing is done before the first step, at which what is wrong with
    them is raised; after it, threads are at work. While the pictures of a stack are looked at one by one, since they
    differ, steps are ``(0, pictures)``.

    Examples
    --------
    >>> import numpy as np
    >>> steps = restore_steps(np.zeros((64, 260), np.uint8), quality=10, tile=64)
    >>> [f"{done}/{total}" for done, total in steps]
    ['0/3', '1/3', '2/3', '3/3']
    """
    whole = layout(image)
    check_range(image)
    result = _result(image, dtype, out)
    blend = check_strength(strength, whole)
    decoded = _decoded(consistent, whole)
    is_consistent = decoded is not None or consistent is True
    if is_consistent and image.dtype != np.uint8:
        raise InputError(f"consistent needs the 8-bit pixels of a JPEG; the image is {image.dtype}")
    luma, chroma = (_number(name, value) for name, value in (("luma", luma), ("chroma", chroma)))
    session = opened(session, model)
    card = session.card
    codings = yield from find_codings(quality, image, card, session.threads)
    if is_consistent and any(coding and not coding.tables for coding in codings):
        raise InputError(
            "consistent needs the quantization tables of a grey or YCbCr JPEG; of this coding there are none"
        )
    # Where coefficients are clipped, tiles must hold whole blocks.
    align = math.lcm(card.align, BLOCK) if is_consistent else card.align
    grids = [coding.grid_phase if coding else (0, 0) for coding in codings]
    phases = [(row % align, column % align) for row, column in grids]
    in_place = result is image
    pieces = fit(
        card,
        session.provider,
        session.precision,
        (whole.height, whole.width),
        align=align,
        threads=session.threads,
        tile=tile,
        max_memory=max_memory,
        taken=0 if out is not None else result.nbytes,
        held_per_row=in_place * whole.width * max(whole.channels, 1) * image.itemsize,
    )
    plans = {phase: pieces.plan(whole.height, whole.width, phase) for phase in set(phases)}

    shares: list[float] = []

    def restore_tile(picture: Array, target: Array, coding: Coding | None, tile: Tile, run: Run | None) -> None:
        if run is None:
            output = Residual(np.broadcast_to(np.float32(0), (tile.crop.bottom, tile.crop.right, 3)))
        else:
            output = run(partial(cut, picture, *tile.read, dtype=session.dtype))
        for band in tile.bands(BAND):
            window = band.write.slices
            degraded, top = picture[window], band.write.top - tile.write.top
            residual = output.planes(*band.crop.slices)
            residual = weigh(residual, luma, chroma, blend if isinstance(blend, float) else blend[window])
            if coding is not None and is_consistent:
                residual, share = clip_residual(
                    degraded, residual, band.write, coding, dtype=target.dtype, decoded=decoded
                )
                shares.append(share)
            add_residual(degraded, residual, target[top : top + len(degraded)])

    targets = [Target(picture, is_held_back=in_place) for picture in pictures(result)]
    jobs = (
        (picture, target.window(tile.write), coding, tile, run)
        for picture, target, coding, phase in zip(pictures(image), targets, codings, phases, strict=True)
        for tile, run in zip(plans[phase], _runs(session, coding, plans[phase]), strict=True)
    )
    unread = (
        (target, row)
        for target, phase in zip(targets, phases, strict=True)
        for row in (*[min(tile.read.top, tile.write.top) for tile in plans[phase]][1:], whole.height)
    )
    n_tiles = sum(len(plans[phase]) for phase in phases)
    with closing(side_by_side(restore_tile, jobs, n_tiles, pieces.at_once)) as steps:
        yield next(steps)
        for step, (target, row) in zip(steps, unread, strict=True):
            target.release(row)
            yield step
    if shares:
        logger.info("%.2f %% of the known coefficients were clipped into their intervals", 100 * np.mean(shares))
    return result


def _runs(session: Session, coding: Coding | None, plan: TilePlan) -> Iterator[Run | None]:
    """How each tile of a plan, or strip, goes through the network; None where it does not."""
    if coding is None:
        yield from repeat(None, len(plan))
    elif plan.is_strips:
        streams = [Stream(session, coding) for _ in plan.columns]
        for nth in range(len(plan.rows)):
            for stream in streams:
                yield partial(stream.run, nth=nth, is_last=nth + 1 == len(plan.rows))
    else:
        yield from repeat(lambda pixels: session.run(pixels(), coding), len(plan))


def _result(image: Array, dtype: DTypeLike | None, out: Array | None) -> Array:
    """Where the result goes: ``out`` if it can be that, else an array of its own."""
    if out is None:
        return np.empty(image.shape, target_dtype(image, dtype))
    if not isinstance(out, np.ndarray):
        raise InputError(f"out is a {type(out).__name__}; it must be a numpy array")
    wanted = target_dtype(image, out.dtype if dtype is None else dtype)
    if (out.shape, out.dtype.name) != (image.shape, wanted.name) or not out.flags.writeable:
        kind = "" if out.flags.writeable else "read-only "
        raise InputError(f"out is {kind}{out.dtype} of shape {out.shape}; it must be {wanted} of shape {image.shape}")
    if out is not image and np.may_share_memory(out, image):
        raise InputError("out overlaps the image; it must be the image itself or lie apart from it")
    return out


def _decoded(consistent: bool | Array, whole: Layout) -> Array | None:
    """The components that the result is to be consistent with, where they are given."""
    if isinstance(consistent, bool):
        return None
    if not isinstance(consistent, np.ndarray):
        kind = type(consistent).__name__
        raise InputError(f"consistent is a {kind}; it must be True, False or an array of the file's components")
    if consistent.dtype != np.uint8 or consistent.shape not in [(whole.height, whole.width, n) for n in (1, 3)]:
        raise InputError(
            f"consistent has shape {consistent.shape} and dtype {consistent.dtype}; "
            f"it must be ({whole.height}, {whole.width}, 1 or 3) of uint8"
        )
    return consistent


def check_strength(strength: float | Array, whole: Layout) -> float | Planes:
    """The strength as a float, or as a map of the picture's size.

    Raises
    ------
    InputError
        If it is neither, or not within 0..1.
    """
    values = _share("strength", strength)
    if values.ndim and values.shape != (whole.height, whole.width):
        raise InputError(
            f"the strength map has shape {values.shape}; it must have the picture's, {(whole.height, whole.width)}"
        )
    return values if values.ndim else float(values)


def _number(name: str, share: float) -> float:
    """A share of the change, 0..1, that is one number."""
    value = _share(name, share)
    if value.ndim:
        raise InputError(f"{name} has shape {value.shape}; it must be a number in 0..1")
    return float(value)


def _share(name: str, share: float | Array) -> Planes:
    """A share of the change, 0..1, or a map of shares."""
    try:
        values = np.asarray(share, np.float32)
        low, high = values.min(), values.max()
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is {share!r}; it must be a number in 0..1") from error
    if not (low >= 0 and high <= 1):
        raise InputError(f"{name} runs from {exact(low)} to {exact(high)}; it must lie in 0..1")
    return values
