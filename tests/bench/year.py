"""Does a look take longer after a year? The same looks on a record of a few cases and of 200,000.

Run as `python -m tests.bench.year --database sqlite` (or postgresql). One case is lived through and
copied into the past (tests/bench/copies.py), twenty live ones come after it. Each page's requests
go through the doors, loops and `goldentime check` through their own functions. Both records are
measured in one run: what counts is the ratio, and the milliseconds beside 300.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from cryptography.fernet import Fernet
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from broker import events, invariants, migrate, seals
from broker.lifecycle import ReadingKind
from broker.relay import Relay
from broker.settings import Settings
from broker.tables import Case, Patient
from dispatch import reading
from dispatch.access import SYSTEM
from tests.bench import copies
from tests.integration.api.doors import CASE, Caller, House
from tests.integration.city import City
from tests.servers import RedisServer, database_in
from workers.upkeep import Upkeep

FEW = 100
LIVE = 20
SEALED_AT_ONCE = 5000
TURNS = 5
SLOW_MS = 300


def main() -> None:
    """Fill, measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.year", description=__doc__)
    parser.add_argument("--cases", type=int, default=200_000)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument(
        "--sealed", type=int, default=100_000, help="audit entries that are sealed for the check"
    )
    options = parser.parse_args()
    print(json.dumps(vars(options)), flush=True)
    few, many = (
        _record(options.database, cases, sealed=options.sealed) for cases in (FEW, options.cases)
    )
    print(f"load {os.getloadavg()[0]:.1f}")
    for name, many_ms in many.items():
        slow = "  SLOW" if many_ms > SLOW_MS else ""
        print(f"{name:36} {few[name]:8.1f} ms {many_ms:9.1f} ms  x{many_ms / few[name]:.1f}{slow}")


