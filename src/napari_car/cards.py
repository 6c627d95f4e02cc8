"""Model cards: what a bundled model is, what it needs and what it reaches. Models are data; adding one adds no code."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from napari_car.errors import ModelError

DEFAULT_MODEL = "car-m"
"""The model that is used where none is asked for."""


@dataclass(frozen=True)
class Weights:
    """One file of a model.

    Parameters
    ----------
    file
        Name within the model's folder.
    sha256
        Of the file, hexadecimal; checked before the file is used.
    precision
        Of the arithmetic, "int8", "fp16" or "fp32".
    quality
        The IJG quality that the weights are for, or None for all.
    form
        What the graph takes: "tiles", or "strips" (see ``stream.Stream``).
    """

    file: str
    sha256: str
    precision: str
    quality: int | None = None
    form: str = "tiles"


@dataclass(frozen=True)
class ModelCard:
    """What is declared of a model in ``models/<id>/card.toml``.

    Parameters
    ----------
    id
        Name of the model and of its folder.
    summary
        One sentence for a person who chooses.
    licence
        SPDX identifier of the weights' licence.
    parameters
        Number of learned values in one set of weights.
    kmac_per_px
        Multiply-accumulate operations, thousands per pixel of an RGB image.
    halo
        How far beyond a cell (``tiling.cell``) that cell's output depends on the image, px; measured at export.
    align
        Grid on which tiles must start, px.
    bytes_per_px
        Memory of a run by precision, bytes per pixel of a tile, measured at export.
    conditioning
        What the network is told of the picture, in order, of ``luma_scale``, ``chroma_scale`` (IJG percent) and
        ``chroma_subsampling`` (0 none, 1 in both directions); empty for none.
    strips
        Of the graphs that take strips, where there are any: ``lead``, the rows by which what they give lags behind;
        ``state_per_px``, the bytes they keep for each pixel across; and ``bytes_per_px``, the memory of a run for a
        strip as high as the first, measured at export.
    qualities
        Lowest and highest IJG quality at which the model helps, with chroma subsampled.
    qualities_444
        The same for pictures without chroma subsampling, and for grey ones.
    weights
        The files.
    opset
        Of the ONNX files.
    training
        Where the weights come from: data, licences of the data, recipe, minutes, steps.
    results
        Rows written by ``napari-car evaluate``.
    folder
        Where the card was read.
    """

    id: str
    summary: str
    licence: str
    parameters: int
    kmac_per_px: float
    halo: int
    align: int
    bytes_per_px: Mapping[str, int]
    conditioning: tuple[str, ...]
    qualities: tuple[int, int]
    qualities_444: tuple[int, int]
    weights: tuple[Weights, ...]
    opset: int
    strips: Mapping[str, int] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    results: tuple[Mapping[str, Any], ...] = ()
    folder: Path = field(default=Path(), compare=False, repr=False)

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions that the model comes in, the finest last."""
        return tuple(dict.fromkeys(w.precision for w in self.weights))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(len(self.read(w)) for w in self.weights)

    def gain(self, quality: int, data: str = "live1") -> float | None:
        """PSNR over that of the JPEG by the card's own results, dB; None where it was not measured."""
        psnr = {row["model"]: row["psnr"] for row in self.results if row["data"] == data and row["quality"] == quality}
        return psnr[self.id] - psnr["jpeg"] if {self.id, "jpeg"} <= psnr.keys() else None

    def form(self, provider: str, precision: str) -> str:
        """What the graph for a provider takes: strips, where there are any for onnxruntime's CPU, else tiles."""
        has_strips = any((w.precision, w.form) == (precision, "strips") for w in self.weights)
        return "strips" if provider == "cpu" and has_strips else "tiles"

    def nearest(self, quality: float, precision: str, form: str = "tiles") -> Weights:
        """The weights made for the quality nearest to ``quality``, in the given precision."""
        found = [w for w in self.weights if (w.precision, w.form) == (precision, form)]
        if not found:
            raise ModelError(f"model {self.id!r} has no {precision} weights; it has {', '.join(self.precisions)}")
        return min(found, key=lambda w: abs((quality if w.quality is None else w.quality) - quality))

    def read(self, weights: Weights) -> bytes:
        """Content of a file of the model, checked against the card.

        Raises
        ------
        ModelError
            If the file is missing or its hash is not the card's.
        """
        try:
            content = (self.folder / weights.file).read_bytes()
        except OSError as error:
            raise ModelError(
                f"model {self.id!r}: {weights.file} cannot be read ({error.strerror}); reinstall napari-car"
            ) from error
        found = hashlib.sha256(content).hexdigest()
        if found != weights.sha256:
            raise ModelError(
                f"model {self.id!r}: {weights.file} has sha256 {found[:12]}… where the card says "
                f"{weights.sha256[:12]}…; the file is damaged or was replaced: reinstall napari-car"
            )
        return content


