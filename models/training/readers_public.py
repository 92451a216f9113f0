"""The published collections in the files their makers ship: NIH, ChestX-Det, RSNA, DICOM folders.

Mind: ChestX-Det's films are films of NIH ChestX-ray14 under other names, and RSNA's are too. Do not
train on one and test on another without taking the shared patients out.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from models.training.readers import locate, number, read_plain, require, table_rows
from models.training.records import LABELS, UNKNOWN, Box, Film, TrainingError
from models.training.splits import Split, deal

#: ChestX-Det's words → ours; a word that is missing here stays as it is and is only a box.
CHESTX_DET_LABELS = {"Pleural Thickening": "Pleural_Thickening", "Diffuse Nodule": "Nodule"}
#: The findings that ChestX-Det's readers looked for; the other NIH labels are unknown there.
CHESTX_DET_KNOWN = frozenset(
    {
        "Atelectasis",
        "Cardiomegaly",
        "Consolidation",
        "Effusion",
        "Emphysema",
        "Fibrosis",
        "Mass",
        "Nodule",
        "Pleural_Thickening",
        "Pneumothorax",
    }
)
NIH_SIZE_PX = 1024
NIH_WORDS = {**{label: label for label in LABELS}, "Infiltrate": "Infiltration"}


def _one(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise TrainingError(
            f"{folder} holds {len(found)} files named {pattern}: exactly one is needed"
        )
    return found[0]


def _nih_boxes(path: Path, names: set[str]) -> dict[str, list[Box]]:
    """BBox_List_2017.csv: x, y, w, h in pixels of the 1024 px release; its last three column
    heads are empty, because 'Bbox [x,y,w,h]' holds commas."""
    boxes: dict[str, list[Box]] = defaultdict(list)
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    if not lines or not lines[0].startswith("Image Index,Finding Label,Bbox"):
        raise TrainingError(f"{path}: does not begin as BBox_List_2017.csv does")
    for line, text in enumerate(lines[1:], start=2):
        cells = text.split(",")
        if len(cells) < 6:
            raise TrainingError(f"{path}, line {line}: {len(cells)} cells, 6 are needed")
        if cells[0] not in names:
            continue
        label = NIH_WORDS.get(cells[1])
        if label is None:
            raise TrainingError(f"{path}, line {line}: unknown finding {cells[1]!r}")
        x, y, w, h = (number(path, line, "Bbox", cell) for cell in cells[2:6])
        boxes[cells[0]].append(Box(label, x, y, x + w, y + h))
    return boxes


def read_nih(folder: Path, need_images: bool = True) -> list[Film]:
    """NIH ChestX-ray14 as released: Data_Entry_2017*.csv, images/ or images_001/images … and,
    if it is there, BBox_List_2017.csv. The original 1024 px PNG files are expected."""
    table = _one(folder, "Data_Entry_2017*.csv")
    columns = ("Image Index", "Finding Labels", "Patient ID", "Patient Age", "View Position")
    rows = table_rows(table, columns)
    places = [folder, folder / "images", *sorted(folder.glob("images_*/images"))]
    found = locate([*places, *sorted(folder.glob("images_[0-9]*"))])
    names = {row["Image Index"] for row in rows}
    if need_images:
        require(found, sorted(names), table)
    path = folder / "BBox_List_2017.csv"
    boxes = _nih_boxes(path, names) if path.exists() else {}
    films = []
    for line, row in enumerate(rows, start=2):
        name = row["Image Index"]
        words = {word.strip() for word in row["Finding Labels"].split("|")} - {"No Finding"}
        if unknown := words - set(NIH_WORDS):
            raise TrainingError(f"{table}, line {line}: unknown finding {sorted(unknown)[0]!r}")
        present = {NIH_WORDS[word] for word in words}
        films.append(
            Film(
                name=name,
                path=found.get(name, folder / "images" / name),
                patient_id=row["Patient ID"].zfill(8),
                labels=tuple(float(label in present) for label in LABELS),
                source="NIH ChestX-ray14",
                age=number(table, line, "Patient Age", row["Patient Age"].rstrip("YMD")),
                sex=row.get("Patient Sex") or row.get("Patient Gender") or "",
                view=row["View Position"],
                boxes=tuple(boxes.get(name, ())),
                boxes_known=name in boxes,
            )
        )
    return films


def official_split(folder: Path, films: list[Film], folds: int, seed: int) -> Split:
    """NIH's own test list as the final test set; train_val_list.txt dealt into folds."""
    parts = []
    for file in ("train_val_list.txt", "test_list.txt"):
        path = folder / file
        if not path.exists():
            raise TrainingError(f"{path} is missing: it comes with the NIH release")
        parts.append(frozenset(path.read_text().split()))
    known = {film.name for film in films}
    rest = [film for film in films if film.name in parts[0]]
    return Split(parts[1] & known, tuple(deal(rest, folds, seed)))


