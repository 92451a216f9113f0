"""The makers' own files are read as they are."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

import models
from models import xray
from models.training.cli import train
from models.training.readers_public import (
    official_split,
    read,
    read_chestx_det,
    read_dicom,
    read_nih,
    read_rsna,
)
from models.training.records import LABELS, TrainingError

ENTRY = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]\n"
)


@pytest.fixture
def nih(tmp_path: Path) -> Path:
    (tmp_path / "Data_Entry_2017.csv").write_text(
        ENTRY
        + "00000001_000.png,Cardiomegaly|Effusion,0,1,058Y,M,PA,2682,2749,0.143,0.143\n"
        + "00000002_000.png,No Finding,0,2,34,F,AP,2682,2749,0.143,0.143\n"
        + "00000003_000.png,Hernia,0,3,81,F,PA,2682,2749,0.143,0.143\n"
    )
    (tmp_path / "BBox_List_2017.csv").write_text(
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n00000001_000.png,Cardiomegaly,100,200,50,60\n"
    )
    (tmp_path / "train_val_list.txt").write_text("00000001_000.png\n00000003_000.png\n")
    (tmp_path / "test_list.txt").write_text("00000002_000.png\n")
    return tmp_path


def test_nih_tables(nih: Path) -> None:
    films = read_nih(nih, need_images=False)
    assert films[0].patient_id == "00000001"
    assert films[0].age == 58
    assert {LABELS[k] for k in np.flatnonzero(films[0].labels)} == {"Cardiomegaly", "Effusion"}
    assert sum(films[1].labels) == 0
    (box,) = films[0].boxes
    assert (box.label, box.x0, box.y0, box.x1, box.y1) == ("Cardiomegaly", 100, 200, 150, 260)
    split = official_split(nih, films, folds=2, seed=0)
    assert split.test == {"00000002_000.png"}
    assert {len(fold) for fold in split.folds} == {1}


def test_nih_mistakes_are_named(nih: Path) -> None:
    with pytest.raises(TrainingError, match="3 images are missing"):
        read_nih(nih)
    table = nih / "Data_Entry_2017.csv"
    table.write_text(table.read_text().replace("Hernia", "Hernie"))
    with pytest.raises(TrainingError, match="line 4: unknown finding 'Hernie'"):
        read_nih(nih, need_images=False)
    table.unlink()
    with pytest.raises(TrainingError, match="holds 0 files named"):
        read(nih, "nih")
    with pytest.raises(TrainingError, match="no layout 'nhi'"):
        read(nih, "nhi")


def test_chestx_det_knows_what_it_did_not_look_for(tmp_path: Path) -> None:
    entries = [
        {"file_name": "36199.png", "syms": [], "boxes": []},
        {
            "file_name": "36302.png",
            "syms": ["Diffuse Nodule", "Fracture"],
            "boxes": [[799, 666, 937, 761], [1, 2, 3, 4]],
        },
    ]
    path = tmp_path / "ChestX_Det_test.json"
    path.write_text(json.dumps(entries))
    films = read_chestx_det(path, tmp_path, need_images=False)
    assert films[0].boxes_known
    assert films[0].labels[LABELS.index("Nodule")] == 0.0
    assert np.isnan(films[0].labels[LABELS.index("Edema")])
    assert films[1].labels[LABELS.index("Nodule")] == 1.0
    assert [box.label for box in films[1].boxes] == ["Nodule", "Fracture"]
    path.write_text(json.dumps([{"file_name": "1.png", "syms": ["Mass"], "boxes": []}]))
    with pytest.raises(TrainingError, match=r"1\.png: 1 syms, 0 boxes"):
        read_chestx_det(path, tmp_path, need_images=False)


def test_rsna_boxes_and_films_without_one(tmp_path: Path) -> None:
    table = tmp_path / "stage_2_train_labels.csv"
    table.write_text(
        "patientId,x,y,width,height,Target\na,,,,,0\nb,10,20,30,40,1\nb,100,20,30,40,1\n"
    )
    films = {film.patient_id: film for film in read_rsna(table, tmp_path, need_images=False)}
    assert films["a"].boxes_known
    assert not films["a"].boxes
    assert [box.x0 for box in films["b"].boxes] == [10, 100]
    table.write_text("patientId,x,y,width,height,Target\nb,10,20,,,1\n")
    with pytest.raises(TrainingError, match="line 2: Target 1 needs a box"):
        read_rsna(table, tmp_path, need_images=False)


def test_the_real_files(cxr: Path) -> None:
    films = read_chestx_det(cxr / "formats" / "ChestX_Det_test.json", cxr, need_images=False)
    assert len(films) == 553
    assert sum(len(film.boxes) for film in films) == 1734
    entries = cxr / "formats"
    films = read_nih(entries, need_images=False)
    assert films[0].patient_id == "00000001"
    assert films[0].labels[LABELS.index("Cardiomegaly")] == 1.0


def test_a_folder_of_real_dicom_films(cxr: Path, tmp_path: Path) -> None:
    for path in (cxr / "dicom").iterdir():
        shutil.copy(path, tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    (tmp_path / "labels.csv").write_text(
        "image,Effusion\n" + "".join(f"{name},1\n" for name in names)
    )
    films = read_dicom(tmp_path)
    assert [film.name for film in films] == names
    assert all(film.labels[LABELS.index("Effusion")] == 1.0 for film in films)
    assert np.isnan(films[0].labels[LABELS.index("Mass")])
    assert any(film.patient_id != film.name for film in films)


def test_a_hospital_repeats_the_table_as_the_readme_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The README's own commands and YAML, smaller, on a folder laid out as NIH ships it."""
    readme = (Path(models.__file__).parent / "README.md").read_text()
    part = readme[readme.index("## For a hospital") :]
    split, compare = re.findall(r"^goldentime train (.*)$", part, re.MULTILINE)[:2]
    settings = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", part, re.DOTALL)[0])
    folder = tmp_path / "NIH" / "images_001" / "images"
    folder.mkdir(parents=True)
    generator, rows, lists = np.random.default_rng(0), [ENTRY], {"train_val": "", "test": ""}
    for number in range(30):
        name = f"{number:08d}_000.png"
        pixels = generator.integers(0, 255, (48, 48)).astype(np.uint8)
        (folder / name).write_bytes(xray.encode_png(pixels))
        finding = LABELS[number % len(LABELS)].replace("Infiltration", "Infiltration|Mass")
        rows.append(f"{name},{finding},0,{number},40,F,PA,48,48,0.1,0.1\n")
        lists["test" if number >= 28 else "train_val"] += f"{name}\n"
    (tmp_path / "NIH" / "Data_Entry_2017.csv").write_text("".join(rows))
    for name, text in lists.items():
        (tmp_path / "NIH" / f"{name}_list.txt").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert train([*split.split(), "--folds", "2"]) == 0
    assert "test 2 films" in capsys.readouterr().out
    settings |= {"size_px": 32, "epochs": 1, "batch": 8, "folds": 2}
    Path("nih.yaml").write_text(yaml.safe_dump(settings))
    small = ["--backbones", "mobilenet", "--seeds", "0"]
    assert train([*compare.split(), *small]) == 0
    assert "| label | mobilenet |" in capsys.readouterr().out
