"""What the body of a request may be: strict JSON, or a form with at most one film.

Shape only: sizes, media types and parts. What the fields mean is for the schemas;
films are opened elsewhere.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from flask import Request, request
from flask_smorest import Blueprint
from marshmallow import Schema
from webargs import missing
from webargs.flaskparser import FlaskParser
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import UnsupportedMediaType

from broker.errors import BadRequest, Invalid

MAX_TEXT_BYTES = 100_000
"""Longest body without a film, and longest text beside one."""


class StrictParser(FlaskParser):
    """JSON without NaN, duplicate names or bottomless nesting; anything else is refused."""

    def load_json(self, req: Request, schema: Schema) -> Any:
        """The body as JSON, `missing` when there is none; 415 when it is something else."""
        body = whole_body()
        if req.is_json:
            return strict_json(body)
        if body:
            raise UnsupportedMediaType("send the body as application/json")
        return missing


class Room(Blueprint):
    """A blueprint of the API: described in the OpenAPI document, strict about bodies."""

    ARGUMENTS_PARSER = StrictParser()


def whole_body() -> bytes:
    """The bytes of the body; BadRequest when there are fewer than announced."""
    body = request.get_data()
    # gunicorn tells werkzeug that it minds the end itself, so nobody else would notice.
    if len(body) < (request.content_length or 0):
        raise BadRequest("the body ended early; send it again")
    return body


def strict_json(text: bytes) -> Any:
    """What a JSON text says; BadRequest for NaN, names that stand twice, or bottomless nesting."""

    def refuse_constant(word: str) -> NoReturn:
        raise BadRequest(f"{word} is no JSON number")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise BadRequest("a name stands twice in one JSON object")
        return found

    try:
        return json.loads(
            text.decode("utf-8"), parse_constant=refuse_constant, object_pairs_hook=unique
        )
    except ValueError as error:
        raise BadRequest(f"the body is no JSON: {error}") from error
    except RecursionError as error:
        raise BadRequest("the JSON is nested too deep") from error


def case_text() -> bytes:
    """The JSON text of a submitted case, from a JSON body or from the form's one `case` field."""
    if request.is_json:
        return whole_body()
    if request.mimetype != "multipart/form-data":
        raise UnsupportedMediaType(
            "send multipart/form-data with `image` and `case`, or JSON without a film"
        )
    unknown = sorted(set(request.form) - {"case"})
    if unknown == ["image"]:
        raise Invalid("`image` is a text field; send it as a file", field="image")
    if unknown:
        raise Invalid(f"unknown form field {unknown[0]!r}; send `case` and `image`")
    if not request.form and not request.files:
        # A body that broke off, or whose boundary is not the one announced, parses as nothing.
        raise BadRequest("the form holds neither `case` nor `image`; was it cut off?")
    texts = request.form.getlist("case")
    if len(texts) > 1:
        raise Invalid("send one `case` at a time", field="case")
    return texts[0].encode() if texts else b"{}"


def one_image(*, required: bool) -> FileStorage | None:
    """The one file of the form, or None; Invalid when it is missing though required."""
    if required and request.mimetype != "multipart/form-data":
        raise UnsupportedMediaType("send multipart/form-data with `image`")
    unknown = sorted(set(request.files) - {"image"})
    if unknown:
        raise Invalid(f"unknown file field {unknown[0]!r}; send `image`")
    files = [file for file in request.files.getlist("image") if _was_chosen(file)]
    if len(files) > 1:
        raise Invalid("send one image at a time", field="image")
    if not files and required:
        raise Invalid("`image` is missing", field="image")
    return files[0] if files else None


def _was_chosen(file: FileStorage) -> bool:
    """False for what a browser sends for an empty file field: no name and no bytes."""
    if file.filename:
        return True
    some = file.stream.read(1)
    file.stream.seek(0)
    return bool(some)
