"""Flags whose values are files, pairs or fields of a request."""

from pathlib import Path
from typing import Any, get_type_hints

import typer

from service.domain.ids import is_id


def flags_of(options: type[Any]) -> dict[str, str]:
    """Map the API's field names to the flags of these options."""
    flags = {}
    for name, kind in get_type_hints(options, include_extras=True).items():
        (option,) = kind.__metadata__
        # typer has the first of its positional arguments in `default`.
        names = [each for each in (option.default, *(option.param_decls or ())) if each != ...]
        flags[name] = str(next(iter(names), f"--{name.replace('_', '-')}")).partition("/")[0]
    return flags


def is_path(text: str) -> bool:
    """Tell whether a value is a local file, not a URL or a job id."""
    # Downloads are named after their job: only the bare id means the job.
    return "://" not in text and not text.startswith("data:") and not is_id("job", text)


def file_of(text: str, name: str) -> Path:
    """Return the file of a flag. Raises BadParameter for a missing one."""
    path = Path(text).expanduser()
    if not path.is_file():
        hint = f"--{name.replace('_', '-')}"
        raise typer.BadParameter(f"{text!r} is no file, URL or job id", param_hint=hint)
    return path


def pair_of(text: str) -> tuple[str, str]:
    """Split NAME=TEXT. Raises BadParameter."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise typer.BadParameter(f"{text!r} is not NAME=TEXT", param_hint="--metadata")
    return name, value
