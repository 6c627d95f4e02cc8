"""Reads numbers from its input, takes the damaged file of each, and says what became of it."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

from corpus import damaged, whole_files

from napari_car import open_session, restore_file
from napari_car.errors import CarError
from napari_car.files import read_image

MAX_MEMORY = 400_000_000
"""What the process may take, bytes."""

SLACK = 50_000_000
"""What Python and the decoders may take beyond what is reckoned, bytes."""


def peak() -> int:
    """Most memory since the last call, bytes."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    with contextlib.suppress(OSError):  # only a kernel of one's own lets the mark be put back
        Path("/proc/self/clear_refs").write_text("5")
    return int(line.split()[1]) * 1024


def main(folder: Path) -> None:
    """Answer until the input ends."""
    files = whole_files()
    session = open_session(threads=1)
    source, target = folder / "damaged", folder / "restored.tif"
    answers, sys.stdout = sys.stdout, io.StringIO()
    peak()
    for line in sys.stdin:
        source.write_bytes(damaged(files, int(line)))
        try:
            read_image(source, max_memory=MAX_MEMORY)
            restore_file(source, target, overwrite=True, session=session, max_memory=MAX_MEMORY)
            answer = "restored"
        except CarError as error:
            answer = f"refused: {error}"
        except Exception as error:  # what is looked for
            answer = f"failed: {type(error).__name__}: {' '.join(str(error).split())}"
        if (most := peak()) > MAX_MEMORY + SLACK:
            answer = f"failed: took {most / 1e6:.0f} MB"
        left = [path.name for path in folder.iterdir() if path not in (source, target)]
        if left:
            answer = f"failed: left {left} behind"
        print(" ".join(answer.split()), file=answers, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
