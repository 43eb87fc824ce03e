"""Commands without a service, or with wrong settings: plain words and the right exit code."""

import json
import os
import re
import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli.config import read_address, read_key
from service.cli.download import _check_file
from service.cli.exits import MEANING, CliError
from service.cli.main import app
from service.cli.models import _range
from service.cli.processes.up import _greet
from service.settings import Settings
from tests.cli.conftest import Rushes
from tests.disks import small_disk

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


def test_an_address_may_end_with_the_version() -> None:
    """As the addresses of other services do."""
    assert read_address("https://gpu.test/v1/") == "https://gpu.test"
    assert read_address("https://gpu.test/rushes/v1") == "https://gpu.test/rushes"


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


@pytest.mark.parametrize(
    "words", [[], ["video"], ["avatar"], ["avatars"], ["keys", "create"], ["models"], ["up"]]
)
def test_help_shows_no_types_of_python(words: list[str]) -> None:
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(app, [*words, "--help"]).output

    assert "--help" in shown
    assert not re.search(r"<bool>|list\[", shown)


def test_help_says_each_command_in_one_line() -> None:
    shown = CliRunner(env={"COLUMNS": "100"}).invoke(app, ["--help"]).output
    rows = shown.partition("─ Commands ")[2].partition("╰")[0].splitlines()[1:]

    assert len(rows) > 10
    for row in rows:
        assert row[2] != " ", row
        assert row.rstrip("│ ").endswith("."), row


def test_a_full_disk_is_told_with_its_folder(alone: Rushes) -> None:
    folder = alone.folder / "full"
    folder.mkdir()
    with small_disk(folder, inodes=100, megabytes=1):
        with suppress(OSError), (folder / "fill").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        started = alone("up", "--port", "0", data_dir=folder / "data")

    assert started.returncode == 1
    assert f"the disk of {folder / 'data'} is full; free some space" in started.stderr


@pytest.mark.parametrize(("high", "shown"), [(25, "25"), (60, "25-60")])
def test_a_range_of_one_number_is_that_number(high: int, shown: str) -> None:
    assert _range({"low": 25, "high": high, "step": 1}) == shown


def test_an_owner_who_brings_the_key_is_told_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path, models=["slate"], bootstrap_key="b" * 30)

    _greet(settings, "http://127.0.0.1:1", is_first_start=True)

    told = capsys.readouterr().out
    assert "your API key is RUSHES_BOOTSTRAP_KEY; the command line reads RUSHES_API_KEY" in told
    assert "b" * 30 not in told


def test_the_kept_key_goes_to_no_other_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUSHES_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("RUSHES_API_KEY", raising=False)
    (tmp_path / "api-key").write_text("rsh_kept\n")
    (tmp_path / "address").write_text("http://10.0.0.7:8787")
    here = ("http://127.0.0.1:8787", "http://[::1]:1", "http://10.0.0.7:8787")
    elsewhere = ("http://127.0.0.1.evil.test", "https://gpu.test", "http://10.0.0.8:8787")

    assert {read_key(None, url) for url in here} == {"rsh_kept"}
    assert {read_key(None, url) for url in elsewhere} == {None}
    assert read_key("rsh_given", "https://gpu.test") == "rsh_given"


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(CliError, match="pipe is no file"):
        _check_file(tmp_path / "pipe", force=True)
