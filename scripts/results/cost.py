"""Parameters, computation and memory of ARCNN and Fast ARCNN, counted from their published layers."""

from dataclasses import dataclass
from math import prod

SIZES = {"480p": (480, 854), "720p": (720, 1280), "1080p": (1080, 1920)}
"""Height and width, px."""
# Source: the comparison that these networks were published with.
PUBLISHED_PARAMETERS = {"ARCNN": 117_734, "Fast ARCNN": 85_575}
PUBLISHED_CHANGES = {"parameters": -27, "computation": -72, "memory": -56}
BYTES_PER_VALUE = 4  # of float32


@dataclass(frozen=True)
class Layer:
    """A convolution with bias: the resolution of its output, and of the grid its kernel is applied on."""

    kernel: int
    channels_in: int
    channels_out: int
    resolution: float = 1
    grid: float = 1

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return (self.kernel**2 * self.channels_in + 1) * self.channels_out

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations at one place of the grid."""
        return self.kernel**2 * self.channels_in * self.channels_out


HALF = 1 / 4  # of the pixels, at half the height and half the width
# Source: Dong et al., "Compression artifacts reduction by a deep convolutional network", ICCV 2015, and
# Yu et al., "Deep convolution networks for compression artifacts reduction", 2016; on RGB. A PReLU with one
# slope follows each layer but the last.
LAYERS = {
    "ARCNN": (Layer(9, 3, 64), Layer(7, 64, 32), Layer(1, 32, 16), Layer(5, 16, 3)),
    "Fast ARCNN": (
        Layer(9, 3, 64, HALF, HALF),
        Layer(1, 64, 32, HALF, HALF),
        Layer(7, 32, 32, HALF, HALF),
        Layer(1, 32, 64, HALF, HALF),
        Layer(9, 64, 3, 1, HALF),
    ),
}


def parameters(network: str) -> int:
    """Return the number of weights, biases and slopes."""
    layers = LAYERS[network]
    return sum(layer.parameters for layer in layers) + len(layers) - 1


def macs_per_px(network: str, *, is_transposed_at_output: bool = False) -> float:
    """Return multiply-accumulate operations per pixel; a transposed convolution works at input resolution."""
    return sum(layer.macs * (layer.resolution if is_transposed_at_output else layer.grid) for layer in LAYERS[network])


def values_per_px(network: str) -> float:
    """Return how many values per pixel the convolutions put out, all layers together."""
    return sum(layer.channels_out * layer.resolution for layer in LAYERS[network])


def table() -> list[str]:
    """Return the comparison as lines of Markdown, with how each figure is counted."""

    def line(name: str, counts: dict[str, str], change: float, published: str) -> str:
        return f"| {name} | {counts['ARCNN']} | {counts['Fast ARCNN']} | {change:+.0%} | {published} |"

    def change(count: dict[str, float]) -> float:
        return count["Fast ARCNN"] / count["ARCNN"] - 1

    def text(count: dict[str, float], scale: float = 1, digits: int = 0) -> dict[str, str]:
        return {name: f"{value * scale:,.{digits}f}" for name, value in count.items()}

    learned = {name: float(parameters(name)) for name in LAYERS}
    macs = {name: macs_per_px(name) for name in LAYERS}
    macs_as_published = {name: macs_per_px(name, is_transposed_at_output=True) for name in LAYERS}
    values = {name: values_per_px(name) for name in LAYERS}
    as_published = {key: f"{value:+} %" for key, value in PUBLISHED_CHANGES.items()}
    both = " / ".join(f"{count:,}" for count in PUBLISHED_PARAMETERS.values())
    lines = [
        "| | ARCNN | Fast ARCNN | change | published |",
        "| --- | ---: | ---: | ---: | ---: |",
        line("parameters", text(learned), change(learned), f"{both}, {as_published['parameters']}"),
        line("kMAC/px", text(macs, 1e-3, 1), change(macs), ""),
        line(
            "kMAC/px, transposed convolution at output resolution",
            text(macs_as_published, 1e-3, 1),
            change(macs_as_published),
            as_published["computation"],
        ),
        line("values put out, per px", text(values), change(values), as_published["memory"]),
    ]
    for name, size in SIZES.items():
        n_px = prod(size)
        label = f"{name} ({size[1]} × {size[0]})"
        lines += [
            line(f"{label}, GMAC", text(macs, n_px / 1e9, 1), change(macs), ""),
            line(f"{label}, memory, MB", text(values, n_px * BYTES_PER_VALUE / 1e6), change(values), ""),
        ]
    return lines
