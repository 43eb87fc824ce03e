"""What outside validators say of the API's descriptions, and what they do not look for."""

import copy
import json
import warnings
from collections.abc import Iterator
from typing import Any, get_args

import aiopenapi3
import jsonschema
import pytest
from openapi_spec_validator import validate

from service.api.examples import _jobs
from service.api.middleware import _MEDIA
from service.api.openapi import Audience
from service.api.schemas.responses import CODES, MEDIA_TYPE
from service.api.webhook_body import WebhookBodies, event_body
from service.domain.event import QUEUED_EVENT, TEST_EVENT, EventKind
from service.domain.job import Job
from tests.contract.openapi import document

BOTH = get_args(Audience)
EVENTS = ("JobEvent", "WebhookEvent")
Document = dict[str, Any]


@pytest.fixture(scope="module")
def documents() -> dict[str, Document]:
    return {audience: document(audience) for audience in BOTH}


def operations(document: Document) -> Iterator[tuple[str, Document]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def contents(document: Document) -> Iterator[tuple[str, str, Document]]:
    """Every body of a request and of an answer: where it is, its media type, and its content."""
    for name, operation in operations(document):
        bodies = {"request": operation.get("requestBody", {}), **operation["responses"]}
        for place, body in bodies.items():
            for media_type, content in body.get("content", {}).items():
                yield f"{name} {place}", media_type, content


def second_validator(document: Document) -> None:
    """Resolves every reference, and makes a model of every schema."""
    with warnings.catch_warnings():
        # It does not know that several values of a discriminator may lead to one schema.
        warnings.simplefilter("ignore", aiopenapi3.errors.DiscriminatorWarning)
        aiopenapi3.OpenAPI("http://rushes.test/openapi.json", copy.deepcopy(document))


@pytest.mark.parametrize("audience", BOTH)
def test_two_validators_find_nothing_wrong(
    documents: dict[str, Document], audience: Audience
) -> None:
    validate(documents[audience])
    second_validator(documents[audience])


def test_a_reference_that_leads_nowhere_is_noticed(documents: dict[str, Document]) -> None:
    broken = copy.deepcopy(documents["clients"])
    keyframes = broken["components"]["schemas"]["VideoParams"]["properties"]["keyframes"]
    keyframes["anyOf"][0]["items"]["$ref"] = "#/$defs/Keyframe"

    with pytest.raises(aiopenapi3.errors.ReferenceResolutionError):
        second_validator(broken)


def test_workers_routes_are_in_a_document_of_their_own(documents: dict[str, Document]) -> None:
    paths = {audience: list(found["paths"]) for audience, found in documents.items()}

    assert all(path.startswith("/internal/") for path in paths["workers"])
    assert not any(path.startswith("/internal/") for path in paths["clients"])
    assert "Ticket" not in documents["clients"]["components"]["schemas"]


@pytest.mark.parametrize("audience", BOTH)
def test_every_error_is_a_problem_that_names_its_codes(
    documents: dict[str, Document], audience: Audience
) -> None:
    schemas = documents[audience]["components"]["schemas"]
    for name, operation in operations(documents[audience]):
        errors = {s: r for s, r in operation["responses"].items() if s >= "400"}
        # Byte ranges are refused by the web server's own words, and health tells how it is.
        for status in errors.keys() - ({"416"} | ({"503"} if name == "GET /health" else set())):
            schema = errors[status]["content"][MEDIA_TYPE]["schema"]
            assert list(errors[status]["content"]) == [MEDIA_TYPE], (name, status)
            for choice in schema.get("oneOf", [schema]):
                found = schemas[choice["$ref"].rpartition("/")[2]]["properties"]
                assert found["status"]["const"] == int(status)
                assert CODES[found["code"]["const"]][0] == int(status)
        assert "500" in errors, name


def test_a_job_says_by_its_status_what_it_has(documents: dict[str, Document]) -> None:
    schemas = documents["clients"]["components"]["schemas"]
    union = schemas["AnyJob"]
    shape = {
        status: schemas[ref.rpartition("/")[2]]
        for status, ref in union["discriminator"]["mapping"].items()
    }

    assert union["discriminator"]["propertyName"] == "status"
    assert shape["succeeded"]["properties"]["result"] == {"$ref": "#/components/schemas/Result"}
    assert shape["failed"]["properties"]["error"] == {"$ref": "#/components/schemas/JobError"}
    for found in shape.values():
        assert found["required"] == list(found["properties"])


def test_the_kind_of_an_event_says_what_it_tells(documents: dict[str, Document]) -> None:
    schemas = documents["clients"]["components"]["schemas"]
    kinds = {name: set(schemas[name]["discriminator"]["mapping"]) for name in EVENTS}

    assert kinds["WebhookEvent"] == {*get_args(EventKind), TEST_EVENT}
    assert kinds["JobEvent"] == {*get_args(EventKind), QUEUED_EVENT}


@pytest.mark.parametrize("label", ["12", "☃" * 500], ids=["small", "large"])
@pytest.mark.parametrize("job", _jobs(), ids=lambda job: job.state)
def test_an_event_is_what_the_document_says(
    documents: dict[str, Document], job: Job, label: str
) -> None:
    """Both whole and above 20,000 bytes, without its input and its metadata."""
    components = documents["clients"]["components"]
    data = WebhookBodies(b"", "https://rushes.test").data(
        job.model_copy(update={"metadata": {f"label {n}": label for n in range(16)}})
    )
    kind = "job.progress" if job.state == "queued" else f"job.{job.state}"

    event = json.loads(event_body(kind, job.created_at, data))

    assert ("omitted" in event["data"]) == (label != "12")
    for name in EVENTS:
        schema = {"$ref": f"#/components/schemas/{name}", "components": components}
        jsonschema.validate(event, schema, jsonschema.Draft202012Validator)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**event, "type": TEST_EVENT}, schema)


