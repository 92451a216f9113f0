"""Which emergency rooms to ask, best first, with the reason for every minute.

Pure arithmetic over facts that are handed in: no database, no clock (`now` is an argument), no
sending. The unit of everything is the expected minute until the patient is in a confirmed bed, so
that travel, missing capabilities, doubtful bed figures and slow answers can be added up and shown.
Nothing hides an emergency room but its own diversion.

The weights are assumptions by judgement until outcomes have been measured; each says why.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from dispatch.travel import Position, estimate
from dispatch.triage import Capability, Language, Scalar

# Travel. Minutes on the road are minutes without a physician: for the dying patient each counts
# three times, because a bed or a specialist can be found after resuscitation has begun: ten minutes
# further for the free bed instead of a full resuscitation room nearby must not win.
TRAVEL_WEIGHT: dict[int, float] = {1: 3.0, 2: 1.5, 3: 1.0, 4: 1.0, 5: 1.0}
# Beyond this a crew leaves its district uncovered; soft, so that the countryside has candidates.
FAR_KM = 30.0
FAR_MIN_PER_KM = 1.0

# Capability that is missing: the expected share of a second transfer (about an hour in all with
# call, ambulance and hand-over) that its lack brings about.
MISSING_CAPABILITY_MIN: dict[Capability, float] = {
    Capability.THORACIC_SURGERY: 20.0,  # a drain can be placed elsewhere, surgery cannot
    Capability.THORACIC_ICU: 12.0,  # a general ICU bridges the first hours
    Capability.GENERAL_ICU: 20.0,  # no ICU means transfer within the hour
    Capability.VENTILATOR: 25.0,  # cannot be bridged by hand for long
    Capability.BRONCHOSCOPY: 12.0,  # urgent, seldom within the hour
    Capability.CT: 15.0,  # every doubtful chest needs it
    Capability.INTERVENTIONAL_RADIOLOGY: 20.0,  # bleeding does not wait
    Capability.CARDIOLOGY: 20.0,  # reperfusion and assist devices
    Capability.ECMO: 25.0,  # only few centres, transfer on ECMO is slow
    Capability.NEGATIVE_PRESSURE_ROOM: 8.0,  # a single room with masks bridges
    Capability.OPERATING_ROOM: 20.0,  # surgery means transfer
    Capability.PAEDIATRIC_EMERGENCY: 20.0,  # staff without practice with children decline
}
# Wished, not required: it is used in about one case of four, so its lack costs a quarter.
WISHED_SHARE = 0.25

# Beds. A figure is believed half after a quarter of an hour: the feed is meant to be refreshed at
# least four times an hour, so an older one is already late.
BED_HALF_LIFE_MIN = 15.0
CLOCK_SKEW_MIN = 2.0  # a figure from further in the future is not believed at all
LAST_BED_MIN = 4.0  # one bed left, likely gone on arrival; shared out: n beds cost 4/n
UNKNOWN_BEDS_MIN = 10.0  # between a free bed and none; what every figure decays to
NO_BED_MIN = 20.0  # boarding in the corridor, or a bounce
OVER_CAPACITY_MIN_PER_PATIENT = 2.0  # each patient who already waits for a bed comes first
OVER_CAPACITY_MOST_MIN = 20.0  # past ten waiting, one more says nothing new

# Answers. What is lost when this emergency room stays silent or says no: about one round.
FAILED_OFFER_MIN = 6.0
# Priors until an emergency room has its own record. Answered: 53 to 64 % of requests in the
# Jeonbuk pilot, the only published figures; accepted when answered: no figure known, even odds.
PRIOR_ANSWER_RATE = 0.6
PRIOR_ACCEPT_RATE = 0.5
PRIOR_ANSWER_S = 60.0
PRIOR_OFFERS = 20.0  # the prior weighs as much as twenty observed offers

# Asked before in this case and not taken: asking again seldom changes the answer.
ASKED_BEFORE_MIN = 15.0


class EmergencyCentreLevel(StrEnum):
    """Korean designation of emergency medical institutions."""

    REGIONAL = "regional"  # regional emergency medical centre
    LOCAL_CENTRE = "local_centre"  # local emergency medical centre
    LOCAL = "local"  # local emergency medical institution


# Severe cases belong to the higher levels, mild ones leave those free (Korean delivery policy).
LEVEL_SEVERE_MIN: dict[EmergencyCentreLevel, float] = {
    EmergencyCentreLevel.REGIONAL: 0.0,
    EmergencyCentreLevel.LOCAL_CENTRE: 2.0,
    EmergencyCentreLevel.LOCAL: 8.0,
}
LEVEL_MILD_MIN: dict[EmergencyCentreLevel, float] = {
    EmergencyCentreLevel.REGIONAL: 6.0,
    EmergencyCentreLevel.LOCAL_CENTRE: 2.0,
    EmergencyCentreLevel.LOCAL: 0.0,
}


class Part(StrEnum):
    """The parts of the expected minutes."""

    TRAVEL = "travel"
    FAR = "far"
    CAPABILITIES = "capabilities"
    BEDS = "beds"
    ANSWER = "answer"
    LEVEL = "level"
    ASKED_BEFORE = "asked_before"


class RoutingReasonCode(StrEnum):
    """Why an emergency room stands where it stands; texts in ROUTING_REASON_TEXT."""

    ON_DIVERSION = "on_diversion"
    MISSING_CAPABILITY = "missing_capability"
    MISSING_WISH = "missing_wish"
    FAR = "far"
    BEDS_FREE = "beds_free"
    BEDS_NONE = "beds_none"
    BEDS_OVER_CAPACITY = "beds_over_capacity"
    BEDS_UNKNOWN = "beds_unknown"
    BEDS_STALE = "beds_stale"
    SELDOM_ANSWERS = "seldom_answers"
    LEVEL_MISMATCH = "level_mismatch"
    ASKED_BEFORE = "asked_before"
    POSITION_UNKNOWN = "position_unknown"
    NEAREST_COSTS_MORE = "nearest_costs_more"


ROUTING_REASON_TEXT: dict[RoutingReasonCode, dict[Language, str]] = {
    RoutingReasonCode.ON_DIVERSION: {"en": "On diversion", "ko": "수용 곤란 통보 중"},
    RoutingReasonCode.MISSING_CAPABILITY: {
        "en": "Does not offer {capability} (+{minutes:.0f} min)",
        "ko": "{capability} 불가 (+{minutes:.0f}분)",
    },
    RoutingReasonCode.MISSING_WISH: {
        "en": "Wished, not offered: {capability} (+{minutes:.0f} min)",
        "ko": "희망 역량 {capability} 불가 (+{minutes:.0f}분)",
    },
    RoutingReasonCode.FAR: {
        "en": "{distance_km:.0f} km away (+{minutes:.0f} min)",
        "ko": "거리 {distance_km:.0f} km (+{minutes:.0f}분)",
    },
    RoutingReasonCode.BEDS_FREE: {
        "en": "{beds} beds free, figure {age_min:.0f} min old",
        "ko": "가용 병상 {beds}, {age_min:.0f}분 전 정보",
    },
    RoutingReasonCode.BEDS_NONE: {
        "en": "No bed free, figure {age_min:.0f} min old",
        "ko": "가용 병상 없음, {age_min:.0f}분 전 정보",
    },
    RoutingReasonCode.BEDS_OVER_CAPACITY: {
        "en": "{over} patients over capacity, figure {age_min:.0f} min old",
        "ko": "정원 {over}명 초과, {age_min:.0f}분 전 정보",
    },
    RoutingReasonCode.BEDS_UNKNOWN: {"en": "No usable bed figure", "ko": "병상 정보 없음"},
    RoutingReasonCode.BEDS_STALE: {
        "en": "Bed figure is {age_min:.0f} min old: trusted {trust_percent:.0f} %",
        "ko": "{age_min:.0f}분 전 병상 정보: 신뢰도 {trust_percent:.0f} %",
    },
    RoutingReasonCode.SELDOM_ANSWERS: {
        "en": "Says yes to about {yes_percent:.0f} % of offers",
        "ko": "요청 수용률 약 {yes_percent:.0f} %",
    },
    RoutingReasonCode.LEVEL_MISMATCH: {
        "en": "Another centre level suits this urgency better (+{minutes:.0f} min)",
        "ko": "중증도에 더 맞는 등급의 기관 우선 (+{minutes:.0f}분)",
    },
    RoutingReasonCode.ASKED_BEFORE: {
        "en": "Already asked {times} times in this case",
        "ko": "이 환자로 이미 {times}회 요청함",
    },
    RoutingReasonCode.POSITION_UNKNOWN: {
        "en": "The ambulance's position is unknown: ranked without travel time",
        "ko": "구급차 위치 미상: 이동 시간 없이 순위 결정",
    },
    RoutingReasonCode.NEAREST_COSTS_MORE: {
        "en": "Nearest, {saved_min:.0f} min less on the road, but {lost_min:.0f} min more expected "
        "through: {part}",
        "ko": "가장 가깝고 이동은 {saved_min:.0f}분 짧지만 {part}(으)로 {lost_min:.0f}분 더 걸릴 "
        "것으로 예상",
    },
}

CAPABILITY_TEXT: dict[Capability, dict[Language, str]] = {
    Capability.THORACIC_SURGERY: {"en": "thoracic surgery", "ko": "흉부외과"},
    Capability.THORACIC_ICU: {"en": "thoracic ICU", "ko": "흉부외과 중환자실"},
    Capability.GENERAL_ICU: {"en": "general ICU", "ko": "일반 중환자실"},
    Capability.VENTILATOR: {"en": "ventilator", "ko": "인공호흡기"},
    Capability.BRONCHOSCOPY: {"en": "bronchoscopy", "ko": "기관지내시경"},
    Capability.CT: {"en": "CT", "ko": "CT"},
    Capability.INTERVENTIONAL_RADIOLOGY: {
        "en": "interventional radiology",
        "ko": "영상의학 중재술",
    },
    Capability.CARDIOLOGY: {"en": "cardiology", "ko": "심장내과"},
    Capability.ECMO: {"en": "ECMO", "ko": "ECMO(체외막산소공급)"},
    Capability.NEGATIVE_PRESSURE_ROOM: {"en": "negative-pressure room", "ko": "음압격리실"},
    Capability.OPERATING_ROOM: {"en": "operating room", "ko": "수술실"},
    Capability.PAEDIATRIC_EMERGENCY: {"en": "paediatric emergency care", "ko": "소아응급"},
}

PART_TEXT: dict[Part, dict[Language, str]] = {
    Part.TRAVEL: {"en": "travel", "ko": "이동 시간"},
    Part.FAR: {"en": "long distance", "ko": "장거리"},
    Part.CAPABILITIES: {"en": "missing capabilities", "ko": "부족한 진료 능력"},
    Part.BEDS: {"en": "beds", "ko": "병상"},
    Part.ANSWER: {"en": "answers", "ko": "응답"},
    Part.LEVEL: {"en": "centre level", "ko": "기관 등급"},
    Part.ASKED_BEFORE: {"en": "asked before", "ko": "이미 요청함"},
}


@dataclass(frozen=True)
class RoutingReason:
    """Code and parameters of one explanation."""

    code: RoutingReasonCode
    params: dict[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True)
class EmergencyRoomFacts:
    """One emergency room as the ranking sees it; None = not known.

    beds_available: free beds, negative = over capacity, believed only with beds_at (aware).
    answer_rate: share of offers answered; accept_rate: share of those answers that were yes;
    offers_observed: how many offers the rates rest on (None: as many as the prior).
    Raises ValueError naming the emergency room and the field for NaN, infinite, naive or
    out-of-range values.
    """

    id: UUID
    name: str
    latitude: float
    longitude: float
    capabilities: frozenset[Capability] = frozenset()
    on_diversion: bool = False
    beds_available: int | None = None
    beds_at: datetime | None = None
    answer_rate: float | None = None
    accept_rate: float | None = None
    median_answer_s: float | None = None
    level: EmergencyCentreLevel = EmergencyCentreLevel.LOCAL_CENTRE
    offers_observed: int | None = None

    def __post_init__(self) -> None:
        try:
            Position(self.latitude, self.longitude)
            _check("beds_available", self.beds_available, -math.inf)
            _check("answer_rate", self.answer_rate, 0, 1)
            _check("accept_rate", self.accept_rate, 0, 1)
            _check("median_answer_s", self.median_answer_s, 0)
            _check("offers_observed", self.offers_observed, 0)
            if self.beds_at is not None:
                _check_aware("beds_at", self.beds_at)
        except ValueError as error:
            raise ValueError(f"emergency room {self.name!r} ({self.id}): {error}") from None

    @property
    def position(self) -> Position:
        return Position(self.latitude, self.longitude)


def _check(name: str, value: float | None, low: float, high: float = math.inf) -> None:
    if value is not None and not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{name}: {value} is not a number from {low:g} to {high:g}")


def _check_aware(name: str, value: datetime) -> None:
    if value.tzinfo is None:
        raise ValueError(f"{name}: {value} has no time zone; times are aware UTC")


@dataclass(frozen=True)
class Ranked:
    """One emergency room's place: expected_min is the sum of parts (minutes by Part).

    distance_km and eta_min are None when the ambulance's position is unknown. excluded_reason is
    set when it should not be asked; reasons explain the parts.
    """

    id: UUID
    distance_km: float | None
    eta_min: float | None
    expected_min: float
    parts: dict[str, float]
    excluded_reason: RoutingReason | None = None
    reasons: tuple[RoutingReason, ...] = ()


def rank(
    position: Position | None,
    needs: Iterable[Capability],
    acuity: int,
    emergency_rooms: Iterable[EmergencyRoomFacts],
    *,
    now: datetime,
    asked: Mapping[UUID, int] | None = None,
    wished: Iterable[Capability] = (),
) -> list[Ranked]:
    """All emergency rooms, best first by expected minutes to a confirmed bed, diverted ones last.

    needs are required; wished ones weigh WISHED_SHARE as much, one in both is required. asked: how
    often each was already offered this case. Ties go to the smaller id, so the order of the input
    never matters. Raises ValueError for an acuity outside 1-5, a naive `now`, a negative
    count or an id that occurs twice.
    """
    if acuity not in TRAVEL_WEIGHT:
        raise ValueError(f"acuity: {acuity!r} is not one of 1 to 5")
    _check_aware("now", now)
    times_asked = dict(asked or {})
    for id_, times in times_asked.items():
        _check(f"asked[{id_}]", times, 0)
    needed = frozenset(needs)
    wanted = tuple(capability for capability in Capability if capability in needed)
    hoped = frozenset(wished) - needed
    wishes = tuple(capability for capability in Capability if capability in hoped)
    ranked: dict[UUID, Ranked] = {}
    for room in emergency_rooms:
        if room.id in ranked:
            raise ValueError(f"emergency_rooms: id {room.id} ({room.name!r}) occurs twice")
        ranked[room.id] = _judge(
            position, wanted, wishes, acuity, room, now, times_asked.get(room.id, 0)
        )
    return sorted(
        ranked.values(), key=lambda r: (r.excluded_reason is not None, r.expected_min, r.id)
    )


def choose(
    ranked: Sequence[Ranked],
    n: int = 3,
    *,
    pinned: Set[UUID] = frozenset(),
    vetoed: Set[UUID] = frozenset(),
) -> list[Ranked]:
    """The pinned ones in rank order, then the first that are not excluded, n in all.

    A person's word goes first: a vetoed emergency room is never chosen, a pinned one always is,
    even on diversion or past n; a veto beats a pin. A patient has to go somewhere: when every
    emergency room that is left is excluded, the least bad are asked, and excluded_reason still
    says so.
    """
    allowed = [r for r in ranked if r.id not in vetoed]
    first = [r for r in allowed if r.id in pinned]
    rest = [r for r in allowed if r.id not in pinned]
    open_rooms = [r for r in rest if r.excluded_reason is None]
    if not open_rooms and not first:
        open_rooms = rest
    return first + open_rooms[: max(0, n - len(first))]


def why_not_nearest(ranked: Sequence[Ranked], chosen: Sequence[Ranked]) -> RoutingReason | None:
    """Why the nearest emergency room is not among the chosen; None if it is, or nothing is known.

    Names the part in which it loses most against the last one chosen.
    """
    placed = [r for r in ranked if r.eta_min is not None]
    if not placed or not chosen:
        return None
    nearest = min(placed, key=lambda r: (r.eta_min, r.id))
    if any(r.id == nearest.id for r in chosen):
        return None
    if nearest.excluded_reason is not None:
        return nearest.excluded_reason
    last = chosen[-1]
    lost = {part: nearest.parts[part] - last.parts[part] for part in nearest.parts}
    worst = max(lost, key=lambda part: (lost[part], part))
    return RoutingReason(
        RoutingReasonCode.NEAREST_COSTS_MORE,
        {
            "saved_min": (last.eta_min or 0.0) - (nearest.eta_min or 0.0),
            "lost_min": lost[worst],
            "part": worst,
        },
    )


def explain(reason: RoutingReason, language: Language) -> str:
    """A reason as one sentence in English or Korean."""
    params = dict(reason.params)
    if "capability" in params:
        params["capability"] = CAPABILITY_TEXT[Capability(str(params["capability"]))][language]
    if "part" in params:
        params["part"] = PART_TEXT[Part(str(params["part"]))][language]
    return ROUTING_REASON_TEXT[reason.code][language].format(**params)


def _judge(
    position: Position | None,
    needs: tuple[Capability, ...],
    wishes: tuple[Capability, ...],
    acuity: int,
    room: EmergencyRoomFacts,
    now: datetime,
    times_asked: int,
) -> Ranked:
    distance_km = eta_min = None
    travel_min = far_min = 0.0
    reasons: list[RoutingReason] = []
    if position is None:
        reasons.append(RoutingReason(RoutingReasonCode.POSITION_UNKNOWN))
    else:
        travel = estimate(position, room.position)
        distance_km, eta_min = travel.distance_km, travel.eta_min
        travel_min = TRAVEL_WEIGHT[acuity] * eta_min
        if distance_km > FAR_KM:
            far_min = (distance_km - FAR_KM) * FAR_MIN_PER_KM
            reasons.append(
                RoutingReason(
                    RoutingReasonCode.FAR, {"distance_km": distance_km, "minutes": far_min}
                )
            )
    missing_min = 0.0
    for code, wanted, share in (
        (RoutingReasonCode.MISSING_CAPABILITY, needs, 1.0),
        (RoutingReasonCode.MISSING_WISH, wishes, WISHED_SHARE),
    ):
        for capability in wanted:
            if capability not in room.capabilities:
                minutes = share * MISSING_CAPABILITY_MIN[capability]
                missing_min += minutes
                reasons.append(
                    RoutingReason(code, {"capability": capability.value, "minutes": minutes})
                )
    beds_min, bed_reasons = _beds(room, now)
    answer_min, yes_rate = _answer(room)
    level_min = _level_min(room.level, acuity)
    reasons += bed_reasons
    if yes_rate < PRIOR_ANSWER_RATE * PRIOR_ACCEPT_RATE:
        reasons.append(
            RoutingReason(RoutingReasonCode.SELDOM_ANSWERS, {"yes_percent": yes_rate * 100})
        )
    if level_min:
        reasons.append(RoutingReason(RoutingReasonCode.LEVEL_MISMATCH, {"minutes": level_min}))
    if times_asked:
        reasons.append(RoutingReason(RoutingReasonCode.ASKED_BEFORE, {"times": times_asked}))
    parts: dict[str, float] = {
        Part.TRAVEL: travel_min,
        Part.FAR: far_min,
        Part.CAPABILITIES: missing_min,
        Part.BEDS: beds_min,
        Part.ANSWER: answer_min,
        Part.LEVEL: level_min,
        Part.ASKED_BEFORE: times_asked * ASKED_BEFORE_MIN,
    }
    return Ranked(
        id=room.id,
        distance_km=distance_km,
        eta_min=eta_min,
        expected_min=sum(parts.values()),
        parts=parts,
        excluded_reason=RoutingReason(RoutingReasonCode.ON_DIVERSION)
        if room.on_diversion
        else None,
        reasons=tuple(reasons),
    )


def _beds(room: EmergencyRoomFacts, now: datetime) -> tuple[float, list[RoutingReason]]:
    """Minutes for the bed figure, drawn towards UNKNOWN_BEDS_MIN as the figure ages."""
    beds = room.beds_available
    age_min = (now - room.beds_at) / timedelta(minutes=1) if room.beds_at is not None else math.nan
    if beds is None or not age_min >= -CLOCK_SKEW_MIN:
        return UNKNOWN_BEDS_MIN, [RoutingReason(RoutingReasonCode.BEDS_UNKNOWN)]
    age_min = max(0.0, age_min)
    if beds > 0:
        figure_min = LAST_BED_MIN / beds
        reason = RoutingReason(RoutingReasonCode.BEDS_FREE, {"beds": beds, "age_min": age_min})
    elif beds == 0:
        figure_min = NO_BED_MIN
        reason = RoutingReason(RoutingReasonCode.BEDS_NONE, {"age_min": age_min})
    else:
        over_min = min(-beds * OVER_CAPACITY_MIN_PER_PATIENT, OVER_CAPACITY_MOST_MIN)
        figure_min = NO_BED_MIN + over_min
        reason = RoutingReason(
            RoutingReasonCode.BEDS_OVER_CAPACITY, {"over": -beds, "age_min": age_min}
        )
    trust = 0.5 ** (age_min / BED_HALF_LIFE_MIN)
    reasons = [reason]
    if age_min > BED_HALF_LIFE_MIN:
        reasons.append(
            RoutingReason(
                RoutingReasonCode.BEDS_STALE, {"age_min": age_min, "trust_percent": trust * 100}
            )
        )
    return trust * figure_min + (1 - trust) * UNKNOWN_BEDS_MIN, reasons


def _answer(room: EmergencyRoomFacts) -> tuple[float, float]:
    """Expected minutes lost to silence, a no or a slow yes, and the chance of a yes."""
    yes_rate = _shrunk(room.answer_rate, PRIOR_ANSWER_RATE, room.offers_observed) * _shrunk(
        room.accept_rate, PRIOR_ACCEPT_RATE, room.offers_observed
    )
    answer_s = PRIOR_ANSWER_S if room.median_answer_s is None else room.median_answer_s
    # A yes is never worse than none, however late.
    answer_min = min(answer_s / 60, FAILED_OFFER_MIN)
    return yes_rate * answer_min + (1 - yes_rate) * FAILED_OFFER_MIN, yes_rate


def _shrunk(rate: float | None, prior: float, observed: float | None) -> float:
    if rate is None:
        return prior
    weight = PRIOR_OFFERS if observed is None else observed
    return (rate * weight + prior * PRIOR_OFFERS) / (weight + PRIOR_OFFERS)


def _level_min(level: EmergencyCentreLevel, acuity: int) -> float:
    if acuity <= 2:
        return LEVEL_SEVERE_MIN[level]
    return LEVEL_MILD_MIN[level] if acuity >= 4 else 0.0
