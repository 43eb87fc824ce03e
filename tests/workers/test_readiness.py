"""When a worker whose machine is at fault keeps away from the queue, and when it is back."""

from dataclasses import dataclass

import pytest

from service.domain.attempt import FailureKind
from service.workers.readiness import Readiness
from tests import make

FAULT = make.failure(FailureKind.MACHINE)
VIDEO = make.outcome_of_nobody()


@dataclass
class Machine:
    """Seconds that a test lets pass, and what a probe would say."""

    now: float = 0.0
    broken: str | None = None
    probes: int = 0

    def probe(self) -> str | None:
        self.probes += 1
        return self.broken


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def readiness(machine: Machine) -> Readiness:
    return Readiness(machine.probe, clock=lambda: machine.now)


def test_a_worker_without_faults_is_never_probed(readiness: Readiness, machine: Machine) -> None:
    for made in (VIDEO, *(make.failure(kind) for kind in FailureKind if kind != "machine")):
        readiness.record(made)
        assert readiness.can_work()

    assert machine.probes == 0


def test_a_machine_that_fails_its_probe_takes_no_job_until_it_passes(
    readiness: Readiness, machine: Machine
) -> None:
    machine.broken = "scratch: No space left on device"
    readiness.record(FAULT)

    assert not readiness.can_work()
    assert readiness.reason == "scratch: No space left on device"
    machine.broken = None
    assert readiness.can_work()
    assert readiness.reason is None


def test_a_machine_that_passes_its_probes_and_yet_fails_every_job_pauses_ever_longer(
    readiness: Readiness, machine: Machine
) -> None:
    pauses = []
    for _ in range(9):
        readiness.record(FAULT)
        began = machine.now
        while not readiness.can_work():
            machine.now += 1
        pauses.append(machine.now - began)

    assert pauses == [0, 0, 10, 20, 40, 80, 160, 300, 300]


def test_a_video_ends_the_row_of_faults(readiness: Readiness) -> None:
    for made in (FAULT, FAULT, VIDEO, FAULT, FAULT):
        readiness.record(made)

        assert readiness.can_work()
