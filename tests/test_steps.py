"""Cores that may be used: those of the process, and no more than its container is granted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from napari_car import steps
from napari_car.steps import count_cores


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where control groups lie, of a process that may run on eight cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(steps, "_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(steps, "_GROUPS_AT", tmp_path / "groups")
    return tmp_path


def grant(groups: Path, of: str, **files: str) -> None:
    """Make a process of these groups, and files in some of them."""
    (groups / "cgroup").write_text(of)
    for name, content in files.items():
        file = groups / "groups" / name.replace("__", "/").replace("_of_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)


@pytest.mark.parametrize(
    ("told", "cores"),
    [("200000 100000", 2), ("250000 100000", 3), ("1000 100000", 1), ("1600000 100000", 8), ("max 100000", 8), ("", 8)],
)
def test_a_container_counts_the_cores_that_it_is_granted(told: str, cores: int, groups: Path) -> None:
    grant(groups, "0::/\n", cpu_of_max=told)
    assert count_cores() == cores
    grant(groups, "0::/../../../host.slice\n")  # which is not to be seen from within
    assert count_cores() == cores


def test_the_tightest_group_counts(groups: Path) -> None:
    grant(groups, "0::/a/b\n", cpu_of_max="max 100000", a__cpu_of_max="300000 100000", a__b__cpu_of_max="400000 100000")
    assert count_cores() == 3


@pytest.mark.parametrize(("quota", "cores"), [("150000", 2), ("-1", 8), ("0", 8)])
def test_groups_of_the_first_version_count(quota: str, cores: int, groups: Path) -> None:
    files = {"cpu__a__cpu_of_cfs_quota_us": f"{quota}\n", "cpu__a__cpu_of_cfs_period_us": "100000\n"}
    grant(groups, "3:cpuset:/x\n2:cpu,cpuacct:/a\n1:name=systemd:/\n", **files)
    assert count_cores() == cores


@pytest.mark.parametrize("content", [None, "", "nonsense\n", "0::\n"])
def test_without_groups_all_cores_count(content: str | None, groups: Path) -> None:
    if content is not None:
        (groups / "cgroup").write_text(content)
    assert count_cores() == 8
