"""The case's journey on rows, from the receipt to the handover, on both databases."""

from __future__ import annotations

from uuid import uuid4

import pytest

from broker import events
from broker.errors import IdempotencyKeyReused, IllegalTransition
from broker.lifecycle import (
    CaseStatus,
    DeclineReason,
    OfferStatus,
    ReadingKind,
    ReadingStatus,
)
from broker.tables import Case
from dispatch import offers, patients, transport
from dispatch.offers import Decision
from tests.integration.city import City


def test_a_case_without_a_film_goes_to_the_three_best(city: City):
    case_id = city.submit()
    assert city.case(case_id).status is CaseStatus.RECEIVED
    city.advance(case_id)
    case = city.case(case_id)
    opened = city.offers(case_id)
    assert case.status is CaseStatus.OFFERING
    assert [o.emergency_room_id for o in opened] == list(city.rooms[:3])
    assert [o.rank for o in opened] == [1, 2, 3]
    assert all(o.status is OfferStatus.REQUESTED for o in opened)
    assert opened[0].eta_min < opened[1].eta_min < opened[2].eta_min
    assert not case.partial
    assert city.crew_heard() == ["case.received", "case.offering"]
    assert city.heard(events.CONTROL_ROOM) == ["case.received", "case.offering"]
    for offer in opened:
        assert city.er_heard(offer.emergency_room_id) == ["offer.requested"]
    assert city.er_heard(city.rooms[3]) == []
    city.check()


def test_the_whole_way(city: City):
    case_id = city.submit_film()
    assert city.offers(case_id) == []
    classify = city.claim(ReadingKind.CLASSIFY)
    city.read(classify, "Pneumothorax")
    city.advance(case_id)  # one of two readings is not enough
    assert city.case(case_id).status is CaseStatus.RECEIVED
    city.read(city.claim(ReadingKind.DETECT))
    case = city.case(case_id)
    assert case.status is CaseStatus.OFFERING
    assert not case.partial
    assert case.acuity is not None
    assert case.acuity <= 3

    first, second, third = city.offers(case_id)
    room_a, room_b, room_c = (o.emergency_room_id for o in (first, second, third))
    city.do(offers.mark_received, city.er(room_a), first.id)
    city.do(offers.mark_received, city.er(room_a), first.id)
    city.decide(first, Decision.REJECT, reason_code=DeclineReason.NO_ER_BED)
    assert city.case(case_id).status is CaseStatus.OFFERING
    city.decide(second, Decision.ACCEPT)

    case = city.case(case_id)
    assert case.status is CaseStatus.ASSIGNED
    assert case.assigned_at is not None
    first, second, third, instead = city.offers(case_id)
    assert first.status is OfferStatus.REJECTED
    assert first.reason_code is DeclineReason.NO_ER_BED
    assert second.status is OfferStatus.ACCEPTED
    assert second.decided_by == f"account:{room_b}"
    for left in (third, instead):
        assert left.status is OfferStatus.WITHDRAWN
        assert left.ended_reason == "placed_elsewhere"

    city.do(transport.acknowledge, city.settings, city.crew, case_id)
    city.do(transport.acknowledge, city.settings, city.crew, case_id)
    city.do(transport.depart, city.settings, city.crew, case_id)
    city.do(transport.arrive, city.settings, city.crew, case_id)
    city.do(transport.close, city.crew, case_id)
    city.do(transport.close, city.crew, case_id)
    case = city.case(case_id)
    assert case.status is CaseStatus.CLOSED
    assert case.deadline_at is None
    assert case.ended_at is not None
    assert city.crew_heard() == [
        "case.received",
        "case.offering",
        "offer.received",
        "offer.rejected",
        "case.offering",  # the fourth is asked in the place of the first
        "case.assigned",
        "case.acknowledged",
        "case.en_route",
        "case.arrived",
        "case.closed",
    ]
    assert city.er_heard(room_a) == ["offer.requested", "offer.rejected"]  # its other desks
    said = city.last_event(events.emergency_room(room_a)).body
    assert said["acuity"] is None, "an ER that said no learns nothing more of the case"
    assert city.er_heard(room_b) == [
        "offer.requested",
        "offer.accepted",
        "case.acknowledged",
        "case.en_route",
        "case.arrived",
        "case.closed",
    ]
    assert city.er_heard(room_c) == ["offer.requested", "offer.withdrawn"]
    lost = city.last_event(events.emergency_room(room_c)).body
    assert lost["acuity"] is None, "an ER that lost learns nothing more of the case"
    city.check()


def test_a_step_too_early_is_refused(city: City):
    case_id, opened = city.offered()
    for step in (transport.acknowledge, transport.depart, transport.arrive):
        with pytest.raises(IllegalTransition):
            city.do(step, city.settings, city.crew, case_id)
    city.decide(opened[0], Decision.ACCEPT)
    with pytest.raises(IllegalTransition):
        city.do(transport.close, city.crew, case_id)
    assert city.case(case_id).status is CaseStatus.ASSIGNED


def test_departing_acknowledges(city: City):
    case_id, opened = city.offered()
    city.decide(opened[0], Decision.ACCEPT)
    city.do(transport.arrive, city.settings, city.crew, case_id)
    case = city.case(case_id)
    assert case.status is CaseStatus.ARRIVED
    assert case.acknowledged_at is not None
    assert {"case.acknowledged", "case.en_route", "case.arrived"} <= set(city.crew_heard())


