"""Peak memory of the whole command on large JPEGs, measured from outside, with and without a limit.

    python benchmarks/memory.py [--megapixels 12 48 100] [--model car-s] [--threads 2] [--folder DIR]

Each picture is restored as it comes and once more within what ``--max-memory`` allows; the pixels must be the same.
Without a limit the peak must stay under input + output + 150 MB. It makes its pictures, and exits with 1 where a bar is
missed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BEYOND = 150e6
"""What a run may take beyond the pixels that go in and those that come out, bytes."""

LIMITED_TO = 4.5
"""Bytes a pixel that are allowed under a limit, on top of as much: 600 MB for 100 megapixels."""

# In processes of their own: a process starts with the peak of the one that started it, so this one stays small.
MAKE = """
import sys
import numpy as np
from PIL import Image
path, side = sys.argv[1], int(sys.argv[2])
band = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, side // 24, 3), np.uint8))
band = band.resize((side, 960), Image.Resampling.BICUBIC)
picture = Image.new("RGB", (side, side))
for top in range(0, side, 960):
    picture.paste(band, (0, top))
picture.save(path, quality=20)
"""
SAME = """
import sys
import numpy as np
from napari_car.files import read_image
sys.exit(not np.array_equal(*(read_image(path).pixels for path in sys.argv[1:3])))
"""


def run(*command: object) -> tuple[int, float]:
    """Run a command to its end: the peak of its memory in bytes, and its seconds."""
    started = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with {process.returncode}")
    return used.ru_maxrss * (1 if sys.platform == "darwin" else 1024), time.perf_counter() - started


def main() -> int:
    """Measure and print one row a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, nargs="+", default=[12, 48, 100])
    parser.add_argument("--model", default="car-s")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", default="png", help="extension of the result")
    parser.add_argument("--folder", type=Path, default=tempfile.gettempdir(), help="where the pictures are made")
    options = parser.parse_args()
    missed = 0
    print("| megapixels | run | peak, MB | allowed, MB | seconds |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        source, free, limited = (Path(name) / f"{stem}.{options.output}" for stem in ("source", "free", "limited"))
        source = source.with_suffix(".jpg")
        for megapixels in options.megapixels:
            side = int((megapixels * 1e6) ** 0.5)
            run(sys.executable, "-c", MAKE, source, side)
            limit = LIMITED_TO * side**2 + BEYOND
            for target, what, allowed, extra in (
                (free, "without a limit", 2 * 3 * side**2 + BEYOND, ()),
                (limited, "--max-memory", limit, ("--max-memory", int(limit))),
            ):
                command = [sys.executable, "-m", "napari_car", "restore", source, "-o", target, "--force"]
                peak, seconds = run(*command, "--model", options.model, "--threads", options.threads, *extra)
                missed += peak > allowed
                print(
                    f"| {megapixels:g} | {what} | {peak / 1e6:.0f} | {allowed / 1e6:.0f} | {seconds:.0f} |", flush=True
                )
            run(sys.executable, "-c", SAME, free, limited)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
