"""What a score means: prior shift, the prediction set, operating points; sound or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import card as cards
from models.card import BadCard, ScoreKind
from models.operating import BadPrevalence, Operating, read_prevalence, shift_prior
from tests.unit.test_card import LABELS, a_card

HERE = {"Mass": 0.2, "Nodule": 0.5}
FIGURES: dict[str, Any] = {
    "prevalence": HERE,
    "operating_points": {
        "labels": {
            "Mass": {"threshold": 0.5, "sensitivity": 0.4, "specificity": 0.9},
            "Nodule": {"threshold": 0.5, "sensitivity": 0.3, "specificity": 0.91},
        }
    },
    "conformal_set": {"coverage": 0.9, "thresholds": {"Mass": 0.1, "Nodule": 0.0}},
}
SITE = {"Mass": 0.02, "Nodule": 0.9}


def test_a_score_keeps_its_own_prevalence_and_scales_its_odds_to_another() -> None:
    assert shift_prior(0.3, 0.2, 0.2) == pytest.approx(0.3)
    moved = shift_prior(0.5, 0.36, 0.013)
    assert moved / (1 - moved) == pytest.approx(0.013 / 0.987 * 0.64 / 0.36)
    assert (shift_prior(0.0, 0.3, 0.1), shift_prior(1.0, 0.3, 0.1)) == (0.0, 1.0)
    for wrong in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            shift_prior(0.5, 0.3, wrong)
    with pytest.raises(ValueError, match=r"0\.\.1"):
        shift_prior(1.2, 0.3, 0.3)


def test_scores_moved_to_a_site_are_probabilities_there() -> None:
    """Films of one kind, met at 20 % and at 2 %: what is calibrated to the first is so there."""
    generator = np.random.default_rng(4)

    def films(prevalence: float) -> tuple[np.ndarray, np.ndarray]:
        truth = generator.random(400_000) < prevalence
        value = generator.normal(size=truth.size) + 1.5 * truth
        # Bayes at 20 %: likelihood ratio exp(1.5 x - 1.5² / 2)
        odds = 0.25 * np.exp(1.5 * value - 1.125)
        return truth, odds / (1 + odds)

    truth, score = films(0.02)
    assert score.mean() > 3 * truth.mean()  # as they come, they promise far too much
    moved = np.array([shift_prior(value, 0.2, 0.02) for value in score])
    for part in np.array_split(np.argsort(moved), 10):
        assert truth[part].mean() == pytest.approx(moved[part].mean(), abs=0.004)


def test_a_site_moves_thresholds_with_the_scores_so_that_nothing_changes_sides() -> None:
    here, there = Operating(a_card(figures=FIGURES)), Operating(a_card(figures=FIGURES), SITE)
    assert (here.score_kind, there.score_kind) == (ScoreKind.SCORE, ScoreKind.PROBABILITY)
    assert here.points["Mass"].threshold == 0.5
    assert there.points["Mass"].threshold == pytest.approx(shift_prior(0.5, 0.2, 0.02))
    assert there.points["Mass"].sensitivity == 0.4
    for value in np.linspace(0, 1, 201):
        scores = dict.fromkeys(LABELS, float(value))
        assert here.served(scores) == scores
        moved = there.served(scores)
        for label in LABELS:
            was = scores[label] >= here.points[label].threshold
            assert was == (moved[label] >= there.points[label].threshold)
        assert there.prediction_set(scores) == here.prediction_set(scores)


def test_a_prediction_set_holds_what_cannot_be_left_out_best_first() -> None:
    operating = Operating(a_card(figures=FIGURES))
    low = operating.prediction_set({"Mass": 0.09, "Nodule": 0.001})
    assert low is not None
    assert (low.coverage, low.labels) == (0.9, ("Nodule",))
    both = operating.prediction_set({"Mass": 0.1, "Nodule": 0.05})
    assert both is not None
    assert both.labels == ("Mass", "Nodule")
    assert Operating(a_card()).prediction_set({"Mass": 1.0, "Nodule": 1.0}) is None


def test_what_a_reading_keeps_is_json_and_names_both_prevalences() -> None:
    kept = json.loads(json.dumps(Operating(a_card(figures=FIGURES), SITE).described()))
    assert kept["score_kind"] == "probability"
    assert (kept["calibrated_to_prevalence"], kept["site_prevalence"]) == (HERE, SITE)
    assert set(kept["operating_points"]) == set(LABELS)
    bare = Operating(a_card()).described()
    assert bare["site_prevalence"] is None
    assert bare["operating_points"]["Mass"] == {
        "threshold": 0.5,
        "sensitivity": None,
        "specificity": None,
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not JSON"),
        ("[]", "one JSON object"),
        ("{}", "one JSON object"),
        ('{"Mass": "many"}', "Mass is 'many'"),
        ('{"Mass": true}', "Mass is True"),
        ('{"Mass": 0}', "between 0 and 1"),
        ('{"Mass": 1.3}', "between 0 and 1"),
        ('{"Mass": NaN}', "between 0 and 1"),
    ],
)
def test_an_unfit_file_is_refused_by_name(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "prevalence.json"
    path.write_text(text)
    with pytest.raises(BadPrevalence, match=complaint) as refused:
        read_prevalence(path)
    assert str(path) in str(refused.value)


def test_a_missing_file_is_refused_and_a_good_one_read(tmp_path: Path) -> None:
    with pytest.raises(BadPrevalence, match="No such file"):
        read_prevalence(tmp_path / "nowhere.json")
    path = tmp_path / "prevalence.json"
    path.write_text(json.dumps(SITE))
    assert read_prevalence(path) == SITE


@pytest.mark.parametrize(
    ("changes", "site", "complaint"),
    [
        ({}, {"Mass": 0.1}, "lacks Nodule"),
        ({}, {**SITE, "Wart": 0.1}, "names Wart"),
        ({"figures": {}}, SITE, "names no prevalence"),
        ({"calibration": None}, SITE, "names no prevalence"),
    ],
)
def test_a_site_that_does_not_fit_the_weight_is_refused(
    changes: dict[str, Any], site: dict[str, float], complaint: str
) -> None:
    with pytest.raises(BadPrevalence, match=complaint):
        Operating(a_card(**({"figures": FIGURES} | changes)), site)


@pytest.mark.parametrize(
    ("figures", "complaint"),
    [
        ({"prevalence": {"Mass": 0.1}}, "prevalence must name exactly"),
        ({"prevalence": {"Mass": 0.1, "Nodule": 0}}, "prevalence must be numbers"),
        ({"conformal_set": {"coverage": 2, "thresholds": HERE}}, "coverage"),
        ({"conformal_set": {"coverage": 0.9}}, "thresholds must name exactly"),
        ({"operating_points": {"labels": {"Mass": {"threshold": 0.5}}}}, "Mass needs"),
        ({"operating_points": []}, "must be an object"),
        (
            {
                "operating_points": {
                    "labels": {"Mass": {"threshold": 0.4, "sensitivity": 1, "specificity": 0}}
                }
            },
            "measured at 0.4, its threshold is 0.5",
        ),
    ],
)
def test_figures_that_do_not_fit_their_card_are_refused(
    figures: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(BadCard, match=complaint):
        Operating(a_card(figures=figures))


def test_every_shipped_classifier_names_its_prevalence_and_points() -> None:
    for name in cards.names(cards.ModelKind.CLASSIFY):
        card = cards.load(name)
        kept = Operating(card, dict.fromkeys(card.labels, 0.03)).described()
        assert kept["calibrated_to_prevalence"] is not None
        assert any(point["sensitivity"] for point in kept["operating_points"].values())


def test_the_classifier_that_serves_has_a_prediction_set() -> None:
    card = cards.load(cards.shipped(cards.ModelKind.CLASSIFY))
    assert Operating(card).prediction_set(dict.fromkeys(card.labels, 1.0)) is not None
