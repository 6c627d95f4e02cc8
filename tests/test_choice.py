"""What a model runs on: the fastest that comes out right, measured once and remembered."""

from __future__ import annotations

import errno
import itertools
import logging
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_car import ModelError, choice, load_card, open_session, providers
from napari_car.choice import Candidate, choose
from napari_car.jpeg.coding import Coding

INT8, FP32, OTHER = Candidate("cpu", "int8"), Candidate("cpu", "fp32"), Candidate("webgpu", "fp32")
ALL = (INT8, FP32, OTHER)
CARD = load_card("car-s")


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of measurements that does not exist yet."""
    file = tmp_path / "deep" / "speed.json"
    monkeypatch.setattr(choice, "memory_file", lambda: file)
    monkeypatch.setattr(choice, "_measured_here", {})
    return file


def measuring(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> list[str]:
    """Let the candidates take these times; returns the ids of models that were measured."""
    asked: list[str] = []

    def measure(card: Any, among: Any) -> dict[str, float]:
        asked.append(card.id)
        return {str(way): s for way, s in zip(among, seconds, strict=True) if s < 9}

    monkeypatch.setattr(choice, "_measure", measure)
    return asked


def test_a_gpu_is_asked_for_fp16_too_and_prefers_what_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "offered", lambda: ["webgpu", "cpu"])
    card = load_card("car-l")
    ways = choice.candidates(card, "auto", "auto")
    assert ways == [INT8, FP32, OTHER, Candidate("webgpu", "fp16")]
    assert choice.candidates(CARD, "auto", "auto") == ways[:3]  # comes in no fp16
    measuring(monkeypatch, 9.0, 9.0, 1.0, 0.95)
    assert choose(card, ways) == OTHER
    monkeypatch.setattr(choice, "_measured_here", {})
    choice.memory_file().unlink()
    measuring(monkeypatch, 9.0, 9.0, 1.0, 0.5)
    assert choose(card, ways) == Candidate("webgpu", "fp16")


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        ((1.0, 3.0, 2.0), INT8),
        ((3.0, 1.0, 2.0), FP32),  # a processor without instructions for 8 bits
        ((2.0, 3.0, 1.0), OTHER),
        ((1.0, 3.0, 0.95), INT8),  # too near to be told apart
        ((9.0, 3.0, 2.0), OTHER),  # the first failed
        ((9.0, 9.0, 9.0), INT8),  # all did: the first is left to say why
    ],
)
def test_the_fastest_is_taken(seconds: tuple[float, ...], best: Candidate, monkeypatch: pytest.MonkeyPatch) -> None:
    measuring(monkeypatch, *seconds)
    assert choose(CARD, ALL) == best


def test_small_tiles_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """fp32 of a large network leaves room for one thread alone, whose tiles are halo for the most part."""
    measuring(monkeypatch, 1.0, 0.7)
    monkeypatch.setattr(choice, "count_cores", lambda: 2)
    assert choose(load_card("car-l"), (INT8, FP32)) == INT8
    monkeypatch.setattr(choice, "count_cores", lambda: 1)
    assert choose(load_card("car-s"), (INT8, FP32)) == FP32


def test_pixels_do_not_depend_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when one call uses all cores and another is one of several that run side by side."""
    measuring(monkeypatch, 1.0, 0.8)
    monkeypatch.setattr(choice, "count_cores", lambda: 2)
    assert {open_session("car-l", provider="cpu", threads=n).precision for n in (None, 1, 2, 16)} == {"int8"}


def test_threads_that_open_at_once_run_on_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.cycle([{str(INT8): 1.0, str(FP32): 3.0}, {str(INT8): 3.0, str(FP32): 1.0}])

    def measure(card: Any, among: Any) -> dict[str, float]:
        time.sleep(0.05)
        return next(seconds)

    monkeypatch.setattr(choice, "_measure", measure)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: choose(CARD, (INT8, FP32)), range(4))) == {INT8}


def test_one_candidate_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = measuring(monkeypatch)
    assert choose(CARD, [FP32]) == FP32
    assert not asked


