"""What a person sees: pixels of the canvas, on a virtual display."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt

from napari_car import restore
from napari_car.widget.form import MANUAL


@pytest.fixture
def shown(open_dock, finish, qtbot, photo):
    """A viewer with a photo, one pixel of it on one of the canvas, and the dock."""
    viewer, dock = open_dock(show=True)
    viewer.add_image(photo, rgb=True, name="photo")
    finish(dock)
    match_pixels(viewer)
    qtbot.wait(100)
    return viewer, dock


def match_pixels(viewer) -> None:
    """Put one pixel of the photo onto each of the canvas: at half of it where its size is odd."""
    viewer.scene.camera.zoom = 1
    odd = np.array(viewer.screenshot(canvas_only=True, flash=False).shape[:2]) % 2
    viewer.scene.camera.center = (0, *((47.5, 63.5) + odd / 2))


def canvas(viewer) -> np.ndarray:
    """The photo's place on the canvas, shape (96, 128, 3)."""
    picture = viewer.screenshot(canvas_only=True, flash=False)
    center = viewer.scene.camera.center[1:]
    top, left = (round(size / 2 - middle - 0.5) for size, middle in zip(picture.shape, center, strict=False))
    return picture[top : top + 96, left : left + 128, :3].astype(int)


def like(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether pixels agree but for a rounding of the graphics library."""
    return bool(np.abs(found - expected).mean() < 0.6)


def previewed(shown, finish, photo, restored, qtbot) -> np.ndarray:
    """The canvas with the preview on it: before to the left, after to the right."""
    viewer, dock = shown
    dock.preview_button.setChecked(True)
    finish(dock)
    qtbot.wait(100)
    picture = canvas(viewer)
    assert like(picture[:, :60], photo[:, :60])
    assert like(picture[:, 68:], restored[:, 68:])
    return picture


def test_sample_estimate_preview_run_cancel(shown, finish, photo, qtbot) -> None:
    viewer, dock = shown
    restored = restore(photo)
    assert np.abs(restored.astype(int) - photo).mean() > 1.2
    assert like(canvas(viewer), photo)
    picture = previewed(shown, finish, photo, restored, qtbot)
    line = picture[:, 62:66]
    assert (line[..., 0] - line[..., 2] > 80).any(1).all()  # smoothed by the graphics library, amber all the same
    dock.preview_button.setChecked(False)
    qtbot.wait(50)
    assert like(canvas(viewer), photo)
    dock.run()
    finish(dock)
    match_pixels(viewer)
    qtbot.wait(50)
    assert like(canvas(viewer), restored)


def test_of_an_additive_layer_the_preview_and_the_result_are_shown_alone(shown, finish, photo, qtbot) -> None:
    viewer, dock = shown
    viewer.layers[0].blending = "additive"
    restored = restore(photo)
    previewed(shown, finish, photo, restored, qtbot)
    dock.preview_button.setChecked(False)
    dock.run()
    finish(dock)
    match_pixels(viewer)
    qtbot.wait(50)
    assert like(canvas(viewer), restored)


def test_what_is_drawn_after_the_preview_was_left(shown, finish, photo, qtbot) -> None:
    viewer, dock = shown
    for _ in range(2):
        dock.preview_button.setChecked(True)
        finish(dock)
        qtbot.wait(100)
        dock.preview_button.setChecked(False)
        for _ in range(5):  # napari's process would end here, had its layers been freed beside the canvas
            viewer.scene.camera.zoom *= 1.02
            qtbot.wait(20)
        extra = viewer.add_image(photo[..., 0], rgb=False)
        qtbot.wait(50)
        viewer.scene.camera.zoom *= 1.02
        qtbot.wait(50)
        extra.visible = False
    match_pixels(viewer)
    qtbot.wait(50)
    assert like(canvas(viewer), photo)


def test_the_divider_follows_mouse_and_slider(shown, finish, photo, qtbot) -> None:
    viewer, dock = shown
    dock.preview_button.setChecked(True)
    finish(dock)
    center, n_runs = viewer.scene.camera.center, dock.preview.n_runs
    with viewer.scene.camera.events.blocker():  # on a busy machine the window settles late, and moves the camera
        native = viewer.window._qt_viewer.canvas.native
        middle = native.rect().center()
        qtbot.mousePress(native, Qt.MouseButton.LeftButton, pos=middle)
        for x in (5, 20, 32):
            qtbot.mouseMove(native, middle + QPoint(x, 0))
            qtbot.wait(20)
        qtbot.mouseRelease(native, Qt.MouseButton.LeftButton, pos=middle + QPoint(32, 0))
        qtbot.wait(100)
        assert viewer.scene.camera.center == center
        assert viewer.scene.camera.mouse_pan
        restored = restore(photo)
        picture = canvas(viewer)
        assert like(picture[:, 68:92], photo[:, 68:92])
        assert like(picture[:, 100:], restored[:, 100:])
        assert dock.divider.value() == 75
        dock.divider.setValue(0)
        qtbot.wait(50)
        assert like(canvas(viewer)[:, 4:], restored[:, 4:])
    assert dock.preview.n_runs == n_runs


def test_a_press_beside_the_divider_pans_as_ever(shown, finish, qtbot) -> None:
    viewer, dock = shown
    dock.preview_button.setChecked(True)
    finish(dock)
    native = viewer.window._qt_viewer.canvas.native
    start = native.rect().center() + QPoint(40, 0)
    before = viewer.scene.camera.center
    qtbot.mousePress(native, Qt.MouseButton.LeftButton, pos=start)
    for x in (5, 10, 20):
        qtbot.mouseMove(native, start + QPoint(x, 0))
        qtbot.wait(20)
    qtbot.mouseRelease(native, Qt.MouseButton.LeftButton, pos=start + QPoint(20, 0))
    assert viewer.scene.camera.center != before


def test_a_stack_follows_its_slider(open_dock, finish, photo, qtbot) -> None:
    viewer, dock = open_dock(show=True)
    stack = np.stack([photo[..., 0], photo[::-1, :, 0]])
    viewer.add_image(stack, rgb=False, contrast_limits=(0, 255))
    dock.form.quality_from.setCurrentText(MANUAL)
    finish(dock)
    match_pixels(viewer)
    viewer.dims.set_current_step(0, 0)
    dock.preview_button.setChecked(True)
    finish(dock)
    viewer.dims.set_current_step(0, 1)
    finish(dock)
    qtbot.wait(100)
    quality = dock.form.quality.value()
    found = canvas(viewer)[..., 0]
    assert like(found[:, 68:], restore(stack[1], quality=quality)[:, 68:])
    assert like(found[:, :60], stack[1][:, :60])


def test_a_multiscale_layer_is_previewed_at_its_level(open_dock, finish, photo, qtbot) -> None:
    viewer, dock = open_dock(show=True)
    big = np.tile(photo, (20, 20, 1))
    layer = viewer.add_image([big, big[::2, ::2], big[::4, ::4]], multiscale=True, rgb=True)
    dock.form.quality_from.setCurrentText(MANUAL)
    finish(dock)
    viewer.reset_view()
    qtbot.wait(200)
    assert layer.data_level == 2
    dock.preview_button.setChecked(True)
    finish(dock)
    (preview,) = (each for each in viewer.layers if each.name == "preview [car]")
    np.testing.assert_allclose(preview.scale, (4, 4))
    viewer.scene.camera.zoom = 1
    qtbot.wait(100)
    finish(dock)
    assert layer.data_level == 0
    np.testing.assert_allclose(preview.scale, (1, 1))
    top, left = np.rint(layer.world_to_data(preview.data_to_world((0, 0)))).astype(int)
    height, width = preview.data.shape[:2]
    whole = restore(big[: top + height + 64], quality=dock.form.quality.value())
    np.testing.assert_array_equal(preview.data, whole[top : top + height, left : left + width])
