"""What goes out about a patient's state: films and what was read in them, vital signs, triage.

The model's name, version and operating points travel with what it found.
"""

from __future__ import annotations

from marshmallow import Schema, fields

from broker.lifecycle import (
    ReadingKind,
    ReadingStatus,
)
from web.schemas.incoming import VitalsIn


class FilmCheckOut(Schema):
    """What the gate says of an uploaded film, before any case names it."""

    image_sha256 = fields.String()
    width_px = fields.Integer()
    height_px = fields.Integer()
    unusable_reason = fields.String(allow_none=True)


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
