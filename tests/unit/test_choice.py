"""The set against brute force over every set, its bound, and the model by simulation."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from dispatch import choice
from dispatch.choice import best_set, value

few = settings(max_examples=25, deadline=None)


def city(seed: int, count: int, *, spread: float = 60, most: float = 0.9) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    neighbours = rng.integers(0, max(1, count // 3), count)
    return rng.uniform(0.02, most, count), rng.uniform(0, spread, count), neighbours


def brute(yes: Any, cost: Any, where: Any, n: int, lost: float, fixed: Any = ()) -> float:
    p, reward = np.minimum(yes, choice.MOST_SURE), np.maximum(lost - cost, 0)
    sets = [s for s in combinations(range(len(yes)), n) if set(fixed) <= set(s)]
    return max(value(p, reward, where, s) for s in sets)


def worth(yes: Any, cost: Any, where: Any, lost: float, chosen: Any) -> float:
    return value(np.minimum(yes, choice.MOST_SURE), np.maximum(lost - cost, 0), where, chosen)


@few
@given(st.integers(0, 10_000), st.integers(4, 10), st.integers(1, 3), st.floats(5, 80), st.data())
def test_the_best_of_all_sets_is_found(
    seed: int, count: int, n: int, lost: float, data: st.DataObject
) -> None:
    numbers = city(seed, count)
    fixed = data.draw(st.lists(st.integers(0, count - 1), max_size=n, unique=True))
    found = best_set(*numbers, n, lost=lost, fixed=fixed)
    assert len(found.chosen) == n
    assert set(fixed) <= set(found.chosen)
    assert worth(*numbers, lost, found.chosen) == pytest.approx(
        brute(*numbers, n, lost, fixed), abs=1e-8
    )


@few
@given(st.integers(0, 10_000), st.integers(10, 15), st.floats(20, 80), st.integers(3, 8))
def test_with_few_candidates_the_bound_holds(
    seed: int, count: int, lost: float, looked_at: int
) -> None:
    numbers = city(seed, count)
    p, reward = np.minimum(numbers[0], choice.MOST_SURE), np.maximum(lost - numbers[1], 0)
    order = np.argsort(-p * reward, kind="stable")
    chosen, gap = choice._search(
        p, reward, numbers[2], [], np.sort(order[:looked_at]), order, looked_at, 3
    )
    best = brute(*numbers, 3, lost)
    assert best <= worth(*numbers, lost, chosen) + gap + 1e-9


@few
@given(st.integers(0, 10_000), st.integers(4, 5))
def test_more_than_three_are_taken_greedily_within_the_bound(seed: int, n: int) -> None:
    numbers = city(seed, 9)
    found = best_set(*numbers, n, lost=50)
    assert len(set(found.chosen)) == n
    assert brute(*numbers, n, 50) <= worth(*numbers, 50, found.chosen) + found.gap_min + 1e-9


def test_the_model_by_throwing_dice() -> None:
    rng = np.random.default_rng(3)
    p, where, reward = np.array([0.5, 0.4, 0.7]), np.array([1, 1, 2]), np.array([10.0, 5.0, 2.0])
    times = 200_000
    city_ = np.where(rng.random(times) < choice.STRAIN_CITY[0], choice.STRAIN_CITY[1], 1)
    near = np.where(
        rng.random((times, 3)) < choice.STRAIN_NEIGHBOURHOOD[0], choice.STRAIN_NEIGHBOURHOOD[1], 1
    )
    q = p * (choice.CITY_NORMAL * city_)[:, None] * choice.NEAR_NORMAL * near[:, where]
    yes_at = np.where(rng.random((times, 3)) < q, rng.random((times, 3)), np.inf)
    first = yes_at.argmin(axis=1)
    won = np.isfinite(yes_at.min(axis=1))
    assert choice.any_yes(p, where, range(3)) == pytest.approx(won.mean(), abs=0.005)
    assert value(p, reward, where, range(3)) == pytest.approx(
        np.where(won, reward[first], 0).mean(), abs=0.03
    )
    assert q.mean(axis=0) == pytest.approx(p, abs=0.01)
    assert q.max() <= 1


def test_those_that_fill_together_are_not_all_chosen() -> None:
    yes, cost = np.array([0.5, 0.5, 0.5, 0.5]), np.array([10.0, 10.0, 10.0, 10.2])
    together = best_set(yes, cost, np.array([1, 1, 1, 2]), 3, lost=30)
    assert together.chosen == (0, 1, 3)
    assert best_set(yes, cost, np.array([1, 2, 3, 4]), 3, lost=30).chosen == (0, 1, 2)
    far = np.array([10.0, 10.0, 10.0, 25.0])  # but not at any price
    assert best_set(yes, far, np.array([1, 1, 1, 2]), 3, lost=30).chosen == (0, 1, 2)


def test_ties_and_order() -> None:
    same = (np.full(40, 0.3), np.full(40, 10.0), np.arange(40))
    assert best_set(*same, 3, lost=20).chosen == (0, 1, 2)
    assert best_set(*same, 3, lost=5).chosen == (0, 1, 2)  # worth nothing: in rank order
    assert best_set(*same, 3, lost=20, fixed=[39]).chosen == (0, 1, 39)


def test_none_one_and_fewer_than_asked_for() -> None:
    empty = (np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64))
    assert best_set(*empty, 3, lost=10) == choice.SetChoice((), 0.0, 0.0)
    one = (np.array([0.4]), np.array([1.0]), np.array([7]))
    found = best_set(*one, 3, lost=10)
    assert (found.chosen, found.gap_min) == ((0,), 0.0)
    assert found.yes_probability == pytest.approx(0.4)


def test_a_large_region_says_how_good_it_is() -> None:
    numbers = city(5, 5000, spread=600)
    found = best_set(*numbers, 3, lost=30)
    assert len(found.chosen) == 3
    assert found.gap_min >= 0
    realistic = city(6, 200, spread=120, most=0.5)
    assert best_set(*realistic, 3, lost=25).gap_min == 0
