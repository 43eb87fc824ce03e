"""`make deploy` from nothing, what it leaves at Modal, and `smoke_modal.py` on what it deployed."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import httpx
import modal
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from dev.loopback_modal.harness import LoopbackModal
from scripts import deploy_modal, smoke_modal
from service.domain.models.card import ModelCard
from service.domain.models.catalog import CARDS
from service.domain.request import VideoParams
from service.domain.resolve.resolve import resolve
from service.environment import TRACES_KEY
from service.settings import Settings
from tests.api.test_traces import Collector, collecting, until
from tests.conftest import new_database
from tests.modal.conftest import MARKS
from tests.modal.live import CHECKOUT, SMALL, calling

pytestmark = MARKS

APP = "fresh"
COMMIT = "c0ffee" * 6 + "c0de"


@dataclass
class Command:
    """`make deploy` and `make smoke-modal`, with settings of their own."""

    cloud: LoopbackModal
    env: dict[str, str]

    def deploy(self, *flags: str, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run("deploy_modal.py", *flags, **env)

    def smoke(self, *flags: str, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run("smoke_modal.py", f"{self.cloud.http}/web/{APP}-api", *flags, **env)

    def run(self, script: str, *flags: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(CHECKOUT / "scripts" / script), *flags],
            cwd=CHECKOUT,
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=200,
        )


@dataclass
class Deployed:
    """What the first deploy printed, and what it kept."""

    command: Command
    printed: str
    kept: str


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as server:
        yield server


@pytest.fixture(scope="module")
def command(
    cloud: LoopbackModal,
    postgres: sa.URL,
    collector: Collector,
    tmp_path_factory: pytest.TempPathFactory,
) -> Command:
    settings = {
        "RUSHES_MODAL_APP": APP,
        "RUSHES_DATA_DIR": str(tmp_path_factory.mktemp("kept")),
        "RUSHES_DATABASE_URL": new_database(postgres),
        "RUSHES_MODELS": '["slate", "ltx-2b", "longcat"]',
        "RUSHES_MODAL_MAX_CONTAINERS": "2",
        "RUSHES_MODAL_MIN_CONTAINERS": '{"slate": 1}',
        "RUSHES_MODAL_SCALEDOWN_SECONDS": "77",
        "RUSHES_MODAL_START_SECONDS": "300",
        "RUSHES_MODAL_GPUS": '{"ltx-2b": ["H100", "L40S"]}',
        "RUSHES_MODAL_SNAPSHOTS": '["slate"]',
        "RUSHES_LONGCAT_SOURCE_COMMIT": COMMIT,
        "RUSHES_WEBHOOKS_ALLOW_LOOPBACK": "1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
        TRACES_KEY: "api-key=abc",
    }
    return Command(cloud, cloud.env | settings)


@pytest.fixture(scope="module")
def deployed(command: Command) -> Deployed:
    done = command.deploy()
    assert done.returncode == 0, done.stdout + done.stderr
    kept = Path(command.env["RUSHES_DATA_DIR"], f"modal-{APP}-api-key")
    assert kept.stat().st_mode & 0o077 == 0
    return Deployed(command, done.stdout, kept.read_text().strip())


def test_a_deploy_makes_what_is_missing_and_says_how_to_go_on(deployed: Deployed) -> None:
    url = f"{deployed.command.cloud.http}/web/{APP}-api"

    assert f"created the Secret {APP}: " in deployed.printed
    assert re.search(rf"Rushes \S+ is running at {re.escape(url)}\n", deployed.printed)
    assert f"\nURL={url}\nKEY={deployed.kept}\n" in deployed.printed
    assert '\ncurl --fail-with-body -sS "$URL/generate-video"' in deployed.printed
    assert "ltx-2b has no weights yet; download them on a CPU: " in deployed.printed
    assert "slate has no weights" not in deployed.printed
    volumes = deployed.command.cloud.volumes()
    assert {f"{APP}-artifacts", f"{APP}-compiled", f"{APP}-weights"} <= set(volumes)


def test_a_second_deploy_makes_no_secret_and_keeps_the_key(deployed: Deployed) -> None:
    again = deployed.command.deploy("--strategy", "recreate", "--tag", "second")

    assert again.returncode == 0, again.stdout + again.stderr
    assert "created the Secret" not in again.stdout
    # Modal does not show what it keeps: nobody can tell whether this is another address.
    names = f"RUSHES_DATABASE_URL, {TRACES_KEY}"
    assert f"the Secret {APP} exists and was not changed: {names} not sent." in again.stdout
    whole = "RUSHES_DATABASE_URL=… RUSHES_BOOTSTRAP_KEY=… RUSHES_WORKER_TOKEN=… RUSHES_SECRET=…"
    whole += " ELEVENLABS_API_KEY=… OTEL_EXPORTER_OTLP_HEADERS=…"
    assert f"modal secret create --force {APP} {whole}" in again.stdout
    assert deployed.kept in again.stdout


def test_every_model_is_a_cls_with_its_gpus_volumes_limits_and_no_retries(
    deployed: Deployed,
) -> None:
    found = deployed.command.cloud.functions(APP)

    assert set(found) == {"api", "tick", "download", "Slate.*", "Ltx2b.*", "Longcat.*"}
    assert (found["Slate.*"]["gpus"], found["Ltx2b.*"]["gpus"]) == ([""], ["H100", "L40S"])
    assert found["Longcat.*"]["gpus"] == ["H100", "A100-80GB"]
    for name, least in (("Slate.*", 1), ("Ltx2b.*", 0), ("Longcat.*", 0)):
        worker = found[name]["definition"]
        mounts = {at["mount_path"]: at.get("read_only", False) for at in worker["volume_mounts"]}
        assert mounts == {"/artifacts": False, "/compiled": False, "/weights": True}
        assert (worker["timeout_secs"], worker["startup_timeout_secs"]) == (3660, 300)
        assert worker.get("retry_policy", {}).get("retries", 0) == 0
        assert worker.get("secret_ids", []) == []
        image = found[name]["environment"]
        assert (image["HF_HUB_OFFLINE"], image["HF_HUB_CACHE"]) == ("1", "/weights/hub")
        assert image["RUSHES_COMPILED_DIR"] == "/compiled"
        autoscaler = found[name]["autoscaler"]
        assert autoscaler.get("min_containers", 0) == least
        assert (autoscaler["max_containers"], autoscaler["scaledown_window"]) == (2, 77)
    # In the versions that are tested together.
    for function in found.values():
        (install,) = (line for line in function["recipe"] if "/uv pip install" in line)
        assert "--constraints /constraints.txt" in install
        assert "COPY . /" in function["recipe"][: function["recipe"].index(install)]
    # The code that is no package is there at its commit, and what it and the face check need.
    recipe = "\n".join(found["Longcat.*"]["recipe"])
    assert f"git -C /opt/longcat checkout {COMMIT} -- longcat_video" in recipe
    assert "/longcat.pth" in recipe
    assert all(name in recipe for name in ("librosa", "torchvision", "ai-edge-litert"))
    assert not any("/opt/longcat" in line for line in found["api"]["recipe"])
    # Who fetches the weights puts them where those look, and is not offline.
    assert found["download"]["environment"]["HF_HUB_CACHE"] == "/weights/hub"
    assert "HF_HUB_OFFLINE" not in found["download"]["environment"]
    assert found["Slate.*"]["definition"]["checkpointing_enabled"]
    assert not found["Ltx2b.*"]["definition"].get("checkpointing_enabled")
    assert [len(found[name]["definition"]["secret_ids"]) for name in ("api", "tick")] == [1, 1]


def test_the_api_alone_sends_traces_to_the_collector_that_the_deploy_named(
    deployed: Deployed, collector: Collector
) -> None:
    url, key = f"{deployed.command.cloud.http}/web/{APP}-api", deployed.kept
    found = deployed.command.cloud.functions(APP)
    ask = {**SMALL, "model": "slate"}

    with calling(url, key) as client:
        job = client.post("/generate-video", json=ask).raise_for_status().json()
        client.post(f"/v1/jobs/{job['id']}/cancel").raise_for_status()
    until(lambda: any(job["id"].encode() in body for _, body in collector.requests))

    assert {headers["api-key"] for headers, _ in collector.requests} == {"abc"}
    for name in ("Slate.*", "download"):
        assert not any(each.startswith("OTEL_") for each in found[name]["environment"])
        assert "opentelemetry" not in "\n".join(found[name]["recipe"])
    assert "opentelemetry-sdk" in "\n".join(found["api"]["recipe"])
    assert TRACES_KEY not in found["api"]["environment"]  # but in the Secret


def test_the_smoke_script_finds_every_promise_kept(deployed: Deployed) -> None:
    smoke = deployed.command.smoke("--key", deployed.kept, "--model", "slate")

    lines = dict(re.findall(r"^(\S+(?: \S+)?) +(ok|skipped|FAILED) ", smoke.stdout, re.MULTILINE))
    assert smoke.returncode == 0, smoke.stdout + smoke.stderr
    assert set(lines.values()) == {"ok"}, smoke.stdout
    assert len(lines) == 12, smoke.stdout


def test_the_smoke_script_fails_with_a_key_that_opens_nothing(deployed: Deployed) -> None:
    smoke = deployed.command.smoke("--key", "rsh_of-somebody-else", "--model", "slate")

    assert smoke.returncode == 1
    assert re.search(r"^models +FAILED +.* returned 401", smoke.stdout, re.MULTILINE), smoke.stdout


@pytest.mark.parametrize(("fails", "last"), [("estimate", "again"), ("submit", "submit")])
def test_the_smoke_script_tries_all_that_does_not_hang_on_what_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fails: str, last: str
) -> None:
    def check(name: str) -> smoke_modal.Check:
        def tried(_: smoke_modal.Target) -> str:
            if name == fails:
                raise smoke_modal.CheckFailed("as planned")
            return "well"

        return tried

    checks = {name: check(name) for name in (*smoke_modal.CHECKS, "again")}
    monkeypatch.setattr(smoke_modal, "CHECKS", checks)
    with httpx.Client() as nobody:
        failed = smoke_modal.run(smoke_modal.Target(nobody, None, 1, None))

    assert failed == 1
    assert capsys.readouterr().out.splitlines()[-1].split()[0] == last


def test_the_smoke_script_asks_for_a_key(command: Command) -> None:
    smoke = command.smoke()

    assert smoke.returncode == 2
    assert smoke.stdout.startswith("no API key: give --key or set RUSHES_API_KEY.")


def test_nothing_is_deployed_without_a_token(command: Command, tmp_path: Path) -> None:
    env = {name: value for name, value in command.env.items() if not name.startswith("MODAL_TOKEN")}
    nobody = Command(command.cloud, env)

    stopped = nobody.deploy(MODAL_CONFIG_PATH=str(tmp_path / "none.toml"), HOME=str(tmp_path))

    assert stopped.returncode == 1
    assert "\n.venv/bin/modal token new\nmake deploy\n" in stopped.stdout, stopped.stderr
    assert "(Modal says: Token missing.)" in stopped.stdout


def test_nothing_is_deployed_with_a_database_that_modal_cannot_reach(command: Command) -> None:
    stopped = command.deploy(RUSHES_MODAL_APP="homeless", RUSHES_DATABASE_URL="sqlite:////a/b.db")

    assert stopped.returncode == 1
    assert "must name a Postgres database that Modal can reach" in stopped.stdout
    assert "homeless" not in {found["app"] for found in command.cloud.get("functions")}


def test_the_way_to_change_a_secret_drops_no_database(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Though this machine does not name one: what is left out of a new Secret is gone."""
    token = SecretStr("a-token-for-tests-a-token-for-tests")
    settings = Settings(_env_file=None, data_dir=tmp_path, database_url="", worker_token=token)

    deploy_modal.report_unchanged("rushes", deploy_modal.local_values(settings), None)

    said = capsys.readouterr().out
    assert "RUSHES_WORKER_TOKEN not sent" in said
    assert "--force rushes RUSHES_DATABASE_URL=… RUSHES_BOOTSTRAP_KEY=…" in said


