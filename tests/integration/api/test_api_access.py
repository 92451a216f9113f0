"""Who may do what: every route of the OpenAPI document against everybody, on both databases.

Other people's things answer 404, not 403: nobody learns that they exist. An ER sees a case while
its offer is open or held, and no longer.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select

from broker import alarms
from broker.alarms import Condition
from broker.lifecycle import AlarmCode, Role
from broker.tables import Account, Alarm, Ambulance, DeviceToken, Reading
from tests.integration.api.doors import CASE, HERE, PASSWORD, Caller, House, film

METHODS = ("get", "put", "post", "patch", "delete")
DONE = {200, 201, 204, 307, 409}
"""Let in: done, or refused for the state that the case is in."""
WHO = {
    "nobody": None,
    "crew_own": Role.CREW,
    "crew_other": Role.CREW,
    "er_offered": Role.EMERGENCY_ROOM,
    "er_holder": Role.EMERGENCY_ROOM,
    "er_loser": Role.EMERGENCY_ROOM,
    "er_never": Role.EMERGENCY_ROOM,
    "control": Role.CONTROL_ROOM,
    "operations": Role.OPERATIONS,
    "admin": Role.ADMIN,
}
IDENTITY = {"{patient_id}", "{merge_id}"}
"""An ER that is asked, and has not accepted, does not know that there is such a patient."""
OUTSIDERS = {"crew_other", "er_loser", "er_never"}
FILM_IN_PIECES = b"first and second piece"
TUS = {"Tus-Resumable": "1.0.0"}


def announcement(film_bytes: bytes) -> dict[str, str]:
    """The headers that announce a film in pieces."""
    sha256 = base64.b64encode(hashlib.sha256(film_bytes).hexdigest().encode()).decode()
    return {
        **TUS,
        "Upload-Length": str(len(film_bytes)),
        "Upload-Metadata": f"sha256 {sha256}",
    }


Body = Callable[[], dict[str, Any]]
BODIES: dict[tuple[str, str], Body] = {
    ("put", "/control-room/cases/{case_id}/directives/{emergency_room_id}"): lambda: {
        "json": {"kind": "pin", "reason": "for a test"}
    },
    ("post", "/control-room/cases/{case_id}/calls"): lambda: {
        "json": {"to": "for a test", "said": "for a test"}
    },
    ("post", "/control-room/cases/{case_id}/assign"): lambda: {
        "json": {"emergency_room_id": str(uuid4()), "reason": "for a test"}
    },
    ("put", "/emergency-rooms/{emergency_room_id}/capabilities"): lambda: {
        "json": {"capabilities": []}
    },
    ("post", "/cases"): lambda: {
        "json": {"position": HERE},
        "headers": {"Idempotency-Key": f"matrix-{uuid4()}"},
    },
    ("patch", "/cases/{case_id}"): lambda: {"json": {"complaint": "changed"}},
    ("put", "/cases/{case_id}/image"): lambda: {
        "data": {"image": (io.BytesIO(film("pneumonia.jpg")), "film.jpg")}
    },
    ("post", "/cases/{case_id}/elsewhere"): lambda: {
        "json": {"hospital": "Riverside General", "reason": "nobody answered"}
    },
    ("post", "/cases/{case_id}/cancel"): lambda: {"json": {"reason": "for a test"}},
    ("post", "/cases/{case_id}/messages"): lambda: {"json": {"to": "ambulance", "body": "hello"}},
    ("post", "/offers/{offer_id}/decision"): lambda: {"json": {"decision": "accept"}},
    ("post", "/offers/{offer_id}/pass"): lambda: {"json": {}},
    ("post", "/offers/{offer_id}/withdraw"): lambda: {"json": {"reason_code": "other"}},
    ("post", "/emergency-rooms/{emergency_room_id}/diversion"): lambda: {"json": {"on": False}},
    ("post", "/emergency-rooms/{emergency_room_id}/beds"): lambda: {"json": {"available": 4}},
    ("put", "/cases/{case_id}/outcome"): lambda: {
        "json": {"diagnosis": "Pneumonia", "disposition": "ward"}
    },
    ("put", "/cases/{case_id}/instructions"): lambda: {"json": {"items": ["sit_upright"]}},
    ("post", "/uploads"): lambda: {"headers": announcement(b"of nobody's scene")},
    ("get", "/uploads/{upload_id}"): lambda: {"headers": TUS},
    ("patch", "/uploads/{upload_id}"): lambda: {
        "data": b"first",
        "content_type": "application/offset+octet-stream",
        "headers": {**TUS, "Upload-Offset": "0"},
    },
    ("delete", "/uploads/{upload_id}"): lambda: {"headers": TUS},
    ("post", "/patients/search"): lambda: {"json": {"name": "Canary Gildong"}},
    ("patch", "/patients/{patient_id}"): lambda: {"json": {"version": 1, "phone": str(uuid4())}},
    ("post", "/patients/{patient_id}/merge"): lambda: {
        "json": {"absorb": "{twin_id}", "version": 1, "absorb_version": 1}
    },
    ("post", "/merges/{merge_id}/split"): lambda: {"json": {"version": 1}},
    ("post", "/duplicates/{suspicion_id}/cancel"): lambda: {"json": {"case_id": "{case_id}"}},
    ("get", "/cases/{case_id}/image/heatmap"): lambda: {"query_string": {"label": "Effusion"}},
    ("get", "/operations/find"): lambda: {"query_string": {"id": "0000"}},
    ("get", "/operations/behind"): lambda: {"query_string": {"queue": "classify"}},
    ("post", "/operations/queues/{queue}/pause"): lambda: {
        "json": {"reason": "for a test", "minutes": 1}
    },
    ("post", "/admin/ambulances"): lambda: {"json": {"call_sign": f"Matrix {uuid4().hex[:12]}"}},
    ("patch", "/admin/ambulances/{ambulance_id}"): lambda: {"json": {"version": 1}},
    ("post", "/admin/emergency-rooms"): lambda: {
        "json": {"name": f"Matrix {uuid4()}", "active": False, **HERE}
    },
    ("patch", "/admin/emergency-rooms/{emergency_room_id}"): lambda: {"json": {"version": 1}},
    ("post", "/admin/accounts"): lambda: {
        "json": {
            "sign_in_name": f"m-{uuid4().hex[:12]}",
            "display_name": "Matrix",
            "role": "operations",
        }
    },
    ("patch", "/admin/accounts/{account_id}"): lambda: {"json": {"version": 1}},
    ("post", "/admin/devices"): lambda: {"json": {"label": "matrix", "role": "operations"}},
    ("put", "/admin/settings/{setting}"): lambda: {"json": {"value": "60", "version": 0}},
    ("post", "/admin/settings/{setting}/forget"): lambda: {"json": {"version": 1}},
}
NO_ROLE_NEEDED = {("post", "/session"), ("post", "/session/password")}
"""They have tests of their own."""


@dataclass(frozen=True)
class Route:
    """One operation of the document."""

    method: str
    path: str
    """Without /api/v1."""
    roles: frozenset[str]

    @property
    def about_ids(self) -> bool:
        return "{" in self.path

    def call(self, who: Caller, ids: dict[str, str]) -> Any:
        body = BODIES.get((self.method, self.path), dict)()
        if "emergency_room_id" in body.get("json", {}):  # an ER that there is
            body["json"]["emergency_room_id"] = ids["emergency_room_id"]
        if "json" in body:  # ids inside bodies are those of the scene, too
            body["json"] = {
                name: value.format_map(ids) if isinstance(value, str) else value
                for name, value in body["json"].items()
            }
        return who(self.method.upper(), self.path.format_map(ids), **body)


@dataclass(frozen=True)
class Scene:
    """A case and the people around it."""

    callers: dict[str, Caller]
    ids: dict[str, str]


def routes(house: House) -> list[Route]:
    document = house.nobody.get("/api/v1/openapi.json").json
    found = []
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                roles = frozenset(item[method]["x-roles"])
                found.append(Route(method, path.removeprefix("/api/v1"), roles))
                key = (method, path.removeprefix("/api/v1"))
                if "requestBody" in item[method] and key not in NO_ROLE_NEEDED:
                    assert key in BODIES, f"say in BODIES what {key} takes"
    assert len(found) > 30
    return found


def scene(house: House, image: bytes | None = None, *, offering: bool = False) -> Scene:
    """A case that the first ER holds, or that three ERs are asked about (for er_offered)."""
    case_id, offers = house.offered(image)
    asked = {offer["emergency_room"]["id"] for offer in offers}
    (never,) = [room for room in map(str, house.rooms) if room not in asked][:1]
    if not offering:
        assert house.decide(offers[0], "accept").status_code == 200
    sent = house.crew.post(
        f"/cases/{case_id}/messages",
        json={"to": "control_room" if offering else "emergency_room", "body": "on our way"},
    )
    first = house.er_of(offers[0])
    return Scene(
        callers={
            "nobody": house.nobody,
            "crew_own": house.crew,
            "crew_other": house.other_crew,
            "er_offered" if offering else "er_holder": first,
            "er_loser": house.er_of(offers[1]),
            "er_never": house.er(never),
            "control": house.control,
            "operations": house.operations,
            "admin": house.admin,
        },
        ids={
            "case_id": case_id,
            "offer_id": offers[0]["id"],
            "emergency_room_id": offers[0]["emergency_room"]["id"],
            "message_id": sent.json["id"],
            "reading_id": some_reading(house),
            "upload_id": announced(house),
            "image_sha256": hashlib.sha256(FILM_IN_PIECES).hexdigest(),
            **administered(house),
            **house.acquainted(case_id),
        },
    )


def administered(house: House) -> dict[str, str]:
    """An alarm, a pause's queue, and what an administrator looks after."""
    name = house.person(Role.OPERATIONS)
    spare = house.device(Role.OPERATIONS, label=name)
    assert spare.token is not None
    with house.record.write() as db:
        alarms.raise_(db, Condition(AlarmCode.CLOCK_SKEW, name))
    with house.record.read() as db:
        queries = {
            "alarm_id": select(Alarm.id).where(Alarm.subject == name),
            "account_id": select(Account.id).where(Account.sign_in_name == name),
            "device_id": select(DeviceToken.id).where(DeviceToken.label == name),
            "ambulance_id": select(Ambulance.id).where(Ambulance.call_sign == "Test 2"),
        }
        found = {key: str(db.scalars(query).one()) for key, query in queries.items()}
    return {**found, "queue": "detect", "alarm": "unplaced", "setting": "alarm_repeat_s"}


