"""The TypeScript packages, built."""

import fcntl

import pytest

from tests.clients.node import run
from tests.contract.write import ROOT

STAMP = ROOT / "node_modules" / ".rushes-built"


@pytest.fixture(scope="session")
def built() -> None:
    """Build the packages unless they are; one of several test processes at a time."""
    with (ROOT / "node_modules" / ".rushes-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sources = [*ROOT.glob("clients/*/src/**/*"), *ROOT.glob("clients/*/*.json")]
        newest = max(path.stat().st_mtime for path in [*sources, ROOT / "package-lock.json"])
        if not STAMP.exists() or STAMP.stat().st_mtime < newest:
            run("npm", "run", "build")
            STAMP.touch()
