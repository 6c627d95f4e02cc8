"""The results page, written from rows as ``evaluate`` gives them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from napari_car.cards import list_models

pytest.importorskip("matplotlib", reason="the results page is drawn with matplotlib, of the extra 'train'")
SCRIPT = Path(__file__).parents[1] / "scripts" / "results"
JPEG = {"live1": {10: (25.6945, 0.7592, 25.4867), 20: (28.0629, 0.8409, 27.8162)},
        "bsds500": {10: (25.8262, 0.7584, 25.5771), 20: (28.1968, 0.8438, 27.8977)}}  # fmt: skip


@pytest.fixture(scope="module")
def docs(tmp_path_factory):
    """The docs folder after the script ran on rows of the JPEG and of one bundled model, better by 1.5 dB."""
    folder = tmp_path_factory.mktemp("docs")
    model = list_models()[0].id
    rows = []
    for data, scores in JPEG.items():
        for protocol in ("idcn",) if data == "live1" else ("idcn", "gray"):
            for quality in (10, 20, 30, 40):
                psnr, ssim, psnr_b = scores.get(quality, (30.0, 0.9, 29.5))
                for name, precision, gain in (
                    ("jpeg", None, 0.0),
                    (model, "int8", 1.5),
                    ("gone", "int8", 9.0),
                ):
                    rows.append(
                        {"protocol": protocol, "data": data, "quality": quality, "model": name,
                         "precision": precision, "psnr": psnr + gain, "ssim": ssim, "psnr_b": psnr_b + gain,
                         "seconds_per_mp": 0.5 if precision else 0.0, "images": 29}
                    )  # fmt: skip
    (folder / "results.json").write_text(json.dumps({"machine": "3 threads", "rows": rows}))
    subprocess.run([sys.executable, str(SCRIPT), "--docs", str(folder)], check=True)
    return folder, model


def line(page, start):
    """The one line of a table that starts so."""
    (found,) = {text for text in page.splitlines() if text.startswith(f"| {start} ")}
    return [cell.strip() for cell in found.split("|")[1:-1]]


def test_measured_stands_beside_published(docs):
    folder, model = docs
    page = (folder / "results.md").read_text("utf-8")
    assert line(page, "IDCN [1]")[3:] == ["27.63 / 30.04", "27.69 / 30.07"]
    assert line(page, f"**{model} (int8)** | {list_models()[0].parameters:,}")[3] == "27.19 / 29.56"
    assert "gone" not in page
    assert "$" not in page


def test_jpeg_rows_differ_from_the_published_in_the_misprint_alone(docs):
    page = (docs[0] / "results.md").read_text("utf-8")
    assert line(page, "B200 q20")[2] == "28.20 / **0.8438** / 27.90"
    assert line(page, "LIVE1 q10")[1] == line(page, "LIVE1 q10")[2]


def test_gain_is_the_mean_over_qualities(docs):
    folder, model = docs
    page = (folder / "results.md").read_text("utf-8")
    assert f"| **{model} (int8)** | 1.50 | 1.50 |" in page


def test_costs_come_out_as_published(docs):
    """The counted parameters and all three published percentages, by the way of counting that is named."""
    page = (docs[0] / "results.md").read_text("utf-8")
    for start in (
        "parameters",
        "kMAC/px, transposed convolution at output resolution",
        "values put out, per px",
    ):
        *_, change, published = line(page, start)
        assert re.search(r"[-+]\d+", change)[0] == re.findall(r"[-+]\d+", published)[-1]
    assert line(page, "parameters")[1:3] == ["117,734", "85,575"]
    assert line(page, "kMAC/px")[1:3] == ["117.6", "21.3"]


def test_commands_name_what_was_measured(docs):
    folder, model = docs
    page = (folder / "results.md").read_text("utf-8")
    commands = [text for text in page.splitlines() if text.startswith("napari-car evaluate")]
    assert len(commands) == 3
    assert all(f"--model {model} --data DIR/" in command for command in commands)


def test_scatter_is_drawn(docs):
    with Image.open(docs[0] / "images" / "quality-against-cost.png") as picture:
        assert picture.width > 800
