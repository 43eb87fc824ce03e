"""The figures of the overview, against others computed row by row from the tables."""

import json
import re
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from benchmarks.store import count_ended
from service.admin.pages import templates
from service.admin.routes.overview import (
    PARTS_OF_MODEL,
    SAMPLE_OF_MODEL,
    Costs,
    read_costs,
    read_past,
    read_pasts,
)
from service.domain.attempt import FailureKind, Stage
from service.domain.ids import KeyId
from service.domain.job import JobState, Scope
from service.domain.limits import Limits
from service.domain.price import Rate, Rates
from service.domain.service_level import percentile
from service.domain.terms import Terms
from service.domain.window import Length, Window
from service.lifecycle import report
from service.lifecycle.jobs import request_cancel
from service.store import jobs, moves, statistics
from service.store.attempts import attempt_table
from service.store.database import Database
from service.store.job_rows import job_table
from service.store.transaction import Transaction
from tests import make
from tests.admin.person import Person

MIDNIGHT = datetime(2026, 11, 24, tzinfo=UTC)
RATES = Rates(table={"L40S": Rate(0.0005, "test", "L40S")}, gpus={"slate": ("L40S",)})
# Of every other job: a video, and a placeholder.
VIDEOS = (
    {"num_frames": 60, "fps": 12, "sandbox": False},
    {"num_frames": 60, "fps": 12, "sandbox": True},
)
TIMES = {stage: 100 * number for number, stage in enumerate(Stage, 1)}
TERMS = Terms(rates=RATES, retention=make.TERMS.retention, models=make.MODELS)


class Past:
    """Jobs that went through the service at times of a test's choice."""

    def __init__(self, db: Database, key_id: KeyId) -> None:
        self.db = db
        self.key_id = key_id

    def submit(self, at: datetime) -> None:
        new = make.submission(self.key_id, request=make.request(num_frames=60))
        make.do(self.db, lambda tx: make.submit(tx, new, Limits(), at))

    def run(self, submitted: datetime, claimed: float, begun: float, ended: float | None) -> Any:
        """Submit a job, and claim, begin and end it so many seconds later."""
        self.submit(submitted)
        claim = make.claim(self.db, submitted + timedelta(seconds=claimed))
        job = make.begin(self.db, claim, submitted + timedelta(seconds=begun), claim.token)
        if ended is None:
            return claim, job
        facts = make.outcome(job).facts.model_copy(update=VIDEOS[round(ended) % 2])
        outcome = make.outcome(job).model_copy(
            update={
                "facts": facts,
                "timings_ms": TIMES | {"total": 2500},
                "gpu": "NVIDIA L40S",
                "gpu_seconds": 2.5,
            }
        )
        self._end(report.finish, claim, job, submitted + timedelta(seconds=ended), outcome=outcome)
        return claim, job

    def fail(self, submitted: datetime, ended: float, kind: FailureKind = FailureKind.USER) -> None:
        claim, job = self.run(submitted, 1, 2, None)
        failure = make.failure(kind)
        self._end(report.fail, claim, job, submitted + timedelta(seconds=ended), failure=failure)

    def expire(self, submitted: datetime, ended: float) -> None:
        self.submit(submitted)
        job_id = rows(self.db, "SELECT id FROM jobs WHERE state = 'queued'")[0]["id"]
        at = submitted + timedelta(seconds=ended)

        def act(tx: Transaction) -> None:
            job = jobs.get_for_update(tx, job_id)
            assert job is not None
            moves.expire(tx, job, now=at)

        make.do(self.db, act)

    def cancel(self, submitted: datetime, ended: float) -> None:
        self.submit(submitted)
        with_scope = Scope(self.key_id)
        job_id = rows(self.db, "SELECT id FROM jobs WHERE state = 'queued'")[0]["id"]
        at = submitted + timedelta(seconds=ended)
        make.do(self.db, lambda tx: request_cancel(tx, job_id, with_scope, at))

    def _end(self, act: Any, claim: Any, job: Any, at: datetime, **what: Any) -> None:
        told = make.credentials(claim)
        make.do(self.db, lambda tx: act(tx, told, fence=job.fence, terms=TERMS, now=at, **what))


