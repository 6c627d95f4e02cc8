"""One image from standard input to standard output."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from napari_car import restore_file
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
