"""Restoring layers through the dock, in a real viewer."""

from __future__ import annotations

import io
import subprocess
import sys

import dask.array as da
import numpy as np
import pytest
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QFileDialog
from superqt import QDoubleSlider

from napari_car import lazy, read_jpeg, restore
from napari_car.widget.form import CURRENT, EVERY, MANUAL, STORED, UPDATE, Share


def run(dock, finish) -> None:
    finish(dock)
    dock.run()
    finish(dock)


def test_result_is_that_of_restore_and_nothing_is_lost(open_dock, finish, photo) -> None:
    viewer, dock = open_dock()
    before = photo.copy()
    layer = viewer.add_image(
        photo,
        name="photo",
        rgb=True,
        scale=(0.5, 2),
        translate=(3, 4),
        rotate=20,
        shear=[0.1],
        affine=np.array([[1, 0.2, 3], [0, 1, 1], [0, 0, 1]]),
        units=("um", "um"),
        axis_labels=("row", "column"),
        gamma=0.7,
        opacity=0.9,
        blending="additive",
        metadata={"mine": 1},
    )
    kept = layer.as_layer_data_tuple()[1]
    run(dock, finish)
    assert [each.name for each in viewer.layers] == ["photo", "photo [car]"]
    result = viewer.layers[1]
    np.testing.assert_array_equal(result.data, restore(photo))
    assert (result.data != photo).any()
    np.testing.assert_array_equal(layer.data, before)
    found = result.as_layer_data_tuple()[1]
    for key in kept.keys() - {"name", "metadata"}:
        np.testing.assert_equal(found[key], kept[key], err_msg=key)
    assert result.metadata["mine"] == 1
    assert "napari-car" not in layer.metadata


@pytest.mark.parametrize("look", [{"blending": "additive"}, {"opacity": 0.5}, {}], ids=["added", "mixed", "covered"])
def test_what_would_shine_through_its_result_is_hidden(open_dock, finish, photo, look) -> None:
    viewer, dock = open_dock()
    layer = viewer.add_image(np.stack([photo] * 2), rgb=True, **look)
    dock.form.planes.setCurrentText(CURRENT)
    run(dock, finish)
    assert layer.visible  # for its other planes
    dock.form.planes.setCurrentText(EVERY)
    run(dock, finish)
    assert layer.visible == (look == {})
    assert viewer.layers[1].visible


@pytest.mark.parametrize("look", [{"blending": "additive"}, {"opacity": 0.5}, {}], ids=["added", "mixed", "covered"])
def test_of_the_results_of_a_layer_the_last_is_seen(open_dock, finish, photo, look) -> None:
    viewer, dock = open_dock()
    first, second = (viewer.add_image(photo, rgb=True, name=name, **look) for name in ("first", "second"))
    results = []
    for layer in (first, second, first):
        dock.form.layers.value = layer
        run(dock, finish)
        results.append(next(each for each in viewer.layers if each not in (first, second, *results)))
    of_first, of_second, again = results
    assert list(viewer.layers) == [first, of_first, again, second, of_second]
    assert [each.visible for each in results] == [look == {}, True, True]
    dock.form.target.setCurrentText(UPDATE)
    dock.form.strength.setValue(0.5)
    dock.form.layers.value = second
    run(dock, finish)
    assert len(viewer.layers) == 5
    np.testing.assert_array_equal(of_second.data, restore(photo, strength=0.5))


def test_a_grey_layer_keeps_its_look(open_dock, finish, photo) -> None:
    viewer, dock = open_dock()
    grey = photo[..., 1].astype(np.uint16) * 257
    viewer.add_image(grey, colormap="magma", contrast_limits=(500, 40000), rgb=False)
    run(dock, finish)
    result = viewer.layers[1]
    assert result.colormap.name == "magma"
    assert tuple(result.contrast_limits) == (500, 40000)
    np.testing.assert_array_equal(result.data, restore(grey))


SHAPES = {
    "grey": ((40, 50), False),
    "rgba": ((40, 50, 4), True),
    "series": ((3, 40, 50), False),
    "rgb series": ((2, 2, 40, 50, 3), True),
    "narrow stack": ((5, 40, 3), False),
}


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("kind", SHAPES)
def test_any_image_layer(open_dock, finish, kind, dtype) -> None:
    shape, is_rgb = SHAPES[kind]
    values = np.random.default_rng(0).random(shape)
    data = values.astype(dtype) if dtype == "float32" else (values * np.iinfo(dtype).max).astype(dtype)
    viewer, dock = open_dock()
    viewer.add_image(data, rgb=is_rgb)
    dock.form.quality_from.setCurrentText(MANUAL)
    dock.form.quality.setValue(20)
    run(dock, finish)
    expected = restore(data[..., None], quality=20)[..., 0] if kind == "narrow stack" else restore(data, quality=20)
    np.testing.assert_array_equal(viewer.layers[1].data, expected)
    assert viewer.layers[1].rgb == is_rgb


