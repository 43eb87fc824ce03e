"""Why a job waits, as its page says it."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from service.runtime.disk_space import DiskSpace
from service.settings import Settings
from service.store.job_rows import job_table
from tests.admin.person import Person
from tests.admin.test_acts import until
from tests.api.test_warm import Counting
from tests.api.test_warm import modal as modal


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"max_active_per_key": 2})


def reason(person: Person, job_id: str) -> str:
    """The reason on the page of a job, which the overview must give too."""
    page, overview = person.get(f"/admin/jobs/{job_id}").text, person.get("/admin").text
    texts = [each for each in REASONS if each in page and each in overview]
    return max(texts, key=len)


REASONS = (
    *("slate is paused", "the disk is nearly full"),
    *("as many jobs of this key run as may: 2", "will be tried again at"),
    *("no worker serves slate now", "the worker is busy", "it is its turn: a worker takes it"),
    "no container of slate runs now: cold start",
    "no container of slate runs now: cold start, usually 45 s",
)


def test_a_worker_is_busy_or_takes_the_job_in_a_moment(admin: Person) -> None:
    world = admin.world
    world.claim()
    waiting = world.submit()["id"]
    assert reason(admin, waiting) == "it is its turn: a worker takes it"

    world.claim()
    waiting = world.submit()["id"]

    assert reason(admin, waiting) == "the worker is busy"


def test_a_key_has_a_cap(admin: Person) -> None:
    world = admin.world
    for worker in ("one", "two", "three"):
        world.submit()
        world.claim(worker=worker)

    waiting = world.submit()["id"]

    assert reason(admin, waiting) == "as many jobs of this key run as may: 2"


def test_no_worker_and_a_paused_model(admin: Person) -> None:
    job = admin.world.submit()["id"]
    assert reason(admin, job) == "no worker serves slate now"

    admin.post("/admin/models/slate/pause")

    assert reason(admin, job) == "slate is paused"


def test_a_full_disk(admin: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    job = admin.world.submit()["id"]
    monkeypatch.setattr(DiskSpace, "enough", property(lambda self: False))

    assert reason(admin, job) == "the disk is nearly full"


def test_the_time_of_the_next_try(admin: Person) -> None:
    world = admin.world
    job, at = world.submit()["id"], world.runtime.clock() + timedelta(hours=1)
    later = sa.update(job_table).values(run_at=at)
    world.runtime.db.write(lambda tx: tx.execute(later)).result()

    assert reason(admin, job) == "will be tried again at"


def test_how_long_a_cold_start_usually_takes(admin: Person, request: pytest.FixtureRequest) -> None:
    world = admin.world
    world.submit()
    world.finish(load=45_000)
    modal: Counting = request.getfixturevalue("modal")
    modal.containers = 0
    job = world.submit()["id"]

    # The job counts from the next whole second on.
    until(lambda: reason(admin, job) == "no container of slate runs now: cold start, usually 45 s")


def test_a_cold_start_of_which_nothing_is_known(admin: Person, modal: Counting) -> None:
    modal.containers = 0
    job = admin.world.submit()["id"]

    assert reason(admin, job) == "no container of slate runs now: cold start"
