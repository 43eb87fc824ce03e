"""Event streams over restarts of the API, and over two of them on one Postgres."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from threading import Event as Flag
from threading import Thread

import httpx
import pytest

from tests.api.live import Event, Reader
from tests.chaos.api_alone import ApiAlone, api_alone
from tests.chaos.patient import NO_LIMITS, Patient
from tests.chaos.scale import rounds
from tests.journey.service import KEY

pytestmark = pytest.mark.slow

_SHARED = {"secret": "a-secret-for-two-a-secret-for-two", **NO_LIMITS}


class Listener:
    """Reads changes of state of all jobs; connects again, behind its position, when it is cut."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.position: int | None = None
        self.heard: list[Event] = []
        self.cuts = 0
        self.is_connected = Flag()

    def connect(self) -> None:
        """Get a position."""
        with self._stream() as reader:
            next(reader)
            self.position = reader.position

    def hear(self, number: int) -> None:
        """Go on until that many are heard in all."""
        deadline = time.monotonic() + 120
        while len(self.heard) < number:
            assert time.monotonic() < deadline, f"{len(self.heard)} of {number}"
            try:
                with self._stream() as reader:
                    self.is_connected.set()
                    for event in reader.changes():
                        self.heard.append(event)
                        self.position = reader.position
                        if len(self.heard) == number:
                            return
            except (httpx.TransportError, httpx.HTTPStatusError):
                time.sleep(0.05)
            finally:
                self.is_connected.clear()
            self.cuts += 1

    def ids(self) -> list[int]:
        return [event.id or 0 for event in self.heard]

    def jobs(self) -> list[str]:
        return [event.job["id"] for event in self.heard]

    @contextmanager
    def _stream(self) -> Iterator[Reader]:
        headers = {"Authorization": f"Bearer {KEY}"}
        if self.position is not None:
            headers["Last-Event-ID"] = str(self.position)
        url = f"{self._url}/v1/events"
        with (
            httpx.Client(timeout=60, trust_env=False) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            yield Reader(response.raise_for_status())


def cancel(patient: Patient, name: str) -> str:
    job_id = patient.submit(name)
    answer = patient.send("POST", f"/v1/jobs/{job_id}/cancel")
    assert answer.status_code == 200, answer.text
    return job_id


def test_a_listener_misses_nothing_while_the_api_is_killed(
    tmp_path: Path, database_url: str
) -> None:
    kills = rounds(3, 30)
    with (
        api_alone(tmp_path, database_url=database_url, **_SHARED) as api,
        closing(Patient(api.url)) as patient,
    ):
        patient.get("/v1/jobs")
        listener, made = Listener(api.url), []
        listener.connect()
        for number in range(kills):
            thread = Thread(target=listener.hear, args=[20 * (number + 1)])
            thread.start()
            made += [cancel(patient, f"{number}.{each}") for each in range(10)]
            assert listener.is_connected.wait(120)
            api.kill()
            made += [cancel(patient, f"{number}.{each}") for each in range(10, 20)]
            thread.join(180)

    assert listener.jobs() == made
    assert listener.ids() == sorted(set(listener.ids()))
    assert listener.cuts >= kills


@pytest.fixture
def apis(tmp_path: Path, postgres_url: str) -> Iterator[tuple[ApiAlone, ApiAlone]]:
    with ExitStack() as stack:
        found = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            api = api_alone(tmp_path / name, database_url=postgres_url, **_SHARED)
            found.append(stack.enter_context(api))
        yield found[0], found[1]


def test_what_happens_at_one_is_heard_at_the_other_in_one_order(
    apis: tuple[ApiAlone, ApiAlone],
) -> None:
    with ExitStack() as stack:
        patients = [stack.enter_context(closing(Patient(api.url))) for api in apis]
        for patient in patients:
            patient.get("/v1/jobs")
        listeners = [Listener(api.url) for api in apis]
        for listener in listeners:
            listener.connect()
        made: list[list[str]] = [[], []]

        def work(number: int) -> None:
            for each in range(30):
                made[number].append(cancel(patients[number], f"{number}.{each}"))

        threads = [Thread(target=work, args=[number]) for number in range(2)]
        threads += [Thread(target=listener.hear, args=[60]) for listener in listeners]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(180)

    first, second = listeners
    assert first.ids() == second.ids() == sorted(set(first.ids()))
    assert first.jobs() == second.jobs()
    for jobs in made:
        assert [job for job in first.jobs() if job in jobs] == jobs


def test_a_listener_goes_on_at_the_other(apis: tuple[ApiAlone, ApiAlone]) -> None:
    one, two = apis
    with closing(Patient(one.url)) as patient:
        patient.get("/v1/jobs")
        at_one = Listener(one.url)
        at_one.connect()
        made = [cancel(patient, str(each)) for each in range(10)]
        at_one.hear(5)
        at_two = Listener(two.url)
        at_two.position = at_one.position
        at_two.hear(5)

    assert at_one.jobs() + at_two.jobs() == made