def test_the_plane_shown_alone_stands_where_it_stood(open_dock, finish, photo) -> None:
    viewer, dock = open_dock()
    stack = np.stack([photo[..., 0], photo[..., 1], photo[..., 2]])
    layer = viewer.add_image(stack, scale=(2, 0.5, 0.5), translate=(10, 0, 0), rgb=False)
    viewer.dims.set_current_step(0, 1)
    dock.form.planes.setCurrentText(CURRENT)
    dock.form.quality_from.setCurrentText(MANUAL)
    run(dock, finish)
    result = viewer.layers[1]
    assert result.data.shape == (1, *photo.shape[:2])
    np.testing.assert_allclose(result.data_to_world((0, 0, 0)), layer.data_to_world((1, 0, 0)))
    np.testing.assert_array_equal(result.data[0], restore(stack[1], quality=dock.form.quality.value()))


def test_a_plane_restored_alone_is_looked_at_alone(open_dock, finish, reference, to_jpeg) -> None:
    stack = np.stack([np.asarray(Image.open(io.BytesIO(to_jpeg(reference, quality=quality)))) for quality in (10, 50)])
    viewer, dock = open_dock()
    viewer.add_image(stack, rgb=True)
    dock.form.planes.setCurrentText(CURRENT)
    for plane, quality in enumerate((10, 50)):
        viewer.dims.set_current_step(0, plane)
        finish(dock)
        assert f"about quality {quality} " in dock.form.found.text()
        dock.run()
        finish(dock)
        np.testing.assert_array_equal(viewer.layers[1].data[0], restore(stack[plane]))
        viewer.layers.pop(1)


def test_multiscale_comes_back_multiscale(open_dock, finish, photo) -> None:
    viewer, dock = open_dock()
    levels = [photo, photo[::2, ::2], photo[::4, ::4]]
    viewer.add_image(levels, multiscale=True, rgb=True, scale=(3, 3))
    run(dock, finish)
    result = viewer.layers[1]
    assert result.multiscale
    assert [level.shape for level in result.data] == [level.shape for level in levels]
    np.testing.assert_array_equal(result.data[0], restore(photo))
    np.testing.assert_array_equal(result.data[2], result.data[0][::4, ::4])


@pytest.fixture
def lazy_stack(photo, monkeypatch):
    monkeypatch.setattr(lazy, "BLOCK", 64)
    return da.from_array(np.stack([photo[..., 1]] * 3), chunks=(1, 50, 50))


def test_dask_stays_lazy_until_it_is_shown(open_dock, finish, lazy_stack) -> None:
    viewer, dock = open_dock()
    viewer.add_image(lazy_stack, rgb=False, contrast_limits=(0, 255))
    dock.form.quality_from.setCurrentText(MANUAL)
    run(dock, finish)
    result = viewer.layers[1].data
    assert isinstance(result, da.Array)
    expected = restore(lazy_stack[2].compute(), quality=dock.form.quality.value())
    np.testing.assert_array_equal(result[2].compute(), expected)


def test_dask_is_computed_into_a_store_if_asked(open_dock, finish, lazy_stack, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "out.zarr"), ""))
    viewer, dock = open_dock()
    viewer.add_image(lazy_stack, rgb=False, contrast_limits=(0, 255))
    dock.form.quality_from.setCurrentText(MANUAL)
    dock.form.compute.setCurrentText(STORED)
    dock.form.residual.setChecked(True)
    run(dock, finish)
    assert (tmp_path / "out.zarr").is_dir()
    expected = restore(lazy_stack.compute(), quality=dock.form.quality.value())
    np.testing.assert_array_equal(viewer.layers[2].data, expected)
    changed = np.asarray(viewer.layers[1].data) * 255
    np.testing.assert_allclose(changed, expected.astype(float) - lazy_stack.compute(), atol=1e-4)


def test_update_replaces_the_last_result(open_dock, finish, photo) -> None:
    viewer, dock = open_dock()
    viewer.add_image(photo, rgb=True)
    run(dock, finish)
    dock.form.target.setCurrentText(UPDATE)
    dock.form.strength.setValue(0.5)
    run(dock, finish)
    assert len(viewer.layers) == 2
    np.testing.assert_array_equal(viewer.layers[1].data, restore(photo, strength=0.5))
    viewer.layers.pop(1)
    run(dock, finish)
    assert len(viewer.layers) == 2


