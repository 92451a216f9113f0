"""The pictures and the page of an evaluation: ROC and reliability plots, boxes, one HTML file."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # files only: no display is asked for

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from models.card import ModelCard
from models.training.evaluate import Figures, table
from models.training.records import LABELS, Film

Floats = NDArray[np.float64]


def _roc(truth: Floats, score: Floats) -> tuple[Floats, Floats]:
    order = np.argsort(-score, kind="stable")
    hit = truth[order] > 0.5
    ends = np.r_[np.nonzero(np.diff(score[order]))[0], hit.size - 1]
    true = np.r_[0.0, np.cumsum(hit)[ends] / hit.sum()]
    false = np.r_[0.0, np.cumsum(~hit)[ends] / (~hit).sum()]
    return false, true


def _grid(title: str) -> tuple[Figure, list[plt.Axes]]:
    figure, axes = plt.subplots(3, 5, figsize=(15, 9), layout="constrained")
    figure.suptitle(title)
    flat = list(axes.ravel())
    flat[-1].axis("off")
    return figure, flat


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=80)
    plt.close(figure)
    return path


def _confusion(counted: dict[str, Any]) -> Figure:
    counts, names = np.asarray(counted["true_by_found"]), counted["labels"]
    side = max(4.0, 0.6 * len(names) + 2)
    figure, axes = plt.subplots(figsize=(side, side), layout="constrained")
    axes.imshow(counts, cmap="Blues")
    for (row, column), count in np.ndenumerate(counts):
        dark = count > counts.max() / 2
        last = len(names) - 1
        text = "" if row == column == last else str(count)  # nobody counts what is nowhere
        axes.text(column, row, text, ha="center", va="center", color="white" if dark else "black")
    axes.set_xticks(range(len(names)), [*names[:-1], "missed"], rotation=45, ha="right")
    axes.set_yticks(range(len(names)), [*names[:-1], "false"])
    axes.set(xlabel="found", ylabel="true", title="Boxes at the served thresholds, IoU 0.5")
    return figure


def plots(scores: Floats, films: list[Film], figures: Figures, folder: Path) -> list[Path]:
    """Write roc.png and reliability.png; boxes.png and confusion.png when boxes were judged."""
    folder.mkdir(parents=True, exist_ok=True)
    truth = np.asarray([film.labels for film in films], dtype=np.float64)
    roc, roc_axes = _grid("ROC per label")
    reliability, reliability_axes = _grid("Reliability, 10 equal-mass bins")
    for k, label in enumerate(LABELS):
        known = ~np.isnan(truth[:, k])
        wanted, score = truth[known, k], scores[known, k]
        for axes in (roc_axes[k], reliability_axes[k]):
            axes.set_title(label, fontsize=9)
            axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
        if not 0 < wanted.sum() < wanted.size:
            continue
        roc_axes[k].plot(*_roc(wanted, score), label=f"AUC {figures.labels[k].auc:.3f}")
        roc_axes[k].legend(fontsize=8, loc="lower right")
        parts = [p for p in np.array_split(np.argsort(score, kind="stable"), 10) if p.size]
        reliability_axes[k].plot(
            [score[p].mean() for p in parts],
            [wanted[p].mean() for p in parts],
            marker="o",
            label=f"ECE {figures.labels[k].ece:.3f}",
        )
        reliability_axes[k].legend(fontsize=8, loc="upper left")
    out = [_save(roc, folder / "roc.png"), _save(reliability, folder / "reliability.png")]
    if figures.boxes:
        figure, box_axes = plt.subplots(figsize=(6, 4), layout="constrained")
        for label, item in figures.boxes["labels"].items():
            recall = item["recall_at_false_positives_per_film"]
            box_axes.plot(
                [float(rate) for rate in recall], list(recall.values()), "o-", label=label
            )
        box_axes.set(
            xlabel="false positives per film", ylabel="recall at IoU 0.5", title="FROC", ylim=(0, 1)
        )
        box_axes.legend()
        out.append(_save(figure, folder / "boxes.png"))
        out.append(_save(_confusion(figures.boxes["confusion"]), folder / "confusion.png"))
    return out


def page(
    card: ModelCard,
    figures: Figures,
    sources: dict[str, tuple[int, float]],
    pictures: list[Path],
    path: Path,
) -> None:
    """Write one HTML file that needs nothing beside it."""
    shown = "".join(
        f'<h2>{html.escape(picture.stem)}</h2><img alt="{html.escape(picture.stem)}" '
        f'src="data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}">'
        for picture in pictures
    )
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{count}</td><td>{area:.3f}</td></tr>"
        for name, (count, area) in sources.items()
    )
    by_source = (
        f"<h2>By source</h2><table><tr><th>source<th>films<th>mean AUC</tr>{rows}</table>"
        if rows
        else ""
    )
    path.write_text(
        f"""<!doctype html><html lang="en"><meta charset="utf-8">
<title>{html.escape(card.name)}: evaluation</title>
<style>body{{font:15px/1.5 sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem}}
img{{max-width:100%}}td,th{{padding:.2rem .8rem;text-align:left}}</style>
<h1>{html.escape(card.name)} {html.escape(card.version)}</h1>
<p><strong>{html.escape(card.not_for)}</strong> {html.escape(card.licence)}</p>
<p>sha256 of the weight: <code>{card.sha256}</code></p>
<pre>{html.escape(table(figures))}</pre>
<p>Intervals are 95 %, bootstrapped by patient. sens@.9 is the sensitivity at a specificity of 0.9
on these films.</p>{by_source}{shown}</html>
""",
        encoding="utf-8",
    )
