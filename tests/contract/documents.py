"""Finds things in our documents, by the few rules of Markdown that they use."""

import json
import re
from dataclasses import dataclass
from typing import Any

from tests.contract.write import ROOT

TESTED = "<!-- tested -->"


@dataclass(frozen=True)
class Block:
    """What stands between two fences."""

    language: str
    text: str
    tested: bool  # whether the line before says so
    alone: bool  # whether anything but blank lines is between this and the block before

    def json(self) -> Any:
        return json.loads(self.text)


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str) -> list[Block]:
    found, end = [], 0
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        between = text[end : match.start()].strip()
        found.append(Block(match[1], match[2], between.endswith(TESTED), bool(between)))
        end = match.end()
    return found


def section(text: str, heading: str) -> str:
    """From `heading` to the next one of its level or above."""
    level = heading.partition(" ")[0]
    after = text.split(f"\n{heading}\n", 1)[1]
    return re.split(rf"^#{{1,{len(level)}}} ", after, maxsplit=1, flags=re.MULTILINE)[0]


def words_in_column(text: str, column: int) -> set[str]:
    """The `words` in a column of the tables of `text`, counted from 0."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return {word for row in rows for word in re.findall(r"`([^`]+)`", row[column])}