def test_update_leaves_nothing_of_the_result_before(open_dock, finish, photo) -> None:
    viewer, dock = open_dock()
    layer = viewer.add_image(photo, rgb=True, name="photo")
    dock.form.target.setCurrentText(UPDATE)
    dock.form.residual.setChecked(True)
    run(dock, finish)
    results = list(viewer.layers)[1:]
    layer.scale, layer.translate, layer.rotate = (3, 2), (5, 5), 30
    layer.affine, layer.units = np.diag([2, 2, 1]), ("um", "um")
    run(dock, finish)
    assert list(viewer.layers)[1:] == results
    for each in results:
        for corner in ((0, 0), photo.shape[:2]):
            np.testing.assert_allclose(each.data_to_world(corner), layer.data_to_world(corner))
        assert each.units == layer.units
    dock.form.residual.setChecked(False)
    run(dock, finish)
    assert [each.name for each in viewer.layers] == ["photo", "photo [car]"]


def test_the_residual_is_what_was_changed(open_dock, finish, photo) -> None:
    viewer, dock = open_dock()
    grey = photo[..., 1].copy()
    viewer.add_image(grey, rgb=False)
    dock.form.residual.setChecked(True)
    run(dock, finish)
    _, residual, result = viewer.layers
    np.testing.assert_allclose(residual.data * 255, result.data.astype(float) - grey, atol=1e-4)


def test_labels_and_shapes_say_where(open_dock, finish, photo) -> None:
    viewer, dock = open_dock()
    viewer.add_image(photo, rgb=True, scale=(2, 2), translate=(5, 5))
    inside = np.zeros(photo.shape[:2], bool)
    inside[16:48, 32:96] = True
    labels = viewer.add_labels(np.repeat(np.repeat(inside, 2, 0), 2, 1).astype(int) * 7, translate=(4.5, 4.5))
    corners = [[16, 32], [16, 95], [47, 95], [47, 32]]
    shapes = viewer.add_shapes([corners], shape_type="rectangle", scale=(2, 2), translate=(5, 5))
    expected = restore(photo, strength=inside.astype(np.float32))
    assert (expected != photo).any(-1)[~inside].sum() == 0
    for where in (labels, shapes):
        dock.form.maps.value = where
        run(dock, finish)
        result = next(layer for layer in viewer.layers if layer.name.endswith("[car]"))
        np.testing.assert_array_equal(result.data, expected, err_msg=where.name)
        viewer.layers.remove(result)


@pytest.mark.parametrize("kind", ["labels", "shapes"])
def test_labels_and_shapes_with_planes_of_their_own(open_dock, finish, photo, kind) -> None:
    viewer, dock = open_dock()
    stack = np.stack([photo, photo[::-1]])
    viewer.add_image(stack, rgb=True)
    inside = np.zeros(stack.shape[:3], bool)
    inside[0, 16:48, 32:96] = inside[1, 5:20, 7:30] = True
    corners = [[[0, 16, 32], [0, 16, 95], [0, 47, 95], [0, 47, 32]], [[1, 5, 7], [1, 5, 29], [1, 19, 29], [1, 19, 7]]]
    is_drawn = kind == "shapes"
    dock.form.maps.value = viewer.add_shapes(corners) if is_drawn else viewer.add_labels(inside.astype(int))
    run(dock, finish)
    assert "choose the plane shown" in dock.status.text()
    assert len(viewer.layers) == 2
    dock.form.planes.setCurrentText(CURRENT)
    for plane in (0, 1):
        viewer.dims.set_current_step(0, plane)
        run(dock, finish)
        expected = restore(stack[plane], strength=inside[plane].astype(np.float32))
        np.testing.assert_array_equal(viewer.layers[1 + plane].data[0], expected)  # the latest on top


def test_consistent_with_the_file(open_dock, finish, photo_path, photo) -> None:
    viewer, dock = open_dock()
    viewer.open(str(photo_path), plugin="napari")
    dock.form.consistent.setChecked(True)
    run(dock, finish)
    expected = restore(photo, quality=read_jpeg(photo_path), consistent=True)
    np.testing.assert_array_equal(viewer.layers[1].data, expected)
    assert (expected != restore(photo, quality=read_jpeg(photo_path))).any()


def test_a_picture_found_uncompressed_is_said_in_place_of_running(open_dock, finish, reference) -> None:
    viewer, dock = open_dock()
    viewer.add_image(reference, rgb=True)
    run(dock, finish)
    assert len(viewer.layers) == 1
    assert "No JPEG compression was found" in dock.status.text()


