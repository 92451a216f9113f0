"""Box heads on frozen maps: what a cell answers for, what is learnt, and the file that serves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from models import card as cards, xray
from models.detector import Detector
from models.training import dense, detection_metrics, film_copies, frozen, train_dense
from models.training.cli import train
from models.training.config import DenseConfig
from models.training.readers import read_plain

pytestmark = pytest.mark.filterwarnings(
    # of the exporter, about itself
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::torch.jit.TracerWarning",
)


def test_cells_near_the_middle_answer_for_the_smallest_box() -> None:
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.4, 0.4, 0.6, 0.6], [0.0, 0.0, 0.01, 0.5]])
    label_of, wanted = dense.answerable(boxes, [0, 1, 2], 10)
    assert label_of[0, 0] == -1
    assert label_of[3, 3] == 0
    assert label_of[4, 4] == label_of[5, 5] == 1
    assert 2 not in label_of  # cut away by the edge
    assert wanted[3, 3].tolist() == [0.0, 0.0, 1.0, 1.0]


def test_overlap_agrees_with_the_figures_own() -> None:
    found = torch.tensor([[0.1, 0.1, 0.5, 0.5], [0.0, 0.0, 0.2, 0.2]])
    true = torch.tensor([[0.2, 0.2, 0.6, 0.7], [0.8, 0.8, 1.0, 1.0]])
    iou, generalised = dense.overlap(found, true)
    wanted = np.diag(detection_metrics.iou(found.double().numpy(), true.double().numpy()))
    assert iou.numpy() == pytest.approx(wanted)
    assert generalised[1] == pytest.approx(-0.92)  # apart: minus the empty share of the hull


def test_a_moved_film_carries_its_boxes_along() -> None:
    film = torch.zeros(1, 1, 200, 200)
    film[..., 60:100, 40:120] = 1.0
    box = np.array([[0.2, 0.3, 0.6, 0.5]])
    ((plain, *others),) = film_copies.moves(1, 5, seed=3)
    assert len({move.scale for move in others}) == 4
    for move in others:
        rows, columns = np.nonzero(move.film(film, 100)[0, 0].numpy() > 0.5)
        seen = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 100
        assert seen == pytest.approx(move.boxes(box)[0], abs=0.015)
    assert plain.film(film, 100)[0, 0, 40, 40] == 1.0
    assert plain.boxes(box)[0] == pytest.approx(box[0])


def test_a_head_learns_where_bright_cells_are() -> None:
    torch.manual_seed(0)
    maps, boxes = torch.zeros(8, 2, 8, 8), []
    for number in range(8):
        x, y = number % 4, number // 2
        maps[number, 0, y : y + 4, x : x + 4] = 1.0
        boxes.append(torch.tensor([[x, y, x + 4, y + 4]]) / 8)
    maps[7], boxes[7] = 0.0, torch.zeros(0, 4)
    head = dense.DenseHead(2, 8, 1, 16)
    true = [dense.answerable(box, [0] * len(box), 8) for box in boxes]
    label_of, wanted = (torch.stack(part) for part in zip(*true, strict=True))
    present = torch.tensor([[float(len(box) > 0)] for box in boxes])
    optimiser = torch.optim.AdamW(head.parameters(), lr=0.01)
    for _ in range(100):
        loss = dense.loss_of(head(maps), label_of, wanted, present)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    score, corners, film = head.eval()(maps)
    best = score.flatten(1).argmax(dim=1)
    found = corners.flatten(2)[torch.arange(8), :, best]
    assert dense.overlap(found[:7], torch.cat(boxes))[0].min() > 0.6
    assert film[7] < film[:7].min()


def test_maps_of_several_trunks_meet_on_one_grid() -> None:
    specs = frozen.parse_trunks("tf_efficientnet_lite0@64, tf_efficientnet_lite0@96")
    maps = frozen.FrozenMaps(specs, [None, None])
    answer = maps(torch.rand(2, 1, 96, 96))
    assert answer.shape == (2, maps.planes, 4, 4)
    assert maps.planes == 2 * (40 + 80 + 112)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dense")


def test_stopped_maps_go_on(
    films_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films = read_plain(films_folder)[:5]
    config = DenseConfig(trunks="tf_efficientnet_lite0@32", size_px=32, copies=2)
    maps = frozen.FrozenMaps(frozen.parse_trunks(config.trunks), [None])
    whole = film_copies.load(maps, films, config, tmp_path / "whole").maps
    monkeypatch.setattr(film_copies, "COUNT_EVERY", 1)
    asked = []

    def tires(batch: torch.Tensor) -> torch.Tensor:
        asked.append(len(batch))
        if len(asked) == 4:
            raise KeyboardInterrupt
        answer: torch.Tensor = maps(batch)
        return answer

    monkeypatch.setattr(tires, "planes", maps.planes, raising=False)
    monkeypatch.setattr(tires, "grid", maps.grid, raising=False)
    with pytest.raises(KeyboardInterrupt):
        film_copies.load(tires, films, config, tmp_path)  # type: ignore[arg-type]
    again = film_copies.load(tires, films, config, tmp_path)  # type: ignore[arg-type]
    assert len(asked) == 4 + 2
    assert (again.maps == whole).all()


@pytest.mark.parametrize("labels", ["lung_opacity", "Pneumonia, Lung_Opacity"])
def test_a_dense_run_ends_in_a_file_that_serves(
    films_folder: Path,
    place: Path,
    labels: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = f"cells-{len(labels.split(','))}"
    data = ["--data", str(films_folder), "--runs", str(place)]
    assert train(["split", *data, "--out", str(place / "split.json"), "--folds", "2"]) == 0
    settings = {
        "name": name, "split": "split.json", "trunks": "tf_efficientnet_lite0@64", "size_px": 64,
        "copies": 2, "heads": 2, "epochs": 2, "batch": 8, "width": 16, "labels": labels,
    }  # fmt: skip
    config = place / "dense.yaml"
    config.write_text(yaml.safe_dump(settings))
    assert train(["dense", *data, "--config", str(config)]) == 0
    assert "mAP50-95" in capsys.readouterr().out
    result = json.loads((place / name / "fold0" / "result.json").read_text())
    assert set(result["froc"]) == {"0.05", "0.1", "0.2"}
    assert len(list((place / "cache").glob("maps-*.npy"))) == 1  # both runs look at the same maps

    def learns_again(*_: object) -> None:
        raise AssertionError("a finished head was trained again")

    with monkeypatch.context() as patched:
        patched.setattr(train_dense, "fit", learns_again)
        assert train(["dense", *data, "--config", str(config)]) == 0
    assert "mAP50-95" in capsys.readouterr().out
    ship = ["ship", "detector", *data, "--run", name, "--folds", "0,1", "--name", name]
    ship += ["--version", "1", "--weights", str(place / "weights")]
    assert train([*ship, "--records", str(place / "records")]) == 0
    card = cards.load(place / "weights" / name)
    assert len(card.labels) == len(labels.split(","))
    assert set(card.figures["validation"]["map50_by_fold"]) == {"0", "1"}
    assert card.figures["run"]["fold"] == "all"
    assert "ultralytics" not in card.licence
    assert card.input.fit is cards.Fit.STRETCH  # as the heads saw films when they learnt
    film = xray.decode((films_folder / "film000.png").read_bytes()).pixels
    found = Detector(card).read(film, min_score=1e-4).boxes
    assert found
    assert all(0 <= box.x0 < box.x1 <= 96 for box in found)
    assert (place / "records" / name / "fold1" / "config.yaml").exists()


@pytest.mark.parametrize("command", ["dense", "detector"])
def test_one_image_under_two_names_ends_the_run(
    films_folder: Path, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(films_folder, tmp_path / "films"))
    data = ["--data", str(copy), "--runs", str(tmp_path)]
    assert train(["split", *data, "--out", str(tmp_path / "split.json"), "--folds", "2"]) == 0
    folds = json.loads((tmp_path / "split.json").read_text())["folds"]
    left, right = sorted(folds[0])[0], sorted(folds[1])[0]
    shutil.copyfile(copy / left, copy / right)
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump({"name": "run", "split": "split.json", "size_px": 64}))
    assert train([command, *data, "--config", str(config)]) == 2
    said = capsys.readouterr().err
    assert "the same image is on both sides of a split" in said
    assert left in said
    assert right in said


def test_a_dense_run_without_boxes_says_so(
    films_folder: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = place / "none.yaml"
    config.write_text(
        yaml.safe_dump({"name": "none", "labels": "Mass", "folds": 2, "init": "a, b"})
    )
    data = ["--data", str(films_folder), "--runs", str(place)]
    assert train(["dense", *data, "--config", str(config)]) == 2
    assert "no film of the training folds has a box of Mass" in capsys.readouterr().err
    config.write_text(yaml.safe_dump({"name": "none", "folds": 2, "init": "a, b"}))
    assert train(["dense", *data, "--config", str(config)]) == 2
    assert "init names 2 weights for 1 trunks" in capsys.readouterr().err
