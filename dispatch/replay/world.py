"""The replayed city: emergency rooms that fill, answer, refuse or stay silent, and their boards.

Knows nothing of policies: what happens is drawn from (seed, what, who), so that every policy meets
the same patients, the same walk-ins and the same moods. Times are minutes since the start.
"""

from __future__ import annotations

import math
import random
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import simpy

from broker.lifecycle import DeclineReason
from dispatch import travel
from dispatch.refusals import Answer
from dispatch.replay.scenario import Parameters
from dispatch.routing_facts import EmergencyCentreLevel
from dispatch.travel import Position
from dispatch.triage import Capability

MIDDLE = Position(37.55, 127.0)
KM_PER_DEGREE = 111.2
START = datetime(2026, 1, 4, 15, 0, tzinfo=UTC)
"""Monday, 0 h in Korea; each seed starts a day later."""
KOREA = timedelta(hours=9)
Process = Generator[simpy.Event, Any, Any]

NIGHT_SILENT = (22, 7)
NIGHT_STAFF = (18, 8)
RUSH = ((7, 9), (17, 19))
ANNOUNCED_AFTER_MIN = 120.0
"""A closed centre says so only then."""


def chance(*what: Any) -> random.Random:
    """A source of chance that depends on nothing but its name."""
    return random.Random("/".join(map(str, what)))


@dataclass
class Room:
    """One emergency room: what it is, how it behaves, and how it stands just now."""

    number: int
    position: Position
    level: EmergencyCentreLevel
    capabilities: frozenset[Capability]
    day_only: frozenset[Capability]
    bays: int
    occupancy: float
    answer_rate: float
    accept_rate: float
    night_silent: bool
    frozen_board: bool
    occupied: int = 0
    full: bool = False
    on_diversion: bool = False
    closed: bool = False
    down_until: float = 0.0
    board: tuple[int, float] | None = None
    answered: list[Answer] = field(default_factory=list)
    id: UUID = field(init=False)

    def __post_init__(self) -> None:
        self.id = UUID(int=self.number + 1)


@dataclass(frozen=True)
class Kind:
    """One kind of patient, as triage judged it."""

    acuity: int
    needs: tuple[Capability, ...]
    wishes: tuple[Capability, ...]


@dataclass
class Call:
    """One case and what became of it."""

    number: int
    at: float
    position: Position
    kind: Kind
    asked: dict[UUID, int] = field(default_factory=dict)
    contacts: int = 0
    waited_for_unit_min: float = 0.0
    unplaced: bool = False
    placed_min: float | None = None
    room: Room | None = None
    travel_min: float = 0.0
    nearest_min: float = 0.0
    lacking: bool = False


def build(p: Parameters) -> list[Room]:
    """The emergency rooms of a city; the same for every seed."""
    dice = chance("city", p.city_seed)
    rooms: list[Room] = []
    for level, count, bays, has, occupancy in (
        ("regional", p.regional, p.bays_regional, p.has_regional, p.occupancy_regional),
        (
            *("local_centre", p.local_centre, p.bays_local_centre),
            *(p.has_local_centre, p.occupancy_local_centre),
        ),
        ("local", p.local, p.bays_local, p.has_local, p.occupancy_local),
    ):
        for _ in range(count):
            offered = frozenset(c for c in Capability if dice.random() < has.get(c.value, 0))
            absent = 0.0 if level == "regional" else p.night_specialist_absent
            rooms.append(
                Room(
                    number=len(rooms),
                    position=place(p, dice),
                    level=EmergencyCentreLevel(level),
                    capabilities=offered,
                    day_only=frozenset(
                        c for c in Capability if c in offered and dice.random() < absent
                    ),
                    bays=bays,
                    occupancy=occupancy
                    * math.exp(dice.gauss(0, p.occupancy_spread) - p.occupancy_spread**2 / 2),
                    answer_rate=_beta(dice, p.answer_rate, p.answer_concentration),
                    accept_rate=_beta(dice, p.accept_free, p.accept_concentration),
                    night_silent=dice.random() < p.night_silent_share,
                    frozen_board=dice.random() < p.feed_frozen,
                )
            )
    if p.odds_shuffled:  # everybody behaves like somebody else than when it was learnt
        moods = [(r.answer_rate, r.accept_rate, r.night_silent) for r in rooms]
        dice.shuffle(moods)
        for room, mood in zip(rooms, moods, strict=True):
            room.answer_rate, room.accept_rate, room.night_silent = mood
    return rooms


