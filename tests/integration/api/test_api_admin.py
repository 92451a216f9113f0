"""Administration through the door: versions, secrets shown once, nobody locked out, the audit."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from broker import database, seals, tuning
from broker.lifecycle import Role
from broker.tables import Account, AuditEntry, AuditSeal
from dispatch import advance
from dispatch.access import Actor
from tests.integration.api.doors import HERE, PASSWORD, Caller, House
from web import registry_changes
from web.state import KEY

ROOM: dict[str, Any] = {"phone": "02-000-1111", "level": "local", "capabilities": ["ct"], **HERE}


def signed_in(house: House, role: Role = Role.ADMIN) -> tuple[str, Any]:
    """A person's account id and a browser in which that person is signed in."""
    name, browser = house.person(role), house.browser()
    answer = browser.post("/api/v1/session", json={"name": name, "password": PASSWORD})
    browser.environ_base["HTTP_X_CSRFTOKEN"] = answer.json["csrf_token"]
    with house.record.read() as db:
        return str(db.scalar(select(Account.id).where(Account.sign_in_name == name))), browser


def last_entry(house: House, action: str) -> AuditEntry:
    with house.record.read() as db:
        entry = db.scalars(
            select(AuditEntry).where(AuditEntry.action == action).order_by(AuditEntry.at.desc())
        ).first()
    assert entry is not None
    return entry


def test_a_unit_is_added_changed_and_switched_off(house: House) -> None:
    sign = f"Unit {uuid4().hex[:8]}"
    made = house.admin.post("/admin/ambulances", json={"call_sign": sign})
    assert (made.status_code, made.json["version"]) == (201, 1)
    again = house.admin.post("/admin/ambulances", json={"call_sign": sign})
    assert (again.status_code, again.json["code"]) == (409, "name_taken")
    path = f"/admin/ambulances/{made.json['id']}"
    taken = house.admin("PATCH", path, json={"version": 1, "call_sign": "Test 1"})
    assert taken.status_code == 409
    changed = house.admin("PATCH", path, json={"version": 1, "phone": "119"}).json
    assert (changed["phone"], changed["version"]) == ("119", 2)
    entry = last_entry(house, "ambulance.changed")
    assert (entry.details["before"], entry.details["after"]) == ({"phone": None}, {"phone": "119"})
    late = house.admin("PATCH", path, json={"version": 1, "phone": "112"})
    assert (late.status_code, late.json["code"]) == (409, "changed_meanwhile")
    crew = house.device(Role.CREW, sign)
    assert crew.get("/session").status_code == 200
    assert house.admin("PATCH", path, json={"version": 2, "active": False}).status_code == 200
    assert crew.get("/session").status_code == 401


def test_an_ambulance_with_a_patient_stays(house: House) -> None:
    house.submitted()
    units = house.admin.get("/admin/ambulances").json
    (own,) = [unit for unit in units if unit["call_sign"] == "Test 1"]
    answer = house.admin(
        "PATCH", f"/admin/ambulances/{own['id']}", json={"version": own["version"], "active": False}
    )
    assert (answer.status_code, answer.json["code"]) == (409, "unit_busy")


@pytest.mark.parametrize(
    "wrong",
    [
        {"latitude": 0.0, "longitude": 0.0},
        {"latitude": 91.0},
        {"capabilities": ["teleport"]},
        {"level": "galactic"},
        {"notify_webhook": "http://example.org/pager"},
        {"notify_email": "nobody"},
        {"name": "   "},
        {"name": "line\u202ebreak"},
        {"beds": 4},
    ],
)
def test_an_er_that_cannot_be_is_refused(house: House, wrong: dict[str, Any]) -> None:
    before = house.rows()
    answer = house.admin.post(
        "/admin/emergency-rooms", json={"name": f"Odd {uuid4()}", **ROOM, **wrong}
    )
    assert answer.status_code == 422, answer.text
    assert house.rows() == before


def test_crews_are_told_the_address_that_an_administrator_wrote(house: House) -> None:
    case_id, (offer, *_) = house.offered()
    (room,) = [
        room
        for room in house.admin.get("/admin/emergency-rooms").json
        if room["id"] == offer["emergency_room"]["id"]
    ]
    change = {"version": room["version"], "address": "12 Oak Lane"}
    answer = house.admin("PATCH", f"/admin/emergency-rooms/{room['id']}", json=change)
    assert answer.json["address"] == "12 Oak Lane"
    shown = house.crew.get(f"/cases/{case_id}").json["offers"][0]["emergency_room"]
    assert shown["address"] == "12 Oak Lane"
    too_long = {"version": room["version"] + 1, "address": "x" * 201}
    answer = house.admin("PATCH", f"/admin/emergency-rooms/{room['id']}", json=too_long)
    assert answer.status_code == 422


