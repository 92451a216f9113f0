"""What operations ask for and are told: queues, dead letters, the board, its cases."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from broker.board import Flow, Why
from broker.history import RANGES
from broker.lifecycle import (
    AlarmCode,
    CaseStatus,
    ReadingKind,
)
from broker.pauses import LONGEST_MIN
from broker.queues import Queue
from broker.stages import Stage
from web.schemas.base import In, no_control_characters


class QueueOut(Schema):
    """One pool's work, from rows."""

    kind = fields.String()
    pending = fields.Integer()
    running = fields.Integer()
    dead = fields.Integer()
    oldest_pending_s = fields.Float(allow_none=True)
    done_last_hour = fields.Integer()
    wait_p50_s = fields.Float(allow_none=True)
    wait_p95_s = fields.Float(allow_none=True)
    doorbells = fields.Integer(allow_none=True)


class ProcessOut(Schema):
    """A process and its last sign of life."""

    name = fields.String()
    kind = fields.String()
    beat_at = fields.AwareDateTime()
    alive = fields.Boolean()


class QueuesOut(Schema):
    """What operations watches."""

    queues = fields.List(fields.Nested(QueueOut))
    processes = fields.List(fields.Nested(ProcessOut))
    cases_by_status = fields.Dict(keys=fields.String(), values=fields.Integer())
    redis_answers = fields.Boolean()
    at = fields.AwareDateTime()


class OperationsCaseOut(Schema):
    """A case without anything clinical."""

    id = fields.UUID()
    status = fields.Enum(CaseStatus, by_value=True)
    acuity = fields.Integer(allow_none=True)
    call_sign = fields.String()
    round = fields.Integer()
    age_s = fields.Float()
    waits_s = fields.Float(metadata={"description": "since the present wait began"})
    weighted_min = fields.Float(
        metadata={"description": "waiting minutes weighed by acuity (level 4 counts 1)"}
    )
    why = fields.Enum(Why, by_value=True, allow_none=True)
    deadline_in_s = fields.Float(allow_none=True)
    partial = fields.Boolean()  # type: ignore[assignment]  # marshmallow takes fields off the class
    needs_review = fields.Boolean()
    dead_readings = fields.Integer()


class RequeueOut(Schema):
    """Which readings are tried again."""

    readings = fields.List(fields.UUID())


class DeadLetterOut(Schema):
    """A reading that gave up, without anything clinical."""

    reading_id = fields.UUID()
    case_id = fields.UUID()
    case_status = fields.Enum(CaseStatus, by_value=True)
    kind = fields.Enum(ReadingKind, by_value=True)
    attempts = fields.Integer()
    error_code = fields.String(allow_none=True)
    error = fields.String(allow_none=True)
    created_at = fields.AwareDateTime()
    finished_at = fields.AwareDateTime()


class ReplayQuery(Schema):
    """Whether only to look."""

    dry_run = fields.Boolean(load_default=False)


class ReplayOut(DeadLetterOut):
    """What is (or, dry run, would be) tried again."""

    dry_run = fields.Boolean()
    film_stored = fields.Boolean()
    """False: the film is not in the store, so that a replay must fail again."""


class ReplayedOut(Schema):
    """Which dead letters are (or, dry run, would be) tried again."""

    dry_run = fields.Boolean()
    readings = fields.List(fields.Nested(DeadLetterOut))


class PauseOut(Schema):
    """Why a queue stands still, and until when."""

    reason = fields.String()
    paused_at = fields.AwareDateTime()
    paused_by = fields.String()
    resume_at = fields.AwareDateTime()


class CanaryOut(Schema):
    """The last canary of a queue."""

    sent_at = fields.AwareDateTime()
    done_at = fields.AwareDateTime(allow_none=True)
    error = fields.String(allow_none=True)
    roundtrip_s = fields.Float(allow_none=True)


class BoardQueueOut(Schema):
    """One queue: rows first, Redis' view beside them."""

    kind = fields.String(validate=validate.OneOf(list(Queue)))
    pending = fields.Integer()
    running = fields.Integer()
    dead = fields.Integer()
    oldest_pending_s = fields.Float(allow_none=True)
    done_last_hour = fields.Integer(allow_none=True)
    wait_p50_s = fields.Float(allow_none=True)
    wait_p95_s = fields.Float(allow_none=True)
    progress_at = fields.AwareDateTime(allow_none=True)
    doorbells = fields.Integer(allow_none=True)
    pause = fields.Nested(PauseOut, allow_none=True)
    canary = fields.Nested(CanaryOut, allow_none=True)


class BoardProcessOut(Schema):
    """A process, its last sign of life and when it last finished something."""

    name = fields.String()
    kind = fields.String()
    started_at = fields.AwareDateTime()
    beat_at = fields.AwareDateTime()
    progress_at = fields.AwareDateTime(allow_none=True)
    alive = fields.Boolean()


class StateOut(Schema):
    """Live cases of one state and acuity."""

    status = fields.Enum(CaseStatus, by_value=True)
    acuity = fields.Integer(allow_none=True)
    count = fields.Integer()
    oldest_s = fields.Float()
    oldest_case_id = fields.UUID()
    weighted_min = fields.Float()


