"""What the machine is and the most that it can do: convolution peaks, matrix product, memory bandwidth, load."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

SETS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "amx_bf16", "asimddp", "i8mm", "bf16")
"""Instruction sets that matter here, as Linux names them."""

LENGTH = 4
"""Convolutions in a chain."""


def describe() -> str:
    """Processor, instruction sets, cores and load, in a line."""
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        info = ""
    name = re.search(r"model name\s*: (.*)", info)
    known = set(info.split()) & set(SETS)
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return (
        f"{name[1] if name else platform.processor() or platform.machine()} "
        f"({', '.join(s for s in SETS if s in known) or 'no sets known'}), {os.cpu_count()} cores, load {load}, "
        f"onnxruntime {onnxruntime.__version__}, {platform.platform()}"
    )


def spread(repeats: int = 40) -> float:
    """Median over least time of a fixed piece of work: 1.0x where nothing else runs, the more the busier."""
    values = np.random.default_rng(0).random((400, 400))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        values @ values
        times.append(time.perf_counter() - start)
    return statistics.median(times) / min(times)


def session(model: bytes, *, is_profiled: bool = False) -> onnxruntime.InferenceSession:
    """A session on one thread of the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if is_profiled:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(tempfile.gettempdir(), "napari-car"))
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def convolutions(model: bytes, feed: dict[str, Any], repeats: int = 6) -> float:
    """Seconds that the convolutions of a graph take in one run: the least of each over a few."""
    profiled = session(model, is_profiled=True)
    for _ in range(repeats):
        profiled.run(None, feed)
    file = Path(profiled.end_profiling())
    least: dict[str, int] = defaultdict(lambda: 10**12)
    for event in json.loads(file.read_text()):
        if event.get("cat") == "Node" and event.get("args", {}).get("op_name") in ("Conv", "QLinearConv", "FusedConv"):
            least[event["name"]] = min(least[event["name"]], event["dur"])
    file.unlink()
    return sum(least.values()) / 1e6


def widest(model: bytes) -> tuple[int, int, int]:
    """Channels in, channels out and kernel side of the convolution that holds most weights."""
    graph = onnx.load_from_string(model).graph
    shapes = [tuple(c.dims) for c in graph.initializer if len(c.dims) == 4]
    out, channels, side, _ = max(shapes, key=lambda shape: int(np.prod(shape)))
    return channels, out, side


def chain(channels: int, out: int, side: int, precision: str) -> bytes:
    """A chain of convolutions and nothing else, from ``channels`` to ``out`` where they differ just one."""
    count = LENGTH if channels == out else 1
    rng, nodes, constants = np.random.default_rng(0), [], []

    def constant(name: str, values: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    if precision == "int8":
        scale, zero = constant("scale", np.float32(0.02)), constant("zero", np.uint8(128))
        weight_scale = constant("weight_scale", np.full(out, 1e-3, np.float32))
        weight_zero = constant("weight_zero", np.zeros(out, np.int8))
    x = "x"
    for i in range(count):
        shape = (out, channels, side, side)
        pads = {"pads": [side // 2] * 4, "kernel_shape": [side, side]}
        if precision == "int8":
            weight = constant(f"w{i}", rng.integers(-127, 128, shape).astype(np.int8))
            bias = constant(f"b{i}", np.zeros(out, np.int32))
            inputs = [x, scale, zero, weight, weight_scale, weight_zero, scale, zero, bias]
            nodes.append(helper.make_node("QLinearConv", inputs, [f"y{i}"], **pads))
        else:
            weight = constant(f"w{i}", (rng.standard_normal(shape) / side / channels**0.5).astype(np.float32))
            nodes.append(helper.make_node("Conv", [x, weight], [f"y{i}"], **pads))
        x = f"y{i}"
    kind = TensorProto.UINT8 if precision == "int8" else TensorProto.FLOAT
    ends = [helper.make_tensor_value_info(name, kind, [1, c, "h", "w"]) for name, c in (("x", channels), (x, out))]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


def peak(channels: int, out: int, side: int, precision: str, pixels: int = 128) -> float:
    """Operations a second of a chain of convolutions of these sizes, two for a multiplication and its addition."""
    shape = (1, channels, pixels, pixels)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, shape).astype(np.uint8) if precision == "int8" else rng.random(shape, np.float32)
    count = LENGTH if channels == out else 1
    seconds = convolutions(chain(channels, out, side, precision), {"x": x}, repeats=10)
    return 2 * count * channels * out * side**2 * pixels**2 / seconds


def best(work: Callable[[], Any], repeats: int) -> float:
    """The least time of a few repeats, seconds."""
    least = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        least = min(least, time.perf_counter() - start)
    return least


def floors() -> dict[str, float]:
    """Matrix product, operations a second in fp32 on one thread, and bandwidth of copying, bytes a second."""
    side = 1024
    a = np.random.default_rng(0).random((side, side), np.float32)
    source, target = np.ones(2**25, np.float32), np.empty(2**25, np.float32)
    return {
        "matrix product fp32, Gop/s": 2 * side**3 / best(lambda: a @ a, 8) / 1e9,
        "copying memory, GB/s (read and written)": 2 * source.nbytes / best(lambda: np.copyto(target, source), 8) / 1e9,
    }
