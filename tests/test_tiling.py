"""Tiles cover an image once, and tiled output is that of the whole image for every model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_car import InputError, ModelCard, Session, list_models, load_card, open_session, restore
from napari_car.cards import Weights, models_folder
from napari_car.tiling import cell, overlap, plan_tiles, round_up

if TYPE_CHECKING:
    from torch import nn

    from napari_car.train.recipe import Recipe

WHOLE = 10**6
MODELS = [(card.id, precision) for card in list_models() for precision in card.precisions]
RECIPES = sorted(path.parent.name for path in models_folder().glob("*/recipe.toml"))

lengths = st.integers(1, 200)
grids = st.sampled_from([1, 2, 8, 16])


@given(lengths, lengths, st.tuples(st.integers(9, 80), st.integers(0, 70)), grids, st.data())
def test_tiles_write_every_pixel_once_and_read_enough(
    height: int, width: int, sides: tuple[int, int], align: int, data: st.DataObject
) -> None:
    tile, halo = sides
    phase = data.draw(st.tuples(st.integers(0, align - 1), st.integers(0, align - 1)))
    plan = plan_tiles(height, width, tile=tile, halo=halo, align=align, phase=phase)
    written = np.zeros((height, width), int)
    tiles = list(plan)
    assert len(tiles) == len(plan)
    for read, write, crop in tiles:
        written[write.slices] += 1
        assert read.shape == tiles[0].read.shape
        for axis, length in ((0, height), (1, width)):
            start, stop = read[axis], read[axis + 2]
            assert (start - phase[axis]) % align == 0
            assert (stop - start) % align == 0
            assert -align < start
            assert stop < length + align
            assert start <= write[axis] < write[axis + 2] <= stop
            assert (crop[axis], crop[axis + 2]) == (write[axis] - start, write[axis + 2] - start)
            # Only the image's own edge may be nearer than the halo.
            assert start <= max(0, write[axis] - halo) or start <= 0
            assert stop >= min(length, write[axis + 2] + halo)
    assert (written == 1).all()


@given(lengths, lengths, st.integers(1, 80), grids, st.data())
def test_bands_are_the_tile_cut_between_blocks(
    height: int, width: int, tile: int, align: int, data: st.DataObject
) -> None:
    halo, px = data.draw(st.integers(0, 40)), data.draw(st.integers(1, 5000))
    phase = data.draw(st.tuples(st.integers(0, align - 1), st.integers(0, align - 1)))
    for whole in plan_tiles(height, width, tile=tile, halo=halo, align=align, phase=phase):
        bands = list(whole.bands(px))
        edges = [bands[0].write.top, *(band.write.bottom for band in bands)]
        assert (edges[0], edges[-1]) == (whole.write.top, whole.write.bottom)
        for band, (top, bottom) in zip(bands, pairwise(edges), strict=True):
            assert (band.read, band.write) == (whole.read, whole.write._replace(top=top, bottom=bottom))
            assert band.crop == whole.crop._replace(top=top - whole.read.top, bottom=bottom - whole.read.top)
            assert (bottom - top) * (whole.write.right - whole.write.left) <= px or bottom - top <= 8
        assert all((edge - whole.read.top) % 8 == 0 for edge in edges[1:-1])


@given(lengths, st.integers(1, 80), st.integers(0, 70), grids)
def test_no_tile_is_superfluous(length: int, tile: int, halo: int, align: int) -> None:
    plan = plan_tiles(length, 1, tile=tile, halo=halo, align=align)
    size = -(-tile // align) * align
    inner = [row.stop - row.start for row in plan.rows]
    assert all(n <= size for n in inner[1:-1])
    assert all(later.start > sooner.start for sooner, later in pairwise(plan.rows))


@pytest.mark.parametrize("tile", [0, -3])
def test_tile_must_be_positive(tile: int) -> None:
    with pytest.raises(InputError, match=f"tile is {tile} px"):
        plan_tiles(10, 10, tile=tile, halo=1, align=1)


def sizes(card: ModelCard) -> Iterator[tuple[int, int]]:
    """Twenty sizes: tiny ones, strips, and around the limits where one tile becomes two or three."""
    one = 32 + overlap(card.halo, card.align)  # the longest side that a tile of 32 px serves alone
    yield from [(1, 1), (1, 2), (3, 5), (15, 17), (16, 16), (31, 33), (32, 32), (1, 1000), (1000, 1)]
    yield from [(7, one - 1), (16, one), (17, one + 1), (one + 1, 18), (one, 2), (one + 33, 5)]
    yield from [(3, one + 32), (5, one + 33), (2, 3 * one + 7), (one + 1, one + 17), (40, one + 64)]


@pytest.mark.parametrize(("model", "precision"), MODELS)
def test_tiled_equals_whole(model: str, precision: str) -> None:
    session = open_session(model, provider="cpu", precision=precision)
    rng = np.random.default_rng(0)
    cut = 0
    for number, size in enumerate(sizes(session.card)):
        image = rng.uniform(0.2, 0.8, (*size, 3))  # float64 that never clips: nothing is rounded away
        quality = (10, 35, 90)[number % 3]
        whole = restore(image, quality=quality, session=session, tile=WHOLE)
        assert (whole != image).any()
        for tile in (32, 48) if number % 2 else (17,):
            tiled = restore(image, quality=quality, session=session, tile=tile)
            if precision == "int8":
                np.testing.assert_array_equal(tiled, whole)
            else:
                np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-3 if precision == "fp16" else 1e-5)
            plan = plan_tiles(*size, tile=tile, halo=session.card.halo, align=session.card.align)
            cut += len(plan) > 1
    assert cut >= 10  # otherwise nothing was compared


@pytest.mark.parametrize(("model", "precision"), MODELS)
def test_a_step_less_of_halo_is_seen(model: str, precision: str) -> None:
    session = open_session(model, provider="cpu", precision=precision)
    card = session.card
    halo = round_up(card.halo, cell(card.align))
    short = Session(replace(card, halo=halo - card.align), "cpu", precision, session.threads)
    image = np.random.default_rng(0).uniform(0.2, 0.8, (17, 2 * halo + 81, 3))
    whole = restore(image, quality=10, session=session, tile=WHOLE)
    rounding, missing = (np.abs(restore(image, quality=10, session=s, tile=32) - whole).max() for s in (session, short))
    assert missing > 4 * rounding


@pytest.mark.parametrize("model", RECIPES)
@pytest.mark.parametrize("tap", [0, -1], ids=["back", "ahead"])
def test_measured_halo_is_exact_and_the_smallest(model: str, tap: int, tmp_path: Path) -> None:
    """On every architecture, with weights that carry a pixel as far as the layers can: trained ones may hide it."""
    pytest.importorskip("torch", reason="needs the train extra")
    pytest.importorskip("onnx", reason="needs the train extra")
    from napari_car.train.export import _card
    from napari_car.train.recipe import read_recipe

    recipe = read_recipe(models_folder() / model / "recipe.toml")[0]
    network, content = far_reaching(recipe, tap)
    (tmp_path / "far.onnx").write_bytes(content)
    weights = Weights("far.onnx", hashlib.sha256(content).hexdigest(), "fp32")
    facts = _card(tmp_path, network, [recipe], 0.0, 0)
    measured = {key: facts[key] for key in ("halo", "align", "conditioning")}
    card = replace(load_card(), **measured, weights=(weights,), folder=tmp_path)
    halo = round_up(card.halo, cell(card.align))
    image = np.random.default_rng(0).uniform(0.2, 0.8, (17, 2 * halo + 81, 3))
    results = [
        restore(image, quality=10, session=Session(given, "cpu", "fp32", 1), tile=tile)
        for given, tile in ((card, WHOLE), (card, 32), (replace(card, halo=halo - cell(card.align)), 32))
    ]
    whole, tiled, short = (result - image for result in results)
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-5 * np.abs(whole).max())
    assert np.abs(short - whole).max() > 1e-3 * np.abs(whole).max()


def far_reaching(recipe: Recipe, tap: int) -> tuple[nn.Module, bytes]:
    """A network whose kernels hold one weight, in the farthest column, and its graph."""
    import torch

    from napari_car.train.degradation import condition
    from napari_car.train.graph import to_onnx
    from napari_car.train.networks import build, last_layer

    network = build(recipe.arch, **recipe.options)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
                is_transposed = isinstance(layer, torch.nn.ConvTranspose2d)
                # A transposed convolution writes where the others read, so its farthest tap is the opposite one.
                column = -1 - tap if is_transposed else tap
                layer.weight.zero_()
                layer.weight[..., layer.kernel_size[0] // 2, column] = 2 / layer.in_channels
        told = torch.from_numpy(condition(10, "4:2:0"))[None]
        last_layer(network).weight.div_(5 * network(torch.ones(1, 3, 32, 1024), told).max())
        return network, to_onnx(network, told[0].numpy()).SerializeToString()
