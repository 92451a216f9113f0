"""Whom to ask: the set of emergency rooms that is worth most, and why not the nearest.

Joins the order (ranking.py) with the arithmetic of sets (choice.py) and the control room's word.
Pure: no database, no clock, no sending.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from uuid import UUID

import numpy as np
import numpy.typing as npt

from dispatch import choice
from dispatch.choice import Floats, Ints
from dispatch.ranking import Ranked, Ranking, rank
from dispatch.routing_facts import EmergencyCentreLevel, EmergencyRoomFacts
from dispatch.routing_reasons import Part, RoutingReason, RoutingReasonCode, explain

__all__ = [
    "Chosen",
    "EmergencyCentreLevel",
    "EmergencyRoomFacts",
    "Ranked",
    "Ranking",
    "RoutingReason",
    "RoutingReasonCode",
    "choose",
    "choose_beside",
    "choose_set",
    "explain",
    "rank",
    "why_not_nearest",
]

Flags = npt.NDArray[np.bool_]

# The set. A round in which nobody says yes costs the wait and the crew's next try.
FAILED_ROUND_MIN = 10.0
NOBODY_LEFT_MIN = 30.0  # nobody is left to ask after it: the telephone


@dataclass(frozen=True)
class Chosen:
    """Whom to ask, in rank order, and what is known about them as a set.

    yes_probability: chance that at least one says yes in time. gap_min: by how much another set
    could be better at most; 0 = proven the best. not_nearest: why the nearest is not among them.
    """

    rooms: tuple[Ranked, ...]
    yes_probability: float
    gap_min: float
    not_nearest: RoutingReason | None


def choose(
    ranked: Sequence[Ranked],
    n: int = 3,
    *,
    pinned: Set[UUID] = frozenset(),
    vetoed: Set[UUID] = frozenset(),
) -> list[Ranked]:
    """choose_set's emergency rooms: the pinned ones first, then the best others to make n."""
    return list(choose_set(ranked, n, pinned=pinned, vetoed=vetoed).rooms)


def choose_set(
    ranked: Sequence[Ranked],
    n: int = 3,
    *,
    pinned: Set[UUID] = frozenset(),
    vetoed: Set[UUID] = frozenset(),
) -> Chosen:
    """The n that are worth most together (choice.py), in rank order, pinned ones first.

    A person's word goes first: a vetoed emergency room is never chosen, a pinned one always is,
    even on diversion or past n; a veto beats a pin. A patient has to go somewhere: when every
    emergency room that is left is excluded, the least bad are asked, and excluded_reason still
    says so. A hospital that is registered twice is asked once while there are others.
    """
    excluded, place = _identity(ranked)
    named = np.zeros(len(ranked), dtype=np.int64)  # what a person said: 1 pinned, -1 vetoed
    if pinned or vetoed:
        ids = ranked.ids() if isinstance(ranked, Ranking) else [r.id for r in ranked]
        named = np.array([-1 if i in vetoed else int(i in pinned) for i in ids], dtype=np.int64)
    first = np.flatnonzero(named == 1)
    may = np.flatnonzero(named == 0)
    open_rooms = may[~excluded[may]]
    if not len(open_rooms) and not len(first):
        open_rooms = may
    pool = np.concatenate([first, _once(open_rooms, place, place[first])])
    yes, cost, where = _set_columns(ranked, pool)
    picked = choice.best_set(
        yes, cost, where, n, lost=_lost(cost, n), fixed=range(len(first))
    )  # fmt: skip
    others = [int(pool[i]) for i in picked.chosen if i >= len(first)]
    missing = n - len(first) - len(others)
    again = []
    if missing > 0:  # nobody else is left: also the second entry of one hospital
        taken = set(pool.tolist())
        again = [int(i) for i in open_rooms if int(i) not in taken][:missing]
    rooms = tuple(ranked[i] for i in [*first, *sorted([*others, *again])])
    not_nearest = why_not_nearest(ranked, rooms, vetoed=vetoed)
    return Chosen(rooms, picked.yes_probability, picked.gap_min, not_nearest)


def choose_beside(ranked: Sequence[Ranked], asked: Set[UUID]) -> Chosen:
    """choose_set's one emergency room beside those that are asked already and are ranked, too.

    rooms is empty when nobody else may be asked; the chance is that of the whole set.
    """
    whole = choose_set(ranked, len(asked) + 1, pinned=asked)
    new = tuple(r for r in whole.rooms if r.id not in asked and r.excluded_reason is None)
    return replace(whole, rooms=new)


