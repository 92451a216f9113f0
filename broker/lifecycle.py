"""States of cases, readings, offers and messages, and the moves between them, as data.

Pure: no database, no clock. The transition tables are the truth; an illegal pair raises. FHIR words
for offer states: FHIR R4 Task.status (hl7.org/fhir/R4/valueset-task-status.html).
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from broker.errors import IllegalTransition


class CaseStatus(StrEnum):
    """Where a case stands on its way."""

    RECEIVED = "received"
    """Stored, receipt given; waits for readings until their deadline."""
    OFFERING = "offering"
    """A round of offers is open."""
    UNPLACED = "unplaced"
    """Nobody accepted in time: the control room is alarmed, offers go on."""
    ASSIGNED = "assigned"
    """One ER holds it; waits for the crew's acknowledgement."""
    ACKNOWLEDGED = "acknowledged"
    """The crew confirmed: both sides know."""
    EN_ROUTE = "en_route"
    """On the way to the ER."""
    ARRIVED = "arrived"
    """At the door."""
    CLOSED = "closed"
    """Handed over."""
    CANCELLED = "cancelled"
    """Called off, with a reason."""


class ReadingStatus(StrEnum):
    """One model's work on one image."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class ReadingKind(StrEnum):
    """Which pool reads; also the name of its queue."""

    CLASSIFY = "classify"
    DETECT = "detect"


class OfferStatus(StrEnum):
    """One ER's view of a proposal."""

    REQUESTED = "requested"
    """Sent (Task requested)."""
    RECEIVED = "received"
    """Shown on that ER's screen (Task received)."""
    ACCEPTED = "accepted"
    """This ER holds the case (Task accepted)."""
    ACCEPTED_WITH_DELAY = "accepted_with_delay"
    """A counter-offer that the crew takes or passes (Task on-hold)."""
    REJECTED = "rejected"
    """Declined with a coded reason (Task rejected)."""
    WITHDRAWN = "withdrawn"
    """Taken back: placed elsewhere, cancelled, or given back after acceptance (Task cancelled)."""
    EXPIRED = "expired"
    """No answer in time (Task cancelled)."""


class MessageStatus(StrEnum):
    """How far a message has come."""

    SENT = "sent"
    DELIVERED = "delivered"
    SEEN = "seen"


class Channel(StrEnum):
    """The second way to an ER whose screen stays silent."""

    WEBHOOK = "webhook"
    EMAIL = "email"


class NotificationStep(StrEnum):
    """What an ER is told about by the second channel; each at most once per offer and channel."""

    OFFERED = "offered"
    """A case of acuity 1 or 2 is offered."""
    REMINDED = "reminded"
    """Nobody has answered yet."""


class NotificationStatus(StrEnum):
    """How far a notification has come."""

    PENDING = "pending"
    SENT = "sent"
    """The other side took it."""
    FAILED = "failed"
    """Given up after the last try."""
    DROPPED = "dropped"
    """No longer needed: the offer was answered or taken back first."""


class DeclineReason(StrEnum):
    """Why an ER cannot take a patient now (neutral wording, FIELD complaint 4).

    An operating room that is taken counts as equipment.
    """

    NO_ER_BED = "no_er_bed"
    NO_INTENSIVE_CARE_BED = "no_intensive_care_bed"
    NO_SPECIALIST = "no_specialist"
    NO_EQUIPMENT = "no_equipment"
    STAFF_OCCUPIED = "staff_occupied"
    ISOLATION_FULL = "isolation_full"
    MASS_CASUALTY = "mass_casualty"
    OTHER = "other"


class DirectiveKind(StrEnum):
    """What the control room says about an ER for one case."""

    PIN = "pin"
    """Ask it next."""
    VETO = "veto"
    """Never ask it."""


class DuplicateReason(StrEnum):
    """Why two live cases may be one patient's, from the weakest ground to the strongest."""

    SAME_CREW = "same_crew"
    """One ambulance, the same temporary description, within minutes."""
    NAME_AND_BIRTH_DATE = "name_and_birth_date"
    IDENTIFIER = "identifier"
    MERGED = "merged"
    """Somebody said that both are one person."""


class DuplicateResolution(StrEnum):
    """What a person said about two such cases."""

    DIFFERENT = "different"
    """Two patients: both cases go on."""
    CANCELLED = "cancelled"
    """One patient: one of the cases was called off, the other one goes on."""


class Role(StrEnum):
    """Who somebody is to the system."""

    CREW = "crew"
    EMERGENCY_ROOM = "emergency_room"
    CONTROL_ROOM = "control_room"
    OPERATIONS = "operations"
    ADMIN = "admin"


