"""Prints answers: JSON for programs, tables and lines for people. Results go to standard output."""

import json
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from service.cli import phrases
from service.cli.phrases import Json

# Where nobody looks, nothing is wrapped: a row stays a line.
_WIDE = 250
_NEVER_CUT = ("id", "status", "age", "prompt", "prefix", "day")  # an id that is cut is of no use
_BESIDE_PROMPT = 66  # columns that a row of the jobs takes without it


def console(*, stderr: bool = False) -> Console:
    """Without rich's markup, colours for numbers or emoji: a prompt may hold anything."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _WIDE
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)


def as_json(body: Any) -> None:
    print(json.dumps(body, indent=2, ensure_ascii=False))  # noqa: T201 - never wrapped


def line(text: str) -> None:
    console().print(text, soft_wrap=True)


def aside(text: str) -> None:
    """For the person watching; not part of the answer."""
    console(stderr=True).print(text, soft_wrap=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        shown.add_column(name, no_wrap=name in _NEVER_CUT)
    for row in rows:
        shown.add_row(*row)
    console().print(shown)


def fields(pairs: Iterable[tuple[str, str]]) -> None:
    for name, text in pairs:
        line(f"  {name:<10} {phrases.one_line(text)}")


def job(body: Json) -> None:
    """All that a person asks about one job."""
    wanted, progress = body["input"], "" if phrases.final(body) else f", {body['progress']} %"
    ahead = phrases.ahead(body)
    line(f"{body['id']}  {phrases.doing(body)}{progress}" + (f", {ahead}" if ahead else ""))
    rows = [
        ("model", phrases.made_by(body)),
        ("prompt", wanted["prompt"]),
        (
            "asked for",
            f"{wanted['width']}x{wanted['height']}, {wanted['num_frames']} frames at "
            f"{wanted['fps']} fps, {wanted['num_inference_steps']} steps, seed {wanted['seed']}",
        ),
        ("created", phrases.when(body["created_at"])),
        ("finished", phrases.when(body["finished_at"])),
        ("cost", phrases.cost(body["cost"])),
        ("error", phrases.why(body) if body["error"] else ""),
        ("retry of", body["retry_of"] or ""),
        ("metadata", ", ".join(f"{name}={text}" for name, text in body["metadata"].items())),
    ]
    if body["result"]:
        rows.append(("video", phrases.clip(body["result"])))
        rows.append(("until", phrases.when(body["result"]["expires_at"])))
        rows.append(("at", body["result"]["video_url"]))
    fields((name, text) for name, text in rows if text)


def jobs(body: Json) -> None:
    if not body["data"]:
        line('no such jobs; make one with: rushes video "…"')
        return
    room = max(12, console().width - _BESIDE_PROMPT)
    rows = [
        (
            each["id"],
            each["status"],
            str(each["progress"]),
            each["model"],
            phrases.age(each["created_at"]),
            textwrap.shorten(phrases.one_line(each["input"]["prompt"]), room, placeholder="…"),
        )
        for each in body["data"]
    ]
    table(("id", "status", "%", "model", "age", "prompt"), rows)
    if body["has_more"]:
        aside("there are more; --limit shows up to 100")
