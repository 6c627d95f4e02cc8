"""Measuring and its tables, with restorers whose effect is known; one run through the command's arguments."""

import csv
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from napari_car import evaluate as evaluation
from napari_car.cli import main
from napari_car.datasets import compress, list_items, read_image
from napari_car.errors import CarError, FileError, InputError
from napari_car.evaluate import BASELINE, Candidate, evaluate, measure
from napari_car.protocols import PROTOCOLS
from napari_car.tables import ImageRow, Row, summarize, to_json, to_latex, to_markdown, write_csv

KEYS = ["data", "quality", "model", "precision", "psnr", "ssim", "psnr_b", "seconds_per_mp", "images"]


@pytest.fixture
def folder(tmp_path):
    """A folder of two pictures."""
    place = tmp_path / "pictures"
    place.mkdir()
    Image.fromarray(skimage.data.astronaut()[:64, 200:280]).save(place / "a.png")
    Image.fromarray(skimage.data.astronaut()[100:180, 100:164]).save(place / "b.png")
    return place


@pytest.fixture
def oracle(folder):
    """A restorer that gives the reference itself, and remembers the qualities it was told."""
    references = [read_image(folder / name) for name in ("a.png", "b.png")]
    told = []

    def restore(image, quality):
        told.append(quality)
        found = [reference for reference in references if reference.shape == image.shape]
        return found[0] // 2 + image // 2

    return Candidate("oracle", "int8", restore), told


def nothing(image, quality):
    return image


def test_rows_come_for_every_picture_quality_and_model(folder, oracle):
    candidate, told = oracle
    items = list_items(folder, "folder", [10, 40])
    rows = list(measure("set", items, PROTOCOLS["idcn"], [candidate]))
    assert [(row.image, row.quality, row.model) for row in rows] == [
        (image, quality, model) for image in "ab" for quality in (10, 40) for model in (BASELINE, "oracle")
    ]
    assert told == [10, 40, 10, 40]
    for jpeg, restored in zip(rows[::2], rows[1::2], strict=True):
        assert restored.psnr > jpeg.psnr + 4
        assert restored.ssim > jpeg.ssim
        assert jpeg.precision is None
        assert jpeg.seconds == 0
        assert restored.seconds > 0


def test_baseline_is_the_jpeg_scored_by_the_protocol(folder):
    for name, protocol in PROTOCOLS.items():
        (row, _) = measure(
            "set", list_items(folder, "folder", [20])[:1], protocol, [Candidate("same", "int8", nothing)]
        )
        reference = protocol.prepare(read_image(folder / "a.png"))
        assert reference.ndim == (2 if name == "gray" else 3)
        assert (row.psnr, row.ssim, row.psnr_b) == protocol.score(reference, compress(reference, 20))


def test_distorted_pictures_are_not_encoded_again_and_their_quality_is_not_guessed(tmp_path, oracle):
    picture = skimage.data.astronaut()[:32, :32]
    Image.fromarray(picture).save(tmp_path / "I01.bmp")
    Image.fromarray(picture ^ 1).save(tmp_path / "I01_10_3.bmp")
    told = []
    candidate = Candidate("same", "int8", lambda image, quality: told.append(quality) or image)
    rows = list(measure("tid2008", list_items(tmp_path, "tid2008"), PROTOCOLS["fbcnn"], [candidate]))
    assert [(row.quality, row.model) for row in rows] == [(3, BASELINE), (3, "same")]
    assert rows[0].psnr == pytest.approx(20 * np.log10(255))  # every value is off by one
    assert told == [None]


def test_a_distorted_picture_of_another_size_is_named(tmp_path):
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "I01.bmp")
    Image.fromarray(np.zeros((32, 33, 3), np.uint8)).save(tmp_path / "I01_10_1.bmp")
    with pytest.raises(InputError, match=r"I01_10_1.*\(32, 32, 3\).*\(32, 33, 3\)"):
        list(measure("tid2008", list_items(tmp_path, "tid2008"), PROTOCOLS["idcn"], []))


def test_means_are_of_figures_and_time_is_per_megapixel():
    rows = [
        ImageRow("set", "a", 10, "m", "int8", 30.0, 0.8, 29.0, seconds=1.0, megapixels=2.0),
        ImageRow("set", "a", 20, "m", "int8", 33.0, 0.9, 32.0, seconds=1.0, megapixels=2.0),
        ImageRow("set", "b", 10, "m", "int8", 20.0, 0.6, 18.0, seconds=4.0, megapixels=0.5),
    ]
    assert [asdict(row) for row in summarize(rows)] == [
        dict(zip(KEYS, ("set", 10, "m", "int8", 25.0, pytest.approx(0.7), 23.5, 2.0, 2), strict=True)),
        dict(zip(KEYS, ("set", 20, "m", "int8", 33.0, 0.9, 32.0, 0.5, 1), strict=True)),
    ]


