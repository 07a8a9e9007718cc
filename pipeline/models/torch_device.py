"""Device and precision of a torch network, and arrays to the device and back.

Imports torch, so only modules that load a network import it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import torch
from numpy.typing import NDArray

from pipeline.errors import DeviceError, RefusedError, one_line
from pipeline.models import ON_CPU
from pipeline.models.torch_options import TorchOptions
from pipeline.records import Device

Answer = TypeVar("Answer")

PREFETCH: Final = 8
"""Answers that a GPU computes ahead of this thread. For images of 8 megapixels they take 500 MB of pinned memory."""


def torch_device(device: Device, threads: int) -> torch.device:
    """The torch device. threads: intra-op, on the CPU. Raises DeviceError when the device is missing: a run on a GPU
    never falls back to the CPU."""
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError(f"device cuda: torch finds no GPU; install a build of torch with CUDA, or {ON_CPU}")
    torch.set_num_threads(threads)
    return torch.device(device)


def prepare_module(module: torch.nn.Module, device: torch.device, options: TorchOptions) -> torch.nn.Module:
    """The network on its device for inference only, in the memory layout of the options, compiled if they say so.
    Raises RefusedError when torch.compile does not work here."""
    layout = torch.channels_last if options.channels_last else torch.preserve_format
    module = module.eval().requires_grad_(False).to(device)
    module.to(memory_format=layout)  # type: ignore[call-overload]  # missing in torch's own types
    return compiled(module, device) if options.compile else module


def compiled(module: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """The network under torch.compile, which compiles at the first call: so this compiles the square of two numbers to
    learn whether it can. Raises RefusedError."""
    try:
        torch.compile(torch.square)(torch.ones(2, device=device))
    except Exception as error:  # torch's own kinds, and those of the compiler that it calls
        raise RefusedError(
            f"run.compile=true: torch.compile does not work here ({type(error).__name__}: {one_line(error, 200)}); "
            "install a C++ compiler (CPU) or Triton (GPU), or leave it false"
        ) from error
    made: torch.nn.Module = torch.compile(module)  # type: ignore[assignment]  # typed as a callable
    return made


def infer(device: torch.device, options: TorchOptions, call: Callable[[], Answer]) -> Answer:
    """The result of `call` without gradients, at the precision of the options on a GPU, in float32 on the CPU."""
    kind = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(options.precision)
    fast = device.type == "cuda" and kind is not None
    with torch.inference_mode(), torch.autocast(device.type, dtype=kind, enabled=fast):
        return call()


def to_device(values: NDArray[Any], kind: torch.dtype, device: torch.device) -> torch.Tensor:
    """A copy on the device, by way of pinned memory that a GPU fetches while this thread goes on."""
    host = torch.empty(values.shape, dtype=kind, pin_memory=device.type == "cuda")
    host.numpy()[...] = values
    return host.to(device, non_blocking=True)


class PendingArrays(Generic[Answer]):
    """The result of `made` on tensors as arrays. A GPU copies them while this thread goes on; the call waits for it."""

    def __init__(self, made: Callable[..., Answer], *tensors: torch.Tensor) -> None:
        self._made = made
        self._host = [tensor.to("cpu", non_blocking=True) for tensor in tensors]  # from a GPU: into pinned memory
        self._copied = torch.cuda.Event(blocking=True) if tensors[0].is_cuda else None  # type: ignore[no-untyped-call]
        if self._copied is not None:
            self._copied.record()

    def __call__(self) -> Answer:
        if self._copied is not None:
            self._copied.synchronize()  # until then the arrays hold garbage
        return self._made(*(tensor.numpy() for tensor in self._host))
