"""Filters of jobs in the URL of a page."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError, field_validator

from service.domain import ids
from service.domain.errors import FieldError, RequestRefused
from service.domain.ids import JobId, KeyId
from service.domain.job import JobFilter, JobState, Scope
from service.domain.text import Text, nearest

# The filters of a list by name: in a URL each may stand several times.
Fields = Mapping[str, Sequence[str]]

_MAX_WORDS = 16
OPEN = ("queued", "starting", "running")


class JobQuery(BaseModel):
    """The filters of a list of jobs; empty ones, as forms send them, do not count.

    `text` is a job's id or ids, or words of the prompt.
    """

    text: Annotated[Text, Field(max_length=400)] = ""
    state: list[JobState] = []
    model: Annotated[Text, Field(max_length=64)] = ""
    kind: Annotated[Text, Field(max_length=16)] = ""
    key: Annotated[Text, Field(max_length=40)] = ""
    error: Annotated[Text, Field(max_length=64)] = ""
    label: Annotated[Text, Field(max_length=600)] = ""
    created_from: datetime | None = None
    created_before: datetime | None = None
    ended_from: datetime | None = None
    ended_before: datetime | None = None
    id: Annotated[list[Text], Field(max_length=100)] = []

    @field_validator("created_from", "created_before", "ended_from", "ended_before", mode="before")
    @classmethod
    def _read_time(cls, value: Any) -> Any:
        """Leave out an empty time, and say how one is written."""
        if not isinstance(value, str):
            return value
        try:
            return datetime.fromisoformat(value) if value else None
        except ValueError:
            raise ValueError("write a time such as 2026-11-30T14:00, in UTC") from None

    @field_validator("created_from", "created_before", "ended_from", "ended_before")
    @classmethod
    def _in_utc(cls, value: datetime | None) -> datetime | None:
        """Take a time without a zone, as browsers send it, for one of UTC."""
        if value is None or value.tzinfo is None:
            return value and value.replace(tzinfo=UTC)
        try:
            return value.astimezone(UTC)
        except OverflowError:
            raise ValueError("must be within the years 1 to 9999 in UTC") from None

    @field_validator("state", "id", mode="before")
    @classmethod
    def _no_empty(cls, value: Any) -> Any:
        return [each for each in value if each] if isinstance(value, list) else value

    @property
    def scope(self) -> Scope:
        """Return the jobs of the key that is named, or of all."""
        return Scope(KeyId(self.key) if self.key else None)

    def to_filter(self) -> JobFilter:
        """Return the store's filter. Raises RequestRefused for too many words, or no label."""
        in_text = self.text.split()
        words = tuple(word for word in in_text if not ids.is_id("job", word))
        if len(words) > _MAX_WORDS:
            detail = f"text: at most {_MAX_WORDS} words, not {len(words)}"
            raise RequestRefused([FieldError("?text", detail, "too_long")])
        return JobFilter(
            states=tuple(self.state),
            models=(self.model,) if self.model else (),
            kinds=(self.kind,) if self.kind else (),
            error_code=self.error or None,
            words=words,
            ids=self._ids([word for word in in_text if word not in words]),
            metadata=self._metadata(),
            created_after=self.created_from,
            created_before=self.created_before,
            ended_after=self.ended_from,
            ended_before=self.ended_before,
        )

    def _ids(self, in_text: list[str]) -> tuple[JobId, ...] | None:
        """Return those of `id` that are in the text as well, where both name some."""
        if in_text and self.id:
            in_text = [each for each in in_text if each in self.id]
            return tuple(map(JobId, in_text))
        return tuple(map(JobId, in_text or self.id)) or None

    def _metadata(self) -> dict[str, str]:
        if not self.label:
            return {}
        name, equals, text = self.label.partition("=")
        if not equals:
            detail = "metadata: write a label and its text, such as scene=12"
            raise RequestRefused([FieldError("?label", detail, "invalid_label")])
        return {name.strip(): text.strip()}

    def pairs(self) -> list[tuple[str, str]]:
        """Return the filters as they stand in a URL."""
        fields: list[tuple[str, str]] = []
        for name, value in self:
            values = value if isinstance(value, list) else [value]
            fields += [(name, url_text(each)) for each in values if each]
        return fields

    def url(self, **changes: Any) -> str:
        """Return the query string of these filters, with some of them changed."""
        return "?" + urlencode(self.model_copy(update=changes).pairs())

    def chips(self, key_names: Mapping[KeyId, str]) -> "list[Chip]":
        """Return what stands for each filter on the page, and the URL without it."""
        return [
            Chip(_LABELS.get(name, name), _shown(name, text, key_names), self._without(name, text))
            for name, text in self.pairs()
            if name != "state"
        ]

    def _without(self, name: str, text: str) -> str:
        return "?" + urlencode([pair for pair in self.pairs() if pair != (name, text)])

    @property
    def is_detailed(self) -> bool:
        """Tell whether one of the less usual filters is set."""
        return any(name not in ("state", "text", "id") for name, _ in self.pairs())


