import os
import stat
from pathlib import Path
from typing import Any

import pytest

from service.artifacts.files import Files
from service.artifacts.s3 import S3
from service.cli.processes import work
from service.deployment import deployed_environment
from service.domain.errors import Unavailable
from service.domain.models.catalog import SLATE
from service.domain.models.tuning import DEFAULT_TUNING
from service.environment import (
    child_environment,
    keep_compiled,
    tool_environment,
    worker_environment,
)
from service.settings import Settings
from service.wiring import rules, speech, storage, worker
from service.wiring.secrets import load_or_create_secret
from service.workers.adapters.slate import Slate
from service.workers.pull_worker import PullWorker


def test_a_load_or_create_secret_is_its_owners_and_stays_the_same(tmp_path: Path) -> None:
    path = tmp_path / "data" / "secret"

    first = load_or_create_secret(path, "a" * 40)
    again = load_or_create_secret(path, "b" * 40)

    assert first == again == "a" * 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["secret"]


@pytest.mark.parametrize("content", ["", "short"])
def test_a_secret_that_is_none_stops_the_start(tmp_path: Path, content: str) -> None:
    path = tmp_path / "secret"
    path.write_text(content)

    with pytest.raises(Unavailable, match="has no valid secret"):
        load_or_create_secret(path, "a" * 40)


def test_workers_are_told_no_secret_but_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELEVENLABS_API_KEY", "e" * 30)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "o" * 30)
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
    assert "e" * 30 not in told.values()
    assert "o" * 30 not in told.values()
    assert "e" * 30 not in tool_environment().values()
    assert not any("sqlite" in text for text in told.values())
    assert told["RUSHES_WORKER_TOKEN"] == "w" * 30
    assert child_environment(settings)["RUSHES_BOOTSTRAP_KEY"] == "b" * 30
    assert child_environment(settings)["RUSHES_ELEVENLABS_API_KEY"] == "e" * 30


@pytest.mark.parametrize("name", ["ELEVENLABS_API_KEY", "RUSHES_ELEVENLABS_API_KEY"])
def test_the_key_of_elevenlabs_is_read_by_both_of_its_names(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert speech.account(Settings(_env_file=None)) is None
    monkeypatch.setenv(name, "sk_1")
    monkeypatch.setenv("RUSHES_ELEVENLABS_USD_PER_1000_CHARACTERS", "0.05")

    account = speech.account(Settings(_env_file=None))

    assert account is not None
    assert account.api_key == "sk_1"
    assert account.usd_per_character == pytest.approx(0.00005)
    assert "sk_1" not in repr(Settings(_env_file=None))


class Recorded(Settings):
    """Settings that record which of them were read."""

    def __getattribute__(self, name: str) -> Any:
        if name in Settings.model_fields:
            _READ.add(name)
        return super().__getattribute__(name)


_READ: set[str] = set()


def test_workers_are_told_every_setting_that_they_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "_stop_on_signals", lambda puller: None)
    monkeypatch.setattr(PullWorker, "work", lambda puller: None)
    settings = Recorded(
        _env_file=None, data_dir=tmp_path, models=["slate"], worker_token="w" * 30, s3_bucket="b"
    )
    _READ.clear()

    work.work(settings, "http://127.0.0.1:9", "w1")

    assert {f"RUSHES_{name.upper()}" for name in _READ} <= worker_environment(settings).keys()
    assert {"models", "ahead_bytes", "s3_bucket"} <= _READ


def test_a_model_whose_licence_limits_who_may_use_it_must_be_accepted() -> None:
    def cards(**settings: Any) -> list[str]:
        return list(rules.cards(Settings(_env_file=None, models=["hunyuan", "slate"], **settings)))

    with pytest.raises(Unavailable, match="EU, the United Kingdom and South Korea") as no:
        cards()

    assert "add 'hunyuan' to RUSHES_ACCEPT_LICENCES" in no.value.message
    assert cards(accept_licences=["hunyuan"]) == ["hunyuan", "slate"]
    assert cards(accept_licences=["Tencent Hunyuan Community"]) == ["hunyuan", "slate"]
    with pytest.raises(Unavailable, match="hunyuan is under the licence"):
        cards(accept_licences=["hunyuan-1.5"])


