"""Patients as they are shown: in a list without identity, opened, merged, perhaps twice here."""

from __future__ import annotations

from typing import Any

from broker.tables import Case, Patient, PatientMerge
from dispatch import temporary_names
from dispatch.patients import Identity
from web.dossier import Question


def duplicate_picture(case: Case, question: Question) -> dict[str, Any]:
    """The other case of a suspected pair: where it stands and whom to ask, nothing clinical."""
    suspicion, other = question.suspicion, question.other
    return {
        "id": suspicion.id,
        "reason": suspicion.reason,
        "raised_at": suspicion.raised_at,
        "same_said_at": suspicion.same_said_at,
        "same_said_by": (suspicion.same_said_by or "").split(":")[0] or None,
        "case_id": other.id,
        "call_sign": question.ambulance.call_sign,
        "phone": question.ambulance.phone,
        "status": other.status,
        "received_at": other.received_at,
        "same_unit": other.ambulance_id == case.ambulance_id,
        "emergency_room": question.holder,
    }


def patient_line(patient: Patient, cases: int, latest: Case | None) -> dict[str, Any]:
    """A patient in a list: no identity, so that looking for one discloses nobody else."""
    return {
        "id": patient.id,
        "temporary_name": temporary_names.of(patient.number) if patient.number else None,
        "sex": patient.sex,
        "estimated_age_years": patient.estimated_age_years,
        "version": patient.version,
        "created_at": patient.created_at,
        "updated_at": patient.updated_at,
        "erased_at": patient.erased_at,
        "cases": cases,
        "latest_case_id": latest.id if latest else None,
        "latest_status": latest.status if latest else None,
        "latest_at": latest.received_at if latest else None,
        "latest_acuity": latest.acuity if latest else None,
        "call_sign": latest.ambulance.call_sign if latest else None,
    }


def merge_picture(row: PatientMerge, absorbed: Patient) -> dict[str, Any]:
    """A merge, with the temporary name of the patient that splitting it gives back."""
    return {
        **{
            name: getattr(row, name)
            for name in ("id", "surviving_id", "absorbed_id", "merged_at", "split_at")
        },
        "absorbed_name": temporary_names.of(absorbed.number) if absorbed.number else None,
    }


def identity_picture(who: Identity) -> dict[str, Any]:
    """An identity and how much of it is known."""
    return {"identity": who.state, "patient": who if who.known else None}