def test_without_the_address_of_a_database_none_is_told(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path, database_url="")

    told = deploy_modal.service_secret(settings, None)

    for name in ("RUSHES_DATABASE_URL", "ELEVENLABS_API_KEY", TRACES_KEY):
        assert told.pop(name) == ""
    assert all(told.values())
    assert sorted(told) == ["RUSHES_BOOTSTRAP_KEY", "RUSHES_SECRET", "RUSHES_WORKER_TOKEN"]


def test_the_way_to_change_the_secret_of_a_bucket_drops_none_of_its_keys(
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = Settings(_env_file=None, s3_bucket="clips")

    deploy_modal.report_unchanged("rushes-bucket", deploy_modal.bucket_secret(settings), None)

    said = capsys.readouterr().out
    assert "RUSHES_S3_BUCKET, RUSHES_S3_LINKS not sent" in said
    for name in ("ENDPOINT_URL", "REGION", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "PREFIX"):
        assert f" RUSHES_S3_{name}=…" in said


def test_a_secret_holds_what_is_set_and_nothing_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, dict[str, str]] = {}

    def create(name: str, values: dict[str, str], environment_name: str | None) -> None:
        made[name] = values

    objects = SimpleNamespace(create=create)
    monkeypatch.setattr(modal, "Secret", SimpleNamespace(objects=objects))

    deploy_modal.make_secret("rushes", {"RUSHES_DATABASE_URL": "", "RUSHES_SECRET": "s"}, None)

    assert made == {"rushes": {"RUSHES_SECRET": "s"}}  # an empty address would read as a Postgres


