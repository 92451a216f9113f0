"""Which set to ask: the few emergency rooms whose joint chance of a yes is worth most.

Pure arithmetic over numbers in rank order: no emergency room, no clock, no sending. Three that
are likely to be full together are a poor set, however good each is alone.

THE MODEL. Emergency room i says yes with chance q_i(state) = p_i * city * neighbourhood. p_i is
its chance alone. With STRAIN_CITY the whole city is strained, with STRAIN_NEIGHBOURHOOD a
neighbourhood is, each on its own; under strain a chance falls to the share given, and otherwise
stands a little higher, so that the mean of q_i is exactly p_i. Given the state, answers are
independent, and the first yes wins; all are equally quick. So

    wins(i | S) = E[ q_i * integral_0^1 prod_{j in S, j != i} (1 - q_j u) du ]
    value(S)    = sum_i reward_i * wins(i | S),    reward_i = max(0, lost - cost_i)

where cost_i are the minutes that a yes of i still costs (road, missing capabilities ...) and lost
those when nobody says yes. Expected minutes of S are lost - value(S): the best set has the highest
value. Sources: 15.4 % of arrivals find an ER over capacity (doi:10.15441/ceem.24.337); how far a
yes falls then has not been published and is by judgement.

THE SEARCH looks at every set among the candidates with the highest p_i * reward_i and proves how
much a set with an outsider could be better at most:
(1) wins(i | S) falls when S grows, so value(S + T) <= value(S) + value(T), and value of i alone is
    s_i = p_i * reward_i <= s, the best s of the outsiders.
(2) For an outsider j beside a pair (a, b), wins(j) = E[q_j h], h = 1 - (q_a + q_b)/2 + q_a q_b/3.
    q_j falls with strain and h rises with it, so E[q_j h] <= p_j E[h] (Harris's inequality:
    independent strains, one function falling and one rising in each of them).
(3) So a set of three with outsiders is worth at most the larger of value(a, b) + s E[h] for a
    pair of candidates and s_1 + 2 s, where s_1 is the best of all alone.
`gap_min` is that bound less the value found, or 0 when the found set is proven the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

STRAIN_CITY = (0.15, 0.6)
"""How often the whole city is strained, and the share of its chances that is left then."""
STRAIN_NEIGHBOURHOOD = (0.15, 0.4)
"""The same for one neighbourhood."""


def _moments(strain: tuple[float, float]) -> tuple[float, float, float]:
    """Normal factor, second and third moment of a factor with mean 1."""
    often, share = strain
    normal = 1 / (1 - often + often * share)
    second, third = (normal**k * (1 - often + often * share**k) for k in (2, 3))
    return normal, second, third


CITY_NORMAL, CITY_2, CITY_3 = _moments(STRAIN_CITY)
NEAR_NORMAL, NEAR_2, NEAR_3 = _moments(STRAIN_NEIGHBOURHOOD)
MOST_SURE = 1 / (CITY_NORMAL * NEAR_NORMAL)
"""Nobody is surer than this to say yes (0.86): the best state must not pass one."""
SIZES = (16, 32)
"""Candidates looked at: more only when the fewer prove nothing."""
EXACT_UP_TO = 48
"""So many and fewer are searched whole when SIZES have proven nothing."""
_EXACT = 3
_SAME_WORTH = 1e-9
"""Values are compared to this many minutes, so that rounding never breaks a tie."""


@dataclass(frozen=True)
class SetChoice:
    """Positions in the input, in its order; chance that at least one says yes; minutes by which
    another set could be better at most (0: proven the best)."""

    chosen: tuple[int, ...]
    yes_probability: float
    gap_min: float


def best_set(
    yes: Floats,
    cost: Floats,
    neighbourhood: Ints,
    n: int,
    *,
    lost: float,
    fixed: Sequence[int] = (),
    sizes: Sequence[int] = SIZES,
) -> SetChoice:
    """The n of highest joint value, those in `fixed` among them; all of them when there are fewer.

    yes: chance of each alone, 0 to 1 (MOST_SURE at most counts); cost, lost: minutes; arrays in
    rank order. Ties go to those that come first.
    """
    count = len(yes)
    p = np.minimum(yes, MOST_SURE)
    reward = np.maximum(lost - cost, 0.0)
    held = list(dict.fromkeys(fixed))
    if count <= n or len(held) >= n:
        chosen = tuple(range(count)) if count <= n else tuple(sorted(held))
        return SetChoice(chosen, any_yes(p, neighbourhood, chosen), 0.0)
    alone = p * reward
    alone[held] = -1.0
    order = np.argsort(-alone, kind="stable")[: count - len(held)]
    alone[held] = p[held] * reward[held]
    free = min(n, _EXACT) - len(held)
    if free <= 0:  # more than three, most of them fixed: only greedy steps are left
        chosen, gap = tuple(sorted(held)), 0.0
        order_left = order
    else:
        for size in (*sizes, *((EXACT_UP_TO,) if len(order) <= EXACT_UP_TO else ())):
            near = np.sort(order[:size])
            chosen, gap = _search(p, reward, neighbourhood, held, near, order, size, free)
            if gap <= _SAME_WORTH or size >= len(order):
                break
        order_left = np.array([i for i in order[: sizes[-1]] if i not in chosen])
    while len(chosen) < n and len(order_left):
        values = [value(p, reward, neighbourhood, (*chosen, int(i))) for i in order_left[:16]]
        best = int(np.argmax(np.round(values, 9)))
        before = value(p, reward, neighbourhood, chosen)
        gap += max(0.0, float(alone[order_left].max()) - (values[best] - before))
        chosen = tuple(sorted((*chosen, int(order_left[best]))))
        order_left = np.delete(order_left, best)
    return SetChoice(chosen, any_yes(p, neighbourhood, chosen), gap if gap > _SAME_WORTH else 0.0)


def value(p: Floats, reward: Floats, neighbourhood: Ints, chosen: Sequence[int]) -> float:
    """value(S) of the module's docstring for a set of any size, state by state."""
    at = np.array(chosen, dtype=np.int64)
    often, q = _states(p, neighbourhood, at)
    nodes, weights = _legendre((len(at) + 1) // 2 + 1)
    slower = 1 - q[:, :, None] * nodes
    total = 0.0
    for i, member in enumerate(at):
        first = np.delete(slower, i, axis=1).prod(axis=1) @ weights
        total += float(reward[member] * (often * q[:, i]) @ first)
    return total


def any_yes(p: Floats, neighbourhood: Ints, chosen: Sequence[int]) -> float:
    """Chance that at least one of a set says yes."""
    often, q = _states(p, neighbourhood, np.array(chosen, dtype=np.int64))
    return float(1 - often @ (1 - q).prod(axis=1))


def _states(p: Floats, neighbourhood: Ints, at: Ints) -> tuple[Floats, Floats]:
    """Every state of city and neighbourhoods: how often it is, and each member's chance in it."""
    groups, member = np.unique(neighbourhood[at], return_inverse=True)
    strained = np.array(list(product((False, True), repeat=1 + len(groups))))
    often = np.where(strained[:, 0], STRAIN_CITY[0], 1 - STRAIN_CITY[0])
    near = np.where(strained[:, 1:], STRAIN_NEIGHBOURHOOD[0], 1 - STRAIN_NEIGHBOURHOOD[0])
    city = CITY_NORMAL * np.where(strained[:, :1], STRAIN_CITY[1], 1.0)
    shares = NEAR_NORMAL * np.where(strained[:, 1:], STRAIN_NEIGHBOURHOOD[1], 1.0)
    return often * near.prod(axis=1), p[at] * city * shares[:, member]


def _search(
    p: Floats,
    reward: Floats,
    neighbourhood: Ints,
    held: list[int],
    near: Ints,
    order: Ints,
    size: int,
    free: int,
) -> tuple[tuple[int, ...], float]:
    """The best of all sets among the candidates `near`, and by how much one outside may be better.

    Moments are closed: E[q_i q_j] = p_i p_j * CITY_2 * (NEAR_2 in the same neighbourhood).
    """
    at = np.concatenate([np.array(held, dtype=np.int64), near])
    q, r, where = p[at], reward[at], neighbourhood[at]
    same = where[:, None] == where[None, :]
    pairs = np.outer(q, q) * CITY_2 * np.where(same, NEAR_2, 1.0)
    pair_loss = (r[:, None] + r[None, :]) * pairs / 2
    alone = q * r
    free_sets = _combinations(len(near), free) + len(held)
    fixed_columns = np.tile(np.arange(len(held)), (len(free_sets), 1))
    sets = np.concatenate([fixed_columns, free_sets], axis=1)
    worth = alone[sets].sum(axis=1)
    for a, b in combinations(range(sets.shape[1]), 2):
        worth -= pair_loss[sets[:, a], sets[:, b]]
    if sets.shape[1] == _EXACT:
        a, b, c = sets.T
        together = same[a, b].astype(np.int64) + same[a, c] + same[b, c]
        near_moment = np.array([1.0, NEAR_2, np.nan, NEAR_3])[together]
        worth += (r[a] + r[b] + r[c]) / 3 * q[a] * q[b] * q[c] * CITY_3 * near_moment
    best = int(np.argmax(np.round(worth, 9)))
    chosen = tuple(sorted(int(at[i]) for i in sets[best]))
    if size >= len(order):
        return chosen, 0.0
    outside = float(p[order[size]] * reward[order[size]])
    total = len(held) + free
    # Sets with outsiders keep `held`, so only the free places can be theirs.
    top = np.sort(alone)[::-1]
    if total < _EXACT:
        bound = float(top[: total - 1].sum()) + outside
    else:
        first, second = _combinations(len(at), 2).T
        couple = alone[first] + alone[second] - pair_loss[first, second]
        rest = 1 - (q[first] + q[second]) / 2 + pairs[first, second] / 3
        bound = max(float((couple + outside * rest).max()), float(top[0]) + 2 * outside)
    return chosen, max(0.0, bound - float(worth[best]))


@cache
def _combinations(count: int, size: int) -> Ints:
    """Every set of positions in lexicographic order, one a row."""
    rows = list(combinations(range(count), size))
    return np.array(rows, dtype=np.int64).reshape(len(rows), size)


@cache
def _legendre(count: int) -> tuple[Floats, Floats]:
    """Gauss-Legendre on 0 to 1: exact for the polynomials of so small a set."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return (nodes + 1) / 2, weights / 2
