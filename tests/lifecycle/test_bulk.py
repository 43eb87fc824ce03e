"""Bulk actions on both databases: what they choose, and that each job has one turn."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from service.artifacts.files import Files
from service.domain.bulk import BulkAct, BulkAction, BulkId, BulkItem, BulkState
from service.domain.errors import Conflict, QueueFull, RequestRefused
from service.domain.ids import JobId, KeyId
from service.domain.job import Job, JobFilter, JobState, Scope
from service.domain.limits import Limits
from service.lifecycle import bulk as use
from service.lifecycle.bulk import BulkRunner, Order, Retry, start, stop
from service.store import bulk, job_lists, jobs
from service.store.database import Database
from service.store.transaction import Transaction
from tests import make
from tests.make import START, submit

ALL = Scope(None)


@pytest.fixture(autouse=True)
def take_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick does as much here as it may, however slow the machine is."""
    monkeypatch.setattr(use, "_SECONDS", 60)


def accept(db: Database, key_id: KeyId, **changes: object) -> JobId:
    new = make.submission(key_id, estimated_usd=0.25, **changes)
    return JobId(make.do(db, lambda tx: submit(tx, new, Limits(), START)).job.id)


def runner(db: Database, tmp_path: Path, retry: Retry = lambda job, name: job) -> BulkRunner:
    return BulkRunner(db, make.PULLED, Files(tmp_path / "artifacts"), retry)


def begin(db: Database, key_id: KeyId, order: Order) -> BulkAction:
    return start(db, order, key_id, START)


def states(db: Database, ids: list[JobId]) -> list[JobState]:
    found = db.read(lambda tx: jobs.get_all(tx, ids))
    return [found[id_].state for id_ in ids]


def test_the_survey_counts_jobs_and_dollars(db: Database, key_id: KeyId) -> None:
    scene = [accept(db, key_id, metadata={"scene": "12", "take": "1"}) for _ in range(3)]
    accept(db, key_id, metadata={"scene": "13"})
    filters = JobFilter(metadata={"scene": "12", "take": "1"})

    found = db.read(lambda tx: bulk.survey(tx, "cancel", ALL, filters))

    assert (found.jobs, found.estimated_usd) == (3, 0.75)
    assert db.read(lambda tx: bulk.survey(tx, "delete", ALL, filters)).jobs == 0
    begin(db, key_id, Order("cancel", ALL, filters, "", 3))
    (action,) = db.read(bulk.running)
    assert db.read(lambda tx: bulk.open_items(tx, action.id, size=9)) == scene


def test_words_choose_the_jobs_that_the_list_shows(db: Database, key_id: KeyId) -> None:
    prompts = ("Ein Bär, ÜBER den Wolken", "ein bär", "über dem Bären", "100% über Bär")
    ids = [accept(db, key_id, request=make.request(prompt=text)) for text in prompts]
    filters = JobFilter(words=("bär", "über"))
    shown = db.read(lambda tx: job_lists.page(tx, ALL, size=9, filters=filters)).jobs

    found = db.read(lambda tx: bulk.survey(tx, "cancel", ALL, filters))
    action = begin(db, key_id, Order("cancel", ALL, filters, "", found.jobs))

    chosen = db.read(lambda tx: bulk.open_items(tx, action.id, size=9))
    assert chosen == sorted(job.id for job in shown) == [ids[0], *ids[2:]]
    assert found.estimated_usd == 0.75


