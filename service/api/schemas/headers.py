"""Headers of answers, as the API's description names them."""

from typing import Any

_TEXT = {"type": "string"}
_WHOLE = {"type": "integer", "minimum": 0}


def _header(description: str, example: Any, schema: dict[str, Any] = _TEXT) -> dict[str, Any]:
    return {"description": description, "schema": schema, "example": example}


HEADERS = {
    "X-Request-Id": _header(
        "The request's id: its own, if it sent one.", "req_fd8e07569c5a11ee7a4fc075"
    ),
    "Location": _header(
        "Where to go on.", "http://127.0.0.1:8787/v1/jobs/job_06h0d9vq1dp9l4uu8vk1jbtr78"
    ),
    "Retry-After": _header("Seconds until it is worth asking again.", 1, _WHOLE),
    "ETag": _header(
        "Changes with the answer; send it back as `If-None-Match` or `If-Match`.", '"5d41402abc4b"'
    ),
    "Cache-Control": _header("Who may keep the answer, and for how long.", "private, no-cache"),
    "Last-Modified": _header("When the bytes were made.", "Mon, 30 Nov 2026 12:00:00 GMT"),
    "Idempotency-Replayed": _header(
        "`true` where an earlier request with this Idempotency-Key made the job.", "true"
    ),
    "Preference-Applied": _header("The wait that was granted.", "wait=55"),
    "WWW-Authenticate": _header("The scheme to authenticate by.", "Bearer"),
    "Accept-Encoding": _header("The codings of a body that are taken.", "identity"),
    "Accept-Ranges": _header("Byte ranges are answered.", "bytes"),
    "Content-Range": _header("Which bytes these are.", "bytes 0-1023/283830"),
    "Content-Length": _header("Bytes in the body.", 283830, _WHOLE),
    "Content-Disposition": _header(
        "A name for the file.", 'inline; filename="job_06h0d9vq1dp9l4uu8vk1jbtr78-video.mp4"'
    ),
}


def sent(*names: str) -> dict[str, Any]:
    """The `headers` of an answer."""
    assert HEADERS.keys() >= set(names), "every header is described"
    return {"headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names}}


# Of every answer that is a job.
OF_JOB = ("ETag", "Cache-Control", "Retry-After")
# Of the answer to a submit or a retry.
OF_SUBMIT = ("Location", "Idempotency-Replayed", "Preference-Applied", *OF_JOB)
