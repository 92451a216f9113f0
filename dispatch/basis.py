"""What an ER's decision rests on: a mark of the facts that its screen showed.

A screen that was frozen for a minute may show another acuity, another film or other vital signs
than the record. It sends the mark of what it showed with the decision; when the record's is
another, nothing is decided. The version would be too strict: it also rises when another ER looks.
"""

from __future__ import annotations

import hashlib
import json

from sqlalchemy.orm import Session

from broker.errors import StalePage
from broker.tables import Case, Image
from dispatch import assessing, measured
from dispatch.measured import Measured


def mark(case: Case, image: Image | None, vitals: Measured | None) -> str:
    """A short mark that changes with acuity, needs, film and vital signs, and with nothing else."""
    facts = [
        case.acuity,
        sorted((case.triage or {}).get("needs", [])),
        image.sha256 if image else None,
        vitals.recorded_at.isoformat() if vitals else None,
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def check(session: Session, case: Case, shown: str | None) -> None:
    """StalePage when `shown` is given and the case's facts are no longer those."""
    if shown is None:
        return
    image = assessing.current_image(session, case.id)
    if shown != mark(case, image, measured.latest(session, case.id)):
        raise StalePage(status=str(case.status))
