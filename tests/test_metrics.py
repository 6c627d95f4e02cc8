"""The metrics against their definitions, an external implementation and the published tables."""

import os
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from napari_car.datasets import compress, list_items, read_image
from napari_car.errors import InputError
from napari_car.metrics import (
    UNIFORM_WINDOW,
    blocking,
    luma,
    psnr,
    psnr_b,
    psnr_b_saturating,
    ssim,
)
from napari_car.protocols import PROTOCOLS

DATA = Path(os.environ.get("NAPARI_CAR_DATA", Path(__file__).parents[2] / "shared" / "data")) / "eval"
needs_live1 = pytest.mark.skipif(
    not (DATA / "live1").is_dir(), reason=f"the LIVE1 pictures are not at {DATA / 'live1'}"
)


@pytest.fixture(scope="module")
def pair():
    """An odd-sized picture and its JPEG."""
    reference = skimage.data.astronaut()[40:203, 90:307]
    return reference, compress(reference, 10)


def noise(seed, height, width):
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


# --- against an external implementation ---------------------------------------------------------------------


def test_psnr_equals_scikit_image(pair):
    assert psnr(*pair) == pytest.approx(peak_signal_noise_ratio(*pair), abs=1e-10)


@pytest.mark.parametrize("is_colour", [True, False])
def test_gaussian_ssim_equals_scikit_image(pair, is_colour):
    a, b = pair if is_colour else (image[..., 1] for image in pair)
    expected = structural_similarity(
        a,
        b,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        channel_axis=2 if is_colour else None,
    )
    assert ssim(a, b) == pytest.approx(expected, abs=1e-10)


def test_uniform_ssim_equals_scikit_image(pair):
    """On 7 × 7, since scikit-image refuses even windows; the 8 × 8 window is held by the published table."""
    a, b = (image[..., 0] for image in pair)
    expected = structural_similarity(a, b, win_size=7, use_sample_covariance=False, data_range=255)
    assert ssim(a, b, np.full(7, 1 / 7)) == pytest.approx(expected, abs=1e-10)


def test_uniform_window_is_eight_by_eight():
    assert UNIFORM_WINDOW.shape == (8,)
    assert np.outer(UNIFORM_WINDOW, UNIFORM_WINDOW).sum() == pytest.approx(1)


# --- the blocking effect factor from its definition, pixel by pixel -----------------------------------------


def blocking_by_hand(channel, is_saturating):
    height, width = channel.shape
    sums, n_pairs = {True: 0.0, False: 0.0}, 0
    for y in range(height):
        for x in range(width):
            for dy, dx in ((0, 1), (1, 0)):
                if y + dy >= height or x + dx >= width:
                    continue
                step = int(channel[y, x]) - int(channel[y + dy, x + dx])
                square = min(max(step, 0) ** 2, 255) if is_saturating else step**2
                is_edge = (x % 8 == 7) if dx else (y % 8 == 7)
                sums[is_edge] += square
                n_pairs += 1
    n_edges = height * (width / 8 - 1) + width * (height / 8 - 1)
    difference = sums[True] / n_edges - sums[False] / (n_pairs - n_edges)
    return 3 / np.log2(min(height, width)) * max(difference, 0)


@pytest.mark.parametrize("is_saturating", [True, False])
@pytest.mark.parametrize(("height", "width"), [(48, 40), (37, 45)])
def test_blocking_equals_its_definition(height, width, is_saturating):
    channel = compress(skimage.data.astronaut()[:height, 100 : 100 + width], 5)[..., 0]
    by_hand = blocking_by_hand(channel, is_saturating)
    assert by_hand > 1
    assert blocking(channel, is_saturating=is_saturating) == pytest.approx(by_hand, rel=1e-12)


def test_saturation_loses_rising_steps():
    rising = np.repeat(np.arange(4, dtype=np.uint8) * 10, 8) + np.zeros((32, 1), np.uint8)
    assert blocking(rising) > 0
    assert blocking(rising, is_saturating=True) == 0
    assert blocking(rising[:, ::-1], is_saturating=True) == pytest.approx(blocking(rising))


def test_blocking_knows_the_grid():
    """Blocks beside the 8 × 8 grid are texture, not blocking."""
    blocks = np.kron(noise(0, 6, 6), np.ones((8, 8), np.uint8))
    assert blocking(blocks[:40, :40]) > 1000
    assert blocking(blocks[3:43, 3:43]) == 0


