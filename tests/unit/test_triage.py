"""Each rule of triage, the tables behind it, and that nothing ever lowers urgency."""

from __future__ import annotations

import math
import string
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given, settings, strategies as st

from dispatch.news2 import PLAUSIBLE_RANGES, Consciousness, VitalSigns, score
from dispatch.triage import (
    REASON_TEXT,
    VITAL_TEXT,
    Capability,
    FindingFact,
    Language,
    Reason,
    ReasonCode,
    Triage,
    TriageCase,
    assess,
    explain,
)

# No deadline: a busy machine is not a defect. Few: the whole ring stays under five seconds.
few = settings(max_examples=40, deadline=None)

NIH_14 = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia",
    "Pneumothorax", "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening",
    "Hernia",
)  # fmt: skip
NEVER_CHANGE = ("Mass", "Nodule", "Fibrosis", "Hernia", "Pleural_Thickening")
NORMAL = VitalSigns(16, 98, False, 120, 80, 70, Consciousness.ALERT, 36.8)
NEWS2_FIVE = replace(NORMAL, on_oxygen=True, spo2_percent=93, pulse_per_min=100)
NEWS2_SEVEN = replace(NEWS2_FIVE, respiratory_rate_per_min=22)


def found(*labels: str) -> tuple[FindingFact, ...]:
    return tuple(FindingFact(label, 0.9, True) for label in labels)


def of(**known: Any) -> Triage:
    return assess(TriageCase(reading_complete=True, **known))


def codes(result: Triage) -> list[str]:
    return [reason.code for reason in result.reasons]


@pytest.mark.parametrize(
    ("changes", "acuity", "code"),
    [
        ({}, 4, ReasonCode.NEWS2_LOW),
        ({"spo2_percent": 93, "on_oxygen": True}, 4, ReasonCode.NEWS2_LOW),
        ({"spo2_percent": 91}, 3, ReasonCode.NEWS2_SINGLE_THREE),
        ({"spo2_percent": 91, "pulse_per_min": 115}, 3, ReasonCode.NEWS2_MEDIUM),
        ({"spo2_percent": 91, "pulse_per_min": 131}, 3, ReasonCode.NEWS2_MEDIUM),
        ({"spo2_percent": 91, "pulse_per_min": 131, "on_oxygen": True}, 2, ReasonCode.NEWS2_HIGH),
        ({"consciousness": Consciousness.UNRESPONSIVE}, 1, ReasonCode.UNRESPONSIVE),
        ({"respiratory_rate_per_min": 0}, 1, ReasonCode.NO_BREATHING_OR_PULSE),
        ({"pulse_per_min": 0}, 1, ReasonCode.NO_BREATHING_OR_PULSE),
        ({"temperature_c": None}, 3, ReasonCode.NOTHING_KNOWN),
    ],
)
def test_without_a_crew_level_vitals_decide(
    changes: dict[str, Any], acuity: int, code: ReasonCode
) -> None:
    result = of(vitals=replace(NORMAL, **changes))
    assert result.acuity == acuity
    assert code in codes(result)


@pytest.mark.parametrize("vitals", [None, VitalSigns()])
def test_nothing_known_is_level_3(vitals: VitalSigns | None) -> None:
    result = of(vitals=vitals)
    assert (result.acuity, codes(result)) == (3, [ReasonCode.NOTHING_KNOWN])
    assert result.needs == ()
    assert result.news2 is None


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_the_crews_level_stands_when_nothing_raises_it(level: int) -> None:
    result = of(crew_pre_ktas=level, vitals=NORMAL, findings=found(*NEVER_CHANGE))
    assert (result.acuity, codes(result)) == (level, [ReasonCode.CREW_LEVEL])


@pytest.mark.parametrize(
    ("changes", "acuity"),
    [
        ({}, 5),
        ({"spo2_percent": 91}, 3),
        ({"on_oxygen": True, "spo2_percent": 93, "pulse_per_min": 100}, 3),
        ({"consciousness": Consciousness.UNRESPONSIVE}, 3),  # the crew weighed it: not 1
        ({"spo2_percent": 91, "pulse_per_min": 131, "on_oxygen": True}, 2),
        ({"pulse_per_min": 0}, 1),
    ],
)
def test_vitals_raise_the_crews_level(changes: dict[str, Any], acuity: int) -> None:
    assert of(crew_pre_ktas=5, vitals=replace(NORMAL, **changes)).acuity == acuity


