"""Work in a thread: progress, time left, cancel, and errors as napari notifications."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from contextlib import closing
from time import monotonic
from typing import Any

from napari.qt.threading import WorkerBase, create_worker
from napari.utils import cancelable_progress
from napari.utils.notifications import notification_manager, show_error
from qtpy.QtCore import QObject, QTimer, Signal

from napari_car.errors import CarError
from napari_car.steps import Steps

POLL_MS = 200
"""How often progress is shown; thousands of steps a second would otherwise flood the event loop."""

# A script that ends while a thread is at its last tile would abort; napari waits only where its event loop ran.
atexit.register(WorkerBase.await_workers)


class Job(QObject):
    """One piece of work in a thread of its own; made for one start.

    Parameters
    ----------
    work
        Makes the steps to run; called in the thread.
    title
        Shown beside the bar in napari's activity dock. With None, for what nobody asked to be done, there is no bar and
        no notification of an error: its sentence is ``failed`` alone.
    parent
        The Qt object that owns the job.
    """

    progressed = Signal(int, int, float)  # done, total, seconds left
    returned = Signal(object)
    failed = Signal(str)
    ended = Signal()  # after any of returned, failed and cancel

    def __init__(self, work: Callable[[], Steps[Any]], title: str | None, parent: QObject) -> None:
        super().__init__(parent)
        self._steps: tuple[int, int] | None = None
        self._error: Exception | None = None
        self._started = monotonic()
        self.is_over = False
        self._is_polling = False
        self._activity = None if title is None else cancelable_progress(desc=title, total=0)

        todo = self._todo = [work]  # napari keeps its workers for good: what they do must not stay in them

        def stepping() -> Steps[Any]:
            if self.is_over:
                return None
            try:
                with closing(todo.pop()()) as steps:
                    while not self.is_over:
                        try:
                            self._steps = next(steps)
                        except StopIteration as stop:
                            return stop.value
                        yield self._steps
            except Exception as error:  # told by us: napari would put a traceback behind every sentence
                self._error = None if self.is_over else error
            return None

        self._worker = create_worker(stepping)
        self._worker.returned.connect(self._return)
        self._timer = QTimer(self, interval=POLL_MS, timeout=self._poll)

    def start(self) -> None:
        """Begin."""
        self._worker.start()
        self._timer.start()

    def cancel(self) -> None:
        """End at once for the user; the thread ends after the tiles it is at, and what it returns is dropped."""
        if not self.is_over:
            self._end()

    def _poll(self) -> None:
        """Show how far the work is; updating napari's bar runs the event loop, hence the guard and the order."""
        if self._is_polling or self.is_over:
            return
        if self._activity is not None and self._activity.is_canceled:
            self.cancel()
            return
        if self._steps is None or self._steps[0] == 0:
            return
        self._is_polling = True
        done, total = self._steps
        left = (monotonic() - self._started) * (total - done) / done
        self.progressed.emit(done, total, left)
        if self._activity is not None and not self.is_over:
            if self._activity.total != total:
                self._activity.total = total
            self._activity.update(done - self._activity.n)
        self._is_polling = False

    def _return(self, result: object) -> None:
        """Tell what the thread came to, unless nobody waits for it any more."""
        error, self._error = self._error, None
        if self.is_over:
            return
        if error is None:
            self._end(lambda: self.returned.emit(result))
            return
        if not isinstance(error, CarError):  # a fault of ours: with its traceback
            notification_manager.receive_error(type(error), error, error.__traceback__)
        elif self._activity is not None:
            show_error(str(error))
        self._end(lambda: self.failed.emit(str(error)))

    def _end(self, tell: Callable[[], None] = lambda: None) -> None:
        """Take down timer and bar, then tell."""
        self.is_over = True
        self._todo.clear()
        self._timer.stop()
        if self._activity is not None:
            self._activity.close()
        tell()
        self.ended.emit()
        self.deleteLater()
