"""What a run does in its thread: find, restore, describe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_car.cards import ModelCard, load_card
from napari_car.diagnosis import Diagnosis, diagnose
from napari_car.errors import CarError, InputError
from napari_car.jpeg.header import JpegInfo, read_jpeg
from napari_car.lazy import restore_dask, store_steps
from napari_car.pixels import Array
from napari_car.provenance import describe_run, python_code
from napari_car.quality import Quality
from napari_car.restore import Options, restore_steps
from napari_car.session import open_session
from napari_car.steps import Steps
from napari_car.widget.region import Region
from napari_car.widget.result import Outcome, change
from napari_car.widget.settings import Settings
from napari_car.widget.source import Source, as_dask
from napari_car.widget.where import Where

MAX_TILE, MIN_TILE = 256, 128
"""Sides of the tiles, px: small enough that each is done, and a cancel seen, within a fraction of a second."""

TILE_MACS = 4e9
"""Most multiplications for one tile with its halo: some hundredths of a second on a core with int8 instructions."""


@dataclass(frozen=True, eq=False)
class Run:
    """One restoration of a layer.

    Parameters
    ----------
    source
        The layer as it is.
    settings
        What is to be done.
    diagnosis
        What was found of the layer already.
    is_current_plane
        Whether only the plane that is shown is restored.
    where
        Where to restore; everywhere for None.
    store
        Folder of the Zarr store that a result larger than memory is computed into; when shown for None.
    """

    source: Source
    settings: Settings
    diagnosis: Diagnosis | None
    is_current_plane: bool = False
    where: Where | None = None
    store: Path | None = None

    @property
    def corner(self) -> tuple[int, ...]:
        """Where the first pixel of the outcome lies in the source, px along each axis."""
        leading = self.source.plane if self.is_current_plane else (0,) * len(self.source.plane)
        return (*leading, 0, 0)

    def steps(self) -> Steps[Outcome | Diagnosis]:
        """Restore; every step is a tile, or a block of what is larger than memory.

        Returns what was found where the picture is to be left alone.
        """
        source = self.source
        if self.where is not None and self.where.has_planes and source.is_stack and not self.is_current_plane:
            raise InputError(
                "the labels or shapes have planes of their own, and every plane is to be restored; "
                "choose the plane shown, or labels or shapes of two dimensions"
            )
        diagnosis, options = yield from self._options()
        if diagnosis is not None and diagnosis.quality is None:
            return diagnosis
        is_lazy = source.is_lazy and not self.is_current_plane
        found: Options = options if diagnosis is None else {**options, "quality": diagnosis}
        pixels, restored = yield from (self._lazy_steps(options) if is_lazy else self._eager_steps(found))
        path = str(source.path) if source.path else None
        return Outcome(
            restored,
            change(pixels, restored, source.is_rgb) if self.settings.has_residual else None,
            describe_run(options, diagnosis=diagnosis, name=source.name, path=path),
            python_code(
                source.reading(is_current_plane=self.is_current_plane),
                options,
                function="restore_dask" if is_lazy else "restore",
                is_grey_stack=source.is_ambiguous,
            ),
        )

    def preview_steps(self, region: Region) -> Steps[Array]:
        """Restore a region of the plane that is shown; of the finest level the pixels are those of the whole run."""
        diagnosis, options = yield from self._options()
        source, window = self.source, region.read.slices
        strength = at_size(options["strength"], source.size_of(region.level))
        options["strength"] = strength[window] if isinstance(strength, np.ndarray) else strength
        if diagnosis is not None and diagnosis.is_mixed:
            shown = source.as_image(source.looked_at(is_current_plane=True))
            options["quality"] = diagnosis.coding_of(shown, load_card(self.settings.model))
        restored = yield from restore_steps(source.picture(region.level, window), **options)
        return restored[region.crop][(np.newaxis,) * len(source.plane)]

    def _options(self) -> Steps[tuple[Diagnosis | None, Options]]:
        """What was found, and the keywords of ``restore`` that follow."""
        settings = self.settings
        session = open_session(settings.model)
        diagnosis = None
        if settings.is_auto:
            diagnosis = self.diagnosis or (
                yield from diagnose_steps(self.source, session.card, is_current_plane=self.is_current_plane)
            )
        quality: Quality = settings.quality
        if diagnosis is not None:
            quality = diagnosis.quality
        return diagnosis, {
            "session": session,
            "quality": quality,
            "strength": settings.strength if self.where is None else np.float32(settings.strength) * self.where.draw(),
            "luma": settings.luma,
            "chroma": settings.chroma,
            "consistent": settings.is_consistent and self.source.data.dtype == np.uint8,
            "tile": None if session.takes_strips else tile_side(session.card),  # a strip is done soon enough
        }

    def _eager_steps(self, options: Options) -> Steps[tuple[Any, Any]]:
        """Pixels and restored pixels, in memory."""
        source = self.source
        pixels = source.shown_plane() if self.is_current_plane else np.asarray(source.data)
        restored = source.as_pixels((yield from restore_steps(source.as_image(pixels), **options)))
        return source.pyramid(pixels), source.pyramid(restored)

    def _lazy_steps(self, options: Options) -> Steps[tuple[Any, Any]]:
        """Pixels and restored pixels as arrays that are computed when shown, or were computed into a store."""
        source = self.source
        pixels, restored = [], []
        for level, array in enumerate(source.lazy_levels()):
            keywords: dict[str, Any] = {**options, "model": self.settings.model}
            for of_a_tile in ("session", "tile"):
                del keywords[of_a_tile]
            keywords["strength"] = at_size(options["strength"], source.size_of(level))
            lazy = source.as_pixels(restore_dask(source.as_image(array), **keywords))
            if level == 0 and self.store is not None:
                lazy = as_dask((yield from store_steps(lazy, self.store)))
            pixels.append(array)
            restored.append(lazy)
        return (pixels, restored) if source.is_multiscale else (pixels[0], restored[0])


def tile_side(card: ModelCard) -> int:
    """Side of the tiles for a model, px: smaller for a slow one, but not so small that all is halo.

    Examples
    --------
    >>> from napari_car.cards import load_card
    >>> tile_side(load_card("fast-arcnn")), tile_side(load_card("arcnn"))
    (256, 160)
    """
    side = int((TILE_MACS / (1000 * card.kmac_per_px)) ** 0.5) - 2 * card.halo
    return min(max(side // 16 * 16, 2 * card.halo, MIN_TILE), MAX_TILE)


def diagnose_steps(source: Source, card: ModelCard, *, is_current_plane: bool = False) -> Steps[Diagnosis]:
    """Find out, in one step, how a layer was compressed: its planes alike, or the plane that is shown by itself."""
    yield 0, 1
    pixels = source.looked_at(is_current_plane=is_current_plane)
    return diagnose(source.as_image(pixels), info=file_header(source), card=card, in_full=False)


def file_header(source: Source) -> JpegInfo | None:
    """Header of the JPEG file that a layer was read from, if it was; a stack of files names the first alone."""
    if source.path is None or source.is_stack:
        return None
    try:
        info = read_jpeg(source.path)
    except CarError:
        return None
    return info if (info.height, info.width) == source.size_of(0) else None


def at_size(strength: float | Array, size: tuple[int, int]) -> float | Array:
    """A strength for a picture of another resolution: the nearest values of its map."""
    if not isinstance(strength, np.ndarray) or strength.shape == size:
        return strength
    rows, columns = (np.arange(n) * length // n for n, length in zip(size, strength.shape, strict=True))
    return strength[np.ix_(rows, columns)]
