"""`goldentime train ...`: every training command, also `python -m models.training.cli`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from models import card as cards
from models.card import BadCard
from models.network import NetworkFailure
from models.training.records import TrainingError, not_installed

#: One call of every command, as its --help shows it.
EXAMPLES = {
    "split": "split --data films --out split.json --seed 2026",
    "classifier": "classifier --config yolov5n.yaml --data films --fold 0",
    "ridge": "ridge --config ridge.yaml --data films",
    "dense": "dense --config dense.yaml --data films",
    "detector": "detector --config detector.yaml --data films --fold 0",
    "gan": "gan --config gan64.yaml --data films",
    "synthesise": "synthesise --config gan64.yaml --labels Hernia,Fibrosis --out films/made "
    "--data films",
    "ship": "ship detector --run dense --folds 0,1,2,3,4 --name boxes --version 1 --data films",
}


def data_folder(argument: str | None) -> Path:
    """The data folder: the argument, else GOLDENTIME_CXR."""
    text = argument or os.environ.get("GOLDENTIME_CXR", "")
    if not text:
        raise TrainingError("name the data folder with --data or in GOLDENTIME_CXR")
    path = Path(text)
    if not path.is_dir():
        raise TrainingError(f"data folder {path} does not exist")
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="goldentime train",
        description=__doc__,
        epilog="example: goldentime train " + EXAMPLES["classifier"],
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, text: str, config: bool = False) -> argparse.ArgumentParser:
        example = f"example: goldentime train {EXAMPLES[name]}"
        sub = commands.add_parser(name, help=text, description=text, epilog=example)
        sub.add_argument("--data", help="folder with labels.csv and the films")
        sub.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are written")
        if config:
            sub.add_argument("--config", type=Path, required=True, help="YAML of the run")
            sub.add_argument("--fold", type=int, help="another fold than the YAML's")
            sub.add_argument("--seed", type=int, help="another seed than the YAML's")
            sub.add_argument("--epochs", type=int, help="another number of epochs")
            sub.add_argument("--threads", type=int, help="another number of threads")
        return sub

    split = command("split", "deal patients into a final test set and folds")
    split.add_argument("--out", type=Path, required=True)
    split.add_argument("--folds", type=int, default=5)
    split.add_argument("--test-share", type=float, default=0.2)
    split.add_argument("--seed", type=int, default=0)
    split.add_argument("--layout", default="plain", help="plain, nih, dicom, chestx-det or rsna")
    split.add_argument("--official", action="store_true", help="nih: its own test list")
    classifier = command("classifier", "train a classifier on one fold", config=True)
    classifier.add_argument("--compare", action="store_true", help="the table of all families")
    classifier.add_argument("--backbones", default="", help="--compare: these only, a comma list")
    classifier.add_argument(
        "--against", type=Path, nargs="+", default=[], metavar="YAML",
        help="an ablation: --config and these side by side, judged on the same films",
    )  # fmt: skip
    classifier.add_argument(
        "--seeds", type=_numbers, default=[0, 1], help="--compare and --against: seeds"
    )
    classifier.add_argument("--wall-clock-s", type=float, help="stop each run after that long")
    classifier.add_argument(
        "--cpu-s", type=float, help="stop each run after that much processor time of all threads"
    )
    ridge = command("ridge", "fit linear heads on frozen trunks, every fold")
    ridge.add_argument("--config", type=Path, required=True, help="YAML of the run")
    ridge.add_argument("--threads", type=int, help="another number of threads")
    dense = command("dense", "train box heads on frozen trunks, every fold")
    dense.add_argument("--config", type=Path, required=True, help="YAML of the run")
    dense.add_argument("--seed", type=int, help="another seed than the YAML's")
    dense.add_argument("--threads", type=int, help="another number of threads")
    command("detector", "train a detector on one fold", config=True)
    command("gan", "grow a GAN on one fold's training films", config=True)
    made = command("synthesise", "write labelled synthetic films with a grown GAN")
    made.add_argument("--config", type=Path, required=True, help="YAML of the GAN's run")
    made.add_argument("--fold", type=int, help="another fold than the YAML's")
    made.add_argument("--labels", required=True, help="a comma list, such as Hernia,Emphysema")
    made.add_argument("--count", type=int, default=200, help="films per label")
    made.add_argument("--features-run", help="a classifier run whose features measure KID")
    made.add_argument("--out", type=Path, required=True)
    ship = command("ship", "turn finished runs into a weight with its card")
    ship.add_argument("kind", choices=("classifier", "detector"))
    ship.add_argument("--run", required=True, help="name of the run under --runs")
    ship.add_argument(
        "--folds", type=_numbers, default=[0], help="such as 0,1,2,3,4; not for ridge"
    )
    ship.add_argument("--ridge", help="classifier: a ridge run to blend in")
    ship.add_argument("--ridge-share", type=float, default=0.65, help="its share of the score")
    ship.add_argument("--fold", type=int, default=0, help="detector: whose weight ships")
    ship.add_argument("--name", required=True, help="folder under models/weights")
    ship.add_argument("--version", required=True)
    ship.add_argument("--weights", type=Path, help="another folder than models/weights")
    ship.add_argument("--records", type=Path, help="where the runs' YAML and logs are kept")
    return parser


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def train(argv: Sequence[str] | None = None) -> int:
    """Run one training command; the exit status."""
    args = _parser().parse_args(argv)
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
        from models.training.train_ridge import train as fit_heads

        heads = read_config(args.config, RidgeConfig, threads=args.threads)
        fitted = fit_heads(heads, data, args.runs, args.config.parent)
        areas = ", ".join(f"{area:.4f}" for area in fitted.fold_auc)
        print(
            f"{heads.name}: mean AUC {fitted.mean_auc:.4f} on {fitted.films} films, each scored by "
            f"a head that saw neither film nor patient; by fold {areas}; {fitted.seconds:.0f} s "
            f"({fitted.folder})"
        )
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
    elif args.command == "gan":
        from models.training.config import GanConfig, read_config
        from models.training.train_gan import train as grow

        changes = {"fold": args.fold, "seed": args.seed, "threads": args.threads}
        gan = read_config(args.config, GanConfig, **changes)
        folder = grow(gan, data, args.runs, args.config.parent)
        print(f"{gan.name}: grown to {gan.size_px} px ({folder})")
    elif args.command == "synthesise":
        _synthesise(args, data)
    elif args.command == "ship":
        from models.training.ship import RidgePart, ship_classifier, ship_detector

        run_folder = args.runs / args.run
        places = {"weights": args.weights or cards.WEIGHTS, "records": args.records}
        if args.kind == "classifier":
            ridge = RidgePart(args.runs / args.ridge, args.ridge_share) if args.ridge else None
            card = ship_classifier(
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
            card = ship_detector(
                run_folder, args.folds, args.fold, args.name, args.version, **places
            )
        print(f"{card.directory}: {json.dumps(card.figures['validation'])}")
    return 0


def _synthesise(args: argparse.Namespace, data: Path) -> None:
    from models.training.config import ClassifierConfig, GanConfig, read_config
    from models.training.ship import members
    from models.training.train_gan import synthesise

    gan = read_config(args.config, GanConfig, fold=args.fold)
    judge = None
    if args.features_run:
        run = args.runs / args.features_run
        seen = read_config(run / f"fold{gan.fold}" / "config.yaml", ClassifierConfig)
        (judge,) = members(run, [gan.fold], seen)
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
    """`goldentime evaluate`: figures of a weight on any films with labels; the exit status."""
    parser = argparse.ArgumentParser(
        prog="goldentime evaluate",
        description=evaluate.__doc__,
        epilog="example: goldentime evaluate --images films --labels films/labels.csv "
        "--weight classify-blend",
    )
    parser.add_argument("--images", type=Path, help="folder of the films")
    parser.add_argument("--labels", type=Path, required=True, help="CSV: image and label columns")
    parser.add_argument("--boxes", default="", help="CSV of boxes, beside the labels")
    parser.add_argument("--weight", required=True, help="a classifier's name or folder")
    parser.add_argument("--detector", help="a detector's name or folder, judged on --boxes")
    parser.add_argument("--split", type=Path, help="split file: judge one part of it only")
    parser.add_argument("--part", default="test", help="test, or the number of a fold")
    parser.add_argument("--out", type=Path, default=Path("runs/evaluation"))
    parser.add_argument("--write-card", metavar="KEY", help="keep the figures in the card as KEY")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(argv)
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
        from models.training.ship import keep_evaluation

        part = f"part {args.part} of the split" if args.split else args.labels.name
        keep_evaluation(classifier_card, detector_card, figures, args.write_card, part)
    return 0


if __name__ == "__main__":
    sys.exit(train())
