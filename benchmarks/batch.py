"""How many more small files a second a batch restores with several processes than with one.

    python benchmarks/batch.py                  400 files, three rounds, one process and one a core in turn

For an idle machine: the figure is that of the cores that nothing else uses. Processes are started anew each time, as
for a user, and that counts.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from napari_car.steps import count_cores

SIDES = (192, 256)


def make(folder: Path, n_files: int) -> None:
    """Make small JPEGs, each another one."""
    folder.mkdir()
    picture = Image.fromarray(data.astronaut())
    rng = np.random.default_rng(1)
    for i in range(n_files):
        top, left = (int(rng.integers(512 - side)) for side in SIDES)
        part = picture.crop((left, top, left + SIDES[1], top + SIDES[0]))
        part.save(folder / f"{i:05}.jpg", quality=int(rng.integers(5, 60)))


def seconds(scans: Path, output: Path, jobs: int) -> float:
    """Time of a batch from its start to its end."""
    arguments = ["batch", scans, "-o", output, "--jobs", jobs]
    start = time.perf_counter()
    command = [sys.executable, "-m", "napari_car", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Print a line for each round and the median."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=count_cores(), help="processes (default: one a core)")
    options = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        scans = Path(name, "scans")
        make(scans, options.files)
        for number in range(options.rounds):
            one, many = (seconds(scans, Path(name, f"{number}-{jobs}"), jobs) for jobs in (1, options.jobs))
            ratios.append(one / many)
            rates = f"{options.files / one:.1f} files/s with 1 process, {options.files / many:.1f} with {options.jobs}"
            print(f"{rates}: {ratios[-1]:.2f} times as many", flush=True)
    median = statistics.median(ratios)
    print(f"median of {options.rounds} rounds: {median:.2f} times as many, {options.files} files of {SIDES} px")


if __name__ == "__main__":
    main()
