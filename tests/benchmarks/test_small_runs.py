"""Each benchmark runs in a small form, whatever its figures say on a machine that is busy."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("start --rounds 1", "first answer after"),
        ("api --rounds 1 --seconds 0.2", "ours-postgres"),
        ("queue --jobs 3", "p50"),
        ("events --rounds 1 --seconds 1 --listeners 12", "with 12 listeners"),
        ("lists --jobs 3000", "a word that nobody wrote"),
        ("pages --jobs 3000 --rounds 3", "/admin/now"),
        ("viewers --jobs 3000 --rounds 1 --seconds 2", "with 10 viewers"),
        ("encode --rounds 1 --sizes 64x64x12", "64x64x12"),
        ("avatar --rounds 1 --sizes 256x256 --seconds 1 2", "draw ÷ encode"),
        ("overhead --rounds 1 --size 64x64x9", "of the bare pipeline"),
    ],
)
def test_it_measures_and_judges(command: str, shown: str) -> None:
    name, *options = command.split()

    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *options],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert "Traceback" not in done.stderr, done.stderr
    assert shown in done.stdout
    assert done.returncode == int("missed" in done.stdout)
