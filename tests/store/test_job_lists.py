from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from service.domain import ids
from service.domain.errors import NotFound
from service.domain.ids import JobId, KeyId
from service.domain.job import JobFilter, JobState, Scope
from service.domain.price import Charge
from service.store import job_lists, jobs, moves
from service.store.database import Database
from service.store.transaction import Transaction
from tests import make
from tests.store.test_jobs import submitted

# Plans of SQLite: where one key's jobs are read from, and all keys'.
_LABELS = "labels USING PRIMARY KEY"
_OF_ALL = {
    "ix_jobs_owner": "jobs",
    _LABELS: "labels USING COVERING INDEX ix_labels_of_all",
    **{f"ix_jobs_{name}": f"ix_jobs_{name}_of_all" for name in ("state", "model", "kind")},
    **{f"ix_jobs_{name}": f"ix_jobs_{name}_of_all" for name in ("error", "end")},
}


def test_a_pages_conditions_hold_together(db: Database, key_id: KeyId) -> None:
    made = [submitted(db, key_id, metadata={"n": str(n % 2)}) for n in range(6)]
    wanted = JobFilter(metadata={"n": "1"}, states=(JobState.QUEUED,), models=("slate",))

    def page(**more: object) -> list[str]:
        return [
            job.id
            for job in db.read(
                lambda tx: job_lists.page(tx, Scope(key_id), size=2, filters=wanted, **more)  # type: ignore[arg-type]
            ).jobs
        ]

    assert page() == [made[5].id, made[3].id]
    assert page(after=made[3].id) == [made[1].id]
    assert page(newest_first=False) == [made[1].id, made[3].id]


def test_a_page_of_several_states_is_one_order(db: Database, key_id: KeyId) -> None:
    made = [submitted(db, key_id) for _ in range(6)]
    for job in made[::2]:
        make.do(db, lambda tx, job=job: moves.cancel(tx, job, charge=Charge(make.START)))
    wanted = JobFilter(states=(JobState.QUEUED, JobState.CANCELED, JobState.FAILED))

    def page(**more: object) -> list[str]:
        read = partial(job_lists.page, scope=Scope(key_id), size=3, filters=wanted, **more)  # type: ignore[arg-type]
        return [job.id for job in db.read(read).jobs]

    assert page() == [job.id for job in made[:2:-1]]
    assert page(after=made[3].id) == [job.id for job in made[2::-1]]
    assert page(newest_first=False, after=made[1].id) == [job.id for job in made[2:5]]


def test_a_label_is_found_until_its_job_is_deleted(db: Database, key_id: KeyId) -> None:
    both = submitted(db, key_id, metadata={"a": "1", "b": "2"})
    one = submitted(db, key_id, metadata={"a": "1"})

    def page(**labels: str) -> list[str]:
        wanted = JobFilter(metadata=labels)
        return [
            job.id
            for job in db.read(
                lambda tx: job_lists.page(tx, Scope(key_id), size=9, filters=wanted)
            ).jobs
        ]

    assert page(a="1") == [one.id, both.id]
    assert page(a="1", b="2") == [both.id]
    assert page(a="2") == []
    make.do(db, lambda tx: jobs.delete(tx, both))
    assert page(a="1") == [one.id]
    rows = sa.text("SELECT count(*) FROM labels")
    assert db.read(lambda tx: tx.execute(rows).scalar_one()) == 1


_LABELS = "labels USING PRIMARY KEY"


