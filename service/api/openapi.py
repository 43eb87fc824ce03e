"""The API's description (OpenAPI 3.1): one document for clients, and one for workers.

FastAPI describes the routes and their models. Added here: form bodies, problems, headers, examples,
and that responses always have all of their fields.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import RouteContext, iter_route_contexts
from pydantic import TypeAdapter
from pydantic.json_schema import models_json_schema

from service.api.body.parse import body_schemas
from service.api.examples import examples
from service.api.schemas.events import OMITTED, WebhookEvent
from service.api.schemas.responses import (
    HEADERS,
    header_docs,
    problem_docs,
    problem_models,
)

Document = dict[str, Any]
Audience = Literal["clients", "workers"]

_REF = "#/components/schemas/"
_INTERNAL = "/internal/"
_HEADERS_OF_STATUS = {
    "401": ("WWW-Authenticate",),
    "415": ("Accept-Encoding",),
    "429": ("Retry-After",),
    "503": ("Retry-After",),
    "507": ("Retry-After",),
}

_WEBHOOK = {
    "summary": "An event, sent to a `webhook_url` or an endpoint",
    "operationId": "receive_event",
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": _REF + "WebhookEvent"}}},
    },
    "responses": {"2XX": {"description": "Received; else the event is sent again later."}},
}


def describe(app: FastAPI, audience: Audience, server: str) -> Document:
    """Return the document for this audience; `server` is the service's address."""
    document = get_openapi(
        title=app.title if audience == "clients" else f"{app.title}: the worker protocol",
        version=app.version,
        summary=app.summary if audience == "clients" else None,
        routes=list(_routes(app, audience)),
        servers=[{"url": server}],
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    for operation in _operations(document):
        _complete(operation)
    components = document["components"]
    components["schemas"] |= body_schemas() | _problem_schemas()
    if audience == "clients":
        document["webhooks"] = {"event": {"post": _WEBHOOK}}
        components["schemas"] = _webhook_schemas() | components["schemas"]
    components["headers"] = HEADERS
    _require_fields_of_answers(document)
    _drop_unused_schemas(document)
    _add_examples(document)
    return document


def _routes(app: FastAPI, audience: Audience) -> Iterator[RouteContext]:
    for route in iter_route_contexts(app.routes):
        if (route.path or "").startswith(_INTERNAL) == (audience == "workers"):
            yield route


def _operations(document: Document) -> Iterator[Document]:
    for methods in document["paths"].values():
        yield from methods.values()


def _complete(operation: Document) -> None:
    """Add common problems and headers; remove FastAPI's own 422 schema, which is never sent."""
    responses = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    every_problem = problem_docs(*_problems_of_all(operation))
    for status, response in every_problem.items():
        responses.setdefault(str(status), response)
    for status, response in responses.items():
        names = ("X-Request-Id", *_HEADERS_OF_STATUS.get(status, ()))
        response["headers"] = {**header_docs(*names)["headers"], **response.get("headers", {})}
    operation["responses"] = dict(sorted(responses.items()))


def _problems_of_all(operation: Document) -> Iterator[int | str]:
    """Yield the problems that the connection, the body, or the key may cause on every route."""
    yield from (431, 500, 503)
    if "requestBody" in operation:
        yield 408
    if _has_key(operation):
        yield from (401, 429)


def _has_key(operation: Document) -> bool:
    schemes = operation.get("security", [{}])
    return all("apiKey" in scheme for scheme in schemes)


def _problem_schemas() -> Document:
    models = [(model, "serialization") for model in problem_models()]
    _, schema = models_json_schema(models, ref_template=_REF + "{model}")  # type: ignore[arg-type]
    definitions: Document = schema["$defs"]
    return definitions


def _webhook_schemas() -> Document:
    adapter: TypeAdapter[Any] = TypeAdapter(WebhookEvent)
    schema = adapter.json_schema(mode="serialization", ref_template=_REF + "{model}")
    return {**schema.pop("$defs"), WebhookEvent.__name__: schema}


def _require_fields_of_answers(document: Document) -> None:
    """Mark every field of what is sent as required, but for `omitted`: defaults are always sent."""
    schemas = document["components"]["schemas"]
    answers = [operation["responses"] for operation in _operations(document)]
    for name in _reachable([answers, document.get("webhooks")], schemas):
        if "properties" in schemas[name]:
            schemas[name]["required"] = [
                key for key in schemas[name]["properties"] if key != OMITTED
            ]


def _drop_unused_schemas(document: Document) -> None:
    schemas = document["components"]["schemas"]
    names = _reachable([document["paths"], document.get("webhooks")], schemas)
    document["components"]["schemas"] = {name: schemas[name] for name in sorted(names)}


def _reachable(part: Any, schemas: Document) -> set[str]:
    """Return the names of the schemas that a part of the document refers to, transitively."""
    names: set[str] = set()
    pending = set(_refs(part))
    while pending:
        name = pending.pop()
        names.add(name)
        pending |= set(_refs(schemas[name])) - names
    return names


def _refs(part: Any) -> Iterable[str]:
    if isinstance(part, dict):
        ref = part.get("$ref")
        if isinstance(ref, str) and ref.startswith(_REF):
            yield ref.removeprefix(_REF)
        for value in part.values():
            yield from _refs(value)
    elif isinstance(part, list):
        for value in part:
            yield from _refs(value)


def _add_examples(document: Document) -> None:
    all_examples = examples()
    for operation in _operations(document):
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for content in (content for body in bodies for content in body.get("content", {}).values()):
            names = [name for name in _direct(content.get("schema", {})) if name in all_examples]
            if names:
                content["examples"] = {
                    k: {"value": v} for name in names for k, v in all_examples[name].items()
                }


def _direct(schema: Document) -> list[str]:
    """Return the schema's own name, or the names in its `oneOf` or `anyOf`."""
    choices = [schema, *schema.get("oneOf", ()), *schema.get("anyOf", ())]
    return [choice["$ref"].removeprefix(_REF) for choice in choices if "$ref" in choice]
