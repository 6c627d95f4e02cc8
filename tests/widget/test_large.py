"""A stack of 20 GB that exists nowhere: opened, previewed, one plane restored, in under 1 GB."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, tempfile
os.environ["NAPARI_CONFIG"] = os.path.join(tempfile.mkdtemp(), "settings.yaml")
import dask.array as da, napari, numpy as np
from qtpy.QtCore import QEventLoop, QTimer

def wait(ms):
    loop = QEventLoop(); QTimer.singleShot(ms, loop.quit); loop.exec()

def finish():
    while dock.is_busy: wait(20)

def block(block_info=None):
    z, y, x = block_info[None]["chunk-location"]
    return np.random.default_rng((z, y, x)).integers(0, 256, (1, 1024, 1024), np.uint8)

stack = da.map_blocks(block, chunks=((1,) * 1200, (1024,) * 4, (1024,) * 4), dtype=np.uint8,
                      meta=np.empty((0, 0, 0), np.uint8))
assert stack.nbytes > 20e9
viewer = napari.Viewer(show=True)
_, dock = viewer.window.add_plugin_dock_widget("napari-car", "Remove JPEG artifacts")
viewer.add_image(stack, rgb=False, contrast_limits=(0, 255))
viewer.dims.set_current_step(0, 700)
dock.form.quality_from.setCurrentText("manual")
wait(100); finish()
viewer.scene.camera.zoom *= 8
dock.preview_button.setChecked(True)
finish()
assert "preview [car]" in viewer.layers
dock.preview_button.setChecked(False)
dock.form.planes.setCurrentText("the plane shown")
dock.run()
finish()
result = viewer.layers[1]
assert result.data.shape == (1, 4096, 4096), result.data.shape
assert np.allclose(result.data_to_world((0, 0, 0)), (700, 0, 0))
viewer.close()
# Not getrusage: a process starts with the peak of the one that started it, here of all tests before.
with open("/proc/self/status") as status:
    print(next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM:")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from Linux's /proc")
def test_a_stack_larger_than_memory(qapp) -> None:
    command = [sys.executable, "-c", SCRIPT]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, ended.stderr
    megabytes = int(ended.stdout.split()[-1])
    assert megabytes < 1000, megabytes
