"""Settings that may change while everything runs: an allow-list, kept in a table.

The table wins over the environment: an administrator's change must hold at once and everywhere, and
two processes may have been started with different environments (docs/decisions). Each process asks
again every few seconds; a record that does not answer leaves the last known values in force.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from broker import database, events, logs
from broker.errors import ChangedMeanwhile, DatabaseBusy, Invalid, NotFound
from broker.record import Record
from broker.settings import EscalationSteps, Settings
from broker.tables import RuntimeSetting

ASK_EVERY_S = 2.0


@dataclass(frozen=True)
class Tunable:
    """What a run-time setting may be; its meaning stands in the pages' words."""

    low: float
    high: float
    whole: bool = False
    steps: bool = False
    """Three rising numbers: remind, widen, unplaced."""


TUNABLES: dict[str, Tunable] = {
    "reading_deadline_s": Tunable(1, 30),
    "steps_urgent": Tunable(5, 600, steps=True),
    "steps_prompt": Tunable(10, 1200, steps=True),
    "steps_standard": Tunable(10, 1800, steps=True),
    "offers_per_round": Tunable(1, 6, whole=True),
    "ask_again_s": Tunable(30, 3600),
    "acknowledge_deadline_s": Tunable(5, 120),
    "transport_deadline_s": Tunable(600, 14400),
    "reading_attempts": Tunable(1, 10, whole=True),
    "queue_stuck_s": Tunable(10, 25),
    "queue_behind_s": Tunable(20, 600),
    "canary_s": Tunable(0, 600),
    "alarm_repeat_s": Tunable(10, 600),
    "sample_days": Tunable(2, 60, whole=True),
}
"""By field of Settings. Nothing that a process reads only once, and no secret, may stand here."""


class Tuned:
    """The settings in force in one process."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._next = 0.0
        self.settings = record.settings

    def refresh(self) -> Settings:
        """Ask the record when the last answer is too old; never raises. Not inside a unit."""
        if time.monotonic() < self._next:
            return self.settings
        self._next = time.monotonic() + ASK_EVERY_S
        try:
            with self._record.read() as session:
                self.settings = in_force(session, self._record.settings)
        except DatabaseBusy:
            self._next += 4 * ASK_EVERY_S  # whoever does the work will say that nothing answers
        return self.settings


def in_force(session: Session, settings: Settings) -> Settings:
    """The environment's settings with the table's on top; an unreadable value is passed over."""
    values: dict[str, Any] = {}
    for name, text in session.execute(select(RuntimeSetting.name, RuntimeSetting.value)):
        try:
            values[name] = parse(name, text)
        except (Invalid, NotFound) as error:
            logs.logger().warning(
                "a setting in the record counts for nothing",
                action="tuning.unreadable",
                setting=name,
                reason=error.message,
            )
    return dataclasses.replace(settings, **values) if values else settings


def parse(name: str, text: str) -> float | int | EscalationSteps:
    """A setting's value from text; NotFound for an unknown name, Invalid when out of range."""
    tunable = TUNABLES.get(name)
    if tunable is None:
        raise NotFound(f"{name} is no setting that may change at run time")
    try:
        parts = [float(part) for part in text.split("/")]
    except ValueError:
        raise Invalid(f"{text!r} is no number", field="value") from None
    if len(parts) != (3 if tunable.steps else 1):
        wanted = "three numbers such as 20/45/90" if tunable.steps else "one number"
        raise Invalid(f"{name} takes {wanted}", field="value")
    if not all(tunable.low <= part <= tunable.high for part in parts):  # NaN is never between
        raise Invalid(f"{name} lies between {tunable.low:g} and {tunable.high:g}", field="value")
    if tunable.steps:
        if sorted(set(parts)) != parts:
            raise Invalid(f"{name}: each step must come later than the one before", field="value")
        return EscalationSteps(*parts)
    if tunable.whole and parts[0] != int(parts[0]):
        raise Invalid(f"{name} is a whole number", field="value")
    return int(parts[0]) if tunable.whole else parts[0]


def described(session: Session, settings: Settings) -> list[dict[str, Any]]:
    """Every run-time setting: its value in force, why, and what the environment says."""
    rows = {row.name: row for row in session.scalars(select(RuntimeSetting))}
    return [_described(name, settings, rows) for name in TUNABLES]


def change(
    session: Session, settings: Settings, actor_name: str, name: str, value: str, version: int
) -> dict[str, Any]:
    """Set a value; ChangedMeanwhile unless `version` is the one shown (0: not set before)."""
    parsed = parse(name, value)
    now = database.now(session)
    old = session.get(RuntimeSetting, name)
    before = as_text(parse(name, old.value) if old else getattr(settings, name))
    said = {"value": as_text(parsed), "changed_at": now, "changed_by": actor_name}
    if version == 0:
        won = session.scalar(
            database.insert(session, RuntimeSetting)
            .values(name=name, version=1, **said)
            .on_conflict_do_nothing()
            .returning(RuntimeSetting.name)
        )
    else:
        won = session.scalar(
            update(RuntimeSetting)
            .where(RuntimeSetting.name == name, RuntimeSetting.version == version)
            .values(version=version + 1, **said)
            .returning(RuntimeSetting.name)
            .execution_options(synchronize_session=False)
        )
    if won is None:
        raise ChangedMeanwhile()
    events.audit(
        session, actor_name, "setting.changed", None, name=name, before=before, after=said["value"]
    )
    session.expire_all()
    return _described(name, settings, {name: session.get_one(RuntimeSetting, name)})


def forget(
    session: Session, settings: Settings, actor_name: str, name: str, version: int
) -> dict[str, Any]:
    """Let the environment's value hold again."""
    parse_name(name)
    old = session.get(RuntimeSetting, name)
    won = database.changed(
        session,
        delete(RuntimeSetting).where(
            RuntimeSetting.name == name, RuntimeSetting.version == version
        ),
    )
    if old is None or won != 1:
        raise ChangedMeanwhile()
    events.audit(
        session,
        actor_name,
        "setting.forgotten",
        None,
        name=name,
        before=old.value,
        after=as_text(getattr(settings, name)),
    )
    return _described(name, settings, {})


def parse_name(name: str) -> Tunable:
    """The setting of that name, or NotFound."""
    if name not in TUNABLES:
        raise NotFound(f"{name} is no setting that may change at run time")
    return TUNABLES[name]


def as_text(value: float | int | EscalationSteps) -> str:
    """As it is stored and shown."""
    if isinstance(value, EscalationSteps):
        return "/".join(f"{part:g}" for part in dataclasses.astuple(value))
    return f"{value:g}"


def _described(name: str, settings: Settings, rows: Mapping[str, RuntimeSetting]) -> dict[str, Any]:
    tunable, row = TUNABLES[name], rows.get(name)
    start = as_text(getattr(settings, name))
    shipped = as_text(getattr(Settings(), name))
    source = "table" if row else "shipped" if start == shipped else "environment"
    return {
        "name": name,
        "value": row.value if row else start,
        "source": source,
        "environment": start,
        "shipped": shipped,
        "low": tunable.low,
        "high": tunable.high,
        "kind": "steps" if tunable.steps else "whole" if tunable.whole else "number",
        "version": row.version if row else 0,
        "changed_at": row.changed_at if row else None,
        "changed_by": row.changed_by if row else None,
    }