@pytest.mark.parametrize(
    ("weights", "there", "flags", "said", "run"),
    [
        ({}, False, [], True, 0),
        ({}, True, [], False, 0),
        # A folder of this machine is none of theirs; one of the Volume is.
        ({"ltx-2b": Path("/home/me/ltx")}, False, [], True, 0),
        ({"ltx-2b": Path("/weights/mine")}, False, ["--download"], False, 0),
        # What is there may have broken off.
        ({}, True, ["--download"], False, 1),
    ],
)
def test_weights_that_are_missing_are_told_or_fetched(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    weights: dict[str, Path],
    there: bool,
    flags: list[str],
    said: bool,
    run: int,
) -> None:
    settings = Settings(_env_file=None, models=["ltx-2b", "slate"], weights=weights)
    ran: list[tuple[str, ...]] = []
    monkeypatch.setattr(deploy_modal, "has_weights", lambda *_: there)
    monkeypatch.setattr(deploy_modal, "modal_command", lambda *words: ran.append(words))

    deploy_modal.report_weights(settings, deploy_modal.parser().parse_args(flags), None)

    assert ("ltx-2b has no weights yet" in capsys.readouterr().out) == said
    assert len(ran) == run


VIDEO_CARDS = [card for card in CARDS.values() if card.kind == "video"]


