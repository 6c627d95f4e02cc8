"""Any user array as planes and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from napari_car import InputError
from napari_car.pixels import (
    FULL_SCALE,
    Layout,
    Residual,
    add_residual,
    check_range,
    cut,
    layout,
    pictures,
    target_dtype,
    to_planes,
)

DTYPES = list(FULL_SCALE)


def noise(shape: tuple[int, ...], dtype: str, seed: int = 0) -> NDArray[np.generic]:
    """A picture over the full range of its dtype."""
    values = np.random.default_rng(seed).random(shape)
    return np.asarray(np.rint(values * FULL_SCALE[dtype]) if dtype[0] == "u" else values, dtype)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((7, 9), Layout((), 7, 9, 0)),
        ((7, 9, 1), Layout((), 7, 9, 1)),
        ((7, 9, 3), Layout((), 7, 9, 3)),
        ((7, 9, 4), Layout((), 7, 9, 4)),
        ((5, 7, 9), Layout((5,), 7, 9, 0)),
        ((2, 5, 7, 9), Layout((2, 5), 7, 9, 0)),
        ((2, 5, 7, 9, 3), Layout((2, 5), 7, 9, 3)),
        ((1, 3), Layout((), 1, 3, 0)),  # two axes are a grey picture, however narrow
    ],
)
def test_layout_is_read_from_the_shape(shape: tuple[int, ...], expected: Layout) -> None:
    assert layout(np.zeros(shape, np.uint8)) == expected
    assert len(list(pictures(np.zeros(shape, np.uint8)))) == np.prod(expected.stack, dtype=int)


@pytest.mark.parametrize("shape", [(), (5,), (0, 5), (5, 0, 3), (0, 4, 5, 3), (9, 3, 0)])
def test_shapes_that_hold_no_picture_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError) as error:
        layout(np.zeros(shape, np.uint8))
    assert str(shape) in str(error.value)


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "int16", "int32", "int64", "uint32", "float16", "complex64", "U1", "O"]
)
def test_dtypes_without_a_stated_range_are_refused(dtype: str) -> None:
    with pytest.raises(InputError) as error:
        layout(np.zeros((4, 4), dtype))
    assert str(np.dtype(dtype)) in str(error.value)
    assert all(name in str(error.value) for name in FULL_SCALE)


@pytest.mark.parametrize("image", [[[1, 2], [3, 4]], 5, None, "photo.jpg", memoryview(b"1234")])
def test_what_is_no_array_is_refused(image: object) -> None:
    with pytest.raises(InputError, match=type(image).__name__):
        layout(image)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [-0.001, 1.001, 255.0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_outside_the_range_are_refused(value: float, dtype: str) -> None:
    image = np.full((4, 4), 0.5, dtype)
    check_range(image)
    image[2, 3] = value
    with pytest.raises(InputError, match=r"0\.\.1"):
        check_range(image)


@pytest.mark.parametrize(("dtype", "said"), [("float32", "1.0000001"), ("float64", "1.0000000000000002")])
def test_a_float_just_beyond_white_is_not_said_to_be_white(dtype: str, said: str) -> None:
    image = np.full((4, 4), np.nextafter(np.ones((), dtype), np.full((), 2, dtype)))
    with pytest.raises(InputError, match=f"to {said};"):
        check_range(image)


@pytest.mark.parametrize("asked", ["int32", "bool", "complex128", "no such type", object()])
def test_results_are_given_in_known_dtypes_only(asked: object) -> None:
    with pytest.raises(InputError, match="uint8, uint16, float32, float64"):
        target_dtype(np.zeros((1, 1), np.uint8), asked)  # type: ignore[arg-type]


@given(
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), st.sampled_from([1, 3, 4]), st.sampled_from(DTYPES),
    st.tuples(*[st.integers(-20, 30)] * 2),
)  # fmt: skip
def test_planes_are_the_window_with_its_edges_repeated(
    size: tuple[int, int], channels: int, dtype: str, corner: tuple[int, int]
) -> None:
    height, width = size
    top, left = min(corner[0], height - 1), min(corner[1], width - 1)
    bottom, right = max(top + 5, 1), max(left + 7, 1)
    picture = noise((height, width, channels), dtype)
    planes = to_planes(picture, top, left, bottom, right)
    rows, columns = (
        np.clip(np.arange(*ends), 0, n - 1) for ends, n in (((top, bottom), height), ((left, right), width))
    )
    colours = np.broadcast_to(picture[..., :1], (height, width, 3)) if channels == 1 else picture[..., :3]
    expected = colours[rows][:, columns].transpose(2, 0, 1) / FULL_SCALE[dtype]
    assert planes.dtype == np.float32
    np.testing.assert_allclose(planes, expected, rtol=1e-6)


@pytest.mark.parametrize("source", DTYPES)
@pytest.mark.parametrize("target", DTYPES)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_residual_of_nothing_changes_the_dtype_alone(source: str, target: str, channels: int) -> None:
    picture = noise((6, 8, channels), source)
    result = np.empty(picture.shape, target)
    add_residual(picture, np.zeros((3, 6, 8), np.float32), result)
    scaled = picture / FULL_SCALE[source] * FULL_SCALE[target]
    if source == target:
        np.testing.assert_array_equal(result, picture)
    elif target[0] == "u":
        np.testing.assert_array_equal(result, np.rint(scaled))
    else:
        np.testing.assert_allclose(result, scaled, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_residual_is_of_full_scale_and_clipped(dtype: str) -> None:
    white = FULL_SCALE[dtype]
    picture = (
        np.full((2, 2, 4), white, dtype) // np.asarray(2, dtype) if dtype[0] == "u" else np.full((2, 2, 4), 0.5, dtype)
    )
    for change, expected in ((0.25, picture[0, 0, 0] + 0.25 * white), (3.0, white), (-3.0, 0)):
        result = np.empty_like(picture)
        add_residual(picture, np.full((3, 2, 2), change, np.float32), result)
        assert np.abs(result[..., :3] - expected).max() <= (0.5 if dtype[0] == "u" else 1e-6)
        np.testing.assert_array_equal(result[..., 3], picture[..., 3])


def test_bytes_of_a_residual_stand_for_floats() -> None:
    values = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    planes = Residual(values, 0.5, 7).planes(slice(1, 2))
    assert planes.dtype == np.float32
    np.testing.assert_array_equal(planes.transpose(1, 2, 0), (values[1:] - 7.0) * 0.5)
    np.testing.assert_array_equal(Residual(planes.transpose(1, 2, 0)).planes(), planes)


def test_a_grey_picture_takes_the_luma_of_the_residual() -> None:
    residual = np.zeros((3, 1, 3), np.float32)
    residual[0, 0, 0], residual[1, 0, 1], residual[2, 0, 2] = 1, 1, 1
    result = np.empty((1, 3, 1), np.float64)
    add_residual(np.zeros((1, 3, 1), np.float64), residual, result)
    np.testing.assert_allclose(result[0, :, 0], [0.299, 0.587, 0.114], rtol=1e-6)


@pytest.mark.parametrize("target", DTYPES)
@pytest.mark.parametrize("source", DTYPES)
def test_colours_in_four_values_a_pixel_come_out_as_those_in_three(source: str, target: str) -> None:
    wide, result = noise((40, 30, 4), source), np.full((40, 30, 4), 7, target)
    packed, expected = np.ascontiguousarray(wide[..., :3]), np.empty((40, 30, 3), target)
    residual = np.random.default_rng(1).normal(0, 0.1, (3, 40, 30)).astype(np.float32)
    add_residual(packed, residual, expected)
    add_residual(wide[..., :3], residual, result[..., :3])
    np.testing.assert_array_equal(result[..., :3], expected)
    assert (result[..., 3] == 7).all()
    for window in ((8, 4, 24, 20), (-8, -8, 48, 40)):
        for dtype in ("uint8", "float32"):
            np.testing.assert_array_equal(cut(wide[..., :3], *window, dtype=dtype), cut(packed, *window, dtype=dtype))
