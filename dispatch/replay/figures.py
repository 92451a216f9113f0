"""Many runs into figures: each with an interval over seeds, and against the nearest three.

Odds are learnt first, on seeds that are not reported, in the same city before anything happened to
it. Every policy meets the same seeds, so differences are taken seed by seed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from statistics import NormalDist, fmean, stdev
from uuid import UUID

import numpy as np

from dispatch.behaviour import Counts
from dispatch.replay import simulate
from dispatch.replay.policies import Odds, Policy
from dispatch.replay.scenario import Parameters, Scenario
from dispatch.replay.simulate import Outcome, Run

BASELINE = Policy.NEAREST_THREE
LEARNING_SEED = 1001
"""First of the seeds on which odds are learnt."""
GROUPS: dict[str, tuple[int, ...]] = {
    "all": (1, 2, 3, 4, 5),
    "1-2": (1, 2),
    "3": (3,),
    "4-5": (4, 5),
}
"""Acuities that are reported together."""

Told = Callable[[str], None]
Plan = tuple[Parameters, Policy, int, Odds]


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and its 95 % interval."""

    mean: float
    low: float
    high: float


METRICS: dict[str, Callable[[Sequence[Outcome]], float]] = {
    "mean_min": lambda o: fmean(c.placed_min for c in o),
    "p95_min": lambda o: _quantile(o, 95),
    "p99_min": lambda o: _quantile(o, 99),
    "worst_min": lambda o: max(c.placed_min for c in o),
    "contacts": lambda o: sum(c.contacts for c in o) / max(1, sum(not c.never for c in o)),
    "refused_by_all": lambda o: fmean(c.refused_by_all for c in o),
    "never_placed": lambda o: fmean(c.never for c in o),
    "added_travel_min": lambda o: fmean(c.added_travel_min for c in o),
    "to_the_door_min": lambda o: fmean(c.placed_min + c.travel_min for c in o),
    "p95_to_the_door_min": lambda o: float(
        np.percentile([c.placed_min + c.travel_min for c in o], 95)
    ),
    "lacking": lambda o: fmean(c.lacking for c in o),
}
"""What is reported of the cases of one seed."""
RATIOS = ("mean_min", "p95_min", "p99_min", "worst_min", "contacts", "to_the_door_min")
"""What is also given as a ratio to the nearest three."""


@dataclass(frozen=True)
class Figures:
    """One policy in one scenario: intervals by acuity group and metric; ratios to the baseline."""

    by_group: Mapping[str, Mapping[str, Interval]]
    ratios: Mapping[str, Mapping[str, Interval]]
    placed_min: Mapping[str, tuple[float, ...]]
    """Minutes of every case, for the curves; all seeds together."""
    cases: int


@dataclass(frozen=True)
class Result:
    """One scenario, every policy."""

    scenario: Scenario
    seeds: tuple[int, ...]
    learning_seeds: tuple[int, ...]
    policies: Mapping[Policy, Figures]
    facts: Mapping[str, float]
    """How the world behaved under the baseline, beside what is published."""


def replay(
    scenario: Scenario,
    seeds: Sequence[int],
    learning_seeds: Sequence[int],
    *,
    policies: Sequence[Policy] = tuple(Policy),
    jobs: int = 1,
    told: Told = lambda _: None,
) -> Result:
    """Learn, then play every policy through every seed; the same call gives the same figures."""
    if set(seeds) & set(learning_seeds):
        raise ValueError("seeds: odds may not be learnt on seeds that are reported")
    wanted = list(dict.fromkeys([BASELINE, *policies]))
    before = scenario.parameters.before(scenario.base)
    odds: dict[tuple[int, UUID], Counts] = defaultdict(Counts)
    learning: list[Plan] = [(before, Policy.WITHOUT_LEARNING, seed, {}) for seed in learning_seeds]
    for number, found in enumerate(_runs(learning, jobs), start=1):
        for key, counts in found.learnt.items():
            odds[key] += counts
        told(f"{scenario.name}: learning {number} of {len(learning)}")
    plans: list[Plan] = [
        (scenario.parameters, p, seed, dict(odds)) for seed in seeds for p in wanted
    ]
    runs: dict[Policy, list[Run]] = {policy: [] for policy in wanted}
    for number, (plan, found) in enumerate(zip(plans, _runs(plans, jobs), strict=True), start=1):
        runs[plan[1]].append(found)
        told(f"{scenario.name}: run {number} of {len(plans)}")
    return Result(
        scenario=scenario,
        seeds=tuple(seeds),
        learning_seeds=tuple(learning_seeds),
        policies={policy: _figures(runs[policy], runs[BASELINE]) for policy in wanted},
        facts=_facts(runs[BASELINE]),
    )


