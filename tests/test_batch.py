"""Batches: what is found, what comes of it, and that nothing is lost, doubled or written where it should not be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_car import CarError, FileError, InputError, open_session, restore_file
from napari_car.batch import Task, plan_batch, restore_batch
from napari_car.batch.processes import run_on_processes
from napari_car.cards import DEFAULT_MODEL
from napari_car.cli import main
from napari_car.files import Picture, ignores_case, read_image, remove_stale_parts, write_image
from napari_car.files.atomic import atomic_file

COMMAND = [sys.executable, "-m", "napari_car", "batch"]
NAMES = ["1.jpg", "a/2.jpg", "a/3.jpg", "a/b/4.jpg", "a/b/5.tif", "é/6.jpeg"]
no_links = pytest.mark.skipif(sys.platform == "win32", reason="links need a permission there")


@pytest.fixture
def scans(tmp_path: Path, photo: Any, to_jpeg: Callable[..., bytes]) -> Path:
    """A tree of pictures, each another one, and of what is none."""
    folder = tmp_path / "scans"
    for i, name in enumerate(NAMES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".tif"):
            write_image(folder / name, Picture(np.stack([photo, photo[::-1]]), is_stack=True))
        else:
            (folder / name).write_bytes(to_jpeg(np.roll(photo, 8 * i, 0), quality=10 + i))
    for name in ("letter.txt", ".hidden.jpg", ".trash/1.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"no picture")
    return folder


def run(*arguments: str | Path) -> int:
    """Exit code of ``napari-car batch`` in this process."""
    return main(["batch", *(str(argument) for argument in arguments)])


def tree(folder: Path) -> dict[str, bytes]:
    """Names and contents of all files below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lines(report: Path) -> list[dict[str, Any]]:
    """The lines of a report."""
    return [json.loads(line) for line in report.read_text("utf-8").splitlines()]


def outputs(sources: list[str | Path], folder: Path, **options: Any) -> list[str]:
    """Outputs of a plan, below the folder."""
    return [task.output.relative_to(folder).as_posix() for task in plan_batch(sources, folder, **options).tasks]


def test_a_tree_is_mirrored(scans: Path, tmp_path: Path) -> None:
    expected = ["1.png", "a/2.png", "a/3.png", "a/b/4.png", "a/b/5.tif", "é/6.png"]
    assert outputs([scans], tmp_path / "out") == expected
    assert outputs([scans], scans / "out") == expected
    assert outputs([scans / "a", scans / "1.jpg"], tmp_path / "out") == [
        "2.png",
        "3.png",
        "b/4.png",
        "b/5.tif",
        "1.png",
    ]
    assert outputs([scans, scans / "a/2.jpg", scans], tmp_path / "out")[-1] == "2.png"
    assert outputs([scans / "1.jpg"], tmp_path / "out", format=".WEBP") == ["1.webp"]
    assert not (tmp_path / "out").exists()


def test_results_among_the_sources_are_no_sources(scans: Path) -> None:
    before = outputs([scans], scans / "out")
    (scans / "out").mkdir()
    (scans / "out" / "1.png").write_bytes(b"a result")
    assert outputs([scans], scans / "out") == before
    assert outputs([f"{scans}/**/*.*"], scans / "out") == sorted([*before, "letter.png"])


def test_patterns_keep_what_is_below_their_first_wildcard(scans: Path, tmp_path: Path) -> None:
    assert outputs([f"{scans}/**/*.jpg"], tmp_path / "out") == ["1.png", "a/2.png", "a/3.png", "a/b/4.png"]
    assert outputs([f"{scans}/a/[23].jpg"], tmp_path / "out") == ["2.png", "3.png"]
    assert outputs([f"{scans}/?/b/*"], tmp_path / "out") == ["a/b/4.png", "a/b/5.tif"]
    (scans / "[1].jpg").write_bytes(b"a name that looks like a pattern")
    assert outputs([scans / "[1].jpg"], tmp_path / "out") == ["[1].png"]


