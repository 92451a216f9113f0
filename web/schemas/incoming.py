"""What crews, emergency rooms and the control room send, and what they ask for."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from broker.lifecycle import (
    DeclineReason,
    DirectiveKind,
)
from dispatch.inbox import Recipient
from dispatch.instructions import Item
from dispatch.news2 import Consciousness
from dispatch.offers import Decision
from dispatch.outcome import Disposition
from dispatch.rules import Capability
from dispatch.shortages import MOST_HOURS
from web.schemas.base import (
    Flag,
    In,
    Number,
    no_control_characters,
    sha256_field,
    text_field,
    whole_field,
)


class VitalsIn(In):
    """One set of vital signs; leave out what was not measured."""

    respiratory_rate_per_min = whole_field(0, 99, "breaths per minute")
    spo2_percent = whole_field(0, 100, "oxygen saturation, percent")
    spo2_scale = fields.Integer(
        strict=True,
        validate=validate.OneOf([1, 2]),
        metadata={"description": "2 only for clinician-confirmed hypercapnic failure (NEWS2)"},
    )
    spo2_scale_confirmed = Flag(
        allow_none=True,
        metadata={
            "description": "a clinician has confirmed hypercapnic respiratory failure (target 88 "
            "to 92 %); scale 2 is refused without it"
        },
    )
    on_oxygen = Flag(allow_none=True)
    systolic_bp_mmhg = whole_field(0, 350, "systolic blood pressure, mmHg")
    diastolic_bp_mmhg = whole_field(0, 300, "diastolic blood pressure, mmHg")
    pulse_per_min = whole_field(0, 350, "heart beats per minute")
    consciousness = fields.Enum(
        Consciousness, by_value=True, allow_none=True, metadata={"description": "ACVPU"}
    )
    temperature_c = Number(15, 46, allow_none=True)

    @validates_schema
    def not_swapped(self, data: dict[str, Any], **_: Any) -> None:
        """A diastolic pressure above the systolic one is a mix-up."""
        high, low = data.get("systolic_bp_mmhg"), data.get("diastolic_bp_mmhg")
        if high is not None and low is not None and low > high:
            raise ValidationError("is above systolic_bp_mmhg: swapped?", "diastolic_bp_mmhg")

    @validates_schema
    def scale_2_is_confirmed(self, data: dict[str, Any], **_: Any) -> None:
        """Scale 2 hides a low saturation: it needs a clinician's word, and the word needs it."""
        if data.get("spo2_scale") == 2 and not data.get("spo2_scale_confirmed"):
            raise ValidationError(
                "scale 2 needs spo2_scale_confirmed: true (a clinician has confirmed hypercapnic "
                "respiratory failure); leave it out for scale 1",
                "spo2_scale",
            )
        if data.get("spo2_scale_confirmed") and data.get("spo2_scale") != 2:
            raise ValidationError("contradicts spo2_scale 1", "spo2_scale_confirmed")


class PositionIn(In):
    """WGS 84 degrees."""

    latitude = Number(-90, 90, required=True)
    longitude = Number(-180, 180, required=True)

    @validates_schema
    def not_null_island(self, data: dict[str, Any], **_: Any) -> None:
        """0/0 is a receiver without a fix."""
        if data.get("latitude") == 0 and data.get("longitude") == 0:
            raise ValidationError("0/0 is no position; leave it out without a fix", "latitude")


def _plausible_birth(day: date) -> None:
    if not date(1890, 1, 1) <= day <= datetime.now(UTC).date() + timedelta(days=1):
        raise ValidationError("is no birth date of somebody alive")


class PatientIn(In):
    """Identity, if known; goes to the ER that accepts, and to nobody else."""

    name = text_field(120)
    birth_date = fields.Date(allow_none=True, validate=_plausible_birth)
    identifier = text_field(60)
    phone = text_field(40)


class CaseFactsIn(In):
    """What may be said at submission and later."""

    crew_pre_ktas = whole_field(1, 5, "the crew's pre-KTAS level; 1 is the worst")
    complaint = text_field(1000)
    pregnant = Flag(
        allow_none=True,
        metadata={"description": "known pregnancy; NEWS2, qSOFA and CRB-65 are not used then"},
    )
    position = fields.Nested(PositionIn, allow_none=True)
    vitals = fields.Nested(VitalsIn, allow_none=True)


class CaseIn(CaseFactsIn):
    """A case as a crew submits it; everything may be unknown."""

    age_years = Number(0, 130, allow_none=True)
    sex = fields.String(
        allow_none=True, validate=validate.OneOf(["female", "male", "other", "unknown"])
    )
    patient = fields.Nested(PatientIn, allow_none=True)
    image_sha256 = sha256_field("the film of your unit's finished upload, instead of a file")
    film_follows = Flag(
        metadata={"description": "a film is on its way: wait for it as for a reading, no longer"}
    )


class ImageIn(In):
    """The film of a finished upload."""

    image_sha256 = sha256_field("SHA-256 of the film, as it was announced", required=True)


class CasePatchIn(CaseFactsIn):
    """New facts on the way."""

    @validates_schema
    def says_something(self, data: dict[str, Any], **_: Any) -> None:
        """An empty change is a mistake, and would wake everybody."""
        if not data:
            raise ValidationError("says nothing new")


class CancelIn(In):
    """Why a case is called off."""

    reason = fields.String(required=True, validate=[validate.Length(2, 200), no_control_characters])


