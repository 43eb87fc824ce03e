"""A called worker answers whatever happens: what it raises cannot be told from a call that runs."""

import time
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from service.artifacts.files import Files
from service.domain.attempt import BEGUN_SIGN, FailureKind, lone_prefix
from service.domain.call import CallEnd
from service.domain.ids import JobId
from service.domain.models.card import ModelCard
from service.domain.models.catalog import SLATE
from service.workers.adapters.slate import Slate
from service.workers.attempt import ModelCache
from service.workers.call_worker import CallWorker
from service.workers.recipe import WorkerEnvironment
from tests import make

# Nothing listens there.
TICKET = make.ticket(api_url="http://127.0.0.1:9").model_dump(mode="json")


def slate(card: ModelCard) -> Slate:
    return Slate(card, None)


@pytest.fixture
def worker(tmp_path: Path) -> CallWorker:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return CallWorker(
        WorkerEnvironment(Files(tmp_path / "kept"), scratch), ModelCache(slate), retry_seconds=0.2
    )


@pytest.mark.parametrize(
    "told", [{}, {**TICKET, "fence": "x"}, {**TICKET, "request": None}], ids=["{}", "fence", "none"]
)
def test_a_ticket_that_is_none_is_answered_and_named_by_no_attempt(
    worker: CallWorker, told: dict[str, Any]
) -> None:
    answer = worker.run(told, "fc-1")

    assert "error" in answer
    with pytest.raises(ValueError, match="job_id"):
        CallEnd.model_validate(answer)


