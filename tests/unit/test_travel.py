"""Distances against known ones, symmetry, refused coordinates."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from dispatch.travel import ROAD_FACTOR, Position, TravelSource, estimate, great_circle_km

# No deadline: a busy machine is not a defect. Few: the whole ring stays under five seconds.
few = settings(max_examples=40, deadline=None)

CITY_HALL = Position(37.5663, 126.9779)
SEOUL_STATION = Position(37.5547, 126.9707)
BUSAN = Position(35.1796, 129.0756)

positions = st.builds(Position, st.floats(33, 39), st.floats(124, 132))


@pytest.mark.parametrize(
    ("start", "end", "distance_km"),
    [
        (Position(0, 1), Position(0, 2), 111.195),  # one degree of the equator
        (Position(0, 1), Position(0, -179), math.pi * 6371.0088),  # antipodes
        (Position(10, 179.5), Position(10, -179.5), 109.5),  # over the date line
        (CITY_HALL, BUSAN, 325),
        (CITY_HALL, SEOUL_STATION, 1.44),
    ],
)
def test_known_distances(start: Position, end: Position, distance_km: float) -> None:
    assert great_circle_km(start, end) == pytest.approx(distance_km, rel=5e-3)


def test_estimate_says_that_it_is_one_and_siren_is_faster() -> None:
    siren = estimate(CITY_HALL, SEOUL_STATION)
    ordinary = estimate(CITY_HALL, SEOUL_STATION, lights_and_siren=False)
    assert siren.source is TravelSource.STRAIGHT_LINE
    assert siren.distance_km == great_circle_km(CITY_HALL, SEOUL_STATION) * ROAD_FACTOR
    assert siren.eta_min == pytest.approx(siren.distance_km / 36 * 60)
    assert ordinary.eta_min == pytest.approx(siren.eta_min * 1.5)


@few
@given(positions, positions)
def test_symmetric_and_never_negative(start: Position, end: Position) -> None:
    there = estimate(start, end)
    assert there.eta_min >= 0
    assert there.distance_km == pytest.approx(estimate(end, start).distance_km)
    assert estimate(start, start).eta_min == 0


@pytest.mark.parametrize(
    ("latitude", "longitude", "field"),
    [
        (91, 127, "latitude"),
        (-90.1, 127, "latitude"),
        (37, 181, "longitude"),
        (37, -180.5, "longitude"),
        (math.nan, 127, "latitude"),
        (37, math.inf, "longitude"),
        ("37.5", 127, "latitude"),
        (37, None, "longitude"),
        (True, 127, "latitude"),
        (0, 0, "latitude, longitude"),
        (-0.0, 0.0, "latitude, longitude"),
    ],
)
def test_unusable_coordinates_are_refused(latitude: Any, longitude: Any, field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        Position(latitude, longitude)