def test_a_search_in_the_prompts_holds_up_no_write(
    db: Database, key_id: KeyId, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(db, key_id, request=make.request(prompt="a ball"))
    order = Order("cancel", ALL, JobFilter(words=("ball",)), "", 1)
    is_searching, may_end = Event(), Event()
    search = job_lists.containing

    def search_slowly(words: tuple[str, ...], rows: Iterable[Any]) -> Iterator[Any]:
        is_searching.set()
        may_end.wait()
        return search(words, rows)

    monkeypatch.setattr(job_lists, "containing", search_slowly)
    with ThreadPoolExecutor() as pool:
        action = pool.submit(start, db, order, key_id, START)
        try:
            assert is_searching.wait(30)
            db.check_writable().result(30)
        finally:
            may_end.set()

    assert action.result().total == 1


@pytest.mark.parametrize("words", [(), ("ball",)], ids=["all", "words"])
def test_more_jobs_than_an_action_may_have_are_refused_and_not_counted(
    db: Database, key_id: KeyId, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    for module in (bulk, use):
        monkeypatch.setattr(module, "MAX_JOBS", 2)
    for _ in range(5):
        accept(db, key_id, request=make.request(prompt="a ball"))
    filters = JobFilter(words=words)

    found = db.read(lambda tx: bulk.survey(tx, "cancel", ALL, filters))

    assert (found.jobs, found.estimated_usd) == (3, 0.75)
    for told in (3, 5):
        with pytest.raises(RequestRefused, match="from 1 to 2 jobs at once; the filter has more"):
            begin(db, key_id, Order("cancel", ALL, filters, "", told))


def test_only_the_jobs_of_the_scope_are_chosen(db: Database, key_id: KeyId) -> None:
    accept(db, key_id)
    other = make.key(db)[0]
    accept(db, other)

    assert db.read(lambda tx: bulk.survey(tx, "cancel", Scope(other), JobFilter())).jobs == 1
    assert db.read(lambda tx: bulk.survey(tx, "cancel", ALL, JobFilter())).jobs == 2


def test_each_job_has_one_turn(db: Database, key_id: KeyId, tmp_path: Path) -> None:
    ids = [accept(db, key_id) for _ in range(5)]
    action = begin(db, key_id, Order("cancel", ALL, JobFilter(), "", 5))
    later = accept(db, key_id)
    tick = runner(db, tmp_path).tick

    assert tick(START) == 5
    assert tick(START) == 0

    assert states(db, [*ids, later]) == [JobState.CANCELED] * 5 + [JobState.QUEUED]
    ended = db.read(lambda tx: bulk.get(tx, action.id))
    assert ended is not None
    assert (ended.state, ended.ended_at) == (BulkState.DONE, START)
    assert db.read(lambda tx: bulk.counts(tx, [action.id])) == {action.id: {True: 5}}


def test_a_job_that_ended_meanwhile_is_named_and_left(
    db: Database, key_id: KeyId, tmp_path: Path
) -> None:
    ids = [accept(db, key_id) for _ in range(2)]
    begin(db, key_id, Order("cancel", ALL, JobFilter(), "", 2))
    other = begin(db, key_id, Order("cancel", ALL, JobFilter(), "", 2))

    runner(db, tmp_path).tick(START)

    items = db.read(lambda tx: bulk.items(tx, other.id, size=9))
    assert [(item.job_id, item.is_changed, item.outcome) for item in items] == [
        (id_, False, "it had ended before") for id_ in ids
    ]


def test_a_stopped_action_leaves_the_others(db: Database, key_id: KeyId, tmp_path: Path) -> None:
    ids = [accept(db, key_id) for _ in range(3)]
    action = begin(db, key_id, Order("cancel", ALL, JobFilter(), "", 3))

    make.do(db, lambda tx: stop(tx, action.id, key_id, START))

    assert runner(db, tmp_path).tick(START) == 0
    assert states(db, ids) == [JobState.QUEUED] * 3


class Stuck(Files):
    """A store that may not delete the files of one job."""

    job_id = ""

    def delete(self, prefix: str) -> None:
        if self.job_id in prefix:
            raise PermissionError(13, "Permission denied")
        super().delete(prefix)


def test_a_job_that_cannot_be_deleted_stops_no_other(
    db: Database, key_id: KeyId, tmp_path: Path
) -> None:
    ids = [accept(db, key_id) for _ in range(3)]
    begin(db, key_id, Order("cancel", ALL, JobFilter(), "", 3))
    runner(db, tmp_path).tick(START)
    files = Stuck(tmp_path / "artifacts")
    files.job_id = ids[1]
    action = begin(db, key_id, Order("delete", ALL, JobFilter(), "", 3))

    BulkRunner(db, make.PULLED, files, lambda job, name: job).tick(START)

    items = db.read(lambda tx: bulk.items(tx, action.id, size=9))
    assert [(item.job_id, item.is_changed, item.outcome) for item in items] == [
        (ids[0], True, "deleted"),
        (ids[1], False, "failed by PermissionError; the service's log says more"),
        (ids[2], True, "deleted"),
    ]


def test_an_action_that_fails_stops_no_other(
    db: Database, key_id: KeyId, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [accept(db, key_id, metadata={"scene": name}) for name in ("1", "2")]
    first, second = (
        begin(db, key_id, Order("cancel", ALL, JobFilter(metadata={"scene": name}), "", 1))
        for name in ("1", "2")
    )

    def settle(tx: Transaction, bulk_id: BulkId, item: BulkItem) -> None:
        if bulk_id == first.id:
            raise ArithmeticError("a fault")
        settle_item(tx, bulk_id, item)

    settle_item = bulk.settle
    with monkeypatch.context() as patch:
        patch.setattr(bulk, "settle", settle)
        with pytest.raises(ArithmeticError):
            runner(db, tmp_path).tick(START)

    assert states(db, ids) == [JobState.QUEUED, JobState.CANCELED]
    assert db.read(lambda tx: bulk.counts(tx, [second.id])) == {second.id: {True: 1}}


@pytest.mark.parametrize("act", ["cancel", "delete"])
def test_after_a_crash_the_record_says_what_was_done(
    db: Database, key_id: KeyId, tmp_path: Path, act: BulkAct, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies after its first commit."""
    ids = [accept(db, key_id) for _ in range(2)]
    if act == "delete":
        begin(db, key_id, Order("cancel", ALL, JobFilter(), "", 2))
        for _ in range(2):
            runner(db, tmp_path).tick(START)
    action = begin(db, key_id, Order(act, ALL, JobFilter(), "", 2))
    commits = iter([db.write])

    def write(work: Callable[[Transaction], Any]) -> Any:
        try:
            return next(commits)(work)
        except StopIteration:
            raise SystemExit from None

    with monkeypatch.context() as patch:
        patch.setattr(db, "write", write)
        with pytest.raises(SystemExit):
            runner(db, tmp_path).tick(START)
    runner(db, tmp_path).tick(START)

    items = db.read(lambda tx: bulk.items(tx, action.id, size=9))
    assert [(item.job_id, item.is_changed) for item in items] == [(id_, True) for id_ in ids]


def test_a_full_queue_is_waited_for(db: Database, key_id: KeyId, tmp_path: Path) -> None:
    accept(db, key_id)
    runner_of_cancel = runner(db, tmp_path)
    begin(db, key_id, Order("cancel", ALL, JobFilter(), "", 1))
    runner_of_cancel.tick(START)
    runner_of_cancel.tick(START)
    answers = [QueueFull("full"), None]

    def retry(job: Job, name: str) -> Job:
        error = answers.pop(0)
        if error is not None:
            raise error
        return job

    action = begin(db, key_id, Order("retry", ALL, JobFilter(), "", 1))
    tick = runner(db, tmp_path, retry).tick

    assert [tick(START + timedelta(seconds=n)) for n in range(2)] == [0, 1]
    assert db.read(lambda tx: bulk.counts(tx, [action.id])) == {action.id: {True: 1}}


def test_a_full_queue_holds_up_the_jobs_of_its_key_alone(
    db: Database, key_id: KeyId, tmp_path: Path
) -> None:
    other = make.key(db)[0]
    ids = [accept(db, each) for each in (key_id, other, key_id, other)]
    begin(db, key_id, Order("cancel", ALL, JobFilter(), "", 4))
    runner(db, tmp_path).tick(START)
    tries = []

    def retry(job: Job, name: str) -> Job:
        tries.append(job.id)
        if job.key_id == key_id:
            raise QueueFull("full")
        return job

    action = begin(db, key_id, Order("retry", ALL, JobFilter(), "", 4))
    assert runner(db, tmp_path, retry).tick(START) == 2
    open_jobs = db.read(lambda tx: bulk.open_items(tx, action.id, size=9))

    assert open_jobs == [ids[0], ids[2]]
    assert tries == [ids[0], ids[1], ids[3]]
    assert runner(db, tmp_path).tick(START) == 2
    ended = db.read(lambda tx: bulk.get(tx, action.id))
    assert ended is not None
    assert ended.state is BulkState.DONE


def test_an_action_that_is_stopped_in_a_tick_goes_on_with_no_job(
    db: Database, key_id: KeyId, tmp_path: Path
) -> None:
    for _ in range(3):
        accept(db, key_id)
    begin(db, key_id, Order("cancel", ALL, JobFilter(), "", 3))
    runner(db, tmp_path).tick(START)

    def retry(job: Job, name: str) -> Job:
        make.do(db, lambda tx: stop(tx, action.id, key_id, START))
        return job

    action = begin(db, key_id, Order("retry", ALL, JobFilter(), "", 3))

    assert runner(db, tmp_path, retry).tick(START) == 1
    assert db.read(lambda tx: bulk.counts(tx, [action.id])) == {action.id: {True: 1, None: 2}}


@pytest.mark.parametrize(("told", "error"), [(2, Conflict), (0, Conflict)], ids=["more", "none"])
def test_another_number_than_was_told_is_refused(
    db: Database, key_id: KeyId, told: int, error: type[Exception]
) -> None:
    accept(db, key_id)

    with pytest.raises(error):
        begin(db, key_id, Order("cancel", ALL, JobFilter(), "", told))
    with pytest.raises(RequestRefused):
        begin(db, key_id, Order("retry", ALL, JobFilter(), "", 0))
    assert db.read(bulk.running) == []
