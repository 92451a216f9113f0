"""Upkeep: a plain loop that does what deadlines ask for, even with every Celery worker dead.

Run as `python -m workers.upkeep`. Takes due cases a step further, rescues readings of silent
workers, sends notifications that nobody sent, seals the audit, sweeps temporary files, ends what is
frozen on its machine. Two of them at once do no harm.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from broker import database, heartbeat, logs, seals, settings as settings_
from broker.errors import BadSetting, DatabaseBusy, LostRace
from broker.imagestore import ImageStore
from broker.lifecycle import LIVE_CASES
from broker.lookout import Lookout
from broker.partials import Partials
from broker.record import Record
from broker.settings import Settings
from broker.tables import Case
from broker.tuning import Tuned
from broker.watchdog import Watchdog
from dispatch import advance, beds, learning, notify, reading, retention, rules, uploads
from workers.delivering import deliver

T = TypeVar("T")
LOOK_S = 1.0
"""Between two looks; escalation steps are tens of seconds apart."""
GRACE = timedelta(seconds=0.5)
"""The queue's `route` task gets this head start at a due case."""
DELIVER_GRACE = timedelta(seconds=3)
"""The same for a notification: longer, because to send one takes longer."""
BATCH = 200
REAP_AFTER_S = 600.0
COUNT_EVERY_S = 900.0
"""Between two counts of how ERs answered."""
SEAL_S = 0.5
"""Longest time at a stretch for seals: after an update a year of entries waits for them."""
TELL_HEAD_S = 3600.0


