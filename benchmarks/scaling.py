"""Time and memory of ``restore`` against pixels, threads and side of the tiles, and of a batch against processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from batch import make, seconds

from napari_car.steps import count_cores

MEGAPIXELS = (0.1, 0.3, 1, 3, 12, 24, 50, 100, 200)
TILES = (64, 128, 256, 384, 512, 768, 1024)
MODELS = ("car-s", "car-m")
N_FILES = 200
TURNS = 3

Rows = list[tuple[float, float]]
Case = tuple[float, int, int | None, str]
"""Megapixels, threads, side of the tiles and model."""

CHILD = """
import json, sys, time
from pathlib import Path
import numpy as np
from napari_car import open_session, restore
megapixels, threads, tile, model = (json.loads(argument) for argument in sys.argv[1:])
height, width = round((megapixels * 0.75e6) ** 0.5), round((megapixels / 0.75 * 1e6) ** 0.5)
noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
image = np.tile(noise, (height // 200 + 1, width // 200 + 1, 1))[:height, :width].copy()
session = open_session(model, threads=threads)
restore(image[:300, :300], quality=20, session=session)
least = float("inf")
for _ in range(3 if megapixels < 4 else 1):
    start = time.perf_counter()
    restore(image, quality=20, session=session, tile=tile)
    least = min(least, time.perf_counter() - start)
status = Path("/proc/self/status")
lines = status.read_text().splitlines() if status.exists() else []
peak = next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), float("nan"))
print(json.dumps([least, peak, image.nbytes / 2**20]))
"""


def scale(largest: float, folder: Path) -> None:
    """Print four tables and draw them into a folder."""
    cores = count_cores()
    counts = sorted({n for n in (1, 2, 4, 8, 16, 32) if n <= cores} | {cores})
    times, peaks = _pixels([n for n in MEGAPIXELS if n <= largest])
    print("\n## Threads, 12 MP\n\n| model | threads | times as fast as one | peak memory, MB |\n|---|---:|---:|---:|")
    by_threads: dict[str, Rows] = {}
    for model in MODELS:
        found = _by_turns([(12, threads, None, model) for threads in counts])
        by_threads[model] = [(threads, found[0][0] / row[0]) for threads, row in zip(counts, found, strict=True)]
        for (threads, ratio), (_, peak, _) in zip(by_threads[model], found, strict=True):
            print(f"| {model} | {threads} | {ratio:.2f} | {peak:.0f} |", flush=True)
    print("\n## Side of the tiles, car-s, 3 MP, one thread\n\n| px | s/MP | peak memory, MB |\n|---:|---:|---:|")
    by_tile: Rows = []
    sides = (*TILES, None)
    for tile, (least, peak, _) in zip(sides, _by_turns([(3, 1, tile, "car-s") for tile in sides]), strict=True):
        by_tile += [(tile, least / 3)] if tile else []
        print(f"| {tile or 'by memory'} | {least / 3:.4f} | {peak:.0f} |", flush=True)
    by_jobs = {"batch": _jobs(counts)}
    _plot(folder / "scaling.png", times, peaks, by_tile, by_threads | by_jobs)


def _pixels(sizes: list[float]) -> tuple[Rows, Rows]:
    """Print seconds and peak memory against pixels, and give both."""
    print(
        "## Pixels, car-s, one thread\n\n| MP | s/MP | peak memory, MB | beyond picture and result |\n"
        "|---:|---:|---:|---:|"
    )
    times, peaks = [], []
    for size, (least, peak, picture) in zip(sizes, _by_turns([(n, 1, None, "car-s") for n in sizes]), strict=True):
        times.append((size, least))
        peaks.append((size, peak))
        print(f"| {size:g} | {least / size:.4f} | {peak:.0f} | {peak - 2 * picture:.0f} |", flush=True)
    rates = [least / size for size, least in times if size >= 1]
    if rates:
        print(f"\nFrom 1 MP on, most over least time a pixel: {max(rates) / min(rates):.2f}")
    return times, peaks


def _jobs(counts: list[int]) -> Rows:
    """Print files a second of a batch against its processes, and give how many times as many as with one."""
    print(
        f"\n## Processes, a batch of {N_FILES} small files\n\n| jobs | files/s | times as many as with one |\n"
        "|---:|---:|---:|"
    )
    result: Rows = []
    with tempfile.TemporaryDirectory() as name:
        scans = Path(name, "scans")
        make(scans, N_FILES)
        for jobs in counts:
            took = min(seconds(scans, Path(name, f"{jobs}-{turn}"), jobs) for turn in range(2))
            result.append((jobs, N_FILES / took))
            print(f"| {jobs} | {N_FILES / took:.1f} | {result[-1][1] / result[0][1]:.2f} |", flush=True)
    return [(jobs, rate / result[0][1]) for jobs, rate in result]


def _by_turns(cases: list[Case]) -> list[tuple[float, float, float]]:
    """Least seconds, peak memory and size of the picture, MB: some machines are slower for minutes at a time."""
    turns = [[_measure(case) for case in cases] for _ in range(TURNS)]
    return [(min(s for s, _, _ in each), max(p for _, p, _ in each), each[0][2]) for each in zip(*turns, strict=True)]


def _measure(case: Case) -> tuple[float, float, float]:
    """The same of one turn, in a process of its own."""
    arguments = [sys.executable, "-c", CHILD, *map(json.dumps, case)]
    found = subprocess.run(
        arguments, check=True, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    least, peak, picture = json.loads(found.stdout)
    return least, peak, picture


def _plot(path: Path, times: Rows, peaks: Rows, by_tile: Rows, speedups: dict[str, Rows]) -> None:
    """Draw time and memory against pixels, time against tiles, and speed against threads and processes."""
    from matplotlib import pyplot

    figure, ((left, right), (lower_left, lower_right)) = pyplot.subplots(2, 2, figsize=(9, 7), layout="constrained")
    left.loglog(*zip(*times, strict=True), "o-")
    left.set(xlabel="megapixels", ylabel="seconds, car-s, one thread")
    right.loglog(*zip(*peaks, strict=True), "o-")
    right.set(xlabel="megapixels", ylabel="peak memory, MB")
    lower_left.semilogx(*zip(*by_tile, strict=True), "o-", base=2)
    lower_left.set_xticks(*[[side for side, _ in by_tile]] * 2)
    lower_left.set(xlabel="side of the tiles, px", ylabel="seconds a megapixel, car-s, one thread", ylim=(0, None))
    for name, rows in speedups.items():
        label = f"{name}, processes" if name == "batch" else f"{name}, threads"
        lower_right.plot(*zip(*rows, strict=True), "o-", label=label)
    lower_right.set(xlabel="threads or processes", ylabel="times as fast as one", xlim=(0, None), ylim=(0, None))
    lower_right.legend()
    for axes in (left, right, lower_left, lower_right):
        axes.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=150)
