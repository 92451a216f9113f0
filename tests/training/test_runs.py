"""The commands themselves, small: train, resume, ship, evaluate; through the served path."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from models import card as cards, xray
from models.classifier import Classifier
from models.detector import Detector
from models.training import augment
from models.training.backbones import build
from models.training.cli import evaluate, train
from models.training.train_detector import export, start_card

pytestmark = pytest.mark.filterwarnings(
    # of libraries that only training uses, about themselves
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::UserWarning:torch",
    "ignore::torch.jit.TracerWarning",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def configured(place: Path, name: str, **fields: object) -> str:
    path = place / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"name": name, "split": "split.json", **fields}))
    return str(path)


@pytest.fixture(scope="module")
def shipped(films_folder: Path, place: Path) -> Path:
    """A classifier trained on two folds for two epochs, and shipped as their mean."""
    data = ["--data", str(films_folder), "--runs", str(place)]
    assert train(["split", *data, "--out", str(place / "split.json"), "--folds", "2"]) == 0
    config = configured(
        place, "tiny", backbone="yolov5n", size_px=64, epochs=2, batch=16,
        teacher="teacher.csv", side_weight=0.3, init="start.safetensors",
    )  # fmt: skip
    torch.manual_seed(0)
    start = build("yolov5n").state_dict()
    from safetensors.torch import save_file

    save_file(
        {
            key.replace("trunk.", "model.", 1): value.contiguous()
            for key, value in start.items()
            if key.startswith("trunk.")
        },
        films_folder / "start.safetensors",
    )
    for fold in ("0", "1"):
        assert train(["classifier", *data, "--config", config, "--fold", fold]) == 0
    assert (
        train(
            ["ship", "classifier", *data, "--run", "tiny", "--folds", "0,1", "--name", "tiny",
             "--version", "1", "--weights", str(place / "weights"),
             "--records", str(place / "records")]
        )
        == 0
    )  # fmt: skip
    return place / "weights" / "tiny"


def test_a_shipped_classifier_reads_through_the_served_path(shipped: Path, place: Path) -> None:
    card = cards.load(shipped)
    reading = Classifier(card).read(np.full((120, 100), 80, np.uint8))
    assert set(reading.scores) == set(cards.NIH_LABELS)
    assert all(0 < score < 1 for score in reading.scores.values())
    assert reading.cams is not None
    assert reading.cams["Mass"].shape == (2, 2)
    # two epochs leave the scores too much alike for their ranks to say anything
    assert card.figures["onnx_parity"]["max_difference"] < 2e-3
    kept = place / "records" / "tiny" / "fold1"
    assert {path.name for path in kept.iterdir()} == {"config.yaml", "log.jsonl", "result.json"}
    assert yaml.safe_load((kept / "config.yaml").read_text())["fold"] == 1


def test_the_final_test_films_were_neither_trained_nor_validated_on(
    shipped: Path, place: Path
) -> None:
    split = json.loads((place / "split.json").read_text())
    for fold in (0, 1):
        with np.load(place / "tiny" / f"fold{fold}" / "validation.npz") as saved:
            assert set(saved["names"]) == set(split["folds"][fold])
    assert not set(split["test"]) & {name for fold in split["folds"] for name in fold}


def test_a_stopped_run_goes_on_from_its_checkpoint(
    shipped: Path, films_folder: Path, place: Path
) -> None:
    config = configured(place, "resumed", backbone="yolov5n", size_px=64, epochs=1, batch=16)
    data = ["--data", str(films_folder), "--runs", str(place), "--config", config]
    assert train(["classifier", *data]) == 0
    assert train(["classifier", *data, "--epochs", "3"]) == 0
    lines = (place / "resumed" / "fold0" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]


def test_comparing_backbones_prints_the_table(
    shipped: Path, films_folder: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured(place, "table", size_px=64, epochs=50, batch=16, wall_clock_s=1.0)
    arguments = ["--data", str(films_folder), "--runs", str(place), "--config", config]
    families = ["--compare", "--backbones", "mobilenet,yolov5n", "--seeds", "0,1"]
    assert train(["classifier", *arguments, *families]) == 0
    printed = capsys.readouterr().out
    assert "| label | mobilenet | yolov5n |" in printed
    assert printed.count("\n| ") == 1 + len(cards.NIH_LABELS) + 5
    assert (place / "table.md").read_text().strip() in printed
    cut = ["--compare", "--backbones", "mobilenet,no_such", "--seeds", "0,1"]
    assert train(["classifier", *arguments, *cut]) == 2
    assert "| label | mobilenet |" in (place / "table.md").read_text()


def test_an_ablation_puts_configurations_side_by_side(
    shipped: Path, films_folder: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped by processor time; what was run already is not run again."""
    fields = {"backbone": "yolov5n", "size_px": 32, "epochs": 50, "batch": 16, "cpu_s": 0.5}
    config = configured(place, "plain", **fields)
    other = configured(place, "balanced", **fields, balance=0.5)
    arguments = ["--data", str(films_folder), "--runs", str(place), "--config", config]
    capsys.readouterr()
    printed = []
    for _ in range(2):
        assert train(["classifier", *arguments, "--against", other, "--seeds", "1"]) == 0
        printed.append(capsys.readouterr().out)
    assert "Each column: 0.5 s of processor time" in printed[0]
    assert "| label | plain | balanced |" in printed[0]
    rows = [line for line in printed[0].splitlines() if line.startswith(("| mean", "| epochs"))]
    assert rows == [line for line in printed[1].splitlines() if line in rows]
    result = json.loads((place / "balanced-seed1" / "fold0" / "result.json").read_text())
    assert 0 < result["epochs"] < 50
    assert result["cpu_seconds"] >= 0.5
    unlike = configured(place, "unlike", **fields, fold=1)
    assert train(["classifier", *arguments, "--against", unlike]) == 2
    assert "unlike: fold is 1, in plain it is 0" in capsys.readouterr().err
    shorter = configured(place, "shorter", **fields | {"cpu_s": 0.1})
    assert train(["classifier", *arguments, "--against", shorter]) == 2
    assert "give them the same" in capsys.readouterr().err


