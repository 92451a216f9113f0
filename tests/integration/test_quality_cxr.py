"""The quality gate measured on the real films: how often it refuses what it should let pass.

With --long all 1,289, else every eighth. The figures in models/quality.py come from::

    GOLDENTIME_CXR=... pytest --long -s tests/integration/test_quality_cxr.py
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models import quality, xray
from models.quality import UnusableReason

pytestmark = pytest.mark.cxr


@pytest.fixture(scope="module")
def films(cxr: Path, long_run: bool) -> list[xray.Film]:
    paths = sorted((cxr / "nih").glob("*.jpg"))[:: 1 if long_run else 8]
    assert len(paths) > 100
    return [xray.decode(path.read_bytes()) for path in paths]


def test_real_films_pass(films: list[xray.Film]) -> None:
    judged = [quality.judge(film) for film in films]
    verdicts = Counter((verdict.reason, verdict.mended) for verdict in judged)
    print(f"\n{len(films)} films: {dict(verdicts)}")
    assert verdicts[None, False] >= 0.99 * len(films)


def test_inverted_films_are_mended_or_refused(films: list[xray.Film]) -> None:
    verdicts = [quality.judge(replace(film, pixels=255 - film.pixels)) for film in films]
    mended = sum(verdict.mended for verdict in verdicts) / len(films)
    read_wrongly = sum(v.usable and not v.mended for v in verdicts) / len(films)
    print(f"\ninverted: {mended:.1%} mended, {read_wrongly:.1%} read as they are")
    assert mended >= 0.85
    assert read_wrongly <= 0.02


def test_turned_films_are_refused(films: list[xray.Film]) -> None:
    for quarter in (1, 2, 3):
        turned = [
            quality.judge(replace(film, pixels=np.rot90(film.pixels, quarter).copy()))
            for film in films
        ]
        refused = sum(not verdict.usable for verdict in turned) / len(films)
        told = sum(v.reason is UnusableReason.TURNED for v in turned) / len(films)
        print(f"\nturned by {90 * quarter}: {refused:.1%} refused, {told:.1%} as turned")
        assert refused >= 0.85


def test_the_mean_chest_is_the_mean_of_these_films(films: list[xray.Film]) -> None:
    mean = np.mean([quality.ranks(film.pixels) for film in films], axis=0)
    assert np.corrcoef(mean, quality._MEAN_CHEST)[0, 1] > 0.99


@pytest.mark.parametrize("name", ["RG1_J2KI.dcm", "CR-MONO1-10-chest.dcm"])
def test_real_dicom_films_are_opened_and_pass(cxr: Path, name: str) -> None:
    film = xray.decode((cxr / "dicom" / name).read_bytes())
    assert film.inverted
    assert film.view_position == "PA"
    assert quality.judge(film) == quality.Verdict(True)
