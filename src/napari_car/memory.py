"""How much memory a process has taken and may take."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from napari_car.errors import InputError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
_AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmg]i?)?b?\s*", re.IGNORECASE)


def parse_memory(amount: str | float) -> int:
    """Bytes of an amount of memory: a number of them, or a number with a unit of ISO 80000-13.

    Raises
    ------
    InputError
        If it is none, or less than a byte.

    Examples
    --------
    >>> parse_memory("512MB"), parse_memory("1.5 GiB"), parse_memory(10**6)
    (512000000, 1610612736, 1000000)
    >>> parse_memory("much")
    Traceback (most recent call last):
    ...
    napari_car.errors.InputError: memory is 'much'; it is a number of bytes or such as '512MB', '1.5GB', '800MiB'
    """
    found = _AMOUNT.fullmatch(str(amount))
    n_bytes = int(min(float(found[1]) * _UNITS[(found[2] or "").lower()], sys.maxsize)) if found else 0
    if n_bytes < 1:
        raise InputError(f"memory is {amount!r}; it is a number of bytes or such as '512MB', '1.5GB', '800MiB'")
    return n_bytes


def shortage(needed: float, max_memory: int | None) -> str:
    """Say, as the end of a sentence, that work would take a process beyond the memory that it may have; else nothing.

    Parameters
    ----------
    needed
        What it would take beyond all that is taken now, bytes.
    max_memory
        What the process may have, bytes; anything for None.
    """
    if max_memory is None or (total := resident() + needed) <= max_memory:
        return ""
    return f"needs about {total / 1e6:.0f} MB of memory in all; {max_memory / 1e6:.0f} MB are allowed"


def resident() -> int:
    """Memory that this process takes now, bytes; where the system does not tell, the most that it has taken so far."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return _LIBRARIES
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


_LIBRARIES = 100 * 10**6
"""What Python, numpy, Pillow and onnxruntime take with a model opened, bytes, as measured under Linux."""
