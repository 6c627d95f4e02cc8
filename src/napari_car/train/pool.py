"""The training pool: pictures of a folder, split in two, as an endless stream of degraded patches."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from napari_car.errors import CarError, FileError
from napari_car.jpeg.coding import Coding
from napari_car.restore import restore
from napari_car.session import Session, open_session
from napari_car.train.degradation import Degradation, Degraded

Batch = tuple[Tensor, ...]
"""Reference and degraded patches (N, 3, P, P) uint8, the condition (N, 3), and from a teacher what is to be learned."""

SUFFIXES = {".png", ".webp", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".ppm"}
MARGIN = 32
"""Side of the crop that is compressed less that of its patch, px: patches lie on the MCU grid, clear of padding."""
SHRUNK = (1.2, 2.0)
"""By how much crops are downscaled; the result is sharper than photos mostly are, so that few of them are."""
DOWNSCALED = 0.25
"""Share of crops that are."""
TAUGHT = 0.75
"""How far the reference of a patch is moved towards what a teacher makes of the patch."""


def find_pictures(folder: Path) -> list[Path]:
    """Pictures anywhere below ``folder``, sorted; of a BSDS500 tree ``train`` and ``test``, never ``val``."""
    bsds = folder / "BSDS500" / "data" / "images"
    images = next((p for p in (bsds, folder / "data" / "images", folder / "images") if (p / "train").is_dir()), None)
    roots = [images / "train", images / "test"] if images else [folder]
    found = sorted(p for root in roots for p in root.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not found:
        raise FileError(f"holds no picture ({', '.join(sorted(SUFFIXES))})", folder)
    return found


def split(pictures: list[Path]) -> tuple[list[Path], list[Path]]:
    """Training and held-out pictures; a picture's side depends on its name alone (1 of 16 is held out)."""
    held_out = [p for p in pictures if zlib.crc32(p.stem.encode()) % 16 == 0] or pictures[:1]
    kept = [p for p in pictures if p not in set(held_out)] or pictures
    return kept, held_out


def load(path: Path) -> NDArray[np.uint8]:
    """Decode one picture to (H, W, 3) uint8.

    Raises
    ------
    FileError
        If it cannot be read.
    """
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except Exception as error:  # decoders fail on damaged data in every way there is
        raise FileError(f"cannot be trained on: {error}", path) from error


class Patches(IterableDataset[Batch]):
    """Endless batches: reference and degraded (N, 3, P, P) uint8, condition (N, 3) float32; what a teacher says.

    Parameters
    ----------
    pictures
        Files to draw from, all with the same chance: large photos are smooth, small ones are rich in detail.
    degradation
        What is done to each crop.
    patch, batch
        Side of a patch in px, and patches a batch.
    seed
        With the worker's number it decides everything drawn.
    augment
        Turn, flip, and downscale a quarter of the crops by ``SHRUNK`` before they are compressed.
    in_memory
        Keep every decoded picture (3 bytes a pixel) in place of decoding it for each patch.
    teacher
        Id of a bundled model to learn from: what nobody can know from the JPEG is left out of its pictures, and is
        noise in the gradient of everyone else. With one, batches end with what is to be learned, (N, 3, P, P) uint8.
    """

    def __init__(
        self, pictures: list[Path], degradation: Degradation, *, patch: int, batch: int, seed: int,
        augment: bool = True, in_memory: bool = True, teacher: str | None = None,
    ) -> None:  # fmt: skip
        self.pictures, self.degradation = pictures, degradation
        self.patch, self.batch, self.seed, self.augment, self.teacher = patch, batch, seed, augment, teacher
        self.decoded = [load(p) for p in pictures] if in_memory else None

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches without end."""
        worker = get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        teacher = None if self.teacher is None else open_session(self.teacher, provider="cpu", threads=1)
        while True:
            patches = [self._cut(rng) for _ in range(self.batch)]
            references, degraded, conditions = (np.stack(arrays) for arrays in zip(*patches, strict=True))
            aims = [] if teacher is None else [np.stack([_taught(patch, teacher, rng) for patch in patches])]
            pictures = [torch.from_numpy(array).permute(0, 3, 1, 2) for array in (references, degraded, *aims)]
            yield *pictures[:2], torch.from_numpy(conditions), *pictures[2:]

    def _cut(self, rng: np.random.Generator) -> Degraded:
        """Compress one crop and cut a patch from it on the MCU grid."""
        reference, degraded, condition = self.degradation(self._crop(rng), rng)
        rows, columns = ((side - self.patch) // 16 for side in reference.shape[:2])
        y, x = 16 * int(rng.integers(rows + 1)), 16 * int(rng.integers(columns + 1))
        window = np.s_[y : y + self.patch, x : x + self.patch]
        return Degraded(reference[window], degraded[window], condition)

    def _crop(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """One augmented crop, as large as a patch on the grid needs."""
        index = int(rng.integers(len(self.pictures)))
        picture = self.decoded[index] if self.decoded is not None else load(self.pictures[index])
        size = self.patch + MARGIN
        factor = float(rng.uniform(*SHRUNK)) if self.augment and rng.random() < DOWNSCALED else 1.0
        side = min(int(size * factor), *picture.shape[:2])
        y, x = (int(rng.integers(length - side + 1)) for length in picture.shape[:2])
        crop = picture[y : y + side, x : x + side]
        if side > size:
            crop = np.asarray(Image.fromarray(crop).resize((size, size), Image.Resampling.LANCZOS))
        if self.augment:
            crop = np.rot90(crop, int(rng.integers(4)))
            crop = crop[:, ::-1] if rng.random() < 0.5 else crop
        if side < size:
            crop = np.pad(crop, [(0, size - side)] * 2 + [(0, 0)], "symmetric")
        return np.ascontiguousarray(crop)


def in_a_sentence(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Batches, with errors as they were in the process that makes them: PyTorch puts its traceback into the message."""
    try:
        yield from batches
    except CarError as error:
        _, name, message = str(error).rpartition(f"{type(error).__module__}.{type(error).__qualname__}: ")
        if not name:
            raise
        raise type(error)(message.strip()) from None


def _taught(patch: Degraded, teacher: Session, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The reference of a patch without most of what its teacher could not know.

    The teacher sees it turned and flipped at random. What it errs by is another thing each time, and as good as gone in
    the mean that is learned of it; seen as the pupil sees it, its errors would be learned too.
    """
    if patch.condition[0] < 10:  # above quality 95 its residual fades
        return patch.reference
    turns, flip = int(rng.integers(4)), 1 - 2 * int(rng.integers(2))
    seen = np.ascontiguousarray(np.rot90(patch.degraded, turns)[:, ::flip])
    restored = np.rot90(restore(seen, quality=Coding(*patch.condition.tolist()), session=teacher)[:, ::flip], -turns)
    return np.rint((1 - TAUGHT) * patch.reference + TAUGHT * restored).astype(np.uint8)
