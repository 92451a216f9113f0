"""Linear heads on frozen trunks: the arithmetic, and the commands from films to a served weight."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from models import card as cards
from models.classifier import Classifier
from models.training import frozen, ridge
from models.training.backbones import find_init, load_init, trunk_of
from models.training.cli import train
from models.training.records import LABELS, TrainingError

pytestmark = pytest.mark.filterwarnings(
    # of libraries that only training uses, about themselves
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::UserWarning:torch",
    "ignore::torch.jit.TracerWarning",
)
TRUNKS = "tf_efficientnet_lite0@64, yolov5n@32"


def reader() -> ridge.RidgeReader:
    torch.manual_seed(0)
    return ridge.RidgeReader(frozen.parse_trunks(TRUNKS), grid=3)


def test_the_fit_over_films_is_the_one_over_features() -> None:
    generator = np.random.default_rng(0)
    films, targets = generator.normal(size=(20, 50)), generator.random((20, 2))
    weight, bias = ridge.fit(films, targets, 0.7)
    primal = np.linalg.solve(films.T @ films + 0.7 * np.eye(50), films.T @ (targets - bias))
    assert np.allclose(bias, targets.mean(axis=0))
    assert np.allclose(weight, primal)


def test_every_block_of_features_weighs_the_same() -> None:
    features = np.random.default_rng(0).normal(3.0, 5.0, (200, 4 * 10 + 2 * 10))
    scaled = ridge.scale_of(features, [4, 2], 10)(features)
    blocks = scaled[:, :40].reshape(200, 4, 10), scaled[:, 40:].reshape(200, 2, 10)
    energies = [part.var(axis=0).sum() for b in blocks for part in (b[..., :1], b[..., 1:])]
    assert np.allclose(energies, 0.25, rtol=1e-4)


def test_grid_means_are_those_of_adaptive_pooling() -> None:
    maps = torch.rand(1, 5, 10, 7)
    means = ridge.grid_means(10, 7, 4)
    pooled = maps.flatten(2) @ means.T
    assert torch.allclose(pooled[..., 0], maps.mean(dim=(2, 3)))
    cells = torch.nn.functional.adaptive_avg_pool2d(maps, 4).flatten(2)
    assert torch.allclose(pooled[..., 1:], cells, atol=1e-6)


def test_a_frozen_trunk_stays_as_it_was() -> None:
    network, films = reader(), torch.rand(4, 1, 64, 64)
    before = network.features(films)
    network.train()
    network.features(films)
    assert torch.equal(before, network.eval().features(films))
    assert not any(part.requires_grad for part in network.parameters())


def test_weights_of_another_implementation_are_taken_in_their_order(tmp_path: Path) -> None:
    theirs, _ = trunk_of("tf_efficientnet_lite0")
    given = {f"_other{n}": value for n, value in enumerate(theirs.state_dict().values())}
    torch.save({**given, "_fc.bias": torch.zeros(1000)}, tmp_path / "theirs.pth")
    ours, _ = trunk_of("tf_efficientnet_lite0")
    assert load_init(ours, tmp_path / "theirs.pth") == len(given)
    for mine, wanted in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        assert torch.equal(mine, wanted)
    other, _ = trunk_of("tf_efficientnet_lite1")
    with pytest.raises(TrainingError, match="none of its"):
        load_init(other, tmp_path / "theirs.pth")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("no_such_package", "pip install no_such_package"), ("json", "holds 0 .pth files")],
)
def test_a_package_without_weights_is_named(text: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=complaint):
        find_init(text, tmp_path)


@pytest.mark.parametrize("text", ["", "yolov5n", "yolov5n@x", "yolov5n@8"])
def test_trunks_without_a_size_are_refused(text: str) -> None:
    with pytest.raises(TrainingError, match="NAME@SIZE"):
        frozen.parse_trunks(text)


def test_only_known_families_are_frozen() -> None:
    with pytest.raises(TrainingError, match="resnet18 cannot be a frozen trunk"):
        frozen.FrozenTrunk(frozen.TrunkSpec("resnet18", 64))


@pytest.fixture(scope="module")
def place(films_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A split, weights to start from, and a finished run of two folds."""
    place = tmp_path_factory.mktemp("ridge")
    data = ["--data", str(films_folder), "--runs", str(place)]
    assert train(["split", *data, "--out", str(place / "split.json"), "--folds", "2"]) == 0
    torch.manual_seed(0)
    for name in ("tf_efficientnet_lite0", "yolov5n"):
        torch.save(trunk_of(name)[0].state_dict(), films_folder / f"{name}.pth")
    fields = {
        "name": "heads", "trunks": TRUNKS, "init": "tf_efficientnet_lite0.pth, yolov5n.pth",
        "size_px": 64, "split": "split.json", "teacher": "teacher.csv",
    }  # fmt: skip
    (place / "heads.yaml").write_text(yaml.safe_dump(fields))
    assert train(["ridge", *data, "--config", str(place / "heads.yaml")]) == 0
    return place


