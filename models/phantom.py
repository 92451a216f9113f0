"""Chest phantoms: radiographs of nobody, drawn from a seed, with findings at known places.

They are what the repository ships as samples and what tests feed the service with; they may help a
network to its first steps, but no figure measured on them says anything about reading real films.
The picture is a sum of thicknesses, as attenuation is: body, lungs (less of it), spine, heart,
ribs, vessels, findings; then a film curve and grain. numpy and Pillow draw; `as_dicom` needs
pydicom. The samples were made by::

    python -m models.phantom models/samples
"""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from models.card import NIH_LABELS
from models.phantom_chest import Chest, Floats
from models.xray import Box, Pixels, encode_jpeg, encode_png


@dataclass(frozen=True, eq=False)
class Phantom:
    """A drawn film: uint8 (size_px, size_px), the labels drawn into it, a box for each, in pixels.

    A finding seen on both sides has one box around both, as NIH's annotators drew them.
    """

    pixels: Pixels
    labels: tuple[str, ...]
    boxes: tuple[Box, ...]


def phantom(seed: int, findings: Iterable[str] = (), size_px: int = 512) -> Phantom:
    """Draw the chest of this seed with these findings (of NIH_LABELS); same call, same pixels.

    Raises ValueError for a label that is none of NIH_LABELS, or a size_px below 128.
    """
    labels = tuple(dict.fromkeys(findings))
    if unknown := [label for label in labels if label not in _DRAWERS]:
        raise ValueError(f"no finding named {unknown[0]!r}; there are: {', '.join(NIH_LABELS)}")
    if size_px < 128:
        raise ValueError(f"size_px is {size_px}; at least 128 are needed to draw ribs")
    chest = Chest(np.random.default_rng(seed), size_px, labels)
    boxes = tuple(Box(label, 1.0, *_bounds(_DRAWERS[label](chest))) for label in labels)
    return Phantom(chest.developed(), labels, boxes)


# --- findings: each draws itself and returns the mask of where it is seen -------------------------


def _atelectasis(chest: Chest) -> Floats:
    lung, side = chest.side()
    x, y = chest.spot(side, 0.56, 0.64)
    plates = np.zeros_like(lung)
    for step in range(int(chest.rng.integers(2, 4))):
        tilt, reach = chest.rng.uniform(-0.015, 0.02), chest.rng.uniform(0.05, 0.075)
        line = [(x - reach, y - tilt), (x, y - 0.006), (x + reach, y + tilt)]
        line = [(px, py + 0.026 * step) for px, py in line]
        plates = np.maximum(plates, chest.stroke(line, 0.012, 0.003))
    chest.findings += 0.24 * plates * lung
    return plates * lung


def _cardiomegaly(chest: Chest) -> Floats:
    return chest.heart  # drawn wide from the start


def _effusion(chest: Chest) -> Floats:
    lung, side = chest.side()
    x, y = chest.grid()
    edge = 0.5 + side * 0.385
    level = chest.rng.uniform(0.58, 0.66)
    # A meniscus climbs along the chest wall.
    surface = level + 0.12 * np.clip(np.abs(x - edge) / 0.28, 0, 1) ** 0.6
    fluid = lung / (1 + np.exp(np.clip(-(y - surface) / 0.006, -40, 40)))
    chest.findings += 0.46 * fluid
    chest.vessels_hidden = np.maximum(chest.vessels_hidden, fluid)
    return np.asarray(fluid, np.float32)


def _infiltration(chest: Chest) -> Floats:
    lung, side = chest.side()
    area = _patchy(chest, lung, side, 0.38, 0.58, 0.10, 0.12)
    chest.findings += 0.20 * area
    return area


def _mass(chest: Chest) -> Floats:
    lung, side = chest.side()
    x, y = chest.spot(side, 0.26, 0.56)
    radius = chest.rng.uniform(0.045, 0.065)
    shape = chest.disc(x, y, radius, radius * chest.rng.uniform(0.85, 1.1), lumpy=0.08) * lung
    chest.findings += 0.30 * shape * (0.7 + 0.3 * chest.blur(shape, 0.02))
    return shape


def _nodule(chest: Chest) -> Floats:
    lung, side = chest.side()
    x, y = chest.spot(side, 0.24, 0.60)
    radius = chest.rng.uniform(0.014, 0.024)
    shape = chest.disc(x, y, radius, radius, lumpy=0.05) * lung
    chest.findings += 0.28 * shape
    return shape


def _pneumonia(chest: Chest) -> Floats:
    lung, side = chest.side()
    area = _patchy(chest, lung, side, 0.46, 0.62, 0.11, 0.11)
    chest.findings += 0.34 * area * (1 - 0.5 * _air_bronchograms(chest, area))
    return area


