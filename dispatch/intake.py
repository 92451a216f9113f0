"""Taking a case in: idempotent, durable before it is answered.

The film is opened once, in the throw-away child; its bytes lie safely in the image store before the
rows are written, and the receipt is given after the commit. A duplicate submission gets the same
receipt; the same key with another body is refused.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from broker import database, events, keyring, sandbox
from broker.errors import Conflict, IdempotencyKeyReused, ImageUnreadable, StorageFull
from broker.imagestore import ImageStore, sha256_of
from broker.lifecycle import LIVE_CASES, CaseStatus, ReadingKind, ReadingStatus
from broker.settings import Settings
from broker.tables import Case, Image, Reading, VitalSignsEntry
from dispatch import access, advance, assessing, duplicates, patients
from dispatch.access import Actor
from dispatch.film import OpenedFilm, open_film
from dispatch.transition import move_case, tell_crew, tell_granted
from models.xray import UnreadableFilm


@dataclass(frozen=True)
class Submission:
    """What a crew says about a patient; everything may be unknown."""

    crew_pre_ktas: int | None = None
    age_years: float | None = None
    sex: str | None = None
    pregnant: bool | None = None
    complaint: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    vitals: Mapping[str, Any] | None = None
    patient: Mapping[str, Any] | None = None
    film_follows: bool = False
    """A film is on its way: the case waits for it as for a reading."""


@dataclass(frozen=True)
class Film:
    """An upload that was opened: durable as soon as keep() returned."""

    upload: Path
    rendition: Path
    sha256: str
    rendition_sha256: str
    byte_count: int
    opened: OpenedFilm


@dataclass(frozen=True)
class Receipt:
    """The crew may forget about the network once it holds this."""

    case_id: UUID
    image_sha256: str | None
    received_at: datetime
    image_unusable: str | None


def open_upload(store: ImageStore, source: BinaryIO, paths: tuple[Path, Path]) -> Film:
    """Store an upload under temporary names and open it in the child.

    Raises ImageUnreadable with the reader's code, TooLarge or StorageFull; nothing is kept then.
    """
    upload, rendition = paths
    sha256, byte_count = store.receive(source, upload)
    if byte_count == 0:
        raise ImageUnreadable("the image is empty; retake it", reason="empty")
    try:
        opened = sandbox.run(open_film, str(upload), str(rendition))
    except UnreadableFilm as error:
        raise ImageUnreadable(str(error), reason=error.code) from error
    except sandbox.SandboxFailure as error:
        raise ImageUnreadable(error.message, reason=error.cause) from error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:  # no room for the rendition
            raise StorageFull() from error
        raise
    return Film(upload, rendition, sha256, sha256_of(rendition), byte_count, opened)


def keep(store: ImageStore, case_id: UUID, film: Film) -> None:
    """Make the original and the rendition durable, before any row speaks of them."""
    store.keep(film.upload, case_id, film.sha256)
    store.keep(film.rendition, case_id, film.rendition_sha256)


def request_hashes(
    settings: Settings, submission: Submission, film_sha256: str | None
) -> tuple[str, ...]:
    """What everything that was submitted is known by again; the first one is kept.

    Keyed, for a name is part of it (broker/keyring.py); the others are of older keys, and of the
    version before, which had none.
    """
    facts = asdict(submission)
    del facts["film_follows"]  # how the film travels is no fact
    if submission.pregnant is None:
        del facts["pregnant"]  # a key from before the field existed must still be known
    text = json.dumps([facts, film_sha256], sort_keys=True, default=str)
    plain = hashlib.sha256(text.encode()).hexdigest()
    if not settings.identity_keys:
        return (plain,)
    return (*keyring.of(settings).fingerprints(plain), plain)


def known(
    session: Session, actor: Actor, key: str, request_hashes: Sequence[str]
) -> Receipt | None:
    """The receipt of an earlier submission with this key; IdempotencyKeyReused for another body."""
    case = session.scalars(
        select(Case).where(Case.ambulance_id == actor.ambulance_id, Case.idempotency_key == key)
    ).one_or_none()
    if case is None:
        return None
    if case.request_sha256 not in request_hashes:
        raise IdempotencyKeyReused()
    return receipt(session, case)


def submit(
    session: Session,
    settings: Settings,
    actor: Actor,
    key: str,
    submission: Submission,
    film: Film | None,
    case_id: UUID,
) -> Receipt:
    """Write Case, Image, Readings and Event; the door commits and then gives the receipt."""
    hashes = request_hashes(settings, submission, film.sha256 if film else None)
    if found := known(session, actor, key, hashes):
        return found
    assert actor.ambulance_id is not None  # the route lets only crews in
    now = database.now(session)
    waits = film.opened.verdict.usable if film else submission.film_follows
    said = submission.patient or {}
    age_years = submission.age_years
    if age_years is None:
        age_years = patients.age_years(said.get("birth_date"), now.date())
    case = Case(
        id=case_id,
        ambulance_id=actor.ambulance_id,
        idempotency_key=key,
        request_sha256=hashes[0],
        status=CaseStatus.RECEIVED,
        received_at=now,
        updated_at=now,
        deadline_at=now
        + (advance.patience(settings, submission.crew_pre_ktas) if waits else timedelta()),
        crew_pre_ktas=submission.crew_pre_ktas,
        age_years=age_years,
        sex=submission.sex,
        pregnant=submission.pregnant,
        complaint=submission.complaint,
        latitude=submission.latitude,
        longitude=submission.longitude,
        position_at=now if submission.latitude is not None else None,
    )
    try:
        with session.begin_nested():
            session.add(case)
    except IntegrityError:  # the same key, a moment earlier, on another connection
        found = known(session, actor, key, hashes)
        if found is None:
            raise
        return found
    case.patient = patients.create(
        session, settings, sex=submission.sex, estimated_age_years=age_years, identity=said
    )
    session.flush()
    if submission.vitals:
        session.add(VitalSignsEntry(case_id=case.id, recorded_at=now, **submission.vitals))
    if film:
        _attach(session, settings, case, film, now)
    events.audit(session, actor.name, "case.received", case.id)
    tell_crew(session, case, "case.received")
    duplicates.look(session, settings, case)
    session.flush()
    return receipt(session, case)


def add_image(
    session: Session, settings: Settings, actor: Actor, case_id: UUID, film: Film
) -> Receipt:
    """Add or replace a case's film; the same bytes again change nothing."""
    case = access.case(session, actor, case_id)
    if any(image.sha256 == film.sha256 for image in case.images):
        return receipt(session, case)
    if case.status not in LIVE_CASES:
        raise Conflict(
            f"the case is {case.status}; a film cannot be added", status=str(case.status)
        )
    now = database.now(session)
    values: dict[str, Any] = {"image_unusable": None}
    if case.status is CaseStatus.RECEIVED and case.control_room_until_at is None:
        waits = film.opened.verdict.usable
        until = case.received_at + advance.patience(settings, case.crew_pre_ktas)
        values["deadline_at"] = until if waits else now
    move_case(session, case, case.status, actor, tell=None, **values)
    _attach(session, settings, case, film, now)
    events.audit(session, actor.name, "case.image", case.id, sha256=film.sha256)
    session.flush()
    session.expire(case, ["images"])
    advance.reassess(session, settings, case, "image")
    if case.status is CaseStatus.RECEIVED:
        tell_crew(session, case, "case.image")
        tell_granted(session, case, "offer.amended", why="image")
    return receipt(session, case)


