"""Which provider and precision are the fastest here: measured once, and remembered for machine and model file."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np

from napari_car import providers
from napari_car.budget import overhead
from napari_car.cards import ModelCard
from napari_car.errors import ModelError
from napari_car.jpeg.coding import Coding
from napari_car.pixels import Planes, Residual
from napari_car.steps import count_cores

logger = logging.getLogger(__name__)

SIDE = 256
"""Of the tile that is measured, px."""

REPEATS = (2, 4)
"""Least and most times that a candidate is run to be measured."""

ENOUGH = 0.2
"""Seconds after which all have been run often enough, if at least so often: long runs tremble less."""

FAR_BEHIND = 2.0
"""Times the least time, from which a candidate is not run again: that is more than what one measurement trembles."""

MARGIN = 1.1
"""How much faster than those before it a candidate must be: what is measured here trembles."""

TOLERANCE = 0.5
"""Of a residual's rms, by which it may differ from fp32 on the CPU; int8 differs by 0.1, wrong arithmetic by more."""

_measuring = Lock()
_measured_here: dict[str, dict[str, float]] = {}
"""What this process has measured itself, by `_key`: it keeps to that whatever the file says, or where there is none."""


class Candidate(NamedTuple):
    """A way to run a model."""

    provider: str
    precision: str

    def __str__(self) -> str:
        return f"{self.precision} on {self.provider}"


def candidates(card: ModelCard, provider: str, precision: str) -> list[Candidate]:
    """Ways to run a model with what was asked for, either of it "auto"; int8 on the CPU first, which needs no proof."""
    names = providers.offered() if provider == "auto" else [provider]
    found = [
        Candidate(name, kind)
        for name in names
        for kind in (providers.PROVIDERS[name].precisions if precision == "auto" else [precision])
        if kind in card.precisions
    ]
    return sorted(found or [Candidate(names[0], card.precisions[-1])], key=lambda way: way.provider != "cpu")


def choose(card: ModelCard, among: Sequence[Candidate]) -> Candidate:
    """The fastest candidate for large pictures, by a measurement that is remembered; the only one where it is alone.

    Where all fail it is the first, which says so when it is opened. It is that for all cores of this process, however
    many a call uses: pixels do not depend on the number of threads.
    """
    if len(among) == 1:
        return among[0]
    seconds = seconds_per_mp(card, among)
    best, *others = [candidate for candidate in among if str(candidate) in seconds] or among[:1]
    for candidate in others:
        if seconds[str(candidate)] * MARGIN < seconds[str(best)]:
            best = candidate
    return best


def seconds_per_mp(card: ModelCard, among: Sequence[Candidate]) -> dict[str, float]:
    """Seconds that each candidate takes for a megapixel of a large picture on all cores, as reckoned from a tile.

    One that takes more memory has smaller tiles, of which more is halo, or fewer of them at a time.
    """
    times = measured(card, among)
    return {
        str(candidate): times[str(candidate)] / SIDE**2 * 1e6 * overhead(card, *candidate, count_cores())
        for candidate in among
        if str(candidate) in times
    }


def measured(card: ModelCard, among: Sequence[Candidate]) -> dict[str, float]:
    """Seconds that each candidate takes for a tile of `SIDE` px squared; those that fail or go wrong are left out."""
    key = _key(card, among)
    with _measuring:
        memory = _recall() | _measured_here
        if key not in memory:
            memory[key] = _measured_here[key] = _measure(card, among)
            _remember(memory)
        return memory[key]


def _measure(card: ModelCard, among: Sequence[Candidate]) -> dict[str, float]:
    """Open the candidates, leave out what fails or comes out wrong, and time the others."""
    runs: dict[str, Callable[[], Planes]] = {}
    residuals: dict[str, Planes] = {}
    for candidate in among:
        try:
            run = _runner(card, candidate)
            residuals[str(candidate)] = run()
        except ModelError:  # a damaged file is no reason to do without it from now on
            raise
        except Exception as error:  # of onnxruntime's own classes
            logger.info("model %s cannot run in %s: %s", card.id, candidate, " ".join(str(error).split()))
        else:
            runs[str(candidate)] = run
    if not residuals:
        return {}
    reference = Candidate("cpu", card.precisions[-1])
    exact = residuals[str(reference)] if str(reference) in residuals else _runner(card, reference)()
    wrong = {name for name, residual in residuals.items() if _rms(residual - exact) > TOLERANCE * _rms(exact)}
    for name in wrong:
        logger.warning("model %s comes out wrong in %s, which is not used", card.id, name)
    return _time({name: run for name, run in runs.items() if name not in wrong} or runs)


