"""Whether an ambulance seems to have arrived, from the positions that it sends. Pure: no database.

It has when it stayed for STAYED within NEAR_M of the ER that took its patient, after it had surely
been somewhere else. A question for the crew is made of it, never a step of the case. One position
that jumps proves nothing, neither that it came nor that it left.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

NEAR_M = 200.0
AWAY_M = 400.0
"""Between the two nothing is said: houses throw satellites' signals about by so much."""
STAYED = timedelta(seconds=60)
WAS_AWAY = timedelta(seconds=15)
"""So long, by two positions or more, it must have been away: an ambulance that is parked next door
sends single positions from elsewhere, not a row of them."""
SILENCE = timedelta(minutes=5)
"""Who says nothing for longer may have been anywhere meanwhile: counting starts anew."""


@dataclass(frozen=True)
class Approach:
    """What was seen on the way to one ER."""

    emergency_room_id: str
    away_since_at: datetime | None = None
    came: bool = False
    """It was away for long enough to have come from there."""
    near_since_at: datetime | None = None
    seen_at: datetime | None = None
    arrived_at: datetime | None = None
    """When it was recognised; None as long as there is nothing to ask."""

    def seen(self, distance_m: float, at: datetime) -> Approach:
        """The same after one more position; one that is older than the last says nothing."""
        if self.seen_at is not None and at <= self.seen_at:
            return self
        before = self
        if self.seen_at is not None and at - self.seen_at > SILENCE:
            before = replace(self, away_since_at=None, near_since_at=None)
        if distance_m >= AWAY_M:
            return before._away(at)
        if distance_m > NEAR_M:
            return replace(before, away_since_at=None, near_since_at=None, seen_at=at)
        near_since_at = before.near_since_at or at
        arrived_at = before.arrived_at
        if arrived_at is None and before.came and at - near_since_at >= STAYED:
            arrived_at = at
        return replace(
            before,
            away_since_at=None,
            near_since_at=near_since_at,
            seen_at=at,
            arrived_at=arrived_at,
        )

    def _away(self, at: datetime) -> Approach:
        since = self.away_since_at or at
        surely = at - since >= WAS_AWAY
        return replace(
            self,
            away_since_at=since,
            came=self.came or surely,
            near_since_at=None,
            seen_at=at,
            arrived_at=None if surely else self.arrived_at,
        )

    def as_json(self) -> dict[str, Any]:
        """As a row keeps it."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def of_json(cls, kept: dict[str, Any]) -> Approach:
        """As a row kept it; what a later version added is not looked at."""
        times = ("away_since_at", "near_since_at", "seen_at", "arrived_at")
        return cls(
            emergency_room_id=kept["emergency_room_id"],
            came=bool(kept.get("came")),
            **{
                name: datetime.fromisoformat(kept[name]) if kept.get(name) else None
                for name in times
            },
        )
