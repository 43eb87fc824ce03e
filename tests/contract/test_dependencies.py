"""The least versions that an owner may install are those that are tested together."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
# They read what strangers send, where an older version with a known fault is a hole.
READERS = ["httpcore", "imageio-ffmpeg", "pillow", "python-multipart", "starlette", "uvicorn"]


def test_the_fonts_are_optional_and_exactly_the_tested_ones() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    fonts = project["optional-dependencies"]["fonts"]

    assert set(fonts) <= set((ROOT / "constraints.txt").read_text().splitlines())
    assert {Requirement(line).name for line in fonts} == {"manimgx-fonts", "manimgx-fonts-cjk"}
    assert not any("fonts" in line for line in project["dependencies"])


@pytest.mark.parametrize("name", READERS)
def test_a_reader_of_strangers_bytes_is_no_older_than_the_tested_one(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    floors = {found.name: found for found in map(Requirement, project["dependencies"])}
    (pin,) = (
        Requirement(line)
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line.startswith(f"{name}==")
    )

    (floor,) = (Version(part.version) for part in floors[name].specifier if part.operator == ">=")
    (tested,) = (Version(part.version) for part in pin.specifier)

    assert floor.release[:2] == tested.release[:2]
