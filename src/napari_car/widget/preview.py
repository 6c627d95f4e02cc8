"""The live preview: what is on the screen, restored on one side of a divider."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from napari.components import Dims, ViewerModel
from napari.layers import Image
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget
from superqt.utils import qdebounced

from napari_car.cards import ModelCard
from napari_car.pixels import Array
from napari_car.widget.divider import Divider
from napari_car.widget.insertion import Canvases, canvases, insert_unselected, take_away
from napari_car.widget.job import Job
from napari_car.widget.region import Region, visible_region
from napari_car.widget.result import PLACE, carried
from napari_car.widget.run import Run
from napari_car.widget.source import PREVIEW_KEY

DELAY_MS = 150
"""How long the view must rest before it is restored."""

NAME = "preview [car]"

FOLLOWED = ("contrast_limits", "gamma", "colormap", "interpolation2d")
"""What the preview takes over from its layer as it changes."""

OPAQUE = {"blending": "translucent_no_depth", "opacity": 1}
"""Nothing of what lies below is to be added to the preview, least of all its source."""


@dataclass(frozen=True, eq=False)
class Piece:
    """A restored window of a layer."""

    layer: Image
    region: Region
    plane: tuple[int, ...]
    pixels: Array


class Preview(QObject):
    """Shows the visible region restored, while it is on; leaves nothing behind.

    Parameters
    ----------
    viewer
        Where it is shown.
    ask
        Gives the layer, the model's card and what a run would do now; None where nothing can be done.
    parent
        The widget that owns it, docked in the viewer's window.
    """

    moved = Signal(float)  # the divider, 0..1 of what is visible
    said = Signal(str)

    def __init__(
        self, viewer: ViewerModel, ask: Callable[[], tuple[Image, ModelCard, Run] | None], parent: QWidget
    ) -> None:
        super().__init__(parent)
        self._viewer, self._ask = viewer, ask
        self._canvases: Canvases = []
        self._job: Job | None = None
        self._piece: Piece | None = None
        self._shown: Image | None = None
        self._watched: Image | None = None
        self._divider = Divider(viewer, self._drag)
        self._share = 0.5
        self._step: tuple[float, ...] = ()
        self._is_on = self._is_waiting = False
        self.n_runs = 0
        self._refresh = qdebounced(self._restore, timeout=DELAY_MS)

    @property
    def is_busy(self) -> bool:
        """Whether something is still to be shown."""
        return self._job is not None or self._is_waiting

    def start(self) -> None:
        """Show the preview, and again after each change of view."""
        if self._is_on:
            return
        self._is_on = True
        self._step = hidden_step(self._viewer.dims)
        self._canvases = canvases(self.parent())
        for emitter in self._emitters():
            emitter.connect(self.refresh)
        self._viewer.dims.events.current_step.connect(self._follow_plane)
        self.refresh()

    def stop(self) -> None:
        """Take everything away."""
        if not self._is_on:
            return
        self._is_on = self._is_waiting = False
        self._refresh.cancel()
        for emitter in self._emitters():
            emitter.disconnect(self.refresh)
        self._viewer.dims.events.current_step.disconnect(self._follow_plane)
        if self._job is not None:
            self._job.cancel()
        self._watch(None)

    def refresh(self, event: object = None) -> None:
        """Look anew once the view rests."""
        if self._is_on:
            self._is_waiting = True
            self._refresh()

    def divide(self, share: float) -> None:
        """Put the divider at a share of the visible width, 0..1; right of it is restored."""
        self._share = min(max(share, 0.0), 1.0)
        self._show()

    def _emitters(self) -> list[Any]:
        """What tells that the view has changed."""
        camera, dims = self._viewer.scene.camera.events, self._viewer.dims.events
        return [camera.center, camera.zoom, camera.angles, dims.ndisplay, dims.order]

    def _follow_plane(self, event: object = None) -> None:
        """Look anew where another plane is shown; the divider, as it moves, makes steps along the picture itself."""
        step = hidden_step(self._viewer.dims)
        if step != self._step:
            self._step = step
            self.refresh()

    def _restore(self) -> None:
        """Restore what is on the screen now, in a thread."""
        self._is_waiting = False
        asked = self._ask() if self._is_on else None
        if self._job is not None:
            self._job.cancel()
        self._watch(asked[0] if asked is not None else None)
        region = visible_region(self._viewer, asked[0], asked[1]) if asked is not None else None
        if asked is None or region is None:
            self._clear()
            return
        layer, _, run = asked
        self._job = Job(lambda: run.preview_steps(region), None, self)
        self._job.returned.connect(lambda pixels: self._take(Piece(layer, region, run.source.plane, pixels)))
        self._job.failed.connect(self.said)
        self._job.ended.connect(self._end)
        self.n_runs += 1
        self._job.start()

    def _end(self) -> None:
        self._job = None

    def _take(self, piece: Piece) -> None:
        self._piece = piece
        self._show()

    def _drag(self, column: float) -> None:
        """Follow the divider's column of the layer."""
        if self._piece is not None:
            window, (_, factor) = self._piece.region.shown, self._piece.region.factor
            self.divide((column / factor - window.left) / (window.right - window.left))
            self.moved.emit(self._share)

    def _show(self) -> None:
        """Put what lies right of the divider onto the canvas."""
        piece = self._piece
        if piece is None or piece.layer not in self._viewer.layers:
            self._clear()
            return
        window, factor = piece.region.shown, piece.region.factor
        width = window.right - window.left
        start = min(round(self._share * width), width - 1)
        leading = (1,) * len(piece.plane)
        corner = (*piece.plane, window.top * factor[0], (window.left + start) * factor[1])
        state = carried(piece.layer, corner, (*leading, *factor))
        pixels = piece.pixels[..., start:, :] if piece.layer.rgb else piece.pixels[..., start:]
        layers = self._viewer.layers
        if self._shown is not None and self._shown in layers:
            self._shown.data = pixels
            self._shown.scale, self._shown.translate = state["scale"], state["translate"]
        else:
            self._remove_shown()
            state |= OPAQUE | {"name": NAME, "multiscale": False, "metadata": {PREVIEW_KEY: True}}
            self._shown = Image(pixels, **state)
            insert_unselected(layers, self._shown)
        self._divider.show(
            piece.layer,
            (window.left + start) * factor[1] - 0.5,
            window.top * factor[0] - 0.5,
            window.bottom * factor[0] - 0.5,
        )

    def _watch(self, layer: Image | None) -> None:
        """Be of this layer from now on; nothing that was of another stays."""
        if layer is self._watched:
            return
        self._clear()
        if self._watched is not None:
            for emitter, follow in self._told_by(self._watched):
                emitter.disconnect(follow)
        self._watched = layer
        if layer is not None:
            for emitter, follow in self._told_by(layer):
                emitter.connect(follow)

    def _told_by(self, layer: Image) -> list[tuple[Any, Callable[..., None]]]:
        """What tells of changes of a layer, and what is then done."""
        looks = [(getattr(layer.events, name), self._follow) for name in FOLLOWED]
        places = [(getattr(layer.events, name), self._renew) for name in PLACE]
        return [*looks, *places, (layer.events.data, self._drop)]

    def _follow(self, event: Any) -> None:
        """Look as the layer does."""
        if self._shown is not None:
            setattr(self._shown, event.type, getattr(self._watched, event.type))

    def _renew(self, event: object = None) -> None:
        """Begin anew, where the layer lies elsewhere."""
        self._drop()
        self.refresh()

    def _drop(self, event: object = None) -> None:
        """Show no more of what the layer held; what it holds now is previewed once that was looked at."""
        if self._job is not None:
            self._job.cancel()
        self._clear()

    def _clear(self) -> None:
        """Take the layers of the preview away."""
        self._piece = None
        self._remove_shown()
        self._divider.remove(self._canvases)

    def _remove_shown(self) -> None:
        take_away(self._viewer.layers, self._shown, self._canvases)
        self._shown = None


def hidden_step(dims: Dims) -> tuple[float, ...]:
    """Where the plane that is shown lies along the axes that are not."""
    return tuple(dims.point[axis] for axis in dims.not_displayed)
