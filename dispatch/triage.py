"""How urgent a case is, why, and what the emergency room should have.

Pure rules: the crew's pre-KTAS level is authoritative; vital signs and image findings may raise
urgency (towards 1) and never lower it. No emergency room, no distance, no I/O and no clock enter.
pre-KTAS itself is a licensed instrument: only its level is used, its tree is not re-implemented.

The rules that turn findings into urgency and needs are configuration (dispatch/triage_rules.toml,
read by rules.py) that a clinician signs off for a region. A supine film misses a pneumothorax in
9-75 % of cases (10.1007/s10916-023-02023-1): absence of a finding says nothing here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from dispatch import news2, rules as rules_
from dispatch.news2 import Consciousness, CriteriaScore, News2Score, VitalSigns
from dispatch.rules import (
    Capability as Capability,
    Facts,
    Language as Language,
    NeedRule,
    Rules,
    Strength,
    normal,
)

Scalar = str | int | float | bool | None  # what JSON can hold in one place
DEFAULT_ACUITY = 3  # nothing known: suspected severe (pre-KTAS 3) until somebody says otherwise


class ReasonCode(StrEnum):
    """Why a case has its acuity, but for rows of the rule file; texts in REASON_TEXT."""

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
    ReasonCode.READING_INCOMPLETE: {
        "en": "The film is not (fully) read: the level rests on crew and vital signs",
        "ko": "영상 판독 미완료: 구급대 판단과 활력징후에 따른 단계",
    },
}

EARLIER_FILM: dict[Language, str] = {
    "en": " (an earlier film of this case)",
    "ko": " (이 환자의 이전 영상)",
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
    """One finding of a film: label as in the model card, score 0-1, above its threshold or not.

    earlier_film: of a film that was replaced since. It still counts: a second film on which
    nothing is seen, or that cannot be read, takes no urgency away.
    Raises ValueError naming the label for a score outside 0-1 or NaN.
    """

    label: str
    score: float
    above_threshold: bool
    earlier_film: bool = False

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
    """Code and parameters of one reason; `acuity` in params = the level that it asks for.

    code: a ReasonCode, or the id of a row of the rule file, which then gives text and source.
    """

    code: str
    params: dict[str, Scalar] = field(default_factory=dict)
    text: dict[Language, str] | None = None
    source: str | None = None


@dataclass(frozen=True)
class Need:
    """One capability that the emergency room must, or should, have, and why."""

    capability: Capability
    strength: Strength
    text: dict[Language, str]
    source: str


@dataclass(frozen=True)
class Triage:
    """acuity 1-5 (1 = worst), the reasons for it, needs by importance, scores where they apply.

    needs are required, wishes are not; need_reasons says why each. scores_refused: why there is no
    NEWS2, qSOFA and CRB-65 although vital signs are there.
    """

    acuity: int
    reasons: tuple[Reason, ...]
    needs: tuple[Capability, ...]
    wishes: tuple[Capability, ...]
    need_reasons: tuple[Need, ...]
    news2: News2Score | None
    qsofa: CriteriaScore | None
    crb65: CriteriaScore | None
    scores_refused: ReasonCode | None


def assess(case: TriageCase, rules: Rules | None = None) -> Triage:
    """Acuity, reasons and needs of a case; by the shipped rules unless others are given.

    Without a crew level the level comes from vital signs: NEWS2 >= 7 is 2; 5-6 or a single 3 is 3;
    a complete NEWS2 of 0-4 is 4; unresponsive or no breathing or pulse is 1; anything else is 3.
    Level 5 needs a history, so only a crew gives it. With a crew level the same NEWS2 limits raise
    it. Known parts of an incomplete NEWS2 count upward only. Findings raise by the rules.
    """
    rules = rules or rules_.load()
    vitals = case.vitals.rounded() if case.vitals is not None else VitalSigns()
    refused = None if vitals.is_empty() else _refused(case)
    applies = not vitals.is_empty() and refused is None
    score = news2.score(vitals) if applies else None
    facts = Facts(
        labels={normal(f.label) for f in case.findings if f.above_threshold},
        vitals=vitals,
        score=score,
        child=_is_child(case),
    )
    asked = [*_by_vitals(vitals, score), *_by_findings(case, rules, facts)]
    if case.crew_pre_ktas is not None:
        asked.insert(0, _asks(case.crew_pre_ktas, ReasonCode.CREW_LEVEL))
    else:
        asked = [*_without_crew_level(vitals, score), *asked]
    needs = _needs(rules, facts)
    required = {need.capability for need in needs if need.strength is Strength.REQUIRED}
    named = {need.capability for need in needs}
    return Triage(
        acuity=min(level for level, _ in asked),
        reasons=(*(reason for _, reason in asked), *_caveats(case, refused, score)),
        needs=tuple(c for c in Capability if c in required),
        wishes=tuple(c for c in Capability if c in named - required),
        need_reasons=needs,
        news2=score,
        qsofa=news2.qsofa(vitals) if applies else None,
        crb65=news2.crb65(vitals, case.age_years) if applies else None,
        scores_refused=refused,
    )


def explain(reason: Reason, language: Language) -> str:
    """A reason as one sentence in English or Korean."""
    if reason.text is not None:
        return reason.text[language]
    params = dict(reason.params)
    if isinstance(missing := params.get("missing"), str):
        params["missing"] = ", ".join(VITAL_TEXT[name][language] for name in missing.split(","))
    if reason.code not in set(ReasonCode):  # a row's, stored before reasons kept their words
        shipped = {rule.id: rule.text for rule in rules_.load().acuity}
        known = shipped.get(reason.code)
        return known[language].format(**params) if known else reason.code
    return REASON_TEXT[ReasonCode(reason.code)][language].format(**params)


_Asked = tuple[int, Reason]  # the level that a reason asks for


def _asks(acuity: int, code: ReasonCode, **params: Scalar) -> _Asked:
    return acuity, Reason(code, {"acuity": acuity, **params})


def _is_child(case: TriageCase) -> bool:
    return case.age_years is not None and case.age_years < news2.MINIMUM_AGE_YEARS


def _refused(case: TriageCase) -> ReasonCode | None:
    """Why adult scores are not used: RCP 2017 leaves children and pregnancy out of NEWS2, and
    qSOFA and CRB-65 were made on adults as well."""
    if news2.applicable(case.age_years, pregnant=case.pregnant):
        return None
    if _is_child(case):
        return ReasonCode.NEWS2_NOT_FOR_CHILDREN
    return ReasonCode.NEWS2_NOT_IN_PREGNANCY


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


def _by_findings(case: TriageCase, rules: Rules, facts: Facts) -> Iterator[_Asked]:
    now_seen = {normal(f.label) for f in case.findings if f.above_threshold and not f.earlier_film}
    for rule in rules.acuity:
        if not rule.when.met(facts):
            continue
        params: dict[str, Scalar] = {"acuity": rule.acuity}
        if rule.when.limits:
            params["value"] = getattr(facts.vitals, rule.when.limits[0].vital)
        if rule.when.news2_at_least is not None and facts.score is not None:
            params["known_total"] = facts.score.known_total
        text: dict[Language, str] = {
            language: template.format(**params) for language, template in rule.text.items()
        }
        if rule.when.finding not in now_seen:
            params["earlier_film"] = True
            text = {language: said + EARLIER_FILM[language] for language, said in text.items()}
        yield rule.acuity, Reason(rule.id, params, text, rule.source)


def _without_crew_level(vitals: VitalSigns, score: News2Score | None) -> Iterator[_Asked]:
    # Only here: a crew that saw the patient has weighed e.g. alcohol in its own level.
    if vitals.consciousness is Consciousness.UNRESPONSIVE:
        yield _asks(1, ReasonCode.UNRESPONSIVE)
    if score is None or (score.total is None and not _asks_by_itself(score)):
        yield _asks(DEFAULT_ACUITY, ReasonCode.NOTHING_KNOWN)
    elif not _asks_by_itself(score):
        yield _asks(4, ReasonCode.NEWS2_LOW, known_total=score.known_total)


def _asks_by_itself(score: News2Score) -> bool:
    return score.known_total >= news2.MEDIUM_TOTAL or score.any_three


def _caveats(
    case: TriageCase, refused: ReasonCode | None, score: News2Score | None
) -> Iterator[Reason]:
    if score is not None and score.total is None:
        bounds: dict[str, Scalar] = {
            "known_total": score.known_total,
            "upper_total": score.upper_total,
        }
        yield Reason(ReasonCode.NEWS2_INCOMPLETE, {**bounds, "missing": ",".join(score.missing)})
    if refused is not None:
        yield Reason(refused)
    if not case.reading_complete:
        yield Reason(ReasonCode.READING_INCOMPLETE)


def _needs(rules: Rules, facts: Facts) -> tuple[Need, ...]:
    """Each capability once, in the order of the Capability enum; required beats wished."""
    found: dict[Capability, NeedRule] = {}
    for rule in rules.need:
        if rule.when.met(facts):
            known = found.get(rule.capability)
            if known is None or (
                known.strength is Strength.WISHED and rule.strength is Strength.REQUIRED
            ):
                found[rule.capability] = rule
    return tuple(
        Need(c, found[c].strength, found[c].text, found[c].source) for c in Capability if c in found
    )
