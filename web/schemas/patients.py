"""The shapes of patients: what is said about them, searched for and shown; no queries, no rules."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from broker.lifecycle import CaseStatus, DuplicateReason, DuplicateResolution
from dispatch.chronicle import EntryKind
from dispatch.patients import IdentityState
from web.schemas.base import Flag, In, Number, no_control_characters
from web.schemas.incoming import PatientIn
from web.schemas.outgoing import PatientOut, TemporaryNameOut

VERSION = {"description": "the patient's version as you looked at it; an older one is a 409"}


def _version() -> fields.Integer:
    return fields.Integer(
        strict=True, required=True, validate=validate.Range(1, 2**31 - 1), metadata=VERSION
    )


class PatientPatchIn(PatientIn):
    """More about a patient, or null to take it back."""

    version = _version()
    sex = fields.String(
        allow_none=True, validate=validate.OneOf(["female", "male", "other", "unknown"])
    )
    estimated_age_years = Number(0, 130, allow_none=True)

    @validates_schema
    def says_something(self, data: dict[str, Any], **_: Any) -> None:
        """An empty change is a mistake."""
        if set(data) <= {"version"}:
            raise ValidationError("says nothing new")


class PatientSearchIn(In):
    """Exact words, in the body and never in an address, where logs would keep them."""

    temporary_name = fields.String(validate=[validate.Length(1, 60), no_control_characters])
    name = fields.String(validate=[validate.Length(1, 120), no_control_characters])
    birth_date = fields.Date()
    identifier = fields.String(validate=[validate.Length(1, 60), no_control_characters])
    live = Flag(load_default=False)
    before = fields.Integer(strict=True, validate=validate.Range(1, 2**31 - 1))
    limit = fields.Integer(strict=True, load_default=25, validate=validate.Range(1, 100))


class PatientsQuery(In):
    """Which patients, without a word about who they are."""

    live = fields.Boolean(load_default=False)
    before = fields.Integer(validate=validate.Range(1, 2**31 - 1))
    limit = fields.Integer(load_default=25, validate=validate.Range(1, 100))


def _reason() -> fields.String:
    return fields.String(
        validate=[validate.Length(3, 200), no_control_characters],
        metadata={"description": "why; goes into the audit, so no name"},
    )


class MergeIn(In):
    """Which other patient is the same person, and both versions as you looked at them."""

    absorb = fields.UUID(required=True)
    version = _version()
    absorb_version = _version()
    reason = _reason()


class SplitIn(In):
    """The version of the patient that the merge is taken out of."""

    version = _version()
    reason = _reason()


class CallOffIn(In):
    """Which of the two cases is called off."""

    case_id = fields.UUID(required=True)


class PatientLineOut(Schema):
    """A patient in a list: no identity."""

    id = fields.UUID()
    temporary_name = fields.Nested(TemporaryNameOut, allow_none=True)
    sex = fields.String(allow_none=True)
    estimated_age_years = fields.Float(allow_none=True)
    version = fields.Integer()
    created_at = fields.AwareDateTime(allow_none=True)
    updated_at = fields.AwareDateTime(allow_none=True)
    erased_at = fields.AwareDateTime(allow_none=True)
    cases = fields.Integer()
    latest_case_id = fields.UUID(allow_none=True)
    latest_status = fields.Enum(CaseStatus, by_value=True, allow_none=True)
    latest_at = fields.AwareDateTime(allow_none=True)
    latest_acuity = fields.Integer(allow_none=True)
    call_sign = fields.String(allow_none=True)


class PatientsOut(Schema):
    """Some patients; ask on with next_before as `before`."""

    patients = fields.List(fields.Nested(PatientLineOut))
    next_before = fields.Integer(allow_none=True)


class MergeOut(Schema):
    """A merge in force; splitting it gives the absorbed patient back."""

    id = fields.UUID()
    surviving_id = fields.UUID()
    absorbed_id = fields.UUID()
    absorbed_name = fields.Nested(TemporaryNameOut, allow_none=True)
    merged_at = fields.AwareDateTime()
    split_at = fields.AwareDateTime(allow_none=True)


class PatientDetailOut(PatientLineOut):
    """One patient as this actor may see it."""

    identity = fields.Enum(IdentityState, by_value=True)
    patient = fields.Nested(PatientOut, allow_none=True)
    merges = fields.List(fields.Nested(MergeOut))
    maybe_same = fields.List(
        fields.Nested(PatientLineOut),
        metadata={"description": "the same identifier, or the same name and birth date"},
    )


class StoryEntryOut(Schema):
    """One line of a patient's story; `facts` differ by kind."""

    at = fields.AwareDateTime()
    kind = fields.Enum(EntryKind, by_value=True)
    case_id = fields.UUID()
    facts = fields.Dict()


class StoryCaseOut(Schema):
    """A case of the story."""

    id = fields.UUID()
    status = fields.Enum(CaseStatus, by_value=True)
    received_at = fields.AwareDateTime()
    ended_at = fields.AwareDateTime(allow_none=True)
    ended_reason = fields.String(allow_none=True)
    acuity = fields.Integer(allow_none=True)
    age_years = fields.Float(allow_none=True)
    sex = fields.String(allow_none=True)
    complaint = fields.String(allow_none=True)
    call_sign = fields.String()


class StoryOut(Schema):
    """Cases from the newest, entries from the oldest."""

    patient_id = fields.UUID()
    cases = fields.List(fields.Nested(StoryCaseOut))
    entries = fields.List(fields.Nested(StoryEntryOut))
    more_cases = fields.Integer()
    notice = fields.String()


class PrintOut(Schema):
    """What goes on one sheet, with who printed it when."""

    patient = fields.Nested(PatientDetailOut)
    story = fields.Nested(StoryOut)
    printed_at = fields.AwareDateTime()
    printed_by = fields.String()


class SuspicionOut(Schema):
    """What was answered about two cases."""

    id = fields.UUID()
    case_id = fields.UUID()
    other_case_id = fields.UUID()
    reason = fields.Enum(DuplicateReason, by_value=True)
    same_said_at = fields.AwareDateTime(allow_none=True)
    same_said_by = fields.String(allow_none=True)
    resolution = fields.Enum(DuplicateResolution, by_value=True, allow_none=True)
    cancelled_case_id = fields.UUID(allow_none=True)
    resolved_at = fields.AwareDateTime(allow_none=True)