def _time(runs: Mapping[str, Callable[[], Planes]]) -> dict[str, float]:
    """Seconds of each run, by turns: the best of a few repeats, of one that is far behind the first."""
    seconds = dict.fromkeys(runs, np.inf)
    least, most = REPEATS
    begin = time.perf_counter()
    for turn in range(most):
        if turn >= least and time.perf_counter() - begin > ENOUGH:
            break
        for name in seconds:
            if seconds[name] < FAR_BEHIND * min(seconds.values()) or seconds[name] == np.inf:
                start = time.perf_counter()
                runs[name]()
                seconds[name] = min(seconds[name], time.perf_counter() - start)
    return {name: round(value, 6) for name, value in seconds.items()}


def _runner(card: ModelCard, candidate: Candidate) -> Callable[[], Planes]:
    """A run of the network on a blocky picture."""
    coding = Coding.from_quality(20)
    form = card.form(*candidate)
    weights = card.nearest(coding.quality, candidate.precision, form)
    session = providers.open_graph(card.read(weights), candidate.provider)
    blocks = np.random.default_rng(0).integers(60, 196, (1, SIDE // 16, SIDE // 16, 3), np.uint8)
    image = blocks.repeat(16, axis=1).repeat(16, axis=2)
    feed = {"image": image if candidate.precision == "int8" else image / np.float32(255)}
    if card.conditioning:
        feed["condition"] = np.array([[getattr(coding, name) for name in card.conditioning]], np.float32)

    if form == "strips":
        feed |= {"state": np.empty(0, np.uint8), "is_last": np.ones(1, np.int64)}

    def run() -> Planes:
        return Residual.of(session.run(None, feed)[:3]).planes()

    return run


def _rms(values: Planes) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(values**2)))


def _key(card: ModelCard, among: Sequence[Candidate]) -> str:
    """What a measurement holds for: processor, onnxruntime, files and candidates."""
    files = [weights.sha256 for weights in card.weights]
    facts = [_processor(), providers.load().__version__, *files, *map(str, among)]
    return f"{card.id} {hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}"


def _processor() -> str:
    """Name and instruction sets of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    told = sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    return "\n".join([platform.machine(), platform.processor(), *told])


def memory_file() -> Path:
    """Where measurements are remembered: in the folder for caches that the platform has."""
    home = Path.home()
    if sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"))
    elif sys.platform == "darwin":
        folder = home / "Library" / "Caches"
    else:
        told = Path(os.environ.get("XDG_CACHE_HOME", ""))
        folder = told if told.is_absolute() else home / ".cache"  # Source: XDG Base Directory Specification, "Basics"
    return folder / "napari-car" / "speed.json"


def _recall() -> dict[str, dict[str, float]]:
    """What was measured before; nothing where that cannot be read."""
    try:
        memory = json.loads(memory_file().read_text("utf-8"))
        rows = {str(key): {str(name): float(s) for name, s in row.items()} for key, row in memory.items() if row}
        return {key: row for key, row in rows.items() if all(0 < seconds < np.inf for seconds in row.values())}
    except (OSError, ValueError, TypeError, AttributeError, OverflowError, RuntimeError):  # the last: there is no home
        return {}


def _remember(memory: dict[str, dict[str, float]]) -> None:
    """Write the measurements whole or not at all; a folder that cannot be written is no failure."""
    try:
        file = memory_file()
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
        try:
            partial.write_text(json.dumps(memory, indent=1), "utf-8")
            os.replace(partial, file)
        finally:
            partial.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:
        logger.info("the measured speeds cannot be remembered: %s", error)
