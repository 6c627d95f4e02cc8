"""Execution providers: what computes. Those in the installed onnxruntime, and plug-ins that register with it.

The only file that opens networks; a plug-in is a package of its own, which replaces nothing.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from threading import Lock
from typing import TYPE_CHECKING, Any

from napari_car.errors import InputError

if TYPE_CHECKING:
    import onnxruntime

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Provider:
    """An execution provider.

    Parameters
    ----------
    full
        Its name in onnxruntime.
    source
        How to get it.
    plugin
        The module of the package that brings it to the stock onnxruntime, or None.
    precisions
        Of weights that it may be fast with, the one to be preferred first; any may be asked for.
    options
        Given to it, so that it computes in the precision of the weights and in no other.
    """

    full: str
    source: str
    plugin: str | None = None
    precisions: tuple[str, ...] = ("fp32", "fp16")
    options: Mapping[str, str] = field(default_factory=dict)


_OPENVINO = {"CPU": {"INFERENCE_NUM_THREADS": "1", "INFERENCE_PRECISION_HINT": "f32"}}  # it would take bf16 for fp32
_BOTH = ("int8", "fp32")

PROVIDERS = {
    "cuda": Provider(
        "CUDAExecutionProvider", "pip install onnxruntime-gpu in place of onnxruntime", options={"use_tf32": "0"}
    ),
    "tensorrt": Provider(
        "NvTensorRTRTXExecutionProvider", "pip install 'napari-car[tensorrt]'", "onnxruntime_ep_nv_tensorrt_rtx"
    ),
    "directml": Provider("DmlExecutionProvider", "pip install onnxruntime-directml in place of onnxruntime"),
    "coreml": Provider("CoreMLExecutionProvider", "it comes with onnxruntime on macOS"),
    "mlx": Provider("MLXExecutionProvider", "pip install 'napari-car[mlx]'", "onnxruntime_ep_mlx"),
    "openvino": Provider(
        "OpenVINOExecutionProvider", "pip install 'napari-car[openvino]'", "onnxruntime_ep_openvino", _BOTH,
        {"load_config": json.dumps(_OPENVINO)},
    ),
    "webgpu": Provider("WebGpuExecutionProvider", "pip install 'napari-car[webgpu]'", "onnxruntime_ep_webgpu"),
    "cpu": Provider("CPUExecutionProvider", "it comes with every onnxruntime", precisions=_BOTH),
}  # fmt: skip
"""Execution providers by the name that a person gives."""

_lock = Lock()
_registered: set[str] = set()


def offered() -> list[str]:
    """Names of the providers that are installed and find a device here, ``cpu`` last."""
    installed = load().get_available_providers()
    return [name for name, provider in PROVIDERS.items() if provider.full in installed or _devices(provider)]


def absence(name: str) -> str:
    """Why a provider is not offered, and what is to be done, as the end of a sentence."""
    provider = PROVIDERS[name]
    if provider.plugin and find_spec(provider.plugin):
        return f"{provider.plugin} is installed and finds no device here that it can use"
    return f"to get it: {provider.source}"


def check_provider(name: str) -> None:
    """Refuse a provider that is unknown or not offered.

    Raises
    ------
    InputError
        Which says how to get it.
    """
    if name not in PROVIDERS:
        raise InputError(f"provider is {name!r}; it is 'auto' or one of {', '.join(PROVIDERS)}")
    there = offered()
    if name not in there:
        raise InputError(
            f"provider {name!r} is not in the installed onnxruntime, which offers {', '.join(there)}; {absence(name)}"
        )


def open_graph(content: bytes, name: str) -> onnxruntime.InferenceSession:
    """Open a network on a provider, and on the CPU what that one cannot run; a run takes one thread of the CPU.

    Raises
    ------
    Exception
        Of onnxruntime's own classes.
    """
    ort, provider = load(), PROVIDERS[name]
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if name == "cpu":
        # It plans one piece of memory for all, a third to a half larger than what is needed at a time.
        options.enable_mem_pattern = False
        # And leaves for the end what only outputs need, so that all it is made of stays until then.
        options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    if devices := _devices(provider):  # by its name alone a plug-in does not start
        options.add_provider_for_devices([devices[0]], dict(provider.options))
        return ort.InferenceSession(content, options)
    asked: list[Any] = [(provider.full, dict(provider.options)) if provider.options else provider.full]
    if name != "cpu":
        asked.append(PROVIDERS["cpu"].full)
    return ort.InferenceSession(content, options, providers=asked)


def _devices(provider: Provider) -> Sequence[Any]:
    """Devices that a plug-in finds, CPUs first; its library is registered when it is first asked for."""
    ort = load()
    if provider.plugin is None or not hasattr(ort, "get_ep_devices") or not find_spec(provider.plugin):
        return []
    with _lock:
        if provider.plugin not in _registered:
            _registered.add(provider.plugin)
            try:
                path = importlib.import_module(provider.plugin).get_library_path()
                ort.register_execution_provider_library(provider.plugin, path)
            except Exception as error:  # libraries that are missing, another onnxruntime: all that loading may meet
                logger.warning("%s cannot be used: %s", provider.plugin, " ".join(str(error).split()))
    found = [device for device in ort.get_ep_devices() if device.ep_name == provider.full]
    return sorted(found, key=lambda device: device.device.type != ort.OrtHardwareDeviceType.CPU)


def load() -> Any:
    """The onnxruntime module, imported when it is first asked for."""
    # Some of its builds count their use, under an identity of the machine that they keep in the user's folder.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime
