"""What crews, emergency rooms and the control room are told."""

from __future__ import annotations

from marshmallow import Schema, fields

from broker.lifecycle import (
    CaseStatus,
    DeclineReason,
    DirectiveKind,
    DuplicateReason,
    MessageStatus,
    OfferStatus,
    Role,
)
from dispatch.patients import IdentityState
from web.schemas.clinical import (
    ImageOut,
    TriageOut,
    VitalsOut,
    VitalsSetOut,
)
from web.schemas.incoming import PatientIn


class BedRoomOut(Schema):
    """An ER's bed figure, its age and who gave it."""

    id = fields.UUID()
    name = fields.String()
    name_ko = fields.String(allow_none=True)
    feed_id = fields.String(allow_none=True)
    beds_available = fields.Integer(allow_none=True)
    beds_at = fields.AwareDateTime(allow_none=True)
    beds_source = fields.String(allow_none=True)
    age_s = fields.Float(allow_none=True)
    late = fields.Boolean(metadata={"description": "older than 15 minutes, or never given"})
    future = fields.Boolean(metadata={"description": "its time lies ahead: not believed"})
    capabilities = fields.List(fields.String())
    offered_now = fields.List(
        fields.String(),
        metadata={"description": "its own list, changed by what the feed said in the last hour"},
    )
    reported_at = fields.AwareDateTime(allow_none=True)
    diversion_until_at = fields.AwareDateTime(allow_none=True)


class BedFeedOut(Schema):
    """How the feed of free beds is doing."""

    on = fields.Boolean()
    age_s = fields.Float(allow_none=True, metadata={"description": "since its last success"})
    silent = fields.Boolean()
    error = fields.String(allow_none=True)
    report = fields.Dict(allow_none=True)


class BedBoardOut(Schema):
    """Every ER's beds, and the feed."""

    feed = fields.Nested(BedFeedOut)
    rooms = fields.List(fields.Nested(BedRoomOut))


class SessionOut(Schema):
    """Who is signed in, and the token that cookie users send as X-CSRFToken."""

    role = fields.Enum(Role, by_value=True)
    display_name = fields.String()
    account_id = fields.String(metadata={"description": "account:… or device:…"})
    audience = fields.String(allow_none=True, metadata={"description": "whose events these are"})
    csrf_token = fields.String()


class ReceiptOut(Schema):
    """The case is stored; the crew may forget about the network."""

    case_id = fields.UUID()
    image_sha256 = fields.String(allow_none=True)
    received_at = fields.AwareDateTime()
    image_unusable = fields.String(allow_none=True)


class EmergencyRoomOut(Schema):
    """An ER as others see it."""

    id = fields.UUID()
    name = fields.String()
    name_ko = fields.String(allow_none=True)
    phone = fields.String(allow_none=True)
    address = fields.String(allow_none=True)
    latitude = fields.Float()
    longitude = fields.Float()
    diversion_until_at = fields.AwareDateTime(allow_none=True)
    diversion_reason = fields.String(allow_none=True)
    beds_available = fields.Integer(allow_none=True)
    beds_at = fields.AwareDateTime(allow_none=True)


class OutcomeOut(Schema):
    """What became of the patient."""

    diagnosis = fields.String()
    disposition = fields.String()
    recorded_at = fields.AwareDateTime()


class InstructionsOut(Schema):
    """What the ER that holds the case asks of the crew."""

    items = fields.List(fields.String())
    note = fields.String(allow_none=True)
    given_at = fields.AwareDateTime()
    seen_at = fields.AwareDateTime(allow_none=True)


class TemporaryNameOut(Schema):
    """What a patient is called until, and beside, its real name; given once."""

    en = fields.String()
    ko = fields.String()


class PatientOut(PatientIn):
    """Who a patient is, as far as it is known."""

    birth_date = fields.String(  # type: ignore[assignment]  # the record keeps ISO text
        allow_none=True, metadata={"description": "ISO 8601, a day"}
    )