def rows(db: Database, query: str) -> list[dict[str, Any]]:
    found = db.read(lambda tx: tx.connection.exec_driver_sql(query).mappings().all())
    return [dict(row) for row in found]


def micros(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


@pytest.fixture
def past(db: Database, key_id: KeyId) -> Past:
    """Jobs around a midnight, some of which are open, or end just at the bounds of windows."""
    past = Past(db, key_id)
    for minutes, ended in (
        (-90, 20),
        (-61, 60),
        (-30, 40),
        (-5, 300),
        (-3, 170),
        (1, 10),
        (10, 33),
    ):
        past.run(MIDNIGHT + timedelta(minutes=minutes), 2, 3, ended)
    past.fail(MIDNIGHT - timedelta(minutes=20), 30)
    past.fail(MIDNIGHT + timedelta(minutes=2), 45)
    past.fail(MIDNIGHT + timedelta(minutes=3), 50, FailureKind.INTERNAL)
    past.fail(MIDNIGHT + timedelta(hours=30), 50, FailureKind.INTERNAL)
    past.expire(MIDNIGHT - timedelta(minutes=15), 60)
    past.cancel(MIDNIGHT - timedelta(minutes=10), 5)
    past.run(MIDNIGHT - timedelta(minutes=4), 1, 2, None)  # runs through all windows
    past.submit(MIDNIGHT + timedelta(minutes=12))  # waits
    return past


def _at(minutes: float) -> datetime:
    return MIDNIGHT + timedelta(minutes=minutes)


WINDOWS = {
    "an hour after midnight": Window(MIDNIGHT, MIDNIGHT + timedelta(hours=1)),
    "around midnight": Window(MIDNIGHT - timedelta(hours=1), MIDNIGHT + timedelta(minutes=5)),
    "ends with a job": Window(MIDNIGHT - timedelta(hours=1), MIDNIGHT),
    "begins with a job": Window(MIDNIGHT - timedelta(minutes=60), MIDNIGHT + timedelta(hours=23)),
    "cuts through jobs": Window(MIDNIGHT - timedelta(minutes=2), MIDNIGHT + timedelta(seconds=65)),
    # Jobs of states that ended in no other hour of the window end in the broken hour at its edge.
    "begins within an hour": Window(_at(-16), _at(62)),
    "ends within an hour": Window(_at(-100), _at(-9)),
    "within one hour": Window(_at(-18), _at(-9)),
    "a month": Window.until(MIDNIGHT + timedelta(days=1), Length.MONTH.time),
    "only failures": Window(MIDNIGHT + timedelta(hours=29), MIDNIGHT + timedelta(hours=31)),
    "nothing": Window(MIDNIGHT + timedelta(days=2), MIDNIGHT + timedelta(days=3)),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_the_figures_of_a_window_are_those_of_its_jobs(past: Past, name: str) -> None:
    window = WINDOWS[name]
    first, last = micros(window.start), micros(window.end)
    every = rows(past.db, "SELECT * FROM jobs")
    ended = [
        row
        for row in every
        if row["finished_at"] is not None and first <= row["finished_at"] < last
    ]

    shown = past.db.read(lambda tx: read_past(tx, window, None))

    by_state = Counter(row["state"] for row in ended)
    assert {str(state): number for state, number in shown.counts.items()} == by_state
    good = by_state["succeeded"]
    assert shown.per_hour == pytest.approx(good / (window.length.total_seconds() / 3600))
    assert sum(bar.total for bar in shown.bars) == len(ended)
    assert {(each.state, each.code): each.jobs for each in shown.failures} == Counter(
        (row["state"], row["error_code"]) for row in ended if row["state"] in ("failed", "expired")
    )


def test_each_model_has_its_own_figures(past: Past) -> None:
    window = WINDOWS["a month"]
    update = "UPDATE jobs SET model = 'ltx-2b' WHERE state IN ('failed', 'canceled')"
    make.do(past.db, lambda tx: tx.execute(sa.text(update)))
    make.do(past.db, lambda tx: count_ended(tx.connection))
    ended = rows(past.db, f"SELECT * FROM jobs WHERE finished_at < {micros(window.end)}")
    models = ["slate", "ltx-2b", "mochi"]

    pasts = past.db.read(lambda tx: read_pasts(tx, window, models, sample=9, parts=7))

    assert {past.counts.total() > 0 for past in pasts[:2]} == {True}
    for model, shown in zip(models, pasts, strict=True):
        of_model = [row for row in ended if row["model"] == model]
        assert shown.counts == Counter(row["state"] for row in of_model)
        assert {(each.state, each.code): each.jobs for each in shown.failures} == Counter(
            (row["state"], row["error_code"])
            for row in of_model
            if row["state"] in ("failed", "expired")
        )
        assert len(shown.sample) == shown.counts[JobState.SUCCEEDED]


def test_as_many_jobs_of_several_errors_are_listed_by_their_codes(past: Past) -> None:
    update = "UPDATE jobs SET model = '{}', error_code = '{}' WHERE state = 'failed' AND {}"
    for where in (
        ("ltx-2b", "c", "error_kind = 'user'"),
        ("slate", "b", f"finished_at > {micros(_at(60))}"),
        ("mochi", "a", f"error_kind != 'user' AND finished_at < {micros(_at(60))}"),
    ):
        text = sa.text(update.format(*where))
        make.do(past.db, lambda tx, text=text: tx.execute(text))
    make.do(past.db, lambda tx: count_ended(tx.connection))
    window = Window(_at(-60), _at(60 * 48))

    shown = past.db.read(lambda tx: read_past(tx, window, None)).failures

    assert [(each.jobs, each.code) for each in shown] == [(2, "c"), (1, None), (1, "a"), (1, "b")]


def test_a_deleted_job_is_counted_no_longer(past: Past) -> None:
    window = WINDOWS["a month"]
    ended = rows(past.db, "SELECT id FROM jobs WHERE finished_at IS NOT NULL ORDER BY finished_at")

    for left, row in reversed(list(enumerate(ended))):
        job = past.db.read(lambda tx, id_=row["id"]: jobs.get(tx, id_))
        for _ in range(2):  # another process may have deleted it just before
            make.do(past.db, lambda tx, job=job: jobs.delete(tx, job))

        shown = past.db.read(lambda tx: read_past(tx, window, None))
        kept = rows(
            past.db,
            "SELECT state, error_code FROM jobs WHERE state IN ('failed', 'expired')"
            f" AND finished_at < {micros(window.end)}",
        )
        assert shown.total == len(rows(past.db, _ENDED_BEFORE.format(micros(window.end)))) <= left
        assert {(each.state, each.code): each.jobs for each in shown.failures} == Counter(
            (row["state"], row["error_code"]) for row in kept
        )
    assert not rows(past.db, "SELECT * FROM hours")


_ENDED_BEFORE = "SELECT id FROM jobs WHERE finished_at < {}"


@pytest.mark.parametrize("name", WINDOWS)
def test_the_promises_of_a_window_are_those_of_its_jobs(past: Past, name: str) -> None:
    window = WINDOWS[name]
    ended = rows(
        past.db,
        "SELECT j.*, a.started_at AS begun FROM jobs j"
        " LEFT JOIN attempts a ON a.job_id = j.id AND a.number = j.attempt"
        f" WHERE j.finished_at >= {micros(window.start)} AND j.finished_at < {micros(window.end)}",
    )
    good = [row for row in ended if row["state"] == "succeeded"]
    bad = [
        row
        for row in ended
        if row["state"] == "expired" or (row["state"] == "failed" and row["error_kind"] != "user")
    ]
    seconds = {row["id"]: _seconds(row) for row in good}
    warm = [
        (row["finished_at"] - row["begun"]) / 1e6
        for row in good
        if seconds[row["id"]] == 5 and _from_json(row["timings_ms"])["load"] < 1000
    ]
    counted = [row for row in ended if row not in good or seconds[row["id"]]]
    spent = sum(row["actual_microusd"] or 0 for row in counted) / 1e6

    shown = past.db.read(lambda tx: read_past(tx, window, None)).promises

    assert shown["success"].value == (len(good) / len(good + bad) if good + bad else None)
    assert shown["success"].jobs == len(good + bad)
    assert shown["success"].is_kept is not bool(bad)  # of so few, one is more than 1 %
    assert shown["warm"].value == (max(warm) if warm else None)  # of so few, p95 is the longest
    assert shown["warm"].jobs == len(warm)
    assert shown["warm"].is_kept is (max(warm, default=0) < 10)
    total = sum(seconds.values())
    assert shown["price"].value == (pytest.approx(10 * spent / total) if total else None)
    assert shown["price"].is_kept is (10 * spent / total < 0.05 if total else not spent)


def _from_json(value: Any) -> Any:
    """SQLite stores text."""
    return json.loads(value) if isinstance(value, str) else value


def _seconds(row: dict[str, Any]) -> float:
    """The length of a video; a placeholder has none."""
    result = _from_json(row["result"])
    return 0.0 if result["sandbox"] else float(result["num_frames"] / result["fps"])


@pytest.mark.parametrize("length", Length)
def test_each_window_is_named_in_words(admin: Person, length: Length) -> None:
    page = admin.get(f"/admin?window={length.value}").text

    assert f"Ended in {length.words}" in page
    assert f"Nothing has succeeded in {length.words}." in page
    assert f'href="?window={length.value}" aria-current="true"' in page


def test_the_promise_that_no_job_is_lost_is_told_in_plain_words(admin: Person) -> None:
    page = admin.get("/admin").text

    assert "of the 0 that run · promise: no job is lost" in page


def test_money_that_made_no_video_breaks_the_promise_of_the_price(past: Past) -> None:
    window = WINDOWS["only failures"]

    shown = past.db.read(lambda tx: read_past(tx, window, None)).promises["price"]

    assert (shown.value, shown.is_kept) == (None, False)


@pytest.mark.parametrize("name", WINDOWS)
def test_each_bar_counts_the_jobs_of_its_part_of_the_window(past: Past, name: str) -> None:
    window = WINDOWS[name]
    every = rows(past.db, "SELECT * FROM jobs WHERE finished_at IS NOT NULL")
    width = (micros(window.end) - micros(window.start)) // 48

    shown = past.db.read(lambda tx: read_past(tx, window, None)).bars

    for number, bar in enumerate(shown):
        first = micros(window.start) + number * width
        last = micros(window.end) if number == 47 else first + width
        states = [row["state"] for row in every if first <= row["finished_at"] < last]
        assert dict(bar.parts) == {
            "good": states.count("succeeded"),
            "bad": states.count("failed") + states.count("expired"),
            "none": states.count("canceled"),
        }


def test_stage_times_are_those_of_the_rows(past: Past) -> None:
    window = WINDOWS["around midnight"]
    joined = rows(
        past.db,
        "SELECT j.created_at AS submitted, j.finished_at AS ended, a.created_at AS claimed,"
        " a.started_at AS begun FROM jobs j JOIN attempts a ON a.job_id = j.id"
        f" WHERE j.state = 'succeeded' AND j.finished_at >= {micros(window.start)}"
        f" AND j.finished_at < {micros(window.end)}",
    )

    times = past.db.read(lambda tx: read_past(tx, window, None)).times

    assert len(joined) > 3
    for name, share in (("p50", 0.50), ("p95", 0.95)):
        shown = times[name]
        assert shown is not None
        at_worker = [(row["ended"] - row["begun"]) / 1000 for row in joined]
        total = [(row["ended"] - row["submitted"]) / 1000 for row in joined]
        queue = [(row["claimed"] - row["submitted"]) / 1000 for row in joined]
        assert shown.total == pytest.approx(percentile(total, share))
        assert shown.stages["queue"] == pytest.approx(percentile(queue, share))
        assert {stage: shown.stages[stage] for stage in TIMES} == TIMES
        rest = percentile(at_worker, share) - sum(TIMES.values())
        assert shown.stages["rest"] == pytest.approx(rest)


def test_times_of_many_jobs_are_those_of_the_whole_window(past: Past) -> None:
    """Of 2,000 jobs, the newest took longer by far, and were dearer."""
    window = Window(MIDNIGHT, MIDNIGHT + timedelta(days=30))
    ends = [window.start + window.length * (n / 2_000) ** 0.5 for n in range(2_000)]  # ever more
    quick = [(end, timedelta(seconds=10 + n * 37 % 50), 1_000) for n, end in enumerate(ends[:-50])]
    slow = [(end, timedelta(hours=2), 3_000) for end in ends[-50:]]
    _copy_jobs(past.db, quick + slow)
    joined = rows(
        past.db,
        "SELECT j.finished_at - j.created_at AS took, j.actual_microusd AS cost"
        " FROM jobs j JOIN attempts a ON a.job_id = j.id"
        f" WHERE j.state = 'succeeded' AND j.finished_at >= {micros(window.start)}",
    )
    took = [row["took"] / 1000 for row in joined]

    for model, sample, parts in ((None, 600, 48), ("slate", SAMPLE_OF_MODEL, PARTS_OF_MODEL)):
        sizes = {"sample": sample, "parts": parts}
        shown = past.db.read(lambda tx, m=model, s=sizes: read_past(tx, window, m, **s))

        assert len(shown.sample) == pytest.approx(sample, abs=4 * sample**0.5)
        for name, share in (("p50", 0.50), ("p95", 0.95)):
            times = shown.times[name]
            assert times is not None
            assert times.total == pytest.approx(percentile(took, share), rel=0.1)
        whole = sum(row["cost"] for row in joined) / len(joined)
        sampled = sum(job.cost_usd for job in shown.sample) / len(shown.sample) * 1e6
        assert sampled == pytest.approx(whole, rel=0.05)


def test_times_within_a_bar_are_not_those_of_its_last_jobs(past: Past) -> None:
    """Of each half hour, the jobs of the last eight minutes were quick."""
    window = Window(MIDNIGHT + timedelta(days=3), MIDNIGHT + timedelta(days=4))
    every = timedelta(seconds=9)
    half_hours = [n * every % timedelta(minutes=30) for n in range(window.length // every)]
    seconds = [600 if since < timedelta(minutes=22) else 10 for since in half_hours]
    _copy_jobs(
        past.db,
        [(window.start + n * every, timedelta(seconds=s), 1_000) for n, s in enumerate(seconds)],
    )

    for model, sample, parts in ((None, 600, 48), ("slate", SAMPLE_OF_MODEL, PARTS_OF_MODEL)):
        sizes = {"sample": sample, "parts": parts}
        shown = past.db.read(lambda tx, m=model, s=sizes: read_past(tx, window, m, **s))

        quick = sum(job.total_ms < 20_000 for job in shown.sample) / len(shown.sample)
        assert quick == pytest.approx(8 / 30, abs=0.1)
        assert shown.counts[JobState.SUCCEEDED] > 9_000 > len(shown.sample)


def _copy_jobs(db: Database, jobs: list[tuple[datetime, timedelta, int]]) -> None:
    """Insert copies of a job that succeeded: when each ended, how long it took and its cost."""
    of_model = sa.select(job_table).where(job_table.c.state == "succeeded").limit(1)
    job = db.read(lambda tx: dict(tx.execute(of_model).mappings().one()))
    of_job = sa.select(attempt_table).where(attempt_table.c.job_id == job["id"])
    attempt = db.read(lambda tx: dict(tx.execute(of_job).mappings().one()))
    copies, attempts = [], []
    for n, (at, took, cost) in enumerate(jobs):
        id_ = f"job_{n:026d}"
        times = {"created_at": at - took, "finished_at": at, "actual_microusd": cost}
        copies.append({**job, "id": id_, **times})
        begun = {"created_at": at - took / 2, "started_at": at - took / 2, "ended_at": at}
        attempts.append({**attempt, "job_id": id_, "call_id": id_, **begun})
    make.do(db, lambda tx: tx.execute(sa.insert(job_table), copies))
    make.do(db, lambda tx: tx.execute(sa.insert(attempt_table), attempts))
    make.do(db, lambda tx: count_ended(tx.connection))


def test_costs_are_those_of_the_attempts_by_the_day_on_which_they_ended(
    past: Past, db: Database
) -> None:
    attempts = rows(db, "SELECT ended_at, cost_microusd FROM attempts WHERE ended_at IS NOT NULL")
    today = date(2026, 11, 24)

    costs = db.read(lambda tx: read_costs(tx, today))

    def spent(first: date) -> float:
        days = [
            (datetime.fromtimestamp(row["ended_at"] / 1e6, UTC).date(), row["cost_microusd"])
            for row in attempts
        ]
        return sum(usd for day, usd in days if first <= day <= today) / 1e6

    assert costs.total("today") == pytest.approx(spent(today))
    assert costs.total("week") == pytest.approx(spent(today - timedelta(days=6)))
    assert costs.total("month") == pytest.approx(spent(today.replace(day=1)))
    assert 0 < costs.total("today") < costs.total("week")
    assert costs.by_key["week"] == {"test": pytest.approx(costs.total("week"))}


def test_the_keys_that_a_table_of_costs_leaves_out_are_summed() -> None:
    by_key = {"today": {}, "week": {}, "month": {f"key {n}": float(n) for n in range(1, 51)}}
    costs = Costs(
        by_model={"today": {}, "week": {}, "month": {"slate": sum(range(1, 51))}},
        by_key=by_key,
        key_ids={f"key {n}": KeyId(f"key_{n}") for n in range(1, 51)},
        begins=dict.fromkeys(("today", "week", "month"), date(2026, 12, 1)),
    )

    page = templates().get_template("costs.html").render(costs=costs, base="")

    assert "40 others" in page
    rows = page.partition("Key</th>")[2].partition("<tfoot>")[0].split("<tr>")[1:]
    cells = [re.sub("<[^>]+>", " ", row).split()[-1] for row in rows]
    amounts = [float(cell.replace("$", "").replace(",", "")) for cell in cells]
    assert sum(amounts) == costs.total("month")


def test_what_waits_and_runs_is_counted_by_model_and_key(past: Past, db: Database) -> None:
    (group,) = db.read(statistics.waiting_groups)
    attempts = db.read(statistics.open_attempts)

    assert (group.model, group.key_id, group.jobs) == ("slate", past.key_id, 1)
    assert group.oldest_at == MIDNIGHT + timedelta(minutes=12)
    assert [each.job.state for each in attempts] == [JobState.RUNNING]


def test_an_open_job_that_nobody_looks_after_is_found(past: Past, db: Database) -> None:
    (running,) = [each.job for each in db.read(statistics.open_attempts)]
    assert running.lease_until is not None

    at_end = db.read(lambda tx: statistics.forsaken(tx, running.lease_until))
    after = db.read(lambda tx: statistics.forsaken(tx, running.lease_until + timedelta(seconds=1)))

    assert (at_end, after) == ([], [running.id])
