"""What the command says when it is asked, or asked for what there is not."""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys

import pytest

from napari_car.cli import COMMANDS, main


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    bare = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == bare
    for name, (_, about) in COMMANDS.items():
        assert f"  {name:<10}{about}\n" in bare


@pytest.mark.parametrize("name", ["restore", "demo", "models", "info", "train", "export"])
def test_help_of_a_command_ends_in_examples_that_parse(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(COMMANDS[name][0])
    with pytest.raises(SystemExit, match=r"^0$"):
        main([name, "--help"])
    assert capsys.readouterr().out.rstrip().endswith(module.EXAMPLES)
    for line in module.EXAMPLES.splitlines()[1:]:
        words = line.strip().split("  ")[0].split()  # what it does follows after two spaces
        assert words[:2] == ["napari-car", name]
        parser = argparse.ArgumentParser()
        module.add_arguments(parser)
        parser.parse_args(words[2:])


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from napari_car.cli import main
sys.exit(main(sys.argv[1:]))
"""


def without_torch(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_TORCH, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("train", ["--images-dir", "pictures", "--outputs-dir", "runs", "--jpeg-quality", "10"]),
        ("export", ["all.safetensors", "--to", "model", "--images-dir", "pictures"]),
    ],
)
def test_without_torch_there_is_help_and_one_sentence(name: str, arguments: list[str]) -> None:
    assert "--images-dir" in without_torch(name, "--help").stdout
    done = without_torch(name, *arguments)
    assert done.returncode == 1
    sentence = f"napari-car: napari-car {name} (torch is not installed) needs: pip install 'napari-car[train]'\n"
    assert done.stderr == sentence


def test_the_networks_that_help_names_are_those_there_are() -> None:
    pytest.importorskip("torch", reason="needs the extra train")
    from napari_car.train.command import NETWORKS
    from napari_car.train.networks import ARCHITECTURES

    assert list(NETWORKS) == sorted(ARCHITECTURES)


def test_unknown_commands_and_options_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mend"]) == 2
    assert "'mend'" in (message := capsys.readouterr().err)
    assert all(name in message for name in COMMANDS)
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["models", "--colour"])


def writing_to(output: int, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", "napari_car", *arguments]
    return subprocess.run(command, stdout=output, stderr=subprocess.PIPE, env=environment, check=False)


def test_a_reader_that_leaves_early_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)  # before the command starts, so that its first write fails
    done = writing_to(writing, "models")
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is always full")
@pytest.mark.parametrize("arguments", [["--help"], ["models"], ["models", "--help"]], ids=" ".join)
def test_an_output_that_is_full_is_one_sentence(arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = writing_to(full.fileno(), *arguments)
    assert (done.returncode, done.stderr) == (1, b"napari-car: standard output: No space left on device\n")
