"""The GAN: its parts do what the paper says, and its films stay out of validation."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from models.training import pggan, train_gan
from models.training.cli import train
from models.training.readers import read_plain
from models.training.records import LABELS, TrainingError
from models.training.splits import guard


def test_levels_fade_in_and_settle() -> None:
    phases = [train_gan.stage(shown, 100, 2) for shown in (0, 99, 100, 150, 200, 300, 399, 400)]
    assert [item.level for item in phases] == [0, 0, 1, 1, 1, 2, 2, 2]
    assert [item.fade for item in phases] == [1, 1, 0, 0.5, 1, 0, 0.99, 1]
    with pytest.raises(ValueError, match="48 px"):
        pggan.levels(48)


def test_a_new_level_begins_as_the_old_one_doubled() -> None:
    torch.manual_seed(0)
    maker, critic = pggan.Generator(16, 14, 32), pggan.Critic(16, 14, 32)
    noise, labels = torch.randn(3, pggan.LATENT), torch.zeros(3, 14)
    below = maker(noise, labels, 1, 1.0)
    faded = maker(noise, labels, 2, 0.0)
    assert faded.shape == (3, 1, 16, 16)
    torch.testing.assert_close(faded, below.repeat_interleave(2, 2).repeat_interleave(2, 3))
    torch.testing.assert_close(critic(faded, labels, 2, 0.0), critic(below, labels, 1, 1.0))
    assert not torch.allclose(maker(noise, labels, 2, 1.0), faded)


def test_the_label_changes_film_and_verdict() -> None:
    torch.manual_seed(0)
    maker, critic = pggan.Generator(8, 14, 32), pggan.Critic(8, 14, 32)
    noise, none, hernia = torch.randn(2, pggan.LATENT), torch.zeros(2, 14), torch.zeros(2, 14)
    hernia[:, -1] = 1
    film = maker(noise, none, 1, 1.0)
    assert not torch.allclose(film, maker(noise, hernia, 1, 1.0))
    assert not torch.allclose(critic(film, none, 1, 1.0), critic(film, hernia, 1, 1.0))


def test_like_films_show_in_the_spread_plane() -> None:
    same = torch.ones(4, 2, 4, 4)
    assert float(pggan.spread_plane(same)[:, 2].max()) < 1e-3
    torch.manual_seed(0)
    assert float(pggan.spread_plane(torch.randn(4, 2, 4, 4))[:, 2].min()) > 0.3


def test_kid_is_nothing_for_like_features_and_grows() -> None:
    generator = np.random.default_rng(0)
    real, like, other = (generator.normal(at, 1, (500, 16)) for at in (0, 0, 1))
    assert abs(train_gan.kid(real, like)) < 0.05
    assert train_gan.kid(real, other) > 10 * abs(train_gan.kid(real, like))


def test_a_copy_with_other_contrast_is_found() -> None:
    generator = np.random.default_rng(0)
    real = generator.integers(0, 255, (40, 64, 64), dtype=np.uint8)
    limit = train_gan.copy_limit(real, [str(n) for n in range(40)])
    copies = (real[:3] * 0.5 + 40).astype(np.uint8)
    assert (train_gan.nearest(copies, real) > limit).all()
    fresh = generator.integers(0, 255, (20, 64, 64), dtype=np.uint8)
    assert (train_gan.nearest(fresh, real) > limit).mean() < 0.2


def _start() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return dict(pggan.Generator(8, len(LABELS), 16).state_dict())


def _apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return float(sum((one[name] - other[name]).square().sum() for name in one))


def test_grow_resume_synthesise_and_train_with_it(
    films_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "gan.yaml"
    fields = {"name": "gan", "size_px": 8, "width": 16, "folds": 2, "batch": 8}
    config.write_text(yaml.safe_dump({**fields, "films_per_phase": 16}))
    data = ["--data", str(films_folder), "--runs", str(tmp_path), "--config", str(config)]
    assert train(["gan", *data]) == 0
    config.write_text(yaml.safe_dump({**fields, "films_per_phase": 32}))
    assert train(["gan", *data]) == 0  # goes on to twice as many films
    lines = (tmp_path / "gan" / "fold0" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["films"] for line in lines] == [16, 32, 48, 80, 96]
    saved = torch.load(tmp_path / "gan" / "fold0" / "last.pt")
    # What films are written by has followed the generator, and is not still its random start.
    assert _apart(saved["average"], saved["maker"]) < 0.6 * _apart(_start(), saved["maker"])
    out = films_folder / "made"
    assert (
        train(["synthesise", *data, "--labels", "Hernia", "--count", "6", "--out", str(out)]) == 0
    )
    assert "refused as copies" in capsys.readouterr().out
    made = read_plain(out, boxes_file="")
    assert all(film.synthetic for film in made)
    assert all(film.labels[LABELS.index("Hernia")] == 1.0 for film in made)
    with pytest.raises(TrainingError, match="synthetic film"):
        guard(read_plain(films_folder)[:1], made)
    run = tmp_path / "mixed.yaml"
    run.write_text(
        yaml.safe_dump(
            {
                "name": "mixed",
                "backbone": "mobilenet",
                "size_px": 32,
                "epochs": 1,
                "folds": 2,
                "synthetic": "made",
            }
        )
    )
    assert train(["classifier", *data[:4], "--config", str(run)]) == 0
    result = json.loads((tmp_path / "mixed" / "fold0" / "result.json").read_text())
    assert result["films"]["more"] == len(made)
    trunks = tmp_path / "ridge.yaml"
    trunks.write_text(yaml.safe_dump({"trunks": "tf_efficientnet_lite0@32"}))
    made_again = ["--labels", "Hernia", "--count", "6", "--out", str(out)]
    said = []
    for judge in (["--features-run", "mixed"], ["--features-of", str(trunks)]):
        assert train(["synthesise", *data, *made_again, *judge]) == 0
        line = capsys.readouterr().out
        assert re.search(r"KID -?\d+\.\d{4} \(real films held back: -?\d", line)
        said.append(line)
    assert said[0] != said[1]


def test_a_grown_gan_goes_on_until_its_processor_time_is_spent(
    films_folder: Path, tmp_path: Path
) -> None:
    config = tmp_path / "gan.yaml"
    fields = {"name": "gan", "size_px": 8, "width": 16, "folds": 2, "batch": 8}
    config.write_text(yaml.safe_dump({**fields, "films_per_phase": 8}))
    grow = ["gan", "--data", str(films_folder), "--runs", str(tmp_path), "--config", str(config)]
    log = tmp_path / "gan" / "fold0" / "log.jsonl"
    for _ in range(2):  # the second time there is none left
        assert train([*grow, "--cpu-s", "1.5"]) == 0
        last = json.loads(log.read_text().splitlines()[-1])
        assert last["films"] > 3 * 8
        assert 1.5 <= last["cpu_s"] < 3
        saved = torch.load(tmp_path / "gan" / "fold0" / "last.pt")
        assert saved["shown"] == last["films"]
    assert log.read_text().count(f'"films": {last["films"]},') == 1
