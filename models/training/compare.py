"""Side by side: one column per backbone, as in the 2021 paper, or per configuration (an ablation).

Backbones are trained alike for the same time. AUC per label with a 95 % interval by patient, the
mean, CPU time per film and size. With several seeds a label's column is the AUC of the seeds' mean
logits, and a row shows every seed on its own.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.training import checkpoint, export_onnx, metrics
from models.training.backbones import FAMILIES, build
from models.training.blend import Ensemble
from models.training.config import ClassifierConfig
from models.training.readers_public import read
from models.training.records import LABELS, TrainingError
from models.training.train_classifier import train


@dataclass(frozen=True)
class Column:
    """One backbone or configuration of the table."""

    title: str
    auc: tuple[float, ...]
    interval: tuple[tuple[float, float], ...]
    mean_auc: float
    mean_interval: tuple[float, float]
    seeds: tuple[float, ...]
    epochs: tuple[int, ...]
    cpu_ms: float
    size_mb: float


def cpu_ms(path: Path, size_px: int, rounds: int = 10) -> float:
    """Median CPU milliseconds of one film on one core in onnxruntime: a wall clock would measure
    the machine's other work, too."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    shape = (1, given.shape[1], size_px, size_px)
    film = np.random.default_rng(0).random(shape, dtype=np.float32)
    taken = []
    for _ in range(rounds + 2):
        started = time.process_time()
        session.run(None, {given.name: film})
        taken.append(time.process_time() - started)
    return float(np.median(taken[2:]) * 1000)


def column(
    title: str,
    config: ClassifierConfig,
    seeds: Sequence[int],
    data: Path,
    runs: Path,
    base: Path,
) -> Column:
    """Train one configuration once per seed and measure it on the validation fold."""
    logits: list[NDArray[np.float64]] = []
    areas, epochs = [], []
    for seed in seeds:
        one = replace(config, name=f"{config.name}-seed{seed}", seed=seed)
        result = train(one, data, runs, base)
        areas.append(result.mean_auc)
        epochs.append(result.epochs)
        with np.load(result.folder / "validation.npz") as saved:
            logits.append(saved["logits"])
            truth, names = saved["truth"], [str(name) for name in saved["names"]]
    patient = {film.name: film.patient_id for film in read(data, config.layout)}
    patients = [patient[name] for name in names]
    together = np.mean(logits, axis=0)
    saved_state = checkpoint.load(result.folder / "last.pt")
    if saved_state is None:
        raise TrainingError(f"{result.folder} holds no checkpoint")
    model = build(config.backbone)
    model.load_state_dict(saved_state["ema"])
    exported = result.folder / "model.onnx"
    export_onnx.export(Ensemble([model]), config.size_px, exported)
    return Column(
        title,
        tuple(metrics.auc(truth[:, k], together[:, k]) for k in range(len(LABELS))),
        tuple(
            metrics.bootstrap(metrics.auc, truth[:, k], together[:, k], patients, rounds=500)
            for k in range(len(LABELS))
        ),
        metrics.mean_auc(truth, together),
        metrics.bootstrap(metrics.mean_auc, truth, together, patients, rounds=500),
        tuple(areas),
        tuple(epochs),
        cpu_ms(exported, config.size_px),
        exported.stat().st_size / 1e6,
    )


def clock(config: ClassifierConfig) -> str:
    """What ended every run of a configuration, in words."""
    if config.cpu_s:
        return f"{config.cpu_s:g} s of processor time"
    return f"{config.wall_clock_s:g} s" if config.wall_clock_s else f"{config.epochs} epochs"


def table(columns: Sequence[Column], config: ClassifierConfig, seeds: Sequence[int]) -> str:
    """The columns as Markdown; `config` says how all of them were trained."""
    lines = [
        f"Each column: {clock(config)} of training per seed, seeds {', '.join(map(str, seeds))}, "
        f"{config.size_px} px, from "
        + (config.init if config.init else "random weights")
        + f"; measured on validation fold {config.fold}. Labels: AUC of the seeds' mean logits "
        "with 95 % interval by patient.",
        "",
        "| label | " + " | ".join(item.title for item in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for k, label in enumerate(LABELS):
        cells = [
            f"{item.auc[k]:.3f} ({item.interval[k][0]:.2f}-{item.interval[k][1]:.2f})"
            for item in columns
        ]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    rows = {
        "mean": [
            f"{c.mean_auc:.4f} ({c.mean_interval[0]:.3f}-{c.mean_interval[1]:.3f})" for c in columns
        ],
        "mean of each seed": [", ".join(f"{area:.4f}" for area in c.seeds) for c in columns],
        "epochs reached": [", ".join(map(str, c.epochs)) for c in columns],
        "CPU ms per film, one core": [f"{c.cpu_ms:.1f}" for c in columns],
        "MB": [f"{c.size_mb:.1f}" for c in columns],
    }
    lines += [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items()]
    return "\n".join(lines)


def compare(
    config: ClassifierConfig,
    backbones: Sequence[str],
    seeds: Sequence[int],
    data: Path,
    runs: Path,
    base: Path,
) -> str:
    """Train and measure every backbone (all families if none is named); the table, which is
    written after each of them, so that a run that is cut off keeps what it has."""
    columns, text = [], ""
    for backbone in list(backbones) or list(FAMILIES):
        one = replace(config, name=f"{config.name}-{backbone}", backbone=backbone)
        columns.append(column(backbone, one, seeds, data, runs, base))
        text = _kept(columns, config, seeds, runs)
    return text


def ablate(
    config: ClassifierConfig,
    others: Sequence[ClassifierConfig],
    seeds: Sequence[int],
    data: Path,
    runs: Path,
    base: Path,
) -> str:
    """Train and measure a configuration and its variations, which hold the same films back; the
    table. TrainingError if they would be judged on different films or by different clocks."""
    for other in others:
        for field in ("layout", "split", "folds", "fold"):
            if getattr(other, field) != getattr(config, field):
                raise TrainingError(
                    f"{other.name}: {field} is {getattr(other, field)!r}, in {config.name} it is "
                    f"{getattr(config, field)!r}: figures on different films cannot be compared"
                )
        if clock(other) != clock(config) or other.size_px != config.size_px:
            raise TrainingError(
                f"{other.name} runs {clock(other)} at {other.size_px} px, {config.name} "
                f"{clock(config)} at {config.size_px} px: give them the same"
            )
    columns, text = [], ""
    for one in (config, *others):
        columns.append(column(one.name, one, seeds, data, runs, base))
        text = _kept(columns, config, seeds, runs)
    return text


def _kept(
    columns: Sequence[Column], config: ClassifierConfig, seeds: Sequence[int], runs: Path
) -> str:
    text = table(columns, config, seeds)
    (runs / f"{config.name}.md").write_text(text + "\n")
    return text