class DuplicateOut(Schema):
    """Another live case that may be the same patient's: say which, nothing is refused."""

    id = fields.UUID()
    reason = fields.Enum(DuplicateReason, by_value=True)
    raised_at = fields.AwareDateTime()
    same_said_at = fields.AwareDateTime(
        allow_none=True,
        metadata={"description": "somebody said so: one of the two is to be called off"},
    )
    same_said_by = fields.String(allow_none=True)
    case_id = fields.UUID()
    call_sign = fields.String()
    phone = fields.String(allow_none=True)
    status = fields.Enum(CaseStatus, by_value=True)
    received_at = fields.AwareDateTime()
    same_unit = fields.Boolean()
    emergency_room = fields.Nested(EmergencyRoomOut, allow_none=True)


class WayOut(Schema):
    """How long an ambulance needs to an ER."""

    eta_min = fields.Float()
    source = fields.String(
        metadata={"description": "straight_line: an estimate; road: a road service's word"}
    )
    position_at = fields.AwareDateTime(
        allow_none=True,
        metadata={"description": "when the ambulance was seen where this way begins; null: as it "
        "was when the ER was asked"},
    )  # fmt: skip


class OfferBrief(Schema):
    """One ER's answer as the crew sees it."""

    id = fields.UUID()
    case_id = fields.UUID()
    emergency_room = fields.Nested(EmergencyRoomOut)
    round = fields.Integer()
    rank = fields.Integer()
    status = fields.Enum(OfferStatus, by_value=True)
    eta_min = fields.Float(allow_none=True)
    distance_km = fields.Float(allow_none=True)
    eta_now_min = fields.Float(
        allow_none=True, metadata={"description": "from the ambulance's last position"}
    )
    way = fields.Nested(WayOut, allow_none=True)
    explanation = fields.Dict()
    offered_at = fields.AwareDateTime()
    answer_by_at = fields.AwareDateTime()
    received_at = fields.AwareDateTime(allow_none=True)
    decided_at = fields.AwareDateTime(allow_none=True)
    reason_code = fields.Enum(DeclineReason, by_value=True, allow_none=True)
    note = fields.String(allow_none=True)
    delay_min = fields.Integer(allow_none=True)
    ended_reason = fields.String(allow_none=True)
    assigned_reason = fields.String(
        allow_none=True,
        metadata={"description": "the control room accepted for the ER, and why"},
    )


class DirectiveOut(Schema):
    """A pin or a veto: who, why, when."""

    emergency_room_id = fields.UUID()
    kind = fields.Enum(DirectiveKind, by_value=True)
    reason = fields.String()
    given_by = fields.String()
    given_at = fields.AwareDateTime()


class RankedOut(Schema):
    """An ER's place for a case, and why."""

    emergency_room = fields.Nested(EmergencyRoomOut)
    eta_min = fields.Float(allow_none=True)
    way = fields.Nested(WayOut, allow_none=True)
    distance_km = fields.Float(allow_none=True)
    expected_min = fields.Float(metadata={"description": "expected minutes to a confirmed bed"})
    suitable = fields.Boolean(metadata={"description": "false: it is not asked by itself"})
    reasons = fields.List(fields.Dict(keys=fields.String(), values=fields.String()))
    directive = fields.Nested(DirectiveOut, allow_none=True)


class ShortHourOut(Schema):
    """One hour of offers."""

    begins_at = fields.AwareDateTime()
    asked = fields.Integer()
    answered_no = fields.Integer()
    by_reason = fields.Dict(keys=fields.String(), values=fields.Integer())


class ShortagesOut(Schema):
    """What was short over all ERs together; no ER is named."""

    since_at = fields.AwareDateTime()
    asked = fields.Integer()
    answered_no = fields.Integer()
    elsewhere = fields.Integer(
        metadata={"description": "cases that a hospital outside took by telephone"}
    )
    by_reason = fields.Dict(keys=fields.String(), values=fields.Integer())
    hours = fields.List(fields.Nested(ShortHourOut))


class OutsideOut(Schema):
    """A hospital that is none of ours."""

    name = fields.String()
    name_ko = fields.String(allow_none=True)
    phone = fields.String(allow_none=True)


class ElsewhereOut(Schema):
    """A hospital outside took the case by telephone: no offer, no answer of an ER."""

    id = fields.UUID()
    hospital = fields.String()
    emergency_room = fields.Nested(
        OutsideOut, metadata={"description": "the same in words, for who shows it as a destination"}
    )
    reason = fields.String()
    recorded_at = fields.AwareDateTime()
    recorded_by_role = fields.String()


