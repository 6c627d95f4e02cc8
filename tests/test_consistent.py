"""Restoration that keeps within the file: ``consistent`` in the API, ``--consistent`` and ``verify`` as commands."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from napari_car import InputError, open_session, read_jpeg, restore
from napari_car.cli import main
from napari_car.jpeg.coefficients import plane_coefficients, read_coefficients, read_planes
from napari_car.jpeg.consistency import check_consistency
from napari_car.jpeg.dct import block_dct

LUMA = np.array([0.299, 0.587, 0.114])


def compressed(reference, quality, **options):
    """The reference as a JPEG: pixels and header."""
    file = io.BytesIO()
    Image.fromarray(reference).save(file, "JPEG", quality=quality, **options)
    return np.asarray(Image.open(file)), read_jpeg(file.getvalue())


def luma_error(image, reference):
    """Mean squared error in luma, of full scale."""
    difference = image - reference / 255
    return float(np.mean((difference if difference.ndim == 2 else difference @ LUMA) ** 2))


@pytest.fixture(scope="module")
def session():
    return open_session("car-s", provider="cpu", threads=1)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    quality=st.integers(1, 95),
    kind=st.sampled_from(["grey", "4:4:4", "4:2:0"]),
    corner=st.tuples(st.integers(0, 380), st.integers(0, 380)),
    tile=st.sampled_from([48, 128]),
)
def test_luma_is_never_farther_from_the_original(session, quality, kind, corner, tile):
    y, x = corner
    reference = data.astronaut()[y : y + 104, x : x + 120]
    if kind == "grey":
        reference = np.asarray(Image.fromarray(reference).convert("L"))
    options = {} if kind == "grey" else {"subsampling": kind}
    degraded, info = compressed(reference, quality, **options)
    free, kept = (
        restore(degraded, quality=info, session=session, dtype="float32", consistent=consistent, tile=tile)
        for consistent in (False, True)
    )
    # The encoder rounds luma to integers before its DCT: a colour picture may stick out of the box by that much.
    slack = 0 if kind == "grey" else 2e-8
    assert luma_error(kept, reference) <= luma_error(free, reference) * (1 + 1e-5) + slack


@pytest.mark.parametrize("quality", [10, 40, 75, 85])
def test_grey_pictures_compress_to_the_same_coefficients(session, quality):
    degraded, info = compressed(np.asarray(Image.fromarray(data.astronaut()).convert("L")), quality)
    restored = restore(degraded, quality=info, session=session, consistent=True)
    table = info.quant_tables[0].ravel().astype(np.float32)
    known = plane_coefficients(degraded, info.quant_tables[0]).is_known
    before, after = (np.round(block_dct(image.astype(np.float32) - 128) / table) for image in (degraded, restored))
    assert np.mean(before[known] == after[known]) >= 0.9995


@pytest.mark.parametrize("quality", [20, 75, 95])
def test_no_coefficient_of_an_8_bit_grey_picture_leaves_its_interval(session, quality):
    degraded, info = compressed(np.asarray(Image.fromarray(data.astronaut()).convert("L")), quality)
    restored = restore(degraded, quality=info, session=session, consistent=True)
    assert np.mean(restored != degraded) > 0.05
    known = plane_coefficients(degraded, info.quant_tables[0])
    spectrum = block_dct(restored.astype(np.float32) - 128)
    assert np.all(spectrum >= known.low - 1e-3)
    assert np.all(spectrum <= known.high + 1e-3)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_saturated_colours_carry_no_block_out_of_what_verify_takes(session, subsampling):
    # Blocks of hard edges up to white: restored, they would overshoot it.
    loud = np.clip(2.2 * (data.astronaut().astype(float) - 110) + 140, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(loud).save(file, "JPEG", quality=60, subsampling=subsampling)
    degraded, content = np.asarray(Image.open(file)), file.getvalue()
    restored = restore(degraded, quality=read_jpeg(content), session=session, consistent=read_planes(content))
    planes, decoded = (np.float32(image.transpose(2, 0, 1) / 255) for image in (restored, degraded))
    found = check_consistency(planes, read_coefficients(content), decoded=decoded)
    assert found.is_consistent
    assert found.share_known > 0.1
    assert np.mean(restored != degraded) > 0.2


def test_tiles_and_crops_change_nothing(session):
    degraded, info = compressed(data.astronaut()[:120, :136], 20)
    whole, tiled = (restore(degraded, quality=info, session=session, consistent=True, tile=tile) for tile in (512, 32))
    np.testing.assert_array_equal(whole, tiled)


def test_only_8_bit_pixels_are_taken(session):
    with pytest.raises(InputError, match="8-bit pixels of a JPEG; the image is uint16"):
        restore(np.zeros((16, 16), np.uint16), quality=10, session=session, consistent=True)
    with pytest.raises(InputError, match=r"it must be \(16, 16, 1 or 3\)"):
        restore(np.zeros((16, 16), np.uint8), quality=10, session=session, consistent=np.zeros((8, 16, 1), np.uint8))


def test_verify_tells_consistent_pictures_from_others(tmp_path, capsys):
    original, restored = tmp_path / "photo.jpg", tmp_path / "photo.restored.png"
    # Red and white saturate: there, even what the decoder makes of the file is not within its intervals.
    Image.fromarray(data.astronaut()).save(original, quality=90)
    with Image.open(original) as file:
        file.save(tmp_path / "decoded.png")
    assert main(["verify", str(original), str(tmp_path / "decoded.png")]) == 0
    assert main(["restore", str(original), "--consistent"]) == 0
    assert main(["verify", str(original), str(restored)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("Consistent: ")
    pixels = np.asarray(Image.open(restored)).copy()
    pixels[64:72, 80:88] //= 2
    Image.fromarray(pixels).save(restored)
    assert main(["verify", str(original), str(restored)]) == 1
    assert "in 1 of 4096 blocks; row,column of the first: 64,80 " in capsys.readouterr().out


def test_verify_refuses_pictures_of_another_size(tmp_path, capsys):
    original, other = tmp_path / "photo.jpg", tmp_path / "other.png"
    Image.fromarray(data.astronaut()).save(original)
    Image.fromarray(data.astronaut()[:100]).save(other)
    assert main(["verify", str(original), str(other)]) == 1
    assert "100 × 512 px, its file 512 × 512" in capsys.readouterr().err
