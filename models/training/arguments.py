"""What `goldentime train` understands: commands, options, and an example of each. No work is done
here, and no library of training's own may enter, so that --help needs none."""

from __future__ import annotations

import argparse
from pathlib import Path

#: One call of every command, as its --help shows it.
EXAMPLES = {
    "split": "split --data films --out split.json --seed 2026",
    "classifier": "classifier --config yolov5n.yaml --data films --fold 0",
    "ridge": "ridge --config ridge.yaml --data films",
    "attention": "attention --config attention.yaml --data films",
    "dense": "dense --config dense.yaml --data films",
    "detector": "detector --config detector.yaml --data films --fold 0",
    "gan": "gan --config gan64.yaml --data films",
    "synthesise": "synthesise --config gan64.yaml --labels Hernia,Fibrosis --out films/made "
    "--data films",
    "paired": "paired --first ridge=0.65,yolov5n=0.35 --second ridge --folds 0,1,2 --data films",
    "ship": "ship detector --run dense --folds 0,1,2,3,4 --name boxes --version 1 --data films",
}


def parser() -> argparse.ArgumentParser:
    """The parser of `goldentime train` with all its commands."""
    whole = argparse.ArgumentParser(
        prog="goldentime train",
        description="Every training command, also as python -m models.training.cli.",
        epilog="example: goldentime train " + EXAMPLES["classifier"],
    )
    commands = whole.add_subparsers(dest="command", required=True)

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
    looks = command("attention", "train small networks on frozen maps, every fold")
    looks.add_argument("--config", type=Path, required=True, help="YAML of the run")
    looks.add_argument("--seed", type=int, help="another seed than the YAML's")
    looks.add_argument("--threads", type=int, help="another number of threads")
    dense = command("dense", "train box heads on frozen trunks, every fold")
    dense.add_argument("--config", type=Path, required=True, help="YAML of the run")
    dense.add_argument("--seed", type=int, help="another seed than the YAML's")
    dense.add_argument("--threads", type=int, help="another number of threads")
    command("detector", "train a detector on one fold", config=True)
    paired = command("paired", "compare two blends of finished runs on the films they held back")
    paired.add_argument("--first", required=True, help="RUN=SHARE, a comma list that adds up to 1")
    paired.add_argument("--second", required=True, help="the same of the other blend")
    paired.add_argument("--folds", type=_numbers, default=[0, 1, 2, 3, 4], help="such as 0,1,2")
    gan = command("gan", "grow a GAN on one fold's training films", config=True)
    gan.add_argument("--cpu-s", type=float, help="once grown, go on until that much is spent")
    made = command("synthesise", "write labelled synthetic films with a grown GAN")
    made.add_argument("--config", type=Path, required=True, help="YAML of the GAN's run")
    made.add_argument("--fold", type=int, help="another fold than the YAML's")
    made.add_argument("--labels", required=True, help="a comma list, such as Hernia,Emphysema")
    made.add_argument("--count", type=int, default=200, help="films per label")
    judges = made.add_mutually_exclusive_group()
    judges.add_argument("--features-run", help="a classifier run whose features measure KID")
    judges.add_argument(
        "--features-of",
        type=Path,
        help="YAML of a ridge run: its frozen trunks' features measure KID, as the shipped network "
        "sees films",
    )
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
    return whole


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]
