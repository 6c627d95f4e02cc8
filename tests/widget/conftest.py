"""A viewer with the dock in it, on a virtual display, with preferences of its own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import Any

# Before napari is imported: it remembers windows and settings between runs.
os.environ["NAPARI_CONFIG"] = os.path.join(tempfile.mkdtemp(prefix="napari-car-"), "settings.yaml")

import pytest

pytest.importorskip("napari", reason="needs the extra napari")

from napari.settings import get_plugin_settings

from napari_car.widget.dock import RestoreDock


@pytest.fixture
def open_dock(make_napari_viewer: Callable[..., Any], qtbot: Any) -> Callable[..., tuple[Any, RestoreDock]]:
    """Makes a viewer with the dock; keywords go to the viewer."""

    def make(**options: Any) -> tuple[Any, RestoreDock]:
        get_plugin_settings("napari-car").reset()
        viewer = make_napari_viewer(**options)
        _, dock = viewer.window.add_plugin_dock_widget("napari-car", "Remove JPEG artifacts")
        return viewer, dock

    return make


@pytest.fixture
def finish(qtbot: Any) -> Callable[[RestoreDock], None]:
    """Waits until what the dock began is done."""

    def wait(dock: RestoreDock) -> None:
        qtbot.waitUntil(lambda: not dock.is_busy, timeout=60_000)

    return wait
