"""The measures of the fills' table: best for equal pictures, worse for worse ones, and known values for drawn ones."""

import numpy as np
import pytest

from pipeline.fill.diffuse import Diffuse
from pipeline.records import Rgb
from tests.bench import fills, likeness
from tests.fakes.fill_samples import photograph


@pytest.fixture(scope="module")
def coffee() -> Rgb:
    return fills.middle(photograph("coffee.png"))


def noisy(rgb: Rgb, sigma: float) -> Rgb:
    return (rgb + np.random.default_rng(0).normal(0, sigma, rgb.shape)).clip(0, 255).astype(np.uint8)


def test_of_one_picture(coffee: Rgb) -> None:
    mask = np.zeros((256, 256), bool)
    mask[64:128, 64:192] = True
    for measure in (likeness.ssim, likeness.psnr, lambda a, b, _: likeness.haarpsi(a, b)):
        values = [measure(noisy(coffee, sigma), coffee, mask) for sigma in (0, 5, 20, 60)]
        assert values == sorted(values, reverse=True)
        assert len(set(values)) == 4
    assert likeness.haarpsi(coffee, coffee) == pytest.approx(1, abs=1e-9)
    assert likeness.ssim(coffee, coffee, mask) == pytest.approx(1)
    shifted = (coffee // 2 + 10).astype(np.uint8), coffee // 2
    assert likeness.psnr(*shifted, mask) == pytest.approx(20 * np.log10(25.5))


def test_haarpsi_of_an_edge_that_lost_contrast() -> None:
    real, half, little = (np.zeros((64, 64, 3), np.uint8) for _ in range(3))
    real[:, 32:], half[:, 32:], little[:, 32:] = 200, 100, 30
    assert 0 < likeness.haarpsi(little, real) < likeness.haarpsi(half, real) < 1
    turned = [rgb.transpose(1, 0, 2) for rgb in (half, real)]
    assert likeness.haarpsi(half, real) == pytest.approx(likeness.haarpsi(*turned))


def test_distances_between_distributions() -> None:
    rng = np.random.default_rng(1)
    real = rng.normal(0, 2, (4000, 3))
    assert likeness.frechet(real, real) == pytest.approx(0, abs=1e-9)
    assert likeness.sliced_wasserstein(real, real) == 0
    moved = real + np.array([2, 0, 0])  # one deviation along one of three axes
    assert likeness.frechet(real, moved) == pytest.approx(1, rel=0.05)
    assert likeness.sliced_wasserstein(real, moved) == pytest.approx(0.5, rel=0.1)  # mean |cosine| in three dimensions
    wide = real * [3, 1, 1]
    assert likeness.frechet(real, wide) == pytest.approx(4, rel=0.05)  # (3 - 1) ** 2


def test_a_case_goes_the_way_of_a_job_and_the_same_way_each_time(coffee: Rgb) -> None:
    chosen = {kind: listed[0] for kind, listed in fills.cases([coffee]).items()}
    assert list(chosen) == ["text strokes", "ellipses, boxes", "free-form"]
    for kind, case in chosen.items():
        assert (case.mask == fills.cases([coffee])[kind][0].mask).all()
        made = fills.filled(case, Diffuse(), Diffuse().load("cpu", 1))
        assert (made[~case.mask] == coffee[~case.mask]).all()
        assert (made[case.mask] != coffee[case.mask]).any()
    assert 0.05 <= chosen["ellipses, boxes"].mask.mean() <= 0.25


def test_the_table_and_the_sheet(coffee: Rgb) -> None:
    listed = fills.cases([coffee, coffee[::-1].copy()])
    features = likeness.Features()
    scores = {kind: {"ns": fills.measure(some, Diffuse(), features)} for kind, some in listed.items()}
    text, plain = fills.table(scores, 1)
    assert text.count("| ns |") == 6
    assert plain["free-form/2/ns"].keys() == set(fills.COLUMNS)
    assert all(np.isfinite(list(row.values())).all() for row in plain.values())
    assert fills.sheet(listed, scores, "ns", 2).shape == (3 * 2 * 256, 3 * 256, 3)
