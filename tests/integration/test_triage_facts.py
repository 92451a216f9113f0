"""What triage is told from the record: carried vital signs, scale 2, pregnancy, replaced films."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from broker.lifecycle import ReadingKind
from broker.record import Record
from broker.settings import Settings
from broker.tables import Image, VitalSignsEntry
from dispatch import measured, rules, transport
from tests.integration.city import City

GOOD: dict[str, Any] = {
    "respiratory_rate_per_min": 16,
    "spo2_percent": 98,
    "on_oxygen": False,
    "systolic_bp_mmhg": 120,
    "diastolic_bp_mmhg": 80,
    "pulse_per_min": 70,
    "consciousness": "A",
    "temperature_c": 36.8,
}
BAD = {**GOOD, "respiratory_rate_per_min": 30, "spo2_percent": 85, "pulse_per_min": 135}


def update(city: City, case_id: UUID, vitals: dict[str, Any] | None = None, **facts: Any) -> None:
    city.do(transport.update, city.settings, city.crew, case_id, changes=facts, vitals=vitals)


def test_a_sign_that_is_not_measured_again_keeps_its_last_value(city: City) -> None:
    case_id, _ = city.offered(crew_pre_ktas=4, vitals=BAD)
    assert city.case(case_id).acuity == 2
    update(city, case_id, {"temperature_c": 37.0})
    case = city.case(case_id)
    assert case.acuity == 2, "a thermometer made the patient well"
    assert case.triage is not None
    assert case.triage["news2"]["total"] == 9
    with city.record.read() as session:
        found = measured.latest(session, case_id)
    assert found is not None
    assert found.values["temperature_c"] == 37.0
    assert "temperature_c" not in found.earlier
    assert "spo2_percent" in found.earlier
    update(city, case_id, GOOD)  # measured again, and better: down to what the crew said
    assert city.case(case_id).acuity == 4


def test_halves_of_two_blood_pressures_are_never_put_together(city: City) -> None:
    case_id, _ = city.offered(vitals={"systolic_bp_mmhg": 150, "diastolic_bp_mmhg": 95})
    update(city, case_id, {"systolic_bp_mmhg": 80})  # 80/95 is no pressure
    with city.record.read() as session:
        found = measured.latest(session, case_id)
    assert found is not None
    assert (found.values["systolic_bp_mmhg"], found.values["diastolic_bp_mmhg"]) == (80, None)


def test_scale_2_counts_only_where_a_clinician_confirmed_it(city: City) -> None:
    low = {**GOOD, "spo2_percent": 88}
    confirmed = {**low, "spo2_scale": 2, "spo2_scale_confirmed": True}
    case_id, _ = city.offered(crew_pre_ktas=4, vitals=confirmed)
    triage = city.case(case_id).triage
    assert triage is not None
    assert triage["news2"]["total"] == 0
    update(city, case_id, {"pulse_per_min": 71})  # the scale stays as it was confirmed
    triage = city.case(case_id).triage
    assert triage is not None
    assert triage["news2"]["total"] == 0
    with city.record.write() as session:  # a row of before the confirmation was asked for
        for row in session.query(VitalSignsEntry).where(VitalSignsEntry.case_id == case_id):
            row.spo2_scale_confirmed = None
    update(city, case_id, {"pulse_per_min": 72})
    triage = city.case(case_id).triage
    assert triage is not None
    assert triage["news2"]["total"] == 3, "an unconfirmed scale 2 must not hide a low saturation"


def test_pregnancy_refuses_the_scores_at_submission_and_later(city: City) -> None:
    case_id, _ = city.offered(age_years=30, vitals=BAD, pregnant=True)
    triage = city.case(case_id).triage
    assert triage is not None
    assert triage["scores_refused"] == "news2_not_in_pregnancy"
    assert (triage["news2"], triage["qsofa"], triage["crb65"]) == (None, None, None)
    update(city, case_id, pregnant=False)
    triage = city.case(case_id).triage
    assert triage is not None
    assert triage["news2"]["total"] == 9
    assert city.case(case_id).acuity == 2


@pytest.mark.parametrize("second_film_fails", [True, False])
def test_a_second_film_takes_no_urgency_away(city: City, second_film_fails: bool) -> None:
    case_id = city.submit_film(crew_pre_ktas=4)
    for kind in ReadingKind:
        city.read(city.claim(kind), *(["Pneumothorax"] if kind is ReadingKind.CLASSIFY else []))
    assert city.case(case_id).acuity == 2
    with city.record.write() as session:  # replaced: the last film received is the one that counts
        first = session.query(Image).where(Image.case_id == case_id).one()
        first.received_at = first.received_at.replace(year=2020)
    city.submit_second_film(case_id)
    for kind in ReadingKind:
        if second_film_fails:
            for _ in range(city.settings.reading_attempts):
                city.fail(kind)
        else:
            city.read(city.claim(kind), "Mass")
    case = city.case(case_id)
    assert case.partial == second_film_fails
    assert case.acuity == 2
    assert case.triage is not None
    (reason,) = [r for r in case.triage["reasons"] if r["code"] == "pneumothorax"]
    assert reason["params"]["earlier_film"] is True
    assert "thoracic_surgery" in case.triage["needs"]


def test_a_regions_rules_are_used_and_named(record: Record, tmp_path: Path) -> None:
    file = tmp_path / "region.toml"
    text = (Path(rules.__file__).parent / rules.SHIPPED).read_text("utf-8")
    text = text.replace('reviewed_by = ""', 'reviewed_by = "Dr Test"')
    text = text.replace('reviewed_on = ""', 'reviewed_on = "2026-11-24"')
    file.write_text(text.replace('id = "pneumothorax"\n', 'id = "our_pneumothorax"\n'), "utf-8")
    record.settings = Settings(**{**vars(record.settings), "triage_rules": file})
    city = City.found(record)
    case_id = city.submit_film(crew_pre_ktas=4)
    for kind in ReadingKind:
        city.read(city.claim(kind), *(["Pneumothorax"] if kind is ReadingKind.CLASSIFY else []))
    triage = city.case(case_id).triage
    assert triage is not None
    assert "our_pneumothorax" in [reason["code"] for reason in triage["reasons"]]
    assert triage["rules"]["reviewed_by"] == "Dr Test"
