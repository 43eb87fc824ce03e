"""Responses in the OpenAPI document: headers, and models of errors (RFC 9457), one per code."""

import http
from collections.abc import Iterable
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, Field, create_model

from service.domain.errors import ServiceError

# Every code, with its status and an example of its detail.
CODES: dict[str, tuple[int, str]] = {
    "invalid_json": (400, "the body is not valid JSON: error at character 17"),
    "invalid_http": (400, "this is not a request in HTTP/1.1"),
    "invalid_form": (400, "the body is not a multipart form: it is incomplete"),
    "unauthenticated": (401, "this API key is unknown, or was revoked"),
    "budget_exceeded": (
        402,
        "this job may cost $0.0031: of this month's budget of $50.00, $48.20 are spent and "
        "$1.799 reserved for open jobs",
    ),
    "forbidden": (403, "this needs an admin key"),
    "read_only_key": (403, "the key of a viewer changes nothing"),
    "not_found": (404, "no job job_06h0d9vq1dp9l4uu8vk1jbtr78"),
    "method_not_allowed": (405, "this route does not support this method"),
    "timeout": (408, "the body was not received in time"),
    "not_final": (409, "the job is running; cancel it first"),
    "no_content": (409, "job job_06h0d9vq1dp9l4uu8vk1jbtr78 is running and is not finished yet"),
    "last_admin_key": (409, "this is the last admin key; create another one first"),
    "avatar_deleted": (409, "the avatar ava_… is deleted: the job can be retried unchanged only"),
    "too_many_avatars": (409, "a key may have 1,000 avatars; delete one first"),
    "too_many_voices": (409, "a key may have 100 voices; delete one first"),
    "not_your_voice": (409, "hibari-heart is a voice of the service: only clones can be deleted"),
    "no_voice_provider": (
        409,
        "voices are cloned by ElevenLabs: the service has no ELEVENLABS_API_KEY",
    ),
    "no_face_check": (
        409,
        "photos cannot be checked here: the service needs the packages of rushes[avatar]",
    ),
    "too_many_endpoints": (409, "a key may have 16 endpoints"),
    "known_endpoint": (409, "this URL is already registered"),
    "endpoint_disabled": (409, "this endpoint is disabled; enable it first"),
    "local_workers": (409, "this service has local workers, which are always warm"),
    "lost": (409, "this attempt no longer owns the job; stop at once"),
    "position_gone": (410, "no event 57 is kept; begin without a position"),
    "precondition_failed": (412, "it does not match `If-Match`: fetch it again"),
    "too_large": (413, "the body is too large"),
    "too_large_inline": (413, "the video is too large to be sent inline"),
    "unsupported_encoding": (
        415,
        "`Content-Encoding: gzip` is not supported: send it uncompressed",
    ),
    "invalid_request": (
        422,
        "65 is not possible: the width of slate goes from 64 to 1920 in steps of 2; "
        "nearest: 64 and 66",
    ),
    "idempotency_key_reused": (422, "this Idempotency-Key was used for another request"),
    "queue_full": (429, "1000 jobs of this key wait already"),
    "inputs_full": (
        429,
        "9,999,000,000 bytes of your images, videos and avatars are stored, and these have "
        "2,000,000: the limit is 10,000,000,000 (RUSHES_MAX_INPUT_BYTES_PER_KEY); delete final "
        "jobs or avatars, or send https URLs, which are not stored",
    ),
    "rate_limited": (429, "more than 200 requests a second; slow down"),
    "head_too_large": (431, "at most 32,768 bytes and 200 headers before the body"),
    "internal_error": (500, "internal error; please report it with the request id"),
    "voice_provider_failed": (503, "ElevenLabs answers 429: too many requests"),
    "unavailable": (503, "the database does not answer"),
    "storage_full": (507, "the disk is nearly full"),
}
# The code meant by a status that has several.
_DEFAULTS = {
    400: "invalid_json",
    413: "too_large",
    422: "invalid_request",
    429: "rate_limited",
    503: "unavailable",
}
MEDIA_TYPE = "application/problem+json"


class FieldProblem(BaseModel):
    """An invalid field."""

    pointer: str = Field(
        description="JSON pointer into the body; `?name`: a query parameter; `name:`: a header."
    )
    detail: str
    code: str


class Shortfall(BaseModel):
    """The budget that a job would exceed, in US dollars: `spent` and `reserved` this month."""

    budget_usd: float
    spent_usd: float
    reserved_usd: float
    estimated_usd: float


class Problem(BaseModel):
    """An error. `code` says which."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str = Field(description="A stable identifier to switch on.")
    request_id: str
    retryable: bool = Field(default=False, description="The same request may succeed later.")
    errors: list[FieldProblem] = Field(default_factory=list)


class BudgetProblem(Problem):
    """A submit that the key's budget does not cover."""

    shortfall: Shortfall


