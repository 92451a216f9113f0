"""The 2021 paper's table: one column per backbone, all trained alike for the same wall-clock.

AUC per label with a 95 % interval by patient, the mean, CPU time per film and size. With several
seeds a label's column is the mean of the seeds' logits' AUC, and the mean row shows every seed.
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
from models.training.config import ClassifierConfig
from models.training.readers_public import read
from models.training.records import LABELS, TrainingError
from models.training.train_classifier import train


@dataclass(frozen=True)
class Column:
    """One backbone of the table."""

    backbone: str
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
    config: ClassifierConfig,
    backbone: str,
    seeds: Sequence[int],
    data: Path,
    runs: Path,
    base: Path,
) -> Column:
    """Train one backbone once per seed and measure it on the validation fold."""
    logits: list[NDArray[np.float64]] = []
    areas, epochs = [], []
    for seed in seeds:
        one = replace(
            config, name=f"{config.name}-{backbone}-seed{seed}", backbone=backbone, seed=seed
        )
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
    model = build(backbone)
    model.load_state_dict(saved_state["ema"])
    exported = result.folder / "model.onnx"
    export_onnx.export(export_onnx.Ensemble([model]), config.size_px, exported)
    return Column(
        backbone,
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


def table(columns: Sequence[Column], config: ClassifierConfig, seeds: Sequence[int]) -> str:
    """The columns as Markdown."""
    clock = f"{config.wall_clock_s:.0f} s" if config.wall_clock_s else f"{config.epochs} epochs"
    lines = [
        f"Each backbone: {clock} of training per seed, seeds {', '.join(map(str, seeds))}, "
        f"{config.size_px} px, from "
        + (config.init if config.init else "random weights")
        + f"; measured on validation fold {config.fold}. Labels: AUC of the seeds' mean logits "
        "with 95 % interval by patient.",
        "",
        "| label | " + " | ".join(item.backbone for item in columns) + " |",
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
    """Train and measure every backbone (all families if none is named); the table."""
    chosen = list(backbones) or list(FAMILIES)
    columns = [column(config, backbone, seeds, data, runs, base) for backbone in chosen]
    text = table(columns, config, seeds)
    (runs / f"{config.name}.md").write_text(text + "\n")
    return text
