"""Every marshmallow schema: the shape of what comes in and goes out; no queries, no rules.

Unknown fields are refused on the way in. Units stand in the names.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate, validates_schema

from broker.board import Why
from broker.lifecycle import (
    CaseStatus,
    DeclineReason,
    DirectiveKind,
    DuplicateReason,
    MessageStatus,
    OfferStatus,
    ReadingKind,
    ReadingStatus,
    Role,
)
from dispatch.inbox import Recipient
from dispatch.instructions import Item
from dispatch.news2 import Consciousness
from dispatch.offers import Decision
from dispatch.outcome import Disposition
from dispatch.patients import IdentityState
from dispatch.rules import Capability
from dispatch.shortages import MOST_HOURS

_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
    "\u202a-\u202e\u2066-\u2069"  # turn the reading direction: what is shown is not what is stored
    "\ud800-\udfff]"
)


def no_control_characters(text: str) -> None:
    """Refuse characters that no keyboard types; line breaks and tabs may stay."""
    if _CONTROL.search(text):
        raise ValidationError("contains control characters")


def _text(longest: int, **more: Any) -> fields.String:
    return fields.String(
        validate=[validate.Length(max=longest), no_control_characters], allow_none=True, **more
    )


def _whole(low: int, high: int, meaning: str) -> fields.Integer:
    return fields.Integer(
        strict=True,
        allow_none=True,
        validate=validate.Range(low, high),
        metadata={"description": meaning},
    )


def _sha256(meaning: str, **more: Any) -> fields.String:
    return fields.String(
        validate=validate.Regexp("^[0-9a-f]{64}$", error="is no SHA-256 in lower-case hex"),
        metadata={"description": meaning},
        **more,
    )


class Number(fields.Float):
    """A finite JSON number; text that looks like one is a mistake."""

    def __init__(self, low: float, high: float, **more: Any) -> None:
        super().__init__(allow_nan=False, validate=validate.Range(low, high), **more)

    def _validated(self, value: Any) -> float:
        if isinstance(value, str):
            raise self.make_error("invalid", input=value)
        return super()._validated(value)


class Flag(fields.Boolean):
    """true or false, and nothing that merely resembles them."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class In(Schema):
    """Something a client sends."""

    class Meta:
        """Unknown fields are mistakes."""

        unknown = RAISE


class VitalsIn(In):
    """One set of vital signs; leave out what was not measured."""

    respiratory_rate_per_min = _whole(0, 99, "breaths per minute")
    spo2_percent = _whole(0, 100, "oxygen saturation, percent")
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
    systolic_bp_mmhg = _whole(0, 350, "systolic blood pressure, mmHg")
    diastolic_bp_mmhg = _whole(0, 300, "diastolic blood pressure, mmHg")
    pulse_per_min = _whole(0, 350, "heart beats per minute")
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

    name = _text(120)
    birth_date = fields.Date(allow_none=True, validate=_plausible_birth)
    identifier = _text(60)
    phone = _text(40)


class CaseFactsIn(In):
    """What may be said at submission and later."""

    crew_pre_ktas = _whole(1, 5, "the crew's pre-KTAS level; 1 is the worst")
    complaint = _text(1000)
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
    image_sha256 = _sha256("the film of your unit's finished upload, instead of a file")
    film_follows = Flag(
        metadata={"description": "a film is on its way: wait for it as for a reading, no longer"}
    )


class ImageIn(In):
    """The film of a finished upload."""

    image_sha256 = _sha256("SHA-256 of the film, as it was announced", required=True)


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


class DecisionIn(In):
    """An ER's answer."""

    decision = fields.Enum(Decision, by_value=True, required=True)
    reason_code = fields.Enum(DeclineReason, by_value=True, allow_none=True)
    delay_min = _whole(1, 240, "yes, in this many minutes")
    note = _text(500)
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
    note = _text(500)


class PassIn(In):
    """Why a crew passes an ER; optional."""

    note = _text(500)


class DiversionIn(In):
    """An ER stops or resumes taking patients."""

    on = Flag(required=True)
    minutes = _whole(1, 1440, "how long; 60 when left out")
    reason = _text(200)

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
    note = _text(1000)


class CapabilitiesIn(In):
    """What an ER offers around the clock."""

    capabilities = fields.List(
        fields.Enum(Capability, by_value=True), required=True, validate=validate.Length(max=50)
    )


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


class ImageQuery(Schema):
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


class SessionOut(Schema):
    """Who is signed in, and the token that cookie users send as X-CSRFToken."""

    role = fields.Enum(Role, by_value=True)
    display_name = fields.String()
    account_id = fields.String(metadata={"description": "account:… or device:…"})
    audience = fields.String(allow_none=True, metadata={"description": "whose events these are"})
    csrf_token = fields.String()


