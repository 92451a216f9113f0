"""Who is asking: bearer tokens of devices, sign-in of people, and the role of every route.

Passwords are argon2id hashes, tokens are random and kept as SHA-256. A route without a role is
refused. What an actor may see is dispatch/access.py's business.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import wraps
from typing import Any, TypeVar
from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import ARGON2_VERSION
from flask import Flask, g, request, session
from flask_smorest import Blueprint
from flask_wtf.csrf import CSRFError, CSRFProtect
from sqlalchemy import select
from sqlalchemy.orm import Session

from broker import database, events
from broker.errors import NotAllowed, NotSignedIn, SignInFailed
from broker.lifecycle import Role
from broker.record import Record
from broker.tables import Account, Ambulance, DeviceToken
from dispatch.access import Actor
from web.bodies import MAX_TEXT_BYTES
from web.errors import problem
from web.state import here

View = TypeVar("View", bound=Callable[..., Any])
csrf = CSRFProtect()
hasher = PasswordHasher()
LOCK_AFTER = 5
"""Wrong passwords in a row before an account pauses."""
FIRST_PAUSE_S = 15.0
LONGEST_PAUSE_S = 900.0
NO_ROLES: frozenset[Role] = frozenset()
"""What a route has that names nobody: it is refused to everybody."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def allow(*roles: Role) -> Callable[[View], View]:
    """Name the roles that may use a route; the OpenAPI document says so as x-roles."""

    def mark(view: View) -> View:
        return _named(view, frozenset(roles), {"x-roles": sorted(roles)})

    return mark


def public(view: View) -> View:
    """A route for everybody."""
    return _named(view, None, {"x-roles": ["everybody"], "security": []})


def streams(view: View) -> View:
    """A route whose body goes to disk as it comes; it may be as long as a film."""
    view.streams = True  # type: ignore[attr-defined]  # read by check()
    return view


def _named(view: View, roles: frozenset[Role] | None, documented: dict[str, Any]) -> View:
    named: View = Blueprint.doc(**documented)(view)
    named.roles = roles  # type: ignore[attr-defined]  # read by check()
    return named


def open_to_all(app: Flask, endpoint: str) -> None:
    """Make a library's route public."""
    view = app.view_functions[endpoint]

    def unchanged(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    app.view_functions[endpoint] = public(wraps(view)(unchanged))


def actor() -> Actor:
    """Whoever makes this request; NotSignedIn when nobody is known."""
    found = anybody()
    if found is None:
        raise NotSignedIn()
    return found


def anybody() -> Actor | None:
    """Whoever makes this request, if known; looked up once, and only when somebody asks."""
    if "actor" not in g:
        g.actor = identify()
    found: Actor | None = g.actor
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
        if request.mimetype != "multipart/form-data" and not hasattr(view, "streams"):
            request.max_content_length = MAX_TEXT_BYTES
        if view is None:
            return  # 404 or 405, answered by the router
        roles: frozenset[Role] | None = getattr(view, "roles", NO_ROLES)
        if roles is NO_ROLES:
            raise NotAllowed(f"{request.endpoint} names no role")
        here().tuned.refresh()
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
    if row is None or _unit_is_off(db, row.ambulance_id):
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
    if _unit_is_off(db, row.ambulance_id):
        return None
    return Actor(row.role, f"account:{row.id}", row.ambulance_id, row.emergency_room_id)


def _unit_is_off(db: Session, ambulance_id: UUID | None) -> bool:
    if ambulance_id is None:
        return False
    return db.scalar(select(Ambulance.active).where(Ambulance.id == ambulance_id)) is False


def sign_in(record: Record, name: str, password: str) -> Account:
    """Check a password and start a new session; SignInFailed is the one answer to every failure.

    Hashing takes its time outside the transactions, so that nobody waits for it. Each failure in a
    row beyond LOCK_AFTER doubles the pause in which even the right password is refused.
    """
    with record.read() as db:
        shown = db.scalar(select(Account.password_hash).where(Account.sign_in_name == name))
    try:
        hasher.verify(shown or nobodys_hash(), password)
        proven = shown
    except (VerificationError, InvalidHashError):
        proven = None
    account = record.again(lambda db: _note_sign_in(db, name, proven))
    if account is None:
        raise SignInFailed()
    session.clear()
    session.permanent = True
    session["account"], session["epoch"] = str(account.id), account.session_epoch
    return account


def _note_sign_in(db: Session, name: str, proven: str | None) -> Account | None:
    """Count a failure or forget earlier ones; the account when it may come in.

    proven: the hash that the password fits, so that one changed meanwhile does not count.
    """
    account = db.scalars(
        select(Account).where(Account.sign_in_name == name).with_for_update()
    ).one_or_none()
    now = database.now(db)
    locked = (
        account is not None
        and account.locked_until_at is not None
        and account.locked_until_at > now
    )
    welcome = (
        account is not None and account.active and not locked and account.password_hash == proven
    )
    if account is not None and welcome:
        account.failed_sign_ins, account.locked_until_at = 0, None
    elif account is not None and not locked:
        account.failed_sign_ins += 1
        over = account.failed_sign_ins - LOCK_AFTER
        if over >= 0:
            pause_s = min(FIRST_PAUSE_S * 2 ** min(over, 10), LONGEST_PAUSE_S)
            account.locked_until_at = now + timedelta(seconds=pause_s)
    who = f"account:{account.id}" if account else "nobody"
    events.audit(db, who, "session.sign_in", None, success=welcome)
    return account if welcome else None


def hash_password(password: str) -> str:
    """An argon2id hash."""
    return hasher.hash(password)


def nobodys_hash() -> str:
    """The form of a hash that no password fits, at the price of a real one, and free to make.

    Checked when there is no such account, so that both answers take equally long. A hash made at
    import would cost every start of a process 64 MiB and a tenth of a second.
    """
    price = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    salt, digest = (
        base64.b64encode(secrets.token_bytes(count)).decode().rstrip("=")
        for count in (hasher.salt_len, hasher.hash_len)
    )
    return f"$argon2id$v={ARGON2_VERSION}${price}${salt}${digest}"


def new_token() -> str:
    """A random device token (256 bits); shown once."""
    return secrets.token_urlsafe(32)


def token_sha256(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()
