"""Networks that look: a feature extractor and one head that gives scores and their maps.

The head is linear on the mean and on the maximum of the feature map, so the class activation
map (Zhou et al. 2016) is part of the graph and serving needs no gradient.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn

from models.training.records import LABELS, TrainingError

#: The families of the 2021 comparison by their timm names, smallest member that keeps the family.
FAMILIES: dict[str, str] = {
    "efficientnet": "efficientnet_b0",
    "mobilenet": "mobilenetv2_100",
    "nasnet": "nasnetalarge",
    "densenet201": "densenet201",
    "inception_resnet_v2": "inception_resnet_v2",
    "xception": "legacy_xception",
}
#: What a film also tells, learnt beside the findings and dropped at export: view, sex, age.
SIDE_TARGETS = 3


class FilmReader(nn.Module):
    """(B, 1, S, S) in [0, 1] → logits (B, 14), maps (B, 14, h, w) and side logits (B, 3)."""

    def __init__(self, trunk: nn.Module, width: int, planes: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.trunk = trunk
        self.planes = planes
        self.dropout = nn.Dropout(dropout)
        self.mean_head = nn.Linear(width, len(LABELS) + SIDE_TARGETS)
        self.peak_head = nn.Linear(width, len(LABELS) + SIDE_TARGETS, bias=False)
        nn.init.zeros_(self.peak_head.weight)
        nn.init.normal_(self.mean_head.weight, std=0.01)
        nn.init.zeros_(self.mean_head.bias)
        # mean and spread of chest films in [0, 1]; part of the graph, not of the caller's code
        self.register_buffer("center", torch.tensor(0.5))
        self.register_buffer("spread", torch.tensor(0.25))
        self.rescale = True

    def features(self, films: Tensor) -> Tensor:
        """The feature map (B, width, h, w)."""
        if self.rescale:
            films = (films - self.center) / self.spread
        if self.planes != 1:
            films = films.expand(-1, self.planes, -1, -1)
        out: Tensor = self.trunk(films)
        return out

    def forward(self, films: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        maps = self.features(films)
        scores = self.mean_head(self.dropout(maps.mean(dim=(2, 3)))) + self.peak_head(
            self.dropout(maps.amax(dim=(2, 3)))
        )
        count = len(LABELS)
        weight = self.mean_head.weight[:count] + self.peak_head.weight[:count]
        cam = nn.functional.conv2d(maps, weight[:, :, None, None])
        return scores[:, :count], cam, scores[:, count:]


def _yolov5n_trunk() -> tuple[nn.Module, int]:
    """Stem to SPPF of ultralytics' YOLOv5n (Jocher et al.), 256 planes at stride 32."""
    from ultralytics.nn.tasks import DetectionModel

    whole = DetectionModel("yolov5n.yaml", ch=3, nc=80, verbose=False)
    trunk = nn.Sequential(*list(whole.model.children())[:10])
    for module in trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps, module.momentum = 1e-3, 0.03
    return trunk, 256


def trunk_of(name: str) -> tuple[nn.Module, int]:
    """Feature extractor by name ('yolov5n', a key of FAMILIES or any timm name) with random
    weights, and how many planes it ends in; TrainingError if there is none of that name."""
    if name == "yolov5n":
        return _yolov5n_trunk()
    import timm

    name = FAMILIES.get(name, name)
    if not timm.is_model(name):
        raise TrainingError(f"no network called {name!r}; see 'timm.list_models()'")
    network = timm.create_model(name, pretrained=False, num_classes=0, global_pool="")
    return network, network.num_features


def build(name: str, init: Path | None = None, dropout: float = 0.2) -> FilmReader:
    """A network on the trunk of that name, optionally started from a safetensors or .pt file.
    TrainingError names what does not fit."""
    trunk, width = trunk_of(name)
    model = FilmReader(trunk, width, planes=3, dropout=dropout)
    model.rescale = name != "yolov5n"  # YOLOv5 was trained on [0, 1] without centring
    if init is not None:
        load_init(model.trunk, init)
    return model


def find_init(text: str, data: Path) -> Path | None:
    """Where weights to start from lie: nowhere for '', in an installed package of that name that
    holds one .pth file, else in a file of the data folder."""
    if not text:
        return None
    if not text.isidentifier():
        return data / text
    package = importlib.util.find_spec(text)
    if package is None or package.origin is None:
        raise TrainingError(f"the package {text} is not installed: pip install {text}")
    found = sorted(Path(package.origin).parent.rglob("*.pth"))
    if len(found) != 1:
        raise TrainingError(f"the package {text} holds {len(found)} .pth files, one is needed")
    return found[0]


def load_init(trunk: nn.Module, path: Path) -> int:
    """Copy every tensor of `path` that fits a trunk by name and shape; the number copied, never 0.

    Where no name fits, all tensors of the trunk are taken in their order, if every shape agrees:
    so other implementations of one topology can start ours.
    """
    given = read_tensors(path)
    own = trunk.state_dict()
    taken = {}
    for key, tensor in given.items():
        for candidate in (key, key.removeprefix("trunk."), key.removeprefix("model.")):
            if candidate in own and own[candidate].shape == tensor.shape:
                taken[candidate] = tensor.to(own[candidate].dtype)
                break
    if not taken and len(given) >= len(own):
        pairs = list(zip(own.items(), given.values(), strict=False))
        if all(mine.shape == tensor.shape for (_, mine), tensor in pairs):
            taken = {key: tensor.to(mine.dtype) for (key, mine), tensor in pairs}
    if not taken:
        raise TrainingError(f"{path}: none of its {len(given)} tensors fits this network")
    trunk.load_state_dict(taken, strict=False)
    return len(taken)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a .pt state dict (never a pickled program)."""
    if not path.exists():
        raise TrainingError(f"weights {path} do not exist: name the file with --init")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        tensors: dict[str, Tensor] = load_file(path)
        return tensors
    content = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("ema", "model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    return {key: value for key, value in content.items() if isinstance(value, Tensor)}
