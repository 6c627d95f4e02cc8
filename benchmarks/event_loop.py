"""For how long napari's event loop stands still while a large layer is restored in the dock, ms.

    xvfb-run -a python benchmarks/event_loop.py [--megapixels 12] [--tries 3] [--models car-s,arcnn]

prints one table. Beside each time by the clock stands the time for which the loop's own thread computed, which other
work on the machine does not lengthen. "add_image" is napari's own cost of showing the same pixels; the three rows after
it are that cost in the least parts that napari has: the layer's controls, the upload with its drawing, a drawing alone.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable

# Before napari is imported: it remembers windows and settings between runs.
os.environ["NAPARI_CONFIG"] = os.path.join(tempfile.mkdtemp(prefix="napari-car-"), "settings.yaml")

import napari
import numpy as np
from napari.layers import Image
from qtpy.QtCore import QEventLoop, QTimer

from napari_car import list_models
from napari_car.widget.dock import RestoreDock
from napari_car.widget.form import MANUAL, UPDATE

SIDE = 500
"""Of the noise that the large picture is tiled from, px."""

BEAT_MS = 2
REST_S = 1.0
Measured = dict[str, tuple[float, float]]


class Pulse:
    """Measures the longest time for which the event loop stood still, and computed, between two beats of a timer."""

    def __init__(self) -> None:
        self._timer = QTimer(interval=BEAT_MS)
        self._timer.timeout.connect(self._beat)
        self._timer.start()
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self.longest = self.computed = 0.0
        self._last = time.monotonic(), time.thread_time()

    def _beat(self) -> None:
        now = time.monotonic(), time.thread_time()
        self.longest = max(self.longest, now[0] - self._last[0])
        self.computed = max(self.computed, now[1] - self._last[1])
        self._last = now


def wait(seconds: float) -> None:
    """Let the event loop run."""
    loop = QEventLoop()
    QTimer.singleShot(int(seconds * 1000), loop.quit)
    loop.exec()


def finish(dock: RestoreDock) -> None:
    """Wait until what the dock began is done and shown."""
    wait(0.1)
    while dock.is_busy:
        wait(0.05)
    wait(REST_S)


def measure(pulse: Pulse, work: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds by the clock and of computing that the loop stood still at most."""
    pulse.reset()
    work()
    return pulse.longest * 1000, pulse.computed * 1000


def measure_dock(megapixels: float, models: list[str]) -> Measured:
    """One pass through everything that shows a large layer."""
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1180, 780)
    _, dock = viewer.window.add_plugin_dock_widget("napari-car", "Remove JPEG artifacts")
    n_tiles = round((megapixels * 1e6 / 12) ** 0.5 / SIDE)
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    pixels = np.tile(noise, (3 * n_tiles, 4 * n_tiles, 1))
    pulse, found = Pulse(), {}
    dock.form.quality_from.setCurrentText(MANUAL)
    layer = viewer.add_image(pixels, rgb=True)
    finish(dock)
    found["nothing"] = measure(pulse, lambda: wait(REST_S))
    added: list[Image] = []

    def add(array: np.ndarray) -> None:
        added.append(viewer.add_image(array, rgb=True))
        wait(REST_S)

    copy = pixels.copy()
    found["add_image, 4 pixels"] = measure(pulse, lambda: add(pixels[:2, :2]))
    found["add_image"] = measure(pulse, lambda: add(copy))
    canvas = viewer.window._qt_viewer.canvas.native
    added.append(Image(pixels.copy(), rgb=True, visible=False))
    found["napari: insert, hidden"] = measure(pulse, lambda: (viewer.layers.append(added[-1]), wait(REST_S)))
    found["napari: show"] = measure(pulse, lambda: (setattr(added[-1], "visible", True), wait(REST_S)))
    found["napari: draw again"] = measure(pulse, lambda: (canvas.update(), wait(REST_S)))
    for each in added:
        viewer.layers.remove(each)
        wait(REST_S)  # napari may die of layers that go at once
    dock.form.layers.value = layer
    finish(dock)

    def begin() -> None:
        dock.run()
        while dock.is_busy and dock.bar.value() <= 0:
            wait(0.01)

    for model in models:
        dock.form.model.setCurrentText(model)
        finish(dock)
        found[f"{model}: begin"] = measure(pulse, begin)
        thread = dock._job._worker  # whose end is what is measured
        begun = time.monotonic()
        found[f"{model}: cancel"] = measure(pulse, dock.cancel)
        while thread.is_running:
            wait(0.005)
        found[f"{model}: thread ends"] = ((time.monotonic() - begun) * 1000, float("nan"))
    dock.form.model.setCurrentText(models[0])
    finish(dock)
    found["a whole run"] = measure(pulse, lambda: (dock.run(), finish(dock)))
    dock.form.target.setCurrentText(UPDATE)
    found["a whole run, updating"] = measure(pulse, lambda: (dock.run(), finish(dock)))
    dock.form.residual.setChecked(True)
    found["a whole run, with residual"] = measure(pulse, lambda: (dock.run(), finish(dock)))
    viewer.close()
    return found


def main() -> None:
    """Measure and print the least of several tries, since other work on the machine only adds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--tries", type=int, default=3)
    parser.add_argument("--models", type=lambda text: text.split(","), default=[card.id for card in list_models()])
    arguments = parser.parse_args()
    tries = [measure_dock(arguments.megapixels, arguments.models) for _ in range(arguments.tries)]
    print(f"{'':28}{'by the clock':>14}{'computing':>14}")
    for name in tries[0]:
        clock, computed = (min(found[name][i] for found in tries) for i in range(2))
        print(f"{name:28}{clock:11.0f} ms{computed:11.0f} ms")


if __name__ == "__main__":
    main()
