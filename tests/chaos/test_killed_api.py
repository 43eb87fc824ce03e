"""The API is killed under load, again and again: what it acknowledged is there, and once."""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest

from tests.chaos.api_alone import api_alone
from tests.chaos.patient import NO_LIMITS, Patient
from tests.chaos.scale import rounds, tell
from tests.journey.service import running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes in /proc"),
]

_CLIENTS = 4


@dataclass
class Load:
    """Clients that submit as fast as they are answered, each submit under a name of its own."""

    clients: list[Patient]
    acknowledged: dict[str, str] = field(default_factory=dict)  # name -> job id
    _enough: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        """At the end every submit that was begun is answered."""
        with ThreadPoolExecutor(len(self.clients)) as pool:
            threads = [pool.submit(self._submit_on, client) for client in self.clients]
            try:
                yield
            finally:
                self._enough.set()
        for thread in threads:
            thread.result()

    def _submit_on(self, client: Patient) -> None:
        while not self._enough.is_set():
            name = uuid4().hex
            self.acknowledged[name] = client.submit(name)


def test_no_acknowledged_job_is_lost_with_the_api(tmp_path: Path) -> None:
    with api_alone(tmp_path, **NO_LIMITS) as api:
        _storm(api.url, api.kill, rounds(5, 200))


def test_a_supervised_api_comes_back_under_load(tmp_path: Path) -> None:
    with running(tmp_path, "--workers", "0", **NO_LIMITS) as service:

        def kill() -> None:
            while not (found := service.children("api")):
                time.sleep(0.05)  # its supervisor lets it wait, as it dies so often
            os.kill(found[0], signal.SIGKILL)

        _storm(str(service.client.base_url), kill, rounds(2, 5))


def _storm(url: str, kill: Callable[[], None], number: int) -> None:
    """Kill the API `number` times while clients submit; then compare what they know with it."""
    chance = random.Random(number)
    with ExitStack() as stack:
        looker, *clients = [stack.enter_context(closing(Patient(url))) for _ in range(_CLIENTS + 1)]
        load = Load(clients)
        with load.running():
            for _ in range(number):
                if chance.random() < 0.8:  # else it may be killed while it starts
                    looker.get("/readyz")
                time.sleep(chance.uniform(0, 0.4))
                kill()
        kill()
        found = looker.jobs()
        queue = looker.get("/health")["queue"]

    lost = set(load.acknowledged.values()) - {job["id"] for job in found}
    named = Counter(job["metadata"]["name"] for job in found)
    twice = [name for name, count in named.items() if count > 1]
    cut_off = sum(client.cut_off for client in clients)
    tell(
        "killed API",
        rounds=number,
        acknowledged=len(load.acknowledged),
        lost=len(lost),
        twice=len(twice),
        cut_off=cut_off,
        replayed=sum(client.replayed for client in clients),
    )
    assert cut_off > 0
    assert not lost
    assert not twice
    assert {job["metadata"]["name"]: job["id"] for job in found} == load.acknowledged
    assert queue == {"queued": len(found), "running": 0}