class ElsewhereIn(In):
    """A hospital outside of this system that takes a patient by telephone."""

    hospital = fields.String(
        required=True, validate=[validate.Length(2, 120), no_control_characters]
    )
    phone = text_field(40)
    reason = fields.String(required=True, validate=[validate.Length(2, 500), no_control_characters])


class DecisionIn(In):
    """An ER's answer."""

    decision = fields.Enum(Decision, by_value=True, required=True)
    reason_code = fields.Enum(DeclineReason, by_value=True, allow_none=True)
    delay_min = whole_field(1, 240, "yes, in this many minutes")
    note = text_field(500)
    basis = fields.String(
        allow_none=True,
        validate=validate.Length(1, 64),
        metadata={"description": "the offer's `basis` as it was shown: refused when it changed"},
    )

    @validates_schema
    def not_contradictory(self, data: dict[str, Any], **_: Any) -> None:
        """A reason belongs to a no, minutes to a later yes."""
        decision = data["decision"]
        if data.get("reason_code") is not None and decision is not Decision.REJECT:
            raise ValidationError(f"contradicts {decision.value}", "reason_code")
        if data.get("delay_min") is not None and decision is not Decision.ACCEPT_WITH_DELAY:
            raise ValidationError(f"contradicts {decision.value}", "delay_min")


class WithdrawIn(In):
    """Why an ER gives an accepted case back."""

    reason_code = fields.Enum(DeclineReason, by_value=True, required=True)
    note = text_field(500)


class PassIn(In):
    """Why a crew passes an ER; optional."""

    note = text_field(500)


class DiversionIn(In):
    """An ER stops or resumes taking patients."""

    on = Flag(required=True)
    minutes = whole_field(1, 1440, "how long; 60 when left out")
    reason = text_field(200)

    @validates_schema
    def not_contradictory(self, data: dict[str, Any], **_: Any) -> None:
        """An end has no length and needs no reason."""
        for name in ("minutes", "reason"):
            if data.get(name) is not None and not data["on"]:
                raise ValidationError("contradicts on: false", name)


class BedsIn(In):
    """How many beds an ER has free; negative when more patients wait than there are beds."""

    available = fields.Integer(required=True, strict=True, validate=validate.Range(-200, 500))


class OutcomeIn(In):
    """What became of the patient."""

    diagnosis = fields.String(
        required=True, validate=[validate.Length(1, 500), no_control_characters]
    )
    disposition = fields.Enum(Disposition, by_value=True, required=True)


class InstructionsIn(In):
    """What the crew should do before it arrives; an empty list and no note takes all back."""

    items = fields.List(
        fields.Enum(Item, by_value=True), load_default=list, validate=validate.Length(max=len(Item))
    )
    note = text_field(1000)


class CapabilitiesIn(In):
    """What an ER offers around the clock."""

    capabilities = fields.List(
        fields.Enum(Capability, by_value=True), required=True, validate=validate.Length(max=50)
    )


class MessageIn(In):
    """Words to another party of the case."""

    to = fields.Enum(Recipient, by_value=True, required=True)
    body = fields.String(required=True, validate=[validate.Length(1, 2000), no_control_characters])


class SignInIn(In):
    """A person's name and password."""

    name = fields.String(required=True, validate=[validate.Length(1, 60), no_control_characters])
    password = fields.String(
        required=True,
        validate=[validate.Length(1, 200), no_control_characters],
        load_only=True,
    )


class ChoosePasswordIn(In):
    """The one-time secret of a link, and the password that its person chose."""

    secret = fields.String(required=True, validate=validate.Length(10, 100))
    password = fields.String(required=True, validate=validate.Length(10, 200))


class DirectiveIn(In):
    """The control room's word about an ER for one case."""

    kind = fields.Enum(
        DirectiveKind,
        by_value=True,
        required=True,
        metadata={"description": "pin: ask it next; veto: never ask it"},
    )
    reason = fields.String(required=True, validate=[validate.Length(2, 500), no_control_characters])


class AssignIn(In):
    """Place a case at an ER on the control room's word."""

    emergency_room_id = fields.UUID(required=True)
    reason = fields.String(required=True, validate=[validate.Length(2, 500), no_control_characters])


class BoardQuery(Schema):
    """How many cases."""

    limit = fields.Integer(load_default=200, validate=validate.Range(1, 200))


class ShortagesQuery(Schema):
    """How far back."""

    hours = fields.Integer(load_default=24, validate=validate.Range(1, MOST_HOURS))


class InboxQuery(Schema):
    """Which events: those after a number."""

    after = fields.Integer(load_default=0, validate=validate.Range(0, 2**62))


class FilmQuery(Schema):
    """Which film."""

    film = sha256_field("SHA-256 of one of the case's films; without it the last one received")


class ImageQuery(FilmQuery):
    """How the film is wanted."""

    boxes = fields.Boolean(load_default=False)
    width_px = fields.Integer(validate=validate.Range(64, 2048))


class HeatmapQuery(Schema):
    """Which finding's heatmap."""

    label = fields.String(required=True, validate=validate.Length(1, 60))


class CasesQuery(Schema):
    """Which cases."""

    live = fields.Boolean(load_default=True)
    limit = fields.Integer(load_default=50, validate=validate.Range(1, 200))
    before = fields.AwareDateTime(
        metadata={"description": "only cases received earlier: the received_at of the last one"}
    )


class OffersQuery(Schema):
    """Which offers."""

    open = fields.Boolean(load_default=True)
    cases = fields.Boolean(
        load_default=False, metadata={"description": "with their cases, as GET /offers/{id} gives"}
    )
    limit = fields.Integer(load_default=50, validate=validate.Range(1, 200))
