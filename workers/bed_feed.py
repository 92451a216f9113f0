"""The bed feed's loop: asks the E-Gen service now and then and writes what it says.

Run as `python -m workers.bed_feed`, in a process of its own, because it reads what strangers send
and waits for them. Two of them do no harm: one row says whose turn it is. Off until configured.
"""

from __future__ import annotations

import signal
import threading

from broker import heartbeat, logs, settings as settings_
from broker.errors import DatabaseBusy
from broker.record import Record
from broker.settings import Settings
from dispatch import beds, egen
from dispatch.egen import Egen, FeedFailed
from dispatch.rules import Capability

KIND = "bed_feed"
LOOK_S = 1.0


class BedFeedLoop:
    """One process that asks the feed; BadSetting when its address would leak the key."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.record = Record(settings)
        self.over = threading.Event()
        self.client = Egen(settings, sleep=self.over.wait)
        self._life = heartbeat.Regular(self.record, KIND)
        self._log = logs.logger()

    def run(self) -> None:
        """Ask when it is due, until told to stop; without a configuration only say so."""
        self._log.info(egen.said_at_start(self.settings), action="bed_feed.started")
        while not self.over.wait(LOOK_S):
            try:
                self._life.beat()
                if egen.configured(self.settings):
                    self.look()
            except DatabaseBusy as error:
                self._log.warning("the database is busy", action="bed_feed.busy", why=error.why)
            except Exception:  # what a stranger sent must not end the loop; it is logged whole
                self._log.exception("the bed feed was not read", action="bed_feed.error")

    def look(self) -> bool:
        """Ask once if it is this process's turn; False when it is not."""
        if not self.record.again(lambda s: beds.take_turn(s, self.settings)):
            return False
        try:
            figures: list[egen.Figures] = []
            severe: dict[str, dict[Capability, bool]] = {}
            problems: list[str] = []
            for region in self.settings.egen_regions:
                figures += self.client.beds(region)
                try:
                    conditions, refused = self.client.severe(region)
                    severe |= conditions
                    if refused:
                        problems.append(refused)
                except FeedFailed as failure:  # beds without conditions are better than neither
                    problems.append(failure.message)
                self._life.beat()
        except FeedFailed as failure:
            said = failure
            self.record.again(lambda s: beds.failed(s, self.settings, said))
            self._log.warning(
                "the bed feed brought nothing", action="bed_feed.failed", error=failure.message
            )
            return True
        report = self.record.again(lambda s: beds.apply(s, figures, severe, problems))
        self._log.info(
            "the bed feed was read",
            action="bed_feed.read",
            hospitals=report.hospitals,
            updated=report.updated,
            late=report.late,
            problems=len(report.problems),
        )
        return True


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    settings = settings_.from_env()
    logs.set_up(settings, KIND)
    loop = BedFeedLoop(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.over.set())
    loop.run()


if __name__ == "__main__":
    main()
