"""Who is asking: bearer tokens of devices, sign-in of people, and the role of every route.

Passwords are argon2id hashes, tokens are random and kept as SHA-256. A route without a role is
refused. What an actor may see is dispatch/access.py's business.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import wraps
from typing import Any, TypeVar
from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from flask import Flask, g, request, session
from flask_wtf.csrf import CSRFError, CSRFProtect
from sqlalchemy import select
from sqlalchemy.orm import Session

from broker import database
from broker.errors import NotAllowed, NotSignedIn, SignInFailed
from broker.lifecycle import Role
from broker.tables import Account, DeviceToken
from dispatch.access import Actor
from web.errors import problem
from web.state import here

View = TypeVar("View", bound=Callable[..., Any])
csrf = CSRFProtect()
hasher = PasswordHasher()
_NOBODY = hasher.hash(secrets.token_hex(16))
"""Checked when there is no such account, so that both answers take equally long."""
LOCK_AFTER = 5
"""Wrong passwords in a row before an account pauses."""
NO_ROLES: frozenset[Role] = frozenset()
"""What a route has that names nobody: it is refused to everybody."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def allow(*roles: Role) -> Callable[[View], View]:
    """Name the roles that may use a route."""

    def mark(view: View) -> View:
        view.roles = frozenset(roles)  # type: ignore[attr-defined]  # read by check()
        return view

    return mark


def public(view: View) -> View:
    """A route for everybody."""
    view.roles = None  # type: ignore[attr-defined]  # read by check()
    return view


def open_to_all(app: Flask, endpoint: str) -> None:
    """Make a library's route public."""
    view = app.view_functions[endpoint]
    def unchanged(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    app.view_functions[endpoint] = public(wraps(view)(unchanged))


def actor() -> Actor:
    """Whoever makes this request; NotSignedIn when nobody is known."""
    found: Actor | None = g.get("actor")
    if found is None:
        raise NotSignedIn()
    return found


def register(app: Flask) -> None:
    """Check every request before its view runs."""
    app.config["WTF_CSRF_CHECK_DEFAULT"] = False
    csrf.init_app(app)

    @app.errorhandler(CSRFError)
    def forged(error: CSRFError) -> Any:
        return problem(400, "csrf", f"{error.description} Reload the page and try again.")

    @app.before_request
    def check() -> None:
        view = app.view_functions.get(request.endpoint or "")
        if view is None:
            return  # 404 or 405, answered by the router
        roles: frozenset[Role] | None = getattr(view, "roles", NO_ROLES)
        if roles is NO_ROLES:
            raise NotAllowed(f"{request.endpoint} names no role")
        g.actor = identify()
        if roles is None:
            return
        if actor().role not in roles:
            raise NotAllowed()
        if request.method not in SAFE_METHODS and not g.by_token:
            csrf.protect()


def identify() -> Actor | None:
    """The actor behind this request's token or cookie, or None; NotSignedIn for a bad token."""
    g.by_token = False
    header = request.headers.get("Authorization", "")
    with here().record.read() as db:
        if header:
            g.by_token = True
            scheme, _, token = header.partition(" ")
            found = by_token(db, token.strip()) if scheme.lower() == "bearer" else None
            if found is None:
                raise NotSignedIn("this token is unknown or revoked")
            return found
        return by_session(db, session)


def by_token(db: Session, token: str) -> Actor | None:
    """The device that a bearer token belongs to, unless revoked."""
    row = db.scalars(
        select(DeviceToken).where(
            DeviceToken.token_sha256 == token_sha256(token), DeviceToken.revoked_at.is_(None)
        )
    ).one_or_none()
    if row is None:
        return None
    return Actor(row.role, f"device:{row.id}", row.ambulance_id, row.emergency_room_id)


def by_session(db: Session, cookie: Mapping[str, Any]) -> Actor | None:
    """The person that a session cookie belongs to, unless signed out everywhere."""
    try:
        account_id = UUID(cookie.get("account", ""))
    except ValueError:
        return None
    row = db.get(Account, account_id)
    if row is None or not row.active or row.session_epoch != cookie.get("epoch"):
        return None
    return Actor(row.role, f"account:{row.id}", row.ambulance_id, row.emergency_room_id)


def sign_in(db: Session, name: str, password: str) -> Account | None:
    """Check a password and count failures; the door raises SignInFailed for None after the commit.

    The session is rotated on success.
    """
    account = db.scalars(select(Account).where(Account.sign_in_name == name)).one_or_none()
    now = database.now(db)
    locked = account is not None and (account.locked_until_at or now) > now
    try:
        hasher.verify(account.password_hash if account else _NOBODY, password)
        right = account is not None and account.active and not locked
    except (VerifyMismatchError, InvalidHashError):
        right = False
        if account is not None and not locked:
            account.failed_sign_ins += 1
            over = account.failed_sign_ins - LOCK_AFTER
            if over >= 0:
                account.locked_until_at = now + timedelta(seconds=min(2**over * 15, 900))
    if not right or account is None:
        return None
    account.failed_sign_ins, account.locked_until_at = 0, None
    session.clear()
    session.permanent = True
    session["account"], session["epoch"] = str(account.id), account.session_epoch
    return account


def refuse_sign_in() -> None:
    """The one answer to every failed sign-in."""
    raise SignInFailed()


def hash_password(password: str) -> str:
    """An argon2id hash."""
    return hasher.hash(password)


def new_token() -> str:
    """A random device token (256 bits); shown once."""
    return secrets.token_urlsafe(32)


def token_sha256(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()