def test_evaluate_writes_figures_plots_and_a_page(
    shipped: Path, films_folder: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = place / "evaluation"
    arguments = ["--labels", str(films_folder / "labels.csv"), "--weight", str(shipped)]
    arguments += ["--boxes", "boxes.csv"]
    test_part = ["--split", str(place / "split.json"), "--out", str(out)]
    assert evaluate([*arguments, *test_part, "--write-card", "test"]) == 0
    printed = capsys.readouterr().out
    assert "mean AUC" in printed
    assert "source source0" in printed
    assert "pointing game" in printed
    figures = json.loads((out / "figures.json").read_text())
    assert figures["films"] == len(json.loads((place / "split.json").read_text())["test"])
    assert {path.name for path in out.iterdir()} >= {"roc.png", "reliability.png", "report.html"}
    page = (out / "report.html").read_text()
    assert "not for diagnosis" in page
    for printed_too in ("AUPRC", "sens@.9", "ECE", "95 %", "prediction set"):
        assert printed_too in printed
        assert printed_too in page
    assert_needs_nothing_beside_it(page, pictures=2)
    assert cards.load(shipped).figures["test"]["mean_auc"]["value"] == pytest.approx(
        figures["mean_auc"], abs=1e-4
    )


def assert_needs_nothing_beside_it(page: str, pictures: int) -> None:
    """Pictures are inside; nothing is fetched, no script runs."""
    sources = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"'\s>)]+)""", page)
    assert len(sources) == pictures
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "<script" not in page
    assert "<link" not in page


