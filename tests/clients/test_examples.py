"""The examples, run against a live service."""

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.clients.faulty_proxy import Fault, faulty_proxy
from tests.clients.node import TSX, environment, needs_node, run
from tests.contract.documents import blocks, read
from tests.contract.test_api_examples import Shell
from tests.contract.write import ROOT
from tests.journey.service import KEY, Running, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

EXAMPLES = ROOT / "examples"
WORKFLOW = EXAMPLES / "n8n" / "make-video.json"
RECEIVE = EXAMPLES / "python" / "receive.py"
RUN_WORKFLOW = ROOT / "tests" / "clients" / "run_workflow.mjs"
PROMPT = "a paper boat on a river"

Command = tuple[str | Path, ...]
PYTHON: Command = (sys.executable, EXAMPLES / "python" / "make_video.py")
TYPESCRIPT: Command = (*TSX, EXAMPLES / "typescript" / "make-video.ts")
LANGUAGES = [
    pytest.param(PYTHON, id="python"),
    pytest.param(TYPESCRIPT, id="typescript", marks=needs_node),
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("examples")
    with running(folder, "--workers", "1", webhooks_allow_loopback="1") as found:
        yield found


def url_of(service: Running) -> str:
    return str(service.client.base_url).rstrip("/")


def count(service: Running) -> int:
    jobs = service.client.get("/v1/jobs", params={"limit": 100}).json()
    assert not jobs["has_more"]
    return len(jobs["data"])


@pytest.mark.parametrize("command", LANGUAGES)
def test_a_prompt_becomes_one_file_through_faults(
    service: Running, tmp_path: Path, command: Command
) -> None:
    before = count(service)
    faults = (
        Fault("POST /generate-video", "lost"),
        Fault("GET /v1/jobs/", "429"),
        Fault("GET /v1/jobs/.*/content", "503"),
    )
    with faulty_proxy(url_of(service), *faults) as proxy:
        printed = run(*command, PROMPT, tmp_path / "boat.mp4", url=proxy.url).stdout

    job = service.job(printed.strip())
    assert job["status"] == "succeeded"
    assert job["input"]["prompt"] == PROMPT
    assert sha256((tmp_path / "boat.mp4").read_bytes()).hexdigest() == job["result"]["sha256"]
    assert count(service) == before + 1
    assert [fault.times for fault in proxy.faults] == [0, 0, 0]


@pytest.mark.parametrize("command", LANGUAGES)
def test_a_refusal_says_what_to_change(service: Running, tmp_path: Path, command: Command) -> None:
    done = run(*command, "x" * 5000, tmp_path / "no.mp4", url=url_of(service), exit_code=1)

    assert "prompt: must have at most 4,000 characters" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "no.mp4").exists()


@pytest.mark.parametrize(
    ("program", "setting"),
    [
        pytest.param(PYTHON, "RUSHES_API_KEY", id="python"),
        pytest.param((sys.executable, RECEIVE, "inbox"), "RUSHES_WEBHOOK_SECRET", id="receive.py"),
        pytest.param(TYPESCRIPT, "RUSHES_API_KEY", id="typescript", marks=needs_node),
        pytest.param(
            (*TSX, EXAMPLES / "typescript" / "receive.ts", "inbox"),
            "RUSHES_WEBHOOK_SECRET",
            id="receive.ts",
            marks=needs_node,
        ),
        *(
            pytest.param(
                (*TSX, EXAMPLES / "remotion" / name), "RUSHES_API_KEY", id=name, marks=needs_node
            )
            for name in ("render.ts", "server.ts", "submit.ts")
        ),
    ],
)
@pytest.mark.usefixtures("built")
def test_a_setting_that_is_missing_is_named(program: Command, setting: str) -> None:
    done = run(*program, exit_code=1)

    assert done.stderr.startswith(f"set {setting} to ")
    assert len(done.stderr.splitlines()) == 1
    assert not (ROOT / "inbox").exists()


def test_what_the_example_of_remotion_makes_is_ignored_by_git() -> None:
    made = ("public/generated/a.mp4", "films/due/storm", "storm.mp4", ".storm.1.mp4", "face.jpg")
    paths = [f"examples/remotion/{name}" for name in made]

    assert run("git", "check-ignore", *paths).stdout.split() == paths


