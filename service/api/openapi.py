"""The API's description (OpenAPI 3.1): one document for clients, and one for workers.

FastAPI writes the routes and their models; what it cannot know of is put in here: bodies that may
be a form as well, problems, headers and examples, and that an answer leaves no field out.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import RouteContext, iter_route_contexts
from pydantic.json_schema import models_json_schema

from service.api.body.parse import body_schemas
from service.api.examples import examples
from service.api.schemas import problems
from service.api.schemas.headers import HEADERS, sent

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


def describe(app: FastAPI, audience: Audience, server: str) -> Document:
    """The document for this audience of a service that is reached at `server`."""
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
    components["headers"] = HEADERS
    _require_fields_of_answers(document)
    _keep_what_is_used(document)
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
    """Add what holds for every route, and take away FastAPI's own shape of a 422, which no answer
    has."""
    responses = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    every_problem = problems.documented(*_problems_of_all(operation))
    for status, response in every_problem.items():
        responses.setdefault(str(status), response)
    for status, response in responses.items():
        names = ("X-Request-Id", *_HEADERS_OF_STATUS.get(status, ()))
        response["headers"] = {**sent(*names)["headers"], **response.get("headers", {})}
    operation["responses"] = dict(sorted(responses.items()))


def _problems_of_all(operation: Document) -> Iterator[int | str]:
    """Problems that the connection, the body, or the key may have on every route."""
    yield from (431, 500, 503)
    if "requestBody" in operation:
        yield 408
    if _has_key(operation):
        yield from (401, 429)


def _has_key(operation: Document) -> bool:
    schemes = operation.get("security", [{}])
    return all("apiKey" in scheme for scheme in schemes)


def _problem_schemas() -> Document:
    shapes = [(shape, "serialization") for shape in problems.shapes()]
    _, schema = models_json_schema(shapes, ref_template=_REF + "{model}")  # type: ignore[arg-type]
    definitions: Document = schema["$defs"]
    return definitions


def _require_fields_of_answers(document: Document) -> None:
    """An answer has all of its fields, also those that have a default in the code."""
    schemas = document["components"]["schemas"]
    answers = [operation["responses"] for operation in _operations(document)]
    for name in _reached(answers, schemas):
        if "properties" in schemas[name]:
            schemas[name]["required"] = list(schemas[name]["properties"])


def _keep_what_is_used(document: Document) -> None:
    schemas = document["components"]["schemas"]
    used = _reached(document["paths"], schemas)
    document["components"]["schemas"] = {name: schemas[name] for name in sorted(used)}


def _reached(part: Any, schemas: Document) -> set[str]:
    """The names of the schemas that a part of the document leads to."""
    reached: set[str] = set()
    ahead = set(_refs(part))
    while ahead:
        name = ahead.pop()
        reached.add(name)
        ahead |= set(_refs(schemas[name])) - reached
    return reached


def _refs(part: Any) -> Iterable[str]:
    if isinstance(part, dict):
        ref = part.get("$ref")
        if isinstance(ref, str) and ref.startswith(_REF):
            yield ref.removeprefix(_REF)
        for inner in part.values():
            yield from _refs(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from _refs(inner)


def _add_examples(document: Document) -> None:
    known = examples()
    for operation in _operations(document):
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for content in (content for body in bodies for content in body.get("content", {}).values()):
            found = [known[name] for name in _direct(content.get("schema", {})) if name in known]
            if found:
                content["examples"] = {k: {"value": v} for each in found for k, v in each.items()}


def _direct(schema: Document) -> list[str]:
    """The schema's own name, or those that it is one of."""
    choices = [schema, *schema.get("oneOf", ()), *schema.get("anyOf", ())]
    return [one["$ref"].removeprefix(_REF) for one in choices if "$ref" in one]
