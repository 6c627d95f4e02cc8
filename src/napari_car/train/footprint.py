"""The memory that a model takes while it runs, measured in a process of its own."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np

from napari_car.providers import open_graph
from napari_car.tiling import STRIP

SIDES = (384, 448, 512, 640, 768)
"""Of tiles, px: onnxruntime's allocator leaves more or less of its memory unused by what sizes it meets."""

WIDTHS = (512, 1024, 2048)
"""Of columns of strips, px."""


def bytes_per_px(model: Path) -> int:
    """Peak memory of a run beyond that of the opened session, bytes per pixel of a tile, the most of some sizes."""
    return max(_bytes_per_px(model, side) for side in SIDES)


def strips_bytes_per_px(model: Path, lead: int) -> int:
    """The same for columns of strips: bytes per pixel of the first, which is higher than the others by ``lead``."""
    return max(_bytes_per_px(model, width, lead) for width in WIDTHS)


def _bytes_per_px(model: Path, width: int, lead: int = 0) -> int:
    """For tiles or columns of one size, in a process of its own, which has not held any memory before."""
    command = [sys.executable, "-m", __spec__.name, str(model), str(width), str(lead)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603


def _peak() -> int:
    """Peak memory of this process, bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts that of the parent as well, up to the exec
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _measure(model: str, width: int, lead: int) -> int:
    """Run a model a few times, as sessions do, on one thread."""
    session = open_graph(Path(model).read_bytes(), "cpu")
    dtype = np.uint8 if session.get_inputs()[0].type == "tensor(uint8)" else np.float32
    # Made without a larger array, whose memory the run would take for its own.
    heights = (STRIP + lead, STRIP) if lead else (width, width)
    first, later = (np.ones((1, height, width, 3), dtype) for height in heights)
    inputs = [node.name for node in session.get_inputs()]
    feed = {"condition": np.array([[500, 500, 1]], np.float32)} if "condition" in inputs else {}
    if "state" in inputs:
        feed |= {"state": np.empty(0, np.uint8), "is_last": np.array([not lead], np.int64)}
    before = _peak()
    for image in (first, later, later):
        last = session.run(None, feed | {"image": image})[-1]
        if lead:
            feed["state"] = last
    return -(-(_peak() - before) // (first.shape[1] * width))


if __name__ == "__main__":
    print(_measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