class AlarmCode(StrEnum):
    """What may be wrong with a machine; a case's alarms are the control room's."""

    QUEUE_STUCK = "queue_stuck"
    """Work waits in a queue and nothing of it was finished for a while."""
    QUEUE_BEHIND = "queue_behind"
    """A queue works, but its oldest item waits too long."""
    CANARY_LOST = "canary_lost"
    """What was sent through a queue to test it did not come back."""
    PROCESS_SILENT = "process_silent"
    """A process gave no sign of life and nobody took its place."""
    CASES_OVERDUE = "cases_overdue"
    """Deadlines of cases passed and nobody acted on them."""
    REDIS_SILENT = "redis_silent"
    """The doorbell does not answer."""
    DISK_LOW = "disk_low"
    """The image store is almost full."""
    DEAD_LETTERS = "dead_letters"
    """Readings gave up and nobody looked at them."""
    CLOCK_SKEW = "clock_skew"
    """A machine's clock differs from the database's."""
    BED_FEED_SILENT = "bed_feed_silent"
    """The feed of free beds brought nothing for too long."""
    ROAD_TIMES_SILENT = "road_times_silent"
    """The service of road times gives nothing; ways are estimated."""


C, R, F, M = CaseStatus, ReadingStatus, OfferStatus, MessageStatus

CASE_TRANSITIONS: dict[CaseStatus, frozenset[CaseStatus]] = {
    C.RECEIVED: frozenset({C.OFFERING, C.CANCELLED}),
    C.OFFERING: frozenset({C.ASSIGNED, C.UNPLACED, C.CANCELLED}),
    C.UNPLACED: frozenset({C.ASSIGNED, C.CANCELLED}),
    C.ASSIGNED: frozenset({C.ACKNOWLEDGED, C.OFFERING, C.CANCELLED}),
    C.ACKNOWLEDGED: frozenset({C.EN_ROUTE, C.OFFERING, C.CANCELLED}),
    C.EN_ROUTE: frozenset({C.ARRIVED, C.OFFERING}),
    C.ARRIVED: frozenset({C.CLOSED, C.OFFERING}),
    C.CLOSED: frozenset(),
    C.CANCELLED: frozenset(),
}
READING_TRANSITIONS: dict[ReadingStatus, frozenset[ReadingStatus]] = {
    R.PENDING: frozenset({R.RUNNING, R.FAILED}),
    R.RUNNING: frozenset({R.RUNNING, R.DONE, R.FAILED, R.PENDING}),
    R.DONE: frozenset(),
    R.FAILED: frozenset({R.PENDING}),
}
OFFER_TRANSITIONS: dict[OfferStatus, frozenset[OfferStatus]] = {
    F.REQUESTED: frozenset(
        {F.RECEIVED, F.ACCEPTED, F.ACCEPTED_WITH_DELAY, F.REJECTED, F.WITHDRAWN, F.EXPIRED}
    ),
    F.RECEIVED: frozenset({F.ACCEPTED, F.ACCEPTED_WITH_DELAY, F.REJECTED, F.WITHDRAWN, F.EXPIRED}),
    F.ACCEPTED_WITH_DELAY: frozenset({F.ACCEPTED, F.REJECTED, F.WITHDRAWN, F.EXPIRED}),
    F.ACCEPTED: frozenset({F.WITHDRAWN}),
    F.REJECTED: frozenset(),
    F.WITHDRAWN: frozenset(),
    F.EXPIRED: frozenset(),
}
MESSAGE_TRANSITIONS: dict[MessageStatus, frozenset[MessageStatus]] = {
    M.SENT: frozenset({M.DELIVERED, M.SEEN}),
    M.DELIVERED: frozenset({M.SEEN}),
    M.SEEN: frozenset(),
}

TERMINAL_CASES = frozenset(status for status, after in CASE_TRANSITIONS.items() if not after)
LIVE_CASES = frozenset(CaseStatus) - TERMINAL_CASES
HELD_CASES = frozenset({C.ASSIGNED, C.ACKNOWLEDGED, C.EN_ROUTE, C.ARRIVED})
"""An ER holds the patient."""
ON_THE_WAY_CASES = HELD_CASES - {C.ARRIVED}
"""And the ambulance is not at its door yet."""
SEEKING_CASES = frozenset({C.RECEIVED, C.OFFERING, C.UNPLACED})
"""Nobody holds the patient yet."""
OPEN_OFFERS = frozenset({F.REQUESTED, F.RECEIVED, F.ACCEPTED_WITH_DELAY})
"""May still become accepted."""
UNANSWERED_OFFERS = frozenset({F.REQUESTED, F.RECEIVED})

S = TypeVar("S", CaseStatus, ReadingStatus, OfferStatus, MessageStatus)
_TABLES: dict[type, dict[object, frozenset[object]]] = {
    CaseStatus: CASE_TRANSITIONS,  # type: ignore[dict-item]  # one lookup for four enums
    ReadingStatus: READING_TRANSITIONS,  # type: ignore[dict-item]
    OfferStatus: OFFER_TRANSITIONS,  # type: ignore[dict-item]
    MessageStatus: MESSAGE_TRANSITIONS,  # type: ignore[dict-item]
}


def check(before: S, after: S) -> None:
    """Raise IllegalTransition unless the table allows before → after."""
    if after not in _TABLES[type(before)][before]:
        raise IllegalTransition(
            f"{type(before).__name__}: {before} cannot become {after}", status=str(before)
        )


def sources(after: S) -> frozenset[S]:
    """All states from which `after` may be reached."""
    table = _TABLES[type(after)]
    return frozenset(before for before, targets in table.items() if after in targets)  # type: ignore[misc]
