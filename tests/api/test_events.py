"""Event streams: what a client hears, in which order, and where it resumes."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from starlette.requests import ClientDisconnect

from service.api.event_stream import EventStream
from service.cli.processes.connections import Connections
from service.domain.ids import JobId, KeyId
from service.settings import Settings
from service.store import events
from tests import make
from tests.api.live import Event, Live, live
from tests.api.world import KEY, WORKER_TOKEN


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return Settings(
        _env_file=None,
        data_dir=tmp_path,
        database_url=database_url,
        bootstrap_key=KEY,
        worker_token=WORKER_TOKEN,
        models=["slate"],
        max_streams=8,
    )


@pytest.fixture
def world(settings: Settings) -> Iterator[Live]:
    with live(settings) as found:
        yield found


def key_id_of(world: Live) -> KeyId:
    return KeyId(world.client.get("/v1/keys").json()["data"][0]["id"])


def canceled(world: Live) -> str:
    job_id: str = world.submit()["id"]
    world.client.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
    return job_id


def until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def progress(world: Live, ticket: dict[str, Any], fence: int, fraction: float, step: str) -> None:
    update = {"stage": "generate", "fraction": fraction, "detail": step}
    world.report(ticket, "progress", fence=fence, progress=update).raise_for_status()


def test_a_job_is_followed_from_the_queue_to_its_end(world: Live) -> None:
    job_id = world.submit()["id"]

    with world.stream(f"/v1/jobs/{job_id}/events") as reader:
        waiting = reader.of_kind("job.queued")
        ticket, begun = world.begin()
        started = reader.of_kind("job.started")
        progress(world, ticket, begun["fence"], 0.42, "step 4 of 9")
        running = reader.of_kind("job.progress")
        failure = {"kind": "user", "code": "x", "message": "y"}
        world.report(ticket, "fail", fence=begun["fence"], failure=failure).raise_for_status()
        *_, last = reader
        headers = reader.response.headers

    assert (waiting.job["status"], waiting.id) == ("queued", None)
    assert (started.job["status"], started.job["progress"]) == ("running", 0)
    assert (running.job["progress"], running.job["stage_detail"]) == (42, "step 4 of 9")
    assert running.id is None
    assert last.data is not None
    assert (last.kind, last.data["type"]) == ("job.failed", "job.failed")
    assert last.data["data"] == world.job(job_id)
    assert last.job["urls"]["events"].endswith(f"/v1/jobs/{job_id}/events")
    assert started.id is not None
    assert last.id is not None
    assert last.id > started.id
    assert reader.retries == [1000, 1000]
    assert headers["Content-Type"].startswith("text/event-stream")
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Accel-Buffering"] == "no"


def test_who_comes_late_hears_how_it_was_and_how_it_ended(world: Live) -> None:
    world.submit()
    job_id = world.finish()

    with world.stream(f"/v1/jobs/{job_id}/events") as reader:
        heard = list(reader.changes())

    assert [event.kind for event in heard] == ["job.started", "job.succeeded"]
    path = f"/v1/jobs/{job_id}/events"
    behind = world.client.get(path, headers={"Last-Event-ID": str(heard[-1].id)})
    assert (behind.status_code, behind.content) == (204, b"")
    assert world.client.get(path, params={"after": heard[-1].id}).status_code == 204


def test_a_job_that_ended_before_there_were_events_is_told_all_the_same(world: Live) -> None:
    job_id = canceled(world)
    make.do(world.runtime.db, lambda tx: events.erase_job(tx, JobId(job_id)))

    with world.stream(f"/v1/jobs/{job_id}/events") as reader:
        (last,) = (event for event in reader if event.data is not None)

    assert (last.kind, last.job["id"], last.id) == ("job.canceled", job_id, None)


def test_a_stream_of_all_jobs_begins_at_now(world: Live) -> None:
    canceled(world)

    with world.stream() as reader:
        here = next(reader)
        job_id = canceled(world)
        heard = next(reader.changes())

    assert here.data is None
    assert heard.job["id"] == job_id
    assert heard.id is not None
    assert here.id is not None
    assert heard.id > here.id


def test_a_client_resumes_behind_every_event_without_gap_or_repeat(world: Live) -> None:
    """Also of one job, and where the events are more than are read at once."""
    for _ in range(60):
        canceled(world)
    world.submit()
    one = world.finish()

    with world.stream(after=0) as reader:
        changes = reader.changes()
        whole = [next(changes).id for _ in range(62)]

    assert whole == sorted(set(whole))  # type: ignore[type-var]
    for cut in (0, 1, 9, 10, 11, 48, 49, 50, 51, 60):
        with world.stream(after=whole[cut]) as reader:
            changes = reader.changes()
            assert [next(changes).id for _ in whole[cut + 1 :]] == whole[cut + 1 :]
    with world.stream(f"/v1/jobs/{one}/events", after=whole[-2]) as reader:
        assert [event.id for event in reader.changes()] == whole[-1:]
    with world.stream(f"/v1/jobs/{one}/events?after={whole[0]}") as reader:
        assert [event.id for event in reader.changes()] == whole[-2:]
    with world.stream(f"/v1/jobs/{one}/events?after={whole[-1]}", after=whole[-2]) as reader:
        assert [event.id for event in reader.changes()] == whole[-1:], "the header wins"


def test_a_connection_that_is_cut_after_each_event_misses_none(world: Live) -> None:
    made: list[str] = []
    heard: list[Event] = []
    with world.stream() as reader:
        position = next(reader).id

    def work() -> None:
        made.extend(canceled(world) for _ in range(40))

    worker = Thread(target=work)
    worker.start()
    while len(heard) < 40:
        with world.stream(after=position) as reader:
            heard.append(next(reader.changes()))
            position = reader.position
    worker.join()

    assert [event.job["id"] for event in heard] == made
    ids = [event.id for event in heard]
    assert ids == sorted(set(ids))  # type: ignore[type-var]


def test_progress_may_be_left_out_and_the_last_of_it_and_the_end_may_not(world: Live) -> None:
    job_id = world.submit()["id"]
    ticket, begun = world.begin()

    with world.stream() as all_jobs, world.stream(f"/v1/jobs/{job_id}/events") as reader:
        next(all_jobs)
        reader.of_kind("job.progress")
        for step in range(1, 201):
            progress(world, ticket, begun["fence"], step / 400, f"step {step} of 400")
        shown = []
        while not shown or shown[-1]["stage_detail"] != "step 200 of 400":
            shown.append(reader.of_kind("job.progress").job)
        last = all_jobs.of_kind("job.progress").job
        while last["stage_detail"] != "step 200 of 400":
            last = all_jobs.of_kind("job.progress").job
        progress(world, ticket, begun["fence"], 0.5, "step 200 of 400")  # a heartbeat: no news
        failure = {"kind": "user", "code": "x", "message": "y"}
        world.report(ticket, "fail", fence=begun["fence"], failure=failure).raise_for_status()
        assert [event.kind for event in reader] == ["job.failed"]
        assert next(all_jobs).kind == "job.failed"

    seen = [(job["progress"], job["stage_detail"]) for job in shown]
    assert [percent for percent, _ in seen] == sorted(percent for percent, _ in seen)
    assert len(set(seen)) == len(seen), "nothing is told twice"


def test_a_job_that_waits_again_is_told(world: Live) -> None:
    job_id = world.submit()["id"]
    ticket, begun = world.begin()

    with world.stream(f"/v1/jobs/{job_id}/events") as reader:
        reader.of_kind("job.progress")
        failure = {"kind": "transient", "code": "x", "message": "y"}
        world.report(ticket, "fail", fence=begun["fence"], failure=failure).raise_for_status()
        again = reader.of_kind("job.queued").job

    assert (again["status"], again["attempts"]) == ("queued", 1)


def test_nobody_hears_of_anothers_jobs(world: Live) -> None:
    stranger = {"Authorization": f"Bearer {world.other_key(admin=True)}"}
    job_id = world.submit()["id"]

    refused = world.client.get(f"/v1/jobs/{job_id}/events", headers=stranger)
    with world.stream(**stranger) as theirs, world.stream(after=0, **stranger) as from_the_first:
        next(theirs)
        ticket, begun = world.begin()
        progress(world, ticket, begun["fence"], 0.5, "step 1 of 2")
        failure = {"kind": "user", "code": "x", "message": "y"}
        world.report(ticket, "fail", fence=begun["fence"], failure=failure).raise_for_status()
        own = world.client.post("/generate-video", json={"prompt": "x"}, headers=stranger).json()
        world.client.post(f"/v1/jobs/{own['id']}/cancel", headers=stranger).raise_for_status()
        heard = [next(reader).job["id"] for reader in (theirs, from_the_first)]

    assert (refused.status_code, refused.json()["code"]) == (404, "not_found")
    assert heard == [own["id"]] * 2


@pytest.mark.parametrize("position", ["abc", "-1", "1.5", "", str(2**63), "1e400"])
def test_a_position_that_is_none_is_refused(world: Live, position: str) -> None:
    by_header = world.client.get("/v1/events", headers={"Last-Event-ID": position})
    by_query = world.client.get("/v1/events", params={"after": position})

    assert (by_header.status_code, by_query.status_code) == (422, 422)
    assert by_header.json()["errors"][0]["pointer"] == "Last-Event-ID:"
    assert by_query.json()["errors"][0]["pointer"] == "?after"


def test_a_position_that_is_not_known_is_refused(world: Live) -> None:
    job_id = canceled(world)

    for path in ("/v1/events", f"/v1/jobs/{job_id}/events"):
        refused = world.client.get(path, params={"after": 10**9})
        assert (refused.status_code, refused.json()["code"]) == (410, "position_gone")
        assert refused.json()["retryable"] is False


def test_a_position_outlives_its_job_but_not_its_time(world: Live) -> None:
    """Who deletes each job when it is done must be able to resume behind its last event."""
    first, second = canceled(world), canceled(world)
    with world.stream(after=0) as reader:
        changes = reader.changes()
        positions = [next(changes).id for _ in range(2)]
    for job_id in (first, second):
        world.client.delete(f"/v1/jobs/{job_id}").raise_for_status()

    third = canceled(world)
    for position in positions:
        with world.stream(after=position) as reader:
            assert next(reader.changes()).job["id"] == third

    later = world.runtime.clock() + timedelta(seconds=1)
    make.do(world.runtime.db, lambda tx: events.delete_old(tx, later, size=100))
    gone = world.client.get("/v1/events", headers={"Last-Event-ID": str(positions[0])})
    assert gone.status_code == 410
    with world.stream() as reader:
        newest = next(reader).id
    with world.stream(after=newest):
        pass


def test_a_stream_ends_when_its_time_is_over(settings: Settings) -> None:
    settings.stream_seconds = 1

    with live(settings) as world, world.stream() as reader:
        assert [event.data for event in reader] == [None]

        assert reader.retries == [1000, 1000]


def test_a_silent_stream_is_kept_alive_by_comments(
    world: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.event_stream._COMMENT_SECONDS", 0.01)

    with world.stream() as reader:
        lines = reader.response.iter_lines()
        assert next(line for line in lines if line.startswith(":")) == ": ping"


def test_a_key_that_is_revoked_hears_no_more(world: Live) -> None:
    made = world.client.post("/v1/keys", json={"name": "editor"}).json()
    headers = {"Authorization": f"Bearer {made['secret']}"}

    with world.stream(**headers) as reader, world.stream() as ours:
        next(reader)
        world.client.delete(f"/v1/keys/{made['key']['id']}").raise_for_status()

        assert list(reader) == []
        next(ours)
        job_id = canceled(world)
        assert next(ours.changes()).job["id"] == job_id


def test_streams_have_places_of_their_own(world: Live) -> None:
    other = {"Authorization": f"Bearer {world.other_key()}"}
    with ExitStack() as stack:
        open_streams = [stack.enter_context(world.stream()) for _ in range(4)]

        refused = world.client.get("/v1/events")
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert int(refused.headers["Retry-After"]) > 0
        stack.enter_context(world.stream(**other))
        job = world.submit()
        assert world.client.get(f"/v1/jobs/{job['id']}?wait=1").status_code == 200

        open_streams[0].response.close()
        until(lambda: world.client.head("/v1/events").status_code == 200)
        until(lambda: sum(world.runtime.throttles.streams._num_held.values()) == 4)
        stack.enter_context(world.stream())


def test_what_is_asked_for_the_head_alone_is_not_held(world: Live) -> None:
    job_id = world.submit()["id"]

    for path in ("/v1/events", f"/v1/jobs/{job_id}/events"):
        head = world.client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["Content-Type"].startswith("text/event-stream")
        assert head.headers["X-Request-Id"]
        refused = world.client.post(path)
        assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD")
        assert httpx.get(f"{world.client.base_url}{path}").status_code == 401
    assert not world.runtime.throttles.streams._num_held


def test_streams_end_when_the_service_stops(world: Live) -> None:
    with world.stream() as reader:
        next(reader)

        world.stop()

        assert list(reader) == []
        assert reader.retries == [1000, 1000]


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_streams_end_while_the_database_does_not_answer(world: Live, settings: Settings) -> None:
    before = canceled(world)
    engine = sa.create_engine(settings.database_url, poolclass=sa.NullPool)
    with engine.connect() as holder, world.stream(after=0) as reader:
        changes = reader.changes()
        assert next(changes).job["id"] == before

        holder.exec_driver_sql("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")

        assert list(changes) == []
        assert reader.retries == [1000, 1000]
        holder.rollback()

    after = canceled(world)
    with world.stream(after=reader.position) as reader:
        assert next(reader.changes()).job["id"] == after


def test_all_streams_are_served_by_one_reader(settings: Settings) -> None:
    """Twenty listeners read the table no more often than one."""
    settings.max_streams = 100
    with live(settings) as world, ExitStack() as stack:
        feed, listeners = world.runtime.event_feed, []
        key_id, look = key_id_of(world), world.runtime.event_feed._look

        async def count_listeners() -> None:
            listeners.append(len(feed._subscriptions[key_id]))
            await look()

        feed._look = count_listeners  # type: ignore[method-assign]
        readers = [stack.enter_context(world.stream()) for _ in range(20)]
        for reader in readers:
            next(reader)
        listeners.clear()

        made = [canceled(world) for _ in range(5)]
        for reader in readers:
            changes = reader.changes()
            assert [next(changes).job["id"] for _ in made] == made

        assert set(listeners) == {20}
        assert len(listeners) < 2 * 20  # one for each commit, and those that look again by time


async def never(*_: object) -> None:
    await asyncio.Event().wait()


def test_a_block_that_nobody_takes_is_not_waited_for(world: Live) -> None:
    """Also where the server has no deadline of its own, as on Modal."""
    stream = EventStream(world.runtime, key_id_of(world), None, None, write_seconds=0.01)

    answered = asyncio.run_coroutine_threadsafe(
        stream({"type": "http"}, never, never),  # type: ignore[arg-type]
        world.loop,
    )

    with pytest.raises(ClientDisconnect):
        answered.result(60)
    assert not world.runtime.throttles.streams._num_held
    assert not world.runtime.event_feed._subscriptions


class Seconds:
    """Time that moves only when a test moves it."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_reader_that_takes_nothing_costs_little_and_is_cut_off(
    tmp_path: Path, sqlite_url: str
) -> None:
    settings = Settings(
        _env_file=None, data_dir=tmp_path, database_url=sqlite_url, bootstrap_key=KEY
    )
    clock = Seconds()
    prompt = "a red ball " * 360
    with live(settings, Connections(1_000, clock=clock)) as world, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        slow.connect(("127.0.0.1", world.client.base_url.port))
        slow.sendall(
            f"GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()
        )
        until(lambda: world.runtime.event_feed._subscriptions)
        ((subscription,),) = world.runtime.event_feed._subscriptions.values()
        connections = world.server._connections

        with world.stream() as reader:
            next(reader)
            changes = reader.changes()
            # What the system keeps by itself, and then what may wait here.
            while not subscription.is_behind:
                job_id = world.submit(prompt=prompt, negative_prompt=prompt)["id"]
                world.client.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
                assert next(changes).job["id"] == job_id

            assert subscription.is_behind
            assert not subscription._waiting
            (stalled,) = connections._stalls
            assert stalled.transport.get_write_buffer_size() < 200_000
            clock.now += 60
            until(lambda: not connections._stalls)
            until(lambda: sum(world.runtime.throttles.streams._num_held.values()) == 1)
