"""Work on processes of this machine, one item each at a time.

``concurrent.futures`` would do but for three things that a batch needs: a process that dies takes one item with it and
no other; the work can be stopped at once; and processes end with the one that started them, however that ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

from napari_car.errors import CarError

Item = TypeVar("Item")
Result = TypeVar("Result")

_NOTHING: Any = object()
_ALGEBRA = "OMP_NUM_THREADS"  # read by OpenBLAS and MKL as they are loaded


def run_on_processes(
    work: Callable[[Item], Result], items: Iterable[Item], jobs: int
) -> Generator[tuple[Item, Result | None], None, None]:
    """Do work on every item: yields items with their results as they come, None where the process died of it.

    Closing the generator ends all processes at once, in the midst of what they do.

    Parameters
    ----------
    work
        Can be pickled, and raises nothing.
    items
        Can be pickled.
    jobs
        Number of processes.

    Raises
    ------
    CarError
        If a process ends before it takes work.
    """
    left = iter(items)
    at: dict[Connection, Any] = {}  # what each process that has not ended is at
    processes: dict[Connection, SpawnProcess] = {}

    def start() -> None:
        with _no_interrupts():  # until it is known, and so can be ended
            connection, process = _start(work)
            processes[connection], at[connection] = process, _NOTHING

    try:
        for _ in range(jobs):
            start()
        while at:
            for connection in wait(list(at)):
                assert isinstance(connection, Connection)
                item = at[connection]
                try:
                    result = connection.recv()
                except (EOFError, OSError):
                    del at[connection]
                    if item is _NOTHING:
                        raise CarError("a process that was to do the work ended before it began") from None
                    start()
                    yield item, None
                    continue
                at[connection] = next(left, _NOTHING)
                if at[connection] is _NOTHING:
                    del at[connection]
                    connection.close()  # which ends the process
                else:
                    _send(connection, at[connection])
                if item is not _NOTHING:
                    yield item, result
    finally:
        for connection, process in processes.items():
            if connection in at:
                process.terminate()
            connection.close()
        for process in processes.values():
            process.join()


def _start(work: Callable[[Any], Any]) -> tuple[Connection, SpawnProcess]:
    """A process that waits for items."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work), daemon=True)
    with _one_thread_of_algebra():
        process.start()
    theirs.close()
    return ours, process


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Let what is started within know no Ctrl-C, which a terminal sends to all; one that comes meanwhile is kept."""
    is_ours = threading.current_thread() is threading.main_thread() and callable(signal.getsignal(signal.SIGINT))
    kept: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: kept.append(number)) if is_ours else None
    has_mask = hasattr(signal, "pthread_sigmask")
    if has_mask:  # started later, by the first process, it would unblock interrupts again
        resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT]) if has_mask else ()  # what is started inherits it
    try:
        yield
    finally:
        if has_mask:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if is_ours:
            signal.signal(signal.SIGINT, before)
        if kept:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def _one_thread_of_algebra() -> Iterator[None]:
    """Keep NumPy's linear algebra in what is started within from as many threads as there are cores, in each process.

    They wait for one another by spinning: on two cores that were not idle, a file took six times its processor time.
    """
    if _ALGEBRA in os.environ:
        yield
        return
    os.environ[_ALGEBRA] = "1"
    try:
        yield
    finally:
        del os.environ[_ALGEBRA]


def _serve(connection: Connection, work: Callable[[Any], Any]) -> None:
    """Work on one item after the other until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, OSError):  # the one that asks has gone: there is no more to do, and nobody to tell
        connection.send(None)
        while True:
            connection.send(work(connection.recv()))


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, even by a kill."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _send(connection: Connection, item: Any) -> None:
    """Send an item; to a process that has just died this does nothing, and receiving from it will tell."""
    with suppress(OSError):
        connection.send(item)
