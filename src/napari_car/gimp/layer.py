"""A layer as it comes from GIMP: its pixels, what is known of their compression, and a window of it restored."""

from __future__ import annotations

import base64
import math
import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from napari_car.cards import ModelCard
from napari_car.diagnosis import ALIKE, SURE, diagnose
from napari_car.errors import CarError, InputError
from napari_car.gimp.parasite import read_parasite
from napari_car.jpeg.coding import Coding
from napari_car.jpeg.estimate import JpegEstimate
from napari_car.jpeg.header import JpegInfo, read_jpeg
from napari_car.jpeg.trace import bears_trace
from napari_car.pixels import FULL_SCALE, Array
from napari_car.restore import Options, restore_steps
from napari_car.session import Session
from napari_car.steps import Steps

Window = tuple[int, int, int, int]

MCU = 16
"""Side of the largest MCU of usual files, px. Source: ITU-T T.81 A.2.3, at 4:2:0."""


@dataclass(frozen=True)
class Finding:
    """What was found of a layer's compression.

    Parameters
    ----------
    coding
        What the networks are told; None where the layer is to be left alone.
    quality
        IJG quality 1..100; None where no compression was found.
    source
        "jpeg-settings", "file", "pixels" or "none".
    sentence
        All of it for a person.
    """

    coding: Coding | None
    quality: int | None
    source: str
    sentence: str