def receipt(session: Session, case: Case) -> Receipt:
    """The receipt of a stored case; the same whenever it is asked for."""
    image = assessing.current_image(session, case.id)
    return Receipt(
        case_id=case.id,
        image_sha256=image.sha256 if image else None,
        received_at=case.received_at,
        image_unusable=case.image_unusable,
    )


def _attach(session: Session, settings: Settings, case: Case, film: Film, now: datetime) -> None:
    opened = film.opened
    reason = None if opened.verdict.usable else str(opened.verdict.reason)
    image = Image(
        case_id=case.id,
        sha256=film.sha256,
        rendition_sha256=film.rendition_sha256,
        media_type=str(opened.media_type),
        byte_count=film.byte_count,
        width_px=opened.width_px,
        height_px=opened.height_px,
        rendition_width_px=opened.rendition_width_px,
        rendition_height_px=opened.rendition_height_px,
        facts=opened.facts.as_json() if opened.facts else None,
        unusable_reason=reason,
        received_at=now,
    )
    session.add(image)
    case.image_unusable = reason
    session.flush()
    if opened.verdict.usable:
        session.add_all(
            Reading(
                image_id=image.id,
                case_id=case.id,
                kind=kind,
                model_version=settings.classifier
                if kind is ReadingKind.CLASSIFY
                else settings.detector,
                status=ReadingStatus.PENDING,
                due_at=now,
                created_at=now,
            )
            for kind in ReadingKind
        )
    events.work_due(session)