def announced(house: House) -> str:
    """The crew's unfinished upload; the same in every scene, until somebody deletes it."""
    answer = house.crew.post("/uploads", headers=announcement(FILM_IN_PIECES))
    assert answer.status_code in (200, 201)
    return str(answer.headers["Location"]).rpartition("/")[2]


def some_reading(house: House) -> str:
    """Any reading: operations are not bound to a case of theirs."""
    with house.record.read() as session:
        return str(session.scalars(select(Reading.id).limit(1)).one())


def expected(route: Route, who: str) -> set[int]:
    if route.roles == {"everybody"}:
        return {200}
    role = WHO[who]
    if role is None:
        return {401}
    if role not in route.roles:
        return {403}
    if not route.about_ids:
        return DONE
    if "{message_id}" in route.path:
        return DONE if who == "er_holder" else {404}  # its one recipient
    if who == "er_offered" and IDENTITY & set(route.path.split("/")):
        return {404}
    if who in OUTSIDERS or route.path.endswith("/heatmap"):  # the tests' classifier keeps none
        return {404}
    return DONE


def test_every_route_against_everybody(house: House) -> None:
    image = film("pneumonia.jpg")
    held, asked = scene(house, image), scene(house, image, offering=True)
    wrong = []
    for route in routes(house):
        if (route.method, route.path) in NO_ROLE_NEEDED:
            continue  # its own tests
        for who in WHO:
            now = asked if who == "er_offered" else held
            wanted = expected(route, who)
            if wanted == DONE and route.about_ids and route.method != "get":
                now = scene(house, offering=who == "er_offered")  # it may change the case
            before = house.rows() if wanted != DONE else {}
            answer = route.call(now.callers[who], now.ids)
            if answer.status_code not in wanted:
                wrong.append((route.method, route.path, who, answer.status_code, answer.text[:90]))
            if wanted != DONE:
                assert house.rows() == before, (route, who)
            if answer.status_code >= 400:
                assert answer.mimetype == "application/problem+json", (route, who)
                assert answer.json["code"], (route, who)
                assert "Canary" not in answer.text
    assert not wrong, "\n".join(map(str, wrong))
    for case_id in (held.ids["case_id"], asked.ids["case_id"]):
        assert house.case(house.control, case_id)["complaint"] == CASE["complaint"]


