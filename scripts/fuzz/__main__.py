"""Damaged files through reading and restoring: no crash, no hang, no memory beyond the limit, no error but our own.

    python scripts/fuzz [--files 20000] [--first 0] [--jobs 2] [--folder DIR]

Each file is a picture of ``corpus`` after the mutations that its number names, so that a failure can be had again by
``--first NUMBER --files 1``. Workers take them one after the other and are watched from outside. Takes about ten
minutes of a processor's time; exits with 1 where a file failed.
"""

from __future__ import annotations

import argparse
import collections
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HANG_S = 10.0
"""Time of the processor that one file may take, seconds."""

STUCK_S = 120.0
"""Time on the clock after which a worker that does nothing is given up, seconds."""


class Worker:
    """A process that takes every n-th file; a new one takes over where one dies.

    Parameters
    ----------
    numbers
        Of the files it is to take.
    folder
        Where it may write.
    """

    def __init__(self, numbers: list[int], folder: Path) -> None:
        self.numbers, self.folder = numbers, folder
        self.start()

    def start(self) -> None:
        """Start with the first of its files, or have none left."""
        self.process = None
        if not self.numbers:
            return
        command = [sys.executable, str(Path(__file__).with_name("worker.py")), str(self.folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)  # noqa: S603
        self.ask()

    def ask(self) -> None:
        """Give it its next file."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(f"{self.numbers[0]}\n")
        self.asked, self.used = time.monotonic(), self.processor_s()

    def processor_s(self) -> float:
        """Time of the processor that it has had, seconds."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def verdict(self) -> str:
        """What became of its file; empty while it is at it."""
        assert self.process is not None
        assert self.process.stdout is not None
        answer = self.process.stdout.readline().strip()
        if not answer:
            code = self.process.wait()
            answer = f"crash: {signal.Signals(-code).name}" if code < 0 else f"crash: exit code {code}"
        return answer

    def is_hanging(self) -> bool:
        """Whether its file has taken too long."""
        used = self.processor_s() - self.used
        return used > HANG_S or (used < 1 and time.monotonic() - self.asked > STUCK_S)


def main() -> int:
    """Give out the files and count what became of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary one is made for none")
    options = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        workers = []
        for job in range(options.jobs):
            folder = Path(name, str(job))
            folder.mkdir()
            numbers = range(options.first + job, options.first + options.files, options.jobs)
            workers.append(Worker(list(numbers), folder))
        watch(workers, counts, options.files)
    for what, count in counts.most_common():
        print(f"{count:7}  {what}")
    return 1 if any(what.startswith(("crash", "hang", "failed")) for what in counts) else 0


def watch(workers: list[Worker], counts: collections.Counter[str], total: int) -> None:
    """Collect what becomes of the files until there are none left, saying at once what failed."""
    while running := [worker for worker in workers if worker.process is not None]:
        with selectors.DefaultSelector() as selector:
            for worker in running:
                assert worker.process is not None
                assert worker.process.stdout is not None
                selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
            ready = [key.data for key, _ in selector.select(timeout=1)]
        for worker in running:
            if worker in ready:
                what = worker.verdict()
            elif worker.is_hanging():
                what = "hang"
                worker.process.kill()
                worker.process.wait()
            else:
                continue
            number = worker.numbers.pop(0)
            counts[what.partition(":")[0] if what.startswith(("restored", "refused")) else what] += 1
            if not what.startswith(("restored", "refused")):
                print(f"{number}: {what}", flush=True)
            if (done := counts.total()) % 1000 == 0:
                print(f"{done} of {total}", file=sys.stderr, flush=True)
            if what.startswith(("hang", "crash")):
                worker.start()
            elif worker.numbers:
                worker.ask()
            else:
                worker.process.stdin.close()
                worker.process.wait()
                worker.process = None


if __name__ == "__main__":
    sys.exit(main())
