"""The door to the board: figures, charts, alarms, pauses, and one case's timeline.

Ids, states and times only: nothing clinical passes here, whoever asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from broker import alarms, board, database, history, metrics, pauses, timeline
from broker.errors import Invalid, NotFound
from broker.lifecycle import Role
from broker.queues import Queue
from broker.tables import Account, Alarm, DeviceToken, QueuePause
from web.auth import actor, allow
from web.bodies import Room
from web.schemas import operations as schemas
from web.state import here

blueprint = Room(
    "board", __name__, url_prefix="/api/v1/operations", description="Is anybody waiting, and why"
)
WATCHERS = (Role.OPERATIONS, Role.CONTROL_ROOM, Role.ADMIN)


@blueprint.route("/board", methods=["GET"])
@blueprint.arguments(schemas.BoardQuery, location="query")
@blueprint.response(200, schemas.BoardOut)
@allow(*WATCHERS)
def the_board(query: dict[str, Any]) -> dict[str, Any]:
    """Everything at once: who waits and why, alarms, queues, processes, times by stage."""
    state, hours = here(), query["hours"]
    bells = metrics.doorbells(state.settings)
    with state.record.read() as session:
        live = board.live(session)
        opened = alarms.open_now(session)
        queues = metrics.queues(session, bells)
        people = [alarm.acknowledged_by for alarm in opened]
        people += [queue["pause"]["paused_by"] for queue in queues if queue["pause"]]
        return {
            "at": database.now(session),
            "redis_answers": bells is not None,
            "weighted_min": sum(case["weighted_min"] for case in live),
            "waiting": [case for case in live if case["why"]][: board.LONGEST_LIST],
            "states": board.by_state(live),
            "alarms": [_alarm(alarm) for alarm in opened],
            "queues": queues,
            "processes": metrics.processes(session),
            "throughput": board.throughput(session),
            "answer_rates": board.answer_rates(session),
            "hours": hours,
            "stages": board.stage_times(session, hours),
            "names": names_of(session, people),
        }


@blueprint.route("/history", methods=["GET"])
@blueprint.arguments(schemas.HistoryQuery, location="query")
@blueprint.response(200, schemas.HistoryOut)
@allow(*WATCHERS)
def charts(query: dict[str, Any]) -> dict[str, Any]:
    """The board's figures over an hour, a day or a week."""
    with here().record.read() as session:
        return history.charts(session, query["range"])


@blueprint.route("/behind", methods=["GET"])
@blueprint.arguments(schemas.BehindQuery, location="query")
@blueprint.response(200, schemas.CaseBriefOut(many=True))
@allow(*WATCHERS)
def behind(query: dict[str, Any]) -> list[dict[str, Any]]:
    """The cases behind a figure; name one of `queue`, `stage`, `region` and `flow`."""
    if sum(name in query for name in ("queue", "stage", "region", "flow")) != 1:
        raise Invalid("name one of queue, stage, region and flow")
    with here().record.read() as session:
        if "queue" in query:
            return board.in_queue(session, query["queue"])
        if "stage" in query:
            return board.slowest(session, query["stage"], query["hours"], query.get("acuity"))
        if "flow" in query:
            return board.flowed(session, query["flow"])
        return board.unanswered_in(session, query["region"])


@blueprint.route("/find", methods=["GET"])
@blueprint.arguments(schemas.FindQuery, location="query")
@blueprint.response(200, schemas.CaseBriefOut(many=True))
@allow(*WATCHERS)
def find(query: dict[str, Any]) -> list[dict[str, Any]]:
    """Cases whose id begins so."""
    with here().record.read() as session:
        return board.find(session, query["id"])


@blueprint.route("/cases/<uuid:case_id>/timeline", methods=["GET"])
@blueprint.response(200, schemas.TimelineOut)
@allow(*WATCHERS)
def case_timeline(case_id: UUID) -> dict[str, Any]:
    """Every event, attempt, offer, notification and message of a case; metadata only."""
    with here().record.read() as session:
        found = timeline.of_case(session, case_id)
        return {**found, "names": names_of(session, (e["who"] for e in found["entries"]))}


