"""Two web processes on one database that lasts elsewhere: one serves, the other says so."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.app import build
from service.domain.clock import utc_now
from service.offsite.shipping import Replica, Shipping
from service.runtime.standby import Standby
from service.settings import Settings
from tests.api.world import KEY, WORKER_TOKEN
from tests.offsite.doubles import FolderBlobs, FolderEntries, Watched

ASK = {"prompt": "a red ball", "width": 64, "height": 64, "num_frames": 2}


class Place:
    """What two processes share."""

    def __init__(self, root: Path, lasts: float = 30.0) -> None:
        self.root = root
        self.lasts = timedelta(seconds=lasts)
        self.blobs = Watched(FolderBlobs(root / "blobs"))
        self.entries = FolderEntries(root / "entries")

    @contextmanager
    def process(self, name: str) -> Iterator[TestClient]:
        settings = Settings(
            _env_file=None,
            data_dir=self.root / name,
            database_volume="rushes-database",
            bootstrap_key=KEY,
            worker_token=WORKER_TOKEN,
            secret="a-secret-for-all-a-secret-for-all",
            min_free_bytes=0,
        )
        settings.data_dir.mkdir()
        home = Replica(self.blobs, self.entries, settings.offsite_path, self.lasts)
        with TestClient(build(settings, replica=home), raise_server_exceptions=False) as client:
            client.headers["Authorization"] = f"Bearer {KEY}"
            yield client


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def until(holds: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 30
    while not (seen := holds()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return seen


def ready(client: TestClient) -> bool:
    return bool(client.get("/readyz").status_code == 200)


def submit(client: TestClient) -> str:
    answer = client.post("/generate-video", json=ASK)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def listed(client: TestClient) -> set[str]:
    return {job["id"] for job in client.get("/v1/jobs?limit=100").json()["data"]}


def test_one_serves_and_the_other_answers_503_and_writes_nothing(place: Place) -> None:
    with place.process("a") as first, place.process("b") as second:
        until(lambda: ready(first) or ready(second))
        owner, other = (first, second) if ready(first) else (second, first)
        submit(owner)
        before = {name: place.blobs.get(name) for name in place.blobs.names()}

        asked = [
            other.post("/generate-video", json=ASK),
            other.get("/v1/jobs"),
            other.get("/v1/jobs/job_06h0cqct31vp78ap2nmi51uars"),
            other.post("/internal/tick", headers={"Authorization": f"Bearer {WORKER_TOKEN}"}),
            other.post(
                "/internal/attempts/job_06h0cqct31vp78ap2nmi51uars.1/begin", json={"call_id": "x"}
            ),
            other.get("/readyz"),
            other.get("/health"),
        ]

        assert {answer.status_code for answer in asked} == {503}
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in asked)
        assert asked[0].json()["code"] == "unavailable"
        assert asked[-1].json()["status"] == "unhealthy"
        assert asked[-1].json()["reasons"] == ["standby"]
        assert other.get("/livez").status_code == 200
        assert {name: place.blobs.get(name) for name in place.blobs.names()} == before


def test_the_next_goes_on_where_the_last_left_off(place: Place) -> None:
    with ExitStack() as life:
        first = life.enter_context(place.process("a"))
        until(lambda: ready(first))
        made = {submit(first) for _ in range(3)}
        with place.process("b") as second:
            assert second.get("/v1/jobs").status_code == 503
            life.close()
            until(lambda: ready(second))
            assert listed(second) == made
            made.add(submit(second))
            assert listed(second) == made


def test_a_service_that_loses_the_database_takes_it_again(place: Place) -> None:
    with place.process("a") as client:
        until(lambda: ready(client))
        made = {submit(client)}

        # Somebody far ahead in time took it, and is done with it.
        place.entries.create("epoch-00000002", {"holder": "x", "until": 0})
        until(lambda: client.post("/generate-video", json=ASK).status_code == 503)
        until(lambda: ready(client))

        assert made <= listed(client)
        made.add(submit(client))
        assert place.entries.read("epoch-00000003") is not None


def test_while_the_blob_store_is_away_it_answers_503_and_comes_back(place: Place) -> None:
    with place.process("a") as client:
        until(lambda: ready(client))
        made = submit(client)

        place.blobs.away = True
        assert client.post("/generate-video", json=ASK).status_code == 503
        assert client.get("/health").status_code == 503
        place.blobs.away = False

        until(lambda: ready(client))
        assert made in listed(client)


def test_one_that_cannot_stop_gives_up(place: Place) -> None:
    """Say a put that is never answered: the process must not stay and answer 503 for ever."""
    gave_up = Event()
    hanging = Event()
    home = Replica(place.blobs, place.entries, place.root / "x.db", place.lasts)

    @contextmanager
    def serve(_: Shipping) -> Iterator[None]:
        yield
        hanging.wait(20)

    standby = Standby(
        lambda: home.take("a", utc_now), serve, max_end_seconds=0.05, abort=gave_up.set
    )
    standby.start()
    until(lambda: place.entries.read("epoch-00000001"))
    stopping = Thread(target=standby.stop)
    stopping.start()

    assert gave_up.wait(20)
    hanging.set()
    stopping.join()


def test_which_database_a_service_has(tmp_path: Path) -> None:
    plain = Settings(_env_file=None, data_dir=tmp_path)
    kept = Settings(_env_file=None, data_dir=tmp_path, database_volume="v")
    postgres = Settings(
        _env_file=None, data_dir=tmp_path, database_volume="v", database_url="postgresql://x/y"
    )

    assert [plain.is_offsite, kept.is_offsite, postgres.is_offsite] == [False, True, False]
    assert kept.database_url != plain.database_url, "a restore must not overwrite another one"