def test_an_accepted_licence_that_there_is_not_stops_the_start() -> None:
    settings = Settings(_env_file=None, models=["slate"], accept_licences=["hunyan"])

    with pytest.raises(Unavailable, match="RUSHES_ACCEPT_LICENCES names 'hunyan'"):
        rules.cards(settings)


def test_workers_know_which_licences_were_accepted() -> None:
    settings = Settings(_env_file=None, models=["hunyuan"], accept_licences=["hunyuan"])

    assert worker_environment(settings)["RUSHES_ACCEPT_LICENCES"] == '["hunyuan"]'


def test_every_field_of_tuning_is_a_setting_with_the_same_default() -> None:
    assert rules.tuning(Settings(_env_file=None)) == DEFAULT_TUNING


def test_tuning_reaches_a_worker_through_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {
        "compile": "off",
        "compile_decoder": True,
        "compiled_shapes": 2,
        "attention": "sage",
        "quantize": "float8",
        "vae_dtype": "bfloat16",
        "vae_channels_last": True,
        "lora_multiplier": 0.5,
        "embeddings_bytes": 0,
    }
    service = Settings(_env_file=None, **chosen)

    for name, text in worker_environment(service).items():
        monkeypatch.setenv(name, text)

    told = rules.tuning(Settings(_env_file=None))
    assert told.model_dump() == chosen


def test_torch_is_told_where_to_keep_what_it_compiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Set first, so that what is set by the call is undone after the test.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "before")

    keep_compiled(Settings(_env_file=None))
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "before"

    keep_compiled(Settings(_env_file=None, compiled_dir=tmp_path))
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path)


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
        modal_environment="main",
        weights={"ltx-2b": tmp_path, "mochi": Path("/weights/mochi")},
    )

    told = deployed_environment(settings)

    assert told["RUSHES_MODELS"] == '["ltx-2b"]'
    assert told["RUSHES_WEIGHTS"] == '{"mochi": "/weights/mochi"}'
    assert told["RUSHES_KEEP_DAYS"] == "3.0"
    assert told["RUSHES_MODAL_GPUS"] == '{"ltx-2b": ["L40S"]}'
    assert not {"RUSHES_PORT", "RUSHES_DATA_DIR", "RUSHES_DATABASE_URL"} & set(told)
    assert "RUSHES_MODAL_ENVIRONMENT" not in told  # `make deploy` may be told another
    hidden = {"b" * 30, "s" * 30, "w" * 30, "a" * 30}
    assert not hidden & set(told.values())


def test_a_worker_takes_what_the_door_lets_in_and_no_more(tmp_path: Path) -> None:
    """Here and on Modal, which builds both by the same two functions."""
    settings = Settings(
        _env_file=None,
        data_dir=tmp_path,
        max_image_bytes=123_456,
        max_video_bytes=234_567,
        egress_ports=[443, 8443],
        ahead_bytes=0,
        weights={"slate": tmp_path},
    )

    bench = worker.build_worker_environment(settings, Files(tmp_path), tmp_path)
    adapter = worker.warm(settings).adapter(SLATE)

    assert (bench.sources.max_bytes("image"), bench.sources.max_bytes("video")) == (
        settings.max_image_bytes,
        settings.max_video_bytes,
    )
    assert bench.sources.egress._rules == rules.egress_rules(settings)
    assert bench.ahead_bytes == 0
    assert isinstance(adapter, Slate)


@pytest.mark.parametrize(
    ("fields", "region"),
    [
        ({}, "eu-north-1"),
        ({"s3_endpoint_url": "https://r2.example"}, "auto"),
        ({"s3_endpoint_url": "https://r2.example", "s3_region": "weur"}, "weur"),
        ({"s3_region": "us-west-2"}, "us-west-2"),
    ],
)
def test_the_region_of_a_bucket_is_its_own_or_that_of_boto3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], region: str
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    secrets = {"s3_access_key_id": "a", "s3_secret_access_key": "b"}
    settings = Settings(_env_file=None, data_dir=tmp_path, s3_bucket="b", **secrets, **fields)

    store = storage.artifacts(settings)

    assert isinstance(store, S3)
    assert store._client.meta.region_name == region
