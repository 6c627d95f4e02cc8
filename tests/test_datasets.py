"""The layouts of the test sets, on small sets made in those layouts."""

import io

import numpy as np
import pytest
from PIL import Image

from napari_car.datasets import LAYOUTS, compress, degrade, list_images, list_items, read_image
from napari_car.errors import FileError, InputError
from napari_car.files import write_image
from napari_car.files.picture import Picture

PICTURE = np.random.default_rng(7).integers(0, 256, (24, 40, 3), dtype=np.uint8)


def save(path, image=PICTURE, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)


def listed(items):
    return [(item.name, item.level, item.quality) for item in items]


def test_folder_takes_every_picture_and_nothing_else(tmp_path):
    for name in ("b.png", "a.PNG", "c.bmp"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    save(tmp_path / "deeper" / "d.png")
    items = list_items(tmp_path, "folder", [20, 10, 10])
    assert listed(items) == [(name, q, q) for name in "abc" for q in (10, 20)]
    assert [item.distorted for item in items] == [None] * 6


def test_default_qualities_are_those_of_the_tables(tmp_path):
    save(tmp_path / "a.png")
    assert [item.level for item in list_items(tmp_path, "folder")] == [10, 20, 30, 40]


@pytest.mark.parametrize("inside", ["data/images/test", "images/test", "test"])
def test_bsds500_takes_the_test_pictures_alone(tmp_path, inside):
    save(tmp_path / inside / "3096.jpg", quality=95)
    save(tmp_path / inside / ".." / "train" / "2092.jpg")
    assert listed(list_items(tmp_path, "bsds500", [10])) == [("3096", 10, 10)]


@pytest.mark.parametrize("inside", ["refimgs", "."])
def test_live1_lies_in_refimgs_or_plainly(tmp_path, inside):
    save(tmp_path / inside / "bikes.bmp")
    save(tmp_path / "jpeg" / "img1.bmp")
    assert listed(list_items(tmp_path, "live1", [10])) == [("bikes", 10, 10)]


@pytest.mark.parametrize(
    ("reference", "distorted"),
    [
        ("reference_images/I{:02d}.BMP", "distorted_images/i{:02d}_{:02d}_{}.bmp"),
        ("I{:02d}.bmp", "I{:02d}_{:02d}_{}.bmp"),
    ],
)
def test_tid2008(tmp_path, reference, distorted):
    """Only distortion 10 is JPEG; 2 and 11 are noise and JPEG 2000."""
    for n in (1, 2):
        save(tmp_path / reference.format(n))
        for kind in (2, 10, 11):
            for level in (1, 2, 3, 4):
                save(tmp_path / distorted.format(n, kind, level), PICTURE // level, format="BMP")
    items = list_items(tmp_path, "tid2008")
    assert listed(items) == [(f"I0{n}", level, None) for n in (1, 2) for level in (1, 2, 3, 4)]
    for item in items:
        np.testing.assert_array_equal(read_image(item.reference), PICTURE)
        np.testing.assert_array_equal(degrade(item, read_image(item.reference)), PICTURE // item.level)
    assert {item.level for item in list_items(tmp_path, "tid2008", [2, 3])} == {2, 3}


@pytest.mark.parametrize(
    ("reference", "distorted"),
    [
        ("source_images/[BMP]/ImageJND_SRC{:02d}.bmp", "distorted_image/ImageJND_SRC{0:02d}/"),
        ("ImageJND_SRC{:02d}.png", ""),
    ],
)
def test_mcl_jci(tmp_path, reference, distorted):
    for n in (1, 50):
        save(tmp_path / reference.format(n))
        for quality in (1, 10, 20, 100):
            save(tmp_path / distorted.format(n) / f"ImageJND_SRC{n:02d}_{quality:03d}.jpg", quality=quality)
    items = list_items(tmp_path, "mcl-jci")
    assert listed(items) == [(f"ImageJND_SRC{n:02d}", q, q) for n in (1, 50) for q in (10, 20)]
    for item in items:
        np.testing.assert_array_equal(degrade(item, PICTURE), compress(PICTURE, item.level))
    assert [item.level for item in list_items(tmp_path, "mcl-jci", [1, 100])] == [1, 100] * 2


def test_encoding_is_libjpeg_at_four_two_zero():
    """The same pixels as the default of the common encoder; the chroma of single pixels is lost."""
    file = io.BytesIO()
    Image.fromarray(PICTURE).save(file, format="JPEG", quality=30)
    np.testing.assert_array_equal(compress(PICTURE, 30), np.asarray(Image.open(file)))
    assert Image.open(file).layer[0][1:3] == (2, 2)


def test_grey_stays_grey(tmp_path):
    save(tmp_path / "grey.png", PICTURE[..., 0])
    (item,) = list_items(tmp_path, "folder", [50])
    assert read_image(item.reference).shape == degrade(item, PICTURE[..., 0]).shape == (24, 40)


def test_alpha_and_palette_are_read_as_rgb(tmp_path):
    save(tmp_path / "alpha.png", np.dstack([PICTURE, PICTURE[..., 0]]))
    Image.fromarray(PICTURE).quantize(4).save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_image(tmp_path / "alpha.png"), PICTURE)
    assert read_image(tmp_path / "palette.png").shape == PICTURE.shape


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_empty_folder_is_refused(tmp_path, layout):
    with pytest.raises(FileError, match=str(tmp_path)):
        list_items(tmp_path, layout)
    with pytest.raises(FileError):
        list_items(tmp_path / "missing", layout)


def test_a_missing_reference_is_named(tmp_path):
    save(tmp_path / "I07_10_1.bmp")
    with pytest.raises(FileError, match=r"I07_10_1.*i07\.bmp"):
        list_items(tmp_path, "tid2008")


def test_out_of_range_and_unknown_are_refused(tmp_path):
    save(tmp_path / "a.png")
    with pytest.raises(InputError, match="folder is 101; it must be 1 to 100"):
        list_items(tmp_path, "folder", [10, 101])
    with pytest.raises(InputError, match="tid2008 is 10; it must be 1 to 4"):
        list_items(tmp_path, "tid2008", [10])
    with pytest.raises(InputError, match=r"'kodak'.*folder, live1, bsds500, tid2008, mcl-jci"):
        list_items(tmp_path, "kodak")


@pytest.mark.parametrize("pixels", [PICTURE[..., 0], PICTURE], ids=["grey", "colour"])
@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_sixteen_bits_are_refused_rather_than_clipped(tmp_path, pixels, name):
    write_image(tmp_path / name, Picture(pixels.astype(np.uint16) * 257))
    with pytest.raises(FileError, match=r"deep\.\w+.*more than 8 bits"):
        read_image(tmp_path / name)


def test_a_broken_picture_is_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(FileError, match=r"broken\.png"):
        read_image(list_images(tmp_path)[0])
