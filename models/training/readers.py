"""Annotation files as their publishers ship them → Film records. No pixels, no torch.

Every reader checks the columns it needs and names the file, the row and the fix.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from pathlib import Path

from models.training.records import LABELS, UNKNOWN, Box, Film, TrainingError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm")


def table_rows(path: Path, needed: tuple[str, ...]) -> list[dict[str, str]]:
    """The rows of a CSV file that must have the `needed` columns."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = [name.strip() for name in reader.fieldnames or []]
            missing = [name for name in needed if name not in columns]
            if missing:
                raise TrainingError(
                    f"{path}: column {', '.join(missing)} is missing (found: {', '.join(columns)})"
                )
            reader.fieldnames = columns
            return list(reader)
    except FileNotFoundError:
        raise TrainingError(f"{path} does not exist: name the folder that holds it") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise TrainingError(f"{path} is not a CSV file in UTF-8: {error}") from None


def number(path: Path, line: int, column: str, text: str) -> float:
    """A cell as a number, blank as UNKNOWN."""
    text = (text or "").strip()
    if not text:
        return UNKNOWN
    try:
        return float(text)
    except ValueError:
        raise TrainingError(f"{path}, line {line}: {column} is {text!r}, not a number") from None


def locate(folders: list[Path]) -> dict[str, Path]:
    """Image files by name; the first folder that holds a name wins."""
    found: dict[str, Path] = {}
    for folder in folders:
        if folder.is_dir():
            for path in sorted(folder.iterdir()):
                if path.suffix.lower() in IMAGE_SUFFIXES:
                    found.setdefault(path.name, path)
    return found


def require(found: dict[str, Path], names: list[str], source: Path) -> None:
    missing = [name for name in names if name not in found]
    if missing:
        raise TrainingError(
            f"{source}: {len(missing)} images are missing (first: {missing[0]}); put them beside "
            "the file or take their rows out"
        )


def _label(path: Path, line: int, label: str, text: str | None) -> float:
    value = number(path, line, label, text or "")
    if value not in (0.0, 1.0) and not math.isnan(value):
        raise TrainingError(f"{path}, line {line}: {label} is {text!r}; it is 0, 1 or blank")
    return value


def _scale(table: Path, row: dict[str, str], side: str) -> float:
    """Pixels on disk per pixel of the original, 1 where the table does not say."""
    have, original = row.get(side), row.get(f"orig_{side}")
    if not have or not original:
        return 1.0
    try:
        return float(have) / float(original)
    except (ValueError, ZeroDivisionError):
        raise TrainingError(
            f"{table}: {row['image']} has {side} {have!r} and orig_{side} {original!r}; both are "
            "lengths in pixels"
        ) from None


def read_plain(
    folder: Path,
    teacher: str = "",
    images: str = "",
    labels: str = "labels.csv",
    boxes_file: str = "boxes.csv",
    sparse: bool = False,
) -> list[Film]:
    """A folder with labels.csv (image, patient_id and the 14 labels as 0/1, blank = unknown).

    `sparse` lets label columns and patient_id be absent (unknown; each film its own patient).
    Optional columns: age, sex, view, rsna_target, source_repo, w, h, orig_w, orig_h. Optional
    boxes.csv (image, label, x, y, w, h in pixels of the original, orig_w × orig_h where given).
    `teacher` names a CSV with image and prob_<label>. Images lie in `images` or in the folder,
    images/ or nih/.
    """
    table = folder / labels
    rows = table_rows(table, ("image",) if sparse else ("image", "patient_id", *LABELS))
    if sparse and rows and not set(LABELS) & set(rows[0]):
        raise TrainingError(f"{table}: none of the columns {', '.join(LABELS)} is there")
    places = [folder / images] if images else [folder, folder / "images", folder / "nih"]
    found = locate(places)
    require(found, [row["image"] for row in rows], table)
    scores: dict[str, tuple[float, ...]] = {}
    if teacher:
        path = folder / teacher
        columns = tuple(f"prob_{label}" for label in LABELS)
        for line, row in enumerate(table_rows(path, ("image", *columns)), start=2):
            scores[row["image"]] = tuple(number(path, line, c, row[c]) for c in columns)
    boxes: dict[str, list[Box]] = defaultdict(list)
    size = {row["image"]: row for row in rows}
    path = folder / boxes_file
    if boxes_file and path.exists():
        for line, row in enumerate(
            table_rows(path, ("image", "label", "x", "y", "w", "h")), start=2
        ):
            film = size.get(row["image"])
            if film is None:
                raise TrainingError(f"{path}, line {line}: {row['image']} is not in {table.name}")
            scale_x, scale_y = (_scale(table, film, side) for side in ("w", "h"))
            x, y, w, h = (number(path, line, c, row[c]) for c in ("x", "y", "w", "h"))
            if not (w > 0 and h > 0):
                raise TrainingError(f"{path}, line {line}: a box needs a width and a height")
            boxes[row["image"]].append(
                Box(row["label"], x * scale_x, y * scale_y, (x + w) * scale_x, (y + h) * scale_y)
            )
    films = []
    for line, row in enumerate(rows, start=2):
        name = row["image"]
        films.append(
            Film(
                name=name,
                path=found[name],
                patient_id=row.get("patient_id") or name,
                labels=tuple(_label(table, line, label, row.get(label)) for label in LABELS),
                source=row.get("source_repo") or "",
                age=number(table, line, "age", row.get("age") or ""),
                sex=row.get("sex") or "",
                view=row.get("view") or "",
                teacher=scores.get(name),
                boxes=tuple(boxes.get(name, ())),
                boxes_known=name in boxes or (row.get("rsna_target") or "") in ("0", "0.0"),
                synthetic=(row.get("synthetic") or "") in ("1", "true"),
            )
        )
    if not films:
        raise TrainingError(f"{table} has no rows")
    return films
