"""Figures of merit against other people's arithmetic and against hand-made cases."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from models.card import NIH_LABELS, Calibration, CalibrationMethod
from models.operating import Operating
from models.training import calibrate, detection_metrics, metrics
from models.training.detection_metrics import FilmBoxes, LabelledBoxes
from tests.unit.test_card import a_card


@pytest.fixture
def made() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    truth = (generator.random(400) < 0.2).astype(float)
    # rounded, so that there are ties
    return truth, np.round(truth * 0.3 + generator.random(400), 2)


def test_areas_agree_with_scikit_learn(made: tuple[np.ndarray, np.ndarray]) -> None:
    truth, score = made
    assert metrics.auc(truth, score) == pytest.approx(reference.roc_auc_score(truth, score))
    assert metrics.average_precision(truth, score) == pytest.approx(
        reference.average_precision_score(truth, score)
    )


def test_unknown_labels_count_for_nothing(made: tuple[np.ndarray, np.ndarray]) -> None:
    truth, score = made
    some = truth.copy()
    some[::3] = np.nan
    known = ~np.isnan(some)
    assert metrics.auc(some, score) == metrics.auc(truth[known], score[known])
    assert np.isnan(metrics.auc(np.zeros(5), np.arange(5.0)))


@pytest.mark.parametrize("wanted", [0.5, 0.9, 1.0])
def test_thresholds_reach_what_they_state(
    made: tuple[np.ndarray, np.ndarray], wanted: float
) -> None:
    truth, score = made
    at = metrics.threshold_at_specificity(truth, score, wanted)
    assert metrics.rates(truth, score, at)[1] >= wanted
    at = metrics.threshold_at_sensitivity(truth, score, wanted)
    assert metrics.rates(truth, score, at)[0] >= wanted


def test_interval_is_wider_when_films_share_patients(made: tuple[np.ndarray, np.ndarray]) -> None:
    truth, score = (np.repeat(values[:80], 5) for values in made)  # five like films each
    alone = metrics.bootstrap(metrics.auc, truth, score, [str(i) for i in range(400)], 200)
    shared = metrics.bootstrap(metrics.auc, truth, score, [str(i // 5) for i in range(400)], 200)
    assert alone[0] < metrics.auc(truth, score) < alone[1]
    assert shared[1] - shared[0] > alone[1] - alone[0]


def test_ece_is_nothing_when_calibrated_and_something_when_not() -> None:
    generator = np.random.default_rng(0)
    chance = generator.random(20000)
    truth = (generator.random(20000) < chance).astype(float)
    assert metrics.ece(truth, chance) < 0.02
    assert metrics.ece(truth, chance / 2) == pytest.approx(0.25, abs=0.02)


def test_calibration_finds_temperature_and_bias() -> None:
    generator = np.random.default_rng(1)
    logits = generator.normal(size=(6000, 14))
    truth = (generator.random((6000, 14)) < calibrate.sigmoid(logits)).astype(float)
    fitted = calibrate.fit(logits * 3 + 1.5, truth)
    assert fitted.temperature[NIH_LABELS[4]] == pytest.approx(3, rel=0.15)
    assert fitted.bias[NIH_LABELS[4]] == pytest.approx(-0.5, abs=0.15)
    assert metrics.mean_ece(truth, calibrate.apply(fitted, logits * 3 + 1.5)) < 0.03


def test_a_conformal_set_holds_what_it_promises_on_fresh_films() -> None:
    generator = np.random.default_rng(2)
    truth = (generator.random((4000, 14)) < 0.2).astype(float)
    scores = calibrate.sigmoid(generator.normal(size=truth.shape) + truth)
    at = calibrate.conformal_thresholds(scores[:2000], truth[:2000], 0.9)
    covered = [
        float((scores[2000:, number][truth[2000:, number] > 0.5] >= at[label]).mean())
        for number, label in enumerate(NIH_LABELS)
    ]
    assert np.mean(covered) == pytest.approx(0.9, abs=0.02)
    assert min(covered) > 0.8
    # with five positives nothing can be left out at 90 %
    few = np.zeros((50, 14))
    few[:5] = 1.0
    assert set(calibrate.conformal_thresholds(scores[:50], few, 0.9).values()) == {0.0}


@pytest.mark.parametrize("site", [None, 0.01, 0.6])
def test_served_sets_cover_what_they_promise_whatever_the_sites_prevalence(
    site: float | None,
) -> None:
    """Thresholds from films at 20 %, sets for fresh films at the site's own prevalence."""
    generator = np.random.default_rng(5)

    def films(count: int, prevalence: float) -> tuple[np.ndarray, np.ndarray]:
        truth = (generator.random((count, 14)) < prevalence).astype(float)
        return truth, calibrate.sigmoid(generator.normal(size=truth.shape) + truth - 1.5)

    truth, scores = films(3000, 0.2)
    labels = NIH_LABELS
    card = a_card(
        labels=labels,
        thresholds=dict.fromkeys(labels, 0.5),
        calibration=Calibration(
            CalibrationMethod.PLATT, dict.fromkeys(labels, 1.0), dict.fromkeys(labels, 0.0)
        ),
        figures={
            "prevalence": dict.fromkeys(labels, 0.2),
            "conformal_set": {
                "coverage": 0.9,
                "thresholds": calibrate.conformal_thresholds(scores, truth, 0.9),
            },
        },
    )
    operating = Operating(card, site and dict.fromkeys(labels, site))
    truth, scores = films(3000, site or 0.2)
    there = found = size = 0
    for wanted, row in zip(truth, scores, strict=True):
        chosen = operating.prediction_set(dict(zip(labels, row, strict=True)))
        assert chosen is not None
        there += int(wanted.sum())
        found += sum(wanted[labels.index(label)] > 0.5 for label in chosen.labels)
        size += len(chosen.labels)
    assert found / there == pytest.approx(0.9, abs=0.02)
    assert size / len(truth) < 13  # it leaves something out


