"""A film as it is shown: its facts, how far its readings are, and what they found."""

from __future__ import annotations

from typing import Any

from broker.lifecycle import ReadingKind, ReadingStatus
from broker.tables import Finding, Reading
from web.dossier import Film

NOTICE = "AI output of research software, not a medical device: not for diagnosis."
TOP = 3
MODEL_IDENTITY = ("name", "version", "sha256")
IDENTIFYING_FACTS = frozenset({"patient_age_years", "study_time"})


def image_picture(film: Film, identity: bool) -> dict[str, Any]:
    """The film's facts, how far its readings are, and what they found.

    Without `identity` the header's facts go out as an age band and no time.
    """
    image, readings = film.image, film.readings
    found = {reading.kind: film.findings[reading.id] for reading in readings}
    done = [
        r for r in readings if r.kind is ReadingKind.CLASSIFY and r.status is ReadingStatus.DONE
    ]
    model = (done[-1].model or {}) if done else {}
    labels = [finding_picture(f, model) for f in found.get(ReadingKind.CLASSIFY, [])]
    return {
        "sha256": image.sha256,
        "url": f"/api/v1/cases/{image.case_id}/image",
        "received_at": image.received_at,
        "width_px": image.width_px,
        "height_px": image.height_px,
        "unusable_reason": image.unusable_reason,
        "facts": {
            name: fact
            for name, fact in (image.facts or {}).items()
            if identity or name not in IDENTIFYING_FACTS
        }
        or None,
        "readings": [reading_picture(reading) for reading in readings],
        "findings": labels,
        "top3": labels[:TOP],
        "nothing_above_threshold": (
            not any(f["above_threshold"] for f in labels) if done else None
        ),
        "score_kind": model.get("score_kind"),
        "prediction_set": model.get("prediction_set"),
        "heatmaps": sorted(model.get("heatmaps", {})),
        "boxes": found.get(ReadingKind.DETECT, []),
        "notice": NOTICE,
    }


def reading_picture(reading: Reading) -> dict[str, Any]:
    """How far a reading is, and whose it is; what its numbers mean stands beside them."""
    model = reading.model and {name: reading.model.get(name) for name in MODEL_IDENTITY}
    return {
        "kind": reading.kind,
        "status": reading.status,
        "model": model,
        "seconds": reading.seconds,
        "error_code": reading.error_code,
    }


def finding_picture(finding: Finding, model: dict[str, Any]) -> dict[str, Any]:
    """A label's score beside the operating point that its model stated when it read the film.

    `model` is the reading's; a reading of an older version, which kept no points, shows none.
    """
    point = model.get("operating_points", {}).get(finding.label, {})
    return {
        "label": finding.label,
        "score": finding.score,
        "above_threshold": finding.above_threshold,
        "threshold": point.get("threshold"),
        "sensitivity": point.get("sensitivity"),
        "specificity": point.get("specificity"),
    }
