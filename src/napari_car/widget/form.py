"""The controls of the dock, and what they say."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np
from magicgui.widgets import ComboBox
from napari.components import ViewerModel
from napari.layers import Image, Labels, Shapes
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QHBoxLayout, QLabel, QSpinBox, QWidget
from superqt import QCollapsible, QDoubleSlider, QLabeledDoubleSlider
from superqt.utils import signals_blocked

from napari_car.cards import ModelCard, list_models, load_card
from napari_car.widget.settings import Settings, changes
from napari_car.widget.source import is_preview

AUTO, MANUAL = "auto", "manual"
NEW, UPDATE = "a new layer", "update the last result"
EVERY, CURRENT = "every plane", "the plane shown"
EVERYWHERE = "everywhere"
CONSISTENT_TIP = "Invent nothing that the JPEG file excludes; for 8-bit pixels as they were decoded"
EDITED = ("paint", "set_data")
"""Events of labels and shapes after which they may hold another region."""

LISTED = ("inserted", "removed", "reordered", "renamed")
"""Events of a list of layers after which others are to be offered."""

MOVES = {
    Qt.Key.Key_Left: -1,
    Qt.Key.Key_Down: -1,
    Qt.Key.Key_Right: 1,
    Qt.Key.Key_Up: 1,
    Qt.Key.Key_PageDown: -4,
    Qt.Key.Key_PageUp: 4,
    Qt.Key.Key_Home: -math.inf,
    Qt.Key.Key_End: math.inf,
}
"""By how many steps keys move a share."""

SHOWN, STORED = "when it is shown", "now, into a Zarr store"


class Form(QWidget):
    """The controls from layer to result.

    Parameters
    ----------
    viewer
        Whose layers can be chosen.
    """

    changed = Signal()  # any setting that changes pixels
    looked_at_changed = Signal()  # layer, its data, planes or model: what is found may be another
    touched = Signal()  # any setting that is remembered

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self._watched: Image | None = None
        self._watched_map: Labels | Shapes | None = None
        self._cards = {card.id: card for card in list_models()}
        self._make_controls()
        self._lay_out()
        self.settings = Settings.remembered()
        self._connect()
        self._choose(self.layer)

    def _make_controls(self) -> None:
        """Make each control with its tooltip."""
        self.layers = ComboBox(choices=self._images, tooltip="The image layer to restore; it is not changed")
        self.maps = ComboBox(
            choices=self._maps,
            tooltip="Restore only inside of these labels or shapes, which may lie on another grid",
        )
        for box in (self.layers, self.maps):  # as wide as the dock, not the dock as wide as the longest name
            box.native.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.model = QComboBox(toolTip="The network; larger ones restore better and take longer")
        self.model.addItems(list(self._cards))
        self.model_note = note()
        self.quality_from = QComboBox(toolTip="Whether the quality is found (file header or pixels) or set by you")
        self.quality_from.addItems([AUTO, MANUAL])
        self.quality = QSpinBox(minimum=1, maximum=100, toolTip="IJG quality at which the picture was compressed")
        self.found = note()
        self.strength = Share("Share of the change that is applied; 0 leaves the pixels as they are")
        self.luma = Share("Share of the change in brightness, on top of strength")
        self.chroma = Share("Share of the change in colour, on top of strength")
        self.consistent = QCheckBox("consistent with the file", toolTip=CONSISTENT_TIP)
        self.target = QComboBox(toolTip="Where the restored pixels go")
        self.target.addItems([NEW, UPDATE])
        self.planes = QComboBox(toolTip="Restore the whole stack, or only the plane that is shown")
        self.planes.addItems([EVERY, CURRENT])
        self.compute = QComboBox(toolTip="When a result that may be larger than memory is computed")
        self.compute.addItems([SHOWN, STORED])
        self.residual = QCheckBox("residual layer", toolTip="Add a layer that shows what was changed")

    def _lay_out(self) -> None:
        """Put the controls into rows."""
        quality = QHBoxLayout()
        quality.addWidget(self.quality_from, 1)
        quality.addWidget(self.quality, 1)
        shares = QWidget()
        share_rows = QFormLayout(shares)
        share_rows.setContentsMargins(0, 0, 0, 0)
        share_rows.addRow("luma", self.luma)
        share_rows.addRow("chroma", self.chroma)
        share_rows.addRow("only in", self.maps.native)
        self.more = QCollapsible("luma, chroma, region", expandedIcon="▾", collapsedIcon="▸")
        self.more.layout().setContentsMargins(0, 0, 0, 0)
        self.more.setContent(shares)
        self.more.toggled.connect(shares.setEnabled)  # the Tab key passes over what cannot be seen
        self.more.collapse(animate=False)
        self.more.toggleButton().setToolTip("Shares of brightness and of colour, and where to restore")
        rows = self._rows = QFormLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        rows.addRow("layer", self.layers.native)
        rows.addRow("planes", self.planes)
        rows.addRow("model", self.model)
        rows.addRow(self.model_note)
        rows.addRow("quality", quality)
        rows.addRow(self.found)
        rows.addRow("strength", self.strength)
        rows.addRow("", self.consistent)
        rows.addRow(self.more)
        rows.addRow("result", self.target)
        rows.addRow("compute", self.compute)
        rows.addRow("", self.residual)

    def _connect(self) -> None:
        """Tell of changes."""
        self.layers.changed.connect(self._choose)
        self.planes.currentTextChanged.connect(self._look)
        self.maps.changed.connect(self._choose_map)
        self.model.currentTextChanged.connect(self._look)
        numbers = [number.valueChanged for number in (self.quality, self.strength, self.luma, self.chroma)]
        of_pixels = [self.quality_from.currentTextChanged, self.consistent.toggled, *numbers]
        for each in of_pixels:
            each.connect(self._change)
        for each in (self.model.currentTextChanged, self.target.currentTextChanged, self.residual.toggled, *of_pixels):
            each.connect(self.touched)
        self.touched.connect(self._remember)
        for event in LISTED:
            getattr(self._viewer.layers.events, event).connect(self.refresh_layers)
        told, recall = changes(), self._recall
        told.connect(recall)
        self.destroyed.connect(lambda _: told.disconnect(recall))  # as it is, with a viewer that is closed

    def disconnect_viewer(self) -> None:
        """Stop listening to the viewer, its layers and what is remembered."""
        for event in LISTED:
            getattr(self._viewer.layers.events, event).disconnect(self.refresh_layers)
        self._watch(None)
        self._watch_map(None)
        changes().disconnect(self._recall)

    @property
    def layer(self) -> Image | None:
        """The layer that is chosen."""
        return self.layers.value

    @property
    def map(self) -> Labels | Shapes | None:
        """The layer that says where to restore; None for everywhere."""
        return self.maps.value

    @property
    def card(self) -> ModelCard:
        """The card of the model that is chosen."""
        return self._cards[self.model.currentText()]

    @property
    def is_current_plane(self) -> bool:
        """Whether only the plane that is shown is to be restored."""
        return self.planes.isVisibleTo(self) and bool(self.planes.currentText() == CURRENT)

    @property
    def is_stored(self) -> bool:
        """Whether the result is to be computed into a Zarr store."""
        return self.compute.isVisibleTo(self) and bool(self.compute.currentText() == STORED)

    @property
    def settings(self) -> Settings:
        """What the controls say."""
        return Settings(
            model=self.model.currentText(),
            is_auto=self.quality_from.currentText() == AUTO,
            quality=self.quality.value(),
            strength=round(self.strength.value(), 2),
            luma=round(self.luma.value(), 2),
            chroma=round(self.chroma.value(), 2),
            is_consistent=self.consistent.isChecked(),
            is_update=self.target.currentText() == UPDATE,
            has_residual=self.residual.isChecked(),
        )

    @settings.setter
    def settings(self, settings: Settings) -> None:
        controls = {field.name: getattr(settings, field.name) for field in fields(Settings)}
        known = settings.model if settings.model in self._cards else load_card().id
        with signals_blocked(self):
            self.model.setCurrentText(known)
            self.quality_from.setCurrentText(AUTO if settings.is_auto else MANUAL)
            for name in ("quality", "strength", "luma", "chroma"):
                getattr(self, name).setValue(controls[name])
            self.target.setCurrentText(UPDATE if settings.is_update else NEW)
            self.consistent.setChecked(settings.is_consistent)
            self.residual.setChecked(settings.has_residual)

    def show_found(self, sentence: str) -> None:
        """Say what was found of the picture."""
        self.found.setText(sentence)

    def refresh_layers(self, event: Any = None) -> None:
        """Offer the layers that there are, by the names that they have."""
        for box in (self.layers, self.maps):
            chosen = box.value
            with box.changed.blocked():  # a box goes by names: with a new one, the chosen layer is no more for it
                box.reset_choices()
                if box.value is not chosen and chosen in box.choices:
                    box.value = chosen
            if box.value is not chosen:
                box.changed.emit(box.value)

    def _choose(self, layer: Image | None) -> None:
        self._watch(layer)
        self._look()

    def _watch(self, layer: Image | None) -> None:
        """Look anew when this layer is given other pixels."""
        if self._watched is not None:
            self._watched.events.data.disconnect(self._look)
        self._watched = layer
        if layer is not None:
            layer.events.data.connect(self._look)

    def _choose_map(self, chosen: Labels | Shapes | None) -> None:
        self._watch_map(chosen)
        self._change()

    def _watch_map(self, chosen: Labels | Shapes | None) -> None:
        """Tell when these labels or shapes are edited."""
        for emitter in _edits(self._watched_map):
            emitter.disconnect(self._change)
        self._watched_map = chosen
        for emitter in _edits(chosen):
            emitter.connect(self._change)

    def _look(self, _: object = None) -> None:
        self._show_what_applies()
        self.looked_at_changed.emit()

    def _change(self, _: object = None) -> None:
        self._show_what_applies()
        self.changed.emit()

    def _remember(self) -> None:
        """Keep the settings for the next time."""
        with changes().blocker(self._recall):
            self.settings.remember()

    def _recall(self, _: object = None) -> None:
        """Follow what others have set."""
        before = self.settings
        self.settings = Settings.remembered()
        if self.settings != before:
            self.looked_at_changed.emit()
            self.changed.emit()

    def _show_what_applies(self) -> None:
        """Hide what has no meaning for the layer and the settings."""
        card = self.card
        self.model_note.setText(f"{card.summary} {card.kmac_per_px:g} kMAC/px.")
        is_auto = self.quality_from.currentText() == AUTO
        self.quality.setVisible(not is_auto)
        self.found.setVisible(is_auto)
        layer = self.layer
        is_lazy = layer is not None and not isinstance(layer.data[0] if layer.multiscale else layer.data, np.ndarray)
        self.consistent.setEnabled(layer is not None and layer.dtype == np.uint8)
        self._rows.setRowVisible(self.compute, is_lazy and not self.is_current_plane)
        self._rows.setRowVisible(self.planes, layer is not None and layer.ndim > 2)

    def _images(self, _: object = None) -> list[Image]:
        """Layers that can be restored."""
        return [layer for layer in self._viewer.layers if isinstance(layer, Image) and not is_preview(layer)]

    def _maps(self, _: object = None) -> list[tuple[str, Labels | Shapes | None]]:
        """Layers that can say where to restore."""
        layers = [each for each in self._viewer.layers if isinstance(each, Labels | Shapes) and not is_preview(each)]
        return [(EVERYWHERE, None), *((layer.name, layer) for layer in layers)]


def _edits(chosen: Labels | Shapes | None) -> list[Any]:
    """What tells that labels or shapes were edited."""
    return [] if chosen is None else [chosen.events[name] for name in EDITED if name in chosen.events.emitters]


def note() -> QLabel:
    """A line of explanation, as wide as the dock."""
    label = QLabel(wordWrap=True, textInteractionFlags=Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setEnabled(True)
    return label


class Share(QLabeledDoubleSlider):
    """A slider from 0 to 1, which keys move too: those of superqt take the focus, and do nothing with it."""

    def __init__(self, tip: str) -> None:
        super().__init__(Qt.Orientation.Horizontal)
        self.setRange(0, 1)
        self.setDecimals(2)
        self.setSingleStep(0.05)
        self.setToolTip(tip)
        self.findChild(QDoubleSlider).setFocusProxy(self)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802, a name of Qt
        """Move by a step, by four, or to an end."""
        move = MOVES.get(event.key())
        if move is None:
            super().keyPressEvent(event)
        else:
            self.setValue(min(max(self.value() + move * self.singleStep(), 0), 1))
