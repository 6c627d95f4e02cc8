"""One file of a batch: the function that runs in another process or on another machine, and what comes back."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from napari_car.batch.plan import Task
from napari_car.errors import CarError, FileError
from napari_car.restore_file import FileOptions, restore_file_steps
from napari_car.session import Session, open_session
from napari_car.steps import drain


@dataclass(frozen=True)
class Outcome:
    """What became of a file of a batch.

    Parameters
    ----------
    task
        The file and its output.
    result
        "restored"; "left alone", where the output has the pixels of the source, as they would not have gained;
        "skipped", as the output was there; or "failed".
    error
        The sentence that says why it failed; empty where it did not.
    seconds
        Time that it took.
    record
        How the output came about, see ``provenance.describe_run``; empty where there was no run.
    warnings
        What the log said of it.
    """

    task: Task
    result: str
    error: str = ""
    seconds: float = 0.0
    record: tuple[tuple[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """All of it, ready for JSON: a line of the report.

        Examples
        --------
        >>> Outcome(Task(Path("a.jpg"), Path("b.png")), "failed", "a.jpg: is empty (0 bytes)").facts()["error"]
        'a.jpg: is empty (0 bytes)'
        """
        record = dict(self.record)
        return {
            "file": str(self.task.source),
            "output": str(self.task.output),
            "result": self.result,
            "error": self.error or None,
            **{name: record.get(name) for name in ("quality", "quality_source", "model", "sha256", "strength")},
            "seconds": round(self.seconds, 3),
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class Restorer:
    """Restores one file of a batch; a plain value, which can be sent to where the work is done.

    Parameters
    ----------
    folder
        Below which outputs must lie, whatever links there are.
    provider, threads
        Of the session, which each process opens once; see ``open_session``.
    options
        Of ``restore_file``.
    """

    folder: Path
    provider: str
    threads: int
    options: FileOptions

    def __call__(self, task: Task) -> Outcome:
        """Restore a file unless that is done; whatever goes wrong is told by the outcome."""
        start = time.perf_counter()
        overwrite = self.options.get("overwrite", False)
        if task.is_done and not overwrite:
            return Outcome(task, "skipped")
        with _warnings() as warnings:
            try:
                self._make_folder(task.output.parent)
                if os.path.isdir(task.output):
                    raise FileError("is a folder; the result would have its name", task.output)
                session = _session(self.options.get("model"), self.provider, self.threads)
                keywords: FileOptions = {**self.options, "session": session}
                keywords["overwrite"] = overwrite or os.path.exists(task.output)
                done = drain(restore_file_steps(task.source, task.output, **keywords))
            except Exception as error:  # of one file, and no reason to stop the others
                seconds = time.perf_counter() - start
                return Outcome(task, "failed", _sentence(task, error), seconds, warnings=tuple(warnings))
        is_restored = done.record["quality"] is not None
        seconds, record = time.perf_counter() - start, tuple(done.record.items())
        return Outcome(task, "restored" if is_restored else "left alone", "", seconds, record, tuple(warnings))

    def _make_folder(self, folder: Path) -> None:
        """Make the folder of an output, which no link may lead elsewhere."""
        if not folder.resolve().is_relative_to(self.folder.resolve()):
            raise FileError(f"a link leads out of {self.folder}, the folder of the results", folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"cannot be made a folder ({error.strerror})", folder) from error


@lru_cache(maxsize=1)
def _session(model: str | None, provider: str, threads: int) -> Session:
    """The session of this process."""
    return open_session(model, provider=provider, threads=threads)


def _sentence(task: Task, error: Exception) -> str:
    """One line on what went wrong with a file."""
    if isinstance(error, CarError):
        text = " ".join(str(error).split())
        return text if isinstance(error, FileError) else f"{task.source}: {text}"
    if isinstance(error, MemoryError):
        return f"{task.source}: does not fit into memory"
    return f"{task.source}: a fault of ours, {type(error).__name__}: {' '.join(str(error).split())}"


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect what this thread logs as a warning; a process of a cluster may work on several files at a time."""
    said: list[str] = []
    here = threading.get_ident()

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == here:
                said.append(record.getMessage())

    collector, logger = Collector(logging.WARNING), logging.getLogger("napari_car")
    logger.addHandler(collector)
    try:
        yield said
    finally:
        logger.removeHandler(collector)
