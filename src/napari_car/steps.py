"""Work in steps: generators that yield ``(done, total)`` and return a result; closing one cancels."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

Result = TypeVar("Result")
Steps = Generator[tuple[int, int], None, Result]


def drain(steps: Steps[Result]) -> Result:
    """Run steps to their end and return what they return."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: Result = stop.value
            return result


def side_by_side(work: Callable[..., None], jobs: Iterable[tuple[Any, ...]], total: int, threads: int) -> Steps[None]:
    """Do jobs on threads, in order; one more waits, so that no thread does. Closing it starts no further one.

    The first step, none being done yet, comes as soon as all threads have work.
    """
    left = iter(jobs)
    with ThreadPoolExecutor(threads) as pool:
        try:
            pending = deque(pool.submit(work, *job) for job in islice(left, threads + 1))
            yield 0, total
            done = 0
            while pending:
                pending.popleft().result()
                done += 1
                yield done, total
                pending.extend(pool.submit(work, *job) for job in islice(left, 1))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def count_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
