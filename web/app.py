"""Assembles the two web processes: the gateway (API and pages) and the stream.

No routes and no rules live here; only which rooms a process has and the settings of Flask.
"""

from __future__ import annotations

import re
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, request
from flask_smorest import Api

from broker import keyring, logs, sandbox, settings as settings_
from broker.errors import BadSetting
from broker.settings import Settings
from dispatch import rules
from web import (
    administration,
    ambulance,
    assets,
    auth,
    beds,
    board,
    cases,
    control_room,
    emergency_room,
    errors,
    films,
    installing,
    language,
    operations,
    pages,
    patients,
    schemas,
    session,
    stream,
    uploads,
)
from web.state import KEY, make_state

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:{tiles}; "
    "font-src 'self'; manifest-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'; connect-src 'self' {stream}"
)


class ProblemApi(Api):
    """flask-smorest's document with our errors; answering them is web/errors.py's."""

    def _register_responses(self) -> None:
        described = {status.name: status.phrase for status in HTTPStatus}
        described[self.DEFAULT_ERROR_RESPONSE_NAME] = "A problem with a stable code"
        for name, phrase in described.items():
            content = {errors.MEDIA_TYPE: {"schema": schemas.ProblemOut}}
            response = {"description": phrase, "content": content}
            self.spec.components.response(name, response, lazy=True)

    def _register_error_handlers(self) -> None:
        return


def create_app(settings: Settings | None = None) -> Flask:
    """The gateway: API under /api/v1, its description, pages, health."""
    settings = settings or settings_.from_env()
    rules.load(settings.triage_rules)  # a file that cannot be used is said now, not at a case
    app = _flask(settings, "gateway")
    keyring.of(settings)  # refuse now, not at the first patient
    app.config.update(
        API_TITLE="goldentime",
        API_VERSION="v1",
        OPENAPI_VERSION="3.0.3",
        OPENAPI_URL_PREFIX="/api/v1",
        OPENAPI_JSON_PATH="openapi.json",
        API_SPEC_OPTIONS={
            "info": {
                "description": "From a chest X-ray in an ambulance to an emergency room that says "
                "yes. Research software, not a medical device: not for diagnosis."
            },
            "components": {
                "securitySchemes": {
                    "device": {"type": "http", "scheme": "bearer"},
                    "person": {
                        "type": "apiKey",
                        "in": "cookie",
                        "name": app.config["SESSION_COOKIE_NAME"],
                    },
                }
            },
            "security": [{"device": []}, {"person": []}],
        },
    )
    api = ProblemApi(app)
    for schema in (schemas.CaseIn, schemas.ImageIn):  # named by forms that are written by hand
        api.spec.components.schema(schema.__name__, schema=schema)
    for room in (
        session.blueprint,
        ambulance.blueprint,
        uploads.blueprint,
        cases.blueprint,
        patients.blueprint,
        films.blueprint,
        emergency_room.blueprint,
        beds.blueprint,
        control_room.blueprint,
        operations.blueprint,
        operations.health,
        board.blueprint,
        administration.blueprint,
    ):
        api.register_blueprint(room)
    app.register_blueprint(pages.blueprint)
    app.register_blueprint(assets.blueprint)
    app.register_blueprint(installing.blueprint)
    language.register(app)
    auth.open_to_all(app, "api-docs.openapi_json")
    errors.register(app)
    sandbox.warm(["dispatch.film"])
    return app


def create_stream_app(settings: Settings | None = None) -> Flask:
    """The stream process: server-sent events and health."""
    settings = settings or settings_.from_env()
    app = _flask(settings, "stream")
    app.extensions["goldentime.waker"] = stream.Waker(settings)
    app.register_blueprint(stream.blueprint)
    app.register_blueprint(operations.health)
    errors.register(app)

    @app.after_request
    def same_site_only(response: Response) -> Response:
        """Pages of the gateway's origin may read the stream, nobody else."""
        if request.headers.get("Origin") == settings.public_url.rstrip("/"):
            response.headers["Access-Control-Allow-Origin"] = settings.public_url.rstrip("/")
            response.headers["Access-Control-Allow-Credentials"] = "true"
        response.vary.add("Origin")
        return response

    return app


def _tiles_source(address: str) -> str:
    """The policy's word for the host of map tiles, "" without; BadSetting for an odd address."""
    if not address:
        return ""
    parts = urlsplit(address)
    host = parts.netloc.replace("{s}", "*")
    plain = re.fullmatch(r"(\*\.)?[A-Za-z0-9.-]+(:[0-9]+)?", host)
    if parts.scheme not in ("https", "http") or not plain:
        raise BadSetting(
            f"GOLDENTIME_MAP_TILES_URL={address!r} is no address of map tiles; "
            "it looks like https://tiles.example/{z}/{x}/{y}.png"
        )
    return f" {parts.scheme}://{host}"


def _flask(settings: Settings, process: str) -> Flask:
    logs.set_up(settings, process)
    if not settings.trusted_hosts:  # to werkzeug, none named means that all are trusted
        raise BadSetting("GOLDENTIME_TRUSTED_HOSTS names no host; name those that people use")
    app = Flask("web", static_folder=None)  # what lies there is web/assets.py's to serve
    secure = settings.cookie_secure
    app.config.update(
        SECRET_KEY=settings.require_secret(),
        MAX_CONTENT_LENGTH=settings.max_upload_bytes + 256 * 1024,
        MAX_FORM_MEMORY_SIZE=100_000,
        MAX_FORM_PARTS=20,
        TRUSTED_HOSTS=list(settings.trusted_hosts),
        SESSION_COOKIE_NAME="__Host-goldentime" if secure else "goldentime",
        SESSION_COOKIE_SECURE=secure,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        PERMANENT_SESSION_LIFETIME=timedelta(hours=12),
        WTF_CSRF_TIME_LIMIT=None,
        WTF_CSRF_SSL_STRICT=secure,
    )
    app.extensions[KEY] = make_state(settings, process)
    auth.register(app)
    policy = CONTENT_SECURITY_POLICY.format(
        stream=settings.stream_url, tiles=_tiles_source(settings.map_tiles_url)
    )

    @app.after_request
    def harden(response: Response) -> Response:
        """Headers that every answer carries."""
        headers: dict[str, Any] = {
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",  # the CSRF check over TLS looks at it
        }
        for name, value in headers.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return app
