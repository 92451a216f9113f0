"""Small networks on frozen maps: what they learn, and the command from films to a served weight."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from models.training import attention, train_attention
from models.training.cli import train
from models.training.config import AttentionConfig
from models.training.records import LABELS

pytestmark = pytest.mark.filterwarnings(
    # of the exporter, about itself
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::torch.jit.TracerWarning",
)


def test_main_directions_have_spread_one_and_go_their_own_ways() -> None:
    torch.manual_seed(0)
    loud = torch.randn(40, 1, 5, 5) * 100 + 7
    maps = torch.cat([loud, -loud + torch.randn(40, 1, 5, 5), torch.randn(40, 1, 5, 5)], dim=1)
    center, enter = attention.main_directions(maps, 2)
    seen = torch.nn.functional.conv2d(maps - center, enter).transpose(0, 1).flatten(1)
    assert torch.allclose(torch.cov(seen), torch.eye(2), atol=1e-2)
    # two planes that say the same are one direction, the third is another
    assert torch.corrcoef(torch.stack([seen[1], loud.flatten()]))[0, 1].abs() > 0.99
    assert torch.corrcoef(torch.stack([seen[0], maps[:, 2].flatten()]))[0, 1].abs() > 0.99


def test_a_head_learns_what_depends_on_the_place_and_points_there() -> None:
    generator = np.random.default_rng(0)
    maps = torch.from_numpy(generator.normal(0, 0.3, (200, 8, 6, 6)).astype(np.float32))
    side = torch.arange(200) % 2
    maps[torch.arange(200), 0, 2, torch.where(side > 0, 4, 1)] += 6.0
    wanted = np.full((200, len(LABELS)), np.nan, dtype=np.float32)
    wanted[:, 3] = side.numpy()  # only a bright cell on the right is a finding; others: unknown
    config = AttentionConfig(directions=8, width=16, epochs=30, rate=0.005, mix_alpha=0.2)
    torch.manual_seed(0)
    head = attention.AttentionHead(8, 6, 8, 16)
    head.center, head.enter = attention.main_directions(maps[:100], 8)
    reduced = head.reduced(maps)
    train_attention.fit(head, [reduced[:100]], wanted[:100], config, 0, "test")
    with torch.no_grad():
        logits, seen = head(maps[100:])
    right = side[100:] > 0
    assert logits[right, 3].min() > logits[~right, 3].max()
    peaks = seen[right, 3].flatten(1).argmax(dim=1)
    near = ((peaks % 6 - 4).abs() <= 1) & ((peaks // 6 - 2).abs() <= 1)
    assert near.float().mean() > 0.9


@pytest.fixture(scope="module")
def place(films_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A split and a finished run of two folds."""
    place = tmp_path_factory.mktemp("attention")
    data = ["--data", str(films_folder), "--runs", str(place)]
    assert train(["split", *data, "--out", str(place / "split.json"), "--folds", "2"]) == 0
    fields = {
        "name": "looks", "trunks": "tf_efficientnet_lite0@64", "size_px": 64, "copies": 2,
        "directions": 16, "width": 16, "heads": 2, "epochs": 4, "split": "split.json",
        "teacher": "teacher.csv",
    }  # fmt: skip
    (place / "looks.yaml").write_text(yaml.safe_dump(fields))
    torch.manual_seed(0)  # of the trunk's weights, which nobody gives here
    assert train(["attention", *data, "--config", str(place / "looks.yaml")]) == 0
    return place


def test_every_film_is_answered_by_heads_that_never_saw_it(place: Path) -> None:
    split = json.loads((place / "split.json").read_text())
    for fold in (0, 1):
        folder = place / "looks" / f"fold{fold}"
        with np.load(folder / "validation.npz") as saved:
            assert set(saved["names"]) == set(split["folds"][fold])
        facts = torch.load(folder / "head1.pt", weights_only=True)["facts"]
        assert len(facts["rows"]) == len(split["folds"][1 - fold])
        assert 0 < json.loads((folder / "result.json").read_text())["mean_auc"] < 1


def test_a_finished_head_is_not_trained_again(
    films_folder: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def learns_again(*_: object) -> None:
        raise AssertionError("a finished head was trained again")

    monkeypatch.setattr(train_attention, "fit", learns_again)
    data = ["--data", str(films_folder), "--runs", str(place)]
    assert train(["attention", *data, "--config", str(place / "looks.yaml")]) == 0
