"""What a training film is: path, patient, labels, boxes. Pure data, no pixels and no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from models.card import NIH_LABELS

#: The findings in the order every network uses.
LABELS = NIH_LABELS
#: A label nobody gave: neither counted in a loss nor in a figure.
UNKNOWN = math.nan


class TrainingError(Exception):
    """The training run cannot go on; the message names the file or field and what to do."""


def not_installed(error: ModuleNotFoundError) -> str:
    """What to tell somebody who runs a training command where its libraries are not; raises the
    error again if it is a module of ours that is missing."""
    if not error.name or error.name.split(".")[0] == "models":
        raise error
    return (
        f"{error.name.split('.')[0]} is not installed here: training has an environment of its "
        "own, made by 'make .venv-training/.training'; then run .venv-training/bin/goldentime"
    )


@dataclass(frozen=True)
class Box:
    """One annotated finding, in pixels of the file on disk (x0 < x1, y0 < y1)."""

    label: str
    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True)
class Film:
    """One radiograph with what is known about it; `labels` follow LABELS, NaN is unknown."""

    name: str
    path: Path
    patient_id: str
    labels: tuple[float, ...]
    source: str = ""
    age: float = UNKNOWN
    sex: str = ""
    view: str = ""
    #: a teacher network's scores, in the order of LABELS
    teacher: tuple[float, ...] | None = None
    boxes: tuple[Box, ...] = ()
    #: a reader looked for boxes: then no box means none to be found
    boxes_known: bool = False
    synthetic: bool = False
    extra: dict[str, str] = field(default_factory=dict)