def test_what_was_measured_is_remembered_for_these_files(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = measuring(monkeypatch, 2.0, 1.0, 3.0)
    assert [choose(CARD, ALL) for _ in range(3)] == [FP32] * 3
    assert asked == ["car-s"]
    choose(replace(CARD, weights=tuple(replace(w, sha256="0" * 64) for w in CARD.weights)), ALL)
    choose(load_card("arcnn"), ALL)
    assert asked == ["car-s", "car-s", "arcnn"]
    monkeypatch.setattr(choice, "_measured_here", {})  # as in another process
    assert choose(CARD, ALL) == FP32
    assert len(asked) == 3


@pytest.mark.parametrize("seconds", ["-1", "0", "Infinity", "NaN"])
def test_times_that_cannot_be_are_measured_anew(seconds: str, memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = measuring(monkeypatch, 2.0, 1.0, 3.0)
    memory.parent.mkdir()
    key = choice._key(CARD, ALL)
    memory.write_text(f'{{"{key}": {{"int8 on cpu": 1.0, "fp32 on cpu": 2.0, "fp32 on webgpu": {seconds}}}}}')
    assert choose(CARD, ALL) == FP32
    assert len(asked) == 1


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="XDG has no say there")
@pytest.mark.parametrize("told", ["", "caches", None])
def test_a_folder_for_caches_that_is_relative_is_ignored(told: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the file of these tests
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", "/somebody")
        patch.setenv("XDG_CACHE_HOME", told) if told is not None else patch.delenv("XDG_CACHE_HOME", raising=False)
        assert choice.memory_file() == Path("/somebody/.cache/napari-car/speed.json")
        patch.setenv("XDG_CACHE_HOME", "/caches")
        assert choice.memory_file() == Path("/caches/napari-car/speed.json")


TOO_LARGE = f'{{"x": {{"int8 on cpu": {"9" * 400}}}}}'


@pytest.mark.parametrize("content", ["", "{", "[]", '{"x": 3}', '{"x": {"int8 on cpu": null}}', TOO_LARGE, "\xff"])
def test_a_damaged_memory_is_measured_anew(content: str, memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = measuring(monkeypatch, 2.0, 1.0, 3.0)
    memory.parent.mkdir()
    memory.write_text(content, "latin-1")
    assert choose(CARD, ALL) == FP32
    monkeypatch.setattr(choice, "_measured_here", {})  # as in another process
    assert choose(CARD, ALL) == FP32
    assert len(asked) == 1


def test_a_memory_that_cannot_be_written_is_no_failure(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = measuring(monkeypatch, 2.0, 1.0, 3.0)
    memory.parent.write_text("a file where the folder should be")
    assert choose(CARD, ALL) == FP32
    assert choose(CARD, ALL) == FP32
    assert len(asked) == 1


def opening(monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], Any]) -> None:
    """Let webgpu compute what the CPU does in no time, with ``change`` done to it."""
    open_graph, results = providers.open_graph, {}

    class Quick:
        def __init__(self, content: bytes) -> None:
            self.content = content

        def run(self, names: Any, feed: Any) -> Any:
            if self.content not in results:
                results[self.content] = open_graph(self.content, "cpu").run(names, feed)
            return [change(results[self.content][0])]

    monkeypatch.setattr(
        providers, "open_graph", lambda content, name: Quick(content) if name == "webgpu" else open_graph(content, name)
    )


def test_a_quick_one_that_is_right_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    opening(monkeypatch, lambda residual: residual)
    assert choose(CARD, ALL) == OTHER


def test_a_quick_one_that_is_wrong_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opening(monkeypatch, np.zeros_like)
    with caplog.at_level(logging.WARNING, "napari_car"):
        assert choose(CARD, ALL).provider == "cpu"
    assert "comes out wrong in fp32 on webgpu" in caplog.text


def test_one_that_fails_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    opening(monkeypatch, lambda residual: residual.no_such_thing)
    assert choose(CARD, ALL).provider == "cpu"


def test_a_damaged_file_is_said_and_not_done_without_from_now_on(tmp_path: Path) -> None:
    """Nothing else would ever be measured: the card, which a measurement is remembered for, stays the same."""
    folder = tmp_path / "car-s"
    shutil.copytree(CARD.folder, folder)
    file = folder / CARD.nearest(20, "int8", "strips").file
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(ModelError, match="reinstall"):
        choose(replace(CARD, folder=folder), (INT8, FP32))
    file.write_bytes(whole)
    assert set(choice.measured(replace(CARD, folder=folder), (INT8, FP32))) == {str(INT8), str(FP32)}


def test_a_full_disk_leaves_nothing_behind(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measuring(monkeypatch, 2.0, 1.0, 3.0)

    def replace_(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(choice.os, "replace", replace_)
    assert choose(CARD, ALL) == FP32
    assert list(memory.parent.iterdir()) == []


def test_where_all_fail_the_first_says_so_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("onnxruntime says no")

    monkeypatch.setattr(providers, "open_graph", refuse)
    monkeypatch.setattr("napari_car.session.open_graph", refuse)
    with pytest.raises(ModelError, match="says no"):
        open_session("car-s", provider="cpu").run(np.zeros((16, 16, 3), np.uint8), Coding.from_quality(20))


def test_what_is_asked_for_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    measuring(monkeypatch, 1.0, 2.0)
    assert open_session("car-s", provider="cpu").precision == "int8"
    assert open_session("car-s", precision="fp32").precision == "fp32"


def test_int8_is_near_enough_to_be_taken_here() -> None:
    """On this machine neither candidate is wrong: an arithmetic that overflows would be."""
    assert choice.measured(CARD, [INT8, FP32]).keys() == {"int8 on cpu", "fp32 on cpu"}