def test_a_detector_run_ends_in_a_file_that_serves(
    shipped: Path, films_folder: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured(place, "boxes", size_px=96, epochs=2, batch=8, trunk_run="tiny", rate=0.001)
    data = ["--data", str(films_folder), "--runs", str(place)]
    assert train(["detector", *data, "--config", config]) == 0
    folder = place / "boxes" / "fold0"
    assert json.loads((folder / "result.json").read_text())["tensors_started_from"] > 100
    assert (
        train(
            ["ship", "detector", *data, "--run", "boxes", "--name", "boxes", "--version", "1",
             "--weights", str(place / "weights"), "--records", str(place / "records")]
        )
        == 0
    )  # fmt: skip
    card = cards.load(place / "weights" / "boxes")
    film = xray.decode((films_folder / "film000.png").read_bytes()).pixels
    found = Detector(card).read(film, min_score=1e-4).boxes
    assert found
    assert all(0 <= box.x0 < box.x1 <= 96 for box in found)

    out = place / "evaluation with boxes"
    arguments = ["--labels", str(films_folder / "labels.csv"), "--weight", str(shipped)]
    arguments += ["--images", str(films_folder), "--boxes", "boxes.csv"]
    arguments += ["--detector", str(place / "weights" / "boxes"), "--out", str(out)]
    capsys.readouterr()
    assert evaluate(arguments) == 0
    printed = capsys.readouterr().out
    for figure in ("mAP50 ", "mAP50-95", "false positives per film", "missed", "false"):
        assert figure in printed
    assert {path.name for path in out.glob("*.png")} == {
        *("roc.png", "reliability.png", "boxes.png", "confusion.png"),
    }
    assert_needs_nothing_beside_it((out / "report.html").read_text(), pictures=4)
    confusion = json.loads((out / "figures.json").read_text())["boxes"]["confusion"]
    assert confusion["labels"] == ["lung_opacity", "none"]
    true_boxes = len((films_folder / "boxes.csv").read_text().splitlines()) - 1
    assert sum(confusion["true_by_found"][0]) == true_boxes  # each was found or missed


def test_a_newer_yolo_answers_as_the_detector_reads(place: Path) -> None:
    from models.training.yolo import MixedModel

    folder, labels = place / "newer", ("Mass", "Nodule")
    folder.mkdir()
    export(MixedModel("yolo11n.yaml", nc=2, ch=3, verbose=False), 96, folder / "model.onnx")
    card = cards.write(start_card("newer", "yolo11n", labels, 96, "random weights"), folder)
    found = Detector(card).read(np.full((80, 90), 100, np.uint8), min_score=0.0).boxes
    assert {box.label for box in found} <= set(labels)


def test_mistakes_end_in_a_sentence_not_a_traceback(
    films_folder: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured(tmp_path, "nothing", backbone="no_such_network", split="")
    assert train(["classifier", "--data", str(films_folder), "--config", config,
                  "--runs", str(tmp_path)]) == 2  # fmt: skip
    assert "no network called 'no_such_network'" in capsys.readouterr().err
    copy = Path(shutil.copytree(films_folder, tmp_path / "copy"))
    table = (copy / "labels.csv").read_text().splitlines()
    column = table[0].split(",").index("Hernia")
    for number, line in enumerate(table[1:], start=1):
        cells = line.split(",")
        cells[column] = "0"
        table[number] = ",".join(cells)
    (copy / "labels.csv").write_text("\n".join(table))
    config = configured(tmp_path, "empty", split="", folds=2)
    assert train(["classifier", "--data", str(copy), "--config", config,
                  "--runs", str(tmp_path)]) == 2  # fmt: skip
    assert "no film with Hernia" in capsys.readouterr().err
    assert evaluate(["--labels", str(copy / "labels.csv"), "--weight", "nobody"]) == 2
    assert "nobody" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_missing_gpu_is_named(
    films_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured(
        tmp_path, "gpu", backbone="yolov5n", size_px=32, split="", folds=2, device="cuda"
    )
    arguments = ["--data", str(films_folder), "--config", config, "--runs", str(tmp_path)]
    assert train(["classifier", *arguments]) == 2
    assert "finds no GPU: set device: cpu" in capsys.readouterr().err


def test_augmentation_never_flips_left_and_right() -> None:
    film = torch.zeros(64, 1, 32, 32)
    film[..., 2:12] = 1.0  # bright on one side only
    varied = augment.vary(film, 1.0, torch.Generator().manual_seed(0))
    assert bool((varied[..., :16].mean(dim=(1, 2, 3)) > varied[..., 16:].mean(dim=(1, 2, 3))).all())


def test_every_family_answers_scores_and_maps() -> None:
    for name in ("efficientnet", "mobilenet"):
        logits, cam, side = build(name).eval()(torch.zeros(1, 1, 64, 64))
        assert logits.shape == (1, 14)
        assert cam.shape[:2] == (1, 14)
        assert side.shape == (1, 3)
