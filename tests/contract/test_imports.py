"""What importing loads, and that each import contract catches what it is there for."""

import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.write import ROOT

pytestmark = pytest.mark.slow

HEAVY = {"torch", "diffusers", "transformers", "modal", "boto3"}


def loaded_by(module: str) -> set[str]:
    """The top names of all modules in a fresh process that has imported `module`."""
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    return set(done.stdout.decode().split())


def test_the_api_needs_none_of_what_the_models_need() -> None:
    loaded = loaded_by("service.app")

    assert "fastapi" in loaded
    assert not loaded & (
        HEAVY | {"accelerate", "huggingface_hub", "numpy", "PIL", "imageio_ffmpeg"}
    )


def test_a_worker_of_the_sandbox_needs_no_torch() -> None:
    loaded = loaded_by("service.workers.pull_worker, service.workers.adapters.slate")

    assert "numpy" in loaded
    assert not loaded & (HEAVY | {"fastapi", "sqlalchemy"})


def test_the_command_line_loads_next_to_nothing_before_it_knows_the_command() -> None:
    loaded = loaded_by("service.cli.main")

    assert "typer" in loaded
    assert not loaded & (
        HEAVY
        | {"fastapi", "starlette", "uvicorn", "sqlalchemy", "sqlmodel", "alembic"}
        | {"pydantic", "httpx", "rich", "numpy", "PIL"}
    )


def test_importing_the_service_writes_nothing_and_starts_no_thread(tmp_path: Path) -> None:
    code = "import threading, service.app, service.cli.main; print(threading.active_count())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "1"
    assert list(tmp_path.iterdir()) == []


@dataclass(frozen=True)
class Plant:
    """A wrong import, and the contract that must notice it."""

    contract: str
    file: str
    line: str


PLANTS = [
    Plant(
        "Layers: imports only go down; packages of one layer never meet",
        "service/store/keys.py",
        "from service.lifecycle import admit",
    ),
    Plant("Domain is pure", "service/domain/key.py", "import sqlalchemy"),
    Plant("What bytes are is told without decoding them", "service/media/sniff.py", "import numpy"),
    Plant(
        "Workers know neither the database nor who sent them",
        "service/workers/recipe.py",
        "from service.store import jobs",
    ),
    Plant(
        "Rows stay inside the store",
        "service/api/routes/jobs.py",
        "from service.store.tables import JobRow",
    ),
    Plant(
        "Admin pages change jobs by use cases alone",
        "service/admin/routes/jobs.py",
        "from service.store import moves",
    ),
    Plant(
        "Providers of voices are known to the catalog alone",
        "service/runtime/wait_slots.py",
        "from service.speech.elevenlabs import PREFIX",
    ),
    Plant("HTTP stays in the API", "service/runtime/wait_slots.py", "import fastapi"),
    Plant(
        "Only the roots and wiring read settings",
        "service/lifecycle/submit.py",
        "from service.settings import Settings",
    ),
]


def contracts() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [contract["name"] for contract in project["tool"]["importlinter"]["contracts"]]


def lint_imports(folder: Path) -> dict[str, str]:
    """`KEPT` or `BROKEN` by contract, as lint-imports judges the service in `folder`."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    verdicts = re.findall(r"^(.+) (KEPT|BROKEN)\b", done.stdout, re.MULTILINE)
    assert verdicts, done.stdout + done.stderr
    return dict(verdicts)


def test_the_import_contracts_hold() -> None:
    assert lint_imports(ROOT) == dict.fromkeys(contracts(), "KEPT")


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.contract)
def test_a_planted_import_breaks_its_contract(plant: Plant, tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(
        ROOT / "service", tmp_path / "service", ignore=shutil.ignore_patterns("__pycache__")
    )
    with (tmp_path / plant.file).open("a") as file:
        file.write(f"\n{plant.line}\n")

    verdicts = lint_imports(tmp_path)

    assert {name for name, verdict in verdicts.items() if verdict == "BROKEN"} == {plant.contract}


def test_every_contract_has_a_plant() -> None:
    assert [plant.contract for plant in PLANTS] == contracts()
