"""Lazy arrays are those of ``restore``, block by block."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_car import CarError, FileError, InputError, lazy, read_jpeg, restore
from napari_car.jpeg.coding import Coding
from napari_car.lazy import restore_dask, store_steps
from napari_car.steps import drain

da = pytest.importorskip("dask.array", reason="needs the extra distributed")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy, "BLOCK", 64)


SMALL = {"model": "car-s"}
"""Options with the network that sees least far, so that small pictures have several blocks."""


def noise(shape: tuple[int, ...], dtype: str = "uint8") -> np.ndarray:
    values = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return values if dtype == "uint8" else (values / 255).astype(dtype)


@pytest.mark.parametrize("shape", [(150, 200), (150, 200, 3), (2, 130, 140), (2, 2, 100, 90, 4)], ids=str)
def test_blocks_are_those_of_the_whole(shape: tuple[int, ...]) -> None:
    image = noise(shape)
    found = restore_dask(da.from_array(image, chunks=50), quality=20, **SMALL)
    assert found.npartitions > 2
    np.testing.assert_array_equal(found.compute(), restore(image, quality=20, **SMALL))


def test_a_cropped_grid_keeps_its_phase() -> None:
    image, coding = noise((150, 200, 3)), Coding(500.0, 500.0, 1.0, (5, 2))
    np.testing.assert_array_equal(
        restore_dask(da.from_array(image), quality=coding).compute(), restore(image, quality=coding)
    )


@pytest.mark.parametrize("shape", [(150, 200), (2, 150, 200, 3)], ids=str)
def test_a_strength_map_goes_with_its_blocks(shape: tuple[int, ...]) -> None:
    image, strength = noise(shape), noise((150, 200), "float32")
    found = restore_dask(da.from_array(image), quality=20, strength=strength, chroma=0.5)
    np.testing.assert_array_equal(found.compute(), restore(image, quality=20, strength=strength, chroma=0.5))


def test_blocks_stay_consistent_with_the_file(photo: np.ndarray, photo_file: bytes) -> None:
    options = {"quality": read_jpeg(photo_file), "consistent": True}
    np.testing.assert_array_equal(restore_dask(da.from_array(photo), **options).compute(), restore(photo, **options))


def test_auto_quality_is_found_once_for_all(photo: np.ndarray) -> None:
    np.testing.assert_array_equal(restore_dask(da.from_array(photo)).compute(), restore(photo))
    assert (restore(photo) != photo).any()


def test_a_halo_that_is_too_small_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    image = noise((200, 200, 3))
    expected = restore(image, quality=20)
    card = lazy.load_card()
    object.__setattr__(card, "halo", 0)
    monkeypatch.setattr(lazy, "load_card", lambda model: card)
    assert (restore_dask(da.from_array(image), quality=20).compute() != expected).any()


def test_only_what_is_asked_for_is_read() -> None:
    read = []

    def chunk(block_info: dict) -> np.ndarray:
        read.append(1)
        return np.zeros((1, 64, 64), np.uint8)

    stack = da.map_blocks(
        chunk, chunks=((1,) * 100, (64,) * 20, (64,) * 20), dtype=np.uint8, meta=np.empty((0,) * 3, np.uint8)
    )
    restore_dask(stack, quality=20, **SMALL)[50, 300:310, 300:310].compute(scheduler="synchronous")
    assert 0 < len(read) <= 9


def test_storing_yields_progress_and_gives_the_same(tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    image = noise((3, 100, 90))
    lazily = restore_dask(da.from_array(image), quality=20)
    steps = store_steps(lazily, tmp_path / "restored.zarr")
    done, total = next(steps)
    assert 0 < done < total == lazily.npartitions
    np.testing.assert_array_equal(drain(steps)[:], restore(image, quality=20))
    with pytest.raises(FileError, match=r"restored\.zarr: is there already"):
        drain(store_steps(lazily, tmp_path / "restored.zarr"))


def test_what_came_into_being_meanwhile_is_not_removed(tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    steps = store_steps(restore_dask(da.from_array(noise((3, 100, 90))), quality=20), tmp_path / "restored.zarr")
    (tmp_path / "restored.zarr").mkdir()
    (tmp_path / "restored.zarr" / "precious.txt").touch()
    with pytest.raises(FileError, match="is there already"):
        next(steps)
    assert (tmp_path / "restored.zarr" / "precious.txt").exists()


def test_a_store_that_is_broken_off_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zarr = pytest.importorskip("zarr")
    path = tmp_path / "restored.zarr"
    lazily = restore_dask(da.from_array(noise((3, 100, 90))), quality=20)
    steps = store_steps(lazily, path)
    next(steps)
    assert path.exists()
    steps.close()
    assert not path.exists()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zarr.Array, "__setitem__", full)
    with pytest.raises(FileError, match=r"restored\.zarr: .*No space left"):
        drain(store_steps(lazily, path))
    assert not path.exists()


@pytest.mark.parametrize(
    ("array", "options", "said"),
    [
        (np.zeros((8, 8), np.int32), {"quality": 20}, "int32"),
        (np.zeros(8, np.uint8), {"quality": 20}, r"\(8,\)"),
        (np.zeros((8, 8), np.uint8), {"quality": 20, "tile": 64}, "takes no tile"),
        (np.zeros((8, 8), np.uint8), {"quality": 20, "model": "no"}, "no model 'no'"),
        (np.zeros((8, 8), np.uint8), {"quality": 300}, "quality is 300"),
        (np.zeros((8, 8), np.uint8), {"quality": 20, "strength": 2}, "strength"),
        (np.zeros((8, 8), np.uint8), {"quality": 20, "strength": np.ones((3, 3))}, r"\(3, 3\)"),
        (np.zeros((8, 8), np.uint8), {"quality": 20, "consistent": np.ones((8, 8, 1))}, "True or False"),
        (np.zeros((8, 8), np.uint16), {"quality": 20, "consistent": True}, "8-bit"),
        (np.zeros((8, 8), np.uint8), {"quality": 20, "out": np.zeros((8, 8), np.uint8)}, "takes no out"),
    ],
    ids=str,
)
def test_what_cannot_be_taken_is_said_before_any_work(array: np.ndarray, options: dict, said: str) -> None:
    with pytest.raises((InputError, CarError), match=said):
        restore_dask(da.from_array(array), **options)


def test_sizes_that_are_not_known_are_said() -> None:
    array = da.from_array(np.arange(64, dtype=np.uint8).reshape(8, 8))
    with pytest.raises(InputError, match=r"shape \(nan, 8\).*compute_chunk_sizes"):
        restore_dask(array[array[:, 0] > 8], quality=20)


def test_what_cannot_be_stored_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(AttributeError):
        drain(store_steps(np.zeros((8, 8), np.uint8), tmp_path / "none.zarr"))
    assert not (tmp_path / "none.zarr").exists()


@pytest.mark.parametrize("is_grey", [False, True], ids=["RGB", "grey"])
def test_each_picture_of_a_mixed_stack_goes_by_its_own(reference, to_jpeg, is_grey: bool) -> None:
    pixels = np.ascontiguousarray(reference[..., 1]) if is_grey else reference
    stack = np.stack([np.asarray(Image.open(io.BytesIO(to_jpeg(pixels, quality=quality)))) for quality in (60, 10)])
    strength = np.tri(*reference.shape[:2], dtype=np.float32)
    for options in (SMALL, SMALL | {"strength": strength}):
        found = restore_dask(da.from_array(stack[None], chunks=50), **options)
        assert found.numblocks[1:4] == (2, 1, 2)
        np.testing.assert_array_equal(found.compute()[0], np.stack([restore(each, **options) for each in stack]))
