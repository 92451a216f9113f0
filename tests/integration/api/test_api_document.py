"""The OpenAPI document is valid and complete, and every route names its role."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from openapi_spec_validator import OpenAPIV30SpecValidator

from broker.lifecycle import Role
from broker.settings import Settings
from tests.conftest import IDENTITY_KEYS
from tests.integration.api.doors import House
from web.app import create_app, create_stream_app

METHODS = {"get", "put", "post", "patch", "delete"}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """A gateway whose database nobody asks."""
    return create_app(
        Settings(
            data_dir=tmp_path_factory.mktemp("app"),
            secret_key="s" * 40,
            identity_keys=IDENTITY_KEYS,
        )
    )


@pytest.fixture(scope="module")
def document(app: Flask) -> dict[str, Any]:
    """GET /api/v1/openapi.json, for everybody."""
    answer = app.test_client().get("/api/v1/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json
    return found


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method, path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    errors = list(OpenAPIV30SpecValidator(document).iter_errors())
    assert not errors, errors[0]


def test_every_api_route_is_described(app: Flask, document: dict[str, Any]) -> None:
    served = {
        (method.lower(), re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        if rule.endpoint.split(".")[0] not in {"pages", "assets", "installing", "api-docs"}
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert served == set(operations(document))


def test_every_route_names_its_roles(app: Flask, tmp_path: Any) -> None:
    stream = create_stream_app(Settings(data_dir=tmp_path, secret_key="s" * 40))
    for rule in [*app.url_map.iter_rules(), *stream.url_map.iter_rules()]:
        view = (app if rule.endpoint in app.view_functions else stream).view_functions[
            rule.endpoint
        ]
        assert hasattr(view, "roles"), f"{rule.rule} names no role"
        assert view.roles is None or view.roles <= set(Role), rule.rule


def test_a_route_without_a_role_is_refused_to_everybody(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = app.view_functions["health.healthz"]
    assert app.test_client().get("/healthz").status_code == 200
    monkeypatch.delattr(view, "roles")
    answer = app.test_client().get("/healthz")
    assert answer.status_code == 403
    assert answer.json["code"] == "not_allowed"


def test_the_document_tells_the_roles(app: Flask, document: dict[str, Any]) -> None:
    for (method, path), operation in operations(document).items():
        roles = operation["x-roles"]
        assert roles, (method, path)
        if roles == ["everybody"]:
            assert operation["security"] == [], (method, path)
        else:
            assert set(roles) <= set(Role)
            assert "security" not in operation, (method, path)
    assert document["security"] == [{"device": []}, {"person": []}]
    schemes = document["components"]["securitySchemes"]
    assert schemes["device"] == {"type": "http", "scheme": "bearer"}
    assert (schemes["person"]["in"], schemes["person"]["name"]) == (
        "cookie",
        app.config["SESSION_COOKIE_NAME"],
    )


ROLES = """
crew: post /cases, put /cases/{case_id}/image, get /cases/{case_id}/receipt, patch /cases/{case_id},
  post /cases/{case_id}/acknowledge, post /cases/{case_id}/depart, post /cases/{case_id}/arrive,
  post /offers/{offer_id}/take, post /offers/{offer_id}/pass, post /uploads,
  get /uploads/{upload_id}, patch /uploads/{upload_id}, delete /uploads/{upload_id},
  post /films/{image_sha256}/check, post /cases/{case_id}/instructions/seen
emergency_room: post /offers/{offer_id}/received, post /offers/{offer_id}/decision,
  post /offers/{offer_id}/withdraw, put /cases/{case_id}/instructions,
  put /cases/{case_id}/outcome
crew emergency_room: post /cases/{case_id}/close
control_room crew: post /cases/{case_id}/cancel, post /cases/{case_id}/elsewhere,
  post /cases/{case_id}/elsewhere/end
control_room emergency_room: post /emergency-rooms/{emergency_room_id}/diversion
admin control_room emergency_room: post /emergency-rooms/{emergency_room_id}/beds
admin: put /emergency-rooms/{emergency_room_id}/capabilities
control_room: get /control-room/cases, get /control-room/cases/{case_id}/ranking,
  put /control-room/cases/{case_id}/directives/{emergency_room_id},
  delete /control-room/cases/{case_id}/directives/{emergency_room_id},
  post /control-room/cases/{case_id}/assign, post /control-room/cases/{case_id}/proceed,
  get /control-room/log, post /control-room/cases/{case_id}/alarms/{alarm}/take,
  post /control-room/cases/{case_id}/calls
control_room crew emergency_room: get /cases, get /cases/{case_id}, get /cases/{case_id}/image,
  get /emergency-rooms, get /events, get /inbox, get /cases/{case_id}/messages,
  post /cases/{case_id}/messages, post /messages/{message_id}/seen, get /offers,
  get /offers/{offer_id}, get /cases/{case_id}/image/preview,
  get /cases/{case_id}/image/thumbnail, get /cases/{case_id}/image/dicom,
  get /cases/{case_id}/image/heatmap
