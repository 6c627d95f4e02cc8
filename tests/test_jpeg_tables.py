"""Tables against libjpeg (through Pillow), and equivalent quality against measured error."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from skimage import data

from napari_car.errors import InputError
from napari_car.jpeg.tables import (
    EXTENDED_MAX,
    ijg_table,
    quality_to_scale,
    scale_to_quality,
    table_quality,
    table_residual,
    table_scale,
)

QUALITIES = range(1, 101)


def pillow_tables(quality):
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG", quality=quality)
    return [np.reshape(table, (8, 8)) for table in Image.open(file).quantization.values()]


@pytest.mark.parametrize("quality", QUALITIES)
def test_tables_are_those_of_libjpeg_and_tell_their_quality(quality):
    luma, chroma = pillow_tables(quality)
    assert np.array_equal(ijg_table(quality), luma)
    assert np.array_equal(ijg_table(quality, "chroma"), chroma)
    assert table_quality(luma) == quality
    assert table_residual(luma) == table_residual(chroma, "chroma") == 0
    assert table_scale(luma) == max(1, quality_to_scale(quality))
    if quality > 3:  # below, all chroma divisors are 255
        assert table_quality(chroma, "chroma") == quality


@pytest.mark.parametrize("kind", ["luma", "chroma"])
def test_16_bit_tables_tell_their_quality(kind):
    for quality in QUALITIES:
        table = ijg_table(quality, kind, largest=EXTENDED_MAX)
        assert table_quality(table, kind) == quality
        assert table_residual(table, kind) == 0


def test_scale_and_quality_are_inverse():
    assert [round(scale_to_quality(quality_to_scale(quality))) for quality in QUALITIES] == list(QUALITIES)


@given(hnp.arrays(np.uint16, (8, 8), elements=st.integers(1, 65535)), st.sampled_from(["luma", "chroma"]))
def test_any_table_has_an_equivalent(table, kind):
    assert 1 <= table_quality(table, kind) <= 100
    assert 1 <= table_scale(table, kind) <= 5000
    coarser = np.minimum(table.astype(np.int64) + 1, 65535)
    assert table_scale(coarser, kind) >= table_scale(table, kind) or coarser.max() == 256


@given(st.integers(5, 95), st.integers(0, 63))
def test_one_changed_divisor_makes_a_table_custom(quality, index):
    table = ijg_table(quality)
    table.flat[index] += 1
    assert table_residual(table) > 0


@pytest.mark.parametrize("slope", [1.15, 1.3])
@pytest.mark.parametrize("strength", [3, 6, 12])
def test_equivalent_quality_of_a_custom_table_does_equal_damage(strength, slope):
    picture = Image.fromarray(data.astronaut()).convert("L")

    def damage(table):
        file = io.BytesIO()
        picture.save(file, "JPEG", qtables=[table.ravel().tolist()])
        return np.square(np.asarray(Image.open(file), float) - np.asarray(picture, float)).mean()

    frequency = np.hypot(*np.mgrid[:8, :8])
    table = np.round(strength * slope**frequency).astype(int)
    assert table_residual(table) > 0.1
    ratio = damage(ijg_table(table_quality(table))) / damage(table)
    assert abs(10 * np.log10(ratio)) < 0.75  # dB, on one picture; the tables aim at the mean over many


@pytest.mark.parametrize("quality", [0, 101, -5])
def test_quality_outside_of_range_is_refused(quality):
    with pytest.raises(InputError, match=f"quality is {quality}; 1 to 100"):
        quality_to_scale(quality)


@pytest.mark.parametrize("table", [np.ones((8, 7), int), np.zeros((8, 8), int), np.ones(64, int)])
def test_what_is_no_table_is_refused(table):
    with pytest.raises(InputError, match="shape"):
        table_quality(table)