def _record(backend: str, cases: int, *, sealed: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="gt-year-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        redis = RedisServer(folder / "redis")
        redis.folder.mkdir()
        redis.start()
        try:
            with database_in(folder, backend) as url:
                settings = Settings(
                    data_dir=folder / "data",
                    database_url=url,
                    redis_url=redis.url,
                    secret_key="bench" * 8,
                    identity_keys=(Fernet.generate_key().decode(),),
                    cookie_secure=False,
                    min_free_bytes=1,
                )
                settings.data_dir.mkdir()
                migrate.upgrade(settings)
                return _filled(settings, cases, sealed=sealed)
        finally:
            redis.stop()


def _filled(settings: Settings, cases: int, *, sealed: int) -> dict[str, float]:
    house = House(settings, rooms=25)
    old = _first(house)
    offers = house.case(house.crew, old)["offers"]
    _good(house.decide(offers[0], "accept"))
    for step in ("acknowledge", "depart", "arrive"):
        _good(house.crew.post(f"/cases/{old}/{step}"))
    _good(house.crew.post(f"/cases/{old}/messages", json={"to": "control_room", "body": "words"}))
    _good(house.er_of(offers[0]).post(f"/cases/{old}/close"))
    began = time.monotonic()
    rows = copies.copy(house.record, cases)
    print(f"{rows} in {time.monotonic() - began:.0f} s", flush=True)
    for number in range(LIVE):
        case_id, asked = house.offered(
            patient={**CASE["patient"], "identifier": f"LIVE-{number}"}, complaint=f"case {number}"
        )
        if number % 4 == 0:
            _good(house.decide(asked[0], "accept"))
    found = _looks(house, old, case_id, asked[0])
    began, done = time.monotonic(), 0
    while done < sealed and (more := seals.seal(house.record, SEALED_AT_ONCE)):
        done += more
    print(f"{done} entries sealed in {time.monotonic() - began:.0f} s", flush=True)
    found |= _checks(house)
    house.close()
    return found


def _first(house: House) -> str:
    """A case with a film in rows only, read and offered."""
    case_id = house.submitted()
    City(house.record, SYSTEM, SYSTEM, ()).submit_second_film(UUID(case_id))
    house.read_films()
    house.advance(case_id)
    return case_id


def _looks(house: House, old: str, live: str, offer: dict[str, Any]) -> dict[str, float]:
    """Milliseconds of each look: the least of some turns, which a busy machine disturbs least."""
    er, control, crew = house.er_of(offer), house.control, house.crew
    operations, admin = house.operations, house.admin
    idle_er, idle_crew = house.er(house.rooms[-1]), house.other_crew
    case = house.case(control, live)
    patient = case["patient_id"]

    def get(who: Caller, path: str, **query: Any) -> Callable[[], object]:
        return lambda: _good(who.get(path, query_string=query))

    def search(who: Caller, **words: Any) -> Callable[[], object]:
        return lambda: _good(who.post("/patients/search", json=words))

    def audit(**query: Any) -> Callable[[], object]:
        return get(admin, "/admin/audit", **query)

    day = house.case(crew, old)["received_at"]
    with house.record.read() as session:
        halfway = _halfway(session)
        number = (session.scalar(select(func.count()).select_from(Patient)) or 0) // 2
    page = _good(admin.get("/admin/audit"))
    looks: dict[str, Callable[[], object]] = {
        "control room: cases": get(control, "/control-room/cases"),
        "control room: log": get(control, "/control-room/log"),
        "control room: what is short": get(control, "/control-room/shortages", hours=24),
        "control room: who suits a case": get(control, f"/control-room/cases/{live}/ranking"),
        "beds": get(control, "/beds"),
        "one case": get(control, f"/cases/{live}"),
        "control room: all cases": get(control, "/cases", live=False, limit=50),
        "control room: all cases, much earlier": get(
            control, "/cases", live=False, limit=50, before=halfway
        ),
        "messages of a case": get(control, f"/cases/{live}/messages"),
        "ER: worklist": get(er, "/offers", cases=True, limit=200),
        "ER: what is over": get(er, "/offers", open=False, cases=True, limit=40),
        "ER: one offer": get(er, f"/offers/{offer['id']}"),
        "ER: its cases": get(er, "/cases"),
        "ER: its cases, all": get(er, "/cases", live=False),
        "crew: its cases": get(crew, "/cases"),
        "crew: history": get(crew, "/cases", live=False),
        "crew: history, much earlier": get(crew, "/cases", live=False, before=halfway),
        "ER with nothing: worklist": get(idle_er, "/offers", cases=True, limit=200),
        "ER with nothing: what is over": get(idle_er, "/offers", open=False, cases=True, limit=40),
        "ER with nothing: its cases": get(idle_er, "/cases", live=False),
        "ER with nothing: patients": get(idle_er, "/patients"),
        "crew with nothing: history": get(idle_crew, "/cases", live=False),
        "crew with nothing: patients": get(idle_crew, "/patients"),
        "patients: newest, control room": get(control, "/patients"),
        "patients: much earlier, control room": get(control, "/patients", before=number),
        "patients: much earlier, ER": get(er, "/patients", before=number),
        "patients: newest, ER": get(er, "/patients"),
        "patients: newest, crew": get(crew, "/patients"),
        "patients: under way, control room": get(control, "/patients", live=True),
        "patients: by name": search(control, name=CASE["patient"]["name"]),
        "patients: by name, none": search(control, name="nobody"),
        "patients: by identifier": search(control, identifier="LIVE-3"),
        "patients: by a common birth date": search(
            control, birth_date=CASE["patient"]["birth_date"]
        ),
        "patients: by birth date, ER": search(er, birth_date=CASE["patient"]["birth_date"]),
        "patients: by temporary name": search(control, temporary_name="Pine 1"),
        "patients: one": get(control, f"/patients/{patient}"),
        "patients: one timeline": get(control, f"/patients/{patient}/timeline"),
        "board": get(operations, "/operations/board"),
        "board: 24 hours": get(operations, "/operations/board", hours=24),
        "board: charts, 7 days": get(operations, "/operations/history", range="7d"),
        "board: cases behind a stage": get(operations, "/operations/behind", stage="assigned"),
        "board: find": get(operations, "/operations/find", id=old[:8]),
        "board: one case's timeline": get(operations, f"/operations/cases/{old}/timeline"),
        "board: dead letters": get(operations, "/operations/dead-letters"),
        "metrics": get(operations, "/metrics"),
        "audit: newest": audit(),
        "audit: by a rare actor": audit(actor="account:nobody"),
        "audit: by the commonest actor": audit(actor="system"),
        "audit: by action": audit(action="case.received"),
        "audit: by beginning of an action": audit(action="case."),
        "audit: by an action that is none": audit(action="case.nothing"),
        "audit: actor and action": audit(actor="system", action="case.received"),
        "audit: by case": audit(case_id=old),
        "audit: the next page": audit(after=page.json["next"]),
        "audit: actor and action, the next page": audit(
            actor="system", action="case.received", after=page.json["next"]
        ),
        "audit: until a time": audit(until_at=day),
        "audit: an action until a time": audit(action="case.viewed", until_at=day),
        "audit: how far sealed": get(admin, "/admin/audit/seal"),
        "accounts": get(admin, "/admin/accounts"),
        "events after a number": get(control, "/inbox", after=5),
        "a submission": lambda: house.submitted(
            patient={**CASE["patient"], "identifier": "ANOTHER"}
        ),
    }
    relay, upkeep = Relay(house.settings), Upkeep(house.settings)
    looks |= {
        "relay: ring": relay.ring,
        "upkeep: look": upkeep.look,
        "claim a film": lambda: house.record.again(
            lambda s: reading.claim(s, house.settings, ReadingKind.CLASSIFY, "nobody")
        ),
        "last event": partial(_read, house, lambda s: events.last_seq(s, events.CONTROL_ROOM)),
    }
    try:
        return {name: _least_ms(look) for name, look in looks.items()}
    finally:
        relay.close()
        upkeep.record.close()


def _halfway(session: Session) -> str:
    """When the middle case of all came."""
    span = session.execute(select(func.min(Case.received_at), func.max(Case.received_at))).one()
    middle: datetime = span[0] + (span[1] - span[0]) / 2
    return middle.isoformat()


def _checks(house: House) -> dict[str, float]:
    """Milliseconds of the parts of `goldentime check`, each once."""
    rules = invariants.rules(house.settings, thorough=False, stopped=True)
    parts: dict[str, Callable[[], object]] = {
        f"check: {getattr(rule, 'func', rule).__name__.strip('_')}": partial(
            _read, house, _all(rule)
        )
        for rule in rules
    }
    parts["check: the audit's chain"] = lambda: [*seals.verify(house.record)]
    return {name: _least_ms(part, turns=1) for name, part in parts.items()}


def _all(rule: Callable[[Session], Iterator[str]]) -> Callable[[Session], object]:
    def look(session: Session) -> object:
        if session.get_bind().dialect.name != "sqlite":
            session.execute(text("SET LOCAL statement_timeout = 0"))
        found = [*rule(session)]
        if found:
            print(found[:3])
        return found

    return look


def _read(house: House, look: Callable[[Session], object]) -> object:
    with house.record.read() as session:
        return look(session)


def _least_ms(look: Callable[[], object], turns: int = TURNS) -> float:
    taken = []
    for _ in range(turns):
        began = time.perf_counter()
        look()
        taken.append(time.perf_counter() - began)
    return 1000 * min(taken)


def _good(answer: TestResponse) -> TestResponse:
    assert answer.status_code < 300, f"{answer.request.path}: {answer.status_code} {answer.text}"
    return answer


if __name__ == "__main__":
    main()
