"""What the controls of the dock say, and what of it napari remembers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from napari.settings import get_plugin_settings
from napari.utils.events import EmitterGroup


@dataclass(frozen=True)
class Settings:
    """The settings that are remembered; their defaults stand in ``napari.yaml`` alone.

    Parameters
    ----------
    model
        Id of a model; the default model where empty.
    is_auto
        Whether the quality is found rather than told.
    quality
        IJG quality 1..100 that is told.
    strength, luma, chroma
        Shares of the change, 0..1.
    is_consistent
        Whether the result stays within the quantization intervals of the file.
    is_update
        Whether the last result is replaced.
    has_residual
        Whether a layer shows the change.
    """

    model: str
    is_auto: bool
    quality: int
    strength: float
    luma: float
    chroma: float
    is_consistent: bool
    is_update: bool
    has_residual: bool

    @classmethod
    def remembered(cls) -> Settings:
        """What was set last, or the defaults."""
        group = _group()
        return cls(**{name: getattr(group, name) for name in cls.__dataclass_fields__})

    def remember(self) -> None:
        """Keep for the next time; napari writes the file."""
        group = _group()
        for name, value in asdict(self).items():
            if getattr(group, name) != value:
                setattr(group, name, value)


def changes() -> EmitterGroup:
    """What tells that something else is remembered, be it by another dock or in napari's preferences."""
    told: EmitterGroup = _group().events
    return told


def _group() -> Any:
    """The plugin's group in napari's preferences."""
    return get_plugin_settings("napari-car").restore