@dataclass(frozen=True)
class Chip:
    """A filter that is set, and the URL without it."""

    label: str
    text: str
    url: str


def _check_names(names: Iterable[str]) -> None:
    """Raise RequestRefused for a name that is no filter: without it, all jobs would be selected."""
    fields = JobQuery.model_fields
    for name in sorted(set(names) - set(fields)):
        detail = f"{name[:64]}: no such filter{nearest(name, fields)}"
        raise RequestRefused([FieldError(f"?{name[:64]}", detail, "unknown_field")])


# What a filter that cannot be raises.
REFUSALS = (RequestRefused, RequestValidationError)


def parse_query(fields: Fields) -> JobQuery:
    """Parse the filters of a list. Raises one of REFUSALS."""
    _check_names(fields)
    try:
        return JobQuery.model_validate(_values(fields))
    except ValidationError as error:
        errors = error.errors(include_url=False)
        raise RequestValidationError(
            [{**each, "loc": ("query", *each["loc"])} for each in errors]
        ) from None


def valid_part(fields: Fields, refused: Collection[str]) -> JobQuery:
    """Parse those filters of a list that can be; `refused` are none of them."""
    names = JobQuery.model_fields.keys() - refused
    values = _values({name: fields[name] for name in fields if name in names})
    try:
        return JobQuery.model_validate(values)
    except ValidationError as error:
        invalid = {each["loc"][0] for each in error.errors(include_url=False)}
        return JobQuery.model_validate({n: v for n, v in values.items() if n not in invalid})


def _values(fields: Fields) -> dict[str, Any]:
    """Return the fields as they are parsed: states and ids may be several."""
    return {n: list(v) if n in ("state", "id") else v[-1] for n, v in fields.items()}


def filter_fields(request: Request) -> dict[str, list[str]]:
    """Return the filters in the URL of a page, as they were typed."""
    params = request.query_params
    return {name: params.getlist(name) for name in params if name not in _NO_FILTERS}


async def _read_query(request: Request) -> JobQuery:
    return parse_query(filter_fields(request))


JobQueryDep = Annotated[JobQuery, Depends(_read_query)]
_NO_FILTERS = {"act", "after"}  # they share the URL with the filters

_LABELS = {
    "text": "prompt or id",
    "created_from": "submitted from",
    "created_before": "submitted before",
    "ended_from": "ended from",
    "ended_before": "ended before",
    "label": "metadata",
}


def url_text(value: Any) -> str:
    """Return a value as it stands in a URL: a time is exact, in UTC and without its zone."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat()
    return str(value)


def _shown(name: str, text: str, key_names: Mapping[KeyId, str]) -> str:
    if name == "key":
        return key_names.get(KeyId(text), text)
    return text.replace("T", " ") if name.startswith(("created", "ended")) else text