# --- properties ---------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 999), height=st.integers(16, 40), width=st.integers(16, 40), error=st.integers(1, 60))
def test_every_metric_orders_by_damage(seed, height, width, error):
    reference = noise(seed, height, width) // 2 + 60
    signs = np.where(noise(seed + 1, height, width) % 2, 1, -1)
    little, much = ((reference + signs * e).astype(np.uint8) for e in (error // 2, error))
    assert psnr(reference, much) < psnr(reference, little)
    assert ssim(reference, much) < ssim(reference, little)
    assert ssim(reference, reference) == pytest.approx(1)
    assert psnr_b(reference, much) <= psnr(reference, much)
    assert psnr(reference, much) == psnr(much, reference) == pytest.approx(20 * np.log10(255 / error))


def test_equal_images_are_infinitely_alike(pair):
    smooth = np.add.outer(np.arange(24), np.arange(32)).astype(np.uint8)
    assert psnr(smooth, smooth) == psnr_b(smooth, smooth) == psnr_b_saturating(smooth, smooth) == np.inf


def test_psnr_b_adds_the_blocking_to_the_error(pair):
    """Of the luma to the error of all channels, or channel by channel."""
    errors = np.mean((pair[0].astype(float) - pair[1]) ** 2, axis=(0, 1))
    assert blocking(luma(pair[1])) > 10
    expected = 10 * np.log10(255**2 / (errors.mean() + blocking(luma(pair[1]))))
    assert psnr_b(*pair) == pytest.approx(expected)
    befs = [blocking(pair[1][..., c], is_saturating=True) for c in range(3)]
    expected = np.mean(10 * np.log10(255**2 / (errors + befs)))
    assert psnr_b_saturating(*pair) == pytest.approx(expected)


def test_idcn_crops_to_whole_blocks(pair):
    """What lies beyond the last whole block does not count in ``idcn`` and does in ``fbcnn``."""
    reference, image = pair
    damaged = image.copy()
    damaged[160:] = damaged[:, 216:] = 0
    assert PROTOCOLS["idcn"].score(reference, damaged) == PROTOCOLS["idcn"].score(reference, image)
    assert PROTOCOLS["fbcnn"].score(reference, damaged).psnr < PROTOCOLS["fbcnn"].score(reference, image).psnr


def test_gray_of_a_grey_picture_is_the_picture(pair):
    """A grey picture is not squeezed into the luma range again; a coloured one is."""
    grey = pair[0][..., 0]
    assert PROTOCOLS["gray"].prepare(grey) is grey
    assert PROTOCOLS["gray"].prepare(pair[0]).min() >= 16
    assert PROTOCOLS["idcn"].prepare(grey).shape == (*grey.shape, 3)


def test_luma_weighs_the_primaries():
    """Source: ITU-R BT.601 colour bars, Y of red, green and blue at full amplitude."""
    bars = np.eye(3, dtype=np.uint8)[np.newaxis] * 255
    assert luma(bars).tolist() == [[81, 145, 41]]


# --- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "image", "said"),
    [
        (noise(0, 16, 16), noise(0, 16, 17), r"\(16, 16\).*\(16, 17\)"),
        (noise(0, 16, 16) / 255, noise(0, 16, 16) / 255, "float64"),
        (noise(0, 16, 16)[..., None], noise(0, 16, 16)[..., None], r"\(16, 16, 1\)"),
        (noise(0, 0, 16), noise(0, 0, 16), r"\(0, 16\)"),
    ],
)
def test_strange_arrays_are_refused(reference, image, said):
    for metric in (psnr, ssim, psnr_b, psnr_b_saturating):
        with pytest.raises(InputError, match=said):
            metric(reference, image)


def test_small_images_are_refused():
    with pytest.raises(InputError, match=r"10 × 30.*11 × 11"):
        ssim(noise(0, 10, 30), noise(1, 10, 30))
    with pytest.raises(InputError, match="16 × 16"):
        blocking(noise(0, 15, 30))


# --- published figures --------------------------------------------------------------------------------------

# Source: Zheng et al., IEEE TCSVT 30(11), 2020, table IV (idcn); Jiang et al., ICCV 2021 (fbcnn, gray).
PUBLISHED_LIVE1 = {
    ("idcn", 10): "25.69 0.7592 25.49",
    ("idcn", 20): "28.06 0.8409 27.82",
    ("fbcnn", 10): "25.69 0.743 24.20",
    ("gray", 10): "27.77 0.773 25.33",
}


@needs_live1
@pytest.mark.parametrize(("protocol", "quality"), PUBLISHED_LIVE1)
def test_jpeg_rows_equal_the_published_ones(protocol, quality):
    prepare, score = PROTOCOLS[protocol].prepare, PROTOCOLS[protocol].score
    references = [prepare(read_image(item.reference)) for item in list_items(DATA / "live1", "live1", [quality])]
    scores = np.mean([score(reference, compress(reference, quality)) for reference in references], axis=0)
    published = PUBLISHED_LIVE1[protocol, quality].split()
    printed = [f"{value:.{len(text.split('.')[1])}f}" for value, text in zip(scores, published, strict=True)]
    assert len(references) == 29
    assert printed == published