def test_ids_that_do_not_exist(house: House) -> None:
    """The same words for what is not there and for what one may not see."""
    now = scene(house, film("pneumonia.jpg"))
    by_role = {role: who for who, role in reversed(WHO.items()) if role and who != "er_offered"}
    unknown = {name: str(uuid4()) for name in now.ids}
    for route in routes(house):
        if not route.about_ids:
            continue
        role = Role(sorted(route.roles)[0])
        who = now.callers[by_role[role]]
        answer = route.call(who, unknown)
        assert (answer.status_code, answer.json["code"]) == (404, "not_found"), route
        for odd in ("1", "%00", "..%2f..", "x" * 300):
            assert route.call(who, dict.fromkeys(now.ids, odd)).status_code == 404, (route, odd)
    hidden = house.other_crew.get(f"/cases/{now.ids['case_id']}").json
    absent = house.other_crew.get(f"/cases/{unknown['case_id']}").json
    assert hidden["detail"].replace(now.ids["case_id"], "ID") == absent["detail"].replace(
        unknown["case_id"], "ID"
    )
    assert house.crew.get(f"/cases/{now.ids['case_id'].upper()}").status_code == 200


def test_identity_goes_to_crew_control_room_and_holder_only(house: House) -> None:
    known = {"name": f"Canary {uuid4()}", **dict.fromkeys(("birth_date", "identifier", "phone"))}
    case_id, offers = house.offered(film(), patient=known)
    first, second, _ = (house.er_of(offer) for offer in offers)
    for who in (house.crew, house.control):
        assert house.case(who, case_id)["patient"] == known
    for offer, who in zip(offers, (first, second), strict=False):
        for answer in (
            who.get(f"/cases/{case_id}"),
            who.get(f"/offers/{offer['id']}"),
            who.get("/cases"),
            who.get("/offers"),
            who.get("/inbox"),
        ):
            assert answer.status_code == 200
            assert known["name"] not in answer.text
        assert house.case(who, case_id)["age_years"] is None
    assert house.decide(offers[0], "accept").status_code == 200
    assert house.case(first, case_id)["patient"] == known
    assert house.case(first, case_id)["age_years"] == 67
    for who in (house.operations, house.admin):
        for path in ("/operations/cases", "/operations/queues", "/metrics"):
            assert known["name"] not in who.get(path).text
    # Given back: what the former holder knew, it is not told again.
    answer = first.post(f"/offers/{offers[0]['id']}/withdraw", json={"reason_code": "other"})
    assert answer.status_code == 200
    assert first.get(f"/cases/{case_id}").status_code == 404
    assert known["name"] not in first.get(f"/offers/{offers[0]['id']}").text


