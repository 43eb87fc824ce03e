import asyncio
from collections.abc import Mapping, Sequence

import pytest

from service.domain.errors import Unavailable
from service.domain.ids import JobId, KeyId
from service.domain.job import Job, new_job
from service.runtime.job_loader import JobLoader
from tests import make


class Reads:
    """Looks that end when a test says so. `jobs` is what the database holds."""

    def __init__(self) -> None:
        self.jobs: dict[JobId, Job] = {}
        self.asked: list[list[JobId]] = []
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, ids: Sequence[JobId]) -> Mapping[JobId, Job]:
        self.asked.append(list(ids))
        found = {job_id: self.jobs[job_id] for job_id in ids if job_id in self.jobs}
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return found


def job(job_id: JobId) -> Job:
    made = new_job(make.submission(KeyId("key_1")), make.START)
    return made.model_copy(update={"id": job_id})


async def settled() -> None:
    """Every task has come as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


ONE, TWO, THREE = (JobId(f"job_{n}") for n in "123")


def test_those_who_come_during_a_look_share_the_next() -> None:
    async def scene() -> tuple[list[Job | None], list[list[JobId]]]:
        reads = Reads()
        reads.jobs = {ONE: job(ONE), TWO: job(TWO)}
        lookup = JobLoader(reads)
        first = asyncio.create_task(lookup.find(ONE))
        await settled()
        rest = [asyncio.create_task(lookup.find(job_id)) for job_id in (TWO, THREE, TWO)]
        await settled()
        reads.gate.set()
        return list(await asyncio.gather(first, *rest)), reads.asked

    found, asked = asyncio.run(scene())

    assert [one and one.id for one in found] == [ONE, TWO, None, TWO]
    assert asked == [[ONE], [TWO, THREE]]


def test_what_was_written_before_the_asking_is_seen() -> None:
    async def scene() -> Job | None:
        reads = Reads()
        lookup = JobLoader(reads)
        early = asyncio.create_task(lookup.find(ONE))
        await settled()
        reads.jobs[ONE] = job(ONE)  # after the look that is under way
        late = asyncio.create_task(lookup.find(ONE))
        await settled()
        reads.gate.set()
        assert await early is None
        return await late

    assert asyncio.run(scene()) is not None


def test_an_error_is_told_to_all_and_harms_no_later_look() -> None:
    async def scene() -> Job | None:
        reads = Reads()
        reads.gate.set()
        reads.error = Unavailable("the database is away")
        lookup = JobLoader(reads)
        failed = await asyncio.gather(lookup.find(ONE), lookup.find(TWO), return_exceptions=True)
        assert [type(error) for error in failed] == [Unavailable, Unavailable]
        reads.error = None
        reads.jobs = {ONE: job(ONE)}
        return await lookup.find(ONE)

    assert asyncio.run(scene()) is not None


def test_one_who_leaves_takes_nobody_along() -> None:
    async def scene() -> Job | None:
        reads = Reads()
        reads.jobs = {ONE: job(ONE)}
        lookup = JobLoader(reads)
        leaving = asyncio.create_task(lookup.find(ONE))
        staying = asyncio.create_task(lookup.find(ONE))
        await settled()
        leaving.cancel()
        reads.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        return await staying

    assert asyncio.run(scene()) is not None
