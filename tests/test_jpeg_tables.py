"""Tables against libjpeg, through Pillow."""

import io

import numpy as np
import pytest
from PIL import Image

from napari_car.errors import InputError
from napari_car.jpeg.tables import ijg_table, quality_to_scale, scale_to_quality

QUALITIES = range(1, 101)


def pillow_tables(quality):
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG", quality=quality)
    return [np.reshape(table, (8, 8)) for table in Image.open(file).quantization.values()]


@pytest.mark.parametrize("quality", QUALITIES)
def test_tables_are_those_of_libjpeg(quality):
    luma, chroma = pillow_tables(quality)
    assert np.array_equal(ijg_table(quality), luma)
    assert np.array_equal(ijg_table(quality, "chroma"), chroma)


def test_scale_and_quality_are_inverse():
    assert [round(scale_to_quality(quality_to_scale(quality))) for quality in QUALITIES] == list(QUALITIES)


@pytest.mark.parametrize("quality", [0, 101, -5])
def test_quality_outside_of_range_is_refused(quality):
    with pytest.raises(InputError, match=f"quality is {quality}; 1 to 100"):
        quality_to_scale(quality)
