"""The alert rules in Prometheus' own rule tester: what fires them, and what does not."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.contract.write import ROOT

RULES, CASES = ROOT / "packaging/alerts.yml", ROOT / "tests/packaging/alerts_test.yml"


@pytest.fixture
def promtool() -> str:
    """The program of the Makefile, or one that is installed."""
    program = shutil.which("promtool", path=f"{ROOT / '.tools'}") or shutil.which("promtool")
    if program is None:
        pytest.skip("needs promtool (Debian: make test unpacks it from the package prometheus)")
    return program


def test_each_rule_fires_when_it_should_and_only_then(promtool: str, tmp_path: Path) -> None:
    for file in (RULES, CASES):
        shutil.copy(file, tmp_path)

    tested = subprocess.run(
        [promtool, "test", "rules", CASES.name], cwd=tmp_path, capture_output=True, text=True
    )

    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_each_rule_has_a_case_that_fires_and_one_that_does_not() -> None:
    names = {
        rule["alert"]
        for group in yaml.safe_load(RULES.read_text())["groups"]
        for rule in group["rules"]
    }
    tests = [
        each
        for case in yaml.safe_load(CASES.read_text())["tests"]
        for each in case["alert_rule_test"]
    ]

    for fires in (True, False):
        assert {each["alertname"] for each in tests if bool(each["exp_alerts"]) is fires} == names
