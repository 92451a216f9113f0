"""One run: cases arrive, units bring them, a policy asks, emergency rooms answer.

Rounds follow the settings' escalation steps as dispatch/advance.py does: remind, ask the next while
earlier offers stay open, call the case unplaced and go on.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from itertools import count
from typing import Any
from uuid import UUID

import simpy

from broker.settings import EscalationSteps, Settings
from dispatch import behaviour, travel, triage
from dispatch.behaviour import ALL_HOURS, Counts, hour_of_week
from dispatch.news2 import Consciousness, VitalSigns
from dispatch.refusals import Answer
from dispatch.replay.policies import ASKED_AT_A_TIME, WAITING, Odds, Policy, pick
from dispatch.replay.scenario import Parameters
from dispatch.replay.world import Call, Kind, Process, Room, World, chance, place
from dispatch.triage import FindingFact, TriageCase

SETTINGS = Settings()
LONGEST_MIN = 240.0
"""A search that has not ended by then counts as this long and as never placed."""
DRAIN_MIN = 300.0


@dataclass(frozen=True)
class Outcome:
    """What became of one case; minutes from the first request. None: never placed."""

    acuity: int
    placed_min: float
    never: bool
    contacts: int
    refused_by_all: bool
    travel_min: float
    added_travel_min: float
    lacking: bool


@dataclass(frozen=True)
class Facts:
    """How the world itself behaved: to be held beside the published figures."""

    occupancy: Mapping[str, float]
    over_capacity: float
    answered: float
    accepted: float
    waited_for_unit_min: float


@dataclass(frozen=True)
class Run:
    """One policy in one seed."""

    outcomes: tuple[Outcome, ...]
    facts: Facts
    learnt: Odds


def run(p: Parameters, policy: Policy, seed: int, odds: Odds) -> Run:
    """Play one policy through one seed of a city; the same call gives the same result."""
    return _City(p, policy, seed, odds).play()


class _City:
    def __init__(self, p: Parameters, policy: Policy, seed: int, odds: Odds) -> None:
        self.env = simpy.Environment()
        self.p, self.policy, self.odds = p, policy, odds
        self.world = World(self.env, p, seed)
        self.kinds = _kinds(p)
        dice = chance(seed, "units")
        self.units = simpy.Store(self.env)
        self.units.items = [place(p, dice) for _ in range(p.ambulances)]
        self.calls: list[Call] = []
        self.learnt: dict[tuple[int, UUID], Counts] = defaultdict(Counts)
        self.occupied: dict[str, list[float]] = defaultdict(list)
        self.contacts = self.answers = self.yes = 0

    def play(self) -> Run:
        """Run to the end and give what was seen after the warm-up."""
        self.env.process(self._arrivals())
        self.env.process(self._watch())
        self.env.run(until=self.world.until_min + DRAIN_MIN)
        warm = self.p.warm_up_h * 60
        counted = [c for c in self.calls if c.at >= warm]
        shares = [share for many in self.occupied.values() for share in many]
        return Run(
            outcomes=tuple(_outcome(call) for call in counted),
            facts=Facts(
                occupancy={k: sum(v) / len(v) for k, v in sorted(self.occupied.items())},
                over_capacity=sum(share > 1 for share in shares) / max(1, len(shares)),
                answered=self.answers / max(1, self.contacts),
                accepted=self.yes / max(1, self.answers),
                waited_for_unit_min=sum(c.waited_for_unit_min for c in counted)
                / max(1, len(counted)),
            ),
            learnt=dict(self.learnt),
        )

    def _arrivals(self) -> Process:
        """Cases by hour of day: a thinned Poisson process that no policy can disturb."""
        p, dice = self.p, chance(self.world.seed, "cases")
        per_min = p.cases_per_day / 1440
        most = per_min * max(p.cases_by_hour)
        for number in count():
            yield self.env.timeout(dice.expovariate(most))
            if self.env.now >= self.world.until_min:
                return
            keep, where = dice.random() * most, place(p, dice)
            kind = self._kind(dice.random(), dice.random())
            if keep < per_min * p.cases_by_hour[self.world.hour()]:
                call = Call(number, self.env.now, where, kind)
                self.calls.append(call)
                self.env.process(self._case(call))

    def _kind(self, level_at: float, kind_at: float) -> Kind:
        of_level = self.kinds[_where(level_at, [share for share, _ in self.kinds])][1]
        return of_level[_where(kind_at, [share for share, _ in of_level])][1]

    def _case(self, call: Call) -> Process:
        yield from self._nearest_unit(call)
        call.nearest_min = min(
            travel.estimate(call.position, room.position).eta_min for room in self.world.rooms
        )
        start = self.env.now
        search = self._by_phone(call) if self.policy is Policy.PHONE else self._by_rounds(call)
        yield from search
        room = call.room
        if room is None:
            call.placed_min = None
            self.units.put(call.position)
            return
        call.placed_min = self.env.now - start
        call.lacking = self.world.lacks(room, call.kind) > 0
        call.travel_min = travel.estimate(call.position, room.position).eta_min
        way_min = self.world.road_min(call.position, room.position, call.number, room.number)
        self.world.take(room, call, way_min)
        yield self.env.timeout(way_min + self.p.handover_min)
        self.units.put(room.position)

    def _nearest_unit(self, call: Call) -> Process:
        """The nearest free unit comes; the first that becomes free when there is none."""
        waits_from = self.env.now
        self.units.items.sort(key=lambda at: travel.great_circle_km(at, call.position))
        unit = yield self.units.get()
        call.waited_for_unit_min = self.env.now - waits_from
        yield self.env.timeout(self.world.road_min(unit, call.position, "to", call.number))

    # --- rounds of offers, as advance.py opens them

    def _by_rounds(self, call: Call) -> Process:
        steps = _steps(call.kind.acuity)
        search = _Search(self.env, call)
        began = self.env.now
        while call.room is None and self.env.now - began < LONGEST_MIN:
            asked = self._open_round(search, steps)
            opened = self.env.now
            widen_at = opened + steps.widen_s / 60
            search.declined = 0
            while call.room is None:
                for _ in range(search.declined):
                    self._ask_instead(search, steps)
                search.declined = 0
                if self.env.now - began >= steps.unplaced_s / 60 - 1e-9:
                    call.unplaced = True
                if self.env.now >= widen_at - 1e-9 or (asked and not search.waiting()):
                    break  # the next round
                next_at = widen_at
                if not call.unplaced:
                    next_at = min(next_at, began + steps.unplaced_s / 60)
                wake = self.env.timeout(max(0.0, next_at - self.env.now))
                yield search.heard | wake
        search.over = True

    def _open_round(self, search: _Search, steps: EscalationSteps) -> bool:
        may = self._candidates(search)
        if may:
            picked = pick(self.policy, self.world, search.call, may, self.odds, steps.widen_s)
            self._ask(search, steps, picked)
        return bool(may)

    def _ask_instead(self, search: _Search, steps: EscalationSteps) -> None:
        """dispatch.asking.ask_instead: one in the place of one that said no."""
        if self.policy in WAITING or not 0 < len(search.open) < 2 * ASKED_AT_A_TIME:
            return
        call, rooms = search.call, self.world.rooms
        fresh = [room for room in rooms if room.id not in call.asked and not room.on_diversion]
        beside = [rooms[number] for number in search.open]
        if fresh:
            picked = pick(
                self.policy, self.world, call, fresh, self.odds, steps.widen_s, beside=beside
            )
            self._ask(search, steps, picked)

    def _ask(self, search: _Search, steps: EscalationSteps, picked: Sequence[Room]) -> None:
        call = search.call
        for room in picked:
            times = call.asked.get(room.id, 0)
            call.asked[room.id] = times + 1
            call.contacts += 1
            self.contacts += 1
            search.open[room.number] = self.env.now
            self.env.process(self._offer(search, room, times, steps))

    def _candidates(self, search: _Search) -> list[Room]:
        """dispatch.asking.candidates: those never asked; then also those whose no is long ago."""
        rooms = self.world.rooms
        may = [room for room in rooms if room.id not in search.call.asked]
        if all(room.on_diversion for room in may):
            before = self.env.now - SETTINGS.ask_again_s / 60
            may += [
                room
                for room in rooms
                if room.id in search.call.asked
                and room.number not in search.open
                and search.said_no.get(room.number, -1e9) < before
            ]
        return may

    def _offer(self, search: _Search, room: Room, times: int, steps: EscalationSteps) -> Process:
        call, offered = search.call, self.env.now
        ends = self.env.timeout(steps.unplaced_s / 60)
        remind_min = steps.remind_s / 60
        after = self.world.answers(room, call, times)
        if after is None or after > remind_min:
            woken = yield search.ended | ends | self.env.timeout(remind_min)
            if search.ended in woken or ends in woken:
                self._silent(search, room, offered)
                return
            reminded = self.world.answers_reminder(room, call, times)
            if after is not None:
                after -= remind_min
            if reminded is not None:
                after = reminded if after is None else min(after, reminded)
        if after is None:
            yield search.ended | ends
            self._silent(search, room, offered)
            return
        answer = self.env.timeout(after)
        woken = yield search.ended | ends | answer
        if answer not in woken or search.over or call.room is not None:
            self._silent(search, room, offered)
            return
        reason = self.world.declines(room, call, times)
        yes = reason is None
        room.answered.append(Answer(self.world.now(), reason, frozenset(call.kind.needs)))
        self._learn(room, offered, behaviour.answered((self.env.now - offered) * 60, yes))
        self.answers += 1
        self.yes += yes
        del search.open[room.number]
        if yes:
            call.room = room
            search.over = True
            search.ended.succeed()
        else:
            search.said_no[room.number] = self.env.now
            search.declined += 1
        search.tell()

    def _silent(self, search: _Search, room: Room, offered: float) -> None:
        self._learn(room, offered, behaviour.silent((self.env.now - offered) * 60))
        search.open.pop(room.number, None)
        search.tell()

    def _learn(self, room: Room, offered: float, counts: Counts) -> None:
        at = self.world.begins_at + timedelta(minutes=offered)
        for hour in (hour_of_week(at), ALL_HOURS):
            self.learnt[hour, room.id] += counts

    # --- one call after another

    def _by_phone(self, call: Call) -> Process:
        began = self.env.now
        steps = _steps(call.kind.acuity)
        while call.room is None and self.env.now - began < LONGEST_MIN:
            may = [r for r in self.world.rooms if r.id not in call.asked]
            if not may:  # everybody said no: from the nearest again
                call.asked.clear()
                continue
            (room,) = pick(Policy.PHONE, self.world, call, may, {}, 0.0)
            call.asked[room.id] = 1
            times = call.contacts
            call.contacts += 1
            self.contacts += 1
            dice = chance(self.world.seed, "phone", call.number, room.number, times)
            picked_up = dice.random() < self.p.phone_answered
            talk_min = self.p.call_median_min * dice.lognormvariate(0, self.p.call_sigma)
            yield self.env.timeout(talk_min if picked_up else 1.0)
            self.answers += picked_up
            if picked_up and self.world.declines(room, call, times) is None:
                self.yes += 1
                call.room = room
            if self.env.now - began >= steps.unplaced_s / 60:
                call.unplaced = call.room is None or call.unplaced

    def _watch(self) -> Process:
        yield self.env.timeout(self.p.warm_up_h * 60)
        while self.env.now < self.world.until_min:
            for room in self.world.rooms:
                self.occupied[room.level.value].append(room.occupied / room.bays)
            yield self.env.timeout(15)


class _Search:
    """Open offers of one case, and the bell that wakes its next step."""

    def __init__(self, env: simpy.Environment, call: Call) -> None:
        self.env, self.call = env, call
        self.open: dict[int, float] = {}
        self.said_no: dict[int, float] = {}
        self.declined = 0
        self.heard = env.event()
        self.ended = env.event()
        self.over = False

    def waiting(self) -> bool:
        return bool(self.open)

    def tell(self) -> None:
        heard, self.heard = self.heard, self.env.event()
        heard.succeed()


@cache
def _steps(acuity: int) -> EscalationSteps:
    return dataclasses.replace(SETTINGS, time_scale=1.0).steps(acuity)


def _outcome(call: Call) -> Outcome:
    never = call.placed_min is None
    return Outcome(
        acuity=call.kind.acuity,
        placed_min=LONGEST_MIN if call.placed_min is None else call.placed_min,
        never=never,
        contacts=call.contacts,
        refused_by_all=call.unplaced or never,
        travel_min=call.travel_min,
        added_travel_min=0.0 if never else call.travel_min - call.nearest_min,
        lacking=call.lacking,
    )


def _where(at: float, shares: list[float]) -> int:
    total = sum(shares)
    for number, share in enumerate(shares):
        at -= share / total
        if at < 0:
            return number
    return len(shares) - 1


def _kinds(p: Parameters) -> list[tuple[float, list[tuple[float, Kind]]]]:
    """Each level's share and its kinds of patient, judged by production's triage."""
    return [
        (share, [(float(k["share"]), _judge(k)) for k in p.kinds if k["crew_pre_ktas"] == level])
        for level, share in enumerate(p.acuity_share, start=1)
    ]


def _judge(row: Mapping[str, Any]) -> Kind:
    vitals = dict(row["vitals"])
    vitals["consciousness"] = Consciousness(vitals["consciousness"])
    found = triage.assess(
        TriageCase(
            crew_pre_ktas=row["crew_pre_ktas"],
            age_years=60,
            vitals=VitalSigns(**vitals),
            findings=tuple(FindingFact(label, 0.9, True) for label in row["findings"]),
            reading_complete=True,
        )
    )
    return Kind(found.acuity, found.needs, found.wishes)