def interval(values: Sequence[float]) -> Interval:
    """Mean and 95 % interval (Student's t) of one value per seed."""
    mean = fmean(values)
    if len(values) < 2:
        return Interval(mean, -math.inf, math.inf)
    half = t_975(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def t_975(degrees: int) -> float:
    """97.5 % point of Student's t (Abramowitz & Stegun 26.7.5); within 0.5 % from 4 degrees on,
    exact for 1 and 2."""
    if degrees <= 2:
        return (12.7062, 4.3027)[degrees - 1]
    z = float(NormalDist().inv_cdf(0.975))
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(degrees) ** power for power, term in enumerate(terms, start=1))


def ratio(ours: Sequence[float], baseline: Sequence[float]) -> Interval:
    """Geometric mean of the ratios seed by seed, with its 95 % interval."""
    logs = [math.log(max(a, 1e-9) / max(b, 1e-9)) for a, b in zip(ours, baseline, strict=True)]
    found = interval(logs)
    return Interval(math.exp(found.mean), math.exp(found.low), math.exp(found.high))


def _figures(runs: Sequence[Run], baseline: Sequence[Run]) -> Figures:
    by_group: dict[str, dict[str, Interval]] = {}
    ratios: dict[str, dict[str, Interval]] = {}
    for group, acuities in GROUPS.items():
        ours = [_values(run, acuities) for run in runs]
        theirs = [_values(run, acuities) for run in baseline]
        both = [(a, b) for a, b in zip(ours, theirs, strict=True) if a and b]
        by_group[group] = {name: interval([a[name] for a, _ in both]) for name in METRICS if both}
        ratios[group] = {
            name: ratio([a[name] for a, _ in both], [b[name] for _, b in both])
            for name in RATIOS
            if both
        }
    outcomes = [o for run in runs for o in run.outcomes]
    return Figures(
        by_group=by_group,
        ratios=ratios,
        placed_min={
            group: tuple(sorted(o.placed_min for o in outcomes if o.acuity in acuities))
            for group, acuities in GROUPS.items()
        },
        cases=len(outcomes),
    )


def _values(run: Run, acuities: Sequence[int]) -> dict[str, float]:
    """The metrics of one seed; empty when it had no such case."""
    cases = [o for o in run.outcomes if o.acuity in acuities]
    return {name: of(cases) for name, of in METRICS.items()} if cases else {}


def _facts(runs: Sequence[Run]) -> dict[str, float]:
    found = {
        f"occupancy_{level}": fmean(run.facts.occupancy[level] for run in runs)
        for level in runs[0].facts.occupancy
    }
    for name in ("over_capacity", "answered", "accepted", "waited_for_unit_min"):
        found[name] = fmean(getattr(run.facts, name) for run in runs)
    return found


def _quantile(cases: Sequence[Outcome], percent: float) -> float:
    return float(np.percentile([c.placed_min for c in cases], percent))


def _runs(plans: Sequence[Plan], jobs: int) -> Iterator[Run]:
    if jobs <= 1:
        yield from (simulate.run(*plan) for plan in plans)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_run, plans)


def _run(plan: Plan) -> Run:
    return simulate.run(*plan)
