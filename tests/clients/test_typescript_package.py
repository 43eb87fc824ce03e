"""The TypeScript package: its types, its style, its size, and what is published of it."""

import json
import re
import shutil
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


@pytest.mark.parametrize("name", ["errors", "events", "retries", "webhooks"])
def test_the_client_by_itself_does_what_it_says(name: str) -> None:
    run(*TSX, "--test", TYPESCRIPT / "test" / f"{name}.test.ts")


@pytest.mark.usefixtures("built")
def test_the_client_is_small() -> None:
    printed = run("node", "size.mjs", folder=TYPESCRIPT).stdout
    print(printed)  # noqa: T201 - pytest -rP shows it

    sizes = [int(size) for size in re.findall(r"(\d+) bytes gzipped", printed)]
    assert len(sizes) == 2
    assert max(sizes) <= MAX_GZIPPED_BYTES


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("name", ["typescript", "remotion"])
def test_a_package_has_its_modules_alone(name: str, tmp_path: Path) -> None:
    folder = ROOT / "clients" / name
    sources = [path.relative_to(folder / "src") for path in folder.glob("src/**/*.ts*")]
    modules = {f"dist/{path.with_suffix(end)}" for path in sources for end in (".js", ".d.ts")}

    _, files = pack(folder, tmp_path)

    assert files - {"LICENSE"} == modules | {"package.json", "README.md"}


@pytest.mark.usefixtures("built")
def test_the_packages_work_in_a_project_that_has_what_they_depend_on(tmp_path: Path) -> None:
    modules = tmp_path / "node_modules"
    modules.mkdir()
    for name in ("typescript", "remotion"):
        archive, _ = pack(ROOT / "clients" / name, tmp_path)
        with tarfile.open(archive) as package:
            package.extractall(tmp_path, filter="data")
        facts = json.loads((tmp_path / "package" / "package.json").read_text())
        (tmp_path / "package").rename(modules / facts["name"])
        needs = {**facts.get("dependencies", {}), **facts.get("peerDependencies", {})}
        for need in needs:
            target = modules / need
            target.parent.mkdir(exist_ok=True)
            if not target.exists():
                target.symlink_to(ROOT / "node_modules" / need)
    (tmp_path / "use.mjs").write_text(
        """
        import { createClient, JobFailedError, RushesError } from "rushes";
        import { createClient as forNode, openFile } from "rushes/node";
        import { verifyWebhook } from "rushes/webhooks";
        import { Captions, GeneratedVideo } from "rushes-remotion";
        import { resolveClips } from "rushes-remotion/node";
        const all = [createClient, forNode, openFile, verifyWebhook, Captions, resolveClips];
        console.log(all.every((each) => typeof each === "function"));
        console.log(JobFailedError.prototype instanceof RushesError);
        """
    )

    assert run("node", "use.mjs", folder=tmp_path).stdout == "true\ntrue\n"


def test_a_package_is_packed_without_a_build_before(tmp_path: Path) -> None:
    """As in a fresh clone."""
    for name in ("package.json", "tsconfig.json", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    built = shutil.ignore_patterns("dist", "node_modules", "LICENSE")
    shutil.copytree(ROOT / "clients", tmp_path / "clients", ignore=built)
    places = [Path("node_modules"), Path("clients/remotion/node_modules")]
    for place in filter(lambda place: (ROOT / place).exists(), places):  # npm decides where
        (tmp_path / place).mkdir()
        for each in (ROOT / place).iterdir():
            ours = each.readlink() if each.is_symlink() else each  # such as ../clients/typescript
            (tmp_path / place / each.name).symlink_to(ours)

    run("npm", "pack", "-w", "rushes-remotion", "--pack-destination", tmp_path, folder=tmp_path)

    with tarfile.open(*tmp_path.glob("*.tgz")) as package:
        names = package.getnames()
    assert {"package/LICENSE", "package/dist/index.js", "package/dist/node/index.d.ts"} < {*names}


def pack(folder: Path, target: Path) -> tuple[Path, set[str]]:
    """Return the archive that would be published, and the files in it."""
    flags = ("--json", "--ignore-scripts", "--pack-destination", target)
    (package,) = json.loads(run("npm", "pack", *flags, folder=folder).stdout)
    return target / package["filename"], {file["path"] for file in package["files"]}


def test_the_lock_file_names_no_registry() -> None:
    packages = json.loads(read("package-lock.json"))["packages"]
    named = {
        path: package["resolved"] for path, package in packages.items() if "resolved" in package
    }
    hosts = [url for url in named.values() if "://" in url]

    assert hosts == []
    ours = {path for path in packages if path.startswith(("clients/", "examples/"))}
    assert set(named.values()) == ours
