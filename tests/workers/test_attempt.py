"""What an attempt says of its cost, with an adapter that a test plays by hand."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import httpx
import pytest

from service.artifacts.files import Files
from service.domain.attempt import AttemptFailed, Failure, FailureKind, Outcome, Profile, Stage
from service.domain.errors import StorageFull
from service.domain.models.card import ModelCard
from service.domain.models.catalog import SLATE
from service.workers.adapters.base import Conditions, Frame, OnStep
from service.workers.adapters.slate import Slate
from service.workers.attempt import ModelCache, run_attempt
from service.workers.recipe import WorkerEnvironment
from service.workers.reporter import AttemptReleased, HttpReporter
from tests import make
from tests.workers.clips import frames_only

LOADING = 0.2
T = TypeVar("T")


class OnGpu:
    """Slate, as if it ran on a GPU that takes its time to load."""

    made_with: dict[str, str] = {}  # noqa: RUF012 - never written

    def __init__(self, card: ModelCard, fault: AttemptFailed | None = None) -> None:
        self.gpu: str | None = None
        self._slate = Slate(card, None)
        self._fault = fault
        self.profiles: list[Profile] = []

    def load(self, profile: Profile = Profile.FULL) -> None:
        self.profiles.append(profile)
        if self.gpu is None:
            time.sleep(LOADING)
            self.gpu = "NVIDIA L40S"

    @frames_only
    def generate(self, request: Any, conditions: Conditions, on_step: OnStep) -> Iterator[Frame]:
        if self._fault is not None:
            raise self._fault
        yield from self._slate.generate(request, conditions, on_step).frames


@pytest.fixture
def bench(tmp_path: Path) -> WorkerEnvironment:
    (tmp_path / "scratch").mkdir()
    return WorkerEnvironment(Files(tmp_path / "artifacts"), tmp_path / "scratch")


def timed(act: Callable[[], T]) -> tuple[T, float]:
    """The result, and the seconds that it took: a bound that holds on a busy machine too."""
    began = time.perf_counter()
    return act(), time.perf_counter() - began


def run(
    warm: ModelCache, bench: WorkerEnvironment, **changes: Any
) -> Outcome | Failure | AttemptReleased:
    ticket = make.ticket(**changes)
    with httpx.Client(base_url=ticket.api_url) as client:
        reporter = HttpReporter(client, ticket, Event())
        return run_attempt(ticket, warm, bench, reporter, "jobs/j/2")


def test_an_attempt_pays_for_the_loading_within_it(bench: WorkerEnvironment) -> None:
    made = run(ModelCache(OnGpu), bench)

    assert isinstance(made, Outcome)
    assert made.gpu == "NVIDIA L40S"
    assert made.gpu_seconds >= LOADING
    assert made.timings_ms["load"] >= LOADING * 1000


def test_the_first_attempt_pays_for_the_loading_ahead_of_it_and_no_other(
    bench: WorkerEnvironment,
) -> None:
    warm = ModelCache(OnGpu)
    _, ahead = timed(lambda: warm.load(SLATE))

    first, took_first = timed(lambda: run(warm, bench))
    second, took_second = timed(lambda: run(warm, bench))

    assert isinstance(first, Outcome)
    assert isinstance(second, Outcome)
    total = first.timings_ms["total"] / 1000
    assert first.gpu_seconds - total + 0.01 >= LOADING
    assert first.gpu_seconds <= took_first + ahead
    assert second.gpu_seconds <= took_second


def test_a_failure_says_what_it_cost(bench: WorkerEnvironment) -> None:
    fault = AttemptFailed(FailureKind.USER, "x", "y")

    made = run(ModelCache(lambda card: OnGpu(card, fault)), bench)

    assert isinstance(made, Failure)
    assert made.gpu == "NVIDIA L40S"
    assert (made.gpu_seconds or 0) >= LOADING
    assert made.timings_ms[Stage.LOAD] >= LOADING * 1000
    assert "upload" not in made.timings_ms


def test_a_failure_before_the_model_was_there_leaves_its_cost_to_be_told_by_the_clock(
    bench: WorkerEnvironment,
) -> None:
    class Broken(OnGpu):
        def load(self, profile: Profile = Profile.FULL) -> None:
            raise AttemptFailed(FailureKind.OOM, "out_of_memory", "too large")

    made = run(ModelCache(Broken), bench)

    assert isinstance(made, Failure)
    assert (made.gpu, made.gpu_seconds) == (None, None)


def test_the_sandbox_uses_no_gpu(bench: WorkerEnvironment) -> None:
    made = run(ModelCache(lambda card: Slate(card, None)), bench)

    assert isinstance(made, Outcome)
    assert (made.gpu, made.gpu_seconds) == (None, 0)


def test_the_model_takes_as_much_memory_as_the_ticket_says(bench: WorkerEnvironment) -> None:
    adapter = OnGpu(SLATE)
    warm = ModelCache(lambda card: adapter)

    run(warm, bench)
    run(warm, bench, profile=Profile.SMALL)
    run(warm, bench)

    assert adapter.profiles == [Profile.FULL, Profile.SMALL, Profile.FULL]


def test_a_clip_that_fails_after_its_model_was_handed_on_costs_what_it_took(
    bench: WorkerEnvironment,
) -> None:
    """By then the warm model is the next clip's, or none."""

    class Full(Files):
        def put(self, *_: Any) -> Any:
            raise StorageFull("as planned")

    warm = ModelCache(OnGpu)

    began = time.perf_counter()
    handed_on = 0.0

    def next_clip() -> None:
        nonlocal handed_on
        handed_on = time.perf_counter() - began
        time.sleep(LOADING)
        warm.kept = None

    ticket = make.ticket()
    with httpx.Client(base_url=ticket.api_url) as client:
        reporter = HttpReporter(client, ticket, Event())
        full = replace(bench, artifacts=Full(bench.scratch / "full"))
        made = run_attempt(ticket, warm, full, reporter, "jobs/j/2", next_clip)

    assert isinstance(made, Failure)
    assert (made.code, made.gpu) == ("storage_unavailable", "NVIDIA L40S")
    assert LOADING <= (made.gpu_seconds or 0) <= handed_on


def test_a_worker_that_is_to_end_says_what_it_has_spent(bench: WorkerEnvironment) -> None:
    ticket, stopping = make.ticket(), Event()

    class Stopped(OnGpu):
        def load(self, profile: Profile = Profile.FULL) -> None:
            super().load(profile)
            stopping.set()

    with httpx.Client(base_url=ticket.api_url) as client:
        reporter = HttpReporter(client, ticket, stopping)
        made = run_attempt(ticket, ModelCache(Stopped), bench, reporter, "jobs/j/2")

    assert isinstance(made, AttemptReleased)
    assert made.gpu == "NVIDIA L40S"
    assert (made.gpu_seconds or 0) >= LOADING


def test_a_failure_says_whether_it_is_the_models(bench: WorkerEnvironment) -> None:
    fault = AttemptFailed(FailureKind.USER, "x", "y", of_model=True)

    made = run(ModelCache(lambda card: OnGpu(card, fault)), bench)

    assert isinstance(made, Failure)
    assert made.of_model is True
