"""Exceptions to HTTP, once: every error is problem+json (RFC 9457) with a stable code."""

from __future__ import annotations

import json
from typing import Any

from flask import Flask, Response, request
from marshmallow import ValidationError
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from broker import logs
from broker.errors import GoldentimeError, TooLarge

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
        mimetype="application/problem+json",
    )
    if status == 503:
        response.headers["Retry-After"] = "2"
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="goldentime"'
    return response


def register(app: Flask) -> None:
    """Give the app its error handlers."""

    @app.errorhandler(GoldentimeError)
    def ours(error: GoldentimeError) -> Response:
        if error.status >= 500:
            logs.logger().warning(
                "refused", action="http.error", code=error.code, path=request.path
            )
        return problem(error.status, error.code, error.message, **error.extra)

    @app.errorhandler(ValidationError)
    def shape(error: ValidationError) -> Response:
        return problem(
            422,
            "invalid",
            "some fields are missing, unknown or out of range",
            errors=error.messages,
        )

    @app.errorhandler(RequestEntityTooLarge)
    def large(_: RequestEntityTooLarge) -> Response:
        return problem(413, TooLarge.code, str(TooLarge()))

    @app.errorhandler(HTTPException)
    def werkzeug(error: HTTPException) -> Response:
        status = error.code or 500
        data = getattr(error, "data", None) or {}
        return problem(
            status,
            HTTP_CODES.get(status, "error"),
            error.description or error.name,
            errors=data.get("messages"),
        )

    @app.errorhandler(Exception)
    def unexpected(_: Exception) -> Response:
        logs.logger().exception("unexpected", action="http.unexpected", path=request.path)
        return problem(500, "unexpected", "something broke on our side; it has been written down")
