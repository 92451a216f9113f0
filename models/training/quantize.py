"""A shipped classifier → static INT8 (QDQ), kept only where it loses little and is faster here.

Ranges of the activations are taken from films that lie outside the folds it is judged on, and the
final test films are used for neither. Both files are timed on this machine: an INT8 file that is
fast on one processor may be slow on another.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from tqdm import tqdm

from models import card as cards, xray
from models.card import ModelCard, ModelKind
from models.classifier import Classifier
from models.network import to_input
from models.training import metrics
from models.training.evaluate import pixels_of
from models.training.records import LABELS, Film, TrainingError

MAX_AUC_LOSS = 0.005
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Quantised:
    """What INT8 costs and brings, on films and on this machine."""

    calibration_films: int
    films: int
    mean_auc_fp32: float
    mean_auc_int8: float
    auc_loss: float
    max_score_difference: float
    changed_sides_share: float
    """Share of (film, label) pairs that lie on the other side of the threshold."""
    ms_fp32: float
    ms_int8: float
    mb_fp32: float
    mb_int8: float

    def __str__(self) -> str:
        return (
            f"mean AUC {self.mean_auc_fp32:.4f} → {self.mean_auc_int8:.4f} (loss "
            f"{self.auc_loss:.4f}), {self.ms_fp32:.1f} → {self.ms_int8:.1f} ms of one core, "
            f"{self.mb_fp32:.1f} → {self.mb_int8:.1f} MB, scores differ by at most "
            f"{self.max_score_difference:.3f}, {self.changed_sides_share:.2%} of findings change "
            f"sides of their threshold; {self.films} films, ranges from {self.calibration_films} "
            "others"
        )

    def refusal(self) -> str | None:
        """Why it may not be kept, or None."""
        if not self.auc_loss < MAX_AUC_LOSS:
            return f"it loses {self.auc_loss:.4f} of mean AUC; under {MAX_AUC_LOSS} is allowed"
        if not self.ms_int8 < self.ms_fp32:
            return "it is not faster on this machine"
        return None


class _Films(CalibrationDataReader):
    """The films that give the ranges, as the network takes them."""

    def __init__(self, card: ModelCard, films: Sequence[xray.Pixels], input_name: str) -> None:
        self._inputs: Iterator[dict[str, NDArray[np.float32]]] = (
            {input_name: to_input(film, card.input).tensor} for film in films
        )

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._inputs, None)


def write_int8(card: ModelCard, films: Sequence[xray.Pixels], target: Path) -> None:
    """Quantise the card's weight with ranges from `films` into `target`.

    Weights take 7 bits: two products of 8-bit values overflow 16 bits on processors without VNNI
    (onnxruntime, "Quantize ONNX models", U8S8 with reduce_range).
    """
    import onnxruntime

    source = card.directory / card.file
    session = onnxruntime.InferenceSession(card.model_bytes(), providers=["CPUExecutionProvider"])
    with tempfile.TemporaryDirectory() as place:
        prepared = Path(place) / "prepared.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(target),
            _Films(card, films, session.get_inputs()[0].name),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )


def measure(fp32: ModelCard, int8: ModelCard, ranges: int, films: Sequence[Film]) -> Quantised:
    """Both weights on the same films, through the path that serving uses."""
    truth = np.asarray([film.labels for film in films], dtype=np.float64)
    (before, ms_fp32), (after, ms_int8) = timed_scores((fp32, int8), films)
    thresholds = np.array([fp32.thresholds[label] for label in LABELS])
    areas = metrics.mean_auc(truth, before), metrics.mean_auc(truth, after)
    sizes = [(card.directory / card.file).stat().st_size / 1e6 for card in (fp32, int8)]
    return Quantised(
        calibration_films=ranges,
        films=len(films),
        mean_auc_fp32=round(areas[0], 4),
        mean_auc_int8=round(areas[1], 4),
        auc_loss=round(areas[0] - areas[1], 4),
        max_score_difference=round(float(np.abs(before - after).max()), 4),
        changed_sides_share=round(
            float(((before >= thresholds) != (after >= thresholds)).mean()), 5
        ),
        ms_fp32=round(ms_fp32, 1),
        ms_int8=round(ms_int8, 1),
        mb_fp32=round(sizes[0], 2),
        mb_int8=round(sizes[1], 2),
    )


def timed_scores(weights: Sequence[ModelCard], films: Sequence[Film]) -> list[tuple[Floats, float]]:
    """Per weight: served scores (N, 14), and median CPU milliseconds of one core per film.

    CPU time, and the weights in turns on each film: other work on the machine slows neither alone.
    """
    classifiers = [Classifier(card) for card in weights]
    scores: list[list[list[float]]] = [[] for _ in weights]
    taken_s: list[list[float]] = [[] for _ in weights]
    for film in tqdm(films, desc="reading with both", unit="film"):
        pixels = pixels_of(film)
        for number, classifier in enumerate(classifiers):
            started = time.process_time()
            answer = classifier.read(pixels).scores
            taken_s[number].append(time.process_time() - started)
            scores[number].append([answer[label] for label in LABELS])
    return [
        (np.asarray(rows, dtype=np.float64), float(np.median(times)) * 1000)
        for rows, times in zip(scores, taken_s, strict=True)
    ]


def quantize(
    name: str, target: str, ranges: Sequence[Film], judged: Sequence[Film]
) -> tuple[ModelCard, Quantised]:
    """Put an INT8 copy of a classifier on the shelf as `target`, its figures in its card.

    TrainingError, with the figures, when it loses 0.005 of mean AUC or more on `judged`, or is not
    faster than the file it came from; nothing is left on the shelf then.
    """
    source = cards.load(name)
    if source.kind is not ModelKind.CLASSIFY or source.labels != LABELS:
        raise TrainingError(f"{name}: only classifiers of the 14 NIH labels can be quantised")
    if (cards.WEIGHTS / target).exists():
        raise TrainingError(f"a weight named {target} exists: choose another with --name")
    if {film.name for film in ranges} & {film.name for film in judged}:
        raise TrainingError("the films that give the ranges may not judge them, too")
    with tempfile.TemporaryDirectory(dir=cards.WEIGHTS, prefix=".quantize-") as place:
        folder = Path(place) / target
        folder.mkdir()
        write_int8(source, [pixels_of(film) for film in ranges], folder / cards.MODEL_FILE)
        bare = replace(source, name=target, file=cards.MODEL_FILE, directory=folder)
        found = measure(source, cards.write(bare, folder), len(ranges), judged)
        if refusal := found.refusal():
            raise TrainingError(f"INT8 of {name} is not kept: {refusal}. {found}")
        cards.write(
            replace(
                bare,
                architecture=f"{source.architecture}, static INT8",
                figures={**source.figures, "int8": _facts(source, found)},
            ),
            folder,
        )
        shutil.move(folder, cards.WEIGHTS / target)
    return cards.load(target), found


def _facts(source: ModelCard, found: Quantised) -> Mapping[str, object]:
    return {
        **asdict(found),
        "made_from": source.identity(),
        "note": "all other figures of this card are those of the fp32 weight it was made from",
    }
