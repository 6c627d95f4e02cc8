"""The filter's way into GIMP on every system, and the doctor who finds what keeps it from working."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest

from napari_car import list_models
from napari_car.cli import main
from napari_car.errors import FileError
from napari_car.gimp import doctor, install
from napari_car.gimp.doctor import Symptom, examine
from napari_car.gimp.folders import profile_roots, profiles

HOME = "/home/ada"


@pytest.mark.parametrize(
    ("platform", "environment", "home", "first"),
    [
        ("linux", {}, HOME, PurePosixPath("/home/ada/.config/GIMP")),
        ("linux", {"XDG_CONFIG_HOME": "/etc/ada"}, HOME, PurePosixPath("/etc/ada/GIMP")),
        ("linux", {"XDG_CONFIG_HOME": ""}, HOME, PurePosixPath("/home/ada/.config/GIMP")),
        ("freebsd14", {}, HOME, PurePosixPath("/home/ada/.config/GIMP")),
        ("darwin", {}, "/Users/ada", PurePosixPath("/Users/ada/Library/Application Support/GIMP")),
        ("win32", {"APPDATA": r"D:\Ada\Roaming"}, r"C:\Ada", PureWindowsPath(r"D:\Ada\Roaming\GIMP")),
        ("win32", {}, r"C:\Users\Ada", PureWindowsPath(r"C:\Users\Ada\AppData\Roaming\GIMP")),
    ],
)
def test_where_profiles_lie(platform: str, environment: dict[str, str], home: str, first: object) -> None:
    assert profile_roots(platform, environment, home)[0] == first


def test_an_old_flatpak_keeps_its_own() -> None:
    assert PurePosixPath("/home/ada/.var/app/org.gimp.GIMP/config/GIMP") in profile_roots("linux", {}, HOME)


def test_every_version_3_is_found_and_no_other(tmp_path: Path) -> None:
    for name in ("2.10", "3.0", "3.2", "3.10", "3.0-backup", "3"):
        (tmp_path / ".config/GIMP" / name).mkdir(parents=True)
    (tmp_path / ".config/GIMP/3.4").touch()
    (tmp_path / ".var/app/org.gimp.GIMP/config/GIMP/3.0").mkdir(parents=True)
    found = profiles("linux", {}, str(tmp_path))
    assert [str(folder.relative_to(tmp_path)) for folder in found] == [
        ".config/GIMP/3.0", ".config/GIMP/3.10", ".config/GIMP/3.2", ".var/app/org.gimp.GIMP/config/GIMP/3.0",
    ]  # fmt: skip
    assert profiles("linux", {"GIMP3_DIRECTORY": "/elsewhere"}, str(tmp_path)) == [Path("/elsewhere")]


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one GIMP profile of this user."""
    folder = tmp_path / "GIMP/3.0"
    folder.mkdir(parents=True)
    monkeypatch.setenv("GIMP3_DIRECTORY", str(folder))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    return folder


Said = Callable[[], str]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """What the command printed since the last time."""
    return lambda: capsys.readouterr().out


def test_install_twice_and_uninstall_twice(profile: Path, said: Said) -> None:
    folder = profile / "plug-ins/napari-car"
    file = folder / "napari-car.py"
    assert main(["gimp", "install", "--dry-run"]) == 0
    assert "would be installed" in said()
    assert not folder.exists()
    assert main(["gimp", "install"]) == 0
    assert f"{folder}: installed" in said()
    assert file.read_bytes() == install.plugin_file().read_bytes()
    assert sys.platform == "win32" or file.stat().st_mode & 0o111 == 0o111
    config = json.loads((folder / "config.json").read_text())
    assert config["interpreter"] == sys.executable
    assert [name for name, _ in config["models"]] == [card.id for card in list_models()]
    written = file.stat().st_mtime_ns
    assert main(["gimp", "install"]) == 0
    assert "up to date" in said()
    assert file.stat().st_mtime_ns == written
    assert main(["gimp", "uninstall", "--dry-run"]) == 0
    assert "would be removed" in said()
    assert folder.exists()
    assert main(["gimp", "uninstall"]) == 0
    assert ": removed" in said()
    assert list((profile / "plug-ins").iterdir()) == []
    assert main(["gimp", "uninstall"]) == 0
    assert "was not there" in said()


def test_a_changed_config_makes_both_files_younger(profile: Path) -> None:
    """GIMP asks a filter for its arguments again only when its file has changed, and the models are arguments."""
    main(["gimp", "install"])
    folder = profile / "plug-ins/napari-car"
    before = (folder / "napari-car.py").stat().st_mtime_ns
    (folder / "config.json").write_text("{}")
    assert install.install(profile)
    assert (folder / "napari-car.py").stat().st_mtime_ns > before


def test_others_plug_ins_stay(profile: Path) -> None:
    other = profile / "plug-ins/other/other.py"
    other.parent.mkdir(parents=True)
    other.write_text("mine")
    main(["gimp", "install"])
    main(["gimp", "uninstall"])
    assert other.read_text() == "mine"