ROWS = [
    Row("my_set", 10, BASELINE, None, 25.694, 0.75919, 25.487, 0.0, 29),
    Row("my_set", 10, "m", "int8", float("inf"), 1.0, 26.6, 0.3821, 29),
]


class Card:
    """The two facts of a card that tables show."""

    parameters = 117734
    kmac_per_px = 117.6


def test_json_has_the_promised_keys_and_is_strict():
    def refuse(constant):
        raise AssertionError(constant)

    objects = json.loads(to_json(ROWS, {}), parse_constant=refuse)
    assert [list(thing) for thing in objects] == [KEYS, KEYS]
    assert objects[0]["psnr"] == 25.694
    assert objects[0]["precision"] is None
    assert objects[1]["psnr"] is None


def test_markdown_and_latex_show_cost_beside_quality():
    markdown = to_markdown(ROWS, {"m": Card()}).splitlines()
    assert len(markdown) == 4
    assert len({line.count("|") for line in markdown}) == 1
    assert markdown[2] == "| my_set | 10 | jpeg |  |  |  | 25.69 | 0.7592 | 25.49 |  | 29 |"
    assert "117,734 | 117.6" in markdown[3]
    assert "0.382" in markdown[3]
    latex = to_latex(ROWS, {"m": Card()}).splitlines()
    assert latex[3].startswith(r"my\_set & 10 & jpeg & ")
    assert {line.count("&") for line in latex[3:-1]} == {10}


def test_csv_holds_every_picture(tmp_path):
    rows = [ImageRow("set", "a, b", 10, "m", None, 30.0, 0.8, 29.0, 1.0, 2.0)]
    write_csv(tmp_path / "rows.csv", rows)
    with (tmp_path / "rows.csv").open(newline="") as file:
        (read,) = csv.DictReader(file)
    assert read["image"] == "a, b"
    assert float(read["psnr"]) == 30.0
    with pytest.raises(FileError, match="missing"):
        write_csv(tmp_path / "missing" / "rows.csv", rows)


def command(*words):
    return main(["evaluate", *map(str, words)])


def test_command_prints_json_and_writes_csv(folder, tmp_path, capsys):
    options = ("--quality", 10, 20, "--format", "json", "--csv", tmp_path / "rows.csv")
    assert command("--data", folder, *options) == 0
    printed = capsys.readouterr()
    rows = json.loads(printed.out)
    assert [(row["data"], row["quality"], row["model"], row["images"]) for row in rows] == [
        ("pictures", 10, "jpeg", 2),
        ("pictures", 20, "jpeg", 2),
    ]
    assert rows[1]["psnr"] > rows[0]["psnr"]
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 5
    assert printed.err == ""


def test_models_are_opened_as_asked_and_told_the_quality(folder, monkeypatch):
    """The one place that knows models: session options go through, and an unknown quality becomes "auto"."""
    asked, told = [], []

    class Session:
        card = type("C", (), {"id": "m"})
        precision = "fp32"

    monkeypatch.setattr(
        evaluation, "open_session", lambda model, **options: asked.append((model, options)) or Session()
    )
    monkeypatch.setattr(evaluation, "restore", lambda image, **options: told.append(options["quality"]) or image)
    rows = list(evaluate(["m"], folder, layout="folder", protocol="idcn", qualities=[10], precision="fp32", threads=3))
    assert asked == [("m", {"precision": "fp32", "provider": "auto", "threads": 3})]
    assert [row.precision for row in rows] == [None, "fp32"] * 2
    assert told == [10, 10]
    candidate = evaluation.open_candidate("m", precision="auto", provider="auto", threads=None)
    candidate.restore(np.zeros((16, 16), np.uint8), None)
    assert told[-1] == "auto"


def test_unknown_protocol_is_refused(folder):
    with pytest.raises(InputError, match=r"'y'.*idcn, fbcnn, gray"):
        list(evaluate([], folder, layout="folder", protocol="y"))


def test_unknown_model_is_refused(folder):
    with pytest.raises(CarError, match="no-such-model"):
        list(evaluate(["no-such-model"], folder, layout="folder", protocol="idcn"))


def test_missing_folder_is_one_line(capsys):
    assert command("--data", Path("nowhere")) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "nowhere" in printed.err
    assert len(printed.err.splitlines()) == 1