def problem_docs(*codes: int | str) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route for these problems, each a code or a status."""
    by_status: dict[int, list[str]] = {}
    for code in map(_code, codes):
        by_status.setdefault(CODES[code][0], []).append(code)
    return {status: _response(status, names) for status, names in by_status.items()}


def _code(code: int | str) -> str:
    if isinstance(code, str):
        return code
    return _DEFAULTS.get(code) or next(n for n, (status, _) in CODES.items() if status == code)


def _response(status: int, codes: list[str]) -> dict[str, Any]:
    refs = {code: f"#/components/schemas/{_problem_model(code).__name__}" for code in codes}
    if len(refs) == 1:
        schema: dict[str, Any] = {"$ref": refs[codes[0]]}
    else:
        schema = {
            "oneOf": [{"$ref": ref} for ref in refs.values()],
            "discriminator": {"propertyName": "code", "mapping": refs},
        }
    return {
        "description": http.HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": schema}},
    }


@cache
def _problem_model(code: str) -> type[Problem]:
    """Return the Problem model of one code."""
    name = "".join(word.capitalize() for word in code.split("_")) + "Problem"
    base = BudgetProblem if code == "budget_exceeded" else Problem
    fields: dict[str, Any] = {"status": Literal[CODES[code][0]], "code": Literal[code]}
    return create_model(name, __base__=base, __doc__=f"The error `{code}`.", **fields)


def problem_models() -> Iterable[type[Problem]]:
    return map(_problem_model, CODES)


def examples() -> dict[str, dict[str, Any]]:
    """Return an example of each problem, by the name of its schema."""
    return {_problem_model(code).__name__: _example(code) for code in CODES}


def _retryable(error_class: type[ServiceError]) -> set[str]:
    """Return the retryable codes of an error class and its subclasses."""
    codes = {error_class.code} if error_class.retryable else set()
    return codes.union(*map(_retryable, error_class.__subclasses__()))


def _example(code: str) -> dict[str, Any]:
    status, detail = CODES[code]
    example = {
        "title": http.HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": "req_fd8e07569c5a11ee7a4fc075",
        "retryable": code in _retryable(ServiceError),
    }
    if code == "invalid_request":
        example["errors"] = [{"pointer": "/width", "detail": detail, "code": "not_a_step"}]
    if code == "budget_exceeded":
        amounts = {"budget_usd": 50, "spent_usd": 48.2, "reserved_usd": 1.799}
        example["shortfall"] = {**amounts, "estimated_usd": 0.0031}
    return _problem_model(code).model_validate(example).model_dump(mode="json")


_TEXT = {"type": "string"}
_INTEGER = {"type": "integer", "minimum": 0}


def _header(description: str, example: Any, schema: dict[str, Any] = _TEXT) -> dict[str, Any]:
    return {"description": description, "schema": schema, "example": example}


UNLOAD = "Rushes-Unload"

HEADERS = {
    UNLOAD: _header("The model in the worker's memory is paused: free that memory.", "1"),
    "X-Request-Id": _header(
        "The request's id: the one sent, if valid.", "req_fd8e07569c5a11ee7a4fc075"
    ),
    "Location": _header(
        "URL of the job, or of the content.",
        "http://127.0.0.1:8787/v1/jobs/job_06h0d9vq1dp9l4uu8vk1jbtr78",
    ),
    "Retry-After": _header("Seconds to wait before the next request.", 1, _INTEGER),
    "ETag": _header(
        "Changes with the body; send it back as `If-None-Match` or `If-Match`.",
        '"5d41402abc4b"',
    ),
    "Cache-Control": _header("Who may cache the response, and for how long.", "private, no-cache"),
    "Last-Modified": _header("When the job finished.", "Mon, 30 Nov 2026 12:00:00 GMT"),
    "Idempotency-Replayed": _header(
        "`true` where an earlier request with this Idempotency-Key created the job.", "true"
    ),
    "Preference-Applied": _header("The wait that was granted.", "wait=55"),
    "WWW-Authenticate": _header("The scheme to authenticate by.", "Bearer"),
    "Accept-Encoding": _header("The supported codings of a request body.", "identity"),
    "Accept-Ranges": _header("Byte ranges are supported.", "bytes"),
    "Content-Range": _header("Which bytes these are.", "bytes 0-1023/283830"),
    "Content-Length": _header("Bytes in the body.", 283830, _INTEGER),
    "Content-Disposition": _header(
        "A name for the file.", 'inline; filename="job_06h0d9vq1dp9l4uu8vk1jbtr78-video.mp4"'
    ),
}


def header_docs(*names: str) -> dict[str, Any]:
    """Return the `headers` of a response, as references."""
    assert HEADERS.keys() >= set(names), "every header is described"
    return {"headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names}}


# Headers of every response with a job.
OF_JOB = ("ETag", "Cache-Control", "Retry-After")
# Headers of the response to a submit or a retry.
OF_SUBMIT = ("Location", "Idempotency-Replayed", "Preference-Applied", *OF_JOB)
