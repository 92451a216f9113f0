"""What an emergency room's answers of the last hour say about its next one.

An emergency room that had no bed ten minutes ago has hardly one now, whatever its record of a year
says. Pure: answers in, a weight out that moves the odds of a yes (ranking.py) and hides nobody. The
rows are learning.py's.

Only a refusal of a comparable case counts. No bed, no hands and a mass casualty stand in every
patient's way; a missing intensive-care bed or isolation room only in the way of one who needs it, a
missing specialist or machine in the way of one who shares a need; "other" says nothing of the next.
A yes shows that there was room: refusals before it are forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from broker.lifecycle import DeclineReason
from dispatch.choice import Floats
from dispatch.triage import Capability

REMEMBERED_MIN = 60.0
"""Older answers are the record's (behaviour.py)."""
HALF_LIFE_MIN = 20.0
"""A refusal weighs half after this. By judgement: a patient stays two hours at the median and
nearly three on average (NEDIS 2018-2022), so that by then one bed in nine is free again, and hands
sooner."""
MOST = 2.0
"""More than this many fresh refusals say nothing new."""

INTENSIVE = frozenset({Capability.GENERAL_ICU, Capability.THORACIC_ICU, Capability.VENTILATOR})
"""Needs that an intensive-care bed meets."""
OF_WHO_SHARES_A_NEED = frozenset({DeclineReason.NO_SPECIALIST, DeclineReason.NO_EQUIPMENT})
"""Reasons that stand in the way of patients who need the same."""


@dataclass(frozen=True)
class Answer:
    """One answer of an emergency room: reason None is a yes; needs: what that patient needed."""

    at: datetime
    reason: DeclineReason | None
    needs: frozenset[Capability] = frozenset()


def comparable(answer: Answer, needs: Set[Capability]) -> bool:
    """Whether the reason of a refusal stands in the way of a patient with these needs, too."""
    match answer.reason:
        case None | DeclineReason.OTHER:
            return False
        case DeclineReason.NO_INTENSIVE_CARE_BED:
            return bool(needs & INTENSIVE)
        case DeclineReason.ISOLATION_FULL:
            return Capability.NEGATIVE_PRESSURE_ROOM in needs
        case DeclineReason.NO_SPECIALIST | DeclineReason.NO_EQUIPMENT:
            return bool(needs & answer.needs)
        case DeclineReason.NO_ER_BED | DeclineReason.STAFF_OCCUPIED | DeclineReason.MASS_CASUALTY:
            return True


def ages_min(answers: Iterable[Answer], needs: Set[Capability], now: datetime) -> tuple[float, ...]:
    """Minutes since each comparable refusal of the last hour that no yes followed, newest first."""
    found: list[float] = []
    for answer in sorted(answers, key=lambda answer: answer.at, reverse=True):
        age_min = (now - answer.at).total_seconds() / 60
        if age_min > REMEMBERED_MIN or answer.reason is None:
            break
        if comparable(answer, needs):
            found.append(max(0.0, age_min))
    return tuple(found)


def weights(refused_min: Sequence[Sequence[float]]) -> Floats:
    """How many fresh refusals those of each emergency room are worth, at most MOST."""
    owner = np.repeat(np.arange(len(refused_min)), [len(ages) for ages in refused_min])
    age_min = np.array([age for ages in refused_min for age in ages], dtype=np.float64)
    fresh = np.exp2(-age_min / HALF_LIFE_MIN)
    return np.minimum(MOST, np.bincount(owner, weights=fresh, minlength=len(refused_min)))
