"""What the dead children of a pool were reading goes back to the queue at once.

A lease says only that its holder fell silent, seconds later; the pool knows at once that a child is
gone, and a pool that starts anew knows it of the children before it. Looks at processes and leases,
at nothing else; a child that is frozen is the lease's matter.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from functools import partial

from broker import logs
from broker.errors import DatabaseBusy
from broker.lifecycle import ReadingKind
from dispatch import reading
from workers.process import Process


class Children:
    """The children of one pool, as they come and go."""

    def __init__(
        self, mine: Process, kinds: Collection[ReadingKind], pids: Callable[[], Collection[int]]
    ) -> None:
        self._mine = mine
        self._kinds = kinds
        self._pids = pids
        self._known = frozenset[int]()

    def take_stock(self) -> int:
        """At the pool's start: give back what processes of this machine held that are no more."""
        try:
            with self._mine.record.read() as session:
                owners = {owner for kind in self._kinds for owner in reading.owners(session, kind)}
        except DatabaseBusy:
            return 0
        ours = f"{self._mine.settings.node}:"
        pids = [owner.removeprefix(ours) for owner in owners if owner.startswith(ours)]
        return self._give_back(
            [int(pid) for pid in pids if pid.isdecimal() and not _is_there(int(pid))]
        )

    def look(self) -> int:
        """Give back what children that ended since the last look held; how many readings."""
        now = frozenset(self._pids())
        gone, self._known = self._known - now, now
        return self._give_back(gone)

    def _give_back(self, pids: Collection[int]) -> int:
        mine, count = self._mine, 0
        for pid in pids:
            owner = f"{mine.settings.node}:{pid}"
            try:
                for held in mine.record.again(partial(reading.let_go, owner=owner)):
                    rescue = partial(reading.rescue, settings=mine.settings, reading_id=held)
                    count += mine.record.again(rescue)
            except DatabaseBusy:  # the lease ends it, then
                logs.logger().warning("the database is busy", action="worker.busy", owner=owner)
        if count:
            logs.logger().warning(
                "a child of the pool is gone; what it read goes back to the queue",
                action="reading.given_back",
                readings=count,
            )
        return count


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # asks only
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's, but there
    return True
