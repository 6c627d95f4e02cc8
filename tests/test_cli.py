"""The command: exit codes, one line for each failure, and whole files or none."""

from __future__ import annotations

import io
import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from napari_car import list_models, restore, restore_file_steps
from napari_car.cli import main
from napari_car.files import read_image

COMMAND = [sys.executable, "-m", "napari_car"]


def run(*arguments: str | Path) -> int:
    """Exit code of the command in this process."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as usage:
        return int(usage.code or 0)


@pytest.fixture
def file(tmp_path: Path, photo_file: bytes) -> Path:
    """The photo as a file in a folder of its own."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(photo_file)
    return path


def names(folder: Path) -> set[str]:
    """All that lies in a folder."""
    return {path.name for path in folder.iterdir()}


def one_line(text: str) -> str:
    """The single line of an error message."""
    assert text.count("\n") == 1, text
    assert text.startswith("napari-car: ")
    assert "Traceback" not in text
    return text


def test_a_photo_is_restored_beside_itself(file: Path, photo: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("restore", file) == 0
    output = file.with_name("photo.restored.png")
    assert capsys.readouterr() == (f"{output}\n", "")
    assert names(file.parent) == {file.name, output.name}
    # Pixels are those of the Python interface, which takes the quality from the file as well.
    np.testing.assert_array_equal(read_image(output).pixels, restore(photo, quality=20))


def test_options_reach_the_core(file: Path, photo: Any) -> None:
    output = file.with_name("out.tif")
    options = ["--quality", "35", "--strength", "0.5", "--model", "arcnn", "--provider", "cpu", "--threads", "1"]
    assert run("restore", file, "-o", output, *options) == 0
    expected = restore(photo, quality=35, strength=0.5, model="arcnn")
    np.testing.assert_array_equal(read_image(output).pixels, expected)


def test_strength_zero_keeps_the_pixels(file: Path, photo: Any) -> None:
    assert run("restore", file, "--strength", "0") == 0
    np.testing.assert_array_equal(read_image(file.with_name("photo.restored.png")).pixels, photo)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_sixteen(suffix: str, file: Path) -> None:
    output = file.with_name(f"deep{suffix}")
    assert run("restore", file, "-o", output, "--bit-depth", "16") == 0
    if suffix == ".png":
        assert output.read_bytes()[24] == 16  # bit depth in IHDR; PNG specification, 11.2.2
    pixels = read_image(output).pixels
    assert pixels.dtype == np.uint16
    assert (pixels % 257 != 0).mean() > 0.9


def test_metadata_goes_along(tmp_path: Path, reference: Any, to_jpeg: Callable[..., bytes]) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "A maker", 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = tmp_path / "photo.jpg"
    source.write_bytes(to_jpeg(reference, exif=exif.tobytes(), icc_profile=profile, dpi=(300, 300)))
    assert run("restore", source) == 0
    with Image.open(tmp_path / "photo.restored.png") as output:
        assert output.size == reference.shape[1::-1]  # stored as it was; the tag turns it once
        assert (output.getexif()[0x010F], output.getexif()[0x0112]) == ("A maker", 6)
        assert output.info["icc_profile"] == profile
        assert output.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_many_files_go_into_a_folder_and_one_failure_stops_none(
    tmp_path: Path, photo_file: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(photo_file)
    (tmp_path / "out").mkdir()
    assert run("restore", *(tmp_path / f"{n}.jpg" for n in "abc"), "-o", tmp_path / "out") == 1
    output, error = capsys.readouterr()
    assert "b.jpg" in one_line(error)
    assert len(output.splitlines()) == 2
    assert names(tmp_path / "out") == {"a.restored.png", "c.restored.png"}


def test_a_file_that_takes_all_memory_stops_none(
    tmp_path: Path, photo_file: bytes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def steps(source: Path, *arguments: Any, **options: Any) -> Any:
        if source.stem == "a":
            raise MemoryError
        return restore_file_steps(source, *arguments, **options)

    monkeypatch.setattr("napari_car.cli.restore.restore_file_steps", steps)
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(photo_file)
    assert run("restore", tmp_path / "a.jpg", tmp_path / "b.jpg", "-o", tmp_path) == 1
    assert one_line(capsys.readouterr().err) == f"napari-car: {tmp_path / 'a.jpg'}: does not fit into memory\n"
    assert names(tmp_path) == {"a.jpg", "b.jpg", "b.restored.png"}


def test_many_files_need_a_folder(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("restore", file, file, "-o", file.with_name("out.png")) == 1
    assert "2 inputs need a folder" in one_line(capsys.readouterr().err)


@pytest.mark.parametrize("ignored", [False, True])
def test_a_result_does_not_replace_that_of_an_input_before_it(
    ignored: bool,
    tmp_path: Path,
    photo_file: bytes,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = [tmp_path / name for name in ("1/a.jpg", "2/A.jpg", "3/a.jpg", "4/b.jpg")]
    for file in files:
        file.parent.mkdir()
        file.write_bytes(photo_file)
    (tmp_path / "clean").mkdir()
    monkeypatch.setattr("napari_car.cli.restore.ignores_case", lambda _: ignored)
    assert run("restore", *files, "-o", tmp_path / "clean", "--force", "--model", "car-s") == 1
    said = capsys.readouterr()
    expected = files[1:3] if ignored else files[2:3]
    assert [line.split(": ")[1] for line in said.err.splitlines()] == [str(file) for file in expected]
    assert "has the name of an input before it" in said.err


def test_an_existing_file_stays_unless_forced(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = file.with_name("photo.restored.png")
    output.write_bytes(b"mine")
    assert run("restore", file) == 1
    assert "photo.restored.png" in one_line(capsys.readouterr().err)
    assert output.read_bytes() == b"mine"
    assert run("restore", file, "--force") == 0
    assert read_image(output).pixels.shape == (96, 128, 3)
    assert names(file.parent) == {file.name, output.name}


@pytest.mark.parametrize("way", ["itself", "another path", "a link", "a hard link"])
def test_the_original_is_never_overwritten(way: str, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, target = file.read_bytes(), file
    if way == "another path":
        target = file.parent / ".." / file.parent.name / file.name
    elif way != "itself":
        target = file.with_name("link.jpg")
        (target.symlink_to if way == "a link" else target.hardlink_to)(file)
    assert run("restore", file, "-o", target, "--force") == 1
    assert "original" in one_line(capsys.readouterr().err)
    assert file.read_bytes() == before


@pytest.mark.parametrize(("options", "name"), [([], "photo.restored.png"), (["--format", "tif"], "photo.restored.tif")])
def test_no_input_is_overwritten_by_the_result_of_another(
    options: list[str], name: str, file: Path, photo_file: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    other = file.with_name(name)
    other.write_bytes(photo_file)
    assert run("restore", file, other, "--force", "--model", "car-s", *options) == 1
    assert f"{file}: has a result of the name of another input" in one_line(capsys.readouterr().err)
    assert other.read_bytes() == photo_file
    assert names(file.parent) == {file.name, name, name.replace(".restored", ".restored.restored")}


@pytest.mark.parametrize("arguments", [["photo.jpg", "-o", ""], ["", "-o", "out.png"], ["photo.jpg", ""]])
def test_an_empty_name_is_not_the_current_folder(
    arguments: list[str], file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    assert run("restore", *arguments) == 2
    assert "an empty name was given" in capsys.readouterr().err
    assert names(file.parent) == {file.name}


@pytest.mark.parametrize("target", ["none/out.png", "photo.jpg/out.png", "out", "out.xyz", "x" * 300 + ".png"])
def test_a_target_that_cannot_be_written_is_refused(
    target: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("restore", file, "-o", file.parent / target) == 1
    one_line(capsys.readouterr().err)
    assert names(file.parent) == {file.name}


@pytest.mark.skipif(sys.platform == "win32", reason="names of 255 letters are of POSIX")
def test_a_default_name_that_is_too_long_is_refused_before_the_work(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["napari_car.restore_file"], "restore_steps", None)  # not come to
    source = file.rename(file.with_name("é" * 123 + ".jpg"))  # 250 bytes, and 259 of its result
    assert run("restore", source) == 1
    assert "File name too long" in one_line(capsys.readouterr().err)
    assert names(source.parent) == {source.name}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_folder_without_permission_is_refused(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.parent.chmod(0o500)
    try:
        assert run("restore", file) == 1
        assert "permission" in one_line(capsys.readouterr().err)
    finally:
        file.parent.chmod(0o700)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--quality", "0"], "quality is 0"),
        (["--quality", "101"], "quality is 101"),
        (["--quality", "best"], "quality is 'best'"),
        (["--quality", "7.5"], r"quality is '7.5'"),
        (["--quality=--5"], "quality is '--5'"),
        (["--quality", "²"], "quality is '²'"),
        (["--strength", "2"], "strength"),
        (["--strength", "nan"], "strength"),
        (["--model", "none"], "'none'"),
        (["--provider", "none"], "'none'"),
        (["--threads", "0"], "threads is 0"),
        (["--bit-depth", "16", "-o", "out.jpg"], "out.jpg"),
    ],
    ids=str,
)
def test_wrong_values_end_in_one_line(
    options: list[str], said: str, file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    assert run("restore", file, *options) == 1
    assert said in one_line(capsys.readouterr().err)
    assert names(file.parent) == {file.name}


@pytest.mark.parametrize(
    "arguments",
    [["restore"], ["restore", "a.jpg", "--colour"], ["restore", "a.jpg", "--bit-depth", "12"],
     ["restore", "a.jpg", "--strength", "much"], ["restore", "a.jpg", "--threads", "x"],
     ["restoer"], ["info"], ["--colour"]],
)  # fmt: skip
def test_wrong_usage_is_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    output, error = capsys.readouterr()
    assert not output
    assert error
    assert "Traceback" not in error


def test_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models") == 0
    output = capsys.readouterr().out
    for card in list_models():
        line = next(line for line in output.splitlines() if line.startswith(f"{card.id} "))
        assert card.licence in line
        assert f"{card.kmac_per_px:g}" in line


def test_info_tells_what_the_header_says(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", file, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["width"], facts["height"], facts["quality"], facts["subsampling"]) == (128, 96, 20, "4:2:0")
    with Image.open(file) as picture:
        tables = picture.quantization
    assert [np.sort(t, axis=None).tolist() for t in facts["quant_tables"]] == [sorted(tables[i]) for i in (0, 1, 1)]
    assert run("info", file) == 0
    assert "128 x 96 px" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["restore", "info"])
def test_a_missing_file_and_a_folder_end_in_one_line(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for source in (tmp_path / "none.jpg", tmp_path, tmp_path / ("x" * 300)):
        assert run(command, source) == 1
        assert str(source) in one_line(capsys.readouterr().err)
    assert not names(tmp_path)


def test_a_png_named_jpg_is_a_picture(tmp_path: Path, photo: Any) -> None:
    Image.fromarray(photo).save(tmp_path / "photo.jpg", "PNG")
    assert run("restore", tmp_path / "photo.jpg", "--quality", "20") == 0
    output = read_image(tmp_path / "photo.restored.png")
    np.testing.assert_array_equal(output.pixels, restore(photo, quality=20))


def damaged(photo_file: bytes, photo: Any, to_jpeg: Callable[..., bytes]) -> dict[str, bytes]:
    """Two hundred files that are no longer what their name says, the same in every run."""
    rng = np.random.default_rng(2)
    png = io.BytesIO()
    Image.fromarray(photo).save(png, "PNG")
    progressive = to_jpeg(photo, quality=40, progressive=True)
    grey = to_jpeg(photo[..., 0])
    whole = {
        "baseline.jpg": photo_file,
        "progressive.jpg": progressive,
        "grey.jpg": grey,
        "deflated.png": png.getvalue(),
    }
    files = {}
    for number in range(45):
        for name, content in whole.items():
            changed = bytearray(content)
            match number % 3:
                case 0:
                    changed = changed[: int(rng.integers(1, len(content)))]
                case 1:
                    for at in rng.integers(2, len(content), int(rng.integers(1, 30))):
                        changed[at] ^= 1 << int(rng.integers(8))
                case 2:
                    at = int(rng.integers(len(content)))
                    changed[at : at + int(rng.integers(4, 400))] = bytes(int(rng.integers(0, 400)))
            files[f"{number:02d}-{name}"] = bytes(changed)
    files |= {f"noise-{n}.jpg": rng.bytes(n) for n in (1, 2, 3, 17, 1000, 30000)}
    files |= {
        "empty.jpg": b"",
        "text.jpg": b"A letter.\n" * 50,
        "page.jpg": b"%PDF-1.7\n%%EOF",
        "only-soi.jpg": b"\xff\xd8",
    }
    files |= {"soi-eoi.jpg": b"\xff\xd8\xff\xd9", "zeros.png": bytes(5000), "twice.jpg": photo_file[:40] + photo_file}
    files |= {f"size-{h}x{w}.jpg": resized(photo_file, h, w) for h, w in ((0, 0), (0, 128), (1, 1), (65535, 65535))}
    files |= {
        f"size-{h}x{w}.png": resized(png.getvalue(), h, w) for h, w in ((0, 5), (2**31 - 1, 2**31 - 1), (2**32 - 1, 1))
    }
    return files


def resized(content: bytes, height: int, width: int) -> bytes:
    """The same file with another size in its header."""
    if content.startswith(b"\x89PNG"):
        header = b"IHDR" + struct.pack(">II", width, height) + content[24:29]
        return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]
    at = content.index(b"\xff\xc0") + 5  # SOF0: marker, length, precision; ITU-T T.81 B.2.2
    return content[:at] + struct.pack(">HH", height, width) + content[at + 4 :]


def test_two_hundred_damaged_files_end_in_one_line_each(
    tmp_path: Path, photo_file: bytes, photo: Any, to_jpeg: Callable[..., bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    files = damaged(photo_file, photo, to_jpeg)
    assert len(files) >= 200
    folders = [tmp_path / "in", tmp_path / "out"]
    for folder in folders:
        folder.mkdir()
    for name, content in files.items():
        (folders[0] / name).write_bytes(content)
    assert run("restore", *sorted(folders[0].iterdir()), "-o", folders[1], "--threads", "1") == 1
    output, error = capsys.readouterr()
    written = {Path(line).name for line in output.splitlines()}
    refused = error.splitlines()
    assert names(folders[1]) == written  # no partial file
    assert len(written) + len(refused) == len(files)
    for name in files:
        lines = [line for line in refused if line.startswith(f"napari-car: {folders[0] / name}: ")]
        assert len(lines) == (f"{Path(name).stem}.restored.png" not in written), name
    for name in written:
        read_image(folders[1] / name)  # whole
    assert 10 < len(written) < len(files) / 2
    assert names(folders[0]) == set(files)
    assert all((folders[0] / name).read_bytes() == content for name, content in files.items())


BOMBS = """
import sys
from pathlib import Path
from napari_car.cli import main
codes = [main(["restore", path]) for path in sys.argv[1:]]
status = Path("/proc/self/status").read_text().splitlines()
print(codes, next(line for line in status if line.startswith("VmHWM:")).split()[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_a_decompression_bomb_is_refused_before_it_grows(tmp_path: Path, photo_file: bytes) -> None:
    png = io.BytesIO()
    Image.new("RGB", (64, 64)).save(png, "PNG")
    bombs = {"bomb.jpg": photo_file, "bomb.png": png.getvalue()}
    for name, content in bombs.items():
        (tmp_path / name).write_bytes(resized(content, 60000, 60000))
    arguments = [sys.executable, "-c", BOMBS, *(str(tmp_path / name) for name in bombs)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    codes, kilobytes = done.stdout.rsplit(maxsplit=1)
    assert codes == "[1, 1]"
    for name, line in zip(bombs, done.stderr.splitlines(), strict=True):
        assert f"{name}: claims 60000 x 60000 pixels" in line
    assert int(kilobytes) < 200_000  # the pixels would be 10,800,000


def test_a_real_process_gives_its_exit_code(file: Path) -> None:
    done = subprocess.run([*COMMAND, "restore", file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{file.with_name('photo.restored.png')}\n", "")
    done = subprocess.run([*COMMAND, "restore", file], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    one_line(done.stderr)


def closing(what: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command with standard output or error closed."""
    shell = ["sh", "-c", f'exec "$0" "$@" {what}', *COMMAND, *map(str, arguments)]
    return subprocess.run(shell, capture_output=True, text=True, check=False)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX closes what is to be closed")
def test_what_is_closed_is_not_written_to(file: Path, photo: Any) -> None:
    done = closing(">&-", "restore", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert read_image(file.with_name("photo.restored.png")).pixels.shape == (96, 128, 3)
    done = closing("2>&-", "restore", file)  # which there is already
    assert (done.returncode, done.stdout) == (1, "")
    deflated = file.with_name("photo.tif")  # libtiff, which is kept from writing to standard error
    Image.fromarray(photo).save(deflated, compression="tiff_lzw")
    done = closing("2>&-", "info", deflated)
    assert done.returncode == 0
    assert done.stdout.startswith("128 x 96 px")


def test_ctrl_c_that_an_extension_made_another_error_of_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(_: Any) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("initialization failed") from None

    monkeypatch.setattr("napari_car.cli.models.run", load)
    before = signal.getsignal(signal.SIGINT)
    assert run("models") == 130
    assert capsys.readouterr().err == "napari-car: stopped\n"
    assert signal.getsignal(signal.SIGINT) == before


def test_ctrl_c_while_the_command_is_loaded_is_one_line() -> None:
    code = """
import sys
class Stop:
    def find_spec(name, path=None, target=None):
        if name == "numpy":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Stop)
from napari_car_command import run"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "napari-car: stopped\n")


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes are of Linux")
def test_a_name_that_is_no_text_is_taken(tmp_path: Path, photo_file: bytes) -> None:
    source = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    Path(os.fsdecode(source)).write_bytes(photo_file)
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}  # as under most locales
    done = subprocess.run([*COMMAND, "restore", source], capture_output=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == os.fsencode(tmp_path) + b"/caf\xe9.restored.png\n"


@pytest.mark.skipif(sys.platform == "win32", reason="signals to processes are of POSIX")
def test_ctrl_c_leaves_nothing_behind(tmp_path: Path, reference: Any, to_jpeg: Callable[..., bytes]) -> None:
    source = tmp_path / "large.jpg"
    source.write_bytes(to_jpeg(np.tile(reference, (25, 20, 1))))
    arguments = [*COMMAND, "restore", "-v", "--model", "arcnn", "--threads", "1", str(source)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "arcnn runs" in process.stderr.readline()
        assert "saved at quality 20" in process.stderr.readline()
        time.sleep(0.7)
        process.send_signal(signal.SIGINT)
        output, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert not output
    assert one_line(error) == "napari-car: stopped\n"
    assert names(tmp_path) == {source.name}
