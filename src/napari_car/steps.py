"""Work in steps: generators that yield ``(done, total)`` and return a result; closing one cancels."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
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
    """Do jobs on threads, in order; one more waits, so that no thread does. Closing it starts no further one."""
    pending: deque[Future[None]] = deque()
    done = 0
    with ThreadPoolExecutor(threads) as pool:
        try:
            for job in jobs:
                if len(pending) > threads:
                    pending.popleft().result()
                    done += 1
                    yield done, total
                pending.append(pool.submit(work, *job))
            for future in pending:
                future.result()
                done += 1
                yield done, total
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