def test_an_incomplete_news2_counts_upward_only() -> None:
    high = replace(NEWS2_SEVEN, temperature_c=None)
    assert score(high).known_total == 7
    result = of(crew_pre_ktas=4, vitals=high)
    assert result.acuity == 2
    assert codes(result) == [
        ReasonCode.CREW_LEVEL,
        ReasonCode.NEWS2_HIGH,
        ReasonCode.NEWS2_INCOMPLETE,
    ]
    assert of(crew_pre_ktas=2, vitals=VitalSigns(pulse_per_min=70)).acuity == 2


@pytest.mark.parametrize(
    ("changes", "acuity", "code"),
    [
        ({}, 2, "pneumothorax"),
        ({"systolic_bp_mmhg": 91}, 2, "pneumothorax"),
        ({"systolic_bp_mmhg": 90}, 1, "tension_low_blood_pressure"),
        ({"spo2_percent": 92}, 2, "pneumothorax"),
        ({"spo2_percent": 91}, 1, "tension_low_spo2"),
        ({"pulse_per_min": 130}, 2, "pneumothorax"),
        ({"pulse_per_min": 131}, 1, "tension_fast_pulse"),
    ],
)
def test_pneumothorax(changes: dict[str, Any], acuity: int, code: str) -> None:
    signs = replace(NORMAL, **changes)
    for level in (None, 3, 5):
        result = of(crew_pre_ktas=level, vitals=signs, findings=found("Pneumothorax"))
        assert result.acuity == acuity
        assert code in codes(result)
    assert of(crew_pre_ktas=1, vitals=signs, findings=found("Pneumothorax")).acuity == 1


def test_tension_needs_the_pneumothorax() -> None:
    shock = replace(NORMAL, systolic_bp_mmhg=85)
    assert of(crew_pre_ktas=4, vitals=shock).acuity == 3
    below = (FindingFact("Pneumothorax", 0.4, above_threshold=False),)
    assert of(crew_pre_ktas=4, vitals=shock, findings=below).acuity == 3


@pytest.mark.parametrize("label", ["Edema", "Effusion", "Consolidation", "edema", " EDEMA "])
def test_unstable_findings_ask_for_level_2(label: str) -> None:
    assert score(NEWS2_FIVE).known_total == 5
    assert of(crew_pre_ktas=4, vitals=NEWS2_FIVE, findings=found(label)).acuity == 2
    four = replace(NEWS2_FIVE, pulse_per_min=70)
    assert of(crew_pre_ktas=4, vitals=four, findings=found(label)).acuity == 4
    lower_bound = replace(NEWS2_FIVE, temperature_c=None)
    assert of(crew_pre_ktas=4, vitals=lower_bound, findings=found(label)).acuity == 2


@pytest.mark.parametrize("label", [*NEVER_CHANGE, "Something else"])
def test_findings_that_never_change_the_level(label: str) -> None:
    for vitals in (None, NORMAL, NEWS2_FIVE, NEWS2_SEVEN):
        for level in (None, 1, 3, 5):
            without = of(crew_pre_ktas=level, vitals=vitals)
            with_it = of(crew_pre_ktas=level, vitals=vitals, findings=found(label))
            assert with_it.acuity == without.acuity
            assert with_it.reasons == without.reasons


def test_a_child_has_no_news2_and_no_adult_limits() -> None:
    signs = replace(NORMAL, pulse_per_min=140, systolic_bp_mmhg=88)
    result = of(age_years=2, vitals=signs)
    assert (result.acuity, result.news2) == (3, None)
    assert ReasonCode.NEWS2_NOT_FOR_CHILDREN in codes(result)
    assert result.needs == (Capability.PAEDIATRIC_EMERGENCY,)
    assert of(age_years=2, vitals=signs, findings=found("Pneumothorax")).acuity == 2
    hypoxic = replace(signs, spo2_percent=90)
    assert of(age_years=2, vitals=hypoxic, findings=found("Pneumothorax")).acuity == 1
    assert of(age_years=16, vitals=signs).news2 is not None


