"""How a picture was coded, as far as a network is told."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from napari_car.errors import InputError
from napari_car.jpeg.estimate import JpegEstimate
from napari_car.jpeg.header import JpegInfo
from napari_car.jpeg.tables import Kind, ijg_table, quality_to_scale, scale_to_quality

CHROMA_SUBSAMPLING = {"4:4:4": 0.0, "4:2:2": 0.5, "4:4:0": 0.5, "4:2:0": 1.0, "4:1:1": 1.0, "4:1:0": 1.0, "grey": 0.0}
"""Chroma subsampling as a number: 0 none, 0.5 in one direction, 1 in both."""


@dataclass(frozen=True)
class Coding:
    """Quantization strength, chroma subsampling and grid of a picture.

    Parameters
    ----------
    luma_scale, chroma_scale
        IJG percent scale of the quantization tables, 1..5000. Files and pixels give both alike: networks learn from IJG
        files, and are told best of other tables by the one quality that stands for all of them.
    chroma_subsampling
        0 none, 0.5 in one direction, 1 in both.
    grid_phase
        Row and column of the first corner of an MCU inside the picture, px; (0, 0) for an uncropped file.
    tables
        Quantization tables of the components at full resolution: Y, and Cb and Cr without subsampling; 64 divisors
        each, natural order.
    """

    luma_scale: float
    chroma_scale: float
    chroma_subsampling: float = 1.0
    grid_phase: tuple[int, int] = (0, 0)
    tables: tuple[tuple[int, ...], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        """Refuse what no picture can have, of which a network would make some result all the same."""
        told = (*((scale - 1) / 4999 for scale in (self.luma_scale, self.chroma_scale)), self.chroma_subsampling)
        are_whole = all(isinstance(start, int | np.integer) and start >= 0 for start in self.grid_phase)
        are_tables = all(len(table) == 64 and min(table) >= 1 for table in self.tables)
        if not all(0 <= share <= 1 for share in told) or len(self.grid_phase) != 2 or not are_whole or not are_tables:
            raise InputError(
                f"{self} cannot be; scales are 1..5000, subsampling 0..1, a phase is two whole numbers from 0, "
                "and a table 64 divisors from 1"
            )

    @classmethod
    def from_quality(cls, quality: int, subsampling: str = "4:2:0") -> Coding:
        """The coding of an IJG file of ``quality`` 1..100, as most programs write it.

        Examples
        --------
        >>> Coding.from_quality(10)
        Coding(luma_scale=500.0, chroma_scale=500.0, chroma_subsampling=1.0, grid_phase=(0, 0))
        """
        scale = max(1.0, float(quality_to_scale(quality)))
        kinds: tuple[Kind, ...] = ("luma", "chroma", "chroma") if subsampling == "4:4:4" else ("luma",)
        tables = tuple(tuple(ijg_table(quality, kind).ravel().tolist()) for kind in kinds)
        return cls(scale, scale, CHROMA_SUBSAMPLING.get(subsampling, 1.0), tables=tables)

    @classmethod
    def from_info(cls, info: JpegInfo) -> Coding:
        """The coding of a file, its own tables included."""
        full = {"4:4:4": info.quant_tables[:3], "grey": info.quant_tables}.get(info.subsampling, info.quant_tables[:1])
        tables = tuple(tuple(table.ravel().tolist()) for table in full) if info.color_space in ("YCbCr", "grey") else ()
        return replace(cls.from_quality(info.quality, info.subsampling), tables=tables)

    @classmethod
    def from_estimate(cls, estimate: JpegEstimate) -> Coding:
        """The coding that pixels show; the estimate must have found one."""
        if estimate.quality is None:
            raise InputError("no JPEG compression was found, so there is no coding to be told")
        coding = cls.from_quality(estimate.quality, estimate.subsampling or "4:2:0")
        coding = replace(coding, grid_phase=estimate.mcu_phase)
        return coding.turned if estimate.is_turned else coding

    @property
    def turned(self) -> Coding:
        """The coding of a picture that was turned by a quarter: rows and columns of its tables change places."""
        tables = tuple(tuple(table[i % 8 * 8 + i // 8] for i in range(64)) for table in self.tables)
        return replace(self, tables=tables)

    @property
    def quality(self) -> float:
        """The IJG quality of that luma scale."""
        return scale_to_quality(self.luma_scale)
