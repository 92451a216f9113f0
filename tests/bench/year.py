"""Does a look take longer after a year? 200,000 ended cases on PostgreSQL, then the same looks.

One case is lived through, then copied with its offers, events and audit into the past (films and
readings are not). Each look is timed before and after, in one run: what counts is the ratio. Run as
`python -m tests.bench.year`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.fernet import Fernet
from sqlalchemy import DateTime, Integer, Table, Uuid, text

from broker import database, events, metrics, migrate
from broker.lifecycle import ReadingKind, Role
from broker.record import Record
from broker.relay import Relay
from broker.settings import Settings
from broker.tables import Base, UtcDateTime
from dispatch import access, asking, dead_letters, reading, transport
from dispatch.access import Actor
from dispatch.offers import Decision
from tests.integration.city import City
from tests.servers import PostgresServer, RedisServer
from workers.upkeep import Upkeep

COPIED = ("cases", "offers", "events", "audit_entries")
SECONDS_APART = 150
TURNS = 20


def main() -> None:
    """Print how long each look takes with one ended case and with many."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.year", description=__doc__)
    parser.add_argument("--cases", type=int, default=200_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gt-year-") as folder:
        postgres, redis = PostgresServer(Path(folder) / "pg"), RedisServer(Path(folder) / "redis")
        for server in (postgres, redis):
            server.folder.mkdir()
            server.folder.parent.chmod(0o755)
            server.start()
        settings = Settings(
            data_dir=Path(folder) / "data",
            database_url=postgres.url(),
            redis_url=redis.url,
            identity_keys=(Fernet.generate_key().decode(),),
        )
        migrate.upgrade(settings)
        record = Record(settings)
        try:
            _run(record, options.cases)
        finally:
            record.close()
            redis.stop()
            postgres.stop()


def _run(record: Record, cases: int) -> None:
    city = City.found(record)
    case_id, (offer, *_) = city.offered()
    city.submit_film()
    city.decide(offer, Decision.ACCEPT)
    for step in (transport.acknowledge, transport.arrive):
        city.do(step, city.settings, city.crew, case_id)
    city.do(transport.close, city.crew, case_id)
    few = _times(city)
    began = time.monotonic()
    with record.engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        for name in COPIED:
            copy = _copy(Base.metadata.tables[name])
            connection.execute(text(copy), {"case": case_id, "n": cases})
    with record.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("ANALYZE"))
        rows = {
            name: connection.scalar(text(f"SELECT count(*) FROM {name}"))  # our names
            for name in COPIED
        }
    record.engine.dispose()
    print(f"{rows} written in {time.monotonic() - began:.0f} s")
    for name, many_ms in _times(city).items():
        print(f"{name:24} {few[name]:7.1f} ms   {many_ms:7.1f} ms   x {many_ms / few[name]:.1f}")


def _copy(table: Table) -> str:
    """SQL that copies one case's rows :n times, each with ids and times of its own."""
    names, values = [], []
    for column in table.columns:
        said = f"src.{column.name}"
        if column.primary_key and isinstance(column.type, Integer):
            if column.name == "id":
                continue
            said = f"{said} + 1000 * n"  # a number within an audience
        elif isinstance(column.type, Uuid) and column.name in {
            *("id", "case_id", "image_id", "reading_id"),
        }:
            said = f"md5({said}::text || n)::uuid"
        elif isinstance(column.type, DateTime | UtcDateTime):
            said = f"{said} - n * interval '{SECONDS_APART} seconds'"
        elif column.name == "idempotency_key":
            said = f"{said} || n"
        names.append(column.name)
        values.append(said)
    owner = "id" if table.name == "cases" else "case_id"
    return (
        f"INSERT INTO {table.name} ({', '.join(names)}) SELECT {', '.join(values)} "
        f"FROM {table.name} src, generate_series(1, :n) n WHERE src.{owner} = :case"
    )


def _times(city: City) -> dict[str, float]:
    """Median milliseconds of each look."""
    relay, upkeep = Relay(city.settings), Upkeep(city.settings)
    control = Actor(Role.CONTROL_ROOM, "account:control")
    live, (offer, *_) = city.offered()

    def asked(look: Callable[..., object]) -> Callable[[], object]:
        def ask() -> object:
            with city.record.read() as session:
                return look(session)

        return ask

    looks: dict[str, Callable[[], object]] = {
        "relay: ring": relay.ring,
        "upkeep: look": upkeep.look,
        "claim a film": lambda: city.do(
            reading.claim, city.settings, ReadingKind.CLASSIFY, "nobody"
        ),
        "events after a number": asked(lambda s: events.after(s, events.CONTROL_ROOM, 5)),
        "open offers of a case": asked(lambda s: asking.open_offers(s, live)),
        "a case, for an ER": asked(
            lambda s: access.case(s, city.er(offer.emergency_room_id), live)
        ),
        "a case, for control": asked(lambda s: access.case(s, control, live)),
        "dead letters": asked(dead_letters.still_open),
        "figures of operations": asked(lambda s: metrics.figures(s, city.settings)),
        "a submission": city.submit,
        "the clock alone": asked(database.now),
    }
    found = {}
    for name, look in looks.items():
        took = []
        for _ in range(TURNS):
            began = time.perf_counter()
            look()
            took.append(time.perf_counter() - began)
        found[name] = 1000 * statistics.median(took)
    relay.close()
    upkeep.record.close()
    return found


if __name__ == "__main__":
    main()
