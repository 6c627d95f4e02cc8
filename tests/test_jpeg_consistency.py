"""Projection onto the quantization intervals: the theorem, and what must be honest about it."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from napari_car.errors import FileError, InputError, JpegError
from napari_car.jpeg.coefficients import plane_coefficients, read_coefficients
from napari_car.jpeg.consistency import check_consistency, make_consistent
from napari_car.jpeg.dct import block_dct
from napari_car.jpeg.header import read_jpeg

PICTURE = data.astronaut()[:251, :203]
LUMA = np.array([0.299, 0.587, 0.114])


def encode(picture, **options):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", **options)
    return file.getvalue()


def to_planes(picture):
    return np.float32(np.atleast_3d(picture).transpose(2, 0, 1) / 255)


def decode(file):
    return to_planes(np.asarray(Image.open(io.BytesIO(file))))


def error(planes, picture):
    """Summed squared error of luma in grey levels."""
    luma = planes[0] if len(planes) == 1 else np.tensordot(LUMA, planes.astype(float), 1)
    wanted = picture if picture.ndim == 2 else picture @ LUMA
    return np.square(luma * 255.0 - wanted).sum()


def wrong(planes, seed, amount):
    noise = np.random.default_rng(seed).normal(0, amount, planes.shape)
    return np.clip(planes + np.float32(noise), 0, 1)


SIZES = st.tuples(st.integers(1, 60), st.integers(1, 60))


@given(st.integers(1, 100), st.integers(0, 99), st.sampled_from([0.0, 0.01, 0.1]), SIZES, st.booleans())
@settings(max_examples=150, deadline=None)
def test_projection_never_increases_the_error_of_grey_pictures(quality, seed, amount, size, is_noise):
    random = np.random.default_rng(seed)
    top, left = random.integers(0, 180, 2)
    picture = np.ascontiguousarray(PICTURE[top : top + size[0], left : left + size[1], 1])
    if is_noise:
        picture = random.integers(0, 256, picture.shape, np.uint8)
    file = encode(picture, quality=quality)
    # Around the original itself: there, a box that is a little too small shows at once.
    restored = wrong(to_planes(picture), seed, amount)
    consistent, share = make_consistent(restored, read_coefficients(file))
    # The encoder's integer DCT lets the original stick out of its interval by some hundredths of a level.
    assert error(consistent, picture) <= error(restored, picture) + 1e-3 * picture.size
    assert 0 <= share <= 1


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
@pytest.mark.parametrize("quality", [15, 30, 75, 92])
def test_projection_never_increases_the_luma_error_in_colour(subsampling, quality):
    file = encode(PICTURE, quality=quality, subsampling=subsampling)
    restored = wrong(decode(file), 0, 0.1)
    coefficients = read_coefficients(file)
    assert len(coefficients) == (3 if subsampling == "4:4:4" else 1)
    consistent, share = make_consistent(restored, coefficients)
    assert share > 0.001
    assert error(consistent, PICTURE) < error(restored, PICTURE)


@pytest.mark.parametrize("quality", [10, 50, 70])
def test_consistent_pictures_encode_to_the_same_coefficients(quality):
    picture = PICTURE[:, :, 1] // 2 + 64  # far from black and white, where the range of pixels would interfere
    file = encode(picture, quality=quality)
    table = read_jpeg(file).quant_tables[0].ravel()
    coefficients = read_coefficients(file)
    consistent, _ = make_consistent(wrong(decode(file), 0, 0.05), coefficients)
    known = coefficients[0].is_known
    again = block_dct(consistent[0] * 255 - 128)[known] / table
    true = block_dct(decode(file)[0] * 255 - 128)[known] / table
    assert (np.abs(again - np.round(true)) < 0.501).mean() > 0.9995  # the rest are steps that rounding made unsure
    assert check_consistency(consistent, coefficients).is_consistent


def test_a_margin_lets_more_coefficients_survive_rounding():
    picture = PICTURE[:, :, 1] // 2 + 64
    file = encode(picture, quality=60)
    [known] = read_coefficients(file)
    restored = wrong(decode(file), 0, 0.03)

    def share_outside(margin):
        consistent, _ = make_consistent(restored, [known], margin)
        return check_consistency(np.round(consistent * 255) / np.float32(255), [known], tolerance=0).share_outside

    assert share_outside(1.0) < 0.1 * share_outside(0.0)


def test_a_decoded_file_agrees_with_itself_and_is_hardly_changed():
    file = encode(PICTURE, quality=40, subsampling="4:4:4")
    coefficients = read_coefficients(file)
    planes = decode(file)
    same, share = make_consistent(planes, coefficients)
    assert share < 0.001
    assert np.abs(same - planes).max() < 0.05
    assert check_consistency(planes, coefficients).is_consistent


def test_a_foreign_spot_is_found_where_it_is():
    file = encode(PICTURE, quality=40)
    planes = decode(file)
    planes[:, 100:104, 40:44] = 1 - planes[:, 100:104, 40:44]
    found = check_consistency(planes, read_coefficients(file))
    assert not found.is_consistent
    assert np.argwhere(found.is_outside).tolist() == [[12, 5]]
    assert 0 < found.share_outside < 0.01
    assert 0.8 < found.share_known < 1


def test_blocks_cut_off_by_the_edge_and_clipped_blocks_are_left_alone():
    picture = np.ascontiguousarray(PICTURE[:27, :29, 0])
    picture[8:12, 8:12] = 255
    file = encode(picture, quality=20)
    known = read_coefficients(file)[0]
    assert known.is_known.shape == (3, 3)
    assert not known.is_known[1, 1]
    restored = wrong(decode(file), 0, 0.2)
    consistent, _ = make_consistent(restored, [known])
    for place in (np.s_[0, 24:], np.s_[0, :, 24:], np.s_[0, 8:16, 8:16]):
        np.testing.assert_allclose(consistent[place], restored[place], atol=1e-6)
    assert not np.allclose(consistent[0, :8, :8], restored[0, :8, :8], atol=1e-3)


def test_foreign_planes_are_no_coefficients():
    picture = np.random.default_rng(0).integers(1, 255, (64, 64), np.uint8)
    assert not plane_coefficients(picture, np.full((8, 8), 40)).is_known.any()


def test_refusals(tmp_path):
    coefficients = read_coefficients(encode(PICTURE, quality=40))
    with pytest.raises(InputError, match="250 × 203 px, its file 251 × 203"):
        make_consistent(np.zeros((3, 250, 203), np.float32), coefficients)
    with pytest.raises(InputError, match="shape"):
        check_consistency(np.zeros((251, 203), np.float32), coefficients)
    with pytest.raises(JpegError, match="CMYK"):
        read_coefficients(cmyk())
    with pytest.raises(FileError):
        read_coefficients(tmp_path / "missing.jpg")
    path = tmp_path / "cut.jpg"
    path.write_bytes(encode(PICTURE)[:2000])
    with pytest.raises(JpegError, match=r"cut\.jpg: the picture cannot be decoded"):
        read_coefficients(path)


def test_what_only_our_own_reader_takes_is_refused():
    """A Huffman table of no length: Pillow does not take it for a JPEG at all."""
    content = encode(PICTURE, quality=40)
    at = content.index(b"\xff\xc4") + 2
    damaged = content[:at] + b"\x01" + content[at + 1 :]
    with pytest.raises(JpegError, match="cannot be decoded"):
        read_coefficients(damaged)


def cmyk():
    file = io.BytesIO()
    Image.fromarray(PICTURE).convert("CMYK").save(file, "JPEG")
    return file.getvalue()
