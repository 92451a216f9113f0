"""What both gunicorns do in each worker: end at once when the arbiter is killed.

An orphan would hold the port for as long as its grace lasts while nobody serves it, and a new
arbiter could not bind. No setting may enter here.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Any

PR_SET_PDEATHSIG = 1


def post_fork(server: Any, worker: Any) -> None:
    """Ask the kernel (Linux) to kill this worker with its arbiter; gunicorn calls it by name."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != server.pid:  # it died in between
            os._exit(1)