def test_run_before_the_look_has_ended_leaves_such_a_picture_alone_too(open_dock, finish, reference) -> None:
    viewer, dock = open_dock()
    viewer.add_image(reference, rgb=True)
    dock.run()
    assert dock._diagnosis is None
    finish(dock)
    assert len(viewer.layers) == 1
    assert "No JPEG compression was found" in dock.status.text()
    assert dock.run_button.isEnabled()


def test_other_pixels_in_a_layer_are_looked_at_anew(open_dock, finish, photo, reference, to_jpeg) -> None:
    viewer, dock = open_dock()
    layer = viewer.add_image(photo, rgb=True)
    finish(dock)
    layer.data = np.asarray(Image.open(io.BytesIO(to_jpeg(reference, quality=60))))
    run(dock, finish)
    assert "about quality 60 " in dock.form.found.text()
    np.testing.assert_array_equal(viewer.layers[1].data, restore(layer.data))
    dock.form.layers.value = viewer.layers[1]
    finish(dock)
    layer.data = photo
    assert not dock.is_busy


def test_a_renamed_layer_is_offered_by_its_new_name(open_dock, finish, photo) -> None:
    viewer, dock = open_dock()
    first, second = (viewer.add_image(photo, rgb=True, name=name) for name in ("first", "second"))
    labels = viewer.add_labels(np.ones(photo.shape[:2], int))
    form = dock.form
    form.layers.value, form.maps.value = second, labels
    finish(dock)
    told = []
    form.looked_at_changed.connect(lambda: told.append(True))
    second.name, labels.name = "renamed", "inside"
    assert (form.layers.current_choice, form.maps.current_choice) == ("renamed", "inside")
    first.name, second.name = "second", "first"
    assert form.layers.current_choice == "first"
    assert (form.layer, form.map) == (second, labels)
    assert not told
    viewer.layers.remove(second)
    assert (form.layer, told) == (first, [True])


def test_a_long_name_makes_the_dock_no_wider(open_dock, photo) -> None:
    viewer, dock = open_dock(show=True)
    width = dock.minimumSizeHint().width()
    viewer.window.remove_dock_widget(dock)
    viewer.add_image(photo, rgb=True, name="a name as files have it " * 5)
    viewer.add_labels(np.ones(photo.shape[:2], int), name="what is of interest in it " * 5)
    _, dock = viewer.window.add_plugin_dock_widget("napari-car", "Remove JPEG artifacts")
    dock.form.more.expand(animate=False)
    assert dock.minimumSizeHint().width() <= width


