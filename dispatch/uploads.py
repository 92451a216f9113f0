"""Films that arrive in pieces: whose they are, how long they may wait, when they are whole.

A film is named by its unit and its SHA-256, so that a sender who lost our answer finds its upload
again by announcing it once more. Bytes are broker/partials.py's, HTTP is web/uploads.py's.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from broker import database
from broker.errors import Invalid, LostRace, NotFound, UploadIncomplete
from broker.partials import Partials
from broker.settings import Settings
from broker.tables import Upload
from dispatch.access import Actor

MOST_PER_AMBULANCE = 8
"""Unfinished films of one unit; the oldest makes room for a new one, so that nobody is refused."""


def announce(
    session: Session, settings: Settings, actor: Actor, sha256: str, byte_count: int
) -> tuple[Upload, list[UUID]]:
    """The upload of this film, new or found again, and those that had to make room for it."""
    assert actor.ambulance_id is not None  # the route lets only crews in
    now = database.now(session)
    expires_at = now + timedelta(seconds=settings.upload_keep_s)
    mine = _of_unit(session, actor.ambulance_id)
    for upload in mine:
        if upload.sha256 == sha256:
            if upload.byte_count != byte_count:
                raise Invalid("this film was announced with another length", field="Upload-Length")
            upload.expires_at = expires_at
            return upload, []
    crowded = mine[: max(0, len(mine) + 1 - MOST_PER_AMBULANCE)]
    for upload in crowded:
        session.delete(upload)
    upload = Upload(
        ambulance_id=actor.ambulance_id,
        sha256=sha256,
        byte_count=byte_count,
        created_at=now,
        expires_at=expires_at,
    )
    session.add(upload)
    try:
        session.flush()
    except IntegrityError as error:  # announced twice at the same moment: find it next time
        raise LostRace() from error
    return upload, [old.id for old in crowded]


def mine(session: Session, actor: Actor, upload_id: UUID) -> Upload:
    """An upload of this actor's unit; NotFound for another's, and for one that has ended."""
    upload = session.get(Upload, upload_id)
    if upload is None or upload.ambulance_id != actor.ambulance_id:
        raise NotFound(f"there is no upload {upload_id}; announce the film again")
    return upload


def whole(session: Session, partials: Partials, actor: Actor, sha256: str) -> Upload:
    """The finished upload of this film; UploadIncomplete when it is not (wholly) here."""
    upload = _by_hash(session, actor, sha256)
    offset = partials.offset(upload.id) if upload else 0
    if upload is None or offset < upload.byte_count:
        raise UploadIncomplete(offset=offset)
    return upload


def announced(session: Session, actor: Actor, sha256: str) -> Upload:
    """The upload of this film by this actor's unit, however far it is; NotFound without one."""
    upload = _by_hash(session, actor, sha256)
    if upload is None:
        raise NotFound("this film was never announced, or has been used; announce it")
    return upload


def touch(session: Session, settings: Settings, actor: Actor, upload_id: UUID) -> None:
    """A piece arrived: the rest may take its time again."""
    upload = mine(session, actor, upload_id)
    upload.expires_at = database.now(session) + timedelta(seconds=settings.upload_keep_s)


def forget(session: Session, upload_id: UUID) -> None:
    """End an upload; its bytes are deleted after the commit, or by upkeep."""
    upload = session.get(Upload, upload_id)
    if upload is not None:
        session.delete(upload)


def forget_expired(session: Session) -> Sequence[UUID]:
    """End the uploads for whose rest we have waited long enough; returns them."""
    expired = session.scalars(
        select(Upload).where(Upload.expires_at <= database.now(session)).limit(200)
    ).all()
    for upload in expired:
        session.delete(upload)
    return [upload.id for upload in expired]


def unknown(session: Session, upload_ids: Sequence[UUID]) -> set[UUID]:
    """Those that have no row: what a killed process left behind."""
    known = session.scalars(select(Upload.id).where(Upload.id.in_(upload_ids))).all()
    return set(upload_ids) - set(known)


def _by_hash(session: Session, actor: Actor, sha256: str) -> Upload | None:
    return session.scalars(
        select(Upload).where(Upload.ambulance_id == actor.ambulance_id, Upload.sha256 == sha256)
    ).one_or_none()


def _of_unit(session: Session, ambulance_id: UUID) -> list[Upload]:
    return list(
        session.scalars(
            select(Upload).where(Upload.ambulance_id == ambulance_id).order_by(Upload.created_at)
        )
    )
