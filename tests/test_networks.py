"""Networks as published, and graphs in floats and bytes that equal them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage import data

torch = pytest.importorskip("torch", reason="needs the train extra")
onnx = pytest.importorskip("onnx", reason="needs the train extra")
pytest.importorskip("safetensors", reason="needs the train extra")

from napari_car.train import checkpoint  # noqa: E402
from napari_car.train.degradation import condition  # noqa: E402
from napari_car.train.fit import _Run  # noqa: E402
from napari_car.train.fused import fused  # noqa: E402
from napari_car.train.graph import TOLD, halve_weights, to_onnx  # noqa: E402
from napari_car.train.networks import build, fade, residual_scale  # noqa: E402
from napari_car.train.portable import portable  # noqa: E402
from napari_car.train.quantization import lattice_steps, quantize  # noqa: E402
from napari_car.train.receptive import receptive_radius  # noqa: E402
from napari_car.train.recipe import Recipe  # noqa: E402
from napari_car.train.revival import revive  # noqa: E402
from napari_car.train.rounding import Levels, levels_by_place, round_activations, rounded_weights  # noqa: E402
from napari_car.train.strips import in_strips  # noqa: E402

TINY = {"unshuffle": 4, "widths": [16], "blocks": [1], "phase": 2}
DEEP = {"unshuffle": 2, "widths": [4, 8, 12], "blocks": [1, 1, 2, 0.5, 1], "phase": 3}
ARCHITECTURES = [("ARCNN", {}), ("FastARCNN", {}), ("CarNet", TINY), ("CarNet", DEEP)]


def random_network(arch: str, options: dict[str, Any]) -> Any:
    """A network of which no weight is zero, the last layer's included."""
    torch.manual_seed(0)
    network = build(arch, **options)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() != 1 or parameter.numel() > 1:  # the slopes of PReLU stay
                parameter.copy_(torch.randn_like(parameter) * parameter[0].numel() ** -0.5)
    return network.eval()


@pytest.mark.parametrize(("arch", "parameters"), [("ARCNN", 117_734), ("FastARCNN", 85_575)])
def test_reference_networks_have_their_published_size(arch: str, parameters: int) -> None:
    assert sum(p.numel() for p in build(arch).parameters()) == parameters


@pytest.mark.parametrize(
    ("arch", "options", "align", "radius"),
    # ARCNN: 4 + 3 + 0 + 2. CarNet: pixel blocks of 4 times head, one pair and tail.
    [("ARCNN", {}, 1, 9), ("CarNet", TINY, 16, 4 * (1 + 2 + 1)), ("FastARCNN", {}, 2, 14)],
)
def test_the_receptive_radius_is_that_of_the_layers(
    arch: str, options: dict[str, Any], align: int, radius: int
) -> None:
    assert receptive_radius(build(arch, **options), align) == radius


@pytest.mark.parametrize(("arch", "options"), ARCHITECTURES)
@pytest.mark.parametrize("size", [(16, 16), (64, 96), (48, 32)], ids=str)
@pytest.mark.parametrize("quality", [15, 98])
def test_graphs_give_what_pytorch_gives(
    arch: str, options: dict[str, Any], size: tuple[int, int], quality: int
) -> None:
    from onnxruntime import InferenceSession

    network, told = random_network(arch, options), condition(quality, "4:2:0")
    image = np.random.default_rng(0).random((1, *size, 3), np.float32)
    feed = {"image": image} | ({"condition": told[None]} if arch == "CarNet" else {})
    with torch.no_grad():
        tensors = torch.from_numpy(image).permute(0, 3, 1, 2), torch.from_numpy(told)[None]
        expected = (network(*tensors) * residual_scale(tensors[1])).permute(0, 2, 3, 1).numpy()
        if arch == "CarNet":
            expected *= fade(tensors[1]).numpy()
    graph = to_onnx(network, told)
    found = InferenceSession(graph.SerializeToString()).run(None, feed)[0]
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    halved = halve_weights(graph).SerializeToString()
    assert len(halved) < 0.7 * len(graph.SerializeToString())
    np.testing.assert_allclose(InferenceSession(halved).run(None, feed)[0], expected, rtol=0, atol=1e-2)


