"""Four claimers on one queue: each job is claimed once, and all of them are."""

import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.domain.ids import KeyId
from service.domain.limits import Limits
from service.store import jobs
from service.store.database import Database
from service.store.transaction import Transaction
from tests import make
from tests.chaos.scale import rounds, tell
from tests.make import submit

pytestmark = pytest.mark.slow

CLAIMERS = 4
MAX_ACTIVE = 10_000


def fill(db: Database, count: int) -> None:
    """Jobs of three keys."""
    owners: list[KeyId] = [make.key(db)[0] for _ in range(3)]
    limits = Limits(max_queued_per_key=count)
    futures = [
        db.write(lambda tx, key=owners[n % 3]: submit(tx, make.submission(key), limits, make.START))
        for n in range(count)
    ]
    for future in futures:
        future.result()


def claim_all(db: Database) -> list[str]:
    """Until nothing is left; whatever goes wrong is raised. A claim that passed over each key held
    by another claimer gets nothing, and looks again."""
    taken = []
    while True:
        claimed = make.claim(db, make.START, max_active=MAX_ACTIVE)
        if claimed is not None:
            taken.append(claimed.job.id)
        elif not db.read(_waiting):
            return taken


def _waiting(tx: Transaction) -> bool:
    return bool(jobs.candidates(tx, ["slate"], make.START, limit=MAX_ACTIVE))


def judge(taken: list[list[str]], count: int, database: str) -> None:
    claims = Counter(job for some in taken for job in some)
    twice = [job for job, times in claims.items() if times > 1]
    tell(
        f"{CLAIMERS} claimers on {database}",
        jobs=count,
        claims=sum(claims.values()),
        double_claims=len(twice),
    )
    assert twice == []
    assert len(claims) == count


def test_four_threads_of_the_one_process_that_has_the_file(sqlite_url: str) -> None:
    count = rounds(short=300, long=1500)
    db = Database(sqlite_url, lambda topics: None)
    try:
        fill(db, count)
        with ThreadPoolExecutor(CLAIMERS) as pool:
            taken = list(pool.map(lambda _: claim_all(db), range(CLAIMERS)))
    finally:
        db.close()

    judge(taken, count, "sqlite")


def test_four_processes_on_one_postgres(postgres_url: str) -> None:
    count = rounds(short=300, long=1500)
    db = Database(postgres_url, lambda topics: None)
    fill(db, count)
    db.close()
    code = (
        "import sys; from service.store.database import Database;"
        "from tests.chaos.test_claims import claim_all;"
        "db = Database(sys.argv[1], lambda topics: None); print('ready', flush=True);"
        "sys.stdin.readline(); print(*claim_all(db)); db.close()"
    )
    claimers = [
        subprocess.Popen(
            [sys.executable, "-c", code, postgres_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(CLAIMERS)
    ]
    for claimer in claimers:
        assert claimer.stdout is not None
        assert claimer.stdout.readline() == "ready\n"
    with ThreadPoolExecutor(CLAIMERS) as pool:
        said = list(pool.map(lambda one: one.communicate("go\n", timeout=300)[0], claimers))

    assert [claimer.returncode for claimer in claimers] == [0] * CLAIMERS
    judge([one.split() for one in said], count, "postgres")


def test_a_cap_holds_exactly_among_processes(postgres_url: str) -> None:
    """SKIP LOCKED alone would let two claimers both see the last free place."""
    cap, jobs = 7, 60
    databases = [Database(postgres_url, lambda topics: None) for _ in range(CLAIMERS)]
    key_id, _ = make.key(databases[0])
    for _ in range(jobs):
        asked = make.submission(key_id)
        make.do(databases[0], lambda tx, asked=asked: submit(tx, asked, Limits(), make.START))

    def claim_some(db: Database) -> int:
        return sum(make.claim(db, make.START, max_active=cap) is not None for _ in range(20))

    with ThreadPoolExecutor(CLAIMERS) as pool:
        taken = list(pool.map(claim_some, databases))
    for db in databases:
        db.close()

    assert sum(taken) == cap
