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
    CANARY_CLASSIFY = "canary_classify"
    CANARY_DETECT = "canary_detect"
    CANARY_DISPATCH = "canary_dispatch"


ROUTES: dict[Task, Queue] = {
    Task.CLASSIFY: Queue.CLASSIFY,
    Task.DETECT: Queue.DETECT,
    Task.ROUTE: Queue.DISPATCH,
    Task.DELIVER: Queue.DISPATCH,
    Task.CANARY_CLASSIFY: Queue.CLASSIFY,
    Task.CANARY_DETECT: Queue.DETECT,
    Task.CANARY_DISPATCH: Queue.DISPATCH,
}
CANARIES: dict[Queue, Task] = {
    Queue.CLASSIFY: Task.CANARY_CLASSIFY,
    Queue.DETECT: Task.CANARY_DETECT,
    Queue.DISPATCH: Task.CANARY_DISPATCH,
}
"""What asks a worker of each queue to sing; the payload is when the canary was sent."""
