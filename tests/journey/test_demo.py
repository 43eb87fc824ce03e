"""`make demo` as whoever clones this runs it first."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.workers.stages.mp4_index import read_index

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).resolve().parents[2]


def test_a_fresh_clone_makes_its_first_video(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(CHECKOUT), str(clone)], check=True)
    # What is not committed yet is tried as well.
    for name in ("service", "scripts", "migrations"):
        subprocess.run(["cp", "-r", str(CHECKOUT / name), str(clone)], check=True)
    assert not (clone / "out").exists()

    done = subprocess.run(
        [sys.executable, "scripts/demo.py"],
        cwd=clone,
        env=os.environ | {"PYTHONPATH": str(clone)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "file   out/demo.mp4  (768x512, 120 frames at 24 fps, 5.00 s)" in done.stdout
    assert read_index(clone / "out" / "demo.mp4").tracks[0].samples == 120
    assert not list((clone / "out").glob("*.part"))
