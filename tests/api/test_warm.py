"""How many containers are kept, and what is known of them, with a dispatcher played by hand."""

from dataclasses import replace
from threading import Event
from typing import Any

import pytest

from service.domain.call import Pool
from service.domain.errors import Unavailable
from service.domain.models.catalog import SLATE
from service.lifecycle.calls.calls import Calls
from service.runtime.containers import ContainerPools
from service.runtime.workers import CalledWorkers
from service.store import audit, jobs
from tests import make
from tests.admin.person import Person
from tests.api.world import KEY, World


class Counting:
    """A Dispatcher that only counts containers."""

    def __init__(self) -> None:
        self.kept = {"slate": 0}
        self.containers = 1
        self.away = False
        self.may_be_kept = True
        self.answers = Event()
        self.answers.set()

    def pool(self, model: str) -> Pool:
        self.answers.wait(5)
        if self.away:
            raise Unavailable("Modal does not answer")
        return Pool(waiting=2, running=1, containers=self.containers)

    def kept_warm(self, model: str) -> int:
        if not self.may_be_kept:
            raise Unavailable("Modal refuses it")
        return self.kept[model]

    def keep_warm(self, model: str, containers: int) -> None:
        if self.away:
            raise Unavailable("Modal does not answer")
        self.kept[model] = containers


@pytest.fixture
def modal(world: World) -> Counting:
    """The same world, with workers that are called."""
    modal: Any = Counting()
    runtime = world.runtime
    calls = Calls(
        db=runtime.db,
        dispatcher=modal,
        artifacts=runtime.artifacts,
        cards={"slate": SLATE},
        terms=make.TERMS,
        max_active_per_key=100,
        max_calls=2,
        api_url=None,
    )
    workers = CalledWorkers(
        calls, ContainerPools(modal, ("slate",), calls.warm_containers), runtime.clock
    )
    changed = replace(runtime, workers=workers, cards={"slate": SLATE})
    world.client.app.state.runtime = changed  # type: ignore[attr-defined]
    counting: Counting = modal
    return counting


def counted(world: World) -> None:
    """Wait until nobody counts any more."""
    workers = world.runtime.workers
    assert isinstance(workers, CalledWorkers)
    with workers.pools._refreshing:
        pass


def test_health_tells_what_was_counted_last_and_waits_for_no_count(
    world: World, modal: Counting
) -> None:
    modal.answers.clear()

    first = world.client.get("/health").json()
    modal.answers.set()
    counted(world)
    second = world.client.get("/health").json()

    assert (first["status"], first["warm"], first["models"][0]["calls"]) == ("healthy", False, None)
    assert (second["status"], second["warm"]) == ("healthy", True)
    assert second["models"][0]["calls"] == {"waiting": 2, "running": 1, "containers": 1}


def test_containers_are_told_wherever_workers_are(world: World, modal: Counting) -> None:
    ask = {"prompt": "x", "seed": 1}
    modal.answers.clear()
    before = world.client.post("/v1/estimate", json=ask).json()["warnings"]
    modal.answers.set()
    counted(world)

    (listed,) = world.client.get("/v1/models").json()["data"]
    after = world.client.post("/v1/estimate", json=ask).json()["warnings"]

    starts = "no container of slate runs now: a job would wait for one"
    assert listed["workers"] == 1
    assert starts in before
    assert not any("container" in words or "worker" in words for words in after)


def test_health_is_degraded_while_modal_does_not_answer(world: World, modal: Counting) -> None:
    modal.away = True

    world.client.get("/health")
    counted(world)

    health = world.client.get("/health").json()
    assert (health["status"], health["reasons"]) == ("degraded", ["modal_unreachable"])


def test_counts_are_asked_for_again_after_ten_seconds(
    modal: Counting, clock: make.FakeClock
) -> None:
    pools = ContainerPools(modal, ("slate",), dict)  # type: ignore[arg-type]
    pools.current(clock())
    with pools._refreshing:
        modal.away = True
    pools.current(clock.advance(9))
    with pools._refreshing:
        assert not pools.is_unreachable

    pools.current(clock.advance(2))
    with pools._refreshing:
        pass

    assert pools.is_unreachable


