"""What may leave a DICOM header: facts from an allow-list, and a copy that names nobody."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence

from dispatch import dicom
from models import xray
from models.phantom import as_dicom, phantom

CANARY = "KANARIENVOGEL"
PHANTOM = phantom(3, size_px=128)


def opened(**values: Any) -> FileDataset:
    dataset = pydicom.dcmread(io.BytesIO(as_dicom(PHANTOM)))
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    out = io.BytesIO()
    dataset.save_as(out)
    return dicom.open_dicom(out.getvalue())


def test_facts_of_a_film() -> None:
    facts = dicom.header_facts(
        opened(
            PatientSex="F",
            PatientAge="067Y",
            StudyDate="20261122",
            StudyTime="093015.5",
            ImageLaterality="U",
            BurnedInAnnotation="YES",
        )
    )
    assert facts.as_json() == {
        "modality": "CR",
        "view_position": "PA",
        "body_part_examined": "CHEST",
        "laterality": "U",
        "rows": 128,
        "columns": 128,
        "pixel_spacing_mm": (3.125, 3.125),
        "patient_sex": "F",
        "patient_age_years": 67.0,
        "study_time": "2026-11-22T09:30:15.500000",
        "burned_in_annotation": True,
        "age_band": "60-69",
    }


@pytest.mark.parametrize(
    ("values", "years", "band"),
    [
        ({"PatientAge": "006M"}, 0.5, "0-9"),
        ({"PatientAge": "095Y"}, 95.0, "90+"),
        (
            {"PatientAge": "", "PatientBirthDate": "19400305", "StudyDate": "20040826"},
            64.5,
            "60-69",
        ),
        ({"PatientAge": "", "PatientBirthDate": ""}, None, None),
        ({"PatientAge": "", "PatientBirthDate": "20300101", "StudyDate": "20260101"}, None, None),
        ({"PatientAge": "999Y"}, None, None),
    ],
)
def test_age(values: dict[str, str], years: float | None, band: str | None) -> None:
    facts = dicom.header_facts(opened(**values))
    assert (facts.patient_age_years, facts.age_band) == (years, band)


BAD_VALUES: dict[str, tuple[str, Any]] = {
    "PixelSpacing": ("pixel_spacing_mm", ["-0.2", "-0.2"]),
    "PatientSex": ("patient_sex", "X"),
    "ViewPosition": ("view_position", "kim, cheol-su"),
    "BodyPartExamined": ("body_part_examined", "<script>"),
    "StudyDate": ("study_time", "99999999"),
    "BurnedInAnnotation": ("burned_in_annotation", "MAYBE"),
}


@pytest.mark.parametrize("keyword", BAD_VALUES)
def test_a_bad_value_is_unknown(keyword: str) -> None:
    field, value = BAD_VALUES[keyword]
    with pydicom.config.disable_value_validation():
        dataset = opened(SpecificCharacterSet="ISO_IR 192", **{keyword: value})
    assert getattr(dicom.header_facts(dataset), field) is None


def test_korean_names_are_read_past() -> None:
    dataset = opened(
        SpecificCharacterSet=["", "ISO 2022 IR 149"], PatientName="Kim^CheolSu=金^哲秀=김^철수"
    )
    assert str(dataset.PatientName).endswith("김^철수")
    assert "김" not in str(dicom.header_facts(dataset))
    assert dicom.deidentify(dataset).PatientName == ""


def full_of_canaries() -> FileDataset:
    """A film that names its patient wherever a header can."""
    dataset = opened()
    for keyword in (
        "PatientName",
        "PatientID",
        "OtherPatientNames",
        "PatientComments",
        "PatientAddress",
        "InstitutionName",
        "StationName",
        "OperatorsName",
        "ReferringPhysicianName",
        "StudyDescription",
        "SeriesDescription",
        "ProtocolName",
        "AccessionNumber",
        "StudyID",
        "ImageComments",
    ):
        setattr(dataset, keyword, CANARY)
    dataset.private_block(0x29, CANARY, create=True).add_new(1, "LO", CANARY)
    item = Dataset()
    item.PatientName = item.LUTExplanation = CANARY
    dataset.OtherPatientIDsSequence = Sequence([item])
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [2, 0, 16], [0, 65535]
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    table.LUTExplanation = CANARY
    dataset.VOILUTSequence = Sequence([table])
    dataset.preamble = CANARY.encode().ljust(128, b"!")
    dataset.PatientBirthDate, dataset.StudyDate = "19310203", "20261122"
    return dataset


def test_a_deidentified_copy_names_nobody_and_shows_the_same() -> None:
    source = full_of_canaries()
    out = io.BytesIO()
    dicom.deidentify(source).save_as(out, enforce_file_format=True)
    data = out.getvalue()
    assert CANARY.lower().encode() not in data.lower()
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        assert str(source[keyword].value).encode() not in data
    for told in (b"19310203", b"20261122"):
        assert told not in data
    copy = dicom.open_dicom(data)
    assert not [element for element in copy if element.tag.is_private]
    assert np.array_equal(xray.film_of(copy).pixels, xray.film_of(source).pixels)
    assert copy.PatientIdentityRemoved == "YES"


def test_a_deidentified_copy_of_a_compressed_film_is_still_compressed() -> None:
    source = opened()
    source.compress(pydicom.uid.JPEG2000Lossless, encoding_plugin="pylibjpeg")
    out = io.BytesIO()
    dicom.deidentify(source).save_as(out, enforce_file_format=True)
    copy = dicom.open_dicom(out.getvalue())
    assert copy.file_meta.TransferSyntaxUID == pydicom.uid.JPEG2000Lossless
    assert np.array_equal(xray.film_of(copy).pixels, xray.film_of(opened()).pixels)


def test_an_age_over_ninety_is_told_as_ninety() -> None:
    assert dicom.deidentify(opened(PatientAge="097Y")).PatientAge == "090Y"
