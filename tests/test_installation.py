"""Advice that can be followed where it is given: a wheel has no Makefile."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import service
from service.installation import install_command, start_command


def test_a_checkout_is_told_to_use_make() -> None:
    assert install_command("s3") == "`make s3`"
    assert start_command() == "`make up` or `rushes up`"


@pytest.mark.slow
def test_a_package_without_a_makefile_is_told_to_use_pip(tmp_path: Path) -> None:
    copied = tmp_path / "site-packages" / "service"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(service.__file__).parent, copied, ignore=ignored)
    environment = {
        **os.environ,
        "PYTHONPATH": str(copied.parent),
        "RUSHES_URL": "http://127.0.0.1:9",
    }

    told = subprocess.run(
        [sys.executable, "-m", "service.cli.main", "doctor"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    code = "from service.installation import install_command as c; print(c('postgres'))"
    advice = subprocess.check_output(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, text=True
    )

    assert "start it with `rushes up`" in told.stdout
    assert "make " not in told.stdout + told.stderr
    assert advice == "`pip install 'rushes[postgres]'`\n"


@pytest.mark.slow
def test_a_wheel_has_every_file_that_the_service_reads(tmp_path: Path) -> None:
    root = Path(service.__file__).parents[1]
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=root, check=True)

    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())

    files = {
        file.relative_to(root).as_posix()
        for file in (root / "service").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert len({Path(file).suffix for file in files} & {".tflite", ".npz", ".html", ".css"}) == 4
    assert files - names == set()
