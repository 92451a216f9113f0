"""The one who looks every second while things break: invariants that hold at every moment.

What `goldentime check` says of rows and files, deadlines left out (those may be late while their
movers lie dead; truth.holds judges them afterwards). Reads only, by a record of its own.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType

from broker import check
from broker.errors import DatabaseBusy
from broker.record import Record
from tests.e2e.chaos.box import Box

LOOK_S = 1.0


class Inspector(threading.Thread):
    """Looks inside a `with`, whose end raises what was wrong, when, and which blows were near."""

    def __init__(self, box: Box) -> None:
        super().__init__(daemon=True)
        self._box = box
        self._over = threading.Event()
        self.looks = 0
        self.turned_away = 0
        """Looks that the database did not answer."""
        self.seen: list[tuple[float, list[str]]] = []
        self.broken: Exception | None = None

    def run(self) -> None:
        record = Record(self._box.record.settings)
        try:
            while not self._over.wait(LOOK_S):
                try:
                    # the audit's chain costs time: truth.py follows it at the end
                    violations = check.run(record, stopped=True, audit=False).violations
                except DatabaseBusy:
                    self.turned_away += 1
                    continue
                self.looks += 1
                if violations:
                    self.seen.append((time.time(), violations))
        except Exception as error:  # a look that fails is no look: __exit__ raises it
            self.broken = error
        finally:
            record.close()

    def __enter__(self) -> Inspector:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self.join(60)
        print(f"inspector: {self.looks} looks, {self.turned_away} without an answer")
        if self.broken:
            raise self.broken
        if self.seen:
            at, violations = self.seen[0]
            blows = [f"{moment - at:+.1f} s {name}" for moment, name in self._box.struck]
            raise AssertionError(
                f"at {at:.1f} and in {len(self.seen)} looks: {violations}; blows before and after: "
                f"{blows}"
            )