def test_without_gimp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("GIMP3_DIRECTORY", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["gimp", "install"]) == 1
    assert "no profile of GIMP 3 was found" in capsys.readouterr().err
    assert main(["gimp", "doctor"]) == 1
    assert "start GIMP 3 once" in capsys.readouterr().out


def test_a_profile_that_cannot_be_written(profile: Path) -> None:
    (profile / "plug-ins").touch()
    with pytest.raises(FileError, match="cannot be written"):
        install.install(profile)


def faults(profile: Path) -> list[str]:
    """What the doctor finds wrong."""
    found: list[Symptom] = list(examine("linux", {"GIMP3_DIRECTORY": str(profile)}, str(profile.parents[1])))
    return [symptom.sentence for symptom in found if symptom.is_fault]


def test_the_doctor_finds_nothing_wrong_and_tries_the_worker(profile: Path, said: Said) -> None:
    main(["gimp", "install"])
    said()
    assert main(["gimp", "doctor"]) == 0
    assert "restored a picture" in said()


def test_the_doctor_names_each_fault_and_its_cure(profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = profile / "plug-ins/napari-car"
    file, config = folder / "napari-car.py", folder / "config.json"
    (sentence,) = faults(profile)
    assert "not installed; run 'napari-car gimp install'" in sentence
    main(["gimp", "install"])
    whole = json.loads(config.read_text())
    monkeypatch.setattr(doctor, "round_trip", lambda interpreter: doctor.__version__)

    config.write_text("{")
    assert "missing or damaged" in faults(profile)[0]
    config.write_text(json.dumps(whole | {"interpreter": "/gone/bin/python"}))
    assert "the environment was moved or removed" in faults(profile)[0]
    config.write_text(json.dumps(whole | {"version": "0.0.1"}))
    assert "installed by 0.0.1" in faults(profile)[0]
    config.write_text(json.dumps(whole))
    file.write_text("# older")
    assert "is not the filter of this napari-car" in faults(profile)[0]
    main(["gimp", "install"])
    monkeypatch.setattr(doctor, "round_trip", lambda interpreter: "9.9")
    assert "its worker is napari-car 9.9" in faults(profile)[0]
    monkeypatch.undo()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lets few make symbolic links")
@pytest.mark.parametrize("is_there", [True, False])
def test_of_a_folder_elsewhere_the_link_is_removed(
    is_there: bool, profile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere, folder = tmp_path / "checkout", profile / "plug-ins/napari-car"
    folder.parent.mkdir(parents=True)
    folder.symlink_to(elsewhere)
    if is_there:
        elsewhere.mkdir()
        (elsewhere / "napari-car.py").write_text("# of a developer")
    assert main(["gimp", "uninstall"]) == 0
    assert capsys.readouterr().out == f"{folder}: removed\n"
    assert not folder.is_symlink()
    assert (elsewhere / "napari-car.py").exists() == is_there


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no run bit")
def test_the_doctor_sees_the_run_bit(profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "round_trip", lambda interpreter: doctor.__version__)
    main(["gimp", "install"])
    (profile / "plug-ins/napari-car/napari-car.py").chmod(0o644)
    (sentence,) = faults(profile)
    assert "may not be executed" in sentence
    main(["gimp", "install"])
    assert faults(profile) == []


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo no module named napari_car >&2; exit 1", "no module named napari_car"),
        ("echo a text that is longer than any head", "no frame"),
        ("exit 7", "exit code 7"),
    ],
)
def test_the_doctor_quotes_a_worker_that_fails(profile: Path, tmp_path: Path, script: str, words: str) -> None:
    main(["gimp", "install"])
    worker = tmp_path / "python"
    worker.write_text(f"#!/bin/sh\n{script}\n")
    worker.chmod(0o755)
    config = profile / "plug-ins/napari-car/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"interpreter": str(worker)}))
    assert words in faults(profile)[0]


def test_the_doctor_does_not_wait_for_ever(profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = tmp_path / "python"
    worker.write_text("#!/bin/sh\nexec sleep 60\n")
    worker.chmod(0o755)
    monkeypatch.setattr(doctor, "PATIENCE", 0.5)
    with pytest.raises(EOFError, match="ended"):
        doctor.round_trip(str(worker))


def test_the_doctor_knows_what_misleads_gimp(tmp_path: Path) -> None:
    (tmp_path / "snap/gimp").mkdir(parents=True)
    (tmp_path / ".local/share/flatpak/app/org.gimp.GIMP").mkdir(parents=True)
    said = [symptom.sentence for symptom in examine("linux", {"VIRTUAL_ENV": "/venv"}, str(tmp_path))]
    assert any("'deactivate'" in sentence for sentence in said)
    assert any("Snap" in sentence and "not supported" in sentence for sentence in said)
    assert any("Flatpak" in sentence and "uv tool install" in sentence for sentence in said)
    assert not any("Snap" in symptom.sentence for symptom in examine("darwin", {}, str(tmp_path)))
