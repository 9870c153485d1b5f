"""The OpenAPI document keeps to the forms that client generators can read (service/schemas/document.py)."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from engines.fake import FakeEngine
from models.bundle import Bundle
from service.app import create_app
from service.catalog.loader import loader
from service.schemas.document import finish_document
from service.settings import Settings

OPERATIONS = {  # method names of generated clients, so none of them changes
    "POST /v1/models/{model}/classify": "classify",
    "POST /v1/models/{model}/alpha-path": "read_alpha_path",
    "GET /v1/models/{model}/alpha/curve": "read_accuracy_curve",
    "POST /v1/models/{model}/alpha/tune": "tune_alpha",
    "POST /v1/models/{model}/alpha/tune-on-results": "tune_alpha_on_results",
    "GET /v1/models/{model}/operating-points": "list_operating_points",
    "GET /v1/models/{model}/operating-points/{name}": "describe_operating_point",
    "PUT /v1/models/{model}/operating-points/{name}": "set_operating_point",
    "DELETE /v1/models/{model}/operating-points/{name}": "remove_operating_point",
    "POST /v1/feedback": "send_feedback",
    "GET /v1/models/{model}/feedback": "summarize_feedback",
    "GET /v1/jobs/{id}": "get_job",
    "DELETE /v1/jobs/{id}": "cancel_job",
    "GET /v1/models": "list_models",
    "GET /v1/models/{model}": "describe_model",
    "POST /v2/models/{model}/infer": "infer_model",
    "POST /v2/models/{model}/versions/{version}/infer": "infer_model_version",
    "GET /v2": "read_server_metadata",
    "GET /v2/health/live": "check_server_live",
    "GET /v2/health/ready": "check_server_ready",
    "GET /v2/models": "list_model_names",
    "GET /v2/models/stats": "read_statistics",
    "GET /v2/models/{model}": "read_metadata_of_model",
    "GET /v2/models/{model}/versions/{version}": "read_metadata_of_model_version",
    "GET /v2/models/{model}/ready": "check_readiness_of_model",
    "GET /v2/models/{model}/versions/{version}/ready": "check_readiness_of_model_version",
    "GET /v2/models/{model}/config": "read_config_of_model",
    "GET /v2/models/{model}/versions/{version}/config": "read_config_of_model_version",
    "GET /v2/models/{model}/stats": "read_statistics_of_model",
    "GET /v2/models/{model}/versions/{version}/stats": "read_statistics_of_model_version",
    "POST /v2/repository/index": "list_repository",
    "POST /v2/repository/models/{model}/load": "load_model",
    "POST /v2/repository/models/{model}/unload": "unload_model",
    "GET /livez": "check_liveness",
    "GET /readyz": "check_readiness",
    "GET /metrics": "read_metrics",
}
NULL = {"type": "null"}
REFERENCE = "#/components/schemas/"
Document = dict[str, Any]
Place = tuple[str, ...]


@pytest.fixture(scope="module")
def document(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Document:
    folder = tmp_path_factory.mktemp("document")
    settings = Settings(models=tiny_bundle.path.parent.parent, database=f"sqlite:///{folder}/x.db")
    return create_app(settings, loader(settings, FakeEngine)).openapi()


def operations(document: Document) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def schemas(node: Any, place: Place = ()) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Every schema with its place; examples and the names of properties are no schemas."""
    if isinstance(node, list):
        for index, each in enumerate(node):
            yield from schemas(each, (*place, str(index)))
        return
    if not isinstance(node, dict):
        return
    if place and place[-1] not in {"properties", "schemas"}:
        yield place, node
    for key, value in node.items():
        if key not in {"example", "examples", "default", "enum", "const"} or place[-1:] == ("properties",):
            yield from schemas(value, (*place, key))


def test_the_names_of_the_operations_stay(document: Document) -> None:
    assert {call: operation["operationId"] for call, operation in operations(document)} == OPERATIONS
    assert len(set(OPERATIONS.values())) == len(OPERATIONS)


def test_arrays_have_items_and_types_are_single(document: Document) -> None:
    for place, schema in schemas(document):
        kind = schema.get("type")
        assert kind != "array" or "items" in schema, place
        assert not isinstance(kind, list), place
        assert "prefixItems" not in schema, place
        assert schema != NULL or place[-2] in {"anyOf", "oneOf"}, place


def test_any_of_says_only_or_null(document: Document) -> None:
    unions = [(place, schema["anyOf"]) for place, schema in schemas(document) if "anyOf" in schema]
    assert unions
    for place, members in unions:
        assert [len(members), members.count(NULL)] == [2, 1], place


