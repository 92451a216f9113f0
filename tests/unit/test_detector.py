"""The detector's geometry on networks that answer known boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models import card
from models.card import BadCard, Fit, InputSpec, ModelCard, ModelKind
from models.detector import Detector
from models.network import NetworkFailure
from tests import onnx_graphs
from tests.unit.test_card import a_card

INPUT = InputSpec(64, 1, (0.0,), (1.0,), Fit.LETTERBOX)
FILM = np.zeros((100, 200), np.uint8)  # scale 0.32, 16 px of padding above and below
Row = tuple[float, float, float, float, float, float]


def made(directory: Path, rows: list[Row], **changes: object) -> ModelCard:
    (directory / card.MODEL_FILE).write_bytes(onnx_graphs.detector(np.array(rows).T))
    fields = {"kind": ModelKind.DETECT, "calibration": None, "input": INPUT}
    return card.write(a_card(**(fields | changes)), directory)


def test_a_box_comes_back_in_pixels_of_the_film(tmp_path: Path) -> None:
    (box,) = Detector(made(tmp_path, [(32, 32, 16, 8, 0.9, 0.1)])).read(FILM).boxes
    assert box.label == "Mass"
    assert box.score == pytest.approx(0.9)
    assert box[2:] == pytest.approx((75.0, 37.5, 125.0, 62.5))


def test_a_stretched_input_is_undone_as_well(tmp_path: Path) -> None:
    stretched = InputSpec(64, 1, (0.0,), (1.0,), Fit.STRETCH)
    found = Detector(made(tmp_path, [(32, 32, 16, 8, 0.9, 0.1)], input=stretched)).read(FILM)
    assert found.boxes[0][2:] == pytest.approx((75.0, 43.75, 125.0, 56.25))


def test_boxes_end_at_the_film(tmp_path: Path) -> None:
    rows: list[Row] = [(2, 18, 30, 30, 0.9, 0.1), (32, 5, 8, 8, 0.8, 0.1)]  # one in the padding
    (box,) = Detector(made(tmp_path, rows)).read(FILM).boxes
    assert (box.x0, box.y0) == (0, 0)


def test_of_overlapping_boxes_of_one_label_the_best_is_kept(tmp_path: Path) -> None:
    rows: list[Row] = [
        (32, 32, 16, 16, 0.6, 0.1),
        (33, 32, 16, 16, 0.9, 0.1),
        (32, 32, 16, 16, 0.1, 0.7),  # the other label may lie on top
        (12, 32, 8, 8, 0.8, 0.1),
    ]
    found = Detector(made(tmp_path, rows)).read(FILM).boxes
    assert [(box.label, round(box.score, 2)) for box in found] == [
        ("Mass", 0.9),
        ("Mass", 0.8),
        ("Nodule", 0.7),
    ]


def test_thresholds_are_the_cards_unless_measuring(tmp_path: Path) -> None:
    rows: list[Row] = [(32, 32, 16, 16, 0.45, 0.1), (12, 32, 8, 8, 0.1, 0.3)]
    detector = Detector(made(tmp_path, rows, thresholds={"Mass": 0.5, "Nodule": 0.2}))
    assert [box.label for box in detector.read(FILM).boxes] == ["Nodule"]
    assert len(detector.read(FILM, min_score=0.01).boxes) == 2


def test_nothing_found_is_a_result(tmp_path: Path) -> None:
    assert Detector(made(tmp_path, [(32, 32, 16, 8, 0.1, 0.1)])).read(FILM).boxes == []


def test_an_answer_that_is_no_number_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(NetworkFailure, match="not finite"):
        Detector(made(tmp_path, [(32, float("nan"), 16, 8, 0.9, 0.1)])).read(FILM)


def test_a_network_with_other_labels_than_its_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadCard, match=r"4 \+ 1"):
        Detector(made(tmp_path, [(1, 1, 1, 1, 1, 1)], labels=("Mass",), thresholds={"Mass": 0.5}))
