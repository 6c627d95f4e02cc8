"""The quantized DCT coefficients of a file, recomputed from what the decoder hands out.

A decoded plane is the inverse DCT of multiples of the divisors, rounded to integers: its DCT rounds back to those
multiples, except where samples were clipped, where a block is cut off by the edge, or where divisors are tiny.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_car.errors import JpegError
from napari_car.jpeg.dct import block_dct, inverse_block_dct
from napari_car.jpeg.header import read_jpeg
from napari_car.jpeg.tables import BLOCK_DCT

_LEVEL_SHIFT = np.float32(128)  # Source: ITU-T T.81 A.3.1
# Rounding to integers moves a coefficient by at most half the sum of its basis function's magnitudes, DC by 4 grey
# levels. In a block with many coefficients the errors are as good as random: 5 of their standard deviations of 0.29.
_MOST_MOVED = (np.abs(np.kron(BLOCK_DCT, BLOCK_DCT)).sum(1) / 2).astype(np.float32)
_MOVED_AT_RANDOM = np.float32(1.5)
_N_FOR_RANDOM = 6


@dataclass(frozen=True, eq=False)
class Coefficients:
    """What one component of a file says of its coefficients.

    Parameters
    ----------
    low, high
        Bounds between which each coefficient of the original lay, grey levels, shape (rows, columns, 64), float32;
        infinite in blocks that cannot be read: clipped, or cut off by the edge.
    height, width
        Of the component, in samples.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    height: int
    width: int

    @property
    def is_known(self) -> NDArray[np.bool_]:
        """The blocks that could be read, shape (rows, columns)."""
        return np.asarray(np.isfinite(self.low[..., 0]))


def plane_coefficients(plane: NDArray[np.uint8], table: NDArray[np.integer]) -> Coefficients:
    """Recompute quantization intervals from a decoded component.

    Parameters
    ----------
    plane
        Samples as decoded, at the resolution of the component, shape (H, W), uint8.
    table
        Its quantization table, shape (8, 8).

    Examples
    --------
    >>> found = plane_coefficients(np.full((16, 12), 140, np.uint8), np.full((8, 8), 16))
    >>> found.is_known.tolist(), float(found.low[0, 0, 0]), float(found.high[0, 0, 0])
    ([[True], [True]], 88.0, 104.0)
    """
    divisors = table.ravel().astype(np.float32)
    samples = plane.astype(np.float32)
    spectrum = block_dct(samples - _LEVEL_SHIFT)
    multiples = np.round(spectrum / divisors)
    rows, columns = multiples.shape[:2]
    whole = samples[: rows * 8, : columns * 8]
    # A block counts only if its multiples decode to what was decoded, but for the last bit.
    again = inverse_block_dct(multiples * divisors) + _LEVEL_SHIFT
    is_sample_fine = (np.abs(again - whole) < 1.5) & (whole > 0) & (whole < 255)
    is_known = is_sample_fine.reshape(rows, 8, columns, 8).all((1, 3))[..., None]
    is_random = np.count_nonzero(multiples, axis=-1, keepdims=True) >= _N_FOR_RANDOM
    moved = np.where(is_random, _MOVED_AT_RANDOM, _MOST_MOVED)
    # All multiples that rounding can have turned into this spectrum.
    least = np.minimum(multiples, np.ceil((spectrum - moved) / divisors))
    most = np.maximum(multiples, np.floor((spectrum + moved) / divisors))
    return Coefficients(
        low=np.where(is_known, (least - np.float32(0.5)) * divisors, np.float32(-np.inf)),
        high=np.where(is_known, (most + np.float32(0.5)) * divisors, np.float32(np.inf)),
        height=plane.shape[0],
        width=plane.shape[1],
    )


def read_coefficients(path_or_bytes: str | os.PathLike[str] | bytes) -> tuple[Coefficients, ...]:
    """Quantization intervals of a file: of all components at 4:4:4, of luma only where chroma is subsampled.

    Parameters
    ----------
    path_or_bytes
        A grey or YCbCr JPEG, or its content.

    Returns
    -------
    tuple of Coefficients
        One for grey and for subsampled files; three (Y, Cb, Cr) at 4:4:4.

    Raises
    ------
    FileError
        The file cannot be opened or read.
    JpegError
        Malformed, or of another colour space.
    """
    planes = read_planes(path_or_bytes)
    tables = read_jpeg(path_or_bytes).quant_tables[: planes.shape[2]]
    return tuple(plane_coefficients(planes[..., i], table) for i, table in enumerate(tables))


def read_planes(path_or_bytes: str | os.PathLike[str] | bytes) -> NDArray[np.uint8]:
    """Components as the decoder has them before it makes RGB of them: what holds also where RGB is clipped.

    Parameters
    ----------
    path_or_bytes
        A grey or YCbCr JPEG, or its content.

    Returns
    -------
    ndarray
        Shape (H, W, 3), uint8, Y, Cb, Cr at 4:4:4; (H, W, 1), grey or Y alone, otherwise.

    Raises
    ------
    FileError
        The file cannot be opened or read.
    JpegError
        Malformed, or of another colour space.
    """
    info = read_jpeg(path_or_bytes)
    path = None if isinstance(path_or_bytes, bytes) else os.fspath(path_or_bytes)
    if info.color_space not in ("grey", "YCbCr"):
        raise JpegError(f"the colour space is {info.color_space}; grey and YCbCr can be compared", path)
    try:
        with Image.open(
            io.BytesIO(path_or_bytes) if isinstance(path_or_bytes, bytes) else path_or_bytes, formats=("JPEG",)
        ) as file:
            file.draft("L" if info.n_components == 1 else "YCbCr", file.size)
            planes = np.atleast_3d(np.asarray(file if info.subsampling == "4:4:4" else file.getchannel(0)))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise JpegError(f"the picture cannot be decoded: {error}", path) from error
    return planes