def test_a_pagers_address_is_not_in_the_audit(house: House) -> None:
    made = house.admin.post("/admin/emergency-rooms", json={"name": f"ER {uuid4()}", **ROOM}).json
    address = "https://pager.example.org/key/s3cr3t"
    answer = house.admin(
        "PATCH",
        f"/admin/emergency-rooms/{made['id']}",
        json={"version": 1, "notify_webhook": address, "region": "Seoul", "active": False},
    )
    assert answer.json["notify_webhook"] == address
    details = last_entry(house, "emergency_room.changed").details
    assert "s3cr3t" not in str(details)
    assert details["after"]["region"] == "Seoul"


def test_a_person_chooses_a_password_by_a_link_that_works_once(house: House) -> None:
    name = f"n-{uuid4().hex[:8]}"
    facts = {"sign_in_name": name, "display_name": "New", "role": "operations"}
    made = house.admin.post("/admin/accounts", json=facts)
    assert made.status_code == 201
    secret = made.json["link"].partition("#")[2]
    assert secret not in house.admin.get("/admin/accounts").text
    said = {"secret": secret, "password": "a long enough one"}
    short = house.nobody.post("/session/password", json={**said, "password": "short"})
    assert short.status_code == 422
    assert house.nobody.post("/session/password", json=said).status_code == 204
    spent = house.nobody.post("/session/password", json=said)
    assert (spent.status_code, spent.json["code"]) == (410, "secret_spent")
    sign_in = {"name": name, "password": said["password"]}
    browser = house.browser()
    assert browser.post("/api/v1/session", json=sign_in).status_code == 201
    id_ = made.json["id"]
    assert house.admin.post(f"/admin/accounts/{id_}/end-sessions").status_code == 200
    assert browser.get("/api/v1/session").status_code == 401
    assert browser.post("/api/v1/session", json=sign_in).status_code == 201
    assert house.admin.post(f"/admin/accounts/{id_}/reset-password").status_code == 200
    assert browser.get("/api/v1/session").status_code == 401
    failed = house.browser().post("/api/v1/session", json=sign_in)
    assert failed.json["code"] == "sign_in_failed"
    with house.record.read() as db:
        kept = str([entry.details for entry in db.scalars(select(AuditEntry))])
    assert secret not in kept


def test_a_role_needs_its_unit(house: House) -> None:
    facts = {"sign_in_name": f"c-{uuid4().hex[:8]}", "display_name": "Crew", "role": "crew"}
    assert house.admin.post("/admin/accounts", json=facts).status_code == 422
    wrong = {**facts, "emergency_room_id": str(house.rooms[0])}
    assert house.admin.post("/admin/accounts", json=wrong).status_code == 422
    device = {"label": "d", "role": "emergency_room", "emergency_room_id": str(uuid4())}
    assert house.admin.post("/admin/devices", json=device).status_code == 422


def test_nobody_locks_everybody_out(house: House) -> None:
    with house.record.write() as db:
        for account in db.scalars(select(Account).where(Account.role == Role.ADMIN)):
            account.active = False
    own, browser = signed_in(house)
    path = f"/api/v1/admin/accounts/{own}"
    for change in ({"active": False}, {"role": "operations"}):
        answer = browser.patch(path, json={"version": 1, **change})
        assert (answer.status_code, answer.json["code"]) == (409, "own_rights")
    # A device of the role admin cannot remove the last person either.
    answer = house.admin("PATCH", f"/admin/accounts/{own}", json={"version": 1, "active": False})
    assert (answer.status_code, answer.json["code"]) == (409, "last_administrator")


def test_two_administrators_who_remove_each_other_at_once_leave_one(house: House) -> None:
    with house.record.write() as db:
        for account in db.scalars(select(Account).where(Account.role == Role.ADMIN)):
            account.active = False
    first, second = signed_in(house)[0], signed_in(house)[0]
    barrier = threading.Barrier(2)

    def remove(who: str, other: str) -> None:
        barrier.wait()
        try:
            house.record.again(
                lambda s: registry_changes.change(
                    s,
                    Actor(Role.ADMIN, f"account:{who}"),
                    Account,
                    UUID(other),
                    1,
                    {"active": False},
                )
            )
        except Exception as error:
            refused.append(error)

    refused: list[Exception] = []
    pair = ((first, second), (second, first))
    threads = [threading.Thread(target=remove, args=names) for names in pair]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with house.record.read() as db:
        left = db.scalars(select(Account.id).where(Account.role == Role.ADMIN, Account.active))
        assert len(left.all()) == 1
    assert len(refused) == 1


def test_a_revoked_device_is_refused_at_once(house: House) -> None:
    made = house.admin.post("/admin/devices", json={"label": "tablet", "role": "operations"})
    assert made.status_code == 201
    device = Caller(house.app, made.json["token"])
    assert device.get("/operations/board").status_code == 200
    assert made.json["token"] not in house.admin.get("/admin/devices").text
    path = f"/admin/devices/{made.json['id']}/revoke"
    assert house.admin.post(path).status_code == 200
    assert house.admin.post(path).status_code == 200
    assert device.get("/operations/board").status_code == 401