def test_an_er_that_lost_or_declined_gets_nothing_clinical(house: House) -> None:
    case_id, offers = house.offered(film())
    declined, holder, lost = (house.er_of(offer) for offer in offers)
    assert house.decide(offers[0], "reject", reason_code="no_specialist").status_code == 200
    assert house.decide(offers[1], "accept").status_code == 200
    for who, offer, status in ((declined, offers[0], "rejected"), (lost, offers[2], "withdrawn")):
        shown = who.get(f"/offers/{offer['id']}").json
        assert (shown["status"], shown["case"]) == (status, None)
        for path in ("", "/image", "/messages"):
            assert who.get(f"/cases/{case_id}{path}").status_code == 404
        assert case_id not in {case["id"] for case in who.get("/cases?live=0&limit=200").json}
        told = json.dumps(
            who.get("/offers?open=0&limit=200").json + who.get("/inbox").json["events"]
        )
        for word in ("Canary", CASE["complaint"], "spo2", "Effusion", "sha256"):
            assert word not in told, word
        answer = house.decide(offer, "accept")
        assert answer.status_code == 409
        assert answer.json["code"] in {"already_taken", "already_decided"}
    assert holder.get(f"/cases/{case_id}/image").status_code == 200


def test_each_look_at_a_case_is_on_record(house: House) -> None:
    from uuid import UUID

    from sqlalchemy import select

    from broker.tables import AuditEntry

    case_id, offers = house.offered(film())
    room = house.er_of(offers[0])
    room.get(f"/cases/{case_id}")
    room.get(f"/cases/{case_id}/image")
    room.get(f"/offers/{offers[0]['id']}")
    house.er_of({"emergency_room": {"id": house.rooms[-1]}}).get(f"/cases/{case_id}")  # refused
    room.get("/cases")
    with house.record.read() as db:
        entries = db.scalars(
            select(AuditEntry).where(AuditEntry.case_id == UUID(case_id)).order_by(AuditEntry.at)
        ).all()
        listed = db.scalars(
            select(AuditEntry)
            .where(AuditEntry.action == "cases.listed")
            .order_by(AuditEntry.at.desc())
        ).first()
    assert listed is not None
    assert case_id in listed.details["cases"]
    looks = [(e.action, e.actor.partition(":")[0]) for e in entries if e.action.endswith("viewed")]
    assert looks == [
        ("case.viewed", "device"),  # the crew, in offered()
        ("case.viewed", "device"),
        ("image.viewed", "device"),
        ("offer.viewed", "device"),
    ]


