"""One image from standard input to standard output."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_car import restore_file
from napari_car.cli import main
from napari_car.files import read_image

COMMAND = [sys.executable, "-m", "napari_car", "restore"]


def pipe(content: bytes, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Run the command with that on standard input."""
    return subprocess.run([*COMMAND, *arguments], input=content, capture_output=True, check=False)


def test_bytes_in_bytes_out(tmp_path: Path, photo_file: bytes) -> None:
    (tmp_path / "photo.jpg").write_bytes(photo_file)
    expected = restore_file(tmp_path / "photo.jpg").read_bytes()
    for arguments in (["-"], ["-", "-o", "-"]):
        done = pipe(photo_file, *arguments)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout == expected


@pytest.mark.parametrize(("format", "magic"), [("tif", b"II*\x00"), (".PNG", b"\x89PNG"), ("webp", b"RIFF")])
def test_the_format_is_chosen(format: str, magic: bytes, tmp_path: Path, photo_file: bytes) -> None:
    (tmp_path / "photo.jpg").write_bytes(photo_file)
    done = pipe(b"", tmp_path / "photo.jpg", "-o", "-", "--format", format)
    assert done.stdout.startswith(magic)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_standard_input_goes_into_a_file_or_a_folder(tmp_path: Path, photo_file: bytes) -> None:
    for target, name in ((tmp_path / "named.png", "named.png"), (tmp_path, "stdin.restored.png")):
        done = pipe(photo_file, "-", "-o", target)
        assert done.stdout.decode().strip() == str(tmp_path / name)
        assert read_image(tmp_path / name).pixels.shape == (96, 128, 3)


def test_failures_leave_standard_output_empty(tmp_path: Path, photo_file: bytes) -> None:
    named = ["-", "-o", tmp_path / "a.png", "--format", "tif"]
    cases = ((b"", ["-"], "stdin: is empty"), (photo_file[:400], ["-"], "stdin: "), (b"", ["-", "-"], "one image"),
             (photo_file, ["-", "--format", "xyz"], "'.xyz'"), (photo_file, named, "tells the format"))  # fmt: skip
    for content, arguments, said in cases:
        done = pipe(content, *arguments)
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
        assert said in done.stderr.decode()
        assert b"/napari-car-" not in done.stderr


def test_a_file_may_have_the_name_of_a_pipe(tmp_path: Path, photo_file: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-").write_bytes(photo_file)
    assert main(["restore", "./-", "-o", "out.png"]) == 0
    assert read_image(tmp_path / "out.png").pixels.shape == (96, 128, 3)
    assert main(["restore", "out.png", "-o", "./-", "--force"]) == 1  # a name without extension
    assert (tmp_path / "-").read_bytes() == photo_file


def test_a_full_folder_for_temporary_files_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", fail)
    assert main(["restore", "-", "-o", str(tmp_path / "out.png")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("napari-car: stdin: cannot be kept in ")
    assert error.endswith(" (No space left on device)\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is always full")
def test_a_full_standard_output_is_one_sentence(tmp_path: Path, reference: Any, to_jpeg: Callable[..., bytes]) -> None:
    (tmp_path / "photo.jpg").write_bytes(to_jpeg(np.tile(reference, (2, 2, 1))))  # more than a buffer holds
    with open("/dev/full", "wb") as full:
        command = [*COMMAND, tmp_path / "photo.jpg", "-o", "-", "--model", "car-s"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (1, b"napari-car: standard output: No space left on device\n")


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX closes what is to be closed")
def test_a_closed_pipe_is_one_sentence(tmp_path: Path, photo_file: bytes) -> None:
    (tmp_path / "photo.jpg").write_bytes(photo_file)
    for arguments, said in (("photo.jpg -o - >&-", b"standard output is"), ("- -o a.png <&-", b"standard input is")):
        shell = ["sh", "-c", f'exec "$0" "$@" {arguments}', *COMMAND]
        done = subprocess.run(shell, capture_output=True, check=False, cwd=tmp_path)
        assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
        assert done.stderr.startswith(b"napari-car: " + said + b" closed")
        assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals to processes are of POSIX")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("is_ignored", [False, True], ids=["as it is", "under nohup"])
def test_a_picture_that_was_taken_in_is_not_left_when_stopped(
    name: str, is_ignored: bool, tmp_path: Path, photo_file: bytes
) -> None:
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_IGN if is_ignored else signal.SIG_DFL)  # which is inherited
    try:
        process = subprocess.Popen(
            [*COMMAND, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | {"TMPDIR": str(tmp_path)},
        )  # fmt: skip
    finally:
        signal.signal(number, before)
    with process:
        while not list(tmp_path.glob("*/stdin")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        output, error = process.communicate(photo_file if is_ignored else None, timeout=60)
    expected = (0, True, b"") if is_ignored else (128 + number, False, b"napari-car: stopped\n")
    assert (process.returncode, bool(output), error) == expected
    assert not list(tmp_path.iterdir())
