"""The classifier on tiny networks whose answer can be computed by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models import card
from models.card import BadCard, ModelCard, ModelKind
from models.classifier import Classifier
from models.network import NetworkFailure
from models.operating import BadPrevalence, PredictionSet, shift_prior
from tests import onnx_graphs
from tests.unit.test_card import LABELS, a_card
from tests.unit.test_operating import FIGURES, SITE

GRAY = np.full((100, 80), 204, np.uint8)  # (204 / 255 - 0.5) / 0.25 = 1.2


def made(directory: Path, weights: list[float], bias: list[float], **changes: object) -> ModelCard:
    weight = onnx_graphs.classifier(np.array(weights)[:, None], np.array(bias))
    (directory / card.MODEL_FILE).write_bytes(weight)
    return card.write(a_card(**changes), directory)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_scores_are_calibrated_logits_in_label_order(tmp_path: Path) -> None:
    reading = Classifier(made(tmp_path, [1.0, -1.0], [0.8, 0.2])).read(GRAY)
    # Mass: logit 2.0, temperature 2; Nodule: logit -1.0, temperature 1, bias -1.
    assert list(reading.scores) == list(LABELS)
    assert reading.scores["Mass"] == pytest.approx(sigmoid(1.0), abs=1e-5)
    assert reading.scores["Nodule"] == pytest.approx(sigmoid(-2.0), abs=1e-5)
    assert reading.top3 == ("Mass", "Nodule")
    assert reading.above_threshold == ("Mass",)
    assert set(reading.seconds) == {"prepare", "run"}


def test_without_calibration_the_sigmoid_is_served(tmp_path: Path) -> None:
    reading = Classifier(made(tmp_path, [0.0, 0.0], [1.0, -1.0], calibration=None)).read(GRAY)
    assert reading.scores["Mass"] == pytest.approx(sigmoid(1.0), abs=1e-6)


def test_nothing_above_threshold_is_a_result(tmp_path: Path) -> None:
    reading = Classifier(made(tmp_path, [0.0, 0.0], [-5.0, -5.0])).read(GRAY)
    assert reading.above_threshold == ()
    assert len(reading.top3) == 2


def test_a_site_moves_scores_and_thresholds_together(tmp_path: Path) -> None:
    """Mass is just above its threshold before and after; only the ranking may change."""
    card_ = made(tmp_path, [0.0, 0.0], [0.02, 3.0], figures=FIGURES)
    here = Classifier(card_).read(GRAY)
    there = Classifier(card_, site_prevalence=SITE).read(GRAY)
    assert set(here.above_threshold) == set(there.above_threshold) == {"Mass", "Nodule"}
    assert here.scores["Mass"] > 0.5
    assert there.scores["Mass"] == pytest.approx(shift_prior(here.scores["Mass"], 0.2, 0.02))
    assert here.prediction_set == there.prediction_set
    with pytest.raises(BadPrevalence, match="lacks Nodule"):
        Classifier(card_, site_prevalence={"Mass": 0.1})


def test_the_prediction_set_of_a_film_comes_with_its_scores(tmp_path: Path) -> None:
    """Mass: sigmoid(-8 / 2) is below 0.1 and left out; Nodule's 0.0 leaves it never out."""
    reading = Classifier(made(tmp_path, [0.0, 0.0], [-8.0, -8.0], figures=FIGURES)).read(GRAY)
    assert reading.prediction_set == PredictionSet(0.9, ("Nodule",))


def test_activation_maps_come_per_label(tmp_path: Path) -> None:
    reading = Classifier(made(tmp_path, [1.0, -1.0], [0.0, 0.0])).read(GRAY)
    assert reading.cams is not None
    assert reading.cams["Mass"].shape == (32, 32)
    assert float(reading.cams["Mass"].mean()) == pytest.approx(1.2, abs=1e-5)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_an_answer_that_is_no_number_is_a_failure(tmp_path: Path, poison: float) -> None:
    with pytest.raises(NetworkFailure, match="not finite"):
        Classifier(made(tmp_path, [0.0, 0.0], [poison, 0.0])).read(GRAY)


def test_a_network_with_other_labels_than_its_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadCard, match="3 logits for 2 labels"):
        Classifier(made(tmp_path, [0.0] * 3, [0.0] * 3))


def test_a_network_with_another_input_than_its_card_is_refused(tmp_path: Path) -> None:
    bigger = replace(a_card().input, size_px=64)
    with pytest.raises(BadCard, match="the card says"):
        Classifier(made(tmp_path, [0.0] * 2, [0.0] * 2, input=bigger))


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / card.MODEL_FILE).write_bytes(b"not a network")
    with pytest.raises(BadCard, match="cannot load"):
        Classifier(card.write(a_card(), tmp_path))


def test_a_detector_card_is_refused(tmp_path: Path) -> None:
    detect = made(tmp_path, [0.0] * 2, [0.0] * 2, kind=ModelKind.DETECT, calibration=None)
    with pytest.raises(BadCard, match="a classifier is needed"):
        Classifier(detect)
