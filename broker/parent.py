"""A child that must not outlive its parent: the kernel is asked to see to it (Linux).

An orphan would hold a port, a lease or memory while nobody looks after it. Starts and stops nothing
itself.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with(parent: int, how: signal.Signals = signal.SIGKILL) -> None:
    """Called in the child: be signalled when the process `parent` ends, at once if it has ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, how)
        if os.getppid() != parent:  # it died in between
            os._exit(1)
