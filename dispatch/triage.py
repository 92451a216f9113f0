"""How urgent a case is, why, and what the emergency room should have.

Pure rules: the crew's pre-KTAS level is authoritative; vital signs and image findings may raise
urgency (towards 1) and never lower it. No emergency room, no distance, no I/O and no clock enter.
pre-KTAS itself is a licensed instrument: only its level is used, its tree is not re-implemented.

The rules that turn findings into urgency and needs are a proposal that a clinician has to sign off
for a region. A supine film misses a pneumothorax in 9-75 % of cases (10.1007/s10916-023-02023-1):
absence of a finding says nothing here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from dispatch import news2
from dispatch.news2 import Consciousness, News2Score, VitalSigns

Language = Literal["en", "ko"]
Scalar = str | int | float | bool | None  # what JSON can hold in one place
DEFAULT_ACUITY = 3  # nothing known: suspected severe (pre-KTAS 3) until somebody says otherwise


class Capability(StrEnum):
    """What an emergency room can offer around the clock; names follow the E-Gen bed fields."""

    THORACIC_SURGERY = "thoracic_surgery"
    THORACIC_ICU = "thoracic_icu"
    GENERAL_ICU = "general_icu"
    VENTILATOR = "ventilator"
    BRONCHOSCOPY = "bronchoscopy"
    CT = "ct"
    INTERVENTIONAL_RADIOLOGY = "interventional_radiology"
    CARDIOLOGY = "cardiology"
    ECMO = "ecmo"
    NEGATIVE_PRESSURE_ROOM = "negative_pressure_room"
    OPERATING_ROOM = "operating_room"
    PAEDIATRIC_EMERGENCY = "paediatric_emergency"


class ReasonCode(StrEnum):
    """Why a case has its acuity; texts in REASON_TEXT."""

    CREW_LEVEL = "crew_level"
    NOTHING_KNOWN = "nothing_known"
    NO_BREATHING_OR_PULSE = "no_breathing_or_pulse"
    UNRESPONSIVE = "unresponsive"
    NEWS2_HIGH = "news2_high"
    NEWS2_MEDIUM = "news2_medium"
    NEWS2_SINGLE_THREE = "news2_single_three"
    NEWS2_LOW = "news2_low"
    NEWS2_INCOMPLETE = "news2_incomplete"
    NEWS2_NOT_FOR_CHILDREN = "news2_not_for_children"
    NEWS2_NOT_IN_PREGNANCY = "news2_not_in_pregnancy"
    PNEUMOTHORAX = "pneumothorax"
    TENSION_LOW_BLOOD_PRESSURE = "tension_low_blood_pressure"
    TENSION_LOW_SPO2 = "tension_low_spo2"
    TENSION_FAST_PULSE = "tension_fast_pulse"
    OEDEMA_UNSTABLE = "oedema_unstable"
    EFFUSION_UNSTABLE = "effusion_unstable"
    CONSOLIDATION_UNSTABLE = "consolidation_unstable"
    READING_INCOMPLETE = "reading_incomplete"


REASON_TEXT: dict[ReasonCode, dict[Language, str]] = {
    ReasonCode.CREW_LEVEL: {
        "en": "Crew: pre-KTAS {acuity}",
        "ko": "구급대 Pre-KTAS {acuity}단계",
    },
    ReasonCode.NOTHING_KNOWN: {
        "en": "Too little known to judge: level {acuity} until it is",
        "ko": "판단할 정보 부족: 확인될 때까지 {acuity}단계",
    },
    ReasonCode.NO_BREATHING_OR_PULSE: {
        "en": "No breathing or no pulse measured: level {acuity}",
        "ko": "호흡 또는 맥박 없음으로 측정됨: {acuity}단계",
    },
    ReasonCode.UNRESPONSIVE: {
        "en": "Unresponsive, no level from the crew: level {acuity}",
        "ko": "무반응(U), 구급대 단계 미입력: {acuity}단계",
    },
    ReasonCode.NEWS2_HIGH: {
        "en": "NEWS2 {known_total} (high, 7 or more): at least level {acuity}",
        "ko": "NEWS2 {known_total}점(고위험, 7점 이상): {acuity}단계 이상",
    },
    ReasonCode.NEWS2_MEDIUM: {
        "en": "NEWS2 {known_total} (medium, 5 or more): at least level {acuity}",
        "ko": "NEWS2 {known_total}점(중위험, 5점 이상): {acuity}단계 이상",
    },
    ReasonCode.NEWS2_SINGLE_THREE: {
        "en": "NEWS2 {known_total} with 3 points in one vital sign: at least level {acuity}",
        "ko": "NEWS2 {known_total}점, 한 항목 3점: {acuity}단계 이상",
    },
    ReasonCode.NEWS2_LOW: {
        "en": "NEWS2 {known_total} (low), no level from the crew: level {acuity}",
        "ko": "NEWS2 {known_total}점(저위험), 구급대 단계 미입력: {acuity}단계",
    },
    ReasonCode.NEWS2_INCOMPLETE: {
        "en": "NEWS2 incomplete, {known_total} to {upper_total}; not measured: {missing}",
        "ko": "NEWS2 불완전, {known_total}~{upper_total}점; 미측정: {missing}",
    },
    ReasonCode.NEWS2_NOT_FOR_CHILDREN: {
        "en": "NEWS2 is not used under 16 years",
        "ko": "16세 미만에는 NEWS2를 적용하지 않음",
    },
    ReasonCode.NEWS2_NOT_IN_PREGNANCY: {
        "en": "NEWS2 is not used in pregnancy",
        "ko": "임신 중에는 NEWS2를 적용하지 않음",
    },
    ReasonCode.PNEUMOTHORAX: {
        "en": "Pneumothorax suspected on the film: at least level {acuity}",
        "ko": "영상에서 기흉 의심: {acuity}단계 이상",
    },
    ReasonCode.TENSION_LOW_BLOOD_PRESSURE: {
        "en": "Suspected tension pneumothorax, systolic BP {value} mmHg: level {acuity}. "
        "Do not wait for imaging review.",
        "ko": "긴장성 기흉 의심, 수축기 혈압 {value} mmHg: {acuity}단계. "
        "영상 판독을 기다리지 마십시오.",
    },
    ReasonCode.TENSION_LOW_SPO2: {
        "en": "Suspected tension pneumothorax, SpO2 {value} %: level {acuity}. "
        "Do not wait for imaging review.",
        "ko": "긴장성 기흉 의심, 산소포화도 {value} %: {acuity}단계. "
        "영상 판독을 기다리지 마십시오.",
    },
    ReasonCode.TENSION_FAST_PULSE: {
        "en": "Suspected tension pneumothorax, pulse {value}/min: level {acuity}. "
        "Do not wait for imaging review.",
        "ko": "긴장성 기흉 의심, 맥박 {value}회/분: {acuity}단계. 영상 판독을 기다리지 마십시오.",
    },
    ReasonCode.OEDEMA_UNSTABLE: {
        "en": "Lung oedema suspected and NEWS2 {known_total}: at least level {acuity}",
        "ko": "폐부종 의심, NEWS2 {known_total}점: {acuity}단계 이상",
    },
    ReasonCode.EFFUSION_UNSTABLE: {
        "en": "Pleural effusion suspected and NEWS2 {known_total}: at least level {acuity}",
        "ko": "흉수 의심, NEWS2 {known_total}점: {acuity}단계 이상",
    },
    ReasonCode.CONSOLIDATION_UNSTABLE: {
        "en": "Consolidation suspected and NEWS2 {known_total}: at least level {acuity}",
        "ko": "폐경화 의심, NEWS2 {known_total}점: {acuity}단계 이상",
    },
    ReasonCode.READING_INCOMPLETE: {
        "en": "The film is not (fully) read: the level rests on crew and vital signs",
        "ko": "영상 판독 미완료: 구급대 판단과 활력징후에 따른 단계",
    },
}

VITAL_TEXT: dict[str, dict[Language, str]] = {
    "respiratory_rate_per_min": {"en": "respiratory rate", "ko": "호흡수"},
    "spo2_percent": {"en": "SpO2", "ko": "산소포화도"},
    "on_oxygen": {"en": "air or oxygen", "ko": "산소 투여 여부"},
    "systolic_bp_mmhg": {"en": "systolic BP", "ko": "수축기 혈압"},
    "diastolic_bp_mmhg": {"en": "diastolic BP", "ko": "이완기 혈압"},
    "pulse_per_min": {"en": "pulse", "ko": "맥박"},
    "consciousness": {"en": "consciousness", "ko": "의식"},
    "temperature_c": {"en": "temperature", "ko": "체온"},
}


@dataclass(frozen=True)
class FindingFact:
    """One finding of the film: label as in the model card, score 0-1, above its threshold or not.

    Raises ValueError naming the label for a score outside 0-1 or NaN.
    """

    label: str
    score: float
    above_threshold: bool

    def __post_init__(self) -> None:
        if not 0 <= self.score <= 1:
            raise ValueError(f"score: {self.score} of finding {self.label!r} is outside 0 to 1")


@dataclass(frozen=True)
class TriageCase:
    """What is known about a case when it is assessed; None = not known.

    Raises ValueError naming the field for a level outside 1-5 or an age outside 0-130.
    """

    crew_pre_ktas: int | None = None
    age_years: float | None = None
    vitals: VitalSigns | None = None
    findings: tuple[FindingFact, ...] = ()
    reading_complete: bool = False
    pregnant: bool = False

    def __post_init__(self) -> None:
        if self.crew_pre_ktas is not None and self.crew_pre_ktas not in (1, 2, 3, 4, 5):
            raise ValueError(f"crew_pre_ktas: {self.crew_pre_ktas!r} is not one of 1 to 5")
        if self.age_years is not None and not 0 <= self.age_years <= 130:
            raise ValueError(f"age_years: {self.age_years!r} is outside 0 to 130")


@dataclass(frozen=True)
class Reason:
    """Code and parameters of one reason; `acuity` in params = the level that it asks for."""

    code: ReasonCode
    params: dict[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True)
class Triage:
    """acuity 1-5 (1 = worst), the reasons for it, needs by importance, NEWS2 where it applies."""

    acuity: int
    reasons: tuple[Reason, ...]
    needs: tuple[Capability, ...]
    news2: News2Score | None


# Findings that ask for level 2 once the patient is unstable (NEWS2 >= 5). FIELD: oedema, LARGE
# effusion, consolidation. A label carries no size, so an effusion in an unstable patient counts as
# large. Mass, nodule, fibrosis, hernia and pleural thickening are in no rule: they never change it.
_UNSTABLE_FINDINGS: dict[str, ReasonCode] = {
    "edema": ReasonCode.OEDEMA_UNSTABLE,
    "effusion": ReasonCode.EFFUSION_UNSTABLE,
    "consolidation": ReasonCode.CONSOLIDATION_UNSTABLE,
}
_PNEUMOTHORAX = "pneumothorax"
_TENSION_SYSTOLIC_BP_MMHG = 90  # or lower
_TENSION_SPO2_PERCENT = 91  # or lower
_TENSION_PULSE_PER_MIN = 131  # or higher
_FEVER_C = 38.0


class NeedWhen(StrEnum):
    """When a finding asks for a capability."""

    ALWAYS = "always"
    UNSTABLE = "unstable"  # NEWS2 known to be 5 or more
    FEVER = "fever"  # 38.0 C or more


@dataclass(frozen=True)
class FindingNeed:
    """One row of the finding-to-capability table."""

    label: str
    when: NeedWhen
    capability: Capability
    because: str


FINDING_NEEDS: tuple[FindingNeed, ...] = (
    FindingNeed(
        _PNEUMOTHORAX,
        NeedWhen.ALWAYS,
        Capability.THORACIC_SURGERY,
        "chest drain, and surgery when the leak persists",
    ),
    FindingNeed(
        _PNEUMOTHORAX,
        NeedWhen.UNSTABLE,
        Capability.THORACIC_ICU,
        "a drained but unstable patient needs thoracic intensive care",
    ),
    FindingNeed(
        "edema", NeedWhen.ALWAYS, Capability.CARDIOLOGY, "a failing heart is the first cause"
    ),
    FindingNeed(
        "edema",
        NeedWhen.UNSTABLE,
        Capability.VENTILATOR,
        "non-invasive or invasive ventilation is the next step",
    ),
    FindingNeed(
        "cardiomegaly",
        NeedWhen.UNSTABLE,
        Capability.CARDIOLOGY,
        "a large heart in an unstable patient: failure or tamponade until echo says no",
    ),
    FindingNeed(
        "effusion",
        NeedWhen.UNSTABLE,
        Capability.THORACIC_SURGERY,
        "drainage of blood or pus cannot wait for a transfer",
    ),
    FindingNeed("effusion", NeedWhen.ALWAYS, Capability.CT, "blood, pus or tumour is told by CT"),
    FindingNeed(
        "consolidation", NeedWhen.UNSTABLE, Capability.GENERAL_ICU, "severe pneumonia, sepsis"
    ),
    FindingNeed("pneumonia", NeedWhen.UNSTABLE, Capability.GENERAL_ICU, "severe pneumonia, sepsis"),
    FindingNeed(
        "consolidation",
        NeedWhen.FEVER,
        Capability.NEGATIVE_PRESSURE_ROOM,
        "fever with an infiltrated lung is isolated until tuberculosis and viruses are excluded",
    ),
    FindingNeed(
        "pneumonia",
        NeedWhen.FEVER,
        Capability.NEGATIVE_PRESSURE_ROOM,
        "fever with an infiltrated lung is isolated until tuberculosis and viruses are excluded",
    ),
    FindingNeed(
        "atelectasis",
        NeedWhen.UNSTABLE,
        Capability.BRONCHOSCOPY,
        "a collapsed lobe in an unstable patient: mucus plug or foreign body",
    ),
    FindingNeed("mass", NeedWhen.ALWAYS, Capability.CT, "a mass is worked up by CT, not urgently"),
)


def assess(case: TriageCase) -> Triage:
    """Acuity, reasons and needs of a case.

    Without a crew level the level comes from vital signs: NEWS2 >= 7 is 2; 5-6 or a single 3 is 3;
    a complete NEWS2 of 0-4 is 4; unresponsive or no breathing or pulse is 1; anything else is 3.
    Level 5 needs a history, so only a crew gives it. With a crew level the same NEWS2 limits raise
    it. Known parts of an incomplete NEWS2 count upward only. Findings raise by the rules above.
    """
    vitals = case.vitals.rounded() if case.vitals is not None else VitalSigns()
    score = None
    if not vitals.is_empty() and news2.applicable(case.age_years, pregnant=case.pregnant):
        score = news2.score(vitals)
    labels = {_normal(f.label) for f in case.findings if f.above_threshold}

    asked = [*_by_vitals(vitals, score), *_by_findings(case, labels, vitals, score)]
    if case.crew_pre_ktas is not None:
        asked.insert(0, _asks(case.crew_pre_ktas, ReasonCode.CREW_LEVEL))
    else:
        asked = [*_without_crew_level(vitals, score), *asked]
    return Triage(
        acuity=min(level for level, _ in asked),
        reasons=(*(reason for _, reason in asked), *_caveats(case, vitals, score)),
        needs=_needs(case, labels, vitals, score),
        news2=score,
    )


def explain(reason: Reason, language: Language) -> str:
    """A reason as one sentence in English or Korean."""
    params = dict(reason.params)
    if isinstance(missing := params.get("missing"), str):
        params["missing"] = ", ".join(VITAL_TEXT[name][language] for name in missing.split(","))
    return REASON_TEXT[reason.code][language].format(**params)


_Asked = tuple[int, Reason]  # the level that a reason asks for


def _asks(acuity: int, code: ReasonCode, **params: Scalar) -> _Asked:
    return acuity, Reason(code, {"acuity": acuity, **params})


def _normal(label: str) -> str:
    return label.strip().casefold().replace(" ", "_")


def _is_child(case: TriageCase) -> bool:
    return case.age_years is not None and case.age_years < news2.MINIMUM_AGE_YEARS


def _is_unstable(score: News2Score | None) -> bool:
    return score is not None and score.known_total >= news2.MEDIUM_TOTAL


def _by_vitals(vitals: VitalSigns, score: News2Score | None) -> Iterator[_Asked]:
    if 0 in (vitals.respiratory_rate_per_min, vitals.pulse_per_min):
        yield _asks(1, ReasonCode.NO_BREATHING_OR_PULSE)
    if score is None:
        return
    if score.known_total >= news2.HIGH_TOTAL:
        yield _asks(2, ReasonCode.NEWS2_HIGH, known_total=score.known_total)
    elif score.known_total >= news2.MEDIUM_TOTAL:
        yield _asks(3, ReasonCode.NEWS2_MEDIUM, known_total=score.known_total)
    elif score.any_three:
        yield _asks(3, ReasonCode.NEWS2_SINGLE_THREE, known_total=score.known_total)


def _by_findings(
    case: TriageCase, labels: set[str], vitals: VitalSigns, score: News2Score | None
) -> Iterator[_Asked]:
    if _PNEUMOTHORAX in labels:
        yield _asks(2, ReasonCode.PNEUMOTHORAX)
        systolic, spo2, pulse = vitals.systolic_bp_mmhg, vitals.spo2_percent, vitals.pulse_per_min
        if spo2 is not None and spo2 <= _TENSION_SPO2_PERCENT:
            yield _asks(1, ReasonCode.TENSION_LOW_SPO2, value=spo2)
        # Adult limits: a well toddler has such a pulse and such a pressure.
        if not _is_child(case):
            if systolic is not None and systolic <= _TENSION_SYSTOLIC_BP_MMHG:
                yield _asks(1, ReasonCode.TENSION_LOW_BLOOD_PRESSURE, value=systolic)
            if pulse is not None and pulse >= _TENSION_PULSE_PER_MIN:
                yield _asks(1, ReasonCode.TENSION_FAST_PULSE, value=pulse)
    if score is not None and _is_unstable(score):
        for label, code in _UNSTABLE_FINDINGS.items():
            if label in labels:
                yield _asks(2, code, known_total=score.known_total)


def _without_crew_level(vitals: VitalSigns, score: News2Score | None) -> Iterator[_Asked]:
    # Only here: a crew that saw the patient has weighed e.g. alcohol in its own level.
    if vitals.consciousness is Consciousness.UNRESPONSIVE:
        yield _asks(1, ReasonCode.UNRESPONSIVE)
    if score is None or (score.total is None and not _asks_by_itself(score)):
        yield _asks(DEFAULT_ACUITY, ReasonCode.NOTHING_KNOWN)
    elif not _asks_by_itself(score):
        yield _asks(4, ReasonCode.NEWS2_LOW, known_total=score.known_total)


def _asks_by_itself(score: News2Score) -> bool:
    return _is_unstable(score) or score.any_three


def _caveats(case: TriageCase, vitals: VitalSigns, score: News2Score | None) -> Iterator[Reason]:
    if score is not None and score.total is None:
        bounds: dict[str, Scalar] = {
            "known_total": score.known_total,
            "upper_total": score.upper_total,
        }
        yield Reason(ReasonCode.NEWS2_INCOMPLETE, {**bounds, "missing": ",".join(score.missing)})
    if score is None and not vitals.is_empty():
        yield Reason(
            ReasonCode.NEWS2_NOT_FOR_CHILDREN
            if _is_child(case)
            else ReasonCode.NEWS2_NOT_IN_PREGNANCY
        )
    if not case.reading_complete:
        yield Reason(ReasonCode.READING_INCOMPLETE)


def _needs(
    case: TriageCase, labels: set[str], vitals: VitalSigns, score: News2Score | None
) -> tuple[Capability, ...]:
    """Each capability once, in the order of the Capability enum."""
    temperature, spo2 = vitals.temperature_c, vitals.spo2_percent
    holds = {
        NeedWhen.ALWAYS: True,
        NeedWhen.UNSTABLE: _is_unstable(score),
        NeedWhen.FEVER: temperature is not None and temperature >= _FEVER_C,
    }
    needed = {
        need.capability for need in FINDING_NEEDS if need.label in labels and holds[need.when]
    }
    if score is not None and score.known_total >= news2.HIGH_TOTAL:
        needed.add(Capability.GENERAL_ICU)  # RCP 2017: consider level 2 or 3 care from 7
    if vitals.on_oxygen and spo2 is not None and spo2 <= 91:
        needed.add(Capability.VENTILATOR)  # 3 points on oxygen: oxygen alone does not hold
    if _is_child(case):
        needed.add(Capability.PAEDIATRIC_EMERGENCY)
    return tuple(capability for capability in Capability if capability in needed)
