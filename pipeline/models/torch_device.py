"""On which device does a torch network run, at which precision, and how do numbers get there and back?

Imports torch: only who loads a network imports this.
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
"""Answers that a GPU may be ahead of this thread: some 500 MB of pinned memory at most, for images of 8 megapixels."""


def torch_device(device: Device, threads: int) -> torch.device:
    """threads: intra-op, on the CPU. Raises DeviceError when the device is not there: a run that was told to use a GPU
    never crawls on the CPU unseen."""
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError(f"device cuda: torch finds no GPU; install a build of torch with CUDA, or {ON_CPU}")
    torch.set_num_threads(threads)
    return torch.device(device)


def prepare_module(module: torch.nn.Module, device: torch.device, options: TorchOptions) -> torch.nn.Module:
    """The network on its device, in the memory layout of the options, only good for answering. Raises RefusedError when
    it is to be compiled and nothing can be."""
    layout = torch.channels_last if options.channels_last else torch.preserve_format
    module = module.eval().requires_grad_(False).to(device)
    module.to(memory_format=layout)  # type: ignore[call-overload]  # torch's own types lack it
    return compiled(module, device) if options.compile else module


def compiled(module: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """By torch.compile, which works at the first call only: so one of two numbers is made here, to know that it can.
    Raises RefusedError."""
    try:
        torch.compile(torch.square)(torch.ones(2, device=device))
    except Exception as error:  # of torch's own kinds, or of the compiler that it calls
        raise RefusedError(
            f"run.compile=true: torch.compile does not work here ({type(error).__name__}: {one_line(error, 200)}); "
            "install a C++ compiler (CPU) or Triton (GPU), or leave it false"
        ) from error
    made: torch.nn.Module = torch.compile(module)  # type: ignore[assignment]  # torch says that it is a callable
    return made


def infer(device: torch.device, options: TorchOptions, call: Callable[[], Answer]) -> Answer:
    """What `call` computes without gradients, at the precision of the options on a GPU, in float32 on the CPU."""
    kind = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(options.precision)
    fast = device.type == "cuda" and kind is not None
    with torch.inference_mode(), torch.autocast(device.type, dtype=kind, enabled=fast):
        return call()


def to_device(values: NDArray[Any], kind: torch.dtype, device: torch.device) -> torch.Tensor:
    """A copy on the device. One copy here, into memory that a GPU fetches by itself while this thread goes on."""
    host = torch.empty(values.shape, dtype=kind, pin_memory=device.type == "cuda")
    host.numpy()[...] = values
    return host.to(device, non_blocking=True)


class PendingArrays(Generic[Answer]):
    """What `made` makes of tensors, as arrays. A GPU copies them while this thread goes on; the call waits for that."""

    def __init__(self, made: Callable[..., Answer], *tensors: torch.Tensor) -> None:
        self._made = made
        self._host = [tensor.to("cpu", non_blocking=True) for tensor in tensors]  # from a GPU: into pinned memory
        self._there = torch.cuda.Event(blocking=True) if tensors[0].is_cuda else None  # type: ignore[no-untyped-call]
        if self._there is not None:
            self._there.record()

    def __call__(self) -> Answer:
        if self._there is not None:
            self._there.synchronize()  # before that, the arrays hold anything
        return self._made(*(tensor.numpy() for tensor in self._host))
