"""Signing in and out, for people."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import session
from flask_wtf.csrf import generate_csrf

from broker.lifecycle import Role
from broker.tables import Account
from dispatch.access import Actor
from web import auth, registry, registry_changes, schemas
from web.auth import actor, allow, public
from web.bodies import Room
from web.state import here

blueprint = Room("session", __name__, url_prefix="/api/v1", description="Signing in and out")


@blueprint.route("/session", methods=["POST"])
@blueprint.arguments(schemas.SignInIn)
@blueprint.response(201, schemas.SessionOut)
@public
def sign_in(data: dict[str, Any]) -> dict[str, Any]:
    """Sign in; the answer carries the token to send as X-CSRFToken with every change."""
    account = auth.sign_in(here().record, data["name"], data["password"])
    who = Actor(
        account.role, f"account:{account.id}", account.ambulance_id, account.emergency_room_id
    )
    return _told(who, account)


@blueprint.route("/session", methods=["GET"])
@blueprint.response(200, schemas.SessionOut)
@allow(*Role)
def who_am_i() -> dict[str, Any]:
    """Who is signed in."""
    who = actor()
    with here().record.read() as db:
        kind, _, id_ = who.name.partition(":")
        account = db.get(Account, UUID(id_)) if kind == "account" else None
    return _told(who, account)


def _told(who: Actor, account: Account | None) -> dict[str, Any]:
    return {
        "role": who.role,
        "display_name": account.display_name if account else who.name,
        "account_id": who.name,
        "audience": who.audience,
        "csrf_token": generate_csrf() if account else "",
    }


@blueprint.route("/session/password", methods=["POST"])
@blueprint.arguments(schemas.ChoosePasswordIn)
@blueprint.response(204)
@public
def choose_password(data: dict[str, Any]) -> None:
    """Choose a password with the one-time secret of an administrator's link."""
    hashed = registry.password_hash(data["password"])
    here().record.again(lambda db: registry_changes.choose_password(db, data["secret"], hashed))
    session.clear()


@blueprint.route("/session", methods=["DELETE"])
@blueprint.response(204)
@allow(*Role)
def sign_out() -> None:
    """Sign out of this browser."""
    session.clear()