def _pneumothorax(chest: Chest) -> Floats:
    lung, side = chest.side()
    x, y = chest.grid()
    # The collapsed lung is what lies within a shrunken copy of it around the hilum.
    shrink = chest.rng.uniform(0.74, 0.84)
    hub_x, hub_y = 0.5 + side * 0.10, 0.55
    rows = np.clip(((hub_y + (y - hub_y) / shrink) * chest.size).astype(int), 0, chest.size - 1)
    columns = np.clip(((hub_x + (x - hub_x) / shrink) * chest.size).astype(int), 0, chest.size - 1)
    collapsed = lung[rows, columns] * lung
    gap = np.clip(lung - collapsed, 0, 1) * (side * (x - 0.5) > 0.10)
    gap = gap / (1 + np.exp(np.clip((y - 0.60) / 0.02, -40, 40)))
    edge = np.clip(chest.blur(collapsed, 0.004) * (1 - chest.blur(collapsed, 0.002)) * 4, 0, 1)
    chest.vessels_hidden = np.maximum(chest.vessels_hidden, gap)
    chest.findings += 0.12 * edge * (chest.blur(gap, 0.01) > 0.05) - 0.11 * gap
    return np.asarray(gap, np.float32)


def _consolidation(chest: Chest) -> Floats:
    lung, side = chest.side()
    x, y = chest.spot(side, 0.34, 0.56)
    lobe = [(x - 0.09, y + 0.004), (x, y - 0.012), (x + 0.09, y), (x + 0.07, y + 0.10)]
    lobe += [(x, y + 0.13), (x - 0.07, y + 0.10)]
    area = chest.mask(lobe, 0.005) * lung
    chest.findings += 0.40 * area * (1 - 0.55 * _air_bronchograms(chest, area))
    chest.vessels_hidden = np.maximum(chest.vessels_hidden, area)
    return area


def _edema(chest: Chest) -> Floats:
    wings = np.zeros_like(chest.lungs)
    for side in (-1.0, 1.0):
        (x, y), *_ = chest.placed(np.array([[0.5 + side * 0.15, 0.45]]))
        wings = np.maximum(wings, chest.disc(x, y, 0.10, 0.17, lumpy=0.15))
    wings = chest.blur(wings, 0.03) * chest.lungs * (0.55 + 0.45 * chest.clouds(0.05))
    lines = np.zeros_like(wings)
    for side in (-1.0, 1.0):
        for step in range(6):
            y = 0.56 + 0.018 * step
            (x0, y0), (x1, y1) = chest.placed(
                np.array([[0.5 + side * 0.33, y], [0.5 + side * 0.375, y]])
            )
            lines = np.maximum(lines, chest.stroke([(x0, y0), (x1, y1)], 0.003, 0.001))
    chest.findings += 0.36 * wings + 0.10 * lines * chest.lungs
    return wings


def _emphysema(chest: Chest) -> Floats:
    return chest.lungs  # drawn dark, long and flat-based from the start


def _fibrosis(chest: Chest) -> Floats:
    lung, side = chest.side()
    x, y = chest.spot(side, 0.54, 0.62)
    area = chest.blur(chest.disc(x, y, 0.095, 0.085, lumpy=0.15), 0.012) * lung
    canvas = Image.new("L", (chest.size, chest.size))
    pen = ImageDraw.Draw(canvas)
    for _ in range(110):
        sx, sy = x + chest.rng.normal(0, 0.055), y + chest.rng.normal(0, 0.05)
        turn, reach = chest.rng.uniform(0, np.pi), chest.rng.uniform(0.008, 0.022)
        ex, ey = sx + reach * np.cos(turn), sy + reach * np.sin(turn)
        chest.line(pen, [(sx, sy), (ex, ey)], 0.003, 200)
    chest.findings += (0.06 + 0.26 * chest.blurred(canvas, 0.0012)) * area
    return area


def _pleural_thickening(chest: Chest) -> Floats:
    lung, side = chest.side()
    x, y = chest.grid()
    middle = chest.rng.uniform(0.34, 0.50)
    inside = chest.blur(lung, 0.018)
    rind = lung * np.clip((0.985 - inside) * 8, 0, 1) * (side * (x - 0.5) > 0.2)
    rind = rind * np.exp(-(((y - middle) / 0.15) ** 6))
    chest.findings += 0.34 * rind
    return np.asarray(rind, np.float32)


def _hernia(chest: Chest) -> Floats:
    (x, y), *_ = chest.placed(np.array([[0.545, 0.655]]))
    radius = chest.rng.uniform(0.060, 0.080)
    bag = chest.disc(x, y, radius, radius * 0.85, lumpy=0.05)
    _, rows = chest.grid()
    above = bag * (rows < y - 0.01)
    rim = np.clip(bag - chest.blur(bag, 0.006), 0, 1)
    chest.findings += 0.16 * bag - 0.36 * above + 0.40 * rim
    return bag


