"""A batch from its plan to its outcomes."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any, Unpack, cast

import numpy as np

from napari_car.batch.cluster import run_on_cluster
from napari_car.batch.plan import Plan, Task
from napari_car.batch.processes import run_on_processes
from napari_car.batch.restorer import Outcome, Restorer
from napari_car.errors import FileError, InputError
from napari_car.files import Picture, check_target, ignores_case, remove_stale_parts
from napari_car.restore import Options, restore
from napari_car.restore_file import FileOptions
from napari_car.session import open_session
from napari_car.steps import count_cores


def restore_batch(
    plan: Plan,
    *,
    jobs: int | None = None,
    client: Any = None,
    provider: str = "auto",
    threads: int | None = None,
    **options: Unpack[FileOptions],
) -> Generator[Outcome, None, None]:
    """Restore the files of a plan; yields what became of each, as they are done.

    Outputs that are there already are skipped, so that a batch that was stopped goes on where it was. Nothing that
    happens to one file stops the others. Closing the generator stops the work; every output is whole or not there.

    Parameters
    ----------
    plan
        Of ``plan_batch``.
    jobs
        Processes that work side by side; as many as there are cores for None. A script that calls this must have the
        guard ``if __name__ == "__main__"``, as for all of ``multiprocessing``.
    client
        A ``distributed.Client``, to work on its cluster in place of ``jobs``.
    provider
        See ``open_session``.
    threads
        Of each process; for None the cores are shared among ``jobs``, and it is 1 on a cluster.
    **options
        Of ``restore_file``, but for ``session``; with ``overwrite`` nothing is skipped.

    Raises
    ------
    CarError
        If an option cannot be taken or the folder cannot be written, before any work; or if there are no workers.
    """
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs is {jobs}; it must be at least 1")
    if "session" in options:
        raise InputError("a session cannot be sent to other processes; give model, provider and threads")
    jobs = jobs or count_cores()
    if threads is None:
        threads = 1 if client is not None else max(1, count_cores() // jobs)
    work = Restorer(plan.folder, provider, threads, options)
    _check(plan, work)
    folders = {task.output.parent for task in plan.tasks}
    _clean(folders)
    todo: list[Task] = []
    for task in plan.tasks:
        if task.is_done and not options.get("overwrite", False):
            yield Outcome(task, "skipped")
        else:
            todo.append(task)
    if not todo:
        return
    if client is not None:
        running = run_on_cluster(client, work, todo)
    else:
        running = run_on_processes(work, todo, min(jobs, len(todo)))
    try:
        for task, outcome in running:
            yield outcome or Outcome(task, "failed", f"{task.source}: the process that restored it died")
    finally:
        running.close()
        _clean(folders)


def _check(plan: Plan, work: Restorer) -> None:
    """Refuse, before any work is done, what every file would fail of."""
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot be made a folder ({error.strerror})", plan.folder) from error
    options = cast(Options, {name: work.options[name] for name in Options.__annotations__ if name in work.options})  # type: ignore[literal-required]
    options["session"] = open_session(options.get("model"), provider=work.provider, threads=work.threads)
    if options.get("quality", "auto") == "auto":
        options["quality"] = None
    restored = Picture(restore(np.zeros((16, 16, 3), np.uint8), **options))
    for extension in {task.output.suffix for task in plan.tasks}:
        target = plan.folder / f"any{extension}"
        check_target(target, restored, overwrite=True, quality=work.options.get("output_quality"))
    _check_names(plan)


def _check_names(plan: Plan) -> None:
    """Refuse outputs that are one and the same where upper and lower case is, as usual on Windows and macOS."""
    tasks: dict[str, Task] = {}
    for task in plan.tasks:
        other = tasks.setdefault(str(task.output).casefold(), task)
        if other is not task and ignores_case(plan.folder):
            raise FileError(
                f"would have the same output as {other.source}, for {plan.folder} does not tell upper from lower case; "
                "restore them into different folders",
                task.source,
            )


def _clean(folders: set[Any]) -> None:
    """Remove what writers that were killed have left."""
    for folder in folders:
        if os.path.isdir(folder):
            remove_stale_parts(folder)
