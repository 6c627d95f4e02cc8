"""Any user array as float planes and back: dtype, grey, alpha and leading axes are kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_car.errors import InputError

Array = NDArray[Any]
Planes = NDArray[np.float32]

FULL_SCALE = {"uint8": 255, "uint16": 65535, "float32": 1, "float64": 1}
"""The dtypes that an image may have, and the value that is white in each; black is 0."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of R, G and B in luma. Source: ITU-T T.871 (JFIF), clause 7."""


@dataclass(frozen=True, eq=False)
class Residual:
    """What is to be added to a tile, as its network puts it: floats, or bytes that stand for them.

    Parameters
    ----------
    values
        Shape (H, W, 3): float32, of full scale, or uint8.
    step, zero
        A byte stands for ``(byte - zero) * step``, in float32.
    """

    values: Array
    step: float = 1.0
    zero: float = 0.0

    @classmethod
    def of(cls, outputs: Sequence[Array]) -> Residual:
        """What the outputs of a graph say of one tile: the residual, and in int8 its step and zero."""
        values, *lattice = outputs
        return cls(values[0], *map(float, lattice))

    def planes(self, rows: slice = slice(None), columns: slice = slice(None)) -> Planes:
        """A window of it as floats, shape (3, h, w), of full scale."""
        values = self.values[rows, columns].transpose(2, 0, 1)
        if values.dtype == np.float32:
            return values
        planes: Planes = (values - np.float32(self.zero)) * np.float32(self.step)
        return planes


@dataclass(frozen=True)
class Layout:
    """How an array holds pictures.

    Parameters
    ----------
    stack
        Shape of the leading axes; () for a single picture.
    height, width
        Of one picture, px.
    channels
        Size of the channel axis, or 0 where there is none.
    """

    stack: tuple[int, ...]
    height: int
    width: int
    channels: int

    @property
    def is_grey(self) -> bool:
        """Whether a picture has one component."""
        return self.channels in (0, 1)


def layout(image: Array) -> Layout:
    """Read how ``image`` holds pictures from its shape, and refuse what cannot be restored.

    The last axis is channels if it has 1, 3 or 4 entries (grey, RGB, RGBA) and there are at least three axes. The two
    axes before it, or else the last two, are rows and columns; any axes before those are a stack of pictures.

    Raises
    ------
    InputError
        If the array has fewer than two axes, is empty, or has a dtype outside ``FULL_SCALE``.

    Examples
    --------
    >>> layout(np.zeros((5, 48, 64, 3), np.uint8))
    Layout(stack=(5,), height=48, width=64, channels=3)
    """
    if not isinstance(image, np.ndarray):
        raise InputError(f"the image is a {type(image).__name__}; it must be a numpy array")
    if image.dtype.name not in FULL_SCALE:
        raise InputError(f"the image has dtype {image.dtype}; allowed are {', '.join(FULL_SCALE)}")
    shape = image.shape
    channels = shape[-1] if image.ndim >= 3 and shape[-1] in (1, 3, 4) else 0
    axes = shape[:-1] if channels else shape
    if len(axes) < 2 or 0 in shape:
        raise InputError(
            f"the image has shape {shape}; it must be (..., H, W) or (..., H, W, 1 | 3 | 4), none of them 0"
        )
    return Layout(axes[:-2], axes[-2], axes[-1], channels)


def target_dtype(image: Array, dtype: DTypeLike | None) -> np.dtype[Any]:
    """The dtype of the result: that of ``image``, or the one asked for.

    Raises
    ------
    InputError
        If the one asked for is outside ``FULL_SCALE``.
    """
    if dtype is None:
        return image.dtype.newbyteorder("=")
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = str(dtype)
    if name not in FULL_SCALE:
        raise InputError(f"the result is asked for as {name}; allowed are {', '.join(FULL_SCALE)}")
    return np.dtype(name)


def check_range(image: Array) -> None:
    """Refuse a float image with values outside [0, 1] or not finite; integers are always in range.

    Raises
    ------
    InputError
        With the range that was found.
    """
    if image.dtype.kind == "f":
        low, high = image.min(), image.max()
        if not (low >= 0 and high <= 1):
            raise InputError(
                f"the image is float with values from {exact(low)} to {exact(high)}; floats must lie in 0..1"
            )


def exact(value: np.floating[Any]) -> str:
    """A number in as few digits as tell it from its neighbours, so that one just beyond 1 is not said to be 1.

    Examples
    --------
    >>> exact(np.float32(1.0000001)), exact(np.float64(1.5)), exact(np.float32(0))
    ('1.0000001', '1.5', '0')
    """
    return str(value).removesuffix(".0")


