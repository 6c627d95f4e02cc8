"""The memory that a model takes while it runs, measured in a process of its own."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np

from napari_car.providers import open_graph

SIDES = (384, 448, 512, 640, 768)
"""Of tiles, px: onnxruntime's allocator leaves more or less of its memory unused by what sizes it meets."""


def bytes_per_px(model: Path) -> int:
    """Peak memory of a run beyond that of the opened session, bytes per pixel of a tile, the most of some sizes."""
    return max(_bytes_per_px(model, side) for side in SIDES)


def _bytes_per_px(model: Path, side: int) -> int:
    """For tiles of one size, in a process of its own, which has not held any memory before."""
    command = [sys.executable, "-m", __spec__.name, str(model), str(side)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603


def _peak() -> int:
    """Peak memory of this process, bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts that of the parent as well, up to the exec
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _measure(model: str, side: int) -> int:
    """Run a model a few times, as sessions do, on one thread."""
    session = open_graph(Path(model).read_bytes(), "cpu")
    dtype = np.uint8 if session.get_inputs()[0].type == "tensor(uint8)" else np.float32
    # Made without a larger array, whose memory the run would take for its own.
    feed = {"image": np.ones((1, side, side, 3), dtype)}
    if len(session.get_inputs()) > 1:
        feed["condition"] = np.array([[500, 500, 1]], np.float32)
    before = _peak()
    for _ in range(3):
        session.run(None, feed)
    return -(-(_peak() - before) // side**2)


if __name__ == "__main__":
    print(_measure(sys.argv[1], int(sys.argv[2])))
