"""Response headers, for the OpenAPI document."""

from typing import Any

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
