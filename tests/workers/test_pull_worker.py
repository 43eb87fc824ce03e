"""The local worker against the real API: one model, and up to two clips at a time."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from service.app import build
from service.artifacts.files import Files
from service.domain.attempt import Artifact, Ticket
from service.domain.models.catalog import SLATE
from service.settings import Settings
from service.workers import pull_worker
from service.workers.adapters.base import Conditions, Frame, OnStep
from service.workers.adapters.slate import Slate
from service.workers.attempt import ModelCache
from service.workers.pull_worker import PullWorker
from service.workers.recipe import WorkerEnvironment
from service.workers.reporter import HttpReporter
from tests.api.world import KEY, WORKER_TOKEN
from tests.workers.clips import frames_only

SECONDS = 30.0


@dataclass
class Service:
    """The API on a port of its own."""

    client: httpx.Client

    def submit(self, *seeds: int) -> list[str]:
        tiny = {"prompt": "a red ball", "width": 64, "height": 64, "num_frames": 2}
        answers = [
            self.client.post("/generate-video", json={**tiny, "seed": seed}) for seed in seeds
        ]
        return [answer.json()["id"] for answer in answers]

    def states(self, ids: list[str]) -> list[str]:
        return [self.client.get(f"/v1/jobs/{job_id}").json()["status"] for job_id in ids]

    def health(self) -> dict[str, Any]:
        health: dict[str, Any] = self.client.get("/health").json()
        return health


class Counted(Slate):
    """Tells which clips it has begun."""

    def __init__(self) -> None:
        super().__init__(SLATE, None)
        self.begun: list[int] = []
        self.fault: Exception | None = None

    @frames_only
    def generate(self, request: Any, conditions: Conditions, on_step: OnStep) -> Iterator[Frame]:
        self.begun.append(request.seed)
        if self.fault is not None:
            raise self.fault
        yield from super().generate(request, conditions, on_step).frames


class Gated(Files):
    """Keeps no video before its gate is opened."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.gate = threading.Event()
        self.waiting = 0

    def put(self, key: str, path: Path, media_type: str) -> Artifact:
        if key.endswith("/video.mp4"):
            self.waiting += 1
            assert self.gate.wait(SECONDS)
        return super().put(key, path, media_type)


