"""packaging/rushes.service, by systemd's own judgement and as a process."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.cli.processes.supervise import _API_STOP_SECONDS, _STOP_SECONDS
from tests.contract.write import ROOT

UNIT = ROOT / "packaging" / "rushes.service"
PROGRAM = Path(sys.executable).parent / "rushes"

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze"
)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit, with the command line of this checkout."""
    copy = tmp_path / "rushes.service"
    copy.write_text(UNIT.read_text().replace("/opt/rushes/bin/rushes", str(PROGRAM)))
    return copy


@needs_systemd
def test_systemd_finds_no_fault(installed: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", installed], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
def test_systemd_finds_the_service_well_confined(installed: Path) -> None:
    """Its measure is 0 for no exposure and 10 for all; 2 is the limit here."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", installed],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout


def test_the_supervisor_has_the_time_that_its_processes_take() -> None:
    (stop,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)

    assert int(stop) > _STOP_SECONDS + _API_STOP_SECONDS  # the workers, then the API
    assert re.search(r"^KillMode=mixed$", UNIT.read_text(), re.MULTILINE)