@cache
def models_folder() -> Path:
    """Folder of the bundled models: in the installed package, or at the top of a source tree."""
    package = Path(__file__).resolve().parent
    for folder in (package / "models", package.parents[1] / "models"):
        if folder.is_dir():
            return folder
    raise ModelError(f"no models are installed in {package / 'models'}; reinstall napari-car")


def list_models() -> list[ModelCard]:
    """Cards of the bundled models, cheapest first.

    Examples
    --------
    >>> "arcnn" in [card.id for card in list_models()]
    True
    """
    cards = [read_card(path.parent) for path in models_folder().glob("*/card.toml")]
    return sorted(cards, key=lambda card: (card.kmac_per_px, card.id))


def load_card(model: str | None = None) -> ModelCard:
    """The card of one bundled model, by its id; the default model's for None.

    Raises
    ------
    ModelError
        If there is none of that id; the message names those that exist.
    """
    model = model or DEFAULT_MODEL
    known = sorted(path.parent.name for path in models_folder().glob("*/card.toml"))
    if model not in known:
        raise ModelError(f"there is no model {model!r}; there are {', '.join(known)}")
    return read_card(models_folder() / model)


def read_card(folder: Path) -> ModelCard:
    """Read ``card.toml`` of a model's folder.

    Raises
    ------
    ModelError
        If it cannot be read, or a key is missing, unknown or of the wrong kind.
    """
    path = folder / "card.toml"
    try:
        content = tomllib.loads(path.read_text("utf-8"))
        content["weights"] = tuple(Weights(**table) for table in content["weights"])
        for key in ("conditioning", "qualities", "qualities_444", "results"):
            content[key] = tuple(content.get(key, ()))
        card = ModelCard(**content, folder=folder)
        _check_kinds(card)
        for weights in card.weights:
            _check_kinds(weights)
        _check_costs(card)
        _check_entries(card)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is not TOML: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} has a key missing, unknown or wrong ({error}); known are {_keys()}") from error
    if not card.weights:
        raise ModelError(f"{path} lists no weights; it needs one [[weights]] table or more")
    if card.id != folder.name:
        raise ModelError(f"{path} is of model {card.id!r}; it must carry its folder's name, {folder.name!r}")
    return card


def _check_kinds(declared: ModelCard | Weights) -> None:
    """Raise TypeError for a value of another kind than its key's annotation says."""
    for key, hint in get_type_hints(type(declared)).items():
        value, kinds = getattr(declared, key), get_args(hint) if isinstance(hint, UnionType) else (hint,)
        plain = tuple(get_origin(kind) or kind for kind in kinds)
        if not isinstance(value, (*plain, int) if float in plain else plain) or isinstance(value, bool):
            raise TypeError(f"{key} is {value!r}")


def _check_costs(card: ModelCard) -> None:
    """Raise KeyError for what memory cannot be reckoned without, TypeError for what is no number or a grid of none."""
    lacking = {w.precision for w in card.weights} - card.bytes_per_px.keys()
    if any(w.form == "strips" for w in card.weights):
        lacking |= {"lead", "state_per_px", "bytes_per_px"} - card.strips.keys()
    if lacking:
        raise KeyError(", ".join(sorted(lacking)))
    if card.align < 1 or card.halo < 0:
        raise TypeError(f"align is {card.align} and halo {card.halo}")
    for key, value in (*card.bytes_per_px.items(), *card.strips.items()):
        if type(value) is not int or value < 0:
            raise TypeError(f"{key} is {value!r}")


def _check_entries(card: ModelCard) -> None:
    """Raise TypeError for what is in a list and is not as it is declared; KeyError for a result without its keys."""
    if not all(isinstance(name, str) for name in card.conditioning):
        raise TypeError(f"conditioning is {card.conditioning}")
    for key in ("qualities", "qualities_444"):
        if [type(quality) for quality in getattr(card, key)] != [int, int]:
            raise TypeError(f"{key} is {getattr(card, key)}")
    for row in card.results:
        if not isinstance(row, Mapping):
            raise TypeError(f"results has {row!r}")
        if lacking := {"data", "quality", "model", "psnr"} - row.keys():
            raise KeyError(", ".join(sorted(lacking)))


def _keys() -> str:
    """Keys of a card, for messages."""
    return ", ".join(f.name for f in fields(ModelCard) if f.name != "folder")