@pytest.fixture
def service(tmp_path: Path, migrated: Path) -> Iterator[Service]:
    (tmp_path / "rushes.db").write_bytes(migrated.read_bytes())
    settings = Settings(
        _env_file=None,
        data_dir=tmp_path,
        bootstrap_key=KEY,
        worker_token=WORKER_TOKEN,
        models=["slate"],
    )
    server = uvicorn.Server(uvicorn.Config(build(settings), port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    (port,) = {sock.getsockname()[1] for each in server.servers for sock in each.sockets}
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers) as client:
        yield Service(client)
    server.should_exit = True
    thread.join()


@pytest.fixture
def artifacts(tmp_path: Path) -> Gated:
    return Gated(tmp_path / "artifacts")


@pytest.fixture
def model() -> Counted:
    return Counted()


@pytest.fixture
def puller(
    service: Service,
    artifacts: Gated,
    model: Counted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[PullWorker]:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    headers = {"Authorization": f"Bearer {WORKER_TOKEN}"}
    monkeypatch.setattr(pull_worker, "_WAIT_SECONDS", 0.5)
    with httpx.Client(base_url=service.client.base_url, headers=headers) as client:
        yield PullWorker(
            client,
            "w",
            ["slate"],
            WorkerEnvironment(artifacts, scratch),
            ModelCache(lambda card: model),
        )


@pytest.fixture
def work(puller: PullWorker, artifacts: Gated) -> Iterator[Callable[[], threading.Thread]]:
    """Starts it, and ends it after the test."""
    started: list[threading.Thread] = []

    def start() -> threading.Thread:
        started.append(threading.Thread(target=puller.work))
        started[0].start()
        return started[0]

    yield start
    artifacts.gate.set()
    puller.stopping.set()
    for thread in started:
        thread.join(SECONDS)
        assert not thread.is_alive()


def until(holds: Callable[[], bool]) -> None:
    while not holds():  # pytest-timeout ends what never comes
        time.sleep(0.02)


def test_the_next_clip_is_made_while_the_last_is_kept_and_a_third_waits(
    service: Service, artifacts: Gated, model: Counted, work: Callable[[], threading.Thread]
) -> None:
    ids = service.submit(1, 2, 3)

    work()

    until(lambda: artifacts.waiting == 2)
    assert model.begun == [1, 2]
    # A third would only wait here, while another worker may be free.
    assert service.states(ids) == ["running", "running", "queued"]
    artifacts.gate.set()
    until(lambda: service.states(ids) == ["succeeded"] * 3)
    assert model.begun == [1, 2, 3]


def test_without_overlap_one_clip_follows_the_other(
    service: Service,
    puller: PullWorker,
    artifacts: Gated,
    model: Counted,
    work: Callable[[], threading.Thread],
) -> None:
    puller.overlap = False
    ids = service.submit(1, 2)

    work()

    until(lambda: artifacts.waiting == 1)
    time.sleep(1)
    assert (model.begun, service.states(ids)) == ([1], ["running", "queued"])
    artifacts.gate.set()
    until(lambda: service.states(ids) == ["succeeded"] * 2)


@pytest.mark.parametrize("first", ["the one that was tried before", "the new one"])
def test_what_is_tried_again_runs_alone(
    service: Service,
    puller: PullWorker,
    artifacts: Gated,
    model: Counted,
    work: Callable[[], threading.Thread],
    first: str,
) -> None:
    """It may be what took its worker down, and is to take no other clip along."""
    old = service.submit(1)
    ticket = puller._claim()
    assert ticket is not None
    reporter = HttpReporter(puller.client, ticket, threading.Event())
    reporter.begin()
    if first == "the new one":
        ids = [*old, *service.submit(2)]
        reporter.release()
    else:
        reporter.release()
        ids = [*old, *service.submit(2)]

    work()

    until(lambda: artifacts.waiting == 1)
    time.sleep(1)
    assert model.begun == [2 if first == "the new one" else 1]
    if first == "the new one":
        # It waits with a lease that is kept alive, not as a start that nobody makes good.
        assert service.states(ids) == ["running", "running"]
    artifacts.gate.set()
    until(lambda: service.states(ids) == ["succeeded"] * 2)


def test_what_waits_to_be_tried_again_can_be_canceled_and_given_back(
    service: Service,
    puller: PullWorker,
    artifacts: Gated,
    model: Counted,
    work: Callable[[], threading.Thread],
) -> None:
    def tried(seed: int) -> tuple[list[str], HttpReporter]:
        ids = service.submit(seed)
        ticket = puller._claim()
        assert ticket is not None
        reporter = HttpReporter(puller.client, ticket, threading.Event())
        reporter.begin()
        return ids, reporter

    (canceled, one), (stopped, other) = tried(1), tried(2)
    new = service.submit(3)
    one.release()
    thread = work()
    until(lambda: service.states([*canceled, *new]) == ["running", "running"])

    service.client.post(f"/v1/jobs/{canceled[0]}/cancel")
    until(lambda: service.states(canceled) == ["canceled"])
    other.release()
    until(lambda: service.states(stopped) == ["running"])
    puller.stopping.set()
    until(lambda: service.states(stopped) == ["queued"])

    assert model.begun == [3]
    artifacts.gate.set()
    thread.join(SECONDS)


def test_a_clip_that_fails_frees_the_model_for_the_next(
    service: Service, artifacts: Gated, model: Counted, work: Callable[[], threading.Thread]
) -> None:
    model.fault = ValueError("as planned")
    artifacts.gate.set()
    ids = service.submit(1, 2)

    work()

    until(lambda: service.states(ids) == ["failed"] * 2)
    model.fault = None
    ids = service.submit(3)
    until(lambda: service.states(ids) == ["succeeded"])


def test_a_worker_that_stops_gives_back_what_it_makes_and_what_it_keeps(
    service: Service, puller: PullWorker, artifacts: Gated, work: Callable[[], threading.Thread]
) -> None:
    ids = service.submit(1, 2)
    thread = work()
    until(lambda: artifacts.waiting == 2)

    puller.stopping.set()
    artifacts.gate.set()
    thread.join(SECONDS)

    assert not thread.is_alive()
    # Both were all but kept: finished, or given back with nothing counted; none is lost.
    assert set(service.states(ids)) <= {"succeeded", "queued"}


def test_a_worker_that_stops_does_not_take_up_again_what_it_gave_back(
    service: Service, puller: PullWorker, model: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks for work the moment that the model is free, which may be just after the stop."""
    ids = service.submit(1)

    def stop(_places: object, _model: object) -> bool:
        puller.stopping.set()
        return True

    monkeypatch.setattr(pull_worker, "_acquire_both", stop)

    puller.work()

    assert (model.begun, service.states(ids)) == ([], ["queued"])
    assert service.client.get(f"/v1/jobs/{ids[0]}").json()["attempts"] == 0


def test_another_model_waits_until_the_last_clip_of_the_one_before_is_kept(
    service: Service,
    puller: PullWorker,
    artifacts: Gated,
    model: Counted,
    work: Callable[[], threading.Thread],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two do not share a GPU well."""
    ids = service.submit(1, 2)
    claim = puller._claim

    def renamed() -> Ticket | None:
        ticket = claim()
        if ticket is None or ticket.request.seed == 1:
            return ticket
        return ticket.model_copy(update={"card": SLATE.model_copy(update={"name": "other"})})

    monkeypatch.setattr(puller, "_claim", renamed)
    work()
    until(lambda: artifacts.waiting == 1)
    until(lambda: service.states(ids) == ["running", "running"])
    time.sleep(1)

    assert model.begun == [1]
    artifacts.gate.set()
    until(lambda: service.states(ids) == ["succeeded"] * 2)


def test_what_an_attempt_cannot_handle_ends_the_worker(
    service: Service, puller: PullWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise KeyError("as planned")

    monkeypatch.setattr(puller, "_run", broken)
    service.submit(1)

    with pytest.raises(KeyError, match="as planned"):
        puller.work()


def test_a_worker_whose_machine_is_at_fault_leaves_the_queue_alone_until_it_can_work(
    service: Service,
    puller: PullWorker,
    artifacts: Gated,
    model: Counted,
    work: Callable[[], threading.Thread],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pull_worker, "_UNFIT_SECONDS", 0.1)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/bin/false")
    artifacts.gate.set()
    ids = service.submit(*range(1, 13))

    work()

    until(lambda: service.health()["unfit_workers"] != [])
    assert "ffmpeg does not start" in service.health()["unfit_workers"][0]["reason"]
    # It went on while the first one was encoded, and met the fault with both; it gives them back.
    until(lambda: set(service.states(ids)) == {"queued"})
    assert len(model.begun) <= 2
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE")
    until(lambda: service.states(ids) == ["succeeded"] * 12)
    assert service.health()["unfit_workers"] == []
