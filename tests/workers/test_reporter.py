"""The reporter against a small HTTP server that is told how to answer."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from service.domain.attempt import AttemptFailed, Failure, FailureKind, Stage, WorkerStopping
from service.domain.errors import Lost
from service.domain.ids import KeyId
from service.domain.job import new_job
from service.workers import reporter as reporting
from service.workers.reporter import ApiUnreachable, AttemptReleased, HttpReporter
from tests import make

Said = tuple[str, bytes]  # content type, body

PAGE = ("text/html", b"<h1>modal-http: invalid</h1>")


class Api(ThreadingHTTPServer):
    """Answers 200 unless `script` holds something else for the next call of an act."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.script: dict[str, list[int]] = {}
        self.foreign: dict[int, Said] = {}  # what something else says with a status
        self.cancel = False
        self.told = threading.Event()


class Handler(BaseHTTPRequestHandler):
    server: Api

    def do_POST(self) -> None:
        act = self.path.rsplit("/", 1)[1]
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.heard.append((act, body))
        scripted = self.server.script.get(act)
        status = scripted.pop(0) if scripted else 200
        answers = {
            "begin": {"fence": 5, "artifact_prefix": "jobs/j/5", "lease_seconds": 1.2},
            "progress": {"cancel_requested": self.server.cancel},
        }
        problem = {"detail": "as planned", "code": "lost"}
        answer = answers.get(act, {"status": "x"}) if status == 200 else problem
        kind = "application/json" if status == 200 else "application/problem+json"
        content = json.dumps(answer).encode()
        if status in self.server.foreign:
            kind, content = self.server.foreign[status]
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        if act == "progress":
            self.server.told.set()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[Api]:
    server = Api()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def reporter(api: Api) -> Iterator[HttpReporter]:
    with httpx.Client(base_url=f"http://127.0.0.1:{api.server_address[1]}") as client:
        yield HttpReporter(client, make.ticket(), threading.Event())


def until_it_raises(reporter: HttpReporter, api: Api) -> Exception:
    """Step on, as a model does, until a step raises."""
    for done in range(1, 100):
        try:
            reporter.step(Stage.GENERATE, done, 100)
        except (AttemptFailed, Lost) as error:
            return error
        api.told.clear()
        api.told.wait(0.3)
    raise AssertionError("no step raised")


def test_reports_carry_the_fence_that_begin_gave(reporter: HttpReporter, api: Api) -> None:
    assert reporter.begin() == "jobs/j/5"
    with reporter:
        reporter.step(Stage.GENERATE, 1, 2)
        api.told.wait(5)
        reporter.fail(Failure(kind=FailureKind.USER, code="x", message="y"))

    assert next(act for act, _ in api.heard) == "begin"
    assert all(body["fence"] == 5 for act, body in api.heard if act != "begin")
    assert api.heard[-1][0] == "fail"


def test_a_wish_to_cancel_raises_in_the_next_step(reporter: HttpReporter, api: Api) -> None:
    reporter.begin()
    api.cancel = True
    with reporter:
        error = until_it_raises(reporter, api)

    assert isinstance(error, AttemptFailed)
    assert error.kind is FailureKind.CANCELED


def test_a_lost_attempt_raises_in_the_next_step(reporter: HttpReporter, api: Api) -> None:
    reporter.begin()
    api.script["progress"] = [409] * 5
    with reporter:
        error = until_it_raises(reporter, api)

    assert isinstance(error, Lost)


@pytest.mark.parametrize("status", [200, 302, 401, 403, 404, 409, 422, 500])
@pytest.mark.parametrize(
    "said",
    [
        ("text/html", b""),
        PAGE,
        ("application/json", b"{}"),
        ("application/json", b"[]"),
        ("application/json", b'{"code": "x"}'),  # as many an API says it
        ("application/problem+json", b'{"title": "x"}'),
        ("application/problem+json", b"[]"),
    ],
    ids=repr,
)
def test_what_is_not_our_api_is_no_refusal(api: Api, status: int, said: Said) -> None:
    """A front door that knows no such app answers 404 for it; the attempt may well be ours."""
    api.foreign[status] = said
    api.script["begin"] = [status] * 100
    stopping = threading.Event()

    def stop_once_it_has_tried_again() -> None:
        while len(api.heard) < 2:
            time.sleep(0.01)
        stopping.set()

    watch = threading.Thread(target=stop_once_it_has_tried_again, daemon=True)
    watch.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{api.server_address[1]}") as client:
        reporter = HttpReporter(client, make.ticket(), stopping, retry_seconds=60)
        with pytest.raises(ApiUnreachable):
            reporter.begin()
    watch.join()


def test_a_silent_step_is_bridged_by_heartbeats(reporter: HttpReporter, api: Api) -> None:
    reporter.begin()
    with reporter:
        reporter.step(Stage.GENERATE, 1, 2)
        for _ in range(4):
            api.told.clear()
            assert api.told.wait(5)

    reports = [body["progress"]["fraction"] for act, body in api.heard if act == "progress"]
    assert len(reports) >= 4
    assert len(set(reports)) <= 2