def read_chestx_det(annotations: Path, images: Path, need_images: bool = True) -> list[Film]:
    """ChestX-Det or ChestX-Det10 JSON: file_name, syms and boxes (x0, y0, x1, y1 in pixels).

    Findings that its readers did not look for are unknown, not absent.
    """
    try:
        entries = json.loads(annotations.read_text())
    except (OSError, ValueError) as error:
        raise TrainingError(f"{annotations} cannot be read as JSON: {error}") from None
    if not isinstance(entries, list):
        raise TrainingError(f"{annotations}: a list of films is expected")
    found = locate([images])
    films = []
    for place, entry in enumerate(entries):
        try:
            name, words, corners = entry["file_name"], entry["syms"], entry["boxes"]
        except (KeyError, TypeError):
            raise TrainingError(
                f"{annotations}, entry {place}: needs file_name, syms and boxes"
            ) from None
        if len(words) != len(corners):
            raise TrainingError(f"{annotations}, {name}: {len(words)} syms, {len(corners)} boxes")
        labels = [CHESTX_DET_LABELS.get(word, word) for word in words]
        films.append(
            Film(
                name=name,
                path=found.get(name, images / name),
                patient_id=f"chestx-det-{Path(name).stem}",  # it names no patients
                labels=tuple(
                    float(label in labels) if label in CHESTX_DET_KNOWN else UNKNOWN
                    for label in LABELS
                ),
                source="ChestX-Det",
                boxes=tuple(
                    Box(label, *map(float, box)) for label, box in zip(labels, corners, strict=True)
                ),
                boxes_known=True,
            )
        )
    if need_images:
        require(found, [film.name for film in films], annotations)
    return films


def read_rsna(table: Path, images: Path, need_images: bool = True) -> list[Film]:
    """RSNA pneumonia challenge 2018: stage_2_train_labels.csv and its DICOM films.

    Only boxes are taken (Lung_Opacity): the 14 labels are unknown.
    """
    columns = ("patientId", "x", "y", "width", "height", "Target")
    boxes: dict[str, list[Box]] = {}
    for line, row in enumerate(table_rows(table, columns), start=2):
        held = boxes.setdefault(row["patientId"], [])
        if number(table, line, "Target", row["Target"]) == 1.0:
            x, y, w, h = (number(table, line, c, row[c]) for c in columns[1:5])
            if not (w > 0 and h > 0):
                raise TrainingError(f"{table}, line {line}: Target 1 needs a box")
            held.append(Box("Lung_Opacity", x, y, x + w, y + h))
    found = locate([images])
    if need_images:
        require(found, [f"{patient}.dcm" for patient in boxes], table)
    return [
        Film(
            name=f"{patient}.dcm",
            path=found.get(f"{patient}.dcm", images / f"{patient}.dcm"),
            patient_id=patient,
            labels=(UNKNOWN,) * len(LABELS),
            source="RSNA 2018",
            boxes=tuple(held),
            boxes_known=True,
        )
        for patient, held in boxes.items()
    ]


def read_dicom(folder: Path) -> list[Film]:
    """A folder of DICOM films with labels.csv (image and label columns); patient, age, sex and
    view come from the headers where the table does not give them."""
    from dataclasses import replace

    import pydicom
    from pydicom.errors import InvalidDicomError

    films = []
    for film in read_plain(folder, sparse=True):
        if film.path.suffix.lower() != ".dcm":
            films.append(film)
            continue
        try:
            header = pydicom.dcmread(film.path, stop_before_pixels=True, force=True)
        except (InvalidDicomError, OSError) as error:
            raise TrainingError(f"{film.path} is not DICOM: {error}") from None
        patient = str(header.get("PatientID") or "").strip()
        age = str(header.get("PatientAge") or "").strip()
        years = age.endswith("Y") and age[:-1].isdigit()
        films.append(
            replace(
                film,
                patient_id=patient if film.patient_id == film.name and patient else film.patient_id,
                age=film.age if film.age == film.age or not years else float(age[:-1]),
                sex=film.sex or str(header.get("PatientSex") or ""),
                view=film.view or str(header.get("ViewPosition") or ""),
            )
        )
    return films


def read(folder: Path, layout: str, teacher: str = "") -> list[Film]:
    """Films of a data folder by the name of its layout."""
    if layout == "plain":
        return read_plain(folder, teacher=teacher)
    if layout == "nih":
        return read_nih(folder)
    if layout == "dicom":
        return read_dicom(folder)
    if layout == "chestx-det":
        return read_chestx_det(_one(folder, "ChestX_Det*.json"), folder / "images")
    if layout == "rsna":
        return read_rsna(_one(folder, "stage_2_train_labels.csv"), folder / "stage_2_train_images")
    raise TrainingError(f"no layout {layout!r}: plain, nih, dicom, chestx-det or rsna")
