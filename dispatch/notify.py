"""The second channel, for an ER whose screen stays silent: a signed webhook, an e-mail with a link.

A notification is a row, written in the unit that opens or reminds an offer; a worker claims it,
sends it outside any transaction, and writes down how it went. What goes out names ids, the acuity,
the ER and a link: nothing about the patient. Off until the settings configure it.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import smtplib
import ssl
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit
from uuid import UUID, uuid4

import requests
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from broker import database, events
from broker.errors import GoldentimeError
from broker.lifecycle import (
    UNANSWERED_OFFERS,
    Channel,
    NotificationStatus,
    NotificationStep,
    OfferStatus,
)
from broker.settings import Settings
from broker.tables import Case, EmergencyRoom, Notification, Offer
from dispatch.access import SYSTEM

TRIES = 6
FIRST_WAIT_S = 2.0
"""Before the second try; each further wait is twice as long (2, 4, 8, 16, 32 s)."""
CLAIM_S = 30.0
"""A worker that has not said how it went after this long is taken for dead."""
SEND_S = 5.0
MIN_SECRET = 32
SIGNATURE_HEADER = "Goldentime-Signature"
URGENT_ACUITY = 2
"""This acuity and worse is told by the second channel at once."""


class NotDelivered(GoldentimeError):
    """The other side did not take the notification."""

    code = "not_delivered"


@dataclass(frozen=True)
class Delivery:
    """A claimed notification with all that sending needs."""

    notification_id: UUID
    attempt: int
    channel: Channel
    step: NotificationStep
    address: str
    emergency_room: str
    offer_id: UUID
    case_id: UUID
    acuity: int | None
    assigned: bool
    """By the control room: there is nothing to answer, but a patient comes."""


def configured(settings: Settings) -> tuple[frozenset[Channel], str]:
    """Which channels the settings switch on, and one line that says why the others are off."""
    off = []
    if len(settings.webhook_secret) < MIN_SECRET or not settings.webhook_hosts:
        off.append(
            f"webhooks are off: set GOLDENTIME_WEBHOOK_SECRET ({MIN_SECRET} characters or more) "
            "and GOLDENTIME_WEBHOOK_HOSTS"
        )
    mail = urlsplit(settings.smtp_url)
    if mail.scheme not in {"smtp", "smtps"} or not mail.hostname or "@" not in settings.mail_from:
        off.append("e-mail is off: set GOLDENTIME_SMTP_URL and GOLDENTIME_MAIL_FROM")
    on = {
        channel
        for channel, word in ((Channel.WEBHOOK, "webhooks"), (Channel.EMAIL, "e-mail"))
        if not any(line.startswith(word) for line in off)
    }
    said = [*(f"{channel} is on" for channel in sorted(on)), *off]
    return frozenset(on), "; ".join(said)


def webhook_fault(address: str, hosts: Sequence[str] | None = None) -> str | None:
    """Why a webhook may not go to an address, or None: https or loopback, and an allowed host."""
    url = urlsplit(address)
    if url.scheme != "https" and not (url.scheme == "http" and _loopback(url.hostname or "")):
        return "a webhook needs an https address (http only to this machine)"
    if not url.hostname or url.username or url.password:
        return "a webhook needs a host and no name or password in its address"
    if hosts is not None and url.netloc not in hosts and url.hostname not in hosts:
        return f"{url.netloc} is not among GOLDENTIME_WEBHOOK_HOSTS"
    return None


def plan(
    session: Session, settings: Settings, offers: Iterable[Offer], step: NotificationStep
) -> None:
    """Write a notification for each offer and channel that its ER can be reached by.

    Planning the same step of an offer again changes nothing.
    """
    on, _ = configured(settings)
    if not on:
        return
    now = database.now(session)
    rows = []
    for offer in offers:
        room = session.get_one(EmergencyRoom, offer.emergency_room_id)
        has = {Channel.WEBHOOK: room.notify_webhook, Channel.EMAIL: room.notify_email}
        rows += [
            {
                "id": uuid4(),
                "offer_id": offer.id,
                "step": step,
                "channel": channel,
                "status": NotificationStatus.PENDING,
                "attempt": 0,
                "due_at": now,
                "created_at": now,
            }
            for channel in sorted(on)
            if has[channel]
        ]
    if rows:
        session.execute(
            database.insert(session, Notification).values(rows).on_conflict_do_nothing()
        )
        events.work_due(session)


def due(session: Session, waited: timedelta = timedelta(), limit: int = 200) -> Sequence[UUID]:
    """Notifications that wait to be sent, and have done so for a while."""
    return session.scalars(
        select(Notification.id)
        .where(
            Notification.status == NotificationStatus.PENDING,
            Notification.due_at <= database.now(session) - waited,
        )
        .order_by(Notification.due_at)
        .limit(limit)
    ).all()


def claim(session: Session, settings: Settings, notification_id: UUID) -> Delivery | None:
    """Take a notification that is due; None when it is not, or is not needed any more."""
    now = database.now(session)
    row = session.execute(
        select(Notification, Offer, Case, EmergencyRoom)
        .join(Offer, Offer.id == Notification.offer_id)
        .join(Case, Case.id == Offer.case_id)
        .join(EmergencyRoom, EmergencyRoom.id == Offer.emergency_room_id)
        .where(
            Notification.id == notification_id,
            Notification.status == NotificationStatus.PENDING,
            Notification.due_at <= now,
        )
    ).one_or_none()
    if row is None:
        return None
    found, offer, case, room = row
    on, _ = configured(settings)
    addresses = {Channel.WEBHOOK: room.notify_webhook, Channel.EMAIL: room.notify_email}
    address = addresses[found.channel]
    # Who was assigned a case never answers: it is told all the same.
    told = offer.status is OfferStatus.ACCEPTED and offer.assigned_by is not None
    wanted = offer.status in UNANSWERED_OFFERS or told
    needed = wanted and found.channel in on and address is not None
    values = (
        {"attempt": found.attempt + 1, "due_at": now + timedelta(seconds=CLAIM_S)}
        if needed
        else {"status": NotificationStatus.DROPPED, "finished_at": now}
    )
    won = _mine(session, found.id, found.attempt, **values)
    if not won or not needed or address is None:
        return None
    return Delivery(
        notification_id=found.id,
        attempt=found.attempt + 1,
        channel=found.channel,
        step=found.step,
        address=address,
        emergency_room=room.name,
        offer_id=offer.id,
        case_id=case.id,
        acuity=case.acuity,
        assigned=told,
    )


def send(settings: Settings, delivery: Delivery) -> None:
    """Send a claimed notification; NotDelivered when the other side did not take it.

    Never inside a transaction: it may take seconds.
    """
    if delivery.channel is Channel.WEBHOOK:
        _post(settings, delivery)
    else:
        _mail(settings, delivery)


def sent(session: Session, delivery: Delivery) -> None:
    """Write down that a notification was taken."""
    if _mine(
        session,
        delivery.notification_id,
        delivery.attempt,
        status=NotificationStatus.SENT,
        finished_at=database.now(session),
        error=None,
    ):
        _audit(session, delivery, "notification.sent")


def failed(session: Session, delivery: Delivery, error: str) -> None:
    """Write down that a try went wrong: again after a while, or given up and said aloud."""
    now = database.now(session)
    if delivery.attempt < TRIES:
        wait_s = FIRST_WAIT_S * 2 ** (delivery.attempt - 1)
        values: dict[str, object] = {"due_at": now + timedelta(seconds=wait_s)}
    else:
        values = {"status": NotificationStatus.FAILED, "finished_at": now}
    if not _mine(session, delivery.notification_id, delivery.attempt, error=error[:200], **values):
        return
    if delivery.attempt >= TRIES:
        _audit(session, delivery, "notification.failed")
        events.announce(
            session,
            events.CONTROL_ROOM,
            "notification.failed",
            delivery.case_id,
            offer_id=str(delivery.offer_id),
            channel=delivery.channel,
        )


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """The signature header: `t=<unix seconds>,v1=<hex HMAC-SHA256 over "<t>." + body>`.

    The receiver computes the same and refuses what is older than some minutes.
    """
    said = hmac.new(secret.encode(), b"%d." % timestamp + body, hashlib.sha256)
    return f"t={timestamp},v1={said.hexdigest()}"


def link(settings: Settings, offer_id: UUID) -> str:
    """The page on which the offer can be decided, after signing in."""
    return f"{settings.public_url.rstrip('/')}/er?offer={offer_id}"


def _post(settings: Settings, delivery: Delivery) -> None:
    if fault := webhook_fault(delivery.address, settings.webhook_hosts):
        raise NotDelivered(fault)
    body = json.dumps(
        {
            "notification_id": str(delivery.notification_id),
            "step": delivery.step,
            "offer_id": str(delivery.offer_id),
            "case_id": str(delivery.case_id),
            "acuity": delivery.acuity,
            "assigned": delivery.assigned,
            "emergency_room": delivery.emergency_room,
            "link": link(settings, delivery.offer_id),
        }
    ).encode()
    headers = {
        "Content-Type": "application/json",
        "Idempotency-Key": str(delivery.notification_id),
        SIGNATURE_HEADER: signature(settings.webhook_secret, int(time.time()), body),
    }
    with requests.Session() as client:
        client.trust_env = False  # no proxy and no .netrc of this machine
        try:
            answer = client.post(
                delivery.address,
                data=body,
                headers=headers,
                timeout=SEND_S,
                allow_redirects=False,
                stream=True,  # what they answer is not read
            )
            answer.close()
        except requests.RequestException as error:
            raise NotDelivered(f"the webhook did not answer: {type(error).__name__}") from error
    if not 200 <= answer.status_code < 300:
        raise NotDelivered(f"the webhook answered {answer.status_code}")


def _mail(settings: Settings, delivery: Delivery) -> None:
    server = urlsplit(settings.smtp_url)
    host = server.hostname or ""
    message = EmailMessage()
    message["From"], message["To"] = settings.mail_from, delivery.address
    asks = (
        "the control room has assigned a patient to" if delivery.assigned else "an ambulance asks"
    )
    message["Subject"] = f"Acuity {delivery.acuity}: {asks} {delivery.emergency_room}"
    message["Message-ID"] = f"<{delivery.notification_id}@goldentime>"
    said = (
        f"The control room has assigned a patient to {delivery.emergency_room} (acuity "
        f"{delivery.acuity}).\n\nSee the case, or give it back with a reason:"
        if delivery.assigned
        else f"An ambulance waits for the answer of {delivery.emergency_room} (acuity "
        f"{delivery.acuity}).\n\nSee the case and decide:"
    )
    message.set_content(f"{said}\n{link(settings, delivery.offer_id)}\n")
    try:
        tls = ssl.create_default_context()
        client: smtplib.SMTP = (
            smtplib.SMTP_SSL(host, server.port or 465, timeout=SEND_S, context=tls)
            if server.scheme == "smtps"
            else smtplib.SMTP(host, server.port or 587, timeout=SEND_S)
        )
        with client:
            if server.scheme == "smtp" and not _loopback(host):
                client.starttls(context=tls)
            if server.username:
                client.login(unquote(server.username), unquote(server.password or ""))
            client.send_message(message)
    except (OSError, smtplib.SMTPException) as error:
        raise NotDelivered(f"the mail server did not take it: {type(error).__name__}") from error


def _mine(session: Session, notification_id: UUID, as_of_attempt: int, **values: object) -> bool:
    won = database.changed(
        session,
        update(Notification)
        .where(
            Notification.id == notification_id,
            Notification.status == NotificationStatus.PENDING,
            Notification.attempt == as_of_attempt,
        )
        .values(**values),
    )
    return won == 1


def _audit(session: Session, delivery: Delivery, action: str) -> None:
    events.audit(
        session,
        SYSTEM.name,
        action,
        delivery.case_id,
        offer_id=str(delivery.offer_id),
        channel=delivery.channel,
        attempt=delivery.attempt,
    )


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
