"""Several trained networks as one: the mean of those of one kind, and a blend with a ridge head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from models.training import checkpoint
from models.training.backbones import FilmReader
from models.training.config import RidgeConfig, read_config
from models.training.finished import OutOfFold, out_of_fold
from models.training.records import TrainingError
from models.training.ridge import RidgeReader
from models.training.train_ridge import reader_of


class Ensemble(nn.Module):
    """Mean of the logits and of the maps of networks of one size."""

    def __init__(self, members: Sequence[FilmReader]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, films: Tensor) -> tuple[Tensor, Tensor]:
        answers = [member(films) for member in self.members]
        logits = torch.stack([answer[0] for answer in answers]).mean(dim=0)
        cam = torch.stack([answer[1] for answer in answers]).mean(dim=0)
        return logits, cam


class Blend(nn.Module):
    """Weighted mean of an ensemble's logits, brought to mean 0 and spread 1 per label, and of a
    ridge head's, which are so already. The maps are the ensemble's, on that scale: the head has
    none."""

    center: Tensor
    spread: Tensor

    def __init__(
        self, ensemble: Ensemble, head: RidgeReader, share: float, center: Tensor, spread: Tensor
    ) -> None:
        super().__init__()
        self.ensemble, self.head, self.share = ensemble, head, share
        self.register_buffer("center", center)
        self.register_buffer("spread", spread)

    def forward(self, films: Tensor) -> tuple[Tensor, Tensor]:
        logits, cam = self.ensemble(films)
        logits = (logits - self.center) / self.spread
        cam = (cam - self.center[:, None, None]) / self.spread[:, None, None]
        return (1 - self.share) * logits + self.share * self.head(films), cam


@dataclass(frozen=True)
class RidgePart:
    """A finished ridge run that is blended with fold networks, and its share of the score."""

    run: Path
    share: float


@dataclass(frozen=True)
class Blended:
    """The network of a blend, its held-out answers, and the ridge run's configuration."""

    network: nn.Module
    held: OutOfFold
    config: RidgeConfig


def blend(
    networks: list[FilmReader], held: OutOfFold, folds: Sequence[int], size_px: int, part: RidgePart
) -> Blended:
    """Fold networks and the ridge head as one network; TrainingError if they do not belong
    together."""
    config = read_config(part.run / "fold0" / "config.yaml", RidgeConfig)
    saved = checkpoint.load(part.run / "all" / "head.pt")
    other = out_of_fold(part.run, folds)
    if saved is None:
        raise TrainingError(f"{part.run} holds no head: run 'goldentime train ridge' first")
    if config.size_px != size_px:
        raise TrainingError(f"{part.run} sees {config.size_px} px, the networks {size_px} px")
    if other.names != held.names:
        raise TrainingError(f"{part.run} was run on another split or other films: run it again")
    reader = reader_of(config, None)
    reader.load_state_dict(saved["ema"])
    center, spread = held.logits.mean(axis=0), held.logits.std(axis=0)
    network = Blend(
        Ensemble(networks),
        reader,
        part.share,
        torch.tensor(center, dtype=torch.float32),
        torch.tensor(spread, dtype=torch.float32),
    )
    logits = (1 - part.share) * (held.logits - center) / spread + part.share * other.logits
    return Blended(network, replace(held, logits=logits), config)
