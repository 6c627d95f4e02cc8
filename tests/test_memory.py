"""Memory beyond picture and result is bounded, whatever number of tiles is worked on at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from napari_car.tiling import fit_tiles

PEAK = """
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
"""
needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the peak of memory is read from Linux's /proc"
)


def python(script: str, *arguments: object) -> str:
    """What a script prints in a process of its own."""
    command = [sys.executable, "-c", PEAK + script, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize("halo", [0, 9, 32])
@pytest.mark.parametrize("align", [1, 16])
@pytest.mark.parametrize("at_once", [1, 2, 7, 64])
def test_tiles_fit_into_memory(halo: int, align: int, at_once: int) -> None:
    tile, count = fit_tiles(64e6, bytes_per_px=200, halo=halo, align=align, at_once=at_once)
    assert tile % align == 0
    assert 1 <= count <= at_once
    window = tile + 2 * (-(-halo // align) * align)
    assert count * window**2 * 200 <= 64e6
    assert (count + 1) * (window + 2 * align) ** 2 * 200 > 64e6 or count == at_once, "room was left"


def test_the_least_where_nothing_fits() -> None:
    assert fit_tiles(1000, bytes_per_px=200, halo=32, align=16, at_once=8) == (16, 1)


@needs_proc
@pytest.mark.parametrize(("threads", "tile"), [(2, None), (48, None), (48, 400)])
def test_threads_add_no_memory(threads: int, tile: int | None) -> None:
    script = """
import sys
import numpy as np
from napari_car import open_session, restore
threads, tile = eval(sys.argv[1]), eval(sys.argv[2])
image = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), np.uint8)
restore(image, quality=20, session=open_session("car-s", threads=threads), tile=tile)
print(peak() - 2 * image.nbytes)
"""
    assert int(python(script, threads, tile)) < 150e6
