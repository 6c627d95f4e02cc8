"""What importing and asking for help may cost, and what is public."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import napari_car
from napari_car.cli import COMMANDS

HEAVY = {"onnxruntime", "napari", "qtpy", "torch", "dask", "matplotlib", "skimage", "scipy", "onnx"}


def loaded(code: str) -> set[str]:
    """Top-level modules that are loaded after ``code`` ran in a process of its own."""
    script = f"import sys\n{code}\nimport json\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    return set(json.loads(output.splitlines()[-1]))


def test_importing_loads_nothing_heavy() -> None:
    assert not HEAVY & loaded("import napari_car")


def test_listing_models_loads_nothing_heavy() -> None:
    assert not HEAVY & loaded("import napari_car; napari_car.list_models()")


def test_help_loads_nothing_heavy() -> None:
    assert not HEAVY & loaded("from napari_car.cli import main; assert main([]) == 0")


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in ("train", "export")])
def test_help_of_a_command_loads_nothing_heavy(command: str) -> None:
    code = f"""
from napari_car.cli import main
try:
    main([{command!r}, "--help"])
except SystemExit as exit:
    assert exit.code == 0
"""
    assert not HEAVY & loaded(code)


@pytest.mark.parametrize("asked", [None, "20"])
def test_threads_that_have_nothing_to_do_sleep_unless_told_otherwise(asked: str | None) -> None:
    """It must be said before numpy is imported, with which the package begins."""
    environment = {key: value for key, value in os.environ.items() if key != "OPENBLAS_THREAD_TIMEOUT"}
    environment |= {"OPENBLAS_THREAD_TIMEOUT": asked} if asked else {}
    (program,) = entry_points(group="console_scripts", name="napari-car")
    code = f"""
import os, sys
class Watch:
    def find_spec(name, path=None, target=None):
        if name == "numpy":
            print(os.environ.get("OPENBLAS_THREAD_TIMEOUT"))
sys.meta_path.insert(0, Watch)
from {program.module} import {program.attr}"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert process.stdout.split() == [asked or "4"]


@pytest.mark.skipif(sys.platform != "linux", reason="looks where onnxruntime keeps its count on Linux")
def test_running_a_model_leaves_no_count_of_its_use(tmp_path: Path) -> None:
    code = "import numpy as np, napari_car; napari_car.restore(np.zeros((16, 16), np.uint8), quality=20)"
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / ".cache")}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert not [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name.lower()]


def test_public_names_are_sorted_documented_and_there() -> None:
    names = napari_car.__all__
    assert names == sorted(names)
    assert len(set(names)) == len(names)
    for name in names:
        public = getattr(napari_car, name)
        assert inspect.getdoc(public), name
        if inspect.isclass(public) and not issubclass(public, Exception):
            for member, value in vars(public).items():
                if not member.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                    assert inspect.getdoc(value), f"{name}.{member}"


def test_everything_defined_for_users_is_exported() -> None:
    found = {
        name
        for name, value in vars(napari_car).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("napari_car")
    }
    assert found == set(napari_car.__all__)


@pytest.mark.parametrize("name", [n for n in napari_car.__all__ if inspect.isfunction(getattr(napari_car, n))])
def test_public_functions_are_typed_and_say_what_they_take(name: str) -> None:
    function = getattr(napari_car, name)
    signature = inspect.signature(function)
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values())
    text = inspect.getdoc(function) or ""
    refers = "Parameters and errors are those of" in text
    assert refers or not signature.parameters or all(p in text for p in signature.parameters), name
