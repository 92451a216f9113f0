"""Model cards: complete, true to their weight, or refused with the field named."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import card
from models.card import (
    BadCard,
    Calibration,
    CalibrationMethod,
    Fit,
    InputSpec,
    ModelCard,
    ModelKind,
    ScoreKind,
)
from tests import onnx_graphs

LABELS = ("Mass", "Nodule")


def a_card(**changes: Any) -> ModelCard:
    fields: dict[str, Any] = {
        "name": "tiny",
        "kind": ModelKind.CLASSIFY,
        "architecture": "1x1 convolution",
        "version": "1.0.0",
        "labels": LABELS,
        "input": InputSpec(32, 1, (0.5,), (0.25,), Fit.STRETCH),
        "thresholds": dict.fromkeys(LABELS, 0.5),
        "calibration": Calibration(
            CalibrationMethod.PLATT, {"Mass": 2.0, "Nodule": 1.0}, {"Mass": 0.0, "Nodule": -1.0}
        ),
        "score_kind": ScoreKind.SCORE,
        "data": "none",
        "licence": "AGPL-3.0-or-later",
        "attribution": "nobody",
        "figures": {},
        "intended_use": "tests",
        "not_for": "Not for diagnosis.",
    }
    return ModelCard(**(fields | changes))


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A directory with a weight and its card."""
    tmp_path = tmp_path / "tiny"
    tmp_path.mkdir()
    weight = onnx_graphs.classifier(np.ones((2, 1)), np.zeros(2))
    (tmp_path / card.MODEL_FILE).write_bytes(weight)
    card.write(a_card(), tmp_path)
    return tmp_path


def edit(directory: Path, **changes: Any) -> None:
    path = directory / card.CARD_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_written_card_is_loaded_as_it_was(shipped: Path) -> None:
    loaded = card.load(shipped)
    assert loaded == card.write(a_card(), shipped)
    assert loaded.labels == LABELS
    assert loaded.identity() == {"name": "tiny", "version": "1.0.0", "sha256": loaded.sha256}


def test_one_changed_byte_of_the_weight_is_refused(shipped: Path) -> None:
    weight = shipped / card.MODEL_FILE
    data = bytearray(weight.read_bytes())
    data[-1] ^= 1
    weight.write_bytes(data)
    with pytest.raises(BadCard, match="sha256"):
        card.load(shipped)


def test_a_weight_that_reads_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / card.MODEL_FILE).write_bytes(onnx_graphs.with_external_data())
    with pytest.raises(BadCard, match="other files"):
        card.write(a_card(), tmp_path)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"kind": "segment"}, "segment"),
        ({"labels": []}, "thresholds"),
        ({"labels": ["Mass", "Mass"]}, "thresholds|distinct"),
        ({"thresholds": {"Mass": 0.5}}, "thresholds must name exactly the labels"),
        ({"thresholds": {"Mass": 0.5, "Nodule": 1.5}}, "thresholds must lie in"),
        ({"thresholds": {"Mass": 0.5, "Nodule": float("nan")}}, "finite"),
        ({"file": "../model.onnx"}, "plain file name"),
        ({"sha256": "abc"}, "sha256"),
        ({"not_for": "anything"}, "not for diagnosis"),
        ({"licence": " "}, "licence"),
        ({"name": "../x"}, "name must match"),
        ({"surprise": 1}, "unknown field surprise"),
        ({"input": {"size_px": 32}}, "mean"),
        ({"input": {"size_px": 0, "channels": 1, "mean": [0], "std": [1], "fit": "stretch"}}, "px"),
        (
            {"input": {"size_px": 32, "channels": 1, "mean": [0], "std": [0], "fit": "stretch"}},
            "above 0",
        ),
        (
            {"input": {"size_px": 32, "channels": 3, "mean": [0], "std": [1], "fit": "stretch"}},
            "channels",
        ),
        (
            {
                "calibration": {
                    "method": "temperature",
                    "temperature": {"Mass": 0, "Nodule": 1},
                    "bias": {"Mass": 0, "Nodule": 0},
                }
            },
            "above 0",
        ),
    ],
)
def test_an_unfit_card_is_refused_with_its_field(
    shipped: Path, changes: dict[str, Any], complaint: str
) -> None:
    edit(shipped, **changes)
    with pytest.raises(BadCard, match=complaint) as refused:
        card.load(shipped)
    assert str(shipped / card.CARD_FILE) in str(refused.value)


def test_a_missing_field_is_named(shipped: Path) -> None:
    path = shipped / card.CARD_FILE
    body = json.loads(path.read_text())
    del body["licence"], body["data"]
    path.write_text(json.dumps(body))
    with pytest.raises(BadCard, match="lacks data, licence"):
        card.load(shipped)


@pytest.mark.parametrize("text", ["", "[1]", "{"])
def test_a_card_that_is_no_object_is_refused(shipped: Path, text: str) -> None:
    (shipped / card.CARD_FILE).write_text(text)
    with pytest.raises(BadCard):
        card.load(shipped)


@pytest.mark.parametrize("name", ["nowhere", "..", "", "UPPER"])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(BadCard, match="no weight named"):
        card.load(name)


def test_the_shipped_weight_of_a_kind_is_found_by_kind(
    shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card, "WEIGHTS", shipped.parent)
    assert card.names() == [shipped.name]
    assert card.names(ModelKind.DETECT) == []
    assert card.shipped(ModelKind.CLASSIFY) == shipped.name
    with pytest.raises(BadCard, match="0 weights to detect"):
        card.shipped(ModelKind.DETECT)


def test_of_several_weights_the_default_serves(
    shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = shipped.parent
    monkeypatch.setattr(card, "WEIGHTS", weights)
    shutil.copytree(shipped, weights / "second")
    with pytest.raises(BadCard, match="2 weights to classify"):
        card.shipped(ModelKind.CLASSIFY)
    defaults = weights / card.DEFAULTS_FILE
    defaults.write_text('{"classify": "second"}')
    assert card.shipped(ModelKind.CLASSIFY) == "second"
    for wrong in ('{"classify": "third"}', '{"segment": "second"}', "[]", "{"):
        defaults.write_text(wrong)
        with pytest.raises(BadCard, match=re.escape(card.DEFAULTS_FILE)):
            card.shipped(ModelKind.CLASSIFY)


def test_what_ships_is_complete_and_says_what_it_is_not_for() -> None:
    for name in card.names():
        assert "not for diagnosis" in card.load(name).not_for.lower()