def why_not_nearest(
    ranked: Sequence[Ranked], chosen: Sequence[Ranked], *, vetoed: Set[UUID] = frozenset()
) -> RoutingReason | None:
    """Why the nearest emergency room is not among the chosen; None if it is, or nothing is known.

    Names the part in which it loses most against the last one chosen; when it loses in none, the
    chance of a yes that the set would have with it.
    """
    nearest = _nearest(ranked)
    if nearest is None or not chosen or any(r.id == nearest.id for r in chosen):
        return None
    if nearest.id in vetoed:
        return RoutingReason(RoutingReasonCode.VETOED)
    if nearest.excluded_reason is not None:
        return nearest.excluded_reason
    last = chosen[-1]
    lost = {part: nearest.parts[part] - last.parts[part] for part in nearest.parts}
    worst = max(lost, key=lambda part: (lost[part], part))
    if lost[worst] > 0:
        return RoutingReason(
            RoutingReasonCode.NEAREST_COSTS_MORE,
            {
                "saved_min": (last.eta_min or 0.0) - (nearest.eta_min or 0.0),
                "lost_min": lost[worst],
                "part": worst,
            },
        )
    both = [*chosen, nearest]
    p = np.array([min(r.yes_probability, choice.MOST_SURE) for r in both])
    where = np.array([r.neighbourhood for r in both])
    last_at, nearest_at = len(chosen) - 1, len(chosen)
    with_it = choice.any_yes(p, where, [*range(last_at), nearest_at])
    without = choice.any_yes(p, where, range(nearest_at))
    return RoutingReason(
        RoutingReasonCode.NEAREST_LOWERS_CHANCE,
        {"with_percent": with_it * 100, "without_percent": without * 100},
    )


def _nearest(ranked: Sequence[Ranked]) -> Ranked | None:
    if isinstance(ranked, Ranking):
        eta_min = ranked.column("eta_min")
        if not len(eta_min) or np.isnan(eta_min).all():
            return None
        at = np.flatnonzero(eta_min == np.nanmin(eta_min))
        return min((ranked[int(i)] for i in at), key=lambda r: r.id)
    placed = [r for r in ranked if r.eta_min is not None]
    return min(placed, key=lambda r: (r.eta_min, r.id)) if placed else None


def _identity(ranked: Sequence[Ranked]) -> tuple[Flags, Ints]:
    """Whether excluded, and place of all, in rank order."""
    if isinstance(ranked, Ranking):
        return ranked.column("excluded") > 0, ranked.where("place")
    return (
        np.array([r.excluded_reason is not None for r in ranked], dtype=bool),
        np.array([r.place for r in ranked], dtype=np.int64),
    )


def _set_columns(ranked: Sequence[Ranked], pool: Ints) -> tuple[Floats, Floats, Ints]:
    """Chance of a yes, minutes that a yes still costs, and neighbourhood of those in the pool."""
    if isinstance(ranked, Ranking):
        yes, cost, where = (
            ranked.column("yes"),
            ranked.column("set_cost"),
            ranked.where("neighbourhood"),
        )
        return yes[pool], cost[pool], where[pool]
    rooms = [ranked[int(i)] for i in pool]
    return (
        np.array([r.yes_probability for r in rooms]),
        np.array([r.expected_min - r.parts[Part.ANSWER] for r in rooms]),
        np.array([r.neighbourhood for r in rooms], dtype=np.int64),
    )


def _once(rooms: Ints, place: Ints, taken: Ints) -> Ints:
    """The first of each place that is not taken."""
    _, first = np.unique(place[rooms], return_index=True)
    once = rooms[np.sort(first)]
    return once[~np.isin(place[once], taken)] if len(taken) else once


def _lost(cost: Floats, n: int) -> float:
    """Expected minutes when nobody of a round says yes: the round, then whoever comes next."""
    if len(cost) <= n:
        return float(cost.max(initial=0.0)) + FAILED_ROUND_MIN + NOBODY_LEFT_MIN
    nearest = np.partition(cost, min(2 * n, len(cost)) - 1)[: 2 * n]
    return float(np.sort(nearest)[n:].mean()) + FAILED_ROUND_MIN
