"""Generated films for the smoke run of the training code: shapes, not anatomy."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from models import xray
from models.card import NIH_LABELS

FILMS, PATIENTS, SIZE_PX = 60, 40, 96


def write_films(folder: Path) -> Path:
    """A data folder as `read_plain` wants it: a bright blob where there is an opacity."""
    generator = np.random.default_rng(7)
    folder.mkdir(parents=True, exist_ok=True)
    rows, boxes, scores = [], [], []
    for number in range(FILMS):
        name = f"film{number:03d}.png"
        labels = {
            label: int((number + k) % 5 == 0 or (label == "Pneumonia" and number % 2 == 0))
            for k, label in enumerate(NIH_LABELS)
        }
        film = generator.integers(20, 60, (SIZE_PX, SIZE_PX)).astype(np.uint8)
        if labels["Pneumonia"]:
            x, y = (int(v) for v in generator.integers(5, 60, 2))
            film[y : y + 30, x : x + 25] += 150
            # boxes are in pixels of an original twice this size
            boxes.append([name, "Lung_Opacity", 2 * x, 2 * y, 50, 60])
        (folder / name).write_bytes(xray.encode_png(film))
        rows.append(
            {
                "image": name,
                "patient_id": f"p{number % PATIENTS}",
                **labels,
                "age": 50,
                "sex": "MF"[number % 2],
                "view": ("PA", "AP")[number % 2],
                "w": SIZE_PX,
                "h": SIZE_PX,
                "orig_w": 2 * SIZE_PX,
                "orig_h": 2 * SIZE_PX,
                "rsna_target": "" if labels["Pneumonia"] else "0.0",
                "source_repo": f"source{number % 2}",
            }
        )
        if number % 3 == 0:
            scores.append([name, *(0.9 if labels[label] else 0.1 for label in NIH_LABELS)])
    with (folder / "labels.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    for name, head, body in (
        ("boxes.csv", ["image", "label", "x", "y", "w", "h"], boxes),
        ("teacher.csv", ["image", *(f"prob_{label}" for label in NIH_LABELS)], scores),
    ):
        with (folder / name).open("w", newline="") as stream:
            csv.writer(stream).writerows([head, *body])
    return folder


@pytest.fixture(scope="session")
def films_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_films(tmp_path_factory.mktemp("films"))
