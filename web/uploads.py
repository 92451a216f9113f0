"""Films over a line that breaks: tus 1.0.0 (tus.io/protocols/resumable-upload), core, creation,
expiration and termination.

A crew announces a film by its SHA-256 and length, sends it in pieces, asks where it stands after a
break, and lets the gate look at it; a case then names it by its hash. Whose upload it is and how
long it waits is dispatch/uploads.py's. No name from a client is ever a path.
"""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from flask import Response, request, url_for
from werkzeug.exceptions import UnsupportedMediaType
from werkzeug.http import http_date

from broker.errors import (
    BadRequest,
    ImageUnreadable,
    Invalid,
    NotFound,
    TooLarge,
    UploadCorrupt,
    UploadIncomplete,
    WrongTusVersion,
)
from broker.lifecycle import Role
from broker.tables import Upload
from dispatch import intake, uploads
from dispatch.access import Actor
from dispatch.intake import Film
from web import schemas
from web.auth import actor, allow, streams
from web.bodies import Room
from web.state import State, here

blueprint = Room(
    "uploads", __name__, url_prefix="/api/v1", description="Films in pieces (tus 1.0.0)"
)

VERSION = "1.0.0"
PIECE = "application/offset+octet-stream"
_SHA256 = re.compile("[0-9a-f]{64}")


def _header(name: str, meaning: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": True,
        "schema": {"type": "string"},
        "description": meaning,
    }


TUS = _header("Tus-Resumable", VERSION)


@blueprint.route("/uploads", methods=["POST"])
@blueprint.doc(
    parameters=[
        TUS,
        _header("Upload-Length", "bytes of the whole film"),
        _header("Upload-Metadata", "`sha256` and its value in base64: the film's SHA-256 in hex"),
    ],
    responses={"201": {"description": "Location is where the pieces go"}},
)
@allow(Role.CREW)
def announce() -> Response:
    """Announce a film; the same film again finds its unfinished upload."""
    _speaks_tus()
    state, who = here(), actor()
    byte_count, sha256 = _number("Upload-Length"), _announced_sha256()
    if byte_count < 1:
        raise ImageUnreadable("the image is empty; retake it", reason="empty")
    if byte_count > state.settings.max_upload_bytes:
        raise TooLarge(state.settings.max_upload_bytes)
    state.store.check_room()
    upload, crowded = state.record.again(
        lambda s: uploads.announce(s, state.settings, who, sha256, byte_count)
    )
    for upload_id in crowded:
        state.partials.delete(upload_id)
    answer = _answer(state, upload, 201)
    answer.headers["Location"] = url_for("uploads.append", upload_id=upload.id)
    return answer


@blueprint.route("/uploads/<uuid:upload_id>", methods=["GET"])
@blueprint.doc(
    parameters=[TUS], responses={"200": {"description": "Upload-Offset says how much is here"}}
)
@allow(Role.CREW)
def stands(upload_id: UUID) -> Response:
    """How far an upload has come (tus asks by HEAD)."""
    _speaks_tus()
    state = here()
    with state.record.read() as session:
        return _answer(state, uploads.mine(session, actor(), upload_id), 200)


@blueprint.route("/uploads/<uuid:upload_id>", methods=["PATCH"])
@blueprint.doc(
    parameters=[TUS, _header("Upload-Offset", "where this piece begins")],
    requestBody={
        "required": True,
        "content": {PIECE: {"schema": {"type": "string", "format": "binary"}}},
    },
    responses={"204": {"description": "Upload-Offset says how much is here now"}},
)
@streams
@allow(Role.CREW)
def append(upload_id: UUID) -> Response:
    """The next piece; what arrived before the line broke is kept."""
    _speaks_tus()
    if request.mimetype != PIECE:
        raise UnsupportedMediaType(f"send a piece as {PIECE}")
    state, who = here(), actor()
    with state.record.read() as session:
        upload = uploads.mine(session, who, upload_id)
    state.store.check_room()
    state.partials.append(
        upload.id, _number("Upload-Offset"), cast(Any, request.stream), upload.byte_count
    )
    state.record.again(lambda s: uploads.touch(s, state.settings, who, upload_id))
    return _answer(state, upload, 204)


