"""The ground of every schema: strict numbers, clean text, no unknown fields, the problem."""

from __future__ import annotations

import re
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate

_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
    "\u202a-\u202e\u2066-\u2069"  # turn the reading direction: what is shown is not what is stored
    "\ud800-\udfff]"
)


def no_control_characters(text: str) -> None:
    """Refuse characters that no keyboard types; line breaks and tabs may stay."""
    if _CONTROL.search(text):
        raise ValidationError("contains control characters")


def text_field(longest: int, **more: Any) -> fields.String:
    return fields.String(
        validate=[validate.Length(max=longest), no_control_characters], allow_none=True, **more
    )


def whole_field(low: int, high: int, meaning: str) -> fields.Integer:
    return fields.Integer(
        strict=True,
        allow_none=True,
        validate=validate.Range(low, high),
        metadata={"description": meaning},
    )


def sha256_field(meaning: str, **more: Any) -> fields.String:
    return fields.String(
        validate=validate.Regexp("^[0-9a-f]{64}$", error="is no SHA-256 in lower-case hex"),
        metadata={"description": meaning},
        **more,
    )


class Number(fields.Float):
    """A finite JSON number; text that looks like one is a mistake."""

    def __init__(self, low: float, high: float, **more: Any) -> None:
        super().__init__(allow_nan=False, validate=validate.Range(low, high), **more)

    def _validated(self, value: Any) -> float:
        if isinstance(value, str):
            raise self.make_error("invalid", input=value)
        return super()._validated(value)


class Flag(fields.Boolean):
    """true or false, and nothing that merely resembles them."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class In(Schema):
    """Something a client sends."""

    class Meta:
        """Unknown fields are mistakes."""

        unknown = RAISE


class ProblemOut(Schema):
    """RFC 9457 problem details with a stable code."""

    type = fields.String()
    status = fields.Integer()
    code = fields.String()
    detail = fields.String()
    state = fields.String(metadata={"description": "where the case stands (409)"})
    reason = fields.String(metadata={"description": "a finer code: why not"})
    field = fields.String(metadata={"description": "which field is wrong"})
    errors = fields.Dict(metadata={"description": "messages by field"})
