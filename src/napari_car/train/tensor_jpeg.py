"""What libjpeg does to pixels, on tensors and without entropy coding: a GPU makes thousands of patches a second."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from napari_car.jpeg.consistency import TO_RGB, TO_YCBCR
from napari_car.jpeg.tables import BLOCK_DCT, Kind, ijg_table


def recompress(image: Tensor, quality: Sequence[int], subsampling: str) -> Tensor:
    """Encode pictures as JPEG and decode them: `degradation.recompress` for a batch.

    Parameters
    ----------
    image
        Shape (N, 3, H, W), 0..255 in whole numbers, float32; H and W multiples of 16.
    quality
        IJG quality of each, 1..100.
    subsampling
        "4:4:4", "4:2:2", "4:2:0", or "grey": one component, which is the first, repeated.

    Returns
    -------
    Tensor
        Shape and type of ``image``.

    Notes
    -----
    Rounds where libjpeg does, but computes the DCT in floats: a coefficient halfway between two levels may take the
    other one. Source: libjpeg ``jccolor.c``, ``jcsample.c``, ``jdsample.c`` (triangle filter), ``jdcolor.c``.
    """
    fine, coarse = (_tables(quality, kind, image.device) for kind in ("luma", "chroma"))
    if subsampling == "grey":
        return _coded(image[:, :1], fine).expand(-1, 3, -1, -1)
    planes = _mixed(image, TO_YCBCR).round()
    y, colours = planes[:, :1], planes[:, 1:] + 128
    colours = _coded(_shrunk(colours, subsampling), coarse)
    decoded = torch.cat([_coded(y, fine), _grown(colours, subsampling) - 128], dim=1)
    return _mixed(decoded, TO_RGB).round().clamp(0, 255)


def _coded(planes: Tensor, tables: Tensor) -> Tensor:
    """Planes (N, C, H, W) after quantization of their coefficients by tables (N, 64)."""
    n, c, height, width = planes.shape
    basis, tables = _basis(planes.device), tables[:, None]
    blocks = (planes - 128).reshape(n, c, height // 8, 8, width // 8, 8).transpose(3, 4)
    coefficients = blocks.reshape(n, -1, 64) @ basis.mT
    levels = coefficients.sign() * torch.floor(coefficients.abs() / tables + 0.5)
    pixels = (levels * tables @ basis).view(blocks.shape).transpose(3, 4).reshape(planes.shape)
    return (pixels + 128).round().clamp(0, 255)


def _shrunk(planes: Tensor, subsampling: str) -> Tensor:
    """Means of two or four neighbours; halves are rounded up and down by turns, as libjpeg does."""
    if subsampling == "4:4:4":
        return planes
    rows = 2 if subsampling == "4:2:0" else 1
    sums = functional.avg_pool2d(planes, (rows, 2), divisor_override=1)
    turns = torch.arange(sums.shape[-1], device=planes.device) % 2
    return torch.floor((sums + turns + rows - 1) / (2 * rows))


def _grown(planes: Tensor, subsampling: str) -> Tensor:
    """Planes at full size, by libjpeg's triangle filter: three quarters of a value and one of its neighbour's."""
    if subsampling == "4:4:4":
        return planes
    if subsampling == "4:2:2":
        return _doubled(planes, 1, 2, 4)
    sums = _doubled(planes.mT, 0, 0, 1).mT
    return _doubled(sums, 8, 7, 16)


def _doubled(values: Tensor, first: int, second: int, divisor: int) -> Tensor:
    """Two values for each of the last dimension, rounded down after what is added to the first and to the second."""
    padded = torch.cat([values[..., :1], values, values[..., -1:]], dim=-1)
    left, right = 3 * values + padded[..., :-2] + first, 3 * values + padded[..., 2:] + second
    return torch.floor(torch.stack([left, right], dim=-1) / divisor).flatten(-2)


def luma(image: Tensor) -> Tensor:
    """The grey picture of one in RGB, (N, 3, H, W) to (N, 1, H, W), in whole numbers."""
    return _mixed(image, TO_YCBCR)[:, :1].round()


def _mixed(planes: Tensor, matrix: NDArray[np.float32]) -> Tensor:
    """Each pixel's three values times a matrix (3, 3)."""
    return torch.einsum("ij,njyx->niyx", torch.from_numpy(matrix).to(planes.device), planes)


@cache
def _basis(device: torch.device) -> Tensor:
    """The DCT of the 64 values of a block, shape (64, 64), one frequency a row."""
    return torch.from_numpy(np.kron(BLOCK_DCT, BLOCK_DCT)).to(device, torch.float32)


def _tables(quality: Sequence[int], kind: Kind, device: torch.device) -> Tensor:
    """Quantization tables (N, 64)."""
    known = {value: ijg_table(value, kind).ravel().astype(np.float32) for value in set(quality)}
    return torch.from_numpy(np.stack([known[value] for value in quality])).to(device)
