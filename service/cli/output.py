"""Print results to standard output: JSON for programs, tables and lines for people."""

import json
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from service.cli import phrases
from service.cli.phrases import Json

# Piped output is not wrapped: one row, one line.
_PIPE_COLUMNS = 250
_NO_WRAP = ("id", "status", "age", "prompt", "prefix", "day")
_FIXED_COLUMNS = 66  # width of a row of jobs without the prompt


def console(*, stderr: bool = False) -> Console:
    """Build a console without markup, highlighting or emoji: a prompt may contain anything."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPE_COLUMNS
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)


def as_json(body: Any) -> None:
    print(json.dumps(body, indent=2, ensure_ascii=False))  # noqa: T201 - never wrapped


def print_line(text: str) -> None:
    console().print(text, soft_wrap=True)


def notice(text: str) -> None:
    """Print to standard error; not part of the result."""
    console(stderr=True).print(text, soft_wrap=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        grid.add_column(name, no_wrap=name in _NO_WRAP)
    for row in rows:
        grid.add_row(*row)
    console().print(grid)


def fields(pairs: Iterable[tuple[str, str]]) -> None:
    for name, text in pairs:
        print_line(f"  {name:<10} {phrases.one_line(text)}")


def job(body: Json) -> None:
    """Print the details of one job."""
    request, progress = body["input"], "" if phrases.is_final(body) else f", {body['progress']} %"
    wait = phrases.wait(body)
    print_line(f"{body['id']}  {phrases.activity(body)}{progress}" + (f", {wait}" if wait else ""))
    rows = [
        ("model", phrases.model(body)),
        ("prompt", request["prompt"]),
        ("text", request.get("text") or ""),
        ("voice", request.get("voice") or ""),
        ("request", phrases.request(request)),
        ("created", phrases.when(body["created_at"])),
        ("finished", phrases.when(body["finished_at"])),
        ("cost", phrases.cost(body["cost"])),
        ("error", phrases.failure(body) if body["error"] else ""),
        ("retry of", body["retry_of"] or ""),
        ("metadata", ", ".join(f"{name}={text}" for name, text in body["metadata"].items())),
    ]
    if body["result"]:
        rows.append(("video", phrases.video(body["result"])))
        rows.append(("until", phrases.when(body["result"]["expires_at"])))
        rows.append(("at", body["result"]["video_url"]))
        rows.append(("captions", body["result"]["captions_url"] or ""))
        rows += phrases.warnings(body)
    fields((name, text) for name, text in rows if text)


def jobs(body: Json) -> None:
    if not body["data"]:
        print_line('no such jobs; submit one with: rushes video "…"')
        return
    columns = max(12, console().width - _FIXED_COLUMNS)
    rows = [
        (
            row["id"],
            row["status"],
            str(row["progress"]),
            row["model"],
            phrases.age(row["created_at"]),
            textwrap.shorten(
                phrases.one_line(phrases.subject(row["input"])), columns, placeholder="…"
            ),
        )
        for row in body["data"]
    ]
    table(("id", "status", "%", "model", "age", "prompt"), rows)
    if body["has_more"]:
        notice("there are more jobs; --limit shows up to 100")