def pictures(image: Array) -> Iterator[Array]:
    """Yield each picture of a stack as a view of shape (H, W, 1), (H, W, 3) or (H, W, 4)."""
    found = layout(image)
    for index in np.ndindex(found.stack):
        yield image[index] if found.channels else image[index][..., None]


def cut(picture: Array, top: int, left: int, bottom: int, right: int, *, dtype: DTypeLike) -> Array:
    """Window of a picture as a network takes it, shape (bottom - top, right - left, 3).

    Grey is repeated and alpha left out. Where the window reaches beyond the picture, the pixels at its edge are
    repeated, as JPEG encoders do with partial blocks.

    Parameters
    ----------
    picture
        Shape (H, W, 1 | 3 | 4).
    top, left, bottom, right
        The window, px; it holds at least one pixel of the picture.
    dtype
        uint8, to which finer values are rounded, or float32 in [0, 1].
    """
    height, width, channels = picture.shape
    window = picture[max(top, 0) : bottom, max(left, 0) : right, :3]
    white_in, white_out = (np.float32(FULL_SCALE[np.dtype(kind).name]) for kind in (picture.dtype, dtype))
    if white_in > white_out:
        window = np.divide(window, white_in / white_out, dtype=np.float32, casting="unsafe")
    elif white_in < white_out:
        window = np.multiply(window, white_out, dtype=np.float32, casting="same_kind")
    if window.dtype != dtype:
        window = (np.rint(window) if dtype == np.uint8 else window).astype(dtype)
    if channels == 1:
        window = np.repeat(window, 3, axis=2)
    beyond = [(max(-top, 0), max(bottom - height, 0)), (max(-left, 0), max(right - width, 0)), (0, 0)]
    if not window.flags.c_contiguous:
        packed = np.empty(window.shape, window.dtype)
        assign(packed, window)
        window = packed
    return np.pad(window, beyond, "edge") if any(map(any, beyond)) else window


def assign(target: Array, source: Array) -> None:
    """Copy pixels, shape (H, W, C), into an array of any dtype.

    As Pillow keeps colours, in four bytes a pixel, they are taken channel by channel: numpy would loop over three
    values at a time, which takes seven times as long.
    """
    if all(pixels.strides[1] == pixels.shape[2] * pixels.strides[2] for pixels in (target, source)):
        np.copyto(target, source, casting="unsafe")
        return
    for channel in range(source.shape[2]):
        np.copyto(target[..., channel], source[..., channel], casting="unsafe")


def to_planes(picture: Array, top: int, left: int, bottom: int, right: int) -> Planes:
    """Float planes of a window of a picture, shape (3, bottom - top, right - left) in [0, 1]; otherwise as ``cut``."""
    return cut(picture, top, left, bottom, right, dtype=np.float32).transpose(2, 0, 1)


def add_residual(picture: Array, residual: Planes, result: Array) -> None:
    """Write ``picture + residual`` into ``result``, rounded and clipped to its dtype; alpha is copied.

    Parameters
    ----------
    picture
        Shape (h, w, 1 | 3 | 4).
    residual
        Shape (3, h, w), of full scale; a grey picture takes its luma.
    result
        Shape of ``picture``, any dtype of ``FULL_SCALE``.
    """
    white_in, white_out = FULL_SCALE[picture.dtype.name], FULL_SCALE[result.dtype.name]
    colours = min(picture.shape[2], 3)
    change = np.tensordot(LUMA, residual, 1)[None] if colours == 1 else residual
    total = np.empty(picture.shape, np.result_type(picture.dtype, result.dtype, np.float32))
    assign(total, picture)
    if white_in != white_out:
        total *= white_out / white_in
    # Added last and to the values themselves: a residual of zero gives them back bit for bit.
    changed = total if colours == picture.shape[2] else total[..., :colours]
    changed += change.transpose(1, 2, 0) * np.float32(white_out)
    if result.dtype.kind == "u":
        np.rint(total, out=total)
    assign(result, np.clip(total, 0, white_out, out=total))


def weigh(residual: Planes, luma: float, chroma: float, strength: float | Planes) -> Planes:
    """Residual, shape (3, h, w), with luma and chroma at shares of their own, 0..1, and all of it at ``strength``."""
    if luma != chroma:
        grey = np.tensordot(LUMA, residual, 1)
        residual = np.float32(chroma) * (residual - grey) + np.float32(luma) * grey
    elif luma != 1:
        strength = luma * strength
    if isinstance(strength, float):
        return residual if strength == 1 else residual * np.float32(strength)
    return residual * strength
