"""One YAML per run: every field of a classifier or detector run, with its default and meaning."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from models.training.records import TrainingError

T = TypeVar("T")


@dataclass(frozen=True)
class ClassifierConfig:
    """A classifier run. Paths inside are relative to the data folder."""

    name: str = "classifier"
    layout: str = "plain"  # of the data folder: plain, nih or dicom
    backbone: str = "efficientnet_b0"
    size_px: int = 224
    init: str = ""  # weights to start from: a file of the data folder or an installed package
    start_run: str = ""  # another run whose network of the same fold starts this one
    split: str = ""  # split file, relative to the YAML; empty: dealt from the seed
    folds: int = 5
    fold: int = 0  # which fold validates
    seed: int = 0
    epochs: int = 30
    batch: int = 32
    rate: float = 1e-3
    trunk_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_epochs: float = 1.0
    ema_decay: float = 0.99
    dropout: float = 0.2
    mix_alpha: float = 0.4
    augment: float = 1.0
    teacher: str = ""  # CSV of a teacher's scores
    teacher_share: float = 0.6  # of the target, where a teacher's score exists
    side_weight: float = 0.0  # loss weight of view, sex and age, learnt beside the findings
    balance: float = 0.0  # exponent of (negatives / positives) as positive weight
    patience: int = 0  # epochs without a better validation loss before stopping; 0: never
    mixed_precision: bool = True
    device: str = "cpu"  # or cuda
    low_resolution: str = ""  # CSV of more films (folder beside it), e.g. 64 px ones
    low_resolution_share: float = 1.0  # of them per epoch
    synthetic: str = ""  # folder of labelled synthetic films; they only ever train
    pretrain_epochs: int = 0  # epochs on low_resolution films alone before the run
    wall_clock_s: float = 0.0  # stop after that long; 0: epochs rule
    cpu_s: float = 0.0  # the same in processor time of all threads, where others share the machine
    threads: int = 2


@dataclass(frozen=True)
class RidgeConfig:
    """A run of linear heads on frozen trunks, all folds at once. No chance enters the fit."""

    name: str = "ridge"
    layout: str = "plain"  # of the data folder: plain, nih or dicom
    trunks: str = "tf_efficientnet_lite0@192"  # comma list of NAME@SIZE in pixels
    init: str = ""  # comma list beside it: an installed package or a file of the data folder
    size_px: int = 256  # of the film that the graph takes
    grid: int = 4  # cells along a side, beside the whole film
    strength: float = 5.0  # of the ridge
    split: str = ""
    folds: int = 5
    seed: int = 0  # deals the split where no file names it
    teacher: str = ""  # CSV of a teacher's scores
    teacher_share: float = 0.4  # of the target, where a teacher's score exists
    threads: int = 2


@dataclass(frozen=True)
class AttentionConfig:
    """A run of small networks on frozen maps that judge whole films, all folds at once."""

    name: str = "attention"
    layout: str = "plain"  # of the data folder: plain, nih or dicom
    trunks: str = "tf_efficientnet_lite0@192"  # comma list of NAME@SIZE in pixels
    init: str = ""  # comma list beside it: an installed package or a file of the data folder
    size_px: int = 256  # of the film that the graph takes
    copies: int = 1  # of every film, moved, scaled and of other contrast, but the first
    directions: int = 64  # main directions of the maps' planes that a head sees
    width: int = 32  # planes of a head
    heads: int = 3  # per fold, from different seeds; their answers are averaged
    epochs: int = 15
    batch: int = 16
    rate: float = 0.002
    weight_decay: float = 0.05
    ema_decay: float = 0.98
    mix_alpha: float = 0.4
    teacher: str = ""  # CSV of a teacher's scores
    teacher_share: float = 0.4  # of the target, where a teacher's score exists
    split: str = ""
    folds: int = 5
    seed: int = 0
    threads: int = 2


@dataclass(frozen=True)
class DetectorConfig:
    """A detector run. Paths inside are relative to the data folder."""

    name: str = "detector"
    layout: str = "plain"  # of the data folder: plain, nih, dicom, chestx-det or rsna
    backbone: str = "yolov5n"
    size_px: int = 416
    init: str = ""
    split: str = ""
    folds: int = 5
    fold: int = 0
    seed: int = 0
    epochs: int = 30
    batch: int = 16
    rate: float = 0.002
    trunk_run: str = ""  # a classifier run whose trunk of the same fold starts this one
    mosaic: float = 0.3
    mixup: float = 0.0
    scale: float = 0.2
    negatives: float = 1.0  # films without a box per film with one
    labels: str = "lung_opacity"  # 'lung_opacity' merges Pneumonia, or a comma list
    threads: int = 2


@dataclass(frozen=True)
class DenseConfig:
    """A run of box heads on frozen trunks, all folds at once."""

    name: str = "dense"
    layout: str = "plain"  # of the data folder: plain, nih, dicom, chestx-det or rsna
    trunks: str = "tf_efficientnet_lite0@192"  # comma list of NAME@SIZE in pixels
    init: str = ""  # comma list beside it: an installed package or a file of the data folder
    size_px: int = 192  # of the film that the graph takes
    labels: str = "lung_opacity"  # 'lung_opacity' merges Pneumonia, or a comma list
    copies: int = 8  # of every film, moved, scaled and of other contrast, but the first
    width: int = 48  # planes of a head
    heads: int = 1  # per fold, from different seeds; their answers are averaged
    epochs: int = 25
    batch: int = 16
    rate: float = 0.002
    weight_decay: float = 0.05
    ema_decay: float = 0.98
    split: str = ""
    folds: int = 5
    seed: int = 0
    threads: int = 2


@dataclass(frozen=True)
class GanConfig:
    """A GAN run: grows from 4 px to size_px on the training films of one fold."""

    name: str = "gan"
    layout: str = "plain"
    size_px: int = 64
    split: str = ""
    folds: int = 5
    fold: int = 0
    seed: int = 0
    width: int = 128  # feature planes at 4 px
    films_per_phase: int = 30000  # shown while a level fades in, and again while it settles
    cpu_s: float = 0.0  # once grown, goes on until it had that much processor time
    batch: int = 16
    rate: float = 1e-3
    ema_decay: float = 0.999
    threads: int = 2


def read_config(path: Path, kind: type[T], **changes: Any) -> T:
    """Read a YAML into `kind`; unknown fields and wrong types are a TrainingError."""
    try:
        content = yaml.safe_load(path.read_text()) or {}
    except FileNotFoundError:
        raise TrainingError(f"no configuration {path}") from None
    except yaml.YAMLError as error:
        raise TrainingError(f"{path} is not YAML: {error}") from None
    content.update({key: value for key, value in changes.items() if value is not None})
    known = {item.name: item.type for item in fields(kind)}  # type: ignore[arg-type]
    for key, value in content.items():
        if key not in known:
            raise TrainingError(f"{path}: unknown field {key!r} (known: {', '.join(known)})")
        kinds = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}
        wanted = kinds[str(known[key])]
        if not isinstance(value, wanted):
            raise TrainingError(f"{path}: {key} is {value!r}, expected {known[key]}")
    return kind(**content)


def write_config(config: Any, path: Path) -> None:
    """Write what was run, so that anyone can repeat it."""
    path.write_text(yaml.safe_dump(asdict(config), sort_keys=False))


#: What a stopped run may be given more or less of when it goes on.
CHANGEABLE = ("epochs", "films_per_phase", "patience", "wall_clock_s", "cpu_s", "threads", "device")


def begin(config: Any, folder: Path) -> None:
    """Write what is run into the run's folder; TrainingError if a checkpoint there is of a run with
    other settings, whose network this one would silently go on with."""
    path = folder / "config.yaml"
    if (folder / "last.pt").exists() and path.exists():
        before = yaml.safe_load(path.read_text()) or {}
        for key, value in asdict(config).items():
            if key not in CHANGEABLE and before.get(key, value) != value:
                raise TrainingError(
                    f"{folder} holds a run with {key} {before[key]!r}, asked for is {value!r}: "
                    "give this run another name or --runs folder, or remove that one"
                )
    folder.mkdir(parents=True, exist_ok=True)
    write_config(config, path)
