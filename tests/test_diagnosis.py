"""What ``quality="auto"`` finds and does, on files and on pictures that are no longer files."""

import io
import sys
from dataclasses import replace
from threading import Event

import numpy as np
import pytest
from PIL import Image
from skimage import data

from napari_car import (
    Coding,
    InputError,
    JpegInfo,
    Session,
    diagnose,
    load_card,
    open_session,
    read_jpeg,
    restore,
    restore_file,
    restore_steps,
)
from napari_car.diagnosis import SURE, Diagnosis
from napari_car.jpeg.estimate import estimate_jpeg

PHOTO = data.astronaut()


def compressed(image, quality, **options) -> tuple[np.ndarray, JpegInfo]:
    """The image as a JPEG: pixels and header."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, **options)
    return np.asarray(Image.open(file)), read_jpeg(file.getvalue())


def psnr(image, reference):
    """In RGB, dB."""
    return 10 * np.log10(255**2 / np.mean((image.astype(float) - reference) ** 2))


@pytest.mark.parametrize("quality", [10, 50, 85])
@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
def test_pixels_alone_tell_what_the_file_tells(quality, subsampling):
    pixels, info = compressed(PHOTO, quality, subsampling=subsampling)
    by_file, by_pixels = diagnose(pixels, info=info), diagnose(pixels)
    assert (by_file.source, by_pixels.source) == ("file", "pixels")
    assert by_file.coding == by_pixels.coding == Coding.from_quality(quality, subsampling)
    np.testing.assert_array_equal(restore(pixels), restore(pixels, quality=by_file.coding))


def test_a_crop_is_restored_on_its_own_grid():
    pixels, info = compressed(PHOTO, 10)
    crop = pixels[3:, 5:]
    found = diagnose(crop)
    assert found.coding == replace(Coding.from_info(info), grid_phase=(13, 11))
    assert "its blocks start at row 5, column 3" in found.sentence
    # Away from the new edges, the crop's restoration is the restoration's crop.
    inner = np.s_[64:-64, 64:-64]
    np.testing.assert_array_equal(restore(crop)[inner], restore(pixels, quality=info)[3:, 5:][inner])


def test_an_earlier_compression_is_seen_behind_that_of_the_file():
    crop = compressed(PHOTO, 10)[0][3:, 5:]
    pixels, info = compressed(crop, 90)
    found = diagnose(pixels, info=info)
    assert found.source == "pixels"
    assert found.sentence.startswith("The file was saved at quality 90, but before that")
    reference = PHOTO[3:, 5:]
    before, told, restored = (
        psnr(image, reference) for image in (pixels, restore(pixels, quality=info), restore(pixels))
    )
    assert restored > before + 0.7
    assert told < restored - 0.5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda picture: picture, " as its pixels"),
        (lambda picture: picture[2:, 7:], " and cropped, its blocks start at row 6, column 1, as"),
        (np.rot90, " and turned by a quarter as its pixels"),
    ],
    ids=["as it was", "cropped", "turned"],
)
def test_a_picture_saved_twice_gains_by_what_was_before_its_file(change, words):
    reference = change(PHOTO)
    pixels, info = compressed(change(compressed(PHOTO, 50)[0]), 80)
    found = diagnose(pixels, info=info)
    assert words in found.sentence
    assert abs(found.estimate.quality - 50) <= 2
    assert psnr(restore(pixels, quality=found), reference) > psnr(restore(pixels, quality=info), reference) + 0.1


def test_what_is_done_is_the_same_where_not_all_is_found_out():
    first, _ = compressed(PHOTO, 10)
    for pixels, info in (compressed(PHOTO, 30), compressed(first, 90), (first, None)):
        briefly, fully = (diagnose(pixels, info=info, in_full=in_full) for in_full in (False, True))
        assert (briefly.coding, briefly.source, briefly.sentence) == (fully.coding, fully.source, fully.sentence)
        assert fully.estimate.subsampling == "4:2:0"
        assert (briefly.estimate.subsampling is None) == (briefly.source == "file")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_clean_picture_comes_back_bit_for_bit(dtype, caplog):
    image = PHOTO if dtype == "uint8" else PHOTO.astype(dtype) * (257 if dtype == "uint16" else np.float32(1 / 255))
    np.testing.assert_array_equal(restore(image), image)
    assert "No JPEG compression was found; the picture is left alone." in caplog.text
    assert not np.array_equal(restore(image, quality=20), image)


def test_a_lightly_compressed_file_is_left_alone_unless_told(tmp_path, caplog):
    source = tmp_path / "photo.jpg"
    Image.fromarray(PHOTO).save(source, quality=99)
    with Image.open(source) as file:
        pixels = np.asarray(file)
    with Image.open(restore_file(source, tmp_path / "auto.png")) as restored:
        np.testing.assert_array_equal(np.asarray(restored), pixels)
    assert "so lightly that restoring would not help" in caplog.text
    with Image.open(restore_file(source, tmp_path / "told.png", quality=60)) as restored:
        assert not np.array_equal(np.asarray(restored), pixels)


@pytest.fixture
def waiting(monkeypatch):
    """A session, and a diagnosis that comes only when the session has run."""
    has_run = Event()

    class Telling(Session):
        def run_strip(self, *arguments, **keywords):
            has_run.set()
            return super().run_strip(*arguments, **keywords)

    def diagnose_late(*arguments, **keywords):
        assert has_run.wait(60)
        return diagnose(*arguments, **keywords)

    monkeypatch.setattr(sys.modules["napari_car.restore_file"], "diagnose", diagnose_late)
    return Telling(load_card("car-s"), "cpu", "int8", 2)


def test_the_network_begins_while_the_pixels_are_looked_at(waiting, tmp_path):
    source = tmp_path / "photo.jpg"
    Image.fromarray(PHOTO).save(source, quality=30)
    with Image.open(restore_file(source, tmp_path / "restored.png", session=waiting)) as restored:
        pixels, info = compressed(PHOTO, 30)
        np.testing.assert_array_equal(np.asarray(restored), restore(pixels, quality=info, session=waiting))


def test_what_began_by_the_file_leaves_no_trace_where_the_pixels_say_otherwise(waiting, tmp_path):
    crop = compressed(PHOTO, 10)[0][3:, 5:]
    source = tmp_path / "photo.jpg"
    Image.fromarray(crop).save(source, quality=90)
    with Image.open(source) as file:
        pixels = np.asarray(file)
    with Image.open(restore_file(source, tmp_path / "restored.png", session=waiting)) as restored:
        expected = restore(pixels, quality=diagnose(pixels).coding, session=waiting)
        np.testing.assert_array_equal(np.asarray(restored), expected)


def test_what_helps_is_a_matter_of_the_model():
    pixels, info = compressed(PHOTO, 85)
    assert diagnose(pixels, info=info, card=load_card("car-s")).coding is not None
    assert diagnose(pixels, info=info, card=load_card("arcnn")).coding is None


def test_custom_tables_reach_the_network():
    table = [max(1, n) for n in range(20, 84)]
    pixels, info = compressed(PHOTO, 75, qtables=[table, table])
    found = diagnose(pixels, info=info)
    assert not info.is_standard
    assert "by tables of its own" in found.sentence
    assert found.coding is not None
    assert found.coding.tables == (tuple(info.quant_tables[0].ravel().tolist()),)


@pytest.fixture(scope="module")
def mixed() -> np.ndarray:
    """Three pictures in a stack: of quality 10, of quality 60 and cropped, and one that was never compressed."""
    piece = PHOTO[:208, 100:308]
    return np.stack([compressed(piece, 10)[0][:200, :200], compressed(piece, 60)[0][3:203, 5:205], piece[:200, :200]])


def test_each_picture_of_a_mixed_stack_goes_by_its_own(mixed) -> None:
    found, card = diagnose(mixed), load_card()
    assert found.is_mixed
    assert found.sentence == (
        "The pictures of the stack were compressed differently, at about quality 10 to 60, some not at all; each is "
        "restored by what its own pixels show."
    )
    assert [found.coding_of(picture, card) for picture in mixed] == [diagnose(picture).coding for picture in mixed]
    in_place = mixed.copy()
    for restored in (restore(mixed), restore(in_place, out=in_place)):
        for before, after in zip(mixed, restored, strict=True):
            np.testing.assert_array_equal(after, restore(before))
        assert (restored[:2] != mixed[:2]).any((1, 2, 3)).all()


def test_a_picture_turned_since_is_restored():
    turned, reference = np.rot90(compressed(PHOTO, 15)[0]), np.rot90(PHOTO)
    assert psnr(restore(turned), reference) > psnr(turned, reference) + 0.5


def test_turned_pictures_of_a_stack_go_by_turned_tables():
    straight = compressed(PHOTO, 30)[0]
    stack = np.stack([straight, np.rot90(straight)])
    assert diagnose(stack).is_mixed
    for before, after in zip(stack, restore(stack, consistent=True), strict=True):
        np.testing.assert_array_equal(after, restore(before, consistent=True))


def test_a_mixed_stack_is_looked_at_in_steps_that_can_be_cancelled(mixed, monkeypatch) -> None:
    looked = []

    def look(self, picture, card):
        looked.append(1)
        return self.coding

    found = diagnose(mixed)
    monkeypatch.setattr(Diagnosis, "coding_of", look)
    many = np.concatenate([mixed] * 20)
    steps = restore_steps(many, quality=found, session=open_session("car-s", threads=2))
    assert [next(steps) for _ in range(3)] == [(0, 60)] * 3
    steps.close()
    assert len(looked) < 10


def test_a_stack_is_not_taken_for_mixed_by_pictures_that_show_nothing(mixed, monkeypatch) -> None:
    """All of it shows a compression, each by itself surely none: other windows are looked at."""
    found = [estimate_jpeg(mixed[0]), *[estimate_jpeg(mixed[2])] * 3]
    assert found[1].quality is None
    assert found[1].confidence >= SURE
    monkeypatch.setattr("napari_car.diagnosis.estimate_jpeg", lambda *_, **__: found.pop(0))
    assert diagnose(mixed).coding.quality == pytest.approx(10, abs=1)


@pytest.mark.parametrize(("factor", "said"), [(255, "from 0 to 2"), (np.nan, "nan"), (np.inf, "inf"), (1e9, "e")])
def test_what_restore_refuses_is_not_looked_at(factor: float, said: str) -> None:
    image = np.float32(PHOTO) / 255
    image[0, 0] = 0
    image[5, 5] = image[5, 5] * factor if factor != 255 else 255
    with pytest.raises(InputError, match=said):
        diagnose(image)
    estimate_jpeg(image)  # says something of it, and does not fail


@pytest.mark.parametrize("image", [[[0, 1], [2, 3]], None, np.zeros((8, 8), bool)], ids=str)
def test_what_is_no_image_is_refused_in_a_sentence(image) -> None:
    with pytest.raises(InputError, match=r"list|NoneType|bool"):
        diagnose(image)


def test_pictures_that_are_alike_are_told_alike(mixed) -> None:
    dark = np.zeros_like(mixed[0])  # that shows nothing by itself
    stack = np.stack([mixed[0], dark, mixed[0]])
    found = diagnose(stack)
    assert not found.is_mixed
    assert found.coding.quality == pytest.approx(10, abs=1)
    assert found.coding_of(dark, load_card()) == found.coding
