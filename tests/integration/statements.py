"""What the product really sends to its database, caught on the way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from broker.record import Record


@contextmanager
def sent(record: Record) -> Iterator[list[tuple[str, Any]]]:
    """Every statement with its parameters, while inside."""
    found: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _x: Any, many: bool) -> None:
        if not many and re.match(r"(SELECT|UPDATE|DELETE|WITH)\b", statement):
            found.append((statement, parameters))

    event.listen(record.engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(record.engine, "before_cursor_execute", note)
