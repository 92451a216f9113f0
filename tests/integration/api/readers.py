"""Readers that do what hostile films do to theirs; run in the throw-away child by tests."""

from __future__ import annotations

import os
import signal


def crash(path: str, rendition_path: str) -> None:
    """As a bug in a native decoder ends."""
    os.kill(os.getpid(), signal.SIGSEGV)


def swell(path: str, rendition_path: str) -> None:
    """As a bomb unfolds."""
    bytes(2**40)
