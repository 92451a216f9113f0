"""The shapes of administration: units, people, devices, settings, audit; no queries, no rules."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from broker.lifecycle import Role
from dispatch.routing_facts import EmergencyCentreLevel
from dispatch.rules import Capability
from web.schemas.base import In, Number, no_control_characters

NAME = validate.Regexp(r"\S.*\S|\S", error="must not be blank")


def _line(longest: int, **more: Any) -> fields.String:
    return fields.String(validate=[validate.Length(max=longest), no_control_characters], **more)


def _name(longest: int, **more: Any) -> fields.String:
    return fields.String(
        validate=[validate.Length(1, longest), NAME, no_control_characters], **more
    )


class VersionIn(In):
    """The version that was shown: a change of an older one is refused (409)."""

    version = fields.Integer(strict=True, required=True, validate=validate.Range(min=0))


class AmbulanceIn(In):
    """A new ambulance."""

    call_sign = _name(40, required=True)
    phone = _line(40, allow_none=True)


class AmbulanceChangeIn(VersionIn):
    """What to change of an ambulance; leave out the rest."""

    call_sign = _name(40)
    phone = _line(40, allow_none=True)
    active = fields.Boolean()


class AmbulanceOut(Schema):
    """An ambulance."""

    id = fields.UUID()
    call_sign = fields.String()
    phone = fields.String(allow_none=True)
    active = fields.Boolean()
    version = fields.Integer()


class _RoomFacts(In):
    name_ko = _line(120, allow_none=True)
    region = _line(60)
    phone = _line(40, allow_none=True)
    address = _line(200, allow_none=True)
    level = fields.Enum(EmergencyCentreLevel, by_value=True)
    capabilities = fields.List(
        fields.Enum(Capability, by_value=True), validate=validate.Length(max=len(Capability))
    )
    notify_email = fields.Email(allow_none=True, validate=validate.Length(max=254))
    notify_webhook = fields.Url(
        allow_none=True,
        require_tld=False,
        schemes={"http", "https"},
        validate=validate.Length(max=500),
    )
    active = fields.Boolean()


class EmergencyRoomIn(_RoomFacts):
    """A new emergency room."""

    name = _name(120, required=True)
    latitude = Number(-90, 90, required=True)
    longitude = Number(-180, 180, required=True)


class EmergencyRoomChangeIn(_RoomFacts, VersionIn):
    """What to change of an ER; leave out the rest."""

    name = _name(120)
    latitude = Number(-90, 90)
    longitude = Number(-180, 180)


class AdminRoomOut(Schema):
    """An emergency room with everything that an administrator sets."""

    id = fields.UUID()
    name = fields.String()
    name_ko = fields.String(allow_none=True)
    region = fields.String()
    phone = fields.String(allow_none=True)
    address = fields.String(allow_none=True)
    latitude = fields.Float()
    longitude = fields.Float()
    level = fields.String()
    capabilities = fields.List(fields.String())
    notify_email = fields.String(allow_none=True)
    notify_webhook = fields.String(allow_none=True)
    active = fields.Boolean()
    version = fields.Integer()


class AccountIn(In):
    """A new account; its person chooses the password by the link in the answer."""

    sign_in_name = fields.String(
        required=True,
        validate=validate.Regexp(
            r"[a-z0-9][a-z0-9._@-]{1,59}$", error="2 to 60 of a-z, 0-9, dot, dash, _ and @"
        ),
    )
    display_name = _name(80, required=True)
    role = fields.Enum(Role, by_value=True, required=True)
    ambulance_id = fields.UUID(allow_none=True)
    emergency_room_id = fields.UUID(allow_none=True)


class AccountChangeIn(VersionIn):
    """What to change of an account; leave out the rest."""

    display_name = _name(80)
    role = fields.Enum(Role, by_value=True)
    ambulance_id = fields.UUID(allow_none=True)
    emergency_room_id = fields.UUID(allow_none=True)
    active = fields.Boolean()


class AccountOut(Schema):
    """An account, without anything secret."""

    id = fields.UUID()
    sign_in_name = fields.String()
    display_name = fields.String()
    role = fields.Enum(Role, by_value=True)
    ambulance_id = fields.UUID(allow_none=True)
    emergency_room_id = fields.UUID(allow_none=True)
    active = fields.Boolean()
    locked_until_at = fields.AwareDateTime(allow_none=True)
    choose_until_at = fields.AwareDateTime(allow_none=True)
    version = fields.Integer()


class SecretOut(AccountOut):
    """The account, and the link that is shown this once."""

    link = fields.String()


class DeviceIn(In):
    """A new device."""

    label = _name(80, required=True)
    role = fields.Enum(Role, by_value=True, required=True)
    ambulance_id = fields.UUID(allow_none=True)
    emergency_room_id = fields.UUID(allow_none=True)


class DeviceOut(Schema):
    """A device, without its token."""

    id = fields.UUID()
    label = fields.String()
    role = fields.Enum(Role, by_value=True)
    ambulance_id = fields.UUID(allow_none=True)
    emergency_room_id = fields.UUID(allow_none=True)
    created_at = fields.AwareDateTime()
    revoked_at = fields.AwareDateTime(allow_none=True)


class IssuedOut(DeviceOut):
    """The device, and its token that is shown this once."""

    token = fields.String()


class SettingIn(VersionIn):
    """A value as text: a number, or three numbers with slashes."""

    value = fields.String(required=True, validate=validate.Length(1, 60))


class SettingOut(Schema):
    """A setting that may change at run time, and why its value holds."""

    name = fields.String()
    value = fields.String()
    source = fields.String(metadata={"description": "table, environment or shipped"})
    environment = fields.String(metadata={"description": "what would hold without the table"})
    shipped = fields.String()
    low = fields.Float()
    high = fields.Float()
    kind = fields.String()
    version = fields.Integer()
    changed_at = fields.AwareDateTime(allow_none=True)
    changed_by = fields.String(allow_none=True)


class AuditQuery(Schema):
    """What to look for in the audit."""

    actor = fields.String(validate=validate.Length(max=120))
    action = fields.String(validate=validate.Length(max=60))
    case_id = fields.UUID()
    from_at = fields.AwareDateTime()
    until_at = fields.AwareDateTime()
    after = fields.String(validate=validate.Length(max=100))


class AuditEntryOut(Schema):
    """Who did or saw what, when."""

    id = fields.UUID()
    at = fields.AwareDateTime()
    actor = fields.String()
    action = fields.String()
    case_id = fields.UUID(allow_none=True)
    details = fields.Dict()


class AuditPageOut(Schema):
    """A page of entries, newest first."""

    entries = fields.List(fields.Nested(AuditEntryOut))
    next = fields.String(allow_none=True)
    names = fields.Dict(keys=fields.String(), values=fields.String())


class AuditSealOut(Schema):
    """The newest seal of the audit: all entries up to this one are in its chain."""

    number = fields.Integer()
    digest = fields.String()
    entry_id = fields.UUID()
    entry_at = fields.AwareDateTime()
    sealed_at = fields.AwareDateTime()
    key_id = fields.String()


class AuditSealedOut(Schema):
    """Up to where the audit is sealed, and how far that lags."""

    seal = fields.Nested(AuditSealOut, allow_none=True)
    unsealed_s = fields.Float(
        metadata={"description": "For how long the oldest entry has waited for its seal."}
    )
    key_known = fields.Boolean(
        allow_none=True,
        metadata={"description": "Whether this installation holds the newest seal's key."},
    )