@pytest.mark.parametrize("audience", BOTH)
def test_an_answer_leaves_no_field_out_and_shares_no_shape_with_a_request(
    documents: dict[str, Document], audience: Audience
) -> None:
    schemas = documents[audience]["components"]["schemas"]
    of_requests: set[str] = set()
    of_answers: set[str] = set()
    for place, _, content in contents(documents[audience]):
        (of_requests if place.endswith("request") else of_answers).update(reached(content, schemas))

    optional = {
        f"{name}.{field}"
        for name in of_answers
        for field in schemas[name].get("properties", {})
        if field not in schemas[name]["required"]
    }

    assert {name for name in optional if not name.endswith("JobSnapshot.omitted")} == set()
    assert {n for n in of_requests & of_answers if "properties" in schemas[n]} == set()


def reached(part: Any, schemas: Document) -> set[str]:
    if isinstance(part, list):
        return set().union(*(reached(inner, schemas) for inner in part))
    if not isinstance(part, dict):
        return set()
    found = reached([value for key, value in part.items() if key != "examples"], schemas)
    name = str(part.get("$ref", "")).rpartition("/")[2]
    return found | ({name} | reached(schemas[name], schemas) if name in schemas else set())


def test_every_json_body_has_an_example_that_is_valid(documents: dict[str, Document]) -> None:
    found = documents["clients"]
    for place, media_type, content in contents(found):
        if "json" not in media_type:
            continue
        assert content.get("examples"), place
        schema = {**content["schema"], "components": found["components"]}
        for example in content["examples"].values():
            jsonschema.validate(example["value"], schema, jsonschema.Draft202012Validator)


def test_content_may_be_fetched_with_a_key_or_by_a_link(documents: dict[str, Document]) -> None:
    content = documents["clients"]["paths"]["/v1/jobs/{job_id}/content"]["get"]

    assert content["security"] == [{"apiKey": []}, {}]


def test_lists_tell_of_all_their_filters(documents: dict[str, Document]) -> None:
    parameters = documents["clients"]["paths"]["/v1/jobs"]["get"]["parameters"]
    shapes = {one["name"]: one for one in parameters}

    assert shapes.keys() == {
        *(
            "limit",
            "after",
            "order",
            "status",
            "kind",
            "model",
            "ids",
            "metadata",
            "error",
            "prompt",
        ),
        *("created_after", "created_before", "ended_after", "ended_before"),
    }
    assert shapes["metadata"]["style"] == "deepObject"


@pytest.mark.parametrize(
    ("route", "status", "names"),
    [
        (
            "POST /generate-video",
            "202",
            {"Location", "Retry-After", "ETag", "Idempotency-Replayed", "Preference-Applied"},
        ),
        ("GET /v1/jobs/{job_id}", "304", {"ETag"}),
        ("GET /v1/jobs/{job_id}/content", "206", {"Content-Range", "ETag", "Last-Modified"}),
        ("GET /v1/jobs", "401", {"WWW-Authenticate"}),
        ("GET /v1/jobs", "429", {"Retry-After"}),
        ("DELETE /v1/jobs/{job_id}", "200", {"X-Request-Id"}),
    ],
)
def test_headers_of_answers_are_declared(
    documents: dict[str, Document], route: str, status: str, names: set[str]
) -> None:
    operation = dict(operations(documents["clients"]))[route]

    assert operation["responses"][status]["headers"].keys() >= names | {"X-Request-Id"}


def test_a_route_that_takes_files_has_the_room_and_the_time_for_them(
    documents: dict[str, Document],
) -> None:
    for path, methods in documents["clients"]["paths"].items():
        content = methods.get("post", {}).get("requestBody", {}).get("content", {})
        is_media = _MEDIA.fullmatch(path.replace("{job_id}", "job_1")) is not None
        assert is_media == ("multipart/form-data" in content), path
