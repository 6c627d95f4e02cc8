"""Providers that are packages of their own: found, registered once, and asked for their devices."""

from __future__ import annotations

import sys
import types
from typing import Any

import onnxruntime
import pytest

from napari_car import InputError, load_card, providers
from napari_car.providers import PROVIDERS, absence, check_provider, offered, open_graph

CPU, GPU = onnxruntime.OrtHardwareDeviceType.CPU, onnxruntime.OrtHardwareDeviceType.GPU


class Runtime:
    """An onnxruntime with the CPU, to which a plug-in may bring devices of these types."""

    __version__ = "1"
    OrtHardwareDeviceType = onnxruntime.OrtHardwareDeviceType

    def __init__(self, full: str, *types_: Any, fails: bool = False) -> None:
        self.full, self.types, self.fails = full, types_, fails
        self.registered: list[str] = []
        self.opened: list[Any] = []

    def get_available_providers(self) -> list[str]:
        return [name for name, _ in self._there()]  # plug-ins with a device as well

    def register_execution_provider_library(self, name: str, path: str) -> None:
        self.registered.append(path)
        if self.fails:
            raise RuntimeError("libsomething.so.1: cannot open\nshared object file")

    def get_ep_devices(self) -> list[Any]:
        there = self._there()
        return [types.SimpleNamespace(ep_name=n, device=types.SimpleNamespace(type=kind)) for n, kind in there]

    def _there(self) -> list[tuple[str, Any]]:
        found = self.types if self.registered and not self.fails else ()
        return [("CPUExecutionProvider", CPU), *((self.full, kind) for kind in found)]

    class SessionOptions:
        def add_provider_for_devices(self, devices: list[Any], options: dict[str, str]) -> None:
            self.devices, self.options = devices, options

    def InferenceSession(self, content: bytes, options: Any, **keywords: Any) -> Any:
        self.opened.append((options, keywords))
        return self


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Install a plug-in: a function of its name and the devices that it finds."""

    def install(name: str, *kinds: Any, fails: bool = False) -> Runtime:
        runtime, plugin = Runtime(PROVIDERS[name].full, *kinds, fails=fails), PROVIDERS[name].plugin
        assert plugin is not None
        module = types.ModuleType(plugin)
        module.get_library_path = lambda: f"/lib/{plugin}.so"  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, plugin, module)
        monkeypatch.setattr(providers, "find_spec", lambda name: name == plugin)
        monkeypatch.setattr(providers, "load", lambda: runtime)
        monkeypatch.setattr(providers, "_registered", set())
        return runtime

    return install


@pytest.mark.parametrize("name", [name for name, provider in PROVIDERS.items() if provider.plugin])
def test_a_plug_in_is_offered_beside_the_cpu(name: str, plug: Any) -> None:
    runtime = plug(name, GPU, CPU)
    assert offered() == [name, "cpu"]
    check_provider(name)
    assert runtime.registered == [f"/lib/{PROVIDERS[name].plugin}.so"]  # once
    card = load_card("car-s")
    open_graph(card.read(card.weights[0]), name)
    options, keywords = runtime.opened[0]
    assert [device.device.type for device in options.devices] == [CPU]
    assert options.options == PROVIDERS[name].options
    assert not keywords


def test_a_plug_in_without_a_device_is_not_offered(plug: Any) -> None:
    plug("openvino")
    assert offered() == ["cpu"]
    assert absence("openvino") == "onnxruntime_ep_openvino is installed and finds no device here that it can use"
    with pytest.raises(InputError, match="finds no device here"):
        check_provider("openvino")


def test_a_plug_in_that_cannot_be_loaded_is_told_and_left(plug: Any, caplog: pytest.LogCaptureFixture) -> None:
    plug("webgpu", GPU, fails=True)
    assert offered() == ["cpu"]
    assert "onnxruntime_ep_webgpu cannot be used: libsomething.so.1: cannot open shared object file" in caplog.text


def test_an_old_onnxruntime_takes_no_plug_ins(plug: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plug("webgpu", GPU)
    monkeypatch.delattr(Runtime, "get_ep_devices")
    assert offered() == ["cpu"]
