"""The losses of the generator and of the discriminator."""

from __future__ import annotations

from typing import Final

import torch
from torch.nn import functional

from pipeline.fill.generative.train.discriminator import Discriminator, painted_patches

FINE: Final = 5
"""Side in pixels of the square whose mean fine detail differs from."""


def reconstruction(
    painted: torch.Tensor, real: torch.Tensor, mask: torch.Tensor, pool: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean absolute difference inside the holes and outside, each over its own pixels.

    painted, real: (n, 3, h, w); mask: (n, 1, h, w). The known pixels are pasted back in the end, but a network that
    draws them draws what continues them. Colours are compared as means over `pool` x `pool` pixels: finer detail cannot
    be foreseen, and to compare it would only teach the network to leave it out. The discriminator judges that.
    """
    difference = functional.avg_pool2d(painted - real, pool).abs().mean(dim=1, keepdim=True)
    share = functional.avg_pool2d(mask, pool)
    return _mean(difference, share), _mean(difference, 1 - share)


def detail(painted: torch.Tensor, real: torch.Tensor, mask: torch.Tensor, pool: int) -> torch.Tensor:
    """Mean absolute difference, in the holes, of how much fine detail there is: the mean over `pool` x `pool` pixels of
    a pixel's difference from those around it. Any pattern will do; none at all is wrong."""
    fine = [(x - functional.avg_pool2d(x, FINE, 1, FINE // 2)).abs() for x in (painted, real)]
    difference = functional.avg_pool2d(fine[0] - fine[1], pool).abs().mean(dim=1, keepdim=True)
    return _mean(difference, functional.avg_pool2d(mask, pool))


def discriminator(real: torch.Tensor, filled: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The discriminator's non-saturating loss: patches of holes are painted, all others real (Suvorov et al. 2022).

    real, filled: logits (n, 1, h/8, w/8) of the same windows before and after.
    """
    false = painted_patches(mask)
    on_filled = _mean(functional.softplus(filled), false) + 0.5 * _mean(functional.softplus(-filled), 1 - false)
    return functional.softplus(-real).mean() + on_filled


def adversarial(filled: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The generator's non-saturating loss, over the patches of holes. filled: logits (n, 1, h/8, w/8)."""
    return _mean(functional.softplus(-filled), painted_patches(mask))


def features(real: list[torch.Tensor], filled: list[torch.Tensor]) -> torch.Tensor:
    """Distance between the discriminator's features of the filled windows and of the real ones (Wang et al.,
    High-Resolution Image Synthesis with Conditional GANs, 2018)."""
    terms = [functional.l1_loss(f, r) / r.abs().mean().clamp_min(1e-3) for r, f in zip(real, filled, strict=True)]
    return torch.stack(terms).mean()


def penalty(network: Discriminator, real: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """R1: squared norm of the gradient of the logits at real windows (Mescheder et al. 2018)."""
    real = real.detach().requires_grad_(True)
    logits, _ = network(real, mask)
    (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()


def _mean(values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    return (values * where).sum() / where.sum().clamp_min(1)
