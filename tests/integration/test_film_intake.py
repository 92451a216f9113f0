"""A film on its way in: opened in the child, kept durably, flagged or refused; the case goes on."""

from __future__ import annotations

import io
from uuid import UUID, uuid4

import numpy as np
import pytest
from PIL import Image as Picture

from broker.errors import IdempotencyKeyReused, ImageUnreadable
from broker.imagestore import ImageStore
from broker.lifecycle import CaseStatus
from broker.record import Record
from dispatch import intake, transport
from dispatch.intake import Receipt, Submission
from tests.integration.city import City


def picture(shade: int = 0) -> bytes:
    """A PNG that opens, and is no chest."""
    pixels = np.full((600, 700), shade, np.uint8)
    pixels[:, :350] = 255 - shade
    out = io.BytesIO()
    Picture.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def store(record: Record) -> ImageStore:
    return ImageStore(record.settings)


def submit(city: City, store: ImageStore, data: bytes, key: str = "a-key-of-the-crew") -> Receipt:
    """As the door does it: open, keep, write, commit."""
    case_id = uuid4()
    with store.incoming() as paths:
        film = intake.open_upload(store, io.BytesIO(data), paths)
        intake.keep(store, case_id, film)
        return city.do(
            intake.submit, city.settings, city.crew, key, Submission(crew_pre_ktas=3), film, case_id
        )


def add(city: City, store: ImageStore, case_id: UUID, data: bytes) -> Receipt:
    with store.incoming() as paths:
        film = intake.open_upload(store, io.BytesIO(data), paths)
        intake.keep(store, case_id, film)
        return city.do(intake.add_image, city.settings, city.crew, case_id, film)


def test_an_unusable_film_is_flagged_not_read_and_the_case_goes_on(city: City, store: ImageStore):
    receipt = submit(city, store, picture())
    assert receipt.image_unusable
    assert city.readings(receipt.case_id) == {}
    city.advance(receipt.case_id)  # it waits for nothing
    case = city.case(receipt.case_id)
    assert case.status is CaseStatus.OFFERING
    assert case.image_unusable == receipt.image_unusable
    assert not case.partial
    with city.record.read() as session:
        (image,) = session.get_one(type(case), case.id).images
        assert store.get(case.id, image.sha256) == picture()
        assert store.get(case.id, image.rendition_sha256).startswith(b"\x89PNG")


def test_the_same_film_with_the_same_key_is_one_case(city: City, store: ImageStore):
    first = submit(city, store, picture())
    assert submit(city, store, picture()) == first
    with pytest.raises(IdempotencyKeyReused):
        submit(city, store, picture(9))


@pytest.mark.parametrize("data", [b"", b"x", b"\x89PNG\r\n\x1a\n", b"MZ" * 500, picture()[:200]])
def test_what_cannot_be_opened_is_refused_and_nothing_is_kept(
    city: City, store: ImageStore, data: bytes
):
    with pytest.raises(ImageUnreadable) as caught:
        submit(city, store, data)
    assert caught.value.extra["reason"]
    assert [p for p in store.root.rglob("*") if p.is_file()] == []
    assert city.crew_heard() == []


def test_a_film_that_comes_later_replaces_the_first(city: City, store: ImageStore):
    case_id = city.submit()
    city.advance(case_id)
    first, second = add(city, store, case_id, picture(1)), add(city, store, case_id, picture(2))
    assert first.image_sha256 != second.image_sha256
    version = city.case(case_id).version
    assert add(city, store, case_id, picture(2)) == second  # the same bytes change nothing
    assert city.case(case_id).version == version
    assert city.crew_heard()[-1] == "case.amended"
    city.do(transport.cancel, city.crew, case_id, "over")
    with pytest.raises(Exception, match="cannot be added"):
        add(city, store, case_id, picture(3))
    city.check()