@dataclass(frozen=True, eq=False)
class Layer:
    """Pixels of a whole layer, and what GIMP knows of the file they came from.

    Parameters
    ----------
    pixels
        Shape (H, W, 1 | 2 | 3 | 4), any dtype of ``FULL_SCALE``: grey or RGB, the even ones with alpha. Floats may lie
        outside [0, 1].
    settings
        The parasite ``jpeg-settings``; empty where there is none.
    file
        The path that GIMP names for the image; empty where there is none.
    """

    pixels: Array
    settings: bytes = b""
    file: str = ""

    @classmethod
    def from_frame(cls, message: dict[str, Any], pixels: bytearray) -> Layer:
        """The layer that a frame brings.

        Raises
        ------
        InputError
            If it brings none.
        """
        shape, settings, file = message.get("shape", []), message.get("settings", ""), message.get("file", "")
        if len(shape) != 3 or shape[2] > 4:
            raise InputError(f"the frame brings pixels of shape {shape}; a layer has (height, width, 1..4)")
        try:
            return cls(
                np.frombuffer(pixels, message["dtype"]).reshape(shape),
                base64.b64decode(settings, validate=True),
                os.fspath(file),
            )
        except (TypeError, ValueError) as error:
            raise InputError(f"the frame does not describe a layer: {error}") from error

    @property
    def colours(self) -> Array:
        """The pixels without alpha and within [0, 1], shape (H, W, 1 | 3), as the core takes them."""
        return _within(self.pixels[..., : 1 if self.pixels.shape[2] < 3 else 3])

    def find(self, card: ModelCard) -> Finding:
        """Find out how the layer was compressed: by the parasite, else by the file, else by its pixels.

        The parasite stays with the image whatever becomes of its layers. So it is believed of a layer as large as the
        file, and of any other unless that has no trace of it; and the grid is that of the pixels where they surely show
        another than the file's.
        """
        info, source, where = self._header()
        found = diagnose(self.colours, info=info, card=card)
        if info is not None and source == "jpeg-settings" and self._is_foreign(info, found.estimate):
            why = f"GIMP kept quality {info.quality} from the file, of which this layer has no trace"
            where = f"{why}; give it as the quality if it is to be restored by that."
            found = diagnose(self.colours, card=card)
        if found.source != "file":
            return Finding(found.coding, found.estimate.quality, found.source, f"{found.sentence} {where}".strip())
        coding, estimate = found.coding, found.estimate
        if coding is not None and estimate.grid_phase != (0, 0) and estimate.confidence >= SURE:
            coding = replace(coding, grid_phase=estimate.mcu_phase)
        if coding is not None and estimate.is_turned and estimate.confidence >= SURE:
            coding = coding.turned
        return Finding(coding, found.info.quality if found.info else None, source, f"{found.sentence} {where}")

    def restore_steps(self, window: Window, session: Session, options: Options) -> Steps[Array]:
        """Restore a window of the layer step by step: the pixels that restoring all of it would give there.

        Parameters
        ----------
        window
            Top, left, bottom and right, px.
        session
            The model.
        options
            Those of ``restore``; quality "auto" has been resolved by ``find``, since a piece shows less than the whole.
        """
        height, width = self.pixels.shape[:2]
        top, left, bottom, right = window
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise InputError(f"the window {window} does not lie in the layer of {height}x{width} px")
        # Cut at multiples of align and of whole MCUs: the grid then has the same phase in the piece as in the layer.
        align = math.lcm(session.card.align, MCU)
        margin = session.card.halo + align
        first_row, first_column = (max(edge - margin, 0) // align * align for edge in (top, left))
        piece = self.pixels[first_row : bottom + margin, first_column : right + margin]
        restored = yield from restore_steps(Layer(piece).colours, **(options | Options(session=session)))
        inner = slice(top - first_row, bottom - first_row), slice(left - first_column, right - first_column)
        return _merge(piece[inner], restored[inner])

    def _header(self) -> tuple[JpegInfo | None, str, str]:
        """What a file's header says of the layer, the name of the source and a sentence on it."""
        if (kept := read_parasite(self.settings, *self.pixels.shape[:2])) is not None:
            return kept, "jpeg-settings", "GIMP kept this from the file."
        read = self._read_file()
        return (read, "file", f"This stands in {os.path.basename(self.file)}.") if read else (None, "none", "")

    def _is_foreign(self, kept: JpegInfo, seen: JpegEstimate) -> bool:
        """Whether the layer surely did not come from the file that GIMP has kept this of."""
        if kept.color_space not in ("YCbCr", "grey") or self._read_file() is not None:
            return False
        if bears_trace(self.colours, kept.quant_tables[0]) is False:
            return True
        # Lattices of one quality lie on those of others.
        if seen.quality is None or seen.last_quality is None or seen.confidence < SURE or not kept.is_standard:
            return False
        return min(abs(quality - kept.quality) for quality in (seen.quality, seen.last_quality)) > ALIKE

    def _read_file(self) -> JpegInfo | None:
        """The header of the image's file, if that is a JPEG as large as the layer."""
        try:
            info = read_jpeg(self.file) if self.file else None
        except CarError:  # gone, or another format
            return None
        return info if info and (info.height, info.width) == self.pixels.shape[:2] else None


def residual(before: Array, after: Array) -> Array:
    """The change from ``before`` to ``after`` as a picture: middle grey where there is none; alpha as before."""
    white = FULL_SCALE[before.dtype.name]
    middle = 0.5 if white == 1 else (white + 1) // 2
    shown = before.copy()
    colours = 1 if before.shape[2] < 3 else 3
    change = after[..., :colours].astype(np.float64) - before[..., :colours] + middle
    shown[..., :colours] = np.clip(change, 0, white)
    return shown


def _within(pixels: Array) -> Array:
    """Floats clipped to [0, 1]: editing leaves values beyond, which the core does not take."""
    return np.clip(pixels, 0, 1) if pixels.dtype.kind == "f" else pixels


def _merge(before: Array, restored: Array) -> Array:
    """The restored colours with the alpha that was there, and what lay beyond [0, 1] as far beyond as it was."""
    n_colours = restored.shape[2]
    if before.dtype.kind == "f":
        colours = before[..., :n_colours]
        within = _within(colours)
        restored = np.where(colours == within, restored, colours + (restored - within))
    return np.dstack([restored, before[..., n_colours:]]) if n_colours < before.shape[2] else restored
