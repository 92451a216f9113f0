"""`goldentime weights`: what is on the shelf, whether it is sound, which one serves, and bringing
published research weights in. list, verify and use need no torch; import does."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models import card as cards
from models.card import BadCard, ModelCard, ModelKind
from models.classifier import Classifier
from models.detector import Detector
from models.network import NetworkFailure
from models.training.records import LABELS, TrainingError, not_installed

if TYPE_CHECKING:
    from torch import Tensor

XRV_LIBRARY = "torchxrayvision"
#: Outputs of the library's DenseNet-121 in order (Cohen et al., MIDL 2022); "" is not an output.
XRV_OUTPUTS: tuple[str, ...] = (
    "Atelectasis",
    "Consolidation",
    "Infiltration",
    "Pneumothorax",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Effusion",
    "Pneumonia",
    "Pleural_Thickening",
    "Cardiomegaly",
    "Nodule",
    "Mass",
    "Hernia",
    "Lung Lesion",
    "Fracture",
    "Lung Opacity",
    "Enlarged Cardiomediastinum",
)
#: The operating points that the library publishes with each set, on the sigmoid, in that order.
XRV_THRESHOLDS: Mapping[str, tuple[float, ...]] = {
    "densenet121-res224-all": (
        0.07422872, 0.038290843, 0.09814756, 0.0098118475, 0.023601074, 0.0022490358,
        0.010060724, 0.103246614, 0.056810737, 0.026791653, 0.050318155, 0.023985857,
        0.01939503, 0.042889766, 0.053369623, 0.035975814, 0.20204692, 0.05015312,
    ),
    "densenet121-res224-nih": (
        0.039117552, 0.0034529066, 0.11396341, 0.0057298196, 0.00045666535, 0.0018880932,
        0.012037827, 0.038744126, 0.0037213727, 0.014730946, 0.016149804, 0.054241467,
        0.037198864, 0.0004403434,
    ),
}  # fmt: skip
XRV_SIZE_PX = 224


def listing() -> list[str]:
    """One line per weight: which serves, name, kind, version, size, its first figure."""
    chosen = set()
    for kind in ModelKind:
        try:
            chosen.add(cards.shipped(kind))
        except BadCard:
            continue
    lines = []
    for name in cards.names():
        card = cards.load(name)
        size_mb = (card.directory / card.file).stat().st_size / 1e6
        figures = card.figures.get("test") or card.figures.get("validation") or {}
        figure = figures.get("mean_auc", figures.get("map50", "not measured"))
        value = figure.get("value") if isinstance(figure, dict) else figure
        value = f"{value:.4f}" if isinstance(value, float) else value
        what = "mean AUC" if card.kind is ModelKind.CLASSIFY else "mAP50"
        mark = "*" if name in chosen else " "
        lines.append(
            f"{mark} {name:28s} {card.kind:9s} {card.version:8s} {size_mb:6.1f} MB  {what} {value}"
        )
    return lines


def verify(name: str | Path) -> ModelCard:
    """Check sha256 and card, and read one gray film; BadCard or NetworkFailure if unsound."""
    card = cards.load(name)
    film = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    if card.kind is ModelKind.CLASSIFY:
        Classifier(card).read(film)
    else:
        Detector(card).read(film)
    return card


def use(name: str) -> ModelCard:
    """Make a sound weight the one that serves its kind, in weights/default.json."""
    card = verify(name)
    path = cards.WEIGHTS / cards.DEFAULTS_FILE
    chosen = json.loads(path.read_text()) if path.exists() else {}
    chosen[card.kind.value] = name
    partial = path.with_suffix(".new")
    partial.write_text(json.dumps(chosen, indent=1, sort_keys=True) + "\n")
    partial.replace(path)
    return card


def xrv_tensors(name: str, file: Path | None) -> dict[str, Tensor]:
    """The tensors of a published set: from a local state dict, else through the library, which
    downloads them."""
    if file is not None:
        from models.training.backbones import read_tensors

        return read_tensors(file)
    try:
        import torchxrayvision
    except ImportError:
        raise TrainingError(
            f"{XRV_LIBRARY} is not installed: 'pip install {XRV_LIBRARY}' in this environment, or "
            "give a state dict with --file"
        ) from None
    try:
        return dict(torchxrayvision.models.DenseNet(weights=name).state_dict())
    except Exception as error:  # the library raises what its download raises
        raise TrainingError(
            f"{XRV_LIBRARY} could not fetch {name} ({error}): connect to the internet once, or "
            "give a state dict with --file"
        ) from None


def import_xrv(name: str, file: Path | None, folder: Path) -> ModelCard:
    """Turn a torchxrayvision DenseNet-121 into a served weight in `folder`."""
    from models.training.densenet import export_densenet

    if name not in XRV_THRESHOLDS:
        raise TrainingError(f"{name} is not among {', '.join(XRV_THRESHOLDS)}")
    outputs = XRV_OUTPUTS
    folder.mkdir(parents=True, exist_ok=True)
    export_densenet(
        xrv_tensors(name, file),
        [outputs.index(label) for label in LABELS],
        XRV_SIZE_PX,
        folder / cards.MODEL_FILE,
    )
    thresholds = XRV_THRESHOLDS[name]
    return cards.write(
        ModelCard(
            name=folder.name,
            kind=ModelKind.CLASSIFY,
            architecture="DenseNet-121 (torchxrayvision)",
            version="1",
            labels=LABELS,
            input=cards.InputSpec(XRV_SIZE_PX, 1, (0.0,), (1.0,), cards.Fit.STRETCH),
            thresholds={label: thresholds[outputs.index(label)] for label in LABELS},
            calibration=None,
            score_kind=cards.ScoreKind.SCORE,
            data=f"{name} of torchxrayvision, as published; may have seen NIH test films",
            licence="Apache-2.0 (library); the terms of the data it was trained on: research only",
            attribution="Cohen et al., TorchXRayVision, MIDL 2022 (arXiv 2111.00595)",
            figures={"note": "not measured here: run 'goldentime evaluate' on your own films"},
            intended_use="Research.",
            not_for="Research software, not a medical device: not for diagnosis.",
        ),
        folder,
    )


def import_file(file: Path, card_file: Path, folder: Path, backbone: str) -> ModelCard:
    """Take a plain .onnx, or a .pt state dict of one of our networks, with a given card."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / cards.MODEL_FILE
    try:
        given: dict[str, Any] = json.loads(card_file.read_text())
    except (OSError, ValueError) as error:
        raise TrainingError(f"{card_file} is no card: {error}") from None
    if file.suffix == ".onnx":
        shutil.copyfile(file, target)
    elif file.suffix in (".pt", ".safetensors"):
        if not backbone:
            raise TrainingError(f"{file} holds tensors only: name its network with --backbone")
        from models.training.backbones import build, read_tensors
        from models.training.blend import Ensemble
        from models.training.export_onnx import export

        model = build(backbone)
        tensors, own = read_tensors(file), model.state_dict()
        unfit = [k for k, v in own.items() if k not in tensors or tensors[k].shape != v.shape]
        if unfit:
            raise TrainingError(f"{file} is no {backbone}: {len(unfit)} tensors ({unfit[0]} …)")
        model.load_state_dict(tensors, strict=False)
        export(Ensemble([model]), int(given["input"]["size_px"]), target)
    else:
        raise TrainingError(f"{file}: .onnx, .pt and .safetensors can be imported")
    import hashlib

    given |= {
        "name": folder.name,
        "file": cards.MODEL_FILE,
        "sha256": hashlib.sha256(target.read_bytes()).hexdigest(),
    }
    (folder / cards.CARD_FILE).write_text(json.dumps(given, indent=2) + "\n")
    return cards.load(folder)


