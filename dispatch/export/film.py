"""A film as a newly written DICOM object, for a viewer: our pixels, and a header of few elements.

Every element is set here from our own values (an allow-list by construction): no name, no number
and no date of the upload's header can come along, for nothing of the upload is read but its gray
levels. Secondary Capture Image Storage (PS3.3 A.8.1), Explicit VR Little Endian.
"""

from __future__ import annotations

import io
from uuid import UUID

import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from dispatch.film import Deepened

NOT_FOR_DIAGNOSIS = "Research software, not a medical device: not for diagnosis"


def film_dicom(levels: bytes, shape: Deepened, case_id: UUID, image_id: UUID) -> bytes:
    """DICOM file of raw 16-bit gray levels (little endian, row by row), shown by its own window.

    UIDs are the case's and the film's own (PS3.5 B.2: UUID-derived), so that the same film has the
    same UIDs whenever it is written.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = _uid(image_id)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film = FileDataset(io.BytesIO(), {}, file_meta=meta, preamble=b"\0" * 128)
    film.SOPClassUID = SecondaryCaptureImageStorage
    film.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    film.StudyInstanceUID = _uid(case_id)
    film.SeriesInstanceUID = _uid(UUID(int=case_id.int ^ image_id.int, version=4))
    film.ImageType = ["DERIVED", "SECONDARY"]
    film.Modality = "DX"
    film.ConversionType = "WSD"
    # Type 2: they must be there, and are empty, for who the patient is stands elsewhere.
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate"):
        setattr(film, keyword, "")
    for keyword in ("StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"):
        setattr(film, keyword, "")
    film.SeriesNumber, film.InstanceNumber = "1", "1"
    film.PatientOrientation = ""
    film.DerivationDescription = NOT_FOR_DIAGNOSIS
    film.SamplesPerPixel = 1
    film.PhotometricInterpretation = "MONOCHROME2"
    film.Rows, film.Columns = shape.height_px, shape.width_px
    film.BitsAllocated, film.BitsStored, film.HighBit = 16, shape.bits, shape.bits - 1
    film.PixelRepresentation = 0
    # PS3.3 C.11.2.1.2.1: black up to centre - 0.5 - (width - 1) / 2, white above its mirror.
    film.WindowWidth = str(max(shape.high - shape.low + 1, 2))
    film.WindowCenter = f"{(shape.low + shape.high + 1) / 2:g}"
    film.PixelData = levels
    out = io.BytesIO()
    pydicom.dcmwrite(out, film, enforce_file_format=True)
    return out.getvalue()


def _uid(of: UUID) -> UID:
    return UID(f"2.25.{of.int}")
