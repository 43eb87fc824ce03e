"""Pausing a model by the API, and what its workers are told."""

import time
import weakref
from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest

from service.domain.models.catalog import SLATE
from service.store import jobs
from service.workers.attempt import ModelCache
from tests import make
from tests.api.world import World


def test_a_paused_model_is_shown_and_its_jobs_wait(world: World) -> None:
    paused = world.client.put("/v1/models/slate/paused").json()
    job = world.submit()

    (listed,) = (m for m in world.client.get("/v1/models").json()["data"] if m["id"] == "slate")
    assert listed["paused_at"] == paused["paused_at"] is not None
    assert world.claim().status_code == 204
    assert world.job(job["id"])["status"] == "queued"

    assert world.client.delete("/v1/models/slate/paused").json()["paused_at"] is None
    assert world.claim().status_code == 200


def test_only_an_admin_pauses_a_model_that_is_served(world: World) -> None:
    headers = {"Authorization": f"Bearer {world.other_key()}"}

    assert world.client.put("/v1/models/slate/paused", headers=headers).status_code == 403
    assert world.client.put("/v1/models/nope/paused").status_code == 404
    assert world.client.delete("/v1/models/nope/paused").status_code == 404


def test_a_paused_model_that_is_no_longer_served_is_resumed(world: World) -> None:
    now = world.runtime.clock()
    make.do(world.runtime.db, lambda tx: jobs.insert_pause(tx, "puppet", now))

    assert world.client.delete("/v1/models/puppet/paused").json()["paused_at"] is None
    assert world.runtime.db.read(jobs.paused_models) == {}


@pytest.mark.parametrize("body", ['{"paused": false}', '{"paused": true}', "false", "null", "{"])
def test_a_body_pauses_nothing(world: World, body: str) -> None:
    refused = world.client.put("/v1/models/slate/paused", content=body)

    (error,) = refused.json()["errors"]
    assert (refused.status_code, error["code"]) == (422, "unexpected_body")
    assert "DELETE" in error["detail"]
    assert world.runtime.db.read(jobs.paused_models) == {}


@pytest.mark.parametrize("body", ["", "{}", "{ }\n"])
def test_an_empty_body_pauses(world: World, body: str) -> None:
    assert world.client.put("/v1/models/slate/paused", content=body).json()["paused_at"] is not None


def test_a_worker_is_told_to_free_the_memory_of_a_paused_model(world: World) -> None:
    assert "rushes-unload" not in world.claim(warm="slate").headers
    world.client.put("/v1/models/slate/paused")

    told = world.claim(warm="slate", wait=30)  # at once: it does not wait

    assert (told.status_code, told.headers["rushes-unload"]) == (204, "1")
    assert "rushes-unload" not in world.claim(warm="ltx-2b").headers
    assert "rushes-unload" not in world.claim(warm=None).headers


def test_a_worker_that_waits_for_a_job_is_told_so_too(world: World) -> None:
    answers: list[Any] = []
    waiting = Thread(target=lambda: answers.append(world.claim(warm="slate", wait=50)))
    waiting.start()

    world.client.put("/v1/models/slate/paused")
    waiting.join(40)

    assert answers[0].headers["rushes-unload"] == "1"


def test_a_job_submitted_while_its_model_is_paused_starts_when_it_is_resumed(world: World) -> None:
    world.client.put("/v1/models/slate/paused")
    job = world.submit(start_timeout_seconds=1)
    world.client.delete("/v1/models/slate/paused")

    assert world.claim().json()["job_id"] == job["id"]


def test_a_paused_models_jobs_promise_no_start_and_hold_up_no_others(world: World) -> None:
    world.claim(models=["slate", "ltx-2b"])  # its worker waits from now on
    world.client.put("/v1/models/slate/paused")
    first, second = world.submit(), world.submit()
    other = world.submit(model="ltx-2b")

    def shown(job: dict[str, Any]) -> tuple[int, bool]:
        job = world.job(job["id"])
        return job["queue_position"], job["eta_seconds"] is not None

    def starts() -> list[float | None]:
        asks = ({"prompt": "x", "model": model} for model in ("slate", "ltx-2b"))
        answers = [world.client.post("/v1/estimate", json=ask).json() for ask in asks]
        return [answer["starts_in_seconds"] for answer in answers]

    until(
        lambda: [shown(job) for job in (first, second, other)], [(0, False), (1, False), (0, True)]
    )
    slate, ltx = starts()
    assert slate is None
    assert ltx is not None

    world.client.delete("/v1/models/slate/paused")

    until(lambda: [shown(job) for job in (first, second, other)], [(0, True), (1, True), (2, True)])
    assert None not in starts()


def until(read: Callable[[], Any], wanted: Any) -> None:
    """Wait for what is forecast by a queue that was read a moment ago."""
    deadline = time.monotonic() + 30
    while (value := read()) != wanted:
        assert time.monotonic() < deadline, value
        time.sleep(0.02)


def test_an_unloaded_model_is_freed() -> None:
    class Adapter:
        gpu = None

    cache = ModelCache(lambda card: Adapter())  # type: ignore[arg-type, return-value]
    adapter = weakref.ref(cache.adapter(SLATE))
    assert adapter() is not None

    cache.unload()

    assert adapter() is None
    assert cache.entry is None