def test_progress_that_is_not_heard_does_not_stop_the_work(
    reporter: HttpReporter, api: Api
) -> None:
    reporter.begin()
    api.script["progress"] = [503, 503]
    with reporter:
        for done in (1, 2, 3):
            api.told.clear()
            reporter.step(Stage.GENERATE, done, 3)
            assert api.told.wait(5)


def test_an_api_that_is_away_is_not_flooded(reporter: HttpReporter, api: Api) -> None:
    reporter.begin()
    api.script["progress"] = [503] * 1000
    with reporter:
        reporter.step(Stage.GENERATE, 1, 2)
        for _ in range(3):
            api.told.clear()
            api.told.wait(5)
        count = len(api.heard)

    assert count <= 8


def test_begin_and_finish_are_said_until_they_are_heard(reporter: HttpReporter, api: Api) -> None:
    api.script["begin"] = [503, 500]
    api.script["finish"] = [502]

    reporter.begin()
    reporter.finish(make.outcome(_job()))

    acts = [act for act, _ in api.heard]
    assert acts == ["begin"] * 3 + ["finish"] * 2
    assert len({body["call_id"] for act, body in api.heard if act == "begin"}) == 1


@pytest.mark.parametrize("act", ["finish", "fail", "release"])
def test_a_page_in_place_of_an_answer_is_none(reporter: HttpReporter, api: Api, act: str) -> None:
    api.foreign[203] = PAGE
    api.script[act] = [203]
    ends = {
        "finish": lambda: reporter.finish(make.outcome(_job())),
        "fail": lambda: reporter.fail(make.failure(FailureKind.USER)),
        "release": reporter.release,
    }
    reporter.begin()

    ends[act]()

    assert [heard for heard, _ in api.heard] == ["begin", act, act]


def test_heartbeats_go_on_after_a_page_in_place_of_an_answer(
    reporter: HttpReporter, api: Api
) -> None:
    api.foreign[203] = PAGE
    api.script["progress"] = [203, 203]
    reporter.begin()
    with reporter:
        for done in (1, 2, 3):
            api.told.clear()
            reporter.step(Stage.GENERATE, done, 3)
            assert api.told.wait(5)


def test_a_refused_begin_is_lost(reporter: HttpReporter, api: Api) -> None:
    api.script["begin"] = [409]

    with pytest.raises(Lost, match="as planned"):
        reporter.begin()


def test_a_worker_that_is_told_to_stop_hands_its_attempt_back(api: Api) -> None:
    stopping = threading.Event()
    with httpx.Client(base_url=f"http://127.0.0.1:{api.server_address[1]}") as client:
        reporter = HttpReporter(client, make.ticket(), stopping)
        stopping.set()

        with pytest.raises(WorkerStopping):
            reporter.step(Stage.GENERATE, 1, 2)
        reporter.release()

    assert api.heard[-1][0] == "release"


def test_a_model_that_ignores_that_it_lost_its_job_takes_its_process_along(
    reporter: HttpReporter, api: Api, left: list[int]
) -> None:
    with reporter:
        reporter.step(Stage.GENERATE, 1, 2)
        api.script["progress"] = [409]
        until(lambda: left == [70])


def test_a_lost_clip_that_is_only_encoded_leaves_the_process_to_the_next(
    reporter: HttpReporter, api: Api, left: list[int]
) -> None:
    with reporter:
        reporter.release_model()
        reporter.step(Stage.ENCODE, 0, 1)
        api.script["progress"] = [409]
        until(lambda: reporter._stop is not None)
        reporter._thread.join(10)

    assert left == []
    with pytest.raises(Lost):
        reporter.step(Stage.ENCODE, 1, 1)


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The codes with which the process was left, soon."""
    codes: list[int] = []
    monkeypatch.setattr(reporting, "_STUCK_SECONDS", 0.3)
    monkeypatch.setattr(reporting.os, "_exit", codes.append)
    return codes


def until(holds: Callable[[], bool]) -> None:
    while not holds():  # pytest-timeout ends what never comes
        time.sleep(0.01)


def test_what_is_given_back_says_what_it_has_cost(reporter: HttpReporter, api: Api) -> None:
    reporter.release(AttemptReleased("NVIDIA L40S", 2.5))

    assert api.heard == [("release", {"fence": 1, "gpu": "NVIDIA L40S", "gpu_seconds": 2.5})]


def _job():  # type: ignore[no-untyped-def]
    return new_job(make.submission(KeyId("key_x")), make.START)


def test_a_flag_that_signals_set_locks_up_no_wait() -> None:
    """Signals interrupt a main thread that waits, and set the flag for which it waits."""
    code = """
import os, signal, threading, time
from service.workers.reporter import StopFlag
flag, heard = StopFlag(), 0

def hear(number, frame):
    global heard
    flag.set()
    heard += 1

def send():
    for number in range(500):
        os.kill(os.getpid(), signal.SIGUSR1)
        while heard == number:
            time.sleep(0)

signal.signal(signal.SIGUSR1, hear)
sender = threading.Thread(target=send, daemon=True)
sender.start()
while sender.is_alive():
    flag.wait(0.0001)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
