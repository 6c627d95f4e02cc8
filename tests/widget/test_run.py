"""Restoring layers through the dock, in a real viewer."""

from __future__ import annotations

import numpy as np

from napari_car import restore


def test_result_is_that_of_restore(open_dock, finish, photo) -> None:
    viewer, dock = open_dock()
    layer = viewer.add_image(photo, name="photo", rgb=True, scale=(0.5, 2), units="um")
    before = photo.copy()
    finish(dock)
    dock.run()
    finish(dock)
    assert [each.name for each in viewer.layers] == ["photo", "photo [car]"]
    np.testing.assert_array_equal(viewer.layers[1].data, restore(photo))
    np.testing.assert_array_equal(layer.data, before)
