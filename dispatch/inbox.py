"""Durable words between crew, ER and control room of one case: sent, delivered, seen.

Also the polled form of the event log. One row per recipient; nothing is ever rewritten.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from broker import database, events
from broker.errors import Conflict, NotAllowed, NotFound
from broker.lifecycle import MessageStatus
from broker.tables import Message
from dispatch import access
from dispatch.access import Actor


class Recipient(StrEnum):
    """Whom a message may go to."""

    AMBULANCE = "ambulance"
    EMERGENCY_ROOM = "emergency_room"
    """The ER that holds the case."""
    CONTROL_ROOM = "control_room"


def send(session: Session, actor: Actor, case_id: UUID, to: Recipient, body: str) -> Message:
    """Store a message and tell its recipient; Conflict when no ER holds the case."""
    case = access.case(session, actor, case_id)
    sender = actor.audience
    if sender is None:
        raise NotAllowed()
    if to is Recipient.AMBULANCE:
        recipient = events.ambulance(case.ambulance_id)
    elif to is Recipient.CONTROL_ROOM:
        recipient = events.CONTROL_ROOM
    else:
        holder = access.holding_emergency_room(session, case.id)
        if holder is None:
            raise Conflict("no emergency room holds this case yet; write to the control room")
        recipient = events.emergency_room(holder)
    if recipient == sender:
        raise Conflict("a message to yourself goes nowhere")
    message = Message(
        case_id=case.id,
        sender=sender,
        recipient=recipient,
        body=body,
        status=MessageStatus.SENT,
        sent_at=database.now(session),
    )
    session.add(message)
    session.flush()
    _tell(session, message, recipient, "message.sent")
    return message


def of_case(session: Session, actor: Actor, case_id: UUID) -> Sequence[Message]:
    """Messages of a case that this actor sent or got, oldest first."""
    access.case(session, actor, case_id)
    return session.scalars(
        select(Message)
        .where(Message.case_id == case_id, access.messages_visible_to(actor))
        .order_by(Message.sent_at, Message.id)
    ).all()


def delivered(session: Session, actor: Actor, message_ids: Sequence[UUID]) -> None:
    """Note that messages reached their recipient's device."""
    now = database.now(session)
    reached = session.scalars(
        update(Message)
        .where(
            Message.id.in_(message_ids),
            Message.recipient == (actor.audience or ""),
            Message.status == MessageStatus.SENT,
        )
        .values(status=MessageStatus.DELIVERED, delivered_at=now)
        .returning(Message)
        .execution_options(synchronize_session=False)
    ).all()
    for message in reached:
        _tell(session, message, message.sender, "message.delivered")


def seen(session: Session, actor: Actor, message_id: UUID) -> Message:
    """Note that a person read a message; only its recipient can say so."""
    message = session.scalars(
        select(Message).where(Message.id == message_id, Message.recipient == (actor.audience or ""))
    ).one_or_none()
    if message is None:
        raise NotFound(f"there is no message {message_id} to you")
    if message.status is not MessageStatus.SEEN:
        now = database.now(session)
        message.status, message.seen_at = MessageStatus.SEEN, now
        message.delivered_at = message.delivered_at or now
        session.flush()
        _tell(session, message, message.sender, "message.seen")
    return message


def _tell(session: Session, message: Message, audience: str, type_: str) -> None:
    events.announce(
        session,
        audience,
        type_,
        message.case_id,
        message_id=str(message.id),
        message_status=message.status,
    )
