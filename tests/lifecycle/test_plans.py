"""What is done every second reads no large table from one end to the other."""

from functools import partial
from pathlib import Path

import pytest

from service.artifacts.files import Files
from service.domain.ids import KeyId
from service.domain.limits import Limits
from service.domain.models.catalog import CARDS
from service.lifecycle.bulk import BulkRunner
from service.lifecycle.rescue import Rescuer, Unserved
from service.lifecycle.retention import Retention
from service.store import deliveries, gauges, jobs, keys, speeches, statistics
from service.store.database import Database
from tests import make
from tests.store.plans import plans


@pytest.fixture(autouse=True)
def _on_sqlite(db: Database) -> None:
    if not db.local:
        pytest.skip("there the planner goes by what it has counted in a table of some size")


def test_ticks(db: Database, key_id: KeyId, tmp_path: Path) -> None:
    asked = make.submission(key_id)
    make.do(db, lambda tx: make.submit(tx, asked, Limits(), make.START))
    make.begin(db, make.claim(db, make.START), make.START)
    artifacts = Files(tmp_path)
    ticks = [
        Rescuer(db, artifacts, make.TERMS, make.PULLED).tick,
        Retention(db, artifacts, make.TERMS.retention).tick,
        Unserved(db, make.TERMS, is_shared=False).tick,
        BulkRunner(db, make.PULLED, artifacts, lambda job, name: job).tick,
    ]
    with plans() as found:
        for tick in ticks:
            tick(make.START)

    assert len(found) > len(ticks)
    assert not [(line, plan.statement) for plan in found for line in plan.scans()]


def test_claims_forecasts_and_figures(db: Database, key_id: KeyId) -> None:
    reads = [
        partial(jobs.candidates, models=list(CARDS), now=make.START, limit=3),
        *(jobs.waiting, jobs.remaining_times, jobs.count_running, keys.last_turns),
        partial(jobs.count_active, model="slate"),
        partial(deliveries.due, now=make.START, busy_hosts=["x"], busy_keys=["y"], size=3),
        partial(speeches.due, now=make.START, busy_keys=[key_id], size=3),
        *(lambda tx: list(gauges.queued(tx)), gauges.active, gauges.pending_deliveries),
        *(statistics.waiting_groups, statistics.open_attempts, statistics.busy_workers),
        partial(statistics.forsaken, before=make.START),
    ]
    with plans() as found:
        for read in reads:
            db.read(read)

    assert len(found) >= len(reads)
    assert not [(line, plan.statement) for plan in found for line in plan.scans()]
