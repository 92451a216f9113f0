"""What a classifier's score means: operating points, prediction set, and a site's prevalence.

A calibrated score belongs to the prevalence of the films it was calibrated on. Where a site says
how common each finding is among its own films, scores and thresholds move to that prevalence
together (prior shift: Saerens, Latinne and Decaestecker, Neural Computation 2002), so that a score
may be called a probability there, and no finding comes to lie on the other side of its threshold.

Reads cards and numbers; the standard library only, no pixels and no network.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.card import BadCard, ModelCard, ScoreKind

POINT_TOLERANCE = 1e-6
"""How far a card's threshold may lie from the operating point whose rates it states."""


class BadPrevalence(Exception):
    """A site's prevalence cannot be read, or does not fit the weight that serves."""


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold on the served score, and what it reaches on the card's validation films."""

    threshold: float
    sensitivity: float | None
    """None: the card does not say."""
    specificity: float | None


@dataclass(frozen=True)
class PredictionSet:
    """Labels that cannot be left out of one film at the stated coverage, best first.

    Class-conditional split conformal (Vovk 2012): of the films that have a finding, at least the
    share `coverage` has it in the set, on films like those of the card's validation.
    """

    coverage: float
    labels: tuple[str, ...]


def shift_prior(score: float, from_prevalence: float, to_prevalence: float) -> float:
    """A calibrated score in 0..1 moved from one prevalence to another, both in (0, 1)."""
    if not 0 <= score <= 1:
        raise ValueError(f"score {score} does not lie in 0..1")
    for share in (from_prevalence, to_prevalence):
        if not 0 < share < 1:
            raise ValueError(f"prevalence {share} does not lie between 0 and 1")
    there = score * to_prevalence / from_prevalence
    absent = (1 - score) * (1 - to_prevalence) / (1 - from_prevalence)
    return there / (there + absent)


