import pytest
import sqlalchemy as sa

from service.domain.event import DeliveryFilter, DeliveryId, DeliveryState, EndpointId
from service.domain.ids import JobId, KeyId
from service.store import deliveries, jobs
from service.store.database import Database
from service.store.transaction import Transaction
from tests import make
from tests.store.plans import plans
from tests.store.test_jobs import submitted

JOB, ENDPOINT = JobId("job_" + "0" * 26), EndpointId("wep_" + "0" * 26)


@pytest.mark.parametrize("of_all", [False, True])
@pytest.mark.parametrize(
    ("filters", "of_one", "of_every"),
    [
        (DeliveryFilter(), "ix_deliveries_owner (key_id=?", "SCAN deliveries"),
        (
            DeliveryFilter(state=DeliveryState.DEAD),
            "ix_deliveries_state (key_id=? AND state=?",
            "ix_deliveries_state_of_all (state=?",
        ),
        *(
            (DeliveryFilter(state=state, **narrow), index, index)  # type: ignore[arg-type]
            for state in (None, DeliveryState.PENDING)
            for narrow, index in (
                ({"job_id": JOB}, "ix_deliveries_job (job_id=?"),
                ({"endpoint_id": ENDPOINT}, "ix_deliveries_endpoint (endpoint_id=?"),
            )
        ),
    ],
    ids=str,
)
def test_every_filter_reads_an_index_in_order(
    db: Database, key_id: KeyId, filters: DeliveryFilter, of_one: str, of_every: str, of_all: bool
) -> None:
    if not db.local:
        pytest.skip("there the planner goes by what it has counted in a table of some size")
    owner = None if of_all else key_id
    for after in (None, DeliveryId("msg_" + "0" * 26)):

        def page(tx: Transaction, after: DeliveryId | None = after) -> None:
            deliveries.page(tx, owner, size=3, after=after, filters=filters)

        with plans() as found:
            db.read(page)
        ((_, lines),) = found
        assert len(lines) == 1  # nothing is sorted
        if of_all and after is not None and filters == DeliveryFilter():
            assert "(id<?" in lines[0]
        else:
            assert (of_every if of_all else of_one) in lines[0]


def test_a_jobs_deletion_reads_its_own_deliveries_alone(db: Database, key_id: KeyId) -> None:
    """Of a million deliveries a scan for each deleted job would stop all other writes."""
    if not db.local:
        pytest.skip("there the planner goes by what it has counted in a table of some size")
    job = submitted(db, key_id)
    steps: list[int] = []

    def deletion(tx: Transaction) -> None:
        connection = tx.connection.connection.driver_connection
        assert connection is not None
        rows = [
            {"id": f"msg_{number:026}", "key_id": key_id, "event": "job.succeeded", "url": "u",
             "host": "h", "state": "delivered", "attempt": 1, "fence": 1, "tries": "[]",
             "created_at": 0}
            for number in range(20_000)
        ]  # fmt: skip
        columns = ", ".join(rows[0])
        names = ", ".join(f":{name}" for name in rows[0])
        tx.execute(sa.text(f"INSERT INTO deliveries ({columns}) VALUES ({names})"), rows)
        connection.set_progress_handler(lambda: steps.append(1), 1000)
        deliveries.delete_settled_of_job(tx, job.id)
        jobs.delete(tx, job)
        connection.set_progress_handler(None, 0)

    make.do(db, deletion)

    assert len(steps) < 10  # thousands of steps; a scan takes some for each of 20,000 rows
