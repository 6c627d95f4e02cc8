"""Memory beyond picture and result is bounded, whatever number of tiles is worked on at a time."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_car import budget, load_card, memory, open_session, restore, restore_file
from napari_car.errors import FileError, InputError
from napari_car.files import read_image
from napari_car.memory import parse_memory
from napari_car.tiling import fit_tiles, overlap

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
    window = tile + overlap(halo, align)
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


@pytest.mark.parametrize("shape", [(150, 130, 3), (150, 130), (2, 70, 200, 4)])
@pytest.mark.parametrize(("tile", "threads"), [(16, 1), (16, 5), (48, 3), (400, 2)])
@pytest.mark.parametrize("model", ["car-s", "arcnn"])
def test_in_place_gives_the_same_pixels(shape: tuple[int, ...], tile: int, threads: int, model: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    session = open_session(model, threads=threads)
    expected = restore(image, quality=20, session=session)
    result = restore(image, quality=20, session=session, tile=tile, out=image)
    assert result is image
    np.testing.assert_array_equal(image, expected)


def test_out_is_filled_and_returned() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    out = np.empty(image.shape, np.uint16)
    assert restore(image, quality=20, out=out) is out
    np.testing.assert_array_equal(out, restore(image, quality=20, dtype="uint16"))


def test_an_image_of_foreign_byte_order_is_changed_in_place_too() -> None:
    image = np.random.default_rng(0).integers(0, 65536, (50, 60, 3), np.uint16)
    foreign = image.astype(image.dtype.newbyteorder())
    assert restore(foreign, quality=20, out=foreign) is foreign
    np.testing.assert_array_equal(foreign, restore(image, quality=20))


def test_out_must_fit() -> None:
    image = np.zeros((50, 60, 3), np.uint8)
    for out, why in (
        (np.empty((60, 50, 3), np.uint8), r"shape \(60, 50, 3\)"),
        (image[::-1], "overlaps the image"),
        (np.broadcast_to(np.zeros((), np.uint8), image.shape), "read-only"),
    ):
        with pytest.raises(InputError, match=why):
            restore(image, quality=20, out=out)
    with pytest.raises(InputError, match="uint16"):
        restore(image, quality=20, dtype="uint16", out=image)


def test_what_cannot_fit_is_refused_before_the_work() -> None:
    with pytest.raises(InputError, match=r"restoring the picture needs about \d+ MB of memory in all; 50 MB are"):
        restore(np.zeros((64, 64), np.uint8), quality=20, max_memory="50MB")


@pytest.mark.parametrize("amount", ["9" * 400, f"{'9' * 400}GB", 10**400], ids=["bytes", "GB", "number"])
def test_more_than_any_machine_has_is_no_limit(amount: str | int) -> None:
    assert parse_memory(amount) == sys.maxsize


@pytest.mark.parametrize("provider", ["openvino", "cpu"], ids=["tiles", "strips"])
@pytest.mark.parametrize("held", [0, 30_000])
def test_a_limit_bounds_what_is_worked_on_and_what_is_held_back(
    monkeypatch: pytest.MonkeyPatch, held: int, provider: str
) -> None:
    for module in (budget, memory):
        monkeypatch.setattr(module, "resident", lambda: 100_000_000)
    card = load_card("car-s")

    def pieces(limit: str, threads: int, held: int = 0) -> budget.Pieces:
        return budget.fit(
            card, provider, "int8", (8000, 10_000), align=16, threads=threads, max_memory=limit,
            held_per_row=held,
        )  # fmt: skip

    kinds = set()
    for limit in ("160MB", "240MB", "1GB"):
        found = pieces(limit, 4, held)
        plan = found.plan(8000, 10_000)
        per_px = card.strips["bytes_per_px"] if plan.is_strips else card.bytes_per_px["int8"]
        largest = max(math.prod(tile.read.shape) for tile in plan)
        state = plan.is_strips * card.strips["state_per_px"] * 10_000
        runs = found.at_once * (per_px + budget.AROUND_PER_PX["int8"]) * largest
        tallest = max(tile.write.shape[0] for tile in plan)
        assert state + runs + 2 * held * tallest + budget.HEADROOM + 100e6 <= parse_memory(limit)
        kinds.add(plan.is_strips)
    assert (provider == "cpu") in kinds
    small, large = pieces("200MB", 64), pieces("4GB", 64)
    assert large.side * large.at_once > 1.3 * small.side * small.at_once, "more room is used"


@pytest.mark.parametrize(("mode", "progressive", "per_px"), [("RGB", False, 4), ("RGB", True, 7), ("L", False, 1)])
def test_a_file_that_cannot_be_read_is_refused_undecoded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: str, progressive: bool, per_px: float
) -> None:
    monkeypatch.setattr(memory, "resident", lambda: 100_000_000)
    path = tmp_path / "large.jpg"
    Image.new(mode, (2000, 1000)).save(path, quality=75, progressive=progressive)
    needed = int(100e6 + per_px * 2e6)
    assert read_image(path, max_memory=needed).pixels.shape[:2] == (1000, 2000)
    with pytest.raises(FileError, match=f"large.jpg: reading it needs about {needed / 1e6:.0f} MB of memory in all"):
        read_image(path, max_memory=needed - 1)


def test_a_file_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    path = tmp_path / "in.jpg"
    Image.new("RGB", (4000, 2000)).save(path)
    with pytest.raises(FileError, match=r"out.avif: writing it needs about \d+ MB"):
        restore_file(path, tmp_path / "out.avif", quality=20, max_memory=memory.resident() + 150_000_000)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jpg"]


def test_consistency_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "in.jpg"
    Image.new("RGB", (4000, 4000)).save(path)
    script = """
import sys
from napari_car import FileError, memory, restore_file
limit = memory.resident() + 100_000_000  # from 65 to 160 more it is this that is too much
try:
    restore_file(sys.argv[1], quality=20, consistent=True, max_memory=limit)
except FileError as error:
    print(error)
"""
    assert "in.jpg: reading what it is to be consistent with needs about" in python(script, path)


@needs_proc
def test_a_file_within_a_limit_has_the_same_pixels(tmp_path: Path) -> None:
    source, free, limited = (tmp_path / name for name in ("in.jpg", "free.png", "limited.png"))
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    Image.fromarray(noise).resize((3200, 2400), Image.Resampling.BICUBIC).save(source, quality=15)
    restore_file(source, free)
    script = """
import sys
from napari_car import memory, open_session, restore_file
session = open_session(threads=2)
limit = memory.resident() + 4 * 3200 * 2400 + 80_000_000
restore_file(sys.argv[1], sys.argv[2], session=session, max_memory=limit)
print(peak() / limit)
"""
    assert float(python(script, source, limited)) < 1
    np.testing.assert_array_equal(read_image(limited).pixels, read_image(free).pixels)
