"""The door of administrators: units, people, devices, settings, the audit.

Every change is made in registry_changes.py or broker/tuning.py, with its audit row. Nothing
clinical passes here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from broker import keyring, seals, trail, tuning
from broker.lifecycle import Role
from broker.tables import Account, Ambulance, DeviceToken, EmergencyRoom
from broker.trail import Wanted
from web import registry_changes as changes
from web.auth import actor, allow
from web.board import names_of
from web.bodies import Room
from web.schemas import administration as schemas
from web.state import here

Row = TypeVar("Row", Ambulance, EmergencyRoom, Account)
blueprint = Room(
    "administration",
    __name__,
    url_prefix="/api/v1/admin",
    description="Units, people, devices, settings",
)


@blueprint.route("/ambulances", methods=["GET"])
@blueprint.response(200, schemas.AmbulanceOut(many=True))
@allow(Role.ADMIN)
def list_ambulances() -> Sequence[Ambulance]:
    """Every ambulance."""
    with here().record.read() as session:
        return session.scalars(select(Ambulance).order_by(Ambulance.call_sign)).all()


@blueprint.route("/ambulances", methods=["POST"])
@blueprint.arguments(schemas.AmbulanceIn)
@blueprint.response(201, schemas.AmbulanceOut)
@allow(Role.ADMIN)
def add_ambulance(data: dict[str, Any]) -> Ambulance:
    """A new ambulance."""
    who = actor()
    return here().record.again(lambda s: changes.add(s, who, Ambulance(**data)))


@blueprint.route("/ambulances/<uuid:ambulance_id>", methods=["PATCH"])
@blueprint.arguments(schemas.AmbulanceChangeIn)
@blueprint.response(200, schemas.AmbulanceOut)
@allow(Role.ADMIN)
def change_ambulance(data: dict[str, Any], ambulance_id: UUID) -> Ambulance:
    """Change an ambulance; one that is switched off may not sign in, and must hold no live case."""
    return _change(Ambulance, ambulance_id, data)


@blueprint.route("/emergency-rooms", methods=["GET"])
@blueprint.response(200, schemas.AdminRoomOut(many=True))
@allow(Role.ADMIN)
def list_rooms() -> Sequence[EmergencyRoom]:
    """Every emergency room, those that are switched off, too."""
    with here().record.read() as session:
        return session.scalars(select(EmergencyRoom).order_by(EmergencyRoom.name)).all()


@blueprint.route("/emergency-rooms", methods=["POST"])
@blueprint.arguments(schemas.EmergencyRoomIn)
@blueprint.response(201, schemas.AdminRoomOut)
@allow(Role.ADMIN)
def add_room(data: dict[str, Any]) -> EmergencyRoom:
    """A new emergency room."""
    who = actor()
    return here().record.again(lambda s: changes.add(s, who, EmergencyRoom(**_plain(data))))


@blueprint.route("/emergency-rooms/<uuid:emergency_room_id>", methods=["PATCH"])
@blueprint.arguments(schemas.EmergencyRoomChangeIn)
@blueprint.response(200, schemas.AdminRoomOut)
@allow(Role.ADMIN)
def change_room(data: dict[str, Any], emergency_room_id: UUID) -> EmergencyRoom:
    """Change an emergency room; one that is switched off is asked no more."""
    return _change(EmergencyRoom, emergency_room_id, data)


@blueprint.route("/accounts", methods=["GET"])
@blueprint.response(200, schemas.AccountOut(many=True))
@allow(Role.ADMIN)
def list_accounts() -> Sequence[Account]:
    """Every account."""
    with here().record.read() as session:
        return session.scalars(select(Account).order_by(Account.sign_in_name)).all()


@blueprint.route("/accounts", methods=["POST"])
@blueprint.arguments(schemas.AccountIn)
@blueprint.response(201, schemas.SecretOut)
@allow(Role.ADMIN)
def add_account(data: dict[str, Any]) -> dict[str, Any]:
    """A new account; the answer holds the link by which its person chooses a password."""
    who = actor()

    def unit(session: Session) -> dict[str, Any]:
        units = (data.get("ambulance_id"), data.get("emergency_room_id"))
        changes.unit_of(session, data["role"], *units)
        return _with_link(*changes.add_account(session, who, Account(**data)))

    return here().record.again(unit)


@blueprint.route("/accounts/<uuid:account_id>", methods=["PATCH"])
@blueprint.arguments(schemas.AccountChangeIn)
@blueprint.response(200, schemas.AccountOut)
@allow(Role.ADMIN)
def change_account(data: dict[str, Any], account_id: UUID) -> Account:
    """Change an account; another role ends its sessions. The last administrator stays one."""
    return _change(Account, account_id, data)


@blueprint.route("/accounts/<uuid:account_id>/reset-password", methods=["POST"])
@blueprint.response(200, schemas.SecretOut)
@allow(Role.ADMIN)
def reset_password(account_id: UUID) -> dict[str, Any]:
    """End an account's password and sessions; the answer holds the link to choose a new one."""
    who = actor()
    return here().record.again(lambda s: _with_link(*changes.reset_password(s, who, account_id)))


