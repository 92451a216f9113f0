"""`goldentime read` as a user runs it: a process of its own, real children, real files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import card, xray
from models.card import Calibration, CalibrationMethod, Fit, InputSpec, ModelKind
from models.phantom import as_dicom, phantom
from tests import onnx_graphs
from tests.unit.test_card import a_card

ROOT = Path(__file__).parents[2]
LABELS = card.NIH_LABELS


def read(*arguments: object) -> subprocess.CompletedProcess[str]:
    program = "import sys; from workers.cli import read; sys.exit(read(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments that name tiny networks whose answers are known."""
    classify, detect = tmp_path_factory.mktemp("classify"), tmp_path_factory.mktemp("detect")
    bias = np.linspace(3, -3, len(LABELS))
    (classify / card.MODEL_FILE).write_bytes(
        onnx_graphs.classifier(np.zeros((len(LABELS), 1)), bias)
    )
    even = dict.fromkeys(LABELS, 1.0)
    figures = {
        "prevalence": dict.fromkeys(LABELS, 0.2),
        "conformal_set": {"coverage": 0.9, "thresholds": dict.fromkeys(LABELS, 0.3)},
    }
    fields = {
        "labels": LABELS,
        "thresholds": dict.fromkeys(LABELS, 0.5),
        "calibration": Calibration(CalibrationMethod.PLATT, even, dict.fromkeys(LABELS, 0.0)),
        "figures": figures,
    }
    card.write(a_card(**fields), classify)
    boxes = np.array([(32, 32, 16, 8, 0.9)]).T
    (detect / card.MODEL_FILE).write_bytes(onnx_graphs.detector(boxes))
    fields = {"labels": ("lung_opacity",), "thresholds": {"lung_opacity": 0.5}}
    spec = InputSpec(64, 1, (0.0,), (1.0,), Fit.LETTERBOX)
    card.write(a_card(kind=ModelKind.DETECT, calibration=None, input=spec, **fields), detect)
    return ["--classifier", str(classify), "--detector", str(detect), "--threads", "1"]


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Good and bad files side by side."""
    large = xray.stretch(phantom(3).pixels, 2048)
    (tmp_path / "large.jpg").write_bytes(xray.encode_jpeg(large))
    (tmp_path / "film.dcm").write_bytes(as_dicom(phantom(3, size_px=256)))
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "half.png").write_bytes(xray.encode_png(large)[:5000])
    (tmp_path / "noise.png").write_bytes(
        xray.encode_png(np.random.default_rng(1).integers(0, 256, (300, 300)).astype(np.uint8))
    )
    return tmp_path


def test_one_line_per_file_with_boxes_in_its_own_pixels(weights: list[str], films: Path) -> None:
    done = read(films / "large.jpg", films / "film.dcm", "--json", *weights)
    assert (done.returncode, done.stderr) == (0, "")
    large, small = lines(done)
    assert large["file"] == str(films / "large.jpg")
    assert list(large["scores"]) == list(LABELS)
    assert large["top3"] == list(LABELS[:3])
    (box,) = large["boxes"]
    assert box == {
        "label": "lung_opacity",
        "score": 0.9,
        "x0": 768.0,
        "y0": 896.0,
        "x1": 1280.0,
        "y1": 1152.0,
    }
    assert small["boxes"][0]["x0"] == 96.0
    assert set(large["seconds"]) == {"decode", "classify", "detect"}
    for role in ("classifier", "detector"):
        assert set(large["model"][role]) == {"name", "version", "sha256"}


def test_a_sites_prevalence_makes_scores_probabilities(weights: list[str], films: Path) -> None:
    plain = lines(read(films / "film.dcm", "--json", *weights))[0]
    assert plain["score_kind"] == "score"
    likely = [label for label in LABELS if plain["scores"][label] >= 0.3]
    assert plain["prediction_set"] == {"coverage": 0.9, "labels": likely}
    site = films / "site.json"
    site.write_text(json.dumps(dict.fromkeys(LABELS, 0.01)))
    done = read(films / "film.dcm", "--json", "--site-prevalence", site, *weights)
    assert (done.returncode, done.stderr) == (0, "")
    there = lines(done)[0]
    assert there["score_kind"] == "probability"
    for label in LABELS:
        assert there["scores"][label] < plain["scores"][label]
    for same in ("above_threshold", "prediction_set", "top3"):
        assert there[same] == plain[same]
    table = read(films / "film.dcm", "--site-prevalence", site, *weights).stdout
    assert "probability of each finding" in table
    assert "at 90% coverage: Atelectasis" in table


def test_a_prevalence_that_fits_nothing_is_refused_at_the_start(
    weights: list[str], films: Path
) -> None:
    site = films / "site.json"
    site.write_text('{"Mass": 0.1}')
    done = read(films / "film.dcm", "--site-prevalence", site, *weights)
    assert done.returncode == 1
    assert "lacks Atelectasis" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bad_file_is_a_line_and_the_others_are_read(weights: list[str], films: Path) -> None:
    names = ["empty.png", "half.png", "noise.png", "missing.png", "film.dcm"]
    done = read(*(films / name for name in names), "--json", *weights)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    found = lines(done)
    assert [line.get("error", {}).get("code") for line in found] == [
        "film_empty",
        "film_truncated",
        "film_unusable_not_a_frontal_chest",
        "file_not_readable",
        None,
    ]
    assert all(line["error"]["message"] for line in found[:-1])


def test_a_table_for_people_says_what_it_is_not(weights: list[str], films: Path) -> None:
    done = read(films / "film.dcm", films / "empty.png", *weights)
    assert done.returncode == 1
    assert "not for diagnosis" in done.stdout
    assert "Pleural Thickening" in done.stdout
    assert "box lung opacity 0.900 at 96, 112, 160, 144 px" in done.stdout
    assert "cannot be read" in done.stdout


def test_help_has_an_example_and_the_warning() -> None:
    done = read("--help")
    assert done.returncode == 0
    assert "goldentime read chest.png" in done.stdout
    assert "not for diagnosis" in done.stdout


def test_a_wrong_call_or_weight_is_told_without_a_traceback(films: Path) -> None:
    assert read().returncode == 2
    done = read(films / "film.dcm", "--classifier", "nowhere")
    assert done.returncode == 1
    assert "no weight named 'nowhere'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_swapped_weight_is_refused(weights: list[str], films: Path) -> None:
    directory = Path(weights[1])
    weight = (directory / card.MODEL_FILE).read_bytes()
    try:
        (directory / card.MODEL_FILE).write_bytes(weight + b"\0")
        done = read(films / "film.dcm", "--json", *weights)
    finally:
        (directory / card.MODEL_FILE).write_bytes(weight)
    assert done.returncode == 1
    assert "sha256" in done.stderr


def test_the_shipped_networks_read_the_shipped_samples() -> None:
    for kind in ModelKind:
        if not card.names(kind):
            pytest.skip(f"no weight to {kind} in models/weights yet")
    samples = sorted((ROOT / "models" / "samples").iterdir())
    done = read(*samples, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    for line, path in zip(lines(done), samples, strict=True):
        assert line["file"] == str(path)
        assert list(line["scores"]) == list(LABELS)
        assert all(0 <= score <= 1 for score in line["scores"].values())
        assert line["top3"] == sorted(LABELS, key=lambda label: -line["scores"][label])[:3]
        film = xray.decode(path.read_bytes())
        for box in line["boxes"]:
            assert 0 <= box["x0"] < box["x1"] <= film.width_px
            assert 0 <= box["y0"] < box["y1"] <= film.height_px
