"""Vital signs of a case as they count: each sign's last measured value.

A later set seldom repeats every sign. What it leaves out was not measured again, and is neither
normal nor unknown: the last measured value goes on counting, and is marked as earlier. What the
values mean is news2.py's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from broker.tables import VitalSignsEntry
from dispatch.news2 import Consciousness, SpO2Scale, VitalSigns

PRESSURES = ("systolic_bp_mmhg", "diastolic_bp_mmhg")
"""Measured together, so carried together: half of an old pair beside half of a new one lies."""
SIGNS = (
    *("respiratory_rate_per_min", "spo2_percent", "on_oxygen", *PRESSURES, "pulse_per_min"),
    *("consciousness", "temperature_c"),
)


@dataclass(frozen=True)
class Measured:
    """The values that count, when the last set came, and which values are older than that."""

    values: dict[str, Any]
    spo2_scale: int
    spo2_scale_confirmed: bool
    recorded_at: datetime
    earlier: tuple[str, ...]

    @classmethod
    def of_set(cls, row: VitalSignsEntry) -> Measured:
        """One set by itself, nothing carried over from earlier ones."""
        return cls(
            values={name: getattr(row, name) for name in SIGNS},
            spo2_scale=row.spo2_scale,
            spo2_scale_confirmed=bool(row.spo2_scale_confirmed),
            recorded_at=row.recorded_at,
            earlier=(),
        )

    def as_vital_signs(self) -> VitalSigns:
        """As the pure rules take them; scale 2 only where a clinician confirmed it."""
        consciousness = self.values["consciousness"]
        confirmed = self.spo2_scale == 2 and self.spo2_scale_confirmed
        return VitalSigns(
            **{
                **self.values,
                "consciousness": Consciousness(consciousness) if consciousness else None,
            },
            spo2_scale=SpO2Scale.SCALE_2 if confirmed else SpO2Scale.SCALE_1,
            spo2_scale_confirmed=confirmed,
        )


def latest(session: Session, case_id: UUID) -> Measured | None:
    """The vital signs of a case that count now, or None when none were ever sent."""
    return together(sets(session, [case_id])[case_id])


def sets(session: Session, case_ids: Collection[UUID]) -> dict[UUID, list[VitalSignsEntry]]:
    """Every set of these cases as it came, by case, the newest first."""
    found: dict[UUID, list[VitalSignsEntry]] = {id_: [] for id_ in case_ids}
    for row in session.scalars(
        select(VitalSignsEntry)
        .where(VitalSignsEntry.case_id.in_(found))
        .order_by(VitalSignsEntry.recorded_at.desc(), VitalSignsEntry.id)
    ):
        found[row.case_id].append(row)
    return found


def together(entries: Sequence[VitalSignsEntry]) -> Measured | None:
    """What counts of the sets of one case, the newest first; None of none."""
    if not entries:
        return None
    newest = entries[0]
    values: dict[str, Any] = dict.fromkeys(SIGNS)
    earlier = []
    for entry in entries:
        pair_known = any(values[name] is not None for name in PRESSURES)
        for name in SIGNS:
            value = getattr(entry, name)
            if value is None or values[name] is not None:
                continue
            if name in PRESSURES and pair_known:
                continue
            values[name] = value
            if entry is not newest:
                earlier.append(name)
    return Measured(
        values=values,
        spo2_scale=newest.spo2_scale,
        spo2_scale_confirmed=bool(newest.spo2_scale_confirmed),
        recorded_at=newest.recorded_at,
        earlier=tuple(name for name in SIGNS if name in earlier),
    )


def entry(
    session: Session, case_id: UUID, now: datetime, said: Mapping[str, Any]
) -> VitalSignsEntry:
    """The row of a new set; the SpO2 scale stays as it was confirmed unless the set names one."""
    scale: dict[str, Any] = {}
    if "spo2_scale" not in said and (before := latest(session, case_id)) is not None:
        scale = {
            "spo2_scale": before.spo2_scale,
            "spo2_scale_confirmed": before.spo2_scale_confirmed,
        }
    return VitalSignsEntry(case_id=case_id, recorded_at=now, **{**scale, **said})
