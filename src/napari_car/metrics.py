"""Picture quality in figures: PSNR, SSIM and PSNR-B of 8-bit images.

Each exists in variants; which of them a published table used is known to :mod:`napari_car.protocols`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from napari_car.errors import InputError

Image8 = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]

PEAK = 255
BLOCK = 8
ROWS_AT_ONCE = 64
"""Rows of windows that SSIM works on together; few enough to stay in cache, which makes it twice as fast."""
# Source: Wang et al., "Image quality assessment: from error visibility to structural similarity",
# IEEE TIP 13(4), 2004, section III.C: K1 = 0.01, K2 = 0.03.
SSIM_C1, SSIM_C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
# Source: ITU-R BT.601-7, 2.5.1 and 2.5.3: luma of R'G'B', quantized to the range 16 to 235.
LUMA_WEIGHTS = np.array([0.299, 0.587, 0.114]) * 219 / PEAK
LUMA_OFFSET = 16

UNIFORM_WINDOW = np.full(8, 1 / 8)
"""Weights along one axis of the 8 × 8 uniform window of Wang's first SSIM."""
GAUSSIAN_WINDOW = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
"""Weights along one axis of the 11 × 11 Gaussian window, σ = 1.5, of Wang et al. 2004, section III.C."""
GAUSSIAN_WINDOW /= GAUSSIAN_WINDOW.sum()


def psnr(reference: Image8, image: Image8) -> float:
    """Return the peak signal-to-noise ratio, the squared error pooled over all channels.

    Parameters
    ----------
    reference, image
        shape (H, W) or (H, W, 3), uint8; both alike.

    Returns
    -------
    float
        In dB, infinite for equal images. ``10 log10(255² / MSE)``.

    Raises
    ------
    InputError
        If the two are not uint8 images of one shape.

    Examples
    --------
    >>> import numpy as np
    >>> black = np.zeros((16, 16), np.uint8)
    >>> psnr(black, black + 255)
    0.0
    """
    check_pair(reference, image)
    return _decibel(_mean_squared_error(reference, image))


def ssim(reference: Image8, image: Image8, window: Floats = GAUSSIAN_WINDOW) -> float:
    """Return the mean structural similarity over all whole windows, averaged over the channels.

    Parameters
    ----------
    reference, image
        shape (H, W) or (H, W, 3), uint8; both alike.
    window
        shape (N,), weights along one axis that add up to one; the window is their outer product.

    Returns
    -------
    float
        From -1 to 1, 1 for equal images.

    Raises
    ------
    InputError
        If the two are not uint8 images of one shape, or are smaller than the window.

    Notes
    -----
    Source: Wang et al., IEEE TIP 13(4), 2004, equations 13 to 17, with population variances.

    Examples
    --------
    >>> import numpy as np
    >>> ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    >>> round(ssim(ramp, ramp), 6)
    1.0
    """
    check_pair(reference, image)
    if min(reference.shape[:2]) < len(window):
        raise InputError(
            f"the image has {reference.shape[0]} × {reference.shape[1]} px; "
            f"SSIM with this window needs at least {len(window)} × {len(window)}"
        )
    pairs = zip(_channels(reference), _channels(image), strict=True)
    return float(np.mean([_ssim_of_channel(a, b, window) for a, b in pairs]))


def blocking(channel: Image8, *, is_saturating: bool = False) -> float:
    """Return the blocking effect factor: how much rougher 8 × 8 block edges are than other neighbours.

    Parameters
    ----------
    channel
        shape (H, W), uint8, at least 16 × 16, its blocks beginning at the top left pixel.
    is_saturating
        Whether to compute as unsigned 8-bit numbers do, which loses falling steps (differences stop at
        0) and strong ones (squares stop at 255). The ``idcn`` table rests on this accident.

    Returns
    -------
    float
        In squared grey levels, 0 where block edges are no rougher than the rest.

    Raises
    ------
    InputError
        If the channel is not such an array.

    Notes
    -----
    Source: Yim and Bovik, "Quality assessment of deblocked images", IEEE TIP 20(1), 2011. The
    number of block edges is taken as H(W/8 - 1) + W(H/8 - 1) without rounding, as the published tables
    have it, also where a side is no multiple of 8.

    Examples
    --------
    >>> import numpy as np
    >>> chessboard = np.kron(np.indices((4, 4)).sum(axis=0) % 2, np.ones((8, 8))).astype(np.uint8)
    >>> round(blocking(chessboard * 10), 3)  # 3 / log2(32) · 10²
    60.0
    """
    if channel.dtype != np.uint8 or channel.ndim != 2 or min(channel.shape) < 2 * BLOCK:
        raise InputError(
            f"the channel is {channel.dtype} of shape {channel.shape}; "
            f"blocking is measured on uint8 of shape (H, W), at least 16 × 16"
        )
    height, width = channel.shape
    values = channel.astype(np.int32)
    sum_edges = sum_all = 0.0
    for steps in (values[:, :-1] - values[:, 1:], (values[:-1] - values[1:]).T):
        squares = np.minimum(np.maximum(steps, 0) ** 2, PEAK) if is_saturating else steps**2
        sum_all += float(squares.sum())
        sum_edges += float(squares[:, BLOCK - 1 :: BLOCK].sum())
    n_edges = height * (width / BLOCK - 1) + width * (height / BLOCK - 1)
    n_all = height * (width - 1) + width * (height - 1)
    at_edges, elsewhere = sum_edges / n_edges, (sum_all - sum_edges) / (n_all - n_edges)
    return float(np.log2(BLOCK) / np.log2(min(height, width)) * max(at_edges - elsewhere, 0.0))