def place(p: Parameters, dice: random.Random) -> Position:
    """Somewhere in the city, evenly over its area."""
    distance = p.radius_km * math.sqrt(dice.random()) / KM_PER_DEGREE
    angle = dice.uniform(0, 2 * math.pi)
    return Position(
        MIDDLE.latitude + distance * math.sin(angle),
        MIDDLE.longitude + distance * math.cos(angle) / math.cos(math.radians(MIDDLE.latitude)),
    )


class World:
    """One seed of one city, running."""

    def __init__(self, env: simpy.Environment, p: Parameters, seed: int) -> None:
        self.env = env
        self.p = p
        self.seed = seed
        self.rooms = build(p)
        self.begins_at = START + timedelta(days=seed % 7)
        self.until_min = p.warm_up_h * 60 + p.days * 1440
        self.surges = self._surges()
        self.near = {
            room.number: sorted(
                (o for o in self.rooms if o is not room),
                key=lambda o: (travel.great_circle_km(room.position, o.position), o.number),
            )
            for room in self.rooms
        }
        for room in self.rooms:
            env.process(self._walk_ins(room))
            env.process(self._board(room))
            env.process(self._outages(room))
        if p.closed_centre:
            env.process(self._close(max(self.rooms, key=lambda r: (r.bays, -r.number))))

    def now(self) -> datetime:
        """The time of the simulation as a time."""
        return self.begins_at + timedelta(minutes=self.env.now)

    def hour(self) -> int:
        """Hour of the day in Korea."""
        return (self.now() + KOREA).hour

    # --- what an emergency room does with a request

    def answers(self, room: Room, call: Call, times: int) -> float | None:
        """Minutes until it answers by itself; None when it stays silent."""
        dice = chance(self.seed, "answer", call.number, room.number, times)
        return self._delay_min(dice) if dice.random() < self._answer_rate(room) else None

    def answers_reminder(self, room: Room, call: Call, times: int) -> float | None:
        """The same after a reminder."""
        dice = chance(self.seed, "reminder", call.number, room.number, times)
        if room.down_until > self.env.now or dice.random() >= self.p.reminder_answers:
            return None
        return self._delay_min(dice)

    def declines(self, room: Room, call: Call, times: int) -> DeclineReason | None:
        """Its decision, as full as it is just now: None is a yes."""
        p, free, lacks = self.p, room.bays - room.occupied, self.lacks(room, call.kind)
        if room.closed:
            return DeclineReason.NO_ER_BED
        dice = chance(self.seed, "decide", call.number, room.number, times)
        odds = room.accept_rate
        if free <= 0:
            odds = p.accept_full_acuity_1 if call.kind.acuity == 1 else p.accept_full
        elif free <= 2:
            odds *= p.accept_last
        if dice.random() < odds * p.accept_missing**lacks:
            return None
        if free <= 0:
            return DeclineReason.NO_ER_BED
        return DeclineReason.NO_SPECIALIST if lacks else DeclineReason.OTHER

    def lacks(self, room: Room, kind: Kind) -> int:
        """How many needed capabilities are not there just now."""
        there = room.capabilities - (room.day_only if within(self.hour(), NIGHT_STAFF) else set())
        return sum(need not in there for need in kind.needs)

    def take(self, room: Room, call: Call, travel_min: float) -> None:
        """Keep a place for a case from its yes on, until the patient leaves."""
        dice = chance(self.seed, "stay", call.number)
        self.env.process(self._stay(room, travel_min + self._stay_min(dice)))

    def road_min(self, start: Position, end: Position, *what: Any) -> float:
        """How long the way really takes now: production's estimate, luck and the rush hours."""
        minutes = travel.estimate(start, end).eta_min
        luck = math.exp(chance(self.seed, "road", *what).gauss(0, self.p.travel_sigma))
        rush = any(within(self.hour(), hours) for hours in RUSH)
        return minutes * luck * (self.p.rush_factor if rush else 1.0)

    # --- what goes on by itself

    def _answer_rate(self, room: Room) -> float:
        if room.down_until > self.env.now:
            return 0.0
        night = room.night_silent and within(self.hour(), NIGHT_SILENT)
        return (
            room.answer_rate * self.p.answer_factor * (self.p.night_silent_factor if night else 1.0)
        )

    def _delay_min(self, dice: random.Random) -> float:
        return self.p.answer_median_s / 60 * math.exp(dice.gauss(0, self.p.answer_sigma))

    def _stay_min(self, dice: random.Random) -> float:
        spread = math.exp(dice.gauss(0, self.p.stay_sigma))
        return self.p.stay_median_min * self.p.stay_factor * spread

    def _surges(self) -> list[tuple[float, Position]]:
        dice = chance(self.seed, "surges")
        at, found = 0.0, []
        while self.p.surges_per_day:
            at += dice.expovariate(self.p.surges_per_day / 1440)
            if at > self.until_min:
                break
            found.append((at, place(self.p, dice)))
        return found

    def _walk_ins(self, room: Room) -> Process:
        """Patients who come by themselves: a Poisson process by hour of day, thinned."""
        p, dice = self.p, chance(self.seed, "walk-ins", room.number)
        mean_stay = p.stay_median_min * math.exp(p.stay_sigma**2 / 2)
        per_min = room.occupancy * p.occupancy_factor * room.bays / mean_stay
        most = per_min * max(p.walk_ins_by_hour) * p.surge_factor
        surges = [
            at
            for at, where in self.surges
            if travel.great_circle_km(where, room.position) <= p.surge_radius_km
        ]
        for _ in range(round(room.occupancy * p.occupancy_factor * room.bays)):  # already there
            self._arrive(room, self._stay_min(dice) * dice.random())
        while self.env.now < self.until_min:
            yield self.env.timeout(dice.expovariate(most))
            surging = any(0 <= self.env.now - at < p.surge_h * 60 for at in surges)
            now_per_min = per_min * p.walk_ins_by_hour[self.hour()]
            now_per_min *= p.surge_factor if surging else 1.0
            keep, elsewhere, stay = dice.random(), dice.random(), self._stay_min(dice)
            if keep * most < now_per_min:
                goes = room
                if room.closed or (room.on_diversion and elsewhere < 0.5):
                    goes = next((o for o in self.near[room.number] if not o.closed), room)
                self._arrive(goes, stay)

    def _arrive(self, room: Room, stay_min: float) -> None:
        self.env.process(self._stay(room, stay_min))

    def _stay(self, room: Room, minutes: float) -> Process:
        room.occupied += 1
        self._divert(room)
        yield self.env.timeout(minutes)
        room.occupied -= 1
        self._divert(room)

    def _divert(self, room: Room) -> None:
        """Says that it is full at diversion_at, sometimes; takes patients again at the lower."""
        p, share = self.p, room.occupied / room.bays
        if not room.full and share >= p.diversion_at:
            room.full = True
            said = chance(self.seed, "diversion", room.number, int(self.env.now // 60))
            room.on_diversion = said.random() < p.diversion_announced
        elif room.full and share <= p.diversion_ends_at:
            room.full = False
            room.on_diversion = room.closed

    def _board(self, room: Room) -> Process:
        """The public bed figure: refreshed now and then, right or not."""
        p, dice = self.p, chance(self.seed, "board", room.number)
        while self.env.now < self.until_min:
            free = room.bays - room.occupied
            if dice.random() >= p.feed_match:
                free += round(dice.gauss(0, p.feed_error * room.bays))
            if room.frozen_board and room.board is not None:
                free = room.board[0]  # the time moves on, the number stands
            room.board = (free, self.env.now)
            yield self.env.timeout(dice.expovariate(1 / p.feed_refresh_min))

    def _outages(self, room: Room) -> Process:
        dice = chance(self.seed, "outages", room.number)
        while self.env.now < self.until_min:
            yield self.env.timeout(dice.expovariate(self.p.screen_outages_per_week / 10080))
            room.down_until = self.env.now + self.p.screen_outage_min

    def _close(self, room: Room) -> Process:
        yield self.env.timeout(self.p.warm_up_h * 60)
        room.closed = True
        yield self.env.timeout(ANNOUNCED_AFTER_MIN)
        room.on_diversion = True


def within(hour: int, hours: Sequence[int]) -> bool:
    """Whether an hour lies from the first to before the second, also past midnight."""
    begin, end = hours
    return begin <= hour < end if begin < end else hour >= begin or hour < end


def _beta(dice: random.Random, mean: float, concentration: float) -> float:
    return dice.betavariate(mean * concentration, (1 - mean) * concentration)
