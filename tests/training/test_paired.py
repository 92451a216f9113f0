"""Two blends of finished runs on the same held-out films: shares, difference, and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.training import paired
from models.training.cli import train
from models.training.finished import out_of_fold
from models.training.readers import read_plain
from models.training.records import LABELS, TrainingError


def write_run(runs: Path, name: str, films: Path, noise: float, first: int = 0) -> None:
    """A run of two folds whose logits are the labels and noise."""
    generator = np.random.default_rng(len(name))
    known = read_plain(films)[first:]
    for fold in (0, 1):
        part = known[fold::2]
        truth = np.array([film.labels for film in part])
        folder = runs / name / f"fold{fold}"
        folder.mkdir(parents=True)
        np.savez(
            folder / "validation.npz",
            names=np.array([film.name for film in part]),
            logits=40 * truth + 40 * noise * generator.normal(size=truth.shape) - 7,
            truth=truth,
        )


@pytest.fixture
def runs(films_folder: Path, tmp_path: Path) -> Path:
    for name, noise in (("good", 0.5), ("poor", 2.0), ("other", 1.0)):
        write_run(tmp_path, name, films_folder, noise)
    return tmp_path


def test_the_better_blend_wins_beyond_noise_and_the_same_one_draws(
    films_folder: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    owner = {film.name: film.patient_id for film in read_plain(films_folder)}
    good, poor = (paired.blended(runs, {name: 1.0}, [0, 1]) for name in ("good", "poor"))
    figures = paired.compare(poor, good, owner)
    assert figures.films == 60
    assert figures.patients == 40
    assert figures.low > 0
    assert figures.above == 1.0
    backwards = paired.compare(good, poor, owner)
    assert backwards.high < 0
    same = paired.compare(good, good, owner)
    assert (same.low, same.high, same.above) == (0, 0, 0)
    arguments = ["--first", "poor", "--second", "poor=0.3,good=0.7", "--folds", "0,1"]
    assert train(["paired", "--data", str(films_folder), "--runs", str(runs), *arguments]) == 0
    assert "above 0 in 100.0%" in capsys.readouterr().out


def test_every_run_weighs_by_its_share_not_by_its_scale(runs: Path) -> None:
    half = paired.blended(runs, {"good": 0.5, "poor": 0.5}, [0, 1]).logits
    parts = [out_of_fold(runs / name, [0, 1]).logits for name in ("good", "poor")]
    wanted = sum((part - part.mean(axis=0)) / part.std(axis=0) / 2 for part in parts)
    assert half.shape == (60, len(LABELS))
    assert np.allclose(half, wanted)


@pytest.mark.parametrize("text", ["", "good=x", "good=0.5", "good=0.5,poor=0.6", "=1"])
def test_shares_that_do_not_add_up_are_refused(text: str) -> None:
    with pytest.raises(TrainingError, match=r"SHARE|add up to 1"):
        paired.shares_of(text)


def test_runs_on_other_films_are_refused(films_folder: Path, runs: Path) -> None:
    write_run(runs, "fewer", films_folder, 1.0, first=2)
    with pytest.raises(TrainingError, match="run fewer answered other films"):
        paired.blended(runs, {"good": 0.5, "fewer": 0.5}, [0, 1])
    one, two = (paired.blended(runs, {name: 1.0}, [0, 1]) for name in ("good", "fewer"))
    with pytest.raises(TrainingError, match="same films"):
        paired.compare(one, two, {})