def _import(args: argparse.Namespace) -> ModelCard:
    """Build the weight beside the shelf and put it there only when it is sound."""
    source = args.source[0]
    published = source == XRV_LIBRARY
    if published and len(args.source) != 2:
        raise TrainingError(f"name the set: {XRV_LIBRARY} {' | '.join(XRV_THRESHOLDS)}")
    if not published and not args.card:
        raise TrainingError(f"{source} needs a card: --card card.json")
    name = args.name or (f"classify-{args.source[1]}" if published else Path(source).stem)
    target = cards.WEIGHTS / name
    if target.exists():
        raise TrainingError(f"a weight named {name} exists: choose another with --name")
    with tempfile.TemporaryDirectory(dir=cards.WEIGHTS, prefix=".import-") as place:
        folder = Path(place) / name
        if published:
            import_xrv(args.source[1], args.file, folder)
        else:
            import_file(Path(source), args.card, folder, args.backbone)
        verify(folder)
        folder.rename(target)
    return cards.load(name)


def _quantize(args: argparse.Namespace) -> str:
    """INT8 of a shelf's classifier from --data; what was reached, in words."""
    from models.training.cli import data_folder
    from models.training.quantize import quantize
    from models.training.readers import read_plain
    from models.training.splits import load_split

    split = load_split(args.split)
    if not args.folds or not set(args.folds) < set(range(len(split.folds))):
        raise TrainingError(
            f"--folds names the folds that judge, some of 0 to {len(split.folds) - 1}; the others "
            "give the ranges"
        )
    films = {film.name: film for film in read_plain(data_folder(args.data))}
    if strangers := [name for fold in split.folds for name in fold if name not in films]:
        raise TrainingError(f"{args.split}: {strangers[0]} is not among the films of the data")
    judged = [films[name] for fold in args.folds for name in sorted(split.folds[fold])]
    others = [
        films[name]
        for fold, names in enumerate(split.folds)
        if fold not in args.folds
        for name in sorted(names)
    ]
    ranges = others[:: max(1, len(others) // args.films)][: args.films]
    target = args.target or f"{args.name}-int8"
    card, found = quantize(args.name, target, ranges, judged)
    return f"{card.name}: kept: {found}; 'goldentime weights use {card.name}' lets it serve"


def main(argv: Sequence[str] | None = None) -> int:
    """`goldentime weights`: list, verify, choose, import or quantise weights."""
    parser = argparse.ArgumentParser(
        prog="goldentime weights",
        description=__doc__,
        epilog=f"examples: goldentime weights list | goldentime weights import {XRV_LIBRARY} "
        "densenet121-res224-all --name xrv-all",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every weight; * serves")
    check = commands.add_parser("verify", help="check sha256, card and one reading")
    check.add_argument("names", nargs="*")
    choose = commands.add_parser("use", help="make a weight the one that serves its kind")
    choose.add_argument("name")
    bring = commands.add_parser("import", help="bring a weight in")
    bring.add_argument("source", nargs="+", help=f"'{XRV_LIBRARY} NAME', or a file")
    bring.add_argument("--file", type=Path, help="the set's tensors, already on this machine")
    bring.add_argument("--card", type=Path, help="card.json of a plain file")
    bring.add_argument("--backbone", default="", help="network of a plain .pt")
    bring.add_argument("--name", help="name on the shelf")
    smaller = commands.add_parser("quantize", help="static INT8, kept only if good and faster")
    smaller.add_argument("name", help="a classifier of the shelf")
    smaller.add_argument("--data", help="folder with labels.csv and the films")
    smaller.add_argument("--split", type=Path, required=True, help="split file: its test is unused")
    smaller.add_argument(
        "--folds",
        type=lambda text: [int(part) for part in text.split(",")],
        default=[0],
        help="folds that judge (a comma list); films of the others give the ranges",
    )
    smaller.add_argument("--films", type=int, default=64, help="how many films give the ranges")
    smaller.add_argument("--name", dest="target", help="name on the shelf (default: NAME-int8)")
    args = parser.parse_args(argv)
    try:
        if args.command == "list":
            print("\n".join(listing()) or "no weights")
        elif args.command == "verify":
            for name in args.names or cards.names():
                card = verify(name)
                print(f"{name}: sound, sha256 {card.sha256}")
        elif args.command == "use":
            card = use(args.name)
            print(f"{args.name} now serves to {card.kind}")
        elif args.command == "quantize":
            print(_quantize(args))
        else:
            card = _import(args)
            print(f"{card.name}: imported; 'goldentime weights use {card.name}' lets it serve")
    except (TrainingError, BadCard, NetworkFailure, OSError) as error:
        print(f"goldentime weights: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"goldentime weights: {not_installed(error)}", file=sys.stderr)
        return 2
    return 0
