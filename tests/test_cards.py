"""Model cards: what is declared is read, checked, and refused in clear words."""

from __future__ import annotations

import hashlib
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from napari_car import ModelCard, ModelError, cards, list_models, load_card
from napari_car.cards import DEFAULT_MODEL, Weights, models_folder, read_card

IDS = [card.id for card in list_models()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the default model, to be damaged."""
    return Path(shutil.copytree(models_folder() / DEFAULT_MODEL, tmp_path / DEFAULT_MODEL))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the card in a folder."""
    path = folder / "card.toml"
    content = tomllib.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(tomli_w.dumps(content), "utf-8")


@pytest.mark.parametrize("model", IDS)
def test_a_bundled_card_is_true(model: str) -> None:
    card = load_card(model)
    assert card.id == card.folder.name == model
    assert card.precisions == (("int8", "fp16", "fp32") if model == "car-l" else ("int8", "fp32"))
    assert len({(w.precision, w.form, w.quality) for w in card.weights}) == len(card.weights)
    for weights in card.weights:
        assert hashlib.sha256(card.read(weights)).hexdigest() == weights.sha256
    assert card.size == sum(path.stat().st_size for path in card.folder.glob("*.onnx"))  # none is left over
    assert 1 <= card.qualities[0] <= card.qualities[1] <= 100
    assert card.halo >= 0
    assert 16 % card.align == 0  # tiles begin on the MCU grid
    assert [w.quality for w in card.weights if w.form == "strips"] == [
        w.quality for w in card.weights if (w.precision, w.form) == ("int8", "tiles")
    ]
    assert card.strips["lead"] >= card.halo
    assert card.strips["lead"] % 16 == 0
    assert (card.folder / card.training["recipe"]).is_file()
    assert (card.folder / "CARD.md").is_file()


def test_models_come_cheapest_first() -> None:
    costs = [card.kmac_per_px for card in list_models()]
    assert costs == sorted(costs)
    assert DEFAULT_MODEL in IDS


def test_the_default_model_is_loaded_without_a_name() -> None:
    assert load_card() == load_card(DEFAULT_MODEL)


@pytest.mark.parametrize("model", ["no-such", "../models/arcnn", "arcnn/", "ARCNN", "."])
def test_an_unknown_id_names_those_that_exist(model: str) -> None:
    with pytest.raises(ModelError) as error:
        load_card(model)
    assert repr(model) in str(error.value)
    assert all(known in str(error.value) for known in IDS)


def test_the_nearest_quality_is_taken() -> None:
    weights = tuple(Weights(f"q{q}", "", "int8", q) for q in (10, 20, 30, 40))
    card = ModelCard(**{f.name: None for f in fields(ModelCard)} | {"id": "x", "weights": weights})
    chosen = {q: card.nearest(q, "int8").quality for q in (1, 10, 14, 16, 24.9, 25.1, 36, 40, 100)}
    assert chosen == {1: 10, 10: 10, 14: 10, 16: 20, 24.9: 20, 25.1: 30, 36: 40, 40: 40, 100: 40}
    with pytest.raises(ModelError, match="'x' has no fp32 weights; it has int8"):
        card.nearest(10, "fp32")


def test_a_gain_is_that_over_the_jpeg() -> None:
    rows = (
        {"model": "jpeg", "data": "live1", "quality": 10, "psnr": 25.5},
        {"model": "x", "data": "live1", "quality": 10, "psnr": 26.75},
        {"model": "x", "data": "live1", "quality": 20, "psnr": 28.0},
    )
    card = ModelCard(**{f.name: None for f in fields(ModelCard)} | {"id": "x", "results": rows})
    assert card.gain(10) == 1.25
    assert card.gain(20) is None
    assert card.gain(10, "classic5") is None


def test_a_replaced_file_is_refused(folder: Path) -> None:
    card = read_card(folder)
    path = folder / card.weights[0].file
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError) as error:
        card.read(card.weights[0])
    found = hashlib.sha256(content).hexdigest()
    assert all(word in str(error.value) for word in (DEFAULT_MODEL, path.name, found[:12], card.weights[0].sha256[:12]))
    card.read(card.weights[1])


def test_a_missing_file_is_named(folder: Path) -> None:
    card = read_card(folder)
    (folder / card.weights[0].file).unlink()
    with pytest.raises(ModelError, match=f"{card.weights[0].file} cannot be read"):
        card.read(card.weights[0])
    with pytest.raises(ModelError, match=card.weights[0].file):
        _ = card.size


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda card: card.update(colour="blue"), "colour"),
        (lambda card: card.pop("halo"), "halo"),
        (lambda card: card.pop("weights"), "weights"),
        (lambda card: card.update(weights=[]), "weights"),
        (lambda card: card.update(weights=3), "weights|int"),
        (lambda card: card["weights"][0].update(size=3), "size"),
        (lambda card: card["weights"][0].pop("sha256"), "sha256"),
        (lambda card: card.update(halo="wide"), "halo"),
        (lambda card: card.update(align=16.0), "align"),
        (lambda card: card.update(align=0), "align is 0"),
        (lambda card: card["bytes_per_px"].pop("int8"), "int8"),
        (lambda card: card["strips"].pop("lead"), "lead"),
        (lambda card: card["strips"].update(lead="late"), "lead is 'late'"),
        (lambda card: card["bytes_per_px"].update(int8=float("nan")), "int8 is nan"),
        (lambda card: card.update(halo=-1), "halo -1"),
        (lambda card: card.update(qualities=[10]), r"qualities is \(10,\)"),
        (lambda card: card.update(qualities_444=["a", "b"]), "qualities_444 is .*'a'"),
        (lambda card: card.update(conditioning=[1]), r"conditioning is \(1,\)"),
        (lambda card: card.update(results=[1]), "results has 1"),
        (lambda card: card["results"][0].pop("psnr"), "psnr"),
        (lambda card: card.update(kmac_per_px="many"), "kmac_per_px"),
        (lambda card: card.update(id="another"), f"'another'.*'{DEFAULT_MODEL}'"),
    ],
)
def test_a_card_with_a_wrong_key_is_refused(
    change: Callable[[dict[str, Any]], object], said: str, folder: Path
) -> None:
    read_card(folder)
    edit(folder, change)
    with pytest.raises(ModelError, match=said) as error:
        read_card(folder)
    assert "card.toml" in str(error.value)


@pytest.mark.parametrize("content", [b"= 3", b"\xff\xfe", b"id = 'x'\nid = 'x'"])
def test_a_card_that_is_no_toml_is_refused(content: bytes, folder: Path) -> None:
    (folder / "card.toml").write_bytes(content)
    with pytest.raises(ModelError, match=r"card\.toml is not TOML"):
        read_card(folder)


def test_a_missing_card_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"card\.toml cannot be read"):
        read_card(tmp_path)


def test_a_model_needs_no_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = folder.rename(folder.with_name("mine"))
    edit(mine, lambda card: card.update(id="mine"))
    monkeypatch.setattr(cards, "models_folder", lambda: mine.parent)
    assert [card.id for card in list_models()] == ["mine"]
    assert load_card("mine").folder == mine
