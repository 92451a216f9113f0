"""Checkpoints that survive: written beside, then renamed, so the last good one stays intact."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from models.training.records import TrainingError


def save(content: dict[str, Any], path: Path) -> None:
    """Write a checkpoint; on a full disk the previous one stays and TrainingError says so."""
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as stream:
            torch.save(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except (OSError, RuntimeError) as error:
        partial.unlink(missing_ok=True)
        raise TrainingError(
            f"cannot write checkpoint {path} ({error}): free some space and run the same command "
            "again, it goes on from the last checkpoint"
        ) from None


def load(path: Path) -> dict[str, Any] | None:
    """The checkpoint, or None if there is none; a damaged one is a TrainingError."""
    if not path.exists():
        return None
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise TrainingError(f"{path} is damaged ({error}): delete it to start afresh") from None
    return content
