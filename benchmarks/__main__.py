"""How fast we are, beside what people would use instead and beside what the machine can do at most.

    python benchmarks [--images DIR] [--live1 DIR] [--outputs-dir DIR] [--only WORDS] [--scaling]

prints Markdown tables, and draws plots into docs/images or the folder that is given. Every row is run by turns with all
others, so that what disturbs the machine disturbs all of them. Pictures come from the folder, or are made. Best on an
idle machine: the spread in the first lines says whether it was one. Wants the extra ``train``; programs and libraries
that are not installed (jpegqs, ffmpeg; openvino, gmic, pyjpegli) are left out.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from contenders import Command, Contender, Image8, commands, contenders, read
from machine import convolutions, describe, floors, peak, spread, widest
from PIL import Image
from scaling import scale

from napari_car import list_models, open_session
from napari_car.steps import count_cores

YARDSTICK = "ARCNN, eager PyTorch fp32"
COMMAND_YARDSTICK = "jpegqs -q 6"
QUALITIES = (10, 20, 40)


def main() -> None:
    """Measure what was asked for and print it."""
    parser = argparse.ArgumentParser(prog="python benchmarks", description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("--images", type=Path, metavar="DIR", help="pictures to measure on (default: synthetic)")
    home = Path(os.environ.get("NAPARI_CAR_DATA", Path(__file__).parents[2] / "shared" / "data"))
    add("--live1", type=Path, metavar="DIR", default=home / "eval" / "live1", help="LIVE1, for the gain (%(default)s)")
    images = Path(__file__).parents[1] / "docs" / "images"
    add(
        "--outputs-dir", type=Path, metavar="DIR", default=images, help="where to draw the plots (default: docs/images)"
    )
    add("--only", default="", metavar="WORDS", help="rows whose name holds one of these, comma between; and yardsticks")
    add("--repeats", type=int, default=5, help="of each row (default: %(default)s)")
    add("--megapixels", type=float, default=1.0, help="of the picture for networks (default: %(default)s)")
    add("--command-megapixels", type=float, default=12.0, help="of that for commands (default: %(default)s)")
    add("--scaling", action="store_true", help="measure against pixels, threads, tiles and processes, and nothing else")
    add("--largest", type=float, default=200, help="of the pictures for --scaling, megapixels (default: %(default)s)")
    add("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        _run_once(options.memory_of, options.megapixels)
        return
    print(f"{describe()}\n\nSpread of a fixed piece of work, median over least: {spread():.2f}\n")
    options.outputs_dir.mkdir(parents=True, exist_ok=True)
    if options.scaling:
        scale(options.largest, options.outputs_dir)
        return
    words = options.only.split(",")

    def is_wanted(name: str) -> bool:
        return name in (YARDSTICK, COMMAND_YARDSTICK) or any(word in name for word in words)

    _floors()
    _networks([c for c in contenders() if is_wanted(c.name)], options)
    _commands([c for c in commands() if is_wanted(c.name)], options)
    print(f"\nSpread at the end: {spread():.2f}")


def picture(megapixels: float, folder: Path | None = None) -> Image8:
    """A picture of about so many megapixels: those of a folder side by side, or edges, waves and grain."""
    height, width = round((megapixels * 0.75e6) ** 0.5), round((megapixels / 0.75 * 1e6) ** 0.5)
    files = sorted(path for path in (folder.rglob("*") if folder else []) if path.suffix.lower() in (".png", ".bmp"))
    if not files:
        rng, side = np.random.default_rng(0), 500
        y, x = np.mgrid[:side, :side, :1][:2]
        waves = np.sin(x / 9) * np.sin(y / 23 + np.arange(3) * x / 360)
        edges = rng.integers(0, 160, (side // 50, side // 50, 3)).repeat(50, 0).repeat(50, 1)
        piece = (edges + 48 + 40 * waves + rng.normal(0, 4, (side, side, 3))).clip(0, 255).astype(np.uint8)
        return np.tile(piece, (height // side + 1, width // side + 1, 1))[:height, :width]
    result = np.zeros((height, width, 3), np.uint8)
    tiles = [read(path)[:256, :256] for path in files[:200]]
    for number, (top, left) in enumerate((t, le) for t in range(0, height, 256) for le in range(0, width, 256)):
        place = result[top : top + 256, left : left + 256]
        place[:] = np.resize(tiles[number % len(tiles)], (256, 256, 3))[: place.shape[0], : place.shape[1]]
    return result


def degrade(image: Image8, quality: int) -> bytes:
    """A JPEG file of a picture."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _floors() -> None:
    """Print what the machine does at most, and the share of it that our convolutions reach."""
    print("## Floors, one thread\n\n| | |\n|---|---:|")
    for name, value in floors().items():
        print(f"| {name} | {value:.0f} |")
    print("\n## Convolutions against a chain of their widest, one thread\n")
    print("| model | widest | Gop/s | of a chain | share | of the whole run | all at the chain's rate, s/MP |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for card in list_models():
        for precision in card.precisions:
            weights = open_session(card.id, provider="cpu", precision=precision, threads=1).weights(20)
            model, side = card.read(weights), 256
            image = np.full((1, side, side, 3), 128, np.uint8)
            feed = {"image": image if precision == "int8" else (image / np.float32(255))}
            if card.conditioning:
                feed["condition"] = np.array([[250, 250, 1]], np.float32)
            if weights.form == "strips":
                feed |= {"state": np.empty(0, np.uint8), "is_last": np.ones(1, np.int64)}
            seconds = convolutions(model, feed)
            operations = 2000 * card.kmac_per_px  # a pixel
            rate, most = operations * side**2 / seconds, peak(*widest(model), precision)
            whole = _whole(model, feed)
            shape = "{} to {}, {n}x{n}".format(*widest(model)[:2], n=widest(model)[2])
            print(
                f"| {card.id}, {precision} | {shape} | {rate / 1e9:.0f} | {most / 1e9:.0f} | {rate / most:.0%} | "
                f"{seconds / whole:.0%} | {1e6 * operations / most:.3f} |"
            )


def _whole(model: bytes, feed: dict[str, np.ndarray]) -> float:
    """Seconds of one run of a graph, the least of a few."""
    from machine import best, session

    opened = session(model)
    return best(lambda: opened.run(None, feed), 6)


def _networks(rows: Sequence[Contender], options: argparse.Namespace) -> None:
    """Print time, memory and gain of all that takes pixels."""
    image = np.asarray(Image.open(io.BytesIO(degrade(picture(options.megapixels, options.images), 20))))
    image = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]  # Fast ARCNN as published takes no odd sides
    works = {row.name: row.start() for row in rows}
    times: dict[str, list[float]] = {row.name: [] for row in rows}
    for _ in range(options.repeats):
        for name, work in works.items():
            start = time.perf_counter()
            work(image, 20)
            times[name].append(time.perf_counter() - start)
    megapixels = image.shape[0] * image.shape[1] / 1e6
    gains = {row.name: _gains(works[row.name], options.live1) for row in rows if row.is_trained}
    print(f"\n## Pixels to pixels, {megapixels:.2f} MP, one thread\n")
    print("| | times as fast | s/MP | median | peak memory, MB | gain on LIVE1 at 10, 20, 40, dB |")
    print("|---|---:|---:|---:|---:|---|")
    for name, seconds in sorted(times.items(), key=lambda item: -min(item[1])):
        fast, least = min(times[YARDSTICK]) / min(seconds), min(seconds) / megapixels
        memory = _memory([sys.executable, str(Path(__file__).parent), "--memory-of", name])
        gain = ", ".join(f"{value:+.2f}" for value in gains.get(name, []))
        median = statistics.median(seconds) / megapixels
        print(f"| {name} | {fast:.2f} | {least:.4f} | {median:.4f} | {memory:.0f} | {gain} |")
    if any(gains.values()):
        points = {name: (min(times[name]) / megapixels, gain[1]) for name, gain in gains.items() if gain}
        _plot(points, options.outputs_dir / "quality-against-time.png")


