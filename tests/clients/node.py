"""Run Node programs of this repository, as somebody does who has run `npm ci`."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.contract.write import ROOT
from tests.journey.service import KEY

# The Chromium of Ubuntu is a stub that installs another by snap.
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
TOOLS = ROOT / "node_modules" / ".bin"
TYPESCRIPT = ROOT / "clients" / "typescript"
TSX = (shutil.which("node") or "node", "--import", "tsx")

needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not TOOLS.exists(),
    reason="needs Node, and its packages (npm ci)",
)

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: chromium)")


def environment(url: str | None = None, **more: str) -> dict[str, str]:
    """Ours without settings of Rushes; with a service's address, and the key of the tests."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("RUSHES_")}
    service = {} if url is None else {"RUSHES_URL": url, "RUSHES_API_KEY": KEY}
    return {**kept, "NO_COLOR": "1", **service, **more}


def run(
    *command: str | Path,
    url: str | None = None,
    folder: Path = ROOT,
    exit_code: int = 0,
    **settings: str,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; it must exit with `exit_code`."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environment(url, **settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == exit_code, f"{command}\n{done.stdout}\n{done.stderr}"
    return done
