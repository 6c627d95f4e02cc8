"""Estimation from pixels, on pictures that are compressed here."""

import io
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from napari_car.errors import InputError
from napari_car.jpeg.coding import Coding
from napari_car.jpeg.dct import block_dct, shifted_dcts
from napari_car.jpeg.estimate import estimate_jpeg
from napari_car.jpeg.tables import ijg_table

PICTURE = data.astronaut()
CAT = data.chelsea()


def compress(picture, quality, subsampling="4:2:0"):
    file = io.BytesIO()
    options = {"subsampling": subsampling} if picture.ndim == 3 else {}
    Image.fromarray(picture).save(file, "JPEG", quality=quality, **options)
    return np.asarray(Image.open(file))


def test_shifted_dcts_are_those_of_the_shifted_plane():
    plane = PICTURE[:45, :70, 0].astype(np.float32) - 128
    for left, spectra in enumerate(shifted_dcts(plane)):
        expected = block_dct(plane[:, left:])
        np.testing.assert_allclose(spectra.swapaxes(1, 2).reshape(expected.shape), expected, atol=1e-3)
    assert left == 7


@pytest.mark.parametrize("picture", [PICTURE, CAT], ids=["astronaut", "cat"])
@pytest.mark.parametrize("quality", [5, 10, 25, 50, 75, 85, 90, 95])
def test_quality_and_grid_of_a_crop(picture, quality):
    found = estimate_jpeg(compress(picture, quality)[13:, 21:])
    assert abs(found.quality - quality) <= 2
    assert found.grid_phase == (3, 3)
    assert (found.is_double, found.is_aligned) == (False, True)
    assert found.last_quality == found.quality
    assert found.confidence > 0.9


@given(st.integers(0, 15), st.integers(0, 15), st.integers(8, 90))
@settings(max_examples=6, deadline=None)
def test_any_crop_moves_the_phases_along(top, left, quality):
    found = estimate_jpeg(compress(PICTURE, quality)[top:, left:])
    assert found.grid_phase == (-top % 8, -left % 8)
    assert abs(found.quality - quality) <= 2
    if found.subsampling == "4:2:0":
        assert found.mcu_phase == (-top % 16, -left % 16)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("quality", [20, 60, 85])
def test_subsampling_and_mcu_phase(subsampling, quality):
    found = estimate_jpeg(compress(PICTURE, quality, subsampling)[11:, 3:])
    assert found.subsampling == subsampling
    size = {"4:4:4": (8, 8), "4:2:2": (8, 16), "4:2:0": (16, 16)}[subsampling]
    assert found.mcu_phase == (-11 % size[0], -3 % size[1])


@pytest.mark.parametrize("quarters", [1, 3])
@pytest.mark.parametrize(("quality", "subsampling", "turned"), [(10, "4:2:0", "4:2:0"), (40, "4:2:2", "4:4:0")])
def test_a_picture_turned_by_a_quarter(quarters, quality, subsampling, turned):
    """Tables are not symmetric: as it lies, the first looks like quality 81 and the second like none."""
    found = estimate_jpeg(np.rot90(compress(PICTURE, quality, subsampling), quarters)[3:, 5:])
    assert (found.quality, found.grid_phase, found.subsampling) == (quality, (5, 3), turned)
    assert found.mcu_phase == {"4:2:0": (13, 11), "4:4:0": (13, 3)}[turned]
    assert found.is_turned
    luma = np.reshape(Coding.from_estimate(found).tables[0], (8, 8))
    np.testing.assert_array_equal(luma, ijg_table(quality, "luma").T)


@pytest.mark.parametrize("picture", [PICTURE, CAT, PICTURE[:, :, 0], np.full((90, 90), 7, np.uint8)])
def test_clean_and_flat_pictures_are_left_alone(picture):
    found = estimate_jpeg(picture)
    assert found.quality is None
    assert found.last_quality is None
    assert not found.is_double


def test_noise_is_no_jpeg():
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    assert estimate_jpeg(noise).quality is None


