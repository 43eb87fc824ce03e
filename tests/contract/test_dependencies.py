"""The least versions that an owner may install are those that are tested together."""

import json
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


def test_every_package_and_what_depends_on_it_has_the_same_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    folders = ("clients/typescript", "clients/remotion", "examples/remotion")
    manifests = [json.loads((ROOT / folder / "package.json").read_text()) for folder in folders]
    locked = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    own = [*manifests, *(locked[folder] for folder in folders)]
    versions = [each["version"] for each in own if "version" in each]
    uses = [
        used
        for each in own
        for group in ("dependencies", "peerDependencies")
        for name, used in each.get(group, {}).items()
        if name in ("rushes", "rushes-remotion")
    ]

    assert len(versions) == 4
    assert len(uses) == 6
    assert {*versions, *uses} == {version}
    assert json.loads((ROOT / "clients/openapi.json").read_text())["info"]["version"] == version
    assert f"\n## {version} (" in (ROOT / "CHANGELOG.md").read_text()