@pytest.mark.parametrize(("arch", "options"), ARCHITECTURES)
def test_int8_graphs_move_bytes_and_stay_near(arch: str, options: dict[str, Any]) -> None:
    from onnxruntime import InferenceSession

    network, told = random_network(arch, options), condition(30, "4:2:0")
    image = data.astronaut()[None, 100:148, 100:164]
    more = {"condition": told[None]} if arch == "CarNet" else {}
    feed = {"image": (image / 255).astype(np.float32)} | more
    graph = to_onnx(network, told)
    expected = InferenceSession(graph.SerializeToString()).run(None, feed)[0]
    level = logging.getLogger().level
    int8 = quantize(graph, [feed])
    assert logging.getLogger().level == level  # what the program logs afterwards is heard as before
    session = InferenceSession(int8.SerializeToString())  # without VNNI too: no sum may leave 16 bits
    assert session.get_inputs()[0].type == session.get_outputs()[0].type == "tensor(uint8)"
    found, step, zero = session.run(None, {"image": image} | more)
    assert np.sqrt(np.mean(((found - zero) * step - expected) ** 2)) < 0.1 * expected.std()

    # In strips the same comes out. No value of the picture's size is a float, what is told is quantized once, and
    # convolutions take what they are given as it is. onnxruntime finds nothing more to do when it opens them.
    strips, facts = in_strips(int8, 16)
    ready = fused(strips)
    onnx.checker.check_model(ready)
    assert [node.op_type for node in fused(ready).graph.node] == [node.op_type for node in ready.graph.node]
    session = InferenceSession(ready.SerializeToString())
    tall = np.tile(image, (1, 3, 1, 1))
    whole, state, parts = InferenceSession(int8.SerializeToString()).run(None, {"image": tall} | more)[0], b"", []
    for rows, is_last in ((slice(0, 96), 0), (slice(96, 112), 0), (slice(112, 144), 1)):
        ends = {"state": np.frombuffer(state, np.uint8), "is_last": np.array([is_last])}
        part, *_, state = session.run(None, {"image": tall[:, rows]} | more | ends)
        parts.append(part)
    np.testing.assert_array_equal(np.concatenate(parts, 1), whole)
    assert parts[0].shape[1] == 96 - facts["lead"]
    assert len(state) == 64 * facts["state_per_px"]
    nodes = ready.graph.node
    assert "DequantizeLinear" not in {node.op_type for node in nodes}
    assert sum(node.op_type == "QuantizeLinear" for node in nodes) == (arch == "CarNet")
    assert sum(node.op_type == "Transpose" for node in nodes) == (arch == "CarNet")

    # OpenVINO computes in floats what does not come from a QuantizeLinear.
    tiles = portable(int8)
    made = {name: node for node in tiles.graph.node for name in node.output}
    for node in tiles.graph.node:
        if node.op_type == "Conv" and node.name != TOLD:
            assert made[made[node.input[0]].input[0]].op_type == "QuantizeLinear"
    assert ("SpaceToDepth" in {node.op_type for node in tiles.graph.node}) == (arch != "ARCNN")
    again = InferenceSession(tiles.SerializeToString()).run(None, {"image": image} | more)[0]
    assert np.abs(again.astype(int) - found).max() <= (0 if arch == "CarNet" else 12)


def test_no_two_products_of_bytes_leave_16_bits() -> None:
    """Processors without VNNI add such pairs in 16 bits: u8 times s8, neighbours among the inputs."""
    rng = np.random.default_rng(0)
    for shape in ((24, 16, 3, 3), (16, 48, 1, 1), (16, 3, 9, 9)):
        weight = rng.standard_t(3, shape).astype(np.float32)
        levels = np.rint(weight / lattice_steps(torch.tensor(weight)).numpy()[:, None, None, None])
        assert np.abs(levels).max() <= 127
        assert np.abs(levels).max() > 60  # as fine as that allows
        pairs = levels[:, ::2] + levels[:, 1::2] if shape[1] % 4 == 0 else 2 * levels
        assert 255 * pairs.max() <= 2**15 - 1
        assert 255 * pairs.min() >= -(2**15)


