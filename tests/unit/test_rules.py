"""The rule file: what is refused and how it is said; whatever loads can only raise urgency."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from broker.errors import BadSetting
from dispatch import news2, rules
from dispatch.rules import FINDINGS, Capability, Rules, Strength
from dispatch.triage import FindingFact, assess
from tests.unit.test_triage import cases, findings

few = settings(max_examples=40, deadline=None)

ABOUT = """
[about]
version = "1"
source = "a test"
reviewed_by = "Dr Test"
reviewed_on = "2026-11-24"
"""
ACUITY = """
[[acuity]]
id = "mass"
finding = "Mass"
acuity = 2
source = "a test"
en = "level {acuity}"
ko = "{acuity}단계"
"""
NEED = """
[[need]]
finding = "mass"
capability = "ct"
strength = "wished"
source = "a test"
en = "ct"
ko = "ct"
"""


def parse(text: str) -> Rules:
    return rules.parse(text.encode(), "region.toml")


def test_the_shipped_file_loads_and_says_that_nobody_has_signed_it_off() -> None:
    shipped = rules.load()
    assert shipped.about.reviewed_by == ""
    assert shipped.about.version
    assert {rule.when.finding for rule in shipped.acuity} <= FINDINGS
    never = {"mass", "nodule", "fibrosis", "hernia", "pleural_thickening"}  # FIELD 3.4
    assert not {rule.when.finding for rule in shipped.acuity} & never
    rows = [(n.when, n.capability) for n in shipped.need]
    assert len(set(rows)) == len(rows)


def test_a_region_may_name_its_own_file(tmp_path: Path) -> None:
    file = tmp_path / "region.toml"
    file.write_text(ABOUT + ACUITY + NEED, encoding="utf-8")
    own = rules.load(file)
    assert own.about.as_json()["reviewed_by"] == "Dr Test"
    (rule,) = own.acuity
    assert (rule.id, rule.when.finding, rule.acuity) == ("mass", "mass", 2)
    assert own.need[0].strength is Strength.WISHED


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[about", "region.toml: is no TOML"),
        ("", "region.toml: about: the table [about] is missing"),
        (ABOUT + NEED, "region.toml: acuity: at least one table [[acuity]] is needed"),
        (ABOUT + ACUITY, "region.toml: need: at least one table [[need]] is needed"),
        (
            ABOUT.replace('"Dr Test"', '""') + ACUITY + NEED,
            "region.toml: [about]: reviewed_on: who reviewed and when belong together",
        ),
        (
            ABOUT.replace("2026-11-24", "yesterday") + ACUITY + NEED,
            "region.toml: [about]: reviewed_on: 'yesterday' is no date",
        ),
        (
            ABOUT + ACUITY.replace("Mass", "Pneumothoraks") + NEED,
            "region.toml: [[acuity]] row 1 (mass): finding: 'Pneumothoraks' is none of atelectasis",
        ),
        (
            ABOUT + ACUITY.replace('finding = "Mass"', "pulse_per_min_at_least = 150") + NEED,
            "[[acuity]] row 1 (mass): finding: is missing",
        ),
        (ABOUT + ACUITY.replace("= 2", "= 0") + NEED, "acuity: 0 is outside 1 to 5"),
        (ABOUT + ACUITY.replace("= 2", "= 2.5") + NEED, "acuity: 2.5 is no whole number"),
        (ABOUT + ACUITY.replace("= 2", "= nan") + NEED, "acuity: nan is outside 1 to 5"),
        (ABOUT + ACUITY.replace("= 2", '= "2"') + NEED, "acuity: '2' is no number"),
        (ABOUT + ACUITY.replace("acuity = 2", "") + NEED, "acuity: is missing"),
        (ABOUT + ACUITY.replace('"mass"', '"Mass!"') + NEED, "(Mass!): id: small letters"),
        (ABOUT + ACUITY + ACUITY + NEED, "[[acuity]] id 'mass' stands twice"),
        (ABOUT + ACUITY + "not_finding = 1\n" + NEED, "not_finding: there is no such field"),
        (ABOUT + ACUITY + "spo2_percent_at_most = 300\n" + NEED, "300 is outside 0 to 100"),
        (
            ABOUT + ACUITY + "spo2_percent_at_most = 90\nspo2_percent_at_least = 95\n" + NEED,
            "spo2_percent_at_least: is above at_most",
        ),
        (ABOUT + ACUITY + "on_oxygen = false\n" + NEED, "on_oxygen: only true can be asked for"),
        (ABOUT + ACUITY + 'who = "dog"\n' + NEED, "who: 'dog' is none of: adult, child"),
        (ABOUT + ACUITY.replace("level {acuity}", "{value}") + NEED, "en: {value} is unknown"),
        (ABOUT + ACUITY.replace("level {acuity}", "{acuity!r}") + NEED, "en: {acuity} is unknown"),
        (ABOUT + ACUITY.replace("level {acuity}", "{acuity") + NEED, "en: expected '}'"),
        (ABOUT + ACUITY.replace('ko = "{acuity}단계"', "") + NEED, "ko: a text of 1 to 300"),
        (ABOUT + ACUITY + NEED.replace('"ct"\ns', '"mri"\ns'), "capability: 'mri' is none of"),
        (ABOUT + ACUITY + NEED.replace('"wished"', '"maybe"'), "strength: 'maybe' is none of"),
        (ABOUT + ACUITY + NEED.replace('finding = "mass"', ""), "the row has no condition"),
        (ABOUT + ACUITY + NEED + "[more]\n", "region.toml: more: there is no such field"),
    ],
)
def test_errors_name_file_row_and_field(text: str, told: str) -> None:
    with pytest.raises(BadSetting) as caught:
        parse(text)
    assert told in caught.value.message


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="cannot be read"):
        rules.load(tmp_path / "absent.toml")
    with pytest.raises(BadSetting, match="cannot be read"):
        rules.load(tmp_path)
    huge = tmp_path / "huge.toml"
    huge.write_bytes(b"#" * (rules.MAX_BYTES + 1))
    with pytest.raises(BadSetting, match="larger than"):
        rules.load(huge)
    with pytest.raises(BadSetting, match="no TOML in UTF-8"):
        rules.parse(b"\xff\xfe", "region.toml")


def test_labels_of_another_network_are_declared() -> None:
    own = ABOUT + 'findings = ["Rib Fracture"]\n' + ACUITY.replace("Mass", "rib_fracture") + NEED
    assert parse(own).acuity[0].when.finding == "rib_fracture"


# Every file that loads is monotone: rows as anybody might write them, in every combination.
conditions = st.fixed_dictionaries(
    {},
    optional={
        "news2_at_least": st.integers(0, 20),
        "on_oxygen": st.just(True),
        "who": st.sampled_from(["adult", "child"]),
        **{
            f"{vital}_{side}": st.integers(int(low), int(high))
            for vital, (low, high) in news2.PLAUSIBLE_RANGES.items()
            if vital in {"spo2_percent", "pulse_per_min"}
            for side in ("at_least", "at_most")
        },
    },
)
words = {"source": "a test", "en": "x", "ko": "x"}


@st.composite
def files(draw: st.DrawFn) -> Rules:
    """A rule file with up to four rows of each kind."""
    text = ABOUT
    for kind in ("acuity", "need"):
        for number in range(draw(st.integers(1, 4))):
            row: dict[str, Any] = {**draw(conditions), **words}
            row["finding"] = draw(st.sampled_from(sorted(FINDINGS)))
            if kind == "acuity":
                row |= {"id": f"row_{number}", "acuity": draw(st.integers(1, 5))}
            else:
                row |= {
                    "capability": draw(st.sampled_from(Capability)).value,
                    "strength": draw(st.sampled_from(Strength)).value,
                }
            for vital in ("spo2_percent", "pulse_per_min"):
                if row.get(f"{vital}_at_least", 0) > row.get(f"{vital}_at_most", 1000):
                    del row[f"{vital}_at_most"]
            lines = [f"{key} = {json.dumps(value)}" for key, value in row.items()]
            text += f"\n[[{kind}]]\n" + "\n".join(lines) + "\n"
    return parse(text)


@few
@given(files(), cases, findings)
def test_one_more_finding_never_lowers_urgency_whatever_the_file(
    file: Rules, case: Any, finding: FindingFact
) -> None:
    before = assess(case, file)
    after = assess(replace(case, findings=(*case.findings, finding)), file)
    assert after.acuity <= before.acuity
    assert set(before.needs) <= set(after.needs)
    assert set(before.wishes) <= {*after.needs, *after.wishes}


@few
@given(files(), cases)
def test_a_film_that_failed_never_leaves_less_urgency_than_one_that_showed_nothing(
    file: Rules, case: Any
) -> None:
    below = tuple(replace(f, above_threshold=False) for f in case.findings)
    nothing_seen = assess(replace(case, findings=below, reading_complete=True), file)
    failed = assess(replace(case, findings=(), reading_complete=False), file)
    assert failed.acuity == nothing_seen.acuity
    assert assess(case, file).acuity <= failed.acuity


@few
@given(files(), cases)
def test_a_replaced_film_leaves_its_urgency(file: Rules, case: Any) -> None:
    """The second film failed: what the first one showed stays as an earlier film's."""
    earlier = tuple(replace(f, earlier_film=True) for f in case.findings)
    replaced = assess(replace(case, findings=earlier, reading_complete=False), file)
    assert replaced.acuity == assess(case, file).acuity