class CaseOut(Schema):
    """A case as this actor may see it."""

    id = fields.UUID()
    status = fields.Enum(CaseStatus, by_value=True)
    version = fields.Integer()
    call_sign = fields.String()
    received_at = fields.AwareDateTime()
    first_offer_at = fields.AwareDateTime(allow_none=True)
    assigned_at = fields.AwareDateTime(allow_none=True)
    acknowledged_at = fields.AwareDateTime(allow_none=True)
    arrived_at = fields.AwareDateTime(allow_none=True)
    seems_arrived_at = fields.AwareDateTime(
        allow_none=True,
        metadata={"description": "by its positions the ambulance has arrived: ask the crew"},
    )
    ended_at = fields.AwareDateTime(allow_none=True)
    ended_reason = fields.String(allow_none=True)
    round = fields.Integer()
    crew_pre_ktas = fields.Integer(allow_none=True)
    acuity = fields.Integer(allow_none=True)
    triage = fields.Nested(TriageOut, allow_none=True)
    partial = fields.Boolean()  # type: ignore[assignment]  # marshmallow takes fields off the class
    image_unusable = fields.String(allow_none=True)
    needs_review = fields.Boolean()
    age_years = fields.Float(allow_none=True)
    age_band = fields.String(allow_none=True)
    sex = fields.String(allow_none=True)
    pregnant = fields.Boolean(allow_none=True)
    complaint = fields.String(allow_none=True)
    latitude = fields.Float(allow_none=True)
    longitude = fields.Float(allow_none=True)
    position_at = fields.AwareDateTime(allow_none=True)
    vitals = fields.Nested(VitalsOut, allow_none=True)
    temporary_name = fields.Nested(TemporaryNameOut, allow_none=True)
    identity = fields.Enum(
        IdentityState,
        by_value=True,
        metadata={"description": "hidden: the ER that accepts is told who the patient is"},
    )
    patient_id = fields.UUID(allow_none=True)
    patient = fields.Nested(PatientOut, allow_none=True)
    possible_duplicates = fields.List(fields.Nested(DuplicateOut))
    image = fields.Nested(ImageOut, allow_none=True)
    vitals_trend = fields.List(
        fields.Nested(VitalsSetOut), metadata={"description": "every set as it came, oldest first"}
    )
    instructions = fields.Nested(InstructionsOut, allow_none=True)
    outcome = fields.Nested(OutcomeOut, allow_none=True)
    control_room_until_at = fields.AwareDateTime(
        allow_none=True,
        metadata={"description": "until when the control room chooses; then it goes on by itself"},
    )
    directives = fields.List(fields.Nested(DirectiveOut))
    offers = fields.List(fields.Nested(OfferBrief))
    elsewhere = fields.Nested(ElsewhereOut, allow_none=True)


class OfferOut(OfferBrief):
    """An offer with the case, while the offer grants it."""

    case = fields.Nested(CaseOut, allow_none=True)
    basis = fields.String(
        allow_none=True,
        metadata={"description": "mark of what a decision rests on; send it with the decision"},
    )


class MessageOut(Schema):
    """A message and how far it came."""

    id = fields.UUID()
    case_id = fields.UUID()
    sender = fields.String()
    recipient = fields.String()
    body = fields.String()
    status = fields.Enum(MessageStatus, by_value=True)
    sent_at = fields.AwareDateTime()
    delivered_at = fields.AwareDateTime(allow_none=True)
    seen_at = fields.AwareDateTime(allow_none=True)


class EventOut(Schema):
    """One entry of the caller's own gapless log."""

    seq = fields.Integer()
    type = fields.String()
    case_id = fields.UUID(allow_none=True)
    body = fields.Dict()
    created_at = fields.AwareDateTime()


class InboxOut(Schema):
    """Events after a number, in order; ask again with the last one."""

    last_seq = fields.Integer()
    events = fields.List(fields.Nested(EventOut))


class DiversionOut(EmergencyRoomOut):
    """The ER after the change."""
