"""Phantoms: the same seed the same film, findings where their boxes say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models import phantom as phantoms, xray
from models.card import NIH_LABELS
from models.phantom import phantom


def test_a_seed_is_a_film() -> None:
    first, again, other = (phantom(seed, ["Mass"], 128) for seed in (1, 1, 2))
    assert np.array_equal(first.pixels, again.pixels)
    assert first.boxes == again.boxes
    assert not np.array_equal(first.pixels, other.pixels)


@pytest.mark.parametrize("label", NIH_LABELS)
def test_a_finding_shows_where_its_box_is(label: str) -> None:
    film, healthy = phantom(8, [label], 256), phantom(8, [], 256)
    (box,) = film.boxes
    assert (film.labels, box.label) == ((label,), label)
    assert 0 <= box.x0 < box.x1 <= 256
    assert 0 <= box.y0 < box.y1 <= 256
    if label in ("Cardiomegaly", "Emphysema"):
        return  # these draw the whole chest anew; its grain differs everywhere
    changed = np.abs(film.pixels.astype(int) - healthy.pixels)
    inside = changed[round(box.y0) : round(box.y1), round(box.x0) : round(box.x1)].mean()
    assert inside > 2 * np.median(changed)


def test_all_findings_fit_on_one_film() -> None:
    film = phantom(4, NIH_LABELS, 256)
    assert [box.label for box in film.boxes] == list(NIH_LABELS)


def test_an_unknown_finding_or_a_tiny_film_is_refused() -> None:
    with pytest.raises(ValueError, match="Fracture"):
        phantom(1, ["Fracture"])
    with pytest.raises(ValueError, match="128"):
        phantom(1, size_px=64)


def test_the_samples_are_what_the_generator_makes(tmp_path: Path) -> None:
    phantoms._write_samples(tmp_path)
    shipped = sorted((Path(phantoms.__file__).parent / "samples").iterdir())
    assert [path.name for path in shipped] == sorted(path.name for path in tmp_path.iterdir())
    for path in shipped:
        assert path.stat().st_size < 300_000
        ours, made = (xray.decode(p.read_bytes()) for p in (path, tmp_path / path.name))
        # Not byte for byte: another JPEG or numpy build may round differently.
        assert np.abs(ours.pixels.astype(int) - made.pixels).mean() < 2
