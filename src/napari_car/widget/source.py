"""What is read of an image layer: its pixels, its planes and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer

from napari_car.errors import CarError
from napari_car.files import read_image
from napari_car.lazy import middle, middles
from napari_car.pixels import Array

Index = tuple[int, ...]

PREVIEW_KEY = "napari-car preview"
"""Marks, in the metadata, the layers of the live preview."""


@dataclass(frozen=True, eq=False)
class Source:
    """An image layer as it was when it was looked at.

    Parameters
    ----------
    levels
        Arrays of the resolution levels, finest first; numpy, dask or zarr. One where the layer is not multiscale.
    is_multiscale
        Whether there may be several.
    is_rgb
        Whether the last axis holds channels.
    plane
        Index, along the leading axes, of the plane that is shown.
    name
        Of the layer.
    path
        The file that it was read from.
    sample
        Plug-in and key of the sample that it was made by.
    """

    levels: tuple[Any, ...]
    is_multiscale: bool
    is_rgb: bool
    plane: Index
    name: str
    path: Path | None
    sample: tuple[str, str] | None

    @classmethod
    def of(cls, layer: Image, viewer: ViewerModel) -> Source:
        """Look at a layer, on the GUI thread."""
        levels = tuple(layer.data) if layer.multiscale else (layer.data,)
        leading = levels[0].shape[: layer.ndim - 2]
        point = np.asarray(layer.world_to_data(viewer.dims.point))[: layer.ndim - 2]
        plane = tuple(int(i) for i in np.clip(np.rint(point), 0, np.array(leading, int) - 1))
        path = layer.source.path
        return cls(
            levels,
            bool(layer.multiscale),
            bool(layer.rgb),
            plane,
            layer.name,
            Path(path) if path else None,
            layer.source.sample,
        )

    @property
    def data(self) -> Any:
        """The pixels of full resolution."""
        return self.levels[0]

    @property
    def is_lazy(self) -> bool:
        """Whether the pixels are not in memory."""
        return not isinstance(self.data, np.ndarray)

    @property
    def is_stack(self) -> bool:
        """Whether there are several planes."""
        return int(np.prod(self.data.shape[: len(self.plane)])) > 1

    def size_of(self, level: int) -> tuple[int, int]:
        """Height and width of a plane of a resolution level, px."""
        height, width = self.levels[level].shape[len(self.plane) :][:2]
        return int(height), int(width)

    def picture(self, level: int = 0, window: Sequence[slice] = ()) -> Array:
        """Pixels of the plane that is shown, or of a window of it, in memory."""
        return np.asarray(self.levels[level][(*self.plane, *window)])

    def shown_plane(self) -> Array:
        """The plane that is shown, with leading axes of length 1 in place of those of the stack."""
        return self.picture()[(np.newaxis,) * len(self.plane)]

    def looked_at(self, *, is_current_plane: bool = False) -> Array:
        """Pixels that say how all were compressed, or the plane shown; of what is not in memory, the middle alone."""
        if is_current_plane:
            return self.picture(0, middle(self.size_of(0))) if self.is_lazy else self.shown_plane()
        return middles(self.data, len(self.plane)) if self.is_lazy else np.asarray(self.data)

    @property
    def is_ambiguous(self) -> bool:
        """Whether columns would be taken for channels, were the pixels given to ``restore`` as they are."""
        return not self.is_rgb and len(self.plane) > 0 and self.size_of(0)[1] in (1, 3, 4)

    def as_image(self, pixels: Any) -> Any:
        """Pixels as ``restore`` takes them."""
        return pixels[..., None] if self.is_ambiguous else pixels

    def as_pixels(self, image: Any) -> Any:
        """What ``restore`` gave for ``as_image``, in the layout of the layer again."""
        return image[..., 0] if self.is_ambiguous else image

    def lazy_levels(self) -> list[Any]:
        """The resolution levels as dask arrays."""
        return [as_dask(level) for level in self.levels]

    def pyramid(self, pixels: Array) -> Any:
        """Pixels at the resolutions of the layer: every n-th of them, at no memory of their own."""
        if not self.is_multiscale:
            return pixels
        n_axes = len(self.plane) + 2
        factors = [np.rint(np.divide(self.data.shape, level.shape)).astype(int)[:n_axes] for level in self.levels]
        return [pixels[tuple(slice(None, None, int(factor)) for factor in level)] for level in factors]

    def reading(self, *, is_current_plane: bool = False) -> str:
        """Lines of Python that leave the pixels in ``image``."""
        if self.sample is not None and self.sample[0] == "napari-car":
            lines = f"from napari_car.widget import samples\n\nimage = samples.{self.sample[1]}()"
        elif self.is_lazy:
            lines = f"import dask.array as da\n\nimage = da.from_array(np.load({self._file!r}, mmap_mode='r'))"
        elif self._is_in_file():
            lines = f"from napari_car.files import read_image\n\nimage = read_image({str(self.path)!r}).pixels"
        else:
            lines = f"image = np.load({self._file!r})  # np.save({self._file!r}, {self._in_viewer})"
        picked = "".join(f"{i}:{i + 1}, " for i in self.plane)
        if not is_current_plane or not self.plane:
            return lines
        return f"{lines}\nimage = " + (f"np.asarray(image[{picked}])" if self.is_lazy else f"image[{picked}]")

    @property
    def _in_viewer(self) -> str:
        """Expression, in napari's console, for the pixels of full resolution."""
        return f"viewer.layers[{self.name!r}].data" + ("[0]" if self.is_multiscale else "")

    @property
    def _file(self) -> str:
        """Where the pixels would be saved."""
        return f"{self.name}.npy"

    def _is_in_file(self) -> bool:
        """Whether the file, read by us, holds the pixels of the layer."""
        if self.path is None:
            return False
        try:
            return bool(np.array_equal(read_image(self.path).pixels, self.data))
        except CarError:
            return False


def as_dask(array: Any) -> Any:
    """An array that is lazy already, as one of dask."""
    import dask.array as da  # of an extra, and only needed here

    return array if isinstance(array, da.Array) else da.from_array(array)


def is_preview(layer: Layer) -> bool:
    """Whether a layer belongs to the live preview and is no picture of the user's."""
    return PREVIEW_KEY in layer.metadata
