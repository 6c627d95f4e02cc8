"""Time and memory of ``restore`` against pixels, threads and side of the tiles, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from napari_car.session import count_cores

MEGAPIXELS = (0.1, 0.3, 1, 3, 12, 24, 50, 100, 200)
TILES = (64, 128, 256, 384, 512, 768, 1024)

CHILD = """
import json, sys, time
from pathlib import Path
import numpy as np
from napari_car import open_session, restore
megapixels, threads, tile = float(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
height, width = round((megapixels * 0.75e6) ** 0.5), round((megapixels / 0.75 * 1e6) ** 0.5)
noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
image = np.tile(noise, (height // 200 + 1, width // 200 + 1, 1))[:height, :width].copy()
session = open_session("car-s", threads=threads)
restore(image[:300, :300], quality=20, session=session)
least = float("inf")
for _ in range(5 if megapixels < 4 else 2):
    start = time.perf_counter()
    restore(image, quality=20, session=session, tile=tile)
    least = min(least, time.perf_counter() - start)
status = Path("/proc/self/status")
lines = status.read_text().splitlines() if status.exists() else []
peak = next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), float("nan"))
print(json.dumps([least, peak, image.nbytes / 2**20]))
"""


def scale(largest: float, folder: Path | None) -> None:
    """Print three tables, and draw them where a folder is given."""
    cores = count_cores()
    sizes = [n for n in MEGAPIXELS if n <= largest]
    print("## Pixels, one thread\n\n| MP | s/MP | peak memory, MB | beyond picture and result |\n|---:|---:|---:|---:|")
    curve = []
    for size in sizes:
        seconds, peak, picture = _measure(size, 1, None)
        curve.append((size, seconds, peak))
        print(f"| {size:g} | {seconds / size:.4f} | {peak:.0f} | {peak - 2 * picture:.0f} |")
    print("\n## Threads, 12 MP\n\n| threads | times as fast as one | peak memory, MB |\n|---:|---:|---:|")
    one = _measure(12, 1, None)[0]
    for threads in sorted({1, 2, 4, 8, 16, 32, cores}):
        if threads <= cores:
            seconds, peak, _ = _measure(12, threads, None)
            print(f"| {threads} | {one / seconds:.2f} | {peak:.0f} |")
    print("\n## Side of the tiles, 3 MP, one thread\n\n| px | s/MP | peak memory, MB |\n|---:|---:|---:|")
    for tile in (*TILES, None):
        seconds, peak, _ = _measure(3, 1, tile)
        print(f"| {tile or 'by memory'} | {seconds / 3:.4f} | {peak:.0f} |")
    if folder:
        _plot(curve, folder / "scaling.png")


def _measure(megapixels: float, threads: int, tile: int | None) -> tuple[float, float, float]:
    """Least seconds, peak memory and size of the picture, MB."""
    arguments = [sys.executable, "-c", CHILD, str(megapixels), str(threads), json.dumps(tile)]
    found = subprocess.run(
        arguments, check=True, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    seconds, peak, picture = json.loads(found.stdout)
    return seconds, peak, picture


def _plot(curve: list[tuple[float, float, float]], path: Path) -> None:
    """Draw time and memory against pixels."""
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 4), layout="constrained")
    sizes, seconds, peaks = zip(*curve, strict=True)
    left.loglog(sizes, seconds, "o-")
    left.set(xlabel="megapixels", ylabel="seconds, one thread")
    right.semilogx(sizes, peaks, "o-")
    right.set(xlabel="megapixels", ylabel="peak memory, MB")
    for axes in (left, right):
        axes.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=150)