def test_a_cookie_without_its_token_changes_nothing(house: House) -> None:
    """Cross-site request forgery, on every route that changes something."""
    now = scene(house, film())
    units = {Role.CREW: "Test 1"}
    with house.record.read() as db:
        from uuid import UUID

        from broker.tables import EmergencyRoom

        holder = db.get_one(EmergencyRoom, UUID(now.ids["emergency_room_id"]))
    units[Role.EMERGENCY_ROOM] = holder.name
    browsers = {}
    for role in Role:
        browsers[role] = house.browser()
        answer = browsers[role].post(
            "/api/v1/session",
            json={"name": house.person(role, units.get(role)), "password": PASSWORD},
        )
        assert answer.status_code == 201
    before, files = house.rows(), house.files()
    for route in routes(house):
        if route.method == "get" or route.roles == {"everybody"}:
            continue
        browser = browsers[Role(sorted(route.roles)[0])]
        for headers in ({}, {"X-CSRFToken": "forged"}, {"X-CSRFToken": ""}):
            body = BODIES.get((route.method, route.path), dict)()
            body["headers"] = {**body.get("headers", {}), **headers}
            address = "/api/v1" + route.path.format_map(now.ids)
            answer = browser.open(address, method=route.method.upper(), **body)
            assert (answer.status_code, answer.json["code"]) == (400, "csrf"), route
    assert (house.rows(), house.files()) == (before, files)
    # A token of somebody else's session does not fit either.
    other = browsers[Role.CONTROL_ROOM].get("/api/v1/session").json["csrf_token"]
    answer = browsers[Role.CREW].post(
        f"/api/v1/cases/{now.ids['case_id']}/acknowledge", headers={"X-CSRFToken": other}
    )
    assert (answer.status_code, answer.json["code"]) == (400, "csrf")
    own = browsers[Role.CREW].get("/api/v1/session").json["csrf_token"]
    answer = browsers[Role.CREW].post(
        f"/api/v1/cases/{now.ids['case_id']}/acknowledge", headers={"X-CSRFToken": own}
    )
    assert answer.status_code == 200, answer.text


def test_a_method_that_a_route_does_not_know(house: House) -> None:
    ids = dict.fromkeys(scene(house, film("pneumonia.jpg")).ids, str(uuid4()))
    by_path: dict[str, set[str]] = {}
    for route in routes(house):
        by_path.setdefault(route.path, set()).add(route.method)
    for path, known in by_path.items():
        address = path.format_map(ids)
        for method in {"get", "put", "post", "patch", "delete", "trace"} - known:
            answer = house.admin(method.upper(), address)
            assert (answer.status_code, answer.json["code"]) == (405, "method_not_allowed")
            assert set(answer.headers["Allow"].lower().split(", ")) >= known
        if "get" in known:
            head = house.nobody("HEAD", address)
            assert head.data == b""
            assert head.status_code in {200, 401}
        assert house.nobody("OPTIONS", address).status_code in {200, 401}


@pytest.mark.parametrize("path", ["/", "/nothing", "/cases/", "/cases/../metrics"])
def test_paths_that_are_none(house: House, path: str) -> None:
    answer = house.crew.get(path)
    assert (answer.status_code, answer.json["code"]) == (404, "not_found")
