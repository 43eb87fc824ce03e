"""Event streams of a service whose database lasts elsewhere."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from service.offsite.shipping import Replica
from service.settings import Settings
from tests.api.live import Live, live
from tests.api.world import KEY
from tests.offsite.test_standby import Place, until


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def world(place: Place) -> Iterator[Live]:
    settings = Settings(
        _env_file=None,
        data_dir=place.root / "a",
        database_volume="rushes-database",
        bootstrap_key=KEY,
        min_free_bytes=0,
    )
    settings.data_dir.mkdir()
    replica = Replica(place.blobs, place.entries, settings.offsite_path, place.lasts)
    with live(settings, replica=replica) as found:
        until(lambda: ready(found))
        yield found
        place.blobs.calm()


def ready(world: Live) -> bool:
    return bool(world.client.get("/readyz").status_code == 200)


def test_an_event_is_sent_once_it_is_offsite(world: Live, place: Place) -> None:
    """Its id would be given again, should the container die before."""
    job_id, heard = world.submit()["id"], []
    feed, settling = world.runtime.event_feed, Event()
    settle = feed._settle

    async def settle_late() -> None:
        settling.set()
        await settle()

    feed._settle = settle_late

    def read() -> None:
        with world.stream(after=0) as reader:
            heard.append(next(reader.changes()).job["status"])

    place.blobs.open.clear()
    threads = [
        Thread(target=world.client.post, args=[f"/v1/jobs/{job_id}/cancel"]),
        Thread(target=read),
    ]
    threads[0].start()
    until(lambda: world.client.get("/v1/jobs?status=canceled").json()["data"])
    threads[1].start()
    assert settling.wait(30)
    assert heard == []
    place.blobs.open.set()
    for thread in threads:
        thread.join(60)

    assert heard == ["canceled"]


def test_streams_end_with_the_ownership_and_resume(world: Live, place: Place) -> None:
    first = world.submit()["id"]
    world.client.post(f"/v1/jobs/{first}/cancel").raise_for_status()
    with world.stream(after=0) as reader:
        assert next(reader.changes()).job["id"] == first

        # Somebody far ahead in time took it, and is done with it.
        place.entries.create("epoch-00000002", {"holder": "x", "until": 0})
        until(lambda: world.client.post("/generate-video", json={"prompt": "x"}).is_server_error)
        assert list(reader) == []

    until(lambda: ready(world))
    second = world.submit()["id"]
    world.client.post(f"/v1/jobs/{second}/cancel").raise_for_status()
    with world.stream(after=reader.position) as reader:
        assert next(reader.changes()).job["id"] == second