def boxes(*corners: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(corners, dtype=float).reshape(-1, 4)


def test_average_precision_of_hand_made_boxes() -> None:
    hit = FilmBoxes(boxes((0, 0, 10, 10)), boxes((0, 0, 10, 9)), np.array([0.9]))
    missed = FilmBoxes(boxes((0, 0, 10, 10)), boxes(), np.array([]))
    false_alarm = FilmBoxes(boxes(), boxes((0, 0, 5, 5)), np.array([0.95]))
    assert detection_metrics.average_precision([hit]) == 1.0
    # half of the boxes are found: 51 of 101 recall points
    assert detection_metrics.average_precision([hit, missed]) == pytest.approx(51 / 101)
    # a film without a box counts: its better-scored false alarm halves the precision
    assert detection_metrics.average_precision([hit, false_alarm]) == pytest.approx(0.5)
    # the overlap is 0.9: a hit at IoU 0.50 … 0.90, none at 0.95
    assert detection_metrics.mean_average_precision([hit]) == pytest.approx(0.9)


def test_a_second_box_on_the_same_finding_is_a_false_positive() -> None:
    twice = FilmBoxes(
        boxes((0, 0, 10, 10)), boxes((0, 0, 10, 10), (0, 0, 10, 10)), np.array([0.9, 0.8])
    )
    assert detection_metrics.froc([twice] * 4, (0.05, 1.0)) == {0.05: 1.0, 1.0: 1.0}
    worse_first = FilmBoxes(
        boxes((0, 0, 10, 10)), boxes((20, 20, 30, 30), (0, 0, 10, 10)), np.array([0.9, 0.8])
    )
    assert detection_metrics.froc([worse_first], (0.5, 1.0)) == {0.5: 0.0, 1.0: 1.0}
    assert detection_metrics.threshold_at_false_positives([worse_first], 0.5) == 1.0
    assert detection_metrics.threshold_at_false_positives([twice] * 4, 0.5) > 0.8


def test_confusion_of_boxes_counts_hits_mistaken_labels_misses_and_false_ones() -> None:
    none = np.array([], dtype=np.intp)
    films = [
        # one hit, one box under the wrong label, one missed
        LabelledBoxes(
            boxes((0, 0, 10, 10), (20, 20, 30, 30), (50, 50, 60, 60)),
            np.array([0, 1, 1]),
            boxes((0, 0, 10, 9), (20, 20, 30, 30)),
            np.array([0, 0]),
        ),
        # a second box on the same finding is false, and so is one on a film without any
        LabelledBoxes(
            boxes((0, 0, 10, 10)),
            np.array([1]),
            boxes((0, 0, 10, 10), (0, 0, 10, 10)),
            np.array([1, 1]),
        ),
        LabelledBoxes(boxes(), none, boxes((0, 0, 5, 5)), np.array([0])),
    ]
    assert detection_metrics.confusion(films, 2).tolist() == [[1, 0, 0], [1, 1, 1], [1, 1, 0]]


def test_pointing_game() -> None:
    cam = np.zeros((4, 4))
    cam[1, 2] = 1.0
    inside, outside = boxes((0.5, 0.25, 0.75, 0.5)), boxes((0.0, 0.0, 0.2, 0.2))
    assert detection_metrics.pointing_game([cam, cam], [inside, outside]) == 0.5
