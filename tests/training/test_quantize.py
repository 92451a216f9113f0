"""INT8 of a small network: kept with its figures, or refused with them and gone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models import card as cards
from models.classifier import Classifier
from models.training import quantize, weights
from models.training.evaluate import pixels_of
from models.training.quantize import Quantised
from models.training.readers import read_plain
from models.training.records import Film
from models.training.splits import make_split, save_split
from tests.unit.test_card import a_card

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::torch.jit.TracerWarning"
)
GOOD = Quantised(64, 200, 0.76, 0.757, 0.003, 0.02, 0.01, 23.0, 15.0, 12.8, 3.7)
Command = Callable[..., int]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, None),
        ({"auc_loss": -0.01}, None),
        ({"auc_loss": 0.005}, r"loses 0\.005"),
        ({"auc_loss": float("nan")}, "loses nan"),
        ({"ms_int8": 23.0}, "not faster"),
    ],
)
def test_it_is_kept_only_when_good_and_faster(changes: dict[str, float], why: str | None) -> None:
    refusal = replace(GOOD, **changes).refusal()
    assert refusal is None if why is None else why.replace("\\", "") in str(refusal)


class Small(nn.Module):
    """A network of random weights that answers logits and maps."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 128, 3, 2, 1), nn.ReLU()
        )
        self.head = nn.Conv2d(128, 14, 1)

    def forward(self, films: Tensor) -> tuple[Tensor, Tensor]:
        cam = self.head(self.trunk(films))
        return cam.mean(dim=(2, 3)), cam


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shelf with one small classifier."""
    torch.manual_seed(0)
    monkeypatch.setattr(cards, "WEIGHTS", tmp_path)
    folder = tmp_path / "small"
    folder.mkdir()
    torch.onnx.export(
        Small().eval(),
        (torch.zeros(1, 1, 64, 64),),
        folder / cards.MODEL_FILE,
        input_names=["image"],
        output_names=["logits", "cam"],
        dynamo=False,
    )
    labels = cards.NIH_LABELS
    cards.write(
        a_card(
            name="small",
            labels=labels,
            thresholds=dict.fromkeys(labels, 0.5),
            calibration=None,
            input=cards.InputSpec(64, 1, (0.0,), (1.0,), cards.Fit.STRETCH),
        ),
        folder,
    )
    return tmp_path


@pytest.fixture
def command(films_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """`goldentime weights quantize small` on the generated films."""
    split = tmp_path_factory.mktemp("split") / "split.json"
    save_split(make_split(read_plain(films_folder), folds=3, test_share=0.2, seed=1), split)

    def run(*more: str) -> int:
        data = ["--data", str(films_folder), "--split", str(split)]
        return weights.main(["quantize", "small", *data, "--films", "8", *more])

    return run


def timed(monkeypatch: pytest.MonkeyPatch, int8_ms: float) -> None:
    """10 ms for fp32; no test rests on how busy this machine is."""
    real = quantize.timed_scores

    def said(weights: Sequence[cards.ModelCard], films: Sequence[Film]) -> object:
        (before, _), (after, _) = real(weights, films)
        return [(before, 10.0), (after, int8_ms)]

    monkeypatch.setattr(quantize, "timed_scores", said)


def test_a_good_one_serves_and_its_card_says_what_it_cost(
    shelf: Path,
    command: Command,
    films_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    timed(monkeypatch, 5.0)
    monkeypatch.setattr(quantize, "MAX_AUC_LOSS", 1.0)  # random weights: their AUC says nothing
    assert command() == 0
    assert "10.0 → 5.0 ms" in capsys.readouterr().out
    card = cards.load("small-int8")
    assert card.sha256 != cards.load("small").sha256
    assert card.figures["int8"]["made_from"] == cards.load("small").identity()
    assert "INT8" in card.architecture
    assert (card.directory / card.file).stat().st_size < 0.4 * (
        (shelf / "small" / cards.MODEL_FILE).stat().st_size
    )
    film = pixels_of(read_plain(films_folder)[0])
    exact, coarse = (Classifier(cards.load(name)).read(film) for name in ("small", "small-int8"))
    assert coarse.cams is not None
    for label in cards.NIH_LABELS:
        assert coarse.scores[label] == pytest.approx(exact.scores[label], abs=0.1)
    assert command() == 2
    assert "small-int8 exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("int8_ms", "allowed", "why"), [(11.0, 1.0, "not faster"), (5.0, -1.0, "mean AUC; under")]
)
def test_a_poor_one_is_refused_with_its_figures_and_gone(
    shelf: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    int8_ms: float,
    allowed: float,
    why: str,
) -> None:
    timed(monkeypatch, int8_ms)
    monkeypatch.setattr(quantize, "MAX_AUC_LOSS", allowed)
    assert command() == 2
    said = capsys.readouterr().err
    assert why in said
    assert f"10.0 → {int8_ms} ms" in said
    assert [path.name for path in shelf.iterdir()] == ["small"]


@pytest.mark.parametrize("folds", ["0,1,2", "7"])
def test_folds_that_leave_no_film_for_the_ranges_are_refused(
    shelf: Path, command: Command, capsys: pytest.CaptureFixture[str], folds: str
) -> None:
    assert command("--folds", folds) == 2
    assert "the others give the ranges" in capsys.readouterr().err


def test_a_detector_is_refused(
    shelf: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    card = cards.load("small")
    cards.write(replace(card, kind=cards.ModelKind.DETECT), card.directory)
    assert command() == 2
    assert "only classifiers" in capsys.readouterr().err
