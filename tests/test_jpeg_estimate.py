"""Estimation from pixels, on pictures that are compressed here."""

import io
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from napari_car.diagnosis import SURE
from napari_car.errors import InputError
from napari_car.jpeg.coding import Coding
from napari_car.jpeg.dct import block_dct, shifted_dcts
from napari_car.jpeg.earlier import ENOUGH, passes_before
from napari_car.jpeg.estimate import estimate_jpeg
from napari_car.jpeg.header import read_jpeg
from napari_car.jpeg.tables import ijg_table
from napari_car.jpeg.windows import cut_windows

PICTURE = data.astronaut()
CAT = data.chelsea()


def compress(picture, quality, subsampling="4:2:0"):
    return coded(picture, quality=quality, subsampling=subsampling)[0]


def coded(picture, **options):
    """The picture as it comes out of a JPEG file, and the file's header."""
    file = io.BytesIO()
    if picture.ndim == 2:
        options.pop("subsampling", None)
    Image.fromarray(picture).save(file, "JPEG", **options)
    return np.asarray(Image.open(file)), read_jpeg(file.getvalue())


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


@pytest.mark.parametrize(
    "row",
    [np.arange(400) // 2, np.arange(400) // 12 % 2 * 150 + 50, np.arange(400) % 8 * 25 + 20, np.arange(400) % 3 * 66],
    ids=["ramp", "stripes", "saw teeth", "finer ones"],
)
def test_patterns_are_no_jpegs(row):
    """They have few different blocks, whose values are on some lattice by chance."""
    for picture in (np.tile(row, (400, 1)), np.add.outer(row, row) // 2):
        assert estimate_jpeg(picture.astype(np.uint8)).quality is None


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


def test_the_same_part_of_a_picture_is_looked_at_with_alpha():
    """As its green shows; here one half has no structure in blue, the other none in green."""
    picture = np.tile(PICTURE, (1, 2, 1))
    picture[:, :512, 2] = picture[:, 512:, 1] = 90
    alpha = np.full(picture.shape[:2], 255, np.uint8)
    for plain, with_alpha in zip(cut_windows(picture), cut_windows(np.dstack([picture, alpha])), strict=True):
        np.testing.assert_array_equal(plain.luma, with_alpha.luma)


def test_nothing_but_infinities_is_no_jpeg():
    assert estimate_jpeg(np.full((40, 40), np.inf)).quality is None


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


@pytest.mark.parametrize("crop", [(0, 0), (3, 5), (0, 4)])
@pytest.mark.parametrize(("first", "last"), [(5, 98), (10, 40), (30, 60), (50, 80), (80, 95)])
def test_what_was_before_a_compression_that_is_known(first, last, crop):
    double, info = coded(compress(PICTURE, first)[crop[0] :, crop[1] :], quality=last)
    found = estimate_jpeg(double, last=info)
    assert abs(found.quality - first) <= 2
    assert found.grid_phase == (-crop[0] % 8, -crop[1] % 8)
    assert (found.last_quality, found.last_grid_phase, found.is_double) == (last, (0, 0), True)
    assert found.confidence > 0.9


@pytest.mark.parametrize(("first", "last"), [(70, 80), (10, 20)])
def test_on_the_same_grid_it_need_not_be_much_coarser(first, last):
    double, info = coded(compress(PICTURE, first), quality=last)
    assert estimate_jpeg(double, last=info).quality == estimate_jpeg(double).quality == first


@pytest.mark.parametrize("quality", [1, 20, 60, 75, 90, 96, 100])
@pytest.mark.parametrize("picture", [PICTURE, CAT, np.zeros((9, 9), np.uint8)], ids=["astronaut", "cat", "small"])
def test_nothing_before_a_compression_that_is_known(picture, quality):
    pixels, info = coded(picture, quality=quality)
    found = estimate_jpeg(pixels, last=info)
    assert (found.quality, found.grid_phase, found.confidence) == (quality, (0, 0), 1)
    assert not found.is_double


@pytest.mark.parametrize(
    "picture",
    [
        np.kron(np.indices((40, 40)).sum(0) % 2, np.ones((8, 8))) * 200,
        np.add.outer(np.arange(320), np.arange(320)) % 256,
        np.tile(np.arange(0, 256, 8), (320, 10)),
        np.random.default_rng(0).integers(0, 256, (320, 320)),
        np.tile(data.camera()[:16, :16], (20, 20)),
    ],
    ids=["checks", "ramp", "stripes", "noise", "tiles"],
)
@pytest.mark.parametrize("quality", [30, 75, 95])
def test_patterns_show_nothing_before_their_compression(picture, quality):
    pixels, info = coded(picture.astype(np.uint8), quality=quality)
    found = estimate_jpeg(pixels, last=info)
    assert found.quality == quality or found.confidence < SURE


def test_tables_of_other_programs_are_looked_behind():
    for tables in ("web_low", "web_high"):
        once, info = coded(CAT, qtables=tables)
        assert passes_before(cut_windows(once), (0, 0), info.quant_tables[0], info.quality)[0].total < ENOUGH
    twice, info = coded(compress(CAT, 20), qtables="web_high")
    assert estimate_jpeg(twice, last=info).quality == 20


# Source: N. Robidoux's table, the default of mozjpeg, at quality 90.
MOZJPEG = """
     3  3  3  4  5  7 11 17
     3  3  4  5  7  8 11 15
     3  4  5  6  9 12 18 27
     4  5  6  8 11 15 21 31
     5  7  9 11 14 19 26 38
     7  8 12 15 19 25 34 48
    11 11 18 21 26 34 45 62
    17 15 27 31 38 48 62 84
"""


def test_the_lattice_of_fine_divisors_is_not_taken_for_one_before_them():
    """Tables of other programs may share divisors with IJG tables of lower quality."""
    tables = [[int(divisor) for divisor in MOZJPEG.split()]] * 2
    once, info = coded(CAT, qtables=tables)
    found = estimate_jpeg(once, last=info)
    assert (found.quality, found.is_double) == (info.quality, False)
    twice, info = coded(compress(CAT, 60), qtables=tables)
    assert estimate_jpeg(twice, last=info).quality == 60


@pytest.mark.parametrize("picture", [PICTURE, CAT], ids=["astronaut", "cat"])
@pytest.mark.parametrize("last", [75, 95])
def test_turned_between_two_compressions(picture, last):
    double, info = coded(np.rot90(compress(picture, 10)[3:, 5:]), quality=last)
    for found in (estimate_jpeg(double), estimate_jpeg(double, last=info)):
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
