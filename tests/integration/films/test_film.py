"""An upload becomes a film and its rendition."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dispatch.film import RENDITION_SIDE_PX, open_film
from models import xray
from models.phantom import as_dicom, phantom
from models.quality import UnusableReason
from models.xray import FilmFault, MediaType, UnreadableFilm

PHANTOM = phantom(3, size_px=256)


def opening(tmp_path: Path, data: bytes) -> tuple[object, np.ndarray]:
    upload, rendition = tmp_path / "upload", tmp_path / "rendition"
    upload.write_bytes(data)
    opened = open_film(str(upload), str(rendition))
    assert pickle.loads(pickle.dumps(opened)) == opened
    return opened, np.asarray(Image.open(rendition))


def test_a_small_film_is_kept_as_it_is(tmp_path: Path) -> None:
    opened, rendition = opening(tmp_path, xray.encode_png(PHANTOM.pixels))
    assert (opened.media_type, opened.facts) == (MediaType.PNG, None)
    assert (opened.width_px, opened.rendition_width_px) == (256, 256)
    assert opened.verdict.usable
    assert np.array_equal(rendition, PHANTOM.pixels)


def test_a_large_film_is_rendered_smaller(tmp_path: Path) -> None:
    large = xray.stretch(PHANTOM.pixels, 2400)[:2000]
    opened, rendition = opening(tmp_path, xray.encode_jpeg(large))
    assert (opened.width_px, opened.height_px) == (2400, 2000)
    assert (opened.rendition_width_px, opened.rendition_height_px) == (RENDITION_SIDE_PX, 853)
    assert rendition.shape == (853, RENDITION_SIDE_PX)


def test_a_dicom_film_brings_its_facts(tmp_path: Path) -> None:
    opened, rendition = opening(tmp_path, as_dicom(PHANTOM, photometric="MONOCHROME1"))
    assert opened.facts is not None
    assert opened.facts.view_position == "PA"
    assert np.abs(rendition.astype(int) - PHANTOM.pixels).max() <= 1


def test_an_inverted_photograph_is_mended_in_the_rendition(tmp_path: Path) -> None:
    opened, rendition = opening(tmp_path, xray.encode_png(255 - PHANTOM.pixels))
    assert opened.verdict.mended
    assert np.array_equal(rendition, PHANTOM.pixels)


def test_a_lateral_film_and_a_child_are_shown_but_not_read(tmp_path: Path) -> None:
    lateral, _ = opening(tmp_path, as_dicom(PHANTOM, view_position="LL"))
    assert lateral.verdict.reason is UnusableReason.LATERAL
    child, _ = opening(tmp_path, as_dicom(PHANTOM, patient_age="009Y"))
    assert child.verdict.reason is UnusableReason.CHILD


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"", FilmFault.EMPTY), (bytes(xray.MAX_BYTES + 5), FilmFault.TOO_MANY_BYTES)],
    ids=["empty", "too large"],
)
def test_what_cannot_be_opened_leaves_no_rendition(
    tmp_path: Path, data: bytes, code: FilmFault
) -> None:
    with pytest.raises(UnreadableFilm) as refused:
        opening(tmp_path, data)
    assert refused.value.code is code
    assert not (tmp_path / "rendition").exists()


def test_nothing_of_the_upload_but_pixels_is_in_the_rendition(tmp_path: Path) -> None:
    data = as_dicom(PHANTOM, patient_name="KANARIENVOGEL")
    opening(tmp_path, b"MZ-KANARIENVOGEL".ljust(128, b"!") + data[128:] + b"")
    assert b"KANARIENVOGEL" not in (tmp_path / "rendition").read_bytes()
