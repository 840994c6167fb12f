"""The OpenAPI document is valid and tells of every route."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from openapi_spec_validator import OpenAPIV31SpecValidator

from server.http.probes import create_ops_app
from tests.unit.server.http.house import House


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (verb.upper(), path): operation
        for path, verbs in document["paths"].items()
        for verb, operation in verbs.items()
    }


def test_the_document_is_valid_openapi(house: House) -> None:
    document = house.get("/openapi.json", documented=False).json
    assert document["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(document).validate()


def test_every_route_is_in_the_document(house: House) -> None:
    rules = {
        (method, rule.rule.replace("<int:", "<").replace("<", "{").replace(">", "}"))
        for rule in house.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert set(operations(house.document)) == rules - {("GET", "/openapi.json")}


def test_every_operation_has_a_name_a_summary_and_a_good_answer(house: House) -> None:
    found = operations(house.document)
    assert len({operation["operationId"] for operation in found.values()}) == len(found)
    for operation in found.values():
        assert operation["summary"]
        assert "200" in operation["responses"]


def test_submits_describe_their_bodies(house: House) -> None:
    found = operations(house.document)
    upload = found["POST", "/v1/videos"]["requestBody"]["content"]["multipart/form-data"]
    assert set(upload["schema"]["properties"]) >= {"video", "input_reference", "audio", "loop"}
    easy = found["POST", "/easy/submit"]["requestBody"]["content"]["application/json"]
    assert easy["schema"]["required"] == ["audio_url", "video_url", "code"]


def test_only_a_locked_server_documents_keys_and_never_for_probes(tmp_path: Path) -> None:
    plain, locked = House(tmp_path / "a"), House(tmp_path / "b", api_key="correct horse")
    assert all("security" not in each for each in operations(plain.document).values())
    for (_, path), operation in operations(locked.document).items():
        is_probe = path in ("/health", "/v2/health/live", "/v2/health/ready")
        assert ("security" in operation) != is_probe
        if not path.startswith("/easy"):
            assert ("401" in operation["responses"]) != is_probe
    assert set(locked.document["components"]["securitySchemes"]) == {"key", "bearer"}
    OpenAPIV31SpecValidator(locked.document).validate()
    plain.close()
    locked.close()


def test_the_ops_app_has_probes_and_metrics_only(house: House) -> None:
    app = create_ops_app(house.settings, house.state, house.store)
    assert {rule.rule for rule in app.url_map.iter_rules()} == {
        "/health",
        "/health/deep",
        "/v2/health/live",
        "/v2/health/ready",
        "/metrics",
    }
