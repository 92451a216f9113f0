"""The door of operations: queues, processes, who waits and why; nothing clinical.

Also health and metrics, for supervisors and Prometheus.
"""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from flask import Response
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy import select

from broker import board, exposition, metrics
from broker.errors import Conflict, DatabaseBusy, NotFound
from broker.lifecycle import Role
from broker.tables import Case
from dispatch import dead_letters
from web.auth import actor, allow, public
from web.bodies import Room
from web.errors import problem
from web.schemas import operations as schemas
from web.state import here

blueprint = Room(
    "operations", __name__, url_prefix="/api/v1/operations", description="What operations watches"
)
health = Room("health", __name__, description="Health and metrics")


@blueprint.route("/queues", methods=["GET"])
@blueprint.response(200, schemas.QueuesOut)
@allow(Role.OPERATIONS, Role.CONTROL_ROOM, Role.ADMIN)
def queues() -> dict[str, Any]:
    """Depth, oldest age, waits and dead letters of each pool, and which processes live."""
    state = here()
    with state.record.read() as session:
        return metrics.figures(session, state.settings)


@blueprint.route("/cases", methods=["GET"])
@blueprint.response(200, schemas.OperationsCaseOut(many=True))
@allow(Role.OPERATIONS, Role.CONTROL_ROOM, Role.ADMIN)
def cases() -> list[dict[str, Any]]:
    """Live cases: who waits, since when and why; the heaviest wait first."""
    with here().record.read() as session:
        return board.live(session)[: board.LONGEST_LIST]


@blueprint.route("/cases/<uuid:case_id>/requeue", methods=["POST"])
@blueprint.response(200, schemas.RequeueOut)
@allow(Role.OPERATIONS, Role.ADMIN)
def requeue(case_id: UUID) -> dict[str, Any]:
    """Let the failed readings of a case be tried again."""
    who = actor()

    def unit(session: Any) -> dict[str, Any]:
        case = session.scalars(select(Case).where(Case.id == case_id)).one_or_none()
        if case is None:
            raise NotFound(f"there is no case {case_id}")
        return {"readings": dead_letters.requeue(session, who.name, case)}

    return here().record.again(unit)


@blueprint.route("/dead-letters", methods=["GET"])
@blueprint.response(200, schemas.DeadLetterOut(many=True))
@allow(Role.OPERATIONS, Role.CONTROL_ROOM, Role.ADMIN)
def open_dead_letters() -> list[dict[str, Any]]:
    """Readings that gave up and that nobody has closed."""
    with here().record.read() as session:
        return dead_letters.still_open(session)


@blueprint.route("/dead-letters/replay", methods=["POST"])
@blueprint.arguments(schemas.ReplayQuery, location="query")
@blueprint.response(200, schemas.ReplayedOut)
@allow(Role.OPERATIONS, Role.ADMIN)
def replay_all(query: dict[str, Any]) -> dict[str, Any]:
    """Try every dead letter again; with dry_run=1 only say which would be tried."""
    record, who = here().record, actor()
    with record.read() as session:
        letters = dead_letters.still_open(session)
    tried = []
    for letter in letters:
        if not query["dry_run"]:
            again = partial(
                dead_letters.replay, actor_name=who.name, reading_id=letter["reading_id"]
            )
            try:
                record.again(partial(again, dry_run=False))
            except Conflict:
                continue  # somebody else replayed it meanwhile
        tried.append(letter)
    return {"dry_run": query["dry_run"], "readings": tried}


@blueprint.route("/dead-letters/<uuid:reading_id>/replay", methods=["POST"])
@blueprint.arguments(schemas.ReplayQuery, location="query")
@blueprint.response(200, schemas.ReplayOut)
@allow(Role.OPERATIONS, Role.ADMIN)
def replay(query: dict[str, Any], reading_id: UUID) -> dict[str, Any]:
    """Try a dead letter again; with dry_run=1 only say what would be tried."""
    state, who = here(), actor()
    found, film = state.record.again(
        lambda s: dead_letters.replay(s, who.name, reading_id, dry_run=query["dry_run"])
    )
    try:
        state.store.path(found["case_id"], film)
    except NotFound:
        stored = False
    else:
        stored = True
    return {**found, "dry_run": query["dry_run"], "film_stored": stored}


@blueprint.route("/dead-letters/<uuid:reading_id>/close", methods=["POST"])
@blueprint.response(200, schemas.DeadLetterOut)
@allow(Role.OPERATIONS, Role.ADMIN)
def close_dead_letter(reading_id: UUID) -> dict[str, Any]:
    """Put a dead letter away after looking at it."""
    who = actor()
    return here().record.again(lambda s: dead_letters.close(s, who.name, reading_id))


@health.route("/healthz", methods=["GET"])
@health.response(200, content_type="text/plain")
@public
def healthz() -> Response:
    """This process answers."""
    return Response("ok\n", mimetype="text/plain")


@health.route("/readyz", methods=["GET"])
@health.response(200, content_type="text/plain")
@public
def readyz() -> Response:
    """This process can reach the record and store a film."""
    state = here()
    try:
        with state.record.read() as session:
            session.execute(select(1))
    except DatabaseBusy as error:
        return problem(503, error.code, error.message)
    state.store.check_room()
    return Response("ready\n", mimetype="text/plain")


@health.route("/metrics", methods=["GET"])
@health.response(200, content_type="text/plain")
@allow(Role.OPERATIONS, Role.ADMIN)
def prometheus() -> Response:
    """Figures from rows for Prometheus."""
    state = here()
    with state.record.read() as session:
        return Response(exposition.text(session, state.settings), mimetype=CONTENT_TYPE_LATEST)