@blueprint.route("/accounts/<uuid:account_id>/end-sessions", methods=["POST"])
@blueprint.response(200, schemas.AccountOut)
@allow(Role.ADMIN)
def end_sessions(account_id: UUID) -> Account:
    """Sign an account out everywhere."""
    who = actor()
    return here().record.again(lambda s: changes.end_sessions(s, who, account_id))


@blueprint.route("/devices", methods=["GET"])
@blueprint.response(200, schemas.DeviceOut(many=True))
@allow(Role.ADMIN)
def list_devices() -> Sequence[DeviceToken]:
    """Every device, the newest first."""
    with here().record.read() as session:
        return session.scalars(select(DeviceToken).order_by(DeviceToken.created_at.desc())).all()


@blueprint.route("/devices", methods=["POST"])
@blueprint.arguments(schemas.DeviceIn)
@blueprint.response(201, schemas.IssuedOut)
@allow(Role.ADMIN)
def issue_device(data: dict[str, Any]) -> dict[str, Any]:
    """A new device; the answer holds its token, which is shown this once."""
    who = actor()

    def unit(session: Session) -> dict[str, Any]:
        device, token = changes.issue_device(session, who, DeviceToken(**data))
        return {**_columns(device), "token": token}

    return here().record.again(unit)


@blueprint.route("/devices/<uuid:device_id>/revoke", methods=["POST"])
@blueprint.response(200, schemas.DeviceOut)
@allow(Role.ADMIN)
def revoke_device(device_id: UUID) -> DeviceToken:
    """A device may no longer speak: its next call is 401, its open stream ends within 10 s."""
    who = actor()
    return here().record.again(lambda s: changes.revoke_device(s, who, device_id))


@blueprint.route("/settings", methods=["GET"])
@blueprint.response(200, schemas.SettingOut(many=True))
@allow(Role.ADMIN)
def list_settings() -> list[dict[str, Any]]:
    """Settings that may change at run time: what holds, and why."""
    state = here()
    with state.record.read() as session:
        return tuning.described(session, state.record.settings)


@blueprint.route("/settings/<setting>", methods=["PUT"])
@blueprint.arguments(schemas.SettingIn)
@blueprint.response(200, schemas.SettingOut)
@allow(Role.ADMIN)
def change_setting(data: dict[str, Any], setting: str) -> dict[str, Any]:
    """Set a value that wins over the environment, in every process within seconds."""
    state, who = here(), actor()
    return state.record.again(
        lambda s: tuning.change(
            s, state.record.settings, who.name, setting, data["value"], data["version"]
        )
    )


@blueprint.route("/settings/<setting>/forget", methods=["POST"])
@blueprint.arguments(schemas.VersionIn)
@blueprint.response(200, schemas.SettingOut)
@allow(Role.ADMIN)
def forget_setting(data: dict[str, Any], setting: str) -> dict[str, Any]:
    """Let the environment's value hold again."""
    state, who = here(), actor()
    return state.record.again(
        lambda s: tuning.forget(s, state.record.settings, who.name, setting, data["version"])
    )


@blueprint.route("/audit", methods=["GET"])
@blueprint.arguments(schemas.AuditQuery, location="query")
@blueprint.response(200, schemas.AuditPageOut)
@allow(Role.ADMIN)
def search_audit(query: dict[str, Any]) -> dict[str, Any]:
    """Entries by actor, action (`case.` finds all that begin so), case and time; audited itself."""
    who = actor()

    def unit(session: Session) -> dict[str, Any]:
        entries, more = trail.search(session, who.name, Wanted(**query))
        names = names_of(session, (entry.actor for entry in entries))
        return {"entries": entries, "next": more, "names": names}

    return here().record.again(unit)


@blueprint.route("/audit/seal", methods=["GET"])
@blueprint.response(200, schemas.AuditSealedOut)
@allow(Role.ADMIN)
def audit_seal() -> dict[str, Any]:
    """Up to which entry the audit is sealed, since when, under which key; what waits."""
    state = here()
    with state.record.read() as session:
        newest = seals.standing(session)
        waits_s = seals.unsealed_s(session)
    keys = keyring.of(state.settings).ids if state.settings.identity_keys else None
    return {
        "seal": newest,
        "unsealed_s": waits_s,
        "key_known": newest.key_id in keys if newest and keys is not None else None,
    }


def _change(table: type[Row], id_: UUID, data: dict[str, Any]) -> Row:
    who, version = actor(), data.pop("version")
    values = _plain(data)
    return here().record.again(lambda s: changes.change(s, who, table, id_, version, values))


def _plain(data: dict[str, Any]) -> dict[str, Any]:
    """Enums of dispatch's as the words that are stored."""
    found = dict(data)
    if "level" in found:
        found["level"] = found["level"].value
    if "capabilities" in found:
        found["capabilities"] = sorted({capability.value for capability in found["capabilities"]})
    return found


def _with_link(account: Account, secret: str) -> dict[str, Any]:
    # Behind the #, a secret reaches neither a server's log nor a Referer.
    address = here().settings.public_url.rstrip("/")
    return {**_columns(account), "link": f"{address}/choose-password#{secret}"}


def _columns(row: Any) -> dict[str, Any]:
    return {column.name: getattr(row, column.name) for column in row.__table__.columns}
