"""One case played over HTTP exactly as real clients play it: crew, three ERs, and back.

Speaks HTTP only; used by `goldentime demo` and by the end-to-end tests against real processes.
Starts nothing itself.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import requests

from broker.errors import GoldentimeError

DEADLINE_S = 45.0
VITALS = {
    "respiratory_rate_per_min": 26,
    "spo2_percent": 90,
    "on_oxygen": True,
    "systolic_bp_mmhg": 104,
    "diastolic_bp_mmhg": 62,
    "pulse_per_min": 118,
    "consciousness": "A",
    "temperature_c": 38.4,
}
CASE = {
    "crew_pre_ktas": 3,
    "age_years": 67,
    "sex": "male",
    "complaint": "short of breath since this morning, cough, fever",
    "position": {"latitude": 37.5665, "longitude": 126.9780},
    "vitals": VITALS,
    "patient": {"name": "Demo Patient", "identifier": "DEMO-0001"},
}


class DemoFailed(GoldentimeError):
    """The case did not go its way."""

    code = "demo_failed"


@dataclass(frozen=True)
class Tokens:
    """Bearer tokens of the clients that play."""

    crew: str
    emergency_rooms: Mapping[str, str]
    """Token by ER id."""


@dataclass
class Client:
    """One device: bearer token, base addresses, its events as they come."""

    base_url: str
    stream_url: str
    token: str
    session: requests.Session = field(default_factory=requests.Session)
    _closed: bool = False
    _stream: requests.Response | None = None

    def call(self, method: str, path: str, **more: Any) -> Any:
        """One request; DemoFailed carries the problem's code and detail."""
        headers = {"Authorization": f"Bearer {self.token}", **more.pop("headers", {})}
        try:
            answer = self.session.request(
                method, f"{self.base_url}/api/v1{path}", headers=headers, timeout=10, **more
            )
        except requests.RequestException as error:
            raise DemoFailed(f"{method} {path}: {error}") from error
        if answer.status_code >= 400:
            raise DemoFailed(f"{method} {path}: {answer.status_code} {answer.text[:400]}")
        return answer.content if "image/" in answer.headers["Content-Type"] else answer.json()

    def events(self, after: int) -> Iterator[tuple[float, dict[str, Any]]]:
        """Events of the stream with the moment (monotonic) each arrived; reconnects by number.

        Ends when close() is called.
        """
        while not self._closed:
            try:
                with self.session.get(
                    f"{self.stream_url}/api/v1/events",
                    headers={
                        "Authorization": f"Bearer {self.token}",
                        "Last-Event-ID": str(after),
                    },
                    stream=True,
                    timeout=(5, 15),
                ) as answer:
                    self._stream = answer
                    if answer.status_code in (409, 503):  # too many streams, or a busy moment
                        time.sleep(1)
                        continue
                    if answer.status_code != 200:
                        raise DemoFailed(f"GET /events: {answer.status_code} {answer.text[:200]}")
                    for line in answer.iter_lines(chunk_size=1):
                        if line.startswith(b"data:"):
                            entry = json.loads(line[5:])
                            if "type" in entry:
                                after = entry["seq"]
                                yield time.monotonic(), entry
            except requests.RequestException:
                time.sleep(0.5)

    def close(self) -> None:
        """End the stream, also while another thread waits on it."""
        self._closed = True
        if self._stream is not None:
            with suppress(OSError, ValueError, RuntimeError):  # it may be ending by itself
                self._stream.raw.shutdown()