class FilmCheckOut(Schema):
    """What the gate says of an uploaded film, before any case names it."""

    image_sha256 = fields.String()
    width_px = fields.Integer()
    height_px = fields.Integer()
    unusable_reason = fields.String(allow_none=True)


class ReceiptOut(Schema):
    """The case is stored; the crew may forget about the network."""

    case_id = fields.UUID()
    image_sha256 = fields.String(allow_none=True)
    received_at = fields.AwareDateTime()
    image_unusable = fields.String(allow_none=True)


class FindingOut(Schema):
    """A label's score (a probability only if the image's score_kind says so), and what its
    threshold reached on the model's validation films, where the model states it."""

    label = fields.String()
    score = fields.Float()
    above_threshold = fields.Boolean()
    threshold = fields.Float(allow_none=True)
    sensitivity = fields.Float(allow_none=True)
    specificity = fields.Float(allow_none=True)


class PredictionSetOut(Schema):
    """Labels that cannot be left out: of films that have a finding, this share has it here."""

    coverage = fields.Float()
    labels = fields.List(fields.String())


class BoxOut(Schema):
    """A suspicious region in pixels of the original film."""

    label = fields.String()
    score = fields.Float()
    above_threshold = fields.Boolean()
    x0 = fields.Float()
    y0 = fields.Float()
    x1 = fields.Float()
    y1 = fields.Float()


class ReadingOut(Schema):
    """How far one model has come."""

    kind = fields.Enum(ReadingKind, by_value=True)
    status = fields.Enum(ReadingStatus, by_value=True)
    model = fields.Dict(allow_none=True)
    seconds = fields.Dict(allow_none=True)
    error_code = fields.String(allow_none=True)


class ImageOut(Schema):
    """The film and what was found on it."""

    sha256 = fields.String()
    received_at = fields.AwareDateTime()
    url = fields.String()
    width_px = fields.Integer()
    height_px = fields.Integer()
    unusable_reason = fields.String(allow_none=True)
    facts = fields.Dict(allow_none=True)
    readings = fields.List(fields.Nested(ReadingOut))
    findings = fields.List(fields.Nested(FindingOut))
    top3 = fields.List(fields.Nested(FindingOut))
    nothing_above_threshold = fields.Boolean(allow_none=True)
    score_kind = fields.String(
        allow_none=True,
        metadata={"description": "score, or probability where a site's prevalence is set"},
    )
    prediction_set = fields.Nested(PredictionSetOut, allow_none=True)
    heatmaps = fields.List(
        fields.String(), metadata={"description": "findings that a heatmap can be asked for"}
    )
    boxes = fields.List(fields.Nested(BoxOut))
    notice = fields.String()


class VitalsOut(VitalsIn):
    """Vital signs with the time they came."""

    consciousness = fields.String(  # type: ignore[assignment]  # the record keeps the letter
        allow_none=True, metadata={"description": "ACVPU"}
    )
    recorded_at = fields.AwareDateTime()
    earlier = fields.List(
        fields.String(),
        metadata={"description": "signs that the last set left out: their last measured values"},
    )


class VitalsSetOut(Schema):
    """One set of vital signs as it came; what was not measured is null."""

    recorded_at = fields.AwareDateTime()
    respiratory_rate_per_min = fields.Integer(allow_none=True)
    spo2_percent = fields.Integer(allow_none=True)
    on_oxygen = fields.Boolean(allow_none=True)
    systolic_bp_mmhg = fields.Integer(allow_none=True)
    diastolic_bp_mmhg = fields.Integer(allow_none=True)
    pulse_per_min = fields.Integer(allow_none=True)
    consciousness = fields.String(allow_none=True)
    temperature_c = fields.Float(allow_none=True)


class ReasonOut(Schema):
    """Why this acuity."""

    code = fields.String()
    params = fields.Dict()
    text = fields.Dict(keys=fields.String(), values=fields.String())
    source = fields.String(allow_none=True)


class NeedOut(Schema):
    """A capability that the ER must (required) or should (wished) have, and why."""

    capability = fields.String()
    strength = fields.String()
    text = fields.Dict(keys=fields.String(), values=fields.String())
    source = fields.String()


class RulesOut(Schema):
    """Which rule file was used; reviewed_by is empty while no clinician has signed it off."""

    version = fields.String()
    source = fields.String()
    reviewed_by = fields.String()
    reviewed_on = fields.String()


class TriageOut(Schema):
    """How urgent, and why; AI may raise it, never lower it."""

    reasons = fields.List(fields.Nested(ReasonOut))
    needs = fields.List(fields.String())
    wishes = fields.List(fields.String())
    need_reasons = fields.List(fields.Nested(NeedOut))
    news2 = fields.Dict(allow_none=True)
    qsofa = fields.Dict(allow_none=True)
    crb65 = fields.Dict(allow_none=True)
    scores_refused = fields.String(
        allow_none=True, metadata={"description": "why none of the three scores is used"}
    )
    credit = fields.String()
    rules = fields.Nested(RulesOut, allow_none=True)


