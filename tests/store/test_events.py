"""Events: one row for what happened, with ids that rise in the order of commits."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa

from service.domain.event import Event
from service.domain.ids import EventId, KeyId
from service.domain.job import Job, Scope
from service.domain.limits import Limits
from service.lifecycle.jobs import request_cancel
from service.store import events, jobs
from service.store.database import Database
from service.store.tables import EventRow
from service.webhooks import endpoints as use
from tests import make
from tests.conftest import connected
from tests.make import submit
from tests.store.test_locks import in_one_group


@pytest.fixture
def server(postgres_url: str) -> Iterator[Database]:
    """A database that several processes write."""
    database = Database(postgres_url, lambda topics: None)
    yield database
    database.close()


def accepted(db: Database, key_id: KeyId) -> Job:
    asked = make.submission(key_id)
    job: Job = make.do(db, lambda tx: submit(tx, asked, Limits(), make.START)).job
    return job


def test_no_reader_sees_an_id_below_one_that_it_has_seen(
    server: Database, postgres_url: str
) -> None:
    """Else a client that goes on behind the last id that it saw would miss the event."""
    others = [Database(postgres_url, lambda topics: None) for _ in range(2)]
    writers = [server, *others]
    keys = [make.key(server)[0] for _ in writers]
    done = threading.Event()

    def read() -> list[EventId]:
        seen: list[EventId] = []
        with connected(postgres_url) as connection:
            while True:
                last = done.is_set()
                behind = seen[-1] if seen else 0
                statement = sa.select(EventRow.id).order_by(EventRow.id)
                found = list(connection.execute(statement).scalars())
                assert [id_ for id_ in found if id_ <= behind] == seen
                seen = [EventId(id_) for id_ in found]
                if last:
                    return seen

    def write(writer: Database, key_id: KeyId) -> None:
        for _ in range(30):
            job = accepted(writer, key_id)
            make.do(
                writer, lambda tx, job=job: request_cancel(tx, job.id, Scope(key_id), make.START)
            )

    with ThreadPoolExecutor(4) as pool:
        reader = pool.submit(read)
        for future in [pool.submit(write, *pair) for pair in zip(writers, keys, strict=True)]:
            future.result()
        done.set()
        assert len(reader.result()) == 90
    for other in others:
        other.close()


def test_the_lock_of_ids_is_taken_when_no_row_is_locked_any_more(server: Database) -> None:
    keys = [make.key(server)[0] for _ in range(2)]
    pairs = [(key_id, accepted(server, key_id)) for key_id in keys]
    statements: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    sa.event.listen(server._engine, "before_cursor_execute", note)
    with in_one_group(server):
        futures = [
            server.write(
                lambda tx, job=job, key_id=key_id: request_cancel(
                    tx, job.id, Scope(key_id), make.START
                )
            )
            for key_id, job in pairs
        ]
    for future in futures:
        future.result()

    locked = next(n for n, text in enumerate(statements) if "pg_advisory_xact_lock" in text)
    assert sum("UPDATE keys" in text for text in statements[:locked]) == 2
    assert not any("UPDATE keys" in text for text in statements[locked:])
    assert not any("FOR UPDATE" in text for text in statements[locked:])


def canceled(db: Database, key_id: KeyId) -> Job:
    job = accepted(db, key_id)
    make.do(db, lambda tx: request_cancel(tx, job.id, Scope(key_id), make.START))
    return job


def recorded(db: Database, key_id: KeyId) -> list[Event]:
    return db.read(lambda tx: events.page(tx, [key_id], after=EventId(0), size=9))


def ids(db: Database) -> list[EventId]:
    found = db.read(lambda tx: tx.execute(sa.select(EventRow.id).order_by(EventRow.id)).scalars())
    return list(found)


def test_events_of_a_job_say_nothing_once_it_is_deleted_and_keep_their_place(db: Database) -> None:
    key_id, _ = make.key(db)
    job, other = canceled(db, key_id), canceled(db, key_id)
    before = ids(db)

    make.do(db, lambda tx: jobs.delete(tx, job))

    (event,) = recorded(db, key_id)
    assert (event.kind, event.job_id) == ("job.canceled", other.id)
    assert event.job is not None
    assert event.job.state == "canceled"
    assert ids(db) == before
    assert all(db.read(lambda tx, id_=id_: events.exists(tx, id_)) for id_ in before)
    erased = db.read(lambda tx: events.get(tx, before[0]))
    assert (erased.job_id, erased.job) == (None, None)  # type: ignore[union-attr]


def test_a_deleted_job_is_still_told_by_a_delivery_that_was_not_tried(db: Database) -> None:
    key_id, _ = make.key(db)
    url = "https://example.com/hook"
    make.do(db, lambda tx: use.register(tx, key_id, url, ("job.canceled",), make.START))
    job = canceled(db, key_id)

    make.do(db, lambda tx: jobs.delete(tx, job))

    (id_,) = ids(db)
    event = db.read(lambda tx: events.get(tx, id_))
    assert event is not None
    assert event.job is not None
    assert event.job.id == job.id


def test_old_events_go_but_for_the_newest(db: Database) -> None:
    """However long nothing has happened: readers resume behind it."""
    key_id, _ = make.key(db)
    for _ in range(3):
        canceled(db, key_id)
    newest = db.read(events.newest)
    later = make.START + timedelta(days=31)
    assert db.read(lambda tx: events.has_old(tx, later))

    assert make.do(db, lambda tx: events.delete_old(tx, later, size=9)) == 2

    assert ids(db) == [newest]
    assert not db.read(lambda tx: events.has_old(tx, later))


def test_progress_is_no_place_to_resume_behind(db: Database) -> None:
    key_id, _ = make.key(db)
    job = canceled(db, key_id)
    newest = db.read(events.newest)

    make.do(db, lambda tx: events.append(tx, "job.progress", key_id, now=make.START, job=job))

    assert db.read(events.newest) == newest
    assert [event.kind for event in recorded(db, key_id)] == ["job.canceled"]


def test_a_test_event_takes_its_place_when_nothing_else_is_waited_for(server: Database) -> None:
    """Whoever holds the order of events must not wait for the row of a job or key."""
    owner, other = make.key(server)[0], make.key(server)[0]
    url = "https://example.com/hook"
    endpoint = make.do(server, lambda tx: use.register(tx, owner, url, ("job.failed",), make.START))
    job = accepted(server, other)
    statements: list[str] = []
    sa.event.listen(
        server._engine, "before_cursor_execute", lambda _c, _k, text, *_: statements.append(text)
    )

    with in_one_group(server):
        works = [
            server.write(lambda tx: use.send_test(tx, endpoint.id, owner, make.START)),
            server.write(lambda tx: request_cancel(tx, job.id, Scope(other), make.START)),
        ]
    for work in works:
        work.result()

    first = next(n for n, text in enumerate(statements) if "advisory" in text)
    behind = [text for text in statements[first:] if "FOR UPDATE" in text or "UPDATE keys" in text]
    assert behind == []
