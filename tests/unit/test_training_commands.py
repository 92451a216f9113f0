"""The training commands where training's own libraries are not installed: a sentence, no trace."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from models.training import cli, weights
from models.training.records import not_installed

CONFIGS = Path(cli.__file__).parent / "configs"


@pytest.fixture(autouse=True)
def without_training(monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("torch", "tqdm"):
        monkeypatch.setitem(sys.modules, library, None)


def test_training_says_which_environment_it_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["dense", "--config", str(CONFIGS / "dense.yaml"), "--data", str(tmp_path)]
    assert cli.train(arguments) == 2
    said = capsys.readouterr().err
    assert "not installed here" in said
    assert ".venv-training/bin/goldentime" in said


def test_evaluating_and_importing_say_so_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("image,Hernia\n")
    assert cli.evaluate(["--labels", str(labels), "--weight", "classify-blend"]) == 2
    assert "not installed here" in capsys.readouterr().err
    monkeypatch.setattr(weights.cards, "WEIGHTS", tmp_path)
    source = ["import", weights.XRV_LIBRARY, "densenet121-res224-all", "--name", "xrv"]
    assert weights.main(source) == 2
    assert "not installed here" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["labels.csv"]


def test_a_module_of_ours_that_is_missing_is_no_library() -> None:
    with pytest.raises(ModuleNotFoundError):
        not_installed(ModuleNotFoundError("gone", name="models.training.gone"))
