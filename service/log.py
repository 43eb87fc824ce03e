"""Structured logs: one line per event of `logging`, with its `extra` as machine-readable fields.

    2026-11-23T06:12:23.123Z info job accepted job=job_06h… key=key_06h… request=req_1f…

No field holds a prompt, key, token or secret: at the default level, only ids, states and counts of
customers are logged.
"""

import json
import logging
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

Format = Literal["text", "json"]

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_STANDARD = frozenset(vars(logging.makeLogRecord({})))
_PLAIN = re.compile(r"[\x21-\x7e]+")
# Postgres adds the failed row to an error, including secrets and prompts.
_DETAIL = re.compile(r"^DETAIL:.*$", re.MULTILINE)


@contextmanager
def request_context(request_id: str) -> Iterator[None]:
    """Add this request's id to the events of this task or thread."""
    token = _request_id.set(request_id)
    try:
        yield
    finally:
        _request_id.reset(token)


def configure(level: str, form: Format) -> None:
    """Send all logs of this process to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(form))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # These log every request at INFO.
    for name in ("httpx", "httpcore", "alembic", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)


class LineFormatter(logging.Formatter):
    """Writes a record as one line of text or JSON."""

    def __init__(self, form: Format) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        entry = {
            "at": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info and record.exc_info[0] is not None:
            error = "".join(traceback.format_exception(*record.exc_info)).strip()
            entry["fault"] = _DETAIL.sub("", error)
        if self._form == "json":
            return json.dumps(entry, default=str)
        head = " ".join([entry.pop("at"), entry.pop("level"), _one_line(entry.pop("event"))])
        return " ".join([head, *(f"{name}={_quoted(value)}" for name, value in entry.items())])


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return an event's fields, except those that are None; of a library's, the logger's name."""
    if not record.name.startswith("service."):
        return {"logger": record.name}
    extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    fields = {**extra, "request": _request_id.get()}
    return {name: value for name, value in fields.items() if value is not None}


def _one_line(text: str) -> str:
    """Replace line breaks and terminal control characters."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _quoted(value: Any) -> str:
    """Return a plain word unchanged, anything else as a JSON string."""
    text = str(value)
    plain = _PLAIN.fullmatch(text) and not set(text) & set('"=\\')
    return text if plain else json.dumps(text)
