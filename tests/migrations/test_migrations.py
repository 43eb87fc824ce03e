import json
import subprocess
import sys
from collections import Counter
from datetime import date, timedelta
from functools import partial
from itertools import chain
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from fastapi.testclient import TestClient

from service.api.webhook_body import WebhookBodies
from service.app import build
from service.domain.attempt import Failure, FailureKind, Profile
from service.domain.errors import Unavailable
from service.domain.event import DeliveryFilter
from service.domain.ids import JobId, KeyId
from service.domain.job import Idempotency, Job, JobFilter, JobState, Scope
from service.domain.key import KeyRole
from service.domain.limits import Limits
from service.domain.price import Balance, Charge, month_of
from service.domain.speech import SpeechUsage
from service.domain.window import Window
from service.lifecycle.jobs import request_cancel
from service.lifecycle.report import settle
from service.lifecycle.submit import find_earlier
from service.settings import Settings
from service.store import (
    attempts,
    deliveries,
    events,
    hours,
    job_lists,
    jobs,
    keys,
    moves,
    speeches,
)
from service.store.database import Database
from service.store.engine import make_engine
from service.store.keys import Total
from service.store.schema import (
    alembic_config,
    check_schema,
    current_revision,
    migrate,
    newest_revision,
)
from service.store.tables import EventRow, IdempotencyRow, JobRow
from tests import make
from tests.conftest import DATABASES, new_database
from tests.make import submit
from tests.migrations import rows_0001, rows_0002, rows_0003, rows_0004, rows_0005, rows_0010
from tests.migrations.rows_0001 import write_rows


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, without a table."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'm.db'}"
    return new_database(request.getfixturevalue("postgres"))


def execute(url: str, *statements: str) -> None:
    engine = make_engine(url)
    try:
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(sa.text(statement))
    finally:
        engine.dispose()


def test_the_migrations_make_exactly_the_tables(url: str) -> None:
    migrate(url)

    command.check(alembic_config(url))  # raises when a table and its migration differ


def test_a_difference_would_be_seen(url: str) -> None:
    migrate(url)
    execute(url, "DROP INDEX ix_jobs_claim")

    with pytest.raises(CommandError, match="ix_jobs_claim"):
        command.check(alembic_config(url))


def test_migrating_twice_changes_nothing(url: str) -> None:
    migrate(url)
    first = current_revision(url)

    migrate(url)

    assert current_revision(url) == first
    check_schema(url)


RELEASED = [
    script.revision
    for script in ScriptDirectory.from_config(alembic_config("sqlite://")).walk_revisions()
]


def test_the_newest_revision_is_told_by_the_names_of_the_files() -> None:
    scripts = ScriptDirectory.from_config(alembic_config("sqlite://"))

    assert newest_revision() == scripts.get_current_head()


