"""Clients that others generate from our description, type-checked and used on a live service."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.node import TOOLS, needs_node
from tests.contract.write import ROOT
from tests.journey.service import KEY, running

# Generators and compilers take their time on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CLIENTS = Path(__file__).parent / "clients"
DOCUMENT = ROOT / "clients" / "openapi.json"
GENERATOR = ROOT / ".tools" / "client-generator" / "bin"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("clients"), "--workers", "1") as service:
        yield str(service.client.base_url).rstrip("/")


def test_a_generated_python_client_works(url: str, tmp_path: Path) -> None:
    run(
        *(GENERATOR / "openapi-python-client", "generate", "--path", DOCUMENT, "--meta", "none"),
        *("--output-path", tmp_path / "rushes_client", "--config", CLIENTS / "python.yml"),
        "--fail-on-warning",
        folder=tmp_path,
    )
    shutil.copy(CLIENTS / "use.py", tmp_path)

    # The generator's own code is not ours to judge.
    mypy = ("mypy", "--strict", "--follow-imports=silent", "use.py")
    run(sys.executable, "-m", *mypy, folder=tmp_path)
    used = run(GENERATOR / "python", "use.py", url, KEY, folder=tmp_path)

    assert used.splitlines()[-1] == "used"


@needs_node
def test_a_typescript_client_with_generated_types_works(url: str, tmp_path: Path) -> None:
    copy_project(tmp_path, CLIENTS / "typescript" / "use.ts")

    run(
        *(TOOLS / "openapi-typescript", DOCUMENT, "--output", "schema.d.ts"),
        "--default-non-nullable=false",
        folder=tmp_path,
    )

    assert_used(url, tmp_path)


@needs_node
def test_a_generated_typescript_client_works(url: str, tmp_path: Path) -> None:
    copy_project(tmp_path, CLIENTS / "hey-api" / "use.ts")

    run(
        *(TOOLS / "openapi-ts", "--input", DOCUMENT, "--output", "client", "--no-log-file"),
        folder=tmp_path,
    )

    assert_used(url, tmp_path)


def copy_project(folder: Path, program: Path) -> None:
    for path in (*(CLIENTS / "typescript").glob("*.json"), program):
        shutil.copy(path, folder)
    (folder / "node_modules").symlink_to(ROOT / "node_modules")


def assert_used(url: str, folder: Path) -> None:
    run(TOOLS / "tsc", folder=folder)
    used = run("node", "out/use.js", url, KEY, folder=folder)

    assert used.splitlines()[-1] == "used"


def run(*command: str | Path, folder: Path) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={**os.environ, "PATH": f"{GENERATOR}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout
