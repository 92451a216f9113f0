"""Pages for crew, ER, control room and operations; they speak to the API like any other client."""

from __future__ import annotations

from flask import Blueprint, redirect
from werkzeug.wrappers import Response as BaseResponse

from web.auth import public

blueprint = Blueprint("pages", __name__)


@blueprint.route("/")
@public
def home() -> BaseResponse:
    """To the sign-in page."""
    return redirect("/sign-in")
