"""`goldentime train ...`: every training command, also `python -m models.training.cli`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from models import card as cards
from models.card import BadCard
from models.network import NetworkFailure
from models.training.arguments import parser
from models.training.records import TrainingError, not_installed

if TYPE_CHECKING:
    from models.training.folds import Result


def data_folder(argument: str | None) -> Path:
    """The data folder: the argument, else GOLDENTIME_CXR."""
    text = argument or os.environ.get("GOLDENTIME_CXR", "")
    if not text:
        raise TrainingError("name the data folder with --data or in GOLDENTIME_CXR")
    path = Path(text)
    if not path.is_dir():
        raise TrainingError(f"data folder {path} does not exist")
    return path


def train(argv: Sequence[str] | None = None) -> int:
    """`goldentime train`: train, compare and ship networks (an environment of its own)."""
    args = parser().parse_args(argv)
    try:
        return _run(args)
    except (TrainingError, BadCard, NetworkFailure) as error:
        print(f"goldentime train: {error}", file=sys.stderr)
    except ModuleNotFoundError as error:
        print(f"goldentime train: {not_installed(error)}", file=sys.stderr)
    except OSError as error:
        print(
            f"goldentime train: {error.filename or 'a file'}: {error.strerror or error}; mend that "
            "and run the same command again, it goes on from the last checkpoint",
            file=sys.stderr,
        )
    return 2


def _run(args: argparse.Namespace) -> int:
    data = data_folder(args.data)
    if args.command == "split":
        from models.training.readers_public import official_split, read
        from models.training.splits import make_split, save_split

        films = read(data, args.layout)
        if args.official:
            split = official_split(data, films, args.folds, args.seed)
        else:
            split = make_split(films, args.folds, args.test_share, args.seed)
        save_split(split, args.out)
        sizes = ", ".join(str(len(fold)) for fold in split.folds)
        print(f"{args.out}: test {len(split.test)} films, folds {sizes}")
    elif args.command == "classifier":
        from models.training.config import ClassifierConfig, read_config
        from models.training.train_classifier import train as run

        changes = {
            key: getattr(args, key)
            for key in ("fold", "seed", "epochs", "threads", "wall_clock_s", "cpu_s")
        }
        config = read_config(args.config, ClassifierConfig, **changes)
        base = args.config.parent
        if args.compare and args.against:
            raise TrainingError("--compare puts backbones side by side, --against YAMLs: take one")
        if args.compare:
            from models.training.compare import compare

            names = [name for name in args.backbones.split(",") if name]
            print(compare(config, names, args.seeds, data, args.runs, base))
            return 0
        if args.against:
            from models.training.compare import ablate

            if strange := [path for path in args.against if path.parent != base]:
                raise TrainingError(
                    f"{strange[0]} does not lie beside {args.config}: move it there"
                )
            others = [read_config(path, ClassifierConfig, **changes) for path in args.against]
            print(ablate(config, others, args.seeds, data, args.runs, base))
            return 0
        result = run(config, data, args.runs, base)
        print(
            f"{config.name} fold {config.fold}: validation mean AUC {result.mean_auc:.4f} "
            f"after {result.epochs} epochs, {result.seconds:.0f} s ({result.folder})"
        )
    elif args.command == "ridge":
        from models.training.config import RidgeConfig, read_config
        from models.training.train_ridge import train as fit_ridge

        linear = read_config(args.config, RidgeConfig, threads=args.threads)
        _say(linear.name, fit_ridge(linear, data, args.runs, args.config.parent))
    elif args.command == "attention":
        from models.training.config import AttentionConfig, read_config
        from models.training.train_attention import train as fit_attention

        looks = read_config(args.config, AttentionConfig, seed=args.seed, threads=args.threads)
        _say(looks.name, fit_attention(looks, data, args.runs, args.config.parent))
    elif args.command == "detector":
        from models.training.config import DetectorConfig, read_config
        from models.training.train_detector import train as run_detector

        settings = read_config(
            args.config,
            DetectorConfig,
            fold=args.fold,
            seed=args.seed,
            epochs=args.epochs,
            threads=args.threads,
        )
        found = run_detector(settings, data, args.runs, args.config.parent)
        recall = ", ".join(f"{value:.3f} at {rate}" for rate, value in found.froc.items())
        print(
            f"{settings.name} fold {settings.fold}: mAP50 {found.map50:.4f}, "
            f"mAP50-95 {found.map50_95:.4f}, recall {recall} false positives per film, "
            f"{found.boxes} boxes on {found.films} films, {found.seconds:.0f} s ({found.folder})"
        )
    elif args.command == "dense":
        from models.training.config import DenseConfig, read_config
        from models.training.train_dense import train as fit_boxes

        cells = read_config(args.config, DenseConfig, seed=args.seed, threads=args.threads)
        boxes = fit_boxes(cells, data, args.runs, args.config.parent)
        recall = ", ".join(f"{value:.3f} at {rate}" for rate, value in boxes.froc.items())
        folds = ", ".join(f"{value:.4f}" for value in boxes.fold_map50)
        print(
            f"{cells.name}: mAP50 {boxes.map50:.4f}, mAP50-95 {boxes.map50_95:.4f}, recall "
            f"{recall} false positives per film, means of the folds' on films that their heads "
            f"never saw; mAP50 by fold {folds}; {boxes.boxes} boxes on {boxes.films} films, "
            f"{boxes.seconds:.0f} s ({boxes.folder})"
        )
    elif args.command == "paired":
        from models.training import paired
        from models.training.readers import read_plain

        sides = [
            paired.blended(args.runs, paired.shares_of(text), args.folds)
            for text in (args.first, args.second)
        ]
        owner = {film.name: film.patient_id for film in read_plain(data)}
        print(paired.compare(sides[0], sides[1], owner))
    elif args.command == "gan":
        from models.training.config import GanConfig, read_config
        from models.training.train_gan import train as grow

        changes = {key: getattr(args, key) for key in ("fold", "seed", "threads", "cpu_s")}
        gan = read_config(args.config, GanConfig, **changes)
        folder = grow(gan, data, args.runs, args.config.parent)
        print(f"{gan.name}: grown to {gan.size_px} px ({folder})")
    elif args.command == "synthesise":
        _synthesise(args, data)
    elif args.command == "ship":
        from models.training import provenance, ship_classifier, ship_detector
        from models.training.blend import RidgePart

        run_folder = args.runs / args.run
        places = {
            "weights": args.weights or cards.WEIGHTS,
            "records": args.records or provenance.RECORDS,
        }
        if args.kind == "classifier":
            ridge = RidgePart(args.runs / args.ridge, args.ridge_share) if args.ridge else None
            card = ship_classifier.ship(
                run_folder,
                args.folds,
                args.name,
                args.version,
                data,
                args.runs,
                **places,
                ridge=ridge,
            )
        else:
            card = ship_detector.ship(
                run_folder, args.folds, args.fold, args.name, args.version, **places
            )
        print(f"{card.directory}: {json.dumps(card.figures['validation'])}")
    return 0


def _say(name: str, result: Result) -> None:
    areas = ", ".join(f"{area:.4f}" for area in result.fold_auc)
    print(
        f"{name}: mean AUC {result.mean_auc:.4f} on {result.films} films, each scored by a head "
        f"that saw neither film nor patient; by fold {areas}; {result.seconds:.0f} s "
        f"({result.folder})"
    )


def _synthesise(args: argparse.Namespace, data: Path) -> None:
    from models.training.config import ClassifierConfig, GanConfig, RidgeConfig, read_config
    from models.training.finished import members
    from models.training.frozen import FrozenMaps, inits_of, parse_trunks
    from models.training.train_gan import Judge, synthesise

    gan = read_config(args.config, GanConfig, fold=args.fold)
    judge: Judge | None = None
    if args.features_run:
        run = args.runs / args.features_run
        seen = read_config(run / f"fold{gan.fold}" / "config.yaml", ClassifierConfig)
        (member,) = members(run, [gan.fold], seen)
        judge = member.eval().features
    if args.features_of:
        ridge = read_config(args.features_of, RidgeConfig)
        trunks = parse_trunks(ridge.trunks)
        judge = FrozenMaps(trunks, inits_of(ridge.init, len(trunks), data)).eval()
    written = synthesise(
        gan,
        args.runs / gan.name / f"fold{gan.fold}",
        tuple(args.labels.split(",")),
        args.count,
        args.out,
        data,
        args.runs,
        args.config.parent,
        judge,
    )
    distance = (
        ""
        if written.kid is None
        else f", KID {written.kid:.4f} (real films held back: {written.kid_of_held:.4f})"
    )
    print(
        f"{written.folder}: {written.written} films, {written.refused} refused as copies "
        f"(likeness over {written.limit:.3f}){distance}"
    )


def evaluate(argv: Sequence[str] | None = None) -> int:
    """`goldentime evaluate`: figures of a weight on any films with labels."""
    options = argparse.ArgumentParser(
        prog="goldentime evaluate",
        description=evaluate.__doc__,
        epilog="example: goldentime evaluate --images films --labels films/labels.csv "
        "--weight classify-blend",
    )
    options.add_argument("--images", type=Path, help="folder of the films")
    options.add_argument("--labels", type=Path, required=True, help="CSV: image and label columns")
    options.add_argument("--boxes", default="", help="CSV of boxes, beside the labels")
    options.add_argument("--weight", required=True, help="a classifier's name or folder")
    options.add_argument("--detector", help="a detector's name or folder, judged on --boxes")
    options.add_argument("--split", type=Path, help="split file: judge one part of it only")
    options.add_argument("--part", default="test", help="test, or the number of a fold")
    options.add_argument("--out", type=Path, default=Path("runs/evaluation"))
    options.add_argument("--write-card", metavar="KEY", help="keep the figures in the card as KEY")
    options.add_argument("--threads", type=int, default=2)
    args = options.parse_args(argv)
    try:
        return _evaluate(args)
    except (TrainingError, BadCard, NetworkFailure, OSError) as error:
        print(f"goldentime evaluate: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"goldentime evaluate: {not_installed(error)}", file=sys.stderr)
        return 2


def _evaluate(args: argparse.Namespace) -> int:
    from models.training import evaluate as evaluation, report
    from models.training.readers import read_plain
    from models.training.splits import load_split

    if args.boxes and not (args.labels.parent / args.boxes).exists():
        raise TrainingError(f"{args.labels.parent / args.boxes} does not exist: --boxes names it")
    classifier_card = cards.load(args.weight)
    detector_card = cards.load(args.detector) if args.detector else None
    films = read_plain(
        args.labels.parent,
        labels=args.labels.name,
        images=str(args.images.resolve()) if args.images else "",
        boxes_file=args.boxes,
        sparse=True,
    )
    if args.split:
        split = load_split(args.split)
        if args.part == "test":
            wanted = split.test
        elif args.part.isdigit() and int(args.part) < len(split.folds):
            wanted = split.folds[int(args.part)]
        else:
            raise TrainingError(f"--part {args.part} is neither 'test' nor a fold of {args.split}")
        films = [film for film in films if film.name in wanted]
        if not films:
            raise TrainingError(f"no film of {args.labels} is in part {args.part}")
    figures, scores = evaluation.evaluate(films, classifier_card, detector_card, args.threads)
    print(evaluation.table(figures))
    sources = evaluation.by_source(scores, films)
    for source, (count, area) in sources.items():
        print(f"source {source}: {count} films, mean AUC {area:.4f}")
    args.out.mkdir(parents=True, exist_ok=True)
    evaluation.write_json(figures, args.out / "figures.json")
    pictures = report.plots(scores, films, figures, args.out)
    report.page(classifier_card, figures, sources, pictures, args.out / "report.html")
    print(f"plots and report: {args.out / 'report.html'}")
    if args.write_card:
        from models.training.provenance import keep_evaluation

        part = f"part {args.part} of the split" if args.split else args.labels.name
        keep_evaluation(classifier_card, detector_card, figures, args.write_card, part)
    return 0


if __name__ == "__main__":
    sys.exit(train())