@contextmanager
def receiving(command: Command, secret: str, port: int = 0) -> Iterator["subprocess.Popen[str]"]:
    settings = environment(RUSHES_WEBHOOK_SECRET=secret, PORT=str(port))
    words = [str(word) for word in command]
    with subprocess.Popen(
        words, cwd=ROOT, env=settings, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as receiver:
        yield receiver
        receiver.kill()


def line(receiver: "subprocess.Popen[str]") -> str:
    assert receiver.stdout is not None
    return receiver.stdout.readline().strip()


def in_database(inbox: Path) -> dict[str, Any]:
    """The events that the receiver in Python has kept, by their webhook-id."""
    with closing(sqlite3.connect(inbox)) as connection:
        kept = dict(connection.execute("SELECT webhook_id, event FROM inbox"))
    return {webhook_id: json.loads(event) for webhook_id, event in kept.items()}


def in_files(inbox: Path) -> dict[str, Any]:
    """The events that the receiver in TypeScript has kept."""
    return {path.stem: json.loads(path.read_bytes()) for path in inbox.iterdir()}


def tries_of(service: Running, job_id: str, count: int) -> list[dict[str, Any]]:
    """Wait until the one delivery of a job was tried so often, and return its tries."""
    deadline = time.monotonic() + 120
    while True:
        (delivery,) = service.client.get(
            "/v1/webhook-deliveries", params={"job_id": job_id}
        ).json()["data"]
        if len(delivery["tries"]) >= count:
            return list(delivery["tries"])
        assert time.monotonic() < deadline, delivery
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("program", "kept_in"),
    [
        pytest.param((sys.executable, RECEIVE), in_database, id="python"),
        pytest.param(
            (*TSX, EXAMPLES / "typescript" / "receive.ts"),
            in_files,
            id="typescript",
            marks=needs_node,
        ),
    ],
)
def test_a_receiver_keeps_each_webhook_once_through_its_own_restart(
    service: Running, tmp_path: Path, program: Command, kept_in: Callable[[Path], dict[str, Any]]
) -> None:
    secret = service.client.get("/v1/webhook-secret").json()["secret"]
    command = (*program, tmp_path / "inbox")
    with receiving(command, secret) as receiver:
        port = int(line(receiver).removeprefix("listening on "))
        url = f"http://127.0.0.1:{port}/"
        job_id = service.submit(webhook_url=url)["id"]
        assert line(receiver) == f"job.succeeded {job_id}"
        tries_of(service, job_id, 1)
        forged = {
            "webhook-id": "dlv_1",
            "webhook-timestamp": str(int(time.time())),
            "webhook-signature": "v1,AAAA v2,AAAA nonsense",
        }
        statuses = [httpx.post(url, content=b"{}", headers=headers) for headers in (forged, {})]

    (delivery_id,) = kept_in(tmp_path / "inbox")
    with receiving(command, secret, port) as receiver:
        assert line(receiver) == f"listening on {port}"
        service.client.post(f"/v1/webhook-deliveries/{delivery_id}/replay")
        tries = tries_of(service, job_id, 2)
        receiver.kill()
        assert receiver.communicate()[0] == ""

    assert [response.status_code for response in statuses] == [401, 401]
    assert [each["status"] for each in tries] == [204, 204]
    ((kept_id, event),) = kept_in(tmp_path / "inbox").items()
    assert kept_id == delivery_id
    assert (event["type"], event["data"]["id"]) == ("job.succeeded", job_id)


def test_the_receiver_in_python_reads_no_body_that_is_too_large(tmp_path: Path) -> None:
    with receiving((sys.executable, RECEIVE, tmp_path / "inbox"), f"whsec_{'A' * 43}=") as receiver:
        port = int(line(receiver).removeprefix("listening on "))
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/", headers={"Content-Length": "1000000000"})

        assert connection.getresponse().status == 413
        connection.close()


@needs_node
def test_the_workflow_makes_one_video_through_faults(service: Running, tmp_path: Path) -> None:
    before = count(service)
    faults = (Fault("POST /generate-video", "lost"), Fault("GET /v1/jobs/", "503"))
    with faulty_proxy(url_of(service), *faults) as proxy:
        workflow(tmp_path / "boat.mp4", f"url={proxy.url}")

    assert count(service) == before + 1
    job = service.client.get("/v1/jobs", params={"limit": 1}).json()["data"][0]
    assert job["input"]["prompt"] == PROMPT
    assert sha256((tmp_path / "boat.mp4").read_bytes()).hexdigest() == job["result"]["sha256"]


@needs_node
def test_the_workflow_fails_with_the_reason(service: Running, tmp_path: Path) -> None:
    path = tmp_path / "no.mp4"

    refused = workflow(path, f"url={url_of(service)}", f"prompt={'x' * 5000}", exit_code=1)

    assert "at most 4,000 characters" in refused
    assert not path.exists()


@needs_node
@pytest.mark.usefixtures("built")
def test_the_commands_of_the_integration_page_work(service: Running, tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(ROOT / "node_modules")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    shell, url = Shell(tmp_path, url_of(service)), url_of(service)

    for block in blocks(read("docs/integration.md")):
        assert block.tested
        if block.language == "bash":
            # The list has several pages.
            shell.run(replace(block, text=block.text.replace("limit=100", "limit=1")))
        else:
            (tmp_path / "resolve.ts").write_text(block.text)
            run(*TSX, "resolve.ts", folder=tmp_path, url=url)

    ids = (tmp_path / "jobs.txt").read_text().split()
    jobs = [service.job(job_id) for job_id in ids]
    assert [job["result"]["duration_seconds"] for job in jobs] == [2, 1.5]
    assert [job["metadata"] for job in jobs] == [{"film": "storm"}] * 2
    for job in jobs:
        video = (tmp_path / "clips" / f"{job['id']}.mp4").read_bytes()
        assert sha256(video).hexdigest() == job["result"]["sha256"]
    assert len(list((tmp_path / "public" / "generated").glob("*.mp4"))) == 2
    ended = shell.answer("ended_after").splitlines()
    assert {f"succeeded storm {job_id}" for job_id in ids} < set(ended)


def workflow(output: Path, *fields: str, exit_code: int = 0) -> str:
    """Run it as an execution of its own, and return what it reports."""
    command = ("node", RUN_WORKFLOW, WORKFLOW, uuid4().hex, output, *fields)
    return run(*command, exit_code=exit_code, RUSHES_API_KEY=KEY).stderr