class Upkeep:
    """One upkeep process."""

    def __init__(self, settings: Settings) -> None:
        rules.load(settings.triage_rules)  # a file that cannot be used is said now, not at a case
        self.record = Record(settings)
        self.tuned = Tuned(self.record)
        self.store = ImageStore(settings)
        self.partials = Partials(settings)
        self.over = threading.Event()
        self._life = heartbeat.Regular(self.record, "upkeep")
        self._next_seal = self._next_head = 0.0
        self._log = logs.logger()

    @property
    def settings(self) -> Settings:
        """Those in force at the last look."""
        return self.tuned.settings

    def run(self) -> None:
        """Look, until told to stop."""
        _, said = notify.configured(self.settings)
        self._log.info("upkeep looks after deadlines", action="upkeep.started", second_channel=said)
        # A mail server that hangs must not hold up deadlines.
        threading.Thread(target=self._deliver, daemon=True).start()
        Watchdog(self.record).start(self.over)
        Lookout(self.record).start(self.over)
        next_reap = next_count = 0.0
        while not self.over.wait(LOOK_S * min(1.0, max(0.1, self.settings.time_scale))):
            try:
                self.tuned.refresh()
                self._beat()
                self.look()
                self.seal()
                if time.monotonic() >= next_reap:
                    self.store.reap(REAP_AFTER_S, time.time())
                    self.sweep_uploads()
                    self.record.again(lambda s: beds.alarm_if_silent(s, self.settings))
                    self.erase()
                    next_reap = time.monotonic() + 60
                if time.monotonic() >= next_count and not self.count():
                    next_count = time.monotonic() + COUNT_EVERY_S
            except DatabaseBusy as error:
                self._log.warning("the database is busy", action="upkeep.busy", why=error.why)

    def erase(self) -> int:
        """Erase identities whose time has come; none while the setting is off."""
        erased = self.record.again(lambda session: retention.erase_due(session, self.settings))
        if erased:
            self._log.info("identities were erased", action="upkeep.erased", count=erased)
        return erased

    def count(self) -> bool:
        """Count how ERs answered, one window of offers; True when more are waiting."""
        try:
            return self.record.again(lambda session: learning.count(session, self.settings))
        except LostRace:
            return True  # another upkeep counted it; look what is left
        except DatabaseBusy:
            raise
        except Exception:  # what is learnt may be late, deadlines may not; it is logged whole
            self._log.exception("answers could not be counted", action="upkeep.error")
            return False

    def look(self) -> int:
        """Rescue readings and move due cases; returns how many rows were touched."""
        with self.record.read() as session:
            silent = reading.silent(session)
            due = session.scalars(
                select(Case.id)
                .where(
                    Case.status.in_(LIVE_CASES), Case.deadline_at <= database.now(session) - GRACE
                )
                .order_by(Case.deadline_at)
                .limit(BATCH)
            ).all()
        for reading_id in silent:
            if self._each(reading.rescue, reading_id):
                self._log.warning(
                    "a reading is rescued", action="upkeep.rescued", reading_id=str(reading_id)
                )
        for case_id in due:
            self._beat()  # many cases may be due at once: busy is not silent
            self._each(advance.advance, case_id)
        return len(due) + len(silent)

    def seal(self) -> int:
        """Seal new audit entries, now and then; how many. The newest seal is logged each hour."""
        began = time.monotonic()
        if began < self._next_seal:
            return 0
        self._next_seal = began + self.settings.sweep_s
        sealed = 0
        try:
            while some := seals.seal(self.record):
                sealed += some
                if some < seals.BATCH:
                    break
                if time.monotonic() - began > SEAL_S:
                    self._next_seal = 0.0  # go on at the next look
                    break
        except BadSetting as error:  # said again with every hour, and the board shows the age
            self._next_seal = began + TELL_HEAD_S
            self._log.error("the audit is not sealed", action="audit.unsealed", why=error.message)
        except DatabaseBusy:
            raise
        except Exception:  # a seal may be late, deadlines may not; it is logged whole
            self._log.exception("the audit could not be sealed", action="audit.unsealed")
        if sealed and began >= self._next_head:
            self._next_head = began + TELL_HEAD_S
            with self.record.read() as session:
                head = seals.head(session)
            # Whoever keeps the log elsewhere can tell later whether the chain's end was cut off.
            self._log.info("the audit is sealed", action="audit.sealed", head=str(head))
        return sealed

    def sweep_uploads(self) -> int:
        """End uploads whose rest never came and delete bytes of ended ones; returns how many."""
        ended = set(self.record.again(uploads.forget_expired))
        old = list(self.partials.older_than(REAP_AFTER_S, time.time()))
        with self.record.read() as session:
            ended |= uploads.unknown(session, old)
        for upload_id in ended:
            self.partials.delete(upload_id)
        return len(ended)

    def _beat(self) -> None:
        if self._life.beat():
            self.record.again(heartbeat.forget_old)

    def _deliver(self) -> None:
        while not self.over.wait(LOOK_S):
            try:
                with self.record.read() as session:
                    due = notify.due(session, DELIVER_GRACE)
                for notification_id in due:
                    deliver(self.record, notification_id)
            except DatabaseBusy as error:
                self._log.warning("the database is busy", action="upkeep.busy", why=error.why)
            except Exception:  # one broken case must not stop the others; it is logged whole
                self._log.exception("a notification was not sent", action="upkeep.error")

    def _each(self, step: Callable[[Session, Settings, UUID], T], row_id: UUID) -> T | None:
        """Take one step in a unit of its own: a broken row must not stop the others' deadlines."""
        try:
            return self.record.again(lambda session: step(session, self.settings, row_id))
        except LostRace:
            return None  # somebody else is on it
        except DatabaseBusy:
            raise
        except Exception:  # one broken task must not stop the loop; it is logged whole
            self._log.exception(
                "a step could not be taken", action="upkeep.error", row_id=str(row_id)
            )
            return None


def main() -> None:
    """Run upkeep until SIGTERM or SIGINT."""
    settings = settings_.from_env()
    logs.set_up(settings, "upkeep")
    upkeep = Upkeep(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: upkeep.over.set())
    upkeep.run()


if __name__ == "__main__":
    main()
