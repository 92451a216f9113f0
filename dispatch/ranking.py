"""Every emergency room in order, best first, with the reason for every minute.

Pure arithmetic over facts that are handed in: no database, no clock (`now` is an argument), no
sending. The unit of everything is the expected minute until the patient is in a confirmed bed, so
that travel, missing capabilities, doubtful bed figures and slow answers can be added up and shown.
Nothing hides an emergency room but its own diversion, or a person's veto. Whom to ask is
routing.py's.

The weights are weights.py's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import overload
from uuid import UUID

import numpy as np

from dispatch import refusals, travel, weights
from dispatch.behaviour import PRIOR, PRIOR_ACCEPT_RATE, PRIOR_ANSWER_RATE
from dispatch.choice import Floats, Ints
from dispatch.routing_facts import (
    BIT,
    EmergencyCentreLevel,
    EmergencyRoomFacts,
    bits,
    check,
    check_aware,
)
from dispatch.routing_reasons import Part, RoutingReason, RoutingReasonCode
from dispatch.travel import Position, Travel, TravelSource
from dispatch.triage import Capability


@dataclass(frozen=True)
class Ranked:
    """One emergency room's place: expected_min is the sum of parts (minutes by Part).

    distance_km, eta_min and eta_source are None when the way is unknown. yes_probability: chance
    that it says yes in time. excluded_reason is set when it should not be asked; reasons explain
    the parts. neighbourhood and place: equal numbers fill together, or are one hospital.
    """

    id: UUID
    distance_km: float | None
    eta_min: float | None
    eta_source: TravelSource | None
    expected_min: float
    yes_probability: float
    parts: dict[str, float]
    neighbourhood: int
    place: int
    excluded_reason: RoutingReason | None = None
    reasons: tuple[RoutingReason, ...] = ()


class Ranking(Sequence[Ranked]):
    """All emergency rooms in their order; each is explained only when it is looked at."""

    def __init__(
        self,
        facts: Sequence[EmergencyRoomFacts],
        order: Ints,
        columns: dict[str, Floats],
        places: dict[str, Ints],
        parts: dict[Part, Floats],
        sources: Mapping[int, TravelSource],
        explain: Explain,
    ) -> None:
        self._facts = facts
        self._order = order
        self._columns = columns
        self._places = places
        self._parts = parts
        self._sources = sources
        self._explain = explain
        self._seen: dict[int, Ranked] = {}

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, at: int) -> Ranked: ...
    @overload
    def __getitem__(self, at: slice) -> list[Ranked]: ...
    def __getitem__(self, at: int | slice) -> Ranked | list[Ranked]:
        if isinstance(at, slice):
            return [self._ranked(int(i)) for i in self._order[at]]
        return self._ranked(int(self._order[at]))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # a list of results, not a key

    def ids(self) -> list[UUID]:
        """The emergency rooms in their order."""
        return [self._facts[i].id for i in self._order]

    def column(self, name: str) -> Floats:
        """One number of every emergency room in their order; NaN is not known."""
        return self._columns[name][self._order]

    def where(self, name: str) -> Ints:
        """neighbourhood or place of every emergency room in their order."""
        return self._places[name][self._order]

    def _ranked(self, i: int) -> Ranked:
        if i not in self._seen:
            facts, eta_min = self._facts[i], _known(self._columns["eta_min"][i])
            source = self._sources.get(i, TravelSource.STRAIGHT_LINE)
            self._seen[i] = Ranked(
                id=facts.id,
                distance_km=_known(self._columns["distance_km"][i]),
                eta_min=eta_min,
                eta_source=source if eta_min is not None else None,
                expected_min=float(self._columns["expected_min"][i]),
                yes_probability=float(self._columns["yes"][i]),
                parts={part: float(minutes[i]) for part, minutes in self._parts.items()},
                neighbourhood=int(self._places["neighbourhood"][i]),
                place=int(self._places["place"][i]),
                excluded_reason=RoutingReason(RoutingReasonCode.ON_DIVERSION)
                if facts.on_diversion
                else None,
                reasons=tuple(self._explain.reasons(facts, i)),
            )
        return self._seen[i]


def rank(
    position: Position | None,
    needs: Iterable[Capability],
    acuity: int,
    emergency_rooms: Iterable[EmergencyRoomFacts],
    *,
    now: datetime,
    asked: Mapping[UUID, int] | None = None,
    wished: Iterable[Capability] = (),
    by_road: Mapping[UUID, Travel] | None = None,
    answer_within_s: float | None = None,
) -> Ranking:
    """All emergency rooms, best first by expected minutes to a confirmed bed, diverted ones last.

    needs are required; wished ones weigh WISHED_SHARE as much, one in both is required. asked: how
    often each was already offered this case. by_road: travel that a router has worked out; the
    others are estimated. answer_within_s: a later yes is none. Ties go to the smaller id, so the
    order of the input never matters. Raises ValueError for an acuity outside 1-5, a naive `now`, a
    negative count or an id that occurs twice.
    """
    if acuity not in weights.TRAVEL_WEIGHT:
        raise ValueError(f"acuity: {acuity!r} is not one of 1 to 5")
    check_aware("now", now)
    times_asked = dict(asked or {})
    for id_, times in times_asked.items():
        check(f"asked[{id_}]", times, 0)
    needed = frozenset(needs)
    wanted = tuple(capability for capability in Capability if capability in needed)
    hoped = frozenset(wished) - needed
    wishes = tuple(capability for capability in Capability if capability in hoped)
    rooms = list(emergency_rooms)
    numbers = [room.id.int for room in rooms]
    index = dict(zip(numbers, range(len(rooms)), strict=True))
    if len(index) < len(rooms):
        seen: set[int] = set()
        twice = next(r for r in rooms if r.id.int in seen or seen.add(r.id.int))  # type: ignore[func-returns-value]
        raise ValueError(f"emergency_rooms: id {twice.id} ({twice.name!r}) occurs twice")

    latitude = np.array([room.latitude for room in rooms], dtype=np.float64)
    longitude = np.array([room.longitude for room in rooms], dtype=np.float64)
    distance_km, eta_min, sources = _ways(position, latitude, longitude, by_road or {}, index)
    asked_before: Floats = np.zeros(len(rooms))
    for id_, count in times_asked.items():
        if id_.int in index:
            asked_before[index[id_.int]] = count
    has = np.array([room.capability_bits for room in rooms], dtype=np.int64)
    missing_min = np.zeros(len(rooms))
    for capabilities, share in ((wanted, 1.0), (wishes, weights.WISHED_SHARE)):
        for capability in capabilities:
            lacks = (has & BIT[capability]) == 0
            missing_min += lacks * (share * weights.MISSING_CAPABILITY_MIN[capability])
    beds_min, trusted_odds = _beds(rooms, now)
    answer = _filled([room.answer_rate for room in rooms], PRIOR.answer_rate)
    accept = _filled([room.accept_rate for room in rooms], PRIOR.accept_rate)
    median_s = _filled([room.median_answer_s for room in rooms], PRIOR.median_answer_s)
    refused = refusals.weights([room.refused_min for room in rooms])
    accept_odds = np.log(np.clip(accept, 1e-6, 1 - 1e-6) / (1 - np.clip(accept, 1e-6, 1 - 1e-6)))
    accept_odds = accept_odds + weights.YES_REFUSED * refused
    rate = answer / (1 + np.exp(-accept_odds))
    far_km = np.maximum(np.nan_to_num(distance_km) - weights.FAR_KM, 0.0)
    away_min = np.where(
        np.isnan(eta_min) & (position is not None), weights.UNKNOWN_TRAVEL_MIN, eta_min
    )
    parts: dict[Part, Floats] = {
        Part.TRAVEL: weights.TRAVEL_WEIGHT[acuity] * np.nan_to_num(away_min),
        Part.FAR: far_km * weights.FAR_MIN_PER_KM,
        Part.CAPABILITIES: missing_min,
        Part.BEDS: beds_min,
        # A yes is never worse than none, however late.
        Part.ANSWER: rate * np.minimum(median_s / 60, weights.FAILED_OFFER_MIN)
        + (1 - rate) * weights.FAILED_OFFER_MIN,
        Part.LEVEL: np.array([_level_min(room.level, acuity) for room in rooms]),
        Part.ASKED_BEFORE: asked_before * weights.ASKED_BEFORE_MIN,
    }
    expected_min = np.zeros(len(rooms))
    for minutes in parts.values():
        expected_min = expected_min + minutes

    required = np.array([bits(wanted)], dtype=np.int64) & ~has
    lacking = sum((required & BIT[capability]) != 0 for capability in wanted)
    log_odds = (
        accept_odds
        + trusted_odds
        + weights.YES_MISSING_CAPABILITY * lacking
        + weights.YES_ASKED_BEFORE * asked_before
    )
    in_time: Floats = np.ones(len(rooms))
    if answer_within_s is not None:
        in_time = 1 - 0.5 ** (max(0.0, answer_within_s) / np.maximum(1.0, median_s))
    excluded = np.array([room.on_diversion for room in rooms], dtype=bool)
    columns = {
        "distance_km": distance_km,
        "eta_min": eta_min,
        "expected_min": expected_min,
        "yes": answer * in_time / (1 + np.exp(-log_odds)),
        "excluded": excluded.astype(np.float64),
        "set_cost": expected_min - parts[Part.ANSWER],
    }
    high = np.array([n >> 64 for n in numbers], dtype=np.uint64)
    low = np.array([n & (2**64 - 1) for n in numbers], dtype=np.uint64)
    order = np.lexsort((low, high, expected_min, excluded))
    explain = Explain(position, wanted, wishes, now, distance_km, rate, asked_before, parts)
    places = _places(latitude, longitude, numbers)
    return Ranking(rooms, order, columns, places, parts, sources, explain)


@dataclass(frozen=True)
class Explain:
    """What the words about one emergency room need, kept until somebody reads them."""

    position: Position | None
    needs: tuple[Capability, ...]
    wishes: tuple[Capability, ...]
    now: datetime
    distance_km: Floats
    yes_rate: Floats
    times_asked: Floats
    parts: dict[Part, Floats]

    def reasons(self, room: EmergencyRoomFacts, i: int) -> Iterator[RoutingReason]:
        """Why this emergency room stands where it stands."""
        if self.position is None:
            yield RoutingReason(RoutingReasonCode.POSITION_UNKNOWN)
        elif math.isnan(self.distance_km[i]):
            yield RoutingReason(
                RoutingReasonCode.ER_POSITION_UNKNOWN, {"minutes": weights.UNKNOWN_TRAVEL_MIN}
            )
        elif self.distance_km[i] > weights.FAR_KM:
            yield RoutingReason(
                RoutingReasonCode.FAR,
                {
                    "distance_km": float(self.distance_km[i]),
                    "minutes": float(self.parts[Part.FAR][i]),
                },
            )
        for code, capabilities, share in (
            (RoutingReasonCode.MISSING_CAPABILITY, self.needs, 1.0),
            (RoutingReasonCode.MISSING_WISH, self.wishes, weights.WISHED_SHARE),
        ):
            for capability in capabilities:
                if capability not in room.capabilities:
                    minutes = share * weights.MISSING_CAPABILITY_MIN[capability]
                    yield RoutingReason(code, {"capability": capability.value, "minutes": minutes})
        yield from _bed_reasons(room, self.now)
        if self.yes_rate[i] < PRIOR_ANSWER_RATE * PRIOR_ACCEPT_RATE:
            yield RoutingReason(
                RoutingReasonCode.SELDOM_ANSWERS, {"yes_percent": float(self.yes_rate[i]) * 100}
            )
        if room.refused_min:
            yield RoutingReason(
                RoutingReasonCode.REFUSED_LATELY,
                {"times": len(room.refused_min), "age_min": room.refused_min[0]},
            )
        if self.parts[Part.LEVEL][i]:
            yield RoutingReason(
                RoutingReasonCode.LEVEL_MISMATCH, {"minutes": float(self.parts[Part.LEVEL][i])}
            )
        if self.times_asked[i]:
            yield RoutingReason(RoutingReasonCode.ASKED_BEFORE, {"times": int(self.times_asked[i])})


def _ways(
    position: Position | None,
    latitude: Floats,
    longitude: Floats,
    by_road: Mapping[UUID, Travel],
    index: Mapping[int, int],
) -> tuple[Floats, Floats, dict[int, TravelSource]]:
    """Distances and minutes, NaN where unknown, and where the minutes are not from an estimate."""
    if position is None:
        unknown = np.full(len(latitude), np.nan)
        return unknown, unknown, {}
    distance_km, eta_min = travel.estimate_many(position, latitude, longitude)
    sources = {}
    for id_, way in by_road.items():
        i = index.get(id_.int)
        if i is not None:
            distance_km[i], eta_min[i], sources[i] = way.distance_km, way.eta_min, way.source
    return distance_km, eta_min, sources


def _beds(rooms: Sequence[EmergencyRoomFacts], now: datetime) -> tuple[Floats, Floats]:
    """Minutes for the bed figure, drawn towards UNKNOWN_BEDS_MIN as the figure ages, and how it
    moves the log-odds of a yes."""
    beds = np.array([room.beds_available for room in rooms], dtype=np.float64)
    age_min = np.array([_age_min(room, now) for room in rooms])
    believed = ~np.isnan(beds) & (age_min >= -weights.CLOCK_SKEW_MIN)
    beds = np.where(believed, beds, 0.0)
    trust = np.where(believed, 0.5 ** (np.maximum(age_min, 0.0) / weights.BED_HALF_LIFE_MIN), 0.0)
    over_min = np.minimum(
        -beds * weights.OVER_CAPACITY_MIN_PER_PATIENT, weights.OVER_CAPACITY_MOST_MIN
    )
    figure_min = np.where(
        beds > 0, weights.LAST_BED_MIN / np.maximum(beds, 1.0), weights.NO_BED_MIN + over_min
    )
    odds = np.where(
        beds > 0,
        np.where(beds >= weights.PLENTY_OF_BEDS, weights.YES_PLENTY_OF_BEDS, weights.YES_FEW_BEDS),
        np.maximum(
            weights.YES_NO_BED - beds * weights.YES_PER_PATIENT_OVER, weights.YES_LEAST_BEDS
        ),
    )
    return trust * figure_min + (1 - trust) * weights.UNKNOWN_BEDS_MIN, trust * odds


def _age_min(room: EmergencyRoomFacts, now: datetime) -> float:
    return math.nan if room.beds_at is None else (now - room.beds_at).total_seconds() / 60


def _bed_reasons(room: EmergencyRoomFacts, now: datetime) -> Iterator[RoutingReason]:
    beds, age_min = room.beds_available, _age_min(room, now)
    if beds is None or not age_min >= -weights.CLOCK_SKEW_MIN:
        yield RoutingReason(RoutingReasonCode.BEDS_UNKNOWN)
        return
    age_min = max(0.0, age_min)
    if beds > 0:
        yield RoutingReason(RoutingReasonCode.BEDS_FREE, {"beds": beds, "age_min": age_min})
    elif beds == 0:
        yield RoutingReason(RoutingReasonCode.BEDS_NONE, {"age_min": age_min})
    else:
        yield RoutingReason(
            RoutingReasonCode.BEDS_OVER_CAPACITY, {"over": -beds, "age_min": age_min}
        )
    if age_min > weights.BED_HALF_LIFE_MIN:
        trust_percent = 100 * 0.5 ** (age_min / weights.BED_HALF_LIFE_MIN)
        yield RoutingReason(
            RoutingReasonCode.BEDS_STALE, {"age_min": age_min, "trust_percent": trust_percent}
        )


def _filled(values: list[float | None], prior: float) -> Floats:
    filled = np.array(values, dtype=np.float64)
    return np.where(np.isnan(filled), prior, filled)


def _known(number: float) -> float | None:
    return None if math.isnan(number) else float(number)


def _places(latitude: Floats, longitude: Floats, numbers: Sequence[int]) -> dict[str, Ints]:
    """Numbers that are equal for emergency rooms of one neighbourhood, and of one place."""
    # Without a position nobody is known to be a neighbour: a number of its own, from the id.
    own = np.array([-1 - (n & (2**62 - 1)) for n in numbers], dtype=np.int64)
    known = ~(np.isnan(latitude) | np.isnan(longitude))
    found = {}
    for name, (north, east) in (
        ("neighbourhood", weights.NEIGHBOURHOOD_DEGREES),
        ("place", (weights.SAME_PLACE_DEGREES, weights.SAME_PLACE_DEGREES)),
    ):
        row = np.floor(np.nan_to_num(latitude) / north).astype(np.int64)
        column = np.floor(np.nan_to_num(longitude) / east).astype(np.int64)
        found[name] = np.where(known, (row + 10_000_000) * 100_000_000 + column, own)
    return found


def _level_min(level: EmergencyCentreLevel, acuity: int) -> float:
    if acuity <= 2:
        return weights.LEVEL_SEVERE_MIN[level]
    return weights.LEVEL_MILD_MIN[level] if acuity >= 4 else 0.0
