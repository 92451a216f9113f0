"""Every band edge of NEWS2, missing values, rounding; qSOFA and CRB-65."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from dispatch.news2 import (
    CREDIT,
    Consciousness,
    News2Band,
    SpO2Scale,
    VitalSigns,
    applicable,
    crb65,
    qsofa,
    score,
)

# No deadline: a busy machine is not a defect. Few: the whole ring stays under five seconds.
few = settings(max_examples=40, deadline=None)

NORMAL = VitalSigns(
    respiratory_rate_per_min=16,
    spo2_percent=98,
    on_oxygen=False,
    systolic_bp_mmhg=120,
    diastolic_bp_mmhg=80,
    pulse_per_min=70,
    consciousness=Consciousness.ALERT,
    temperature_c=36.8,
)
CONFIRMED: dict[str, Any] = {"spo2_scale": SpO2Scale.SCALE_2, "spo2_scale_confirmed": True}
PARAMETERS = (
    "respiratory_rate_per_min",
    "spo2_percent",
    "on_oxygen",
    "systolic_bp_mmhg",
    "pulse_per_min",
    "consciousness",
    "temperature_c",
)


def normal(**changes: Any) -> VitalSigns:
    return replace(NORMAL, **changes)


# (first value of the band, last value, points), from chart 1 of RCP 2017, typed independently of
# the module's own table. Both ends of each band are checked.
CHART: dict[str, list[tuple[float, float, int]]] = {
    "respiratory_rate_per_min": [(0, 8, 3), (9, 11, 1), (12, 20, 0), (21, 24, 2), (25, 120, 3)],
    "spo2_percent": [(0, 91, 3), (92, 93, 2), (94, 95, 1), (96, 100, 0)],
    "systolic_bp_mmhg": [(80, 90, 3), (91, 100, 2), (101, 110, 1), (111, 219, 0), (220, 350, 3)],
    "pulse_per_min": [
        (0, 40, 3), (41, 50, 1), (51, 90, 0), (91, 110, 1), (111, 130, 2), (131, 350, 3),
    ],
    "temperature_c": [
        (10, 35.0, 3), (35.1, 36.0, 1), (36.1, 38.0, 0), (38.1, 39.0, 1), (39.1, 46, 2),
    ],
}  # fmt: skip
EDGES = [
    (name, value, points)
    for name, bands in CHART.items()
    for first, last, points in bands
    for value in (first, last)
]


@pytest.mark.parametrize(("name", "value", "points"), EDGES)
def test_band_edges(name: str, value: float, points: int) -> None:
    result = score(normal(**{name: value}))
    assert result.parts[name] == points
    assert result.total == points


@pytest.mark.parametrize(
    ("spo2", "on_air", "on_oxygen"),
    [
        (0, 3, 3), (83, 3, 3), (84, 2, 2), (85, 2, 2), (86, 1, 1), (87, 1, 1), (88, 0, 0),
        (92, 0, 0), (93, 0, 1), (94, 0, 1), (95, 0, 2), (96, 0, 2), (97, 0, 3), (100, 0, 3),
    ],
)  # fmt: skip
def test_scale_2(spo2: int, on_air: int, on_oxygen: int) -> None:
    signs = normal(spo2_percent=spo2, **CONFIRMED)
    assert score(signs).parts["spo2_percent"] == on_air
    result = score(replace(signs, on_oxygen=True))
    assert result.parts["spo2_percent"] == on_oxygen
    assert result.total == on_oxygen + 2


def test_scale_2_above_target_without_an_oxygen_answer_is_a_range() -> None:
    result = score(normal(spo2_percent=97, on_oxygen=None, **CONFIRMED))
    assert result.parts["spo2_percent"] is None
    assert result.missing == ("on_oxygen",)
    assert (result.total, result.known_total, result.upper_total) == (None, 0, 5)


@pytest.mark.parametrize("level", list(Consciousness))
def test_consciousness(level: Consciousness) -> None:
    expected = 0 if level is Consciousness.ALERT else 3
    assert score(normal(consciousness=level)).total == expected


def test_oxygen_is_two() -> None:
    assert score(normal(on_oxygen=True)).total == 2


@pytest.mark.parametrize(
    ("name", "value", "points"),
    [
        ("respiratory_rate_per_min", 24.49, 2), ("respiratory_rate_per_min", 24.5, 3),
        ("spo2_percent", 91.5, 2), ("spo2_percent", 95.49, 1),
        ("systolic_bp_mmhg", 90.5, 2), ("pulse_per_min", 130.5, 3),
        ("temperature_c", 35.05, 1), ("temperature_c", 38.05, 1), ("temperature_c", 38.04, 0),
        ("temperature_c", 39.05, 2),
    ],
)  # fmt: skip
def test_half_up_before_banding(name: str, value: float, points: int) -> None:
    assert score(normal(**{name: value})).parts[name] == points


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_missing_parameter_refuses_the_total(name: str) -> None:
    result = score(normal(**{name: None}))
    assert result.total is None
    assert result.band is None
    assert result.missing == (name,)
    assert result.parts[name] is None
    assert result.upper_total == (2 if name == "on_oxygen" else 3)


def test_diastolic_is_no_parameter() -> None:
    assert score(normal(diastolic_bp_mmhg=None)).total == 0


def test_nothing_measured() -> None:
    result = score(VitalSigns())
    assert VitalSigns().is_empty()
    assert not NORMAL.is_empty()
    assert (result.total, result.known_total, result.upper_total) == (None, 0, 20)
    assert result.missing == PARAMETERS


@pytest.mark.parametrize(
    ("changes", "total", "band"),
    [
        ({}, 0, News2Band.LOW),
        ({"on_oxygen": True, "spo2_percent": 93}, 4, News2Band.LOW),
        ({"consciousness": Consciousness.VOICE}, 3, News2Band.LOW_MEDIUM),
        ({"consciousness": Consciousness.VOICE, "pulse_per_min": 91}, 4, News2Band.LOW_MEDIUM),
        ({"consciousness": Consciousness.VOICE, "on_oxygen": True}, 5, News2Band.MEDIUM),
        ({"spo2_percent": 91, "pulse_per_min": 131}, 6, News2Band.MEDIUM),
        ({"spo2_percent": 91, "pulse_per_min": 131, "temperature_c": 38.5}, 7, News2Band.HIGH),
    ],
)
def test_bands(changes: dict[str, Any], total: int, band: News2Band) -> None:
    result = score(normal(**changes))
    assert (result.total, result.band) == (total, band)


def test_band_high_is_certain_even_when_incomplete() -> None:
    signs = normal(spo2_percent=80, pulse_per_min=140, respiratory_rate_per_min=30)
    result = score(replace(signs, temperature_c=None))
    assert (result.total, result.known_total, result.band) == (None, 9, News2Band.HIGH)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"pulse_per_min": math.nan}, "pulse_per_min"),
        ({"pulse_per_min": math.inf}, "pulse_per_min"),
        ({"respiratory_rate_per_min": -1}, "respiratory_rate_per_min"),
        ({"spo2_percent": 101}, "spo2_percent"),
        ({"temperature_c": "36.5"}, "temperature_c"),
        ({"systolic_bp_mmhg": True}, "systolic_bp_mmhg"),
        ({"systolic_bp_mmhg": 80, "diastolic_bp_mmhg": 120}, "diastolic_bp_mmhg"),
        ({"on_oxygen": "yes"}, "on_oxygen"),
        ({"consciousness": "A+"}, "consciousness"),
        ({"spo2_scale": None}, "spo2_scale"),
        ({"spo2_scale": SpO2Scale.SCALE_2}, "spo2_scale"),
        ({"spo2_scale": SpO2Scale.SCALE_2, "spo2_scale_confirmed": "yes"}, "spo2_scale"),
    ],
)
def test_bad_values_name_the_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        normal(**changes)


@pytest.mark.parametrize(
    ("age_years", "pregnant", "expected"),
    [
        (15.9, False, False),
        (16, False, True),
        (90, False, True),
        (None, False, True),
        (30, True, False),
    ],
)
def test_applicable(age_years: float | None, pregnant: bool, expected: bool) -> None:
    assert applicable(age_years, pregnant=pregnant) is expected


vital_signs = st.builds(
    VitalSigns,
    respiratory_rate_per_min=st.none() | st.integers(0, 60),
    spo2_percent=st.none() | st.floats(50, 100),
    on_oxygen=st.none() | st.booleans(),
    systolic_bp_mmhg=st.none() | st.integers(40, 260),
    diastolic_bp_mmhg=st.none(),
    pulse_per_min=st.none() | st.integers(0, 220),
    consciousness=st.none() | st.sampled_from(Consciousness),
    temperature_c=st.none() | st.floats(28, 43),
    spo2_scale=st.sampled_from(SpO2Scale),
    spo2_scale_confirmed=st.just(True),
)


@few
@given(vital_signs, st.sampled_from(PARAMETERS))
def test_bounds_hold_when_a_value_is_lost(signs: VitalSigns, lost: str) -> None:
    without: dict[str, Any] = {lost: None}
    full, less = score(signs), score(replace(signs, **without))
    assert less.known_total <= full.known_total <= full.upper_total <= less.upper_total
    assert full.total is None or full.total == full.known_total == full.upper_total <= 20


@pytest.mark.parametrize(
    ("changes", "total"),
    [
        ({}, 0),
        ({"respiratory_rate_per_min": 21}, 0),
        ({"respiratory_rate_per_min": 22}, 1),
        ({"systolic_bp_mmhg": 101}, 0),
        ({"systolic_bp_mmhg": 100}, 1),
        ({"consciousness": Consciousness.CONFUSION}, 1),
        ({"consciousness": None}, None),
    ],
)
def test_qsofa(changes: dict[str, Any], total: int | None) -> None:
    assert qsofa(normal(**changes)).total == total


@pytest.mark.parametrize(
    ("changes", "age_years", "total"),
    [
        ({}, 64, 0),
        ({}, 65, 1),
        ({}, None, None),
        ({"respiratory_rate_per_min": 29}, 40, 0),
        ({"respiratory_rate_per_min": 30}, 40, 1),
        ({"systolic_bp_mmhg": 90}, 40, 0),
        ({"systolic_bp_mmhg": 89}, 40, 1),
        ({"diastolic_bp_mmhg": 61}, 40, 0),
        ({"diastolic_bp_mmhg": 60}, 40, 1),
        ({"diastolic_bp_mmhg": None}, 40, None),
        ({"diastolic_bp_mmhg": None, "systolic_bp_mmhg": 85}, 40, 1),
        ({"consciousness": Consciousness.PAIN}, 40, 1),
    ],
)
def test_crb65(changes: dict[str, Any], age_years: float | None, total: int | None) -> None:
    assert crb65(normal(**changes), age_years).total == total


def test_incomplete_counts_have_bounds_and_say_whether_the_cut_is_certain() -> None:
    nothing = qsofa(VitalSigns())
    assert (nothing.total, nothing.known_total, nothing.upper_total) == (None, 0, 3)
    assert nothing.high is None
    certain = qsofa(VitalSigns(respiratory_rate_per_min=22, systolic_bp_mmhg=100))
    assert (certain.total, certain.known_total, certain.upper_total) == (None, 2, 3)
    assert certain.high is True
    cannot = qsofa(VitalSigns(respiratory_rate_per_min=12, systolic_bp_mmhg=120))
    assert (cannot.total, cannot.upper_total, cannot.high) == (None, 1, False)
    assert crb65(normal(respiratory_rate_per_min=30, systolic_bp_mmhg=85), None).high is None
    assert crb65(normal(respiratory_rate_per_min=30, systolic_bp_mmhg=85), 70).high is True
    assert crb65(normal(), None).high is False


def test_the_college_is_credited_as_it_asks() -> None:
    assert "Royal College of Physicians" in CREDIT
    assert "London: RCP, 2017" in CREDIT
