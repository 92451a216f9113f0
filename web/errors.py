"""Exceptions to HTTP, once: every error is problem+json (RFC 9457) with a stable code."""

from __future__ import annotations

import json
from typing import Any

from flask import Flask, Response, request
from marshmallow import ValidationError
from werkzeug.exceptions import (
    HTTPException,
    MethodNotAllowed,
    RequestEntityTooLarge,
    SecurityError,
)

from broker import logs
from broker.errors import GoldentimeError, TooLarge
from web.state import here

MEDIA_TYPE = "application/problem+json"
HTTP_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid",
    431: "headers_too_large",
}


def problem(status: int, code: str, detail: str, **extra: Any) -> Response:
    """A problem+json answer."""
    body = {"type": f"about:blank#{code}", "status": status, "code": code, "detail": detail}
    body |= {key: value for key, value in extra.items() if value is not None}
    response = Response(
        json.dumps(body, ensure_ascii=False, default=str),
        status=status,
        mimetype=MEDIA_TYPE,
    )
    if status == 503:
        response.headers["Retry-After"] = "2"
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="goldentime"'
    return response


def first_message(messages: Any) -> str:
    """The first of marshmallow's messages with the way to its field: `vitals.pulse_per_min: …`."""
    way = []
    while isinstance(messages, dict) and messages:
        name, messages = next(iter(messages.items()))
        if name != "_schema":
            way.append(str(name))
    text = messages[0] if isinstance(messages, list) and messages else messages
    return f"{'.'.join(way)}: {text}" if way else str(text)


def register(app: Flask) -> None:
    """Give the app its error handlers."""

    @app.errorhandler(GoldentimeError)
    def ours(error: GoldentimeError) -> Response:
        if error.status >= 500:
            logs.logger().warning(
                "refused", action="http.error", code=error.code, path=request.path
            )
        # RFC 9457 keeps `status` for HTTP's: where a case or offer stands is its `state`.
        extra = {"state" if name == "status" else name: v for name, v in error.extra.items()}
        return problem(error.status, error.code, error.message, **extra)

    @app.errorhandler(ValidationError)
    def shape(error: ValidationError) -> Response:
        return problem(422, "invalid", first_message(error.messages), errors=error.messages)

    @app.errorhandler(RequestEntityTooLarge)
    def large(_: RequestEntityTooLarge) -> Response:
        most = here().settings.max_upload_bytes / 2**20
        return problem(
            413,
            TooLarge.code,
            f"the request is too large: at most {most:.3g} MiB with a film, else 100 kB, "
            "and 20 parts",
        )

    @app.errorhandler(HTTPException)
    def werkzeug(error: HTTPException) -> Response:
        status = error.code or 500
        found = (getattr(error, "data", None) or {}).get("messages")
        if found:  # webargs puts the place of the arguments around what the schema said
            found = next(iter(found.values()))
        detail = first_message(found) if found else error.description or error.name
        if isinstance(error, SecurityError):
            detail = "this server does not answer to that host name"
        answer = problem(status, HTTP_CODES.get(status, "error"), detail, errors=found)
        if isinstance(error, MethodNotAllowed) and error.valid_methods:
            answer.headers["Allow"] = ", ".join(sorted(error.valid_methods))
        return answer

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        if type(error).__module__ == "gunicorn.http.errors":  # raised where the body is read
            return problem(400, HTTP_CODES[400], "the body breaks the rules of HTTP")
        logs.logger().exception("unexpected", action="http.unexpected", path=request.path)
        return problem(500, "unexpected", "something broke on our side; it has been written down")
