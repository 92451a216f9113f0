"""A small city behind a gateway, and the people who knock at its doors.

Requests go through Flask's test client; what the relay and the workers do in between is played here
by calling dispatch's own functions in write units, exactly as they do. Nothing is faked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from io import BytesIO
from typing import Any
from uuid import UUID, uuid4

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from broker.lifecycle import CaseStatus, DuplicateReason, OfferStatus, ReadingKind, Role
from broker.record import Record
from broker.settings import Settings
from broker.tables import Base, Case, DuplicateSuspicion, Offer, PatientMerge, Reading
from dispatch import access, advance, patients, reading
from web import registry
from web.app import create_app
from web.state import KEY, State

API = "/api/v1"
HERE = {"latitude": 37.50, "longitude": 127.00}
VITALS = {
    "respiratory_rate_per_min": 22,
    "spo2_percent": 93,
    "on_oxygen": False,
    "systolic_bp_mmhg": 118,
    "diastolic_bp_mmhg": 70,
    "pulse_per_min": 104,
    "consciousness": "A",
    "temperature_c": 38.1,
}
CASE: dict[str, Any] = {
    "crew_pre_ktas": 3,
    "age_years": 67,
    "sex": "female",
    "complaint": "short of breath since this morning",
    "position": HERE,
    "vitals": VITALS,
    "patient": {
        "name": "Canary Gildong",
        "birth_date": "1959-03-01",
        "identifier": "CANARY-0001",
        "phone": "010-0000-0001",
    },
}
SCORES = {"Effusion": 0.91, "Cardiomegaly": 0.62, "Nodule": 0.08}
MODEL = {"name": "played-by-a-test", "version": "1", "sha256": "0" * 64}
PASSWORD = "correct horse battery"


def film(name: str = "normal.png") -> bytes:
    """One of the generated radiographs that the project ships."""
    return (resources.files("models") / "samples" / name).read_bytes()


@dataclass(frozen=True)
class Caller:
    """Somebody with a device token, or nobody at all."""

    app: Flask
    token: str | None = None

    def __call__(self, method: str, path: str, **more: Any) -> TestResponse:
        """One request; paths without a leading `/api`, `/healthz` … are under /api/v1."""
        headers = dict(more.pop("headers", {}))
        if self.token:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        outside = path.startswith(("/api/", "/healthz", "/readyz", "/metrics"))
        address = path if outside else API + path
        answer = self.app.test_client().open(address, method=method, headers=headers, **more)
        answer.request.environ["wsgi.input"].close()  # the client leaves large bodies open
        return answer

    def get(self, path: str, **more: Any) -> TestResponse:
        return self("GET", path, **more)

    def post(self, path: str, **more: Any) -> TestResponse:
        return self("POST", path, **more)

    def submit(
        self,
        case: Mapping[str, Any] | str | None = None,
        image: bytes | None = None,
        key: str | None = None,
        name: str = "film.png",
    ) -> TestResponse:
        """POST /cases as a form, with a new key unless one is given."""
        text = case if isinstance(case, str) else json.dumps(CASE if case is None else case)
        form: dict[str, Any] = {"case": text}
        if image is not None:
            form["image"] = (BytesIO(image), name)
        headers = {"Idempotency-Key": key or f"test-{uuid4()}"}
        return self.post("/cases", data=form, headers=headers, content_type="multipart/form-data")


@contextmanager
def gateway(settings: Settings) -> Iterator[Flask]:
    """Another gateway; its record is closed at the end."""
    app = create_app(settings)
    yield app
    state: State = app.extensions[KEY]
    state.record.close()


class House:
    """One gateway over one database: crews, ERs, control room, operations."""

    def __init__(self, settings: Settings, rooms: int = 5) -> None:
        self.settings = settings
        self.app = create_app(settings)
        self.state: State = self.app.extensions[KEY]
        self.record: Record = self.state.record
        self.nobody = Caller(self.app)
        with self.record.write() as db:
            registry.put_ambulance(db, "Test 1")
            registry.put_ambulance(db, "Test 2")
            self.rooms: list[UUID] = [
                registry.put_emergency_room(
                    db,
                    {
                        "name": f"Test Hospital {number}",
                        "phone": f"02-000-{number:04d}",
                        "latitude": HERE["latitude"] + 0.01 * number,
                        "longitude": HERE["longitude"],
                        "level": "regional",
                        "capabilities": [],
                    },
                ).id
                for number in range(1, rooms + 1)
            ]
        self.crew = self.device(Role.CREW, "Test 1")
        self.other_crew = self.device(Role.CREW, "Test 2")
        self.control = self.device(Role.CONTROL_ROOM)
        self.operations = self.device(Role.OPERATIONS)
        self.admin = self.device(Role.ADMIN)
        self._rooms = {
            room: self.device(Role.EMERGENCY_ROOM, f"Test Hospital {number}")
            for number, room in enumerate(self.rooms, start=1)
        }

    def close(self) -> None:
        self.record.close()

    def device(self, role: Role, unit: str | None = None, label: str | None = None) -> Caller:
        """A new device of this role."""
        with self.record.write() as db:
            token = registry.add_device(db, label or f"{role} {uuid4()}", role, unit=unit)
        return Caller(self.app, token)

    def er(self, room: UUID | str) -> Caller:
        """The device of an ER."""
        return self._rooms[UUID(str(room))]

    def browser(self) -> FlaskClient:
        """A client that keeps cookies."""
        return self.app.test_client()

    def person(self, role: Role, unit: str | None = None, name: str | None = None) -> str:
        """A new account; returns its sign-in name. The password is PASSWORD."""
        name = name or f"p-{uuid4().hex[:12]}"
        hashed = registry.password_hash(PASSWORD)
        with self.record.write() as db:
            registry.put_account(db, name, f"Person {name}", hashed, role, unit=unit)
        return name

    # --- what workers do -------------------------------------------------------------------------

    def read_films(
        self, scores: Mapping[str, float] = SCORES, classifier: Mapping[str, Any] = MODEL
    ) -> None:
        """Finish every reading that waits, as both pools would."""
        for kind in ReadingKind:
            while claim := self.record.again(
                lambda s, kind=kind: reading.claim(s, self.settings, kind, "a test")
            ):
                found = (
                    [reading.Found(label, score, score > 0.5) for label, score in scores.items()]
                    if kind is ReadingKind.CLASSIFY
                    else [reading.Found("lung_opacity", 0.7, True, (40.0, 60.0, 200.0, 220.0))]
                )
                model = dict(classifier) if kind is ReadingKind.CLASSIFY else MODEL
                self.record.again(
                    lambda s, claim=claim, found=found, model=model: reading.done(
                        s, self.settings, claim, found, model, {"run": 0.1}
                    )
                )

    def advance(self, case_id: str) -> None:
        """What the queue's `route` and upkeep do for a case."""
        self.record.again(lambda s: advance.advance(s, self.settings, UUID(case_id)))

    def acquainted(self, case_id: str) -> dict[str, str]:
        """Somebody who was brought before by the same crew to the same ER, and may be the same.

        Ids of this case's patient, of that other one, of a merge and of a suspicion.
        """
        with self.record.write() as db:
            case = db.get_one(Case, UUID(case_id))
            holder = access.holding_emergency_room(db, case.id)
            ended = {"ended_at": case.received_at, "deadline_at": None}
            twin, part = (
                patients.create(
                    db, self.settings, sex="male", estimated_age_years=60, identity=None
                )
                for _ in range(2)
            )
            before = Case(
                ambulance_id=case.ambulance_id,
                patient=twin,
                idempotency_key=f"before-{uuid4()}",
                request_sha256="0" * 64,
                status=CaseStatus.CLOSED,
                received_at=case.received_at,
                updated_at=case.received_at,
                **ended,
            )
            db.add(before)
            db.flush()
            if holder is not None:
                db.add(
                    Offer(
                        case_id=before.id,
                        emergency_room_id=holder,
                        round=1,
                        rank=1,
                        status=OfferStatus.ACCEPTED,
                        explanation={},
                        offered_at=case.received_at,
                    )
                )
            assert case.patient is not None
            part.root_id = case.patient.id
            merge = PatientMerge(
                surviving_id=case.patient.id,
                absorbed_id=part.id,
                merged_at=case.received_at,
                merged_by="a test",
            )
            suspicion = DuplicateSuspicion(
                case_id=case.id,
                other_case_id=before.id,
                reason=DuplicateReason.SAME_CREW,
                raised_at=case.received_at,
            )
            db.add_all([merge, suspicion])
            db.flush()
            return {
                "patient_id": str(case.patient.id),
                "twin_id": str(twin.id),
                "merge_id": str(merge.id),
                "suspicion_id": str(suspicion.id),
            }

    # --- short words -----------------------------------------------------------------------------

    def case(self, who: Caller, case_id: str) -> dict[str, Any]:
        answer = who.get(f"/cases/{case_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json
        return found

    def submitted(self, image: bytes | None = None, **facts: Any) -> str:
        answer = self.crew.submit({**CASE, **facts}, image)
        assert answer.status_code == 201, answer.text
        return str(answer.json["case_id"])

    def offered(self, image: bytes | None = None, **facts: Any) -> tuple[str, list[dict[str, Any]]]:
        """A case of `crew` that stands before its first three ERs; its offers by rank."""
        case_id = self.submitted(image, **facts)
        self.read_films()
        self.advance(case_id)
        offers = self.case(self.crew, case_id)["offers"]
        assert len(offers) == 3
        return case_id, offers

    def er_of(self, offer: Mapping[str, Any]) -> Caller:
        """The device of the ER that an offer went to."""
        return self.er(offer["emergency_room"]["id"])

    def decide(self, offer: Mapping[str, Any], decision: str, **more: Any) -> TestResponse:
        """The ER of an offer answers it."""
        return self.er_of(offer).post(
            f"/offers/{offer['id']}/decision", json={"decision": decision, **more}
        )

    def assigned(self, image: bytes | None = None) -> tuple[str, list[dict[str, Any]]]:
        """A case that the ER of its first offer holds."""
        case_id, offers = self.offered(image)
        assert self.decide(offers[0], "accept").status_code == 200
        return case_id, offers

    # --- what was stored -------------------------------------------------------------------------

    def rows(self) -> dict[str, int]:
        """Rows of every table but the audit and the heartbeats."""
        with self.record.read() as db:
            return {
                table.name: db.scalar(select(func.count()).select_from(table)) or 0
                for table in Base.metadata.sorted_tables
                if table.name not in {"audit_entries", "heartbeats"}
            }

    def files(self) -> set[str]:
        """Every file of the image store."""
        root = self.settings.images
        return {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}

    def readings(self, case_id: str) -> dict[ReadingKind, Reading]:
        with self.record.read() as db:
            rows = db.scalars(select(Reading).where(Reading.case_id == UUID(case_id)))
            return {row.kind: row for row in rows}
