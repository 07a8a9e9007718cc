"""What the generator and the discriminator are asked for."""

from __future__ import annotations

import torch
from torch.nn import functional

from pipeline.train.discriminator import Discriminator, made_up


def reconstruction(painted: torch.Tensor, real: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean absolute difference inside the holes and outside, each over its own pixels; the known ones are pasted back
    in the end, but a network that draws them draws what goes on from them."""
    difference = (painted - real).abs().mean(dim=1, keepdim=True)
    return _mean(difference, mask), _mean(difference, 1 - mask)


def judged(real: torch.Tensor, filled: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The discriminator's non-saturating loss: patches of holes are made up, all others real (Suvorov et al. 2022).

    real, filled: logits (n, 1, h/8, w/8) of the same windows before and after."""
    false = made_up(mask)
    on_filled = _mean(functional.softplus(filled), false) + 0.5 * _mean(functional.softplus(-filled), 1 - false)
    return functional.softplus(-real).mean() + on_filled


def fooled(filled: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The generator's non-saturating loss, over the patches of holes."""
    return _mean(functional.softplus(-filled), made_up(mask))


def matched(real: list[torch.Tensor], filled: list[torch.Tensor]) -> torch.Tensor:
    """How far the discriminator's features of the filled windows are from those of the real ones (Wang et al.,
    High-Resolution Image Synthesis with Conditional GANs, 2018)."""
    terms = [functional.l1_loss(f, r) / r.abs().mean().clamp_min(1e-3) for r, f in zip(real, filled, strict=True)]
    return torch.stack(terms).mean()


def penalty(judge: Discriminator, real: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """R1: squared norm of the gradient of the logits at real windows (Mescheder et al. 2018)."""
    real = real.detach().requires_grad_(True)
    logits, _ = judge(real, mask)
    (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()


def _mean(values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    return (values * where).sum() / where.sum().clamp_min(1)
