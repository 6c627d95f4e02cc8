"""``napari-car batch``: folders of files in, a folder of restored files out."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any, TextIO

from tqdm import tqdm

from napari_car.batch import Outcome, connect, plan_batch, restore_batch
from napari_car.cli.options import add_file_options, file_options
from napari_car.errors import FileError

EXAMPLES = """\
examples:
  napari-car batch scans -o clean                     all images in scans and its sub-folders
  napari-car batch 'scans/**/*.jpg' -o clean --report clean.jsonl
  napari-car batch scans -o clean --jobs 4            once more after a stop: it goes on where it was
  napari-car batch scans -o clean --scheduler tcp://node1:8786"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``napari-car batch``."""
    add = parser.add_argument
    add("sources", metavar="SRC", nargs="+", help="a folder, a file, or a pattern as 'scans/**/*.jpg'")
    add(
        "-o", "--output", metavar="DEST", required=True,
        help="folder for the results, in sub-folders like those of SRC; what is there already is skipped",
    )  # fmt: skip
    add("--format", metavar="EXT", help="extension of the results (default: tif for TIFF, png for all others)")
    add("--report", metavar="FILE", help="add a line of JSON for each file; - for stdout")
    add("--fail-fast", action="store_true", help="stop at the first file that fails")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--jobs", metavar="N", type=int, help="processes that work side by side (default: one a core)")
    where.add_argument(
        "--scheduler", metavar="ADDRESS", help="of a dask cluster that does the work, as tcp://host:8786"
    )
    add(
        "--threads", metavar="N", type=int, help="tiles that each process works on side by side (default: cores / jobs)"
    )
    add_file_options(parser)


def run(options: argparse.Namespace) -> int:
    """Restore all files; one that fails is named on stderr and does not stop the rest."""
    plan = plan_batch(options.sources, options.output, format=options.format)
    start = time.perf_counter()
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        report = stack.enter_context(_report(options.report))
        client = stack.enter_context(connect(options.scheduler)) if options.scheduler else None
        outcomes = stack.enter_context(closing(restore_batch(
            plan, jobs=options.jobs, client=client, provider=options.provider, threads=options.threads,
            **file_options(options),
        )))  # fmt: skip
        bar: tqdm[Any] = stack.enter_context(tqdm(total=len(plan.tasks), unit="file", disable=None))
        for outcome in outcomes:
            counts[outcome.result] += 1
            _tell(outcome, report, bar, is_verbose=options.verbose)
            if options.fail_fast and outcome.error:
                break
    minutes, seconds = divmod(round(time.perf_counter() - start), 60)
    parts = ", ".join(f"{counts[result]} {result}" for result in ("restored", "left alone", "skipped", "failed"))
    summary = f"{sum(counts.values())} of {len(plan.tasks)} files: {parts}; {minutes} min {seconds} s; in {plan.folder}"
    print(summary, file=sys.stderr if options.report == "-" else sys.stdout)
    return 1 if counts["failed"] else 0


def _tell(outcome: Outcome, report: TextIO | None, bar: tqdm[Any], *, is_verbose: bool) -> None:
    """Tell of a file: a line of the report, an error on stderr, and a step of the bar unless nothing was to be done."""
    if report is not None:
        try:
            report.write(json.dumps(outcome.facts()) + "\n")
            report.flush()
        except OSError as error:
            if report is sys.stdout:
                raise
            raise _unwritable(report.name, error) from error
    for line in [outcome.error] if outcome.error else outcome.warnings if is_verbose else []:
        bar.write(f"napari-car: {line}", file=sys.stderr)
    if outcome.result == "skipped":
        bar.total = (bar.total or 0) - 1  # took no time, and says nothing of the time left
    else:
        bar.update()


@contextmanager
def _report(name: str | None) -> Iterator[TextIO | None]:
    """The report, opened to be added to."""
    if name is None:
        yield None
    elif name == "-":
        yield sys.stdout
    else:
        _check_report(name)
        try:
            file = open(name, "a", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise _unwritable(name, error) from error
        try:
            yield file
        finally:
            with suppress(OSError):  # of a line that could not be written, which has been said
                file.close()


def _check_report(name: str) -> None:
    """Refuse to add to a file that is no report, such as a picture whose name stands in the wrong place."""
    first = b""
    if os.path.isfile(name):
        with suppress(PermissionError), open(name, "rb") as file:
            first = file.read(1)
    if first not in (b"", b"{"):
        raise FileError("is no report of a batch, and is left alone; give another name", name)


def _unwritable(name: str, error: OSError) -> FileError:
    """What is said of a report that cannot be written."""
    return FileError(f"the report cannot be written ({error.strerror})", name)