class EmergencyRoomOut(Schema):
    """An ER as others see it."""

    id = fields.UUID()
    name = fields.String()
    name_ko = fields.String(allow_none=True)
    phone = fields.String(allow_none=True)
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
    case_id = fields.UUID()
    call_sign = fields.String()
    phone = fields.String(allow_none=True)
    status = fields.Enum(CaseStatus, by_value=True)
    received_at = fields.AwareDateTime()
    same_unit = fields.Boolean()
    emergency_room = fields.Nested(EmergencyRoomOut, allow_none=True)


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
    by_reason = fields.Dict(keys=fields.String(), values=fields.Integer())
    hours = fields.List(fields.Nested(ShortHourOut))


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


class OfferOut(OfferBrief):
    """An offer with the case, while the offer grants it."""

    case = fields.Nested(CaseOut, allow_none=True)
    basis = fields.String(
        allow_none=True,
        metadata={"description": "mark of what a decision rests on; send it with the decision"},
    )
    eta_now_min = fields.Float(
        allow_none=True, metadata={"description": "from the ambulance's last position"}
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


class QueueOut(Schema):
    """One pool's work, from rows."""

    kind = fields.String()
    pending = fields.Integer()
    running = fields.Integer()
    dead = fields.Integer()
    oldest_pending_s = fields.Float(allow_none=True)
    done_last_hour = fields.Integer()
    wait_p50_s = fields.Float(allow_none=True)
    wait_p95_s = fields.Float(allow_none=True)
    doorbells = fields.Integer(allow_none=True)


class ProcessOut(Schema):
    """A process and its last sign of life."""

    name = fields.String()
    kind = fields.String()
    beat_at = fields.AwareDateTime()
    alive = fields.Boolean()


class QueuesOut(Schema):
    """What operations watches."""

    queues = fields.List(fields.Nested(QueueOut))
    processes = fields.List(fields.Nested(ProcessOut))
    cases_by_status = fields.Dict(keys=fields.String(), values=fields.Integer())
    redis_answers = fields.Boolean()
    at = fields.AwareDateTime()


class OperationsCaseOut(Schema):
    """A case without anything clinical."""

    id = fields.UUID()
    status = fields.Enum(CaseStatus, by_value=True)
    acuity = fields.Integer(allow_none=True)
    call_sign = fields.String()
    round = fields.Integer()
    age_s = fields.Float()
    waits_s = fields.Float(metadata={"description": "since the present wait began"})
    weighted_min = fields.Float(
        metadata={"description": "waiting minutes weighed by acuity (level 4 counts 1)"}
    )
    why = fields.Enum(Why, by_value=True, allow_none=True)
    deadline_in_s = fields.Float(allow_none=True)
    partial = fields.Boolean()  # type: ignore[assignment]  # marshmallow takes fields off the class
    needs_review = fields.Boolean()
    dead_readings = fields.Integer()


class RequeueOut(Schema):
    """Which readings are tried again."""

    readings = fields.List(fields.UUID())


class DeadLetterOut(Schema):
    """A reading that gave up, without anything clinical."""

    reading_id = fields.UUID()
    case_id = fields.UUID()
    case_status = fields.Enum(CaseStatus, by_value=True)
    kind = fields.Enum(ReadingKind, by_value=True)
    attempts = fields.Integer()
    error_code = fields.String(allow_none=True)
    error = fields.String(allow_none=True)
    created_at = fields.AwareDateTime()
    finished_at = fields.AwareDateTime()


class ReplayQuery(Schema):
    """Whether only to look."""

    dry_run = fields.Boolean(load_default=False)


class ReplayOut(DeadLetterOut):
    """What is (or, dry run, would be) tried again."""

    dry_run = fields.Boolean()
    film_stored = fields.Boolean()
    """False: the film is not in the store, so that a replay must fail again."""


class ReplayedOut(Schema):
    """Which dead letters are (or, dry run, would be) tried again."""

    dry_run = fields.Boolean()
    readings = fields.List(fields.Nested(DeadLetterOut))


class DiversionOut(EmergencyRoomOut):
    """The ER after the change."""


class ProblemOut(Schema):
    """RFC 9457 problem details with a stable code."""

    type = fields.String()
    status = fields.Integer()
    code = fields.String()
    detail = fields.String()
    state = fields.String(metadata={"description": "where the case stands (409)"})
    reason = fields.String(metadata={"description": "a finer code: why not"})
    field = fields.String(metadata={"description": "which field is wrong"})
    errors = fields.Dict(metadata={"description": "messages by field"})
