"""Early-warning scores from vital signs: NEWS2, and qSOFA and CRB-65 beside it.

Pure arithmetic: no image finding, no crew level, no I/O and no clock may enter. A value that was
not measured is missing, never normal: the total is refused and bounds are given instead.

NEWS2 is reproduced from: Royal College of Physicians. National Early Warning Score (NEWS) 2:
Standardising the assessment of acute-illness severity in the NHS. Updated report of a working
party. London: RCP, 2017. The RCP's charts are not altered; this is their scoring table (chart 1)
and their thresholds (chart 2) as code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import Any


class Consciousness(StrEnum):
    """ACVPU, the scale of NEWS2. CONFUSION means new confusion."""

    ALERT = "A"
    CONFUSION = "C"
    VOICE = "V"
    PAIN = "P"
    UNRESPONSIVE = "U"


class SpO2Scale(StrEnum):
    """Which oxygen-saturation scale applies; SCALE_2 only on a clinician's explicit word."""

    SCALE_1 = "scale_1"
    SCALE_2 = "scale_2"  # hypercapnic respiratory failure, target 88-92 %


class News2Band(StrEnum):
    """Clinical risk by total (RCP 2017, chart 2)."""

    LOW = "low"  # 0-4
    LOW_MEDIUM = "low_medium"  # 0-4 with a 3 in one parameter: urgent review
    MEDIUM = "medium"  # 5-6: urgent response
    HIGH = "high"  # 7 or more: emergency response


CREDIT = (
    "NEWS2: reproduced from Royal College of Physicians. National Early Warning Score (NEWS) 2: "
    "Standardising the assessment of acute-illness severity in the NHS. Updated report of a "
    "working party. London: RCP, 2017."
)
"""The acknowledgement that the RCP asks for; it stands wherever the score is shown."""
MEDIUM_TOTAL = 5
HIGH_TOTAL = 7
MINIMUM_AGE_YEARS = 16
QSOFA_CUT = 2
CRB65_CUT = 3

# What a monitor or a thumb can plausibly report; outside it is a typing error, not a patient.
# 0 is kept for rates and pressures (arrest). The API schema reads the same table.
PLAUSIBLE_RANGES: dict[str, tuple[float, float]] = {
    "respiratory_rate_per_min": (0, 120),
    "spo2_percent": (0, 100),
    "systolic_bp_mmhg": (0, 350),
    "diastolic_bp_mmhg": (0, 300),
    "pulse_per_min": (0, 350),
    "temperature_c": (10, 46),
}


@dataclass(frozen=True)
class VitalSigns:
    """One set of vital signs; None = not measured.

    Raises ValueError naming the field for a non-number, NaN, an implausible value, a diastolic
    pressure above the systolic one, or scale 2 without a clinician's confirmation.
    """

    respiratory_rate_per_min: float | None = None
    spo2_percent: float | None = None
    on_oxygen: bool | None = None
    systolic_bp_mmhg: float | None = None
    diastolic_bp_mmhg: float | None = None
    pulse_per_min: float | None = None
    consciousness: Consciousness | None = None
    temperature_c: float | None = None
    spo2_scale: SpO2Scale = SpO2Scale.SCALE_1
    spo2_scale_confirmed: bool = False
    """A clinician has confirmed hypercapnic respiratory failure; scale 2 needs it."""

    def __post_init__(self) -> None:
        for name, (low, high) in PLAUSIBLE_RANGES.items():
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{name}: {value!r} is not a number; leave it out if not measured")
            if not low <= value <= high:  # also catches NaN
                raise ValueError(f"{name}: {value} is outside {low:g} to {high:g}")
        if self.on_oxygen is not None and not isinstance(self.on_oxygen, bool):
            raise ValueError(f"on_oxygen: {self.on_oxygen!r} is not true or false")
        for name, kind in (("consciousness", Consciousness), ("spo2_scale", SpO2Scale)):
            value = getattr(self, name)
            if not isinstance(value, kind) and not (name == "consciousness" and value is None):
                raise ValueError(f"{name}: {value!r} is not one of {[m.value for m in kind]}")
        if self.spo2_scale is SpO2Scale.SCALE_2 and self.spo2_scale_confirmed is not True:
            raise ValueError(
                "spo2_scale: scale 2 is for hypercapnic respiratory failure that a clinician has "
                "confirmed (spo2_scale_confirmed); leave it out for scale 1"
            )
        systolic, diastolic = self.systolic_bp_mmhg, self.diastolic_bp_mmhg
        if systolic is not None and diastolic is not None and diastolic > systolic:
            raise ValueError(
                f"diastolic_bp_mmhg: {diastolic} is above systolic_bp_mmhg {systolic}; swapped?"
            )

    def rounded(self) -> VitalSigns:
        """The same signs as they are banded: integers, temperature to one decimal, half up."""
        changes: dict[str, Any] = {
            name: _half_up(value, 1 if name == "temperature_c" else 0)
            for name in PLAUSIBLE_RANGES
            if (value := getattr(self, name)) is not None
        }
        return replace(self, **changes)

    def is_empty(self) -> bool:
        """True when nothing at all was measured."""
        return all(
            getattr(self, f.name) is None
            for f in fields(self)
            if not f.name.startswith("spo2_scale")
        )


