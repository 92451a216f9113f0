"""Shapes of what the control room writes down by hand. Shape only, no queries."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from dispatch.control_log import CaseAlarm, Did
from web.schemas.base import In, no_control_characters


class CallIn(In):
    """A call that was made for a case: with whom, and what was said."""

    to = fields.String(required=True, validate=[validate.Length(2, 120), no_control_characters])
    said = fields.String(required=True, validate=[validate.Length(2, 500), no_control_characters])


class LogEntryOut(Schema):
    """An alarm that somebody took, or a call."""

    case_id = fields.UUID()
    did = fields.Enum(Did, by_value=True)
    at = fields.AwareDateTime()
    by = fields.String(metadata={"description": "account:… or device:…"})
    by_name = fields.String(metadata={"description": "what people call them"})
    alarm = fields.Enum(CaseAlarm, by_value=True, allow_none=True)
    counts = fields.Boolean(
        metadata={"description": "false: the case raised this alarm anew after it was taken"}
    )
    to = fields.String(allow_none=True)
    said = fields.String(allow_none=True)
