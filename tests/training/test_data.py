"""Readers, splits and pixels: what is wrong is named, and no patient is on two sides."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from models.training import checkpoint, config as configs_of, pixels
from models.training.config import (
    AttentionConfig,
    ClassifierConfig,
    DenseConfig,
    DetectorConfig,
    GanConfig,
    RidgeConfig,
    read_config,
)
from models.training.readers import read_plain
from models.training.records import LABELS, TrainingError
from models.training.splits import guard, load_split, make_split, save_split
from models.training.train_detector import class_names


def test_a_plain_folder_is_read(films_folder: Path) -> None:
    films = read_plain(films_folder, teacher="teacher.csv")
    assert len(films) == 60
    first = films[0]
    assert first.labels[LABELS.index("Pneumonia")] == 1.0
    assert first.teacher is not None
    assert first.teacher[LABELS.index("Pneumonia")] == 0.9
    # written for an original twice as wide: halved
    assert first.boxes[0].x1 - first.boxes[0].x0 == 25
    assert films[1].teacher is None
    assert not films[1].boxes
    assert films[1].boxes_known


@pytest.fixture
def broken(films_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(films_folder, tmp_path / "copy"))


def test_a_missing_column_is_named(broken: Path) -> None:
    table = broken / "labels.csv"
    table.write_text(table.read_text().replace("Effusion", "Efusion"))
    with pytest.raises(TrainingError, match=r"labels\.csv: column Effusion is missing"):
        read_plain(broken)


def test_a_missing_image_is_named(broken: Path) -> None:
    (broken / "film003.png").unlink()
    with pytest.raises(TrainingError, match=r"1 images are missing \(first: film003\.png\)"):
        read_plain(broken)


def test_a_word_where_a_number_belongs_is_named(broken: Path) -> None:
    table = broken / "labels.csv"
    lines = table.read_text().splitlines()
    lines[3] = lines[3].replace(",50,", ",old,")
    table.write_text("\n".join(lines))
    with pytest.raises(TrainingError, match=r"line 4: age is 'old', not a number"):
        read_plain(broken)


def test_a_box_on_an_unknown_film_is_named(broken: Path) -> None:
    with (broken / "boxes.csv").open("a") as stream:
        stream.write("nobody.png,Mass,1,1,5,5\n")
    with pytest.raises(TrainingError, match=r"nobody\.png is not in labels\.csv"):
        read_plain(broken)


def test_a_corrupt_image_is_named(broken: Path, tmp_path: Path) -> None:
    path = broken / "film005.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(TrainingError, match=r"film005\.png cannot be opened as a film"):
        pixels.load(read_plain(broken), 32, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.npy"))


def test_a_stopped_decoding_goes_on(
    films_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films, cache = read_plain(films_folder), tmp_path / "cache"
    whole = pixels.load(films, 32, tmp_path / "other")
    monkeypatch.setattr(pixels, "COUNT_EVERY", 10)
    real, seen = pixels.decode, []

    def stops(path: Path, size: int) -> pixels.Gray:
        if len(seen) == 25:
            raise KeyboardInterrupt
        seen.append(path)
        return real(path, size)

    monkeypatch.setattr(pixels, "decode", stops)
    with pytest.raises(KeyboardInterrupt):
        pixels.load(films, 32, cache)
    seen[:] = [Path()] * 26
    assert (pixels.load(films, 32, cache) == whole).all()
    assert len(seen) == 26 + 40  # 20 of 60 were noted as done


def test_decoded_films_are_kept_until_a_file_changes(broken: Path, tmp_path: Path) -> None:
    films, cache = read_plain(broken), tmp_path / "cache"
    first = pixels.load(films, 32, cache)
    assert first.shape == (60, 32, 32)
    pixels.load(films, 32, cache)
    assert len(list(cache.glob("*.npy"))) == 1
    (broken / "film005.png").write_bytes((broken / "film006.png").read_bytes() + b"\0")
    pixels.load(films, 32, cache)
    assert len(list(cache.glob("*.npy"))) == 2


def test_patients_stay_on_one_side(films_folder: Path, tmp_path: Path) -> None:
    films = read_plain(films_folder)
    split = make_split(films, folds=3, test_share=0.25, seed=5)
    save_split(split, tmp_path / "split.json")
    assert load_split(tmp_path / "split.json") == split
    seen = []
    for fold in range(3):
        train, validation, test = split.parts(films, fold)
        sides = [{film.patient_id for film in part} for part in (train, validation, test)]
        assert not sides[0] & sides[1]
        assert not sides[0] & sides[2]
        assert not sides[1] & sides[2]
        assert len(train) + len(validation) + len(test) == len(films)
        seen += [film.name for film in validation]
    assert len(seen) == len(set(seen)) == len(films) - len(split.test)


def test_the_guard_fails_on_a_patient_on_two_sides(films_folder: Path) -> None:
    films = read_plain(films_folder)
    with pytest.raises(TrainingError, match="patient p0 is on both sides"):
        guard(films[:1], films[40:41])


def test_the_guard_fails_on_one_image_under_two_names(films_folder: Path) -> None:
    films = read_plain(films_folder)
    with pytest.raises(TrainingError, match="the same image is on both sides"):
        guard(films[:1], films[1:2], hashes={films[0].name: "a", films[1].name: "a"})


def test_the_guard_fails_on_a_synthetic_film_in_validation(films_folder: Path) -> None:
    films = read_plain(films_folder)
    made = replace(films[1], synthetic=True)
    guard([films[0], made], films[2:3])
    with pytest.raises(TrainingError, match="synthetic film"):
        guard(films[:1], [made])


def test_a_film_outside_the_split_is_not_trained_on_silently(films_folder: Path) -> None:
    films = read_plain(films_folder)
    split = make_split(films[:30], folds=3, test_share=0.25, seed=5)
    with pytest.raises(TrainingError, match="not in the split file"):
        split.parts(films, 0)


def test_configuration_mistakes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("epoch: 3\n")
    with pytest.raises(TrainingError, match="unknown field 'epoch'"):
        read_config(path, ClassifierConfig)
    path.write_text("epochs: many\n")
    with pytest.raises(TrainingError, match="epochs is 'many', expected int"):
        read_config(path, ClassifierConfig)


def test_every_configuration_here_can_be_read() -> None:
    kinds = {"detector": DetectorConfig, "dense": DenseConfig, "gan": GanConfig}
    kinds |= {"ridge": RidgeConfig, "attention": AttentionConfig}
    for path in Path(configs_of.__file__).parent.glob("configs/**/*.yaml"):
        kind = next((k for name, k in kinds.items() if path.name.startswith(name)), None)
        config = read_config(path, kind or ClassifierConfig)
        assert config.name == path.stem
        assert not config.split or (path.parent / config.split).exists()
    fourteen = Path(configs_of.__file__).parent / "configs" / "detector14.yaml"
    assert class_names(read_config(fourteen, DetectorConfig).labels) == LABELS


def test_a_full_disk_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save({"epoch": 1}, path)

    def full(content: object, stream: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", full)
    with pytest.raises(TrainingError, match=r"last\.pt .*No space left on device.*free some space"):
        checkpoint.save({"epoch": 2}, path)
    assert checkpoint.load(path) == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path]
