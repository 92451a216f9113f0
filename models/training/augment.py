"""Random changes fit for radiographs, on whole batches: never a left-right flip, because the
heart's side is a finding."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def vary(batch: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Rotate, scale, shift, change brightness, contrast and gamma of (B, 1, S, S) in [0, 1]."""
    count = batch.shape[0]

    def uniform(spread: float) -> Tensor:
        drawn = (torch.rand(count, generator=generator) * 2 - 1) * spread * strength
        return drawn.to(batch.device)

    angle = uniform(math.radians(12.0))
    scale = torch.exp(uniform(0.14))
    matrix = torch.zeros(count, 2, 3, device=batch.device)
    matrix[:, 0, 0] = torch.cos(angle) * scale * torch.exp(uniform(0.06))
    matrix[:, 0, 1] = -torch.sin(angle) * scale
    matrix[:, 1, 0] = torch.sin(angle) * scale
    matrix[:, 1, 1] = torch.cos(angle) * scale
    matrix[:, 0, 2] = uniform(0.08)
    matrix[:, 1, 2] = uniform(0.08)
    grid = functional.affine_grid(matrix, list(batch.shape), align_corners=False)
    moved = functional.grid_sample(batch, grid, align_corners=False, padding_mode="zeros")
    gain = torch.exp(uniform(0.25)).view(-1, 1, 1, 1)
    shift = uniform(0.12).view(-1, 1, 1, 1)
    gamma = torch.exp(uniform(0.35)).view(-1, 1, 1, 1)
    return ((moved.clamp(0, 1) ** gamma - 0.5) * gain + 0.5 + shift).clamp(0, 1)


def mix(
    batch: Tensor, targets: Tensor, alpha: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mix-up (Zhang et al. 2018): convex pairs of films and of their targets."""
    if alpha <= 0:
        return batch, targets
    beta = torch.distributions.Beta(alpha, alpha)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(0, 2**31, (1,), generator=generator)))
        share = float(beta.sample())
    share = max(share, 1.0 - share)
    order = torch.randperm(batch.shape[0], generator=generator).to(batch.device)
    return (
        share * batch + (1 - share) * batch[order],
        share * targets + (1 - share) * targets[order],
    )


def blur_some(batch: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Take some films down to 64 px and up again, so that resolution tells nothing of labels."""
    chosen = torch.rand(batch.shape[0], generator=generator).to(batch.device) < share
    if not bool(chosen.any()):
        return batch
    small = functional.interpolate(batch[chosen], size=(64, 64), mode="area")
    batch = batch.clone()
    batch[chosen] = functional.interpolate(
        small, size=batch.shape[-2:], mode="bilinear", align_corners=False
    )
    return batch
