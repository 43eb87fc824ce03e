"""Flags that several commands share, as dataclasses, and the decorator for typer."""

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Option

# Flags of every job.
Priority = Annotated[
    Literal["low", "normal", "high"] | None,
    Option(help="Order within the queue; default: normal."),
]
Timeout = Annotated[
    int | None,
    Option("--timeout", help="Seconds after which an attempt fails; the service's default: 1800."),
]
Metadata = Annotated[
    list[str] | None, Option(metavar="NAME=TEXT", help="Kept on the job; may be repeated.")
]


@dataclass(frozen=True)
class Sending:
    """The flags for sending a request for a job."""

    no_wait: Annotated[bool, Option("--no-wait", help="Print the job's id and exit.")] = False
    idempotency_key: Annotated[
        str | None,
        Option(
            metavar="KEY",
            help="Requests with the same key create one job, for 24 hours; default: a new one.",
        ),
    ] = None


@dataclass(frozen=True)
class Connection:
    """The service's address and key, and the output format."""

    url: Annotated[
        str | None, Option(help="The service's address; else RUSHES_URL, else this machine's.")
    ] = None
    api_key: Annotated[
        str | None, Option(help="Else RUSHES_API_KEY, else the key kept in the data directory.")
    ] = None
    as_json: Annotated[
        bool, Option("--json", help="Print the API's JSON, nothing else, to standard output.")
    ] = False

    @property
    def words(self) -> list[str]:
        """The address and the key as they were given, for a line that is shown: without the key."""
        address = [] if self.url is None else ["--url", self.url]
        return address if self.api_key is None else [*address, "--api-key", "KEY"]


@dataclass(frozen=True)
class Output:
    """The destination of a download."""

    output: Annotated[
        Path | None, Option("--output", "-o", help="File or folder; else named after the job.")
    ] = None
    force: Annotated[bool, Option("--force", help="Overwrite an existing file.")] = False


def flatten_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Replace each dataclass parameter of `command` by one flag a field, as typer needs them."""
    original = signature(command)
    groups: dict[str, Any] = {
        name: parameter.annotation
        for name, parameter in original.parameters.items()
        if is_dataclass(parameter.annotation)
    }

    @wraps(command)
    def flat(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    parameters: list[Parameter] = []
    for name, parameter in original.parameters.items():
        group = groups.get(name)
        parameters += [parameter] if group is None else _parameters(group)
    # Keyword-only: a flag without a default may follow one that has a default.
    by_keyword = [item.replace(kind=Parameter.KEYWORD_ONLY) for item in parameters]
    flat.__signature__ = original.replace(parameters=by_keyword)  # type: ignore[attr-defined]
    return flat


def _parameters(group: Any) -> list[Parameter]:
    return [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=Parameter.empty if field.default is MISSING else field.default,
            annotation=field.type,
        )
        for field in fields(group)
    ]