@blueprint.route("/alarms", methods=["GET"])
@blueprint.response(200, schemas.AlarmOut(many=True))
@allow(*WATCHERS)
def list_alarms() -> list[dict[str, Any]]:
    """The last alarms, open or over, newest first."""
    with here().record.read() as session:
        return [_alarm(alarm) for alarm in alarms.latest(session)]


@blueprint.route("/alarms/<uuid:alarm_id>/acknowledge", methods=["POST"])
@blueprint.response(200, schemas.AlarmOut)
@allow(Role.OPERATIONS, Role.ADMIN)
def acknowledge(alarm_id: UUID) -> dict[str, Any]:
    """Take an alarm: it falls silent for everybody, and your name stands beside it."""
    who = actor()
    return here().record.again(lambda s: _alarm(alarms.acknowledge(s, who.name, alarm_id)))


@blueprint.route("/alarms/<uuid:alarm_id>/close", methods=["POST"])
@blueprint.response(200, schemas.AlarmOut)
@allow(Role.OPERATIONS, Role.ADMIN)
def close_alarm(alarm_id: UUID) -> dict[str, Any]:
    """Put an alarm away; if it still holds, it is raised again in a moment."""
    who = actor()
    return here().record.again(lambda s: _alarm(alarms.close(s, who.name, alarm_id)))


@blueprint.route("/pauses", methods=["GET"])
@blueprint.response(200, schemas.PausedOut(many=True))
@allow(*WATCHERS)
def list_pauses() -> Sequence[QueuePause]:
    """The last pauses of queues, newest first."""
    with here().record.read() as session:
        return pauses.latest(session)


@blueprint.route("/queues/<queue>/pause", methods=["POST"])
@blueprint.arguments(schemas.PauseIn)
@blueprint.response(200, schemas.PausedOut)
@allow(Role.OPERATIONS, Role.ADMIN)
def pause(data: dict[str, Any], queue: str) -> QueuePause:
    """Stop a queue for some minutes; it goes on by itself. Offers never wait for it."""
    who, which = actor(), _queue(queue)
    return here().record.again(
        lambda s: pauses.pause(s, who.name, which, data["reason"], data["minutes"])
    )


@blueprint.route("/queues/<queue>/resume", methods=["POST"])
@blueprint.response(200, schemas.PausedOut)
@allow(Role.OPERATIONS, Role.ADMIN)
def resume(queue: str) -> QueuePause:
    """Let a paused queue go on now."""
    who, which = actor(), _queue(queue)
    return here().record.again(lambda s: pauses.resume(s, who.name, which))


def names_of(session: Session, actors: Iterable[str | None]) -> dict[str, str]:
    """What people call the accounts and devices among these actor names."""
    ids: dict[str, UUID] = {}
    for name in actors:
        kind, _, id_ = (name or "").partition(":")
        if kind in {"account", "device"}:
            ids[name or ""] = UUID(id_)
    if not ids:
        return {}
    known: dict[UUID, str] = {}
    for query in (
        select(Account.id, Account.display_name).where(Account.id.in_(ids.values())),
        select(DeviceToken.id, DeviceToken.label).where(DeviceToken.id.in_(ids.values())),
    ):
        known.update((row[0], row[1]) for row in session.execute(query))
    return {name: known[id_] for name, id_ in ids.items() if id_ in known}


def _alarm(alarm: Alarm) -> dict[str, Any]:
    shown = {column.name: getattr(alarm, column.name) for column in Alarm.__table__.columns}
    return {**shown, "critical": alarm.code in alarms.CRITICAL}


def _queue(name: str) -> Queue:
    try:
        return Queue(name)
    except ValueError:
        raise NotFound(f"there is no queue {name!r}") from None