def _gains(work: object, live1: Path) -> list[float]:
    """Mean gain of PSNR in RGB over LIVE1 at each quality, dB; empty where the set is not there."""
    files = sorted(live1.glob("*.bmp")) or sorted(live1.glob("*.png"))
    result = []
    for quality in QUALITIES if files else ():
        gained = []
        for path in files:
            reference = read(path)
            image = np.asarray(Image.open(io.BytesIO(degrade(reference, quality))))
            gained.append(_psnr(work(image, quality), reference) - _psnr(image, reference))  # type: ignore[operator]
        result.append(float(np.mean(gained)))
    return result


def _psnr(image: Image8, reference: Image8) -> float:
    """PSNR over RGB, dB."""
    return float(10 * np.log10(255**2 / np.mean((image.astype(np.float64) - reference) ** 2)))


def _commands(rows: Sequence[Command], options: argparse.Namespace) -> None:
    """Print time, memory and gain of all that takes files."""
    cores = count_cores()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "large.jpg")
        source.write_bytes(degrade(picture(options.command_megapixels, options.images), 20))
        times: dict[str, list[float]] = {row.name: [] for row in rows}
        for _ in range(max(2, options.repeats // 2)):
            for row in rows:
                start = time.perf_counter()
                row.run(source, Path(folder), threads=cores)
                times[row.name].append(time.perf_counter() - start)
        print(f"\n## File to file, {options.command_megapixels:g} MP, {cores} cores, start of the program included\n")
        print("| | of the time of " + COMMAND_YARDSTICK + " | s | median | peak memory, MB | gain on LIVE1, dB |")
        print("|---|---:|---:|---:|---:|---|")
        for row in rows:
            gain = ", ".join(f"{value:+.2f}" for value in _file_gains(row, options.live1, Path(folder)))
            memory = _memory(row.arguments(source, Path(folder, f"memory{row.ending}")))
            seconds = times[row.name]
            share = f"{min(seconds) / min(times[COMMAND_YARDSTICK]):.2f}" if COMMAND_YARDSTICK in times else ""
            least, median = min(seconds), statistics.median(seconds)
            print(f"| {row.name} | {share} | {least:.2f} | {median:.2f} | {memory:.0f} | {gain} |")


def _file_gains(row: Command, live1: Path, folder: Path, count: int = 6) -> list[float]:
    """Mean gain of PSNR in RGB at each quality over the first pictures of LIVE1, dB; starting programs takes long."""
    files = (sorted(live1.glob("*.bmp")) or sorted(live1.glob("*.png")))[:count]
    result = []
    for quality in QUALITIES if files else ():
        gained = []
        for path in files:
            reference, source = read(path), folder / "small.jpg"
            source.write_bytes(degrade(reference, quality))
            restored = read(row.run(source, folder, threads=1))
            gained.append(_psnr(restored, reference) - _psnr(read(source), reference))
        result.append(float(np.mean(gained)))
    return result


def _memory(arguments: list[str]) -> float:
    """Peak memory of a program, MB, by Linux's account of it; nan elsewhere."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    most, status = float("nan"), Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        try:
            line = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM")), "")
        except OSError:
            line = ""
        most = int(line.split()[1]) / 1024 if line else most
        time.sleep(0.005)
    return most


def _run_once(name: str, megapixels: float) -> None:
    """What a process of its own does, so that its memory can be seen."""
    row = next(row for row in contenders() if row.name == name)
    row.start()(picture(megapixels), 20)


def _plot(points: dict[str, tuple[float, float]], path: Path) -> None:
    """Draw quality against time."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for name, (seconds, gain) in points.items():
        axes.semilogx(seconds, gain, "o")
        axes.annotate(name, (seconds, gain), textcoords="offset points", xytext=(6, 4), fontsize=8)
    axes.set(xlabel="seconds a megapixel, one thread", ylabel="gain of PSNR (RGB) on LIVE1 at quality 20, dB")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
