"""The layers that come of a run: beside their source, and like it in everything but the pixels."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image
from napari.utils.transforms import Affine

from napari_car.pixels import FULL_SCALE, LUMA
from napari_car.widget.insertion import insert_unselected

RECORD = "napari-car"
"""Key of the record in a layer's metadata."""

NOT_CARRIED = (
    "name", "metadata", "multiscale", "locked_data_level", "plane", "experimental_clipping_planes", "visible",
)  # fmt: skip
"""What a layer says of itself that does not hold for another."""

NOT_OF_A_RESIDUAL = ("contrast_limits", "colormap", "gamma", "auto_contrast", "rgb")
RESIDUAL_SPAN = 0.1
"""Change, as a share of white, from which a residual layer shows full colour."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a run made.

    Parameters
    ----------
    restored
        Pixels in the layout of the source, or a list of them where that has several resolution levels.
    residual
        What was changed, see ``change``; None where it was not asked for.
    corner
        Where the first pixel lies in the source, px along each axis.
    record
        How it came about.
    code
        Python code that makes ``restored`` again.
    """

    restored: Any
    residual: Any
    corner: tuple[int, ...]
    record: dict[str, Any]
    code: str


@dataclass(frozen=True, eq=False)
class Shown:
    """The layers that show an outcome, and the layer that it was made from."""

    source: Image
    restored: Image
    residual: Image | None


def change(pixels: Any, restored: Any, is_rgb: bool) -> Any:
    """Restored minus original, float32, white being 1; of colour the change in luma."""
    if isinstance(pixels, list | tuple):
        return [change(*level, is_rgb) for level in zip(pixels, restored, strict=True)]
    white = np.float32(FULL_SCALE[pixels.dtype.name])
    residual = (restored.astype(np.float32) - pixels.astype(np.float32)) / white
    return residual[..., :3] @ LUMA if is_rgb else residual


def show_steps(viewer: ViewerModel, layer: Image, outcome: Outcome, last: Shown | None) -> Generator[None, None, Shown]:
    """Show an outcome in the layers of ``last`` if they are there and fit, or else in new ones above their source.

    Each step is what napari does at one go: making a layer, uploading its pixels. Between steps its loop may run.
    """
    into = last if last is not None and last.source is layer else None
    look = carried(layer, outcome.corner) | {"metadata": {**layer.metadata, RECORD: outcome.record}}
    look |= {"multiscale": layer.multiscale, "name": f"{layer.name} [car]"}
    restored = yield from _put(viewer, layer, into.restored if into else None, outcome.restored, look)
    yield
    restored.visible = True
    residual = None
    if outcome.residual is not None:
        yield
        plain = {key: value for key, value in look.items() if key not in NOT_OF_A_RESIDUAL}
        plain |= {"name": f"{layer.name} [car residual]", "rgb": False, "colormap": "PiYG"}
        plain |= {"contrast_limits": (-RESIDUAL_SPAN, RESIDUAL_SPAN)}
        residual = yield from _put(viewer, layer, into.residual if into else None, outcome.residual, plain)
    return Shown(layer, restored, residual)


def carried(layer: Image, corner: Sequence[float] = (), zoom: Sequence[float] = ()) -> dict[str, Any]:
    """Keywords of ``add_image`` for pixels that lie where those of ``layer`` do and look as they do.

    Parameters
    ----------
    layer
        The layer to be like.
    corner
        Where the first pixel lies in the layer's data, px; at its first pixel where empty.
    zoom
        Pixels of the layer in one of the new ones, along each axis; 1 where empty.
    """
    state = {key: value for key, value in layer.as_layer_data_tuple()[1].items() if key not in NOT_CARRIED}
    if len(corner):
        place = Affine(scale=layer.scale, translate=layer.translate, rotate=layer.rotate, shear=layer.shear)
        state["translate"] = place(np.asarray(corner, float))
    if len(zoom):
        state["scale"] = layer.scale * np.asarray(zoom)
    return state


def _put(
    viewer: ViewerModel, source: Image, into: Image | None, data: Any, state: dict[str, Any]
) -> Generator[None, None, Image]:
    """Put data into a layer if it is still there and of that shape, or else into a new, hidden one above the source."""
    if into is not None and into in viewer.layers and into.multiscale == state["multiscale"]:
        first = data[0] if into.multiscale else data
        if first.shape == (into.data[0] if into.multiscale else into.data).shape:
            into.data, into.metadata, into.translate = data, state["metadata"], state["translate"]
            return into
    layer = Image(data, **state, visible=False)
    yield
    insert_unselected(viewer.layers, layer, viewer.layers.index(source) + 1 if source in viewer.layers else None)
    return layer
