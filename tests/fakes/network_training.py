"""Training of a small network on drawings for a few seconds, and its weights as a user saves them."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from tests.fakes.drawn_images import drawing

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def batch_of(first: int, count: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, 3, side, side) normalised and (n, side, side) classes of the drawings from seed `first` on."""
    pairs = [drawing(seed, side, side) for seed in range(first, first + count)]
    pixels = torch.from_numpy(np.stack([rgb for rgb, _ in pairs])).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(three).view(1, 3, 1, 1) for three in (MEAN, DEVIATION))
    return (pixels - mean) / std, torch.from_numpy(np.stack([classes for _, classes in pairs]))


def train(module: torch.nn.Module, loss: Loss, *, steps: int, rate: float, side: int = 64, count: int = 4) -> float:
    """Train in place. loss: a function of pixels and classes. Returns the last loss."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # more threads wait for each other on a busy machine
    module.train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps)
    value = torch.zeros(())
    for step in range(steps):
        value = loss(*batch_of(10_000 + step * count, count, side))
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    module.eval()
    return float(value.detach())


def cross_entropy(module: torch.nn.Module) -> Loss:
    return lambda pixels, classes: torch.nn.functional.cross_entropy(module(pixels), classes)


def saved(module: torch.nn.Module, path: Path) -> list[str]:
    """Save the weights. Returns the overrides of the weights node that loads them."""
    save_file({name: value.contiguous() for name, value in module.state_dict().items()}, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return [f"model.uri={path.as_uri()}", f"model.sha256={sha256}", "model.licence=MIT"]