def test_pregnancy_has_no_news2() -> None:
    result = of(age_years=30, pregnant=True, vitals=NEWS2_SEVEN)
    assert (result.acuity, result.news2) == (3, None)
    assert ReasonCode.NEWS2_NOT_IN_PREGNANCY in codes(result)


def test_an_unread_film_is_said() -> None:
    result = assess(TriageCase(crew_pre_ktas=3))
    assert codes(result) == [ReasonCode.CREW_LEVEL, ReasonCode.READING_INCOMPLETE]


C = Capability


@pytest.mark.parametrize(
    ("labels", "vitals", "needs", "wishes"),
    [
        (["Pneumothorax"], NORMAL, {C.THORACIC_SURGERY}, set()),
        (["Pneumothorax"], NEWS2_FIVE, {C.THORACIC_SURGERY}, {C.THORACIC_ICU, C.CT}),
        (["Edema"], NEWS2_FIVE, {C.CARDIOLOGY, C.VENTILATOR}, set()),
        (["Cardiomegaly"], NEWS2_FIVE, set(), {C.CARDIOLOGY}),
        (["Cardiomegaly", "Edema"], NEWS2_FIVE, {C.CARDIOLOGY, C.VENTILATOR}, set()),
        (["Consolidation"], NEWS2_FIVE, {C.GENERAL_ICU}, set()),
        (["Pneumonia"], replace(NORMAL, temperature_c=37.9), set(), set()),
        (["Pneumonia"], replace(NORMAL, temperature_c=38.0), set(), {C.NEGATIVE_PRESSURE_ROOM}),
        (["Effusion", "Mass"], NORMAL, set(), {C.CT}),
        ([], NEWS2_SEVEN, {C.GENERAL_ICU}, set()),
        ([], replace(NORMAL, spo2_percent=91, on_oxygen=True), {C.VENTILATOR}, set()),
        ([], replace(NORMAL, spo2_percent=91), set(), set()),
    ],
)
def test_needs_and_wishes(
    labels: list[str], vitals: VitalSigns, needs: set[Capability], wishes: set[Capability]
) -> None:
    result = of(vitals=vitals, findings=found(*labels))
    assert (set(result.needs), set(result.wishes)) == (needs, wishes)
    assert [n.capability for n in result.need_reasons] == [c for c in C if c in needs | wishes]
    for need in result.need_reasons:
        assert need.text["en"]
        assert need.text["ko"]
        assert need.source


def test_a_finding_of_an_earlier_film_counts_and_says_so() -> None:
    earlier = (FindingFact("Pneumothorax", 0.9, True, earlier_film=True),)
    result = of(crew_pre_ktas=4, vitals=NORMAL, findings=earlier)
    assert result.acuity == 2
    (reason,) = [r for r in result.reasons if r.code == "pneumothorax"]
    assert "earlier film" in explain(reason, "en")
    assert "이전 영상" in explain(reason, "ko")
    both = of(crew_pre_ktas=4, vitals=NORMAL, findings=(*earlier, *found("Pneumothorax")))
    (reason,) = [r for r in both.reasons if r.code == "pneumothorax"]
    assert "earlier" not in explain(reason, "en")


def test_scores_beside_news2_are_refused_with_it() -> None:
    adult = of(age_years=70, vitals=NEWS2_SEVEN)
    assert adult.qsofa is not None
    assert adult.crb65 is not None
    assert adult.scores_refused is None
    for known in ({"age_years": 15}, {"age_years": 30, "pregnant": True}):
        refused = of(vitals=NEWS2_SEVEN, **known)
        assert (refused.news2, refused.qsofa, refused.crb65) == (None, None, None)
        assert refused.scores_refused in codes(refused)
    assert of(age_years=5, pregnant=True).scores_refused is None  # nothing measured to refuse


def test_every_reason_has_both_languages_with_the_same_parameters() -> None:
    assert set(REASON_TEXT) == set(ReasonCode)
    for texts in REASON_TEXT.values():
        fields = [
            {name for _, name, _, _ in string.Formatter().parse(texts[language]) if name}
            for language in get_args(Language)
        ]
        assert set(texts) == set(get_args(Language))
        assert fields[0] == fields[1]
    assert set(VITAL_TEXT) == {*PLAUSIBLE_RANGES, "on_oxygen", "consciousness"}


