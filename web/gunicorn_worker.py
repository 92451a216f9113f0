"""What both gunicorns do in each worker: end at once when the arbiter is killed.

An orphan would hold the port for as long as its grace lasts while nobody serves it, and a new
arbiter could not bind. No setting may enter here.
"""

from __future__ import annotations

from typing import Any

from broker.parent import end_with


def post_fork(server: Any, worker: Any) -> None:
    """Ask the kernel to kill this worker with its arbiter; gunicorn calls it by name."""
    end_with(server.pid)