def read_prevalence(path: Path) -> dict[str, float]:
    """A site's JSON file {label: share of its films that have it}; raises BadPrevalence."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadPrevalence(f"{path}: {error.strerror}; it holds {{label: share}}") from error
    except ValueError as error:
        raise BadPrevalence(f"{path}: not JSON: {error}") from error
    if not isinstance(body, dict) or not body:
        raise BadPrevalence(f"{path}: must hold one JSON object {{label: share}}")
    for label, share in body.items():
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if not number or not 0 < share < 1:
            raise BadPrevalence(
                f"{path}: {label} is {share!r}; give the share of films that have it, "
                "between 0 and 1, both excluded"
            )
    return {label: float(share) for label, share in body.items()}


class Operating:
    """How one card's scores are served: moved to a site's prevalence if there is one."""

    def __init__(self, card: ModelCard, site: Mapping[str, float] | None = None) -> None:
        """Raises BadCard for figures that do not fit the card, BadPrevalence for a site's shares
        that do not fit its labels, or a card that names no prevalence to start from.
        """
        self._card = card
        self._site = site
        self._conformal = _conformal(card)
        self._from = _prevalence(card)
        if site is not None:
            _must_fit(card, self._from, site)
        self.score_kind = ScoreKind.SCORE if site is None else ScoreKind.PROBABILITY
        self.points = {
            label: OperatingPoint(self._moved(label, threshold), *rates)
            for (label, threshold), rates in zip(card.thresholds.items(), _rates(card), strict=True)
        }

    def served(self, scores: Mapping[str, float]) -> dict[str, float]:
        """Scores of the card's calibration, moved to the site's prevalence."""
        return {label: self._moved(label, score) for label, score in scores.items()}

    def prediction_set(self, scores: Mapping[str, float]) -> PredictionSet | None:
        """The set for one film's scores as the card calibrates them; None if the card has none.

        A site's prevalence changes nothing here: the set looks at each label's positives only.
        """
        if self._conformal is None:
            return None
        coverage, thresholds = self._conformal
        inside = [label for label, score in scores.items() if score >= thresholds[label]]
        return PredictionSet(coverage, tuple(sorted(inside, key=lambda label: -scores[label])))

    def described(self) -> dict[str, Any]:
        """What a stored reading needs so that its scores can be shown later, as JSON."""
        return {
            "score_kind": self.score_kind.value,
            "operating_points": {
                label: {
                    "threshold": point.threshold,
                    "sensitivity": point.sensitivity,
                    "specificity": point.specificity,
                }
                for label, point in self.points.items()
            },
            "calibrated_to_prevalence": None if self._from is None else dict(self._from),
            "site_prevalence": None if self._site is None else dict(self._site),
        }

    def _moved(self, label: str, score: float) -> float:
        if self._site is None or self._from is None:
            return score
        return shift_prior(score, self._from[label], self._site[label])


def _must_fit(
    card: ModelCard, calibrated_to: Mapping[str, float] | None, site: Mapping[str, float]
) -> None:
    if calibrated_to is None or card.calibration is None:
        raise BadPrevalence(
            f"{card.name} names no prevalence that its scores are calibrated to "
            "(figures.prevalence and calibration of its card), so that none can be moved to a "
            "site's: serve another weight, or set no site prevalence"
        )
    if missing := [label for label in card.labels if label not in site]:
        raise BadPrevalence(f"the site's prevalence lacks {', '.join(missing)}")
    if unknown := [label for label in site if label not in card.labels]:
        raise BadPrevalence(
            f"the site's prevalence names {', '.join(unknown)}; {card.name} knows "
            f"{', '.join(card.labels)}"
        )


def _prevalence(card: ModelCard) -> Mapping[str, float] | None:
    found = card.figures.get("prevalence")
    if found is None:
        return None
    return _per_label(card, "prevalence", found, open_ends=True)


def _conformal(card: ModelCard) -> tuple[float, Mapping[str, float]] | None:
    found = card.figures.get("conformal_set")
    if found is None:
        return None
    if not isinstance(found, Mapping) or not _is_share(found.get("coverage"), open_ends=True):
        raise _bad(card, "conformal_set.coverage must lie between 0 and 1")
    thresholds = _per_label(
        card, "conformal_set.thresholds", found.get("thresholds"), open_ends=False
    )
    return float(found["coverage"]), thresholds


def _rates(card: ModelCard) -> list[tuple[float | None, float | None]]:
    """(sensitivity, specificity) per label in the card's order of thresholds."""
    found = card.figures.get("operating_points")
    if found is None:
        return [(None, None)] * len(card.thresholds)
    points = found.get("labels") if isinstance(found, Mapping) else None
    if not isinstance(points, Mapping):
        raise _bad(card, "operating_points.labels must be an object")
    rates: list[tuple[float | None, float | None]] = []
    for label, threshold in card.thresholds.items():
        point = points.get(label)
        if point is None:
            rates.append((None, None))
            continue
        if not isinstance(point, Mapping) or not all(
            _is_share(point.get(name), open_ends=False)
            for name in ("threshold", "sensitivity", "specificity")
        ):
            raise _bad(
                card, f"operating_points: {label} needs threshold, sensitivity and specificity"
            )
        if abs(point["threshold"] - threshold) > POINT_TOLERANCE:
            raise _bad(
                card,
                f"operating_points: {label} was measured at {point['threshold']}, its threshold "
                f"is {threshold}",
            )
        rates.append((float(point["sensitivity"]), float(point["specificity"])))
    return rates


def _per_label(card: ModelCard, field: str, found: Any, *, open_ends: bool) -> Mapping[str, float]:
    if not isinstance(found, Mapping) or set(found) != set(card.labels):
        raise _bad(card, f"{field} must name exactly the labels")
    if not all(_is_share(value, open_ends=open_ends) for value in found.values()):
        raise _bad(card, f"{field} must be numbers between 0 and 1")
    return {label: float(found[label]) for label in card.labels}


def _is_share(value: object, *, open_ends: bool) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return False
    return 0 < value < 1 if open_ends else 0 <= value <= 1


def _bad(card: ModelCard, problem: str) -> BadCard:
    return BadCard(f"{card.directory / 'card.json'}: figures.{problem}")
