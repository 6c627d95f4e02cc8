"""What a run does in its thread: find, restore, describe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from napari_car.cards import ModelCard
from napari_car.diagnosis import Diagnosis, diagnose
from napari_car.errors import CarError
from napari_car.jpeg.header import JpegInfo, read_jpeg
from napari_car.pixels import Array
from napari_car.provenance import describe_run, python_code
from napari_car.restore import Options, Steps, restore_steps
from napari_car.session import open_session
from napari_car.widget.region import Region
from napari_car.widget.result import Outcome, change
from napari_car.widget.settings import Settings
from napari_car.widget.source import Source


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
        Makes the map of where to restore, shape (H, W), 0..1; everywhere for None.
    """

    source: Source
    settings: Settings
    diagnosis: Diagnosis | None
    is_current_plane: bool
    where: Callable[[], Array] | None = None

    def steps(self) -> Steps[Outcome]:
        """Restore; every step is a tile."""
        source, settings = self.source, self.settings
        diagnosis, options = yield from self._options()
        pixels = source.shown_plane() if self.is_current_plane else np.asarray(source.data)
        restored = yield from source.restore_steps(pixels, options)
        path = str(source.path) if source.path else None
        corner = source.plane if self.is_current_plane else (0,) * len(source.plane)
        return Outcome(
            restored,
            change(pixels, restored, source.is_rgb) if settings.has_residual else None,
            (*corner, 0, 0),
            describe_run(options, diagnosis=diagnosis, name=source.name, path=path),
            python_code(source.reading(self.is_current_plane), options, is_grey_stack=source.is_ambiguous),
        )

    def preview_steps(self, region: Region) -> Steps[Array]:
        """Restore a region of the plane that is shown; of the finest level the pixels are those of the whole run."""
        _, options = yield from self._options()
        strength = options["strength"]
        if isinstance(strength, np.ndarray):
            rows, columns = (
                np.minimum((np.arange(start, stop) * factor).astype(int), length - 1)
                for start, stop, factor, length in zip(
                    region.read[:2], region.read[2:], region.factor, self.source.size, strict=True
                )
            )
            options["strength"] = strength[np.ix_(rows, columns)]
        pixels = self.source.picture(region.level, region.read.slices)
        restored = yield from restore_steps(pixels, **options)
        return restored[region.crop][(np.newaxis,) * len(self.source.plane)]

    def _options(self) -> Steps[tuple[Diagnosis | None, Options]]:
        """What was found, and the keywords of ``restore`` that follow."""
        settings = self.settings
        session = open_session(settings.model)
        diagnosis = None
        if settings.is_auto:
            diagnosis = self.diagnosis or (yield from diagnose_steps(self.source, session.card))
        return diagnosis, {
            "session": session,
            "quality": diagnosis.coding if diagnosis else settings.quality,
            "strength": settings.strength if self.where is None else np.float32(settings.strength) * self.where(),
            "luma": settings.luma,
            "chroma": settings.chroma,
        }


def diagnose_steps(source: Source, card: ModelCard) -> Steps[Diagnosis]:
    """Find out how a layer was compressed, in one step."""
    yield 0, 1
    return diagnose(source.as_image(source.looked_at()), info=file_header(source), card=card)


def file_header(source: Source) -> JpegInfo | None:
    """Header of the JPEG file that a layer was read from, if it was."""
    if source.path is None:
        return None
    try:
        info = read_jpeg(source.path)
    except CarError:
        return None
    return info if (info.height, info.width) == source.size else None
