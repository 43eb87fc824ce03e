import stat
from pathlib import Path

import pytest

from service.domain.errors import Unavailable
from service.settings import Settings, child_environment, worker_environment
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
