"""The board, its alarms, pauses, charts and timelines, through the door, on both databases."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update

from broker import alarms, canary, database, heartbeat, history, pauses, stages
from broker.alarms import Condition
from broker.lifecycle import AlarmCode, ReadingKind, Role
from broker.lookout import Lookout
from broker.queues import Queue
from broker.tables import Alarm, AuditEntry, Canary, Case, Heartbeat, Reading, Sample
from dispatch import reading
from tests.integration.api.doors import CASE, House, film

ROOT = Path(__file__).parents[3]


def board(house: House, **query: Any) -> Any:
    answer = house.operations.get("/operations/board", query_string=query)
    assert answer.status_code == 200, answer.text
    return answer.json


def set_back(house: House, case_id: str, seconds: float) -> None:
    """As if a case had been received so long ago."""
    with house.record.write() as db:
        case = db.get_one(Case, UUID(case_id))
        case.received_at -= timedelta(seconds=seconds)
        if case.search_opened_at:
            case.search_opened_at -= timedelta(seconds=seconds)


def test_the_board_says_who_waits_and_why(house: House) -> None:
    case_id, _ = house.offered(film("pneumonia.jpg"))
    worse, _ = house.offered(crew_pre_ktas=1)
    for id_ in (case_id, worse):
        set_back(house, id_, 300)
    shown = board(house)
    ours = {case["id"]: case for case in shown["waiting"] if case["id"] in {case_id, worse}}
    assert ours[case_id]["why"] == "answer"
    assert ours[worse]["weighted_min"] > 1.9 * ours[case_id]["weighted_min"]  # 8 against 4
    assert [case["id"] for case in shown["waiting"]].index(worse) < [
        case["id"] for case in shown["waiting"]
    ].index(case_id)
    (row,) = [r for r in shown["states"] if (r["status"], r["acuity"]) == ("offering", 1)]
    assert row["oldest_s"] >= 300
    assert "Canary" not in json.dumps(shown)
    assert CASE["complaint"] not in json.dumps(shown)
    assert {queue["kind"] for queue in shown["queues"]} == {"classify", "detect", "dispatch"}
    assert shown["stages"][0]["rows"][0]["acuity"] is None


def test_a_figure_leads_to_its_cases(house: House) -> None:
    case_id = house.submitted(film())
    for queue in ("classify", "detect"):
        found = house.operations.get("/operations/behind", query_string={"queue": queue}).json
        assert case_id in {case["id"] for case in found}
    house.read_films()
    house.advance(case_id)
    acuity = house.case(house.crew, case_id)["acuity"]
    found = house.operations.get(
        "/operations/behind", query_string={"stage": "read_classify", "acuity": acuity}
    ).json
    assert case_id in {case["id"] for case in found}
    for start in (case_id[:8], case_id, case_id.upper()[:13]):
        found = house.operations.get("/operations/find", query_string={"id": start}).json
        assert case_id in {case["id"] for case in found}, start
    for wrong in ("", "abc", "not hex!", "'; drop"):
        answer = house.operations.get("/operations/find", query_string={"id": wrong})
        assert (answer.status_code, answer.json["code"]) == (422, "invalid"), wrong
    assert house.operations.get("/operations/behind").status_code == 422


def test_one_timeline_per_case_without_a_clinical_word(house: House) -> None:
    case_id, _ = house.assigned(film("pneumonia.jpg"))
    secret = f"Secret words {uuid4()}"
    house.crew.post(f"/cases/{case_id}/messages", json={"to": "control_room", "body": secret})
    shown = house.operations.get(f"/operations/cases/{case_id}/timeline")
    assert shown.status_code == 200, shown.text
    whats = [entry["what"] for entry in shown.json["entries"]]
    for what in ("image.received", "reading.done", "offer.requested", "message.sent"):
        assert what in whats
    assert {"audit", "event", "offer", "reading", "message", "image"} <= {
        entry["kind"] for entry in shown.json["entries"]
    }
    times = [entry["at"] for entry in shown.json["entries"]]
    assert times == sorted(times)
    for word in (secret, "Canary", CASE["complaint"], "Effusion", "spo2"):
        assert word not in shown.text, word


def test_a_paused_queue_rests_and_never_stops_an_offer(house: House) -> None:
    path = "/operations/queues/classify"
    said = {"reason": "a weight is being replaced", "minutes": 5}
    assert (
        house.control.post(f"{path}/pause", json={"reason": "no", "minutes": 1}).status_code == 403
    )
    assert house.operations.post(f"{path}/pause", json={"minutes": 5}).status_code == 422
    assert house.operations.post(f"{path}/pause", json=said).status_code == 200
    again = house.operations.post(f"{path}/pause", json=said)
    assert (again.status_code, again.json["code"]) == (409, "conflict")
    case_id = house.submitted(film())
    take = lambda s: reading.claim(s, house.settings, ReadingKind.CLASSIFY, "a test")  # noqa: E731
    assert house.record.again(take) is None
    (shown,) = [q for q in board(house)["queues"] if q["kind"] == "classify"]
    assert shown["pause"]["reason"] == said["reason"]
    with house.record.write() as db:
        db.get_one(Case, UUID(case_id)).deadline_at = database.now(db)
    house.advance(case_id)
    assert house.case(house.crew, case_id)["status"] == "offering"
    assert house.operations.post(f"{path}/resume").status_code == 200
    assert house.operations.post(f"{path}/resume").status_code == 409
    assert house.record.again(take) is not None
    with house.record.read() as db:
        actions = db.scalars(select(AuditEntry.action).where(AuditEntry.action.like("queue.%")))
        assert {"queue.paused", "queue.resumed"} <= set(actions)


def test_a_pause_ends_by_itself(house: House) -> None:
    house.operations.post(
        "/operations/queues/detect/pause", json={"reason": "for a test", "minutes": 1}
    )
    with house.record.write() as db:
        row = pauses.in_force(db)[Queue.DETECT]
        row.resume_at = database.now(db) - timedelta(seconds=1)
    with house.record.read() as db:
        assert Queue.DETECT not in pauses.stopped(db)  # even before anybody wrote that it is over
    Lookout(house.record).look()
    last = house.operations.get("/operations/pauses").json[0]
    assert (last["queue"], last["resumed_by"]) == ("detect", "system")


def test_dispatch_is_not_paused_without_upkeep(house: House) -> None:
    with house.record.write() as db:
        for row in db.scalars(select(Heartbeat).where(Heartbeat.kind == "upkeep")):
            db.delete(row)
    said = {"reason": "for a test", "minutes": 1}
    assert house.operations.post("/operations/queues/dispatch/pause", json=said).status_code == 409
    with house.record.write() as db:
        heartbeat.beat(db, "upkeep@test", "upkeep")
    assert house.operations.post("/operations/queues/dispatch/pause", json=said).status_code == 200
    with house.record.write() as db:
        assert Queue.DISPATCH in pauses.stopped(db)
        db.execute(update(Heartbeat).values(beat_at=database.now(db) - timedelta(minutes=1)))
    with house.record.read() as db:
        assert Queue.DISPATCH not in pauses.stopped(db)
    house.operations.post("/operations/queues/dispatch/resume")


def looked(house: House, monkeypatch: pytest.MonkeyPatch) -> Lookout:
    """A lookout that believes its eyes at once."""
    monkeypatch.setattr("broker.lookout.CONFIRM_S", 0.0)
    monkeypatch.setattr("broker.lookout.CLEAR_S", 0.0)
    monkeypatch.setattr("broker.lookout.START_S", 0.0)
    lookout = Lookout(house.record)
    lookout.look()
    return lookout


def open_alarms(house: House) -> dict[tuple[str, str], Any]:
    rows = house.operations.get("/operations/alarms").json
    return {(a["code"], a["subject"]): a for a in rows if a["closed_at"] is None}


def test_a_stuck_queue_alarms_is_repeated_taken_and_over(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.read_films()
    house.submitted(film())
    with house.record.write() as db:
        long_ago = database.now(db) - timedelta(seconds=house.settings.queue_stuck_s + 1)
        db.execute(update(Reading).where(Reading.status == "pending").values(created_at=long_ago))
        db.execute(update(Reading).where(Reading.status == "done").values(finished_at=long_ago))
        db.execute(update(Reading).where(Reading.status == "running").values(claimed_at=long_ago))
    lookout = looked(house, monkeypatch)
    alarm = open_alarms(house)["queue_stuck", "classify"]
    assert alarm["critical"]
    assert ("redis_silent", "test") in open_alarms(house)
    assert ("process_silent", "relay") in open_alarms(house)
    Lookout(house.record).look()  # another process's lookout opens no second one
    with house.record.write() as db:
        db.execute(update(Alarm).values(repeated_at=database.now(db) - timedelta(minutes=2)))
    lookout.look()
    assert open_alarms(house)["queue_stuck", "classify"]["repeats"] == 1
    path = f"/operations/alarms/{alarm['id']}/acknowledge"
    assert house.control.post(path).status_code == 403
    taken = house.operations.post(path)
    assert taken.json["acknowledged_by"].startswith("device:")
    assert house.operations.post(path).status_code == 200  # a double tap
    assert house.admin.post(path).status_code == 409
    with house.record.write() as db:
        db.execute(update(Alarm).values(repeated_at=database.now(db) - timedelta(minutes=2)))
    lookout.look()
    assert open_alarms(house)["queue_stuck", "classify"]["repeats"] == 1
    house.read_films()
    lookout.look()
    assert ("queue_stuck", "classify") not in open_alarms(house)
    with house.record.read() as db:
        assert db.get_one(Alarm, UUID(alarm["id"])).closed_by == alarms.SYSTEM


def test_a_closed_alarm_that_holds_comes_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookout = looked(house, monkeypatch)
    first = open_alarms(house)["redis_silent", "test"]
    assert house.operations.post(f"/operations/alarms/{first['id']}/close").status_code == 200
    assert ("redis_silent", "test") not in open_alarms(house)
    lookout.look()
    assert open_alarms(house)["redis_silent", "test"]["id"] != first["id"]


def test_a_silent_worker_alarms_unless_it_was_replaced(house: House) -> None:
    with house.record.write() as db:
        db.execute(Heartbeat.__table__.delete())
        now = database.now(db)
        for name, beat_s, start_s in (
            ("classify@a:1", 60, 900),  # replaced by classify@a:2
            ("classify@a:2", 1, 30),
            ("classify@b:3", 60, 900),  # nobody took its place on b
        ):
            db.add(
                Heartbeat(
                    name=name,
                    kind="classify",
                    pid=1,
                    started_at=now - timedelta(seconds=start_s),
                    beat_at=now - timedelta(seconds=beat_s),
                )
            )
    with house.record.read() as db:
        silent = {
            c.subject
            for c in alarms.conditions(db, house.settings)
            if c.code is AlarmCode.PROCESS_SILENT
        }
    assert silent == {
        *("relay", "detect", "dispatch", "upkeep", "gateway", "stream"),
        "classify@b:3",
    }


def test_a_canary_comes_back_or_is_missed(house: House) -> None:
    with house.record.write() as db:
        db.execute(Canary.__table__.delete())
        slot = canary.planned(db, 60)
        assert slot is not None
        canary.plan(db, slot)
        canary.plan(db, slot)
        assert canary.planned(db, 60) is None
        assert len(canary.take_due(db, list(Queue))) == 3
        assert canary.take_due(db, list(Queue)) == []
        canary.back(db, Queue.CLASSIFY, slot, "a test", None)
        canary.back(db, Queue.DETECT, slot, "a test", "BadCard: no such weights")
        db.execute(
            update(Canary)
            .where(Canary.queue == Queue.DISPATCH)
            .values(sent_at=slot - timedelta(minutes=1))
        )
    rows = house.rows()
    with house.record.read() as db:
        lost = {
            c.subject
            for c in alarms.conditions(db, house.settings)
            if c.code is AlarmCode.CANARY_LOST
        }
    assert lost == {"detect", "dispatch"}
    (shown,) = [q for q in board(house)["queues"] if q["kind"] == "classify"]
    assert shown["canary"]["roundtrip_s"] >= 0
    assert house.rows() == rows


def test_a_minute_is_sampled_once_and_counted_once(house: House) -> None:
    case_id, _ = house.assigned(film())
    house.crew.post(f"/cases/{case_id}/acknowledge")
    with house.record.write() as db:
        db.execute(Sample.__table__.delete())
        minute = history._floor(database.now(db) + timedelta(minutes=2), 60)
        figures = history.figures_now(db, None)
        assert set(figures) == set(history.SERIES)
        # Counted since the sample before it, so that no second of the clock falls beside it.
        assert history.take(db, minute - timedelta(minutes=4), figures)
        assert history.take(db, minute, figures)
        counted = {(d.metric, d.stage): sum(d.counts) for d in stages.distributions(db)}
        assert not history.take(db, minute, figures)
    with house.record.read() as db:
        after = {(d.metric, d.stage): sum(d.counts) for d in stages.distributions(db)}
    assert after == counted
    assert counted["case_e2e_seconds", ""] >= 1
    assert counted["stage_run_seconds", "read_classify"] >= 1


def test_old_minutes_become_hours_and_charts_keep_their_peaks(house: House) -> None:
    with house.record.write() as db:
        db.execute(Sample.__table__.delete())
        hour = history._floor(database.now(db) - timedelta(days=3), 3600)
        for minute in range(60):
            at = hour + timedelta(minutes=minute)
            figures = {"waiting": 40.0 if minute == 7 else 1.0, "received_per_min": 2.0}
            history.take(db, at, figures)
        assert history.thin_due(db, 8) is None
        assert history.thin_due(db, 2) == hour
        history.thin(db, hour)
        history.thin(db, hour)
        spans = db.scalars(select(Sample.span_s)).all()
        assert spans.count(3600) == 1
        assert spans.count(60) == 0
    week = house.operations.get("/operations/history", query_string={"range": "7d"}).json
    assert len(week["at_s"]) == 336
    assert max(v for v in week["series"]["waiting"] if v is not None) == 40.0
    assert {v for v in week["series"]["received_per_min"] if v is not None} == {2.0}
    assert week["series"]["waiting"].count(None) == 334  # nobody looked: no nought is made up
    answer = house.operations.get("/operations/history", query_string={"range": "9y"})
    assert answer.status_code == 422


def test_a_chart_of_folded_stretches_is_that_of_the_minutes(house: House) -> None:
    """Folded when a stretch is over; where nobody folded, the minutes still count."""
    with house.record.write() as db:
        db.execute(Sample.__table__.delete())
        end = history._floor(database.now(db), 1800)
        for back in range(3 * 60, -1, -1):
            at = end - timedelta(minutes=back)
            history.take(db, at, {"waiting": float(back), "received_per_min": back % 7})
    folded = {r: house.operations.get(f"/operations/history?range={r}").json for r in ("24h", "7d")}
    with house.record.write() as db:
        spans = db.scalars(select(Sample.span_s)).all()
        assert spans.count(1800) == 6
        assert spans.count(300) == 36
        db.execute(Sample.__table__.delete().where(Sample.span_s > 60))
    for name, chart in folded.items():
        bare = house.operations.get(f"/operations/history?range={name}").json
        assert bare["at_s"] == chart["at_s"]
        for key, points in chart["series"].items():
            assert bare["series"][key] == pytest.approx(points, abs=0.001), key
    assert folded["7d"]["series"]["waiting"][-2:] == [30.0, 0.0]
    with house.record.write() as db:
        db.execute(Sample.__table__.delete())


def test_metrics_are_those_of_the_documents(house: House) -> None:
    """docs/operations.md lists every metric with its labels, and no other."""
    house.assigned(film())
    with house.record.write() as db:
        history.take(db, history._floor(database.now(db), 60) + timedelta(minutes=2), {})
    text = house.operations.get("/metrics").text
    told = {
        name: set(filter(None, re.split(r"[,\s`]+", labels)))
        for name, labels in re.findall(
            r"^\| `(goldentime_\w+)` \|[^|]*\|([^|]*)\|",
            (ROOT / "docs" / "operations.md").read_text("utf-8"),
            re.MULTILINE,
        )
    }
    served = set(re.findall(r"^# TYPE (goldentime_\w+) ", text, re.MULTILINE))
    assert served == set(told)
    for name, labels in re.findall(
        r"^(goldentime_\w+?)(?:_bucket)?\{([^}]*)\}", text, re.MULTILINE
    ):
        if name in told:
            assert set(re.findall(r"(\w+)=", labels)) - {"le"} == told[name], name
    wanted = (
        "case_e2e_seconds stage_wait_seconds stage_run_seconds queue_depth "
        "queue_oldest_age_seconds worker_last_progress_seconds canary_roundtrip_seconds "
        "offer_answer_seconds offers_per_accept answer_rate decision_delivery_seconds dlq_depth "
        "dlq_oldest_age_seconds bed_feed_age_seconds model_abstain_rate alerts_per_shift"
    )
    assert {f"goldentime_{name}" for name in wanted.split()} <= served


def test_every_dead_letter_is_replayed_at_once_after_a_dry_run(house: House) -> None:
    house.read_films()
    house.submitted(film())
    for kind in ReadingKind:
        for _ in range(house.settings.reading_attempts):
            claim = house.record.again(
                lambda s, kind=kind: reading.claim(s, house.settings, kind, "a test")
            )
            assert claim is not None
            house.record.again(
                lambda s, claim=claim: reading.failed(s, house.settings, claim, "odd", "odd")
            )
    path = "/operations/dead-letters/replay"
    dry = house.operations.post(path, query_string={"dry_run": 1}).json
    assert (dry["dry_run"], len(dry["readings"]) >= 2) == (True, True)
    assert len(house.operations.get("/operations/dead-letters").json) == len(dry["readings"])
    assert len(house.operations.post(path).json["readings"]) == len(dry["readings"])
    assert house.operations.get("/operations/dead-letters").json == []
    house.read_films()


def test_two_open_one_alarm(house: House) -> None:
    condition = Condition(AlarmCode.CLOCK_SKEW, f"node {uuid4()}")
    with house.record.write() as db:
        assert alarms.raise_(db, condition)
    with house.record.write() as db:
        assert not alarms.raise_(db, condition)


def test_operations_take_part_in_nothing_clinical(house: House) -> None:
    case_id = house.submitted(film())
    browser = house.device(Role.OPERATIONS)
    for path in (f"/cases/{case_id}", f"/cases/{case_id}/image", f"/cases/{case_id}/messages"):
        assert browser.get(path).status_code == 403
