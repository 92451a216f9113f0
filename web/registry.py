"""Ambulances, ERs, accounts and devices: how an installation is filled, by command and demo."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from broker import database
from broker.errors import Conflict, Invalid, NotFound, WrongUnit
from broker.lifecycle import Role
from broker.tables import Account, Ambulance, DeviceToken, EmergencyRoom
from dispatch import notify
from dispatch.beds import BedSource
from dispatch.routing import EmergencyCentreLevel
from dispatch.triage import Capability
from web import auth

MIN_PASSWORD = 10


def put_emergency_room(db: Session, facts: Mapping[str, Any]) -> EmergencyRoom:
    """Create or update an ER by name; Invalid names a capability or level that is unknown."""
    try:
        capabilities = sorted(Capability(c).value for c in facts.get("capabilities", []))
        level = EmergencyCentreLevel(facts.get("level", "local")).value
    except ValueError as error:
        raise Invalid(f"emergency room {facts.get('name')!r}: {error}") from error
    room = db.scalars(
        select(EmergencyRoom).where(EmergencyRoom.name == facts["name"])
    ).one_or_none() or EmergencyRoom(name=facts["name"])
    room.active = bool(facts.get("active", True))
    room.region = str(facts.get("region") or room.region or "")
    room.name_ko, room.phone = facts.get("name_ko"), facts.get("phone")
    room.address = facts.get("address", room.address)
    room.latitude, room.longitude = float(facts["latitude"]), float(facts["longitude"])
    room.capabilities, room.level = capabilities, level
    room.notify_email, room.notify_webhook = facts.get("notify_email"), facts.get("notify_webhook")
    if room.notify_email and "@" not in room.notify_email:
        raise Invalid(f"emergency room {room.name!r}: notify_email is no e-mail address")
    if room.notify_webhook and (fault := notify.webhook_fault(room.notify_webhook)):
        raise Invalid(f"emergency room {room.name!r}: {fault}")
    if facts.get("beds_available") is not None:
        room.beds_available, room.beds_at = int(facts["beds_available"]), database.now(db)
        room.beds_source = BedSource.ADMIN.value
    if "feed_id" in facts:
        room.feed_id = facts["feed_id"]
    room.diversion_until_at = (
        database.now(db) + timedelta(hours=1) if facts.get("on_diversion") else None
    )
    db.add(room)
    db.flush()
    return room


def put_ambulance(db: Session, call_sign: str, phone: str | None = None) -> Ambulance:
    """Create or find an ambulance by call sign."""
    found = db.scalars(select(Ambulance).where(Ambulance.call_sign == call_sign)).one_or_none()
    unit = found or Ambulance(call_sign=call_sign)
    unit.phone = phone or unit.phone
    db.add(unit)
    db.flush()
    return unit


def password_hash(password: str) -> str:
    """The hash of a new password, or Invalid; slow on purpose, so made before a write unit."""
    if len(password) < MIN_PASSWORD:
        raise Invalid(f"the password needs at least {MIN_PASSWORD} characters", field="password")
    return auth.hash_password(password)


def put_account(
    db: Session,
    sign_in_name: str,
    display_name: str,
    hashed: str,
    role: Role,
    *,
    unit: str | None = None,
) -> Account:
    """Create an account or give it a new password_hash, which ends its sessions."""
    account = db.scalars(
        select(Account).where(Account.sign_in_name == sign_in_name)
    ).one_or_none() or Account(sign_in_name=sign_in_name, session_epoch=0)
    account.display_name, account.role = display_name, role
    account.password_hash = hashed
    account.session_epoch += 1
    account.version = (account.version or 0) + 1
    account.ambulance_id, account.emergency_room_id = _unit(db, role, unit)
    db.add(account)
    db.flush()
    return account


def add_device(db: Session, label: str, role: Role, *, unit: str | None = None) -> str:
    """Create a device token and return it; it is shown this once."""
    token = auth.new_token()
    ambulance_id, emergency_room_id = _unit(db, role, unit)
    db.add(
        DeviceToken(
            token_sha256=auth.token_sha256(token),
            label=label,
            role=role,
            ambulance_id=ambulance_id,
            emergency_room_id=emergency_room_id,
            created_at=database.now(db),
        )
    )
    db.flush()
    return token


def revoke_devices(db: Session, label: str) -> int:
    """Revoke every token with this label; returns how many."""
    rows = db.scalars(
        select(DeviceToken).where(DeviceToken.label == label, DeviceToken.revoked_at.is_(None))
    ).all()
    for row in rows:
        row.revoked_at = database.now(db)
    return len(rows)


def _unit(db: Session, role: Role, unit: str | None) -> tuple[UUID | None, UUID | None]:
    if unit is None and role in {Role.CREW, Role.EMERGENCY_ROOM}:
        whose = "its ambulance's call sign" if role is Role.CREW else "its emergency room's name"
        raise WrongUnit(f"a {role} belongs to a unit: add --unit with {whose}")
    if role is Role.CREW:
        found = db.scalar(select(Ambulance.id).where(Ambulance.call_sign == unit))
        if found is None:
            raise NotFound(f"there is no ambulance with call sign {unit!r}")
        return found, None
    if role is Role.EMERGENCY_ROOM:
        found = db.scalar(select(EmergencyRoom.id).where(EmergencyRoom.name == unit))
        if found is None:
            raise NotFound(f"there is no emergency room named {unit!r}")
        return None, found
    if unit is not None:
        raise Conflict(f"a {role} belongs to no unit")
    return None, None