admin control_room operations: get /control-room/shortages, get /beds,
  get /operations/cases, get /operations/queues,
  get /operations/dead-letters
control_room crew emergency_room: get /patients, get /patients/{patient_id},
  get /patients/{patient_id}/timeline, patch /patients/{patient_id}, post /patients/search,
  post /patients/{patient_id}/print
control_room emergency_room: post /patients/{patient_id}/merge, post /merges/{merge_id}/split
control_room crew: post /duplicates/{suspicion_id}/cancel,
  post /duplicates/{suspicion_id}/different, post /duplicates/{suspicion_id}/same
admin: get /admin/ambulances, post /admin/ambulances, patch /admin/ambulances/{ambulance_id},
  get /admin/emergency-rooms, post /admin/emergency-rooms,
  patch /admin/emergency-rooms/{emergency_room_id}, get /admin/accounts, post /admin/accounts,
  patch /admin/accounts/{account_id}, post /admin/accounts/{account_id}/reset-password,
  post /admin/accounts/{account_id}/end-sessions, get /admin/devices, post /admin/devices,
  post /admin/devices/{device_id}/revoke, get /admin/settings, put /admin/settings/{setting},
  post /admin/settings/{setting}/forget, get /admin/audit, get /admin/audit/seal
admin control_room operations: get /operations/board, get /operations/history,
  get /operations/behind, get /operations/find, get /operations/cases/{case_id}/timeline,
  get /operations/alarms, get /operations/pauses
admin operations: post /operations/dead-letters/replay,
  post /operations/alarms/{alarm_id}/acknowledge, post /operations/alarms/{alarm_id}/close,
  post /operations/queues/{queue}/pause, post /operations/queues/{queue}/resume
admin operations: post /operations/cases/{case_id}/requeue, get /metrics,
  post /operations/dead-letters/{reading_id}/close,
  post /operations/dead-letters/{reading_id}/replay
admin control_room crew emergency_room operations: get /session, delete /session
everybody: post /session, post /session/password, get /healthz, get /readyz
"""
"""Decided by people: whoever changes a route's roles changes them here, too."""


def test_roles_are_those_that_were_decided(document: dict[str, Any]) -> None:
    decided = {}
    for line in ROLES.replace(",\n", ",").strip().splitlines():
        roles, _, routes = line.partition(":")
        decided |= {route.strip(): roles.split() for route in routes.split(",")}
    found = {
        f"{method} {path.removeprefix('/api/v1')}": operation["x-roles"]
        for (method, path), operation in operations(document).items()
    }
    assert found == decided


def test_errors_are_problem_json_on_every_route(document: dict[str, Any]) -> None:
    for (method, path), operation in operations(document).items():
        reference = operation["responses"]["default"]["$ref"].rsplit("/", 1)[1]
        content = document["components"]["responses"][reference]["content"]
        assert list(content) == ["application/problem+json"], (method, path)
        schema = content["application/problem+json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/ProblemOut"}


def test_the_form_of_a_case_is_described_by_hand(document: dict[str, Any]) -> None:
    submit = document["paths"]["/api/v1/cases"]["post"]
    form = submit["requestBody"]["content"]["multipart/form-data"]
    assert form["schema"]["properties"]["image"]["format"] == "binary"
    assert form["schema"]["properties"]["case"]["$ref"] == "#/components/schemas/CaseIn"
    assert form["encoding"]["case"]["contentType"] == "application/json"
    (key,) = [p for p in submit["parameters"] if p["in"] == "header"]
    assert (key["name"], key["required"]) == ("Idempotency-Key", True)
    fields = document["components"]["schemas"]["CaseIn"]["properties"]
    assert {"vitals", "position", "age_years", "sex", "complaint", "crew_pre_ktas", "patient"} <= (
        set(fields)
    )
    assert document["components"]["schemas"]["CaseIn"]["additionalProperties"] is False


def test_a_gateway_without_a_secret_does_not_start(tmp_path: Any) -> None:
    from broker.errors import BadSetting

    for secret in ("", "short"):
        with pytest.raises(BadSetting, match="GOLDENTIME_SECRET_KEY"):
            create_app(Settings(data_dir=tmp_path, secret_key=secret))


def test_a_gateway_without_a_good_identity_key_does_not_start(tmp_path: Any) -> None:
    from broker.errors import BadSetting

    for keys in ((), ("",), ("short",), (*IDENTITY_KEYS, "x" * 44)):
        with pytest.raises(BadSetting, match="GOLDENTIME_IDENTITY_KEYS") as refused:
            create_app(Settings(data_dir=tmp_path, secret_key="s" * 40, identity_keys=keys))
        assert "Fernet.generate_key" in refused.value.message
        assert not keys or not keys[-1] or keys[-1] not in refused.value.message


def test_it_boots_and_tells_its_health(house: House) -> None:
    assert house.nobody.get("/healthz").status_code == 200
    assert house.nobody.get("/readyz").text == "ready\n"
    assert house.nobody.get("/cases").status_code == 401
    assert house.crew.get("/cases").json == []