def test_only_components_have_titles_and_each_is_its_name(document: Document) -> None:
    titled = [(place, schema["title"]) for place, schema in schemas(document) if isinstance(schema.get("title"), str)]
    assert len(titled) > 40
    assert [place for place, title in titled if place not in {("components", "schemas", title), ("info",)}] == []


def test_every_reference_leads_to_a_component_and_every_component_is_used(document: Document) -> None:
    used = {schema["$ref"].removeprefix(REFERENCE) for _, schema in schemas(document) if "$ref" in schema}
    assert used == document["components"]["schemas"].keys()


def test_a_parameter_is_never_null(document: Document) -> None:
    asked = [(call, each) for call, operation in operations(document) for each in operation.get("parameters", ())]
    assert len(asked) > 50
    assert [(call, each["name"]) for call, each in asked if "null" in str(each["schema"])] == []
    assert [(call, each["name"]) for call, each in asked if each["schema"].keys().isdisjoint({"type", "oneOf"})] == []


def test_bodies_have_names_and_no_operation_takes_both_json_and_a_form(document: Document) -> None:
    bodies = {call: op["requestBody"]["content"] for call, op in operations(document) if "requestBody" in op}
    for call, content in bodies.items():
        kinds = list(content)
        assert not {"application/json", "multipart/form-data"} <= set(kinds), call
        assert kinds[0] in {"application/json", "multipart/form-data"}, f"{call}: generators take the first one"
        assert content[kinds[0]]["schema"].keys() == {"$ref"}, call
    assert list(bodies["POST /v1/models/{model}/alpha/tune"]) == ["multipart/form-data"]


def test_no_field_of_a_body_has_a_default_because_generated_clients_would_send_it(document: Document) -> None:
    fields = document["components"]["schemas"]
    for name in ("TuneForm", "TuneRequest", "OperatingPointOrder", "InferRequest", "FeedbackItem", "ClassifyForm"):
        assert [each for each, schema in fields[name]["properties"].items() if "default" in schema] == [], name
    assert fields["TuneRequest"]["properties"]["low"]["description"] == "the lowest alpha to consider (default: -8.0)"


def test_a_result_is_either_predictions_or_an_error(document: Document) -> None:
    components = document["components"]["schemas"]
    unions = {name: schema["oneOf"] for name, schema in components.items() if "oneOf" in schema}
    for name in ("ImageOutcome", "PathOutcome", "FeedbackOutcome", "OperatingPointRecord"):
        one, other = (components[member["$ref"].removeprefix(REFERENCE)] for member in unions[name])
        assert set(one["required"]) - set(other["properties"]), name
        assert set(other["required"]) - set(one["properties"]), name


def test_answers_allow_further_fields_so_that_old_clients_read_new_servers(document: Document) -> None:
    answers = [operation["responses"] for _, operation in operations(document)]
    names = set(re.findall(rf"{REFERENCE}(\w+)", str(answers)))
    components = document["components"]["schemas"]
    while more := set(re.findall(rf"{REFERENCE}(\w+)", str([components[name] for name in names]))) - names:
        names |= more
    assert "ModelDetail" in names
    assert [name for name in sorted(names) if components[name].get("additionalProperties") is False] == []


def test_every_operation_says_who_may_call_it_and_what_every_request_may_meet(document: Document) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    for call, operation in operations(document):
        assert "security" in operation, call
        assert set(operation["tags"]) <= tags, call
        assert {operation["summary"], operation["description"]}.isdisjoint({""}), call
        assert "431" in operation["responses"], call
        assert ("408" in operation["responses"]) >= ("requestBody" in operation), call


def test_the_document_names_its_licence_and_the_folder_it_lies_in(document: Document) -> None:
    assert document["info"]["license"] == {"name": "Apache-2.0", "identifier": "Apache-2.0"}
    assert [server["url"] for server in document["servers"]] == ["."]
    answer = document["paths"]["/v1/models/{model}/alpha/tune"]["post"]["responses"]["202"]
    assert answer["headers"].keys() == {"Location"}
    assert document["paths"]["/metrics"]["get"]["responses"]["200"]["content"].keys() == {"text/plain"}


def test_two_bodies_of_one_name_are_refused() -> None:
    def operation(kind: str) -> dict[str, Any]:
        content = {"application/json": {"schema": {"title": "Order", "type": kind}}}
        return {"requestBody": {"content": content}, "responses": {}}

    document = {"paths": {"/a": {"post": operation("object")}}, "components": {"schemas": {}}}
    finish_document(document)
    document["paths"]["/b"] = {"post": operation("string")}
    with pytest.raises(ValueError, match="two different schemas of the OpenAPI document have the name Order"):
        finish_document(document)
