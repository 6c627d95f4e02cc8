"""Layers put beside those of the user, whose selection stays as it is."""

from __future__ import annotations

from napari.components import LayerList
from napari.layers import Layer


def insert_unselected(layers: LayerList, layer: Layer, index: int | None = None) -> None:
    """Put a layer into the list, at its end for None.

    napari selects what is inserted. To tell of that and of what is selected again would take its window nearly as long
    as to insert the layer, so neither is told: nothing has changed in the end.
    """
    selection = layers.selection
    chosen, active = set(selection), selection.active
    with selection.events.blocker_all():
        layers.insert(len(layers) if index is None else index, layer)
        selection.active = active
        selection.update(chosen)