@pytest.mark.parametrize(
    "fault", [TimeoutError("as planned"), KeyError("x"), MemoryError(), SystemExit(3)], ids=repr
)
def test_a_fault_outside_of_the_attempt_is_answered(
    worker: CallWorker, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr("service.workers.call_worker.run_attempt", broken)

    assert "error" in worker.run(TICKET, "fc-1")


@pytest.mark.parametrize("fault", [TimeoutError("as planned"), KeyError("x")], ids=repr)
def test_a_model_that_cannot_be_loaded_is_told_by_its_call(
    tmp_path: Path, fault: Exception
) -> None:
    def broken(card: ModelCard) -> Slate:
        raise fault

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    worker = CallWorker(
        WorkerEnvironment(Files(tmp_path / "kept"), scratch), ModelCache(broken), retry_seconds=0.2
    )

    worker.load(SLATE)  # before any call: nobody could be told
    end = CallEnd.model_validate(worker.run(TICKET, "fc-1"))

    assert not end.begun
    assert end.outcome is None
    assert end.failure is not None
    assert end.failure.code == "worker_error"


class Away:
    """An API that is away while its worker begins, and then refuses whatever carries no fence of
    its own. A double: it has to be back at a moment that the test chooses."""

    def __init__(self, **_: Any) -> None:
        self.heard: list[str] = []

    def __enter__(self) -> "Away":
        ALL.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def post(self, url: str, **_: Any) -> httpx.Response:
        act = url.rpartition("/")[2]
        request = httpx.Request("POST", f"http://api{url}")
        if act == "begin":
            raise httpx.ReadTimeout("as planned", request=request)
        self.heard.append(act)
        headers = {"content-type": "application/problem+json"}
        return httpx.Response(409, json={"code": "lost"}, headers=headers, request=request)


class There(Away):
    """One that hears everything."""

    told: ClassVar[list[tuple[str, Any]]] = []

    def post(self, url: str, json: Any = None, **_: Any) -> httpx.Response:
        act = url.rpartition("/")[2]
        self.told.append((act, json))
        answers = {
            "begin": {"fence": 3, "artifact_prefix": "jobs/j/3", "lease_seconds": 30},
            "progress": {"cancel_requested": False},
        }
        answer = answers.get(act, {"status": "x"})
        return httpx.Response(200, json=answer, request=httpx.Request("POST", f"http://api{url}"))


ALL: list[Away] = []


class Slow(Slate):
    def generate(self, *given: Any, **more: Any) -> Any:
        time.sleep(1)  # several heartbeats' time
        return super().generate(*given, **more)


def test_an_api_that_comes_back_stops_no_worker_whose_begin_it_did_not_confirm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.workers.call_worker.httpx.Client", Away)
    ALL.clear()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    warm = ModelCache(lambda card: Slow(card, None))
    worker = CallWorker(
        WorkerEnvironment(Files(tmp_path / "kept"), scratch), warm, retry_seconds=0.2
    )

    end = CallEnd.model_validate(worker.run(TICKET, "fc-1"))

    assert end.outcome is not None
    assert [api.heard for api in ALL] == [[]]


def test_an_api_that_is_never_reached_learns_of_the_clip_from_the_answer(
    worker: CallWorker, tmp_path: Path
) -> None:
    end = CallEnd.model_validate(worker.run(TICKET, "fc-1"))

    assert (end.begun, end.failure) == (False, None)
    assert end.outcome is not None
    assert (tmp_path / "kept" / end.outcome.facts.video.key).stat().st_size > 0


def test_a_worker_that_cannot_be_heard_leaves_a_sign_before_it_works(tmp_path: Path) -> None:
    """Else it would be given up with those that never begin."""
    kept = Files(tmp_path / "kept")
    prefix = lone_prefix(JobId(TICKET["job_id"]), TICKET["fence"], "fc-1")
    seen: list[list[str]] = []

    class Looking(Slate):
        def generate(self, *given: Any, **more: Any) -> Any:
            seen.append(kept.children(prefix))
            return super().generate(*given, **more)

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    warm = ModelCache(lambda card: Looking(card, None))

    CallWorker(WorkerEnvironment(kept, scratch), warm, retry_seconds=0.2).run(TICKET, "fc-1")

    assert seen == [[BEGUN_SIGN]]


class Interrupted(BaseException):
    """As Modal raises in a call that it cancels."""


def test_a_call_that_is_canceled_tells_so_and_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Canceled(Slate):
        def generate(self, *given: Any, **more: Any) -> Any:
            raise Interrupted

    monkeypatch.setattr("service.workers.call_worker.httpx.Client", There)
    There.told.clear()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    worker = CallWorker(
        WorkerEnvironment(Files(tmp_path / "kept"), scratch),
        ModelCache(lambda card: Canceled(card, None)),
        interruptions=(Interrupted,),
    )

    with pytest.raises(Interrupted):
        worker.run(TICKET, "fc-1")

    (failed,) = (said for act, said in There.told if act == "fail")
    assert (failed["fence"], failed["failure"]["kind"]) == (3, "canceled")


def test_a_container_whose_machine_is_at_fault_takes_no_further_call(
    worker: CallWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is retired before its end is told: the job's next call is not to come to it."""
    monkeypatch.setattr("service.workers.call_worker.httpx.Client", There)
    There.told.clear()
    worker.retire = lambda: There.told.append(("retire", None))

    worker.run(TICKET, "fc-1")
    assert [act for act, _ in There.told if act != "progress"] == ["begin", "finish"]

    There.told.clear()
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/bin/false")
    end = CallEnd.model_validate(worker.run(TICKET, "fc-2"))

    assert [act for act, _ in There.told if act != "progress"] == ["begin", "retire", "fail"]
    assert end.failure is not None
    assert end.failure.kind is FailureKind.MACHINE


def test_a_container_that_cannot_be_retired_tells_its_end_all_the_same(
    worker: CallWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> None:
        raise ConnectionError("as planned")

    worker.retire = refused
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/bin/false")

    end = CallEnd.model_validate(worker.run(TICKET, "fc-1"))

    assert end.failure is not None


def test_a_container_that_cannot_even_leave_a_sign_answers_what_failed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file has no place for files")
    scratch = tmp_path / "file" / "scratch"
    worker = CallWorker(
        WorkerEnvironment(Files(tmp_path / "kept"), scratch), ModelCache(slate), retry_seconds=0.2
    )

    end = CallEnd.model_validate(worker.run(TICKET, "fc-1"))

    assert end.failure is not None
    assert end.failure.kind is FailureKind.MACHINE
