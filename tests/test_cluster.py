"""Batches on a dask cluster: the same files as on processes, and lost workers cost nothing but time."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_car import CarError
from napari_car.batch import plan_batch, restore_batch
from napari_car.batch.cluster import run_on_cluster
from napari_car.cli import main

distributed = pytest.importorskip("distributed", reason="needs the distributed extra")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two workers, each a process."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1", silence_logs=50
    ) as cluster:
        yield cluster


@pytest.fixture
def scans(tmp_path: Path, photo: Any, to_jpeg: Callable[..., bytes]) -> Path:
    """A folder of pictures, one of them broken."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for i in range(6):
        (folder / f"{i}.jpg").write_bytes(to_jpeg(np.roll(photo, 8 * i, 0)))
    (folder / "broken.jpg").write_bytes(b"nonsense")
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    """Names and contents of all files in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_cluster_gives_the_same_files_as_processes(
    cluster: Any, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["batch", str(scans), "-o", str(tmp_path / "here"), "--jobs", "2"]) == 1
    assert main(["batch", str(scans), "-o", str(tmp_path / "there"), "--scheduler", cluster.scheduler_address]) == 1
    output, error = capsys.readouterr()
    assert output.count("7 of 7 files: 6 restored, 0 left alone, 0 skipped, 1 failed") == 2
    assert error.count("broken.jpg: is not an image") == 2
    assert tree(tmp_path / "here") == tree(tmp_path / "there")


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is of POSIX")
def test_a_worker_that_is_killed_costs_nothing_but_time(cluster: Any, scans: Path, tmp_path: Path) -> None:
    plan = plan_batch([scans], tmp_path / "out")
    with distributed.Client(cluster, set_as_default=False) as client:
        results = []
        for outcome in restore_batch(plan, client=client):
            if not results:
                pids = client.run(os.getpid)
                os.kill(min(pids.values()), signal.SIGKILL)
            results.append(outcome.result)
    assert results.count("failed") == 1  # the broken one
    assert len(results) == 7
    assert len(tree(tmp_path / "out")) == 6


def test_what_takes_workers_along_is_told(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)  # dask would try three more
    deadly = "__import__('os')._exit(3)"
    with distributed.Client(cluster, set_as_default=False) as client:
        assert dict(run_on_cluster(client, eval, ["1 + 1"])) == {"1 + 1": 2}
        assert dict(run_on_cluster(client, eval, [deadly])) == {deadly: None}  # alone: what waits beside it goes along


class OldWorkers:
    """A client whose workers have another version."""

    def run(self, *_: object) -> dict[str, str]:
        return {"tcp://node1:1": "0.0.1"}


def test_workers_with_another_version_are_refused(scans: Path, tmp_path: Path) -> None:
    with pytest.raises(CarError, match=r"tcp://node1:1 has napari-car 0\.0\.1, here"):
        list(restore_batch(plan_batch([scans], tmp_path / "out"), client=OldWorkers()))
    assert not tree(tmp_path / "out")
