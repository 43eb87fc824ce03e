"""`make demo` as whoever clones this runs it first."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from service.workers.stages.mp4_index import read_index

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).resolve().parents[2]


def test_a_fresh_clone_makes_its_first_video_and_a_presenter(tmp_path: Path) -> None:
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
        timeout=240,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "file   out/demo.mp4  (768x512, 120 frames at 24 fps, 5.00 s)" in done.stdout
    assert read_index(clone / "out" / "demo.mp4").tracks[0].samples == 120
    presenter = re.search(r"out/presenter\.mp4  \(512x512, (\d+) frames at 25 fps", done.stdout)
    assert presenter is not None
    index = read_index(clone / "out" / "presenter.mp4")
    assert index.tracks[0].samples == int(presenter[1]) > 150
    assert index.track("soun") is not None
    assert not list((clone / "out").glob("*.part"))
