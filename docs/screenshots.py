"""Makes the pictures of docs/napari.md; run by scripts/screenshots."""

from __future__ import annotations

from pathlib import Path

import napari
import numpy as np
from napari.settings import get_settings
from PIL import Image
from qtpy.QtCore import QEventLoop, QTimer

from napari_car.widget.dock import RestoreDock

FOLDER = Path(__file__).parent / "images"
SIZE = 1180, 780


def wait(seconds: float) -> None:
    """Let the event loop run."""
    loop = QEventLoop()
    QTimer.singleShot(int(seconds * 1000), loop.quit)
    loop.exec()


def finish(dock: RestoreDock) -> None:
    """Wait until what the dock began is done."""
    wait(0.3)
    while dock.is_busy:
        wait(0.1)
    wait(0.5)


def main() -> None:
    """Lead the dock through its states and take a picture of each."""
    viewer = napari.Viewer(show=True)
    window = viewer.window
    window.resize(*SIZE)

    def shoot(name: str) -> None:
        for theme in ("dark", "light"):
            get_settings().appearance.theme = theme
            wait(0.6)
            picture = Image.fromarray(window.screenshot(flash=False)).convert("RGB")
            picture.save(FOLDER / f"napari-{name}-{theme}.webp", quality=90, method=6)
        get_settings().appearance.theme = "dark"

    _, dock = window.add_plugin_dock_widget("napari-car", "Remove JPEG artifacts")
    (layer,) = viewer.open_sample("napari-car", "photo")
    finish(dock)
    viewer.scene.camera.zoom *= 2.2
    zoom = viewer.scene.camera.zoom
    viewer.scene.camera.center = (0, 62, 112)
    shoot("idle")

    dock.preview_button.setChecked(True)
    finish(dock)
    shoot("preview")
    dock.preview_button.setChecked(False)

    state = {"scale": layer.scale, "units": layer.units, "rgb": True}
    large = viewer.add_image(np.tile(layer.data, (8, 8, 1)), name="4096 x 4096", **state)
    dock.form.layers.value = large
    finish(dock)
    viewer.reset_view()
    dock.run()
    while dock.bar.value() <= 60:
        wait(0.1)
    shoot("running")
    dock.cancel()
    viewer.layers.remove(large)
    viewer.layers.selection.active = layer
    finish(dock)

    viewer.scene.camera.zoom = zoom
    viewer.scene.camera.center = (0, 62, 112)
    dock.run()
    finish(dock)
    shoot("done")

    bright = viewer.add_image(layer.data / 100, name="floats", visible=False, **state)
    dock.form.layers.value = bright
    dock.form.quality_from.setCurrentIndex(1)
    wait(0.5)
    dock.run()
    finish(dock)
    shoot("error")
    viewer.close()


if __name__ == "__main__":
    main()
