"""Prints answers: JSON for programs, tables and lines for people. Results go to standard output."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from service.cli import words
from service.cli.words import Json

# Where nobody looks, nothing is wrapped: a row stays a line.
_WIDE = 250


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
        # An id that is cut cannot be used again.
        shown.add_column(name, no_wrap=name in ("id", "prompt"), overflow="ellipsis")
    for row in rows:
        shown.add_row(*row)
    console().print(shown)


def fields(pairs: Iterable[tuple[str, str]]) -> None:
    for name, text in pairs:
        line(f"  {name:<10} {text}")


def job(body: Json) -> None:
    """All that a person asks about one job."""
    wanted, progress = body["input"], "" if words.final(body) else f", {body['progress']} %"
    ahead = words.ahead(body)
    line(f"{body['id']}  {words.doing(body)}{progress}" + (f", {ahead}" if ahead else ""))
    rows = [
        ("model", words.made_by(body)),
        ("prompt", words.one_line(wanted["prompt"])),
        (
            "asked for",
            f"{wanted['width']}x{wanted['height']}, {wanted['num_frames']} frames at "
            f"{wanted['fps']} fps, {wanted['num_inference_steps']} steps, seed {wanted['seed']}",
        ),
        ("created", words.when(body["created_at"])),
        ("finished", words.when(body["finished_at"])),
        ("error", words.why(body) if body["error"] else ""),
        ("retry of", body["retry_of"] or ""),
        ("metadata", ", ".join(f"{name}={text}" for name, text in body["metadata"].items())),
    ]
    if body["result"]:
        rows.append(("video", words.clip(body["result"])))
        rows.append(("until", words.when(body["result"]["expires_at"])))
        rows.append(("at", body["result"]["video_url"]))
    fields((name, text) for name, text in rows if text)


def jobs(body: Json) -> None:
    if not body["data"]:
        line('no such jobs; make one with: rushes video "…"')
        return
    table(
        ("id", "status", "%", "model", "size", "seconds", "created", "prompt"),
        [
            (
                each["id"],
                each["status"],
                str(each["progress"]),
                each["model"],
                f"{each['input']['width']}x{each['input']['height']}",
                f"{each['input']['num_frames'] / each['input']['fps']:.1f}",
                words.when(each["created_at"]),
                words.one_line(each["input"]["prompt"])[:60],
            )
            for each in body["data"]
        ],
    )
    if body["has_more"]:
        aside("there are more; --limit shows up to 100")
