"""What ends a classifier run early, and films of another kind that train beside the first."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from models import xray
from models.training import train_classifier
from models.training.cli import train
from models.training.readers import read_plain
from models.training.splits import load_split

FIELDS = {"backbone": "mobilenet", "size_px": 32, "batch": 16, "split": "split.json"}


def run(folder: Path, films: Path, **fields: object) -> dict[str, object]:
    """The result of a run on fold 0 of two."""
    data = ["--data", str(films), "--runs", str(folder)]
    if not (folder / "split.json").exists():
        assert train(["split", *data, "--out", str(folder / "split.json"), "--folds", "2"]) == 0
    config = folder / "run.yaml"
    config.write_text(yaml.safe_dump({"name": "run", **FIELDS, **fields}))
    assert train(["classifier", *data, "--config", str(config)]) == 0
    result: dict[str, object] = json.loads((folder / "run" / "fold0" / "result.json").read_text())
    return result


@pytest.mark.parametrize(("patience", "epochs"), [(0, 4), (2, 3)])
def test_a_run_that_gains_nothing_stops_early(
    films_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    patience: int,
    epochs: int,
) -> None:
    def same(_: object, images: np.ndarray, batch: int = 32) -> np.ndarray:
        return np.zeros((len(images), 14))

    monkeypatch.setattr(train_classifier, "score", same)
    assert run(tmp_path, films_folder, epochs=4, patience=patience)["epochs"] == epochs


def test_blurred_films_train_beside_the_others_but_none_of_a_held_back_patient(
    films_folder: Path, tmp_path: Path
) -> None:
    films = Path(shutil.copytree(films_folder, tmp_path / "films"))
    data = ["--data", str(films)]
    assert train(["split", *data, "--out", str(tmp_path / "split.json"), "--folds", "2"]) == 0
    split = load_split(tmp_path / "split.json")
    owner = {film.name: film.patient_id for film in read_plain(films)}
    held = [owner[sorted(part)[0]] for part in (split.folds[0], split.test)]
    with (films / "labels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))[:6]
    (films / "nih16").mkdir()
    patients = ["new1", "new2", "new3", owner[sorted(split.folds[1])[0]], *held]
    for number, (row, patient) in enumerate(zip(rows, patients, strict=True)):
        row |= {"image": f"blurred{number}.png", "patient_id": patient}
        film = np.full((16, 16), 10 * number, dtype=np.uint8)
        (films / "nih16" / row["image"]).write_bytes(xray.encode_png(film))
    with (films / "labels16.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    more = run(tmp_path, films, epochs=1, pretrain_epochs=1, low_resolution="labels16.csv")
    assert more["films"] == {
        "train": len(split.folds[1]), "validation": len(split.folds[0]), "more": 4
    }  # fmt: skip
    assert more["epochs"] == 2
