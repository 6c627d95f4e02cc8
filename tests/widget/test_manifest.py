"""What the plug-in says of itself, and what it keeps to itself."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import requires

import numpy as np
import pytest
from napari.settings import get_plugin_settings
from napari.utils.notifications import notification_manager
from npe2 import PluginManager, PluginManifest
from PIL import Image

from napari_car import restore
from napari_car.files import read_image
from napari_car.widget.commands import CODING, add_jpeg, estimate_quality
from napari_car.widget.form import MANUAL, UPDATE
from napari_car.widget.settings import Settings


def test_the_manifest_is_valid_and_its_commands_are_there() -> None:
    manifest = PluginManifest.from_distribution("napari-car")
    manifest.validate_imports()
    titles = {command.title for command in manifest.contributions.commands}
    assert {"Remove JPEG artifacts", "Estimate JPEG quality", "Open JPEG with coding data"} <= titles
    assert not manifest.contributions.readers


def test_settings_are_remembered(open_dock, finish, photo) -> None:
    viewer, dock = open_dock()
    form, remembered = dock.form, get_plugin_settings("napari-car").restore
    assert remembered.model == ""
    viewer.add_image(photo, rgb=True)
    form.strength.setValue(0.3)
    form.chroma.setValue(0.6)
    form.consistent.setChecked(True)
    form.target.setCurrentText(UPDATE)
    form.residual.setChecked(True)
    assert (remembered.strength, remembered.chroma) == (0.3, 0.6)
    form.layers.value = viewer.add_image(photo[..., 0].astype(np.uint16) * 257, rgb=False, name="16 bit")
    form.strength.setValue(0.4)
    assert Settings.remembered() == form.settings
    assert form.settings.is_consistent
    finish(dock)
    dock.run()
    finish(dock)
    np.testing.assert_array_equal(viewer.layers["16 bit [car]"].data, restore(viewer.layers["16 bit"].data, **SHARES))


SHARES = {"strength": 0.4, "chroma": 0.6}


def test_what_is_set_in_the_preferences_holds_in_the_dock(open_dock, finish, photo) -> None:
    viewer, dock = open_dock()
    viewer.add_image(photo, rgb=True)
    finish(dock)
    told = []
    dock.form.changed.connect(lambda: told.append(True))
    remembered = get_plugin_settings("napari-car").restore
    remembered.strength, remembered.is_auto = 0.5, False
    assert (dock.form.strength.value(), dock.form.quality_from.currentText()) == (0.5, MANUAL)
    assert len(told) == 2
    dock.form.luma.setValue(0.7)
    assert (remembered.strength, remembered.is_auto, remembered.luma) == (0.5, False, 0.7)
    assert len(told) == 3
    viewer.window.remove_dock_widget(dock)
    remembered.strength = 0.6
    assert dock.form.strength.value() == 0.5


@pytest.mark.parametrize("key", ["photo", "series"])
def test_samples_have_scale_and_units_and_artifacts(open_dock, finish, key) -> None:
    viewer, dock = open_dock()
    (layer,) = viewer.open_sample("napari-car", key)
    assert layer.scale[-1] != 1
    assert str(layer.units[-1]) == "micrometer"
    finish(dock)
    assert "compressed at about quality 10 " in dock.form.found.text()


def test_the_palette_estimates_without_a_dock(make_napari_viewer, photo, qtbot) -> None:
    viewer = make_napari_viewer()
    viewer.add_image(photo, rgb=True, name="photo")
    notification_manager.records.clear()
    estimate_quality(viewer)
    qtbot.waitUntil(lambda: bool(notification_manager.records), timeout=10_000)
    assert "photo: The picture was compressed at about quality 20" in notification_manager.records[0].message


def test_the_palette_says_that_there_is_nothing_to_estimate(make_napari_viewer) -> None:
    from napari._app_model import get_app_model

    viewer = make_napari_viewer()
    for add in (lambda: None, viewer.add_points):
        add()
        notification_manager.records.clear()
        get_app_model().commands.execute_command("napari-car.estimate").result()
        assert [record.message for record in notification_manager.records] == [
            "No image layer is selected; select the one whose JPEG quality is to be estimated."
        ]


def test_a_jpeg_in_ink_opens_in_its_colours(open_dock, finish, photo, tmp_path) -> None:
    path = tmp_path / "ink.jpg"
    Image.fromarray(photo).convert("CMYK").save(path, quality=20)
    viewer, dock = open_dock()
    layer = add_jpeg(viewer, str(path))
    np.testing.assert_array_equal(layer.data, read_image(path).pixels)
    finish(dock)
    assert "The file was saved at quality 20" in dock.form.found.text()
    dock.run()
    finish(dock)
    assert viewer.layers[1].data.shape == photo.shape


def test_a_jpeg_opens_with_its_coding_data(make_napari_viewer, photo, photo_file, tmp_path) -> None:
    (tmp_path / "photo.jpg").write_bytes(photo_file)
    layer = add_jpeg(make_napari_viewer(), str(tmp_path / "photo.jpg"))
    np.testing.assert_array_equal(layer.data, photo)
    coding = layer.metadata[CODING]
    assert (coding["quality"], coding["subsampling"]) == (20, "4:2:0")
    assert coding["quant_tables"][0].shape == (8, 8)


def test_commands_are_in_the_palette(make_napari_viewer) -> None:
    from napari._app_model import get_app_model

    make_napari_viewer()
    registered = {command for command, _ in get_app_model().commands}
    assert {"napari-car.estimate", "napari-car.open"} <= registered
    assert PluginManager.instance().get_manifest("napari-car").name == "napari-car"


def test_only_the_extra_brings_napari_and_qt() -> None:
    plain = [line for line in requires("napari-car") or [] if "extra ==" not in line]
    assert not [line for line in plain if any(word in line.lower() for word in ("napari", "qt", "superqt", "magicgui"))]
    extra = [line for line in requires("napari-car") or [] if 'extra == "napari"' in line.replace("'", '"')]
    assert not [line for line in extra if "pyqt" in line.lower() or "pyside" in line.lower()]


ENDS = """
import napari, numpy as np
from qtpy.QtCore import QTimer
viewer = napari.Viewer(show=True)
_, dock = viewer.window.add_plugin_dock_widget("napari-car", "Remove JPEG artifacts")
viewer.add_image(np.zeros((1500, 2000, 3), np.uint8), rgb=True)
dock.form.quality_from.setCurrentText("manual")
dock.run()
QTimer.singleShot(400, viewer.close)
{run}
print("ended")
"""


@pytest.mark.parametrize("run", ["napari.run()", "viewer.close()"], ids=["event loop", "script"])
def test_a_process_ends_cleanly_in_the_middle_of_a_run(qapp, run) -> None:
    command = [sys.executable, "-c", ENDS.format(run=run)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert (ended.returncode, ended.stdout.strip()) == (0, "ended"), ended.stderr
    assert "Traceback" not in ended.stderr
