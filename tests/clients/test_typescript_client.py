"""The TypeScript client against a live service: through faults, restarts and its own death."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.faulty_proxy import Fault, Seen, faulty_proxy
from tests.clients.node import TSX, TYPESCRIPT, environment, needs_node, run
from tests.contract.write import ROOT
from tests.journey.service import Running, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), needs_node]

MAKE = (*TSX, TYPESCRIPT / "test" / "programs" / "make.ts")
# Seconds of work: long enough to be killed in the middle, short enough to be waited for.
SOME_SECONDS = {"width": 640, "height": 360, "num_frames": 240}

LONG = {"width": 1280, "height": 720, "num_frames": 240}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("typescript"), "--workers", "1") as found:
        yield found


def url_of(service: Running) -> str:
    return str(service.client.base_url).rstrip("/")


def jobs(service: Running, scene: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = service.client.get(
        "/v1/jobs", params={"metadata[scene]": scene}
    ).json()["data"]
    return found


def request(scene: str, **more: Any) -> str:
    return json.dumps({"metadata": {"scene": scene}, **more})


def steps(printed: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in printed.splitlines()]


def retries(printed: str) -> list[str]:
    return [step["retry"] for step in steps(printed) if "retry" in step]


def assert_one_video(service: Running, scene: str, file: Path) -> None:
    """One job was submitted for the scene, and the file is its video, whole."""
    (job,) = jobs(service, scene)
    assert job["status"] == "succeeded"
    assert sha256(file.read_bytes()).hexdigest() == job["result"]["sha256"]
    assert not file.with_name(f"{file.name}.part").exists()


def start_of(download: Seen) -> int:
    """The first byte that a request asks for."""
    wanted = download.headers.get("range", "bytes=0-")
    return int(wanted.removeprefix("bytes=").rstrip("-"))


def start(*command: str | Path, url: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [str(word) for word in command],
        cwd=ROOT,
        env=environment(url),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )


def step_of(program: "subprocess.Popen[str]", name: str) -> Any:
    """Read what a program prints up to the step of this name, and return that."""
    assert program.stdout is not None
    return next(step[name] for step in map(json.loads, program.stdout) if name in step)


def wait_for_another(service: Running, api: int) -> None:
    """Wait until the API process was started again, and answers."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if service.children("api") not in ([], [api]):
            with suppress(httpx.TransportError):
                service.client.get("/livez")
                return
        time.sleep(0.05)
    raise AssertionError(service.log())


def test_it_does_on_a_live_service_what_it_says(service: Running) -> None:
    tests = [TYPESCRIPT / "test" / name for name in ("live.test.ts", "edge.test.ts")]

    done = run(*TSX, "--test", *tests, url=url_of(service))

    assert "fail 0" in done.stdout


def test_a_lost_answer_and_busy_servers_make_one_job(service: Running, tmp_path: Path) -> None:
    submit = "POST /generate-video"
    faults = [Fault(submit, "lost"), Fault(submit, "503"), Fault(submit, "429")]
    with faulty_proxy(url_of(service), *faults) as proxy:
        done = run(*MAKE, tmp_path / "a.mp4", request("lost"), url=proxy.url)

    assert_one_video(service, "lost", tmp_path / "a.mp4")
    submits = proxy.requests(submit)
    assert [seen.fault for seen in submits] == ["lost", "503", "429", None]
    assert len({seen.headers["idempotency-key"] for seen in submits}) == 1
    assert len(retries(done.stdout)) == 3


def test_a_service_that_stays_away_is_an_error_with_the_key_of_the_submit(
    service: Running, tmp_path: Path
) -> None:
    program = (*TSX, TYPESCRIPT / "test" / "programs" / "unanswered.ts")
    with faulty_proxy(url_of(service), Fault("POST", "lost", times=100)) as proxy:
        error = json.loads(run(*program, request("away"), url=proxy.url).stdout)

    assert error["name"] == "ConnectionError"
    assert len(jobs(service, "away")) == 1
    run(*MAKE, tmp_path / "a.mp4", request("away"), error["idempotencyKey"], url=url_of(service))
    assert_one_video(service, "away", tmp_path / "a.mp4")


def test_a_download_that_is_cut_goes_on_where_it_was(service: Running, tmp_path: Path) -> None:
    content = "GET /v1/jobs/.*/content"
    faults = [Fault(content, "cut", times=7, bytes=20_000), Fault(content, "503", times=2)]
    with faulty_proxy(url_of(service), *faults) as proxy:
        run(*MAKE, tmp_path / "a.mp4", request("cut", **SOME_SECONDS), url=proxy.url)

    assert_one_video(service, "cut", tmp_path / "a.mp4")
    starts = [start_of(seen) for seen in proxy.requests(content)]
    assert starts == sorted(starts)
    # Node drops what it had not handed out when a connection broke: not every try gets further.
    assert len(set(starts)) > 2


