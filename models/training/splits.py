"""Who is trained on and who is held back: patients, never films, are dealt into folds.

The split of the shipped weights is a committed file with image names only. The leakage guard
fails a run when a patient or an image crosses a split, or when a synthetic film would be
validated or tested on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.training.records import Film, TrainingError


@dataclass(frozen=True)
class Split:
    """Image names of the final test set and of the cross-validation folds of the rest."""

    test: frozenset[str]
    folds: tuple[frozenset[str], ...]

    def parts(self, films: list[Film], fold: int) -> tuple[list[Film], list[Film], list[Film]]:
        """(train, validation, test) films for one fold; synthetic films only ever train."""
        if not 0 <= fold < len(self.folds):
            raise TrainingError(f"fold {fold} does not exist: the split has {len(self.folds)}")
        held = self.folds[fold]
        known = self.test.union(*self.folds)
        stray = [film.name for film in films if not film.synthetic and film.name not in known]
        if stray:
            raise TrainingError(
                f"{len(stray)} films are not in the split file (first: {stray[0]}): "
                "make a new one with 'goldentime train split'"
            )
        train = [
            film
            for film in films
            if film.synthetic or (film.name not in held and film.name not in self.test)
        ]
        validation = [film for film in films if film.name in held]
        test = [film for film in films if film.name in self.test]
        guard(train, validation, test)
        return train, validation, test


def guard(*parts: list[Film], hashes: dict[str, str] | None = None) -> None:
    """Raise TrainingError if a patient or an image is in two parts, or one after the first
    holds a synthetic film. `hashes` maps film names to a hash of their pixels."""
    owner_patient: dict[str, int] = {}
    owner_image: dict[str, tuple[int, str]] = {}
    for number, films in enumerate(parts):
        for film in films:
            if film.synthetic and number > 0:
                raise TrainingError(f"synthetic film {film.name} is in validation or test")
            if owner_patient.setdefault(film.patient_id, number) != number:
                raise TrainingError(
                    f"patient {film.patient_id} is on both sides of a split ({film.name})"
                )
            key = hashes.get(film.name, film.name) if hashes else film.name
            side, other = owner_image.setdefault(key, (number, film.name))
            if side != number:
                raise TrainingError(
                    f"the same image is on both sides of a split: {other} and {film.name}"
                )


def deal(films: list[Film], parts: int, seed: int) -> list[frozenset[str]]:
    """Deal films into `parts` sets of image names, stratified by label, patients kept whole.

    A label counts for a patient when any of their films has it (Sechidis et al. 2011,
    iterative stratification, which has no group variant of its own).
    """
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

    patients = sorted({film.patient_id for film in films})
    if len(patients) < parts:
        raise TrainingError(f"{len(patients)} patients cannot be dealt into {parts} parts")
    row = {patient: i for i, patient in enumerate(patients)}
    width = len(films[0].labels)
    # beside the labels: has a box, has an opacity-free reading, has a teacher's score
    marks = np.zeros((len(patients), width + 3), dtype=int)
    for film in films:
        marks[row[film.patient_id], :width] |= np.nan_to_num(film.labels).astype(int)
        marks[row[film.patient_id], width] |= int(bool(film.boxes))
        marks[row[film.patient_id], width + 1] |= int(film.boxes_known and not film.boxes)
        marks[row[film.patient_id], width + 2] |= int(film.teacher is not None)
    dealer = MultilabelStratifiedKFold(n_splits=parts, shuffle=True, random_state=seed)
    part_of = np.empty(len(patients), dtype=int)
    for number, (_, held) in enumerate(dealer.split(np.zeros((len(patients), 1)), marks)):
        part_of[held] = number
    return [
        frozenset(film.name for film in films if part_of[row[film.patient_id]] == number)
        for number in range(parts)
    ]


def make_split(films: list[Film], folds: int, test_share: float, seed: int) -> Split:
    """A test set of about `test_share` of the patients, and `folds` folds of the others."""
    real = [film for film in films if not film.synthetic]
    test = deal(real, round(1.0 / test_share), seed)[0] if test_share > 0 else frozenset()
    rest = [film for film in real if film.name not in test]
    return Split(test, tuple(deal(rest, folds, seed + 1)))


def save_split(split: Split, path: Path) -> None:
    """Write a split as JSON: image names only."""
    text = json.dumps(
        {"test": sorted(split.test), "folds": [sorted(fold) for fold in split.folds]}, indent=0
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(text + "\n")
    partial.replace(path)


def load_split(path: Path) -> Split:
    """Read a split file; TrainingError if it is no such file."""
    try:
        content = json.loads(path.read_text())
        return Split(
            frozenset(content["test"]), tuple(frozenset(fold) for fold in content["folds"])
        )
    except FileNotFoundError:
        raise TrainingError(
            f"no split file {path}: make one with 'goldentime train split'"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path} is not a split file: {error}") from None


def fingerprint(names: Iterable[str]) -> str:
    """A short hash that names a set of images in cards and logs."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16]