def test_explain_reasons_that_were_stored_before_they_kept_their_words() -> None:
    stored = Reason("tension_low_spo2", {"acuity": 1, "value": 88})
    assert explain(stored, "en").startswith("Suspected tension pneumothorax, SpO2 88 %: level 1")
    assert explain(Reason("a_row_of_a_region"), "ko") == "a_row_of_a_region"


def test_explain() -> None:
    reason = Reason(
        ReasonCode.NEWS2_INCOMPLETE,
        {"known_total": 5, "upper_total": 11, "missing": "temperature_c,consciousness"},
    )
    assert explain(reason, "en") == (
        "NEWS2 incomplete, 5 to 11; not measured: temperature, consciousness"
    )
    assert explain(reason, "ko") == "NEWS2 불완전, 5~11점; 미측정: 체온, 의식"


@pytest.mark.parametrize(
    ("known", "field"),
    [
        ({"crew_pre_ktas": 0}, "crew_pre_ktas"),
        ({"crew_pre_ktas": 6}, "crew_pre_ktas"),
        ({"age_years": -1}, "age_years"),
        ({"age_years": 999}, "age_years"),
        ({"age_years": math.nan}, "age_years"),
    ],
)
def test_bad_input_names_the_field(known: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        TriageCase(**known)


@pytest.mark.parametrize("value", [math.nan, -0.1, 1.1])
def test_bad_scores_name_the_finding(value: float) -> None:
    with pytest.raises(ValueError, match="'Edema'"):
        FindingFact("Edema", value, True)


findings = st.builds(
    FindingFact, st.sampled_from([*NIH_14, "unknown label"]), st.floats(0, 1), st.booleans()
)
cases = st.builds(
    TriageCase,
    crew_pre_ktas=st.none() | st.integers(1, 5),
    age_years=st.none() | st.floats(0, 100),
    vitals=st.none()
    | st.builds(
        VitalSigns,
        respiratory_rate_per_min=st.none() | st.integers(0, 50),
        spo2_percent=st.none() | st.integers(70, 100),
        on_oxygen=st.none() | st.booleans(),
        systolic_bp_mmhg=st.none() | st.integers(60, 240),
        pulse_per_min=st.none() | st.integers(0, 180),
        consciousness=st.none() | st.sampled_from(Consciousness),
        temperature_c=st.none() | st.floats(30, 42),
    ),
    findings=st.lists(findings, max_size=4).map(tuple),
    reading_complete=st.booleans(),
    pregnant=st.booleans(),
)


@few
@given(cases, findings)
def test_one_more_finding_never_lowers_urgency(case: TriageCase, finding: FindingFact) -> None:
    before = assess(case)
    after = assess(replace(case, findings=(*case.findings, finding)))
    assert after.acuity <= before.acuity
    assert set(before.needs) <= set(after.needs)
    assert set(before.wishes) <= {*after.needs, *after.wishes}


@few
@given(cases, findings)
def test_a_higher_score_never_lowers_urgency(case: TriageCase, finding: FindingFact) -> None:
    raised = replace(finding, score=1.0, above_threshold=True)
    before = assess(replace(case, findings=(*case.findings, finding)))
    after = assess(replace(case, findings=(*case.findings, raised)))
    assert after.acuity <= before.acuity


@few
@given(cases)
def test_a_failed_reading_never_raises_what_the_film_gave(case: TriageCase) -> None:
    assert assess(case).acuity <= assess(replace(case, findings=())).acuity


@few
@given(cases)
def test_never_less_urgent_than_the_crew_said(case: TriageCase) -> None:
    result = assess(case)
    assert 1 <= result.acuity <= (case.crew_pre_ktas or 5)


@few
@given(cases)
def test_the_level_is_the_most_urgent_that_a_reason_asks_for(case: TriageCase) -> None:
    result = assess(case)
    asked = [r.params["acuity"] for r in result.reasons if "acuity" in r.params]
    assert result.acuity == min(int(str(level)) for level in asked)
    for reason in result.reasons:
        for language in get_args(Language):
            assert explain(reason, language)


@few
@given(cases, st.permutations(range(4)))
def test_the_order_of_findings_does_not_matter(case: TriageCase, order: list[int]) -> None:
    shuffled = tuple(case.findings[i] for i in order if i < len(case.findings))
    assert assess(replace(case, findings=shuffled)) == assess(case)
