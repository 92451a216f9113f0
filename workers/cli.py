"""`goldentime read`: what the networks see in a film, on the command line.

It stands here because it needs the networks and the throw-away child in which a stranger's file is
opened; the island may not know the child. It writes to no database and no queue.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from broker import sandbox, settings
from dispatch.film import OpenedFilm, open_film
from models import card, xray
from models.card import BadCard, ModelKind
from models.classifier import Classifier
from models.detector import Detector
from models.network import NetworkFailure
from models.operating import BadPrevalence, read_prevalence
from models.xray import UnreadableFilm

NOT_FOR_DIAGNOSIS = "Research software, not a medical device: not for diagnosis."
EXAMPLES = f"""\
examples:
  goldentime read chest.png                a table of the 14 scores and the boxes
  goldentime read *.dcm --json > read.jsonl

With --json each file gives one line: {{"file", "scores", "score_kind", "top3", "above_threshold",
"prediction_set", "boxes", "model", "seconds"}}, boxes in pixels of the file. prediction_set holds
the labels that cannot be left out at the coverage it names; score_kind is "probability" when a
site's prevalence is set, else "score". A file that cannot be read gives {{"file", "error":
{{"code", "message"}}}}, and the exit status is 1.

{NOT_FOR_DIAGNOSIS}"""


def read(argv: list[str]) -> int:
    """`goldentime read`: what the networks see in films.

    Exit status 0 if all were read, 1 if not, 2 for a wrong call.
    """
    options = _options(argv)
    try:
        classifier = _classifier(options.classifier, options.threads, options.site_prevalence)
        detector = _detector(options.detector, options.threads)
    except (BadCard, BadPrevalence) as error:
        print(f"goldentime read: {error}", file=sys.stderr)
        return 1
    sandbox.warm(["dispatch.film"])
    failed = False
    if not options.json:
        print(f"{classifier.card.name} and {detector.card.name}. {NOT_FOR_DIAGNOSIS}")
    for file in options.files:
        answer = _read_one(file, classifier, detector)
        failed = failed or "error" in answer
        print(
            json.dumps(answer, ensure_ascii=False) if options.json else _table(answer), flush=True
        )
    return 1 if failed else 0


def _options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="goldentime read",
        description="Scores of 14 findings and boxes for chest radiographs (PNG, JPEG or DICOM).",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="PNG, JPEG or DICOM file")
    parser.add_argument("--json", action="store_true", help="one JSON object per file and line")
    parser.add_argument("--classifier", metavar="NAME", help="weight to use, or its directory")
    parser.add_argument("--detector", metavar="NAME", help="weight to use, or its directory")
    parser.add_argument(
        "--site-prevalence",
        metavar="FILE",
        type=Path,
        default=settings.from_env().site_prevalence,
        help="JSON {label: share of your films that have it}: scores become probabilities there "
        "(default: GOLDENTIME_SITE_PREVALENCE)",
    )
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count() or 1, help="cores per network (default: all)"
    )
    return parser.parse_args(argv)


def _classifier(name: str | None, threads: int, site_prevalence: Path | None) -> Classifier:
    name = name or card.shipped(ModelKind.CLASSIFY)
    site = read_prevalence(site_prevalence) if site_prevalence else None
    return Classifier(card.load(name), threads=threads, site_prevalence=site)


def _detector(name: str | None, threads: int) -> Detector:
    name = name or card.shipped(ModelKind.DETECT)
    return Detector(card.load(name), threads=threads)


def _read_one(file: str, classifier: Classifier, detector: Detector) -> dict[str, Any]:
    """The line for one file; every failure that a file can cause is an error on that line."""
    try:
        return {"file": file} | _reading(file, classifier, detector)
    except UnreadableFilm as error:
        code, message = str(error.code), error.message
    except sandbox.SandboxFailure as error:
        code, message = f"film_{error.cause}", error.message
    except NetworkFailure as error:
        code, message = "network_failure", str(error)
    except _Unusable as error:
        code, message = f"film_unusable_{error.args[0]}", str(error.args[1])
    except OSError as error:
        code, message = "file_not_readable", f"{error.strerror or error}"
    return {"file": file, "error": {"code": code, "message": message}}


class _Unusable(Exception):
    """The quality gate refused: reason, message."""


def _reading(file: str, classifier: Classifier, detector: Detector) -> dict[str, Any]:
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="goldentime-read-") as folder:
        rendition = Path(folder) / "rendition.png"
        opened: OpenedFilm = sandbox.run(open_film, file, str(rendition))
        if not opened.verdict.usable:
            raise _Unusable(opened.verdict.reason, opened.verdict.message)
        pixels = xray.decode(rendition.read_bytes()).pixels
    decoded = time.perf_counter()
    scores = classifier.read(pixels)
    classified = time.perf_counter()
    found = detector.read(pixels)
    detected = time.perf_counter()
    scale_x = opened.width_px / opened.rendition_width_px
    scale_y = opened.height_px / opened.rendition_height_px
    return {
        "scores": {label: round(score, 4) for label, score in scores.scores.items()},
        "score_kind": classifier.operating.score_kind.value,
        "top3": list(scores.top3),
        "above_threshold": list(scores.above_threshold),
        "prediction_set": scores.prediction_set and asdict(scores.prediction_set),
        "boxes": [
            {
                "label": box.label,
                "score": round(box.score, 4),
                "x0": round(box.x0 * scale_x, 1),
                "y0": round(box.y0 * scale_y, 1),
                "x1": round(box.x1 * scale_x, 1),
                "y1": round(box.y1 * scale_y, 1),
            }
            for box in found.boxes
        ],
        "model": {
            "classifier": classifier.card.identity(),
            "detector": detector.card.identity(),
        },
        "seconds": {
            "decode": round(decoded - started, 4),
            "classify": round(classified - decoded, 4),
            "detect": round(detected - classified, 4),
        },
    }


def _table(answer: dict[str, Any]) -> str:
    """The same for a reader: findings over their threshold marked, best first."""
    lines = ["", answer["file"]]
    if error := answer.get("error"):
        return "\n".join([*lines, f"  cannot be read: {error['message']} [{error['code']}]"])
    over = set(answer["above_threshold"])
    lines.append(f"  {answer['score_kind']} of each finding")
    for label, score in sorted(answer["scores"].items(), key=lambda item: -item[1]):
        mark = "over threshold" if label in over else ""
        lines.append(f"  {label.replace('_', ' '):<20} {score:6.3f}  {mark}".rstrip())
    if not over:
        lines.append("  nothing over its threshold; this rules nothing out")
    if answer["prediction_set"]:
        names = [label.replace("_", " ") for label in answer["prediction_set"]["labels"]]
        coverage = answer["prediction_set"]["coverage"]
        lines.append(f"  at {coverage:.0%} coverage: {', '.join(names) or 'none'}")
    for box in answer["boxes"]:
        corners = ", ".join(f"{box[key]:.0f}" for key in ("x0", "y0", "x1", "y1"))
        lines.append(f"  box {box['label'].replace('_', ' ')} {box['score']:.3f} at {corners} px")
    took = ", ".join(f"{step} {seconds:.3f} s" for step, seconds in answer["seconds"].items())
    return "\n".join([*lines, f"  {took}"])