def test_every_layout_and_dtype_says_the_same():
    picture = compress(PICTURE, 40)[2:, 5:]
    wanted = estimate_jpeg(picture)
    alpha = np.dstack([picture, np.random.default_rng(0).integers(0, 256, picture.shape[:2], np.uint8)])
    wide = picture.astype(np.uint16) * 257
    for same in (alpha, wide, picture / 255, np.float32(picture / 255), picture[None, None]):
        found = estimate_jpeg(same)
        assert (found.quality, found.grid_phase, found.mcu_phase) == (40, (6, 3), wanted.mcu_phase)
    grey = compress(PICTURE[:, :, 1], 40)
    for same in (grey, grey[..., None], np.dstack([grey] * 3), np.stack([grey, grey])):
        found = estimate_jpeg(same)
        assert (found.quality, found.grid_phase, found.subsampling) == (40, (0, 0), "grey")


@pytest.mark.parametrize("second", [75, 90])
def test_double_compression_off_grid_tells_the_quality_that_is_seen(second):
    found = estimate_jpeg(compress(compress(PICTURE, 10)[3:, 5:], second))
    assert (found.quality, found.grid_phase) == (10, (5, 3))
    assert (found.last_quality, found.last_grid_phase) == (second, (0, 0))
    assert (found.is_double, found.is_aligned) == (True, False)


def test_double_compression_on_grid():
    found = estimate_jpeg(compress(compress(PICTURE, 30), 80))
    assert (found.quality, found.last_quality) == (30, 80)
    assert (found.is_double, found.is_aligned) == (True, True)


@pytest.mark.parametrize(("first", "crop", "last"), [(10, (3, 5), 90), (30, (0, 0), 80), (10, (0, 0), 40)])
def test_what_was_before_a_compression_that_is_known(first, crop, last):
    double = compress(compress(PICTURE, first)[crop[0] :, crop[1] :], last)
    found = estimate_jpeg(double, last=last)
    assert (found.quality, found.grid_phase) == (first, (-crop[0] % 8, -crop[1] % 8))
    assert (found.last_quality, found.last_grid_phase, found.is_double) == (last, (0, 0), True)
    assert found.confidence > 0.9


@pytest.mark.parametrize("last", [1, 20, 60, 90, 100])
@pytest.mark.parametrize("picture", [PICTURE, CAT, np.zeros((9, 9), np.uint8)], ids=["astronaut", "cat", "small"])
def test_nothing_before_a_compression_that_is_known(picture, last):
    found = estimate_jpeg(compress(picture, last), last=last)
    assert (found.quality, found.grid_phase, found.confidence) == (last, (0, 0), 1)
    assert not found.is_double


@pytest.mark.parametrize("picture", [PICTURE, CAT], ids=["astronaut", "cat"])
@pytest.mark.parametrize("last", [75, 95])
def test_turned_between_two_compressions(picture, last):
    double = compress(np.rot90(compress(picture, 10)[3:, 5:]), last)
    for found in (estimate_jpeg(double), estimate_jpeg(double, last=last)):
        assert (found.quality, found.is_turned, found.last_quality) == (10, True, last)
        assert (found.grid_phase, found.last_grid_phase) == ((picture.shape[1] % 8, 5), (0, 0))


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (15, 40), (8, 8, 3), (16, 16)])
def test_small_pictures_are_no_error(shape):
    found = estimate_jpeg(np.zeros(shape, np.uint8))
    assert (found.quality, found.grid_phase) == (None, (0, 0))
    assert found.confidence <= 0.5


def test_the_picture_is_not_changed_and_time_does_not_grow_with_it():
    tile = compress(PICTURE, 50)
    large = np.tile(tile, (8, 10, 1))
    large.flags.writeable = False
    estimate_jpeg(tile)  # makes the tables
    start = time.process_time()
    assert estimate_jpeg(large).quality == 50
    assert time.process_time() - start < 3


@pytest.mark.parametrize("image", [np.zeros((9, 9), bool), np.zeros(9, np.uint8), np.zeros((0, 9), np.uint8), [[1]]])
def test_what_is_no_image_is_refused(image):
    with pytest.raises(InputError, match="the image"):
        estimate_jpeg(image)