@pytest.fixture
def photo_path(photo_file, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(photo_file)
    return path


def test_the_file_header_is_believed(open_dock, finish, photo_path) -> None:
    viewer, dock = open_dock()
    viewer.open(str(photo_path), plugin="napari")
    finish(dock)
    assert "The file was saved at quality 20" in dock.form.found.text()


def test_the_tab_key_passes_over_what_cannot_be_seen(open_dock) -> None:
    _, dock = open_dock()
    more = dock.form.more
    assert not dock.form.luma.isEnabled()
    more.expand(animate=False)
    assert dock.form.luma.isEnabled()
    more.collapse(animate=False)
    assert not dock.form.maps.native.isEnabled()


def test_keys_move_a_share(qtbot) -> None:
    slider = Share("of something")
    qtbot.addWidget(slider)
    (inner,) = slider.findChildren(QDoubleSlider)
    assert inner.focusProxy() is slider
    slider.setValue(0.5)
    keys = [Qt.Key.Key_Left, Qt.Key.Key_PageUp, Qt.Key.Key_Up, Qt.Key.Key_End, Qt.Key.Key_Right, Qt.Key.Key_Home]
    for key, value in zip(keys, (0.45, 0.65, 0.7, 1, 1, 0), strict=True):
        qtbot.keyClick(slider, key)
        assert slider.value() == pytest.approx(value)


def test_a_stack_of_files_is_not_taken_for_the_first_of_them(open_dock, finish, reference, to_jpeg, tmp_path) -> None:
    viewer, dock = open_dock()
    paths = [tmp_path / f"{quality}.jpg" for quality in (10, 60)]
    for path in paths:
        path.write_bytes(to_jpeg(reference, quality=int(path.stem)))
    viewer.open([str(path) for path in paths], stack=True, plugin="napari")
    dock.form.planes.setCurrentText(CURRENT)
    for plane, quality in enumerate((10, 60)):
        viewer.dims.set_current_step(0, plane)
        finish(dock)
        assert f"compressed at about quality {quality} " in dock.form.found.text()


@pytest.fixture
def mixed(reference, to_jpeg):
    return np.stack([np.asarray(Image.open(io.BytesIO(to_jpeg(reference, quality=quality)))) for quality in (60, 10)])


@pytest.mark.parametrize("is_lazy", [False, True], ids=["eager", "lazy"])
def test_a_mixed_stack_goes_plane_by_plane_and_says_so(open_dock, finish, mixed, is_lazy) -> None:
    viewer, dock = open_dock(show=True)
    viewer.add_image(da.from_array(mixed, chunks=(1, 64, 64, 3)) if is_lazy else mixed, rgb=True)
    finish(dock)
    assert "compressed differently, at about quality 10 to 60; each is restored by" in dock.form.found.text()
    expected = np.stack([restore(plane) for plane in mixed])
    dock.preview_button.setChecked(True)
    for plane in (0, 1):
        viewer.dims.set_current_step(0, plane)
        finish(dock)
        shown = next(layer for layer in viewer.layers if layer.name == "preview [car]")
        _, top, left = np.rint(shown.data_to_world((0, 0, 0))).astype(int)
        height, width = shown.data.shape[1:3]
        np.testing.assert_array_equal(shown.data[0], expected[plane, top : top + height, left : left + width])
    dock.preview_button.setChecked(False)
    run(dock, finish)
    np.testing.assert_array_equal(viewer.layers[1].data, expected)


CODE_CASES = [
    "memory",
    "file",
    "plane",
    "mixed",
    "map",
    "sample",
    "consistent",
    "float rgba",
    "multiscale",
    "dask",
    "dask map",
    "dask plane",
    "dask mixed",
]


@pytest.mark.parametrize("case", CODE_CASES)
def test_the_copied_code_gives_the_same_pixels(open_dock, finish, photo_path, mixed, case) -> None:
    tmp_path, photo = photo_path.parent, np.asarray(Image.open(photo_path))
    viewer, dock = open_dock()
    if case == "file":
        (layer,) = viewer.open(str(photo_path), plugin="napari")
    elif case == "sample":
        (layer,) = viewer.open_sample("napari-car", "series")
    elif case == "plane":
        layer = viewer.add_image(np.stack([photo, photo[::-1]]), rgb=True, name="stack")
    elif case == "mixed":
        layer = viewer.add_image(mixed, rgb=True, name="stack")
    elif case == "float rgba":
        alpha = np.linspace(0, 1, photo[..., :1].size).reshape(photo[..., :1].shape)
        layer = viewer.add_image(np.concatenate([photo / 255, alpha], 2).astype(np.float32), rgb=True, name="photo")
    elif case == "multiscale":
        layer = viewer.add_image([photo, photo[::2, ::2]], rgb=True, multiscale=True, name="photo")
    elif "dask" in case:
        stack = da.from_array(mixed if "mixed" in case else np.stack([photo, photo[::-1]]), chunks=(1, 64, 64, 3))
        layer = viewer.add_image(stack, rgb=True, name="photo")
    else:
        layer = viewer.add_image(photo, rgb=True, name="photo")
    if "plane" in case:
        dock.form.planes.setCurrentText(CURRENT)
    dock.form.consistent.setChecked(case == "consistent")
    if "map" in case:
        dock.form.maps.value = viewer.add_labels(np.tri(*photo.shape[:2], dtype=int))
        dock.form.strength.setValue(0.7)
        dock.form.luma.setValue(0.9)
    np.save(tmp_path / f"{layer.name}.npy", np.asarray(layer.data[0] if layer.multiscale else layer.data))
    run(dock, finish)
    dock.copy_code()
    code = QApplication.clipboard().text()
    assert ("data[0])" in code) == (case == "multiscale")  # how the pixels are to be saved
    subprocess.run(
        [sys.executable, "-c", f"{code}\nnp.save('out.npy', np.asarray(restored))"], cwd=tmp_path, check=True
    )
    result = viewer.layers[f"{layer.name} [car]"].data
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), result[0] if layer.multiscale else result)


def test_the_record_says_how(open_dock, finish, photo) -> None:
    viewer, dock = open_dock()
    viewer.add_image(photo, rgb=True, name="photo")
    run(dock, finish)
    record = viewer.layers[1].metadata["napari-car"]
    assert record["source_name"] == "photo"
    assert record["quality_source"] == "pixels"
    assert record["quality"] == 20
    assert record["model"] == dock.form.card.id
    assert record["sha256"] in {weights.sha256 for weights in dock.form.card.weights}