def test_an_admin_keeps_containers_warm(world: World, modal: Counting) -> None:
    kept = world.client.put("/v1/models/slate/warm", json={"containers": 2})
    shown = world.client.get("/v1/models/slate/warm")

    assert kept.json() == shown.json() == {"model": "slate", "containers": 2}
    assert modal.kept == {"slate": 2}
    (entry,) = world.runtime.db.read(lambda tx: audit.page(tx, size=1))
    assert (entry.act, entry.target, entry.detail) == ("model.warm", "slate", "2 containers")


def test_what_a_deploy_resets_is_kept_warm_again(world: World, modal: Counting) -> None:
    world.client.put("/v1/models/slate/warm", json={"containers": 2})
    world.client.put("/v1/models/slate/warm", json={"containers": 1})

    modal.kept = {"slate": 0}  # as a deploy does
    world.client.get("/health")
    counted(world)

    assert modal.kept == {"slate": 1}


def test_no_more_are_kept_than_the_settings_allow_later(world: World, modal: Counting) -> None:
    world.client.put("/v1/models/slate/warm", json={"containers": 2})
    workers = world.runtime.workers
    assert isinstance(workers, CalledWorkers)

    workers.calls.max_calls = 1
    world.client.get("/health")
    counted(world)

    assert modal.kept == {"slate": 1}


def test_a_model_that_cannot_be_kept_warm_leaves_the_count(world: World, modal: Counting) -> None:
    world.client.put("/v1/models/slate/warm", json={"containers": 1})
    modal.kept.clear()
    modal.may_be_kept = False

    world.client.get("/health")
    counted(world)

    assert world.client.get("/health").json()["status"] == "healthy"


def test_more_than_the_cap_are_not_kept(world: World, modal: Counting) -> None:
    refused = world.client.put("/v1/models/slate/warm", json={"containers": 3})

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/containers"
    assert modal.kept == {"slate": 0}
    assert world.runtime.db.read(jobs.warm_containers) == {}


def test_modal_that_does_not_answer_is_told(world: World, modal: Counting) -> None:
    modal.away = True

    answer = world.client.put("/v1/models/slate/warm", json={"containers": 1})

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "1 is stored, and tried again" in answer.json()["detail"]

    modal.away = False
    world.client.get("/health")
    counted(world)
    assert modal.kept == {"slate": 1}


@pytest.mark.parametrize("by", ["api", "page"])
def test_modal_keeps_nothing_that_the_database_does_not_know(
    world: World, modal: Counting, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    known: list[tuple[dict[str, int], str]] = []

    def look(model: str, containers: int) -> None:
        (entry,) = world.runtime.db.read(lambda tx: audit.page(tx, size=1))
        known.append((world.runtime.db.read(jobs.warm_containers), entry.act))

    monkeypatch.setattr(modal, "keep_warm", look)

    if by == "api":
        world.client.put("/v1/models/slate/warm", json={"containers": 2})
    else:
        Person(world).log_in(KEY).post("/admin/models/slate/warm", containers="2")

    assert known[0] == ({"slate": 2}, "model.warm")


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_only_an_admin_may_and_only_for_models_that_are_served(
    world: World, modal: Counting, method: str
) -> None:
    plain = {"Authorization": f"Bearer {world.other_key()}"}
    body = {"containers": 1} if method == "PUT" else None

    of_others = world.client.request(method, "/v1/models/slate/warm", headers=plain, json=body)
    unknown = world.client.request(method, "/v1/models/sora/warm", json=body)

    assert of_others.status_code == 403
    assert unknown.status_code == 404


def test_local_workers_are_warm_and_are_not_changed_here(world: World) -> None:
    world.claim()

    shown = world.client.get("/v1/models/slate/warm").json()
    refused = world.client.put("/v1/models/slate/warm", json={"containers": 2})

    assert shown == {"model": "slate", "containers": 1}
    assert (refused.status_code, refused.json()["code"]) == (409, "local_workers")
    assert world.runtime.db.read(jobs.warm_containers) == {}


def test_a_waiting_job_is_told_when_a_container_could_have_it(
    world: World, modal: Counting
) -> None:
    assert world.submit()["eta_seconds"] is not None
