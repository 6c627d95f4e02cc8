"""A worker that is missing, dies, lies or talks nonsense leaves the image as it was, and GIMP hears why."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., dict[str, Any]]

HEADS = "import os, struct, sys, time; out = sys.stdout.buffer; head = struct.Struct('>4sIIQ');"
WORKERS = {
    "dies at once": ("raise ImportError('no napari_car here')", "no napari_car here"),
    "is killed": (
        HEADS + "sys.stdin.buffer.read(1000); text = b'{\"kind\": \"progress\", \"done\": 1, \"total\": 2}';"
        "out.write(head.pack(b'NCAR', 1, len(text), 0) + text); out.flush(); os.kill(os.getpid(), 9)",
        "exit code -9",
    ),
    "is of another version": (
        HEADS + "out.write(head.pack(b'NCAR', 2, 2, 0) + b'{}'); out.flush(); time.sleep(60)",
        "different versions",
    ),
    "talks nonsense": (HEADS + "out.write(b'nonsense' * 9); out.flush(); time.sleep(60)", "not understood"),
    "promises too much": (
        HEADS + "out.write(head.pack(b'NCAR', 1, 2**31, 2**60)); out.flush(); time.sleep(60)",
        "not understood",
    ),
    "stops within a frame": (HEADS + "out.write(head.pack(b'NCAR', 1, 9, 0) + b'{}'); out.flush()", "ended"),
    "gives other pixels than asked": (
        HEADS + "text = b'{\"kind\": \"result\", \"shape\": [1, 2, 2, 3], \"dtype\": \"uint8\", \"is_restored\": true,"
        " \"sentence\": \"\", \"notices\": []}';"
        "out.write(head.pack(b'NCAR', 1, len(text), 12) + text + bytes(12)); out.flush(); time.sleep(60)",
        "other pixels",
    ),
    "says an error": (
        HEADS + "text = b'{\"kind\": \"error\", \"message\": \"the moon is full\"}';"
        "out.write(head.pack(b'NCAR', 1, len(text), 0) + text); out.flush(); time.sleep(60)",
        "the moon is full",
    ),
    "says how long its threads spin": (
        HEADS + "text = b'{\"kind\": \"error\", \"message\": \"2**%s ticks\"}';"
        "text %= os.environb[b'OPENBLAS_THREAD_TIMEOUT'];"
        "out.write(head.pack(b'NCAR', 1, len(text), 0) + text); out.flush(); time.sleep(60)",
        "2**4 ticks",
    ),
}  # fmt: skip

REAL = f'#!/bin/sh\nexec timeout --signal=KILL 0.3 {sys.executable} "$@"\n'
"""A worker that is killed while it starts."""

OTHERS = {"is really killed": "exit code", "is not configured": "gimp install", "is gone": "/gone/bin/python"}


@pytest.fixture(scope="module")
def failed(gimp: Run, profile: Path, photo: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the filter says in each case, and whether the photo stayed as it was."""
    folder = tmp_path_factory.mktemp("workers")
    path = profile / "plug-ins/napari-car/config.json"
    whole = path.read_text()
    configs: dict[str, Any] = {
        "is gone": json.loads(whole) | {"interpreter": "/gone/bin/python"},
        "is not configured": {},
    }
    for name in (*WORKERS, "is really killed"):
        worker = folder / name.replace(" ", "-")
        worker.write_text(f"#!{sys.executable}\n{WORKERS[name][0]}\n" if name in WORKERS else REAL)
        worker.chmod(0o755)
        configs[name] = json.loads(whole) | {"interpreter": str(worker)}
    try:
        return gimp(
            f"""
layer = opened().get_layers()[0]
opened().clean_all()
keep_pixels("before", layer, "u8")
for name, config in {configs!r}.items():
    with open({str(path)!r}, "w") as file:
        json.dump(config, file)
    keep(name, run(opened()))
    keep(name + " dirty", opened().is_dirty())
    keep_pixels(name + " after", layer, "u8")
""",
            photo,
        )
    finally:
        path.write_text(whole)


@pytest.mark.parametrize("fault", [*WORKERS, *OTHERS])
def test_a_worker_that(fault: str, failed: dict[str, Any]) -> None:
    assert (WORKERS[fault][1] if fault in WORKERS else OTHERS[fault]) in failed[fault]
    assert not failed[f"{fault} dirty"]
    assert (failed[f"{fault} after"] == failed["before"]).all()
