"""The demo, run as a user runs it."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut
from skimage.metrics import peak_signal_noise_ratio

from napari_car.cli import main
from napari_car.cli.demo import SAMPLE, compose

NAMES = ["before-after.png", "compressed.jpg", "original.png", "restored.png"]


def read(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_the_sample_is_scikit_images_astronaut() -> None:
    assert np.array_equal(read(SAMPLE), astronaut())


def test_demo_prints_the_psnr_of_the_files_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "folder"
    assert main(["demo", "-o", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == NAMES
    printed = [float(number) for number in re.findall(r"PSNR \(RGB\) ([\d.]+)", capsys.readouterr().out)]
    measured = [
        peak_signal_noise_ratio(astronaut(), read(folder / name)) for name in ("compressed.jpg", "restored.png")
    ]
    assert printed == pytest.approx(measured, abs=0.0051)
    assert measured[1] > measured[0] + 0.5
    assert main(["demo", "-o", str(folder)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["demo", "-o", str(folder), "--force", "--quality", "40"]) == 0
    assert (folder / "compressed.jpg").stat().st_size > 20_000


@pytest.mark.parametrize("quality", ["0", "101"])
def test_a_quality_that_is_none_writes_nothing(
    quality: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "-o", str(tmp_path / "x"), "--quality", quality]) == 1
    assert f"quality is {quality}" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_full_disk_is_one_sentence_and_leaves_no_half_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(_: Image.Image, file: Path | IO[bytes], *args: object, **options: object) -> None:
        with open(file, "wb") if isinstance(file, Path) else nullcontext(file) as stream:
            stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", save)
    assert main(["demo", "-o", str(tmp_path)]) == 1
    sentence = f"napari-car: {tmp_path / 'original.png'}: could not be written: No space left on device\n"
    assert capsys.readouterr().err == sentence
    assert not list(tmp_path.iterdir())


def test_panels_show_the_same_place() -> None:
    rows, columns = np.indices((512, 512), np.uint8)
    picture = Image.fromarray(np.stack([rows, columns, rows ^ columns], axis=-1))
    sheet = np.asarray(compose([("a", "b", picture), ("c", "d", picture)]))
    starts = [x for x in range(sheet.shape[1]) if np.array_equal(sheet[16, x], np.asarray(picture)[24, 112])]
    assert starts == [16, 17, 480, 481]
    assert np.array_equal(sheet[16:464, 16:464], sheet[16:464, 480:928])
