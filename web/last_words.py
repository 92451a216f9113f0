"""What a program's log said last of what is wrong: for whoever reads why something did not start.

Reads log files of our own programs, of gunicorn, Celery and Redis. Judges nothing.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

TAIL_BYTES = 64 * 1024
LONGEST = 400
TRACEBACK = "Traceback (most recent call last):"
_BAD = re.compile(r"\[(ERROR|CRITICAL)\]|\b(error|fatal|cannot|can't|failed|refused)\b", re.I)


def last_words(log: Path, since_byte: int = 0) -> tuple[str | None, str | None]:
    """The last error and the last line that were written behind `since_byte`, one line each.

    None where there is none.
    """
    try:
        with log.open("rb") as file:
            end = file.seek(0, 2)
            file.seek(max(since_byte if since_byte <= end else 0, end - TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return None, None
    lines = [line.rstrip() for line in lines if line.strip()]
    found, in_traceback = None, False
    for line in lines:
        if line == TRACEBACK:
            in_traceback = True
        elif in_traceback:
            if not line.startswith(" "):  # its last line says what was raised
                found, in_traceback = line, False
        elif said := _said(line):
            found = said
    return found and found[:LONGEST], lines[-1].strip()[:LONGEST] if lines else None


def _said(line: str) -> str | None:
    """An error that stands on one line, in words."""
    if not line.startswith("{"):
        return line.strip() if _BAD.search(line) else None
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if entry.get("level") not in {"error", "critical"}:
        return None
    raised = str(entry.get("exception") or entry.get("why") or "").strip().splitlines()
    return ": ".join([str(entry.get("event")), *raised[-1:]])
