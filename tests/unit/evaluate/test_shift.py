"""Distances of counts with known answers, and bins that hold every value."""

import numpy as np
import pytest

from pipeline.evaluate.shift import Profile, distance


def test_equal_shares_are_0_apart() -> None:
    found = distance({"a": 10, "b": 30}, {"a": 10, "b": 30})
    assert (found.psi, found.js) == (0, 0)
    assert distance({"a": 1000, "b": 3000}, {"a": 10, "b": 30}).js == 0


def test_known_distances() -> None:
    found = distance({"a": 50, "b": 50}, {"a": 25, "b": 75})
    p, q = np.array([50.5, 50.5]) / 101, np.array([25.5, 75.5]) / 101
    assert found.psi == pytest.approx(((p - q) * np.log(p / q)).sum())
    m = np.array([0.375, 0.625])
    expected = 0.5 * (0.5 * np.log2(0.5 / m)).sum() + 0.5 * (np.array([0.25, 0.75]) * np.log2([0.25, 0.75] / m)).sum()
    assert found.js == pytest.approx(np.sqrt(expected))
    assert distance({"a": 7}, {"b": 9}).js == pytest.approx(1.0)


def test_without_any_count_there_is_no_distance() -> None:
    assert distance({}, {"a": 3}).psi == 0


@pytest.mark.parametrize(
    ("name", "values"),
    [("scores", [0.0, 1.0, 0.5]), ("pixels", [1, 2**60]), ("segments", [0, 10**9]), ("areas", [1e-9, 1])],
)
def test_every_value_is_in_a_bin(name: str, values: list[float]) -> None:
    profile = Profile()
    profile.count(name, np.array(values))
    assert profile.bins[name].sum() == len(values)
    other = Profile()
    other.add(profile)
    other.add(profile)
    assert (other.bins[name] == 2 * profile.bins[name]).all()
