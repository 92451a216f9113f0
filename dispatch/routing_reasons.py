"""Why an emergency room stands where it stands: codes, parts of the minutes, words for both.

Data and wording only, in Korean and English; no arithmetic lives here. The ranking is routing.py's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from dispatch.triage import Capability, Language, Scalar


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
    REFUSED_LATELY = "refused_lately"
    LEVEL_MISMATCH = "level_mismatch"
    ASKED_BEFORE = "asked_before"
    POSITION_UNKNOWN = "position_unknown"
    ER_POSITION_UNKNOWN = "er_position_unknown"
    VETOED = "vetoed"
    NEAREST_COSTS_MORE = "nearest_costs_more"
    NEAREST_LOWERS_CHANCE = "nearest_lowers_chance"


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
    RoutingReasonCode.REFUSED_LATELY: {
        "en": "Could not take comparable patients within the hour: {times}, the last "
        "{age_min:.0f} min ago",
        "ko": "최근 1시간 내 유사 환자 수용 곤란 {times}회, 마지막 {age_min:.0f}분 전",
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
    RoutingReasonCode.ER_POSITION_UNKNOWN: {
        "en": "Position not registered: counted as {minutes:.0f} min away",
        "ko": "위치 미등록: 이동 {minutes:.0f}분으로 계산",
    },
    RoutingReasonCode.VETOED: {
        "en": "Ruled out by the control room",
        "ko": "상황실에서 제외함",
    },
    RoutingReasonCode.NEAREST_LOWERS_CHANCE: {
        "en": "Nearest, but with it the chance of a yes would be {with_percent:.0f} %, not "
        "{without_percent:.0f} %",
        "ko": "가장 가깝지만 포함하면 수용 확률이 {without_percent:.0f} %에서 "
        "{with_percent:.0f} %로 낮아짐",
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


def explain(reason: RoutingReason, language: Language) -> str:
    """A reason as one sentence in English or Korean."""
    params = dict(reason.params)
    if "capability" in params:
        params["capability"] = CAPABILITY_TEXT[Capability(str(params["capability"]))][language]
    if "part" in params:
        params["part"] = PART_TEXT[Part(str(params["part"]))][language]
    return ROUTING_REASON_TEXT[reason.code][language].format(**params)