def test_a_blend_of_both_kinds_of_run_serves(films_folder: Path, place: Path) -> None:
    data = ["--data", str(films_folder), "--runs", str(place)]
    fields = {"name": "tiny", "backbone": "yolov5n", "size_px": 64, "epochs": 1, "batch": 16}
    (place / "tiny.yaml").write_text(yaml.safe_dump({**fields, "split": "split.json"}))
    for fold in ("0", "1"):
        run = ["--config", str(place / "tiny.yaml"), "--fold", fold]
        assert train(["classifier", *data, *run]) == 0
    arguments = ["--run", "tiny", "--folds", "0,1", "--ridge", "heads", "--ridge-share", "0.9"]
    arguments += ["--weights", str(place / "weights"), "--records", str(place / "records")]
    assert train(["ship", "classifier", *data, *arguments, "--name", "both", "--version", "1"]) == 0
    card = cards.load(place / "weights" / "both")
    reading = Classifier(card).read(np.full((120, 100), 80, np.uint8))
    assert all(0 < score < 1 for score in reading.scores.values())
    assert reading.cams is not None
    assert reading.cams["Mass"].shape == (2, 2)
    # a bright blob is Pneumonia in these films, and even random trunks see that
    assert card.figures["validation"]["labels"]["Pneumonia"]["auc"] > 0.8
    assert "ridge regression on frozen lower blocks" in card.architecture
    split = json.loads((place / "split.json").read_text())
    for fold in (0, 1):
        with np.load(place / "heads" / f"fold{fold}" / "validation.npz") as saved:
            assert set(saved["names"]) == set(split["folds"][fold])
        assert (place / "records" / "both" / "ridge" / f"fold{fold}" / "config.yaml").exists()


def test_what_the_final_test_films_show_changes_nothing(
    films_folder: Path, place: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(films_folder, tmp_path / "copy"))
    test = json.loads((place / "split.json").read_text())["test"]
    with (copy / "labels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        if row["image"] in test:
            row.update({label: str(1 - int(row[label])) for label in LABELS})
    with (copy / "labels.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    shutil.copy(place / "split.json", tmp_path)
    shutil.copy(place / "heads.yaml", tmp_path)
    arguments = ["--data", str(copy), "--runs", str(tmp_path)]
    assert train(["ridge", *arguments, "--config", str(tmp_path / "heads.yaml")]) == 0
    mine, theirs = (
        torch.load(folder / "heads" / "all" / "head.pt", weights_only=True)["ema"]
        for folder in (place, tmp_path)
    )
    assert all(torch.equal(value, theirs[key]) for key, value in mine.items())


def test_blank_labels_are_refused(
    films_folder: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(films_folder, tmp_path / "copy"))
    name = json.loads((place / "split.json").read_text())["folds"][0][0]
    with (copy / "labels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        if row["image"] == name:
            row["Hernia"] = ""
    with (copy / "labels.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    arguments = ["--data", str(copy), "--runs", str(tmp_path)]
    assert train(["ridge", *arguments, "--config", str(place / "heads.yaml")]) == 2
    assert f"1 films have blank labels (first: {name})" in capsys.readouterr().err
