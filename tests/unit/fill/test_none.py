import numpy as np
import pytest

from pipeline.fill.none import NoFill
from pipeline.fill.solid import Solid
from tests.fakes.fill_samples import crops_of


def test_makes_nothing_and_says_so() -> None:
    assert not NoFill().active
    assert not NoFill().reversible
    assert NoFill().load("cpu", 1)([]) == []
    crops = crops_of(np.zeros((9, 9, 3), np.uint8), np.ones((9, 9), bool), Solid())
    with pytest.raises(ValueError, match="no crops"):
        NoFill().load("cpu", 1)(crops)
