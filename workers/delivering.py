"""Sends one notification: claim it, send it outside any transaction, write down how it went.

Used by the queue's `deliver` task and by upkeep; any number of them may be handed the same id.
"""

from __future__ import annotations

from uuid import UUID

from broker import logs
from broker.record import Record
from dispatch import notify
from dispatch.notify import NotDelivered


def deliver(record: Record, notification_id: UUID) -> None:
    """Send a notification if it is due and still needed."""
    settings = record.settings
    claimed = record.again(lambda s: notify.claim(s, settings, notification_id))
    if claimed is None:
        return
    log = logs.logger().bind(
        notification_id=str(notification_id), channel=claimed.channel, attempt=claimed.attempt
    )
    try:
        notify.send(settings, claimed)
    except NotDelivered as error:
        log.warning("a notification was not taken", action="notify.failed", reason=error.message)
        reason = error.message
        record.again(lambda s: notify.failed(s, claimed, reason))
    else:
        record.again(lambda s: notify.sent(s, claimed))
        log.info("a notification was taken", action="notify.sent")
