"""The lookout: what must be done every few seconds so that operations see the truth.

Compares what is wrong with the alarms that are open, sends canaries, ends pauses whose time has
come, takes the minute's sample and thins old ones. A thread of its own in upkeep and in the relay,
so that each also notices the other's death; two at once do no harm. Touches no case.
"""

from __future__ import annotations

import shutil
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from broker import alarms, canary, database, history, logs, metrics, pauses
from broker.alarms import Condition
from broker.errors import DatabaseBusy
from broker.lifecycle import AlarmCode
from broker.record import Record
from broker.settings import Settings
from broker.tables import Alarm
from broker.tuning import Tuned

LOOK_S = 2.0
CONFIRM_S = 3.0
"""A condition must hold this long before it is an alarm: a worker needs a moment to take work."""
CLEAR_S = 6.0
"""And must be over this long before the alarm is closed: alarms do not flicker."""
START_S = 30.0
"""At its own start the others may still be starting: processes are judged after this."""


class Lookout:
    """One process's lookout."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._tuned = Tuned(record)
        self._since: dict[Condition, float] = {}
        self._held: dict[Condition, float] = {}
        """When each condition was last seen to hold (monotonic)."""
        self._began = time.monotonic()
        self._log = logs.logger()

    def start(self, over: threading.Event) -> None:
        """Look again and again in a thread of its own until `over`."""
        threading.Thread(target=self._watch, args=(over,), daemon=True).start()

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(LOOK_S):
            try:
                self.look()
            except DatabaseBusy as error:
                self._log.warning("the database is busy", action="lookout.busy", why=error.why)
            except Exception:  # whatever failed, the next look must come; it is logged whole
                self._log.exception("a look failed", action="lookout.error")

    def look(self) -> None:
        """Look once and write down what changed."""
        settings = self._tuned.refresh()
        bells = metrics.doorbells(settings)
        with self._record.read() as session:
            ahead_s = (datetime.now(UTC) - database.now(session)).total_seconds()
            holds = alarms.conditions(session, settings)
            opened = list(alarms.open_now(session))
            now = database.now(session)
            over = pauses.any_due(session)
            slot = canary.planned(session, settings.canary_s)
            minute = history.due(session)
            figures = history.figures_now(session, bells) if minute else None
            hour = history.thin_due(session, settings.sample_days)
        holds += alarms.local_conditions(
            settings,
            redis_answers=bells is not None,
            free_bytes=_free_bytes(settings.images),
            clock_ahead_s=ahead_s,
        )
        self._settle(holds, opened, now, settings)
        if over:
            self._record.again(pauses.resume_due)
        if slot:
            with self._record.write() as session:
                canary.plan(session, slot)
        if minute and figures is not None:
            with self._record.write() as session:
                history.take(session, minute, figures)
        if hour:
            with self._record.write() as session:
                history.thin(session, hour)

    def _settle(
        self, holds: list[Condition], opened: list[Alarm], now: datetime, settings: Settings
    ) -> None:
        here = time.monotonic()
        judged = [
            condition
            for condition in holds
            if condition.code is not AlarmCode.PROCESS_SILENT or here - self._began >= START_S
        ]
        self._since = {condition: self._since.get(condition, here) for condition in judged}
        self._held.update(dict.fromkeys(judged, here))
        known = {Condition(alarm.code, alarm.subject) for alarm in opened}
        for condition, since in self._since.items():
            if condition not in known and here - since >= CONFIRM_S:
                self._raise(condition)
        for alarm in opened:
            condition = Condition(alarm.code, alarm.subject)
            if condition in self._since:
                waited_s = (now - alarm.repeated_at).total_seconds()
                if alarm.acknowledged_at is None and waited_s >= settings.alarm_repeat_s:
                    self._repeat(alarm)
            elif self._may_close(alarm, settings, here):
                with self._record.write() as session:
                    alarms.over(session, alarm)
                self._held.pop(condition, None)
        self._held = {c: at for c, at in self._held.items() if here - at < 10 * CLEAR_S}

    def _may_close(self, alarm: Alarm, settings: Settings, here: float) -> bool:
        if alarm.code in alarms.LOCAL and alarm.subject != settings.node:
            return False
        if alarm.code is AlarmCode.PROCESS_SILENT and here - self._began < START_S:
            return False
        last = self._held.get(Condition(alarm.code, alarm.subject), self._began)
        return here - last >= CLEAR_S

    def _raise(self, condition: Condition) -> None:
        with self._record.write() as session:
            new = alarms.raise_(session, condition)
        if new:
            self._tell("an alarm is raised", "alarm.opened", condition, 0)

    def _repeat(self, alarm: Alarm) -> None:
        with self._record.write() as session:
            mine = alarms.repeat(session, alarm)
        if mine:
            condition = Condition(alarm.code, alarm.subject, alarm.details)
            self._tell("nobody took an alarm", "alarm.repeated", condition, alarm.repeats + 1)

    def _tell(self, sentence: str, action: str, condition: Condition, repeats: int) -> None:
        self._log.error(
            sentence,
            action=action,
            code=condition.code.value,
            subject=condition.subject,
            repeats=repeats,
            **condition.details,
        )


def _free_bytes(folder: Path) -> int:
    """Room of the image store's disk, of the nearest folder that is there."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
