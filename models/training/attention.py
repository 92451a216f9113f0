"""A small network on frozen maps that judges the whole film, beside the ridge head.

It knows the place of every cell and chooses per finding where to look: attention over cells
(Ilse et al. 2018), beside mean and maximum. Where it looks, times what it says there, is its map.
Only torch modules and their arithmetic may enter: no data files, no loop over epochs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.training.frozen import FrozenMaps
from models.training.records import LABELS


class AttentionHead(nn.Module):
    """(B, planes, g, g) → logits (B, 14) and maps (B, 14, g, g)."""

    center: Tensor
    enter: Tensor
    place: Tensor

    def __init__(self, planes: int, grid: int, directions: int, width: int) -> None:
        super().__init__()
        middle = (torch.arange(grid) + 0.5) / grid
        down, across = torch.meshgrid(middle, middle, indexing="ij")
        place = torch.stack([across, down, across**2, down**2, across * down]) * 2 - 1
        self.register_buffer("place", place[None].clone())
        self.register_buffer("center", torch.zeros(1, planes, 1, 1))
        self.register_buffer("enter", torch.zeros(directions, planes, 1, 1))
        self.some = nn.Dropout2d(0.1)
        self.near = nn.ModuleList(
            nn.Conv2d(given, width, 3, padding=1) for given in (directions + len(place), width)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for _ in self.near)
        self.where = nn.Conv2d(width, len(LABELS), 1)
        self.what = nn.Conv2d(width, len(LABELS), 1)
        self.less = nn.Dropout(0.3)
        self.whole = nn.Linear(2 * width, len(LABELS))

    def reduced(self, maps: Tensor) -> Tensor:
        """(B, directions, g, g): frozen maps along the main directions that `enter` holds."""
        return functional.conv2d(maps - self.center, self.enter)

    def judge(self, reduced: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and maps of maps that are reduced already."""
        x = torch.cat([reduced, self.place.expand(reduced.shape[0], -1, -1, -1)], dim=1)
        x = functional.silu(self.norms[0](self.near[0](self.some(x))))
        x = x + functional.silu(self.norms[1](self.near[1](x)))
        look = self.where(x).flatten(2).softmax(dim=2).reshape(x.shape[0], -1, *x.shape[2:])
        seen = look * self.what(x)
        pooled = torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)
        return seen.sum(dim=(2, 3)) + self.whole(self.less(pooled)), seen

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        return self.judge(self.reduced(maps))


def main_directions(maps: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(center (1, planes, 1, 1), enter (count, planes, 1, 1)) of maps (N, planes, g, g): their
    `count` principal directions after every plane is brought to spread one, each to spread one."""
    cells = maps.transpose(0, 1).flatten(1)
    center, spread = cells.mean(dim=1, keepdim=True), cells.std(dim=1, keepdim=True) + 1e-4
    cells = (cells - center) / spread
    strength, vectors = torch.linalg.eigh((cells @ cells.T / cells.shape[1]).double())
    chosen = vectors[:, -count:] / strength[-count:].clamp(min=1e-6).sqrt()
    enter = (chosen / spread).T.float()
    return center[None, :, :, None], enter[:, :, None, None].contiguous()


class AttentionReader(nn.Module):
    """(B, 1, S, S) in [0, 1] → logits (B, 14), brought to mean 0 and spread 1 on films that no
    head had seen, and maps (B, 14, g, g): the means of several heads'."""

    shift: Tensor
    spread: Tensor

    def __init__(self, maps: FrozenMaps, heads: Sequence[AttentionHead]) -> None:
        super().__init__()
        self.maps, self.heads = maps, nn.ModuleList(heads)
        self.register_buffer("shift", torch.zeros(len(LABELS)))
        self.register_buffer("spread", torch.ones(len(LABELS)))

    def forward(self, films: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.maps(films)
        logits, seen = zip(*[head(maps) for head in self.heads], strict=True)
        return (
            (torch.stack(logits).mean(dim=0) - self.shift) / self.spread,
            torch.stack(seen).mean(dim=0),
        )
