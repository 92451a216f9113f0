"""The clients: crews that submit and ERs that answer over HTTP, and their own log as the truth.

A client retries as a real one does: the same request with the same Idempotency-Key, after a lost
connection or a 5xx. Every answer that it relies on is written down here, in this process.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import requests

from tests.e2e.chaos.box import Box
from web import cli

PATIENCE_S = 90.0
POSITION = {"latitude": 37.5665, "longitude": 126.9780}


class Refused(AssertionError):
    """A client that tries once only was told to come again."""

    def __init__(self, answer: requests.Response) -> None:
        super().__init__(f"{answer.status_code} {answer.text[:200]}")
        self.problem = answer.headers["Content-Type"] == "application/problem+json"
        self.code = str(answer.json()["code"])


@dataclass
class Life:
    """What the clients of one case were told."""

    key: str
    sha256: str
    submitted_at: float = 0.0
    answered_s: float = 0.0
    retries: int = 0
    """How often the submit had to be sent again."""
    case_id: str = ""
    receipt: dict[str, Any] = field(default_factory=dict)
    offered_s: float = 0.0
    winners: list[str] = field(default_factory=list)
    """Offers whose ER was told that it holds the case."""
    losers: list[str] = field(default_factory=list)


class Crowd:
    """All clients of one box."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._sample = cli.sample_film().read_bytes()
        self._number = 0
        self._lock = threading.Lock()
        self.lives: list[Life] = []
        self.retries: Counter[str] = Counter()
        """How often a request was sent again, and why."""
        self.wait_s = 0.2
        """Before it is."""
        self.refusals: list[str] = []
        """Answers that no client may ever get."""

    def film(self) -> bytes:
        """A film that nobody sent before; trailing bytes change its hash, not its picture."""
        with self._lock:
            self._number += 1
            return self._sample + f"chaos {self._number:06d}".encode()

    def live(self, count: int, clients: int = 4, **more: Any) -> list[Life]:
        """So many cases from the receipt to the crew's acknowledgement, several at once."""
        with ThreadPoolExecutor(clients) as pool:
            return list(pool.map(lambda _: self.one(**more), range(count)))

    def live_every(self, every_s: float, count: int) -> list[Life]:
        """So many such cases, one begun every so many seconds however long the others take."""
        began = time.monotonic()

        def one(number: int) -> Life:
            time.sleep(max(0.0, began + number * every_s - time.monotonic()))
            return self.one()

        with ThreadPoolExecutor(int(PATIENCE_S / every_s)) as pool:
            return list(pool.map(one, range(count)))

    def one(self, film: bytes | None = None, *, tries: bool = True, between: Any = None) -> Life:
        """One case: submitted, offered, accepted by three at once, acknowledged."""
        life = self.submit(film, tries=tries)
        if between:
            between(life)
        offers = self.offers(life)
        self._accept(life, offers)
        self._call("POST", f"/cases/{life.case_id}/acknowledge", self._crew)
        return life

    def submit(self, film: bytes | None = None, *, tries: bool = True, pre_ktas: int = 3) -> Life:
        """Send a film until a receipt comes (or once only)."""
        film = film or self.film()
        life = Life(f"chaos-{uuid4()}", hashlib.sha256(film).hexdigest())
        case = {"crew_pre_ktas": pre_ktas, "position": POSITION}
        life.submitted_at = time.time()
        life.receipt = self._call(
            "POST",
            "/cases",
            self._crew,
            tries=tries,
            life=life,
            headers={"Idempotency-Key": life.key},
            files={"image": ("film.png", film), "case": (None, json.dumps(case))},
        )
        life.answered_s = time.time() - life.submitted_at
        life.case_id = life.receipt["case_id"]
        with self._lock:
            self.lives.append(life)
        return life

    def offers(self, life: Life) -> list[dict[str, Any]]:
        """The offers of a case as soon as it has some."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            case = self.case(life)
            if case["offers"]:
                life.offered_s = time.time() - life.submitted_at
                found: list[dict[str, Any]] = case["offers"]
                return found
            time.sleep(0.1)
        raise AssertionError(f"case {life.case_id} was never offered")

    def case(self, life: Life) -> dict[str, Any]:
        found: dict[str, Any] = self._call("GET", f"/cases/{life.case_id}", self._crew)
        return found

    def answer(self, offer: dict[str, Any], step: str = "decision", **said: Any) -> None:
        """An ER's word about one offer, which may come too late."""
        token = self._box.people.tokens.emergency_rooms[offer["emergency_room"]["id"]]
        self._call("POST", f"/offers/{offer['id']}/{step}", token, json=said, refused=(409, 410))

    def crew_says(self, life: Life, step: str, **said: Any) -> None:
        """The crew's word about its case, which may come too late."""
        path = f"/cases/{life.case_id}/{step}"
        self._call("POST", path, self._crew, json=said, refused=(409, 410))

    def again(self, life: Life) -> dict[str, Any]:
        """The receipt, asked for again."""
        found: dict[str, Any] = self._call("GET", f"/cases/{life.case_id}/receipt", self._crew)
        return found

    def _accept(self, life: Life, offers: list[dict[str, Any]]) -> None:
        barrier = threading.Barrier(len(offers))

        def answer(offer: dict[str, Any]) -> None:
            token = self._box.people.tokens.emergency_rooms[offer["emergency_room"]["id"]]
            barrier.wait(30)
            path = f"/offers/{offer['id']}/decision"
            said = self._call("POST", path, token, json={"decision": "accept"}, refused=(409, 410))
            (life.winners if said.get("status") == "accepted" else life.losers).append(offer["id"])

        with ThreadPoolExecutor(len(offers)) as pool:
            list(pool.map(answer, offers))

    @property
    def _crew(self) -> str:
        return self._box.people.tokens.crew

    def _call(
        self,
        method: str,
        path: str,
        token: str,
        *,
        tries: bool = True,
        life: Life | None = None,
        refused: tuple[int, ...] = (),
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> Any:
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                # A connection of its own: one that was kept open may just have been closed.
                answer = requests.request(
                    method,
                    f"{self._box.settings.public_url}/api/v1{path}",
                    headers={"Authorization": f"Bearer {token}", **(headers or {})},
                    timeout=15,
                    **more,
                )
            except requests.RequestException as error:
                failure = why = type(error).__name__
            else:
                if answer.status_code < 400 or answer.status_code in refused:
                    return answer.json()
                failure = f"{method} {path}: {answer.status_code} {answer.text[:200]}"
                if answer.status_code not in {502, 503, 504}:
                    self.refusals.append(failure)
                    raise AssertionError(failure)
                if not tries:
                    raise Refused(answer)
                why = f"{answer.status_code} {answer.json()['code']}"
            assert tries, failure
            assert time.monotonic() < until, f"{failure} for {PATIENCE_S:g} s"
            with self._lock:
                self.retries[why] += 1
                if life:
                    life.retries += 1
            time.sleep(self.wait_s)