def _patchy(
    chest: Chest, lung: Floats, side: float, low: float, high: float, rx: float, ry: float
) -> Floats:
    """A cloudy area without a sharp border, inside one lung."""
    x, y = chest.spot(side, low, high)
    area = chest.blur(chest.disc(x, y, rx, ry, lumpy=0.25), 0.022)
    return area * lung * (0.45 + 0.55 * chest.clouds(0.035))


def _air_bronchograms(chest: Chest, area: Floats) -> Floats:
    """Dark branching airways that show inside filled lung."""
    ys, xs = np.nonzero(area > 0.5 * area.max())
    canvas = Image.new("L", (chest.size, chest.size))
    pen = ImageDraw.Draw(canvas)
    for pick in chest.rng.integers(0, len(xs), 4):
        start = np.array([xs[pick], ys[pick]]) / chest.size
        away = 1.0 if start[0] > 0.5 else -1.0
        chest.branch(pen, start, np.array([away * 0.8, 0.6]), 0.006, 1)
    return chest.blurred(canvas, 0.0016)


_DRAWERS: dict[str, Callable[[Chest], Floats]] = {
    "Atelectasis": _atelectasis,
    "Cardiomegaly": _cardiomegaly,
    "Effusion": _effusion,
    "Infiltration": _infiltration,
    "Mass": _mass,
    "Nodule": _nodule,
    "Pneumonia": _pneumonia,
    "Pneumothorax": _pneumothorax,
    "Consolidation": _consolidation,
    "Edema": _edema,
    "Emphysema": _emphysema,
    "Fibrosis": _fibrosis,
    "Pleural_Thickening": _pleural_thickening,
    "Hernia": _hernia,
}


def _bounds(mask: Floats) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 in pixels of where a mask is over a third of its peak."""
    ys, xs = np.nonzero(mask > mask.max() / 3)
    return float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)


def as_dicom(
    film: Phantom,
    *,
    photometric: str = "MONOCHROME2",
    view_position: str = "PA",
    patient_name: str = "",
    patient_age: str = "060Y",
    charset: str = "ISO_IR 192",
) -> bytes:
    """The film as a CR file (PS3.3 A.2): 12 bits in 16, windowed, explicit VR little endian."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import (
        ComputedRadiographyImageStorage,
        ExplicitVRLittleEndian,
        generate_uid,
    )

    stored = film.pixels.astype(np.uint16) * 12 + 400
    if photometric == "MONOCHROME1":
        stored = 4095 - stored
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    entropy = [hashlib.sha256(film.pixels.tobytes()).hexdigest(), view_position, photometric]
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=entropy)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(io.BytesIO(), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = charset
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=["study", *entropy])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["series", *entropy])
    dataset.StudyDate, dataset.StudyTime = "20260101", "120000"
    dataset.Modality, dataset.Manufacturer = "CR", "goldentime phantom"
    dataset.PatientName, dataset.PatientID = patient_name, "PHANTOM"
    dataset.PatientBirthDate, dataset.PatientSex, dataset.PatientAge = "", "O", patient_age
    dataset.AccessionNumber = dataset.ReferringPhysicianName = dataset.StudyID = ""
    dataset.SeriesNumber = dataset.InstanceNumber = "1"
    dataset.BodyPartExamined, dataset.ViewPosition = "CHEST", view_position
    dataset.BurnedInAnnotation = "NO"
    dataset.Rows, dataset.Columns = film.pixels.shape
    dataset.PixelSpacing = [round(400 / film.pixels.shape[0], 4)] * 2
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, photometric
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    # The window that shows the stored values as they were drawn (PS3.3 C.11.2.1.2).
    dataset.WindowWidth = 255 * 12 + 1
    low = 400 if photometric == "MONOCHROME2" else 4095 - 400 - 255 * 12
    dataset.WindowCenter = low + 255 * 12 / 2 + 0.5
    dataset.PixelData = stored.astype("<u2").tobytes()
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _write_samples(folder: Path) -> None:
    """The films that ship in models/samples: one of each accepted kind."""
    folder.mkdir(parents=True, exist_ok=True)
    normal, pneumonia = phantom(7), phantom(11, ["Pneumonia"])
    air, fluid = phantom(23, ["Pneumothorax"], 384), phantom(31, ["Effusion", "Cardiomegaly"])
    (folder / "normal.png").write_bytes(encode_png(normal.pixels))
    (folder / "pneumonia.jpg").write_bytes(encode_jpeg(pneumonia.pixels, 92))
    (folder / "effusion_cardiomegaly.jpg").write_bytes(encode_jpeg(fluid.pixels, 92))
    (folder / "pneumothorax.dcm").write_bytes(as_dicom(air, photometric="MONOCHROME1"))


if __name__ == "__main__":
    _write_samples(Path(sys.argv[1]))