@blueprint.route("/uploads/<uuid:upload_id>", methods=["DELETE"])
@blueprint.doc(parameters=[TUS])
@blueprint.response(204)
@allow(Role.CREW)
def end(upload_id: UUID) -> None:
    """The crew took the film back."""
    _speaks_tus()
    state, who = here(), actor()

    def unit(session: Any) -> None:
        uploads.forget(session, uploads.mine(session, who, upload_id).id)

    state.record.again(unit)
    state.partials.delete(upload_id)


@blueprint.route("/films/<string:image_sha256>/check", methods=["POST"])
@blueprint.response(200, schemas.FilmCheckOut)
@allow(Role.CREW)
def check(image_sha256: str) -> dict[str, Any]:
    """Open an uploaded film and let the gate judge it, before any case names it."""
    state, who = here(), actor()
    if not _SHA256.fullmatch(image_sha256):
        raise NotFound("a film is named by the 64 hexadecimal digits of its SHA-256")
    with state.record.read() as session:
        uploads.announced(session, who, image_sha256)
    with state.store.incoming() as paths:
        film, _ = open_whole(state, who, image_sha256, paths)
    verdict = film.opened.verdict
    return {
        "image_sha256": film.sha256,
        "width_px": film.opened.width_px,
        "height_px": film.opened.height_px,
        "unusable_reason": None if verdict.usable else str(verdict.reason),
    }


def open_whole(
    state: State, who: Actor, sha256: str, paths: tuple[Path, Path]
) -> tuple[Film, UUID]:
    """A finished upload as a film, opened in the child, and the upload's id.

    Raises UploadIncomplete; UploadCorrupt or ImageUnreadable, and then the upload is forgotten.
    """
    with state.record.read() as session:
        upload = uploads.whole(session, state.partials, who, sha256)
    try:
        with state.partials.path(upload.id).open("rb") as source:
            film = intake.open_upload(state.store, source, paths)
        if film.sha256 != sha256:
            raise UploadCorrupt()
    except FileNotFoundError as error:  # used up or swept a moment earlier
        raise UploadIncomplete(offset=0) from error
    except (ImageUnreadable, UploadCorrupt):
        state.record.again(lambda s: uploads.forget(s, upload.id))
        state.partials.delete(upload.id)
        raise
    return film, upload.id


@blueprint.after_request
def say_version(response: Response) -> Response:
    """tus wants its version on every answer, and on a refused one those that are spoken."""
    response.headers["Tus-Resumable"] = VERSION
    if response.status_code == WrongTusVersion.status or request.method == "OPTIONS":
        response.headers["Tus-Version"] = VERSION
        response.headers["Tus-Extension"] = "creation,expiration,termination"
        response.headers["Tus-Max-Size"] = str(here().settings.max_upload_bytes)
    return response


def _speaks_tus() -> None:
    if request.headers.get("Tus-Resumable") != VERSION:
        raise WrongTusVersion()


def _number(header: str) -> int:
    text = request.headers.get(header, "")
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise BadRequest(f"{header} must be a number of bytes")
    return int(text)


def _announced_sha256() -> str:
    for pair in request.headers.get("Upload-Metadata", "").split(","):
        name, _, value = pair.strip().partition(" ")
        if name == "sha256":
            try:
                text = base64.b64decode(value, validate=True).decode("ascii")
            except (binascii.Error, UnicodeDecodeError):
                text = ""
            if _SHA256.fullmatch(text):
                return text
    raise Invalid(
        "Upload-Metadata must name the film's sha256 in hex, in base64", field="Upload-Metadata"
    )


def _answer(state: State, upload: Upload, status: int) -> Response:
    return Response(
        status=status,
        headers={
            "Upload-Offset": str(state.partials.offset(upload.id)),
            "Upload-Length": str(upload.byte_count),
            "Upload-Expires": http_date(upload.expires_at),
            "Cache-Control": "no-store",
        },
    )
