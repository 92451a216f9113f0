"""What both gunicorns do with their workers and connections; the settings are their own files'.

A worker ends at once when its arbiter is killed: an orphan would hold the port for as long as its
grace lasts while nobody serves it. A caller that vanished is given up: an ambulance in a tunnel
sends no FIN, and its half-sent film would hold a thread for ever.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

from broker.parent import end_with
from web import pulse

_pulses: list[pulse.Pulse] = []
"""This worker's, once it has loaded its app."""

SILENCE_S = 20
"""A caller from whom nothing comes, or who confirms nothing of what we sent, for longer is gone."""


def when_ready(server: Any) -> None:
    """Bound the silence of connections; they inherit it from the listener (Linux, socket(7))."""
    for listener in server.LISTENERS:
        silence = struct.pack("ll", SILENCE_S, 0)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, silence)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, silence)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE_S * 1000)


def post_fork(server: Any, worker: Any) -> None:
    """Ask the kernel to kill this worker with its arbiter; gunicorn calls it by name."""
    end_with(server.pid)


def post_worker_init(worker: Any) -> None:
    """Let operations see that this worker takes callers; gunicorn calls it by name."""
    _pulses.append(pulse.of(worker))
    _pulses[-1].start()


def worker_exit(server: Any, worker: Any) -> None:
    """A worker that ends in order is not missed; gunicorn calls it by name, after the last call."""
    while _pulses:
        _pulses.pop().stop()
