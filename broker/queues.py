"""Queue names, task names and routes: one table.

A test compares it with docker-compose.yml and with the tasks that the workers register.
"""

from __future__ import annotations

from enum import StrEnum


class Queue(StrEnum):
    """One pool of workers each."""

    CLASSIFY = "classify"
    DETECT = "detect"
    DISPATCH = "dispatch"


class Task(StrEnum):
    """What a doorbell may ask for; the payload is one id."""

    CLASSIFY = "classify"
    DETECT = "detect"
    ROUTE = "route"
    DELIVER = "deliver"


ROUTES: dict[Task, Queue] = {
    Task.CLASSIFY: Queue.CLASSIFY,
    Task.DETECT: Queue.DETECT,
    Task.ROUTE: Queue.DISPATCH,
    Task.DELIVER: Queue.DISPATCH,
}
