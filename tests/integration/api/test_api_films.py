"""Films as ERs look at them: a quick picture, all gray levels, heatmaps; each look on record."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid
from sqlalchemy import select

from broker.tables import AuditEntry
from tests.integration.api.doors import MODEL, SCORES, House, film

SECRETS = ("Canary", "CANARY", "19580203", "Secret Hospital")
ALLOWED = {
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "ImageType"),
    *("Modality", "ConversionType", "PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
    *("SeriesNumber", "InstanceNumber", "PatientOrientation", "DerivationDescription"),
    *("SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated"),
    *("BitsStored", "HighBit", "PixelRepresentation", "WindowWidth", "WindowCenter", "PixelData"),
}
HEATMAP = {
    "shape": [2, 2],
    "values": base64.b64encode(bytes([0, 255, 0, 64])).decode(),
}


def radiograph(photometric: str = "MONOCHROME2") -> bytes:
    """A 12-bit DX file of the shipped phantom, its header full of what nobody may see."""
    with Image.open(io.BytesIO(film())) as image:
        levels = (np.asarray(image.convert("L"), np.uint16) * 16).astype(np.uint16)
    levels[0, 0] = 4095
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset(io.BytesIO(), Dataset(), file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, generate_uid()
    made.Modality, made.PatientName, made.PatientID = "DX", "Canary^Gildong", "CANARY-1"
    made.PatientBirthDate, made.InstitutionName = "19580203", "Secret Hospital"
    made.Rows, made.Columns = levels.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, photometric
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.WindowCenter, made.WindowWidth = 2048, 3000
    shown = 4095 - levels if photometric == "MONOCHROME1" else levels
    made.PixelData = shown.astype("<u2").tobytes()
    out = io.BytesIO()
    pydicom.dcmwrite(out, made, enforce_file_format=True)
    return out.getvalue()


def looks(house: House, case_id: str) -> list[str]:
    with house.record.read() as db:
        rows = db.scalars(select(AuditEntry).where(AuditEntry.action == "image.viewed"))
        return [r.details.get("how", "") for r in rows if str(r.case_id) == case_id]


def test_the_first_picture_is_small_and_progressive(house: House) -> None:
    case_id, offers = house.offered(film())
    for _ in range(2):  # made, then kept
        answer = house.er_of(offers[0]).get(f"/cases/{case_id}/image/preview")
        assert answer.status_code == 200, answer.text
        assert answer.mimetype == "image/jpeg"
        assert len(answer.data) <= 150_000
        with Image.open(io.BytesIO(answer.data)) as image:
            assert image.info["progressive"]
    assert looks(house, case_id).count("preview") == 2
    assert house.nobody.get(f"/cases/{case_id}/image/preview").status_code == 401
    house.decide(offers[1], "accept")
    assert house.er_of(offers[0]).get(f"/cases/{case_id}/image/preview").status_code == 404
    house.crew.post(f"/cases/{case_id}/cancel", json={"reason": "the test ends"})


def test_a_timeline_shows_each_film_small_as_it_was(house: House) -> None:
    """Also one that was replaced; to whom the film may be shown, and each look on record."""
    case_id, offers = house.offered(film())
    dark = io.BytesIO()
    with Image.open(io.BytesIO(film())) as image:
        image.point(lambda level: level // 2).save(dark, "PNG")
    put = {"image": (io.BytesIO(dark.getvalue()), "film.png")}
    assert house.crew("PUT", f"/cases/{case_id}/image", data=put).status_code == 200
    patient = house.case(house.crew, case_id)["patient_id"]
    story = house.crew.get(f"/patients/{patient}/timeline").json
    first, second = (e["facts"] for e in story["entries"] if e["kind"] == "film")
    er, address = house.er_of(offers[0]), f"/cases/{case_id}/image/thumbnail"
    # The replaced film may be of another patient: it is for those who know whose case it is.
    for path in (address, f"/cases/{case_id}/image"):
        assert er.get(path, query_string={"film": first["sha256"]}).status_code == 404
        assert er.get(path, query_string={"film": second["sha256"]}).status_code == 200
    before = len(looks(house, case_id))
    house.decide(offers[0], "accept")
    shades = []
    for facts in (first, second, {"sha256": None}):
        answer = er.get(address, query_string={"film": facts["sha256"]} if facts["sha256"] else {})
        assert answer.status_code == 200, answer.text
        assert len(answer.data) < 30_000
        with Image.open(io.BytesIO(answer.data)) as image:
            assert image.info["progressive"]
            assert max(image.size) == 256
            if facts["sha256"]:
                ratio = image.width / image.height
                assert ratio == pytest.approx(facts["width_px"] / facts["height_px"], rel=0.02)
            shades.append(float(np.asarray(image).mean()))
    assert shades[1] == shades[2] != pytest.approx(shades[0], rel=0.1)
    assert looks(house, case_id)[before:] == ["thumbnail"] * 3
    whole = [er.get(f"/cases/{case_id}/image", query_string={"film": f["sha256"], "boxes": 1})
             for f in (first, second)]  # fmt: skip
    assert [answer.status_code for answer in whole] == [200, 200]
    assert whole[0].data != whole[1].data
    assert er.get(address, query_string={"film": "0" * 64}).status_code == 404
    assert er.get(address, query_string={"film": "../../etc"}).status_code == 422
    assert house.nobody.get(address).status_code == 401
    assert house.other_crew.get(address).status_code == 404
    house.crew.post(f"/cases/{case_id}/cancel", json={"reason": "the test ends"})


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_the_whole_film_has_every_gray_level_and_nothing_of_the_header(
    house: House, photometric: str
) -> None:
    case_id, offers = house.offered(radiograph(photometric))
    answer = house.er_of(offers[0]).get(f"/cases/{case_id}/image/dicom")
    assert answer.status_code == 200, answer.text
    assert not any(secret.encode() in answer.data for secret in SECRETS)
    shown = pydicom.dcmread(io.BytesIO(answer.data))
    assert {element.keyword for element in shown} <= ALLOWED
    assert [shown[k].value for k in ("PatientName", "PatientID", "StudyDate")] == ["", "", ""]
    sent = pydicom.dcmread(io.BytesIO(radiograph())).pixel_array
    assert shown.BitsStored == 12
    assert np.array_equal(shown.pixel_array, sent - sent.min())
    low = float(shown.WindowCenter) - float(shown.WindowWidth) / 2
    assert low == pytest.approx(2048 - 1500 - int(sent.min()), abs=20)
    assert looks(house, case_id) == ["dicom"]
    packed = house.er_of(offers[0]).get(
        f"/cases/{case_id}/image/dicom", headers={"Accept-Encoding": "gzip"}
    )
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.data) < len(answer.data)
    house.crew.post(f"/cases/{case_id}/cancel", json={"reason": "the test ends"})


def test_a_bigger_film_of_somebody_elses_making(house: House) -> None:
    """A real modality's file, with its own window and rescale."""
    path = get_testdata_file("RG1_UNCR.dcm", download=False)
    if path is None:
        pytest.skip("this pydicom ships no RG1_UNCR.dcm")
    with open(path, "rb") as file:  # noqa: PTH123
        case_id, offers = house.offered(file.read())
    answer = house.er_of(offers[0]).get(f"/cases/{case_id}/image/dicom")
    assert answer.status_code == 200, answer.text
    house.crew.post(f"/cases/{case_id}/cancel", json={"reason": "the test ends"})


def test_a_heatmap_lies_over_the_film(house: House) -> None:
    case_id = house.submitted(film())
    house.read_films(SCORES, {**MODEL, "heatmaps": {"Effusion": HEATMAP}})
    house.advance(case_id)
    offer: dict[str, Any] = house.case(house.crew, case_id)["offers"][0]
    er = house.er_of(offer)
    assert house.case(er, case_id)["image"]["heatmaps"] == ["Effusion"]
    answer = er.get(f"/cases/{case_id}/image/heatmap?label=Effusion")
    assert answer.status_code == 200, answer.text
    with Image.open(io.BytesIO(answer.data)) as overlay:
        alpha = np.asarray(overlay.convert("RGBA"))[..., 3]
    right, left = alpha[:, 200:].mean(), alpha[:, :56].mean()
    assert right > 4 * left
    assert er.get(f"/cases/{case_id}/image/heatmap?label=Mass").status_code == 404
    assert er.get(f"/cases/{case_id}/image/heatmap").status_code == 422
    assert looks(house, case_id)[0] == "heatmap"
    house.crew.post(f"/cases/{case_id}/cancel", json={"reason": "the test ends"})
