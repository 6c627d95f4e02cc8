"""The live preview, in a real viewer: what is on the canvas is what a run gives."""

from __future__ import annotations

import time

import numpy as np
import pytest

from napari_car import restore
from napari_car.widget import preview
from napari_car.widget.form import MANUAL
from napari_car.widget.insertion import canvases, take_away
from napari_car.widget.run import diagnose_steps
from napari_car.widget.where import Where


@pytest.fixture
def big(photo) -> np.ndarray:
    return np.tile(photo, (4, 4, 1))


def preview_of(viewer):
    return next(layer for layer in viewer.layers if layer.name == "preview [car]")


PLACES = [
    {},
    {"scale": (0.5, 2), "translate": (30, -7)},
    {"rotate": 30, "shear": [0.2], "affine": np.array([[0, 1.5, 3], [1, 0, 9], [0, 0, 1]])},
]


@pytest.mark.parametrize("place", PLACES, ids=["plain", "scaled", "rotated"])
def test_the_preview_is_what_a_run_gives(open_dock, finish, big, place) -> None:
    viewer, dock = open_dock(show=True)
    layer = viewer.add_image(big, rgb=True, **place)
    finish(dock)
    viewer.scene.camera.zoom *= 6
    callbacks = list(viewer.mouse_drag_callbacks)
    dock.preview_button.setChecked(True)
    finish(dock)
    shown = preview_of(viewer)
    top, left = np.rint(layer.world_to_data(shown.data_to_world((0, 0)))).astype(int)
    np.testing.assert_allclose(layer.world_to_data(shown.data_to_world((0, 0))), (top, left), atol=1e-6)
    height, width = shown.data.shape[:2]
    assert 0 < height < big.shape[0]
    assert 0 < width < big.shape[1]
    expected = restore(big)[top : top + height, left : left + width]
    np.testing.assert_array_equal(shown.data, expected)
    dock.preview_button.setChecked(False)
    assert list(viewer.layers) == [layer]
    assert viewer.mouse_drag_callbacks == callbacks
    assert viewer.layers.selection.active is layer


def test_forty_steps_of_panning_are_one_run(open_dock, finish, big, qtbot, monkeypatch) -> None:
    monkeypatch.setattr(preview, "DELAY_MS", 600_000)  # the view rests when the test says so, on however slow a machine
    viewer, dock = open_dock(show=True)
    layer = viewer.add_image(big, rgb=True)
    dock.form.quality_from.setCurrentText(MANUAL)
    qtbot.waitUntil(lambda: not dock._is_waiting and dock._finding.is_over, timeout=20_000)
    viewer.scene.camera.zoom *= 3
    dock.preview_button.setChecked(True)
    for step in range(40):
        viewer.scene.camera.center = (0, 150 + step, 150 + step)
        qtbot.wait(1)  # drawn, and whatever was begun begins
    assert dock.preview.n_runs == 0
    dock.preview._refresh.flush()
    finish(dock)
    assert dock.preview.n_runs == 1
    shown = preview_of(viewer)
    top = layer.world_to_data(shown.data_to_world((0, 0)))[0]
    assert abs(top + shown.data.shape[0] / 2 - viewer.scene.camera.center[1]) <= 1


def test_what_the_user_takes_away_stays_away(open_dock, finish, big, qtbot) -> None:
    viewer, dock = open_dock(show=True)
    layer = viewer.add_image(big, rgb=True)
    finish(dock)
    callbacks = list(viewer.mouse_drag_callbacks)
    dock.preview_button.setChecked(True)
    finish(dock)
    for name in ("preview [car]", "divider [car]"):
        take_away(viewer.layers, viewer.layers[name], canvases(dock))  # in the context that a click on them would find
    viewer.scene.camera.zoom *= 2
    finish(dock)
    assert preview_of(viewer)
    assert len(viewer.mouse_drag_callbacks) == len(callbacks) + 1
    viewer.layers.remove(layer)
    finish(dock)
    qtbot.waitUntil(lambda: not list(viewer.layers), timeout=2000)
    viewer.add_image(big, rgb=True)
    finish(dock)
    assert len(viewer.layers) == 3


def test_a_source_taken_away_during_its_run_leaves_its_result(open_dock, finish, big, qtbot) -> None:
    viewer, dock = open_dock()
    layer = viewer.add_image(big, rgb=True, name="gone")
    finish(dock)
    dock.run()
    viewer.layers.remove(layer)
    finish(dock)
    assert [each.name for each in viewer.layers] == ["gone [car]"]


