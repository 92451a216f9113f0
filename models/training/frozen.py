"""Networks trained on photographs, left as they are: the maps of their lower blocks.

With a thousand films, those blocks reach more as they are than trained further (docs/models.md).
Linear heads (ridge.py), box heads (dense.py) and small networks (attention.py) stand on them. Only
torch modules may enter: no data files, nothing that learns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.training.backbones import find_init, load_init, trunk_of
from models.training.records import TrainingError

#: Blocks of the EfficientNet family after which features are taken: strides 8, 16 and 16.
EFFICIENTNET_BLOCKS = (2, 3, 4)
#: Layers of YOLOv5n after which they are taken: strides 8, 16 and 32.
YOLOV5N_LAYERS = (4, 6, 9)


@dataclass(frozen=True)
class TrunkSpec:
    """A trunk by name, and the side in pixels of the film it looks at."""

    name: str
    size_px: int


def parse_trunks(text: str) -> tuple[TrunkSpec, ...]:
    """'tf_efficientnet_lite0@192, yolov5n@320' → specs; TrainingError says what is wrong."""
    specs = []
    for part in text.split(","):
        name, _, size = part.strip().partition("@")
        if not name or not size.isdigit() or int(size) < 32:
            raise TrainingError(f"trunks: {part.strip()!r} is not NAME@SIZE with a size of 32 up")
        specs.append(TrunkSpec(name, int(size)))
    return tuple(specs)


def inits_of(text: str, count: int, data: Path) -> list[Path | None]:
    """Where the weights of `count` trunks lie, from a comma list; TrainingError if it names
    another number of them."""
    given = [part.strip() for part in text.split(",")] if text else [""] * count
    if len(given) != count:
        raise TrainingError(f"init names {len(given)} weights for {count} trunks")
    return [find_init(part, data) for part in given]


class FrozenTrunk(nn.Module):
    """(B, 1, S, S) in [0, 1] → feature maps at several depths, after resizing to its own side."""

    def __init__(self, spec: TrunkSpec, init: Path | None = None) -> None:
        super().__init__()
        self.size_px = spec.size_px
        network, _ = trunk_of(spec.name)
        if init is not None:
            load_init(network, init)
        self.centred = spec.name != "yolov5n"  # YOLOv5 was trained on [0, 1] without centring
        if spec.name == "yolov5n":
            layers = list(network.children())
            ends: tuple[int, ...] = YOLOV5N_LAYERS
        elif all(hasattr(network, part) for part in ("conv_stem", "bn1", "blocks")):
            stem = nn.Sequential(network.conv_stem, network.bn1)
            layers = [stem, *list(network.blocks)[: EFFICIENTNET_BLOCKS[-1] + 1]]
            ends = tuple(block + 1 for block in EFFICIENTNET_BLOCKS)
        else:
            raise TrainingError(f"{spec.name} cannot be a frozen trunk: EfficientNets and yolov5n")
        starts = (0, *(end + 1 for end in ends[:-1]))
        self.parts = nn.ModuleList(
            nn.Sequential(*layers[start : end + 1]) for start, end in zip(starts, ends, strict=True)
        )
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> FrozenTrunk:
        """Stays in evaluation mode: frozen means its batch statistics, too."""
        super().train(False)
        return self

    def forward(self, films: Tensor) -> list[Tensor]:
        if films.shape[-1] != self.size_px:
            films = functional.interpolate(
                films, size=(self.size_px, self.size_px), mode="bilinear", align_corners=False
            )
        if self.centred:
            films = films * 2.0 - 1.0
        films = films.expand(-1, 3, -1, -1)
        maps = []
        for part in self.parts:
            films = part(films)
            maps.append(films)
        return maps


class FrozenMaps(nn.Module):
    """(B, 1, S, S) in [0, 1] → (B, planes, g, g): all depths of all trunks on the first one's
    coarsest grid."""

    def __init__(self, specs: Sequence[TrunkSpec], inits: Sequence[Path | None]) -> None:
        super().__init__()
        self.trunks = nn.ModuleList(
            FrozenTrunk(spec, init) for spec, init in zip(specs, inits, strict=True)
        )
        with torch.no_grad():
            answers = [trunk(torch.zeros(1, 1, 32, 32)) for trunk in self.trunks]
            self.grid: int = self.trunks[0](torch.zeros(1, 1, specs[0].size_px, specs[0].size_px))[
                -1
            ].shape[-1]
        self.planes = sum(maps.shape[1] for answer in answers for maps in answer)

    def forward(self, films: Tensor) -> Tensor:
        out = []
        for trunk in self.trunks:
            for maps in trunk(films):
                side = maps.shape[-1]
                if side > self.grid and side % self.grid == 0:
                    maps = functional.avg_pool2d(maps, side // self.grid)
                elif side != self.grid:
                    maps = functional.interpolate(
                        maps, size=(self.grid, self.grid), mode="bilinear", align_corners=False
                    )
                out.append(maps)
        return torch.cat(out, dim=1)