def test_the_same_submission_twice_is_one_case(city: City):
    first = city.submit(key="one-key-of-crew", complaint="dyspnoea")
    assert city.submit(key="one-key-of-crew", complaint="dyspnoea") == first
    with pytest.raises(IdempotencyKeyReused):
        city.submit(key="one-key-of-crew", complaint="chest pain")
    assert city.crew_heard() == ["case.received"]


def test_another_ambulance_may_use_the_same_key(city: City):
    other = City.found(city.record, rooms=0)
    assert city.submit(key="one-key-of-crew") != other.submit(key="one-key-of-crew")


def test_patient_and_vitals_are_kept(city: City):
    case_id = city.submit(
        patient={"name": "홍길동", "identifier": "x-1"},
        vitals={"respiratory_rate_per_min": 30, "spo2_percent": 88, "consciousness": "A"},
    )
    with city.record.read() as session:
        case = session.get_one(Case, case_id)
        assert case.patient is not None
        identity = patients.identity_of(session, city.settings, case.patient)
        assert identity.name == "홍길동"
        assert [v.spo2_percent for v in case.vital_signs] == [88]
    city.advance(case_id)
    assert city.case(case_id).triage["reasons"]


def test_at_the_reading_deadline_offers_go_out_marked_partial(city: City):
    case_id = city.submit_film()
    city.advance(case_id)
    assert city.case(case_id).status is CaseStatus.RECEIVED
    city.let_pass(case_id, 5)
    city.advance(case_id)
    case = city.case(case_id)
    assert case.status is CaseStatus.OFFERING
    assert case.partial


def test_a_late_reading_amends_and_routes_nothing_anew(city: City):
    case_id = city.submit_film(
        crew_pre_ktas=4,
        age_years=60.0,
        vitals={"respiratory_rate_per_min": 26, "spo2_percent": 90, "systolic_bp_mmhg": 85},
    )
    city.let_pass(case_id, 5)
    city.advance(case_id)
    before = city.case(case_id)
    opened = city.offers(case_id)
    city.decide(opened[0], Decision.ACCEPT)
    winner = opened[0].emergency_room_id
    city.read(city.claim(ReadingKind.CLASSIFY), "Pneumothorax", score=0.99)
    city.read(city.claim(ReadingKind.DETECT))
    case = city.case(case_id)
    assert case.status is CaseStatus.ASSIGNED
    assert not case.partial
    assert case.acuity is not None
    assert before.acuity is not None
    assert case.acuity <= before.acuity
    assert case.version > before.version
    assert any("finding" in r["code"] or "pneumo" in r["code"] for r in case.triage["reasons"])
    assert [o.id for o in city.offers(case_id)] == [o.id for o in opened]
    assert city.er_heard(winner)[-2:] == ["offer.amended", "offer.amended"]
    assert city.crew_heard()[-2:] == ["case.amended", "case.amended"]
    assert city.er_heard(opened[1].emergency_room_id)[-1] == "offer.withdrawn"


def test_an_urgent_case_does_not_wait_for_its_readings(city: City):
    case_id = city.submit_film(crew_pre_ktas=2)
    city.advance(case_id)
    case = city.case(case_id)
    assert case.status is CaseStatus.OFFERING
    assert case.partial
    assert len(city.offers(case_id)) == 3


def test_a_crew_that_raises_the_level_waits_no_longer(city: City):
    case_id = city.submit_film(crew_pre_ktas=4)
    city.do(
        transport.update, city.settings, city.crew, case_id,
        changes={"crew_pre_ktas": 1}, vitals=None,
    )  # fmt: skip
    city.advance(case_id)
    assert city.case(case_id).status is CaseStatus.OFFERING


def test_a_case_whose_only_reading_fails_goes_on(city: City):
    case_id = city.submit_film(readings=[ReadingKind.CLASSIFY])
    from dispatch import reading

    for _ in range(city.settings.reading_attempts):
        claim = city.claim(ReadingKind.CLASSIFY)
        city.do(reading.failed, city.settings, claim, "reading_failed", "ValueError: NaN")
    case = city.case(case_id)
    assert case.status is CaseStatus.OFFERING
    assert case.partial
    assert case.needs_review
    assert city.readings(case_id)[ReadingKind.CLASSIFY].status is ReadingStatus.FAILED


def test_cancelling_takes_everything_back(city: City):
    case_id, opened = city.offered()
    city.do(transport.cancel, city.crew, case_id, "recovered")
    city.do(transport.cancel, city.crew, case_id, "recovered")
    assert city.case(case_id).status is CaseStatus.CANCELLED
    assert {o.status for o in city.offers(case_id)} == {OfferStatus.WITHDRAWN}
    for offer in opened:
        assert city.er_heard(offer.emergency_room_id) == [
            "offer.requested",
            "case.cancelled",
            "offer.withdrawn",
        ]
    city.advance(case_id)  # a late bell
    assert city.case(case_id).status is CaseStatus.CANCELLED
    with pytest.raises(IllegalTransition):
        city.do(transport.depart, city.settings, city.crew, case_id)
    city.check()


def test_the_holder_of_a_cancelled_case_is_told(city: City):
    case_id, opened = city.offered()
    city.decide(opened[0], Decision.ACCEPT)
    city.do(transport.cancel, city.crew, case_id, "died on scene")
    assert city.er_heard(opened[0].emergency_room_id)[-1] == "case.cancelled"


def test_unknown_ids_are_nobodys_step(city: City):
    city.advance(uuid4())