def test_pixels_that_are_replaced_are_restored_once(open_dock, finish, photo, monkeypatch) -> None:
    def looking_takes_longer(*arguments, **options):
        time.sleep(3 * preview.DELAY_MS / 1000)
        return diagnose_steps(*arguments, **options)

    viewer, dock = open_dock(show=True)
    layer = viewer.add_image(photo, rgb=True)
    finish(dock)
    dock.preview_button.setChecked(True)
    finish(dock)
    n_runs = dock.preview.n_runs
    monkeypatch.setattr("napari_car.widget.dock.diagnose_steps", looking_takes_longer)
    layer.data = np.ascontiguousarray(photo[:, ::-1])
    assert list(viewer.layers) == [layer]
    finish(dock)
    assert (dock.preview.n_runs, len(viewer.layers)) == (n_runs + 1, 3)


EDITS = {
    "painted": lambda labels: labels.paint((50, 90), 1),
    "undone": lambda labels: labels.undo(),
    "replaced": lambda labels: setattr(labels, "data", np.tri(96, 128, dtype=int)),
    "written into": lambda labels: labels.data[:60].fill(0) or labels.refresh(),
    "moved": lambda labels: setattr(labels, "translate", (9, 20)),
}


def test_the_preview_follows_edits_of_labels_and_shapes(open_dock, finish, photo) -> None:
    viewer, dock = open_dock(show=True)
    layer = viewer.add_image(photo, rgb=True)
    labels = viewer.add_labels(np.zeros(photo.shape[:2], int))
    shapes = viewer.add_shapes([[[9, 9], [9, 100], [30, 100], [30, 9]]], shape_type="rectangle")
    dock.form.maps.value = labels
    finish(dock)
    dock.preview_button.setChecked(True)
    dock.divider.setValue(0)
    finish(dock)

    def is_of(where) -> bool:
        shown = preview_of(viewer)
        top, left = np.rint(layer.world_to_data(shown.data_to_world((0, 0)))).astype(int)
        height, width = shown.data.shape[:2]
        expected = restore(photo, strength=Where.of(where, layer, viewer).draw())
        return np.array_equal(shown.data, expected[top : top + height, left : left + width])

    for how, edit in EDITS.items():
        n_runs = dock.preview.n_runs
        edit(labels)
        finish(dock)
        assert (dock.preview.n_runs, is_of(labels)) == (n_runs + 1, True), how
    dock.form.maps.value = shapes
    finish(dock)
    shapes.add_ellipses([[[40, 40], [40, 120], [90, 120], [90, 40]]])
    finish(dock)
    assert is_of(shapes)
    n_runs = dock.preview.n_runs
    labels.paint((70, 9), 1)
    finish(dock)
    assert dock.preview.n_runs == n_runs


LOOKS = [
    {"colormap": "magma", "contrast_limits": (10, 200), "gamma": 0.7},
    {"colormap": "green", "contrast_limits": (0.1, 0.9), "rotate": 30, "scale": (2, 3), "units": ("um", "um")},
]


def has_the_look_of(shown, layer) -> bool:
    """Whether a preview looks as its layer does and lies where it lies, with its first pixel on one of the layer's."""
    corner = layer.world_to_data(shown.data_to_world((0, 0)))
    return (
        shown.colormap == layer.colormap
        and shown.contrast_limits == layer.contrast_limits
        and (shown.gamma, shown.units) == (layer.gamma, layer.units)
        and np.allclose(layer.world_to_data(shown.data_to_world((1, 1))), corner + np.array([1, 1]))
    )


def test_the_preview_looks_as_its_layer_does(open_dock, finish, photo) -> None:
    viewer, dock = open_dock(show=True)
    layers = [viewer.add_image(photo[..., 0], rgb=False, **LOOKS[0])]
    layers.append(viewer.add_image((photo[..., 1] / 255).astype(np.float32), rgb=False, **LOOKS[1]))
    dock.preview_button.setChecked(True)
    for layer in layers:
        dock.form.layers.value = layer
        finish(dock)
        shown = preview_of(viewer)
        assert shown.dtype == layer.dtype
        assert has_the_look_of(shown, layer)
        layer.colormap, layer.gamma, layer.contrast_limits = "viridis", 1.5, (0.2, 0.8)
        assert preview_of(viewer) is shown
        assert has_the_look_of(shown, layer)
        layer.affine, layer.scale = np.array([[1, 0.2, 3], [0, 1, 9], [0, 0, 1]]), (1, 2)
        finish(dock)
        assert has_the_look_of(preview_of(viewer), layer)
    layers[1].data = photo[..., 1][np.newaxis]
    finish(dock)
    assert preview_of(viewer).ndim == 3
    dock.preview_button.setChecked(False)
    n_runs = dock.preview.n_runs
    layers[1].gamma, layers[1].scale = 1, (1, 1, 1)
    finish(dock)
    assert (len(viewer.layers), dock.preview.n_runs) == (2, n_runs)
