"""Whom each policy asks: production's own routing and parts of it, and what crews do now.

A policy sees what production sees: positions, capabilities on paper, announced diversion, boards
with their age, and learnt answers where it may. Never the true state of an emergency room.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from dispatch import behaviour, routing, travel
from dispatch.behaviour import ALL_HOURS, Counts, hour_of_week
from dispatch.replay.world import Call, Room, World
from dispatch.routing import EmergencyRoomFacts

ASKED_AT_A_TIME = 3


class Policy(StrEnum):
    """A way of choosing whom to ask."""

    NEAREST_THREE = "nearest_three"
    PHONE = "phone"
    OURS = "ours"
    OURS_REPLACING = "ours_replacing"
    NEAREST_REPLACING = "nearest_replacing"
    WITHOUT_LEARNING = "without_learning"
    WITHOUT_SETS = "without_sets"


POLICY_TEXT: dict[Policy, dict[str, str]] = {
    Policy.NEAREST_THREE: {"en": "Nearest three", "ko": "가장 가까운 3곳"},
    Policy.PHONE: {"en": "Nearest, one after another by phone", "ko": "가까운 순 전화"},
    Policy.OURS: {"en": "Ours", "ko": "본 시스템"},
    Policy.OURS_REPLACING: {
        "en": "Ours, a no replaced at once",
        "ko": "본 시스템, 거절 즉시 대체 요청",
    },
    Policy.NEAREST_REPLACING: {
        "en": "Nearest three, a no replaced at once",
        "ko": "가장 가까운 3곳, 거절 즉시 대체 요청",
    },
    Policy.WITHOUT_LEARNING: {"en": "Ours without learning", "ko": "학습 제외"},
    Policy.WITHOUT_SETS: {"en": "Ours without sets", "ko": "조합 최적화 제외"},
}

NEAREST = frozenset({Policy.NEAREST_THREE, Policy.NEAREST_REPLACING, Policy.PHONE})
REPLACING = frozenset({Policy.OURS_REPLACING, Policy.NEAREST_REPLACING})
"""As dispatch/offers.py does with GOLDENTIME_REPLACE_DECLINED."""

Odds = Mapping[tuple[int, UUID], Counts]
"""Learnt answers by hour of the week (ALL_HOURS: all) and emergency room."""


def pick(
    policy: Policy,
    world: World,
    call: Call,
    rooms: Sequence[Room],
    odds: Odds,
    answer_within_s: float,
    at_a_time: int = ASKED_AT_A_TIME,
) -> list[Room]:
    """Whom a policy asks next among the rooms that may be asked."""
    if policy in NEAREST:
        open_rooms = [room for room in rooms if not room.on_diversion] or list(rooms)
        nearest = sorted(
            open_rooms,
            key=lambda r: (travel.great_circle_km(call.position, r.position), r.number),
        )
        return nearest[: 1 if policy is Policy.PHONE else at_a_time]
    now = world.now()
    known: Odds = {} if policy is Policy.WITHOUT_LEARNING else odds
    ranked = routing.rank(
        call.position,
        call.kind.needs,
        call.kind.acuity,
        [facts(room, now, world, known) for room in rooms],
        now=now,
        asked=call.asked,
        wished=call.kind.wishes,
        answer_within_s=answer_within_s,
    )
    if policy is Policy.WITHOUT_SETS:
        chosen = [r for r in ranked if r.excluded_reason is None] or list(ranked)
        chosen = chosen[:at_a_time]
    else:
        chosen = routing.choose(ranked, at_a_time)
    return [world.rooms[r.id.int - 1] for r in chosen]


def facts(room: Room, now: datetime, world: World, odds: Odds) -> EmergencyRoomFacts:
    """An emergency room as production's ranking sees it."""
    hour = odds.get((hour_of_week(now), room.id), Counts())
    expected = behaviour.estimate(hour, odds.get((ALL_HOURS, room.id), Counts()))
    board = room.board
    return EmergencyRoomFacts(
        id=room.id,
        name=f"ER {room.number + 1}",
        latitude=room.position.latitude,
        longitude=room.position.longitude,
        capabilities=room.capabilities,
        on_diversion=room.on_diversion,
        beds_available=board[0] if board else None,
        beds_at=world.begins_at + timedelta(minutes=board[1]) if board else None,
        answer_rate=expected.answer_rate,
        accept_rate=expected.accept_rate,
        median_answer_s=expected.median_answer_s,
        level=room.level,
    )
