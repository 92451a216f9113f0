"""The case that users see in `make demo`, on real processes, with faults in the middle."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import requests

from models import phantom, xray
from tests.e2e.conftest import Installation
from web import cli

REAL_FILMS = (
    "nih/00000001_000.jpg",
    "dicom/RG1_J2KI.dcm",
    "dicom/CR-MONO1-10-chest.dcm",
)


def test_a_case_travels_the_whole_way(installation: Installation) -> None:
    story = installation.play(cli.sample_film())
    assert story["status"] == "acknowledged"
    assert [offer["status"] for offer in story["offers"]] == [
        *("rejected", "accepted", "withdrawn"),
        "withdrawn",  # asked in the place of the first
    ]
    assert story["offers"][0]["reason_code"] == "no_intensive_care_bed"
    steps = story["timings_s"]
    assert list(steps) == ["submit", "read", "first_offer", "decision", "acknowledged"]
    assert steps["submit"] < steps["first_offer"] < steps["decision"] < steps["acknowledged"]


@pytest.mark.parametrize("film", REAL_FILMS)
def test_real_films_travel_too(installation: Installation, cxr: Path, film: str) -> None:
    story = installation.play(cxr / film)
    assert story["status"] == "acknowledged"
    case = installation.crew().call("GET", f"/cases/{story['case_id']}")
    assert case["image_unusable"] is None
    assert len(case["image"]["findings"]) == 14
    assert {reading["status"] for reading in case["image"]["readings"]} == {"done"}


def test_the_film_an_er_sees_is_our_own_png(installation: Installation) -> None:
    story = installation.play(cli.sample_film())
    film = installation.crew().call("GET", f"/cases/{story['case_id']}/image")
    assert film.startswith(b"\x89PNG\r\n")


@pytest.mark.parametrize("victim", ["classify", "detect", "dispatch", "relay", "gateway1"])
def test_a_process_killed_in_the_middle_costs_time_only(
    installation: Installation, victim: str
) -> None:
    """Kill -9 right after the receipt: the supervisor restarts it, the case still ends well."""
    killed = False

    def kill(step: str) -> None:
        nonlocal killed
        if step == "submitted" and victim != "gateway1":
            os.kill(installation.supervisor.pids()[victim], signal.SIGKILL)
            killed = True
        if step == "accepted" and victim == "gateway1":
            before = installation.supervisor.pids()[victim]
            orphans = psutil.Process(before).children(recursive=True)
            os.kill(before, signal.SIGKILL)
            killed = True
            # Orphaned workers see that their master is gone and end; until then they answer too.
            psutil.wait_procs(orphans, timeout=40)
            _wait(lambda: installation.supervisor.pids()[victim] != before, "a new gateway")
            _wait(lambda: _answers(installation), "an answer of the new gateway")

    story = installation.play(cli.sample_film(), between=kill)
    assert killed
    assert story["status"] == "acknowledged"


def test_unreadable_films_leave_no_case(installation: Installation) -> None:
    before = installation.crew().call("GET", "/cases", params={"live": False})
    for name, data in (
        ("empty.png", b""),
        ("cat.txt", b"meow"),
        ("cut.dcm", b"\0" * 128 + b"DICM"),
    ):
        answer = requests.post(
            f"{installation.settings.public_url}/api/v1/cases",
            headers={
                "Authorization": f"Bearer {installation.people.tokens.crew}",
                "Idempotency-Key": f"unreadable-{name}",
            },
            files={"image": (name, data), "case": (None, "{}")},
            timeout=10,
        )
        assert answer.status_code == 422, answer.text
        assert answer.json()["code"] == "image_unreadable"
    assert installation.crew().call("GET", "/cases", params={"live": False}) == before


def test_a_film_that_opens_but_shows_no_chest_goes_on_without_ai(
    installation: Installation, tmp_path: Path
) -> None:
    black = tmp_path / "black.png"
    pixels = phantom.phantom(seed=1).pixels.copy()
    pixels[:] = 0
    black.write_bytes(xray.encode_png(pixels))
    crew = installation.crew()
    receipt = crew.call(
        "POST",
        "/cases",
        headers={"Idempotency-Key": f"black-{time.time_ns()}"},
        files={"image": ("black.png", black.read_bytes()), "case": (None, "{}")},
    )
    assert receipt["image_unusable"]
    _wait(
        lambda: crew.call("GET", f"/cases/{receipt['case_id']}")["status"] == "offering",
        "offers without a reading",
    )
    case = crew.call("POST", f"/cases/{receipt['case_id']}/cancel", json={"reason": "test ends"})
    assert {offer["status"] for offer in case["offers"]} == {"withdrawn"}


def _answers(installation: Installation) -> bool:
    try:
        return requests.get(f"{installation.settings.public_url}/readyz", timeout=2).ok
    except requests.RequestException:
        return False


def _wait(true: Callable[[], bool], what: str, limit_s: float = 40) -> None:
    until = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < until, f"{what} did not come in {limit_s} s"
        time.sleep(0.2)
