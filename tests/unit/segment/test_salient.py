"""The salient object as rembg finds it in the same photographs."""

import numpy as np
import pytest

from pipeline.errors import ConfigError, ImageError
from pipeline.segment import salient
from tests.fakes.segmenter_views import NanNetwork, check_records, loaded, masks_of, overlap, spec_of, view_of
from tests.golden.make import HERE, PHOTOS, photo

BROKEN = NanNetwork(lambda height, width: [(1, 320, 320)])


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(HERE / "salient.npz", allow_pickle=False) as packed:
        shapes = {name: packed[f"{name}.shape"] for name in PHOTOS}
        return {name: np.unpackbits(packed[name])[: s.prod()].reshape(s).astype(bool) for name, s in shapes.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", PHOTOS)
def test_the_same_mask_as_rembg(name: str, golden: dict[str, np.ndarray]) -> None:
    (found,) = loaded("salient")([view_of(photo(name), spec_of("salient").view)])
    check_records(found, "salient", "u2netp-309c8469")
    assert len(found.segments) == 1
    assert overlap(masks_of(found)[0], golden[name]) >= 0.98


def test_the_astronaut_stands_out_and_not_her_background() -> None:
    (found,) = loaded("salient")([view_of(photo("astronaut"), spec_of("salient").view)])
    (mask,) = masks_of(found)
    assert mask[60:180, 185:265].mean() > 0.95  # her face
    assert not mask[:100, 400:].any()


@pytest.mark.slow
def test_a_higher_threshold_is_a_smaller_mask() -> None:
    view = view_of(photo("coffee"), spec_of("salient").view)
    (low,), (high,) = loaded("salient", threshold=0.2)([view]), loaded("salient", threshold=0.9)([view])
    assert (masks_of(high) <= masks_of(low)).all()
    assert high.segments[0].area < low.segments[0].area
    assert high.segments[0].score > low.segments[0].score > 0.2


@pytest.mark.slow
def test_nothing_stands_out_below_min_peak() -> None:
    grey = np.full((200, 300, 3), 128, np.uint8)
    spec = spec_of("salient").view
    bare, person = loaded("salient", min_peak=0.5)([view_of(grey, spec), view_of(photo("astronaut"), spec)])
    assert bare.segments == ()
    assert (bare.height, bare.width) == (200, 300)
    assert len(person.segments) == 1


def test_a_black_image_does_not_break_the_scaling() -> None:
    (found,) = loaded("salient")([view_of(np.zeros((50, 60, 3), np.uint8), spec_of("salient").view)])
    assert all(np.isfinite(segment.score) for segment in found.segments)


@pytest.mark.slow
def test_answers_keep_the_order_of_views_in_batches() -> None:
    views = [view_of(photo(name), spec_of("salient").view, name) for name in ("astronaut", "coffee")]
    alone = [loaded("salient")([view])[0] for view in views]
    together = loaded("salient", batch=2)(views)
    assert loaded("salient")(views) == alone
    assert [one.image_id for one in together] == ["astronaut", "coffee"]
    for one, other in zip(together, alone, strict=True):
        assert overlap(masks_of(one)[0], masks_of(other)[0]) > 0.99


def test_nothing_computed_is_never_nothing_found() -> None:
    with pytest.raises(ImageError, match="nan_scores"):
        salient.SalientModel(spec_of("salient"), BROKEN)(  # type: ignore[arg-type]
            [view_of(photo("page"), spec_of("salient").view)]
        )


@pytest.mark.parametrize(
    ("key", "value"), [("threshold", 0), ("min_peak", 1.1), ("batch", 1.0), ("model", "u2netp.onnx")]
)
def test_a_value_that_cannot_work_is_named(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"segment.salient.{key}: expected .* got "):
        spec_of("salient", **{key: value})
