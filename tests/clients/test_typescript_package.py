"""The TypeScript package: its types, its style, its size, and what is published of it."""

import json
import re
import tarfile
from pathlib import Path

import pytest

from tests.clients.node import TOOLS, TSX, TYPESCRIPT, needs_node, run
from tests.contract.documents import read
from tests.contract.write import ROOT, TYPES, typescript_types

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), needs_node]

MAX_GZIPPED_BYTES = 8_192


def test_the_types_are_those_of_the_api() -> None:
    assert read(TYPES) == typescript_types(), f"{TYPES} is stale: run `make client`"


def test_all_typescript_is_well_typed_and_formatted() -> None:
    run(TOOLS / "tsc")
    run(TOOLS / "biome", "ci", ".")


def test_the_parser_of_events_finds_them_however_they_are_cut() -> None:
    run(*TSX, "--test", TYPESCRIPT / "test" / "events.test.ts")


@pytest.mark.usefixtures("built")
def test_the_client_is_small() -> None:
    printed = run("node", "size.mjs", folder=TYPESCRIPT).stdout
    print(printed)  # noqa: T201 - pytest -rP shows it

    sizes = [int(size) for size in re.findall(r"(\d+) bytes gzipped", printed)]
    assert len(sizes) == 2
    assert max(sizes) <= MAX_GZIPPED_BYTES


@pytest.mark.usefixtures("built")
def test_the_package_has_its_modules_alone_and_works(tmp_path: Path) -> None:
    packed = run(
        *("npm", "pack", "--json", "--ignore-scripts", "--pack-destination", tmp_path),
        folder=TYPESCRIPT,
    )
    (package,) = json.loads(packed.stdout)
    sources = [path.relative_to(TYPESCRIPT / "src") for path in TYPESCRIPT.glob("src/**/*.ts")]
    modules = {f"dist/{path.with_suffix(end)}" for path in sources for end in (".js", ".d.ts")}
    packed_files = {file["path"] for file in package["files"]}
    assert packed_files - {"LICENSE"} == modules | {"package.json", "README.md"}

    # In a project of somebody else, who has only what it depends on.
    with tarfile.open(tmp_path / package["filename"]) as archive:
        archive.extractall(tmp_path, filter="data")
    modules_of_user = tmp_path / "node_modules"
    modules_of_user.mkdir()
    (tmp_path / "package").rename(modules_of_user / "rushes")
    for name in json.loads((TYPESCRIPT / "package.json").read_text())["dependencies"]:
        (modules_of_user / name).symlink_to(ROOT / "node_modules" / name)
    (tmp_path / "use.mjs").write_text(
        """
        import { createClient, JobFailedError, RushesError } from "rushes";
        import { createClient as forNode, openFile } from "rushes/node";
        import { verifyWebhook } from "rushes/webhooks";
        for (const each of [createClient, forNode, openFile, verifyWebhook]) each.call;
        console.log(JobFailedError.prototype instanceof RushesError);
        """
    )
    assert run("node", "use.mjs", folder=tmp_path).stdout == "true\n"


def test_the_lock_file_names_no_registry() -> None:
    packages = json.loads(read("package-lock.json"))["packages"]
    named = {
        path: package["resolved"] for path, package in packages.items() if "resolved" in package
    }
    hosts = [url for url in named.values() if "://" in url]

    assert hosts == []
    assert set(named.values()) == {path for path in packages if path.startswith("clients/")}