def psnr_b(reference: Image8, image: Image8) -> float:
    """Return PSNR with the blocking of the image's luma added to the squared error.

    Parameters
    ----------
    reference, image
        shape (H, W) or (H, W, 3), uint8, at least 16 × 16; both alike.

    Returns
    -------
    float
        In dB: ``10 log10(255² / (MSE + BEF))``, never above the PSNR.

    Raises
    ------
    InputError
        If the two are not such images.

    Notes
    -----
    Source: Yim and Bovik, IEEE TIP 20(1), 2011; colour as in FBCNN's tables.
    """
    check_pair(reference, image)
    return _decibel(_mean_squared_error(reference, image) + blocking(luma(image)))


def psnr_b_saturating(reference: Image8, image: Image8) -> float:
    """Return the PSNR-B of the ``idcn`` table: the mean of the channels, blocking in saturating 8 bits.

    Parameters
    ----------
    reference, image
        shape (H, W) or (H, W, 3), uint8, at least 16 × 16; both alike.

    Returns
    -------
    float
        In dB.

    Raises
    ------
    InputError
        If the two are not such images.

    Notes
    -----
    Source: Zheng et al., "Implicit dual-domain convolutional network for robust color image compression
    artifact reduction", IEEE TCSVT 30(11), 2020, table IV and the arithmetic that reproduces it.
    """
    check_pair(reference, image)
    pairs = zip(_channels(reference), _channels(image), strict=True)
    return float(np.mean([_decibel(_mean_squared_error(a, b) + blocking(b, is_saturating=True)) for a, b in pairs]))


def luma(image: Image8) -> Image8:
    """Return the luma of an image in the range 16 to 235, or the image itself where it is grey.

    Parameters
    ----------
    image
        shape (H, W, 3) or (H, W), uint8.

    Returns
    -------
    Image8
        shape (H, W), uint8.

    Notes
    -----
    Source: ITU-R BT.601-7, 2.5.1 and 2.5.3. The grey tables since ARCNN use this range, not JPEG's own 0 to
    255.

    Examples
    --------
    >>> import numpy as np
    >>> luma(np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8))
    array([[ 16, 235]], dtype=uint8)
    """
    if image.ndim == 2:
        return image
    return np.rint(image @ LUMA_WEIGHTS + LUMA_OFFSET).astype(np.uint8)


def check_pair(reference: Image8, image: Image8) -> None:
    """Refuse two arrays that are not images of one shape.

    Raises
    ------
    InputError
        If one is not uint8 of shape (H, W) or (H, W, 3), or their shapes differ.
    """
    for array in (reference, image):
        is_image = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)
        if array.dtype != np.uint8 or not is_image or array.size == 0:
            raise InputError(
                f"the image is {array.dtype} of shape {array.shape}; metrics take uint8 of shape (H, W) or (H, W, 3)"
            )
    if reference.shape != image.shape:
        raise InputError(f"the reference has shape {reference.shape} and the image {image.shape}; they must agree")


def _channels(image: Image8) -> list[Image8]:
    """Return the channels as arrays of shape (H, W)."""
    return [image] if image.ndim == 2 else list(np.moveaxis(image, 2, 0))


def _mean_squared_error(reference: Image8, image: Image8) -> float:
    """Return the mean squared difference in squared grey levels."""
    difference = reference.astype(np.float64) - image
    return float(np.mean(difference * difference))


def _decibel(error: float) -> float:
    """Return a squared error in dB below full scale."""
    return float(10 * np.log10(PEAK**2 / error)) if error > 0 else float("inf")


def _window_means(values: Floats, window: Floats) -> Floats:
    """Return the weighted means over all whole windows, first down the rows, then along them."""
    column = window[:, np.newaxis]  # a matrix product: several times faster than one with a vector
    for axis in (0, 1):
        values = (sliding_window_view(values, len(window), axis=axis) @ column)[..., 0]
    return values


def _ssim_of_channel(reference: Image8, image: Image8, window: Floats) -> float:
    """Return the mean structural similarity of one channel."""
    n_rows, n_columns = (side - len(window) + 1 for side in reference.shape)
    total = 0.0
    for start in range(0, n_rows, ROWS_AT_ONCE):
        rows = slice(start, min(start + ROWS_AT_ONCE, n_rows) + len(window) - 1)
        total += float(_similarities(reference[rows], image[rows], window).sum())
    return float(total / (n_rows * n_columns))


def _similarities(reference: Image8, image: Image8, window: Floats) -> Floats:
    """Return the structural similarity in every whole window."""
    a, b = reference.astype(np.float64), image.astype(np.float64)
    mean_a, mean_b = _window_means(a, window), _window_means(b, window)
    product, energy = mean_a * mean_b, mean_a**2 + mean_b**2
    covariance = _window_means(a * b, window) - product
    variances = _window_means(a * a + b * b, window) - energy
    similarity = (2 * product + SSIM_C1) * (2 * covariance + SSIM_C2)
    return similarity / ((energy + SSIM_C1) * (variances + SSIM_C2))