@no_links
def test_links_to_folders_are_not_followed(scans: Path, tmp_path: Path) -> None:
    before = outputs([scans], tmp_path / "out")
    (scans / "a" / "loop").symlink_to(scans)
    (scans / "linked.jpg").symlink_to(scans / "1.jpg")  # a file is read wherever it lies
    (tmp_path / "entry").symlink_to(scans)  # what is named is followed
    expected = [before[0], "linked.png", *before[1:]]
    assert outputs([scans], tmp_path / "out") == expected
    assert outputs([tmp_path / "entry"], tmp_path / "out") == expected
    assert "a/loop/1.png" not in outputs([f"{scans}/**/*.jpg"], tmp_path / "out")


def test_what_cannot_be_planned_is_said(scans: Path, tmp_path: Path) -> None:
    (scans / "1.png").write_bytes(b"")
    with pytest.raises(FileError, match=r"1\.png: would have the same output as .*1\.jpg"):
        plan_batch([scans], tmp_path / "out")
    (scans / "a" / "1.jpg").write_bytes(b"")
    with pytest.raises(FileError, match="same output"):
        plan_batch([scans / "1.jpg", scans / "a"], tmp_path / "out")
    with pytest.raises(FileError, match="none: does not exist"):
        plan_batch([scans / "none"], tmp_path / "out")
    for empty in (f"{scans}/*.none", scans / "empty"):
        (scans / "empty").mkdir(exist_ok=True)
        with pytest.raises(FileError, match="no image was found"):
            plan_batch([scans / "a", empty], tmp_path / "out")
    for source in (scans, scans / "a", scans / "a" / "2.jpg"):
        with pytest.raises(FileError, match="lies in the folder of the results"):
            plan_batch([source], scans)
    with pytest.raises(FileError, match="is a file"):
        plan_batch([scans], scans / "1.jpg")
    for sources, folder in (([""], "out"), ([scans], "")):
        with pytest.raises(InputError, match="empty name"):
            plan_batch(sources, folder)
    for format in ("a/b", "", "."):
        with pytest.raises(InputError, match=f"format is '{format}'"):
            plan_batch([scans / "a"], tmp_path / "out", format=format)


