"""What the way through GIMP costs beyond the work itself."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Run = Callable[..., dict[str, Any]]

IDLE_WORKER = f"""#!{sys.executable} -I
import sys
import napari_car.gimp.worker as worker
from napari_car.gimp.layer import Finding, Layer
from napari_car import Coding

def give_back(layer, window, session, options):
    yield 1, 1
    top, left, bottom, right = window
    return 255 - layer.pixels[top:bottom, left:right]

Layer.restore_steps = give_back
Layer.find = lambda layer, card: Finding(Coding.from_quality(20), 20, "pixels", "")
sys.exit(worker.main())
"""
"""A worker that does all but find and restore, which the Python API takes as long for."""


def test_24_megapixels(gimp: Run, profile: Path, reference: Image.Image, tmp_path: Path) -> None:
    picture = np.tile(np.asarray(reference), (21, 24, 1))[:4000, :6000]
    Image.fromarray(picture).save(tmp_path / "large.jpg", quality=20)
    worker = tmp_path / "worker"
    worker.write_text(IDLE_WORKER)
    worker.chmod(0o755)
    path = profile / "plug-ins/napari-car/config.json"
    whole = path.read_text()
    path.write_text(json.dumps(json.loads(whole) | {"interpreter": str(worker)}))
    try:
        kept = gimp(
            """
import time
image = opened()
seconds = []
for _ in range(3):
    started = time.monotonic()
    keep("error", run(image))
    seconds.append(time.monotonic() - started)
keep("seconds", seconds)
""",
            tmp_path / "large.jpg",
        )
    finally:
        path.write_text(whole)
    assert kept["error"] == ""
    print("seconds over the plain API, three runs:", *(f"{seconds:.2f}" for seconds in kept["seconds"]))
    # 1.5 s is the aim where nothing else is done; two cores took 1.1 to 1.4. Twice the aim is a fault of ours,
    # and a busy machine takes longer.
    assert min(kept["seconds"]) < 3 * max(1, os.getloadavg()[0] / len(os.sched_getaffinity(0)))
