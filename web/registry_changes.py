"""Changes that an administrator makes at run time: units, people, devices.

Each names the version that was shown, so that two administrators never undo each other unseen, and
leaves an audit row with what was before and after, without any secret. What a command or the demo
fills in is registry.py's.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from broker import database, events
from broker.errors import (
    ChangedMeanwhile,
    LastAdministrator,
    NameTaken,
    NotFound,
    NowhereOnLand,
    OwnRights,
    PagerRefused,
    SecretSpent,
    UnitBusy,
    WrongUnit,
)
from broker.lifecycle import LIVE_CASES, Role
from broker.tables import Account, Ambulance, Case, DeviceToken, EmergencyRoom
from dispatch import notify
from dispatch.access import Actor
from web import auth

Row = TypeVar("Row", Ambulance, EmergencyRoom, Account)
CHOOSE_WITHIN = timedelta(hours=24)
NOWHERE_DEGREES = 0.01
"""A position this close to 0° N 0° E was never looked up: there is only sea."""
KINDS = {Ambulance: "ambulance", EmergencyRoom: "emergency_room", Account: "account"}


def add(db: Session, who: Actor, row: Row) -> Row:
    """Insert a new unit or account; NameTaken when there is one of its name."""
    if isinstance(row, EmergencyRoom):
        _check_room(vars(row))
    db.add(row)
    _flush(db, row)
    kind, name = KINDS[type(row)], _name(row)
    events.audit(db, who.name, f"{kind}.added", None, id=str(row.id), name=name)
    return row


def change(
    db: Session, who: Actor, table: type[Row], id_: UUID, version: int, values: Mapping[str, Any]
) -> Row:
    """Change what differs, or raise what broker/errors.py says of it."""
    row = db.get(table, id_)
    kind = KINDS[table]
    if row is None:
        raise NotFound(f"there is no {kind.replace('_', ' ')} {id_}")
    if row.version != version:
        raise ChangedMeanwhile()
    before = {name: getattr(row, name) for name in values}
    changed = {name: value for name, value in values.items() if before[name] != value}
    if not changed:
        return row
    if isinstance(row, Account):
        _may_change_account(db, who, row, changed)
    if isinstance(row, Ambulance) and changed.get("active") is False:
        _no_live_case(db, row)
    if isinstance(row, EmergencyRoom):
        _check_room({**before, "latitude": row.latitude, "longitude": row.longitude, **changed})
    if _update(db, table, id_, version, changed) != 1:
        raise ChangedMeanwhile()
    db.refresh(row)
    events.audit(
        db,
        who.name,
        f"{kind}.changed",
        None,
        id=str(id_),
        name=_name(row),
        before={name: _shown(name, before.get(name)) for name in changed},
        after={name: _shown(name, value) for name, value in changed.items()},
    )
    return row


def _update(
    db: Session, table: type[Any], id_: UUID, version: int, values: Mapping[str, Any]
) -> int:
    try:
        with db.begin_nested():
            return database.changed(
                db,
                update(table)
                .where(table.id == id_, table.version == version)
                .values(**values, version=version + 1),
            )
    except IntegrityError as error:
        raise NameTaken("this name is taken") from error


def add_account(db: Session, who: Actor, account: Account) -> tuple[Account, str]:
    """A new account without a password, and the one-time secret with which to choose one."""
    account.password_hash = auth.nobodys_hash()
    account.session_epoch = 0
    secret = _choose(db, account)
    return add(db, who, account), secret


def reset_password(db: Session, who: Actor, account_id: UUID) -> tuple[Account, str]:
    """A one-time secret for a new password; the old one and every session end at once.

    One's own password holds until the new one is chosen, or a lost link would lock one out.
    """
    account = _account(db, account_id)
    secret = _choose(db, account)
    if who.name != f"account:{account_id}":
        account.password_hash = auth.nobodys_hash()
        account.session_epoch += 1
    account.version += 1
    events.audit(
        db, who.name, "account.password_reset", None, id=str(account_id), name=_name(account)
    )
    db.flush()
    return account, secret


def choose_password(db: Session, secret: str, hashed: str) -> Account:
    """Set the password that belongs to a one-time secret; SecretSpent when it is none any more."""
    account = db.scalars(
        select(Account)
        .where(
            Account.choose_sha256 == auth.token_sha256(secret),
            Account.choose_until_at > database.now(db),
            Account.active,
        )
        .with_for_update()
    ).one_or_none()
    if account is None:
        raise SecretSpent()
    account.password_hash = hashed
    account.choose_sha256 = account.choose_until_at = None
    account.session_epoch += 1
    account.failed_sign_ins, account.locked_until_at = 0, None
    account.version += 1
    events.audit(db, f"account:{account.id}", "account.password_chosen", None)
    db.flush()
    return account


def end_sessions(db: Session, who: Actor, account_id: UUID) -> Account:
    """Sign an account out everywhere."""
    account = _account(db, account_id)
    account.session_epoch += 1
    events.audit(
        db, who.name, "account.sessions_ended", None, id=str(account_id), name=_name(account)
    )
    db.flush()
    return account


def issue_device(db: Session, who: Actor, device: DeviceToken) -> tuple[DeviceToken, str]:
    """A new device and its token, which is shown this once."""
    device.ambulance_id, device.emergency_room_id = unit_of(
        db, device.role, device.ambulance_id, device.emergency_room_id
    )
    token = auth.new_token()
    device.token_sha256, device.created_at = auth.token_sha256(token), database.now(db)
    db.add(device)
    db.flush()
    events.audit(
        db, who.name, "device.issued", None, id=str(device.id), label=device.label, role=device.role
    )
    return device, token


def revoke_device(db: Session, who: Actor, device_id: UUID) -> DeviceToken:
    """A device may no longer speak; a second call changes nothing."""
    device = db.get(DeviceToken, device_id)
    if device is None:
        raise NotFound(f"there is no device {device_id}")
    if device.revoked_at is None:
        device.revoked_at = database.now(db)
        events.audit(db, who.name, "device.revoked", None, id=str(device_id), label=device.label)
        db.flush()
    return device


def unit_of(
    db: Session, role: Role, ambulance_id: UUID | None, emergency_room_id: UUID | None
) -> tuple[UUID | None, UUID | None]:
    """The unit that a role belongs to; WrongUnit when it is missing, unknown or one too many."""
    wanted = {Role.CREW: Ambulance, Role.EMERGENCY_ROOM: EmergencyRoom}.get(role)
    given = {Ambulance: ambulance_id, EmergencyRoom: emergency_room_id}
    if any(id_ is not None for table, id_ in given.items() if table is not wanted):
        raise WrongUnit(f"a {role} belongs to no such unit", field="role")
    if wanted is None:
        return None, None
    id_ = given[wanted]
    field = f"{KINDS[wanted]}_id"
    if id_ is None or db.get(wanted, id_) is None:
        raise WrongUnit(f"a {role} needs a known {field}", field=field)
    return ambulance_id, emergency_room_id


def _may_change_account(db: Session, who: Actor, account: Account, changed: dict[str, Any]) -> None:
    role = changed.get("role", account.role)
    if {"role", "ambulance_id", "emergency_room_id"} & set(changed):
        ids = [changed.get(n, getattr(account, n)) for n in ("ambulance_id", "emergency_room_id")]
        if role is not Role.CREW:
            ids[0] = None
        if role is not Role.EMERGENCY_ROOM:
            ids[1] = None
        units = unit_of(db, role, *ids)
        changed.update(zip(("ambulance_id", "emergency_room_id"), units, strict=True))
    loses = role is not Role.ADMIN or changed.get("active") is False
    if account.role is Role.ADMIN and account.active and loses:
        if who.name == f"account:{account.id}":
            raise OwnRights()
        # Two administrators who remove each other at once wait for each other here.
        left = db.scalars(
            select(Account.id)
            .where(Account.role == Role.ADMIN, Account.active)
            .order_by(Account.id)
            .with_for_update()
        ).all()
        if set(left) <= {account.id}:
            raise LastAdministrator()
    if {"role", "active", "ambulance_id", "emergency_room_id"} & set(changed):
        changed["session_epoch"] = account.session_epoch + 1  # what they may do has changed


def _no_live_case(db: Session, unit: Ambulance) -> None:
    live = db.scalar(
        select(func.count(Case.id)).where(Case.ambulance_id == unit.id, Case.status.in_(LIVE_CASES))
    )
    if live:
        raise UnitBusy(f"{unit.call_sign} has {live} live cases; close or cancel them first")


def _check_room(facts: Mapping[str, Any]) -> None:
    if max(abs(facts["latitude"]), abs(facts["longitude"])) < NOWHERE_DEGREES:
        raise NowhereOnLand(field="latitude")
    webhook = facts.get("notify_webhook")
    if webhook and (fault := notify.webhook_fault(webhook)):
        raise PagerRefused(fault, field="notify_webhook")


def _flush(db: Session, row: Any) -> None:
    try:
        with db.begin_nested():
            db.flush()
    except IntegrityError as error:
        raise NameTaken(f"{_name(row)} is taken") from error


def _choose(db: Session, account: Account) -> str:
    secret = auth.new_token()
    account.choose_sha256 = auth.token_sha256(secret)
    account.choose_until_at = database.now(db) + CHOOSE_WITHIN
    return secret


def _account(db: Session, account_id: UUID) -> Account:
    account = db.scalars(
        select(Account).where(Account.id == account_id).with_for_update()
    ).one_or_none()
    if account is None:
        raise NotFound(f"there is no account {account_id}")
    return account


def _name(row: Any) -> str:
    for field in ("call_sign", "sign_in_name", "name"):
        if hasattr(row, field):
            return str(getattr(row, field))
    return str(row.id)


def _shown(name: str, value: Any) -> Any:
    if name == "notify_webhook" and value:
        return urlsplit(value).netloc  # the rest of a pager's address may be a key
    return str(value) if isinstance(value, UUID) else value
