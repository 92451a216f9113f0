"""What the ranking knows of one emergency room, checked when it is made.

Facts only: no weight, no order, no row. Everything may be unknown; nothing may be nonsense.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from dispatch.travel import Position
from dispatch.triage import Capability


class EmergencyCentreLevel(StrEnum):
    """Korean designation of emergency medical institutions."""

    REGIONAL = "regional"  # regional emergency medical centre
    LOCAL_CENTRE = "local_centre"  # local emergency medical centre
    LOCAL = "local"  # local emergency medical institution


@dataclass(frozen=True)
class EmergencyRoomFacts:
    """One emergency room as the ranking sees it; None = not known.

    beds_available: free beds, negative = over capacity, believed only with beds_at (aware).
    answer_rate: share of offers answered; accept_rate: share of those answers that were yes; both
    as behaviour.py shrank them. refused_min: minutes since each comparable refusal of the last hour
    (refusals.py), newest first. Raises ValueError naming the emergency room and the field for NaN,
    infinite, naive or out-of-range values.
    """

    id: UUID
    name: str
    latitude: float | None
    longitude: float | None
    capabilities: frozenset[Capability] = frozenset()
    on_diversion: bool = False
    beds_available: int | None = None
    beds_at: datetime | None = None
    answer_rate: float | None = None
    accept_rate: float | None = None
    median_answer_s: float | None = None
    level: EmergencyCentreLevel = EmergencyCentreLevel.LOCAL_CENTRE
    offers_observed: float | None = None
    refused_min: tuple[float, ...] = ()
    capability_bits: int = field(init=False, repr=False, compare=False)
    """The capabilities as one number: five thousand of them are compared at once."""

    def __post_init__(self) -> None:
        try:
            if self.latitude is not None or self.longitude is not None:
                Position(self.latitude, self.longitude)  # type: ignore[arg-type]  # it refuses None
            check("beds_available", self.beds_available, -math.inf)
            check("answer_rate", self.answer_rate, 0, 1)
            check("accept_rate", self.accept_rate, 0, 1)
            check("median_answer_s", self.median_answer_s, 0)
            check("offers_observed", self.offers_observed, 0)
            for age_min in self.refused_min:
                check("refused_min", age_min, 0)
            if self.beds_at is not None:
                check_aware("beds_at", self.beds_at)
        except ValueError as error:
            raise ValueError(f"emergency room {self.name!r} ({self.id}): {error}") from None
        object.__setattr__(self, "capability_bits", bits(self.capabilities))


BIT = {capability: 1 << number for number, capability in enumerate(Capability)}


def bits(capabilities: Iterable[Capability]) -> int:
    """Capabilities as one number, a bit each."""
    return sum(BIT[capability] for capability in capabilities)


def check(name: str, value: float | None, low: float, high: float = math.inf) -> None:
    """ValueError naming the field unless it is unknown or a finite number of the range."""
    if value is not None and not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{name}: {value} is not a number from {low:g} to {high:g}")


def check_aware(name: str, value: datetime) -> None:
    """ValueError naming the field for a time without a zone."""
    if value.tzinfo is None:
        raise ValueError(f"{name}: {value} has no time zone; times are aware UTC")
