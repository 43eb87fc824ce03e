"""Events: one row for what happened, with ids that rise in the order of commits."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from service.domain.event import EventId
from service.domain.ids import KeyId
from service.domain.job import Job
from service.domain.key import Scope
from service.domain.limits import Limits
from service.lifecycle.cancel import request_cancel
from service.store import events, jobs
from service.store.database import Database
from service.store.tables import EventRow
from service.webhooks import endpoints as use
from tests import make
from tests.conftest import connected
from tests.make import submit
from tests.store.test_locks import in_one_group


@pytest.fixture
def db(postgres_url: str) -> Iterator[Database]:
    database = Database(postgres_url, lambda topics: None)
    yield database
    database.close()


def accepted(db: Database, key_id: KeyId) -> Job:
    asked = make.submission(key_id)
    job: Job = make.do(db, lambda tx: submit(tx, asked, Limits(), make.START)).job
    return job


def test_no_reader_sees_an_id_below_one_that_it_has_seen(db: Database, postgres_url: str) -> None:
    """Else a client that goes on behind the last id that it saw would miss the event."""
    others = [Database(postgres_url, lambda topics: None) for _ in range(2)]
    writers = [db, *others]
    keys = [make.key(db)[0] for _ in writers]
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


def test_the_lock_of_ids_is_taken_when_no_row_is_locked_any_more(db: Database) -> None:
    keys = [make.key(db)[0] for _ in range(2)]
    pairs = [(key_id, accepted(db, key_id)) for key_id in keys]
    statements: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    sa.event.listen(db._engine, "before_cursor_execute", note)
    with in_one_group(db):
        futures = [
            db.write(
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


def test_events_of_a_job_go_with_it(db: Database) -> None:
    key_id, _ = make.key(db)
    job, other = accepted(db, key_id), accepted(db, key_id)
    for each in (job, other):
        make.do(db, lambda tx, each=each: request_cancel(tx, each.id, Scope(key_id), make.START))

    make.do(db, lambda tx: jobs.delete(tx, job))

    page = db.read(lambda tx: events.page(tx, key_id, after=EventId(0), size=9))
    assert [(event.kind, event.job_id) for event in page] == [("job.canceled", other.id)]
    assert page[0].job is not None
    assert page[0].job.state == "canceled"


def test_a_test_event_takes_its_place_when_nothing_else_is_waited_for(db: Database) -> None:
    """Whoever holds the order of events must not wait for the row of a job or key."""
    owner, other = make.key(db)[0], make.key(db)[0]
    url = "https://example.com/hook"
    endpoint = make.do(db, lambda tx: use.register(tx, owner, url, ("job.failed",), make.START))
    job = accepted(db, other)
    statements: list[str] = []
    sa.event.listen(
        db._engine, "before_cursor_execute", lambda _c, _k, text, *_: statements.append(text)
    )

    with in_one_group(db):
        works = [
            db.write(lambda tx: use.send_test(tx, endpoint.id, owner, make.START)),
            db.write(lambda tx: request_cancel(tx, job.id, Scope(other), make.START)),
        ]
    for work in works:
        work.result()

    first = next(n for n, text in enumerate(statements) if "advisory" in text)
    behind = [text for text in statements[first:] if "FOR UPDATE" in text or "UPDATE keys" in text]
    assert behind == []