@pytest.mark.parametrize("card", VIDEO_CARDS, ids=lambda card: card.name)
def test_what_the_smoke_script_asks_for_is_what_the_model_can_make(card: ModelCard) -> None:
    with httpx.Client() as nobody:
        on = smoke_modal.Target(nobody, None, 1, None, card={"id": card.name, **card.model_dump()})

    for ask in (on.smallest(), on.long()):
        resolve(VideoParams.model_validate(ask), card, seed=1)


@pytest.mark.parametrize(
    ("revision", "folders", "complete"),
    [
        ("main", ["snapshots"], True),
        ("main", [], False),
        ("a" * 40, ["snapshots", f"snapshots/{'a' * 40}"], True),
        ("a" * 40, ["snapshots"], False),
    ],
)
def test_weights_of_a_branch_are_there_with_any_commit_of_it(
    monkeypatch: pytest.MonkeyPatch, revision: str, folders: list[str], complete: bool
) -> None:
    def listdir(path: str) -> list[str]:
        if not any(path.endswith(folder) for folder in folders):
            raise FileNotFoundError(path)
        return ["something"]

    volume = SimpleNamespace(from_name=lambda *_, **__: SimpleNamespace(listdir=listdir))
    monkeypatch.setattr(modal, "Volume", volume)
    settings = Settings(_env_file=None, longcat_revision=revision, longcat_base_revision=revision)

    assert deploy_modal.has_weights(settings, "longcat", None) is complete
