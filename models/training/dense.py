"""Boxes from frozen maps: a small head that answers one box and one score per cell.

After FCOS (Tian et al. 2019): a cell near the middle of a true box says how far its four sides
are, and a score that is trained towards the overlap it reaches (varifocal loss, Zhang et al. 2021).
Every cell knows its place and the mean of the whole film; a judgement of the whole film is learnt
beside the boxes and dropped when serving. The trunk is a network trained on photographs, left as it
is. Only torch modules and their arithmetic may enter: no data files, no loop over epochs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.training.frozen import FrozenMaps

#: Of a true box's width and height: how far from its middle a cell may lie to answer for it.
NEAR_MIDDLE = 0.25
#: Sides of boxes that are cut by the edge of a moved film until less is left are not looked for.
LEAST_SIDE = 0.02
#: log of a cell's usual distance to a side, as a share of the film
USUAL_REACH = -1.9


class DenseHead(nn.Module):
    """(B, planes, g, g) → cells' logits (B, labels, g, g), corners (B, 4, g, g) as shares of the
    film, and the film's logits (B, labels)."""

    center: Tensor
    spread: Tensor
    place: Tensor
    across: Tensor
    down: Tensor

    def __init__(self, planes: int, grid: int, labels: int, width: int) -> None:
        super().__init__()
        middle = (torch.arange(grid) + 0.5) / grid
        down, across = torch.meshgrid(middle, middle, indexing="ij")
        place = torch.stack([across, down, across**2, down**2, across * down]) * 2 - 1
        for name, value in (("down", down), ("across", across), ("place", place[None])):
            self.register_buffer(name, value.clone())
        self.register_buffer("center", torch.zeros(1, planes, 1, 1))
        self.register_buffer("spread", torch.ones(1, planes, 1, 1))
        self.some = nn.Dropout2d(0.1)
        self.enter = nn.Conv2d(planes + len(place), width, 1)
        self.near = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for _ in range(3))
        self.whole = nn.Linear(width, width)
        self.score = nn.Conv2d(width, labels, 3, padding=1)
        self.reach = nn.Conv2d(width, 4, 3, padding=1)
        self.film = nn.Linear(2 * width, labels)
        self.less = nn.Dropout(0.3)
        for layer, bias in ((self.score, -3.0), (self.reach, USUAL_REACH)):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.constant_(layer.bias, bias)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        maps = (maps - self.center) / self.spread
        maps = self.some(torch.cat([maps, self.place.expand(maps.shape[0], -1, -1, -1)], dim=1))
        x = functional.silu(self.norms[0](self.enter(maps)))
        x = x + functional.silu(self.norms[1](self.near[0](x)))
        x = x + self.whole(x.mean(dim=(2, 3)))[:, :, None, None]
        x = x + functional.silu(self.norms[2](self.near[1](x)))
        film = self.film(self.less(torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)))
        reach = self.reach(x).clamp(-6, 1).exp()
        left, above, right, below = reach.unbind(dim=1)
        corners = torch.stack(
            [self.across - left, self.down - above, self.across + right, self.down + below], dim=1
        )
        return self.score(x), corners, film


def overlap(found: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU (Rezatofighi et al. 2019) of boxes (N, 4), pair by pair."""
    low, high = torch.maximum(found[:, :2], true[:, :2]), torch.minimum(found[:, 2:], true[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(dim=1) for boxes in (found, true)]
    union = (areas[0] + areas[1] - shared).clamp(min=1e-6)
    low, high = torch.minimum(found[:, :2], true[:, :2]), torch.maximum(found[:, 2:], true[:, 2:])
    hull = (high - low).prod(dim=1).clamp(min=1e-6)
    iou = shared / union
    return iou, iou - (hull - union) / hull


def answerable(boxes: Tensor, labels: Sequence[int], grid: int) -> tuple[Tensor, Tensor]:
    """Which label each cell answers for (g, g), -1 for none, and the box it should give (g, g, 4);
    of several boxes the smallest."""
    middle = (torch.arange(grid) + 0.5) / grid
    down, across = torch.meshgrid(middle, middle, indexing="ij")
    label_of = torch.full((grid, grid), -1, dtype=torch.long)
    wanted, least = torch.zeros(grid, grid, 4), torch.full((grid, grid), torch.inf)
    for box, label in zip(boxes, labels, strict=True):
        width, height = box[2] - box[0], box[3] - box[1]
        if min(width, height) < LEAST_SIDE:
            continue
        # a hair more than half a cell, so that rounding leaves no middle without a cell
        reach_x = max(float(NEAR_MIDDLE * width), 0.5 / grid + 1e-6)
        reach_y = max(float(NEAR_MIDDLE * height), 0.5 / grid + 1e-6)
        inside = (across - (box[0] + box[2]) / 2).abs() <= reach_x
        inside &= (down - (box[1] + box[3]) / 2).abs() <= reach_y
        inside &= width * height < least
        label_of[inside], wanted[inside], least[inside] = label, box, width * height
    return label_of, wanted


def loss_of(
    answer: tuple[Tensor, Tensor, Tensor], label_of: Tensor, wanted: Tensor, present: Tensor
) -> Tensor:
    """Varifocal loss of the cells, generalised IoU of the boxes, cross-entropy of the films;
    `label_of` (B, g, g) and `wanted` (B, g, g, 4) of `answerable`, `present` (B, labels)."""
    score, corners, film = answer
    chosen = label_of >= 0
    quality, box_loss = torch.zeros_like(score), score.new_zeros(())
    if bool(chosen.any()):
        iou, generalised = overlap(corners.permute(0, 2, 3, 1)[chosen], wanted[chosen])
        box_loss = (1 - generalised).mean()
        batch, down, across = chosen.nonzero(as_tuple=True)
        quality[batch, label_of[chosen], down, across] = iou.detach().clamp(min=0.05)
    weight = torch.where(quality > 0, quality, 0.75 * score.detach().sigmoid() ** 2)
    cells = functional.binary_cross_entropy_with_logits(score, quality, reduction="none")
    cell_loss = (weight * cells).sum() / max(int(chosen.sum()), 1)
    film_loss = functional.binary_cross_entropy_with_logits(film, present)
    return cell_loss + 1.5 * box_loss + 0.3 * film_loss


class DenseDetector(nn.Module):
    """(B, 1, S, S) in [0, 1] → (B, 4 + labels, g²) as ultralytics exports it: centre x, centre y,
    width and height in input pixels, then a score per label; the mean of several heads."""

    def __init__(self, maps: FrozenMaps, heads: Sequence[DenseHead], size_px: int) -> None:
        super().__init__()
        self.maps, self.heads, self.size_px = maps, nn.ModuleList(heads), size_px

    def forward(self, films: Tensor) -> Tensor:
        maps = self.maps(films)
        answers = zip(*[head(maps) for head in self.heads], strict=True)
        score, corners, _ = (torch.stack(part).mean(dim=0) for part in answers)
        corners = corners.clamp(0, 1) * self.size_px
        low, high = corners[:, :2], corners[:, 2:]
        return torch.cat([(low + high) / 2, high - low, score.sigmoid()], dim=1).flatten(2)
