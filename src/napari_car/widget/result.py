"""The layers that come of a run: beside their source, and like it in everything but the pixels."""

from __future__ import annotations

from collections.abc import Generator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import ref

import numpy as np
from napari.layers import Image
from napari.utils.transforms import Affine
from napari.viewer import Viewer

from napari_car.pixels import FULL_SCALE, LUMA
from napari_car.widget.insertion import Canvases, insert_unselected, take_away

RECORD = "napari-car"
"""Key of the record in a layer's metadata."""

NOT_CARRIED = (
    "name", "metadata", "locked_data_level", "plane", "experimental_clipping_planes", "visible",
)  # fmt: skip
"""What a layer says of itself that does not hold for another."""

PLACE = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
"""Where a layer lies in the world."""

COVERING = ("translucent", "translucent_no_depth", "opaque")
"""Blendings that leave nothing to be seen of what lies below."""

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
    record
        How it came about.
    code
        Python code that makes ``restored`` again.
    """

    restored: Any
    residual: Any
    record: dict[str, Any]
    code: str


@dataclass(frozen=True, eq=False)
class Shown:
    """The layers that show an outcome, for as long as others keep them."""

    restored: ref[Image]
    residual: ref[Image] | None


def change(pixels: Any, restored: Any, is_rgb: bool) -> Any:
    """Restored minus original, float32, white being 1; of colour the change in luma."""
    if isinstance(pixels, list | tuple):
        return [change(*level, is_rgb) for level in zip(pixels, restored, strict=True)]
    white = np.float32(FULL_SCALE[pixels.dtype.name])
    residual = (restored.astype(np.float32) - pixels.astype(np.float32)) / white
    return residual[..., :3] @ LUMA if is_rgb else residual


def show_steps(
    viewer: Viewer,
    layer: Image,
    look: dict[str, Any],
    outcome: Outcome,
    results: MutableMapping[Image, Shown],
    *,
    is_update: bool,
    canvases: Canvases,
) -> Generator[None, None, None]:
    """Show an outcome in the layers of the last one if that is to be updated and fits, or else in new ones above them.

    Each step is what napari does at one go: making a layer, uploading its pixels. Between steps its loop may run.

    Parameters
    ----------
    viewer, canvases
        Where it is shown, and what draws there.
    layer
        The layer that was restored.
    look
        What ``carried`` gave for it when the run began; it may be another by now.
    outcome
        What the run made.
    results
        What the last run made of each layer; this outcome is put there.
    is_update
        Whether the last result is to be replaced.
    """
    last = results.get(layer)
    old, old_residual = (last.restored(), last.residual and last.residual()) if last is not None else (None, None)
    below = [layer] if old is None else [layer, old]
    look = look | {"name": f"{layer.name} [car]", "metadata": {**layer.metadata, RECORD: outcome.record}}
    restored = yield from _put(viewer, below, old if is_update else None, outcome.restored, look)
    yield
    restored.visible = True
    if restored is not old and _shines_through(restored):
        for each in below:
            if _lie_alike(restored, each):
                each.visible = False
    if outcome.residual is None:
        if restored is old:
            take_away(viewer.layers, old_residual, canvases)
        results[layer] = Shown(ref(restored), None)
        return
    yield
    plain = {key: value for key, value in look.items() if key not in NOT_OF_A_RESIDUAL}
    plain |= {"name": f"{layer.name} [car residual]", "rgb": False, "colormap": "PiYG"}
    plain |= {"contrast_limits": (-RESIDUAL_SPAN, RESIDUAL_SPAN)}
    residual = yield from _put(viewer, [layer], old_residual if is_update else None, outcome.residual, plain)
    results[layer] = Shown(ref(restored), ref(residual))


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


def _shines_through(layer: Image) -> bool:
    """Whether what is drawn as this layer is, above it, is added to it or mixed with it."""
    return layer.opacity < 1 or layer.blending not in COVERING


def _lie_alike(layer: Image, other: Image) -> bool:
    """Whether the one layer covers the other, and no less or more."""
    return np.array_equal(layer.extent.data, other.extent.data) and np.array_equal(layer.translate, other.translate)


def _put(
    viewer: Viewer, below: Sequence[Image], into: Image | None, data: Any, look: dict[str, Any]
) -> Generator[None, None, Image]:
    """Put data into a layer if it is still there and of that shape, or else into a new, hidden one above others."""
    if into is not None and into in viewer.layers and (into.multiscale, into.rgb) == (look["multiscale"], look["rgb"]):
        first = data[0] if into.multiscale else data
        if first.shape == (into.data[0] if into.multiscale else into.data).shape:
            into.data, into.metadata = data, look["metadata"]
            was = carried(into)
            for key in PLACE:
                if not np.array_equal(was[key], look[key]):  # to set one is to draw the layer anew
                    setattr(into, key, look[key])
            return into
    layer = Image(data, **look, visible=False)
    yield
    places = [viewer.layers.index(each) for each in below if each in viewer.layers]
    insert_unselected(viewer.layers, layer, max(places) + 1 if places else None)
    return layer
