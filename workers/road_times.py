"""The road times' loop: asks a road service how long ways take that live cases need just now.

Run as `python -m workers.road_times`, in a process of its own, because it waits for strangers. No
write unit and no request ever waits for it. Two of them do no harm. Off until configured.
"""

from __future__ import annotations

import signal
import threading
import time

from broker import heartbeat, logs, settings as settings_
from broker.errors import DatabaseBusy
from broker.record import Record
from broker.settings import Settings
from dispatch import osrm, road_times
from dispatch.osrm import Osrm, RoadTimesFailed
from dispatch.road_times import Question

KIND = "road_times"
LOOK_S = 1.0
FIRST_WAIT_S = 1.0
"""After a failure; twice as long after the next one, at most LONGEST_WAIT_S."""
LONGEST_WAIT_S = 30.0
MOST_AT_ONCE = 20
"""Questions of one look; then the loop beats and looks again who is the most urgent."""
FORGET_EVERY_S = 60.0


class RoadTimesLoop:
    """One process that asks; BadSetting when the service's address is none."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client = Osrm(settings)
        self.record = Record(settings)
        self.over = threading.Event()
        self._wait_s = 0.0
        self._not_before = 0.0
        self._failed_at: Question | None = None
        self._life = heartbeat.Regular(self.record, KIND)
        self._next_forget = 0.0
        self._log = logs.logger()

    def run(self) -> None:
        """Ask what is wanted, until told to stop; without a configuration only say so."""
        self._log.info(osrm.said_at_start(self.settings), action="road_times.started")
        began = False
        while not self.over.wait(LOOK_S):
            try:
                if not began:
                    self.record.again(road_times.forget_failure)
                    began = True
                self._life.beat()
                if osrm.configured(self.settings):
                    self.look()
                self._forget()
            except DatabaseBusy as error:
                self._log.warning("the database is busy", action="road_times.busy", why=error.why)
            except Exception:  # what a stranger sent must not end the loop; it is logged whole
                self._log.exception("road times were not learnt", action="road_times.error")

    def look(self) -> int:
        """Ask what is wanted now; how many questions were answered. After a failure it waits."""
        if time.monotonic() < self._not_before:
            return 0
        with self.record.read() as session:
            questions = road_times.wanted(session, self.settings)[:MOST_AT_ONCE]
        if not questions and self._failed_at is not None:
            questions = [self._failed_at]  # is it back? An alarm must not wait for the next case
        answered = 0
        for question in questions:
            if self.over.is_set() or not self._ask(question):
                break
            answered += 1
            self._life.beat()
        return answered

    def _ask(self, question: Question) -> bool:
        try:
            places = [place for _, place in question.rooms]
            answer = self.client.durations(question.square.middle, places)
        except RoadTimesFailed as failure:
            said = failure
            self._wait_s = min(max(FIRST_WAIT_S, 2 * self._wait_s), LONGEST_WAIT_S)
            self._not_before = time.monotonic() + self._wait_s
            self._failed_at = question
            self.record.again(lambda s: road_times.failed(s, said))
            self._log.warning(
                "the road service brought nothing; ways are estimated",
                action="road_times.failed",
                error=failure.message,
                again_in_s=self._wait_s,
            )
            return False
        self.record.again(lambda s: road_times.keep(s, question, answer))
        if self._failed_at is not None:
            self._log.info("the road service is back", action="road_times.back")
        self._wait_s, self._failed_at = 0.0, None
        if answer.problems:
            self._log.warning(
                "some road times are not believed; those ways are estimated",
                action="road_times.problems",
                problems=len(answer.problems),
                first=answer.problems[0],
            )
        return True

    def _forget(self) -> None:
        if time.monotonic() < self._next_forget:
            return
        self.record.again(road_times.forget_old)
        self._next_forget = time.monotonic() + FORGET_EVERY_S


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    settings = settings_.from_env()
    logs.set_up(settings, KIND)
    loop = RoadTimesLoop(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.over.set())
    loop.run()


if __name__ == "__main__":
    main()
