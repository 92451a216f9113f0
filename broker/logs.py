"""Logs: one line per happening, with `action` and ids as fields, never a name or a vital sign."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from broker.settings import Settings

SECRET_FIELDS = frozenset(
    {
        "name",
        "patient",
        "patient_name",
        "identifier",
        "identity",
        "birth_date",
        "phone",
        "complaint",
        "note",
        "body",
        "password",
        "token",
        "authorization",
        "vitals",
    }
)


def set_up(settings: Settings, process: str) -> None:
    """Send structlog and the standard library's loggers to stderr in one shape."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _redact,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if settings.log_json
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    # At DEBUG it writes every address that is asked, and the bed feed's key travels in one.
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    structlog.contextvars.bind_contextvars(process=process)


def logger() -> Any:
    """The project's logger: `logger().info("sentence", action="...", case_id=...)`."""
    return structlog.get_logger("goldentime")


def _redact(
    _logger: Any, _method: str, fields: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for key in SECRET_FIELDS & fields.keys():
        fields[key] = "[removed]"
    return fields
