"""The main path: what is given comes back, restored, in its own shape and dtype."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_car import Coding, InputError, ModelError, Session, open_session, restore, restore_steps
from napari_car.pixels import FULL_SCALE
from napari_car.steps import side_by_side

Array = NDArray[Any]
DTYPES = list(FULL_SCALE)


def as_dtype(image: NDArray[np.uint8], dtype: str) -> Array:
    """The same picture in another dtype, over its full scale."""
    values = image * (FULL_SCALE[dtype] / 255)
    return np.asarray(np.rint(values) if dtype[0] == "u" else values, dtype)


def noise(shape: tuple[int, ...], dtype: str = "uint8", seed: int = 0) -> Array:
    """A picture that keeps away from black and white, so that no result is clipped."""
    return as_dtype(np.random.default_rng(seed).integers(60, 200, shape, np.uint8), dtype)


def mse(a: Array, b: Array) -> float:
    """Mean squared difference."""
    return float(np.mean((np.float64(a) - np.float64(b)) ** 2))


def test_a_compressed_photo_comes_nearer_to_its_original(photo: Array, reference: Array, session: Session) -> None:
    restored = restore(photo, quality=20, session=session)
    assert mse(restored, reference) < 0.97 * mse(photo, reference)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [(), (1,), (3,), (4,)], ids=str)
def test_shape_and_dtype_come_back_and_the_input_stays(dtype: str, channels: tuple[int, ...], session: Session) -> None:
    image = noise((21, 34, *channels), dtype)
    before = image.copy()
    image.flags.writeable = False
    restored = restore(image, quality=10, session=session)
    assert (restored.shape, restored.dtype) == (image.shape, image.dtype)
    assert restored.flags.writeable
    assert not np.shares_memory(restored, image)
    assert (restored != image).any()
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (1, 10000), (10000, 1, 3), (1, 1, 4), (2, 16, 1), (17, 33)], ids=str)
def test_every_size_is_taken(shape: tuple[int, ...], session: Session) -> None:
    image = noise(shape)
    restored = restore(image, quality=10, session=session)
    assert restored.shape == shape
    assert np.abs(restored.astype(int) - image).max() < 128


@pytest.mark.parametrize("source", DTYPES)
@pytest.mark.parametrize("target", DTYPES)
def test_dtypes_agree_on_the_result(source: str, target: str, photo: Array, session: Session) -> None:
    exact = restore(photo / 255, quality=20, session=session)
    found = restore(as_dtype(photo, source), quality=20, session=session, dtype=target)
    assert found.dtype == target
    step = 0.51 / FULL_SCALE[target] if target[0] == "u" else 0
    # An int8 network may round an activation the other way where the last bit of a float differs.
    assert np.abs(found / FULL_SCALE[target] - exact).mean() <= step + 1e-5
    assert np.abs(found / FULL_SCALE[target] - exact).max() <= step + 2e-3


def test_more_bits_than_the_input_had_are_used(photo: Array, session: Session) -> None:
    restored = restore(photo, quality=20, session=session, dtype="uint16")
    exact = restore(photo, quality=20, session=session, dtype="float32")
    rounding = 0.5 / 65535 + np.finfo(np.float32).eps  # half a step of 16 bits, and what the float32 result lacks
    assert np.abs(restored / 65535 - exact).max() <= rounding
    assert (restored % 257 != 0).mean() > 0.9  # a multiple of 257 is a value of 8 bits


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [(), (3,), (4,)], ids=str)
def test_strength_zero_is_bit_identical(dtype: str, channels: tuple[int, ...], session: Session) -> None:
    rng = np.random.default_rng(0)
    values = rng.random((40, 50, *channels))
    image = np.asarray(np.rint(values * FULL_SCALE[dtype]) if dtype[0] == "u" else values, dtype)
    image.flat[:3] = 0, FULL_SCALE[dtype], np.nextafter(0, 1, dtype=dtype) if dtype[0] == "f" else 1
    assert restore(image, quality=10, strength=0, session=session).tobytes() == image.tobytes()


@given(st.floats(0, 1))
def test_strength_is_linear_in_the_residual(session: Session, strength: float) -> None:
    image = noise((20, 30, 3), "float64")
    whole = restore(image, quality=10, session=session) - image
    found = restore(image, quality=10, strength=strength, session=session) - image
    np.testing.assert_allclose(found, strength * whole, atol=1e-7)


def test_a_strength_map_weighs_each_pixel(session: Session) -> None:
    image = noise((40, 70, 3), "float64")
    strength = np.random.default_rng(1).random((40, 70))
    strength[:10] = 0
    whole = restore(image, quality=10, session=session) - image
    found = restore(image, quality=10, strength=strength, session=session, tile=16) - image
    np.testing.assert_allclose(found, strength[..., None] * whole, atol=1e-7)
    stack = restore(np.stack([image] * 2), quality=10, strength=strength, session=session) - image
    np.testing.assert_allclose(stack[1], found, atol=1e-12)


def test_luma_and_chroma_have_shares_of_their_own(session: Session) -> None:
    image = noise((40, 70, 3), "float64")
    both, luma, chroma, none = (
        restore(image, quality=10, luma=y, chroma=c, session=session) - image
        for y, c in ((1, 1), (1, 0), (0, 1), (0, 0))
    )
    np.testing.assert_allclose(luma + chroma, both, atol=1e-6)
    np.testing.assert_allclose(luma, luma[..., :1].repeat(3, -1), atol=1e-6)  # brightness alone moves
    np.testing.assert_allclose(chroma @ [0.299, 0.587, 0.114], 0, atol=1e-6)
    assert not none.any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_alpha_passes_through(dtype: str, session: Session) -> None:
    image = noise((30, 40, 4), dtype)
    image[..., 3] = as_dtype(np.random.default_rng(1).integers(0, 256, (30, 40), np.uint8), dtype)
    restored = restore(image, quality=10, session=session)
    np.testing.assert_array_equal(restored[..., 3], image[..., 3])
    np.testing.assert_array_equal(restored[..., :3], restore(image[..., :3], quality=10, session=session))


def test_grey_with_and_without_a_channel_axis_agree(session: Session) -> None:
    image = noise((30, 40))
    flat = restore(image, quality=10, session=session)
    np.testing.assert_array_equal(restore(image[..., None], quality=10, session=session)[..., 0], flat)


@pytest.mark.parametrize("channels", [(), (1,), (3,), (4,)], ids=str)
def test_stacks_are_restored_picture_by_picture(channels: tuple[int, ...], session: Session) -> None:
    stack = noise((2, 3, 33, 40, *channels))
    restored = restore(stack, quality=10, session=session, tile=16)
    for index in np.ndindex(2, 3):
        np.testing.assert_array_equal(restored[index], restore(stack[index], quality=10, session=session))


def test_memory_order_does_not_matter(session: Session) -> None:
    image = noise((24, 40, 3), "uint16")
    expected = restore(image, quality=10, session=session)
    wide = np.zeros((48, 80, 4), "uint16")
    wide[::2, 1::2, :3] = image
    ways = {
        "Fortran order": np.asfortranarray(image),
        "a strided view": wide[::2, 1::2, :3],
        "negative strides": np.ascontiguousarray(image[::-1, ::-1, ::-1])[::-1, ::-1, ::-1],
        "planes": np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0),
        "big-endian": image.astype(">u2"),
    }
    for name, way in ways.items():
        np.testing.assert_array_equal(way, image, err_msg=name)
        np.testing.assert_array_equal(restore(way, quality=10, session=session), expected, err_msg=name)
    floats = image / 65535
    np.testing.assert_array_equal(
        restore(floats.astype(">f8"), quality=10, session=session), restore(floats, quality=10, session=session)
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_broadcast_image_is_taken(dtype: str, session: Session) -> None:
    image = np.broadcast_to(as_dtype(np.array(100, np.uint8), dtype), (20, 30, 3))
    assert restore(image, quality=10, session=session).shape == image.shape


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((4, 4), bool), "bool"),
        (np.zeros((4, 4), np.int32), "int32"),
        (np.zeros((4, 4), np.complex128), "complex128"),
        (np.zeros((0, 4)), r"\(0, 4\)"),
        (np.zeros((4, 0, 3), np.uint8), r"\(4, 0, 3\)"),
        (np.array(7, np.uint8), r"\(\)"),
        (np.zeros(9, np.uint8), r"\(9,\)"),
        (np.full((4, 4), np.nan), "nan"),
        (np.full((4, 4), 1.5), "1.5"),
        (np.full((4, 4), -0.5, np.float32), "-0.5"),
        ([[1, 2], [3, 4]], "list"),
        (None, "NoneType"),
    ],
    ids=str,
)
def test_what_is_no_image_is_refused_in_one_clear_line(image: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        restore(image)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"quality": 0}, "quality is 0"),
        ({"quality": 101}, "quality is 101"),
        ({"quality": True}, "quality is True"),
        ({"quality": 50.0}, r"quality is 50\.0"),
        ({"quality": "good"}, "quality is 'good'"),
        ({"quality": [20]}, r"quality is \[20\]"),
        ({"strength": -0.1}, "strength .* -0.1"),
        ({"strength": 1.1}, "strength .* 1.1"),
        ({"strength": float("nan")}, "strength .* nan"),
        ({"strength": np.nextafter(np.float32(1), np.float32(2))}, r"strength .* to 1\.0000001;"),
        ({"strength": "much"}, "strength .*'much'"),
        ({"strength": None}, "strength"),
        ({"strength": np.ones((3, 3))}, r"strength .*\(3, 3\).*\(8, 9\)"),
        ({"strength": np.full((8, 9), 2.0)}, "strength .* 2"),
        ({"luma": "much"}, "luma is 'much'"),
        ({"luma": 1.5}, "luma .* 1.5"),
        ({"chroma": -1}, "chroma .* -1"),
        ({"tile": 0}, "tile is 0"),
        ({"tile": -1}, "tile is -1"),
        ({"tile": -112, "model": "car-m", "session": None}, "tile is -112"),  # as much as its tiles have in common
        ({"tile": 64.0}, r"tile is 64\.0"),
        ({"tile": "64"}, "tile is '64'"),
        ({"luma": np.ones((8, 9))}, r"luma has shape \(8, 9\)"),
        ({"out": [1, 2]}, "out is a list"),
        ({"quality": Coding(250.0, 250.0), "consistent": True}, "tables"),
        ({"consistent": "no"}, "consistent is a str"),
        ({"consistent": None}, "consistent is a NoneType"),
        ({"consistent": [np.zeros((8, 9), np.uint8)]}, "consistent is a list"),
        ({"consistent": np.zeros((8, 9, 7), np.uint8)}, r"consistent has shape \(8, 9, 7\)"),
        ({"consistent": np.zeros((8, 9, 3))}, "consistent has .* float64"),
        ({"session": "car-s"}, "session is 'car-s'.*as model"),
        ({"dtype": "int8"}, "int8"),
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused(option: dict[str, Any], said: str, session: Session) -> None:
    with pytest.raises(InputError, match=said):
        restore(np.zeros((8, 9, 3), np.uint8), **{"session": session, **option})


@pytest.mark.parametrize(
    "told",
    [
        {"luma_scale": float("nan")},
        {"luma_scale": 0.0},
        {"chroma_scale": 5001.0},
        {"chroma_subsampling": 7.0},
        {"grid_phase": (-3, 0)},
        {"grid_phase": (1.5, 0)},
        {"grid_phase": (1,)},
        {"tables": ((1, 2),)},
        {"tables": ((0,) * 64,)},
    ],
    ids=str,
)
def test_a_coding_that_cannot_be_is_refused(told: dict[str, Any]) -> None:
    Coding(**{"luma_scale": 1.0, "chroma_scale": 5000.0, "grid_phase": (np.int64(15), 0)})
    with pytest.raises(InputError, match="cannot be; scales are"):
        Coding(**{"luma_scale": 250.0, "chroma_scale": 250.0, **told})


def test_unknown_model_is_refused() -> None:
    with pytest.raises(ModelError, match=r"'no-such'.*car-s"):
        restore(np.zeros((8, 9, 3), np.uint8), model="no-such")


@pytest.mark.parametrize("threads", [1, 3])
def test_progress_rises_to_its_total(threads: int) -> None:
    one = open_session("car-s", provider="cpu", precision="int8", threads=threads)
    steps = list(restore_steps(noise((2, 130, 150, 3)), quality=10, session=one, tile=16))
    totals = {total for _, total in steps}
    assert len(totals) == 1
    assert [done for done, _ in steps] == list(range(totals.pop() + 1))
    assert len(steps) > 6


@pytest.mark.parametrize("threads", [1, 3])
def test_closing_the_steps_stops_between_tiles(threads: int, session: Session) -> None:
    runs = []

    class Counting(Session):
        def run(self, *arguments: Any, **keywords: Any) -> Any:
            runs.append(1)
            return super().run(*arguments, **keywords)

    before = threading.active_count()
    counting = Counting(session.card, "cpu", "int8", threads)
    steps = restore_steps(noise((300, 300, 3)), quality=10, session=counting, tile=16)
    next(steps)
    next(steps)
    _, total = next(steps)
    steps.close()
    assert 2 <= len(runs) <= 2 + threads < total / 4
    assert threading.active_count() == before


def test_steps_that_are_not_begun_cost_nothing() -> None:
    before = threading.active_count()
    restore_steps(None).close()  # type: ignore[arg-type]
    assert threading.active_count() == before


def test_a_session_serves_many_threads(session: Session) -> None:
    images = [noise((60, 70, 3), seed=seed) for seed in range(4)]
    expected = [restore(image, quality=10, session=session) for image in images]
    found: dict[int, Array] = {}
    workers = [
        threading.Thread(target=lambda i=i: found.update({i: restore(images[i], quality=10, session=session)}))
        for i in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for i in range(4):
        np.testing.assert_array_equal(found[i], expected[i])


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (7, 200, 4), (2, 3, 5, 3), (1, 10000)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_picture_too_small_to_tell_is_left_alone(shape: tuple[int, ...], dtype: str, session: Session) -> None:
    image = noise(shape, dtype)
    np.testing.assert_array_equal(restore(image, session=session), image)


def test_the_quality_is_found_where_none_is_given(photo: Array, session: Session) -> None:
    np.testing.assert_array_equal(restore(photo, session=session), restore(photo, quality=20, session=session))


PEAK = """
import sys
from pathlib import Path
import numpy as np
from napari_car import open_session, restore
height, width = int(sys.argv[1]), 4000
tile = np.random.default_rng(0).integers(0, 256, (250, 250, 3), np.uint8)
image = np.tile(tile, (height // 250, width // 250, 1))
restore(image, quality=20, session=open_session("car-s", provider="cpu", threads=2))
status = Path("/proc/self/status").read_text().splitlines()
print(next(line for line in status if line.startswith("VmHWM:")).split()[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_memory_is_bounded_and_grows_with_the_picture_alone() -> None:
    """12 MP stay under 350 MB, and twice the picture costs its input, its output and at most a row of tiles."""
    small, large = (
        int(subprocess.run([sys.executable, "-c", PEAK, rows], capture_output=True, text=True, check=True).stdout)
        / 1024
        for rows in ("1500", "3000")
    )
    megabytes = 1500 * 4000 * 3 / 2**20
    row_of_tiles = 512 * 4000 * 3 * 4 / 2**20
    assert large < 350
    assert large - small < 2 * megabytes + row_of_tiles


def test_no_thread_waits_for_what_is_done_with_a_step() -> None:
    started = [threading.Event() for _ in range(4)]
    steps = side_by_side(lambda event: event.set(), ((event,) for event in started), len(started), threads=1)
    assert [next(steps), next(steps)] == [(0, 4), (1, 4)]
    assert started[1].wait(10)
    steps.close()
    assert not started[2].is_set()