@pytest.mark.parametrize("of_all", [False, True])
@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (JobFilter(), "ix_jobs_owner"),
        (JobFilter(states=(JobState.FAILED,)), "ix_jobs_state"),
        (JobFilter(states=(JobState.QUEUED, JobState.FAILED)), "ix_jobs_state"),
        (JobFilter(models=("slate",)), "ix_jobs_model"),
        (JobFilter(kinds=("avatar",)), "ix_jobs_kind"),
        (JobFilter(error_code="timeout"), "ix_jobs_error"),
        (JobFilter(error_code="timeout", states=(JobState.FAILED,)), "ix_jobs_error"),
        (JobFilter(created_after=make.START, created_before=make.START), "ix_jobs_owner"),
        (JobFilter(ended_after=make.START), "ix_jobs_end"),
        (JobFilter(ended_before=make.START, states=(JobState.FAILED,)), "ix_jobs_end"),
        (JobFilter(words=("red",)), "ix_jobs_owner"),
        (JobFilter(metadata={"a": "1"}), _LABELS),
        (JobFilter(metadata={"a": "1", "b": "2"}, states=(JobState.FAILED,)), _LABELS),
        (JobFilter(metadata={"a": "1"}, states=(JobState.FAILED, JobState.QUEUED)), _LABELS),
        (JobFilter(metadata={"a": "1"}, models=("slate",)), _LABELS),
        (JobFilter(metadata={"a": "1"}, models=("slate", "other")), _LABELS),
        (JobFilter(metadata={"a": "1"}, models=("slate",), states=(JobState.FAILED,)), _LABELS),
    ],
    ids=str,
)
def test_every_filter_reads_an_index_in_order(
    db: Database, key_id: KeyId, wanted: JobFilter, index: str, of_all: bool
) -> None:
    """A list that reads and sorts all jobs of a key takes half a second for 500,000 of them."""
    if not db.local:
        pytest.skip("there the planner goes by what it has counted in a table of some size")
    ended = submitted(db, key_id)
    make.do(db, lambda tx: moves.cancel(tx, ended, charge=Charge(make.START)))
    scope = Scope(None if of_all else key_id)
    plans: list[list[str]] = []

    def explain(_c: object, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        if "LIMIT" in statement:
            rows = cursor.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.append([row[3] for row in rows])

    def pages(tx: Transaction) -> None:
        sa.event.listen(tx.connection, "before_cursor_execute", explain)
        for after in (None, ended.id):
            job_lists.page(tx, scope, size=3, after=after, filters=wanted)
        sa.event.remove(tx.connection, "before_cursor_execute", explain)

    db.read(pages)

    assert len(plans) == 2
    for plan in plans:
        read = next(
            line for line in plan if line.startswith(("SEARCH jobs", "SCAN jobs", "SEARCH labels"))
        )
        assert (_OF_ALL[index] if of_all else index) in read, plan
        assert ("key_id=?" in read) != of_all, plan
        assert of_all or read.startswith("SEARCH"), plan
        # Several states, each in the order of its index, are merged; nothing else is sorted.
        assert len(wanted.states) > 1 or not any("TEMP B-TREE" in line for line in plan), plan


def test_jobs_are_listed_by_their_end(db: Database, key_id: KeyId) -> None:
    made = [submitted(db, key_id) for _ in range(4)]
    at = [make.START + timedelta(hours=hours) for hours in (3, 1, 2)]
    for job, moment in zip(made, at, strict=False):
        make.do(db, lambda tx, job=job, moment=moment: moves.cancel(tx, job, charge=Charge(moment)))

    def page(after: JobId | None = None, **bounds: datetime) -> list[JobId]:
        found = db.read(
            lambda tx: job_lists.page(
                tx,
                Scope(key_id),
                size=2,
                after=after,
                filters=JobFilter(**bounds),  # type: ignore[arg-type]
            )
        )
        assert (found.next_after is None) == (len(found.jobs) < 2 or "ended_before" in bounds)
        return [job.id for job in found.jobs]

    assert page(ended_after=at[1]) == [made[0].id, made[2].id]
    assert page(ended_after=at[1], after=made[2].id) == [made[1].id]
    assert page(ended_after=at[1], ended_before=at[0]) == [made[2].id, made[1].id]
    with pytest.raises(NotFound, match="no ended job"):
        page(ended_after=at[1], after=made[3].id)


def test_bounds_on_the_creation_are_half_open(db: Database, key_id: KeyId) -> None:
    early, late = submitted(db, key_id), submitted(db, key_id)
    moment = ids.made_at(late.id)
    while ids.made_at(early.id) == moment:  # of one millisecond
        late = submitted(db, key_id)
        moment = ids.made_at(late.id)

    def page(**bounds: datetime) -> list[JobId]:
        wanted = JobFilter(**bounds)  # type: ignore[arg-type]
        found = db.read(lambda tx: job_lists.page(tx, Scope(key_id), size=99, filters=wanted))
        return [job.id for job in found.jobs]

    assert late.id in page(created_after=moment)
    assert early.id not in page(created_after=moment)
    assert early.id in page(created_before=moment)
    assert late.id not in page(created_before=moment)


def test_a_search_in_prompts_goes_on_where_it_stopped(
    db: Database, key_id: KeyId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_lists, "MAX_SEARCHED", 2)
    prompts = ["Ein ÄRGER im Wald", "a cat", "a dog", "ärger, kein Wald", "a bird"]
    made = [
        submitted(db, key_id, request=make.request().model_copy(update={"prompt": prompt}))
        for prompt in prompts
    ]
    wanted = JobFilter(words=("wald", "Ärger"))
    pages, after = [], None

    while True:
        found = db.read(
            lambda tx, after=after: job_lists.page(
                tx, Scope(key_id), size=5, after=after, filters=wanted
            )
        )
        pages.append([job.id for job in found.jobs])
        after = found.next_after
        if after is None:
            break

    assert pages == [[made[3].id], [], [made[0].id]]
