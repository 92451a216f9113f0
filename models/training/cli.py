"""`goldentime train ...`: every training command, also `python -m models.training.cli`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from models.training.records import TrainingError


def _data(argument: str | None) -> Path:
    """The data folder: the argument, else GOLDENTIME_CXR."""
    text = argument or os.environ.get("GOLDENTIME_CXR", "")
    if not text:
        raise TrainingError("name the data folder with --data or in GOLDENTIME_CXR")
    path = Path(text)
    if not path.is_dir():
        raise TrainingError(f"data folder {path} does not exist")
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="goldentime train", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, text: str, config: bool = False) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--data", help="folder with labels.csv and the films")
        sub.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are written")
        if config:
            sub.add_argument("--config", type=Path, required=True, help="YAML of the run")
            sub.add_argument("--fold", type=int, help="another fold than the YAML's")
            sub.add_argument("--seed", type=int, help="another seed than the YAML's")
            sub.add_argument("--epochs", type=int, help="another number of epochs")
        return sub

    split = command("split", "deal patients into a final test set and folds")
    split.add_argument("--out", type=Path, required=True)
    split.add_argument("--folds", type=int, default=5)
    split.add_argument("--test-share", type=float, default=0.2)
    split.add_argument("--seed", type=int, default=0)
    command("classifier", "train a classifier on one fold", config=True)
    command("detector", "train a detector on one fold", config=True)
    return parser


def train(argv: Sequence[str] | None = None) -> int:
    """Run one training command; the exit status."""
    args = _parser().parse_args(argv)
    try:
        return _run(args)
    except TrainingError as error:
        print(f"goldentime train: {error}", file=sys.stderr)
        return 2


def _run(args: argparse.Namespace) -> int:
    data = _data(args.data)
    if args.command == "split":
        from models.training.readers import read_plain
        from models.training.splits import make_split, save_split

        split = make_split(read_plain(data), args.folds, args.test_share, args.seed)
        save_split(split, args.out)
        sizes = ", ".join(str(len(fold)) for fold in split.folds)
        print(f"{args.out}: test {len(split.test)} films, folds {sizes}")
    elif args.command == "classifier":
        from models.training.config import ClassifierConfig, read_config
        from models.training.train_classifier import train as run

        config = read_config(
            args.config, ClassifierConfig, fold=args.fold, seed=args.seed, epochs=args.epochs
        )
        result = run(config, data, args.runs, args.config.parent)
        print(
            f"{config.name} fold {config.fold}: validation mean AUC {result.mean_auc:.4f} "
            f"after {result.epochs} epochs, {result.seconds:.0f} s ({result.folder})"
        )
    elif args.command == "detector":
        from models.training.config import DetectorConfig, read_config
        from models.training.train_detector import train as run_detector

        settings = read_config(
            args.config, DetectorConfig, fold=args.fold, seed=args.seed, epochs=args.epochs
        )
        found = run_detector(settings, data, args.runs, args.config.parent)
        recall = ", ".join(f"{value:.3f} at {rate}" for rate, value in found.froc.items())
        print(
            f"{settings.name} fold {settings.fold}: mAP50 {found.map50:.4f}, "
            f"mAP50-95 {found.map50_95:.4f}, recall {recall} false positives per film, "
            f"{found.boxes} boxes on {found.films} films, {found.seconds:.0f} s ({found.folder})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(train())
