"""The quality that stands for tables: exact for IJG tables, and the best to be told of any others."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from skimage import data

from napari_car import Coding, open_session, read_jpeg, restore
from napari_car.errors import InputError
from napari_car.jpeg.equivalence import equivalent_quality, table_residual
from napari_car.jpeg.tables import BASELINE_MAX, EXTENDED_MAX, ijg_table, quality_to_scale
from napari_car.metrics import psnr

FREQUENCY = np.add.outer(np.arange(8), np.arange(8))
TABLES = [
    3 + FREQUENCY**2,
    4 + 4 * FREQUENCY,
    8 + 2 * FREQUENCY,
    np.minimum(12 * 1.45**FREQUENCY, 255).astype(int),
    np.minimum(7 * 1.62 ** np.maximum(FREQUENCY - 1, 0), 255).round().astype(int),
]


@pytest.mark.parametrize("largest", [BASELINE_MAX, EXTENDED_MAX])
@pytest.mark.parametrize("kind", ["luma", "chroma"])
def test_ijg_tables_tell_their_quality(kind, largest):
    for quality in range(1, 101):
        table = ijg_table(quality, kind, largest=largest)
        same = (kind, largest) == ("chroma", BASELINE_MAX) and quality <= 3  # all divisors are 255
        assert equivalent_quality([table], [kind]) == (1 if same else quality)
        assert table_residual(table, kind) == 0


@given(hnp.arrays(np.uint16, (8, 8), elements=st.integers(1, 65535)), st.sampled_from(["luma", "chroma"]))
def test_any_table_has_an_equivalent(table, kind):
    assert 1 <= equivalent_quality([table], [kind]) <= 100
    assert table_residual(table, kind) >= 0


@given(st.integers(5, 95), st.integers(0, 63))
def test_one_changed_divisor_makes_a_table_custom(quality, index):
    table = ijg_table(quality)
    table.flat[index] += 1
    assert table_residual(table) > 0
    assert abs(equivalent_quality([table], ["luma"]) - quality) <= 1


@given(st.integers(10, 90), st.integers(10, 90))
def test_tables_of_two_qualities_are_told_as_one_between_them(luma, chroma):
    told = equivalent_quality([ijg_table(luma), ijg_table(chroma, "chroma")], ["luma", "chroma"])
    assert min(luma, chroma) <= told <= max(luma, chroma)


def test_frequencies_of_which_nothing_is_left_do_not_count():
    table = ijg_table(75).astype(int)
    table[FREQUENCY > 9] = 2000
    coarser = np.where(table == 2000, 20_000, table)
    assert equivalent_quality([table], ["luma"]) == equivalent_quality([coarser], ["luma"])
    assert abs(equivalent_quality([table], ["luma"]) - 75) <= 5


def test_no_other_quality_restores_pictures_with_custom_tables_much_better():
    picture = np.ascontiguousarray(data.astronaut()[:192, 128:320])
    session = open_session("car-s", provider="cpu", precision="int8", threads=1)
    lost = []
    for table in TABLES:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", qtables=[table.ravel().tolist()] * 2, subsampling="4:2:0")
        degraded, info = np.asarray(Image.open(file)), read_jpeg(file.getvalue())
        told, *others = [
            psnr(picture, restore(degraded, quality=quality, session=session)) for quality in (info, *range(10, 95, 4))
        ]
        assert told > psnr(picture, degraded) + 0.5
        lost.append(max(others) - told)
    assert sum(lost) < 0.04  # dB; equal damage, which is another measure of a table, loses twice that


def test_files_are_told_by_one_quality_and_keep_their_tables():
    luma, chroma = [12] * 64, [40] * 64
    file = io.BytesIO()
    Image.fromarray(data.astronaut()[:32, :32]).save(file, "JPEG", qtables=[luma, chroma], subsampling="4:4:4")
    info = read_jpeg(file.getvalue())
    assert info.chroma_quality < info.quality < info.luma_quality
    coding = Coding.from_info(info)
    assert coding.luma_scale == coding.chroma_scale == quality_to_scale(info.quality)
    assert coding.tables == (tuple(luma), tuple(chroma), tuple(chroma))


@pytest.mark.parametrize("table", [np.ones((8, 7), int), np.zeros((8, 8), int), np.ones(64, int)])
def test_what_is_no_table_is_refused(table):
    with pytest.raises(InputError, match="shape"):
        equivalent_quality([table], ["luma"])
