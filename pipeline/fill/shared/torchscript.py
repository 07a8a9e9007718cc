"""Loads a TorchScript file, which is a program. Imported only where the config allows it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import WeightsError, one_line
from pipeline.models.torch_device import infer, torch_device
from pipeline.models.torch_options import TorchOptions
from pipeline.models.weights import Weights
from pipeline.records import Device, Floats


def torchscript(model: Weights, device: Device, threads: int) -> Callable[[Sequence[Floats]], NDArray[np.generic]]:
    """Load a network. -> a function of arrays, one a parameter, that returns an array. Raises WeightsError for a file
    that is not TorchScript."""
    place = torch_device(device, threads)
    file = model.fetch()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # big-lama.pt comes in this form only
            network = torch.jit.load(str(file), map_location=place).eval()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        got = f"what torch cannot load: {one_line(error, 200)}"
        raise WeightsError(f"{model.uri}: expected a TorchScript file, got {got}") from error

    def call(arrays: Sequence[Floats]) -> NDArray[np.generic]:
        tensors = [torch.from_numpy(np.ascontiguousarray(array)).to(place) for array in arrays]
        answer = infer(place, TorchOptions(), lambda: network(*tensors))
        return np.asarray(answer.float().cpu().numpy())

    return call
