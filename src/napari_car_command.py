"""The ``napari-car`` program; beside the package, which loads numpy when it is imported, and numpy its threads."""

import gc
import os
import sys

# OpenBLAS has one a core, each of which would spin for 0.1 s of CPU time before it sleeps: 2**4 clock ticks will do.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

gc.disable()  # nothing of what is imported is garbage, and looking for some, now or later, takes 0.02 s

try:
    from napari_car.__main__ import run
except KeyboardInterrupt:  # from then on the command itself sees to it
    print("napari-car: stopped", file=sys.stderr)
    raise SystemExit(130) from None

gc.freeze()
gc.enable()

__all__ = ["run"]
