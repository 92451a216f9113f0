"""What goes wrong in the middle of a run: told with file and fix, the last checkpoint intact."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from models import card as cards
from models.training import checkpoint, film_copies, pixels
from models.training.cli import evaluate, train
from models.training.config import DenseConfig
from models.training.frozen import FrozenMaps, parse_trunks
from models.training.readers import read_plain
from models.training.records import TrainingError
from tests.training.conftest import write_films

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning:torch"
)
FULL = OSError(28, "No space left on device")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films of this module's own: one of them gets spoilt."""
    return write_films(tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="module")
def run(films: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A run that has finished its first epoch: the arguments that go on with it."""
    place = tmp_path_factory.mktemp("runs")
    config = place / "run.yaml"
    config.write_text(
        yaml.safe_dump(
            {"name": "run", "backbone": "yolov5n", "size_px": 32, "batch": 32, "folds": 2}
            | {"epochs": 1, "split": ""}
        )
    )
    arguments = ["classifier", "--data", str(films), "--config", str(config), "--runs", str(place)]
    assert train(arguments) == 0
    return [*arguments, "--epochs", "2"]


@pytest.fixture
def last(run: list[str]) -> Path:
    return Path(run[run.index("--runs") + 1]) / "run" / "fold0" / "last.pt"


def test_a_film_that_breaks_between_two_epochs_is_named(
    run: list[str], last: Path, films: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, film = last.read_bytes(), films / "film005.png"
    whole = film.read_bytes()
    film.write_bytes(whole[:300])
    try:
        assert train(run) == 2
    finally:
        film.write_bytes(whole)
    said = capsys.readouterr().err
    assert f"{film} cannot be opened as a film" in said
    assert "restore it or drop its row" in said
    assert last.read_bytes() == before


def test_a_checkpoint_of_other_settings_is_not_gone_on_with(
    run: list[str], last: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, kept = last.read_bytes(), (last.parent / "config.yaml").read_text()
    assert train([*run, "--seed", "5"]) == 2
    assert "holds a run with seed 0, asked for is 5" in capsys.readouterr().err
    assert last.read_bytes() == before
    assert (last.parent / "config.yaml").read_text() == kept


def test_a_full_disk_at_the_checkpoint_is_told_and_the_run_goes_on_later(
    run: list[str], last: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = last.read_bytes()

    def full(content: object, stream: object) -> None:
        raise FULL

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.torch, "save", full)
        assert train(run) == 2
    said = capsys.readouterr().err
    assert f"cannot write checkpoint {last}" in said
    assert "free some space and run the same command again" in said
    assert last.read_bytes() == before
    assert train(run) == 0
    saved = checkpoint.load(last)
    assert saved is not None
    assert saved["epoch"] == 2


def test_any_other_file_trouble_ends_in_a_sentence(
    run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    elsewhere = [*run, "--runs", str(tmp_path / "file")]
    assert train(elsewhere) == 2
    said = capsys.readouterr().err
    assert str(tmp_path / "file") in said
    assert "run the same command again" in said


def test_a_full_disk_at_the_decoded_films_is_told_before_any_is_decoded(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mapped file takes its room when written to, and on a full disk that is a dead process."""

    def full(*_: object) -> None:
        raise FULL

    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.setattr(pixels, "decode", lambda *_: pytest.fail("decoded without room"))
    with pytest.raises(TrainingError, match=r"No space left on device.*free some space"):
        pixels.load(read_plain(films), 32, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.npy"))


def test_a_count_that_was_cut_off_starts_afresh(films: Path, tmp_path: Path) -> None:
    """A disk that fills while the count is written leaves it empty."""
    records = read_plain(films)
    whole = pixels.load(records, 32, tmp_path / "whole")
    (kept,) = (tmp_path / "whole").glob("*.npy")
    again = tmp_path / "again"
    again.mkdir()
    (again / kept.name).with_suffix(".partial").write_bytes(b"")
    (again / kept.name).with_suffix(".count").write_text("")
    assert (pixels.load(records, 32, again) == whole).all()
    assert [path.name for path in again.iterdir()] == [kept.name]


def test_a_full_disk_at_the_frozen_maps_is_told_before_any_is_computed(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = read_plain(films)[:3]
    config = DenseConfig(trunks="tf_efficientnet_lite0@32", size_px=32, copies=2)
    maps = FrozenMaps(parse_trunks(config.trunks), [None])
    pixels.load(records, 64, tmp_path)  # of the films themselves there was room

    def full(*_: object) -> None:
        raise FULL

    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.setattr(maps, "forward", lambda *_: pytest.fail("computed without room"))
    with pytest.raises(TrainingError, match=r"No space left on device.*free some space"):
        film_copies.load(maps, records, config, tmp_path)
    assert not list(tmp_path.glob("maps-*.npy"))


def test_a_film_that_breaks_before_a_dense_run_is_named(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(films, tmp_path / "films"))
    broken = next(film.path for film in read_plain(copy) if film.boxes)
    broken.write_bytes(broken.read_bytes()[:300])
    config = tmp_path / "dense.yaml"
    config.write_text(yaml.safe_dump({"name": "cells", "folds": 2, "size_px": 64}))
    arguments = ["dense", "--data", str(copy), "--config", str(config), "--runs", str(tmp_path)]
    assert train(arguments) == 2
    said = capsys.readouterr().err
    assert f"{broken} cannot be opened as a film" in said
    assert "restore it or drop its row" in said
    assert not (tmp_path / "cells").exists()


def test_decoded_films_hold_their_room(films: Path, tmp_path: Path) -> None:
    pixels.load(read_plain(films), 64, tmp_path)
    (kept,) = tmp_path.glob("*.npy")
    assert kept.stat().st_blocks * 512 >= 60 * 64 * 64


@pytest.mark.parametrize(
    ("column", "value", "complaint"),
    [
        ("Mass", "2", r"line 3: Mass is '2'; it is 0, 1 or blank"),
        ("Mass", "inf", r"line 3: Mass is 'inf'"),
        ("orig_w", "wide", r"orig_w 'wide'; both are lengths in pixels"),
        ("orig_w", "0", r"orig_w '0'; both are lengths in pixels"),
    ],
)
def test_a_value_that_cannot_be_is_named(
    films: Path, tmp_path: Path, column: str, value: str, complaint: str
) -> None:
    copy = Path(shutil.copytree(films, tmp_path / "copy"))
    table = copy / "labels.csv"
    lines = [line.split(",") for line in table.read_text().splitlines()]
    lines[2][lines[0].index(column)] = value
    table.write_text("\n".join(",".join(line) for line in lines))
    (copy / "boxes.csv").write_text(f"image,label,x,y,w,h\n{lines[2][0]},Mass,1,1,5,5\n")
    with pytest.raises(TrainingError, match=complaint):
        read_plain(copy)


def test_evaluating_with_the_wrong_files_names_them(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("image,Pneumona\nfilm000.png,1\n")
    weight = ["--weight", cards.shipped(cards.ModelKind.CLASSIFY), "--out", str(tmp_path / "out")]
    images = ["--images", str(films)]
    assert evaluate(["--labels", str(table), *images, *weight]) == 2
    assert "none of the columns Atelectasis" in capsys.readouterr().err
    table.write_text("image,Pneumonia\nnobody.png,1\n")
    assert evaluate(["--labels", str(table), *images, *weight]) == 2
    assert "1 images are missing (first: nobody.png)" in capsys.readouterr().err
    table.write_text("image,Pneumonia\nfilm000.png,1\n")
    assert evaluate(["--labels", str(table), *images, *weight, "--boxes", "none.csv"]) == 2
    assert "none.csv does not exist" in capsys.readouterr().err
    # one film without a negative: no AUC, and yet an answer and a page
    assert evaluate(["--labels", str(table), *images, *weight]) == 0
    figures = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert figures["mean_auc"] is None
