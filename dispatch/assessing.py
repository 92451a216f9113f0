"""What the record knows about a case, put before triage; and the answer as it is stored.

Reads rows and calls triage.py; moves nothing and tells nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from broker.errors import NotFound
from broker.lifecycle import ReadingStatus
from broker.settings import Settings
from broker.tables import Case, Finding, Image, Reading
from dispatch import access, measured, rules as rules_, triage
from dispatch.access import Actor
from dispatch.triage import FindingFact, Triage, TriageCase


def current_image(session: Session, case_id: UUID) -> Image | None:
    """The film that counts: the last one received."""
    return current_images(session, [case_id]).get(case_id)


def current_images(session: Session, case_ids: Collection[UUID]) -> dict[UUID, Image]:
    """The same of many cases, by case; one without a film is not in it."""
    found: dict[UUID, Image] = {}
    for image in session.scalars(
        select(Image)
        .where(Image.case_id.in_(case_ids))
        .order_by(Image.received_at.desc(), Image.id)
    ):
        found.setdefault(image.case_id, image)
    return found


def film_for(session: Session, actor: Actor, case_id: UUID, sha256: str | None = None) -> Image:
    """The film that counts of a case that this actor may see, or the one of that hash; NotFound.

    One that was replaced may be of somebody else: it is for those who know the patient's name.
    """
    case = access.case(session, actor, case_id)
    image = current_image(session, case.id)
    if sha256 is not None and (image is None or image.sha256 != sha256):
        named = access.sees_identity(actor, access.holding_emergency_room(session, case.id))
        other = select(Image).where(Image.case_id == case.id, Image.sha256 == sha256)
        image = session.scalars(other).one_or_none() if named else None
    if image is None:
        raise NotFound(f"this case has no {'such ' if sha256 else ''}film")
    return image


def current_readings(session: Session, case: Case) -> Sequence[Reading]:
    """The readings of the film that counts."""
    image = current_image(session, case.id)
    if image is None:
        return []
    return session.scalars(select(Reading).where(Reading.image_id == image.id)).all()


def assess(session: Session, settings: Settings, case: Case) -> tuple[Triage, bool]:
    """Triage of a case as it stands, and whether a reading of its film is missing.

    Findings of earlier films count too: to replace a film by one that shows nothing, or that
    nobody could read, takes no urgency away.
    """
    readings = current_readings(session, case)
    now = {reading.id for reading in readings}
    findings = session.scalars(
        select(Finding)
        .join(Reading, Reading.id == Finding.reading_id)
        .where(Reading.case_id == case.id)
    ).all()
    vitals = measured.latest(session, case.id)
    complete = all(r.status is ReadingStatus.DONE for r in readings)
    result = triage.assess(
        TriageCase(
            crew_pre_ktas=case.crew_pre_ktas,
            age_years=case.age_years,
            vitals=vitals.as_vital_signs() if vitals else None,
            findings=tuple(
                FindingFact(
                    f.label, f.score, f.above_threshold, earlier_film=f.reading_id not in now
                )
                for f in findings
            ),
            reading_complete=bool(readings) and complete,
            pregnant=bool(case.pregnant),
        ),
        rules_.load(settings.triage_rules),
    )
    return result, not complete


def as_json(result: Triage, settings: Settings) -> dict[str, Any]:
    """A triage as the record keeps it, with the rule file that gave it."""
    return {
        "reasons": [
            {
                "code": str(r.code),
                "params": dict(r.params),
                **({"text": r.text, "source": r.source} if r.text else {}),
            }
            for r in result.reasons
        ],
        "needs": [need.value for need in result.needs],
        "wishes": [wish.value for wish in result.wishes],
        "need_reasons": [asdict(need) for need in result.need_reasons],
        "news2": asdict(result.news2) if result.news2 else None,
        "qsofa": asdict(result.qsofa) if result.qsofa else None,
        "crb65": asdict(result.crb65) if result.crb65 else None,
        "scores_refused": result.scores_refused,
        "rules": rules_.load(settings.triage_rules).about.as_json(),
    }
