"""Commands without a service, or with wrong settings: plain words and the right exit code."""

import json
import re
import sqlite3

import pytest
from typer.testing import CliRunner

from service.cli.exits import MEANING
from service.cli.main import app
from tests.cli.conftest import Rushes

pytestmark = pytest.mark.slow


def test_help_names_every_exit_code(alone: Rushes) -> None:
    told = alone("--help")

    assert told.returncode == 0
    for code, meaning in MEANING.items():
        assert f"{code.value}  {meaning}" in told.stdout


@pytest.mark.parametrize("words", ["video hello", "keys list"])
def test_without_a_service_it_ends_with_6_and_says_how_to_start_one(
    alone: Rushes, words: str
) -> None:
    lost = alone(*words.split())

    assert (lost.returncode, lost.stdout) == (6, "")
    assert "`rushes up`" in lost.stderr


@pytest.mark.parametrize("words", ["migrate", "jobs"])
def test_a_wrong_setting_is_named_by_every_command(alone: Rushes, words: str) -> None:
    refused = alone(words, port="eighty")

    assert refused.returncode == 2
    assert refused.stderr.startswith("setting port (RUSHES_PORT): ")
    assert refused.stderr.count("\n") == 1


def test_a_slip_in_a_settings_name_is_told_with_the_right_one(alone: Rushes) -> None:
    told = alone("doctor", model="slate")

    assert "! settings: no such setting: RUSHES_MODEL; did you mean RUSHES_MODELS?" in told.stdout


@pytest.mark.parametrize("models", ["slate", '["nope"]'])
def test_models_that_cannot_be_are_told_in_one_line(alone: Rushes, models: str) -> None:
    refused = alone("up", models=models)

    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1


def test_a_worker_without_a_token_says_so(alone: Rushes) -> None:
    refused = alone("worker")

    assert refused.returncode == 2
    assert refused.stderr.startswith("RUSHES_WORKER_TOKEN is not set: restart the service with")
    assert "RUSHES_WORKER_TOKEN=$(openssl rand -hex 32)" in refused.stderr


def test_an_address_without_a_scheme_is_refused(alone: Rushes) -> None:
    refused = alone("jobs", "--url", "localhost:8787")

    assert refused.returncode == 2
    assert "http://" in refused.stderr


def test_the_doctor_looks_and_makes_nothing(alone: Rushes) -> None:
    told = alone("doctor")

    assert told.returncode == 0, told.stderr
    assert "not created yet" in told.stdout
    assert "! service: not running" in told.stdout
    assert list(alone.folder.iterdir()) == []


def test_the_doctor_finds_a_database_of_a_newer_release(alone: Rushes) -> None:
    assert alone("migrate").returncode == 0
    with sqlite3.connect(alone.folder / ".rushes" / "rushes.db") as database:
        database.execute("UPDATE alembic_version SET version_num = 'from_tomorrow'")
    database.close()

    told, started = alone("doctor", "--json"), alone("up", "--port", "0")

    faults = [each for each in json.loads(told.stdout)["checks"] if each["status"] == "fault"]
    assert told.returncode == 1
    assert [fault["name"] for fault in faults] == ["database"]
    assert "upgrade Rushes" in faults[0]["detail"]
    assert started.returncode == 1
    assert "upgrade Rushes" in started.stderr


@pytest.mark.parametrize("words", [["video", "caf\udce9"], ["status", "caf\udce9"]])
def test_text_that_is_not_utf8_is_told_in_one_line(rushes: Rushes, words: list[str]) -> None:
    refused = rushes(*words)

    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == r"invalid argument 'caf\xe9': not UTF-8" + "\n"


def test_a_wrong_address_is_told_in_our_words(alone: Rushes) -> None:
    refused = alone("jobs", public_url="rushes.example.com")

    assert refused.stderr == (
        "setting public_url (RUSHES_PUBLIC_URL): must be an address like "
        "https://rushes.example.com\n"
    )


@pytest.mark.parametrize("words", [[], ["video"], ["avatar"], ["keys", "create"], ["up"]])
def test_help_shows_no_types_of_python(words: list[str]) -> None:
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(app, [*words, "--help"]).output

    assert "--help" in shown
    assert not re.search(r"<bool>|list\[", shown)
