"""A small city for tests: an ambulance, ERs in a row, and short words for what people do there.

Everything goes through the services and write units that the doors use; nothing is faked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from broker import database, events
from broker.lifecycle import (
    LIVE_CASES,
    CaseStatus,
    OfferStatus,
    ReadingKind,
    ReadingStatus,
    Role,
)
from broker.record import Record
from broker.settings import Settings
from broker.tables import (
    Ambulance,
    Case,
    EmergencyRoom,
    Event,
    Image,
    Offer,
    Reading,
)
from dispatch import advance, elsewhere, intake, offers, reading
from dispatch.access import Actor
from dispatch.intake import Submission
from dispatch.offers import Decision

T = TypeVar("T")
HERE = (37.50, 127.00)
MODEL = {"name": "a-network", "version": "1", "sha256": "0" * 64}


@dataclass(frozen=True)
class City:
    """Ids and actors; `rooms` from the nearest to the farthest."""

    record: Record
    crew: Actor
    control: Actor
    rooms: tuple[UUID, ...]

    @classmethod
    def found(cls, record: Record, rooms: int = 10) -> City:
        """Write the ambulance and the ERs."""
        ambulance = Ambulance(id=uuid4(), call_sign=f"unit {uuid4().hex[:6]}")
        ers = [
            EmergencyRoom(
                id=uuid4(),
                name=f"ER {number:02d} {uuid4().hex[:4]}",
                phone=f"02-000-{number:04d}",
                latitude=HERE[0] + 0.01 * (number + 1),
                longitude=HERE[1],
                level="regional",
                capabilities=[],
            )
            for number in range(rooms)
        ]
        with record.write() as session:
            session.add_all([ambulance, *ers])
        return cls(
            record,
            Actor(Role.CREW, "device:crew", ambulance_id=ambulance.id),
            Actor(Role.CONTROL_ROOM, "account:control"),
            tuple(er.id for er in ers),
        )

    @property
    def settings(self) -> Settings:
        return self.record.settings

    def er(self, room: UUID) -> Actor:
        """The actor of an ER."""
        return Actor(Role.EMERGENCY_ROOM, f"account:{room}", emergency_room_id=room)

    def do(self, service: Callable[..., T], *args: Any, **named: Any) -> T:
        """One write unit of a service that takes a session first, as a door opens it."""
        return self.record.again(lambda session: service(session, *args, **named))

    def submit(self, key: str | None = None, **facts: Any) -> UUID:
        """A case without a film."""
        said = {"crew_pre_ktas": 3, "latitude": HERE[0], "longitude": HERE[1], **facts}
        receipt = self.do(
            intake.submit,
            self.settings,
            self.crew,
            key or uuid4().hex,
            Submission(**said),
            None,
            uuid4(),
        )
        return receipt.case_id

    def submit_film(
        self, readings: Sequence[ReadingKind] = tuple(ReadingKind), **facts: Any
    ) -> UUID:
        """A case whose film lies in rows only: for everything that opens no image."""
        case_id = self.submit(**facts)
        with self.record.write() as session:
            case = session.get_one(Case, case_id)
            image = Image(
                case_id=case_id,
                sha256=uuid4().hex * 2,
                rendition_sha256=uuid4().hex * 2,
                media_type="image/png",
                byte_count=1,
                width_px=200,
                height_px=100,
                rendition_width_px=100,
                rendition_height_px=50,
                received_at=case.received_at,
            )
            session.add(image)
            session.flush()
            session.add_all(
                Reading(
                    image_id=image.id,
                    case_id=case_id,
                    kind=kind,
                    status=ReadingStatus.PENDING,
                    due_at=case.received_at,
                    created_at=case.received_at,
                )
                for kind in readings
            )
            urgent = case.crew_pre_ktas is not None and case.crew_pre_ktas <= 2
            if not urgent:
                case.deadline_at = case.received_at + timedelta(
                    seconds=self.settings.scaled(self.settings.reading_deadline_s)
                )
        return case_id

    def submit_second_film(self, case_id: UUID) -> None:
        """A film that replaces the first one, in rows only."""
        with self.record.write() as session:
            now = database.now(session)
            image = Image(
                case_id=case_id,
                sha256=uuid4().hex * 2,
                rendition_sha256=uuid4().hex * 2,
                media_type="image/png",
                byte_count=1,
                width_px=200,
                height_px=100,
                rendition_width_px=100,
                rendition_height_px=50,
                received_at=now,
            )
            session.add(image)
            session.flush()
            session.add_all(
                Reading(
                    image_id=image.id,
                    case_id=case_id,
                    kind=kind,
                    status=ReadingStatus.PENDING,
                    due_at=now,
                    created_at=now,
                )
                for kind in ReadingKind
            )

    def fail(self, kind: ReadingKind) -> None:
        """One attempt at the next reading of a kind that goes wrong."""
        self.do(reading.failed, self.settings, self.claim(kind), "network_failure", "for a test")

    def claim(self, kind: ReadingKind, owner: str = "worker") -> reading.Claim:
        """Claim the next reading of a kind; there must be one."""
        claim = self.do(reading.claim, self.settings, kind, owner)
        assert claim is not None
        return claim

    def read(
        self, claim: reading.Claim, *labels: str, score: float = 0.9, above: bool = True
    ) -> None:
        """Finish a claimed reading with these labels found."""
        found = [reading.Found(label, score, above) for label in labels]
        self.do(reading.done, self.settings, claim, found, MODEL, {"run": 0.1})

    def advance(self, case_id: UUID) -> None:
        """What the queue and upkeep do at a deadline."""
        self.do(advance.advance, self.settings, case_id)

    def offered(self, **facts: Any) -> tuple[UUID, list[Offer]]:
        """A case without a film that stands before its first three ERs."""
        case_id = self.submit(**facts)
        self.advance(case_id)
        opened = self.offers(case_id)
        assert self.case(case_id).status is CaseStatus.OFFERING
        return case_id, opened

    def decide(self, offer: Offer, decision: Decision, **named: Any) -> Offer:
        """An ER answers its own offer."""
        return self.do(
            offers.decide,
            self.settings,
            self.er(offer.emergency_room_id),
            offer.id,
            decision,
            **named,
        )

    def case(self, case_id: UUID) -> Case:
        with self.record.read() as session:
            return session.get_one(Case, case_id)

    def offers(self, case_id: UUID, *statuses: OfferStatus) -> list[Offer]:
        """Offers of a case by round and rank, all or those in these states."""
        with self.record.read() as session:
            query = select(Offer).where(Offer.case_id == case_id).order_by(Offer.round, Offer.rank)
            found = session.scalars(query).all()
        return [o for o in found if not statuses or o.status in statuses]

    def readings(self, case_id: UUID) -> dict[ReadingKind, Reading]:
        with self.record.read() as session:
            rows = session.scalars(select(Reading).where(Reading.case_id == case_id)).all()
        return {row.kind: row for row in rows}

    def heard(self, audience: str) -> list[str]:
        """Event types of an audience in order."""
        with self.record.read() as session:
            return [entry.type for entry in events.after(session, audience, 0, limit=100_000)]

    def crew_heard(self) -> list[str]:
        assert self.crew.ambulance_id is not None
        return self.heard(events.ambulance(self.crew.ambulance_id))

    def er_heard(self, room: UUID) -> list[str]:
        return self.heard(events.emergency_room(room))

    def last_event(self, audience: str) -> events.Entry:
        with self.record.read() as session:
            return events.after(session, audience, 0, limit=100_000)[-1]

    def let_pass(self, case_id: UUID, seconds: float) -> None:
        """Set every time of a case back, as if so many seconds had gone by."""
        past = timedelta(seconds=seconds)
        with self.record.write() as session:
            case = session.get_one(Case, case_id)
            for name in (
                "deadline_at",
                "received_at",
                "search_opened_at",
                "round_opened_at",
                "assigned_at",
                "ended_at",
            ):
                value: datetime | None = getattr(case, name)
                if value is not None:
                    setattr(case, name, value - past)
            for offer in session.scalars(select(Offer).where(Offer.case_id == case_id)):
                offer.offered_at -= past
                if offer.decided_at:
                    offer.decided_at -= past

    def change_rooms(self, **values: Any) -> None:
        """Change every ER."""
        with self.record.write() as session:
            session.execute(update(EmergencyRoom).values(**values))

    def check(self) -> None:
        """What must hold in every database at every moment."""
        with self.record.read() as session:
            check_invariants(session)

    @property
    def folder(self) -> Path:
        return self.settings.data_dir


def check_invariants(session: Session) -> None:
    """One holder at most, a deadline for every live case, gapless event logs."""
    for case in session.scalars(select(Case)):
        accepted = [o for o in case.offers if o.status is OfferStatus.ACCEPTED]
        outside = elsewhere.open_placement(session, case.id)
        holders = len(accepted) + (outside is not None)
        assert holders <= 1, f"{holders} hold case {case.id}"
        assert len(accepted) <= 1, f"{len(accepted)} ERs hold case {case.id}"
        assert (case.status in LIVE_CASES) == (case.deadline_at is not None), case.status
        held = case.status in {
            CaseStatus.ASSIGNED,
            CaseStatus.ACKNOWLEDGED,
            CaseStatus.EN_ROUTE,
            CaseStatus.ARRIVED,
        }
        if held:
            assert holders == 1, f"case {case.id} is {case.status}, but nobody holds it"
            still = [o.status for o in case.offers if o.status in offers.OPEN_OFFERS]
            assert not still, f"case {case.id} is {case.status} with open offers {still}"
        if case.status in {CaseStatus.OFFERING, CaseStatus.UNPLACED, CaseStatus.RECEIVED}:
            assert holders == 0, f"case {case.id} is {case.status}, but held"
    seqs: dict[str, list[int]] = {}
    for audience, seq in session.execute(
        select(Event.audience, Event.seq).order_by(Event.audience, Event.seq)
    ):
        seqs.setdefault(audience, []).append(seq)
    for audience, numbers in seqs.items():
        assert numbers == list(range(1, len(numbers) + 1)), f"gap in the log of {audience}"
