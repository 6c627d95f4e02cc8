"""Sessions: a model opened on an execution provider, held against its card."""

from __future__ import annotations

import logging
from dataclasses import fields
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_car.cards import ModelCard, Weights, load_card
from napari_car.choice import candidates, choose
from napari_car.errors import InferenceError, InputError, ModelError
from napari_car.jpeg.coding import Coding
from napari_car.pixels import Array, Residual
from napari_car.providers import PROVIDERS, check_provider, open_graph
from napari_car.steps import count_cores

if TYPE_CHECKING:
    import onnxruntime

logger = logging.getLogger(__name__)

OUTPUTS = {"int8": ["residual", "step", "zero"], "fp16": ["residual"], "fp32": ["residual"]}
"""What graphs of each precision give: in int8 the residual as bytes, which stand for ``(byte - zero) * step``."""

FORMS: dict[str, tuple[list[str], list[str]]] = {"tiles": ([], []), "strips": (["state", "is_last"], ["next_state"])}
"""What graphs of each form take and give besides."""


class Session:
    """A model that is ready to run; made by ``open_session``. May be shared between threads.

    Attributes
    ----------
    card
        The model's card.
    provider
        The execution provider in use, a key of ``PROVIDERS``.
    precision
        Of the arithmetic, "int8", "fp16" or "fp32".
    threads
        Tiles that are run side by side, each on one thread.
    """

    def __init__(self, card: ModelCard, provider: str, precision: str, threads: int) -> None:
        self.card, self.provider, self.precision, self.threads = card, provider, precision, threads
        self._opened: dict[str, onnxruntime.InferenceSession] = {}
        self._lock = Lock()

    def __repr__(self) -> str:
        how = f"provider={self.provider!r}, precision={self.precision!r}, threads={self.threads}"
        return f"Session({self.card.id!r}, {how})"

    @property
    def takes_strips(self) -> bool:
        """Whether ``run_strip`` can be used."""
        return self.card.form(self.provider, self.precision) == "strips"

    def weights(self, quality: float) -> Weights:
        """The weights that serve pictures of a quality."""
        return self.card.nearest(quality, self.precision, self.card.form(self.provider, self.precision))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the pixels that ``run`` takes: uint8 for int8 networks, float32 in [0, 1] for the others."""
        return np.dtype(np.uint8 if self.precision == "int8" else np.float32)

    def run(self, image: Array, coding: Coding) -> Residual:
        """Residual of one tile: what to add to ``image``, of full scale, to restore it.

        Parameters
        ----------
        image
            Shape (H, W, 3), RGB in ``dtype``; H and W multiples of the card's ``align``.
        coding
            How the picture was coded.

        Returns
        -------
        Residual
            Of the shape of the image.

        Raises
        ------
        ModelError
            If the weights do not fit the card.
        InferenceError
            If onnxruntime fails; its own error is chained.
        """
        weights = self.weights(coding.quality)
        if weights.form == "strips":  # a tile is a strip that is a picture of its own
            return self.run_strip(image, coding, np.empty(0, np.uint8), is_last=True)[0]
        return Residual.of(self._run(weights, image, coding, {}))

    def run_strip(self, image: Array, coding: Coding, state: Array, *, is_last: bool) -> tuple[Residual, Array]:
        """Residual of the rows that are known with one more strip of a picture, and the state for the next one.

        Parameters
        ----------
        image, coding
            As for ``run``; at least as many rows as the card's ``strips["lead"]`` and a step of its grid in the first
            strip of several.
        state
            Of the strip before; empty for the first.
        is_last
            Whether the picture ends with this strip.

        Raises
        ------
        ModelError, InferenceError
            As ``run``.
        """
        ends = np.array([is_last], np.int64)
        *outputs, state = self._run(self.weights(coding.quality), image, coding, {"state": state, "is_last": ends})
        return Residual.of(outputs), state

    def _run(self, weights: Weights, image: Array, coding: Coding, more: dict[str, Array]) -> list[Array]:
        """What the graph gives; the provider may be another one from now on, see ``_open``."""
        session = self._open(weights)
        feed = {"image": image[None], **more}
        if self.card.conditioning:
            told = [getattr(coding, name) for name in self.card.conditioning]
            feed["condition"] = np.array([told], np.float32)
        try:
            outputs: list[Array] = session.run(None, feed)
        except Exception as error:  # onnxruntime raises classes of its own and plain RuntimeError
            height, width = image.shape[:2]
            raise InferenceError(
                f"model {self.card.id!r} failed on {self.provider!r} with a tile of {height}x{width} px: {error}"
            ) from error
        return outputs

    def _open(self, weights: Weights) -> onnxruntime.InferenceSession:
        """The onnxruntime session of one set of weights, opened on first use."""
        with self._lock:
            if weights.file not in self._opened:
                session = _open_weights(self.card, weights, self.provider)
                running = session.get_providers()[0]
                if running != PROVIDERS[self.provider].full:
                    logger.warning(
                        "provider %s did not start; model %s runs on %s", self.provider, self.card.id, running
                    )
                    self.provider = next(name for name, known in PROVIDERS.items() if known.full == running)
                self._opened[weights.file] = session
            return self._opened[weights.file]


def open_session(
    model_id: str | None = None, *, provider: str = "auto", precision: str = "auto", threads: int | None = None
) -> Session:
    """Open a bundled model on an execution provider.

    Parameters
    ----------
    model_id
        Of ``list_models``; the default model for None.
    provider
        A key of ``PROVIDERS``, or "auto": the fastest of those that are installed.
    precision
        "int8", "fp16", "fp32", or "auto": the fastest one. What is fastest is measured once for a machine and a model.
    threads
        Tiles that are run side by side; as many as there are cores for None.

    Raises
    ------
    ModelError
        If the model is unknown or has no weights in that precision.
    InputError
        If the provider is unknown or not installed; the message says how to get it. Or if the threads are none.

    Examples
    --------
    >>> open_session("arcnn", provider="cpu", precision="int8", threads=1)
    Session('arcnn', provider='cpu', precision='int8', threads=1)
    """
    card = load_card(model_id)
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int | np.integer) or threads < 1):
        raise InputError(f"threads is {threads!r}; it must be a whole number, at least 1")
    if provider != "auto":
        check_provider(provider)
    if precision not in ("auto", *card.precisions):
        raise ModelError(f"model {card.id!r} has no {precision} weights; it has {', '.join(card.precisions)}")
    chosen = choose(card, candidates(card, provider, precision))
    logger.info("model %s runs in %s", card.id, chosen)
    return Session(card, chosen.provider, chosen.precision, threads or count_cores())


def opened(session: Session | None, model_id: str | None) -> Session:
    """The session that is given, or one of the model where there is none.

    Raises
    ------
    InputError
        If it is something else, such as the name of a model.
    ModelError
        As ``open_session``.
    """
    if session is None:
        return open_session(model_id)
    if not isinstance(session, Session):
        raise InputError(f"session is {session!r}; it must be of open_session, and a model's id is given as model")
    return session


def _open_weights(card: ModelCard, weights: Weights, provider: str) -> onnxruntime.InferenceSession:
    """Open one file on one provider and hold its inputs against the card."""
    content = card.read(weights)
    try:
        session = open_graph(content, provider)
    except Exception as error:  # onnxruntime raises classes of its own
        raise ModelError(f"model {card.id!r}: {weights.file} cannot be opened by onnxruntime: {error}") from error
    more_taken, more_given = FORMS[weights.form]
    expected = ["image", *["condition"] * bool(card.conditioning), *more_taken]
    found = [node.name for node in session.get_inputs()]
    outputs = [node.name for node in session.get_outputs()]
    given = [*OUTPUTS[weights.precision], *more_given]
    if found != expected or outputs != given:
        raise ModelError(
            f"model {card.id!r}: {weights.file} maps {found} to {outputs}; by the card it is {expected} to {given}"
        )
    taken = "tensor(uint8)" if weights.precision == "int8" else "tensor(float)"
    if session.get_inputs()[0].type != taken:
        found_type = session.get_inputs()[0].type
        raise ModelError(
            f"model {card.id!r}: {weights.file} takes the image as {found_type}; in {weights.precision} it is {taken}"
        )
    known = [field.name for field in fields(Coding)]
    if unknown := [name for name in card.conditioning if name not in known]:
        raise ModelError(f"model {card.id!r} is to be told {', '.join(unknown)}; what is known: {', '.join(known)}")
    told = session.get_inputs()[1].shape[-1] if card.conditioning else 0
    if card.conditioning and told != len(card.conditioning):
        raise ModelError(
            f"model {card.id!r}: {weights.file} is told {told} values where the card names {len(card.conditioning)}"
        )
    return session
