"""Trained weights → one ONNX file that answers like the torch network, checked on real films."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import nn

from models.training.pixels import Gray
from models.training.records import TrainingError

OPSET = 17
#: Largest difference in logits between torch and onnxruntime that is let through.
MAX_DIFFERENCE = 2e-3


@dataclass(frozen=True)
class Parity:
    """How well the exported file answers like the network it came from."""

    films: int
    max_difference: float
    rank_agreement: float


def export(
    network: nn.Module, size_px: int, path: Path, outputs: Sequence[str] = ("logits", "cam")
) -> None:
    """Write a network of films → `outputs` as ONNX: input (1, 1, S, S)."""
    network = network.eval().to(memory_format=torch.contiguous_format)
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # the exporter warns of its own deprecations, not of the network
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(1, 1, size_px, size_px),),
            stream,
            input_names=["film"],
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=False,
        )
    path.write_bytes(stream.getvalue())


def _rank_agreement(left: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    """Spearman's correlation; where an answer never changes there are no ranks, and it is 1 if
    neither does, else 0."""
    still = bool(np.ptp(left) == 0), bool(np.ptp(right) == 0)
    if any(still):
        return float(all(still))
    return float(spearmanr(left, right)[0])


def check(network: nn.Module, path: Path, films: Gray) -> Parity:
    """Compare torch and onnxruntime on real films (N, S, S); TrainingError if they disagree."""
    network = network.eval()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    wanted, got = [], []
    for film in films:
        given = (film.astype(np.float32) / 255.0)[None, None]
        with torch.no_grad():
            wanted.append(network(torch.from_numpy(given))[0].numpy()[0])
        got.append(session.run(["logits"], {"film": given})[0][0])
    left, right = np.asarray(wanted), np.asarray(got)
    parity = Parity(
        len(films),
        float(np.abs(left - right).max()),
        min(_rank_agreement(left[:, k], right[:, k]) for k in range(left.shape[1])),
    )
    if parity.max_difference > MAX_DIFFERENCE:
        raise TrainingError(
            f"{path} differs from the trained network by {parity.max_difference:.2g} in logits"
        )
    return parity
