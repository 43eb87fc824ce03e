"""What the processes say: one line an event, with fields that a machine finds again.

    2026-11-23T06:12:23.123Z info job accepted job=job_06h… key=key_06h… request=req_1f…

No field holds a prompt, a key, a token or a secret: at the default level nothing of a customer's is
in a log but ids, states and counts.
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
_PLAIN = re.compile(r"[\x21-\x7e]+")
# What Postgres adds to an error: the row that failed, secrets and prompts included.
_DETAIL = re.compile(r"^DETAIL:.*$", re.MULTILINE)


class Log:
    """A logger whose events are words and fields. A field that is None is left out."""

    def __init__(self, name: str) -> None:
        self._log = logging.getLogger(name)

    def debug(self, event: str, **fields: Any) -> None:
        self._tell(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._tell(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._tell(logging.WARNING, event, fields)

    def error(self, event: str, fault: BaseException | None = None, **fields: Any) -> None:
        """`fault` is what went wrong with us: it is told with its traceback."""
        self._tell(logging.ERROR, event, fields, fault)

    def _tell(
        self, level: int, event: str, fields: dict[str, Any], fault: BaseException | None = None
    ) -> None:
        if self._log.isEnabledFor(level):
            fields = {**fields, "request": _request_id.get()}
            told = {name: value for name, value in fields.items() if value is not None}
            self._log.log(level, "%s", event, extra={"fields": told}, exc_info=fault)


@contextmanager
def during(request_id: str) -> Iterator[None]:
    """Events told meanwhile, in this task or thread, carry this request's id."""
    token = _request_id.set(request_id)
    try:
        yield
    finally:
        _request_id.reset(token)


def configure(level: str, form: Format) -> None:
    """All logs of this process go to standard error, a line for each event."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(form))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # These tell of every request at the level at which we tell of every job.
    for chatty in ("httpx", "httpcore", "alembic", "uvicorn.error"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


class _Lines(logging.Formatter):
    def __init__(self, form: Format) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told = {
            "at": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {"logger": record.name}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            fault = "".join(traceback.format_exception(*record.exc_info)).strip()
            told["fault"] = _DETAIL.sub("", fault)
        if self._form == "json":
            return json.dumps(told, default=str)
        head = " ".join([told.pop("at"), told.pop("level"), _one_line(told.pop("event"))])
        return " ".join([head, *(f"{name}={_quoted(value)}" for name, value in told.items())])


def _one_line(text: str) -> str:
    """Without what would end the line, or move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _quoted(value: Any) -> str:
    """As it is where that is one plain word, as a JSON string else."""
    text = str(value)
    plain = _PLAIN.fullmatch(text) and not set(text) & set('"=\\')
    return text if plain else json.dumps(text)
