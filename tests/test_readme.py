"""What the README shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_car import list_models
from napari_car.cli.demo import SAMPLE

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    with Image.open(SAMPLE) as sample:
        sample.convert("RGB").crop((0, 0, 64, 48)).save(tmp_path / "photo.jpg", quality=20)
    monkeypatch.chdir(tmp_path)
    names: dict[str, np.ndarray] = {}
    exec(example, names)
    assert (tmp_path / "photo.restored.png").is_file()
    assert names["restored"].shape == names["gentle"].shape == names["image"].shape
    assert (names["restored"].dtype, names["gentle"].dtype) == (np.uint8, np.float32)


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/*.md")), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    targets = re.findall(r"\]\(([^)#]+)", text) + re.findall(r"\./scripts/[\w-]+", text)
    for target in targets:
        if "://" not in target:
            base = ROOT if target.startswith("./scripts/") else page.parent
            assert (base / target).exists(), f"{page.name} names {target}"


def test_the_table_names_the_models_there_are() -> None:
    table = README.split("<!-- models -->")[1].split("<!-- end of models -->")[0]
    named = re.findall(r"^\| \**([\w-]+?)\** \| [\d.]+ \|", table, re.MULTILINE)
    assert named == [card.id for card in list_models()], "run ./scripts/docs"