class Ears:
    """All events of one client, collected by a thread."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._heard: list[tuple[float, dict[str, Any]]] = []
        self._news = threading.Condition()
        self._failure: DemoFailed | None = None
        after = 0
        while True:
            page = client.call("GET", "/inbox", params={"after": after})
            if not page["events"]:
                break
            after = page["last_seq"]
        threading.Thread(target=self._listen, args=(after,), daemon=True).start()

    def _listen(self, after: int) -> None:
        try:
            for item in self._client.events(after):
                with self._news:
                    self._heard.append(item)
                    self._news.notify_all()
        except DemoFailed as error:
            with self._news:
                self._failure = error
                self._news.notify_all()

    def wait(
        self, type_: str, case_id: str, timeout_s: float = DEADLINE_S
    ) -> tuple[float, dict[str, Any]]:
        """The first event of a type about a case, or DemoFailed with what was heard instead."""
        with self._news:
            found = self._news.wait_for(
                lambda: self._failure or self._first(type_, case_id), timeout_s
            )
            if self._failure:
                raise self._failure
            if not found:
                heard = [e["type"] for _, e in self._heard if e["case_id"] == case_id]
                raise DemoFailed(f"no {type_} within {timeout_s:g} s; heard: {heard or 'nothing'}")
        first = self._first(type_, case_id)
        assert first is not None
        return first

    def _first(self, type_: str, case_id: str) -> tuple[float, dict[str, Any]] | None:
        for at, entry in self._heard:
            if entry["type"] == type_ and entry["case_id"] == case_id:
                return at, entry
        return None


@dataclass
class Story:
    """What happened: the JSON object at the end, and lines as they come."""

    tell: Callable[[float, str], None]
    began: float = field(default_factory=time.monotonic)
    timings_s: dict[str, float] = field(default_factory=dict)

    def line(self, text: str, at: float | None = None) -> float:
        """Tell a line; returns its seconds since the crew began to send."""
        seconds = (at or time.monotonic()) - self.began
        self.tell(seconds, text)
        return seconds


def play(
    base_url: str,
    stream_url: str,
    tokens: Tokens,
    film: Path,
    tell: Callable[[float, str], None],
    *,
    between: Callable[[str], None] = lambda _step: None,
) -> dict[str, Any]:
    """Play one case: the first ER declines and another is asked in its place, the second accepts,
    the others are withdrawn, the crew acknowledges.

    `between` is called with the name of each step, so that a test can break something there.
    Returns {"case_id", "status", "offers", "timings_s"}; raises DemoFailed.
    """
    crew = Client(base_url, stream_url, tokens.crew)
    rooms = {
        id_: Client(base_url, stream_url, token) for id_, token in tokens.emergency_rooms.items()
    }
    try:
        return _play(crew, rooms, film, Story(tell), between)
    finally:
        for client in (crew, *rooms.values()):
            client.close()


def _play(
    crew: Client,
    rooms: Mapping[str, Client],
    film: Path,
    story: Story,
    between: Callable[[str], None],
) -> dict[str, Any]:
    crew_ears = Ears(crew)
    ears = {id_: Ears(client) for id_, client in rooms.items()}
    story.began = time.monotonic()
    receipt = crew.call(
        "POST",
        "/cases",
        headers={"Idempotency-Key": f"demo-{uuid4()}"},
        files={"image": (film.name, film.read_bytes()), "case": (None, json.dumps(CASE))},
    )
    case_id = receipt["case_id"]
    story.timings_s["submit"] = story.line(
        f"receipt {case_id[:8]}: film stored, sha256 {receipt['image_sha256'][:12]}…"
    )
    if receipt["image_unusable"]:
        story.line(f"the film is not read by AI: {receipt['image_unusable']}")
    between("submitted")

    offered = _three_offers(crew, crew_ears, case_id, story)
    between("offered")
    first, second, third = offered
    at, _ = ears[first["emergency_room"]["id"]].wait("offer.requested", case_id)
    shown = rooms[first["emergency_room"]["id"]].call("GET", f"/offers/{first['id']}")
    story.line(_what_an_er_sees(rooms[first["emergency_room"]["id"]], shown))
    rooms[first["emergency_room"]["id"]].call("POST", f"/offers/{first['id']}/received")
    rooms[first["emergency_room"]["id"]].call(
        "POST",
        f"/offers/{first['id']}/decision",
        json={"decision": "reject", "reason_code": "no_intensive_care_bed"},
    )
    story.line(f"{first['emergency_room']['name']}: cannot take now (no_intensive_care_bed)")
    asked = {offer["id"] for offer in offered}
    new = [o for o in crew.call("GET", f"/cases/{case_id}")["offers"] if o["id"] not in asked]
    for offer in new:
        story.line(f"{offer['emergency_room']['name']} is asked in its place")
    between("declined")

    ears[second["emergency_room"]["id"]].wait("offer.requested", case_id)
    rooms[second["emergency_room"]["id"]].call("POST", f"/offers/{second['id']}/received")
    rooms[second["emergency_room"]["id"]].call(
        "POST", f"/offers/{second['id']}/decision", json={"decision": "accept"}
    )
    story.line(f"{second['emergency_room']['name']}: ACCEPTS")
    at, _ = crew_ears.wait("case.assigned", case_id)
    story.timings_s["decision"] = story.line("the decision reaches the ambulance", at)
    at, gone = ears[third["emergency_room"]["id"]].wait("offer.withdrawn", case_id)
    story.line(f"{third['emergency_room']['name']}: withdrawn ({gone['body']['reason']})", at)
    between("accepted")

    crew.call("POST", f"/cases/{case_id}/acknowledge")
    ears[second["emergency_room"]["id"]].wait("case.acknowledged", case_id)
    story.timings_s["acknowledged"] = story.line("the crew acknowledges; both sides know")
    final = crew.call("GET", f"/cases/{case_id}")
    if final["status"] != "acknowledged":
        raise DemoFailed(f"the case ended as {final['status']}, not acknowledged")
    answers = {offer["id"]: offer["status"] for offer in final["offers"]}
    expected = {first["id"]: "rejected", second["id"]: "accepted", third["id"]: "withdrawn"}
    if answers != expected | {offer["id"]: "withdrawn" for offer in new}:
        raise DemoFailed(f"the offers ended as {answers}")
    return {
        "case_id": case_id,
        "status": final["status"],
        "offers": [
            {
                "id": offer["id"],
                "emergency_room": offer["emergency_room"]["name"],
                "status": offer["status"],
                "eta_min": offer["eta_min"],
                "reason_code": offer["reason_code"],
            }
            for offer in final["offers"]
        ],
        "timings_s": {
            name: round(story.timings_s[name], 3)
            for name in ("submit", "read", "first_offer", "decision", "acknowledged")
        },
    }


def _three_offers(
    crew: Client, crew_ears: Ears, case_id: str, story: Story
) -> list[dict[str, Any]]:
    at, _ = crew_ears.wait("case.offering", case_id)
    offering_s = at - story.began
    case = crew.call("GET", f"/cases/{case_id}")
    image = case["image"]
    failed = [r for r in (image or {}).get("readings", []) if r["status"] == "failed"]
    if failed:
        raise DemoFailed(f"the {failed[0]['kind']} reading failed: {failed[0]['error_code']}")
    if case["partial"]:
        crew_ears.wait("case.amended", case_id)  # the reading came after the offers
        case = crew.call("GET", f"/cases/{case_id}")
        image = case["image"]
    if image and not image["unusable_reason"]:
        waits = [r["seconds"] for r in image["readings"] if r["seconds"]]
        if len(image["findings"]) != 14:
            raise DemoFailed(f"{len(image['findings'])} label scores instead of 14")
        top = ", ".join(f"{f['label']} {f['score']:.2f}" for f in image["top3"])
        above = "" if not image["nothing_above_threshold"] else " (nothing above its threshold)"
        story.timings_s["read"] = story.line(f"read: {top}{above}; {len(image['boxes'])} boxes", at)
        networks = " and ".join(f"{sum(seconds.values()):.3f}" for seconds in waits)
        story.line(f"  the networks took {networks} s", at)
    else:
        story.timings_s["read"] = offering_s
    reasons = "; ".join(reason["text"]["en"] for reason in case["triage"]["reasons"])
    story.line(f"triage: acuity {case['acuity']} — {reasons}", at)
    story.timings_s["first_offer"] = offering_s
    offers: list[dict[str, Any]] = sorted(case["offers"], key=lambda o: int(o["rank"]))
    if len(offers) != 3:
        raise DemoFailed(f"{len(offers)} offers instead of 3")
    for offer in offers:
        room = offer["emergency_room"]
        story.line(f"offer {offer['rank']} to {room['name']}, {offer['eta_min']:.0f} min away", at)
    return offers


def _what_an_er_sees(room: Client, offer: dict[str, Any]) -> str:
    case = offer["case"]
    if case["patient"] is not None:
        raise DemoFailed("an ER that has not accepted sees the patient's identity")
    film = room.call("GET", f"/cases/{case['id']}/image", params={"boxes": 1})
    return (
        f"{offer['emergency_room']['name']} sees film ({len(film) // 1024} kB PNG), findings, "
        f"{len(case['image']['boxes'])} boxes, SpO2 {case['vitals']['spo2_percent']} %, "
        f"ETA {offer['eta_min']:.0f} min"
    )
