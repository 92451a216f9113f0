"""The shelf: sound weights serve, others are refused, published ones come in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import densenet121

from models import card as cards
from models.classifier import Classifier
from models.training import weights

SET = "densenet121-res224-all"


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "shelf"
    place.mkdir()
    monkeypatch.setattr(cards, "WEIGHTS", place)
    return place


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random tensors of the published network's shape, saved as its state dict."""
    torch.manual_seed(0)
    network = densenet121(weights=None, num_classes=18)
    network.features.conv0 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    path = tmp_path_factory.mktemp("published") / "all.safetensors"
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, path)
    return path


def test_a_published_set_comes_in_and_answers_like_its_network(
    shelf: Path, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = ["import", weights.XRV_LIBRARY, SET]
    assert weights.main([*source, "--file", str(published), "--name", "xrv"]) == 0
    card = cards.load("xrv")
    assert card.thresholds["Effusion"] == pytest.approx(0.103246614)
    film = np.random.default_rng(0).integers(0, 255, (224, 224), dtype=np.uint8)
    got = Classifier(card).read(film).scores
    # the network as its library runs it: pixels to [-1024, 1024], sigmoid, its own order
    network = densenet121(weights=None, num_classes=18)
    network.features.conv0 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    from safetensors.torch import load_file

    network.load_state_dict(load_file(published))
    given = torch.from_numpy((2 * (film.astype(np.float32) / 255) - 1) * 1024)[None, None]
    with torch.no_grad():
        wanted = torch.sigmoid(network.eval()(given))[0].numpy()
    for label in cards.NIH_LABELS:
        assert got[label] == pytest.approx(
            float(wanted[weights.XRV_OUTPUTS.index(label)]), abs=1e-4
        )
    assert weights.main(["use", "xrv"]) == 0
    assert cards.shipped(cards.ModelKind.CLASSIFY) == "xrv"
    assert weights.main(["list"]) == 0
    assert "* xrv" in capsys.readouterr().out


def test_the_library_itself_has_these_outputs_and_thresholds(shelf: Path, tmp_path: Path) -> None:
    library = pytest.importorskip(
        "torchxrayvision", reason="an optional library: pip install torchxrayvision"
    )
    for name, thresholds in weights.XRV_THRESHOLDS.items():
        facts = library.models.model_urls[name]
        for label in cards.NIH_LABELS:
            place = facts["labels"].index(label)
            assert weights.XRV_OUTPUTS[place] == label
            assert thresholds[place] == pytest.approx(facts["op_threshs"][place])
    network = library.models.DenseNet(weights=None)
    torch.save(network.state_dict(), tmp_path / "local.pt")
    card = weights.import_xrv(SET, tmp_path / "local.pt", shelf / "local")
    film = np.random.default_rng(0).integers(0, 255, (224, 224), dtype=np.uint8)
    given = torch.from_numpy(library.datasets.normalize(film, 255))[None, None]
    with torch.no_grad():
        wanted = torch.sigmoid(network.eval()(given))[0].numpy()
    got = Classifier(card).read(film).scores
    for label in cards.NIH_LABELS:
        place = weights.XRV_OUTPUTS.index(label)
        assert got[label] == pytest.approx(float(wanted[place]), abs=1e-4)


def test_other_tensors_are_refused_and_leave_nothing(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file({"classifier.weight": torch.zeros(18, 7)}, tmp_path / "other.safetensors")
    source = ["import", weights.XRV_LIBRARY, SET, "--file", str(tmp_path / "other.safetensors")]
    assert weights.main(source) == 2
    assert "no DenseNet-121" in capsys.readouterr().err
    assert list(shelf.iterdir()) == []


def test_a_plain_onnx_comes_in_with_its_card_and_a_changed_one_is_refused(
    shelf: Path, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = weights.import_xrv(SET, published, tmp_path / "made")
    model, card = made.directory / "model.onnx", made.directory / "card.json"
    assert weights.main(["import", str(model), "--card", str(card), "--name", "mine"]) == 0
    assert weights.main(["verify"]) == 0
    assert made.sha256 in capsys.readouterr().out
    weight = shelf / "mine" / "model.onnx"
    weight.write_bytes(weight.read_bytes() + b"\0")
    assert weights.main(["verify", "mine"]) == 2
    assert "sha256" in capsys.readouterr().err
    assert weights.main(["use", "mine"]) == 2
    assert not (shelf / cards.DEFAULTS_FILE).exists()


def test_a_card_for_other_labels_is_refused(shelf: Path, published: Path, tmp_path: Path) -> None:
    made = weights.import_xrv(SET, published, tmp_path / "made")
    given = json.loads((made.directory / "card.json").read_text())
    given["labels"] = given["labels"][:13]
    del given["thresholds"]["Hernia"]
    (tmp_path / "short.json").write_text(json.dumps(given))
    shutil.copy(made.directory / "model.onnx", tmp_path / "short.onnx")
    source = ["import", str(tmp_path / "short.onnx"), "--card", str(tmp_path / "short.json")]
    assert weights.main(source) == 2
    assert list(shelf.iterdir()) == []