def _half_up(value: float, decimals: int) -> float:
    # Decimal of the shortest text, so that a typed 36.05 is 36.1 and not binary 36.0499...
    exact = Decimal(str(value)).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)
    return float(exact) if decimals else int(exact)


# Each row: (highest value of the band, points), lowest band first (RCP 2017, chart 1).
_Bands = Sequence[tuple[float, int]]
_RESPIRATORY_RATE: _Bands = ((8, 3), (11, 1), (20, 0), (24, 2), (math.inf, 3))
_SPO2_SCALE_1: _Bands = ((91, 3), (93, 2), (95, 1), (math.inf, 0))
_SPO2_SCALE_2_ON_AIR: _Bands = ((83, 3), (85, 2), (87, 1), (math.inf, 0))
_SPO2_SCALE_2_ON_OXYGEN: _Bands = (
    (83, 3), (85, 2), (87, 1), (92, 0), (94, 1), (96, 2), (math.inf, 3),
)  # fmt: skip
_SYSTOLIC_BP: _Bands = ((90, 3), (100, 2), (110, 1), (219, 0), (math.inf, 3))
_PULSE: _Bands = ((40, 3), (50, 1), (90, 0), (110, 1), (130, 2), (math.inf, 3))
_TEMPERATURE: _Bands = ((35.0, 3), (36.0, 1), (38.0, 0), (39.0, 1), (math.inf, 2))
_ON_OXYGEN_POINTS = 2
_NOT_ALERT_POINTS = 3


def _points(value: float | None, bands: _Bands) -> int | None:
    return None if value is None else next(points for top, points in bands if value <= top)


def _most(bands: _Bands) -> int:
    return max(points for _, points in bands)


@dataclass(frozen=True)
class News2Score:
    """NEWS2 with its parts.

    total: 0-20, None = refused because a parameter is missing. parts: points by VitalSigns field,
    None where unknown. missing: the fields that were not measured. known_total and upper_total
    bound the true total. band: None when refused, except HIGH where known_total is already enough.
    any_three: some known parameter scores 3.
    """

    total: int | None
    parts: dict[str, int | None]
    missing: tuple[str, ...]
    known_total: int
    upper_total: int
    band: News2Band | None
    any_three: bool


def applicable(age_years: float | None, *, pregnant: bool = False) -> bool:
    """Whether NEWS2 may be used: from 16 years, not in pregnancy (RCP 2017).

    An unknown age counts as adult: a child's normal rates score high, so the error is upward.
    """
    return not pregnant and (age_years is None or age_years >= MINIMUM_AGE_YEARS)


