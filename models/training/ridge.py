"""Linear heads on the maps of frozen networks, fitted in closed form (ridge regression).

A head sees the mean of every feature map over the whole film and over the cells of a grid, at
several depths of each trunk. It has no map to show: such heads rank films well, but what they add
up place by place peaks on a true box no more often than chance (docs/models.md). Only torch modules
and their arithmetic may enter: no data files, no loop over epochs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.training.frozen import FrozenTrunk, TrunkSpec
from models.training.records import LABELS

Floats = NDArray[np.float64]


def grid_means(height: int, width: int, grid: int) -> Tensor:
    """(1 + grid², height * width): rows that take the mean over the map and over each cell; cells
    are those of adaptive pooling and overlap where the sides do not divide."""

    def edges(side: int) -> list[slice]:
        return [slice(i * side // grid, -(-(i + 1) * side // grid)) for i in range(grid)]

    rows = [torch.ones(height, width)]
    for down in edges(height):
        for across in edges(width):
            cell = torch.zeros(height, width)
            cell[down, across] = 1.0
            rows.append(cell)
    means = torch.stack(rows).flatten(1)
    return means / means.sum(dim=1, keepdim=True)


class RidgeReader(nn.Module):
    """(B, 1, S, S) in [0, 1] → logits (B, 14): one linear head on the means of every trunk."""

    weight: Tensor
    bias: Tensor

    def __init__(
        self, specs: Sequence[TrunkSpec], grid: int, inits: Sequence[Path | None] | None = None
    ) -> None:
        super().__init__()
        self.trunks = nn.ModuleList(
            FrozenTrunk(spec, init)
            for spec, init in zip(specs, inits or [None] * len(specs), strict=True)
        )
        self.cells = 1 + grid * grid
        self.widths: list[int] = []
        with torch.no_grad():
            for trunk, spec in zip(self.trunks, specs, strict=True):
                for maps in trunk(torch.zeros(1, 1, spec.size_px, spec.size_px)):
                    means = grid_means(maps.shape[2], maps.shape[3], grid)
                    self.register_buffer(f"means{len(self.widths)}", means)
                    self.widths.append(maps.shape[1])
        self.register_buffer("weight", torch.zeros(sum(self.widths) * self.cells, len(LABELS)))
        self.register_buffer("bias", torch.zeros(len(LABELS)))

    def features(self, films: Tensor) -> Tensor:
        """(B, features): per depth, plane by plane, its mean over the film and over each cell."""
        maps = [part for trunk in self.trunks for part in trunk(films)]
        pooled = [
            part.flatten(2) @ getattr(self, f"means{number}").T for number, part in enumerate(maps)
        ]
        return torch.cat([part.flatten(1) for part in pooled], dim=1)

    def set_head(self, weight: Floats, bias: Floats) -> None:
        """Take the (features, 14) weights and (14,) biases of a fit on `features`."""
        self.weight.copy_(torch.from_numpy(weight))
        self.bias.copy_(torch.from_numpy(bias))

    def forward(self, films: Tensor) -> Tensor:
        return self.features(films) @ self.weight + self.bias


@dataclass(frozen=True)
class Scale:
    """Mean of every feature and its divisor: its spread, and the square root of how many features
    share its block, so that a depth counts the same whatever its number of planes."""

    center: Floats
    divisor: Floats

    def __call__(self, features: Floats) -> Floats:
        return np.asarray((features - self.center) / self.divisor)


def scale_of(features: Floats, widths: Sequence[int], cells: int) -> Scale:
    """The scale of (films, features) in the order of RidgeReader.features: whole-film means of a
    depth are one block, its cells another."""
    counts = []
    for width in widths:
        block = np.full((width, cells), width * (cells - 1.0))
        block[:, 0] = width
        counts.append(block.ravel())
    share = np.sqrt(np.concatenate(counts) * 2 * len(widths))
    return Scale(features.mean(axis=0), (features.std(axis=0) + 1e-6) * share)


def fit(scaled: Floats, targets: Floats, strength: float) -> tuple[Floats, Floats]:
    """(weights (features, targets), bias (targets,)) of least squares plus strength * |weights|²;
    solved over films, which are fewer than features (Saunders et al. 1998)."""
    mean = targets.mean(axis=0)
    likeness = scaled @ scaled.T
    likeness[np.diag_indices_from(likeness)] += strength
    return scaled.T @ np.linalg.solve(likeness, targets - mean), mean
