"""Work in steps: generators that yield ``(done, total)`` and return a result; closing one cancels."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

_GROUPS, _GROUPS_AT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")

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
    """Cores that this process may use; in a container as many as it is granted the time of, at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _granted())))


def _granted() -> float:
    """Cores whose time the control groups of this process grant it; infinite where none bounds it.

    Source: the Linux kernel's admin-guide/cgroup-v2, "cpu.max", and scheduler/sched-bwc, "cpu.cfs_quota_us".
    """
    try:
        lines = _GROUPS.read_text("utf-8").splitlines()
        groups = [(controllers, path) for _, controllers, path in (line.split(":", 2) for line in lines)]
    except (OSError, ValueError):  # not Linux
        return math.inf
    granted = math.inf
    for controllers, path in groups:
        if not controllers or "cpu" in controllers.split(","):
            top = _GROUPS_AT / ("cpu" if controllers else "")
            # In a container the path may be that of the host, where the container's own group is at the top.
            folder = top.joinpath(path.strip("/"))
            for group in (folder, *folder.parents):
                if group.is_relative_to(top):
                    granted = min(granted, _quota(group))
    return granted


def _quota(group: Path) -> float:
    """Cores whose time one control group grants."""
    for files in (["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]):
        try:
            quota, period = map(float, " ".join((group / file).read_text("utf-8") for file in files).split())
        except (OSError, ValueError):  # no such file, or the quota is "max"
            continue
        if quota > 0 and period > 0:  # -1 for none
            return quota / period
    return math.inf