class RateOut(Schema):
    """How ERs of a region answered in the last 24 hours."""

    place = fields.String()
    ended = fields.Integer()
    answered = fields.Integer()
    rate = fields.Float()
    median_answer_s = fields.Float(allow_none=True)


class PercentilesOut(Schema):
    """How long a stage took, of one acuity or (null) of all."""

    acuity = fields.Integer(allow_none=True)
    count = fields.Integer()
    p50_s = fields.Float(allow_none=True)
    p95_s = fields.Float(allow_none=True)
    p99_s = fields.Float(allow_none=True)


class StageOut(Schema):
    """A stage of a case's way."""

    stage = fields.Enum(Stage, by_value=True)
    rows = fields.List(fields.Nested(PercentilesOut))


class ThroughputOut(Schema):
    """Per minute, over the last five."""

    received_per_min = fields.Float()
    assigned_per_min = fields.Float()
    readings_per_min = fields.Float()


class AlarmOut(Schema):
    """Something wrong with a machine, and who took it."""

    id = fields.UUID()
    code = fields.Enum(AlarmCode, by_value=True)
    critical = fields.Boolean()
    subject = fields.String()
    details = fields.Dict()
    opened_at = fields.AwareDateTime()
    repeated_at = fields.AwareDateTime()
    repeats = fields.Integer()
    acknowledged_at = fields.AwareDateTime(allow_none=True)
    acknowledged_by = fields.String(allow_none=True)
    closed_at = fields.AwareDateTime(allow_none=True)
    closed_by = fields.String(allow_none=True)


class BoardOut(Schema):
    """Is anybody waiting, and why."""

    at = fields.AwareDateTime()
    redis_answers = fields.Boolean()
    weighted_min = fields.Float()
    waiting = fields.List(fields.Nested(OperationsCaseOut))
    states = fields.List(fields.Nested(StateOut))
    alarms = fields.List(fields.Nested(AlarmOut))
    queues = fields.List(fields.Nested(BoardQueueOut))
    processes = fields.List(fields.Nested(BoardProcessOut))
    throughput = fields.Nested(ThroughputOut)
    answer_rates = fields.List(fields.Nested(RateOut))
    hours = fields.Float()
    stages = fields.List(fields.Nested(StageOut))
    names = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        metadata={"description": "display names of the accounts that the board mentions"},
    )


class BoardQuery(Schema):
    """Over how many hours the stages are timed."""

    hours = fields.Float(load_default=1.0, validate=validate.Range(0.1, 24))


class HistoryQuery(Schema):
    """Which stretch of time."""

    range = fields.String(load_default="1h", validate=validate.OneOf(list(RANGES)))


class HistoryOut(Schema):
    """Points of every series; null where nobody looked."""

    range = fields.String()
    step_s = fields.Integer()
    at_s = fields.List(fields.Integer())
    series = fields.Dict(keys=fields.String(), values=fields.List(fields.Float(allow_none=True)))


class BehindQuery(Schema):
    """Which figure: a queue, a stage (of an acuity), a region, or what passed of late."""

    queue = fields.Enum(Queue, by_value=True)
    stage = fields.Enum(Stage, by_value=True)
    acuity = fields.Integer(validate=validate.Range(0, 5))
    hours = fields.Float(load_default=1.0, validate=validate.Range(0.1, 24))
    region = fields.String(validate=validate.Length(max=60))
    flow = fields.Enum(Flow, by_value=True)


class FindQuery(Schema):
    """The beginning of a case's id."""

    id = fields.String(required=True, validate=validate.Length(max=40))


class CaseLineOut(Schema):
    """A case by id and state: all of it that operations see."""

    id = fields.UUID()
    status = fields.Enum(CaseStatus, by_value=True)
    acuity = fields.Integer(allow_none=True)
    call_sign = fields.String()
    round = fields.Integer()
    received_at = fields.AwareDateTime()
    ended_at = fields.AwareDateTime(allow_none=True)


class CaseBriefOut(CaseLineOut):
    """A case with the seconds that a figure is about."""

    seconds = fields.Float()


class EntryOut(Schema):
    """One happening of a case."""

    at = fields.AwareDateTime()
    kind = fields.String()
    what = fields.String()
    who = fields.String(allow_none=True)
    facts = fields.Dict()


class TimelineOut(CaseLineOut):
    """A case from receipt to end, metadata only."""

    first_offer_at = fields.AwareDateTime(allow_none=True)
    assigned_at = fields.AwareDateTime(allow_none=True)
    acknowledged_at = fields.AwareDateTime(allow_none=True)
    deadline_at = fields.AwareDateTime(allow_none=True)
    partial = fields.Boolean()  # type: ignore[assignment]  # marshmallow takes fields off the class
    needs_review = fields.Boolean()
    entries = fields.List(fields.Nested(EntryOut))
    cut = fields.Boolean()
    names = fields.Dict(keys=fields.String(), values=fields.String())


class PauseIn(In):
    """Why, and for how long."""

    reason = fields.String(required=True, validate=[validate.Length(3, 200), no_control_characters])
    minutes = fields.Integer(strict=True, required=True, validate=validate.Range(1, LONGEST_MIN))


class PausedOut(PauseOut):
    """A pause and how it ended."""

    queue = fields.Enum(Queue, by_value=True)
    resumed_at = fields.AwareDateTime(allow_none=True)
    resumed_by = fields.String(allow_none=True)
