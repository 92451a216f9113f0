"""How an emergency room has answered so far, by hour of the week: counts in, careful rates out.

Pure arithmetic: no rows, no clock. Few observations mean the prior; old ones fade, so that an
emergency room that was not asked for long is judged like an unknown one again. The rates weigh in
the ranking and never hide anybody. The rows are learning.py's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

# Priors until an emergency room has its own record. Answered: 53 to 64 % of requests in the
# Jeonbuk pilot, the only published figures; accepted when answered: no figure known, even odds.
PRIOR_ANSWER_RATE = 0.6
PRIOR_ACCEPT_RATE = 0.5
PRIOR_ANSWER_S = 60.0
PRIOR_OFFERS = 20.0
"""The prior weighs as much as this many offers, against an emergency room's whole record."""
HOUR_PRIOR_OFFERS = 10.0
"""The whole record weighs as much as this many offers, against its record in one hour."""
HALF_LIFE_DAYS = 60.0
"""An offer counts half after this: staff, habits and screens change within a season."""

HOURS_OF_WEEK = 168
ALL_HOURS = HOURS_OF_WEEK
"""The hour under which an emergency room's whole record is kept."""
LEAST_RATE = 0.02
"""No record makes a yes impossible."""


@dataclass(frozen=True)
class Counts:
    """Offers, those answered, those accepted, and the sum of ln(seconds) of the answers.

    Not whole numbers: old offers fade, and an offer that was taken back early counts in part.
    """

    offers: float = 0.0
    answered: float = 0.0
    accepted: float = 0.0
    log_answer_s: float = 0.0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.offers + other.offers,
            self.answered + other.answered,
            self.accepted + other.accepted,
            self.log_answer_s + other.log_answer_s,
        )

    def faded(self, days: float) -> Counts:
        """The same counts so many days later; a time that runs backwards fades nothing."""
        share: float = 0.5 ** (max(0.0, days) / HALF_LIFE_DAYS)
        return Counts(
            share * self.offers,
            share * self.answered,
            share * self.accepted,
            share * self.log_answer_s,
        )


@dataclass(frozen=True)
class Behaviour:
    """What to expect of one emergency room in one hour of the week; offers_observed says on how
    many offers of its own that rests."""

    answer_rate: float
    accept_rate: float
    median_answer_s: float
    offers_observed: float


def hour_of_week(at: datetime) -> int:
    """0 (Monday, 0 h UTC) to 167. UTC on purpose: only that the same hour returns every week
    counts, and no time zone has to be configured."""
    return at.weekday() * 24 + at.hour


def answered(after_s: float, accepted: bool) -> Counts:
    """One offer that was answered so many seconds after it went out."""
    return Counts(1.0, 1.0, 1.0 if accepted else 0.0, math.log(max(1.0, after_s)))


def silent(waited_s: float) -> Counts:
    """One offer without an answer, ended after so many seconds.

    An offer that was taken back after a moment, because somebody else was first, says little: it
    counts as much as the share of answers that would have come by then.
    """
    return Counts(offers=answered_by(waited_s, PRIOR_ANSWER_S))


def answered_by(within_s: float, median_answer_s: float) -> float:
    """Share of all answers that come within so many seconds (exponential, by their median)."""
    return 1 - math.exp2(-max(0.0, within_s) / max(1.0, median_answer_s))


def estimate(hour: Counts, every_hour: Counts) -> Behaviour:
    """Beta-binomial shrinkage in two steps: prior, whole record, this hour of the week.

    The posterior mean of a rate under a beta prior is (successes + weight * prior mean) /
    (trials + weight); the whole record is shrunk to the prior, the hour to the whole record
    (Gelman et al., Bayesian Data Analysis, 3rd ed., section 5.3).
    """

    answer = _shrunk(every_hour.answered, every_hour.offers, PRIOR_ANSWER_RATE, PRIOR_OFFERS)
    accept = _shrunk(every_hour.accepted, every_hour.answered, PRIOR_ACCEPT_RATE, PRIOR_OFFERS)
    log_s = every_hour.log_answer_s + HOUR_PRIOR_OFFERS * math.log(PRIOR_ANSWER_S)
    return Behaviour(
        answer_rate=_shrunk(hour.answered, hour.offers, answer, HOUR_PRIOR_OFFERS),
        accept_rate=_shrunk(hour.accepted, hour.answered, accept, HOUR_PRIOR_OFFERS),
        median_answer_s=math.exp(log_s / (every_hour.answered + HOUR_PRIOR_OFFERS)),
        offers_observed=every_hour.offers,
    )


def _shrunk(successes: float, trials: float, prior: float, weight: float) -> float:
    rate = (successes + weight * prior) / (trials + weight)
    return min(1 - LEAST_RATE, max(LEAST_RATE, rate))


PRIOR = estimate(Counts(), Counts())
"""What is expected of an emergency room that nobody has asked yet."""
