"""Layers put beside those of the user and taken away again; what is selected stays so."""

from __future__ import annotations

from napari.components import LayerList
from napari.layers import Layer
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QWidget

Canvases = list[QOpenGLWidget]


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


def take_away(layers: LayerList, layer: Layer | None, canvases: Canvases) -> None:
    """Take a layer out of the list, if it is there."""
    if layer is None or layer not in layers:
        return
    for canvas in canvases:
        # napari frees what a layer holds in OpenGL in whatever context is current: in that of another widget it
        # would leave drivers such as Mesa's with freed buffers, and the next drawing would end the process.
        canvas.makeCurrent()
    active = layers.selection.active
    layers.remove(layer)
    if active in layers:
        layers.selection.active = active


def canvases(widget: QWidget) -> Canvases:
    """What is drawn by OpenGL in the window that a widget is docked in, or was torn off from."""
    while widget.parentWidget() is not None:
        widget = widget.parentWidget()
    found: Canvases = widget.findChildren(QOpenGLWidget)
    return found
