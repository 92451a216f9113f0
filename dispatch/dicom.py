"""What may leave a DICOM file: header facts from an allow-list, and a de-identified copy.

Names, numbers, dates and free texts never pass: both functions copy what is listed here and nothing
else (PS3.15 annex E lists what to remove; what is not known to be harmless is not kept). Files are
opened, and refused, by `models.xray.open_dicom`; pixels are models/xray.py's. pydicom and
models.xray may enter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import UID, generate_uid
from pydicom.valuerep import DA, TM

from models import xray

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

open_dicom = xray.open_dicom

_CODE = re.compile(r"[A-Z0-9_ /-]{1,16}")
_AGE = re.compile(r"(\d{3})([DWMY])")
_DAYS = {"D": 1.0, "W": 7.0, "M": 30.4375, "Y": 365.25}
_OLDEST_TOLD_YEARS = 90
"""Older people are so few that their age identifies them (45 CFR 164.514(b)(2)(i)(C))."""

_KEPT_CODES = (
    "ImageType",
    "PatientOrientation",
    "PresentationIntentType",
    "PresentationLUTShape",
    "BodyPartExamined",
    "BurnedInAnnotation",
    "ImageLaterality",
    "Laterality",
    "LossyImageCompression",
    "LossyImageCompressionMethod",
    "Modality",
    "PatientSex",
    "PhotometricInterpretation",
    "PixelIntensityRelationship",
    "VOILUTFunction",
    "ViewPosition",
)
_KEPT_NUMBERS = (
    "BitsAllocated",
    "BitsStored",
    "Columns",
    "HighBit",
    "ImagerPixelSpacing",
    "LossyImageCompressionRatio",
    "PixelAspectRatio",
    "PixelIntensityRelationshipSign",
    "PixelPaddingValue",
    "PixelRepresentation",
    "PixelSpacing",
    "PlanarConfiguration",
    "RescaleIntercept",
    "RescaleSlope",
    "Rows",
    "SamplesPerPixel",
    "WindowCenter",
    "WindowWidth",
)
_KEPT_TABLES = ("ModalityLUTSequence", "VOILUTSequence")
_EMPTIED = (
    "AccessionNumber",
    "PatientBirthDate",
    "PatientID",
    "PatientName",
    "ReferringPhysicianName",
    "StudyDate",
    "StudyID",
    "StudyTime",
)
"""Type 2: must be there, may be empty (PS3.3 C.7.1.1, C.7.2.1)."""


@dataclass(frozen=True)
class HeaderFacts:
    """What the rest of the house learns from a DICOM header; None is unknown or unreadable.

    study_time is the modality's local clock, ISO 8601 without zone, for DICOM seldom states one.
    pixel_spacing_mm is (between rows, between columns) at the detector or, if calibrated, the
    patient. burned_in_annotation warns that the pixels may show a name.
    """

    modality: str | None = None
    view_position: str | None = None
    body_part_examined: str | None = None
    laterality: str | None = None
    rows: int | None = None
    columns: int | None = None
    pixel_spacing_mm: tuple[float, float] | None = None
    patient_sex: str | None = None
    patient_age_years: float | None = None
    study_time: str | None = None
    burned_in_annotation: bool | None = None

    @property
    def age_band(self) -> str | None:
        """Decade of the age, such as "60-69"; "90+" above."""
        if self.patient_age_years is None:
            return None
        decade = int(self.patient_age_years // 10 * 10)
        return "90+" if decade >= _OLDEST_TOLD_YEARS else f"{decade}-{decade + 9}"

    def as_json(self) -> dict[str, Any]:
        """Plain values for a JSON column, with the age band beside the age."""
        return asdict(self) | {"age_band": self.age_band}


def header_facts(dataset: Dataset) -> HeaderFacts:
    """The allow-listed facts of an opened file; a bad value is unknown, never an error."""
    sex = _code(dataset, "PatientSex")
    burned_in = _code(dataset, "BurnedInAnnotation")
    return HeaderFacts(
        modality=_code(dataset, "Modality"),
        view_position=_code(dataset, "ViewPosition"),
        body_part_examined=_code(dataset, "BodyPartExamined"),
        laterality=_code(dataset, "ImageLaterality") or _code(dataset, "Laterality"),
        rows=_whole(dataset, "Rows"),
        columns=_whole(dataset, "Columns"),
        pixel_spacing_mm=_spacing(dataset),
        patient_sex=sex if sex in ("M", "F", "O") else None,
        patient_age_years=_age_years(dataset),
        study_time=_study_time(dataset),
        burned_in_annotation={"YES": True, "NO": False}.get(burned_in or ""),
    )


def deidentify(dataset: FileDataset) -> Dataset:
    """A new, valid data set with the pixels, what is needed to show them, sex and age; no more.

    All UIDs are new, so the copy cannot be matched to the original by them. Text burned into the
    pixels stays: ask `header_facts(...).burned_in_annotation` before it leaves the house.
    """
    kept = _copy(dataset, (*_KEPT_NUMBERS, "PixelData"))
    for keyword in _KEPT_CODES:
        if codes := _codes(dataset, keyword):
            setattr(kept, keyword, codes if len(codes) > 1 else codes[0])
    for keyword in _KEPT_TABLES:
        if tables := _value(dataset, keyword):
            wanted = ("LUTDescriptor", "LUTData", "ModalityLUTType")
            setattr(kept, keyword, Sequence([_copy(table, wanted) for table in tables]))
    age_years = _age_years(dataset)
    if age_years is not None:
        told = min(int(age_years), _OLDEST_TOLD_YEARS)
        kept.PatientAge = f"{told:03d}Y"
    for keyword in _EMPTIED:
        setattr(kept, keyword, "")
    kept.PatientIdentityRemoved = "YES"
    kept.DeidentificationMethod = "goldentime allow-list"
    kept.SOPClassUID = UID(str(_value(dataset, "SOPClassUID") or _FALLBACK_SOP_CLASS))
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(kept, keyword, generate_uid(prefix=None))
    kept.file_meta = FileMetaDataset()
    kept.file_meta.MediaStorageSOPClassUID = kept.SOPClassUID
    kept.file_meta.MediaStorageSOPInstanceUID = kept.SOPInstanceUID
    kept.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    return kept


_FALLBACK_SOP_CLASS = "1.2.840.10008.5.1.4.1.1.1"  # Computed Radiography Image Storage


def _copy(dataset: Dataset, keywords: Iterable[str]) -> Dataset:
    """The elements of these keywords that can be read, in a new data set."""
    kept = Dataset()
    for keyword in keywords:
        if _value(dataset, keyword) is not None:
            element = dataset[keyword]
            kept.add(DataElement(element.tag, element.VR, element.value))
    return kept


def _value(dataset: Dataset, keyword: str) -> Any:
    """The value, or None if it is absent, empty or cannot be converted."""
    try:
        element = dataset.get(Tag(keyword))
    except Exception:  # pydicom converts on access and raises whatever a bad value makes it raise
        return None
    return None if element is None or element.is_empty else element.value


def _codes(dataset: Dataset, keyword: str) -> list[str]:
    """Code strings (VR CS) as far as they are well-formed; anything else might be a name."""
    value = _value(dataset, keyword)
    parts = [value] if isinstance(value, str) else list(value or [])
    texts = [str(part).strip().upper() for part in parts]
    return texts if all(_CODE.fullmatch(text) for text in texts) else []


def _code(dataset: Dataset, keyword: str) -> str | None:
    codes = _codes(dataset, keyword)
    return codes[0] if codes else None


def _whole(dataset: Dataset, keyword: str) -> int | None:
    value = _value(dataset, keyword)
    return value if isinstance(value, int) else None


def _spacing(dataset: Dataset) -> tuple[float, float] | None:
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        try:
            rows_mm, columns_mm = (float(part) for part in _value(dataset, keyword))
        except (TypeError, ValueError):
            continue
        if 0.01 <= rows_mm <= 10 and 0.01 <= columns_mm <= 10:
            return rows_mm, columns_mm
    return None


def _age_years(dataset: Dataset) -> float | None:
    """From Patient's Age, else from the birth date at the study; children matter to the month."""
    if match := _AGE.fullmatch(str(_value(dataset, "PatientAge") or "").strip().upper()):
        years = int(match[1]) * _DAYS[match[2]] / _DAYS["Y"]
    else:
        born, taken = _date(dataset, "PatientBirthDate"), _date(dataset, "StudyDate")
        if born is None or taken is None:
            return None
        years = (taken - born).days / _DAYS["Y"]
    return round(years, 1) if 0 <= years <= 130 else None


def _date(dataset: Dataset, keyword: str) -> date | None:
    try:
        return DA(str(_value(dataset, keyword) or ""))
    except ValueError:
        return None


def _study_time(dataset: Dataset) -> str | None:
    day = _date(dataset, "StudyDate")
    if day is None:
        return None
    try:
        clock: time | None = TM(str(_value(dataset, "StudyTime") or ""))
    except ValueError:
        clock = None
    # The day is left to whoever knows the patient; with the time alone it tells how fresh it is.
    return datetime.combine(day, clock).isoformat() if clock else day.isoformat()
