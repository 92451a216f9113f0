"""Model cards: what stands beside every weight file, and the only way to open one.

A weight lives in ``models/weights/<name>/`` as ``model.onnx`` with this ``card.json``::

    {
      "name": "chest14-mobilenet",
      "kind": "classify",                      // classify | detect
      "architecture": "efficientnet_b0 (timm)",
      "version": "1.0.0",
      "file": "model.onnx",
      "sha256": "64 hex digits of that file",
      "labels": ["Atelectasis", "..."],        // in the order of the outputs
      "input": {"size_px": 224, "channels": 1, "mean": [0.5], "std": [0.25],
                "fit": "stretch"},             // stretch | letterbox
      "thresholds": {"Atelectasis": 0.31},     // one per label, on the score as served
      "calibration": {"method": "temperature", // null: the raw sigmoid is served
                      "temperature": {"Atelectasis": 1.4},
                      "bias": {"Atelectasis": -0.2}},
      "score_kind": "score",                   // score | probability
      "data": "what it was trained on, and how it was split",
      "licence": "CC BY-NC 4.0",
      "attribution": "NIH Clinical Center; Wang et al., CVPR 2017",
      "figures": {"mean_auc": {"value": 0.75, "measured_on": "..."}},
      "intended_use": "research on ...",
      "not_for": "Research software, not a medical device: not for diagnosis."
    }

A network's input is float32 (1, channels, size_px, size_px): (pixel / 255 - mean) / std per
channel, all channels carrying the same gray film. A classifier answers ``logits`` (1, labels) and
may answer ``cam`` (1, labels, h, w); a detector answers one array (1, 4 + labels, boxes) as
ultralytics exports it: centre x, centre y, width, height in input pixels, then a score per label.
A served classifier score is sigmoid(logit / temperature + bias); where a site sets its prevalence,
moved from ``figures.prevalence`` to there. models/operating.py reads that figure, and
``figures.operating_points`` and ``figures.conformal_set``, and refuses what does not fit the card.

Nothing but the standard library may enter here: every room of the island reads cards.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

NIH_LABELS: tuple[str, ...] = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
"""The 14 findings of NIH ChestX-ray14 in the order of CheXNet (Wang et al. 2017, table 3)."""

WEIGHTS = Path(__file__).parent / "weights"
CARD_FILE = "card.json"
MODEL_FILE = "model.onnx"
DEFAULTS_FILE = "default.json"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# A tensor kept outside the file names it in a StringStringEntryProto whose key is "location"
# (onnx.proto, TensorProto.external_data). Following it lets a weight read any file of the host.
_EXTERNAL_DATA = re.compile(rb"\x0a(?:\x08|\x88\x80*\x00)location")


class BadCard(Exception):
    """A weight or its card is missing, incomplete or not what it claims to be."""


class ModelKind(StrEnum):
    CLASSIFY = "classify"
    DETECT = "detect"


class Fit(StrEnum):
    """How a film is brought to the square input of a network."""

    STRETCH = "stretch"
    LETTERBOX = "letterbox"


class ScoreKind(StrEnum):
    """What a served number means."""

    SCORE = "score"
    """Ranks films; only its threshold gives it meaning."""
    PROBABILITY = "probability"
    """Calibrated to a stated prevalence; served only where a site's own is set."""


class CalibrationMethod(StrEnum):
    TEMPERATURE = "temperature"
    """sigmoid(logit / temperature), bias 0."""
    PLATT = "platt"
    """sigmoid(logit / temperature + bias)."""


@dataclass(frozen=True)
class InputSpec:
    """The square input of a network; mean and std are per channel, of pixels scaled to 0..1."""

    size_px: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fit: Fit


@dataclass(frozen=True)
class Calibration:
    """Per label: served score = sigmoid(logit / temperature + bias)."""

    method: CalibrationMethod
    temperature: Mapping[str, float]
    bias: Mapping[str, float]


