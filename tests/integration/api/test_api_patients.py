"""Patients over cases: search, disclosure, merge and split, the guard against duplicates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import select

from broker.record import Record
from broker.tables import AuditEntry, Base, Patient, PatientIdentity
from dispatch import patients, retention
from tests.integration.api.doors import Caller, House, film


def whoever(**more: str) -> dict[str, str]:
    """A patient that nobody else in this database is."""
    return {"name": f"Canary {uuid4()}", "birth_date": "1950-01-02", **more}


def patient_of(house: House, case_id: str) -> dict[str, Any]:
    """The patient of a case, as the control room opens it."""
    answer = house.control.get(f"/patients/{house.case(house.control, case_id)['patient_id']}")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json
    return found


def found(who: Caller, **words: str) -> list[str]:
    answer = who.post("/patients/search", json=words)
    assert answer.status_code == 200
    assert "Canary" not in answer.text
    return [line["id"] for line in answer.json["patients"]]


def flags(house: House, case_id: str) -> list[Mapping[str, Any]]:
    shown: list[Mapping[str, Any]] = house.case(house.crew, case_id)["possible_duplicates"]
    return shown


def test_exact_words_find_a_patient_and_parts_do_not(house: House) -> None:
    who = whoever(identifier=f"AB-{uuid4()}")
    case_id = house.submitted(patient=who)
    patient = patient_of(house, case_id)
    for words in (
        {"name": who["name"].upper()},
        {"identifier": who["identifier"].replace("-", "")},
        {"name": who["name"], "birth_date": who["birth_date"]},
        {"temporary_name": patient["temporary_name"]["ko"]},
        {"temporary_name": patient["temporary_name"]["en"]},
    ):
        assert found(house.control, **words) == [patient["id"]], words
        assert found(house.crew, **words) == [patient["id"]], words
        assert found(house.other_crew, **words) == [], words  # another unit's patient
    for words in ({"name": who["name"][:-1]}, {"name": who["name"], "birth_date": "1950-01-03"}):
        assert found(house.control, **words) == [], words
    with house.record.read() as db:
        row = db.scalars(
            select(AuditEntry)
            .where(AuditEntry.action == "patients.searched")
            .order_by(AuditEntry.at.desc())
        ).first()
    assert row is not None
    assert who["name"] not in str(row.details)


def test_a_list_of_cases_leaves_one_row_of_disclosure(house: House) -> None:
    ids = {house.submitted(patient=whoever()) for _ in range(3)}
    shown = select(AuditEntry).where(AuditEntry.action == "identity.shown").order_by(AuditEntry.at)

    def count() -> int:
        with house.record.read() as db:
            return len(db.scalars(shown).all())

    for path in ("/cases?limit=200", "/control-room/cases?limit=200"):
        before = count()
        answer = house.control.get(path)
        assert answer.status_code == 200
        assert ids <= {case["id"] for case in answer.json}
        assert count() == before + 1
        with house.record.read() as db:
            row = db.scalars(shown).all()[-1]
        assert ids <= set(row.details["cases"])
        assert row.case_id is None
    before = count()
    house.control.get(f"/cases/{ids.pop()}")
    assert count() == before + 1


def test_merge_and_split_restore_what_was(house: House) -> None:
    one, other = (house.submitted(patient=whoever()) for _ in range(2))
    first, second = patient_of(house, one), patient_of(house, other)
    body = {"absorb": second["id"], "version": first["version"], "absorb_version": 1}
    stale = house.control.post(f"/patients/{first['id']}/merge", json={**body, "version": 99})
    assert (stale.status_code, stale.json["code"]) == (409, "stale_patient")
    assert patient_of(house, other)["id"] == second["id"]
    merged = house.control.post(f"/patients/{first['id']}/merge", json=body)
    assert (merged.status_code, merged.json["cases"]) == (200, 2)
    again = house.control.post(f"/patients/{first['id']}/merge", json=body)
    assert (again.status_code, len(again.json["merges"])) == (200, 1)  # the same merge is one
    assert patient_of(house, other)["id"] == first["id"]
    third = patient_of(house, house.submitted(patient=whoever()))
    into = {"absorb": second["id"], "version": third["version"], "absorb_version": 2}
    assert house.control.post(f"/patients/{third['id']}/merge", json=into).status_code == 409
    merge = merged.json["merges"][0]["id"]
    late = house.control.post(f"/merges/{merge}/split", json={"version": 1})
    assert late.status_code == 409
    now = {"version": merged.json["version"]}
    assert house.control.post(f"/merges/{merge}/split", json=now).status_code == 200
    for case_id, was in ((one, first), (other, second)):
        is_ = patient_of(house, case_id)
        assert {k: is_[k] for k in ("id", "patient", "cases")} == {
            k: was[k] for k in ("id", "patient", "cases")
        }


def test_the_guard_flags_and_never_refuses(house: House) -> None:
    who = whoever()
    first = house.submitted(patient=who)
    answer = house.crew.submit(
        {"sex": "male", "crew_pre_ktas": 3, "patient": who, "age_years": 75}, film()
    )
    assert answer.status_code == 201, answer.text
    second = str(answer.json["case_id"])
    flag = next(f for f in flags(house, second) if f["case_id"] == first)
    assert flag["reason"] == "name_and_birth_date"
    assert {f["case_id"] for f in flags(house, first)} >= {second}
    off = house.crew.post(f"/duplicates/{flag['id']}/cancel", json={"case_id": second})
    assert off.status_code == 200
    both = house.control.post(f"/duplicates/{flag['id']}/cancel", json={"case_id": first})
    assert both.status_code == 409  # or the patient had no case left
    assert house.case(house.crew, second)["status"] == "cancelled"
    assert house.case(house.crew, first)["status"] != "cancelled"


def test_two_who_are_two_stay_two(house: House) -> None:
    who = whoever()
    first, second = (house.submitted(patient=who) for _ in range(2))
    flag = next(f for f in flags(house, second) if f["case_id"] == first)
    for _ in range(2):
        answer = house.crew.post(f"/duplicates/{flag['id']}/different")
        assert answer.status_code == 200
    assert first not in {f["case_id"] for f in flags(house, second)}
    assert house.case(house.crew, first)["status"] == house.case(house.crew, second)["status"]


def test_the_same_patient_is_told_to_everybody_and_ends_nothing(house: House) -> None:
    who = whoever()
    first, offers = house.offered(film(), patient=who)
    second = house.submitted(patient=who)
    flag = next(f for f in flags(house, second) if f["case_id"] == first)
    assert flag["same_said_at"] is None
    told = house.crew.get("/inbox?after=0").json["last_seq"]
    for _ in range(2):  # the second tap
        answer = house.crew.post(f"/duplicates/{flag['id']}/same")
        assert (answer.status_code, answer.json["resolution"]) == (200, None)
    for case_id, other in ((first, second), (second, first)):
        (shown,) = [f for f in flags(house, case_id) if f["case_id"] == other]
        assert shown["same_said_at"]
        assert shown["same_said_by"] == "ambulance"
        assert house.case(house.crew, case_id)["status"] not in {"cancelled", "closed"}
    assert {o["id"] for o in offers} == {o["id"] for o in house.case(house.crew, first)["offers"]}
    news = [
        (e["type"], e["case_id"])
        for e in house.crew.get(f"/inbox?after={told}").json["events"]
        if e["type"].startswith("duplicate.")
    ]
    assert sorted(news) == sorted([("duplicate.same", first), ("duplicate.same", second)])
    with house.record.read() as db:
        said = db.scalars(select(AuditEntry).where(AuditEntry.action == "duplicate.same")).all()
    assert [row.details["suspicion_id"] for row in said].count(flag["id"]) == 1
    off = house.control.post(f"/duplicates/{flag['id']}/cancel", json={"case_id": second})
    assert off.status_code == 200
    late = house.crew.post(f"/duplicates/{flag['id']}/same")
    assert (late.status_code, late.json["code"]) == (409, "already_decided")
    assert house.other_crew.post(f"/duplicates/{flag['id']}/same").status_code == 404


def test_a_name_is_nowhere_but_where_it_belongs(
    house: House, capfd: pytest.CaptureFixture[str]
) -> None:
    """No row, no log, no metric, no event and no error page holds what was entered."""
    secret, number = f"Canary{uuid4().hex}", f"ID{uuid4().hex}"
    who = {
        "name": secret,
        "birth_date": "1951-02-03",
        "identifier": number,
        "phone": "010-1234-9876",
    }
    case_id, offers = house.offered(film(), patient=who)
    patient = patient_of(house, case_id)
    assert patient["patient"]["name"] == secret
    found(house.control, name=secret)
    address = f"/patients/{patient['id']}"
    texts = [
        house.operations.get("/metrics").text,
        house.operations.get("/operations/cases").text,
        house.control.get("/inbox").text,
        house.crew.get("/inbox").text,
        house.er_of(offers[0]).get("/inbox").text,
        house.control.post("/patients/search", json={"name": secret, "wrong": 1}).text,
        house.crew("PATCH", address, json={"name": f"{secret} 2", "version": 99}).text,
        house.crew("PATCH", address, json={"name": [secret]}).text,
        house.crew.get(f"/patients/{uuid4()}?name={secret}").text,
    ]
    with house.record.read() as db:
        for table in Base.metadata.sorted_tables:
            texts += [str(row) for row in db.execute(table.select())]
    captured = capfd.readouterr()
    for printed in (*texts, captured.out, captured.err):
        assert secret.lower() not in printed.lower()
        assert number.lower() not in printed.lower()


def test_what_an_earlier_version_wrote_is_encrypted_once(house: House) -> None:
    """goldentime encrypt: plain rows, then a new key; nothing to do is told by indexes alone."""
    settings = house.settings
    case_id = house.submitted(patient=whoever())
    with house.record.write() as db:
        plain = Patient(plain_name="Canary plain")
        db.add(plain)
        db.flush()
        plain_id = plain.id
        assert retention.waiting(db, settings)
    new = replace(settings, identity_keys=(Fernet.generate_key().decode(), *settings.identity_keys))
    for now in (settings, new, settings):  # and back, for the other tests' rows
        at_hand = {*settings.identity_keys, *new.identity_keys}
        keys = (now.identity_keys[0], *sorted(at_hand - {now.identity_keys[0]}))
        record = Record(replace(now, identity_keys=keys))
        try:
            assert retention.encrypt_all(record)[1] == 0
            with record.read() as db:
                assert not retention.waiting(db, record.settings)
                patient = db.get_one(Patient, plain_id)
                assert patient.plain_name is None
                known = patients.identity_of(db, record.settings, patient)
                assert known.name == "Canary plain"
                assert len(set(db.scalars(select(PatientIdentity.key_id)))) == 1
        finally:
            record.close()
    assert patient_of(house, case_id)["identity"] == "known"