def score(vitals: VitalSigns) -> News2Score:
    """NEWS2 of one set of vital signs, total refused when one of its seven parameters is missing.

    Source: RCP 2017, charts 1 and 2. Whether the score applies at all is `applicable`.
    """
    v = vitals.rounded()
    on_air: _Bands = _SPO2_SCALE_1
    on_oxygen: _Bands = _SPO2_SCALE_1
    if v.spo2_scale is SpO2Scale.SCALE_2:
        on_air, on_oxygen = _SPO2_SCALE_2_ON_AIR, _SPO2_SCALE_2_ON_OXYGEN
    # Scale 2 above 92 % depends on oxygen: without that answer the points are a range.
    spo2_low = _points(v.spo2_percent, on_oxygen if v.on_oxygen else on_air)
    spo2_high = _points(v.spo2_percent, on_air if v.on_oxygen is False else on_oxygen)

    oxygen = None if v.on_oxygen is None else _ON_OXYGEN_POINTS * v.on_oxygen
    consciousness = (
        None
        if v.consciousness is None
        else _NOT_ALERT_POINTS * (v.consciousness is not Consciousness.ALERT)
    )
    # field: (points or None, most points it could have)
    table: dict[str, tuple[int | None, int]] = {
        "respiratory_rate_per_min": (
            _points(v.respiratory_rate_per_min, _RESPIRATORY_RATE),
            _most(_RESPIRATORY_RATE),
        ),
        "spo2_percent": (
            spo2_low if spo2_low == spo2_high else None,
            _most(on_oxygen) if spo2_high is None else spo2_high,
        ),
        "on_oxygen": (oxygen, _ON_OXYGEN_POINTS),
        "systolic_bp_mmhg": (_points(v.systolic_bp_mmhg, _SYSTOLIC_BP), _most(_SYSTOLIC_BP)),
        "pulse_per_min": (_points(v.pulse_per_min, _PULSE), _most(_PULSE)),
        "consciousness": (consciousness, _NOT_ALERT_POINTS),
        "temperature_c": (_points(v.temperature_c, _TEMPERATURE), _most(_TEMPERATURE)),
    }
    parts = {name: points for name, (points, _) in table.items()}
    known = [points for points in parts.values() if points is not None]
    known_total = sum(known)
    missing = tuple(name for name in table if getattr(v, name) is None)
    any_three = 3 in known
    return News2Score(
        total=None if missing else known_total,
        parts=parts,
        missing=missing,
        known_total=known_total,
        upper_total=sum(most if points is None else points for points, most in table.values()),
        band=_band(known_total, any_three, complete=not missing),
        any_three=any_three,
    )


def _band(known_total: int, any_three: bool, *, complete: bool) -> News2Band | None:
    if known_total >= HIGH_TOTAL:
        return News2Band.HIGH  # whatever the missing values are
    if not complete:
        return None
    if known_total >= MEDIUM_TOTAL:
        return News2Band.MEDIUM
    return News2Band.LOW_MEDIUM if any_three else News2Band.LOW


@dataclass(frozen=True)
class CriteriaScore:
    """A count of yes/no criteria.

    total: None when a criterion cannot be told. known_total and upper_total bound the true total.
    missing: the criteria that cannot be told. high: the total, or its lower bound, is at or above
    the score's cut; None while missing criteria could still take it there.
    """

    total: int | None
    known_total: int
    upper_total: int
    missing: tuple[str, ...]
    high: bool | None


def _count(criteria: dict[str, bool | None], cut: int) -> CriteriaScore:
    missing = tuple(name for name, met in criteria.items() if met is None)
    known_total = sum(met is True for met in criteria.values())
    upper_total = known_total + len(missing)
    undecided = known_total < cut <= upper_total
    return CriteriaScore(
        total=None if missing else known_total,
        known_total=known_total,
        upper_total=upper_total,
        missing=missing,
        high=None if undecided else known_total >= cut,
    )


def _not_alert(v: VitalSigns) -> bool | None:
    return None if v.consciousness is None else v.consciousness is not Consciousness.ALERT


def qsofa(vitals: VitalSigns) -> CriteriaScore:
    """qSOFA 0-3, positive from 2: RR >= 22, SBP <= 100, altered mentation (Singer, JAMA 2016)."""
    v = vitals.rounded()
    rate, systolic = v.respiratory_rate_per_min, v.systolic_bp_mmhg
    return _count(
        {
            "respiratory_rate_per_min": None if rate is None else rate >= 22,
            "systolic_bp_mmhg": None if systolic is None else systolic <= 100,
            "consciousness": _not_alert(v),
        },
        QSOFA_CUT,
    )


def crb65(vitals: VitalSigns, age_years: float | None) -> CriteriaScore:
    """CRB-65 0-4 for pneumonia: 0 low, 1-2 intermediate, 3-4 high risk (Lim, Thorax 2003).

    Confusion (any level below alert), RR >= 30, SBP < 90 or DBP <= 60, age >= 65 years.
    """
    v = vitals.rounded()
    rate, systolic, diastolic = v.respiratory_rate_per_min, v.systolic_bp_mmhg, v.diastolic_bp_mmhg
    low_pressure: bool | None = None
    if (systolic is not None and systolic < 90) or (diastolic is not None and diastolic <= 60):
        low_pressure = True
    elif systolic is not None and diastolic is not None:
        low_pressure = False
    return _count(
        {
            "consciousness": _not_alert(v),
            "respiratory_rate_per_min": None if rate is None else rate >= 30,
            "systolic_bp_mmhg": low_pressure,
            "age_years": None if age_years is None else age_years >= 65,
        },
        CRB65_CUT,
    )
