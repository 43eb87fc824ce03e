import stat
from pathlib import Path

import pytest

from service.domain.errors import Unavailable
from service.settings import (
    Settings,
    child_environment,
    deployed_environment,
    worker_environment,
)
from service.wiring import kept_secret


def test_a_kept_secret_is_its_owners_and_stays_the_same(tmp_path: Path) -> None:
    path = tmp_path / "data" / "secret"

    first = kept_secret(path, "a" * 40)
    again = kept_secret(path, "b" * 40)

    assert first == again == "a" * 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["secret"]


@pytest.mark.parametrize("content", ["", "short"])
def test_a_secret_that_is_none_stops_the_start(tmp_path: Path, content: str) -> None:
    path = tmp_path / "secret"
    path.write_text(content)

    with pytest.raises(Unavailable, match="holds no secret"):
        kept_secret(path, "a" * 40)


def test_workers_are_told_no_secret_but_their_own(tmp_path: Path) -> None:
    settings = Settings(
        _env_file=None,
        data_dir=tmp_path,
        bootstrap_key="b" * 30,
        secret="s" * 30,
        worker_token="w" * 30,
    )

    told = worker_environment(settings)

    assert "b" * 30 not in told.values()
    assert "s" * 30 not in told.values()
    assert not any("sqlite" in text for text in told.values())
    assert told["RUSHES_WORKER_TOKEN"] == "w" * 30
    assert child_environment(settings)["RUSHES_BOOTSTRAP_KEY"] == "b" * 30


def test_a_deploy_tells_its_containers_every_setting_but_secrets_and_what_is_of_this_machine(
    tmp_path: Path,
) -> None:
    settings = Settings(
        _env_file=None,
        data_dir=tmp_path,
        port=9000,
        database_url="postgresql://u:hidden@host/db",
        bootstrap_key="b" * 30,
        secret="s" * 30,
        worker_token="w" * 30,
        s3_access_key_id="a" * 30,
        models=["ltx-2b"],
        keep_days=3,
        modal_gpus={"ltx-2b": ["L40S"]},
    )

    told = deployed_environment(settings)

    assert told["RUSHES_MODELS"] == '["ltx-2b"]'
    assert told["RUSHES_KEEP_DAYS"] == "3.0"
    assert told["RUSHES_MODAL_GPUS"] == '{"ltx-2b": ["L40S"]}'
    assert not {"RUSHES_PORT", "RUSHES_DATA_DIR", "RUSHES_DATABASE_URL"} & set(told)
    hidden = {"b" * 30, "s" * 30, "w" * 30, "a" * 30}
    assert not hidden & set(told.values())
