"""Whom each policy asks: production's own routing and parts of it, and what crews do now.

A policy sees what production sees: positions, capabilities on paper, announced diversion, boards
with their age, and learnt answers where it may. Never the true state of an emergency room.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from dispatch import behaviour, refusals, routing, travel
from dispatch.behaviour import ALL_HOURS, Counts, hour_of_week
from dispatch.replay.world import Call, Kind, Room, World
from dispatch.routing import EmergencyRoomFacts

ASKED_AT_A_TIME = 3
REMEMBERED = 50
"""No emergency room answers more often than this in an hour."""


class Policy(StrEnum):
    """A way of choosing whom to ask."""

    NEAREST_THREE = "nearest_three"
    PHONE = "phone"
    OURS = "ours"
    OURS_WAITING = "ours_waiting"
    NEAREST_REPLACING = "nearest_replacing"
    WITHOUT_LEARNING = "without_learning"
    WITHOUT_SETS = "without_sets"


POLICY_TEXT: dict[Policy, dict[str, str]] = {
    Policy.NEAREST_THREE: {"en": "Nearest three", "ko": "가장 가까운 3곳"},
    Policy.PHONE: {"en": "Nearest, one after another by phone", "ko": "가까운 순 전화"},
    Policy.OURS: {"en": "Ours", "ko": "본 시스템"},
    Policy.OURS_WAITING: {
        "en": "Ours, waiting for the round's end",
        "ko": "본 시스템, 차수 종료까지 대기",
    },
    Policy.NEAREST_REPLACING: {
        "en": "Nearest three, a no replaced at once",
        "ko": "가장 가까운 3곳, 수용 곤란 즉시 대체 요청",
    },
    Policy.WITHOUT_LEARNING: {"en": "Ours without learning", "ko": "학습 제외"},
    Policy.WITHOUT_SETS: {"en": "Ours without sets", "ko": "조합 최적화 제외"},
}

NEAREST = frozenset({Policy.NEAREST_THREE, Policy.NEAREST_REPLACING, Policy.PHONE})
WAITING = frozenset({Policy.NEAREST_THREE, Policy.OURS_WAITING, Policy.PHONE})
"""Nobody is asked in the place of one that said no before the round is over, as production does
with GOLDENTIME_REPLACE_DECLINED=0. The others ask at once, as it does by default."""

Odds = Mapping[tuple[int, UUID], Counts]
"""Learnt answers by hour of the week (ALL_HOURS: all) and emergency room."""


def pick(
    policy: Policy,
    world: World,
    call: Call,
    rooms: Sequence[Room],
    odds: Odds,
    answer_within_s: float,
    beside: Sequence[Room] = (),
) -> list[Room]:
    """Whom a policy asks next among the rooms that may be asked: a round's three, or one in the
    place of a no, beside those that may still answer."""
    at_a_time = 1 if beside or policy is Policy.PHONE else ASKED_AT_A_TIME
    if policy in NEAREST:
        open_rooms = [room for room in rooms if not room.on_diversion] or list(rooms)
        nearest = sorted(
            open_rooms,
            key=lambda r: (travel.great_circle_km(call.position, r.position), r.number),
        )
        return nearest[:at_a_time]
    now = world.now()
    known: Odds = {} if policy is Policy.WITHOUT_LEARNING else odds
    ranked = routing.rank(
        call.position,
        call.kind.needs,
        call.kind.acuity,
        [facts(room, call.kind, now, world, known) for room in (*rooms, *beside)],
        now=now,
        asked={} if beside else call.asked,
        wished=call.kind.wishes,
        answer_within_s=answer_within_s,
    )
    waiting = {room.id for room in beside}
    if policy is Policy.WITHOUT_SETS:
        fresh = [r for r in ranked if r.id not in waiting]
        chosen = [r for r in fresh if r.excluded_reason is None] or fresh
        chosen = chosen[:at_a_time]
    elif beside:
        chosen = list(routing.choose_beside(ranked, waiting).rooms)
    else:
        chosen = routing.choose(ranked, at_a_time)
    return [world.rooms[r.id.int - 1] for r in chosen]


def facts(room: Room, kind: Kind, now: datetime, world: World, odds: Odds) -> EmergencyRoomFacts:
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
        refused_min=refusals.ages_min(room.answered[-REMEMBERED:], frozenset(kind.needs), now)
        if odds
        else (),
    )
