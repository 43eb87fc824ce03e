"""Map errors to HTTP: `application/problem+json` (RFC 9457)."""

import difflib
import http
import json
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from service.api.schemas.responses import (
    MEDIA_TYPE,
    BudgetProblem,
    FieldProblem,
    Problem,
    Shortfall,
)
from service.domain import errors
from service.domain.errors import FieldError, ServiceError
from service.domain.request import Keyframe
from service.domain.text import METADATA_LABEL_WORDS

_STATUS: dict[type[ServiceError], int] = {
    errors.RequestRefused: 422,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Gone: 410,
    errors.PreconditionFailed: 412,
    errors.TooLarge: 413,
    errors.QueueFull: 429,
    errors.InputsFull: 429,
    errors.BudgetExceeded: 402,
    errors.RateLimited: 429,
    errors.StorageFull: 507,
    errors.Unavailable: 503,
}


_MAX_ERRORS = 20
_MAX_NAME = 64


class ProblemResponse(JSONResponse):
    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        """Escape what UTF-8 cannot encode, such as half a surrogate pair."""
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        return text.encode(errors="backslashreplace")


RequestError: TypeAlias = ServiceError | RequestValidationError | HTTPException


def install(app: FastAPI) -> None:
    """Render every error as a problem document, unless its router has `errors_as` of its own."""
    for kind in (ServiceError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _on_error)


def errors_as(render: Callable[[Problem], Response]) -> type[APIRoute]:
    """Return the `route_class` of a router whose errors have another shape than problem documents;
    `render` makes its response of the problem."""

    class Route(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def handle_or_render(request: Request) -> Response:
                try:
                    return await handle(request)
                except (ServiceError, RequestValidationError, HTTPException) as error:
                    problem, headers = problem_of(request, error)
                    response = render(problem)
                    response.headers.update(headers)
                    return response

            return handle_or_render

    return Route


def problem_of(request: Request, error: Exception) -> tuple[Problem, dict[str, str]]:
    """Return the problem that describes an error, and the headers to send with it."""
    if isinstance(error, ServiceError):
        return _of_service_error(request, error)
    if isinstance(error, RequestValidationError):
        return _of_invalid(request, error), {}
    if isinstance(error, HTTPException):
        return _of_http(request, error)
    return _of_fault(_request_id(request)), {}


def to_response(request: Request, error: RequestError) -> ProblemResponse:
    """Return the problem document of an error."""
    problem, headers = problem_of(request, error)
    return _response(problem, headers)


async def _on_error(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, ServiceError | RequestValidationError | HTTPException)
    return to_response(request, error)


def _of_service_error(request: Request, error: ServiceError) -> tuple[Problem, dict[str, str]]:
    problem: Problem = _problem(
        request,
        next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS),
        error.code,
        error.message,
        error.errors if isinstance(error, errors.RequestRefused) else (),
    )
    problem.retryable = error.retryable
    if isinstance(error, errors.BudgetExceeded):
        problem = BudgetProblem(**vars(problem), shortfall=_shortfall(error))
    headers: dict[str, str] = {}
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return problem, headers


def _shortfall(error: errors.BudgetExceeded) -> Shortfall:
    return Shortfall(
        budget_usd=error.budget,
        spent_usd=error.spent,
        reserved_usd=error.reserved,
        estimated_usd=error.estimated,
    )


def _of_invalid(request: Request, error: RequestValidationError) -> Problem:
    # A body can have tens of thousands of errors; listing them all would take seconds.
    fields = [_field_error(e) for e in error.errors()[:_MAX_ERRORS]]
    if any(field.code in ("json_invalid", "not_utf8") for field in fields):
        return _problem(request, 400, "invalid_json", fields[0].detail, fields)
    if any(field.code == "form_invalid" for field in fields):
        detail = fields[0].detail
        return _problem(request, 400, code="invalid_form", detail=detail, fields=fields)
    detail = "; ".join(field.detail for field in fields[:5])
    return _problem(request, 422, "invalid_request", detail, fields)


_NOT_JSON = "the body is not valid JSON"
_NOT_AN_OBJECT = "must be a JSON object, sent with `Content-Type: application/json`"
_NOT_UTF8 = "the body is not UTF-8"
# Codes, and texts where those of Starlette and FastAPI say too little.
_HTTP_PROBLEMS: dict[int, tuple[str, str | None]] = {
    400: ("invalid_json", _NOT_JSON),
    404: ("not_found", "no such route; /docs lists all of them"),
    405: ("method_not_allowed", "this route does not support this method"),
    408: ("timeout", "the body was not received in time"),
    413: ("too_large", "the body is too large"),
    415: ("unsupported_encoding", None),
}


def _of_http(request: Request, error: HTTPException) -> tuple[Problem, dict[str, str]]:
    code, text = _HTTP_PROBLEMS.get(error.status_code, ("http_error", None))
    if isinstance(error.__cause__, UnicodeDecodeError):
        text = _NOT_UTF8
    detail = text or str(error.detail)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = _allowed(request)
    return _problem(request, error.status_code, code, detail), headers


def _allowed(request: Request) -> str:
    """Return the `Allow` header: the methods of all routes of this path, and HEAD beside GET."""
    methods = {
        method
        for route in iter_route_contexts(request.app.routes)
        if route.path and compile_path(route.path)[0].match(request.scope["path"])
        for method in route.methods or ()
    }
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


def internal_error(request_id: str) -> ProblemResponse:
    """Return the response to an unhandled error."""
    return _response(_of_fault(request_id))


