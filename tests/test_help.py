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


@pytest.mark.parametrize("name", ["restore", "demo", "models", "info"])
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


def test_unknown_commands_and_options_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mend"]) == 2
    assert "'mend'" in (message := capsys.readouterr().err)
    assert all(name in message for name in COMMANDS)
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["models", "--colour"])


def test_a_reader_that_leaves_early_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)  # before the command starts, so that its first write fails
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", "napari_car", "models"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, env=environment, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")
