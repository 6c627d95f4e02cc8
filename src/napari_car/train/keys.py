"""The keys of a recipe, and what their values may be."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from napari_car.errors import InputError

Rule = tuple[Callable[[Any], bool], str]
"""Whether a value can be taken, and in words what can be."""


def check(told: Mapping[str, Any], rules: Mapping[str, Rule], kind: str = "key") -> None:
    """Refuse keys that are not known and values that cannot be taken.

    Raises
    ------
    InputError
        For the first of them.
    """
    for key, value in told.items():
        if key not in rules:
            raise InputError(f"unknown {kind} {key!r}; known are {', '.join(sorted(rules)) or 'none'}")
        can_be, words = rules[key]
        if not can_be(value):
            raise InputError(f"{key} is {value!r}; it must be {words}")


def _whole(least: int, most: float = math.inf) -> Rule:
    words = f"a whole number from {least}" + (f" to {most}" if most < math.inf else "")
    return lambda value: type(value) is int and least <= value <= most, words


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _one_of(*values: object) -> Rule:
    return lambda value: value in values, f"one of {', '.join(map(repr, values))}"


def _list_of(rule: Rule) -> Rule:
    can_be, words = rule
    return lambda value: isinstance(value, list | tuple) and bool(value) and all(map(can_be, value)), f"a list, {words}"


def _or_none(rule: Rule) -> Rule:
    can_be, words = rule
    return lambda value: value is None or can_be(value), words


_ABOVE_0: Rule = (lambda value: _is_number(value) and value > 0, "a number above 0")
_SHARE: Rule = (lambda value: _is_number(value) and 0 <= value <= 1, "a number from 0 to 1")
_SWITCH: Rule = (lambda value: isinstance(value, bool), "true or false")
_NAME: Rule = (
    lambda value: isinstance(value, str) and value not in ("", "..") and Path(value).name == value,
    "a name, as of a file",
)

OPTIONS: dict[str, dict[str, Rule]] = {
    "ARCNN": {},
    "CarNet": {
        "unshuffle": _one_of(2, 4),
        "widths": _list_of(_whole(1)),
        "blocks": _list_of((lambda value: _is_number(value) and value >= 0, "numbers from 0")),
        "phase": _whole(0),
    },
    "FastARCNN": {},
}
"""Architectures (``networks.ARCHITECTURES``, which cannot be asked without torch) and their options."""

KEYS: dict[str, Rule] = {
    "arch": _one_of(*OPTIONS),
    "options": (lambda value: isinstance(value, dict), "a table"),
    "quality": _or_none(_whole(1, 100)),
    "minutes": _or_none(_ABOVE_0),
    "epochs": _or_none(_whole(1)),
    "optimizer": _one_of("muon", "adam"),
    "lr": _ABOVE_0,
    "loss": _one_of("mse", "relative"),
    "patch": _whole(1),
    "batch": _whole(1),
    "ema": _SHARE,
    "seed": _whole(0),
    "augment": _SWITCH,
    "in_memory": _SWITCH,
    "teacher": _or_none(_NAME),
    "start": _or_none(_NAME),
    "double": _SHARE,
    "grey": _SHARE,
    "fine": _SHARE,
    "clean": _SHARE,
    "revive": _SWITCH,
    "rounded": _SWITCH,
    "headroom": _ABOVE_0,
    "label": _or_none(_NAME),
}
"""Those of ``Recipe``, which says what they mean."""