@pytest.mark.parametrize("told_apart", [True, False])
def test_names_that_a_folder_takes_for_the_same_are_said(
    told_apart: bool, tmp_path: Path, photo_file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    if told_apart and ignores_case(tmp_path):
        pytest.skip("this folder does not tell them apart")
    scans, clean = tmp_path / "scans", tmp_path / "clean"
    for name in ("one/A.jpg", "two/a.jpg", "two/b.jpg"):
        (scans / name).parent.mkdir(parents=True, exist_ok=True)
        (scans / name).write_bytes(photo_file)
    plan = plan_batch([scans / "one", scans / "two"], clean)
    monkeypatch.setattr("napari_car.batch.run.ignores_case", lambda _: not told_apart)
    outcomes = restore_batch(plan, jobs=1, model="car-s")
    if told_apart:
        assert [outcome.result for outcome in outcomes] == ["restored"] * 3
    else:
        with pytest.raises(
            FileError, match=r"a\.jpg: would have the same output as .*A\.jpg, for .*clean does not tell"
        ):
            next(outcomes)
        assert tree(clean) == {}


def test_whether_a_folder_tells_upper_from_lower_case_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Name").touch()
    assert ignores_case(tmp_path) == os.path.exists(tmp_path / "nAME")
    monkeypatch.setattr(
        os.path, "lexists", lambda path: Path(path).name.casefold() in map(str.casefold, os.listdir(tmp_path))
    )
    assert ignores_case(tmp_path)
    assert os.listdir(tmp_path) == ["Name"]
    with pytest.raises(FileError, match="could not be written"):
        ignores_case(tmp_path / "none")


@pytest.mark.skipif(sys.platform == "win32", reason="names of 255 letters are of POSIX")
def test_a_name_too_long_is_said(
    scans: Path, tmp_path: Path, photo_file: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FileError, match="cannot be looked at"):
        plan_batch([scans / ("x" * 300)], tmp_path / "out")
    (scans / ("x" * 251 + ".jpg")).write_bytes(photo_file)
    assert run(f"{scans}/x*", "-o", tmp_path / "out", "--format", "jpeg", "--jobs", "1") == 1
    assert "File name too long" in (error := capsys.readouterr().err)
    assert "a fault of ours" not in error


def test_a_source_in_a_folder_that_is_locked_is_said(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.stat, os.lstat

    def locked(look: Callable[..., Any]) -> Callable[..., Any]:
        def refuse(path: Any, *args: Any, **options: Any) -> Any:
            if not isinstance(path, int) and str(scans) in os.fsdecode(path) and os.fsdecode(path) != str(scans):
                raise PermissionError(13, "Permission denied", path)
            return look(path, *args, **options)

        return refuse

    for source in (scans / "a", scans / "1.jpg", f"{scans}/*.jpg"):
        with monkeypatch.context() as patch:  # root, who may run this, may look at all
            for name, look in zip(("stat", "lstat"), real, strict=True):
                patch.setattr(os, name, locked(look))
            with pytest.raises(FileError, match="cannot be looked at"):
                plan_batch([source], tmp_path / "out")


def test_a_batch_restores_what_it_can_and_tells_of_all(
    scans: Path, tmp_path: Path, reference: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (scans / "a" / "broken.jpg").write_bytes(b"nonsense")
    write_image(scans / "z.png", Picture(reference))  # was never compressed
    report, out = tmp_path / "report.jsonl", tmp_path / "out"
    options = ("-o", out, "--jobs", "2", "--report", report, "--strength", "0.5")
    assert run(scans, *options) == 1
    stdout, stderr = capsys.readouterr()
    assert stdout.startswith("8 of 8 files: 6 restored, 1 left alone, 0 skipped, 1 failed; ")
    assert stderr.count("\n") == 1
    assert f"{scans / 'a' / 'broken.jpg'}: is not an image" in stderr
    assert set(tree(out)) == {"1.png", "a/2.png", "a/3.png", "a/b/4.png", "a/b/5.tif", "é/6.png", "z.png"}
    told = {Path(line["file"]).relative_to(scans).as_posix(): line for line in lines(report)}
    assert set(told) == {*NAMES, "a/broken.jpg", "z.png"}
    first, broken, clean = told["1.jpg"], told["a/broken.jpg"], told["z.png"]
    assert (first["result"], first["quality"], first["quality_source"]) == ("restored", 10, "file")
    assert (first["model"], first["strength"], first["output"]) == (DEFAULT_MODEL, 0.5, str(out / "1.png"))
    assert (broken["result"], broken["quality"]) == ("failed", None)
    assert "is not an image" in broken["error"]
    assert (clean["result"], clean["quality"], clean["error"]) == ("left alone", None, None)
    assert "left alone" in clean["warnings"][0]
    alone = restore_file(scans / "1.jpg", tmp_path / "alone.png", strength=0.5)
    assert alone.read_bytes() == (out / "1.png").read_bytes()
    assert read_image(out / "a/b/5.tif").is_stack

    before = tree(out)
    (out / "1.png").unlink()
    assert run(scans, *options) == 1
    assert capsys.readouterr().out.startswith("8 of 8 files: 1 restored, 0 left alone, 6 skipped, 1 failed; ")
    assert tree(out) == before
    assert Counter(line["result"] for line in lines(report)) == {
        "restored": 7, "left alone": 1, "skipped": 6, "failed": 2,
    }  # fmt: skip


def test_fail_fast_stops_at_the_first(scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (scans / "0.jpg").write_bytes(b"nonsense")
    assert run(scans, "-o", tmp_path / "out", "--jobs", "1", "--fail-fast", "--report", "-") == 1
    stdout, stderr = capsys.readouterr()
    assert json.loads(stdout)["result"] == "failed"
    assert "1 of 7 files: 0 restored" in stderr
    assert not tree(tmp_path / "out")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is always full")
def test_a_report_that_is_full_is_one_sentence(scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(scans / "1.jpg", "-o", tmp_path / "out", "--jobs", "1", "--report", "/dev/full") == 1
    sentence = "napari-car: /dev/full: the report cannot be written (No space left on device)\n"
    assert capsys.readouterr() == ("", sentence)


def test_a_file_that_is_no_report_is_not_added_to(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, before = scans / "1.jpg", tree(scans)
    assert run(scans / "1.jpg", "-o", tmp_path / "out", "--jobs", "1", "--report", report) == 1
    sentence = f"napari-car: {report}: is no report of a batch, and is left alone; give another name\n"
    assert capsys.readouterr() == ("", sentence)
    assert tree(scans) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--strength", "2"], "strength"), (["--quality", "best"], "'best'"), (["--model", "none"], "'none'"),
     (["--provider", "none"], "'none'"), (["--threads", "0"], "threads is 0"), (["--jobs", "0"], "jobs is 0"),
     (["--format", "xyz"], "'.xyz'"), (["--format", "jpg", "--bit-depth", "16"], "uint16"),
     (["--output-quality", "80"], "quality 80"), (["--report", "none/report"], "none/report"),
     (["--scheduler", "none"], "'none'")],
    ids=str,
)  # fmt: skip
def test_what_every_file_would_fail_of_is_said_once(
    options: list[str], said: str, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(scans, "-o", tmp_path / "out", *options) == 1
    output, error = capsys.readouterr()
    assert not output
    assert error.count("\n") == 1
    assert said in error
    assert not (tmp_path / "out").exists() or not tree(tmp_path / "out")


def test_a_session_belongs_to_one_process(scans: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="session"):
        next(restore_batch(plan_batch([scans], tmp_path / "out"), session=open_session()))


@no_links
def test_nothing_is_written_outside_of_the_folder(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    out.mkdir()
    (elsewhere / "mine.png").write_bytes(b"mine")
    (out / "a").symlink_to(elsewhere)  # a folder of the results
    (out / "1.png").symlink_to(elsewhere / "mine.png")  # a result
    assert run(scans, "-o", out, "--force", "--jobs", "1") == 1
    assert tree(elsewhere) == {"mine.png": b"mine"}
    assert capsys.readouterr().err.count(f"a link leads out of {out}") == 4
    assert not (out / "1.png").is_symlink()
    assert read_image(out / "1.png").pixels.shape == (96, 128, 3)


def test_an_empty_file_is_no_output(tmp_path: Path) -> None:
    task = Task(tmp_path / "a.jpg", tmp_path / "a.png")
    assert not task.is_done
    task.output.touch()
    assert not task.is_done
    task.output.write_bytes(b"x")
    assert task.is_done


@pytest.mark.parametrize("options", [[], ["--force"]], ids=["resumed", "forced"])
def test_a_folder_is_no_output(
    options: list[str], scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out" / "1.png"
    folder.mkdir(parents=True)
    assert not Task(scans / "1.jpg", folder).is_done
    assert run(scans / "1.jpg", "-o", tmp_path / "out", "--jobs", "1", *options) == 1
    assert f"{folder}: is a folder" in capsys.readouterr().err
    assert not tree(tmp_path / "out")


def test_stale_parts_are_removed_and_those_at_work_are_not(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "result", overwrite=False) as stream:
        (part,) = tmp_path.iterdir()
        stale = part.with_name(part.name.replace(part.name[12:28], "0" * 16))
        stale.write_bytes(b"half")
        (tmp_path / ".mine.part").write_bytes(b"mine")
        assert remove_stale_parts(tmp_path) == 1
        assert not stale.exists()
        stream.write(b"whole")
    assert tree(tmp_path) == {"result": b"whole", ".mine.part": b"mine"}
    assert remove_stale_parts(tmp_path / "none") == 0


def test_a_folder_that_may_not_be_listed_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)  # root, who may run this, may list all
    assert remove_stale_parts(tmp_path) == 0


def test_what_a_kill_has_left_is_removed(scans: Path, tmp_path: Path) -> None:
    plan = plan_batch([scans / "1.jpg", scans / "a" / "2.jpg"], tmp_path / "out")
    part = tmp_path / "out" / f".napari-car-{'0' * 16}.part"
    part.parent.mkdir()
    part.write_bytes(b"of a run before")
    for _ in restore_batch(plan, jobs=1):
        assert not part.exists()
    (tmp_path / "out" / "1.png").unlink()
    for _ in restore_batch(plan, jobs=1):
        part.write_bytes(b"of a process that died")
    assert set(tree(tmp_path / "out")) == {"1.png", "2.png"}


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_process_that_dies_takes_one_file_along(jobs: int) -> None:
    items = ["1 + 1", "__import__('os')._exit(3)", "2 + 2", "3 + 3"]
    found = dict(run_on_processes(eval, items, jobs))
    assert found == {items[0]: 2, items[1]: None, items[2]: 4, items[3]: 6}


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no signals to block")
def test_processes_start_with_interrupts_blocked() -> None:
    lines = [
        "from napari_car.batch.processes import run_on_processes",
        "item = '2 in __import__(\"signal\").pthread_sigmask(0, [])'",
        "print(dict(run_on_processes(eval, [item], 1)))",
    ]
    fresh = [sys.executable, "-c", "\n".join(lines)]  # its first process is the one that was not
    assert ": True}" in subprocess.run(fresh, check=True, capture_output=True, text=True).stdout


class Deadly:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (1,)


def test_processes_that_cannot_start_end_the_batch() -> None:
    with pytest.raises(CarError, match="before it began"):
        list(run_on_processes(Deadly(), [1, 2], jobs=1))  # type: ignore[arg-type]


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for(condition: Callable[[], Any]) -> None:
    """Wait until something is so; a minute is for ever."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_killed_batch_is_resumed(scans: Path, tmp_path: Path) -> None:
    out, report = tmp_path / "out", tmp_path / "report.jsonl"
    arguments = [*COMMAND, scans, "-o", out, "--jobs", "2", "--report", report, "--model", "arcnn"]
    before = Counter[str]()
    for n_lines in (1, 3):
        with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            wait_for(lambda n=n_lines: report.exists() and report.read_bytes().count(b'"restored"') >= n)
            workers = children(process.pid)
            process.kill()
            assert process.communicate()[1] == b""
        wait_for(lambda pids=workers: not any(map(is_running, pids)))
        for path in out.rglob("*.*"):
            assert path.name.endswith(".part") or read_image(path).pixels.size  # whole
    assert subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.count(" 0 failed")
    plan = plan_batch([scans], tmp_path / "alone")
    for outcome in restore_batch(plan, jobs=1, model="arcnn"):
        assert outcome.result == "restored"
    assert tree(out) == tree(tmp_path / "alone")
    before.update(line["file"] for line in lines(report) if line["result"] == "restored")
    assert max(before.values()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("n_started", [1, 2, None], ids=["as the first starts", "as the second starts", "at work"])
def test_ctrl_c_stops_all_and_leaves_whole_files(n_started: int | None, scans: Path, tmp_path: Path) -> None:
    out, report = tmp_path / "out", tmp_path / "report.jsonl"
    arguments = [*COMMAND, scans, "-o", out, "--jobs", "2", "--report", report, "--model", "arcnn"]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        if n_started is None:
            wait_for(lambda: report.exists() and report.stat().st_size)
        else:  # beside the one that multiprocessing has for itself
            wait_for(lambda: len(children(process.pid)) > n_started)
        workers = children(process.pid)
        os.killpg(process.pid, signal.SIGINT)  # to all of them, as a terminal does
        output, error = process.communicate(timeout=60)
    assert (process.returncode, output, error) == (130, "", "napari-car: stopped\n")
    wait_for(lambda: not any(map(is_running, workers)))
    assert len(tree(out)) < len(NAMES)
    assert tree(out) or n_started is not None
    for name in tree(out):
        read_image(out / name)
