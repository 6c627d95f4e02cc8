"""The dock widget: where form, job, preview and layers meet."""

from __future__ import annotations

import gc
import math
from collections.abc import Generator
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from napari.layers import Image
from napari.utils.notifications import notification_manager, show_info
from napari.viewer import Viewer
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtWidgets import (
    QApplication,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import qdebounced, signals_blocked

from napari_car.cards import ModelCard
from napari_car.diagnosis import Diagnosis
from napari_car.widget.form import Form, note
from napari_car.widget.insertion import canvases
from napari_car.widget.job import Job
from napari_car.widget.preview import Preview
from napari_car.widget.result import Outcome, Shown, carried, show_steps
from napari_car.widget.run import Run, diagnose_steps
from napari_car.widget.source import Source
from napari_car.widget.where import Where

COPY_TIP = "Code for the last run; in a process of its own it gives the same pixels"
SETTLE_MS = 50
"""How long the choice of a layer must rest before it is looked at."""

PREVIEW_TIP = "Restore what is on the screen, right of a divider that can be dragged (Ctrl+Alt+P)"

KEYS = {"Control-Alt-R": "run_button", "Control-Alt-C": "cancel_button", "Control-Alt-P": "preview_button"}
"""Keys while docked, and the button that each presses."""


class RestoreDock(QWidget):
    """Removes JPEG artifacts from an image layer; what it will do stands there before it does it.

    Parameters
    ----------
    napari_viewer
        The viewer that it is docked in.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._job: Job | None = None
        self._finding: Job | None = None
        self._diagnosis: Diagnosis | None = None
        self._results: WeakKeyDictionary[Image, Shown] = WeakKeyDictionary()
        self._showing: Generator[None, None, None] | None = None
        self._turn = QTimer(self, singleShot=True, timeout=self._show_more)  # with the loop's other work between
        self._code = ""
        self._is_waiting = False
        self._find = qdebounced(self._find_now, timeout=SETTLE_MS)
        self.form = Form(napari_viewer)
        self.run_button = QPushButton("Run", toolTip="Restore the layer (Ctrl+Alt+R)", clicked=self.run)
        self.cancel_button = QPushButton("Cancel", toolTip="Stop and change nothing (Ctrl+Alt+C)", clicked=self.cancel)
        self.copy_button = QPushButton("Copy Python code", toolTip=COPY_TIP, clicked=self.copy_code, enabled=False)
        self.bar = QProgressBar(textVisible=False)
        self.left = QLabel()
        self.status = note()
        self.preview = Preview(napari_viewer, self._previewed, self)
        self.preview_button = QPushButton("Preview", checkable=True, toolTip=PREVIEW_TIP)
        self.divider = QSlider(Qt.Orientation.Horizontal, toolTip="Where the preview begins, as does the line")
        self.divider.setRange(0, 100)
        self.divider.setValue(50)
        self._lay_out()
        self._connect()
        self._toggle_preview(False)
        self._show_running(False)
        self.find()

    def _lay_out(self) -> None:
        """Put form, buttons and progress below each other."""
        buttons, progress, rows = QHBoxLayout(), QHBoxLayout(), QVBoxLayout(self)
        buttons.addWidget(self.preview_button)
        buttons.addWidget(self.run_button)
        buttons.addWidget(self.cancel_button)
        progress.addWidget(self.bar, 1)
        progress.addWidget(self.left)
        rows.addWidget(self.form)
        rows.addWidget(self.divider)
        rows.addLayout(buttons)
        rows.addLayout(progress)
        rows.addWidget(self.status)
        rows.addWidget(self.copy_button)
        rows.addStretch()

    def _connect(self) -> None:
        """Let form, preview and slider tell of changes."""
        self.form.looked_at_changed.connect(self.find)
        self.form.changed.connect(self.preview.refresh)
        self._viewer.dims.events.current_step.connect(self._find_plane)
        self.preview_button.toggled.connect(self._toggle_preview)
        self.divider.valueChanged.connect(lambda percent: self.preview.divide(percent / 100))
        self.preview.moved.connect(self._follow_divider)
        self.preview.said.connect(self._say)
        self.destroyed.connect(lambda _: gc.unfreeze())  # a viewer that is closed deletes the dock as it is
        for key, button in KEYS.items():
            self._viewer.bind_key(key, lambda _, name=button: getattr(self, name).click(), overwrite=True)

    def event(self, event: QEvent) -> bool:
        """Let go of the viewer when napari takes the widget out of its dock."""
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self._leave()
        return bool(super().event(event))

    def hideEvent(self, event: QEvent) -> None:  # noqa: N802, a name of Qt
        """End the preview with the dock that controls it."""
        if not event.spontaneous():
            self.preview_button.setChecked(False)
        super().hideEvent(event)

    def _leave(self) -> None:
        """Leave nothing behind in the viewer."""
        self.preview_button.setChecked(False)
        self.cancel()
        if self._finding is not None and not self._finding.is_over:
            self._finding.cancel()
        self._find.cancel()
        self._is_waiting, self._showing = False, None
        self._unfreeze()
        self.form.disconnect_viewer()
        self._viewer.dims.events.current_step.disconnect(self._find_plane)
        for key in KEYS:
            self._viewer.bind_key(key, None)

    def _follow_divider(self, share: float) -> None:
        with signals_blocked(self.divider):
            self.divider.setValue(round(share * 100))

    @property
    def is_busy(self) -> bool:
        """Whether a run is under way, or a picture being looked at."""
        return (
            self._is_waiting
            or self._showing is not None
            or any(job is not None and not job.is_over for job in (self._job, self._finding))
            or self.preview.is_busy
        )

    def find(self) -> None:
        """Find out, in a thread, how the layer was compressed, and say it; once the choice has settled."""
        self._say("")  # what was said is not of what is looked at now
        if self._finding is not None and not self._finding.is_over:
            self._finding.cancel()
        self._diagnosis = self._finding = None
        self._is_waiting = True
        self._find()

    def _find_plane(self, _: object = None) -> None:
        """Look anew where the plane that is shown counts by itself."""
        if self.form.is_current_plane:
            self.find()

    def _find_now(self) -> None:
        self._is_waiting = False
        layer = self.form.layer
        self.run_button.setEnabled(layer is not None and self._job is None)
        if layer is None:
            self.form.show_found("Open an image to begin.")
            self.preview.refresh()
            return
        self.form.show_found("Looking at the pixels…")
        source, card = Source.of(layer, self._viewer), self.form.card
        is_one = self.form.is_current_plane
        self._finding = Job(lambda: diagnose_steps(source, card, is_current_plane=is_one), None, self)
        self._finding.returned.connect(self._show_diagnosis)
        self._finding.failed.connect(self.form.show_found)
        self._finding.ended.connect(self.preview.refresh)
        self._finding.start()

    def run(self) -> None:
        """Restore the layer, in a thread."""
        layer = self.form.layer
        if layer is None or self._job is not None or self._showing is not None:
            return
        found = self._diagnosis
        if self.form.settings.is_auto and found is not None and found.quality is None:
            self._leave_alone(found)
            return
        store = None
        if self.form.is_stored:
            name, _ = QFileDialog.getSaveFileName(self, "Zarr store to compute into", f"{layer.name}.zarr")
            if not name:
                return
            store = Path(name)
        run = self._planned(layer, store)
        self._job = Job(run.steps, f"restoring {layer.name}", self)
        self._job.progressed.connect(self._show_progress)
        look = carried(layer, run.corner)
        self._job.returned.connect(lambda outcome: self._take(layer, look, outcome))
        self._job.failed.connect(self._say)
        self._job.ended.connect(self._end)
        self._say("")
        self._show_running(True)
        gc.freeze()  # to collect among all that napari holds would stop its loop for a fifth of a second
        self._job.start()

    def cancel(self) -> None:
        """Stop the run; nothing of it is kept."""
        if self._job is not None:
            self._say("Cancelled.")
            self._job.cancel()

    def copy_code(self) -> None:
        """Put the Python code of the last run onto the clipboard."""
        QApplication.clipboard().setText(self._code)
        self._say("Copied: Python code that gives the same pixels.")

    def _planned(self, layer: Image, store: Path | None = None) -> Run:
        """What a run of the layer would do now."""
        form = self.form
        where = None if form.map is None else Where.of(form.map, layer, self._viewer)
        source = Source.of(layer, self._viewer)
        return Run(source, form.settings, self._diagnosis, form.is_current_plane, where, store)

    def _previewed(self) -> tuple[Image, ModelCard, Run] | None:
        """What the preview is to show."""
        layer = self.form.layer
        return None if layer is None else (layer, self.form.card, self._planned(layer))

    def _toggle_preview(self, is_on: bool) -> None:
        self.divider.setVisible(is_on)
        if is_on:
            self.preview.start()
        else:
            self.preview.stop()

    def _show_diagnosis(self, diagnosis: Diagnosis) -> None:
        self._diagnosis = diagnosis
        self.form.show_found(diagnosis.sentence)

    def _leave_alone(self, found: Diagnosis) -> None:
        self._say(found.sentence)
        show_info(found.sentence)

    def _take(self, layer: Image, look: dict[str, Any], outcome: Outcome | Diagnosis) -> None:
        """Begin to show what a run came to."""
        if isinstance(outcome, Diagnosis):
            self._leave_alone(outcome)
            return
        self._code = outcome.code
        is_update, drawn = self.form.settings.is_update, canvases(self)
        self._showing = show_steps(
            self._viewer, layer, look, outcome, self._results, is_update=is_update, canvases=drawn
        )
        self._turn.start()

    def _show_more(self) -> None:
        """Show what is next of the outcome, and the rest in later turns of the event loop."""
        if self._showing is None:
            return
        try:
            next(self._showing)
            self._turn.start()
        except StopIteration:
            self.copy_button.setEnabled(True)
            self._end_showing("Done.")
        except Exception as error:  # of napari's: with its traceback, and the dock as usable as before
            notification_manager.receive_error(type(error), error, error.__traceback__)
            self._end_showing(f"The result could not be shown ({error}).")

    def _end_showing(self, sentence: str) -> None:
        self._showing = None
        self._say(sentence)
        self._unfreeze()

    def _show_progress(self, done: int, total: int, left: float) -> None:
        self.bar.setRange(0, total)
        self.bar.setValue(done)
        self.left.setText(duration(left))

    def _show_running(self, is_running: bool) -> None:
        self.run_button.setEnabled(not is_running and self.form.layer is not None)
        self.cancel_button.setEnabled(is_running)
        self.bar.setVisible(is_running)
        self.left.setVisible(is_running)
        self.bar.setRange(0, 0 if is_running else 1)
        self.bar.reset()
        self.left.clear()

    def _say(self, sentence: str) -> None:
        self.status.setText(sentence)
        self.status.setVisible(bool(sentence))

    def _end(self) -> None:
        self._job = None
        self._show_running(False)
        self._unfreeze()

    def _unfreeze(self) -> None:
        """Let garbage be collected as before when a run is over and shown."""
        if self._job is None and self._showing is None:
            gc.unfreeze()


def duration(seconds: float) -> str:
    """Time left, for a person.

    Examples
    --------
    >>> duration(7.2), duration(75), duration(4000)
    ('8 s left', '1:16 min left', '1:06 h left')
    """
    whole = math.ceil(seconds + 0.01)
    if whole < 60:
        return f"{whole} s left"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02} min left" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02} h left"