@dataclass(frozen=True)
class ModelCard:
    """One weight and everything its users must know; see the module docstring for each field."""

    name: str
    kind: ModelKind
    architecture: str
    version: str
    labels: tuple[str, ...]
    input: InputSpec
    thresholds: Mapping[str, float]
    calibration: Calibration | None
    score_kind: ScoreKind
    data: str
    licence: str
    attribution: str
    figures: Mapping[str, Any]
    intended_use: str
    not_for: str
    file: str = MODEL_FILE
    sha256: str = ""
    directory: Path = WEIGHTS

    def identity(self) -> dict[str, str]:
        """What a stored result says of its maker: name, version and the weight's sha256."""
        return {"name": self.name, "version": self.version, "sha256": self.sha256}

    def model_bytes(self) -> bytes:
        """Read the weight and check it against the card; raises BadCard when it does not match."""
        path = self.directory / self.file
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BadCard(f"{path}: {error.strerror}; the card names this file") from error
        found = hashlib.sha256(data).hexdigest()
        if found != self.sha256:
            raise BadCard(
                f"{path}: sha256 is {found}, the card says {self.sha256}; "
                "restore the weight from the release it came with"
            )
        _refuse_external_data(data, path)
        return data


def names(kind: ModelKind | None = None) -> list[str]:
    """Names of the weights in models/weights (of one kind if given), sorted."""
    found = sorted(path.parent.name for path in WEIGHTS.glob(f"*/{CARD_FILE}"))
    if kind is None:
        return found
    return [
        name for name in found if _parse(_read_json(WEIGHTS / name), WEIGHTS / name).kind == kind
    ]


def shipped(kind: ModelKind) -> str:
    """Name of the weight that serves unless another is named: the one in weights/default.json,
    else the only one of this kind; raises BadCard if there is neither."""
    found = names(kind)
    chosen = _defaults().get(kind.value)
    if chosen is None and len(found) == 1:
        return found[0]
    if chosen not in found:
        raise BadCard(
            f"{len(found)} weights to {kind} in {WEIGHTS} ({', '.join(found) or 'none'}) and "
            f"{DEFAULTS_FILE} names {chosen or 'none'}; name one there or in "
            f"GOLDENTIME_{'CLASSIFIER' if kind is ModelKind.CLASSIFY else 'DETECTOR'}"
        )
    return chosen


def _defaults() -> dict[str, str]:
    """{kind: name} of weights/default.json, empty without one."""
    path = WEIGHTS / DEFAULTS_FILE
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BadCard(f"{path}: {error}; it holds a weight's name per kind") from error
    if not isinstance(body, dict) or not set(body) <= {kind.value for kind in ModelKind}:
        raise BadCard(f"{path}: must name a weight per kind ({', '.join(ModelKind)})")
    return {key: str(value) for key, value in body.items()}


def load(name_or_directory: str | Path) -> ModelCard:
    """Card of a shipped weight by name, or of a directory that holds card.json and its weight.

    Raises BadCard when the card is incomplete or the weight is not the one it describes.
    """
    directory = Path(name_or_directory)
    if isinstance(name_or_directory, str) and os.sep not in name_or_directory:
        if not _NAME.fullmatch(name_or_directory) or not (WEIGHTS / name_or_directory).is_dir():
            known = ", ".join(names()) or "none"
            raise BadCard(f"no weight named {name_or_directory!r}; shipped here: {known}")
        directory = WEIGHTS / name_or_directory
    card = _parse(_read_json(directory), directory)
    card.model_bytes()
    return card


def write(card: ModelCard, directory: Path) -> ModelCard:
    """Write card.json beside the weight that already lies in directory, filling in its sha256.

    Returns the card as `load` would; raises BadCard when the card or the weight is unfit to ship.
    """
    path = directory / card.file
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadCard(f"{path}: {error.strerror}; export the network there first") from error
    _refuse_external_data(data, path)
    finished = replace(card, sha256=hashlib.sha256(data).hexdigest(), directory=directory)
    body = asdict(finished)
    del body["directory"]
    text = json.dumps(body, indent=2, ensure_ascii=False, default=dict) + "\n"
    _parse(json.loads(text), directory)
    temporary = directory / f".{CARD_FILE}.new"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(directory / CARD_FILE)
    return finished


def _refuse_external_data(data: bytes, path: Path) -> None:
    if _EXTERNAL_DATA.search(data):
        raise BadCard(f"{path}: keeps tensors in other files; export it as one file")


