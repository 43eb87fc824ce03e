"""Flags that several commands share, as dataclasses, and how typer gets to see them."""

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any

from typer import Option


@dataclass(frozen=True)
class Connection:
    """Which service to talk to, and how to answer."""

    url: Annotated[
        str | None, Option(help="The service's address; else RUSHES_URL, else this machine's.")
    ] = None
    api_key: Annotated[
        str | None, Option(help="Else RUSHES_API_KEY, else the key kept in the data directory.")
    ] = None
    as_json: Annotated[
        bool, Option("--json", help="Print the API's JSON, nothing else, to standard output.")
    ] = False


@dataclass(frozen=True)
class Output:
    """Where a download goes."""

    output: Annotated[
        Path | None, Option("--output", "-o", help="File or folder; else named after the job.")
    ] = None
    force: Annotated[bool, Option("--force", help="Overwrite a file that is there.")] = False


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Make `command` fit for typer, which takes flags one by one and no dataclass.

    Each parameter that is a dataclass is shown to typer as its fields; `command` gets it whole.
    """
    shown = signature(command)
    groups: dict[str, Any] = {
        name: parameter.annotation
        for name, parameter in shown.parameters.items()
        if is_dataclass(parameter.annotation)
    }

    @wraps(command)
    def gathered(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        command(**given)

    parameters: list[Parameter] = []
    for name, parameter in shown.parameters.items():
        group = groups.get(name)
        parameters += [parameter] if group is None else _parameters(group)
    # By keyword: a flag without a default may come after one that has one.
    by_keyword = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in parameters]
    gathered.__signature__ = shown.replace(parameters=by_keyword)  # type: ignore[attr-defined]
    return gathered


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
