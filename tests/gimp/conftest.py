"""A real GIMP to run the filter in: `./scripts/test-gimp` puts these tests where one is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_car.cli.demo import SAMPLE

HAS_GIMP = bool(shutil.which("gimp-console")) and sys.prefix == "/napari-car/env"
collect_ignore_glob = [] if HAS_GIMP else ["*.py"]
INSIDE = Path(__file__).with_name("inside.py")
Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GIMP profile with the filter in it, put there by the command."""
    folder = tmp_path_factory.mktemp("profile")
    subprocess.run(["napari-car", "gimp", "install"], env=os.environ | {"GIMP3_DIRECTORY": str(folder)}, check=True)
    return folder


@pytest.fixture(scope="session")
def gimp(profile: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs lines of Python in GIMP and gives what they ``keep``; files are opened first."""

    def run(lines: str, *files: Path, has_fonts: bool = False) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("run")
        script = folder / "script.py"
        script.write_text(f"{INSIDE.read_text()}\n{lines}\nfinish()\n")
        command = [
            "gimp-console", "-id" if has_fonts else "-idf", *map(str, files), "--batch-interpreter=python-fu-eval",
            "-b", f"exec(open({str(script)!r}).read(), {{}})", "--quit",
        ]  # fmt: skip
        # As GIMP is started from a desktop: nothing of the environment in which the tests run.
        environment = {"PATH": "/usr/bin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
        environment |= {"GIMP3_DIRECTORY": str(profile), "NAPARI_CAR_TEST": str(folder)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        kept: dict[str, Any] = json.loads((folder / "kept.json").read_text())
        for name, value in kept.items():
            if isinstance(value, dict) and "dtype" in value:
                kept[name] = np.fromfile(folder / f"{name}.raw", value["dtype"]).reshape(value["shape"])
        return kept | {"stderr": done.stderr}

    return run


@pytest.fixture(scope="session")
def reference() -> Image.Image:
    """A photo before its compression, 256x192 px."""
    with Image.open(SAMPLE) as sample:
        return sample.convert("RGB").resize((512, 512)).crop((128, 32, 384, 224))


@pytest.fixture(scope="session")
def photo(reference: Image.Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photo as a JPEG file of quality 20."""
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    reference.save(path, quality=20)
    return path


@pytest.fixture(scope="session")
def grey(reference: Image.Image, photo: Path) -> Path:
    """The photo in grey, likewise."""
    path = photo.with_name("grey.jpg")
    reference.convert("L").save(path, quality=20)
    return path