def _read_json(directory: Path) -> dict[str, Any]:
    path = directory / CARD_FILE
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadCard(f"{path}: {error.strerror}; each weight needs its card") from error
    except ValueError as error:
        raise BadCard(f"{path}: not JSON: {error}") from error
    if not isinstance(body, dict):
        raise BadCard(f"{path}: must hold one JSON object")
    return body


def _parse(body: dict[str, Any], directory: Path) -> ModelCard:
    """Build the card from JSON; every complaint names the file and the field."""
    where = directory / CARD_FILE
    wanted = {field.name for field in fields(ModelCard)} - {"directory"}
    if missing := sorted(wanted - body.keys()):
        raise BadCard(f"{where}: lacks {', '.join(missing)}")
    if unknown := sorted(body.keys() - wanted):
        raise BadCard(f"{where}: unknown field {', '.join(unknown)}")

    try:
        spec, calibration = body["input"], body["calibration"]
        card = ModelCard(
            **{
                **body,
                "kind": ModelKind(body["kind"]),
                "labels": tuple(body["labels"]),
                "input": InputSpec(
                    **{
                        **spec,
                        "mean": tuple(float(value) for value in spec["mean"]),
                        "std": tuple(float(value) for value in spec["std"]),
                        "fit": Fit(spec["fit"]),
                    }
                ),
                "thresholds": {key: float(value) for key, value in body["thresholds"].items()},
                "calibration": calibration
                and Calibration(
                    **{**calibration, "method": CalibrationMethod(calibration["method"])}
                ),
                "score_kind": ScoreKind(body["score_kind"]),
                "directory": directory,
            }
        )
        problem = _problem(card)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadCard(f"{where}: {error}") from error
    if problem:
        raise BadCard(f"{where}: {problem}")
    return card


def _problem(card: ModelCard) -> str | None:
    """What is wrong with a card whose fields are all there, or None."""
    texts = ("name", "architecture", "version", "data", "licence", "attribution", "intended_use")
    for field in texts:
        value = getattr(card, field)
        if not isinstance(value, str) or not value.strip():
            return f"{field} must be a text that says something"
    spec, labels = card.input, set(card.labels)
    per_label: list[tuple[str, Mapping[str, float]]] = [("thresholds", card.thresholds)]
    if card.calibration is not None:
        per_label.append(("calibration.temperature", card.calibration.temperature))
        per_label.append(("calibration.bias", card.calibration.bias))
    for field, values in per_label:
        if set(values) != labels:
            return f"{field} must name exactly the labels"
        if not all(math.isfinite(value) for value in values.values()):
            return f"{field} must be finite numbers"
    checks = {
        f"name must match {_NAME.pattern}": _NAME.fullmatch(card.name),
        "labels must be distinct and not empty": 0 < len(labels) == len(card.labels),
        "file must be a plain file name ending in .onnx": (
            Path(card.file).name == card.file and card.file.endswith(".onnx")
        ),
        "sha256 must be 64 hex digits": re.fullmatch(r"[0-9a-f]{64}", card.sha256),
        "thresholds must lie in 0..1": all(0 <= value <= 1 for value in card.thresholds.values()),
        "input.size_px must be a whole number in 32..2048": (
            type(spec.size_px) is int and 32 <= spec.size_px <= 2048
        ),
        "input.channels must be 1 or 3, with as many means and stds (above 0)": (
            spec.channels in (1, 3)
            and len(spec.mean) == len(spec.std) == spec.channels
            and all(math.isfinite(value) for value in spec.mean)
            and all(math.isfinite(value) and value > 0 for value in spec.std)
        ),
        "calibration.temperature must be above 0": card.calibration is None
        or all(value > 0 for value in card.calibration.temperature.values()),
        "calibration must be null for a detector": (
            card.kind is ModelKind.CLASSIFY or card.calibration is None
        ),
        "figures must be an object": isinstance(card.figures, Mapping),
        'not_for must say "not for diagnosis"': "not for diagnosis" in str(card.not_for).lower(),
    }
    return next((message for message, good in checks.items() if not good), None)
