"""One Idempotency-Key is one case, however often and from however many threads it comes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from uuid import uuid4

import pytest

from tests.integration.api.doors import CASE, HERE, House, film

CALLS = 20


def folders(files: set[str]) -> set[str]:
    """The cases that files of the image store belong to."""
    return {str(Path(file).parent) for file in files}


def test_the_same_key_gets_the_same_answer(house: House) -> None:
    key, image = f"key-{uuid4()}", film()
    first = house.crew.submit(image=image, key=key)
    rows, files = house.rows(), house.files()
    again = house.crew.submit(image=image, key=key, name="renamed.png")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json == first.json
    assert (house.rows(), house.files()) == (rows, files)


def test_the_same_key_with_another_body_is_refused(house: House) -> None:
    key = f"key-{uuid4()}"
    assert house.crew.submit(image=film(), key=key).status_code == 201
    rows, files = house.rows(), house.files()
    for case, image in (
        ({**CASE, "complaint": "another"}, film()),
        (CASE, film("pneumonia.jpg")),
        (CASE, None),
    ):
        answer = house.crew.submit(case, image, key=key)
        assert (answer.status_code, answer.json["code"]) == (422, "idempotency_key_reused")
    assert (house.rows(), house.files()) == (rows, files)


def test_keys_of_two_ambulances_do_not_meet(house: House) -> None:
    key = f"key-{uuid4()}"
    first, second = house.crew.submit(key=key), house.other_crew.submit(key=key)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json["case_id"] != second.json["case_id"]


@pytest.mark.parametrize("image", [None, "normal.png"])
def test_parallel_calls_make_one_case(house: House, image: str | None) -> None:
    key, data = f"key-{uuid4()}", film(image) if image else None
    calls = CALLS if data is None else CALLS // 2  # each film is opened in a process of its own
    before, files = house.rows(), house.files()
    together = Barrier(calls)

    def call(_: int) -> tuple[int, str]:
        together.wait()
        answer = house.crew.submit({"position": HERE}, data, key=key)
        return answer.status_code, answer.text

    with ThreadPoolExecutor(calls) as pool:
        answers = set(pool.map(call, range(calls)))
    assert {status for status, _ in answers} == {201}
    assert len(answers) == 1
    after = house.rows()
    assert after["cases"] == before["cases"] + 1
    assert after["images"] == before["images"] + (data is not None)
    assert after["readings"] == before["readings"] + 2 * (data is not None)
    assert len(folders(house.files() - files)) == (data is not None)


def test_parallel_calls_with_two_bodies_make_one_case(house: House) -> None:
    key = f"key-{uuid4()}"
    images = [film("normal.png"), film("pneumonia.jpg")] * 3
    before, files = house.rows(), house.files()
    together = Barrier(len(images))

    def call(image: bytes) -> tuple[int, str]:
        together.wait()
        answer = house.crew.submit(image=image, key=key)
        return answer.status_code, answer.json.get("code", answer.json.get("case_id"))

    with ThreadPoolExecutor(len(images)) as pool:
        answers = list(pool.map(call, images))
    assert sorted(status for status, _ in answers) == [201] * 3 + [422] * 3
    assert len(set(answers)) == 2
    assert house.rows()["cases"] == before["cases"] + 1
    assert len(folders(house.files() - files)) == 1


@pytest.mark.parametrize(
    "key", [None, "", "short", "       7       ", "x" * 101, "schlüssel-1"], ids=repr
)
def test_a_key_that_is_none_is_refused(house: House, key: str | None) -> None:
    rows = house.rows()
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = house.crew.post("/cases", json={}, headers=headers)
    assert (answer.status_code, answer.json["code"]) == (400, "idempotency_key_missing")
    assert house.rows() == rows


def test_the_shortest_and_the_longest_key(house: House) -> None:
    for key in (uuid4().hex[:8], (uuid4().hex * 4)[:100]):
        headers = {"Idempotency-Key": key}
        assert house.crew.post("/cases", json={}, headers=headers).status_code == 201
