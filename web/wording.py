"""What the record keeps in codes, in words: urgency, offers, hospitals outside; both languages."""

from __future__ import annotations

from typing import Any

from broker.tables import ElsewherePlacement
from dispatch import news2, routing, triage
from web import language as words


def elsewhere_picture(row: ElsewherePlacement | None) -> dict[str, Any] | None:
    """A hospital outside, said to be so in its very name: nobody may take it for an ER's yes."""
    if row is None:
        return None
    names = words.in_every("elsewhere.named", hospital=row.hospital)
    return {
        **{
            name: getattr(row, name)
            for name in ("id", "hospital", "reason", "recorded_at", "recorded_by_role")
        },
        "emergency_room": {"name": names["en"], "name_ko": names["ko"], "phone": row.phone},
    }


def triage_picture(stored: dict[str, Any] | None) -> dict[str, Any] | None:
    """The stored triage with its reasons in words, in both languages."""
    if stored is None:
        return None
    reasons = []
    for reason in stored["reasons"]:
        known = triage.Reason(reason["code"], reason["params"], reason.get("text"))
        text = {language: triage.explain(known, language) for language in ("en", "ko")}
        reasons.append({**reason, "text": text})
    return {**stored, "reasons": reasons, "credit": news2.CREDIT}


def explanation_picture(stored: dict[str, Any]) -> dict[str, Any]:
    """The stored explanation of an offer with its reasons in words, in both languages."""

    def worded(reason: dict[str, Any] | None) -> dict[str, Any] | None:
        if reason is None:
            return None
        known = routing.RoutingReason(routing.RoutingReasonCode(reason["code"]), reason["params"])
        text = {language: routing.explain(known, language) for language in ("en", "ko")}
        return {**reason, "text": text}

    shown = dict(stored)
    shown["reasons"] = [worded(reason) for reason in stored.get("reasons", ())]
    shown["excluded_reason"] = worded(stored.get("excluded_reason"))
    of_set = stored.get("set") or {}  # rows of an older version have none
    shown["set"] = {**of_set, "not_nearest": worded(of_set.get("not_nearest"))}
    return shown
