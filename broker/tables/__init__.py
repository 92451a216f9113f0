"""The record: every table as a SQLAlchemy 2 mapped class, with the checks that the database makes.

No queries and no rules live here. Times are aware UTC (column names end in _at); units stand in
names. There is no jobs table and no outbox: a Reading carries attempt and lease, and rows that are
due ARE the outbox.
"""

from broker.tables.base import Base, UtcDateTime
from broker.tables.cases import (
    Case,
    ElsewherePlacement,
    Finding,
    Image,
    Offer,
    Reading,
    Upload,
    VitalSignsEntry,
)
from broker.tables.dialogue import Directive, Instructions, Message, Notification, Outcome
from broker.tables.journal import AudienceSequence, AuditEntry, AuditSeal, Event
from broker.tables.patients import (
    DuplicateSuspicion,
    Patient,
    PatientIdentity,
    PatientMerge,
    TemporaryName,
)
from broker.tables.region import (
    Account,
    Ambulance,
    AnswerCount,
    AnswerCountProgress,
    BedFeed,
    DeviceToken,
    EmergencyRoom,
    RoadService,
    RoadTime,
)
from broker.tables.watch import (
    Alarm,
    Canary,
    Distribution,
    Heartbeat,
    QueuePause,
    RuntimeSetting,
    Sample,
)

__all__ = [
    "Account",
    "Alarm",
    "Ambulance",
    "AnswerCount",
    "AnswerCountProgress",
    "AudienceSequence",
    "AuditEntry",
    "AuditSeal",
    "Base",
    "BedFeed",
    "Canary",
    "Case",
    "DeviceToken",
    "Directive",
    "Distribution",
    "DuplicateSuspicion",
    "ElsewherePlacement",
    "EmergencyRoom",
    "Event",
    "Finding",
    "Heartbeat",
    "Image",
    "Instructions",
    "Message",
    "Notification",
    "Offer",
    "Outcome",
    "Patient",
    "PatientIdentity",
    "PatientMerge",
    "QueuePause",
    "Reading",
    "RoadService",
    "RoadTime",
    "RuntimeSetting",
    "Sample",
    "TemporaryName",
    "Upload",
    "UtcDateTime",
    "VitalSignsEntry",
]
