from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.domain.attempt import FailureKind
from service.domain.ids import KeyId
from service.domain.job import JobFilter, JobState, Scope
from service.domain.limits import Limits
from service.domain.price import Charge
from service.domain.queue_order import in_turn
from service.lifecycle.report import give_back, settle
from service.store import job_lists, jobs, keys, moves
from service.store.database import Database
from tests import make
from tests.make import submit

NOW = make.START


def send(db: Database, key_id: KeyId, **changes: object) -> str:
    asked = make.submission(key_id, **changes)
    return str(make.do(db, lambda tx: submit(tx, asked, Limits(), NOW)).job.id)


def owners(db: Database, count: int, **changes: int) -> list[KeyId | None]:
    """Whose jobs the next `count` claims take."""
    claims = [make.claim(db, NOW, **changes) for _ in range(count)]
    return [None if claimed is None else claimed.job.key_id for claimed in claims]


def test_a_batch_of_one_key_does_not_starve_a_single_clip_of_another(db: Database) -> None:
    (batch, _), (single, _) = make.key(db), make.key(db)
    for _ in range(500):
        send(db, batch)
    send(db, single)

    assert single in owners(db, 2)


def test_keys_take_turns(db: Database) -> None:
    a, b, c = (make.key(db)[0] for _ in range(3))
    for key_id in (a, a, a, a, b, b, b, c, c):
        send(db, key_id)

    assert owners(db, 9) == [a, b, c, a, b, c, a, b, a]


def test_a_higher_priority_goes_first_whosoever_turn_it_is(db: Database) -> None:
    a, b = (make.key(db)[0] for _ in range(2))
    send(db, a)
    send(db, b, priority="low")
    urgent = send(db, a, priority="high")

    assert make.claim(db, NOW).job.id == urgent
    assert owners(db, 2) == [a, b]


def test_a_key_at_its_cap_is_passed_over_until_one_of_its_jobs_ends(db: Database) -> None:
    a, b = (make.key(db)[0] for _ in range(2))
    for _ in range(3):
        send(db, a)
    send(db, b)

    first = make.claim(db, NOW, max_active=1)
    assert owners(db, 2, max_active=1) == [b, None]

    make.do(db, lambda tx: moves.cancel(tx, first.job, charge=Charge(NOW)))
    assert owners(db, 2, max_active=1) == [a, None]


def test_a_job_that_waits_for_its_retry_holds_up_no_other(db: Database, key_id: KeyId) -> None:
    first, second = send(db, key_id), send(db, key_id)
    claimed = make.claim(db, NOW)
    assert claimed.job.id == first
    begun = make.begin(db, claimed, NOW)
    make.do(db, lambda tx: settle(tx, begun, make.failure(FailureKind.TRANSIENT), make.TERMS, NOW))

    assert make.claim(db, NOW).job.id == second
    assert make.claim(db, NOW) is None
    assert make.claim(db, NOW + timedelta(seconds=10)).job.id == first


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=True,
)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["low", "normal", "high"])),
        min_size=1,
        max_size=12,
    )
)
def test_the_line_foretells_the_order_of_the_claims(
    db: Database, submits: list[tuple[int, str]]
) -> None:
    owner = [make.key(db)[0] for _ in range(3)]
    for number, priority in submits:
        send(db, owner[number], priority=priority)

    foretold = db.read(lambda tx: in_turn(jobs.waiting(tx), keys.last_turns(tx), NOW))
    claimed = [make.claim(db, NOW).job.id for _ in submits]

    assert claimed == [job.id for job in foretold]
    assert make.claim(db, NOW) is None


@pytest.mark.parametrize("state", [JobState.CANCELED, JobState.QUEUED])
def test_what_is_active_is_counted_right(db: Database, key_id: KeyId, state: JobState) -> None:
    send(db, key_id)
    claimed = make.claim(db, NOW, max_active=1)
    assert claimed is not None
    send(db, key_id)
    assert make.claim(db, NOW, max_active=1) is None

    if state is JobState.QUEUED:
        make.do(db, lambda tx: give_back(tx, claimed.job, make.TERMS, NOW))
    else:
        make.do(db, lambda tx: moves.cancel(tx, claimed.job, charge=Charge(NOW)))

    assert make.claim(db, NOW, max_active=1) is not None
    running = JobFilter(states=(JobState.STARTING,))
    assert (
        len(db.read(lambda tx: job_lists.page(tx, Scope(key_id), size=9, filters=running).jobs))
        == 1
    )