def test_a_setting_changes_while_everything_runs(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "ASK_EVERY_S", 0.0)
    path = "/admin/settings/offers_per_round"
    (shown,) = [s for s in house.admin.get("/admin/settings").json if s["name"] == path[16:]]
    assert (shown["value"], shown["source"], shown["version"]) == ("3", "shipped", 0)
    for wrong in ("0", "7", "2.5", "three", "nan", "3/4/5"):
        answer = house.admin("PUT", path, json={"value": wrong, "version": 0})
        assert answer.status_code == 422, wrong
    changed = house.admin("PUT", path, json={"value": "2", "version": 0})
    assert (changed.json["value"], changed.json["source"]) == ("2", "table")
    assert changed.json["environment"] == "3"
    assert house.admin("PUT", path, json={"value": "4", "version": 0}).status_code == 409
    entry = last_entry(house, "setting.changed")
    assert (entry.details["before"], entry.details["after"]) == ("3", "2")
    house.app.extensions[KEY].tuned._next = 0.0
    case_id = house.submitted()
    house.record.again(
        lambda s: advance.advance(s, house.app.extensions[KEY].settings, UUID(case_id))
    )
    assert len(house.case(house.crew, case_id)["offers"]) == 2
    forgotten = house.admin.post(f"{path}/forget", json={"version": 1})
    assert (forgotten.json["value"], forgotten.json["source"]) == ("3", "shipped")
    house.admin.get("/session")
    assert house.app.extensions[KEY].settings.offers_per_round == 3
    steps = "/admin/settings/steps_urgent"
    for wrong in ("45/20/90", "20/20/90", "20/45"):
        assert house.admin("PUT", steps, json={"value": wrong, "version": 0}).status_code == 422
    secret = house.admin("PUT", "/admin/settings/secret_key", json={"value": "1", "version": 0})
    assert secret.status_code == 404


def test_the_audit_is_searched_in_pages_and_says_who_searched(house: House) -> None:
    for number in range(60):
        issued = house.admin.post(
            "/admin/devices", json={"label": f"d{number}", "role": "operations"}
        ).json
    house.admin.post(f"/admin/devices/{issued['id']}/revoke")
    query = {"action": "device.issued"}
    first = house.admin.get("/admin/audit", query_string=query).json
    assert len(first["entries"]) == 50
    second = house.admin.get("/admin/audit", query_string={**query, "after": first["next"]}).json
    ids = [entry["id"] for entry in first["entries"] + second["entries"]]
    assert len(ids) == len(set(ids)) >= 60
    own = last_entry(house, "audit.searched")
    assert own.actor.startswith("device:")
    assert own.details["by_action"] == "device.issued"
    found = house.admin.get("/admin/audit", query_string={"action": "audit."}).json
    assert {entry["action"] for entry in found["entries"]} == {"audit.searched"}
    query, ids = {"action": "device."}, []
    while query:  # several actions in one order, page by page
        found = house.admin.get("/admin/audit", query_string=query).json
        ids += [(entry["at"], entry["id"]) for entry in found["entries"]]
        query = found["next"] and {"action": "device.", "after": found["next"]}
    with house.record.read() as db:
        rows = db.execute(
            select(AuditEntry.id, AuditEntry.action).where(AuditEntry.action.like("device.%"))
        ).all()
    assert len({action for _, action in rows}) > 1
    assert ids == sorted(ids, reverse=True)
    assert sorted(id_ for _, id_ in ids) == sorted(str(id_) for id_, _ in rows)
    found = house.admin.get("/admin/audit", query_string={"action": "nobody."}).json
    assert found["entries"] == []
    found = house.admin.get("/admin/audit", query_string={"actor": own.actor}).json
    assert {entry["actor"] for entry in found["entries"]} == {own.actor}
    for wrong in ({"after": "x"}, {"from_at": "yesterday"}, {"case_id": "1"}):
        assert house.admin.get("/admin/audit", query_string=wrong).status_code == 422, wrong
    case_id = house.submitted()
    found = house.admin.get("/admin/audit", query_string={"case_id": case_id}).json
    assert "case.received" in {entry["action"] for entry in found["entries"]}


def test_up_to_where_the_audit_is_sealed_and_how_far_that_lags(house: House) -> None:
    house.admin.post("/admin/devices", json={"label": "sealed", "role": "operations"})
    while seals.seal(house.record):
        pass
    shown = house.admin.get("/admin/audit/seal").json
    with house.record.read() as db:
        link = db.get_one(AuditSeal, shown["seal"]["number"])
        assert f"{link.number}:{shown['seal']['digest']}" == str(seals.head(db))
        assert shown["seal"]["entry_id"] == str(link.entry_id)
        assert shown["seal"]["key_id"] == link.key_id
    assert (shown["unsealed_s"], shown["key_known"]) == (0, True)
    with house.record.write() as db:
        at = database.now(db) - timedelta(minutes=5)
        db.add(AuditEntry(id=uuid4(), at=at, actor="system", action="case.viewed", details={}))
    lags = house.admin.get("/admin/audit/seal").json
    assert 299 < lags["unsealed_s"] < 400
    assert lags["seal"] == shown["seal"]
    assert house.operations.get("/admin/audit/seal").status_code == 403
    assert seals.seal(house.record)
