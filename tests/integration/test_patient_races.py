"""Two people about one patient at the same moment: merge, split, a new case, the guard."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from broker.errors import GoldentimeError, StalePatient
from broker.tables import Case, DuplicateSuspicion, Patient, PatientMerge
from dispatch import merging, patients
from tests.integration.city import City
from tests.integration.test_races import at_once, locking_errors

__all__ = ["locking_errors"]


def patient_of(city: City, case_id: UUID) -> Patient:
    with city.record.read() as session:
        case = session.get_one(Case, case_id)
        return session.get_one(Patient, case.patient_id)


def merge(city: City, surviving: UUID, absorbed: UUID, versions: tuple[int, int]) -> Any:
    return city.do(merging.merge, city.settings, city.control, surviving, absorbed, versions)


def check_roots(city: City) -> None:
    """Every patient's root is the end of its merges in force, and a root is its own."""
    with city.record.read() as session:
        into = {
            row.absorbed_id: row.surviving_id
            for row in session.scalars(select(PatientMerge).where(PatientMerge.split_at.is_(None)))
        }
        for patient in session.scalars(select(Patient)):
            end = patient.id
            while end in into:
                end = into[end]
            assert patient.root_id == end


@pytest.mark.parametrize("go", range(2))
def test_a_merge_against_a_split_leaves_one_truth(city: City, go: int) -> None:
    one, two, three = (patient_of(city, city.submit()) for _ in range(3))
    merge(city, one.id, two.id, (one.version, two.version))
    with city.record.read() as session:
        row = session.scalars(select(PatientMerge)).one()
        root = session.get_one(Patient, one.id)
    answers = at_once(
        [
            lambda: city.do(merging.split, city.control, row.id, root.version),
            lambda: merge(city, one.id, three.id, (root.version, three.version)),
            lambda: merge(city, three.id, one.id, (three.version, root.version)),
        ]
    )
    merges = [isinstance(answer, GoldentimeError) for answer in answers[1:]]
    assert not all(merges) or not isinstance(answers[0], GoldentimeError), answers
    assert any(merges), answers  # both merges looked at the same two patients
    check_roots(city)


def test_a_page_that_looked_at_a_tree_since_moved_is_stale(city: City) -> None:
    """The root is another patient now; its version must not happen to be the one looked at."""
    one, two, three = (patient_of(city, city.submit()) for _ in range(3))
    merge(city, one.id, two.id, (one.version, two.version))
    with city.record.read() as session:
        row = session.scalars(select(PatientMerge)).one()
        seen = session.get_one(Patient, one.id).version
    merge(city, three.id, one.id, (three.version, seen))
    with pytest.raises(StalePatient):
        city.do(merging.split, city.control, row.id, seen)
    check_roots(city)


@pytest.mark.parametrize("go", range(2))
def test_two_merges_cannot_swallow_each_other(city: City, go: int) -> None:
    one, two = (patient_of(city, city.submit()) for _ in range(2))
    answers = at_once(
        [
            lambda: merge(city, one.id, two.id, (one.version, two.version)),
            lambda: merge(city, two.id, one.id, (two.version, one.version)),
        ]
    )
    assert sum(isinstance(answer, GoldentimeError) for answer in answers) == 1, answers
    check_roots(city)


@pytest.mark.parametrize("go", range(2))
def test_a_merge_against_a_new_case_is_seen_by_the_guard(city: City, go: int) -> None:
    """Whoever comes second sees the other: no live case of a merged patient goes unflagged."""
    who = {"name": f"Somebody {go}", "birth_date": "1950-01-02"}
    one, two = (
        patient_of(city, city.submit(patient=who)),
        patient_of(city, city.submit(patient={"name": f"Other {go}", "birth_date": "1960-01-02"})),
    )
    _, case_id = at_once(
        [
            lambda: merge(city, one.id, two.id, (one.version, two.version)),
            lambda: city.submit(patient=who),
        ]
    )
    assert isinstance(case_id, UUID)
    check_roots(city)
    with city.record.read() as session:
        live = {case.id for case in patients.live_cases(session, session.get_one(Patient, one.id))}
        flagged = {
            frozenset((s.case_id, s.other_case_id))
            for s in session.scalars(select(DuplicateSuspicion))
        }
    assert all(frozenset((case_id, other)) in flagged for other in live)