@pytest.mark.parametrize(("arch", "options"), ARCHITECTURES)
def test_a_rounding_network_gives_what_its_int8_graph_does_and_learns_its_levels(
    arch: str, options: dict[str, Any]
) -> None:
    from onnxruntime import InferenceSession

    network, told = random_network(arch, options), condition(30, "4:2:0")
    image = data.astronaut()[None, 100:164, 100:196]
    inputs = torch.from_numpy(image / np.float32(255)).permute(0, 3, 1, 2), torch.from_numpy(told)[None]
    graph = to_onnx(network, told)
    exact = network(*inputs).detach()
    round_activations(network, [inputs])
    weights = dict(network.named_parameters())
    residual = torch.func.functional_call(network, rounded_weights(network, weights), inputs)

    feed = {"image": image} | ({"condition": told[None]} if arch == "CarNet" else {})
    calibration = [feed | {"image": (image / 255).astype(np.float32)}]
    int8 = quantize(graph, calibration, levels_by_place(network.state_dict()))
    found, step, zero = InferenceSession(int8.SerializeToString()).run(None, feed)
    exact, rounded = ((r * residual_scale(inputs[1])).detach().permute(0, 2, 3, 1).numpy() for r in (exact, residual))
    found = (found - zero) * step
    error, of_int8, difference = (np.sqrt(np.mean(d**2)) for d in (rounded - exact, found - exact, found - rounded))
    assert 0.5 < error / of_int8 < 2
    if options == TINY:  # in deep random networks a sum that falls between two levels changes all that follows
        assert difference < 0.3 * error
    residual.square().mean().backward()
    assert len(weights) > len(list(random_network(arch, options).parameters()))
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in weights.values())


def test_levels_learn_what_range_serves_values_best() -> None:
    values = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 1000)).astype(np.float32))
    errors = {width: (Levels(-width, width)(values) - values).square().mean().item() for width in (2, 3, 4, 4.5, 10)}
    best = min(errors.values())
    for width in (2, 10):
        levels = Levels(-width, width)
        optimizer = torch.optim.Adam(levels.parameters(), 0.03)
        for _ in range(300):
            optimizer.zero_grad()
            error = (levels(values) - values).square().mean()
            error.backward()
            optimizer.step()
        assert error.item() < 1.1 * best < 0.3 * errors[width]


def test_silent_channels_begin_anew_and_change_nothing_at_first() -> None:
    network = random_network("CarNet", TINY)
    inputs = torch.rand(2, 3, 64, 64), torch.tensor([[500.0, 500, 1]]).expand(2, -1)
    revive(network, [inputs])
    first = network.stages[0][0].first
    with torch.no_grad():
        first.bias[:3] = -100
    before = first.weight.detach().clone()
    expected = network(*inputs)
    assert revive(network, [inputs]) == 3
    assert torch.allclose(network(*inputs), expected, atol=1e-5)
    assert torch.equal(first.weight[3:], before[3:])
    seen = []
    first.register_forward_hook(lambda _, __, sums: seen.append((sums > 0).float().mean((0, 2, 3))))
    network(*inputs).square().mean().backward()
    assert ((seen[0][:3] > 0.1) & (seen[0][:3] < 0.9)).all()
    assert (network.stages[0][0].second.weight.grad[:, :3].abs().amax((0, 2, 3)) > 0).all()
    assert revive(network, [inputs]) == 0


def test_a_stage_may_add_blocks_that_do_nothing_at_first(tmp_path: Path) -> None:
    small = random_network("CarNet", TINY)
    weights = {f"{kind}.{k}": v.clone() for kind in ("network", "ema") for k, v in small.state_dict().items()}
    checkpoint.save(tmp_path / "first.safetensors", weights, Recipe(options=TINY, epochs=1, label="first"), {})
    recipe = Recipe(options=TINY | {"blocks": [3]}, epochs=1, start="first")
    large = _Run(recipe, tmp_path / "all.safetensors", torch.device("cpu")).network
    image, told = torch.rand(1, 3, 32, 32), torch.tensor([[500.0, 500, 1]])
    assert sum(p.numel() for p in large.parameters()) > sum(p.numel() for p in small.parameters())
    small.to(memory_format=torch.channels_last)  # as training has it: sums of the same order
    assert torch.allclose(large(image, told), small(image, told), atol=1e-6)
    assert large.stages[0][2].first.weight.abs().max() > 0  # or no gradient would ever reach them
