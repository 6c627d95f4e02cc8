"""Image files in and out, with nothing of the user's lost on the way.

`read_image` gives a `Picture`: the pixels in the depth they are stored in, and the `Metadata` beside them.
`write_image` writes one, whole or not at all; `check_target` says before the work what would be refused.
Every failure is a `napari_car.errors.FileError` of one sentence.
"""

from napari_car.files.atomic import ignores_case, remove_stale_parts
from napari_car.files.cost import check_writing
from napari_car.files.metadata import Metadata
from napari_car.files.picture import Picture
from napari_car.files.reading import MAX_PIXELS, read_image
from napari_car.files.target import check_target, is_lossy, names_image
from napari_car.files.writing import write_image

__all__ = [
    "MAX_PIXELS",
    "Metadata",
    "Picture",
    "check_target",
    "check_writing",
    "ignores_case",
    "is_lossy",
    "names_image",
    "read_image",
    "remove_stale_parts",
    "write_image",
]