def _of_fault(request_id: str) -> Problem:
    """Return the problem of an unhandled error, whose details are in the log only."""
    return Problem(
        title="Internal Server Error",
        status=500,
        detail="internal error; please report it with the request id",
        code="internal_error",
        request_id=request_id,
    )


_HTTP_CODES = {
    400: "invalid_http",
    405: "method_not_allowed",
    408: "timeout",
    431: "head_too_large",
}


def malformed_http(status: http.HTTPStatus, detail: str) -> bytes:
    """Return the body of the response to a request whose head is malformed or incomplete."""
    problem = Problem(
        title=status.phrase, status=status, detail=detail, code=_HTTP_CODES[status], request_id=""
    )
    return problem.model_dump_json(exclude_none=True).encode()


def _problem(
    request: Request, status: int, code: str, detail: str, fields: Sequence[FieldError] = ()
) -> Problem:
    return Problem(
        title=http.HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        request_id=_request_id(request),
        errors=[FieldProblem(**vars(field)) for field in fields],
    )


def _response(problem: Problem, headers: Mapping[str, str] | None = None) -> ProblemResponse:
    content = problem.model_dump()
    return ProblemResponse(content, problem.status, headers=dict(headers or {}))


def _request_id(request: Request) -> str:
    return str(request.scope.get("request_id", ""))


def _field_error(error: Mapping[str, Any]) -> FieldError:
    """Map one of pydantic's errors, without echoing the value."""
    kind, location = error["type"], error["loc"]
    if kind == "json_invalid":
        return FieldError("", f"{_NOT_JSON}: error at character {location[-1]}", kind)
    if kind == "not_utf8":
        return FieldError("", _NOT_UTF8, kind)
    if kind == "form_invalid":
        return FieldError("", f"the body is not a multipart form: {error['msg']}", kind)
    message = _message(kind, location, error)
    if kind == "extra_forbidden":
        kind = "unknown_field"
    path = [step for step in location if step != "[key]"]
    names = [step for step in path[1:] if isinstance(step, str)]  # not the place in a list
    name = names[-1][:_MAX_NAME] if names else "the request"
    return FieldError(_pointer(location), f"{name}: {message}", kind)


def _message(kind: str, location: Sequence[Any], error: Mapping[str, Any]) -> str:
    if location[-1] == "[key]":
        return f"a label must have {METADATA_LABEL_WORDS}"
    if kind == "extra_forbidden":
        fields = error.get("fields", ()) if len(location) == 2 else None
        return _unknown_field(str(location[-1]), fields)
    if kind == "too_long" and isinstance(error.get("input"), str):
        kind = "string_too_long"  # of a text that is checked in other ways first
    if kind in _PLAIN:
        context = {name: _plain(v) for name, v in error.get("ctx", {}).items()}
        return _PLAIN[kind].format(**context)
    if kind == "model_attributes_type":
        return _NOT_AN_OBJECT
    if kind == "model_type" and location[-1] == "captions":
        return 'must be an object such as {"format": "vtt"}'
    if kind == "no_json_nor_form":
        return f"{_NOT_AN_OBJECT}, or a form sent as `multipart/form-data`, not urlencoded"
    return str(error["msg"]).removeprefix("Value error, ")


def _unknown_field(name: str, fields: Collection[str] | None) -> str:
    """Suggest one of a body's own `fields`; without them, one of a keyframe's."""
    if len(name) > _MAX_NAME:
        return "no such field"
    names = Keyframe.model_fields if fields is None else fields
    matches = difflib.get_close_matches(name, names, n=1)
    synonyms = _SYNONYMS.get(name, ()) if fields else ()
    known = (each for each in synonyms if each.partition(" ")[0] in (fields or ()))
    suggestion = next(known, None) or next(iter(matches), None)
    return "no such field" + (f"; did you mean {suggestion}?" if suggestion else "")


def _plain(value: Any) -> Any:
    """Return 2.0 as 2, and large numbers with commas."""
    is_whole = isinstance(value, int | float) and value == int(value)
    return f"{int(value):,}" if is_whole else value


# Our words for pydantic's errors, by its types.
_PLAIN: dict[str, str] = {
    "missing": "is required",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    **dict.fromkeys(("literal_error", "enum"), "must be {expected}"),
    "string_too_short": "must not be empty",  # no field has another minimum than 1
    "too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "too_long": "must have at most {max_length} items",
    "string_type": "must be a string",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing", "finite_number"), "must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    **dict.fromkeys(
        ("date_type", "date_parsing", "date_from_datetime_parsing", "date_from_datetime_inexact"),
        "must be a date, such as 2026-11-30",
    ),
}
# Names used by other services and by our command line.
_SYNONYMS = {
    "seconds": ("duration_seconds",),
    "duration": ("duration_seconds",),
    "length": ("duration_seconds",),
    "frames": ("num_frames",),
    "steps": ("num_inference_steps",),
    "cfg": ("guidance_scale",),
    "cfg_scale": ("guidance_scale",),
    "image": ("reference_image",),
    "reference_image": ("image",),
    **dict.fromkeys(("size", "resolution", "aspect_ratio"), ("width and height",)),
}


def _pointer(location: Iterable[Any]) -> str:
    source, *path = location
    if source == "query":
        return f"?{path[0]}" if path else "?"
    if source == "header":
        return f"{path[0]}:"
    steps = [
        str(step)[:_MAX_NAME].replace("~", "~0").replace("/", "~1")
        for step in path
        if step != "[key]"
    ]
    return "".join(f"/{step}" for step in steps)