def test_a_database_that_is_up_to_date_is_told_so_without_alembic(url: str) -> None:
    """It is a quarter of what a container that starts for one request would load."""
    migrate(url)
    code = (
        "import sys; from service.store.schema import check_schema, migrate; "
        f"migrate({url!r}); check_schema({url!r}); assert 'alembic' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_revision_but_the_newest_has_rows_to_be_upgraded() -> None:
    assert sorted(RELEASED)[:-1] == [f"{n:04}" for n in range(1, 15)]


def test_a_database_of_the_first_release_goes_on_with_all_its_rows(url: str) -> None:
    command.upgrade(alembic_config(url), "0001")
    written = write_rows(url)

    migrate(url)

    command.check(alembic_config(url))
    db = Database(url, lambda topics: None)
    try:
        key_id = KeyId(written.key_id)
        found = jobs_of(db, key_id)
        assert {job.id: job.state for job in found} == written.states
        assert db.read(keys.count_queued) == 1
        attempts = "SELECT count(*) FROM attempts"
        assert db.read(lambda tx: tx.connection.exec_driver_sql(attempts).scalar()) == 3
        # The job that ran is counted, so that its end does not take the count below nothing.
        running = next(job for job in found if job.state is JobState.RUNNING)
        make.do(db, lambda tx: request_cancel(tx, running.id, Scope(key_id), make.START))
        # What was final is purged in its time, counted from its end.
        done = next(job for job in found if job.state is JobState.SUCCEEDED)
        assert done.finished_at is not None
        due = done.finished_at + timedelta(hours=1)
        assert [j.id for j in db.read(lambda tx: jobs.to_purge(tx, due, size=9))] == [done.id]
        # And life goes on: the old job is claimed, a new one submitted.
        queued = next(job for job in found if job.state is JobState.QUEUED)
        assert make.claim(db, make.START + timedelta(days=1)).job.id == queued.id
        again = make.submission(key_id, retry_of=JobId(done.id))
        assert make.do(db, lambda tx: submit(tx, again, Limits(), make.START)).job.retry_of
    finally:
        db.close()


def test_a_database_of_the_second_release_knows_what_its_jobs_took(url: str) -> None:
    command.upgrade(alembic_config(url), "0002")
    key_id = KeyId(rows_0002.write_rows(url).key_id)

    migrate(url)

    command.check(alembic_config(url))
    db = Database(url, lambda topics: None)
    try:
        # Two jobs are open, one has succeeded and one has failed a day later.
        month = month_of(make.START)
        assert db.read(lambda tx: keys.balance(tx, key_id, month)) == Balance(None, 0, 1400)
        first, last = date(2026, 11, 1), date(2026, 11, 30)
        days = db.read(lambda tx: keys.totals(tx, "day", first, last, key_id=key_id))
        assert days == [
            Total("2026-11-23", jobs=1, gpu_ms=2500, microusd=800),
            Total("2026-11-24", jobs=1, gpu_ms=0, microusd=0),
        ]
        # And at their end the open ones give back what they have reserved.
        for job in jobs_of(db, key_id):
            if not job.state.final:
                make.do(db, lambda tx, job=job: moves.cancel(tx, job, charge=Charge(make.START)))
        assert db.read(lambda tx: keys.balance(tx, key_id, month)).reserved == 0
    finally:
        db.close()


def test_a_database_of_the_third_release_goes_on_with_the_one_model_of_each_job(url: str) -> None:
    command.upgrade(alembic_config(url), "0003")
    key_id = KeyId(rows_0003.write_rows(url).key_id)

    migrate(url)

    command.check(alembic_config(url))
    db = Database(url, lambda topics: None)
    try:
        found = jobs_of(db, key_id)
        assert {(job.profile, job.fallbacks, job.fell_back) for job in found} == {
            (Profile.FULL, (), ())
        }
        # The worker that a running job lost before still counts: with the second it has failed.
        running = next(job for job in found if job.state is JobState.RUNNING)
        lost = Failure(kind=FailureKind.LOST, code="worker_lost", message="fell silent")
        settled = make.do(db, lambda tx: settle(tx, running, lost, make.TERMS, make.START))
        assert settled.state is JobState.FAILED
    finally:
        db.close()


def test_a_job_of_the_fourth_release_that_runs_is_as_far_as_was_shown(url: str) -> None:
    command.upgrade(alembic_config(url), "0004")
    key_id = KeyId(rows_0004.write_rows(url).key_id)

    migrate(url)

    command.check(alembic_config(url))
    db = Database(url, lambda topics: None)
    try:
        found = jobs_of(db, key_id)
        shown = {job.state: (job.progress, job.attempt_progress) for job in found}
        assert shown[JobState.RUNNING] == (0.5, 0.5)
        assert shown[JobState.QUEUED] == (0.0, 0.0)
        # The queued job waits with a deadline, and is claimed no more once that is over.
        assert make.claim(db, make.START + timedelta(days=2)) is None
        assert make.claim(db, make.START + timedelta(hours=1)).job.state is JobState.STARTING
    finally:
        db.close()


def test_an_attempt_of_the_fifth_release_that_runs_keeps_the_folder_of_its_bytes(url: str) -> None:
    command.upgrade(alembic_config(url), "0005")
    key_id = KeyId(rows_0005.write_rows(url).key_id)

    migrate(url)

    command.check(alembic_config(url))
    db = Database(url, lambda topics: None)
    try:
        found = jobs_of(db, key_id)
        running = next(job for job in found if job.state is JobState.RUNNING)
        assert running.artifact_prefix == f"jobs/{running.id}/{running.fence}"
    finally:
        db.close()


def test_a_database_of_the_fifth_release_takes_in_faults_of_machines(url: str) -> None:
    command.upgrade(alembic_config(url), "0005")
    key_id = KeyId(rows_0005.write_rows(url).key_id)

    migrate(url)

    command.check(alembic_config(url))
    db = Database(url, lambda topics: None)
    try:
        found = jobs_of(db, key_id)
        running = next(job for job in found if job.state is JobState.RUNNING)
        fault = Failure(kind=FailureKind.MACHINE, code="machine_fault", message="disk full")
        settled = make.do(db, lambda tx: settle(tx, running, fault, make.TERMS, make.START))
        assert settled.state is JobState.QUEUED
        assert db.read(lambda tx: attempts.count_failed(tx, running, fault.kind)) == 1
        claimed = make.claim(db, make.START + timedelta(minutes=1))
        again = make.begin(db, claimed, make.START, call_id="another")
        failed = make.do(db, lambda tx: moves.fail(tx, again, fault, charge=Charge(make.START)))
        assert failed.error.kind is FailureKind.MACHINE
    finally:
        db.close()
    # No other word came in with it.
    with pytest.raises(sa.exc.IntegrityError):
        execute(url, "UPDATE attempts SET error_kind = 'weather'")


def test_jobs_of_the_fifth_release_are_found_by_their_labels(url: str) -> None:
    command.upgrade(alembic_config(url), "0005")
    key_id = KeyId(rows_0005.write_rows(url).key_id)

    migrate(url)

    command.check(alembic_config(url))
    db = Database(url, lambda topics: None)
    try:
        wanted = JobFilter(metadata={"scene": "12", "take": 'ä " b'})
        found = jobs_of(db, key_id, wanted)
        assert [job.state for job in found] == [JobState.QUEUED]
        other = JobFilter(metadata={"scene": "13"})
        assert jobs_of(db, key_id, other) == []
    finally:
        db.close()


def test_jobs_of_the_seventh_release_are_found_by_their_ends_and_errors(url: str) -> None:
    command.upgrade(alembic_config(url), "0005")
    key_id = KeyId(rows_0005.write_rows(url).key_id)
    command.upgrade(alembic_config(url), "0007")

    migrate(url)

    db = Database(url, lambda topics: None)
    try:
        ended = jobs_of(db, key_id, JobFilter(ended_after=make.START - timedelta(days=999)))
        assert {job.id for job in ended} == {
            job.id for job in jobs_of(db, key_id) if job.state.final
        }
        failed = next(job for job in ended if job.error is not None)
        assert failed in jobs_of(db, key_id, JobFilter(error_code=failed.error.code))
    finally:
        db.close()


def test_jobs_of_the_first_release_are_counted_in_the_hours_of_their_ends(url: str) -> None:
    command.upgrade(alembic_config(url), "0001")
    written = write_rows(url)
    execute(url, "UPDATE jobs SET error_kind = 'user' WHERE state = 'failed'")

    migrate(url)

    db = Database(url, lambda topics: None)
    try:
        ended = [job for job in jobs_of(db, KeyId(written.key_id)) if job.state.final]
        window = Window(make.START - timedelta(days=999), make.START + timedelta(days=999))
        counts = db.read(lambda tx: hours.count_ended(tx, window, 1))
        by_state = sum((parts[0] for parts in counts.values()), Counter[JobState]())
        assert by_state == Counter(job.state for job in ended)
        failed = [job.error.code for job in ended if job.state is JobState.FAILED and job.error]
        failures = db.read(lambda tx: hours.count_failures(tx, window))
        assert [(each.code, each.user_failures) for each in chain(*failures.values())] == [
            (code, number) for code, number in Counter(failed).items()
        ]
        for job in ended:
            make.do(db, lambda tx, job=job: jobs.delete(tx, job))
        assert db.read(lambda tx: tx.execute(sa.text("SELECT * FROM hours")).all()) == []
    finally:
        db.close()


def test_texts_of_the_tenth_release_are_spoken_before_a_worker_gets_their_jobs(url: str) -> None:
    command.upgrade(alembic_config(url), "0009")
    key_id = KeyId(rows_0010.write_rows(url).key_id)
    command.upgrade(alembic_config(url), "0010")

    migrate(url)

    command.check(alembic_config(url))
    db = Database(url, lambda topics: None)
    try:
        found = jobs_of(db, key_id)
        by_state = {job.state: job for job in found}
        assert {job.state for job in found if job.speech_at is not None} == {
            JobState.QUEUED,
            JobState.RUNNING,  # which may be queued again
        }
        later = make.START + timedelta(days=1)
        assert make.claim(db, later) is None
        queued = by_state[JobState.QUEUED]
        listed = db.read(lambda tx: speeches.due(tx, later, busy_keys=[], size=9))
        assert [each.id for each in listed] == [queued.id]
        usage = SpeechUsage(provider="hibari", characters=0, usd=0.0)
        make.do(db, lambda tx: moves.finish_speech(tx, queued, usage, size_bytes=100))
        assert make.claim(db, later).job.id == queued.id
    finally:
        db.close()


def jobs_of(db: Database, key_id: KeyId, wanted: JobFilter | None = None) -> list[Job]:
    read = partial(job_lists.page, size=100, filters=wanted or JobFilter())
    return db.read(lambda tx: read(tx, Scope(key_id))).jobs


def test_keys_of_the_fifth_release_keep_their_rights(url: str) -> None:
    command.upgrade(alembic_config(url), "0005")
    key_id = rows_0005.write_rows(url).key_id
    copied = ", ".join(("secret_hash", "queued", "active", "served", "spent_microusd"))
    copied += ", spent_month, reserved_microusd, created_at"
    execute(
        url,
        f"UPDATE keys SET admin = true WHERE id = '{key_id}'",
        f"INSERT INTO keys (id, name, prefix, admin, {copied})"
        f" SELECT 'key_plain', 'plain', 'rsh_plain', false, {copied} FROM keys",
    )

    migrate(url)

    db = Database(url, lambda topics: None)
    try:
        roles = {key.id: key.role for key in db.read(keys.every)}
        assert roles == {KeyId(key_id): KeyRole.ADMIN, KeyId("key_plain"): KeyRole.USER}
    finally:
        db.close()


ROWS = {
    "0001": rows_0001,
    "0002": rows_0002,
    "0003": rows_0003,
    "0004": rows_0004,
    "0005": rows_0005,
}


@pytest.fixture(params=ROWS)
def revision(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_every_stored_request_says_of_which_kind_it_is(url: str, revision: str) -> None:
    command.upgrade(alembic_config(url), revision)
    ROWS[revision].write_rows(url)

    migrate(url)

    engine = make_engine(url)
    with engine.connect() as connection:
        requests = connection.execute(sa.select(JobRow.request, JobRow.kind)).all()
        accepted = connection.execute(sa.select(IdempotencyRow.accepted)).scalars().all()
        snapshots = connection.execute(sa.select(EventRow.snapshot)).scalars().all()
    engine.dispose()
    assert {(request["kind"], kind) for request, kind in requests} == {("video", "video")}
    copies = [*accepted, *filter(None, snapshots)]
    assert {copy["request"]["kind"] for copy in copies} == {"video"}


def test_a_submit_that_is_sent_again_after_an_upgrade_gets_the_same_job(
    url: str, revision: str
) -> None:
    command.upgrade(alembic_config(url), revision)
    written = ROWS[revision].write_rows(url)

    migrate(url)

    db = Database(url, lambda topics: None)
    try:
        again = Idempotency("order-1", bytes(32))
        replay = db.read(
            lambda tx: find_earlier(tx, KeyId(written.key_id), again, rows_0001.at_noon())
        )
        assert replay is not None
        assert replay.is_replay
        assert replay.job.id == rows_0001.JOBS["queued"]
    finally:
        db.close()


@pytest.mark.parametrize("revision", sorted(ROWS)[1:], indirect=True)
def test_webhooks_that_were_pending_before_an_upgrade_are_sent_after_it(
    url: str, revision: str
) -> None:
    command.upgrade(alembic_config(url), revision)
    written = ROWS[revision].write_rows(url)

    migrate(url)

    db = Database(url, lambda topics: None)
    try:
        key_id = KeyId(written.key_id)
        rows = db.read(lambda tx: deliveries.page(tx, key_id, size=9, filters=DeliveryFilter()))
        by_id = {delivery.id: delivery for delivery in rows}
        unsent, test = by_id[rows_0002.UNSENT], by_id[rows_0002.TEST]
        bodies = WebhookBodies(b"secret", "https://rushes.example.com")
        event = db.read(lambda tx: events.get(tx, unsent.event_id))
        body = json.loads(bodies.render(unsent, event.job))
        assert (body["type"], body["data"]["id"]) == (
            "job.succeeded",
            rows_0001.JOBS["succeeded"],
        )
        about_endpoint = db.read(lambda tx: events.get(tx, test.event_id))
        assert json.loads(bodies.render(test, about_endpoint.job))["type"] == "webhook.test"
        assert by_id[rows_0002.SENT].body == b"{}"
        due = db.read(
            lambda tx: deliveries.due(tx, rows_0001.at_noon(), busy_hosts=[], busy_keys=[], size=9)
        )
        assert {each.id for each in due} == {unsent.id, test.id}
    finally:
        db.close()


def test_an_unmigrated_database_is_refused_with_the_way_out(url: str) -> None:
    with pytest.raises(Unavailable, match="rushes migrate"):
        check_schema(url)


def test_a_database_of_a_newer_release_is_refused(url: str) -> None:
    migrate(url)
    execute(url, "UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(Unavailable, match="newer release"):
        check_schema(url)


def test_a_database_of_an_older_release_is_refused_with_the_way_out(url: str) -> None:
    command.upgrade(alembic_config(url), "0001")

    with pytest.raises(Unavailable, match="needs 0015; run `rushes migrate`"):
        check_schema(url)


def test_the_service_does_not_start_on_a_database_that_is_not_ready(
    url: str, tmp_path: Path
) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path, database_url=url)

    with pytest.raises(Unavailable, match="rushes migrate"), TestClient(build(settings)):
        pass


def test_every_word_of_an_enum_column_is_checked_by_the_database(url: str) -> None:
    migrate(url)
    engine = make_engine(url)
    found = {check["name"] for check in sa.inspect(engine).get_check_constraints("jobs")}
    engine.dispose()

    assert found >= {
        "ck_jobs_state",
        "ck_jobs_stage",
        "ck_jobs_error_kind",
        "ck_jobs_lease_iff_active",
    }