def test_bytes_of_another_video_are_noticed_and_fetched_again(
    service: Running, tmp_path: Path
) -> None:
    (tmp_path / "a.mp4.part").write_bytes(b"the start of something else")

    done = run(*MAKE, tmp_path / "a.mp4", request("other"), url=url_of(service))

    assert_one_video(service, "other", tmp_path / "a.mp4")
    assert retries(done.stdout) == ["the download does not match the video's SHA-256"]


def test_a_wait_outlives_the_death_of_the_service(service: Running, tmp_path: Path) -> None:
    program = start(
        *(*MAKE, tmp_path / "a.mp4", request("died", **SOME_SECONDS)), url=url_of(service)
    )
    with program:
        assert step_of(program, "id")
        for _ in range(2):
            (api,) = service.children("api")
            os.kill(api, signal.SIGKILL)
            wait_for_another(service, api)
        assert step_of(program, "saved")

    assert_one_video(service, "died", tmp_path / "a.mp4")


@pytest.mark.parametrize("step", ["id", "status"])
def test_a_killed_client_is_resumed_by_the_id(service: Running, tmp_path: Path, step: str) -> None:
    scene = f"killed at {step}"
    program = start(
        *(*MAKE, tmp_path / "a.mp4", request(scene, **SOME_SECONDS)), url=url_of(service)
    )
    with program:
        found = step_of(program, step)
        program.send_signal(signal.SIGKILL)
    (job,) = jobs(service, scene)
    assert found in (job["id"], job["status"], "queued", "starting", "running")

    run(*MAKE, tmp_path / "a.mp4", job["id"], url=url_of(service))

    assert_one_video(service, scene, tmp_path / "a.mp4")


def test_a_client_that_is_killed_in_a_download_fetches_the_rest(
    service: Running, tmp_path: Path
) -> None:
    content = "GET /v1/jobs/.*/content"
    with faulty_proxy(url_of(service), Fault(content, "cut", times=100, bytes=20_000)) as proxy:
        program = start(
            *(*MAKE, tmp_path / "a.mp4", request("half", **SOME_SECONDS)), url=proxy.url
        )
        part = tmp_path / "a.mp4.part"
        with program:
            step_of(program, "retry")
            while not part.stat().st_size:  # a reset may have come before the first bytes were read
                step_of(program, "retry")
            program.send_signal(signal.SIGKILL)
    (job,) = jobs(service, "half")
    kept = part.stat().st_size
    assert 0 < kept < job["result"]["bytes"]

    with faulty_proxy(url_of(service)) as proxy:
        run(*MAKE, tmp_path / "a.mp4", job["id"], url=proxy.url)

    assert_one_video(service, "half", tmp_path / "a.mp4")
    (seen,) = proxy.requests(content)
    assert start_of(seen) == kept


def test_a_wait_follows_the_events_of_its_job(service: Running, tmp_path: Path) -> None:
    first_kept = Fault("/events", "cut", text="\nid: ")  # only events that are kept have an id
    faults = [Fault("/events", "503"), first_kept]
    with faulty_proxy(url_of(service), *faults) as proxy:
        done = run(*MAKE, tmp_path / "a.mp4", request("events", **LONG), url=proxy.url)

    assert_one_video(service, "events", tmp_path / "a.mp4")
    assert [step["status"] for step in steps(done.stdout) if "status" in step][-2:] == [
        "running",
        "succeeded",
    ]
    assert len(proxy.requests("/events")) >= 3
    # The next stream goes on behind the last event that came.
    assert any("last-event-id" in seen.headers for seen in proxy.requests("/events"))
    assert proxy.requests(r"\?wait=") == []


def test_streams_that_are_held_back_are_given_up_for_long_polls(
    service: Running, tmp_path: Path
) -> None:
    with faulty_proxy(url_of(service), Fault("/events", "refused", times=100)) as proxy:
        run(*MAKE, tmp_path / "a.mp4", request("held", **LONG), url=proxy.url)

    assert_one_video(service, "held", tmp_path / "a.mp4")
    assert len(proxy.requests("/events")) == 3
    assert proxy.requests(r"GET /v1/jobs/[^/]+\?wait=")


def test_a_service_without_events_is_asked_by_long_polls(service: Running, tmp_path: Path) -> None:
    with faulty_proxy(url_of(service), Fault("/events", "404", times=100)) as proxy:
        run(*MAKE, tmp_path / "a.mp4", request("poll", **SOME_SECONDS), url=proxy.url)

    assert_one_video(service, "poll", tmp_path / "a.mp4")
    assert len(proxy.requests("/events")) == 1
    assert proxy.requests(r"GET /v1/jobs/[^/]+\?wait=")
